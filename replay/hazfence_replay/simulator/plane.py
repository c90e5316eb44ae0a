"""Metres east and north about one place: roads and motion are planned on a plane.

You are on the lowest floor of the simulator. Degrees are never metres, so everything between the
fences (degrees in) and the fixes (degrees out) happens in a transverse Mercator projection about
the district's middle, true to a few centimetres over the 50 km that a day's traffic covers.
Next room: ``country.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

__all__ = ["Plane"]

F64 = npt.NDArray[np.float64]


class Plane:
    """A local plane of metres.

    Args:
        lon, lat: its origin, degrees WGS-84.

    Attributes:
        metres_a_degree: float64[2], length of a degree of longitude and of latitude at the origin,
            good enough for offsets of a few metres anywhere in a district.
    """

    def __init__(self, lon: float, lat: float) -> None:
        self._proj = pyproj.Proj(proj="tmerc", lon_0=lon, lat_0=lat, ellps="WGS84")
        tiny = 1e-4
        corner = self.metres(np.array([[lon + tiny, lat + tiny]]))[0]
        self.metres_a_degree: F64 = corner / tiny

    def metres(self, lonlat: F64) -> F64:
        """float64[n, 2] degrees to float64[n, 2] metres (east, north)."""
        return np.column_stack(self._proj(lonlat[:, 0], lonlat[:, 1]))

    def degrees(self, xy: F64) -> F64:
        """float64[n, 2] metres to float64[n, 2] degrees (lon, lat)."""
        return np.column_stack(self._proj(xy[:, 0], xy[:, 1], inverse=True))

    def geometry(self, geometry: Any) -> Any:
        """A shapely geometry in degrees as one in metres."""
        return shapely.transform(geometry, self.metres)
