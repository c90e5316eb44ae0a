"""Which segments between fixes touch which thin fences (checkpoints, above all).

Nearly all segments are short and far from every thin fence, so the first step only proves that: a grid says
of each cell which thin fences come within a reach of it, and a segment that begins there and is not longer
than the reach cannot get to others. Longer segments (after a gap) ask a coarser grid, the longest (and all
long ones where fences lie thick) an R-tree over the fences' boxes. What is left is decided pair by pair:
circles by the arithmetic of `segments`, polygons by shapely's exact `intersects`.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from hazfence_fences.index.lookup import refuse_infinite
from hazfence_fences.index.raster import spread
from hazfence_fences.metric import Metric
from hazfence_fences.model import Fence
from hazfence_fences.registry import box_tree
from hazfence_fences.segments import circle_touches

__all__ = ["ThinFences"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

# More than a truck drives in half a minute on a motorway (80 km/h: 670 m), in longitude too; then eight times
# that.
_NEAR_DEG, _FAR_DEG = 0.0075, 0.06
_THICK = 16  # fences within reach of a busy cell, on average, from which on the R-tree is faster
_CELLS_PER_REACH = 3
_MAX_CELLS = 2**18  # a grid should stay in a core's cache
_RIM = _CELLS_PER_REACH + 2  # empty cells around the boxes: points outside the grid are put into them
# Segments handled at a time: many, for the few that come into question; in the first step few enough for its
# scratch arrays to stay in a core's second-level cache.
_BATCH = 131_072
_STEP = 32_768
# So many pairs of a segment and a fence are all looked at; more are looked up.
_PAIRS = 2048


class _NotFiniteError(Exception):
    """Some end of a segment is not finite."""


class _Scratch(local):
    """Each thread's scratch arrays, kept: fresh memory costs more than the arithmetic done in it."""

    def __init__(self) -> None:
        self._all = _scratch_of(_STEP)

    def cut(self, n: int) -> tuple[F64, I32, I32, I64]:
        """Room for n numbers, columns, rows and codes."""
        if n > _STEP:
            return _scratch_of(n)
        work, col, row, code = self._all
        return work[:n], col[:n], row[:n], code[:n]


def _scratch_of(n: int) -> tuple[F64, I32, I32, I64]:
    return np.empty(n), np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int64)


_scratch = _Scratch()


class _Reach:
    """A grid whose cells list the thin fences within a reach of them."""

    def __init__(self, boxes: F64, reach_deg: float) -> None:
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        size = np.maximum(high - low, 1e-9)
        least = max(float(np.sqrt(size.prod() / _MAX_CELLS)), float(size.max()) * 8 / _MAX_CELLS)
        cell = max(reach_deg / _CELLS_PER_REACH, least)
        self.reach, self._per_deg = cell * _CELLS_PER_REACH, 1.0 / cell
        self._x0, self._y0 = (low - _RIM * cell).tolist()
        self._nx, self._ny = (np.ceil(size / cell).astype(int) + 2 * _RIM).tolist()
        origin, reach = np.array([self._x0, self._y0]), self.reach + cell * 1e-6  # a hair more, for rounding
        first = np.floor((boxes[:, :2] - reach - origin) / cell).astype(np.int64)
        count = np.floor((boxes[:, 2:] + reach - origin) / cell).astype(np.int64) + 1 - first
        fence, col = spread(first[:, 0], count[:, 0])
        pair, row = spread(first[fence, 1], count[fence, 1])
        code, fence = row * self._nx + col[pair], fence[pair]
        self._held = fence[code.argsort(kind="stable")]
        self._count = np.bincount(code, minlength=self._nx * self._ny)
        self._start = self._count.cumsum() - self._count
        self._busy = self._count > 0
        self.thick = len(code) > _THICK * np.count_nonzero(self._busy)

    def code(self, x: F64, y: F64) -> I64:
        """The cell of each point; holds until the next question of the thread."""
        work, col, row, code = _scratch.cut(len(x))
        for values, origin, last, cell in (
            (x, self._x0, self._nx - 1.0, col),
            (y, self._y0, self._ny - 1.0, row),
        ):
            np.subtract(values, origin, out=work)
            np.multiply(work, self._per_deg, out=work)
            np.clip(work, 0.0, last, out=work)
            np.copyto(cell, work, casting="unsafe")
        np.multiply(row, self._nx, out=row)
        np.add(row, col, out=row)
        np.copyto(code, row)
        return code

    def beyond(self, ax: F64, ay: F64, bx: F64, by: F64) -> NDArray[np.bool_] | None:
        """Which segments are longer than the reach, east-west or north-south, or not finite; None: none."""
        work = _scratch.cut(len(ax))[0]
        for a, b in ((ax, bx), (ay, by)):
            np.subtract(b, a, out=work)
            # Extremes cost half of what it costs to ask each; NaN is both of them.
            if not (work.min() >= -self.reach and work.max() <= self.reach):
                break
        else:
            return None
        short = np.abs(bx - ax) <= self.reach
        short &= np.abs(by - ay) <= self.reach
        return ~short

    def busy(self, code: I64, out: NDArray[np.bool_]) -> None:
        """Write down whether any thin fence is within reach of each cell."""
        np.take(self._busy, code, out=out, mode="clip")

    def pairs(self, rows: I64, code: I64) -> tuple[I64, I64]:
        """(row, thin fence) for all fences within reach of the rows' cells."""
        owner, place = spread(self._start[code], self._count[code])
        return rows[owner], self._held[place]


