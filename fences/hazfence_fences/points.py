"""Points as callers give them: two float64 arrays of one length, or an error that says what is wrong.

You are at the door of `fenceset.py`. The core knows its points to be sound and has them taken as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hazfence_fences.index.lookup import refuse_infinite

__all__ = ["finite_points", "points"]

F64 = NDArray[np.float64]


def points(lon: ArrayLike, lat: ArrayLike, *, sound: bool = False) -> tuple[F64, F64]:
    """Two float64 arrays of one length, or a ValueError that says what is wrong; `sound` ones as they are."""
    if sound:
        return lon, lat  # type: ignore[return-value]
    try:
        x = np.asarray(lon, dtype=np.float64, order="C")
        y = np.asarray(lat, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise ValueError(f"longitudes and latitudes must be numbers: {error}") from None
    if x.ndim != 1 or y.ndim != 1 or len(x) != len(y):
        raise ValueError(
            f"longitudes of shape {x.shape} and latitudes of shape {y.shape}; "
            "give two one-dimensional arrays of one length"
        )
    return x, y


def finite_points(lon: ArrayLike, lat: ArrayLike, *, sound: bool = False) -> tuple[F64, F64]:
    """`points`, all of them finite; with `sound` they are that already."""
    if sound:
        return lon, lat  # type: ignore[return-value]
    x, y = points(lon, lat)
    with np.errstate(over="ignore", invalid="ignore"):
        total = x.sum() + y.sum()  # no dot product: BLAS would start threads for it
    if not np.isfinite(total):
        refuse_infinite(x, y)
    return x, y
