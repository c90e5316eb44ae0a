"""What late fixes cost: the core with and without a memory, with 1 % of fixes late, and history recalled.

``hazfence bench late``. Trucks as in ``bench core``, on the district and its checkpoints. The same fixes
go through an engine that sets every late one aside, one that remembers an hour, and that one again with
one fix in a hundred held back by one minute to an hour; the rows of the last two must be the same in the
end. What each leaves of the speed of the one before is told too, round by round. Then eight hours of one
vehicle, recorded by a worker's partition in PostGIS, are read back and told again, because a fix came that
belongs before them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import sys
import time
from collections.abc import Iterator

import numpy as np

from hazfence import Engine, EngineSettings, Event, FixBatch, Phase
from hazfence.outcome import Outcome
from hazfence.postgis import PostgisStore
from hazfence.services import ServiceError
from hazfence.wire import Message, encode_columns
from hazfence.worker.processor import PartitionProcessor, ProcessorSettings
from hazfence_benchmarks.core import truck_traffic
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.plan import BadOption, Plan
from hazfence_benchmarks.stage import shared
from hazfence_benchmarks.workloads import set_a

__all__ = ["held_back", "options", "run"]

_HOUR_US = 3_600_000_000
_REMEMBERED_S = 3_700.0
_EVERY_S = 10
_STEPS_A_MESSAGE = 50  # of what is recalled later; the messages' number is not measured
_RECALLED_EVERY_US = 5_100_000  # 5,647 fixes in eight hours


def held_back(batches: list[FixBatch], share: float, *, seed: int = 1) -> list[FixBatch]:
    """The same fixes, a share of them arriving one minute to one hour late.

    Args:
        batches: one each ten seconds.
        share: of the fixes, drawn evenly.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    late: list[list[FixBatch]] = [[] for _ in batches]
    found = []
    for step, batch in enumerate(batches):
        held = rng.random(len(batch)) < share
        arrives = step + np.ceil(rng.uniform(60, 3600, len(batch)) / _EVERY_S).astype(int)
        held &= arrives < len(batches)
        for moment in np.unique(arrives[held]).tolist():
            late[moment].append(batch.take(held & (arrives == moment)))
        found.append(FixBatch.concat([batch.take(~held), *late[step]]))
    return found


def options(parser: argparse.ArgumentParser) -> None:
    """Vehicles and minutes."""
    parser.add_argument("--vehicles", type=int, help="fixes a batch (5,000)")
    parser.add_argument("--minutes", type=int, help="of traffic (90); what is measured begins after an hour")


def run(plan: Plan, *, vehicles: int | None = None, minutes: int | None = None) -> Iterator[Figure]:
    """Fixes a second on time and late, and shares; bytes of a fix remembered, milliseconds of a recall.

    Args:
        plan: its size says how much, where it is not given.
        vehicles: of the traffic.
        minutes: of the traffic.

    Raises:
        BadOption: no vehicle, or less than 61 minutes.
    """
    vehicles = plan.pick(100, 2_000, 5_000) if vehicles is None else vehicles
    minutes = plan.pick(61, 70, 90) if minutes is None else minutes
    if vehicles < 1 or minutes < 61:
        raise BadOption("--vehicles must be at least 1 and --minutes at least 61")
    fences = set_a()
    steps, warm = minutes * 60 // _EVERY_S, 3600 // _EVERY_S
    in_time = truck_traffic(fences, vehicles=vehicles, steps=steps, seed=plan.seed)
    late = held_back(in_time, 0.01, seed=plan.seed)
    ways = {
        "on time, no memory": (EngineSettings(recent_s=0), in_time),
        "on time": (EngineSettings(recent_s=_REMEMBERED_S), in_time),
        "1 % late by 1-60 min": (EngineSettings(recent_s=_REMEMBERED_S), late),
    }
    engines = {way: Engine(fences, settings) for way, (settings, _) in ways.items()}
    said: dict[str, list[Outcome]] = {way: [] for way in ways}

    def go(way: str, batches: list[FixBatch]) -> float:
        """Let an engine take batches; seconds of processor time."""
        gc.collect()
        began = time.process_time()
        said[way] += [engines[way].process(batch) for batch in batches]
        return max(time.process_time() - began, 1e-6)

    for way, (_, batches) in ways.items():
        go(way, batches[:warm])
    # What comes after the hour is measured in stretches, in which the ways take turns.
    rounds = min(plan.rounds(2, 5, 10), steps - warm)
    cuts = np.linspace(warm, steps, rounds + 1).astype(int).tolist()
    took: dict[str, list[float]] = {way: [] for way in ways}
    for a, b in itertools.pairwise(cuts):
        for way, (_, batches) in ways.items():
            took[way].append(sum(map(len, in_time[a:b])) / go(way, batches[a:b]))
    events = {way: [event for outcome in outcomes for event in outcome] for way, outcomes in said.items()}
    rows = {way: _standing(found) for way, found in events.items()}
    corrected = sum(e.phase in (Phase.AMENDED, Phase.RETRACTED) for e in events["1 % late by 1-60 min"])
    remembered = engines["1 % late by 1-60 min"]
    fixes = sum(map(len, in_time[warm:])) // rounds
    wrong = sum(
        rows["on time"].get(i) != rows["1 % late by 1-60 min"].get(i)
        for i in rows["on time"].keys() | rows["1 % late by 1-60 min"].keys()
    )
    for way, each in took.items():
        is_late = way.startswith("1 %")
        yield Figure(
            "late", f"A, {vehicles} vehicles", way, OURS, "fixes/s", tuple(each), fixes,
            clock="cpu", checked=len(rows["on time"]) if is_late else 0, wrong=wrong if is_late else 0,
            note=f"{corrected} revisions amended or retracted" if is_late else "",
        )  # fmt: skip
    plain, remembers, late_too = (np.array(took[way]) for way in ways)
    for what, share in (
        ("on time, of the speed without a memory", remembers / plain),
        ("1 % late, of the speed on time", late_too / remembers),
    ):
        yield Figure("late", f"A, {vehicles} vehicles", what, OURS, "times", tuple(share.tolist()), fixes,
                     clock="cpu")  # fmt: skip
    whole, without = (len(_raw(remembered, with_recent=w)) for w in (True, False))
    kept = len(remembered._books.recent)
    yield Figure("late", f"A, {vehicles} vehicles", "a fix remembered", OURS, "bytes",
                 ((whole - without) / max(kept, 1),), kept, better="less",
                 note=f"{kept} fixes of the last {_REMEMBERED_S:.0f} s")  # fmt: skip
    yield _recall_figure(plan)


