"""Dead letters on a topic: what could not be used, for whoever wants to watch or repair it.

You are beside ``processor.py``, which puts every reject into the store, exactly once, and then
here. The topic is at least once: a message read again after a restart sends its letters again,
under the same key. A checkpoint waits for the letters before it, for a while; a topic that takes
nothing must not stop the fixes.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from hazfence.clean import Reason
from hazfence.fixes import FixBatch
from hazfence.ports import Reject
from hazfence.wire.json_fix import fix_as_json
from hazfence.worker.metrics import WorkerMetrics

__all__ = ["DeadLetters", "letter", "set_aside"]

#: Puts a key and a value on the topic; what it gives back is done when the broker has them.
Send = Callable[[bytes, bytes], Awaitable[Awaitable[Any]]]
#: A letter holds at most this much of the payload, so that no broker's limit refuses it.
MAX_PAYLOAD_BYTES = 64 * 1024
MAX_WAITING = 10_000

_log = structlog.get_logger(__name__)


#: A repetition tells nothing that is not stored already: it is counted and keeps no letter.
_COUNTED_ONLY = (Reason.OK, Reason.DUPLICATE)
_MEND = {
    Reason.NOT_FINITE: "send finite degrees",
    Reason.OUT_OF_RANGE: "send longitude within +-180 and latitude within +-90 degrees",
    Reason.NULL_ISLAND: "the receiver had no position: send nothing until it has one",
    Reason.TIME_TOO_OLD: "set the terminal's clock",
    Reason.TIME_FUTURE: "set the terminal's clock, or the message's timestamp",
    Reason.FIX_INVALID: "status bit 1 says that there was no fix; send status 0 when it is unknown",
    Reason.LATE: "send a vehicle's fixes in the order of their times, on one partition, or less late",
    Reason.SAME_TIME: "send one fix a vehicle and moment; see that the terminal's clock runs",
    Reason.TIME_BEHIND: "set the terminal's clock",
    Reason.INACCURATE: "see to the terminal's antenna, or raise max_accuracy_m",
}


def set_aside(batch: FixBatch, reason: npt.NDArray[np.uint8]) -> list[Reject]:
    """Rejects for the fixes that the engine could not use.

    Args:
        batch: n fixes.
        reason: uint8, shape (n,), of :class:`hazfence.clean.Reason`, as in ``Outcome.reason``.

    Returns:
        one a fix set aside, except for duplicates.

    Example:
        >>> batch = FixBatch.of(["A"], time_us=0, lon=[500.0], lat=[0.0], offset=7)
        >>> set_aside(batch, np.array([Reason.OUT_OF_RANGE], np.uint8))[0].reason
        'out_of_range'
    """
    rejects = []
    for row in np.flatnonzero(~np.isin(reason, _COUNTED_ONLY)).tolist():
        why = Reason(reason[row])
        vehicle = batch.vehicles[batch.vehicle[row]]
        place = f"vehicle {vehicle!r}, lon {batch.lon[row]}, lat {batch.lat[row]}"
        detail = f"{place}: {_MEND.get(why, why.label)}"
        offset, item = int(batch.offset[row]), int(batch.item[row])
        rejects.append(Reject(offset, item, why.label, detail, fix_as_json(batch, row)))
    return rejects


def letter(topic: str, partition: int, reject: Reject) -> tuple[bytes, bytes]:
    """Key and value of a letter.

    Returns:
        the key ``topic/partition/offset/item``; the value is JSON with those four, ``reason``,
        ``detail``, ``payload`` in base64 and ``payload_bytes``, the length that the store keeps.

    Example:
        >>> letter("t", 0, Reject(7, -1, "bad_json", "character 0", b"x"))[0]
        b't/0/7/-1'
    """
    key = f"{topic}/{partition}/{reject.offset}/{reject.item}".encode()
    value = {
        "topic": topic,
        "partition": partition,
        "offset": reject.offset,
        "item": reject.item,
        "reason": reject.reason,
        "detail": reject.detail,
        "payload": base64.b64encode(reject.payload[:MAX_PAYLOAD_BYTES]).decode(),
        "payload_bytes": len(reject.payload),
    }
    return key, msgspec.json.encode(value)


class DeadLetters:
    """Sends letters and remembers those that have not arrived.

    Args:
        send: see :data:`Send`; None for no topic at all.
        metrics: counts what never arrived.
        patience_s: how long :meth:`flush` tries, in seconds.
    """

    def __init__(self, send: Send | None, metrics: WorkerMetrics, *, patience_s: float = 30.0) -> None:
        self._send = send
        self._metrics = metrics
        self._patience_s = patience_s
        self._waiting: list[tuple[bytes, bytes]] = []
        self._under_way: list[tuple[tuple[bytes, bytes], Awaitable[Any]]] = []
        self._lock = asyncio.Lock()  # the partitions of a worker share one of these

    async def put(self, topic: str, partition: int, rejects: Sequence[Reject]) -> None:
        """Send letters, without waiting for the broker's answer."""
        if self._send is None:
            return
        async with self._lock:
            self._waiting += [letter(topic, partition, reject) for reject in rejects]
            await self._start()
            if (excess := len(self._waiting) - MAX_WAITING) > 0:
                self._give_up(self._waiting[:excess], "too many are waiting")
                del self._waiting[:excess]

    async def flush(self) -> None:
        """Come back when every letter has arrived, or ``patience_s`` has passed."""
        clock = asyncio.get_running_loop().time
        until_s, delay_s = clock() + self._patience_s, 0.1
        while True:
            async with self._lock:
                error = await self._settle()
                if not self._waiting:
                    return
                if clock() + delay_s > until_s:
                    self._give_up(self._waiting, repr(error))
                    self._waiting = []
                    return
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, 5.0)
            async with self._lock:
                await self._start()

    async def _start(self) -> None:
        assert self._send is not None
        while self._waiting:
            one = self._waiting[0]
            try:
                self._under_way.append((one, await self._send(*one)))
            except Exception as error:  # whatever the client says, the letter stays for the next try
                _log.warning("dead letter not sent, will try again", error=repr(error))
                return
            self._waiting.pop(0)

    async def _settle(self) -> BaseException | None:
        under_way, self._under_way = self._under_way, []
        failure: BaseException | None = None
        failed = []
        answers = await asyncio.gather(*(answer for _, answer in under_way), return_exceptions=True)
        for (one, _), answer in zip(under_way, answers, strict=True):
            if isinstance(answer, BaseException):
                failure = answer
                failed.append(one)
        self._waiting = failed + self._waiting
        return failure

    def _give_up(self, letters: Sequence[tuple[bytes, bytes]], why: str) -> None:
        self._metrics.dead_topic_failures.inc(len(letters))
        _log.error(
            "dead letters did not reach their topic; the table has them", letters=len(letters), why=why
        )
