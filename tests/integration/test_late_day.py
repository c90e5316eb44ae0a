"""A simulated day in order, shuffled within an hour, and with 5 % held back for six hours: the same rows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

from hazfence import EngineSettings, Event, FixBatch, Phase
from hazfence.postgis import PostgisStore
from hazfence.services import Services, fresh_database
from hazfence.wire import Message, encode_columns
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.processor import Clock, PartitionProcessor, ProcessorSettings
from hazfence_fences import FenceSet, load_fences
from hazfence_replay.simulator import SimulatedDay, simulate

T, P = "day", 0
HOUR_US = 3_600_000_000
FIXES_A_MESSAGE = 250
Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def fences() -> FenceSet:
    return load_fences("fences/zhenhai")


@pytest.fixture(scope="module")
def day(fences: FenceSet) -> SimulatedDay:
    return simulate(fences, seed=20260302, trucks=6)


def arrivals(fixes: FixBatch, how: str) -> npt.NDArray[np.int64]:
    """When each fix is sent on, microseconds."""
    rng = np.random.default_rng(5)
    if how == "shuffled":
        return fixes.time_us + rng.integers(0, HOUR_US, len(fixes))
    held = rng.random(len(fixes)) < (0.05 if how == "held back" else 0.0)
    return fixes.time_us + np.where(held, 6 * HOUR_US, 0)


def log_of(fixes: FixBatch, how: str) -> list[Message]:
    sent_us = arrivals(fixes, how)
    order = np.argsort(sent_us, kind="stable")
    messages: list[Message] = []
    for lo in range(0, len(order), FIXES_A_MESSAGE):
        part = order[lo : lo + FIXES_A_MESSAGE]
        value = encode_columns(fixes.take(part))
        messages.append(Message(len(messages), int(sent_us[part].max()), value))
    return messages


def standing(events: list[Event]) -> Rows:
    """The last revision of each event, but for the counting; retracted ones left out."""
    last: dict[str, Event] = {}
    for event in events:
        assert event.revision == (last[event.id].revision + 1 if event.id in last else 1)
        last[event.id] = event
    return {
        e.id: e.to_json() | {"revision": 0, "phase": "closed" if e.is_over else "open"}
        for e in last.values()
        if e.phase is not Phase.RETRACTED
    }


def stored(url: str) -> dict[str, tuple[Any, ...]]:
    """Id, times and phase of all that stands in the tables."""
    query = """
        SELECT replace(event_id::text, '-', ''), %s, vehicle, fence_id, started_at, ended_at,
               ST_X(place), ST_Y(place), severity, detail::text, phase IN ('closed', 'retracted')
        FROM hazfence.%s WHERE phase <> 'retracted'"""
    with psycopg.connect(url) as connection:
        found = connection.execute(query % ("'visit'", "visit")).fetchall()
        found += connection.execute(query % ("kind", "event")).fetchall()
    return {row[0]: row for row in found}


async def lived(url: str, fences: FenceSet, log: list[Message]) -> tuple[list[Event], dict[str, float]]:
    """Feed a log to a partition, let go of it in the middle; all revisions and some counters."""
    metrics, store = WorkerMetrics(), PostgisStore(url)
    await store.open()
    how = ProcessorSettings(clock=Clock.EVENT, checkpoint_every_s=2.0)
    half = len(log) // 2
    try:
        for part in (log[:half], log[half:]):
            processor = PartitionProcessor(
                T, P, fences=fences, store=store, settings=how, metrics=metrics,
                engine_settings=EngineSettings(recall_h=24.0),
            )  # fmt: skip
            await processor.load()
            for lo in range(0, len(part), 5):
                assert await processor.feed(part[lo : lo + 5]) is None
            await processor.checkpoint()
            processor.drop()  # the next one begins with what the store has
        said = [published.event for published in await store.outbox(T, P, 0, 10**7)]
    finally:
        await store.close()
    counted = {
        sample.name: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.labels
    }
    return said, counted


def test_a_day_leaves_the_same_rows_however_late_it_comes(
    services: Services, migrated_template: str, fences: FenceSet, day: SimulatedDay
) -> None:
    # Few trucks, so that the test takes seconds: shuffled, nearly every fix is late.
    fixes = day.fixes.take(np.argsort(day.fixes.time_us, kind="stable"))
    rows: dict[str, Rows] = {}
    tables: dict[str, dict[str, tuple[Any, ...]]] = {}
    for how in ("in order", "shuffled", "held back"):
        with fresh_database(services.database_url, template=migrated_template) as url:
            said, counted = asyncio.run(lived(url, fences, log_of(fixes, how)))
            rows[how], tables[how] = standing(said), stored(url)
        assert counted["hazfence_fixes_accepted_total"] == len(fixes)
        assert (counted["hazfence_vehicles_recalled_total"] > 0) == (how != "in order")
        # The stream's revisions fold to the rows.
        assert rows[how].keys() == tables[how].keys()
    assert {row["kind"] for row in rows["in order"].values()} >= {"visit", *(p.kind for p in day.truth)}
    assert len(rows["in order"]) > 40
    for how in ("shuffled", "held back"):
        assert rows[how] == rows["in order"]
        assert tables[how] == tables["in order"]


def test_fixes_that_say_how_bad_they_are_are_as_bad_when_they_come_late(
    services: Services, migrated_template: str, fences: FenceSet, day: SimulatedDay
) -> None:
    exact = day.fixes.take(np.argsort(day.fixes.time_us, kind="stable"))
    rng = np.random.default_rng(8)
    said_m = np.where(rng.random(len(exact)) < 0.3, rng.uniform(5.0, 95.0, len(exact)), np.nan)
    fixes = replace(exact, accuracy_m=said_m.astype(np.float32))
    rows: dict[str, Rows] = {}
    tables: dict[str, dict[str, tuple[Any, ...]]] = {}
    for how, batch in (("in order", fixes), ("shuffled", fixes), ("held back", fixes), ("exact", exact)):
        with fresh_database(services.database_url, template=migrated_template) as url:
            log = log_of(batch, "in order" if batch is exact else how)
            said, counted = asyncio.run(lived(url, fences, log))
            rows[how], tables[how] = standing(said), stored(url)
            with psycopg.connect(url) as connection:
                query = "SELECT count(*), sum(accuracy_m::float8) FROM hazfence.fix WHERE accuracy_m > 0"
                kept = connection.execute(query).fetchone()
        assert counted["hazfence_fixes_accepted_total"] == len(fixes)
        assert (counted["hazfence_vehicles_recalled_total"] > 0) == (how in ("shuffled", "held back"))
        told = batch.accuracy()[~np.isnan(batch.accuracy())].astype(np.float64)
        assert kept == ((len(told), pytest.approx(told.sum())) if len(told) else (0, None))
    for how in ("shuffled", "held back"):
        assert rows[how] == rows["in order"]
        assert tables[how] == tables["in order"]
    # It makes a difference, or none of this would prove anything.
    assert tables["in order"] != tables["exact"]
