"""Many tracks as one stream in time order, holding one batch of each in memory.

You are between the readers and the player. The engine orders fixes per vehicle and its deadlines
follow the replay's clock, so the files of a folder must be fed side by side, not one after the
other: else the second truck's morning would come after the first truck's night. Each source is
in time order itself; the merge gives out everything up to the earliest end of the batches in
hand, and then asks the sources that have run dry for their next batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from hazfence.fixes import FixBatch

__all__ = ["in_time_order", "sorted_by_time"]


def sorted_by_time(batch: FixBatch) -> FixBatch:
    """The batch with times never going back; fixes of the same time keep their order."""
    if len(batch) < 2 or bool((np.diff(batch.time_us) >= 0).all()):
        return batch
    return batch.take(np.argsort(batch.time_us, kind="stable"))


def in_time_order(sources: Iterable[Iterable[FixBatch]]) -> Iterator[FixBatch]:
    """Merge sources that are each in time order into one stream in time order.

    Args:
        sources: readers, or any iterables of batches. Fixes of the same time come in the order
            of the sources, so the merge is the same on every run.

    Yields:
        Batches, never empty.
    """
    streams = [iter(source) for source in sources]
    hand: list[FixBatch | None] = [_next(s) for s in streams]
    while True:
        live = [i for i, batch in enumerate(hand) if batch is not None]
        if not live:
            return
        parts = []
        # Up to the earliest end nothing can come later that belongs earlier.
        end = min(int(b.time_us[-1]) for b in hand if b is not None)
        for i in live:
            batch = hand[i]
            assert batch is not None
            cut = int(np.searchsorted(batch.time_us, end, side="right"))
            if cut:
                parts.append(batch.take(slice(0, cut)))
            if cut < len(batch):
                hand[i] = batch.take(slice(cut, None))
            else:
                hand[i] = _next(streams[i])
        yield sorted_by_time(FixBatch.concat(parts))


def _next(stream: Iterator[FixBatch]) -> FixBatch | None:
    for batch in stream:
        if len(batch):
            return batch
    return None
