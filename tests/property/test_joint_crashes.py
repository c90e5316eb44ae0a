"""All rules on, two partitions and what they have in common: wherever the process dies, the same rows."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from hazfence import Event, Filed, Phase, ReferenceData, Waybill
from hazfence.memory import MemoryReference, MemoryStore
from hazfence.ports import StoreAway
from hazfence.rules.plates import PlateRead
from hazfence.wire import Message, encode_columns
from hazfence.wire.plates import encode_read
from hazfence.worker.file import CurrentFile
from hazfence.worker.joint import JointProcessor
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.processor import Clock, PartitionProcessor, ProcessorSettings
from hazfence_fences import FenceSet

from .rule_world import MINUTE_US, ON_FILE, RULE_WORLD, rule_batch, rule_settings, walks
from .test_processor_crashes import Crash, Ticking
from .world import START_US, box, fence_set

FIXES, PLATES = "fixes", "plates"
HALL = box("hall", 3, 3, 9, 9, kind="zone", rules={"zone_capacity": {"most": 1}})
FENCES = FenceSet([*RULE_WORLD.fences, *fence_set(HALL).fences])
SETTINGS = rule_settings(
    separation={"near_m": 2000, "for_min": 1, "apart_s": 60},
    plate_without_gps={"wait_s": 120},
    gps_without_plate={"wait_s": 120},
)
FILE = ReferenceData(
    [
        *ON_FILE.filed,
        Filed("tank", "T-1", "approved", 0, papers={"inspection": START_US + 30 * MINUTE_US}),
    ],
    [
        *ON_FILE.waybills,
        Waybill("4", "A", 1203, "3", START_US, START_US + 50 * MINUTE_US, START_US),
        Waybill("5", "B", 2014, "5.1", START_US, START_US + 45 * MINUTE_US, START_US),
    ],
)
GATES = sorted(f.id for f in RULE_WORLD if f.kind == "checkpoint")
HOW = ProcessorSettings(clock=Clock.EVENT, lateness_s=60, event_step_s=60, tell_heard=True)
BAD = [b"{", b"", b'{"plate":"A"}', encode_read(PlateRead("A", "nowhere", START_US))]


@pytest.fixture(autouse=True, scope="module")
def quiet_logs() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@dataclass
class World:
    """Everything that outlives the process."""

    logs: dict[int, list[Message]]
    reads: list[Message]
    store: MemoryStore = field(default_factory=MemoryStore)
    file: MemoryReference = field(default_factory=lambda: MemoryReference(FILE))
    open: list[Event] = field(default_factory=list)
    deaths: int = 0


class LogTail:
    """The topic of fixes read beside the group, three messages at a time."""

    def __init__(self, logs: Mapping[int, list[Message]]) -> None:
        self._logs = logs

    async def ends(self) -> Mapping[int, int]:
        return {partition: len(log) for partition, log in self._logs.items()}

    async def read(self, offsets: Mapping[int, int]) -> Mapping[int, Sequence[Message]]:
        return {p: self._logs[p][at : at + 3] for p, at in offsets.items()}

    async def close(self) -> None:
        pass


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A walk of two vehicles on two partitions, and what cameras read of it, some of it rubbish."""
    rows = draw(walks(max_size=40))
    if draw(st.booleans()):
        rows = draw(st.permutations(rows))
    logs: dict[int, list[Message]] = {0: [], 1: []}
    for partition, vehicle in enumerate("AB"):
        mine = [row for row in rows if row[0] == vehicle]
        while mine:
            count = draw(st.integers(1, 8))
            part, mine = mine[:count], mine[count:]
            value = encode_columns(rule_batch(part))
            logs[partition].append(Message(len(logs[partition]), max(row[1] for row in part), value))
    reads = []
    for plate, gate, second in draw(
        st.lists(
            st.tuples(st.sampled_from(["A", " Ａ·", "B", "C"]), st.sampled_from(GATES), st.integers(0, 3000)),
            max_size=6,
        )
    ):
        reads.append(encode_read(PlateRead(plate, gate, START_US + second * 1_000_000)))
        if draw(st.integers(0, 3)) == 0:
            reads.append(draw(st.sampled_from(BAD)))
    return World(logs, [Message(i, START_US + 10**10, value) for i, value in enumerate(reads)])


