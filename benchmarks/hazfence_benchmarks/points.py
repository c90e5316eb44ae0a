"""The kinds of points that matchers are asked: trucks, uniform and worst case, all made from a seed.

Each is ``kind(fences, n, seed) -> (lon, lat)``, float64[n] degrees. Trucks are where fences are, and near
where they were ten seconds before; uniform points are nowhere in particular; the worst are on and one ulp
beside vertices, edges, rims and the index's own cell borders. Next room: ``workloads.py``, the fences.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hazfence_benchmarks.exactness import adversarial_points
from hazfence_benchmarks.workloads import points_around
from hazfence_fences import FenceSet

__all__ = ["POINTS", "trucks", "uniform", "worst"]

F64 = NDArray[np.float64]

_FIXES = 8  # of each truck in a batch, ten seconds apart
_M_A_DEG = 111_195.0


def trucks(fences: FenceSet, n: int, seed: int = 1) -> tuple[F64, F64]:
    """Fixes of trucks in the order of time: half stand at fences, half drive from fence to fence.

    Those that drive do 30 to 60 km/h on straight ways; every fix is 5 m off, as GPS is.
    """
    rng = np.random.default_rng(seed)
    count = -(-n // _FIXES)
    boxes = np.array([f.bounds for f in fences])
    centres, reach = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    home, goal = rng.integers(0, len(boxes), (2, count))
    begin = centres[home] + rng.uniform(-1, 1, (count, 2)) * reach[home]
    way = centres[goal] - begin
    stretch = np.stack([np.cos(np.radians(begin[:, 1])), np.ones(count)], axis=1) * _M_A_DEG
    far_m = np.hypot(*(way * stretch).T)
    drives = rng.random(count) < 0.5
    step_m = np.where(drives, rng.uniform(30, 60, count) / 3.6 * 10, 0.0)
    share = step_m / np.maximum(far_m, 1.0)
    begin = begin + way * (drives * rng.random(count))[:, None]
    at = begin[None] + np.arange(_FIXES)[:, None, None] * (way * share[:, None])[None]
    at = (at + rng.normal(0, 5, at.shape) / stretch[None]).reshape(-1, 2)[:n]
    lon, lat = np.clip(at[:, 0], -180, 180), np.clip(at[:, 1], -90, 90)
    return np.ascontiguousarray(lon), np.ascontiguousarray(lat)


def uniform(fences: FenceSet, n: int, seed: int = 1) -> tuple[F64, F64]:
    """Points spread evenly over the fences' box and a twentieth around it."""
    return points_around(fences, n, seed, 0.05)


def worst(fences: FenceSet, n: int, seed: int = 1) -> tuple[F64, F64]:
    """Points meant to break an index, shuffled; see `exactness.adversarial_points`."""
    rng, lon, lat = np.random.default_rng(seed), np.empty(0), np.empty(0)
    while len(lon) < n:
        x, y = adversarial_points(fences, max(n, 1000), seed)
        lon, lat, seed = np.concatenate([lon, x]), np.concatenate([lat, y]), seed + 1
    order = rng.permutation(len(lon))[:n]
    return np.ascontiguousarray(lon[order]), np.ascontiguousarray(lat[order])


POINTS: dict[str, Callable[[FenceSet, int, int], tuple[F64, F64]]] = {
    "trucks": trucks,
    "uniform": uniform,
    "worst": worst,
}
