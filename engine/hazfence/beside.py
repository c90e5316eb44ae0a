"""Which fixes lie beside a border that is guarded: nearer to a district's than they may be wrong.

You are in the core, below ``screen.py``, which calls such fixes due: from there on ``settle.py`` and, in
columns, ``leans.py`` keep in mind how certain it is that the vehicle is still on its side. All fixes are
asked, so a raster of the land tells for nearly all of them that they lie nowhere near; the rest is measured.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hazfence_fences import Fence, FenceSet, Metric
from hazfence_fences.index.raster import spread

__all__ = ["Beside"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]

#: Cells of the coarse raster each way, which fits a core's cache, and of the fine one; powers of two. What
#: lies outside falls on some cell, too.
_COARSE, _FINE = 512, 2048
_AT_ONCE = 8192
#: Positions that say that they may be wrong by up to so much have a raster of their own; worse ones are all
#: measured.
_WIDE_M, _WIDE = 100.0, 256


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
            edges = np.concatenate([f.edges() for f in guarded])
            self._coarse, self._fine = (_Raster(edges, settle_m, cells) for cells in (_COARSE, _FINE))
            self._wide = _Raster(edges, max(settle_m, _WIDE_M), _WIDE)

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
        if len(at):
            at = at[self._fine.marked(lon.take(at), lat.take(at))]
        found = [self._near(at, lon, lat, self._settle_m)] if len(at) else []
        if error_m is not None and (worse := error_m.nonzero()[0]).size:
            wide = self._wide.marked(lon.take(worse), lat.take(worse)) | (error_m.take(worse) > _WIDE_M)
            worse = worse[wide]
            found.append(self._near(worse, lon, lat, error_m.take(worse).astype(np.float64)))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int32)
        if len(found) == 1 and len(self._index) == 1:
            return found[0]
        both = np.unique(np.concatenate([rows << 32 | fences for rows, fences in found]))
        return both >> 32, (both & 0xFFFF_FFFF).astype(np.int32)

    def _near(
        self, at: _Ints, lon: _Floats, lat: _Floats, within_m: float | _Floats
    ) -> tuple[_Ints, npt.NDArray[np.int32]]:
        districts = len(self._index)
        rows, fences = np.repeat(at, districts), np.tile(self._index, len(at))
        if isinstance(within_m, np.ndarray):
            within_m = np.repeat(within_m, districts)
        near = self._fences.near_border(fences, lon[rows], lat[rows], within_m, sound=True)
        return rows[near], fences[near]


class _Raster:
    """Cells of land in a table that begins anew every so many cells, marked where a border is near.

    Args:
        edges: float64[n, 4] degrees, of the borders.
        settle_m: how near.
        cells: each way, a power of two.
    """

    def __init__(self, edges: _Floats, settle_m: float, cells: int) -> None:
        lon, lat = edges[:, ::2], edges[:, 1::2]
        metric = Metric.at(float(lon.mean()), float(np.abs(lat).max()))
        # Not smaller than what has to be marked on both sides of a border, metres a hundredth shorter.
        half = np.array([settle_m / max(metric.kx0, 1e3), settle_m / metric.ky0]) * 1.01
        size = np.array([np.ptp(lon), np.ptp(lat)]) / (cells - 8)
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
        for east in (-reach[0], 0.0, reach[0]):
            for north in (-reach[1], 0.0, reach[1]):
                self._marked[self._places(x + east, y + north)] = True

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
