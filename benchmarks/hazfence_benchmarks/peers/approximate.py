"""The peer that gives up exact answers for simple ones: H3 cells, with the share of wrong answers told.

Next room: ``databases.py``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import shapely

from hazfence_benchmarks.peers.base import F64, I64, Missing, areas
from hazfence_fences import FenceSet

__all__ = ["H3"]

_MANY_CELLS = 600_000
_FINEST = 12
# Mean cell area of H3's resolutions 0 to 15 falls by a factor of 7 each; resolution 0 has 122 cells.
_EARTH_KM2, _CELLS_0 = 510_065_622.0, 122
_KM2_A_DEG2 = 111.195**2


class H3:
    """Fences as sets of H3 cells whose centres they hold; a point is where its cell is.

    The resolution is the finest, up to 12 (cells of 300 m2), at which all fences together take at most
    600,000 cells.
    """

    name: ClassVar[str] = "H3 cells"
    clock: ClassVar[Literal["cpu", "wall"]] = "cpu"
    points: ClassVar[int] = 5_000

    def __init__(self, fences: FenceSet) -> None:
        try:
            import h3.api.basic_int as h3
        except ModuleNotFoundError as missing:
            raise Missing("pip install h3") from missing
        self._h3: Any = h3
        shapes = areas(fences)
        y = shapely.get_y(shapely.centroid(shapes))
        km2 = float((shapely.area(shapes) * np.cos(np.radians(y))).sum() * _KM2_A_DEG2)
        cells = [km2 / (_EARTH_KM2 / (_CELLS_0 * 7.0**r)) for r in range(_FINEST + 1)]
        self.resolution = max(r for r, count in enumerate(cells) if r == 0 or count <= _MANY_CELLS)
        self._fences_in: dict[int, list[int]] = {}
        for i, shape in enumerate(shapes):
            for part in shapely.get_parts(shape):
                for cell in h3.geo_to_cells(part, self.resolution):
                    self._fences_in.setdefault(cell, []).append(i)

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """A cell a point, a look-up a cell."""
        cell_of, fences_in, resolution = self._h3.latlng_to_cell, self._fences_in, self.resolution
        points: list[int] = []
        found: list[int] = []
        for n, (x, y) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)):
            for i in fences_in.get(cell_of(y, x, resolution), ()):
                points.append(n)
                found.append(i)
        return np.array(points, dtype=np.int64), np.array(found, dtype=np.int64)

    def close(self) -> None:
        """Nothing to give back."""
