"""Where a vehicle can have been between two fixes: against a search of all places, and by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyproj import Geod

from hazfence.presence import Fix
from hazfence.rules.driving import apart2_m2
from hazfence.rules.prism import (
    Certainty,
    Way,
    bypass_certainty,
    bypass_levels,
    detour_m,
    passage_levels,
    unavoidable,
)
from hazfence_fences import Fence, FenceKind, Metric, circle, parse_fences

from ..property.world import START_US, at, box

GEOD = Geod(ellps="WGS84")
GATE = circle("gate", FenceKind.CHECKPOINT, *at(2, 6), 150.0)
places = st.tuples(st.floats(-6, 10), st.floats(-2, 14))


def fix(seconds: float, i: float, j: float, kmh: float = 60.0, *fences: Fence) -> Fix:
    return Fix(START_US + round(seconds * 1e6), *at(i, j), kmh, fences)


def fence(i0: float, j0: float, i1: float, j1: float) -> Fence:
    document = {"type": "FeatureCollection", "features": [box("zone", i0, j0, i1, j1, kind="restricted")]}
    [found] = parse_fences(document, source="test")
    return found


def searched_m(gate: Fence, a: Fix, b: Fix) -> float:
    """Try every place of the rim."""
    if gate.metric is not None:
        n = 1440
        assert gate.centre is not None
        around = [np.full(n, v) for v in gate.centre]
        lon, lat, _ = GEOD.fwd(*around, np.linspace(0, 360, n), np.full(n, gate.radius_m))
    else:
        line = gate.geometry.exterior.segmentize(1e-5)
        lon, lat = np.array(line.coords).T
    ends = ((np.full(len(lon), p.lon), np.full(len(lon), p.lat)) for p in (a, b))
    return float(sum(GEOD.inv(lon, lat, *end)[2] for end in ends).min())


@settings(max_examples=60)
@given(a=places, b=places)
@pytest.mark.parametrize("gate", [GATE, fence(1, 5, 3, 6.5)], ids=["circle", "box"])
def test_the_shortest_detour_is_the_best_of_all_places(
    gate: Fence, a: tuple[float, float], b: tuple[float, float]
) -> None:
    one, other = fix(0, *a), fix(30, *b)
    if gate.covers(one.lon, one.lat) or gate.covers(other.lon, other.lat):
        return
    found, wanted = detour_m(gate, one, other), searched_m(gate, one, other)
    straight = GEOD.inv(one.lon, one.lat, other.lon, other.lat)[2]
    if gate.intervals(one.lon, one.lat, other.lon, other.lat):
        wanted = straight
    assert found == pytest.approx(wanted, abs=0.1, rel=2e-4)


def in_columns(ways: list[Way], gates: list[Fence], near_m: list[float]) -> list[int]:
    """What columns say of some ways: the number of a `Certainty`, or -1."""
    metric = Metric(
        *(np.array([getattr(g.metric, name) for g in gates])[:, None] for name in Metric.__slots__)  # type: ignore[arg-type]
    )
    ends = np.array([(w.prev.lon, w.prev.lat, w.fix.lon, w.fix.lat) for w in ways]).T
    speeds = np.array([(w.prev.speed_kmh, w.fix.speed_kmh) for w in ways], np.float32).T
    levels = bypass_levels(
        tuple(ends),  # type: ignore[arg-type]
        np.array([(w.fix.time_us - w.prev.time_us) / 1e6 for w in ways]),
        (speeds[0], speeds[1]),
        np.full(len(ways), 120.0),
        np.array(near_m),
        (metric, np.array([g.radius_m for g in gates])[:, None]),
        np.array([w.both_m for w in ways]),
    )
    return [int(level) for level in levels]


def judged(way: Way, gates: list[Fence]) -> int:
    return tuple(Certainty).index(bypass_certainty(way, gates))


def nearest_m(gates: list[Fence], way: Way, part: float) -> float:
    """From a place of the straight way to the nearest checkpoint."""
    prev, fix = way.prev, way.fix
    lon, lat = prev.lon + part * (fix.lon - prev.lon), prev.lat + part * (fix.lat - prev.lat)
    return min((g.distance_m(lon, lat) for g in gates), default=math.inf)


def beside(gate: Fence, turn: float, above_m: float) -> tuple[float, float]:
    """Lon, lat of the place so far above the rim, ``turn`` radians from the east."""
    assert gate.metric is not None
    assert gate.radius_m is not None
    away_m = gate.radius_m + above_m
    m = gate.metric
    v = 0.0
    for _ in range(8):
        v = away_m * math.sin(turn) / (m.ky0 + m.ky1 * v)
    return m.lon + away_m * math.cos(turn) / (m.kx0 + m.kx1 * v), m.lat + v


OTHERS = [
    circle("other", FenceKind.CHECKPOINT, *at(6, 2), 60.0),
    circle("small", FenceKind.CHECKPOINT, *at(3, 8), 5.0),
]
turns = st.floats(-math.pi, math.pi)
heights = st.one_of(
    st.sampled_from([0.0, 1e-9, 1e-3, 1.0, 5000.0]), st.floats(0, 800), st.floats(0, 20), st.floats(-150, 0)
)


@settings(max_examples=400)
@given(
    turn=turns,
    # Anywhere, the same direction or the opposite one, nearly; and at the horizon.
    further=st.one_of(turns, st.sampled_from([0.0, math.pi]), st.floats(-1e-6, 1e-6), st.floats(-0.3, 0.3)),
    above_m=st.tuples(heights, heights),
    same=st.booleans(),
    # Where it is to the nearest metre or millimetre whether the detour was driven, and otherwise.
    about=st.sampled_from(["top speed", "observed", "neither"]),
    off_m=st.one_of(st.sampled_from([0.0, 0.001, -0.001, 0.011, -0.011]), st.floats(-3, 3)),
    seconds=st.sampled_from([0.0, 1.0, 10.0, 30.0, 60.0, 300.0]),
    kmh=st.tuples(*(st.sampled_from([0.0, 30.0, 80.0, 121.0, 200.0, math.nan]),) * 2),
    others=st.integers(0, 2),
    part=st.floats(0, 1),
)
@example(  # stands in the middle of the checkpoint
    turn=0.0,
    further=0.0,
    above_m=(-150.0, -150.0),
    same=True,
    about="neither",
    off_m=0.0,
    seconds=1.0,
    kmh=(0.0, 0.0),
    others=0,
    part=0.0,
)
def test_what_columns_decide_is_what_the_judge_says(
    turn: float,
    further: float,
    above_m: tuple[float, float],
    same: bool,
    about: str,
    off_m: float,
    seconds: float,
    kmh: tuple[float, float],
    others: int,
    part: float,
) -> None:
    gates = [GATE, *OTHERS[:others]]
    a = beside(GATE, turn, above_m[0])
    b = a if same and not further else beside(GATE, turn + further, above_m[1])
    over_m = detour_m(GATE, Fix(0, *a, 0.0, ()), Fix(0, *b, 0.0, ())) + off_m - 30.0
    if about == "top speed":
        seconds = max(over_m, 0.0) / (max(120.0, np.fmax(*kmh)) / 3.6)
    elif about == "observed":
        kmh = (30.0, min(kmh[1], 110.0))
        seconds = max(over_m, 0.0) / ((max(kmh) + 7.2) / 3.6)
    prev = Fix(START_US, *a, kmh[0], ())
    way = Way.between(prev, Fix(START_US + round(seconds * 1e6), *b, kmh[1], ()), 120.0, 15.0)
    wanted = judged(way, gates)
    for near_m in (0.0, nearest_m(gates, way, part)):
        [level] = in_columns([way], gates, [near_m])
        assert level in (-1, wanted)
    far = min(g.distance_m(p.lon, p.lat) for g in gates for p in (way.prev, way.fix)) > 1.01 * way.reach_m
    if far or way.contradicts:
        assert level == wanted


@given(
    a=places,
    b=places,
    seconds=st.sampled_from([1.0, 10.0, 30.0, 60.0, 300.0]),
    kmh=st.sampled_from([0.0, 80.0, 200.0, math.nan]),
)
def test_without_checkpoints_columns_leave_nothing_undecided(
    a: tuple[float, float], b: tuple[float, float], seconds: float, kmh: float
) -> None:
    way = Way.between(fix(0, *a), fix(seconds, *b, kmh), 120.0, 15.0)
    assert in_columns([way], [], [0.0]) == [judged(way, [])]


def test_columns_decide_nearly_every_step_near_a_checkpoint() -> None:
    rng, n, gates = np.random.default_rng(11), 4000, [GATE, *OTHERS]
    ways = []
    for i in range(n):
        mps, seconds = float(rng.uniform(0, 32)), float(rng.choice([5, 10, 15, 30, 60]))
        lon, lat = beside(gates[i % 3], float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(0, 600)))
        east, north = mps * seconds * rng.uniform(0.6, 1.0) * np.array(_unit(rng))
        kmh = [math.nan if rng.random() < 0.05 else mps * 3.6 * float(rng.uniform(0.8, 1.1)) for _ in "ab"]
        kmh = [float(np.float32(v)) for v in kmh]
        prev = Fix(0, lon, lat, kmh[0], ())
        here = Fix(round(seconds * 1e6), lon + float(east) / 96_500, lat + float(north) / 110_900, kmh[1], ())
        ways.append(Way.between(prev, here, 120.0, float(rng.uniform(0, 30))))
    levels = in_columns(ways, gates, [nearest_m(gates, way, 0.5) for way in ways])
    wanted = [judged(way, gates) for way in ways]
    assert sum(level < 0 for level in levels) <= n // 1000
    assert all(level in (-1, want) for level, want in zip(levels, wanted, strict=True))
    assert min(Counter(wanted)[level] for level in range(3)) > n // 10


def _unit(rng: np.random.Generator) -> tuple[float, float]:
    turn = float(rng.uniform(-math.pi, math.pi))
    return math.cos(turn), math.sin(turn)


def test_faster_than_it_drives_is_not_certain_and_than_it_can_is() -> None:
    # Crossing 515 m from the rim, fixes 386 m apart: over the gate it is 2 sqrt(515^2 + 193^2) = 1,101 m.
    for seconds, kmh, wanted in (
        (30.0, 60.0, Certainty.CERTAIN),  # 1,000 m at 120 km/h, and 30 m of error
        (33.0, 60.0, Certainty.PROBABLE),  # 1,130 m at 120 km/h, 646 m at 67
        (33.0, 125.0, Certainty.POSSIBLE),  # it says itself that it is faster
        (60.0, 60.0, Certainty.POSSIBLE),  # 1,150 m at 67 km/h
        (33.0, math.nan, Certainty.POSSIBLE),  # nobody knows how fast it was
        (9.0, 60.0, Certainty.POSSIBLE),  # 386 m in 9 s: the fixes contradict the top speed
    ):
        way = Way.between(fix(0, 1, 9, kmh), fix(seconds, 3, 9, kmh), 120.0, 15.0)
        assert bypass_certainty(way, [GATE]) is wanted, seconds
    assert bypass_certainty(Way.between(fix(0, 1, 9), fix(60, 3, 9), 120.0, 15.0), []) is Certainty.CERTAIN


def test_the_way_around_a_box_leads_over_its_corners() -> None:
    # From (3, 5) to (9, 5) over (4, 7) and (8, 7): 2 sqrt(193^2 + 443^2) + 772 m.
    zone, way = fence(4, 3, 8, 7), Way.between(fix(0, 3, 5), fix(60, 9, 5), 120.0, 0.0)
    around_m = 2 * math.hypot(193.05, 443.4) + 4 * 193.05
    assert unavoidable(zone, way, around_m - 2.0, 0.0)
    assert not unavoidable(zone, way, around_m + 2.0, 0.0)
    # Made smaller by 20 m on every side it is passed sooner.
    assert not unavoidable(zone, way, around_m - 2.0, 20.0)
    # Where the straight way misses it, it is no obstacle.
    assert not unavoidable(fence(4, 6, 8, 7), way, 1300.0, 0.0)


def test_a_fix_in_a_bay_shows_nothing() -> None:
    ring = [at(*p) for p in ((4, 3), (8, 3), (8, 4), (5, 4), (5, 6), (8, 6), (8, 7), (4, 7), (4, 3))]
    feature = box("bay", 0, 0, 1, 1, kind="restricted") | {
        "geometry": {"type": "Polygon", "coordinates": [ring]}
    }
    [bay] = parse_fences({"type": "FeatureCollection", "features": [feature]}, source="test")
    assert not unavoidable(bay, Way.between(fix(0, 3, 5), fix(60, 6, 5), 120.0, 0.0), 600.0, 0.0)
    assert unavoidable(bay, Way.between(fix(0, 3, 5), fix(60, 9, 5), 120.0, 0.0), 1300.0, 0.0)


def test_a_passage_through_a_circle_is_as_certain_as_the_ways_around_it_are_long() -> None:
    rng = np.random.default_rng(5)
    met = Counter[int]()
    for _ in range(300):
        pond = circle("pond", FenceKind.CHECKPOINT, 121.6, 29.9, float(rng.uniform(40, 600)), thin=True)
        assert pond.metric is not None
        assert pond.radius_m is not None
        west, east, south, north = rng.uniform((0.003, 0.003, -0.003, -0.003), (0.012, 0.012, 0.003, 0.003))
        lon0, lat0, lon1, lat1 = 121.6 - west, 29.9 + south, 121.6 + east, 29.9 + north
        straight_m, mps = math.sqrt(apart2_m2(lon0, lat0, lon1, lat1)), float(rng.uniform(8, 36))
        kmh = [
            float("nan") if rng.random() < 0.1 else mps * 3.6 * float(rng.uniform(0.8, 1.05)) for _ in "ab"
        ]
        a = Fix(0, lon0, lat0, kmh[0], ())
        b = Fix(round(straight_m / mps * 1e6), lon1, lat1, kmh[1], ())
        if pond.covers(lon0, lat0) or pond.covers(lon1, lat1):
            continue
        columns = Metric(*(np.array([getattr(pond.metric, n)]) for n in Metric.__slots__))  # type: ignore[arg-type]
        level = int(
            passage_levels(
                columns,
                np.array([pond.radius_m]),
                tuple(np.array([v]) for v in (lon0, lat0, lon1, lat1)),
                np.array([b.time_us / 1e6]),
                (np.array([kmh[0]], np.float32), np.array([kmh[1]], np.float32)),
                120.0,
                15.0,
            )[0]
        )
        met[level] += 1
        way = Way.between(a, b, 120.0, 15.0)
        # A string pulled around the rim, which is a polygon to it.
        shrunk = circle("pond", FenceKind.CHECKPOINT, 121.6, 29.9, max(pond.radius_m - 15.0, 0.1), thin=True)
        for reach_m, enough in ((way.reach_m, (0,)), (way.likely_m, (0, 1))):
            if way.contradicts:
                assert level == 2
            elif unavoidable(shrunk, way, reach_m + 3.0, 0.0):
                assert level in enough
            elif not unavoidable(shrunk, way, reach_m - 3.0, 0.0):
                assert level != enough[-1]
    assert set(met) == {0, 1, 2}, met
