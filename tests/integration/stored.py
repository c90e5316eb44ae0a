"""Events and fixes to store, a store that is open, and everything that lies in its tables."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import psycopg
from psycopg import sql

from hazfence.events import Event, Kind, Phase, Severity, event_id
from hazfence.fixes import FixBatch
from hazfence.postgis import PostgisStore

T, P = "hazfence.fixes", 3
START_US = 1_772_409_600_123_456  # 2026-03-02T00:00:00.123456Z


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def fact(
    number: int,
    revision: int = 1,
    phase: Phase = Phase.OPENED,
    kind: Kind = Kind.OVERSPEED,
    vehicle: str = "浙B12345",
    **more: object,
) -> Event:
    started = START_US + number * 1_000_000
    plain = Event(
        id=event_id(kind, vehicle, "z-1", started),
        kind=kind,
        vehicle=vehicle,
        fence_id="z-1",
        fence_version=1,
        revision=revision,
        phase=phase,
        started_us=started,
        ended_us=started + 7 if phase is Phase.CLOSED else None,
        lon=121.5 + number / 3,
        lat=29.9,
        end_lon=0.1 if phase is Phase.CLOSED else None,
        end_lat=0.2 if phase is Phase.CLOSED else None,
        severity=Severity.INFO if kind is Kind.VISIT else Severity.BREACH,
        detail={"limit_kmh": 60.0, "why": ["x", None], "n": number},
    )
    return dataclasses.replace(plain, **more)


def fixes(first: int, count: int, *, per_message: int = 10, vehicles: int = 5) -> FixBatch:
    """``count`` messages from offset ``first``; every fix different, speeds and headings partly unknown."""
    n = count * per_message
    at = np.arange(n) + first * per_message
    return FixBatch.of(
        [f"浙B{i % vehicles:05}" for i in at],
        time_us=START_US + at * 1_000_000,
        lon=121 + at / 1e6,
        lat=29 + at / 1e6,
        speed_kmh=np.where(at % 3 == 0, np.nan, at % 100),
        heading_deg=np.where(at % 4 == 0, np.nan, at % 360),
        status=at % 7,
        alarm=np.where(at % 5 == 0, 2**32 - 1, 0),
        offset=at // per_message,
        item=at % per_message,
        accuracy_m=np.where(at % 6 == 0, 40.0, np.nan),
    )


@contextlib.asynccontextmanager
async def opened(url: str, **options: object) -> AsyncIterator[PostgisStore]:
    store = PostgisStore(url, **options)  # type: ignore[arg-type]
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def rows(url: str, table: str) -> list[tuple]:
    """Everything that must be the same on every run: all columns but the numbers and times of writing."""
    with psycopg.connect(url) as connection:
        names = [
            name
            for (name,) in connection.execute(
                """SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0
                   AND attname NOT IN ('key', 'seq', 'known_at', 'revised_at', 'kept_at', 'claimed_at',
                                       'written_at', 'epoch', 'vehicle_code', 'stream')""",
                [f"hazfence.{table}"],
            )
        ]
        columns = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in names)
        query = sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier("hazfence", table))
        if table == "fix":
            joined = "SELECT {}, vehicle FROM hazfence.fix JOIN hazfence.vehicle_code ON code = vehicle_code"
            query = sql.SQL(joined).format(columns)
        return sorted(connection.execute(query).fetchall(), key=repr)


TABLES = ("visit", "event", "event_revision", "fix", "dead_letter", "checkpoint")


def everything(url: str) -> dict[str, list[tuple]]:
    return {table: rows(url, table) for table in TABLES}
