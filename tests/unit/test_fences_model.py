"""One fence: covers, intervals, distances, keys; and what it refuses to be."""

import pickle

import numpy as np
import pyproj
import pytest
import shapely
from shapely.geometry import LineString, MultiPolygon, Polygon, box

from hazfence_fences import Fence, FenceError, FenceKind, Metric, circle, corridor, fence_key

GEOD = pyproj.Geod(ellps="WGS84")


@pytest.mark.parametrize(
    ("lat", "radius_m", "within_m"),
    [
        (0, 5000, 2e-4),
        (30, 150, 1e-7),
        (30, 5000, 2e-4),
        (60, 5000, 6e-4),
        (30, 50_000, 0.2),
        (60, 50_000, 0.6),
        (-30, 5000, 2e-4),
    ],
)
def test_metric_agrees_with_the_geodesic(lat, radius_m, within_m):
    ring = Metric.at(121.0, lat).ring(radius_m, 720)
    _, _, geodesic_m = GEOD.inv(np.full(721, 121.0), np.full(721, float(lat)), ring[:, 0], ring[:, 1])
    assert np.abs(geodesic_m - radius_m).max() < within_m


def test_circle_is_the_true_circle_not_its_drawing():
    f = circle("c", FenceKind.CHECKPOINT, 121.6, 29.9, 150.0)
    azimuths = np.linspace(0, 360, 1000)
    for radius_m, inside in ((149.9999, True), (150.0001, False)):
        lon, lat, _ = GEOD.fwd(np.full(1000, 121.6), np.full(1000, 29.9), azimuths, np.full(1000, radius_m))
        assert (f.covers_many(lon, lat) == inside).all()
    assert not shapely.intersects_xy(f.geometry, lon, lat).any()
    west, _, _, north = f.bounds
    assert west < f.geometry.bounds[0]
    assert north > f.geometry.bounds[3]


@pytest.mark.parametrize("radius_m", [1, 150, 5000, 50_000])
@pytest.mark.parametrize("lat", [0, 29.9, -60, 80])
def test_bounds_hold_the_circle(radius_m, lat):
    f = circle("c", FenceKind.ZONE, 121.6, lat, radius_m)
    ring = f.metric.ring(radius_m, 1000)
    west, south, east, north = f.bounds
    assert ((ring[:, 0] >= west) & (ring[:, 0] <= east) & (ring[:, 1] >= south) & (ring[:, 1] <= north)).all()


def test_intervals_of_a_comb():
    teeth = MultiPolygon([box(i, 0, i + 0.5, 1) for i in range(5)])
    f = Fence("comb", FenceKind.ZONE, teeth)
    through = [(0.1 + i * 0.2, 0.2 + i * 0.2) for i in range(5)]
    assert np.allclose(f.intervals(-0.5, 0.5, 4.5, 0.5), through, rtol=0, atol=1e-12)
    assert np.allclose(
        f.intervals(0.25, 0.5, 2.0, 0.5), [(0, 1 / 7), (3 / 7, 5 / 7), (1, 1)], rtol=0, atol=1e-12
    )
    assert f.intervals(-0.5, 2, 4.5, 2) == []
    along = [((1 + i) / 7, (1.5 + i) / 7) for i in range(5)]
    assert np.allclose(f.intervals(-1, 1, 6, 1), along, rtol=0, atol=1e-12)
    assert f.intervals(0.1, 0.1, 0.1, 0.1) == [(0.0, 1.0)]
    assert f.intervals(0.6, 0.1, 0.6, 0.1) == []


def test_intervals_where_only_a_corner_is_touched():
    f = Fence("d", FenceKind.ZONE, Polygon([(0, 0), (1, 1), (0, 2), (-1, 1)]))
    assert f.intervals(1, 0, 1, 2) == [(0.5, 0.5)]
    assert f.intervals(1, 1, 2, 2) == [(0.0, 0.0)]
    assert f.intervals(2, 2, 1, 1) == [(1.0, 1.0)]


def test_intervals_of_a_circle():
    f = circle("c", FenceKind.CHECKPOINT, 121.6, 29.9, 150.0)
    m = f.metric
    far = 1000 / m.ky0
    ((a, b),) = f.intervals(121.6, 29.9 - far, 121.6, 29.9 + far)
    assert (a, b) == pytest.approx((0.425, 0.575), abs=1e-6)
    assert f.intervals(121.6, 29.9, 121.6, 29.9 + far)[0] == pytest.approx((0, 0.15), abs=1e-6)
    assert f.intervals(121.6, 29.9 + far, 121.6, 29.9)[0] == pytest.approx((0.85, 1), abs=1e-6)
    assert f.intervals(121.6, 29.9 + far, 121.6, 29.9 + 2 * far) == []
    assert f.intervals(121.6, 29.9, 121.6, 29.9) == [(0.0, 1.0)]
    assert f.intervals(0.0, 0.0, 0.0, 0.0) == []
    ((a, b),) = f.intervals(100.0, 29.9, 140.0, 29.9)  # a jump over half a continent still meets it
    assert (b - a) * 40 * m.kx0 == pytest.approx(300, rel=1e-6)


