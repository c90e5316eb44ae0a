"""Wherever the worker dies, and whatever is away meanwhile: the rows are those of a quiet run."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

import hazfence.recall
from hazfence import EngineSettings, Event, FixBatch, Phase
from hazfence.memory import MemoryBoard, MemoryStore
from hazfence.ports import BoardAway, StoreAway
from hazfence.wire import Message, encode_columns, encode_fix
from hazfence.worker.processor import Clock, PartitionProcessor, ProcessorSettings
from hazfence.worker.showcase import Showcase

from .world import START_US, WORLD, Track, batch_of, tracks

T, P = "fixes", 3
ENGINE = EngineSettings(gate_tolerance_m=100.0, max_accuracy_m=1000.0)
BAD = [b"{", b"\x89HZF\x01", b'{"vehicle":"A"}', encode_fix("A", START_US, 500.0, 29.9), b""]


@pytest.fixture(autouse=True, scope="module")
def quiet_logs() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Crash(Exception):
    """The process died here."""


@dataclass
class Plan:
    """What goes wrong at the n-th call of a store or board method.

    Attributes:
        store, board: by number of the call; ``crash``, ``away`` or ``lost`` (done, but no answer).
    """

    store: dict[int, str] = field(default_factory=dict)
    board: dict[int, str] = field(default_factory=dict)

    def fault(self, of: dict[int, str], away: type[Exception]) -> Any:
        calls = Counter[str]()

        def strike(method: str, moment: str) -> None:
            calls[moment] += 1
            what = of.get(calls["before"] - 1)
            if what == "crash" and moment == "before":
                raise Crash
            if what == "late-crash" and moment == "after":
                raise Crash
            if (what == "away" and moment == "before") or (what == "lost" and moment == "after"):
                raise away(what)

        return strike


WRONG = st.sampled_from(["crash", "late-crash", "away", "lost"])
PLANS = st.builds(
    Plan,
    store=st.dictionaries(
        st.integers(0, 40), st.sampled_from(["crash", "late-crash", "away", "lost"]), max_size=8
    ),
    board=st.dictionaries(
        st.integers(0, 20), st.sampled_from(["crash", "late-crash", "away", "lost"]), max_size=4
    ),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Message]:
    """A track as messages of both kinds, with rubbish and repetitions between them."""
    rows: Track = draw(tracks())
    if draw(st.booleans()):
        rows = draw(st.permutations(rows))  # stored and sent later, all mixed up
    log: list[Message] = []
    start = 0
    while start < len(rows):
        count = draw(st.integers(1, 6))
        part = rows[start : start + count]
        received_us = max(row[1] for row in part)
        if count == 1:
            vehicle, time_us, lon, lat, *more = part[0]
            # NaN is for what is not said.
            said = {name: x for name, x in zip(("speed_kmh", "accuracy_m"), more, strict=False) if x == x}
            value = encode_fix(vehicle, time_us, lon, lat, **said)
        else:
            value = encode_columns(batch_of(part))
        for one in [value] * draw(st.sampled_from([1, 1, 1, 2])):
            log.append(Message(len(log), received_us, one))
        if draw(st.integers(0, 4)) == 0:
            log.append(Message(len(log), received_us, draw(st.sampled_from(BAD))))
        start += count
    return log


class Ticking:
    """A clock that moves on by a second each time it is read; naps take no time."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class World:
    """Everything that outlives the worker."""

    core: EngineSettings = ENGINE
    store: MemoryStore = field(default_factory=MemoryStore)
    board: MemoryBoard = field(default_factory=MemoryBoard)
    engine_open: tuple[Event, ...] = ()
    positions: FixBatch = field(default_factory=FixBatch.empty)
    deaths: int = 0


async def life(
    world: World, log: list[Message], how: ProcessorSettings, data: st.DataObject, clock: Ticking
) -> None:
    """One life of a worker, from loading to the end of the log or to death."""
    processor = PartitionProcessor(
        T, P, fences=WORLD, engine_settings=world.core, store=world.store, settings=how,
        monotonic_s=clock, sleep=clock.sleep,
    )  # fmt: skip
    await processor.load()
    showcase = Showcase(
        processor,
        store=world.store,
        board=world.board,
        metrics=processor._metrics,
        tail=10**6,
        monotonic_s=clock,
    )
    # The consumer stands where Kafka's hint left it, before or behind the checkpoint.
    position = data.draw(st.integers(0, len(log)), label="consumer starts at")
    while processor.next_offset < len(log):
        if position >= len(log):
            position = processor.next_offset  # as the app's timer does when nothing comes
        step = data.draw(st.integers(1, 8), label="messages")
        seek_to = await processor.feed(log[position : position + step])
        position += step
        if seek_to is not None:
            if data.draw(st.booleans(), label="more under way"):
                await processor.feed(log[position : position + 2])
            position = seek_to
        if data.draw(st.booleans(), label="tick"):
            await processor.tick(
                log[-1].timestamp_us + 60_000_000, caught_up=processor.next_offset == len(log)
            )
        if data.draw(st.booleans(), label="board"):
            await showcase.update()
    await processor.tick(log[-1].timestamp_us + 9_000_000_000, caught_up=True)
    await processor.checkpoint()
    for _ in range(20):
        clock.now_s += 10
        if await showcase.update() and not processor.committed.is_set() and not processor.touched:
            break
    else:
        raise AssertionError("the board never caught up")
    world.engine_open = processor.engine.open_events()
    world.positions = processor.engine.positions()
    await processor.close()


