"""The fence sets and points of the benchmarks and of the exactness checks, all made from a seed.

Sets: A, the district with its six checkpoints; B, a country cut into 2,900 wiggly districts that share their
borders; C, thousands of small overlapping fences around the district; torture, everything that geometry can
do to an index.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Polygon, box

from hazfence_fences import Fence, FenceKind, FenceSet, circle, corridor, load_fences

__all__ = ["DISTRICT_BOX", "SETS", "points_around", "set_a", "set_b", "set_c", "torture"]

F64 = NDArray[np.float64]

ZHENHAI = Path(__file__).parents[2] / "fences" / "zhenhai"
# West, south, east, north of the district with its surroundings, degrees.
DISTRICT_BOX = (121.40, 29.85, 121.85, 30.12)
_LAT = 29.98


def set_a(folder: Path = ZHENHAI) -> FenceSet:
    """The district and its six checkpoints: 7 fences."""
    wanted = (FenceKind.DISTRICT, FenceKind.CHECKPOINT)
    return FenceSet(f for f in load_fences(folder) if f.kind in wanted)


def set_b(seed: int = 1, columns: int = 54, rows: int = 54, points_per_side: int = 36) -> FenceSet:
    """A coverage of 54 x 54 districts with shared, wiggly borders: 2,916 fences, 425k vertices.

    Their corners are a jittered lattice over a box as large as China, finer towards the east as real
    districts are; their sides are random walks pinned at both corners.
    """
    rng = np.random.default_rng(seed)
    s, t = np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1)
    lon, lat = 80.0 + 45.0 * (1 - (1 - s) ** 1.6), 22.0 + 26.0 * t**1.3
    x, y = (
        np.broadcast_to(lon[:, None], (columns + 1, rows + 1)),
        np.broadcast_to(lat, (columns + 1, rows + 1)),
    )
    step_x, step_y = np.gradient(lon)[:, None], np.gradient(lat)[None, :]
    x = x + rng.uniform(-0.2, 0.2, x.shape) * step_x
    y = y + rng.uniform(-0.2, 0.2, y.shape) * step_y
    across, up = {}, {}
    for i in range(columns + 1):
        for j in range(rows + 1):
            here = np.array([x[i, j], y[i, j]])
            if i < columns:
                across[i, j] = _wiggle(rng, here, np.array([x[i + 1, j], y[i + 1, j]]), points_per_side)
            if j < rows:
                up[i, j] = _wiggle(rng, here, np.array([x[i, j + 1], y[i, j + 1]]), points_per_side)
    fences = []
    for i in range(columns):
        for j in range(rows):
            ring = [across[i, j], up[i + 1, j], across[i, j + 1][::-1], up[i, j][::-1]]
            area = Polygon(np.concatenate([side[:-1] for side in ring]))
            if not area.is_valid:
                area = shapely.union_all(
                    [p for p in shapely.get_parts(shapely.make_valid(area)) if p.area > 0]
                )
            fences.append(Fence(f"d-{i}-{j}", FenceKind.DISTRICT, area))
    return FenceSet(fences)


def _wiggle(rng: np.random.Generator, a: F64, b: F64, n: int) -> F64:
    """A wiggly line from a to b of n + 1 points: a bridge of random steps across the straight line."""
    t = np.linspace(0, 1, n + 1)
    walk = np.cumsum(rng.normal(0, 1, n + 1))
    bridge = walk - walk[0] - t * (walk[-1] - walk[0])
    bridge *= 0.12 * np.hypot(*(b - a)) / max(np.abs(bridge).max(), 1.0) * np.sqrt(np.abs(np.sin(np.pi * t)))
    normal = np.array([a[1] - b[1], b[0] - a[0]]) / np.hypot(*(b - a))
    line: F64 = a + t[:, None] * (b - a) + bridge[:, None] * normal
    line[0], line[-1] = a, b
    return line


def set_c(n: int = 10_000, seed: int = 1) -> FenceSet:
    """Many small fences around the district, overlapping: 60 % circles, 30 % blobs, 10 % corridors."""
    rng = np.random.default_rng(seed)
    return FenceSet(small_fence(rng, f"c-{i}") for i in range(n))


def small_fence(rng: np.random.Generator, name: str) -> Fence:
    """One small fence somewhere around the district."""
    west, south, east, north = DISTRICT_BOX
    lon, lat = rng.uniform(west, east), rng.uniform(south, north)
    radius_m = rng.uniform(50, 300)
    kind = rng.random()
    if kind < 0.6:
        return circle(name, FenceKind.ZONE, lon, lat, radius_m)
    scale = np.array([1 / (111_320 * np.cos(np.radians(_LAT))), 1 / 110_860])
    if kind < 0.9:
        n = int(rng.integers(8, 40))
        angle = np.sort(rng.uniform(0, 2 * np.pi, n))
        reach = radius_m * rng.uniform(0.5, 1.3, n)
        ring = np.column_stack([np.cos(angle), np.sin(angle)]) * reach[:, None] * scale + [lon, lat]
        area = Polygon(ring)
        if not area.is_valid:
            area = area.convex_hull
        return Fence(name, FenceKind.RESTRICTED, area)
    turn = np.cumsum(rng.normal(0, 0.5, 6)) + rng.uniform(0, 2 * np.pi)
    steps = np.column_stack([np.cos(turn), np.sin(turn)]) * radius_m / 2 * scale
    line = LineString(np.cumsum(steps, axis=0) + np.array([lon, lat]))
    return corridor(name, FenceKind.CORRIDOR, line, rng.uniform(20, 80))


def torture() -> FenceSet:
    """Fences hard on an index: nested, equal, touching, slivers, combs, tiny, huge, at the world's end."""
    ring = shapely.Point(10, 10).buffer(4, quad_segs=4).exterior.coords
    hole = [(8, 8), (8, 12), (12, 12), (12, 8)]
    comb = [
        (0.0, 0.0),
        *((x, y) for i in range(40) for x, y in ((i / 10, 1.0), (i / 10 + 0.05, 0.01))),
        (4.0, 0.0),
    ]
    grid = [box(20 + i / 4, 0, 20.25 + i / 4, 1) for i in range(8)]
    star = [
        (30 + np.cos(a) * r, 5 + np.sin(a) * r)
        for i, a in enumerate(np.arange(24) * np.pi / 12)
        for r in [1 + i % 2]
    ]
    shapes = {
        "donut": Polygon(ring, [hole]),
        "plug": Polygon(hole),
        "same-1": box(1, 1, 3, 3),
        "same-2": box(1, 1, 3, 3),
        "nested-1": box(1.5, 1.5, 2.5, 2.5),
        "nested-2": box(1.9, 1.9, 2.1, 2.1),
        "comb": Polygon(comb),
        "sliver": Polygon([(5, 5), (9, 5.000000001), (9, 5)]),
        "hair": Polygon([(5, 6), (9, 6 + 1e-13), (9, 6)]),
        "hole-touches-shell": Polygon([(0, 5), (4, 5), (4, 9), (0, 9)], [[(0, 7), (1, 6), (2, 7), (1, 8)]]),
        "holes-touch": Polygon(
            box(14, 0, 18, 4).exterior.coords, [[(15, 1), (16, 2), (15, 3)], [(16, 2), (17, 1), (17, 3)]]
        ),
        "parts-touch": MultiPolygon([box(-4, 0, -3, 1), box(-3, 1, -2, 2), box(-2, 0, -1, 1)]),
        "island-in-hole": MultiPolygon([Polygon(box(-9, 0, -5, 4).exterior.coords, [box(-8, 1, -6,
        3).exterior.coords[::-1]]),
                                        box(-7.5, 1.5, -6.5, 2.5)]),
        "needle": Polygon([(-5, -5), (-5 + 1e-9, -5), (-5, -4)]),
        "speck": box(-4.5, -4.5, -4.5 + 1e-10, -4.5 + 1e-10),
        "diamond": Polygon([(-1, -1), (0, -2), (-1, -3), (-2, -2)]),
        "star": Polygon(star),
        "east-end": box(179, -1, 180, 1),
        "west-end": box(-180, -1, -179, 1),
        "both-ends": MultiPolygon([box(179.5, -0.5, 180, 0.5), box(-180, -0.5, -179.5, 0.5)]),
        "north-pole": box(-180, 89, 180, 90),
        "south-pole": Polygon([(-180, -90), (180, -90), (180, -89), (0, -85), (-180, -89)]),
        "hemisphere": Polygon([(-180, 0), (180, 0), (180, 60), (3, 61), (2, 3), (1, 61), (-180, 60)]),
        **{f"tile-{i}": tile for i, tile in enumerate(grid)},
    }  # fmt: skip
    fences = [Fence(name, FenceKind.ZONE, shape) for name, shape in shapes.items()]
    for i, (lon, lat, radius_m) in enumerate(
        [
            (10, 10, 50_000),
            (10, 10, 50_000),
            (2, 2, 0.001),
            (2, 2, 1000),
            (-150, 70, 40_000),
            (0, -80, 5000),
            (179.4, 0, 9000),
        ]
    ):
        fences.append(circle(f"disc-{i}", FenceKind.CHECKPOINT, lon, lat, radius_m))
    return FenceSet(fences)


def points_around(fences: FenceSet, n: int, seed: int = 2, margin: float = 0.1) -> tuple[F64, F64]:
    """Points spread evenly over the fences' box and a margin of it: (lon, lat) float64[n] degrees."""
    rng = np.random.default_rng(seed)
    boxes = np.array([f.bounds for f in fences])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    pad = (high - low) * margin
    at = rng.uniform(low - pad, high + pad, (n, 2))
    return np.ascontiguousarray(at[:, 0]), np.ascontiguousarray(at[:, 1])


#: The fence sets by name, as ``hazfence bench match`` and ``core`` take them.
SETS: dict[str, Callable[[], FenceSet]] = {
    "A": set_a,
    "B": set_b,
    "C10k": lambda: set_c(10_000),
    "C100k": lambda: set_c(100_000),
}