def test_distances():
    square = Fence("s", FenceKind.ZONE, box(121.6, 29.9, 121.7, 30.0))
    assert square.distance_m(121.65, 29.95) == 0.0
    _, _, south_m = GEOD.inv(121.65, 29.9, 121.65, 29.89)
    assert square.distance_m(121.65, 29.89) == pytest.approx(south_m, rel=1e-6)
    assert square.boundary_distance_m(121.65, 29.91) == pytest.approx(south_m, rel=1e-3)
    _, _, corner_m = GEOD.inv(121.6, 29.9, 121.5, 29.8)
    assert square.distance_m(121.5, 29.8) == pytest.approx(corner_m, rel=1e-5)
    round_ = circle("c", FenceKind.ZONE, 121.6, 29.9, 150.0)
    _, _, away_m = GEOD.inv(121.6, 29.9, 121.61, 29.91)
    assert round_.distance_m(121.61, 29.91) == pytest.approx(away_m - 150, rel=1e-6)
    assert round_.distance_m(121.6, 29.9) == 0.0
    assert round_.boundary_distance_m(121.6, 29.9) == 150.0


@pytest.mark.parametrize("lat", [0.0, 29.9, 60.0])
def test_corridor_is_as_wide_as_it_says(lat):
    f = corridor("k", FenceKind.CORRIDOR, LineString([(121.6, lat), (121.8, lat + 0.1)]), 120.0)
    middle = shapely.line_interpolate_point(f.axis, 0.37, normalized=True)
    azimuth, _, _ = GEOD.inv(121.6, lat, 121.8, lat + 0.1)
    for side in (90, -90):
        for metres, inside in ((59.9, True), (60.1, False)):
            lon, lat_, _ = GEOD.fwd(middle.x, middle.y, azimuth + side, metres)
            assert f.covers(lon, lat_) == inside


def test_keys_are_the_same_in_every_process():
    assert fence_key("cp-1") == 0x11D7FAA0CDD71F33
    assert circle("cp-1", FenceKind.ZONE, 0, 0, 1).key == fence_key("cp-1")


def test_fences_compare_pickle_and_print():
    f = circle("cp-1", FenceKind.CHECKPOINT, 121.6, 29.9, 150.0)
    assert pickle.loads(pickle.dumps(f)) == f
    assert f != circle("cp-1", FenceKind.CHECKPOINT, 121.6, 29.9, 151.0)
    assert repr(f) == "<Fence 'cp-1' checkpoint v1: circle of 150 m at (121.60000, 29.90000)>"
    off = {"rules": {"overstay": {"on": False}}}
    for other in ({"version": 2}, {"speed_limit_kmh": 60.0}, {"properties": off}):
        assert f.digest != circle("cp-1", FenceKind.CHECKPOINT, 121.6, 29.9, 150.0, **other).digest
    with pytest.raises(AttributeError):
        f.name = "other"


SQUARE = box(0, 0, 1, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fence("", FenceKind.ZONE, SQUARE), "has no id"),
        (
            lambda: Fence("a", FenceKind.ZONE, LineString([(0, 0), (1, 1)])),
            "geometry is LineString, not an area",
        ),
        (lambda: Fence("a", FenceKind.ZONE, Polygon()), "not an area"),
        (
            lambda: Fence("a", FenceKind.ZONE, Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])),
            "geometry is invalid: Self-intersection",
        ),
        (
            lambda: Fence("a", FenceKind.ZONE, box(179, 0, 181, 1)),
            r"leaves longitude -180..180.* at \(181, 1\)",
        ),
        (lambda: Fence("a", FenceKind.ZONE, SQUARE, shape="circle"), "a circle has centre and radius_m"),
        (
            lambda: Fence("a", FenceKind.ZONE, SQUARE, width_m=5.0, axis=LineString([(0, 0), (1, 1)])),
            "a corridor has axis and width_m",
        ),
        (lambda: Fence("a", FenceKind.ZONE, SQUARE, speed_limit_kmh=float("nan")), "speed_limit_kmh is nan"),
        (lambda: Fence("a", FenceKind.ZONE, SQUARE, max_stay_min=0.0), "max_stay_min is 0.0"),
        (lambda: Fence("a", FenceKind.ZONE, SQUARE, version=0), "version is 0"),
        (
            lambda: Fence("a", FenceKind.ZONE, SQUARE, valid_from_us=5, valid_to_us=5),
            "valid_from is not before valid_to",
        ),
        (lambda: circle("a", FenceKind.ZONE, 0, 0, float("nan")), "radius_m is nan"),
        (lambda: corridor("a", FenceKind.ZONE, LineString([(0, 0), (1, 1)]), 0), "width_m is 0"),
    ],
)
def test_what_is_no_fence_is_refused(make, message):
    with pytest.raises(FenceError, match=message):
        make()
