"""Which segments between fixes touch which thin fences (checkpoints, above all).

An R-tree over the thin fences' boxes gives the candidates; then circles are decided by the arithmetic of
`segments`, polygons by shapely's exact `intersects`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from hazfence_fences.model import Fence
from hazfence_fences.registry import box_tree
from hazfence_fences.segments import circle_touches

__all__ = ["ThinFences"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]


class ThinFences:
    """The thin ones among some fences, ready for segments.

    Args:
        fences: fences by slot.
        slots: the slots of the thin ones.
    """

    def __init__(self, fences: Sequence[Fence], slots: I32) -> None:
        self._fences = fences
        self._slots = slots.astype(np.int64)
        boxes = np.array([fences[s].bounds for s in slots.tolist()]).reshape(-1, 4)
        self._tree = box_tree(self._slots, boxes)

    def patched(self, old: int | None, new: int | None) -> ThinFences:
        """The same with one slot gone and one come; itself when neither is thin."""
        if not any(s is not None and self._fences[s].thin for s in (old, new)):
            return self
        slots = self._slots[self._slots != (-1 if old is None else old)]
        if new is not None and self._fences[new].thin:
            slots = np.append(slots, new)
        return ThinFences(self._fences, slots.astype(np.int32))

    def hits(self, ax: F64, ay: F64, bx: F64, by: F64) -> tuple[I64, I64]:
        """(rows, slots) of all pairs that touch, in no particular order."""
        west, east = np.minimum(ax, bx), np.maximum(ax, bx)
        south, north = np.minimum(ay, by), np.maximum(ay, by)
        row, slot = self._candidates(west, south, east, north)
        hit = np.zeros(len(row), dtype=bool)
        for which in np.unique(slot).tolist():
            own = np.flatnonzero(slot == which)
            rows = row[own]
            f = self._fences[which]
            ends = ax[rows], ay[rows], bx[rows], by[rows]
            if f.metric is not None and f.radius_m is not None:
                hit[own] = circle_touches(f.metric, f.radius_m, *ends)
            else:
                lines = shapely.linestrings(np.stack([np.stack(ends[:2], 1), np.stack(ends[2:], 1)], axis=1))
                hit[own] = shapely.intersects(f.geometry, lines)
        return row[hit], slot[hit]

    def _candidates(self, west: F64, south: F64, east: F64, north: F64) -> tuple[I64, I64]:
        """Pairs (row, slot) whose boxes meet, from the R-tree's bulk query."""
        if not len(self._slots) or not len(west):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        bulk: Any = self._tree.intersection_v
        found, counts = bulk(np.stack([west, south], 1), np.stack([east, north], 1))
        return np.repeat(np.arange(len(west)), counts.astype(np.int64)), np.asarray(found, dtype=np.int64)
