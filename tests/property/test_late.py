"""Late, shuffled, doubled: what stands in the end is a function of the set of fixes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hazfence import Engine, EngineSettings, Event, Reason
from hazfence_fences import FenceSet

from .test_engine import SETTINGS, by_vehicle, fold, run, same, worlds
from .world import START_US, WORLD, Track, at, batch_of, tracks


def cut(data: st.DataObject, track: Track) -> list[Track]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(track)), max_size=8)))
    return [track[lo:hi] for lo, hi in zip([0, *cuts], [*cuts, len(track)], strict=True)]


#: The promise of this module: six hundred examples in a run of all tests, twenty thousand a night.
many = settings(max_examples=max(300, settings().max_examples))


@worlds
@many
@given(track=tracks(max_size=25), data=st.data())
def test_any_order_any_cut_any_doubling_leaves_the_same(
    world: FenceSet, track: Track, data: st.DataObject
) -> None:
    late_us = max(row[1] for row in track) + 3_000_000_000
    engine, wanted = run(track, world)
    wanted += engine.advance(late_us)

    shuffled = data.draw(st.permutations(track))
    doubled = shuffled + data.draw(st.lists(st.sampled_from(track), max_size=5))
    engine, events = Engine(world, SETTINGS), []
    for part in cut(data, doubled):
        outcome = engine.process(batch_of(part))
        assert set(outcome.reason.tolist()) <= {Reason.OK, Reason.DUPLICATE}
        events += outcome
        moment = data.draw(st.sampled_from([None, 0, 400, 2000]))
        if moment is not None and part:
            events += engine.advance(max(row[1] for row in part) + moment * 1_000_000)
    events += engine.advance(late_us)
    assert same(fold(events), fold(wanted))
    open_in_the_end = {e.id for e in fold(events).values() if not e.is_over}
    assert {e.id for e in engine.open_events()} == open_in_the_end


@worlds
@given(track=tracks(max_size=15), data=st.data())
def test_fixes_of_one_moment_are_settled_alike_in_any_order(
    world: FenceSet, track: Track, data: st.DataObject
) -> None:
    # The same moments again, at other places: somebody resends and somebody's clock stands still.
    rivals = [(*a[:2], *b[2:]) for a, b in zip(track, reversed(track), strict=True)]
    everything = track + rivals

    def told(order: Track) -> dict[str, Event]:
        engine, events = Engine(world, SETTINGS), []
        for part in cut(data, order):
            events += engine.process(batch_of(part))
        events += engine.advance(max(row[1] for row in track) + 3_000_000_000)
        return fold(events)

    assert same(told(everything), told(data.draw(st.permutations(everything))))


def revived(engine: Engine, world: FenceSet, settings: EngineSettings, accepted: Track, how: str) -> Engine:
    """The engine after a restart: from a whole snapshot, or from one and a store of recent fixes."""
    if how == "whole":
        return Engine.restore(engine.snapshot(), world, settings)
    again = Engine.restore(engine.snapshot(with_recent=False), world, settings)
    again.remember(batch_of(accepted))
    return again


@worlds
@given(track=tracks(max_size=20), data=st.data())
def test_disorder_cut_in_any_way_gives_the_same_revisions(
    world: FenceSet, track: Track, data: st.DataObject
) -> None:
    # A second run after a crash cuts the log elsewhere: every revision must be the same, not only the last.
    settings = replace(SETTINGS, recent_s=data.draw(st.sampled_from([100.0, 600.0, 1e6])))
    order = data.draw(st.permutations(track)) + data.draw(st.lists(st.sampled_from(track), max_size=3))
    whole_engine = Engine(world, settings)
    outcome = whole_engine.process(batch_of(order))
    whole, reasons = list(outcome), outcome.reason.tolist()

    engine, parts, part_reasons, accepted = Engine(world, settings), [], [], []
    for part in cut(data, order):
        outcome = engine.process(batch_of(part))
        parts += outcome
        part_reasons += outcome.reason.tolist()
        accepted += [row for row, ok in zip(part, outcome.accepted.tolist(), strict=True) if ok]
        how = data.draw(st.sampled_from(["none", "whole", "store"]))
        if how != "none":
            engine = revived(engine, world, settings, accepted, how)
    assert by_vehicle(parts) == by_vehicle(whole)
    assert part_reasons == reasons
    assert engine.open_events() == whole_engine.open_events()


@given(track=tracks(max_size=25), data=st.data())
def test_what_memory_cannot_judge_is_set_aside_and_harms_nothing(track: Track, data: st.DataObject) -> None:
    small = replace(SETTINGS, recent_s=data.draw(st.sampled_from([0.0, 60.0, 600.0])))
    engine, events, kept = Engine(WORLD, small), [], []
    newest_us: dict[str, int] = {}
    for row in data.draw(st.permutations(track)):
        outcome = engine.process(batch_of([row]))
        events += outcome
        late_us = newest_us.get(row[0], row[1]) - row[1]
        if outcome.accepted.all():
            kept.append(row)
        else:
            assert outcome.reason.tolist() == [Reason.LATE]
        assert outcome.accepted.all() == (late_us == 0 or late_us < small.recent_s * 1e6)
        newest_us[row[0]] = max(row[1], newest_us.get(row[0], 0))
    kept.sort(key=lambda row: row[1])
    _, wanted = run(kept, WORLD)
    assert same(fold(events), fold(wanted))


@pytest.mark.parametrize("fixes", [0, 3])
def test_a_restored_engine_without_recent_fixes_sets_late_ones_aside(fixes: int) -> None:
    track: Track = [("A", START_US + s * 1_000_000, *at(5, 8), 30.0) for s in (100, 200, 300)]
    engine = Engine(WORLD, SETTINGS)
    engine.process(batch_of(track[:fixes]))
    engine = Engine.restore(engine.snapshot(with_recent=False), WORLD, SETTINGS)
    late: Track = [("A", START_US + 150_000_000, *at(0, 0), 30.0)]
    assert engine.process(batch_of(late)).reason.tolist() == [Reason.LATE if fixes else Reason.OK]


@worlds
@given(track=tracks(max_size=15), data=st.data())
def test_a_restart_under_other_terms_is_a_change_of_terms(
    world: FenceSet, track: Track, data: st.DataObject
) -> None:
    # As with fences changed live: what is older than the change is not judged by what came after it.
    other = FenceSet([fence for fence in world if data.draw(st.booleans())])
    order = data.draw(st.permutations(track))
    half = data.draw(st.integers(0, len(order)))
    lived, first = Engine(world, SETTINGS), Engine(world, SETTINGS)
    accepted = lived.process(batch_of(order[:half])).accepted
    assert (first.process(batch_of(order[:half])).accepted == accepted).all()
    known = [row for row, ok in zip(order[:half], accepted.tolist(), strict=True) if ok]
    if other.fingerprint != world.fingerprint:
        lived.use_fences(other)
    again = revived(first, other, SETTINGS, known, data.draw(st.sampled_from(["whole", "store"])))
    wanted, outcome = lived.process(batch_of(order[half:])), again.process(batch_of(order[half:]))
    assert outcome.reason.tolist() == wanted.reason.tolist()
    assert outcome.events == wanted.events


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"overspeed_for_s": 5.0}, Reason.LATE), ({"recent_s": 900.0, "max_ahead_s": 1.0}, Reason.OK)],
)
def test_other_limits_do_not_reach_back_over_a_restart(changed: dict[str, float], reason: Reason) -> None:
    track: Track = [("A", START_US + s * 1_000_000, *at(5, 8), 30.0) for s in (100, 200, 300)]
    engine = Engine(WORLD, SETTINGS)
    engine.process(batch_of(track))
    late: Track = [("A", START_US + 150_000_000, *at(0, 0), 30.0)]
    again = Engine.restore(engine.snapshot(), WORLD, replace(SETTINGS, **changed))
    assert again.process(batch_of(late)).reason.tolist() == [reason]
