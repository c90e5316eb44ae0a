"""Which fixes lie beside a border that is guarded: nearer to a district's than they may be wrong.

You are in the core, below ``screen.py``, which calls such fixes due: from there on ``settle.py`` and, in
columns, ``leans.py`` keep in mind how certain it is that the vehicle is still on its side. All fixes are
asked, so a raster of the land tells for nearly all of them that they lie nowhere near; the rest is measured.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hazfence.ordered import distinct
from hazfence_fences import Fence, FenceSet, Metric
from hazfence_fences.index.raster import spread

__all__ = ["Beside"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]

#: Cells of the coarse raster each way, which fits a core's cache, and of the fine one, by whether there are
#: few borders or many; powers of two. What lies outside falls on some cell, too.
_COARSE, _FINE, _FINE_OF_MANY, _MANY = 512, 2048, 4096, 100
_AT_ONCE = 8192
#: Of many borders a table of small cells, which begins anew so many times each way, leaves fewer to be named.
_TURNS = 4
#: Positions that say that they may be wrong by up to so much have a raster of their own; worse ones are held
#: against the boxes of all borders, so many at a time.
_WIDE_M, _WIDE, _BOXES_AT_ONCE = 100.0, 256, 1 << 20
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
    """

    def __init__(self, fences: FenceSet, guarded: list[Fence], settle_m: float) -> None:
        self._fences, self._settle_m = fences, settle_m
        self.on = bool(guarded) and settle_m > 0.0
        self._index = np.array([fences.index_of(f.id) for f in guarded], np.int32)
        if self.on:
            edges = [f.edges() for f in guarded]
            owner = np.repeat(np.arange(len(edges)), [len(some) for some in edges])
            borders = np.concatenate(edges), owner
            many, listed = len(guarded) >= _MANY, len(guarded) > 1
            self._coarse = _Raster(borders, settle_m, _COARSE)
            self._small = _Raster(borders, settle_m, _FINE_OF_MANY, turns=_TURNS) if many else None
            self._fine = _Raster(borders, settle_m, _FINE_OF_MANY if many else _FINE, listed=listed)
            self._wide = _Raster(borders, max(settle_m, _WIDE_M), _WIDE, listed=listed)
            self._boxes = np.array([f.bounds for f in guarded]).T

    def find(
        self, lon: _Floats, lat: _Floats, error_m: npt.NDArray[np.float32] | None
    ) -> tuple[_Ints, npt.NDArray[np.int32]]:
        """The fixes beside borders: (rows, fences), by row.

        Args:
            lon, lat: degrees, finite.
            error_m: as ``Track`` has it.
        """
        if not self.on:
            return np.zeros(0, np.int64), np.zeros(0, np.int32)
        # So many at a time as stay in a core's cache: fresh memory costs more than the arithmetic done in it.
        parts = [
            self._coarse.marked(lon[a : a + _AT_ONCE], lat[a : a + _AT_ONCE]).nonzero()[0] + a
            for a in range(0, len(lon), _AT_ONCE)
        ]
        at = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros(0, np.int64)])
        found = []
        if self._small is not None:
            at = at[self._small.marked(lon.take(at), lat.take(at))]
        if len(at):
            found.append(self._near(*self._fine.near(at, lon, lat), lon, lat, self._settle_m))
        if error_m is not None and (worse := error_m.nonzero()[0]).size:
            wide = error_m.take(worse) > _WIDE_M
            for rows, borders in (
                self._wide.near(worse[~wide], lon, lat),
                self._in_boxes(worse[wide], lon, lat, error_m),
            ):
                found.append(self._near(rows, borders, lon, lat, error_m.take(rows).astype(np.float64)))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int32)
        if len(found) == 1 and len(self._index) == 1:
            return found[0]
        both = np.unique(np.concatenate([rows << 32 | fences for rows, fences in found]))
        return both >> 32, (both & 0xFFFF_FFFF).astype(np.int32)

    def _near(
        self, rows: _Ints, borders: _Ints, lon: _Floats, lat: _Floats, within_m: float | _Floats
    ) -> tuple[_Ints, npt.NDArray[np.int32]]:
        """Of rows and borders those that are near indeed: (rows, fences)."""
        fences = self._index.take(borders)
        near = self._fences.near_border(fences, lon.take(rows), lat.take(rows), within_m, sound=True)
        return rows.compress(near), fences.compress(near)

    def _in_boxes(
        self, rows: _Ints, lon: _Floats, lat: _Floats, error_m: npt.NDArray[np.float32]
    ) -> tuple[_Ints, _Ints]:
        """(rows, borders) where the row is no farther from the box around the border than it may be wrong."""
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
        return np.concatenate(found_rows), np.concatenate(found)


