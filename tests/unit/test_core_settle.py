"""Borders: noise makes no crossings, and a crossing that counts late has its true time and place."""

from __future__ import annotations

import numpy as np
import pytest

from hazfence import Engine, EngineSettings, Event, Kind, Phase
from hazfence.states import Waver, Wavering, from_json

from ..property.world import START_US, box, disc, fence_set
from .test_core_rules import DISTRICT, GATE, SECOND, ZONE, Row, batch, run, said

#: Metres of one step of the grid eastwards at this latitude, about.
STEP_M = 193.0


def beside(seconds: float, metres: float, north: float = 3.0, kmh: float = 20.0) -> Row:
    """A fix so many metres east (inside) of the district's west border."""
    return (seconds, 2 + metres / STEP_M, north, kmh)


def noisy(hours: float, every_s: float, around_m: float, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    times = np.arange(0, hours * 3600, every_s)
    east = np.clip(rng.normal(around_m, 6.0, len(times)), -14.5, 14.5)
    return [beside(t, e, 3 + 0.001 * i) for i, (t, e) in enumerate(zip(times, east, strict=True))]


@pytest.mark.parametrize("seed", range(5))
def test_an_hour_along_the_border_after_coming_in_is_one_visit(seed: int) -> None:
    rows = [
        beside(-60, -300),
        beside(-30, 300),
        *noisy(1, 10, 0.0, seed),
        beside(3700, 300),
        beside(3760, -300),
    ]
    _, events = run(*rows, fences=(DISTRICT,))
    visits = said(events, "visit")
    assert [v[1] for v in visits] == ["opened", "closed"]
    assert visits[0][2] == pytest.approx(-45.0, abs=0.5)
    assert visits[1][3] == pytest.approx(3730.0, abs=0.5)
    # In and out away from every gate; in between, nothing was crossed.
    assert len(said(events, "gate_bypass")) == 2


@pytest.mark.parametrize("seed", range(5))
def test_an_hour_along_the_border_from_outside_is_no_visit_and_no_breach(seed: int) -> None:
    rows = [beside(-30, -300), *noisy(1, 10, -2.0, seed), beside(3700, -300)]
    _, events = run(*rows, fences=(DISTRICT,))
    assert events == []


def test_without_it_every_flip_was_a_breach() -> None:
    rows = [beside(-30, -300), *noisy(1, 10, -2.0, 0), beside(3700, -300)]
    _, events = run(*rows, fences=(DISTRICT,), settle_m=0.0)
    assert len(said(events, "gate_bypass")) > 50


def test_a_slow_crossing_counts_once_at_its_true_time_and_place() -> None:
    # Out, 8 m out, 8 m in, 12 m in, and only then farther in than 15 m.
    rows = [beside(0, -200), beside(30, -8), beside(60, 8), beside(90, 12), beside(120, 40), beside(150, 300)]
    engine, events = run(*rows[:4], fences=(DISTRICT, GATE))
    assert events == []
    told = list(engine.process(batch(rows[4:])))
    assert said(told, "visit") == [("visit", "opened", 45.0, None)]
    # 8 m out it may have been in already, but from where it surely was outside no step leads by the gate.
    assert said(told, "gate_bypass") == [("gate_bypass", "closed", 45.0, 45.0)]
    visit = told[0]
    assert visit.lon == pytest.approx(121.504, abs=1e-9)
    assert visit.detail["entry_between"] == ["2026-03-01T16:00:30.000000Z", "2026-03-01T16:01:00.000000Z"]


def test_a_slow_crossing_through_a_gate_is_no_bypass() -> None:
    # It touches the gate only while it wavers: the checkpoint is 150 m around (2, 6).
    rows = [beside(0, -400, 6.9), beside(30, -8, 6.6), beside(60, 8, 6.8), beside(90, 60, 6.9)]
    _, events = run(*rows, fences=(DISTRICT, GATE), gate_tolerance_m=0.0)
    assert said(events, "gate_bypass") == []
    assert [e.detail["entry_gate"] for e in events if e.fence_id == "district"] == ["gate"]


def test_a_stay_just_inside_counts_by_its_seconds() -> None:
    rows = [beside(0, -300), *(beside(t, 8, kmh=0.0) for t in range(30, 690, 30))]
    engine, events = run(*rows, fences=(DISTRICT,))
    # In at 29.2 s (300 of 308 m); it counts at the first fix 600 s later.
    assert said(events, "visit") == [("visit", "opened", pytest.approx(29.22, abs=0.01), None)]
    assert engine.inside("浙B12345") == ("district",)


def test_and_so_it_does_in_silence() -> None:
    engine, events = run(beside(0, -300), beside(30, 8, kmh=0.0), fences=(DISTRICT,))
    assert events == []
    assert engine.advance(START_US + 629 * SECOND) == ()
    (visit, bypass) = engine.advance(START_US + 640 * SECOND)
    # It counts by its seconds, within the error of a position: certain it is not.
    assert (visit.kind, bypass.kind) == (Kind.VISIT, Kind.POSSIBLE_BYPASS)
    assert bypass.detail["certainty"] == "probable"
    # The next fix shows that it never went in.
    taken_back = list(engine.process(batch([beside(700, -300)])))
    assert {(e.kind, e.phase) for e in taken_back} == {
        (Kind.VISIT, Phase.RETRACTED),
        (Kind.POSSIBLE_BYPASS, Phase.RETRACTED),
    }


def test_the_restricted_zone_is_not_entered_by_noise() -> None:
    def near(seconds: float, metres: float) -> Row:
        return (seconds, 4 + metres / STEP_M, 5.0, 0.0)

    rows = [near(0, -100), near(10, -9), near(20, 6), near(30, -12), near(40, 3), near(50, -100)]
    _, events = run(*rows, fences=(ZONE,))
    assert events == []
    _, events = run(*rows[:4], near(40, 30), fences=(ZONE,))
    assert said(events, "restricted_entry")[0][2] == pytest.approx(30 + 10 * 12 / 42, abs=0.05)


def test_overtime_waits_while_it_may_have_left() -> None:
    # The limit of 30 minutes passes while it wavers outside; it had left before.
    left = [beside(0, -300), beside(10, 300), beside(1780, 100), beside(1800, -5), beside(1900, -5)]
    engine, events = run(*left, fences=(DISTRICT,))
    assert said([*events, *engine.advance(START_US + 1905 * SECOND)], "overstay") == []
    out = list(engine.process(batch([beside(1910, -200)])))
    assert said(out, "overstay") == []
    (visit,) = [e for e in out if e.kind is Kind.VISIT]
    assert visit.phase is Phase.CLOSED
    assert (visit.ended_us or 0) < START_US + 1800 * SECOND
    # Had it come back instead, the limit had passed when it passed.
    engine, _ = run(*left, fences=(DISTRICT,))
    back = list(engine.process(batch([beside(1910, 200)])))
    assert said(back, "overstay") == [("overstay", "opened", pytest.approx(1805.0, abs=0.5), None)]


def test_thin_fences_and_those_with_hours_are_crossed_at_once() -> None:
    rows = [(0.0, 1.0, 6.0, 40.0), (30.0, 2 - 145 / STEP_M, 6.0, 40.0)]  # 5 m inside the gate
    _, events = run(*rows, fences=(GATE,))
    assert len(said(events, "visit")) == 1


def test_a_fence_that_goes_while_it_wavers_is_forgotten() -> None:
    engine, _ = run(beside(0, -300), beside(30, 8), fences=(DISTRICT, ZONE))
    engine.use_fences(fence_set(ZONE))
    assert list(engine.process(batch([beside(60, 300)]))) == []
    engine.use_fences(fence_set(DISTRICT, ZONE))
    assert [e.detail["entry"] for e in engine.process(batch([beside(90, 300)]))] == ["fence_changed"]


def test_what_wavers_outlives_a_restart() -> None:
    rows = [beside(0, -200), beside(30, -8), beside(60, 8), beside(90, 40)]
    engine, _ = run(*rows[:3], fences=(DISTRICT,))
    again = Engine.restore(engine.snapshot(), fence_set(DISTRICT), EngineSettings())
    assert list(again.process(batch(rows[3:]))) == list(engine.process(batch(rows[3:])))


#: In by the gate, then beside the border, where it is reported outside; three kilometres on it turns in.
IN_AND_BESIDE = [
    (0.0, 1.0, 6.0, 60.0),
    *(beside(60 + 30 * k, -6.0, 6.5 + 2.0 * k, 60.0) for k in range(2)),
    beside(120, 300.0, 9.0, 60.0),
]


@pytest.mark.parametrize("cut", range(5))
def test_a_way_along_the_border_is_remembered_until_a_fix_is_surely_on_one_side(cut: int) -> None:
    engine, events = run(*IN_AND_BESIDE[:cut], fences=(DISTRICT, GATE)) if cut else run_none()
    again = Engine.restore(engine.snapshot(), fence_set(DISTRICT, GATE), EngineSettings())
    if cut < len(IN_AND_BESIDE):
        told = list(engine.process(batch(IN_AND_BESIDE[cut:])))
        assert told == list(again.process(batch(IN_AND_BESIDE[cut:])))
        events = [*events, *told]
    [bypass] = [e for e in events if "bypass" in e.kind]
    assert (bypass.kind, bypass.detail["certainty"]) == (Kind.POSSIBLE_BYPASS, "possible")
    assert engine.snapshot() == again.snapshot()


def run_none() -> tuple[Engine, list[Event]]:
    return Engine(fence_set(DISTRICT, GATE), EngineSettings()), []


def test_what_a_fix_on_the_way_along_the_border_tells_may_come_late() -> None:
    # From beside the gate it might have gone by it; from where it was half a minute later it had no time.
    rows = [(0.0, 1.0, 6.0, 60.0), beside(90, -6.0, 9.5, 60.0), beside(105, 300.0, 9.5, 60.0)]
    engine, events = run(*rows, fences=(DISTRICT, GATE))
    assert said(events, "possible_bypass", "gate_bypass")[0][0] == "possible_bypass"
    news = list(engine.process(batch([(80.0, 1.5, 9.5, 60.0)])))
    assert [(str(e.kind), str(e.phase)) for e in news if "bypass" in e.kind] == [
        ("gate_bypass", "closed"),
        ("possible_bypass", "retracted"),
    ]


def test_who_is_first_seen_beside_the_border_may_never_have_crossed_it() -> None:
    for first, then in ((6.0, -300.0), (-6.0, 300.0)):
        _, events = run(beside(0, first, 9.0), beside(30, then, 9.0), fences=(DISTRICT, GATE))
        [bypass] = [e for e in events if "bypass" in e.kind]
        assert (bypass.kind, bypass.detail["certainty"]) == (Kind.POSSIBLE_BYPASS, "probable")


@pytest.mark.parametrize("east", [-6.0, 6.0])  # leaning, wavering
@pytest.mark.parametrize("again", [False, True])
def test_a_border_redrawn_under_a_vehicle_makes_no_bypass_certain(east: float, again: bool) -> None:
    beyond = DISTRICT, GATE
    redrawn = [{**fence, "properties": {**fence["properties"], "version": 2}} for fence in beyond]
    for fences, kind in ((beyond, Kind.GATE_BYPASS), (redrawn, Kind.POSSIBLE_BYPASS)):
        engine, _ = run(beside(0, -300, 9.0), beside(30, east, 9.0), fences=beyond)
        if again:
            engine = Engine.restore(engine.snapshot(), fence_set(*fences), EngineSettings())
        else:
            engine.use_fences(fence_set(*fences))
        [bypass] = [e for e in engine.process(batch([beside(60, 300, 9.0)])) if "bypass" in e.kind]
        assert bypass.kind is kind


def test_what_an_older_release_kept_of_a_crossing_makes_nothing_certain() -> None:
    border = ("district", False, 1, 0, 2, 121.6, 29.9, "interpolated", ())
    assert from_json({"wavering": {"borders": [list(border)]}}) == {
        "wavering": Wavering((Waver(*border, "probable"),))
    }


def test_a_stay_that_counted_by_its_seconds_makes_no_way_out_certain() -> None:
    rows = [beside(0, -300), *(beside(t, 8, kmh=0.0) for t in range(30, 690, 30)), beside(720, -300)]
    _, events = run(*rows, fences=(DISTRICT,))
    assert [(str(e.kind), e.detail["direction"]) for e in events if "bypass" in e.kind] == [
        ("possible_bypass", "in"),
        ("possible_bypass", "out"),
    ]


def test_an_exit_wavers_too() -> None:
    rows = [beside(0, 300), beside(30, 8), beside(60, -8), beside(90, 8), beside(120, -8), beside(150, -100)]
    _, events = run(
        *rows, fences=(box("zone", 2, 2, 10, 10, kind="zone"), disc("far", 9, 9, 50, kind="zone"))
    )
    assert said(events) == [("visit", "opened", 0.0, None), ("visit", "closed", 0.0, 105.0)]
