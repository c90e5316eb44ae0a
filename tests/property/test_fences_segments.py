"""Segments against fences: hits equal shapely's, intervals are what walking along the segment shows."""

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from hazfence_benchmarks.exactness import check_segments
from hazfence_benchmarks.workloads import set_a, set_c, torture
from hazfence_fences import Fence, FenceKind, FenceSet, circle


@pytest.mark.parametrize("fences", [lambda: FenceSet([*set_a(), *torture()])], ids=["district and torture"])
def test_hits_equal_shapely(fences):
    found = check_segments(fences(), 300_000)
    assert found["hits"] > 10_000
    assert found["differences"] == 0


def test_many_thin_fences_of_all_shapes():
    fences = FenceSet(Fence(**{**_fields(f), "thin": True}) for f in set_c(400))
    found = check_segments(fences, 30_000)
    assert found["hits"] > 10_000
    assert found["differences"] == 0


def _fields(fence):
    names = ("id", "kind", "geometry", "shape", "centre", "radius_m", "axis", "width_m")
    return {name: getattr(fence, name) for name in names}


def test_a_fence_made_thin_or_moved_is_tested_from_then_on():
    fences = FenceSet([*set_a(), *set_c(60)])
    ends = np.array([[121.3, 30.05, 121.9, 30.05]])
    before = fences.segment_hits(*ends.T)[1].tolist()
    moved = fences.with_fence(circle("cp-1", FenceKind.CHECKPOINT, 121.6, 30.05, 200.0))
    assert fences.segment_hits(*ends.T)[1].tolist() == before
    assert moved.index_of("cp-1") in moved.segment_hits(*ends.T)[1]
    gone = moved.without("cp-1")
    assert gone.segment_hits(*ends.T)[1].tolist() == [gone.index_of(fences[i].id) for i in before]


COORDINATE = st.integers(-8, 8).map(lambda v: v / 2)


@settings(max_examples=300, deadline=None)
@given(st.tuples(*[COORDINATE] * 4), st.sampled_from(range(4)))
def test_intervals_of_polygons(ends, which):
    donut = box(-2, -2, 2, 2).difference(box(-1, -1, 1, 1))
    shape = [
        donut,
        shapely.MultiPolygon([box(-3, -3, -1, -1), box(-1, -1, 1, 1), box(1, -3, 3, -1)]),
        shapely.Polygon([(0, 3), (-3, 0), (0, -3), (3, 0)], [[(0, 3), (-1, 1), (1, 1)]]),
        box(-2, -2, 2, 2).difference(box(-0.25, -3, 0.25, 0)),
    ][which]
    fence = Fence("f", FenceKind.ZONE, shape)
    _agree_along(fence, ends)


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(*[st.floats(-0.02, 0.02)] * 4), st.floats(1, 2000), st.sampled_from([0.0, 29.98, -55.0, 79.0])
)
def test_intervals_of_circles(offsets, radius_m, lat):
    fence = circle("c", FenceKind.CHECKPOINT, 121.6, lat, radius_m)
    a, b, c, d = offsets
    _agree_along(fence, (121.6 + a, lat + b, 121.6 + c, lat + d))


def _agree_along(fence, ends):
    """Intervals are sorted, disjoint and maximal; ends are exact; places between agree with covers."""
    x0, y0, x1, y1 = ends
    found = fence.intervals(*ends)
    if (x0, y0) == (x1, y1):
        assert found == ([(0.0, 1.0)] if fence.covers(x0, y0) else [])
        return
    assert all(0 <= a <= b <= 1 for a, b in found)
    assert all(b < a for (_, b), (a, _) in pairwise(found))
    assert any(a == 0.0 for a, _ in found) == fence.covers(x0, y0)
    assert any(b == 1.0 for _, b in found) == fence.covers(x1, y1)
    rims = [t for pair in found for t in pair]
    for t in np.linspace(0, 1, 301).tolist():
        if all(abs(t - rim) > 1e-9 for rim in rims):
            inside = any(a < t < b for a, b in found)
            near = fence.boundary_distance_m(x0 + t * (x1 - x0), y0 + t * (y1 - y0)) < 1e-4
            assert near or fence.covers(x0 + t * (x1 - x0), y0 + t * (y1 - y0)) == inside
