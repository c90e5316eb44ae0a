"""Waiting for a store that is away, as long as it takes; and not waiting any more, when it is time to go.

You are beside ``processor.py`` and ``partitions.py``, which do everything with the store through
:class:`Patience`. What was to be stored stays in the caller's hands and is tried again in place;
the partition stands still meanwhile, and so does the consumer behind it. When a partition is let go or
the worker stops, nothing may hold that up: :func:`end` and :func:`within` see to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from hazfence.ports import StaleClaim, StoreAway
from hazfence.worker.metrics import WorkerMetrics

__all__ = ["Dropped", "Patience", "end", "within"]

_T = TypeVar("_T")
_BACK_OFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0)
_SAY_AGAIN_S = 15.0
#: A task that goes on after it was cancelled is cancelled again after this time.
_AGAIN_S = 0.5


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and come back when all are done; what they raise is of no interest.

    To cancel once is not enough: what is tidied up on the way out of a call to a service that is away may
    fail in its turn, and that error then stands where the cancellation was; and ``asyncio.wait_for`` forgets
    the cancellation when its answer came in the same moment (until Python 3.12). The task would go on for
    ever.
    """
    ending = {task for task in tasks if task is not None}
    left = {task for task in ending if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    for task in ending:
        if not task.cancelled():
            task.exception()  # seen


async def within(seconds: float, call: Coroutine[Any, Any, _T]) -> _T:
    """The answer of a call, if it comes in time; ``asyncio.timeout`` that cannot be missed, see :func:`end`.

    Raises:
        TimeoutError: it did not; the call was broken off, or broke itself off.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait((task,), timeout=seconds)
        if not task.done():
            raise TimeoutError(f"no answer within {seconds:g} s")
        if task.cancelled():  # not by us: aiokafka, closing, waits for a task that it has cancelled
            raise TimeoutError("broken off from inside")
        return task.result()
    finally:
        await end(task)


class Dropped(RuntimeError):
    """The partition is not ours any more: nothing may be written for it by whoever gets this."""


class Patience:
    """Does things with a store until they are done.

    Args:
        metrics: counts the tries.
        monotonic_s, sleep: replaced in tests.
        **context: goes into every log line.
    """

    def __init__(
        self,
        metrics: WorkerMetrics,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **context: Any,
    ) -> None:
        self._metrics = metrics
        self._monotonic_s = monotonic_s
        self._sleep = sleep
        self._log = structlog.get_logger(__name__).bind(**context)
        self._given_up = asyncio.Event()
        self._waiting = 0

    @property
    def given_up(self) -> bool:
        """True once :meth:`give_up` was called."""
        return self._given_up.is_set()

    @property
    def waiting(self) -> bool:
        """True while a store that is away is waited for."""
        return self._waiting > 0

    def give_up(self) -> None:
        """Wait no more: what waits now or later raises :class:`Dropped`."""
        self._given_up.set()

    async def until_done(self, doing: str, call: Callable[[], Awaitable[_T]], **holding: Any) -> _T:
        """Call until the store answers.

        Args:
            doing: what it is, for the log.
            call: makes a new attempt.
            **holding: what is kept meanwhile, for the log.

        Raises:
            Dropped: given up, or another worker has claimed the partition.
        """
        tries, since_s, said_s = 0, self._monotonic_s(), float("-inf")
        while True:
            try:
                answer = await call()
            except StaleClaim as error:
                self._metrics.stale_claims.inc()
                self._log.warning("another worker owns the partition now: dropping it", error=str(error))
                self.give_up()
                raise Dropped(str(error)) from error
            except StoreAway as error:
                self._metrics.store_retries.inc()
                self._metrics.store_up.set(0)
                now_s = self._monotonic_s()
                if now_s - said_s >= _SAY_AGAIN_S:
                    said_s = now_s
                    waited_s = round(now_s - since_s, 1)
                    self._log.warning(
                        "store away: waiting for it, nothing is lost",
                        doing=doing,
                        waited_s=waited_s,
                        error=str(error),
                        **holding,
                    )
                await self._nap(_BACK_OFF_S[min(tries, len(_BACK_OFF_S) - 1)])
                tries += 1
            else:
                self._metrics.store_up.set(1)
                if tries:
                    waited_s = round(self._monotonic_s() - since_s, 1)
                    self._log.info("store back", doing=doing, waited_s=waited_s)
                return answer

    async def _nap(self, seconds: float) -> None:
        self._waiting += 1
        nap = asyncio.ensure_future(self._sleep(seconds))
        leave = asyncio.ensure_future(self._given_up.wait())
        try:
            await asyncio.wait((nap, leave), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting -= 1
            nap.cancel()
            leave.cancel()
        if self._given_up.is_set():
            raise Dropped("given up while the store was away")
