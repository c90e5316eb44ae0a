"""Fixes hours late, judged from the history that the host keeps: as if memory had no end."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hazfence.recall
from hazfence import Engine, EngineSettings, Event, FixBatch, Reason
from hazfence.history import History, NeedsHistory
from hazfence.memory import MemoryStore
from hazfence.ports import Checkpoint
from hazfence_fences import FenceSet

from .rule_world import ON_FILE, RULE_WORLD, rule_batch, rule_settings, walks
from .test_engine import SETTINGS, by_vehicle, fold, run, same, worlds
from .test_late import cut
from .test_rules import Rows
from .world import START_US, TIMED_WORLD, WORLD, Track, at, batch_of, tracks, written_afresh

T = TypeVar("T")
#: Each example is many lives of an engine: a quarter of the usual number.
few = settings(max_examples=settings().max_examples // 4)
#: Memory of a minute, history of all that a track can be.
FORGETFUL = replace(SETTINGS, recent_s=60.0, recall_h=48.0)


@pytest.fixture(autouse=True, scope="module")
def milestones_often() -> object:
    """A milestone every two minutes, and room for few histories: tracks are short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hazfence.recall, "MILESTONE_US", 120_000_000)
        patch.setattr(hazfence.recall, "HELD_FIXES", 10)
        patch.setattr(hazfence.recall, "VEHICLES_AT_ONCE", 1)
        yield


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """What a store in memory answers, which never waits."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


class Host:
    """An engine and the store that keeps what it forgets; dies and comes back on demand."""

    def __init__(self, fences: FenceSet, core: EngineSettings, **more: object) -> None:
        self.make = fences, core, *more.values()
        self.engine = Engine(*self.make)  # type: ignore[arg-type]
        self.store = MemoryStore()
        self.waiting: list[FixBatch] = []
        self.offset = 0
        self.recalls = 0
        self.claim, _ = at_once(self.store.claim("t", 0))

    def process(self, batch: FixBatch) -> tuple[list[Event], list[int]]:
        events: list[Event] = []
        reasons: list[int] = []
        start, end = 0, len(batch)
        while start < len(batch):
            part = batch.take(slice(start, end))
            try:
                outcome = self.engine.process(part)
            except NeedsHistory as needs:
                found = at_once(self.store.history("t", 0, needs.missing))
                self.engine.recall(History(found.stones, FixBatch.concat([found.fixes, *self.waiting])))
                self.recalls += 1
                end = start + needs.rows
                continue
            events += outcome
            reasons += outcome.reason.tolist()
            self.waiting.append(part.take(outcome.accepted))
            start, end = end, len(batch)
        return events, reasons

    def checkpoint(self) -> None:
        self.offset += 1
        stones = [news for step in self.engine.milestones(most=1) for news in step]
        self.engine.draft(limit=1)
        assert self.engine.snapshot() == written_afresh(self.engine)
        snapshot = self.engine.snapshot(with_recent=False)
        fixes = FixBatch.concat(self.waiting)
        state = Checkpoint(self.offset, snapshot)
        at_once(self.store.checkpoint(self.claim, state, fixes, milestones=stones))
        self.waiting = []

    def die(self) -> None:
        """A restart with nothing but what the store has."""
        self.checkpoint()
        self.claim, checkpoint = at_once(self.store.claim("t", 0))
        assert checkpoint is not None
        self.engine = Engine.restore(checkpoint.snapshot, *self.make)  # type: ignore[arg-type]
        recent_s = self.engine.settings.recent_s
        last = self.engine.positions()
        if len(last):
            self.engine.remember(at_once(self.store.recent_fixes("t", 0, last, recent_s)))

    def live(self, data: st.DataObject) -> None:
        what = data.draw(st.sampled_from(["go on", "checkpoint", "die"]))
        if what != "go on":
            self.checkpoint() if what == "checkpoint" else self.die()


@worlds
@few
@given(track=tracks(max_size=25), data=st.data())
def test_any_order_leaves_what_the_right_order_leaves(
    world: FenceSet, track: Track, data: st.DataObject
) -> None:
    late_us = max(row[1] for row in track) + 3_000_000_000
    engine, wanted = run(track, world)
    wanted += engine.advance(late_us)

    shuffled = data.draw(st.permutations(track))
    doubled = shuffled + data.draw(st.lists(st.sampled_from(track), max_size=5))
    host, events = Host(world, FORGETFUL), []
    for part in cut(data, doubled):
        told, reasons = host.process(batch_of(part))
        assert set(reasons) <= {Reason.OK, Reason.DUPLICATE}
        events += told
        moment = data.draw(st.sampled_from([None, 0, 400, 2000]))
        if moment is not None and part:
            events += host.engine.advance(max(row[1] for row in part) + moment * 1_000_000)
        host.live(data)
    events += host.engine.advance(late_us)
    assert same(fold(events), fold(wanted))
    open_in_the_end = {e.id for e in fold(events).values() if not e.is_over}
    assert {e.id for e in host.engine.open_events()} == open_in_the_end


@worlds
@few
@given(track=tracks(max_size=20), data=st.data())
def test_any_cut_and_any_crash_gives_the_same_revisions(
    world: FenceSet, track: Track, data: st.DataObject
) -> None:
    core = replace(
        SETTINGS,
        recent_s=data.draw(st.sampled_from([0.0, 60.0, 600.0])),
        recall_h=data.draw(st.sampled_from([0.2, 1.0, 48.0])),
    )
    order = data.draw(st.permutations(track)) + data.draw(st.lists(st.sampled_from(track), max_size=3))
    quiet = Host(world, core)
    whole, reasons = quiet.process(batch_of(order))

    host, parts, part_reasons = Host(world, core), [], []
    for part in cut(data, order):
        told, why = host.process(batch_of(part))
        parts += told
        part_reasons += why
        host.live(data)
    assert part_reasons == reasons
    assert by_vehicle(parts) == by_vehicle(whole)
    assert host.engine.open_events() == quiet.engine.open_events()


@worlds
@few
@given(track=tracks(max_size=15), data=st.data())
def test_fixes_of_one_moment_are_settled_alike_in_any_order(
    world: FenceSet, track: Track, data: st.DataObject
) -> None:
    rivals = [(*a[:2], *b[2:]) for a, b in zip(track, reversed(track), strict=True)]
    everything = track + rivals

    def told(order: Track, core: EngineSettings) -> dict[str, Event]:
        host, events = Host(world, core), []
        for part in cut(data, order):
            events += host.process(batch_of(part))[0]
            host.live(data)
        events += host.engine.advance(max(row[1] for row in track) + 3_000_000_000)
        return fold(events)

    assert same(told(everything, SETTINGS), told(data.draw(st.permutations(everything)), FORGETFUL))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_which_fix_of_the_moment_before_memory_stands_outlives_a_restart(order: tuple[int, int]) -> None:
    """Two fixes of one moment, a gap longer than memory, a restart, and one more of the last moment."""
    weir, road, north = at(0, 0), at(10, 0), at(0, 1)
    rivals = [("B", START_US + 9_000_000, *place, 0.0) for place in (weir, road)]  # the eastern one stands
    before: Track = [
        *(rivals[i] for i in order),
        ("B", START_US + 8_000_000, *weir, 0.0),
        ("B", START_US + 129_000_000, *weir, 0.0),
        ("B", START_US + 8_000_000, *north, 0.0),
    ]
    found = []
    for dies in (False, True):
        host = Host(TIMED_WORLD, FORGETFUL)
        events, _ = host.process(batch_of(before))
        if dies:
            host.die()
        events += host.process(batch_of([("B", START_US + 129_000_000, *road, 0.0)]))[0]
        found.append(fold([*events, *host.engine.advance(START_US + 3_600_000_000)]))
    assert found[0]
    assert found[0] == found[1]


BOOKS = [rule_settings(), rule_settings(gnss_suspect={"max_kmh": 120, "frozen_s": 20})]


@pytest.mark.parametrize("core", BOOKS, ids=["trusting", "doubting"])
@few
@given(track=walks(max_size=25), data=st.data())
def test_with_every_rule_on_any_order_leaves_the_same(
    core: EngineSettings, track: Rows, data: st.DataObject
) -> None:
    late_us = max(row[1] for row in track) + 3_000_000_000
    engine = Engine(RULE_WORLD, core, ON_FILE)
    wanted = list(engine.process(rule_batch(track))) + list(engine.advance(late_us))
    host = Host(RULE_WORLD, replace(core, recent_s=60.0, recall_h=48.0), reference=ON_FILE)
    events: list[Event] = []
    for part in cut(data, data.draw(st.permutations(track))):
        events += host.process(rule_batch(part))[0]
        moment = data.draw(st.sampled_from([None, 0, 400, 2000]))
        if moment is not None and part:
            events += host.engine.advance(max(row[1] for row in part) + moment * 1_000_000)
        host.live(data)
    events += host.engine.advance(late_us)
    assert same(fold(events), fold(wanted))


def test_without_the_history_asked_for_the_fix_is_set_aside() -> None:
    track: Track = [("A", START_US + s * 1_000_000, *at(5 + s / 3600, 8), 30.0) for s in range(0, 7200, 30)]
    engine = Engine(WORLD, FORGETFUL)
    for lo in range(0, len(track), 8):
        engine.process(batch_of(track[lo : lo + 8]))
    list(engine.milestones())
    late = batch_of([("A", START_US + 100_000_001, *at(0, 0), 30.0)])
    with pytest.raises(NeedsHistory) as needs:
        engine.process(late)
    assert [one.vehicle for one in needs.value.missing] == ["A"]
    assert needs.value.rows == 1
    engine.recall(History((), FixBatch.empty()))
    assert engine.process(late).reason.tolist() == [Reason.LATE]


def test_beyond_the_limit_nothing_is_asked() -> None:
    core = replace(FORGETFUL, recall_h=1.0)
    track: Track = [("A", START_US + s * 1_000_000, *at(5, 8), 30.0) for s in range(0, 7200, 30)]
    engine = Engine(WORLD, core)
    engine.process(batch_of(track))
    late = batch_of([("A", START_US + 100_000_001, *at(0, 0), 30.0)])
    assert engine.process(late).reason.tolist() == [Reason.LATE]


def test_milestones_are_few_and_old_ones_are_dropped() -> None:
    rows = [("A", START_US + s * 1_000_000, *at(4 + (s // 60) % 4, 8), 30.0) for s in range(0, 36_000, 30)]
    host = Host(WORLD, replace(FORGETFUL, recall_h=2.0))
    for lo in range(0, len(rows), 40):
        host.process(batch_of(rows[lo : lo + 40]))
        host.checkpoint()
    stones = host.store._milestones["t", 0]["A"]
    times_us = np.array([stone.time_us for stone in stones])
    assert (np.diff(times_us) > 0).all()
    # One with each checkpoint here, for the last two hours.
    assert 6 <= len(stones) <= 8
    assert 7_200_000_000 <= rows[-1][1] - times_us[0] <= 9_600_000_000
