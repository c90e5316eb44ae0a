"""Fixes that say how far they may be wrong: what is certain is so wherever in these discs the truth lies.

The reference knows no formula: it takes places in the discs for the true ones, and looks whether the vehicle
had time, from the one to the other, for a way that makes the verdict untrue (``reference.py``).
"""

from __future__ import annotations

import math

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hazfence import Engine, EngineSettings, Event, Kind
from hazfence_fences import FenceKind, FenceSet

from .reference import GEOD, At, _distance_m, _longest_m, _no_time_for_a_gate, _no_way_around, inside
from .world import START_US, batch_of, box, disc, fence_set
from .world import at as place

#: Each example tries some eighty pairs of places.
few = settings(max_examples=max(settings().max_examples // 3, 30))
CORE = EngineSettings(gate_tolerance_m=0.0, settle_m=15.0, max_accuracy_m=0.0)
BYPASS = fence_set(
    box("district", 2, -40, 40, 40, kind="district"),
    disc("gate-west", 2, 6, 150, kind="checkpoint"),
    disc("gate-north", 2, 12, 150, kind="checkpoint"),
)
WALL = fence_set(box("wall", 4, 3, 5, 7, kind="restricted", thin=True))
errors_m = st.sampled_from([math.nan, 9.0, 15.0, 40.0, 80.0, 120.0])
moments_s = st.sampled_from([20, 25, 30, 33, 36, 40, 45, 50, 60, 70, 80, 95])


def told(fences: FenceSet, fixes: list[tuple[At, float]]) -> list[Event]:
    rows = [("A", START_US + round(p.t), p.lon, p.lat, p.speed, error_m) for p, error_m in fixes]
    return list(Engine(fences, CORE).process(batch_of(rows)))


def discs(fixes: list[tuple[At, float]], towards: tuple[float, float]) -> list[tuple[At, At]]:
    """Pairs of places where it may truly have been: centres, rims, and what is nearest to a place."""
    may: list[list[At]] = []
    for p, error_m in fixes:
        wrong_m = max(CORE.settle_m, error_m) if error_m == error_m else CORE.settle_m
        ahead = GEOD.inv(p.lon, p.lat, *towards)[0]
        ways = [GEOD.fwd(p.lon, p.lat, ahead + 45.0 * k, wrong_m)[:2] for k in range(8)]
        may.append([p, *(p._replace(lon=lon, lat=lat) for lon, lat in ways)])
    return [(a, b) for a in may[0] for b in may[1]]


@few
@given(
    outside=st.tuples(st.floats(-1, 1), st.floats(2, 16)),
    within=st.tuples(st.floats(3, 5), st.floats(2, 16)),
    error_m=st.tuples(errors_m, errors_m),
    seconds=moments_s,
    back=st.booleans(),
)
def test_a_bypass_is_certain_when_it_is_from_every_place_to_every_place(
    outside: tuple[float, float],
    within: tuple[float, float],
    error_m: tuple[float, float],
    seconds: int,
    back: bool,
) -> None:
    ends = [within, outside] if back else [outside, within]
    fixes = [
        (At(i * seconds * 1e6, *place(*end), 60.0), m)
        for i, (end, m) in enumerate(zip(ends, error_m, strict=True))
    ]
    found = [e for e in told(BYPASS, fixes) if e.kind in (Kind.GATE_BYPASS, Kind.POSSIBLE_BYPASS)]
    assume(found)  # else it went through a checkpoint
    [breach] = found
    gates = [f for f in BYPASS if f.kind is FenceKind.CHECKPOINT]
    nearest = min(gates, key=lambda g: sum(_distance_m(g, p.lon, p.lat) for p, _ in fixes))
    assert nearest.centre is not None
    excused, contradicted = [], []
    for pair in discs(fixes, nearest.centre):
        longest_m, apart_m = _longest_m(pair, CORE)
        contradicted.append(apart_m > longest_m)
        if apart_m <= longest_m:
            excused.append(not _no_time_for_a_gate(pair, gates, CORE))
    if all(contradicted):
        return  # no place fits the top speed: nothing is certain
    if breach.kind is Kind.GATE_BYPASS:
        assert not any(excused)
    elif breach.detail["certainty"] == "probable":
        # A little more time, as only nine places of each disc are tried.
        slower = EngineSettings(top_speed_kmh=CORE.top_speed_kmh * 1.04)
        assert any(not _no_time_for_a_gate(pair, gates, slower) for pair in discs(fixes, nearest.centre))


@settings(max_examples=max(settings().max_examples, 150))
@given(
    west=st.tuples(st.floats(2.0, 3.2), st.floats(3.2, 6.8)),
    east=st.tuples(st.floats(5.8, 7.0), st.floats(3.2, 6.8)),
    error_m=st.tuples(errors_m, errors_m),
    seconds=moments_s,
)
def test_a_passage_is_certain_when_no_way_around_is_from_every_place_to_every_place(
    west: tuple[float, float], east: tuple[float, float], error_m: tuple[float, float], seconds: int
) -> None:
    fixes = [
        (At(i * seconds * 1e6, *place(*end), 60.0), m)
        for i, (end, m) in enumerate(zip((west, east), error_m, strict=True))
    ]
    [wall] = WALL
    events = told(WALL, fixes)
    [visit] = [e for e in events if e.kind is Kind.VISIT and e.is_over]
    assert visit.detail["witness"] == "segment"
    certain = Kind.RESTRICTED_ENTRY in {e.kind for e in events}
    assert certain == (visit.detail["certainty"] == "certain")
    pairs = discs(fixes, wall.geometry.centroid.coords[0])
    around = []
    for a, b in pairs:
        longest_m, apart_m = _longest_m((a, b), CORE)
        if apart_m <= longest_m and not any(inside(wall, p.lon, p.lat) for p in (a, b)):
            around.append(not _no_way_around(wall, (a, b), CORE))
    if certain:
        assert not any(around)
