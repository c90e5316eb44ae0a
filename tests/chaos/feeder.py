"""The feed: a day of trucks with late, doubled and unusable fixes and rubbish between them, from a seed."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from hazfence import FixBatch
from hazfence.wire import encode_fix
from hazfence.wire.packer import partition_of
from hazfence.wire.producer import FixProducer

TRUCKS = 60
DAY_US = 1_772_380_800_000_000
_STEP_US = 15_000_000
_RUBBISH = [
    b'{"vehicle":"A","time"', b"\xff\xfe\x00", b'{"vehicle":5,"time_ms":1,"lon":1,"lat":1}', b"",
    b'{"vehicle":"A","time":"2026-03-02T08:00:00Z","lon":500,"lat":29.9}',
    b'{"vehicle":"A","time":"2026-03-02T08:00:00Z","lon":0,"lat":0}', b"\x89HZF\x01\x00\xff\xff" + bytes(16),
    b'{"vehicle":"\\u6d59B; DROP TABLE \'\\"","time":"2026-03-02T08:00:00Z","lon":NaN,"lat":29.9}',
]  # fmt: skip


class Feeder:
    """Sends a few steps of the day every quarter of a second until it is told to stop.

    Attributes:
        sent: how often each (vehicle, time) was sent and confirmed, at least.
    """

    def __init__(self, kafka: str, topic: str, partitions: int, seed: int, *, steps: int = 4) -> None:
        self._kafka, self._topic, self._partitions = kafka, topic, partitions
        self._rng, self._steps = random.Random(seed), steps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="feeder")
        self._failure: BaseException | None = None
        self.sent: Counter[tuple[str, int]] = Counter()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, deliver everything, and raise what went wrong."""
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        try:
            async with FixProducer(
                self._kafka, self._topic, max_fixes=100, request_timeout_ms=5000
            ) as packed:
                await self._feed(packed)
        except BaseException as error:
            self._failure = error

    async def _feed(self, packed: FixProducer) -> None:
        step, kept = 0, FixBatch.empty()
        while not self._stop.is_set():
            batch = steps(step, self._steps)
            step += self._steps
            rng = np.random.default_rng(self._rng.getrandbits(32))
            late = rng.random(len(batch)) < 0.01  # comes minutes after its time, or hours
            now = FixBatch.concat([batch.take(~late), batch.take(rng.random(len(batch)) < 0.01)])
            kept = FixBatch.concat([kept, batch.take(late)])
            if len(kept) > 200 or self._rng.random() < 0.1:
                now, kept = FixBatch.concat([now, kept]), FixBatch.empty()
            await self._send(packed, now)
            await self._singles(now.take(slice(0, 3)))
            await asyncio.sleep(0.25)
        await self._send(packed, kept)
        await packed.flush()

    async def _send(self, packed: FixProducer, batch: FixBatch) -> None:
        if len(batch):
            self.sent.update(zip(batch.names(), batch.time_us.tolist(), strict=True))
            await packed.send_batch(batch)

    async def _singles(self, again: FixBatch) -> None:
        """Fixes once more, one a message, and rubbish; sent until they are there, so perhaps twice."""
        values = [
            (encode_fix(v, int(t), float(x), float(y), speed_kmh=float(s), status=3), v)
            for v, t, x, y, s in zip(
                again.names(), again.time_us, again.lon, again.lat, again.speed_kmh, strict=True
            )
        ]
        values += [(value, "rubbish") for value in self._rng.sample(_RUBBISH, 2)]
        while True:
            producer = AIOKafkaProducer(bootstrap_servers=self._kafka, request_timeout_ms=5000)
            try:
                await producer.start()
                for value, key in values:
                    where = partition_of(key, self._partitions)
                    await producer.send_and_wait(self._topic, value, partition=where)
                return
            except KafkaError:
                await asyncio.sleep(0.2)
            finally:
                await producer.stop()


def steps(first: int, count: int) -> FixBatch:
    """Trucks that cross the district in all directions, a fix each 15 s, in the order of time."""
    vehicle = np.tile(np.arange(TRUCKS, dtype=np.int32), count)
    step = np.repeat(np.arange(first, first + count), TRUCKS)
    return FixBatch.of(
        vehicle,
        vehicles=[f"浙B{i:05d}" for i in range(TRUCKS)],
        time_us=DAY_US + step.astype(np.int64) * _STEP_US,
        lon=121.4 + 0.4 * ((vehicle * 0.37 + step * 0.003) % 1.0),
        lat=29.85 + 0.2 * ((vehicle * 0.71 + step * 0.0013) % 1.0),
        speed_kmh=40.0 + vehicle % 50,
        status=3,
    )
