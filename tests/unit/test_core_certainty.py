"""Breaches only when certain; otherwise a milder record, which becomes the breach when it is certain."""

from __future__ import annotations

import pytest

from hazfence import Engine, EngineSettings, Event, Kind, Phase
from hazfence.rules import Rulebook

from ..property.world import START_US, box, fence_set
from .test_core_rules import DISTRICT, GATE, SECOND, ZONE, Row, batch, run, said

STEP_M = 193.0
WALL = box("wall", 4, 0, 5, 12, kind="restricted", thin=True)


def deep(seconds: float, metres: float, kmh: float = 0.0) -> Row:
    """A fix so many metres inside the restricted zone's west border."""
    return (seconds, 4 + metres / STEP_M, 5.0, kmh)


def only(events: list[Event] | tuple[Event, ...], kind: Kind) -> Event:
    [found] = [e for e in events if e.kind is kind]
    return found


@pytest.mark.parametrize(
    ("seconds", "kmh", "kind", "certainty"),
    [
        (30, 60.0, "gate_bypass", "certain"),
        (33, 60.0, "possible_bypass", "probable"),
        (60, 60.0, "possible_bypass", "possible"),
        (33, float("nan"), "possible_bypass", "possible"),
    ],
)
def test_a_bypass_is_a_breach_only_without_time_to_pass_a_gate(
    seconds: float, kmh: float, kind: str, certainty: str
) -> None:
    for rows in (((0, 1, 9, kmh), (seconds, 3, 9, kmh)), ((0, 3, 9, kmh), (seconds, 1, 9, kmh))):
        _, events = run(*rows)
        [breach] = [e for e in events if "bypass" in e.kind]
        assert (str(breach.kind), breach.detail["certainty"]) == (kind, certainty)
        assert breach.severity == ("breach" if kind == "gate_bypass" else "warning")
        # The interval, and the estimate half way.
        assert said([breach]) == [(kind, "closed", seconds / 2, seconds / 2)]
        assert breach.detail["between"][0] == "2026-03-01T16:00:00.000000Z"
        assert breach.detail["top_speed_kmh"] == 120.0


def test_the_top_speed_may_differ_by_fence_and_by_setting() -> None:
    rows: tuple[Row, Row] = ((0, 1, 9, 60), (33, 3, 9, 60))
    slow = {
        **DISTRICT,
        "properties": {**DISTRICT["properties"], "rules": {"gate_bypass": {"top_speed_kmh": 90}}},
    }
    _, events = run(*rows, fences=(slow, GATE))
    assert said(events, "gate_bypass") == [("gate_bypass", "closed", 16.5, 16.5)]
    _, events = run(*rows, top_speed_kmh=90.0)
    assert said(events, "gate_bypass") == [("gate_bypass", "closed", 16.5, 16.5)]


def test_a_fix_that_comes_late_makes_it_certain() -> None:
    engine, events = run((0, 1, 9, 60), (60, 3, 9, 60))
    assert only(events, Kind.POSSIBLE_BYPASS).phase is Phase.CLOSED
    # Half a minute later it was still outside: between then and the second fix there was no time for a gate.
    news = list(engine.process(batch([(30, 1.1, 9, 60)])))
    assert only(news, Kind.POSSIBLE_BYPASS).phase is Phase.RETRACTED
    assert only(news, Kind.GATE_BYPASS).detail["certainty"] == "certain"


def test_a_rule_switched_off_says_neither() -> None:
    rows = [(0, 1, 9, 60), (60, 3, 9, 60)]
    for off, left in (("gate_bypass", []), ("possible_bypass", [])):
        engine = Engine(fence_set(DISTRICT, GATE), EngineSettings(rules=Rulebook({off: False})))
        assert said(list(engine.process(batch(rows))), "gate_bypass", "possible_bypass") == left


