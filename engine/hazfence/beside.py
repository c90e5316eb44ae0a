"""Which fixes lie beside a border that is guarded: nearer to a district's than they may be wrong.

You are in the core, below ``screen.py``, which calls such fixes due: from there on ``settle.py`` and, in
columns, ``leans.py`` keep in mind how certain it is that the vehicle is still on its side. All fixes are
asked. Where fixes are located, that names the few that may be near (``FenceSet.around``); tables of the land
around borders (``hazfence_fences.around``) leave fewer of these, and of those the distance is measured.
"""

from __future__ import annotations

from functools import cached_property
from math import ceil, pi, sqrt

import numpy as np
import numpy.typing as npt

from hazfence.ordered import begins
from hazfence_fences import Fence, FenceSet
from hazfence_fences.around import Around, EdgeBits, EdgeCells
from hazfence_fences.borders import beside_edges, metric_of

__all__ = ["Beside"]

_Ints = npt.NDArray[np.int64]
_Ints32 = npt.NDArray[np.int32]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]

#: Cells each way of the table that all fixes are asked of that were not located, which fits a core's cache;
#: of the one that names edges, by whether there are few borders or many; and where there are many, of the one
#: before that, a bit a cell, which begins anew so many times each way.
_FIRST, _FINE, _FINE_OF_MANY, _MANY = 1024, 2048, 4096, 100
_BITS, _TURNS = 8192, 4
_AT_ONCE = 8192
#: Positions that say that they may be wrong by up to so much have a table of their own; worse ones are held
#: against the boxes of all borders, so many at a time.
_WIDE_M, _WIDE, _BOXES_AT_ONCE = 100.0, 2048, 1 << 20
#: A true circle's border is drawn in chords no farther from it than this part of the distance asked for.
_CHORD = 0.005
#: Metres of a degree of latitude, and a little less.
_DEGREE_M = 110_000.0


