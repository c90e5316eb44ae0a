"""Coordinates of four datums, turned into WGS-84: everything past this module is WGS-84 degrees.

GPS terminals speak WGS-84, or CGCS2000, which agrees with it within centimetres and is taken as equal.
Chinese web maps draw in GCJ-02 (Amap, Tencent) or BD-09 (Baidu); at Zhenhai GCJ-02 is about 490 m off.
Neither has an official open definition. The formulas here are the ones published independently as
``eviltransform`` (googollee, MIT), ``coordtransform`` (wandergis, MIT) and many others, all after the code
leaked as ``EvilTransform``: Krasovsky 1940 ellipsoid (a = 6378245 m, e2 = 0.00669342162296594323), identity
outside a box around China. Their inverses have no closed form; here they are fixed-point iterated until they
stand still, far below a millimetre.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Datum", "from_wgs84", "to_wgs84"]

F64 = NDArray[np.float64]

_KRASOVSKY_A_M = 6378245.0
_KRASOVSKY_E2 = 0.00669342162296594323
_BD_RAD = np.pi * 3000.0 / 180.0
# The box inside which GCJ-02 differs from WGS-84, as every published implementation has it.
_CHINA_LON = (72.004, 137.8347)
_CHINA_LAT = (0.8293, 55.8271)
# Each round of the inverses shrinks the error at least 40-fold (measured over the whole box), so 12 rounds
# end at the last bits of a double.
_INVERSE_ROUNDS = 12


class Datum(StrEnum):
    """The datum a file or feed declares. Values are what GeoJSON `datum` properties say."""

    WGS84 = "WGS-84"
    CGCS2000 = "CGCS2000"
    GCJ02 = "GCJ-02"
    BD09 = "BD-09"

    @classmethod
    def parse(cls, name: str) -> Datum:
        """The datum of that name, forgiving case, hyphens and blanks (``gcj02``, ``WGS 84``).

        Raises:
            ValueError: an unknown datum; the message lists the known ones.
        """
        squeezed = "".join(c for c in name.upper() if c.isalnum())
        for datum in cls:
            if squeezed == datum.value.replace("-", ""):
                return datum
        known = ", ".join(cls)
        raise ValueError(f"unknown datum {name!r}; use one of {known}")


def to_wgs84(lon: ArrayLike, lat: ArrayLike, datum: Datum) -> tuple[F64, F64]:
    """Turn degrees of a datum into WGS-84 degrees.

    Args:
        lon: longitudes, degrees, any shape.
        lat: latitudes, degrees, the same shape.
        datum: what they are in.

    Returns:
        (lon, lat) float64 arrays of that shape; WGS-84 and CGCS2000 come back unchanged (not copied if
        float64).

    Example:
        >>> lon, lat = to_wgs84([121.7], [29.95], Datum.GCJ02)
        >>> f"{lon[0]:.5f} {lat[0]:.5f}"
        '121.69577 29.95249'
    """
    x, y = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    if datum is Datum.BD09:
        x, y = _bd_to_gcj(x, y)
    if datum in (Datum.BD09, Datum.GCJ02):
        x, y = _gcj_to_wgs(x, y)
    return x, y


def from_wgs84(lon: ArrayLike, lat: ArrayLike, datum: Datum) -> tuple[F64, F64]:
    """Turn WGS-84 degrees into a datum's: the direction the published formulas are written in.

    Args and result are as for `to_wgs84`.
    """
    x, y = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    if datum in (Datum.BD09, Datum.GCJ02):
        x, y = _wgs_to_gcj(x, y)
    if datum is Datum.BD09:
        x, y = _gcj_to_bd(x, y)
    return x, y


def _in_china(x: F64, y: F64) -> NDArray[np.bool_]:
    return (x >= _CHINA_LON[0]) & (x <= _CHINA_LON[1]) & (y >= _CHINA_LAT[0]) & (y <= _CHINA_LAT[1])


def _gcj_shift(lon: F64, lat: F64) -> tuple[F64, F64]:
    """GCJ-02 minus WGS-84 in degrees at a WGS-84 place, without the box."""
    x, y = lon - 105.0, lat - 35.0
    root = np.sqrt(np.abs(x))
    wave = 20.0 * np.sin(6.0 * x * np.pi) + 20.0 * np.sin(2.0 * x * np.pi)
    north_m = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root
    north_m += wave * 2.0 / 3.0
    north_m += (20.0 * np.sin(y * np.pi) + 40.0 * np.sin(y / 3.0 * np.pi)) * 2.0 / 3.0
    north_m += (160.0 * np.sin(y / 12.0 * np.pi) + 320.0 * np.sin(y * np.pi / 30.0)) * 2.0 / 3.0
    east_m = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root
    east_m += wave * 2.0 / 3.0
    east_m += (20.0 * np.sin(x * np.pi) + 40.0 * np.sin(x / 3.0 * np.pi)) * 2.0 / 3.0
    east_m += (150.0 * np.sin(x / 12.0 * np.pi) + 300.0 * np.sin(x / 30.0 * np.pi)) * 2.0 / 3.0
    phi = lat / 180.0 * np.pi
    w2 = 1.0 - _KRASOVSKY_E2 * np.sin(phi) ** 2
    w = np.sqrt(w2)
    north = north_m * 180.0 / (_KRASOVSKY_A_M * (1.0 - _KRASOVSKY_E2) / (w2 * w) * np.pi)
    east = east_m * 180.0 / (_KRASOVSKY_A_M / w * np.cos(phi) * np.pi)
    return east, north


def _wgs_to_gcj(x: F64, y: F64) -> tuple[F64, F64]:
    east, north = _gcj_shift(x, y)
    inside = _in_china(x, y)
    return np.where(inside, x + east, x), np.where(inside, y + north, y)


def _gcj_to_wgs(x: F64, y: F64) -> tuple[F64, F64]:
    # The box is asked of the GCJ-02 place: at its rim, in open sea and desert, the published forward map
    # jumps and has no inverse at all.
    inside = _in_china(x, y)
    # Elsewhere, near the poles above all, the search would run away; any place in the box does.
    a, b = np.where(inside, x, 105.0), np.where(inside, y, 35.0)
    u, v = a, b
    for _ in range(_INVERSE_ROUNDS):
        east, north = _gcj_shift(u, v)
        u, v = a - east, b - north
    return np.where(inside, u, x), np.where(inside, v, y)


def _gcj_to_bd(x: F64, y: F64) -> tuple[F64, F64]:
    radius = np.sqrt(x * x + y * y) + 0.00002 * np.sin(y * _BD_RAD)
    angle = np.arctan2(y, x) + 0.000003 * np.cos(x * _BD_RAD)
    return radius * np.cos(angle) + 0.0065, radius * np.sin(angle) + 0.006


def _bd_to_gcj(x: F64, y: F64) -> tuple[F64, F64]:
    u, v = x - 0.0065, y - 0.006
    for _ in range(_INVERSE_ROUNDS):
        bd_x, bd_y = _gcj_to_bd(u, v)
        u, v = u + (x - bd_x), v + (y - bd_y)
    return u, v
