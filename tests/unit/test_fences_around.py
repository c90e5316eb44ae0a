"""Edges near places are found by their cells: every one, and few others."""

from __future__ import annotations

import numpy as np
import pytest
from shapely import Polygon

from hazfence_fences import Fence, FenceKind, FenceSet, circle, load_fences
from hazfence_fences.around import EdgeBits, EdgeCells
from hazfence_fences.borders import beside_edges, metric_of


def ring(lon: float, lat: float, radius_deg: float, corners: int, seed: int) -> Fence:
    """A district of uneven shape."""
    rng = np.random.default_rng(seed)
    turn = np.sort(rng.uniform(0, 2 * np.pi, corners))
    far = radius_deg * rng.uniform(0.5, 1.0, corners)
    corner = np.column_stack((lon + far * np.cos(turn), lat + far * np.sin(turn)))
    return Fence(f"r{seed}", FenceKind.DISTRICT, Polygon(corner))


def places(edges: np.ndarray, within_m: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """On the edges, near to them, and anywhere."""
    rng = np.random.default_rng(seed)
    at, part = edges[rng.integers(0, len(edges), 6000)], rng.random(6000)[:, None]
    away = rng.normal(0, 1, (6000, 2)) * within_m / 1e5 * rng.choice([0.0, 0.5, 1.0, 20.0], (6000, 1))
    near = at[:, :2] + part * (at[:, 2:] - at[:, :2]) + away
    low, high = edges.reshape(-1, 2).min(axis=0) - 0.01, edges.reshape(-1, 2).max(axis=0) + 0.01
    both = np.concatenate((near, rng.uniform(low, high, (6000, 2)), rng.uniform(-89, 89, (500, 2))))
    return both[:, 0].copy(), both[:, 1].copy()


def truly_near(fence: Fence, lon: np.ndarray, lat: np.ndarray, within_m: float) -> np.ndarray:
    """bool[places, edges], measured one by one."""
    metric, edges = metric_of(fence), fence.edges()
    kx = metric.kx0 + metric.kx1 * (lat - metric.lat)
    ky = np.full(len(lat), metric.ky0)
    columns = []
    for edge in edges:
        ax, ay, bx, by = (np.full(len(lon), number) for number in edge)
        columns.append(beside_edges((ax, bx, ay, by), lon, lat, kx, ky, within_m))
    return np.column_stack(columns)


SHAPES = [
    ring(121.6, 29.95, 0.05, 40, 1),
    ring(-0.002, 0.001, 0.01, 9, 2),  # on both sides of Greenwich and of the equator
    ring(121.6, 29.95, 0.0002, 5, 3),  # smaller than a cell
    ring(100.0, 70.0, 2.0, 60, 4),
]


@pytest.mark.parametrize("fence", SHAPES, ids=lambda f: f.id)
@pytest.mark.parametrize("within_m", [3.0, 15.0, 120.0])
def test_every_edge_that_is_near_is_named(fence: Fence, within_m: float) -> None:
    edges = fence.edges()
    lon, lat = places(edges, within_m, 5)
    near = truly_near(fence, lon, lat, within_m)
    for cells in (64, 1024):
        rows, found = EdgeCells(edges, within_m, cells).near(np.arange(len(lon)), lon, lat)
        named = np.zeros(near.shape, np.bool_)
        named[rows, found] = True
        assert (named >= near).all()
        assert (np.diff(rows) >= 0).all()
        for turns in (1, 4):
            assert (EdgeBits(edges, within_m, cells, turns=turns).marked(lon, lat) >= near.any(axis=1)).all()
    far = ~truly_near(fence, lon, lat, 4000.0).any(axis=1)
    if far.sum() > 1000:  # few of those that lie far away are let through
        assert named[far].any(axis=1).mean() < 0.1


def every_kind() -> FenceSet:
    """Zhenhai, a second district beside it, and circles and zones in between."""
    more = [circle(f"c{i}", FenceKind.PARKING, 121.5 + 0.02 * i, 29.95, 900.0) for i in range(12)]
    return FenceSet([*load_fences("fences/zhenhai"), *more, ring(121.9, 30.1, 0.1, 30, 7)])


@pytest.mark.parametrize("n", [7, 50_000])
def test_locating_names_the_places_near_edges(n: int) -> None:
    fences = every_kind()
    lines = [fence.edges() for fence in fences if fence.kind is FenceKind.DISTRICT]
    edges = np.concatenate(lines)
    around = fences.around(edges, 15.0)
    assert around is not None
    rng = np.random.default_rng(2)
    lon, lat = (np.tile(c, 4) for c in places(edges, 15.0, 9))
    some = rng.integers(0, len(lon), n)
    lon, lat = lon[some], lat[some]
    plain, named = fences.locate(lon, lat), fences.locate(lon, lat, around)
    assert (named.keys == plain.keys).all()
    assert (fences.locate(lon, lat, around, sound=True).keys == plain.keys).all()
    assert plain.around is None
    assert named.around is not None
    assert (np.diff(named.around) > 0).all()
    near = np.zeros(len(lon), np.bool_)
    for fence in fences:
        if fence.kind is FenceKind.DISTRICT:
            near |= fences.near_border(np.full(len(lon), fences.index_of(fence.id)), lon, lat, 15.0)
    assert set(near.nonzero()[0].tolist()) <= set(named.around.tolist())
    if n > 1000:
        assert near.sum() > 1000
        assert len(named.around) < 0.9 * n


def test_what_one_set_names_is_of_no_use_to_another() -> None:
    fences = every_kind()
    around = fences.around(fences["zhenhai"].edges(), 15.0)
    with pytest.raises(ValueError, match="another set of fences; ask this one for its own"):
        fences.without("c3").locate(np.full(30, 121.5), np.full(30, 29.9), around)


def test_where_cells_are_too_small_nothing_is_named() -> None:
    fences = FenceSet([circle(f"c{i}", FenceKind.PARKING, 121.5 + 2e-5 * i, 29.95, 1.0) for i in range(40)])
    assert fences.around(fences["c3"].edges(), 500.0) is None
