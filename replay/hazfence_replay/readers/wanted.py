"""Which fixes of a source are wanted: a span of time, some vehicles, or all.

You are beside the readers. Every source can be asked for a part: ``hazfence replay --from ... --to ...
--vehicle ...``. A source that can leave the rest unread (the fix table, a topic, a Parquet file with
statistics) looks at the fields; for all others :meth:`Wanted.cut` leaves it out of each batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hazfence.fixes import FixBatch

__all__ = ["Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A part of a source.

    Attributes:
        since_us: fixes before this moment are left out; microseconds UTC, None for no bound.
        until_us: fixes from this moment on are left out; microseconds UTC, None for no bound.
        vehicles: names of the wanted vehicles; None for all.

    Raises:
        ValueError: the span ends before it begins.

    Example:
        >>> batch = FixBatch.of(["A", "B"], time_us=[0, 0], lon=[1, 1], lat=[2, 2])
        >>> Wanted(vehicles=frozenset({"A"})).cut(batch)
        FixBatch(1 fixes of 1 vehicles)
    """

    since_us: int | None = None
    until_us: int | None = None
    vehicles: frozenset[str] | None = field(default=None)

    def __post_init__(self) -> None:
        if self.since_us is not None and self.until_us is not None and self.since_us >= self.until_us:
            raise ValueError("the wanted span of time ends before it begins: --from must be before --to")

    def cut(self, batch: FixBatch) -> FixBatch:
        """The wanted fixes of a batch; the batch itself when that is all of it."""
        keep = np.ones(len(batch), dtype=np.bool_)
        if self.since_us is not None:
            keep &= batch.time_us >= self.since_us
        if self.until_us is not None:
            keep &= batch.time_us < self.until_us
        if self.vehicles is not None:
            named = np.fromiter((v in self.vehicles for v in batch.vehicles), np.bool_, len(batch.vehicles))
            keep &= named[batch.vehicle]
        if keep.all():
            return batch
        part = batch.take(keep)
        if self.vehicles is None:
            return part
        # Names that are not wanted must not get into anybody's memory.
        used, codes = np.unique(part.vehicle, return_inverse=True)
        names = tuple(part.vehicles[code] for code in used.tolist())
        return replace(part, vehicles=names, vehicle=codes.astype(np.int32))
