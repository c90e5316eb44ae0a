"""Hand-made tracks with verdicts computed by hand: fires, just not fires, fires in silence, ends."""

from __future__ import annotations

import numpy as np
import pytest

from hazfence import Engine, EngineSettings, Event, FixBatch, Kind, Phase

from ..property.world import START_US, box, disc, fence_set

pytestmark = pytest.mark.usefixtures("judged")

SECOND = 1_000_000
# One step of the grid is .002 degrees; the district spans steps 2..10 both ways.
DISTRICT = box("district", 2, 2, 10, 10, kind="district", speed_limit_kmh=80, max_stay_min=30)
GATE = disc("gate", 2, 6, 150, kind="checkpoint")
ZONE = box("zone", 4, 4, 6, 6, kind="restricted")

Row = tuple[float, float, float, float]  # seconds, step east, step north, km/h


def batch(rows: list[Row], vehicle: str = "浙B12345") -> FixBatch:
    s, i, j, v = (np.array(c, dtype=float) for c in zip(*rows, strict=True))
    return FixBatch.of(
        [vehicle] * len(rows),
        time_us=START_US + (s * SECOND).astype(np.int64),
        lon=121.5 + 0.002 * i,
        lat=29.9 + 0.002 * j,
        speed_kmh=v,
    )


def run(
    *rows: Row, fences: tuple[dict[str, object], ...] = (DISTRICT, GATE, ZONE), **settings: float
) -> tuple[Engine, list[Event]]:
    engine = Engine(fence_set(*fences), EngineSettings(**settings))  # type: ignore[arg-type]
    return engine, list(engine.process(batch(list(rows))))


def said(events: list[Event] | tuple[Event, ...], *kinds: str) -> list[tuple[str, str, float, float | None]]:
    """(kind, phase, start in seconds, end in seconds) of the events of the given kinds."""

    def seconds(us: int | None) -> float | None:
        return None if us is None else round((us - START_US) / SECOND, 3)

    return [
        (str(e.kind), str(e.phase), seconds(e.started_us) or 0.0, seconds(e.ended_us))
        for e in events
        if not kinds or e.kind in kinds
    ]


# --- visits ---------------------------------------------------------------------------------


def test_a_visit_begins_and_ends_where_the_segment_crosses_the_border() -> None:
    _, events = run(
        (0, 1, 6.0, 60), (10, 3, 6.0, 60), (20, 7, 6.0, 60), (30, 12, 6.0, 60), fences=(DISTRICT,)
    )
    # West border (step 2) is half way between steps 1 and 3; east border (10) is 3/5 of 7..12.
    visits = [e for e in events if e.kind is Kind.VISIT]
    assert said(visits) == [("visit", "opened", 5.0, None), ("visit", "closed", 5.0, 26.0)]
    closed = visits[-1]
    assert (closed.lon, closed.lat) == pytest.approx((121.504, 29.912), abs=1e-9)
    assert (closed.end_lon, closed.end_lat) == pytest.approx((121.520, 29.912), abs=1e-9)
    assert closed.detail["entry"] == closed.detail["exit"] == "crossing"
    assert closed.detail["witness"] == "fix"


def test_a_checkpoint_jumped_between_two_fixes_is_a_visit_that_the_segment_witnesses() -> None:
    _, events = run((0, 0, 6, 60), (30, 4, 6, 60), fences=(GATE,))
    [opened, closed] = events
    assert opened.detail["witness"] == "segment"
    assert opened.detail["certainty"] == closed.detail["certainty"] == "possible"  # it had time to go around
    # 150 m at this latitude are .7772 steps of .002 degrees of longitude; a step takes 7.5 s.
    assert said([closed]) == [
        ("visit", "closed", pytest.approx(15 - 5.826, abs=0.01), pytest.approx(20.826, abs=0.01))
    ]


def test_a_checkpoint_between_two_fixes_too_far_apart_is_not_concluded() -> None:
    _, events = run((0, 0, 6, 60), (301, 4, 6, 60), fences=(GATE,))
    assert events == []


def test_the_first_fix_inside_opens_a_visit_that_says_so() -> None:
    _, [event] = run((0, 5, 8, 0), fences=(DISTRICT,))
    assert event.detail["entry"] == "first_fix"
    assert said([event]) == [("visit", "opened", 0.0, None)]


def test_standing_on_the_border_is_inside() -> None:
    _, events = run((0, 2, 4, 0), (60, 2, 4, 0), fences=(DISTRICT,))
    assert said(events) == [("visit", "opened", 0.0, None)]


# --- gate_bypass ----------------------------------------------------------------------------