def disturbed(
    log: list[Message], how: ProcessorSettings, plan: Plan, data: st.DataObject, core: EngineSettings = ENGINE
) -> World:
    world = World(core)
    world.store.fault = plan.fault(plan.store, StoreAway)
    world.board.fault = plan.fault(plan.board, BoardAway)
    clock = Ticking()

    async def lives() -> None:
        while True:
            try:
                await life(world, log, how, data, clock)
                return
            except Crash:
                world.deaths += 1

    asyncio.run(lives())
    world.store.fault = world.board.fault = None
    return world


def quiet(log: list[Message], how: ProcessorSettings, core: EngineSettings = ENGINE) -> World:
    world, clock = World(core), Ticking()

    async def run() -> None:
        processor = PartitionProcessor(
            T, P, fences=WORLD, engine_settings=core, store=world.store, settings=how, monotonic_s=clock
        )
        await processor.load()
        assert await processor.feed(log) is None
        await processor.tick(log[-1].timestamp_us + 9_000_000_000, caught_up=True)
        world.engine_open = processor.engine.open_events()
        world.positions = processor.engine.positions()
        await processor.close()

    asyncio.run(run())
    return world


def check_the_same(disturbed: World, quiet: World) -> None:
    """What depends on fixes alone is equal to the last bit."""
    assert disturbed.store.fixes(T, P) == quiet.store.fixes(T, P)
    assert disturbed.store.rejects == quiet.store.rejects
    assert by_name(disturbed.positions) == by_name(quiet.positions)


def by_name(batch: FixBatch) -> FixBatch:
    return batch.take(np.argsort(batch.names()))


def check_said_once(world: World) -> None:
    """Every stored revision went out once and in order, and the board shows what is stored."""
    outbox = asyncio.run(world.store.outbox(T, P, 0, 10**6))
    revisions = [(p.event.id, p.event.revision) for p in outbox]
    assert len(set(revisions)) == len(revisions)
    last: dict[str, int] = {}
    for event_id, revision in revisions:
        assert revision > last.get(event_id, 0)
        last[event_id] = revision
    told = [entry for _, _, entry in world.board.stream]
    assert told == list(outbox)[-len(told) :] if told else not outbox
    assert len(told) == len(outbox)
    assert world.board.open_events == {e.id: e for e in asyncio.run(world.store.open_events(T, P))}
    assert sorted(e.id for e in world.engine_open) == sorted(world.board.open_events)
    assert {name: shown.fix.time_us[0] for name, shown in world.board.vehicles.items()} == dict(
        zip(world.positions.names(), world.positions.time_us.tolist(), strict=True)
    )


@settings(max_examples=100, deadline=None)
@given(log=logs(), plan=PLANS, every_s=st.sampled_from([1.0, 20.0, 1e9]), data=st.data())
def test_event_clock_rows_are_equal_to_the_last_bit(
    log: list[Message], plan: Plan, every_s: float, data: st.DataObject
) -> None:
    how = ProcessorSettings(clock=Clock.EVENT, lateness_s=60, event_step_s=60, checkpoint_every_s=every_s)
    after, before = disturbed(log, how, plan, data), quiet(log, how)
    check_the_same(after, before)
    assert after.store.events == before.store.events
    check_said_once(after)


#: A memory of a minute: most that is late is judged from the store.
FORGETFUL = replace(ENGINE, recent_s=60.0, recall_h=48.0)


@settings(max_examples=100, deadline=None)
@given(log=logs(), plan=PLANS, every_s=st.sampled_from([1.0, 20.0, 1e9]), data=st.data())
def test_event_clock_rows_are_equal_to_the_last_bit_with_fixes_hours_late(
    log: list[Message], plan: Plan, every_s: float, data: st.DataObject
) -> None:
    how = ProcessorSettings(clock=Clock.EVENT, lateness_s=60, event_step_s=60, checkpoint_every_s=every_s)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hazfence.recall, "MILESTONE_US", 120_000_000)
        patch.setattr(hazfence.recall, "HELD_FIXES", 5)
        after, before = disturbed(log, how, plan, data, FORGETFUL), quiet(log, how, FORGETFUL)
    check_the_same(after, before)
    assert {reject.reason for reject in after.store.rejects.values()} & {"late"} == set()
    assert after.store.events == before.store.events
    check_said_once(after)


def standing(world: World) -> dict[str, Any]:
    """What stands in the end, but for the counting of revisions."""
    return {
        e.id: e.to_json() | {"revision": 0, "phase": "closed" if e.is_over else "open"}
        for e in world.store.events.values()
        if e.phase is not Phase.RETRACTED
    }


@settings(max_examples=100, deadline=None)
@given(log=logs(), plan=PLANS, every_s=st.sampled_from([1.0, 20.0, 1e9]), data=st.data())
def test_wall_clock_rows_stand_equal(
    log: list[Message], plan: Plan, every_s: float, data: st.DataObject
) -> None:
    how = ProcessorSettings(
        clock=Clock.WALL, lateness_s=30, checkpoint_every_s=every_s, max_buffered_fixes=20
    )
    after, before = disturbed(log, how, plan, data), quiet(log, how)
    check_the_same(after, before)
    assert standing(after) == standing(before)
    check_said_once(after)
