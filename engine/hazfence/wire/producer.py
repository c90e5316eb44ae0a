"""Sending fixes to a Kafka-protocol broker, packed: the sender's side put to work.

You are at the sender's end of the wire. :class:`FixProducer` owns a
:class:`~hazfence.wire.packer.Packer` and an aiokafka producer. The order of a vehicle's fixes
matters, so each partition has one message under way at a time; what cannot be delivered now is
sent again until it is, and a sender that is faster than the broker is made to wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from hazfence.fixes import FixBatch
from hazfence.wire.packer import Packed, Packer
from hazfence_fences.datum import Datum

__all__ = ["FixProducer"]

_log = logging.getLogger(__name__)
_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class FixProducer:
    """Packs fixes and delivers them in order, each at least once.

    Args:
        bootstrap: ``host:port[,host:port]`` of the broker.
        topic: where fixes go; it must exist.
        max_fixes, max_delay_s, datum: as for :class:`~hazfence.wire.packer.Packer`.
        max_pending: messages a partition that may wait before the sender has to.
        compression: ``None``, ``gzip``, ``snappy``, ``lz4`` or ``zstd``.
        **kafka: passed on to ``aiokafka.AIOKafkaProducer``, e.g. for TLS and SASL.

    Example::

        async with FixProducer("localhost:9092") as producer:
            await producer.send("浙B12345", time_us, 121.5, 29.9, speed_kmh=54.0)
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str = "hazfence.fixes",
        *,
        max_fixes: int = 2000,
        max_delay_s: float = 0.075,
        datum: Datum = Datum.WGS84,
        max_pending: int = 16,
        compression: str | None = None,
        **kafka: Any,
    ) -> None:
        self._topic = topic
        self._packing: dict[str, Any] = {"max_fixes": max_fixes, "max_delay_s": max_delay_s, "datum": datum}
        self._max_pending = max_pending
        self._settings: dict[str, Any] = {
            "bootstrap_servers": bootstrap.split(","),
            "compression_type": compression,
            "max_request_size": 16 * 1024 * 1024,
            "acks": "all",
            **kafka,
        }
        self._lanes: list[_Lane] = []
        self._timer: asyncio.Task[None] | None = None
        self._added = asyncio.Event()
        self._stopping = False

    async def start(self) -> None:
        """Connect and ask how many partitions the topic has.

        Raises:
            KafkaError: the broker cannot be reached.
        """
        self._producer = AIOKafkaProducer(**self._settings)
        try:
            await self._producer.start()
            partitions = sorted(await self._producer.partitions_for(self._topic))
        except BaseException:
            await self._producer.stop()
            raise
        self._packer = Packer(len(partitions), **self._packing)
        self._lanes = [_Lane(self._producer, self._topic, p, self._max_pending) for p in partitions]
        self._timer = asyncio.create_task(self._flush_when_due(), name="hazfence-packer")

    async def stop(self) -> None:
        """Deliver what waits, then disconnect.

        Raises:
            KafkaError: something could not be delivered and never will be.
        """
        if self._timer is None:
            return
        self._stopping = True
        self._added.set()
        await asyncio.gather(self._timer, return_exceptions=True)
        self._timer = None
        try:
            await self.flush()
        finally:
            for lane in self._lanes:
                lane.task.cancel()
            await asyncio.gather(*(lane.task for lane in self._lanes), return_exceptions=True)
            await self._producer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def send(self, vehicle: str, time_us: int, lon: float, lat: float, **columns: Any) -> None:
        """Add one fix; waits only when the broker is slower than the sender.

        Args:
            vehicle, time_us, lon, lat, **columns: as for :meth:`Packer.add`.

        Raises:
            KafkaError: an earlier message could not be delivered and never will be.
        """
        await self._deliver(self._packer.add(vehicle, time_us, lon, lat, now_s=self._now_s(), **columns))

    async def send_batch(self, batch: FixBatch) -> None:
        """Add many fixes, in their order; waits and raises as :meth:`send` does."""
        await self._deliver(self._packer.add_batch(batch, now_s=self._now_s()))

    async def flush(self) -> None:
        """Send what waits and come back when the broker has everything."""
        await self._deliver(self._packer.flush())
        await asyncio.gather(*(lane.drained() for lane in self._lanes))

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def _deliver(self, messages: Sequence[Packed]) -> None:
        # All into their lanes before the first wait: nobody's later message may get in between.
        for message in messages:
            self._lanes[message.partition].put(message.value)
        self._added.set()
        for message in messages:
            await self._lanes[message.partition].room()

    async def _flush_when_due(self) -> None:
        while not self._stopping:
            due_s = self._packer.due_s
            if due_s is None:
                self._added.clear()
                await self._added.wait()
            else:
                await asyncio.sleep(max(0.0, due_s - self._now_s()))
                try:
                    await self._deliver(self._packer.flush_due(self._now_s()))
                except KafkaError:
                    return  # the lane keeps it, and the next send raises it


class _Lane:
    """The messages of one partition, one under way at a time."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int, max_pending: int) -> None:
        self._producer, self._topic, self._partition = producer, topic, partition
        self._max_pending = max_pending
        self._waiting: deque[bytes] = deque()
        self._came, self._went = asyncio.Event(), asyncio.Event()
        self._failure: KafkaError | None = None
        self.task = asyncio.create_task(self._run(), name=f"hazfence-lane-{partition}")

    def put(self, value: bytes) -> None:
        self._check()
        self._waiting.append(value)
        self._came.set()

    async def room(self) -> None:
        await self._until(self._max_pending)

    async def drained(self) -> None:
        await self._until(1)

    async def _until(self, fewer_than: int) -> None:
        while len(self._waiting) >= fewer_than:
            self._check()
            self._went.clear()
            await self._went.wait()
        self._check()

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                self._came.clear()
                await self._came.wait()
            try:
                await self._send(self._waiting[0])
            except KafkaError as error:
                self._failure = error
                self._went.set()
                return
            self._waiting.popleft()  # only now, so that drained() means delivered
            self._went.set()

    async def _send(self, value: bytes) -> None:
        tries = 0
        while True:
            try:
                await self._producer.send_and_wait(self._topic, value, partition=self._partition)
                return
            except KafkaError as error:
                # aiokafka calls its own timeout final; for a sender that must lose nothing it is not.
                if not error.retriable and not isinstance(error, KafkaTimeoutError | KafkaConnectionError):
                    raise
                delay_s = _RETRY_S[min(tries, len(_RETRY_S) - 1)]
                log = _log.warning if tries == 0 else _log.info
                log("partition %d: %r, sending again in %.1f s", self._partition, error, delay_s)
                tries += 1
                await asyncio.sleep(delay_s)
