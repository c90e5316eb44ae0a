"""The core's promises: right by the reference, and the same events however the input is cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazfence import Engine, EngineSettings, Event, Phase
from hazfence_fences import FenceSet

from .reference import Fact, facts
from .world import START_US, TIMED_WORLD, WORLD, Track, batch_of, tracks

SETTINGS = EngineSettings(gate_tolerance_m=100.0, recent_s=1e6, max_accuracy_m=1000.0)


worlds = pytest.mark.parametrize("world", [WORLD, TIMED_WORLD], ids=["plain", "timed"])


def run(track: Track, world: FenceSet) -> tuple[Engine, list[Event]]:
    engine = Engine(world, SETTINGS)
    return engine, list(engine.process(batch_of(track)))


def by_vehicle(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.vehicle, []).append(event)
    return found


def fold(events: Iterable[Event]) -> dict[str, Event]:
    """What stands in the end: the last revision of each event, retracted ones left out."""
    last: dict[str, Event] = {}
    for event in events:
        assert event.revision == (last[event.id].revision if event.id in last else 0) + 1
        last[event.id] = event
    return {i: e for i, e in last.items() if e.phase is not Phase.RETRACTED}


def same(a: dict[str, Event], b: dict[str, Event]) -> bool:
    """Equal but for the counting of revisions."""

    def plain(events: dict[str, Event]) -> dict[str, object]:
        return {
            i: (e.to_json() | {"revision": 0, "phase": "closed" if e.is_over else "open"})
            for i, e in events.items()
        }

    return plain(a) == plain(b)


@worlds
@given(track=tracks(), data=st.data())
def test_any_cut_gives_the_same_events(world: FenceSet, track: Track, data: st.DataObject) -> None:
    whole_engine, whole = run(track, world)
    engine, parts = Engine(world, SETTINGS), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(track)), max_size=6)))
    for lo, hi in zip([0, *cuts], [*cuts, len(track)], strict=True):
        parts += list(engine.process(batch_of(track[lo:hi])))
        if data.draw(st.booleans()):
            engine = Engine.restore(engine.snapshot(), world, SETTINGS)
    assert by_vehicle(parts) == by_vehicle(whole)
    assert engine.open_events() == whole_engine.open_events()
    assert engine.positions() == whole_engine.positions()


@worlds
@given(track=tracks(), data=st.data())
def test_silence_noticed_early_changes_nothing_that_stands(
    world: FenceSet, track: Track, data: st.DataObject
) -> None:
    end_us = max(row[1] for row in track) + data.draw(st.sampled_from([0, 1, 3_600_000_000]))
    engine, whole = run(track, world)
    late_us = end_us + 3_000_000_000
    whole += engine.advance(late_us)
    engine, parts = Engine(world, SETTINGS), []
    for i in range(len(track)):
        parts += list(engine.process(batch_of(track[i : i + 1])))
        # The clock of the rest of the world runs on, perhaps far ahead of what this vehicle sends.
        ahead_s = data.draw(st.sampled_from([None, 0, 60, 400, 2000]))
        if ahead_s is not None:
            before = engine.snapshot()
            fired = engine.advance(track[i][1] + ahead_s * 1_000_000)
            parts += fired
            if not fired:
                assert Engine.restore(before, world, SETTINGS).open_events() == engine.open_events()
            if data.draw(st.booleans()):
                engine = Engine.restore(engine.snapshot(), world, SETTINGS)
    # The last advance() may have looked beyond the end: both are judged at one moment in the end.
    parts += engine.advance(late_us)
    assert same(fold(parts), fold(whole))


@given(track=tracks())
def test_events_are_those_of_the_slow_reference(track: Track) -> None:
    end_us = max(row[1] for row in track)
    settings = replace(SETTINGS, settle_m=0.0)  # test_settle.py has what that adds
    engine = Engine(WORLD, settings)
    events = [*engine.process(batch_of(track)), *engine.advance(end_us)]
    found = [
        Fact(str(e.kind), e.vehicle, e.fence_id or "", e.started_us, e.ended_us)
        for e in fold(events).values()
    ]
    wanted = facts(track, WORLD, settings, end_us)

    def key(fact: Fact) -> tuple[str, str, str, float]:
        return (fact.kind, fact.vehicle, fact.fence_id, fact.start_us)

    found.sort(key=key)
    wanted.sort(key=key)
    assert [f[:3] for f in found] == [w[:3] for w in wanted]
    for f, w in zip(found, wanted, strict=True):
        assert abs(f.start_us - w.start_us) < 1000, (f, w)
        assert (f.end_us is None) == (w.end_us is None), (f, w)
        if f.end_us is not None and w.end_us is not None:
            assert abs(f.end_us - w.end_us) < 1000, (f, w)


def test_the_world_begins_at_a_round_moment() -> None:
    assert START_US % 60_000_000 == 0
