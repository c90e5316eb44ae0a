"""The quick way to a crossing says what the slow way says, or nothing."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazfence_benchmarks.workloads import set_c, torture
from hazfence_fences import Fence, FenceSet, load_fences
from hazfence_fences.metric import Metric
from hazfence_fences.segments import _height, _root, _slope, circle_roots

from .world import WORLD, at

DISTRICT = load_fences("fences/zhenhai")["zhenhai"]


def check(fence: Fence, a: tuple[float, float], b: tuple[float, float]) -> bool:
    """True when the quick way answered; it must then agree to the last bit."""
    quick = fence.only_crossing(*a, *b)
    if quick is None:
        return False
    starts, ends = fence.covers(*a), fence.covers(*b)
    assert starts != ends
    expected = (0.0, quick) if starts else (quick, 1.0)
    assert fence.intervals(*a, *b) == [expected]
    return True


@given(ends=st.tuples(*[st.integers(0, 24)] * 4), fence=st.sampled_from(["district", "park", "weir"]))
def test_on_a_grid_with_corners_and_borders(ends: tuple[int, int, int, int], fence: str) -> None:
    i0, j0, i1, j1 = (n / 2 for n in ends)
    check(WORLD[fence], at(i0, j0), at(i1, j1))


@pytest.mark.parametrize("length_deg", [1e-6, 1e-4, 1e-3, 1e-2, 0.2])
def test_on_the_real_boundary(length_deg: float) -> None:
    rng = np.random.default_rng(7)
    edges = DISTRICT.edges()
    answered = 0
    for _ in range(2000):
        ax, ay, bx, by = edges[rng.integers(len(edges))]
        f = rng.random()
        x, y = ax + f * (bx - ax), ay + f * (by - ay)
        dx, dy = rng.normal(0, length_deg, 2)
        g = rng.random()
        answered += check(DISTRICT, (x - g * dx, y - g * dy), (x + (1 - g) * dx, y + (1 - g) * dy))
    assert answered > (1000 if length_deg <= 1e-3 else 100)


def test_ends_on_vertices_and_border_are_left_to_the_slow_way() -> None:
    for ax, ay, bx, by in DISTRICT.edges()[:300]:
        for end in ((ax, ay), ((ax + bx) / 2, (ay + by) / 2)):
            check(DISTRICT, end, (ax + 0.01, ay + 0.007))
            check(DISTRICT, (ax - 0.01, ay + 0.007), end)


def _pairs(fences: FenceSet, n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Segments around fences: index of a fence, and the ends."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, len(fences), n).astype(np.int32)
    west, south, east, north = np.array([f.bounds for f in fences])[index].T
    lon0 = west + rng.uniform(-0.2, 1.2, n) * (east - west)
    lat0 = south + rng.uniform(-0.2, 1.2, n) * (north - south)
    reach = rng.choice([0.01, 0.1, 1.0], n)
    lon1 = lon0 + rng.normal(0, 1, n) * (east - west) * reach
    lat1 = lat0 + rng.normal(0, 1, n) * (north - south) * reach
    # Some end on vertices, and on the very same latitude as one.
    for row in range(0, n, 10):
        edges = fences[int(index[row])].edges()
        lon1[row], lat1[row] = edges[rng.integers(len(edges)), :2]
    return index, lon0, lat0, lon1, lat1


@pytest.mark.parametrize("name", ["district", "torture", "small"])
def test_many_at_once_say_the_same_to_the_last_bit(name: str) -> None:
    fences = {
        "district": lambda: load_fences("fences/zhenhai"),
        "torture": lambda: FenceSet(torture()),
        "small": lambda: set_c(300),
    }[name]()
    index, *ends = _pairs(fences, 4000, seed=3)
    segments = [[column.item(i) for column in ends] for i in range(len(index))]
    stays = [fences[int(i)].intervals(*segment) for i, segment in zip(index, segments, strict=True)]
    leaving = np.array([bool(s) and s[0][0] == 0.0 for s in stays])
    found = fences.crossings(index, leaving, *ends)
    within_m = np.random.default_rng(4).uniform(0.0, 60.0, len(index))
    for reach_m in (25.0, within_m):
        again, near = fences.crossings_near(index, leaving, tuple(ends), reach_m)
        assert np.array_equal(again, found, equal_nan=True)
        assert np.array_equal(near, fences.near_border(index, *ends[2:], reach_m))
        assert near.any()
    answered = several = 0
    for t, out, stay in zip(found.tolist(), leaving.tolist(), stays, strict=True):
        entering = bool(stay) and stay[-1][1] == 1.0
        if out != entering and (out or entering):
            assert np.isnan(t) or t == (stay[0][1] if out else stay[-1][0])
            answered += not np.isnan(t)
            several += len(stay) > 1 and not np.isnan(t)
        else:
            assert np.isnan(t), "both ends on one side"
    assert answered > 300
    assert several or name == "small"


@pytest.mark.parametrize("name", ["torture", "small"])
def test_passages_through_circles(name: str) -> None:
    fences = FenceSet(f for f in (torture() if name == "torture" else set_c(300)) if f.metric is not None)
    index, *ends = _pairs(fences, 4000, seed=5)
    begin, end = fences.passages(index, *ends)
    passed = 0
    for i, (a, b) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        fence, segment = fences[int(index[i])], [column.item(i) for column in ends]
        stay = fence.intervals(*segment)
        if not stay or fence.covers(*segment[:2]) or fence.covers(*segment[2:]):
            assert np.isnan(a)
            assert np.isnan(b)
        else:
            assert stay == [(a, b)]
            passed += 1
    assert passed > 200


def test_fences_added_later_are_read_in() -> None:
    fences = set_c(40)
    index, *ends = _pairs(fences, 100, seed=1)
    fences.crossings(index, np.zeros(100, np.bool_), *ends)
    more = fences
    for fence in set_c(60).fences[40:]:
        more = more.with_fence(fence)
    index, *ends = _pairs(more, 1000, seed=2)
    way = np.zeros(1000, np.bool_)
    found = more.crossings(index, way, *ends)
    assert np.array_equal(found, FenceSet(more.fences).crossings(index, way, *ends), equal_nan=True)
    assert np.isfinite(found).any()


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 fences, 1 ways, 1 segment starts, 1 ends"):
        set_c(3).crossings(np.array([0, 1], np.int32), np.array([True]), [121.5], [29.9], [121.6], [29.9])


def test_a_root_that_goes_to_and_fro_ends_where_sixty_rounds_would() -> None:
    """Newton kept between two ends, as it stands, with nothing that ends it early but having arrived."""

    def plainly(m: Metric, r2: float, u: float, v: float, du: float, dv: float) -> float:
        first, second = _slope(m, u + du, v + dv, du, dv)
        excess = _height(m, u + du, v + dv) - r2
        t = 1.0 + (-sqrt(max(first * first - second * excess, 0.0)) - first) / (second + 1e-300)
        a, b = 0.0, 1.0
        for _ in range(60):
            if not min(a, b) <= t <= max(a, b):
                t = (a + b) / 2.0
            excess = _height(m, u + t * du, v + t * dv) - r2
            a, b = (t, b) if excess > 0.0 else (a, t)
            first, _ = _slope(m, u + t * du, v + t * dv, du, dv)
            near = t - excess / (2.0 * first) if first != 0.0 else (a + b) / 2.0
            if abs(near - t) <= 1e-15:
                return min(max(near, 0.0), 1.0)
            t = near
        return t

    rng, n = np.random.default_rng(5), 3000
    metric = Metric.at(121.5, 29.9)
    radius, angle = rng.uniform(50, 300, n), rng.uniform(0, 2 * np.pi, n)
    far, near = radius + rng.uniform(1, 80, n), radius * rng.uniform(0.5, 0.99, n)
    u, v = far * np.cos(angle) / metric.kx0, far * np.sin(angle) / metric.ky0
    du = near * np.cos(angle + 0.2) / metric.kx0 - u
    dv = near * np.sin(angle + 0.2) / metric.ky0 - v
    r2 = radius * radius
    segments = zip(r2.tolist(), u.tolist(), v.tolist(), du.tolist(), dv.tolist(), strict=True)
    expected = [plainly(metric, *segment) for segment in segments]
    segments = zip(r2.tolist(), u.tolist(), v.tolist(), du.tolist(), dv.tolist(), strict=True)
    assert [_root(metric, *segment, 0.0, 1.0) for segment in segments] == expected
    many = Metric(*(np.full(n, getattr(metric, name)) for name in Metric.__slots__))
    assert circle_roots(many, r2, u, v, du, dv, np.zeros(n), np.ones(n)).tolist() == expected
