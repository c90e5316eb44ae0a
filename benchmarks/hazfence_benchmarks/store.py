"""What the PostGIS store does: fixes a second through checkpoints, events a second, and milliseconds a write.

``hazfence bench store`` measures in a private PostgreSQL, with fsync as in production unless ``--no-fsync``,
or in the one HAZFENCE_DATABASE_URL names, in a database of its own there; and what fixes and events take
on its disk, indexes included.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import numpy as np
import psycopg

from hazfence.events import Event, Kind, Phase, Severity, event_id
from hazfence.fixes import FixBatch
from hazfence.ports import Checkpoint
from hazfence.postgis import PostgisStore
from hazfence.postgis.upkeep import Action, Upkeep, carry_out
from hazfence.postgis.upkeep import plan as plan_upkeep
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.plan import BadOption, Plan
from hazfence_benchmarks.stage import shared

__all__ = ["options", "run"]

_START_US = 1_772_409_600_000_000  # 2026-03-02T00:00Z
_VEHICLES = 6_000
_FIXES_A_MESSAGE = 250


def _fixes(number: int, count: int) -> FixBatch:
    """Every vehicle reports about every 20 s, messages of 250."""
    rng = np.random.default_rng(number)
    span_us = 20_000_000 * count // _VEHICLES
    places = np.arange(count)
    return FixBatch.of(
        rng.integers(0, _VEHICLES, count).astype(np.int32),
        vehicles=[f"浙B{i:05d}" for i in range(_VEHICLES)],
        time_us=_START_US + number * span_us + np.sort(rng.integers(0, span_us, count)),
        lon=rng.uniform(121.4, 121.8, count),
        lat=rng.uniform(29.8, 30.1, count),
        speed_kmh=rng.uniform(0, 90, count),
        heading_deg=np.where(rng.random(count) < 0.1, np.nan, rng.uniform(0, 360, count)),
        status=3,
        offset=(number * count + places) // _FIXES_A_MESSAGE,
        item=places % _FIXES_A_MESSAGE,
    )


def _events(number: int, count: int) -> list[Event]:
    found = []
    for place in range(count):
        started = _START_US + (number * count + place) * 1_000
        kind = Kind.OVERSPEED if place % 10 == 0 else Kind.VISIT
        vehicle = f"浙B{place % _VEHICLES:05d}"
        name = event_id(kind, vehicle, "cp-1", started)
        detail = {"limit_kmh": 60.0, "top_kmh": 71.3, "witness": "fix"}
        severity = Severity.BREACH if kind is Kind.OVERSPEED else Severity.INFO
        found.append(
            Event(
                name,
                kind,
                vehicle,
                "cp-1",
                1,
                1,
                Phase.OPENED,
                started,
                None,
                121.5,
                29.9,
                None,
                None,
                severity,
                detail,
            )
        )
    return found


def options(parser: argparse.ArgumentParser) -> None:
    """Fixes a checkpoint; whether the database waits for the disk."""
    parser.add_argument("--fixes", type=int, help="fixes a checkpoint")
    parser.add_argument(
        "--no-fsync", action="store_true", help="private PostgreSQL without fsync, as in tests"
    )


def run(plan: Plan, *, fixes: int | None = None, no_fsync: bool = False) -> Iterator[Figure]:
    """Rates and times of the store, and the disk that fixes and events take.

    Args:
        plan: its size says how much, where it is not given.
        fixes: a checkpoint.
        no_fsync: measure without waiting for the disk.

    Raises:
        BadOption: fewer than 1 fix.
        ServiceError: PostgreSQL cannot be started.
    """
    fixes = plan.pick(2_000, 50_000, 200_000) if fixes is None else fixes
    if fixes < 1:
        raise BadOption("--fixes must be at least 1")
    workload = "no fsync" if no_fsync else "durable"
    with shared() as stage:
        with stage.database(durable=not no_fsync) as url:
            yield from asyncio.run(_measure(plan, url, fixes, workload))
        with stage.database(durable=not no_fsync) as other:
            yield from _indexed_when_closed(plan, other, fixes, workload)


async def _measure(plan: Plan, url: str, fixes: int, workload: str) -> list[Figure]:
    store = PostgisStore(url)
    await store.open()
    claim, _ = await store.claim("bench", 0)
    empty = _disk_bytes(url)
    snapshot = np.random.default_rng(0).bytes(2_000_000)
    figures: list[Figure] = []
    about: dict[str, Any] = {"suite": "store", "workload": workload, "way": OURS, "clock": "wall"}

    async def seconds(work: Coroutine[Any, Any, Any]) -> float:
        started_s = time.perf_counter()
        await work
        return time.perf_counter() - started_s

    checkpoints = plan.rounds(2, 6, 12)
    rates = []
    for number in range(checkpoints):
        batch = _fixes(number, fixes)
        checkpoint = Checkpoint(int(batch.offset[-1]) + 1, snapshot)
        rates.append(fixes / await seconds(store.checkpoint(claim, checkpoint, batch)))
    figures.append(Figure(**about, what="fixes in a checkpoint", unit="rows/s", values=tuple(rates), n=fixes))
    full = _disk_bytes(url)
    size = (full["fix"] - empty["fix"]) / (fixes * checkpoints)
    figures.append(Figure(**_still(about), what="a fix with its indexes", unit="bytes", values=(size,)))
    count = plan.pick(200, 5_000, 5_000)
    rounds = plan.rounds(2, 3, 5)
    for what, first in (("new events", 0), ("events stored again", rounds)):
        values = []
        for number in range(rounds):
            events = _events(number, count)
            values.append(count / await seconds(store.write(claim, events, [])))
        if not first:
            stored = _disk_bytes(url)
            event_size = (stored["events"] - full["events"]) / (count * rounds)
        figures.append(Figure(**about, what=what, unit="rows/s", values=tuple(values), n=count))
    figures.append(
        Figure(**_still(about), what="an event with its history", unit="bytes", values=(event_size,))
    )
    one = [
        1e3 * await seconds(store.write(claim, _events(1_000_000 + number, 1), []))
        for number in range(plan.pick(5, 100, 300))
    ]
    figures.append(Figure(**about, what="write one event", unit="ms", values=tuple(one), better="less", n=1))
    read, values = 0, []
    for _ in range(rounds):
        started_s = time.perf_counter()
        read = len(await store.outbox("bench", 0, 0, 10_000))
        values.append(read / (time.perf_counter() - started_s))
    figures.append(Figure(**about, what="read the outbox", unit="rows/s", values=tuple(values), n=read))
    await store.close()
    return figures


def _indexed_when_closed(plan: Plan, url: str, fixes: int, workload: str) -> Iterator[Figure]:
    """The same fixes into days that get their index when they are over, and what closing them takes."""
    about: dict[str, Any] = {"suite": "store", "workload": workload, "way": OURS, "clock": "wall"}
    checkpoints = plan.rounds(2, 6, 12)
    snapshot = np.random.default_rng(0).bytes(2_000_000)

    async def write() -> list[float]:
        store = PostgisStore(url, index_at_once=False)
        await store.open()
        claim, _ = await store.claim("bench", 0)
        rates = []
        for number in range(checkpoints):
            batch = _fixes(number, fixes)
            started_s = time.perf_counter()
            await store.checkpoint(claim, Checkpoint(int(batch.offset[-1]) + 1, snapshot), batch)
            rates.append(fixes / (time.perf_counter() - started_s))
        await store.close()
        return rates

    what = "fixes in a checkpoint, indexed when closed"
    yield Figure(**about, what=what, unit="rows/s", values=tuple(asyncio.run(write())), n=fixes)
    upkeep = Upkeep(fixes_kept_days=0, days_ahead=0)
    steps = [step for step in plan_upkeep(url, upkeep) if step.action is Action.CLOSE_DAY]
    started_s = time.perf_counter()
    for _ in carry_out(url, steps, upkeep):
        pass
    rate = fixes * checkpoints / (time.perf_counter() - started_s)
    yield Figure(**about, what="fixes closed", unit="rows/s", values=(rate,), n=fixes * checkpoints)


def _still(about: dict[str, Any]) -> dict[str, Any]:
    """About a figure that no clock took."""
    return about | {"clock": "none", "better": "less"}


def _disk_bytes(url: str) -> dict[str, int]:
    """Bytes on disk of the fix table and of all that events leave behind, indexes included."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'hazfence'::regnamespace"
        ).fetchall()
    fix = sum(size for name, size in rows if name.startswith("fix"))
    events = sum(size for name, size in rows if not name.startswith(("fix", "checkpoint")))
    return {"fix": fix, "events": events}