class Beside:
    """Knows the guarded districts of one set of fences.

    Args:
        fences: the set.
        guarded: the districts, of that set.
        settle_m: see ``EngineSettings``; with 0 nothing is beside a border.

    Attributes:
        on: whether anything can be.
        guards: bool, a fence of the set each: whether it is guarded.
    """

    def __init__(self, fences: FenceSet, guarded: list[Fence], settle_m: float) -> None:
        self._fences, self._settle_m = fences, settle_m
        self.on = bool(guarded) and settle_m > 0.0
        self._index = np.array([fences.index_of(f.id) for f in guarded], np.int32)
        self.guards = np.zeros(len(fences), np.bool_)
        if not self.on:
            return
        self.guards[self._index] = True
        lines = [_border(fence, settle_m) for fence in guarded]
        edges = np.concatenate(lines)
        self._edges = edges
        #: Of each edge the border, and of each border what tells how near a place is to an edge of it.
        self._owner = np.repeat(np.arange(len(lines), dtype=np.int32), [len(line) for line in lines])
        middle = [metric_of(fence) for fence in guarded]
        self._metric = np.array([[m.lat, m.kx0, m.kx1, m.ky0] for m in middle])
        self._round = np.array([fence.metric is not None for fence in guarded])
        self._any_round = bool(self._round.any())
        many = len(guarded) >= _MANY
        self._first = EdgeBits(edges, settle_m, _FIRST)
        self._small = EdgeBits(edges, settle_m, _BITS, turns=_TURNS) if many else None
        self._fine = EdgeCells(edges, settle_m, _FINE_OF_MANY if many else _FINE)
        self._wide = EdgeCells(edges, max(settle_m, _WIDE_M), _WIDE)
        self._boxes = np.array([f.bounds for f in guarded]).T

    @cached_property
    def around(self) -> Around | None:
        """What to give to ``FenceSet.locate``, so that it names the fixes for :meth:`find`."""
        return self._fences.around(self._edges, self._settle_m) if self.on else None

    def find(
        self,
        lon: _Floats,
        lat: _Floats,
        error_m: npt.NDArray[np.float32] | None,
        rows: _Ints | None = None,
    ) -> _Ints:
        """The fixes beside borders: row << 32 | fence, ascending.

        Args:
            lon, lat: degrees, finite.
            error_m: as ``Track`` has it.
            rows: those that may be within ``settle_m`` of a border, as ``locate`` named them; None: anyone.
        """
        if not self.on:
            return np.zeros(0, np.int64)
        rows = self._marked(lon, lat) if rows is None else rows
        found = [self._within(rows, lon, lat)]
        if error_m is not None and (worse := error_m.nonzero()[0]).size:
            wide = error_m.take(worse) > _WIDE_M
            near, edges = self._wide.near(worse[~wide], lon, lat)
            found.append(self._beside(near, edges, lon, lat, error_m.take(near).astype(np.float64)))
            near, fences = self._in_boxes(worse[wide], lon, lat, error_m)
            of_m = error_m.take(near).astype(np.float64)
            at = self._fences.near_border(fences, lon.take(near), lat.take(near), of_m, sound=True)
            found.append(near.compress(at) << 32 | fences.compress(at))
        key = found[0] if len(found) == 1 else np.concatenate(found)
        key.sort(kind="stable")
        return key.compress(begins(key))

    def near(self, fence: npt.NDArray[np.integer], lon: _Floats, lat: _Floats) -> _Bools:
        """Which places (degrees, finite) lie within ``settle_m`` of the border, guarded, beside them.

        As ``FenceSet.near_border`` has it; most places are told by a look at one table.
        """
        rows = np.arange(len(fence))
        key = self._within(rows, lon, lat)
        found = np.zeros(len(fence), np.bool_)
        row = key >> 32
        found[row.compress(fence.take(row) == key & 0xFFFF_FFFF)] = True
        return found

    def _marked(self, lon: _Floats, lat: _Floats) -> _Ints:
        """The fixes that may be near, of all."""
        # So many at a time as stay in a core's cache: fresh memory costs more than the arithmetic done in it.
        parts = [
            self._first.marked(lon[a : a + _AT_ONCE], lat[a : a + _AT_ONCE]).nonzero()[0] + a
            for a in range(0, len(lon), _AT_ONCE)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros(0, np.int64)])

    def _within(self, rows: _Ints, lon: _Floats, lat: _Floats) -> _Ints:
        """Of some rows (row << 32 | fence) for those within ``settle_m``, by row; some more than once."""
        if self._small is not None:
            rows = rows[self._small.marked(lon.take(rows), lat.take(rows))]
        return self._beside(*self._fine.near(rows, lon, lat), lon, lat, self._settle_m)

    def _beside(
        self, rows: _Ints, edges: _Ints32, lon: _Floats, lat: _Floats, within_m: float | _Floats
    ) -> _Ints:
        """Of rows and edges those that are near indeed: (row << 32 | fence)."""
        x, y, border = lon.take(rows), lat.take(rows), self._owner.take(edges)
        ax, ay, bx, by = self._edges.take(edges, axis=0).T
        middle, kx0, kx1, ky = self._metric.take(border, axis=0).T
        near = beside_edges((ax, bx, ay, by), x, y, kx0 + kx1 * (y - middle), ky, within_m)
        fence = self._index.take(border)
        if self._any_round:
            at = self._round.take(border).nonzero()[0]
            some_m = within_m if isinstance(within_m, float) else within_m.take(at)
            near[at] = self._fences.near_border(fence.take(at), x.take(at), y.take(at), some_m, sound=True)
        found: _Ints = rows.compress(near) << 32 | fence.compress(near)
        return found

    def _in_boxes(
        self, rows: _Ints, lon: _Floats, lat: _Floats, error_m: npt.NDArray[np.float32]
    ) -> tuple[_Ints, _Ints32]:
        """(rows, fences) where the row is no farther from the box around the border than it may be wrong."""
        west, south, east, north = self._boxes
        found_rows, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        step = max(_BOXES_AT_ONCE // len(self._index), 1)
        for a in range(0, len(rows), step):
            some = rows[a : a + step]
            x, y = lon.take(some)[:, None], lat.take(some)[:, None]
            off_y = error_m.take(some).astype(np.float64)[:, None] / _DEGREE_M
            highest = np.minimum(np.maximum(np.abs(y), np.maximum(-south, north)) + off_y, 89.9)
            off_x = off_y / np.cos(np.radians(highest))
            inside = (x >= west - off_x) & (x <= east + off_x) & (y >= south - off_y) & (y <= north + off_y)
            row, border = inside.nonzero()
            found_rows.append(some.take(row))
            found.append(border)
        return np.concatenate(found_rows), self._index.take(np.concatenate(found))


def _border(fence: Fence, within_m: float) -> _Floats:
    """The edges of a border: float64[n, 4] degrees; of a true circle so many that they are as good as it."""
    if fence.metric is None:
        return fence.edges()
    assert fence.radius_m is not None
    points = max(ceil(pi * sqrt(fence.radius_m / (2.0 * _CHORD * within_m))), 16)
    ring = fence.metric.ring(fence.radius_m, points)
    return np.hstack((ring[:-1], ring[1:]))