class ThinFences:
    """The thin ones among some fences, ready for segments.

    Args:
        fences: fences by slot.
        slots: the slots of the thin ones.
    """

    def __init__(self, fences: Sequence[Fence], slots: I32) -> None:
        self._fences = fences
        self._slots = slots.astype(np.int64)
        thin = [fences[s] for s in slots.tolist()]
        self._boxes = np.array([f.bounds for f in thin]).reshape(-1, 4)
        self._tree = box_tree(np.arange(len(thin)), self._boxes)
        self._areas = np.array([f.geometry for f in thin], dtype=object)
        self._round = np.array([f.metric is not None for f in thin], dtype=bool)
        self._constants = np.array([_constants(f) for f in thin]).reshape(-1, 9)
        self._near: _Reach | None = None
        self._far: _Reach | None = None
        if thin:
            self._near, self._far = _Reach(self._boxes, _NEAR_DEG), _Reach(self._boxes, _FAR_DEG)

    def patched(self, old: int | None, new: int | None) -> ThinFences:
        """The same with one slot gone and one come; itself when neither is thin."""
        if not any(s is not None and self._fences[s].thin for s in (old, new)):
            return self
        slots = self._slots[self._slots != (-1 if old is None else old)]
        if new is not None and self._fences[new].thin:
            slots = np.append(slots, new)
        return ThinFences(self._fences, slots.astype(np.int32))

    def hits(self, ax: F64, ay: F64, bx: F64, by: F64) -> tuple[I64, I64]:
        """(rows, slots) of all pairs that touch, in no particular order.

        Raises:
            ValueError: an end is not finite; the message names the row.
        """
        none = np.zeros(0, np.int64)
        if not len(self._slots):
            refuse_infinite(ax, ay)
            refuse_infinite(bx, by)
            return none, none
        found = []
        for a in range(0, len(ax), _BATCH):
            part = slice(a, a + _BATCH)
            ends = ax[part], ay[part], bx[part], by[part]
            try:
                row, fence = self._candidates(*ends)
            except _NotFiniteError:
                refuse_infinite(ax, ay)
                refuse_infinite(bx, by)
                raise
            if len(row):
                hit = self._decide(fence, *(v[row] for v in ends))
                found.append((row[hit] + a, self._slots[fence[hit]]))
        return (
            np.concatenate([none, *(row for row, _ in found)]),
            np.concatenate([none, *(slot for _, slot in found)]),
        )

    def _candidates(self, ax: F64, ay: F64, bx: F64, by: F64) -> tuple[I64, I64]:
        """Pairs (row, thin fence) that might touch: their boxes meet."""
        if len(ax) * len(self._slots) <= _PAIRS:
            return self._all_pairs(ax, ay, bx, by)
        near, far = self._near, self._far
        assert near is not None
        assert far is not None
        maybe = np.empty(len(ax), bool)
        far_ones = []
        with np.errstate(over="ignore", invalid="ignore"):
            for a in range(0, len(ax), _STEP):
                part = slice(a, a + _STEP)
                ends = ax[part], ay[part], bx[part], by[part]
                near.busy(near.code(*ends[:2]), maybe[part])
                beyond = near.beyond(*ends)
                if beyond is not None:
                    far_ones.append(beyond.nonzero()[0] + a)
        rest = np.concatenate(far_ones) if far_ones else np.zeros(0, np.int64)
        if not all(np.isfinite(v[rest]).all() for v in (ax, ay, bx, by)):
            raise _NotFiniteError
        maybe[rest] = False
        short = maybe.nonzero()[0]
        found = [near.pairs(short, near.code(ax[short], ay[short]))]
        if len(rest):
            length = np.maximum(np.abs(bx[rest] - ax[rest]), np.abs(by[rest] - ay[rest]))
            fits = (length <= far.reach) & (not far.thick)
            some, rest = rest[fits], rest[~fits]
            found.append(far.pairs(some, far.code(ax[some], ay[some])))
        if len(rest):
            found.append(self._from_tree(rest, ax[rest], ay[rest], bx[rest], by[rest]))
        row, fence = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
        if not len(row):
            return row, fence
        box = self._boxes[fence]
        ax, ay, bx, by = ax[row], ay[row], bx[row], by[row]
        meets = (np.minimum(ax, bx) <= box[:, 2]) & (np.maximum(ax, bx) >= box[:, 0])
        meets &= (np.minimum(ay, by) <= box[:, 3]) & (np.maximum(ay, by) >= box[:, 1])
        return row[meets], fence[meets]

    def _all_pairs(self, ax: F64, ay: F64, bx: F64, by: F64) -> tuple[I64, I64]:
        """The same of so few that all are held against each other sooner than looked up."""
        if not all(np.isfinite(v).all() for v in (ax, ay, bx, by)):
            raise _NotFiniteError
        west, south, east, north = self._boxes.T[:, :, None]
        meets = (np.minimum(ax, bx) <= east) & (np.maximum(ax, bx) >= west)
        meets &= (np.minimum(ay, by) <= north) & (np.maximum(ay, by) >= south)
        fence, row = meets.nonzero()
        return row, fence

    def _from_tree(self, rows: I64, ax: F64, ay: F64, bx: F64, by: F64) -> tuple[I64, I64]:
        """Pairs (row, thin fence) whose boxes meet, from the R-tree's bulk query."""
        low = np.stack([np.minimum(ax, bx), np.minimum(ay, by)], axis=1)
        high = np.stack([np.maximum(ax, bx), np.maximum(ay, by)], axis=1)
        bulk: Any = self._tree.intersection_v
        found, counts = bulk(low, high)
        return rows.repeat(counts.astype(np.int64)), np.asarray(found, dtype=np.int64)

    def _decide(self, fence: I64, ax: F64, ay: F64, bx: F64, by: F64) -> NDArray[np.bool_]:
        """Which pairs of a thin fence and a segment touch."""
        hit = self._round[fence]
        disc, area = hit.nonzero()[0], (~hit).nonzero()[0]
        if len(disc):
            lon, lat, kx0, kx1, ky0, ky1, r2, half_w, half_h = self._constants[fence[disc]].T
            metric: Any = Metric(lon, lat, kx0, kx1, ky0, ky1)
            hit[disc] = circle_touches(metric, r2, half_w, half_h, ax[disc], ay[disc], bx[disc], by[disc])
        if len(area):
            ends = np.stack([np.stack([ax[area], ay[area]], 1), np.stack([bx[area], by[area]], 1)], axis=1)
            hit[area] = shapely.intersects(self._areas[fence[area]], shapely.linestrings(ends))
        return hit


def _constants(fence: Fence) -> tuple[float, ...]:
    """A circle's metric, squared radius and half box; zeros for a polygon."""
    m, radius_m = fence.metric, fence.radius_m
    if m is None or radius_m is None:
        return (0.0,) * 9
    return (m.lon, m.lat, m.kx0, m.kx1, m.ky0, m.ky1, radius_m * radius_m, *m.half_box_deg(radius_m))
