"""Hysteresis at borders: right by a slow reference, and the same in any cut and any order of arrival."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hazfence import Engine, Event, Kind
from hazfence_benchmarks.workloads import set_b, set_c
from hazfence_fences import load_fences

from .test_engine import SETTINGS, by_vehicle, fold, same
from .test_late import cut
from .world import START_US, WORLD, Track, at, batch_of, box, fence_set

STEP_M = 193.0
#: Metres east of the district's west border; what is nearer than 15 m wavers.
PLACES = st.sampled_from([-300.0, -40.0, -12.0, -6.0, 0.0, 6.0, 12.0, 40.0, 300.0])
#: By how many metres a fix may be wrong, as it says itself; mostly it says nothing.
ERRORS_M = st.sampled_from([float("nan")] * 5 + [5.0, 30.0, 60.0, 400.0])
WAITS_S = st.sampled_from([10, 10, 10, 30, 30, 200, 650])
Walk = list[tuple[int, float, float]]
walks = st.lists(st.tuples(WAITS_S, PLACES, st.just(float("nan"))), min_size=1, max_size=25) | st.lists(
    st.tuples(WAITS_S, PLACES, ERRORS_M), min_size=1, max_size=25
)
DISTRICT = fence_set(box("district", 2, 2, 10, 10, kind="district"))


def track_of(walk: Walk, vehicle: str = "浙B1") -> Track:
    time_s, rows = 0, []
    for wait_s, metres, error_m in walk:
        time_s += wait_s
        place = at(2 + metres / STEP_M, 4.0)
        rows.append((vehicle, START_US + time_s * 1_000_000, *place, 20.0, error_m))
    return rows


def stays(walk: Walk) -> list[tuple[float, float | None]]:
    """Visits of the half plane east of the border, in seconds; written to be read."""
    found: list[tuple[float, float | None]] = []
    time_s, inside, crossed_s = 0, False, None
    for i, (wait_s, metres, error_m) in enumerate(walk):
        before_s, time_s = time_s, time_s + wait_s
        here = metres >= 0
        if i == 0:
            inside = here
            if here:
                found.append((time_s, None))
            continue
        there = walk[i - 1][1]
        if here == inside:
            crossed_s = None  # as if it had never been elsewhere
            continue
        if crossed_s is None:
            crossed_s = before_s + (0 - there) / (metres - there) * (time_s - before_s)
        wrong_m = error_m if error_m > 15 else 15  # what is not said is not more
        if abs(metres) >= wrong_m or time_s - crossed_s >= 600:
            inside = here
            if here:
                found.append((crossed_s, None))
            else:
                found[-1] = (found[-1][0], crossed_s)
            crossed_s = None
    return found


@given(walk=walks)
def test_visits_are_those_of_the_slow_reference(walk: Walk) -> None:
    events = list(Engine(DISTRICT, SETTINGS).process(batch_of(track_of(walk))))
    visits = [e for e in fold(events).values() if e.kind is Kind.VISIT]
    wanted = stays(walk)
    assert len(visits) == len(wanted)
    for visit, (start_s, end_s) in zip(sorted(visits, key=lambda e: e.started_us), wanted, strict=True):
        assert abs(visit.started_us - START_US - start_s * 1e6) < 1000
        assert (visit.ended_us is None) == (end_s is None)
        if visit.ended_us is not None and end_s is not None:
            assert abs(visit.ended_us - START_US - end_s * 1e6) < 1000


@given(walk=walks, data=st.data())
def test_any_cut_gives_the_same_events(walk: Walk, data: st.DataObject) -> None:
    track = track_of(walk)
    whole = list(Engine(WORLD, SETTINGS).process(batch_of(track)))
    engine, other = Engine(WORLD, SETTINGS), Engine(WORLD, SETTINGS)
    other._plain.on = False
    parts: list[Event] = []
    for part in cut(data, track):
        told = list(engine.process(batch_of(part)))
        assert told == list(other.process(batch_of(part)))
        parts += told
        if data.draw(st.booleans()):
            engine = Engine.restore(engine.snapshot(), WORLD, SETTINGS)
    assert by_vehicle(parts) == by_vehicle(whole)


@given(walk=walks, data=st.data())
def test_any_order_and_any_silence_leave_the_same(walk: Walk, data: st.DataObject) -> None:
    track = track_of(walk)
    late_us = max(row[1] for row in track) + 3_000_000_000
    settings = replace(SETTINGS, recent_s=1e6)
    engine = Engine(WORLD, settings)
    wanted = [*engine.process(batch_of(track)), *engine.advance(late_us)]
    engine, events = Engine(WORLD, settings), []
    for part in cut(data, data.draw(st.permutations(track))):
        events += engine.process(batch_of(part))
        wait_s = data.draw(st.sampled_from([None, 0, 400, 2000]))
        if wait_s is not None and part:
            events += engine.advance(max(row[1] for row in part) + wait_s * 1_000_000)
    events += engine.advance(late_us)
    assert same(fold(events), fold(wanted))


def test_near_a_border_is_what_the_distance_says() -> None:
    rng = np.random.default_rng(0)
    for fences in (load_fences("fences/zhenhai"), set_c(300), set_b(columns=16, rows=16)):
        index = rng.integers(0, len(fences), 600).astype(np.int32)
        places = []
        for i in index.tolist():
            ax, ay, bx, by = fences[i].edges()[rng.integers(len(fences[i].edges()))]
            t = rng.random()
            east, north = rng.normal(0, 2e-4, 2)
            places.append((ax + t * (bx - ax) + east, ay + t * (by - ay) + north))
        lon, lat = np.array(places).T.copy()
        near = fences.near_border(index, lon, lat, 15.0)
        alone = [fences.near_border_one(i, *p, 15.0) for i, *p in zip(index.tolist(), lon, lat, strict=True)]
        assert near.tolist() == alone
        within = rng.choice([5.0, 15.0, 40.0, 90.0, 4e7], 600)
        each = [
            fences.near_border_one(i, *p, m)
            for i, *p, m in zip(index.tolist(), lon, lat, within, strict=True)
        ]
        assert fences.near_border(index, lon, lat, within).tolist() == each
        away_m = np.array(
            [fences[i].boundary_distance_m(*p) for i, *p in zip(index.tolist(), lon, lat, strict=True)]
        )
        sure = np.abs(away_m - 15.0) > 0.1
        assert (near == (away_m < 15.0))[sure].all()
        assert near.any()
        assert not near.all()
