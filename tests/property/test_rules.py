"""All rules on: the same events however the input is cut, however early silence is noticed, and
whether the screen lets the judge rest or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazfence import Engine, EngineSettings, Event
from hazfence.columns import Columns
from hazfence.screen import Screen

from . import reference_rules
from .reference import Fact
from .rule_world import ON_FILE, RULE_WORLD, rule_batch, rule_settings, walks
from .test_engine import by_vehicle, fold, same
from .test_late import cut

BOOKS = [rule_settings(), rule_settings(gnss_suspect={"max_kmh": 120, "frozen_s": 20})]
books = pytest.mark.parametrize("settings", BOOKS, ids=["trusting", "doubting"])
Rows = list[tuple[Any, ...]]


def run(track: Rows, settings: EngineSettings) -> tuple[Engine, list[Event]]:
    engine = Engine(RULE_WORLD, settings, ON_FILE)
    return engine, list(engine.process(rule_batch(track)))


@books
@given(track=walks(), data=st.data())
def test_any_cut_gives_the_same_events(settings: EngineSettings, track: Rows, data: st.DataObject) -> None:
    whole_engine, whole = run(track, settings)
    engine, parts = Engine(RULE_WORLD, settings, ON_FILE), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(track)), max_size=6)))
    for lo, hi in zip([0, *cuts], [*cuts, len(track)], strict=True):
        parts += list(engine.process(rule_batch(track[lo:hi])))
        if data.draw(st.booleans()):
            engine = Engine.restore(engine.snapshot(), RULE_WORLD, settings, ON_FILE)
    assert by_vehicle(parts) == by_vehicle(whole)
    assert engine.open_events() == whole_engine.open_events()


@books
@given(track=walks(), data=st.data())
def test_silence_noticed_early_changes_nothing_that_stands(
    settings: EngineSettings, track: Rows, data: st.DataObject
) -> None:
    end_us = max(row[1] for row in track) + data.draw(st.sampled_from([0, 1, 3_600_000_000]))
    engine, whole = run(track, settings)
    late_us = end_us + 3_000_000_000
    whole += engine.advance(late_us)
    engine, parts = Engine(RULE_WORLD, settings, ON_FILE), []
    for i in range(len(track)):
        parts += list(engine.process(rule_batch(track[i : i + 1])))
        ahead_s = data.draw(st.sampled_from([None, 0, 60, 400, 2000]))
        if ahead_s is not None:
            before = engine.snapshot()
            fired = engine.advance(track[i][1] + ahead_s * 1_000_000)
            parts += fired
            if not fired:
                assert (
                    Engine.restore(before, RULE_WORLD, settings, ON_FILE).open_events()
                    == engine.open_events()
                )
            if data.draw(st.booleans()):
                engine = Engine.restore(engine.snapshot(), RULE_WORLD, settings, ON_FILE)
    parts += engine.advance(late_us)
    assert same(fold(parts), fold(whole))


class Sleepless(Screen):
    """Calls every fix due."""

    def look(self, *args: Any, **kwargs: Any) -> Columns:
        columns = super().look(*args, **kwargs)
        groups = np.arange(len(columns.starts), dtype=np.int64)
        return columns._replace(due=np.ones_like(columns.due), active=groups)


@books
@given(track=walks())
def test_the_screen_lets_the_judge_rest_only_where_nothing_happens(
    settings: EngineSettings, track: Rows
) -> None:
    _, rested = run(track, settings)
    engine = Engine(RULE_WORLD, settings, ON_FILE)
    engine._screen.__class__ = Sleepless
    assert by_vehicle(engine.process(rule_batch(track))) == by_vehicle(rested)


@books
@given(track=walks(max_size=25), data=st.data())
def test_any_order_of_arrival_leaves_the_same(
    settings: EngineSettings, track: Rows, data: st.DataObject
) -> None:
    late_us = max(row[1] for row in track) + 3_000_000_000
    engine, wanted = run(track, settings)
    wanted += engine.advance(late_us)
    engine, events = Engine(RULE_WORLD, settings, ON_FILE), []
    for part in cut(data, data.draw(st.permutations(track))):
        events += engine.process(rule_batch(part))
        moment = data.draw(st.sampled_from([None, 0, 400, 2000]))
        if moment is not None and part:
            events += engine.advance(max(row[1] for row in part) + moment * 1_000_000)
    events += engine.advance(late_us)
    assert same(fold(events), fold(wanted))
    assert {e.id for e in engine.open_events()} == {e.id for e in fold(events).values() if not e.is_over}


#: Without the distance, the waybill's and the other overstays told apart by the part.
PLAIN = rule_settings(corridor_departure={"for_s": 100, "farther_m": None})
LIMITS = {"off_s": 100.0, "silent_min": 5.0, "gap_s": 200.0}
COMPARED = {
    *("curfew", "corridor_departure", "silent", "coverage_gap", "emergency", "collision", "rollover"),
    *("unregistered", "no_waybill", "cargo_forbidden"),
}


@given(track=walks(), ahead_s=st.sampled_from([1, 60, 400, 2000]))
def test_events_are_those_of_the_slow_reference(track: Rows, ahead_s: int) -> None:
    until_us = max(row[1] for row in track) + ahead_s * 1_000_000
    settings = replace(PLAIN, settle_m=0.0)
    engine, events = run(track, settings)
    events += engine.advance(until_us)
    found = [
        Fact(str(e.kind), e.vehicle, e.fence_id or "", e.started_us, e.ended_us)
        for e in fold(events).values()
        if e.kind in COMPARED or e.detail.get("part") == "waybill"
    ]
    wanted = reference_rules.facts(track, RULE_WORLD, PLAIN, ON_FILE, until_us, LIMITS)

    def key(fact: Fact) -> tuple[str, str, str, float]:
        return fact.kind, fact.vehicle, fact.fence_id, fact.start_us

    # A border touched by one fix is a stay without duration: what it carries is a matter of taste.
    found = sorted((f for f in found if f.end_us != f.start_us), key=key)
    wanted = sorted((f for f in wanted if f.end_us != f.start_us), key=key)
    assert [f[:3] for f in found] == [w[:3] for w in wanted]
    for f, w in zip(found, wanted, strict=True):
        assert abs(f.start_us - w.start_us) < 1000, (f, w)
        assert (f.end_us is None) == (w.end_us is None), (f, w)
        if f.end_us is not None and w.end_us is not None:
            assert abs(f.end_us - w.end_us) < 1000, (f, w)