def test_first_seen_just_inside_a_restricted_zone_is_no_breach_until_it_is_well_inside() -> None:
    rows = [deep(0, 6), deep(30, 9), deep(60, 4)]
    engine, events = run(*rows, fences=(ZONE,))
    assert said(events) == [("visit", "opened", 0.0, None), ("possible_entry", "opened", 0.0, None)]
    assert only(events, Kind.POSSIBLE_ENTRY).detail["certainty"] == "probable"
    again = Engine.restore(engine.snapshot(), fence_set(ZONE), EngineSettings())
    news = list(engine.process(batch([deep(90, 40)])))
    assert said(news) == [("restricted_entry", "opened", 0.0, None), ("possible_entry", "closed", 0.0, 90.0)]
    assert only(news, Kind.POSSIBLE_ENTRY).detail["exit"] == "confirmed"
    assert list(again.process(batch([deep(90, 40)]))) == news
    # Said once: nothing more follows, and it ends with the stay.
    assert list(engine.process(batch([deep(120, 5), deep(150, 50)]))) == []
    assert said(list(engine.process(batch([deep(180, -200)]))), "restricted_entry") == [
        ("restricted_entry", "closed", 0.0, pytest.approx(156, abs=0.1))
    ]


def test_first_seen_well_inside_is_a_breach_at_once() -> None:
    _, events = run(deep(0, 40), fences=(ZONE,))
    assert said(events) == [("visit", "opened", 0.0, None), ("restricted_entry", "opened", 0.0, None)]


def test_a_stay_just_inside_ends_as_it_was() -> None:
    _, events = run(deep(0, 6), deep(30, 9), deep(60, -100), fences=(ZONE,))
    assert said(events)[-2:] == [
        ("possible_entry", "closed", 0.0, pytest.approx(32.5, abs=0.1)),
        ("visit", "closed", 0.0, pytest.approx(32.5, abs=0.1)),
    ]


def test_without_hysteresis_positions_are_taken_as_they_are() -> None:
    _, events = run(deep(0, 1), fences=(ZONE,), settle_m=0.0)
    assert said(events, "restricted_entry") == [("restricted_entry", "opened", 0.0, None)]


def test_the_rule_of_the_breach_stays_when_the_milder_one_is_off() -> None:
    engine = Engine(fence_set(ZONE), EngineSettings(rules=Rulebook({"possible_entry": False})))
    assert said(list(engine.process(batch([deep(0, 6)])))) == [("visit", "opened", 0.0, None)]
    news = list(engine.process(batch([deep(30, 6), deep(60, 40)])))
    assert said(news) == [("restricted_entry", "opened", 0.0, None)]


@pytest.mark.parametrize(
    ("seconds", "kind", "certainty"),
    [
        # Over the wall, 2.6 km long, at 60 km/h; around its end it is 2.8 km.
        (30, "restricted_entry", "certain"),
        (90, "possible_entry", "probable"),
        (170, "possible_entry", "possible"),
    ],
)
def test_a_zone_passed_between_two_fixes_is_a_breach_only_without_a_way_around(
    seconds: float, kind: str, certainty: str
) -> None:
    _, events = run((0, 3, 6, 60), (seconds, 6, 6, 60), fences=(WALL,))
    opened = [e for e in events if "entry" in e.kind and e.phase is Phase.OPENED]
    assert [(str(e.kind), e.detail["certainty"]) for e in opened] == [(kind, certainty)]
    assert said(events, kind)[-1][1] == "closed"
    assert len(said(events)) == 4


def test_a_possible_entry_is_named_apart_from_the_breach() -> None:
    engine, events = run(deep(0, 6), fences=(ZONE,))
    news = list(engine.process(batch([deep(30, 40)])))
    assert only(events, Kind.POSSIBLE_ENTRY).id != only(news, Kind.RESTRICTED_ENTRY).id
    assert only(events, Kind.POSSIBLE_ENTRY).started_us == START_US
    assert [e.kind for e in engine.advance(START_US + 100 * SECOND)] == []