def test_in_and_out_through_the_checkpoint_is_legal() -> None:
    _, events = run((0, 1, 6, 60), (30, 3, 6, 60), (60, 1, 6, 60))
    assert said(events, "gate_bypass") == []


def test_in_and_out_away_from_the_checkpoint_is_a_breach_each() -> None:
    _, events = run((0, 1, 9, 60), (30, 3, 9, 60), (60, 1, 9, 60))
    assert said(events, "gate_bypass") == [
        ("gate_bypass", "closed", 15.0, 15.0),
        ("gate_bypass", "closed", 45.0, 45.0),
    ]
    entry, leave = (e for e in events if e.kind is Kind.GATE_BYPASS)
    assert (entry.detail["direction"], leave.detail["direction"]) == ("in", "out")
    assert entry.detail["nearest_checkpoint"] == "gate"
    # Three steps of .002 degrees of latitude are 665.1 m, less the radius of 150 m.
    assert entry.detail["nearest_checkpoint_m"] == pytest.approx(515.1, abs=0.5)
    assert (entry.lon, entry.lat) == pytest.approx((121.504, 29.918), abs=1e-9)


@pytest.mark.parametrize(("tolerance_m", "breaches"), [(515.0, 1), (516.0, 0)])
def test_the_tolerance_counts_from_the_rim_of_the_checkpoint(tolerance_m: float, breaches: int) -> None:
    _, events = run((0, 1, 9, 60), (30, 3, 9, 60), gate_tolerance_m=tolerance_m)
    assert len(said(events, "gate_bypass")) == breaches


@pytest.mark.parametrize(("seconds", "found"), [(300, ["possible_bypass"]), (301, [])])
def test_a_crossing_that_no_near_fixes_witness_is_no_breach(seconds: float, found: list[str]) -> None:
    _, events = run((0, 1, 9, 60), (seconds, 3, 9, 60))
    assert [str(e.kind) for e in events if "bypass" in e.kind] == found
    [visit] = [e for e in events if e.kind is Kind.VISIT]
    assert visit.detail["entry"] == ("crossing" if found else "gap")


def test_a_vehicle_first_seen_inside_has_bypassed_nothing() -> None:
    _, events = run((0, 5, 9, 60), (30, 6, 9, 60))
    assert said(events, "gate_bypass") == []


# --- restricted_entry -----------------------------------------------------------------------


def test_a_restricted_zone_entered_is_a_breach_until_it_is_left() -> None:
    _, events = run((0, 3, 5, 60), (10, 5, 5, 60), (20, 7, 5, 60), fences=(ZONE,))
    assert said(events, "restricted_entry") == [
        ("restricted_entry", "opened", 5.0, None),
        ("restricted_entry", "closed", 5.0, 15.0),
    ]


def test_a_restricted_zone_between_two_fixes_is_no_breach() -> None:
    thin = box("zone", 4, 4, 6, 6, kind="restricted", thin=True)
    _, events = run((0, 3, 5, 60), (40, 7, 5, 60), fences=(thin,))
    assert said(events) == [
        ("visit", "opened", 10.0, None),
        ("possible_entry", "opened", 10.0, None),
        ("possible_entry", "closed", 10.0, 30.0),
        ("visit", "closed", 10.0, 30.0),
    ]


# --- overspeed ------------------------------------------------------------------------------


def test_overspeed_opens_after_its_duration_and_closes_with_its_last_fast_fix() -> None:
    _, events = run(
        (0, 3, 3, 70), (5, 3, 3, 81), (25, 4, 3, 90), (26, 4, 3, 95), (40, 5, 3, 80), fences=(DISTRICT,)
    )
    assert said(events, "overspeed") == [
        ("overspeed", "opened", 5.0, None),
        ("overspeed", "closed", 5.0, 26.0),
    ]
    closed = events[-1]
    assert (closed.detail["limit_kmh"], closed.detail["max_kmh"]) == (80.0, 95.0)


def test_overspeed_for_just_the_duration_is_none() -> None:
    _, events = run((5, 3, 3, 81), (25, 4, 3, 90), (26, 4, 3, 80), fences=(DISTRICT,))
    assert said(events, "overspeed") == []


def test_one_fix_at_the_limit_ends_it() -> None:
    _, events = run((0, 3, 3, 90), (15, 3, 3, 80), (20, 3, 3, 90), (35, 3, 3, 90), fences=(DISTRICT,))
    assert said(events, "overspeed") == []


def test_an_unknown_speed_neither_proves_nor_ends_it() -> None:
    _, events = run((0, 3, 3, 90), (15, 3, 3, float("nan")), (30, 3, 3, 90), fences=(DISTRICT,))
    assert said(events, "overspeed") == [("overspeed", "opened", 0.0, None)]


