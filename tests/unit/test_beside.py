"""Fixes beside a district's border are found: all of them, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from shapely import Polygon

from hazfence.beside import _MANY, Beside
from hazfence_fences import Fence, FenceKind, FenceSet, circle, load_fences

from ..property.world import box, fence_set


def zhenhai() -> FenceSet:
    return load_fences("fences/zhenhai")


def several() -> FenceSet:
    """On both sides of Greenwich and of the equator, one as small as a yard."""
    west = circle("west", FenceKind.DISTRICT, -0.01, -0.002, 900.0)
    yard = circle("yard", FenceKind.DISTRICT, 0.012, 0.003, 12.0)
    return FenceSet([west, yard, circle("east", FenceKind.DISTRICT, 0.004, 0.0, 1500.0)])


def square() -> FenceSet:
    return fence_set(box("district", 2, 2, 10, 10, kind="district"), box("zone", 0, 0, 4, 4, kind="zone"))


def many() -> FenceSet:
    """So many that they are looked for as many are, side by side and one on another."""
    here = [(121.5 + 0.02 * (i % 12), 29.5 + 0.05 * (i // 12)) for i in range(_MANY)]
    yards = [circle(f"d{i}", FenceKind.DISTRICT, *at, 1200.0) for i, at in enumerate(here)]
    return FenceSet([*yards, box_fence(yards[7])])


def box_fence(like: Fence) -> Fence:
    """The box around a fence, as a district; it touches others."""
    west, south, east, north = like.bounds
    ring = [(west, south), (east, south), (east, north), (west, north)]
    return Fence("box", FenceKind.DISTRICT, Polygon(ring))


@pytest.mark.parametrize("make", [zhenhai, several, square, many])
@pytest.mark.parametrize("settle_m", [3.0, 15.0, 80.0])
def test_all_fixes_beside_a_border_are_found_and_no_others(make, settle_m: float) -> None:
    fences = make()
    guarded: list[Fence] = [f for f in fences if f.kind is FenceKind.DISTRICT]
    beside = Beside(fences, guarded, settle_m)
    rng, wanted, found = np.random.default_rng(1), [], []
    for district in guarded[-3:]:
        edges = district.edges()
        at = edges[rng.integers(0, len(edges), 3000)]
        part = rng.random(3000)[:, None]
        spread_deg = settle_m / 1e5 * rng.choice([0.2, 2.0, 20.0], (3000, 1))
        lon, lat = (
            at[:, :2] + part * (at[:, 2:] - at[:, :2]) + rng.normal(0, 1, (3000, 2)) * spread_deg
        ).T.copy()
        errors_m = np.where(rng.random(3000) < 0.3, rng.choice([90.0, 150.0, 900.0, 4e7], 3000), 0.0)
        for error_m in (None, errors_m.astype(np.float32)):
            key = beside.find(lon, lat, error_m)
            if beside.around is not None:  # located, as fixes that come are
                named = fences.locate(lon, lat, beside.around).around
                assert (beside.find(lon, lat, error_m, named) == key).all()
            found.append(list(zip((key >> 32).tolist(), (key & 0xFFFF_FFFF).tolist(), strict=True)))
            within = np.maximum(settle_m, 0.0 if error_m is None else error_m.astype(np.float64))
            within = np.broadcast_to(within, lon.shape)
            near = []
            for i in map(fences.index_of, [f.id for f in guarded]):
                rows = fences.near_border(np.full(len(lon), i), lon, lat, within).nonzero()[0]
                near += [(row, i) for row in rows.tolist()]
            wanted.append(sorted(near))
    assert found == wanted
    assert all(200 < len(pairs) < 3000 * len(guarded) for pairs in found)


def test_of_single_borders_it_says_what_is_measured() -> None:
    fences = several()
    guarded = [f for f in fences if f.kind is FenceKind.DISTRICT]
    beside = Beside(fences, guarded, 15.0)
    rng = np.random.default_rng(3)
    at = np.concatenate([f.edges() for f in guarded])[:, :2]
    lon, lat = (at[rng.integers(0, len(at), 5000)] + rng.normal(0, 2e-4, (5000, 2))).T.copy()
    fence = rng.integers(0, len(fences), 5000)
    near = fences.near_border(fence, lon, lat, 15.0)
    assert (beside.near(fence, lon, lat) == near).all()
    assert 50 < near.sum() < 4000
    assert beside.guards.all()


def test_far_away_nothing_is_beside_a_border() -> None:
    fences = zhenhai()
    beside = Beside(fences, [fences["zhenhai"]], 15.0)
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-180, 180, 10**5), rng.uniform(-89, 89, 10**5)
    assert len(beside.find(lon, lat, None)) == 0
    assert len(beside.find(lon[:0], lat[:0], None)) == 0


@pytest.mark.parametrize("settle_m", [0.0, 15.0])
def test_where_no_border_is_guarded_nothing_is(settle_m: float) -> None:
    fences = square()
    beside = Beside(fences, [fences["district"]] if not settle_m else [], settle_m)
    assert not beside.on
    assert len(beside.find(np.array([121.504]), np.array([29.91]), None)) == 0
