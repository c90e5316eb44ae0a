"""`locate` against shapely's covers: over a million points, random and adversarial, and hypothesis' own."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hazfence_benchmarks.exactness import adversarial_points, check_patches, check_points, reference_keys
from hazfence_benchmarks.workloads import points_around, set_a, set_b, set_c, small_fence, torture
from hazfence_fences import Fence, FenceKind, FenceSet, circle


@pytest.mark.parametrize(
    ("fences", "random", "adversarial"),
    [
        (set_a, 500_000, 300_000),
        (torture, 300_000, 300_000),
        (lambda: set_c(500), 200_000, 100_000),
        (lambda: set_b(columns=6, rows=6), 200_000, 100_000),
    ],
    ids=["district", "torture", "overlapping", "coverage"],
)
def test_no_difference_from_covers(fences, random, adversarial):
    found = check_points(fences(), random, adversarial)
    assert found["random_points"] == random
    assert found["adversarial_points"] > adversarial / 2
    assert found["differences"] == 0


# Small whole numbers make what random doubles never do: equal edges, touching corners, points on lines.
SMALL = st.integers(-6, 6)
BOX = st.tuples(SMALL, SMALL, st.integers(1, 5), st.integers(1, 5)).map(
    lambda b: shapely.box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)
TRIANGLE = st.tuples(*[st.tuples(SMALL, SMALL)] * 3).map(shapely.Polygon).filter(lambda p: p.area > 0)
PIECE = st.one_of(BOX, TRIANGLE)
WAY = st.sampled_from(["union", "difference", "symmetric_difference"])


@st.composite
def areas(draw):
    """Valid polygons, with holes and in parts, made by joining, cutting and mending small pieces."""
    area = draw(PIECE)
    for piece, way in draw(st.lists(st.tuples(PIECE, WAY), max_size=4)):
        changed = getattr(shapely, way)(area, piece)
        parts = [p for p in shapely.get_parts(changed) if p.geom_type == "Polygon" and p.area > 1e-9]
        if parts:
            area = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return area if area.is_valid else shapely.box(0, 0, 1, 1)


@settings(max_examples=150, deadline=None)
@given(st.lists(areas(), min_size=1, max_size=6), st.integers(0, 2**32))
def test_small_whole_numbers(shapes, seed):
    fences = FenceSet(Fence(f"f{i}", FenceKind.ZONE, shape) for i, shape in enumerate(shapes))
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.integers(-14, 24, 600) / 2, rng.uniform(-7, 12, 300)])
    y = np.concatenate([rng.integers(-14, 24, 600) / 2, rng.uniform(-7, 12, 300)])
    near_x, near_y = adversarial_points(fences, 900, seed)
    x, y = np.concatenate([x, near_x]), np.concatenate([y, near_y])
    located = fences.locate(x, y)
    assert (located.keys == reference_keys(fences, x, y)).all()
    assert (_keys_of_members(fences, x, y) == located.keys).all()
    for i in range(0, len(x), 40):
        here = shapely.Point(x[i], y[i])
        assert located.members(i) == tuple(f.id for f in fences if shapely.covers(f.geometry, here))


def _keys_of_members(fences, x, y):
    rows, index = fences.members(x, y)
    order = rows.astype(np.int64) * (len(fences) + 1) + index
    assert (order[1:] > order[:-1]).all(), "by row, then fence, each once"
    keys = np.zeros(len(x), np.uint64)
    np.add.at(keys, rows, np.array([f.key for f in fences], np.uint64)[index])
    return keys


@pytest.mark.parametrize(
    "make",
    [set_a, torture, lambda: set_c(500), lambda: set_b(columns=6, rows=6)],
    ids=["district", "torture", "overlapping", "coverage"],
)
def test_members_are_those_of_the_keys(make):
    fences = make()
    near_x, near_y = adversarial_points(fences, 30_000, 3)
    x, y = points_around(fences, 30_000, 3)
    x, y = np.concatenate([x, near_x]), np.concatenate([y, near_y])
    assert (_keys_of_members(fences, x, y) == fences.locate(x, y).keys).all()
    changed = fences.without(fences[0].id).with_fence(fences[1])
    assert (_keys_of_members(changed, x, y) == changed.locate(x, y).keys).all()
    assert (_keys_of_members(changed, x[:9], y[:9]) == changed.locate(x[:9], y[:9]).keys).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_any_part_of_a_batch_gives_the_same(seed):
    fences = FenceSet([*set_a(), *set_c(40, seed)])
    x, y = points_around(fences, 3000, seed)
    whole = fences.locate(x, y).keys
    cuts = np.sort(np.random.default_rng(seed).integers(0, 3000, 5))
    parts = [fences.locate(a, b).keys for a, b in zip(np.split(x, cuts), np.split(y, cuts), strict=True)]
    assert (np.concatenate(parts) == whole).all()
    few = zip(x[:300].tolist(), y[:300].tolist(), strict=True)
    alone = [fences.key_of(fences.locate_one(a, b)) for a, b in few]
    assert alone == whole[:300].tolist()


def test_columns_members_and_contains_tell_the_same():
    fences = set_c(60)
    x, y = points_around(fences, 20_000)
    located = fences.locate(x, y)
    rows, held = located.pairs()
    assert (np.diff(rows * len(fences) + held) > 0).all()
    for j, fence in enumerate(fences):
        inside = fence.covers_many(x, y)
        assert (located.contains(fence.id) == inside).all()
        assert (np.flatnonzero(inside) == rows[held == j]).all()
    for i in range(0, 20_000, 371):
        assert located.member_indexes(i) == tuple(held[rows == i].tolist())


def test_patched_sets_equal_fresh_ones_and_old_ones_stay():
    assert check_patches(600)["differences"] == 0


def test_fences_far_outside_the_grid_may_come_and_go():
    rng = np.random.default_rng(4)
    near = FenceSet(small_fence(rng, f"f-{i}") for i in range(80))
    x, y = points_around(near, 50_000)
    before = near.locate(x, y).keys.copy()
    far, hub = near, shapely.Point(121.6, 30)
    news = [
        Fence("ring", FenceKind.ZONE, hub.buffer(30).difference(hub.buffer(3))),
        Fence("all", FenceKind.ZONE, shapely.box(-180, -90, 180, 90)),
        Fence("corner", FenceKind.ZONE, shapely.box(100, 20, 121.5, 29.95)),
        Fence("strip", FenceKind.ZONE, shapely.box(-170, 29.9, 170, 29.91)),
        circle("disc", FenceKind.ZONE, 121.0, 30.0, 49_000.0),
        circle("away", FenceKind.ZONE, 10.0, 50.0, 9000.0),
    ]  # fmt: skip
    for fence in news:
        far = far.with_fence(fence)
        wide = rng.uniform([90, -10], [150, 60], (20_000, 2))
        px = np.concatenate([x, wide[:, 0], [10.0, 10.05, -180, 180]])
        py = np.concatenate([y, wide[:, 1], [50.0, 50.05, -90, 90]])
        assert (far.locate(px, py).keys == reference_keys(far, px, py)).all()
    for fence in news:
        far = far.without(fence.id)
    assert (far.locate(x, y).keys == before).all()
    assert far.fingerprint == near.fingerprint == FenceSet(near.fences).fingerprint


def test_districts_that_share_borders_may_change_one_by_one():
    live, rng = set_b(columns=7, rows=7), np.random.default_rng(3)
    x, y = points_around(live, 30_000)
    near_x, near_y = adversarial_points(live, 10_000)
    x, y = np.concatenate([x, near_x]), np.concatenate([y, near_y])
    gone = []
    for n in range(40):
        i = int(rng.integers(0, len(live)))
        if n % 4 == 3:
            live = live.with_fence(gone.pop(0))
        else:
            gone.append(live[i])
            live = live.without(live[i].id)
        located = live.locate(x, y)
        assert (located.keys == FenceSet(live.fences).locate(x, y).keys).all()
        for row in range(n, len(x), 501):
            located.members(row)  # checks itself against the key
    assert (live.locate(x, y).keys == reference_keys(live, x, y)).all()
