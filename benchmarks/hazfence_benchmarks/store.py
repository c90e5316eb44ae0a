"""What the PostGIS store does: fixes a second through checkpoints, events a second, and milliseconds a write.

Run ``python -m hazfence_benchmarks.store`` (``--json`` for machines). It measures in a private PostgreSQL,
with fsync as in production unless ``--no-fsync``, or in the one HAZFENCE_DATABASE_URL names, in a database
of its own there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from typing import Any

import numpy as np

from hazfence.events import Event, Kind, Phase, Severity, event_id
from hazfence.fixes import FixBatch
from hazfence.ports import Checkpoint
from hazfence.postgis import PostgisStore
from hazfence.services import Services, fresh_database
from hazfence_sql import migrate

__all__ = ["main", "measure"]

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


async def measure(url: str, *, fixes: int, rounds: int) -> dict[str, Any]:
    """Return the figures; ``fixes`` a checkpoint, ``rounds`` of them."""
    store = PostgisStore(url)
    await store.open()
    claim, _ = await store.claim("bench", 0)
    snapshot = np.random.default_rng(0).bytes(2_000_000)
    rates = []
    for number in range(rounds):
        batch = _fixes(number, fixes)
        checkpoint = Checkpoint(int(batch.offset[-1]) + 1, snapshot)
        started_s = time.perf_counter()
        await store.checkpoint(claim, checkpoint, batch)
        rates.append(fixes / (time.perf_counter() - started_s))
    event_rates = []
    for number in range(5):
        events = _events(number, 5_000)
        started_s = time.perf_counter()
        await store.write(claim, events, [])
        event_rates.append(len(events) / (time.perf_counter() - started_s))
    again = _events(0, 5_000)
    started_s = time.perf_counter()
    await store.write(claim, again, [])
    again_rate = len(again) / (time.perf_counter() - started_s)
    write_ms = []
    for number in range(300):
        one = _events(1_000_000 + number, 1)
        started_s = time.perf_counter()
        await store.write(claim, one, [])
        write_ms.append((time.perf_counter() - started_s) * 1e3)
    started_s = time.perf_counter()
    read = len(await store.outbox("bench", 0, 0, 10_000))
    outbox_rate = read / (time.perf_counter() - started_s)
    await store.close()
    return {
        "fixes_per_s": [round(rate) for rate in rates],
        "fixes_per_s_median": round(float(np.median(rates))),
        "events_per_s_median": round(float(np.median(event_rates))),
        "events_stored_again_per_s": round(again_rate),
        "outbox_events_per_s": round(outbox_rate),
        "write_one_event_ms_p50": round(float(np.percentile(write_ms, 50)), 2),
        "write_one_event_ms_p99": round(float(np.percentile(write_ms, 99)), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fixes", type=int, default=200_000, help="fixes a checkpoint")
    parser.add_argument("--rounds", type=int, default=12, help="checkpoints")
    parser.add_argument(
        "--no-fsync", action="store_true", help="private PostgreSQL without fsync, as in tests"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    environ = {**os.environ, "HAZFENCE_KAFKA": "unused", "HAZFENCE_REDIS_URL": "unused"}
    with (
        Services(durable=not arguments.no_fsync, environ=environ) as services,
        fresh_database(services.database_url, prefix="hazfence_bench") as url,
    ):
        migrate(url, roles=False)
        figures = asyncio.run(measure(url, fixes=arguments.fixes, rounds=arguments.rounds))
    if arguments.json:
        json.dump(figures, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    for name, value in figures.items():
        sys.stdout.write(f"{name.replace('_', ' '):<28} {value}\n")


if __name__ == "__main__":
    main()
