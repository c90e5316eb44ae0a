"""Grouping fixes into batch messages on the sending side, without any IO.

You are on the floor of the wire formats, on the sender's side. A Kafka message costs its reader
about 75 us whatever is in it, so a sender waits 50 to 100 ms and packs what came meanwhile into one
message a partition. :class:`Packer` takes the time as an argument and gives back messages;
``producer.py`` puts it to work on a broker. The partition of a vehicle is the one that Kafka's own
producers choose for ``key = vehicle``, so packed and simple senders agree on it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from aiokafka.partitioner import murmur2

from hazfence.fixes import FixBatch
from hazfence.wire.columns import encode_columns
from hazfence.wire.refusals import check_vehicle
from hazfence_fences.datum import Datum

__all__ = ["Packed", "Packer", "partition_of"]

_NAN = float("nan")
_Row = tuple[str, int, float, float, float, float, int, int, float]


@lru_cache(maxsize=1 << 18)
def partition_of(vehicle: str, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives the key ``vehicle``.

    murmur2 of the UTF-8 bytes, sign bit cleared, modulo the number of partitions, as in
    ``org.apache.kafka.common.utils.Utils``.

    Example:
        >>> partition_of("浙B12345", 8)
        3
    """
    return int(murmur2(vehicle.encode()) & 0x7FFFFFFF) % partitions


class Packed(NamedTuple):
    """A message to be put on a partition."""

    partition: int
    value: bytes
    fixes: int


class Packer:
    """Collects fixes a partition until there are enough of them, or they have waited long enough.

    Args:
        partitions: how many the topic has.
        max_fixes: a message has at most this many. 2000 fixes are 90 to 350 kB.
        max_delay_s: the longest that a fix waits for company, in seconds.
        datum: what the coordinates given to it are in.

    Raises:
        ValueError: a count or delay that makes no sense; adding a vehicle whose name cannot be sent.

    Example:
        >>> packer = Packer(partitions=1, max_fixes=2)
        >>> packer.add("A", 0, 121.5, 29.9, now_s=0.0)
        []
        >>> [p.fixes for p in packer.add("B", 0, 121.5, 29.9, now_s=0.01)]
        [2]
    """

    def __init__(
        self,
        partitions: int,
        *,
        max_fixes: int = 2000,
        max_delay_s: float = 0.075,
        datum: Datum = Datum.WGS84,
    ) -> None:
        if partitions < 1 or max_fixes < 1 or not max_delay_s >= 0:
            raise ValueError(
                f"partitions {partitions} and max_fixes {max_fixes} must be at least 1, "
                f"max_delay_s {max_delay_s} not negative"
            )
        self._max_fixes = max_fixes
        self._max_delay_s = max_delay_s
        self._datum = datum
        self._buffers = [_Buffer() for _ in range(partitions)]

    def add(
        self,
        vehicle: str,
        time_us: int,
        lon: float,
        lat: float,
        *,
        now_s: float,
        speed_kmh: float = _NAN,
        heading_deg: float = _NAN,
        status: int = 0,
        alarm: int = 0,
        accuracy_m: float = _NAN,
    ) -> list[Packed]:
        """Add one fix; gives the message that it filled, if it did."""
        check_vehicle(vehicle, "vehicle")
        partition = partition_of(vehicle, len(self._buffers))
        buffer = self._buffers[partition]
        buffer.rows.append((vehicle, time_us, lon, lat, speed_kmh, heading_deg, status, alarm, accuracy_m))
        return self._added(partition, buffer, 1, now_s)

    def add_batch(self, batch: FixBatch, *, now_s: float) -> list[Packed]:
        """Add many fixes, keeping their order; gives the messages that they filled."""
        n = len(self._buffers)
        for name in batch.vehicles:
            check_vehicle(name, "vehicle")
        of_code = np.array([partition_of(v, n) for v in batch.vehicles], np.int64)
        partition = of_code[batch.vehicle]
        order = np.argsort(partition, kind="stable")
        bounds = np.searchsorted(partition[order], np.arange(n + 1))
        packed = []
        for p, (start, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
            if start < stop:
                buffer = self._buffers[p]
                buffer.close_rows()
                buffer.parts.append(batch.take(order[start:stop]))
                packed += self._added(p, buffer, stop - start, now_s)
        return packed

    @property
    def due_s(self) -> float | None:
        """The moment when :meth:`flush_due` has something to give, on the clock of ``now_s``."""
        waiting = [b.since_s for b in self._buffers if b.count]
        return min(waiting) + self._max_delay_s if waiting else None

    def flush_due(self, now_s: float) -> list[Packed]:
        """The messages whose oldest fix has waited long enough."""
        due = now_s - self._max_delay_s
        # A hair of tolerance: due_s is a sum, and its rounding must not cost a second wake-up.
        return self._take([p for p, b in enumerate(self._buffers) if b.count and b.since_s <= due + 1e-6])

    def flush(self) -> list[Packed]:
        """Everything that waits, now."""
        return self._take([p for p, b in enumerate(self._buffers) if b.count])

    def _added(self, partition: int, buffer: _Buffer, count: int, now_s: float) -> list[Packed]:
        if not buffer.count:
            buffer.since_s = now_s
        buffer.count += count
        if buffer.count < self._max_fixes:
            return []
        batch = buffer.take()
        full = len(batch) - len(batch) % self._max_fixes
        if full < len(batch):
            buffer.parts.append(batch.take(slice(full, None)))
            buffer.count, buffer.since_s = len(batch) - full, now_s
        return self._encode(partition, batch.take(slice(0, full)))

    def _take(self, partitions: list[int]) -> list[Packed]:
        return [packed for p in partitions for packed in self._encode(p, self._buffers[p].take())]

    def _encode(self, partition: int, batch: FixBatch) -> list[Packed]:
        packed = []
        for start in range(0, len(batch), self._max_fixes):
            part = batch.take(slice(start, start + self._max_fixes))
            packed.append(Packed(partition, encode_columns(part, self._datum), len(part)))
        return packed


class _Buffer:
    """What waits for one partition: single fixes as rows, batches as they came, in order."""

    __slots__ = ("count", "parts", "rows", "since_s")

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.parts: list[FixBatch] = []
        self.count = 0
        self.since_s = 0.0

    def close_rows(self) -> None:
        if self.rows:
            vehicle, time_us, lon, lat, speed, heading, status, alarm, accuracy = zip(*self.rows, strict=True)
            batch = FixBatch.of(
                list(vehicle),
                time_us=time_us,
                lon=lon,
                lat=lat,
                speed_kmh=speed,
                heading_deg=heading,
                status=status,
                alarm=alarm,
                accuracy_m=None if np.isnan(accuracy).all() else accuracy,
            )
            self.parts.append(batch)
            self.rows = []

    def take(self) -> FixBatch:
        self.close_rows()
        batch = FixBatch.concat(self.parts)
        self.parts, self.count = [], 0
        return batch