def test_a_gap_ends_it_at_the_last_fast_fix() -> None:
    _, events = run((0, 3, 3, 90), (30, 3, 3, 90), (331, 3, 3, 90), fences=(DISTRICT,))
    assert said(events, "overspeed") == [
        ("overspeed", "opened", 0.0, None),
        ("overspeed", "closed", 0.0, 30.0),
    ]


def test_the_lowest_limit_wins_and_names_its_fence() -> None:
    lane = box("lane", 2, 2, 10, 4, kind="corridor", speed_limit_kmh=60)
    _, events = run((0, 3, 3, 70), (30, 4, 3, 70), fences=(DISTRICT, lane))
    [event] = [e for e in events if e.kind is Kind.OVERSPEED]
    assert (event.fence_id, event.detail["limit_kmh"]) == ("lane", 60.0)


def test_no_limit_outside() -> None:
    _, events = run((0, 0, 0, 200), (30, 1, 0, 200), fences=(DISTRICT,))
    assert events == []


# --- overstay -------------------------------------------------------------------------------


def test_overstay_fires_in_silence_at_its_deadline_and_closes_with_the_visit() -> None:
    engine, events = run((0, 1, 6, 60), (10, 3, 6, 60), fences=(DISTRICT,))
    assert said(engine.advance(START_US + 1805 * SECOND)) == []  # 30 min after entry at 5 s: not longer yet
    events = list(engine.advance(START_US + 1805 * SECOND + 1))
    assert said(events) == [("overstay", "opened", 1805.0, None)]
    assert (events[0].lon, events[0].lat) == pytest.approx((121.506, 29.912))
    assert engine.advance(START_US + 9000 * SECOND) == ()
    events = list(engine.process(batch([(3000, 3, 6, 0), (3010, 1, 6, 60)])))
    assert said(events, "overstay") == [("overstay", "closed", 1805.0, 3005.0)]
    assert [e.revision for e in events if e.kind is Kind.OVERSTAY] == [2]


def test_overstay_noticed_by_a_fix_is_the_same_as_in_silence() -> None:
    silent, _ = run((0, 1, 6, 60), (10, 3, 6, 60), fences=(DISTRICT,))
    [by_silence] = silent.advance(START_US + 2000 * SECOND)
    _, events = run((0, 1, 6, 60), (10, 3, 6, 60), (2500, 3, 6, 0), fences=(DISTRICT,))
    assert [e for e in events if e.kind is Kind.OVERSTAY] == [by_silence]


def test_overstay_said_in_silence_is_retracted_when_a_fix_shows_an_exit_in_time() -> None:
    engine, _ = run((0, 1, 6, 60), (10, 3, 6, 60), fences=(DISTRICT,))
    [opened] = engine.advance(START_US + 2000 * SECOND)
    events = list(engine.process(batch([(20, 1, 6, 60)])))
    retracted = events[-1]
    assert (retracted.id, retracted.phase, retracted.revision) == (opened.id, Phase.RETRACTED, 2)
    assert retracted.detail["retracted_because"]
    assert said(events, "visit") == [("visit", "closed", 5.0, 15.0)]


def test_an_overstay_retracted_may_come_true_and_goes_on_counting() -> None:
    engine, _ = run((0, 3, 6, 0), fences=(DISTRICT,))
    [opened] = engine.advance(START_US + 2000 * SECOND)
    [retracted] = engine.process(batch([(10, 3, 6, 0)]))
    assert (retracted.phase, retracted.revision) == (Phase.RETRACTED, 2)
    [again] = engine.advance(START_US + 2000 * SECOND)
    assert (again.id, again.phase, again.revision) == (opened.id, Phase.OPENED, 3)
    events = list(engine.process(batch([(3000, 3, 6, 0), (3010, 1, 6, 0)])))
    assert [(e.phase, e.revision) for e in events if e.kind is Kind.OVERSTAY] == [(Phase.CLOSED, 4)]


def test_a_stay_of_just_the_limit_is_no_overstay() -> None:
    _, events = run((0, 1, 6, 60), (10, 3, 6, 60), (1800, 3, 6, 60), (1810, 1, 6, 60), fences=(DISTRICT,))
    assert said(events, "visit", "overstay") == [
        ("visit", "opened", 5.0, None),
        ("visit", "closed", 5.0, 1805.0),
    ]


# --- schedules and edited fences ------------------------------------------------------------

#: The tests' day begins at 00:00 in Shanghai; this fence is in force from 00:10 to 00:20.
NIGHT = {"tz": "Asia/Shanghai", "windows": [{"days": "mon", "from": "00:10", "to": "00:20"}]}


