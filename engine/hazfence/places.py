"""Where remembered fixes lie, and which of them are next to a moment.

You are in the core, below ``blocks.py``, whose chains these look into.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.track import Track

__all__ = ["BEGINNING_US", "END_US", "Around", "Places", "blocks_around", "sorted_places"]

#: Before and after any moment.
BEGINNING_US, END_US = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class Places(NamedTuple):
    """Where fixes lie, sorted by vehicle and time."""

    codes: npt.NDArray[np.int32]
    time_us: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]

    def first(
        self, codes: npt.NDArray[np.int32], time_us: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The first place that is not before (code, time), and the first one after it, for each pair."""
        lo, hi = np.searchsorted(self.codes, codes), np.searchsorted(self.codes, codes, side="right")
        at, end = lo.copy(), hi.copy()
        for i, (a, b, moment) in enumerate(zip(lo.tolist(), hi.tolist(), time_us.tolist(), strict=True)):
            at[i] = bisect_left(self.time_us, moment, a, b)
            end[i] = bisect_right(self.time_us, moment, a, b)
        return at, end


class Around(NamedTuple):
    """What lies here around given moments; see ``Blocks.around``."""

    before: Track
    after: Track
    has_before: npt.NDArray[np.bool_]
    has_after: npt.NDArray[np.bool_]
    same: npt.NDArray[np.int64]
    known: npt.NDArray[np.bool_]
    several: npt.NDArray[np.bool_]


def blocks_around(
    row: npt.NDArray[np.int64],
    blocks: npt.NDArray[np.int32],
    time_us: npt.NDArray[np.int64],
    earliest_us: npt.NDArray[np.int64],
    latest_us: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The blocks that hold a moment, or the fix next to it on either side, of those asked for it.

    Args:
        row: of each block the place of the moment it is asked for, ascending.
        blocks: each a vehicle's.
        time_us: moments.
        earliest_us, latest_us: of every block there is.

    Returns:
        of each the place of the moment, and the block.
    """
    moment_us, first_us, last_us = time_us[row], earliest_us[blocks], latest_us[blocks]
    starts = np.flatnonzero(np.concatenate(([True], row[1:] != row[:-1])))
    counts = np.diff(np.append(starts, len(row)))
    before = np.where(last_us < moment_us, last_us, BEGINNING_US)
    after = np.where(first_us > moment_us, first_us, END_US)
    wanted = (first_us <= moment_us) & (last_us >= moment_us)
    wanted |= (last_us < moment_us) & (before == np.repeat(np.maximum.reduceat(before, starts), counts))
    wanted |= (first_us > moment_us) & (after == np.repeat(np.minimum.reduceat(after, starts), counts))
    return row[wanted].astype(np.int32), blocks[wanted]


def sorted_places(
    codes: npt.NDArray[np.int32], time_us: npt.NDArray[np.int64], slots: npt.NDArray[np.int64]
) -> Places:
    """Places sorted by vehicle and time; they come vehicle by vehicle."""
    step = codes[1:] != codes[:-1]
    step |= time_us[1:] >= time_us[:-1]
    if step.all() and (codes[1:] >= codes[:-1]).all():
        return Places(codes, time_us, slots)
    base_us = int(time_us.min())
    if int(time_us.max()) - base_us < 1 << 43 and int(codes.max()) < 1 << 20:
        # Vehicle and time in one integer: a few sorted runs, as a merge has them, sort in one pass.
        order = np.argsort((codes.astype(np.int64) << 43) | (time_us - base_us), kind="stable")
    else:
        order = np.lexsort((time_us, codes))
    return Places(codes[order], time_us[order], slots[order])