def _raw(engine: Engine, *, with_recent: bool) -> bytes:
    """The recent fixes' columns as they lie in memory."""
    if not with_recent:
        return b""
    codes, track = engine._books.recent.all()
    return codes.tobytes() + b"".join(column.tobytes() for column in track if column is not None)


def _standing(events: list[Event]) -> dict[str, object]:
    """What stands in the end, but for the counting of revisions."""
    last = {event.id: event for event in events}
    return {
        i: e.to_json() | {"revision": 0, "phase": e.is_over}
        for i, e in last.items()
        if e.phase is not Phase.RETRACTED
    }


def _recall_figure(plan: Plan) -> Figure:
    """Milliseconds from a late fix to what is said about it, eight hours of its vehicle read from PostGIS."""
    hours = plan.pick(1, 8, 8)
    what, workload = f"{hours} h of one vehicle recalled", "PostGIS"
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),  # the partition's log
            shared() as stage,
            stage.database() as url,
        ):
            times, fixes, told = asyncio.run(_recall(url, plan.rounds(2, 5, 15), hours, plan.seed))
    except ServiceError as error:
        return Figure("late", workload, what, OURS, "ms", skipped=" ".join(str(error).split()))
    # A recall that changes nothing was none: the late fix lies elsewhere, and has to be told of.
    return Figure("late", workload, what, OURS, "ms", tuple(times), fixes, better="less", clock="wall",
                  checked=1, wrong=int(told < len(times)),
                  note=f"{fixes} fixes read and told again, {told} revisions said in all")  # fmt: skip


async def _recall(url: str, rounds: int, hours: int, seed: int) -> tuple[list[float], int, int]:
    """Milliseconds of each recall, fixes of each vehicle, revisions said."""
    fences, store = set_a(), PostgisStore(url)
    count = hours * _HOUR_US // _RECALLED_EVERY_US
    traffic = truck_traffic(fences, vehicles=rounds + 1, steps=count, seed=seed)
    start_us = int(traffic[0].time_us.min())
    await store.open()
    processor = PartitionProcessor(
        "bench", 0, fences=fences, store=store, engine_settings=EngineSettings(recall_h=24.0),
        settings=ProcessorSettings(checkpoint_every_s=1e9),
    )  # fmt: skip
    await processor.load()
    times, before = [], 0
    try:
        names = traffic[0].vehicles
        sent = 0

        async def feed(fixes: FixBatch) -> float:
            """Milliseconds that the next message takes."""
            nonlocal sent
            message = Message(sent, int(stamped.max()), encode_columns(fixes))
            began, sent = time.perf_counter(), sent + 1
            if await processor.feed([message]) is not None:
                raise RuntimeError(f"message {message.offset} was not taken")
            return (time.perf_counter() - began) * 1000

        held: list[FixBatch] = []
        for step, batch in enumerate(traffic):
            stamped = batch.time_us + step * (_RECALLED_EVERY_US - _EVERY_S * 1_000_000)
            moved = FixBatch.of(
                batch.vehicle, vehicles=names, time_us=stamped, lon=batch.lon, lat=batch.lat,
                speed_kmh=np.where(batch.speed_kmh > 0, batch.speed_kmh, 30.0), status=3,
            )  # fmt: skip
            held.append(moved)
            if len(held) == _STEPS_A_MESSAGE or step == count - 1:
                await feed(FixBatch.concat(held))
                held = []
            if step % 700 == 0:
                await processor.checkpoint()
        await processor.checkpoint()
        before = len(await store.outbox("bench", 0, 0, 10**7))
        for i in range(rounds + 1):
            # Somewhere else for a moment, two seconds into the day: everything behind is looked at again.
            late = FixBatch.of(
                [names[i]], time_us=[start_us + 2_000_000 + i], lon=[121.3], lat=[29.7], status=3
            )
            took_ms = await feed(late)
            if i:  # the first one warms up
                times.append(took_ms)
        said = len(await store.outbox("bench", 0, 0, 10**7)) - before
    finally:
        processor.drop()
        await store.close()
    return times, count, said