class _Raster:
    """Cells of land in a table that begins anew every so many cells, marked where a border is near.

    Args:
        borders: float64[n, 4] degrees, the edges of all; and int64[n], of which border each is.
        settle_m: how near.
        cells: each way, a power of two.
        turns: how often the table begins anew across the borders, each way.
        listed: whether each cell knows which borders these are; else there is but one to name.
    """

    def __init__(
        self,
        borders: tuple[_Floats, _Ints],
        settle_m: float,
        cells: int,
        *,
        turns: int = 1,
        listed: bool = False,
    ) -> None:
        edges, owner = borders
        lon, lat = edges[:, ::2], edges[:, 1::2]
        metric = Metric.at(float(lon.mean()), float(np.abs(lat).max()))
        # Not smaller than what has to be marked on both sides of a border, metres a hundredth shorter.
        half = np.array([settle_m / max(metric.kx0, 1e3), settle_m / metric.ky0]) * 1.01
        size = np.array([np.ptp(lon), np.ptp(lat)]) / (turns * (cells - 8))
        size = np.maximum(size, 2.0 * half)
        self._per_lon, self._per_lat = (1.0 / size).tolist()
        self._cells, self._bits = np.int32(cells - 1), np.int32(cells.bit_length() - 1)
        self._marked = np.zeros(cells * cells, np.bool_)
        x, y = lon * self._per_lon, lat * self._per_lat
        # Places along every edge, half a cell from one to the next at most, and those as near as that counts.
        far = np.maximum(np.abs(x[:, 1] - x[:, 0]), np.abs(y[:, 1] - y[:, 0]))
        count = np.ceil(2.0 * far).astype(np.int64) + 1
        edge, k = spread(np.zeros(len(count), np.int64), count)
        part = k / np.maximum(count - 1, 1)[edge]
        x, y = (c[edge, 0] + part * (c[edge, 1] - c[edge, 0]) for c in (x, y))
        reach = half / size + 0.26
        met = []
        for east in (-reach[0], 0.0, reach[0]):
            for north in (-reach[1], 0.0, reach[1]):
                places = self._places(x + east, y + north)
                self._marked[places] = True
                if listed:
                    key = places.astype(np.int64) << 32 | owner.take(edge)
                    # Along an edge most places are in the cell of the one before.
                    met.append(key.compress(np.append(True, key[1:] != key[:-1])))
        self._number: npt.NDArray[np.int32] | None = None
        if listed:
            key = distinct(*met)
            self._owner = key & 0xFFFF_FFFF
            cell, self._start, self._count = np.unique(key >> 32, return_index=True, return_counts=True)
            self._number = np.zeros(cells * cells, np.int32)
            self._number[cell] = np.arange(len(cell))

    def _places(self, x: _Floats, y: _Floats) -> npt.NDArray[np.int32]:
        column, row = x.astype(np.int32), y.astype(np.int32)
        column &= self._cells
        row &= self._cells
        row <<= self._bits
        row |= column
        return row

    def marked(self, lon: _Floats, lat: _Floats) -> _Bools:
        """Which places (degrees) may be near a border."""
        return self._marked.take(self._places(lon * self._per_lon, lat * self._per_lat))

    def near(self, rows: _Ints, lon: _Floats, lat: _Floats) -> tuple[_Ints, _Ints]:
        """Of some rows of places (degrees), with which borders they may be near: (rows, borders), by row."""
        places = self._places(lon.take(rows) * self._per_lon, lat.take(rows) * self._per_lat)
        some = self._marked.take(places).nonzero()[0]
        rows = rows.take(some)
        if self._number is None:
            return rows, np.zeros(len(rows), np.int64)
        number = self._number.take(places.take(some))
        owner, entry = spread(self._start.take(number), self._count.take(number))
        return rows.take(owner), self._owner.take(entry)
