"""The invented roads: where they may not go, how trucks drive on them, what terminals report."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from shapely.geometry import LineString, box

from hazfence_fences import Fence, FenceKind, FenceSet, circle, load_fences
from hazfence_replay.simulator.country import BYPASS_CLEAR_M, Country, SimulationError
from hazfence_replay.simulator.graph import Network
from hazfence_replay.simulator.motion import SpeedWindow, Stop, drive
from hazfence_replay.simulator.plane import Plane
from hazfence_replay.simulator.reports import report
from hazfence_replay.simulator.routes import Route, Routes
from hazfence_replay.simulator.timeline import Report, Stand, Trip
from hazfence_replay.simulator.ways import Spot, Ways

ZHENHAI = "fences/zhenhai"


@pytest.fixture(scope="module")
def ways() -> Ways:
    return Ways(Routes(Network(Country(load_fences(ZHENHAI)))))


def straight(length_m: float, limit_kmh: float = np.inf, bend_mps: float = 100.0) -> Route:
    """A straight road northwards from (121.6, 30)."""
    s = np.arange(0.0, length_m + 1.0, 10.0)
    n = len(s)
    return Route(
        lonlat=np.column_stack([np.full(n, 121.6), 30.0 + s / 111_000.0]),
        s_m=s,
        heading_deg=np.zeros(n),
        member=np.zeros((n, 1), dtype=np.bool_),
        limit_kmh=np.full(n, limit_kmh),
        bend_mps=np.full(n, bend_mps),
        crossings=(),
    )


def test_the_plane_is_true_to_centimetres() -> None:
    plane = Plane(121.6, 30.0)
    geod = pyproj.Geod(ellps="WGS84")
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.uniform(121.35, 121.85, 200), rng.uniform(29.8, 30.2, 200)])
    xy = plane.metres(points)
    assert np.abs(plane.degrees(xy) - points).max() < 1e-9
    true = geod.inv(points[:-1, 0], points[:-1, 1], points[1:, 0], points[1:, 1])[2]
    flat = np.hypot(*(xy[1:] - xy[:-1]).T)
    assert np.abs(flat / true - 1.0).max() < 1e-5
    assert plane.metres_a_degree == pytest.approx([96_486.0, 110_852.0], rel=1e-4)


def test_every_ordinary_road_keeps_its_distance(ways: Ways) -> None:
    """Measured by shapely in another projection than the one the roads were laid in."""
    fences = ways.country.fences
    local = pyproj.Transformer.from_crs(4326, 4550, always_xy=True)

    def metres(geometry: object) -> shapely.Geometry:
        return shapely.transform(geometry, lambda xy: np.column_stack(local.transform(xy[:, 0], xy[:, 1])))

    border = metres(fences["zhenhai"].geometry).boundary
    zones = shapely.union_all([metres(f.geometry) for f in fences if f.kind == "restricted"])
    gates = shapely.union_all([metres(f.geometry.centroid) for f in fences if f.kind == "checkpoint"])
    parks = [metres(f.geometry) for f in fences if f.kind == "parking"]
    checked = 0
    for number, gate in enumerate(ways.country.gates):
        origin = Spot(ways.network.origins[number][0])
        for place in (*ways.network.sites, *ways.network.parks):
            for route in (ways.into(origin, gate, Spot(place)), ways.out_of(Spot(place), gate, origin)):
                road = metres(LineString(route.lonlat))
                assert len(route.crossings) == 1
                assert road.distance(zones) > 100.0
                # Within 150 m of the border a road is on its straight way through the gate.
                near_border = road.intersection(border.buffer(150.0))
                assert near_border.hausdorff_distance(gates) < 600.0 or near_border.distance(gates) < 150.0
                away = shapely.get_coordinates(near_border)
                assert shapely.distance(shapely.points(away), gates).max() < 600.0
                if place not in ways.network.parks:
                    assert all(road.distance(park) > 60.0 for park in parks)
                checked += 1
    assert checked == 6 * 11 * 2


def test_the_border_is_crossed_in_the_middle_of_the_gate_and_steeply(ways: Ways) -> None:
    for gate in ways.country.gates:
        assert gate.fence is not None
        radius = gate.fence.radius_m or 0.0
        lon, lat = ways.country.plane.degrees(gate.at[None, :])[0]
        assert gate.fence.distance_m(lon, lat) == 0.0
        centre = ways.country.plane.metres(np.array([gate.fence.centre]))[0]
        assert np.hypot(*(gate.at - centre)) < radius / 2
        for metres in (100.0, 200.0, 400.0):
            for side in (-1.0, 1.0):
                place = shapely.Point(gate.at + side * metres * gate.inward)
                assert place.distance(ways.country.border) > 0.33 * metres
                assert ways.country.district.contains(place) == (side > 0)


def test_side_crossings_are_far_from_every_checkpoint(ways: Ways) -> None:
    assert len(ways.sides) > 10
    for side, _ in ways.sides:
        lon, lat = ways.country.plane.degrees(side.at[None, :])[0]
        for fence in ways.country.fences:
            if fence.kind is FenceKind.CHECKPOINT:
                assert fence.distance_m(lon, lat) > BYPASS_CLEAR_M - 5.0


def test_routes_are_smooth_and_shared(ways: Ways) -> None:
    gate, place = ways.country.gates[0], Spot(ways.network.sites[0])
    origin = Spot(ways.network.origins[0][0])
    route = ways.into(origin, gate, place)
    assert ways.into(origin, gate, place) is route
    turn = np.abs((np.diff(route.heading_deg) + 180.0) % 360.0 - 180.0)
    assert turn.max() < 15.0
    assert np.diff(route.s_m).max() < 11.5
    assert np.allclose(
        np.diff(route.s_m), np.hypot(*np.diff(ways.country.plane.metres(route.lonlat), axis=0).T), atol=1e-3
    )
    located = ways.country.fences.locate(route.lonlat[:, 0], route.lonlat[:, 1])
    for i, fence in enumerate(ways.country.fences):
        assert (located.contains(fence.id) == route.member[:, i]).all()


def test_a_truck_starts_brakes_and_stops_as_planned() -> None:
    route = straight(9000.0, limit_kmh=60.0)
    motion = drive(route, np.random.default_rng(3), stops=[Stop(200, 45.0), Stop(600, 30.0)])
    assert np.all(np.diff(motion.t_s) >= 0.0)
    assert motion.speed_mps[0] == motion.speed_mps[-1] == 0.0
    assert motion.speed_mps.max() * 3.6 < 60.0 * 0.94
    standing = np.flatnonzero(np.diff(motion.index) == 0)
    assert motion.index[standing].tolist() == [200, 600]
    assert np.diff(motion.t_s)[standing] == pytest.approx([45.0, 30.0])
    # v dv = a ds holds between any two points: at most .55 m/s2 up and .8 m/s2 down.
    work = np.diff(motion.speed_mps**2) / 2 / np.maximum(np.diff(route.s_m[motion.index]), 1e-9)
    moving = np.diff(motion.index) > 0
    assert work[moving].max() < 0.5501
    assert work[moving].min() > -0.8001
    # And the time is the way over the speed.
    mean = (motion.speed_mps[1:] + motion.speed_mps[:-1]) / 2
    assert np.diff(motion.t_s)[moving] == pytest.approx(10.0 / mean[moving])


def test_a_speed_window_is_driven_at_its_speed() -> None:
    route = straight(12_000.0, limit_kmh=80.0)
    motion = drive(route, np.random.default_rng(3), windows=[SpeedWindow(400, 800, 100.0)])
    kmh = motion.speed_mps * 3.6
    over = np.flatnonzero(kmh > 80.0)
    assert over.min() > 400
    assert over.max() < 800
    assert kmh.max() == pytest.approx(100.0)
    assert motion.t_s[over[-1]] - motion.t_s[over[0]] > 100.0


def test_bends_are_taken_slowly() -> None:
    route = straight(4000.0, limit_kmh=80.0, bend_mps=8.0)
    assert drive(route, np.random.default_rng(0)).speed_mps.max() <= 8.0


@pytest.mark.parametrize("every_s", [5, 30])
def test_a_terminal_reports_at_its_interval_with_wandering_noise(every_s: int) -> None:
    route = straight(9000.0)
    way = drive(route, np.random.default_rng(3))
    plane = Plane(121.6, 30.0)
    parts = [way, Stand(30_000.0, Report.DRIVING), Stand(3600.0, Report.ASLEEP), Stand(7200.0, Report.SILENT)]
    trip = Trip([*parts, way], 1000)
    fixes = report([trip], every_s, plane, np.random.default_rng(5), 1e9)
    assert fixes.t_s[0] == 1000
    step = np.diff(fixes.t_s)
    assert step.min() >= every_s - 1
    standing = (fixes.t_s > 1000 + way.t_s[-1] + 60) & (fixes.t_s < 1000 + way.t_s[-1] + 29_900)
    assert set(np.diff(fixes.t_s[standing]).tolist()) <= {every_s - 1, every_s, every_s + 1}
    # The place is the exact one plus noise; JT/T 808's digits.
    exact = np.column_stack([np.interp(fixes.t_s, trip.t_s, trip.lonlat[:, k]) for k in (0, 1)])
    off = plane.metres(np.column_stack([fixes.lon, fixes.lat])) - plane.metres(exact)
    size = np.hypot(*off.T)
    assert size.max() < 15.2
    assert 4.0 < np.sqrt((size**2).mean()) < 5.8
    # It wanders: neighbours are alike as far as a memory of 60 s makes them.
    east = off[standing, 0]
    alike = np.corrcoef(east[:-1], east[1:])[0, 1]
    assert alike == pytest.approx(0.92 * np.exp(-every_s / 60.0), abs=0.08)
    assert (fixes.lon == np.round(fixes.lon, 6)).all()
    assert (fixes.speed_kmh == np.round(fixes.speed_kmh, 1)).all()
    assert np.all((fixes.heading_deg >= 0.0) & (fixes.heading_deg < 360.0))
    assert fixes.speed_kmh[standing].max() == 0.0
    # Asleep: every minute, ACC off; silent: nothing at all for two hours, then at once.
    assert step.max() == pytest.approx(7200.0, abs=62.0)
    asleep = fixes.status == 2
    assert set(np.diff(fixes.t_s[asleep]).tolist()) <= {59, 60, 61}
    assert set(fixes.status.tolist()) == {2, 3}
    woken = fixes.t_s[int(np.argmax(step)) + 1]
    assert woken == np.ceil(trip.windows[3][1])


def test_fixes_end_with_the_simulation() -> None:
    trip = Trip([drive(straight(9000.0), np.random.default_rng(3))], 0)
    fixes = report([trip], 5, Plane(121.6, 30.0), np.random.default_rng(5), 100.0)
    assert fixes.t_s.max() < 100
    assert len(report([trip], 5, Plane(121.6, 30.0), np.random.default_rng(5), 0.0).t_s) == 0


def test_fences_without_what_roads_need_are_refused_with_a_reason() -> None:
    district = Fence("d", FenceKind.DISTRICT, box(121.5, 29.9, 121.7, 30.05))
    with pytest.raises(SimulationError, match="exactly one fence of kind district"):
        Country(FenceSet([district]))
    inside = circle("gate", FenceKind.CHECKPOINT, 121.6, 30.0, 150.0)
    with pytest.raises(SimulationError, match="'gate' does not lie on the border of 'd'"):
        Country(FenceSet([district, inside]))
    narrow = Fence("d", FenceKind.DISTRICT, box(121.5, 29.9, 121.7, 29.902))
    edge = circle("gate", FenceKind.CHECKPOINT, 121.6, 29.902, 150.0)
    with pytest.raises(SimulationError, match="no straight road through checkpoint 'gate'"):
        Country(FenceSet([narrow, edge]))