def test_a_schedule_begins_and_ends_a_visit_in_silence_and_in_fixes_alike() -> None:
    timed = box("zone", 4, 4, 6, 6, kind="restricted", schedule=NIGHT)

    def wanted(kind: str) -> list[tuple[str, str, float, float | None]]:
        return [
            ("visit", "opened", 600.0, None),
            (kind, "opened", 600.0, None),
            (kind, "closed", 600.0, 1200.0),
            ("visit", "closed", 600.0, 1200.0),
        ]

    engine, events = run((0, 5, 5, 0), fences=(timed,))
    assert events == []
    assert said(engine.advance(START_US + 600 * SECOND - 1)) == []
    events = list(engine.advance(START_US + 600 * SECOND))
    assert said(events) == wanted("possible_entry")[:2]
    assert events[0].detail["entry"] == "schedule"
    assert said(engine.advance(START_US + 1500 * SECOND)) == wanted("possible_entry")[2:]
    assert list(engine.process(batch([(1600, 5, 5, 0)]))) == []

    _, events = run((0, 5, 5, 0), (700, 5, 5, 0), (900, 5, 5, 0), (1600, 5, 5, 0), fences=(timed,))
    assert said(events) == wanted("restricted_entry")


def test_a_visit_said_in_silence_by_schedule_is_retracted_when_the_vehicle_had_left() -> None:
    timed = box("zone", 4, 4, 6, 6, kind="restricted", schedule=NIGHT)
    engine, _ = run((0, 5, 5, 0), fences=(timed,))
    assert len(engine.advance(START_US + 700 * SECOND)) == 2
    events = list(engine.process(batch([(100, 7, 5, 60)])))
    assert said(events) == [
        ("visit", "retracted", 600.0, None),
        ("possible_entry", "retracted", 600.0, None),
    ]


def test_a_limit_out_of_its_hours_does_not_hold() -> None:
    timed = box("lane", 2, 2, 10, 10, kind="corridor", speed_limit_kmh=60, schedule=NIGHT)
    _, events = run((0, 3, 3, 70), (30, 3, 3, 70), (700, 3, 3, 70), (730, 3, 3, 70), fences=(timed,))
    assert said(events, "overspeed") == [("overspeed", "opened", 700.0, None)]


def test_a_removed_fence_closes_its_visits_with_that_reason() -> None:
    engine, _ = run((0, 5, 5, 0), (10, 5, 5, 0))
    engine.use_fences(fence_set(DISTRICT, GATE))
    events = list(engine.advance(START_US + 60 * SECOND))
    assert said(events) == [("restricted_entry", "closed", 0.0, 10.0), ("visit", "closed", 0.0, 10.0)]
    assert {e.detail["exit"] for e in events} == {"fence_removed"}
    assert list(engine.process(batch([(70, 5, 5, 0)]))) == []
    assert engine.inside("浙B12345") == ("district",)


def test_a_snapshot_restored_without_a_fence_closes_its_visits_too() -> None:
    engine, _ = run((0, 5, 5, 0), (10, 5, 5, 0))
    engine = Engine.restore(engine.snapshot(), fence_set(DISTRICT, GATE))
    events = list(engine.process(batch([(70, 5, 5, 0)])))
    assert {(e.kind, e.detail["exit"]) for e in events} == {
        (Kind.VISIT, "fence_removed"),
        (Kind.RESTRICTED_ENTRY, "fence_removed"),
    }


def test_a_fence_redrawn_away_from_the_vehicle_ends_the_visit_at_its_last_fix() -> None:
    engine, _ = run((0, 5, 5, 0), (10, 5, 5, 0), fences=(ZONE,))
    engine.use_fences(fence_set(box("zone", 8, 8, 9, 9, kind="restricted")))
    events = list(engine.process(batch([(20, 5, 5, 0)])))
    assert said(events, "visit") == [("visit", "closed", 0.0, 10.0)]
    assert events[-1].detail["exit"] == "fence_changed"


def test_a_fence_drawn_around_the_vehicle_counts_from_the_first_fix_that_sees_it() -> None:
    engine, _ = run((0, 8.5, 8.5, 0), (10, 8.5, 8.5, 0), fences=(ZONE,))
    engine.use_fences(fence_set(box("zone", 8, 8, 9, 9, kind="restricted")))
    events = list(engine.process(batch([(20, 8.5, 8.5, 0)])))
    assert said(events, "visit") == [("visit", "opened", 20.0, None)]
    assert events[0].detail["entry"] == "fence_changed"
