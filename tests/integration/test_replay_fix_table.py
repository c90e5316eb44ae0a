"""What a worker's store kept, read back by the replay: the same fixes, by time, in bounded batches."""

from __future__ import annotations

import asyncio

import numpy as np
import psycopg
import pytest

from hazfence import FixBatch
from hazfence.ports import Checkpoint
from hazfence.postgis import PostgisStore
from hazfence_replay.readers import TrackError, Wanted, open_source

DAY_US = 86_400_000_000
START_US = 1_772_409_600_000_000 + 20 * 3_600_000_000  # 20:00 UTC, so that a day ends in between


def fixes(seed: int, n: int = 5_000) -> FixBatch:
    rng = np.random.default_rng(seed)
    missing = rng.random(n) < 0.3
    return FixBatch.of(
        rng.integers(0, 40, n).astype(np.int32),
        vehicles=tuple(f"浙B{i:05d}" for i in range(40)),
        time_us=START_US + rng.permutation(n) * 5_000_001,
        lon=rng.uniform(121, 122, n),
        lat=rng.uniform(29, 30, n),
        speed_kmh=np.where(missing, np.nan, rng.uniform(0, 80, n)),
        heading_deg=np.where(rng.random(n) < 0.3, np.nan, rng.uniform(0, 360, n)),
        status=rng.choice([0, 3, 2**32 - 1], n),
        alarm=rng.choice([0, 1, 2**32 - 1], n),
        offset=np.sort(rng.integers(0, 100, n)),
        item=np.arange(n),
        accuracy_m=rng.choice([np.nan, 4.5, 60.0, np.inf], n) if seed == 1 else None,
    )


async def save(url: str, batch: FixBatch) -> None:
    store = PostgisStore(url)
    await store.open()
    claim, _ = await store.claim("t", 0)
    await store.checkpoint(claim, Checkpoint(100, b"x"), batch)
    await store.close()


def test_stored_fixes_come_back_by_time_whole_or_in_part(postgres_url: str) -> None:
    batch = fixes(1)
    asyncio.run(save(postgres_url, batch))
    whole = batch.take(np.argsort(batch.time_us))
    reader = open_source(postgres_url, batch_fixes=700)
    parts = list(reader)
    assert reader.share == 1.0
    assert len(reader.rejects) == 0
    assert max(map(len, parts)) == 700
    assert FixBatch.concat(parts) == whole
    assert "test" not in reader.source or "password" not in reader.source

    since, until = START_US + DAY_US // 8 + 1, START_US + DAY_US // 4
    some = frozenset({"浙B00003", "浙B00007", "nobody"})
    wanted = Wanted(since, until, some)
    assert FixBatch.concat(open_source(postgres_url, wanted=wanted)) == wanted.cut(whole)
    assert 0 < len(wanted.cut(whole)) < 1000
    assert list(open_source(postgres_url, wanted=Wanted(vehicles=frozenset({"nobody"})))) == []
    assert list(open_source(postgres_url, wanted=Wanted(since_us=START_US + 9 * DAY_US))) == []


def test_a_vehicle_that_is_new_while_the_reader_reads_is_named(postgres_url: str) -> None:
    asyncio.run(save(postgres_url, fixes(2)))
    reader = iter(open_source(postgres_url, batch_fixes=10))
    next(reader)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("INSERT INTO hazfence.vehicle_code (vehicle) VALUES ('new')")
        connection.execute(
            """INSERT INTO hazfence.fix (time, lon, lat, "offset", status, alarm, vehicle_code, stream, item)
               SELECT '2026-03-03 02:00Z', 1, 2, 1, 3, 0, code, 1, 1 FROM hazfence.vehicle_code
               WHERE vehicle = 'new'"""
        )
    rest = FixBatch.concat(reader)
    assert rest.names().count("new") == 1
    assert len(rest) == 5_000 - 10 + 1


def test_a_database_without_the_table_says_what_to_run(empty_postgres_url: str) -> None:
    with pytest.raises(TrackError, match="run 'hazfence migrate'"):
        list(open_source(empty_postgres_url))