async def life(world: World, clock: Ticking, every_s: float, data: st.DataObject | None) -> None:
    """One life of a process that owns everything, to the end of the logs or to its death."""
    metrics = WorkerMetrics()
    file = CurrentFile(world.file, metrics)
    how = ProcessorSettings(
        **{**{name: getattr(HOW, name) for name in HOW.__slots__}, "checkpoint_every_s": every_s}
    )
    common: dict[str, Any] = {
        "fences": FENCES, "engine_settings": SETTINGS, "store": world.store, "settings": how, "metrics":
        metrics, "file": file, "monotonic_s": clock, "sleep": clock.sleep,
    }  # fmt: skip
    processors = [PartitionProcessor(FIXES, p, **common) for p in world.logs]
    joint = JointProcessor(PLATES, 0, fixes_topic=FIXES, tail=LogTail(world.logs), **common)
    places: list[tuple[Any, list[Message]]] = [*zip(processors, world.logs.values(), strict=True)]
    places.append((joint, world.reads))
    for processor, _ in places:
        await processor.load()
    while left := [(p, log) for p, log in places if p.next_offset < len(log)]:
        processor, log = left[0] if data is None else data.draw(st.sampled_from(left), label="next")
        step = 100 if data is None else data.draw(st.integers(1, 4), label="messages")
        assert await processor.feed(log[processor.next_offset : processor.next_offset + step]) is None
        if data is None or data.draw(st.booleans(), label="tick"):
            for one, its_log in places:
                await one.tick(START_US + 10**12, caught_up=one.next_offset == len(its_log))
    for processor, _ in places:
        await processor.checkpoint()
    await joint.tick(START_US + 10**12, caught_up=True)
    world.open = [event for p in processors for event in p.engine.open_events()]
    for processor, _ in places:
        await processor.close()


def lived(world: World, every_s: float, plan: dict[int, str], data: st.DataObject | None) -> World:
    calls = Counter[str]()

    def strike(method: str, moment: str) -> None:
        calls[moment] += 1
        what = plan.get(calls["before"] - 1)
        if (what, moment) in (("crash", "before"), ("late-crash", "after")):
            raise Crash
        if (what, moment) in (("away", "before"), ("lost", "after")):
            raise StoreAway(what)

    async def lives() -> None:
        clock = Ticking()
        while True:
            try:
                await life(world, clock, every_s, data)
                return
            except Crash:
                world.deaths += 1

    world.store.fault = strike
    asyncio.run(lives())
    world.store.fault = None
    return world


def standing(world: World) -> dict[str, Any]:
    return {
        e.id: e.to_json() | {"revision": 0, "phase": "closed" if e.is_over else "open"}
        for e in world.store.events.values()
        if e.phase is not Phase.RETRACTED
    }


def check_said_once(world: World) -> None:
    """Every revision is in the outbox once, counting up, and what is open is what the engines hold open."""
    last: dict[str, int] = {}
    for place in ((FIXES, 0), (FIXES, 1), (PLATES, 0)):
        for published in asyncio.run(world.store.outbox(*place, 0, 10**6)):
            event = published.event
            assert event.revision > last.get(event.id, 0)
            last[event.id] = event.revision
    stored = [e.id for p in (0, 1) for e in asyncio.run(world.store.open_events(FIXES, p))]
    assert sorted(stored) == sorted(e.id for e in world.open)


WRONG = st.dictionaries(
    st.integers(0, 80), st.sampled_from(["crash", "late-crash", "away", "lost"]), max_size=8
)


@settings(max_examples=60)
@given(world=worlds(), plan=WRONG, every_s=st.sampled_from([1.0, 20.0, 1e9]), data=st.data())
def test_rows_stand_as_in_a_quiet_run(
    world: World, plan: dict[int, str], every_s: float, data: st.DataObject
) -> None:
    quiet = lived(World(world.logs, world.reads), 1e9, {}, None)
    disturbed = lived(world, every_s, plan, data)
    assert standing(disturbed) == standing(quiet)
    assert disturbed.store.rejects == quiet.store.rejects
    for partition in world.logs:
        assert disturbed.store.fixes(FIXES, partition) == quiet.store.fixes(FIXES, partition)
    check_said_once(disturbed)


@settings(max_examples=40)
@given(world=worlds(), plan=WRONG, every_s=st.sampled_from([1.0, 1e9]), data=st.data())
def test_a_file_that_changes_between_two_lives_leaves_no_orphan(
    world: World, plan: dict[int, str], every_s: float, data: st.DataObject
) -> None:
    """A second run may find other things by a newer file: what the first one stored is part of its state."""
    other = ReferenceData(FILE.filed[1:], FILE.waybills[1:])
    strike = dict(plan)
    seen = {"calls": 0}

    class Changing(MemoryReference):
        async def load(self) -> Any:
            seen["calls"] += 1
            self.put(FILE if seen["calls"] % 2 else other)
            return await super().load()

    world.file = Changing(FILE)
    check_said_once(lived(world, every_s, strike, data))
