"""Live is replay: a day through broker, worker and PostGIS, and the same day read back from everywhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from hazfence import FixBatch
from hazfence.events import iso
from hazfence.services import Services
from hazfence.wire.packer import partition_of
from hazfence.wire.producer import FixProducer
from hazfence.worker.broker import wait_for_broker
from hazfence_fences import load_fences
from hazfence_replay.readers import Wanted, open_source
from hazfence_replay.simulator import SimulatedDay, simulate, write_jsonl

from .worker_process import FENCES, Worker, send, settings, until

PARTITIONS = 3
STEP_S = 300


class Live(NamedTuple):
    """A day that a worker has processed.

    Attributes:
        day: what was sent.
        url, topic: where it is.
        until_us: the moment up to which the worker looked for silence.
        rows: what stands in its tables.
    """

    day: SimulatedDay
    url: str
    topic: str
    until_us: int
    rows: list[tuple[object, ...]]


COLUMNS = """event_id, vehicle, fence_id, fence_version, phase, started_at, ended_at, ST_AsEWKB(place),
    ST_AsEWKB(end_place), severity, detail"""
LIVE = f"""
SELECT 'visit' AS kind, {COLUMNS} FROM hazfence.visit WHERE phase <> 'retracted'
UNION ALL SELECT kind, {COLUMNS} FROM hazfence.event WHERE phase <> 'retracted' ORDER BY event_id
"""
RUN = f"""
SELECT kind, {COLUMNS} FROM hazfence.replay_event JOIN hazfence.replay_run USING (run)
WHERE name = %s AND phase <> 'retracted' ORDER BY event_id
"""


@pytest.fixture(scope="module")
def live(services: Services, module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Live:
    topic = f"hazfence.test.replay.{os.getpid()}"
    how = settings(module_postgres_url, services.kafka, topic)
    day = simulate(load_fences(FENCES), seed=1, trucks=25, hours=24)
    # A far vehicle on every partition lets the time of each pass beyond the day's end.
    clocks = [next(f"C{i}" for i in range(99) if partition_of(f"C{i}", PARTITIONS) == p) for p in range(3)]
    late = FixBatch.of(clocks, time_us=day.end_us + 1_260_000_000, lon=110.0, lat=25.0, status=3)

    async def go() -> dict[int, int]:
        await wait_for_broker(how)
        async with FixProducer(services.kafka, topic) as producer:
            for batch in day.batches(5_000):
                await producer.send_batch(batch)
            await producer.send_batch(late)
        await send(services.kafka, topic, [b"nonsense"], 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=services.kafka)
        await consumer.start()
        try:
            places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            return {place.partition: end for place, end in (await consumer.end_offsets(places)).items()}
        finally:
            await consumer.stop()

    log = asyncio.run(go())
    folder = tmp_path_factory.mktemp("live")
    with (
        Worker(how, folder / "worker.log") as worker,
        psycopg.connect(module_postgres_url, autocommit=True) as connection,
    ):
        query = "SELECT partition, next_offset FROM hazfence.checkpoint WHERE topic = %s"
        until(lambda: dict(connection.execute(query, (topic,)).fetchall()) == log, 90.0, "not processed")
        assert worker.stop() == 0
        rows = connection.execute(LIVE).fetchall()
    step_us = STEP_S * 1_000_000
    until_us = (day.end_us + 1_260_000_000 - round(how.lateness_s * 1e6)) // step_us * step_us
    assert until_us > day.end_us
    return Live(day, module_postgres_url, topic, until_us, rows)


def hazfence(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HAZFENCE_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "hazfence.cli", *map(str, arguments)],
        capture_output=True, text=True, env={**clean, "COLUMNS": "200", **env}, timeout=300, check=False,
    )  # fmt: skip


@contextmanager
def started(arguments: list[object]) -> Iterator[subprocess.Popen[bytes]]:
    """A command that is killed at the end."""
    line = [sys.executable, "-m", "hazfence.cli", *map(str, arguments)]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as running:
        yield running
        running.send_signal(signal.SIGKILL)


def done_so_far(running: subprocess.Popen[bytes], journal: Path) -> int:
    """Fixes behind the last checkpoint of a replay under way."""
    assert running.poll() is None, "it ended before it could be stopped"
    if not journal.exists():
        return 0
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as state:
        try:
            row = state.execute("SELECT value FROM state WHERE name = 'checkpoint'").fetchone()
        except sqlite3.OperationalError:
            return 0
    return 0 if row is None else int(json.loads(row[0])["fixes"])


def replayed(live: Live, source: object, run: str, *more: object) -> list[tuple[object, ...]]:
    done = hazfence(
        "replay", source, "--fences", FENCES, "--to", iso(live.until_us), "--out", "db", "--run", run, *more,
        HAZFENCE_DATABASE_URL=live.url,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with psycopg.connect(live.url) as connection:
        return connection.execute(RUN, (run,)).fetchall()


def test_live_is_replay_row_for_row_from_topic_table_and_files(
    live: Live, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(live.rows) > 300
    with psycopg.connect(live.url) as connection:
        before = connection.execute(LIVE).fetchall()
    assert replayed(live, f"kafka://{services.kafka}/{live.topic}", "topic") == live.rows
    assert replayed(live, "db", "table", "--workers", 2) == live.rows
    write_jsonl(live.day, tmp_path / "fixes.jsonl")
    assert replayed(live, "fixes.jsonl", "lines") == live.rows
    fixes = live.day.fixes
    columns = {"plate": fixes.names(), "time_us": fixes.time_us, "lon": fixes.lon, "lat": fixes.lat}
    table = pa.table({**columns, "speed_kmh": fixes.speed_kmh, "status": fixes.status})
    pq.write_table(table, tmp_path / "day.parquet")
    assert replayed(live, "day.parquet", "parquet") == live.rows
    with psycopg.connect(live.url) as connection:
        assert connection.execute(LIVE).fetchall() == before, "live rows were touched"
        runs = connection.execute(
            "SELECT name, fixes, source FROM hazfence.replay_run ORDER BY run"
        ).fetchall()
    assert [run[0] for run in runs] == ["topic", "table", "lines", "parquet"]
    assert {run[1] for run in runs} == {len(live.day)}
    assert "@" not in runs[1][2].split(" of ")[1].split("@")[0]


def test_a_run_is_stored_once_replaced_when_told_and_readable_as_a_map(live: Live, tmp_path: Path) -> None:
    write_jsonl(live.day, tmp_path / "fixes.jsonl")
    path = tmp_path / "fixes.jsonl"
    first = replayed(
        live, path, "again", "--vehicle", live.day.fixes.vehicles[0], "--journal", tmp_path / "j"
    )
    assert 0 < len(first) < len(live.rows)
    again = ["replay", path, "--fences", FENCES, "--out", "db", "--run", "again", "--journal", tmp_path / "j"]
    done = hazfence(*again, HAZFENCE_DATABASE_URL=live.url)
    assert (done.returncode, "has a run 'again' already" in done.stderr) == (1, True), done.stderr
    done = hazfence(*again, "--fresh", HAZFENCE_DATABASE_URL=live.url)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(live.url) as connection:
        count = connection.execute("SELECT count(*) FROM hazfence.replay_map WHERE run = 'again'").fetchone()
        assert count is not None
        assert count[0] > len(first)


def test_a_topic_from_a_time_on(live: Live, services: Services) -> None:
    url = f"kafka://{services.kafka}/{live.topic}"
    reader = open_source(url)
    found = FixBatch.concat(reader)
    assert len(found) == len(live.day) + 3
    assert [(r.line >= 0, r.reason) for r in reader.rejects.kept] == [(True, "bad_json")]
    assert reader.share == 1.0
    again = FixBatch.concat(open_source(url))
    assert again == found, "the same order on every run"
    middle = live.day.start_us + (live.day.end_us - live.day.start_us) // 2
    part = FixBatch.concat(open_source(url, wanted=Wanted(since_us=middle)))
    assert sorted(part.time_us.tolist()) == [t for t in sorted(found.time_us.tolist()) if t >= middle]
    # All messages were sent just now: from a later time on there is nothing to read.
    assert list(open_source(url, wanted=Wanted(since_us=time.time_ns() // 1000 + 3_600_000_000))) == []
    with pytest.raises(ValueError, match="no such topic"):
        list(open_source(f"kafka://{services.kafka}/no.such.topic"))
    with pytest.raises(ValueError, match="kafka://HOST:PORT/TOPIC"):
        open_source("kafka://nowhere")


def test_fixes_into_a_topic_at_a_speed_and_stopped_and_gone_on(
    live: Live, services: Services, topic: str, tmp_path: Path
) -> None:
    part = live.day.fixes.take(live.day.fixes.time_us < live.day.start_us + 3_600_000_000)
    path = tmp_path / "hour.jsonl"
    write_jsonl(live.day, path)
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[: len(part)]))
    to = f"kafka://{services.kafka}/{topic}"
    done = hazfence("replay", path, "--out", to)
    assert (done.returncode, "no such topic" in done.stderr) == (1, True)
    asyncio.run(wait_for_broker(settings(live.url, services.kafka, topic)))
    began = time.monotonic()
    done = hazfence("replay", path, "--out", to, "--speed", 1200)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began >= 2.9, "an hour at 1200 times the speed of life takes 3 s"
    assert sorted(FixBatch.concat(open_source(to)).time_us.tolist()) == sorted(part.time_us.tolist())
    # Stopped on the way (it would take 36 s), and as fast as can be to the end: at least once each.
    journal = tmp_path / "feed.replay"
    command = ["replay", path, "--out", to, "--journal", journal, "--speed", 100, "--checkpoint", 0.2]
    with started(command) as running:
        until(lambda: 0 < done_so_far(running, journal) < len(part), 30.0, "no checkpoint")
    done = hazfence("replay", path, "--out", to, "--journal", journal)
    assert done.returncode == 0, done.stderr
    assert "going on behind" in done.stderr
    assert not journal.exists()
    times = FixBatch.concat(open_source(to)).time_us.tolist()
    assert set(times) == set(part.time_us.tolist())
    assert 2 * len(part) <= len(times) < 3 * len(part)


def test_a_killed_replay_goes_on_and_writes_what_an_unbroken_one_does(tmp_path: Path) -> None:
    # Some paces long, so that there is a middle to be killed in.
    day = simulate(load_fences(FENCES), seed=2, trucks=150, hours=24)
    write_jsonl(day, tmp_path / "fixes.jsonl")
    unbroken, broken = tmp_path / "unbroken.jsonl", tmp_path / "broken.jsonl"
    command = ["replay", tmp_path / "fixes.jsonl", "--fences", FENCES, "--workers", 2, "--out"]
    assert hazfence(*command, unbroken).returncode == 0
    journal = tmp_path / "broken.jsonl.replay"
    with started([*command, broken, "--checkpoint", 0.05]) as running:
        until(lambda: 0 < done_so_far(running, journal) < len(day), 60.0, "no checkpoint")
    assert not broken.exists()
    done = hazfence(*command, broken)
    assert done.returncode == 0, done.stderr
    assert "going on behind" in done.stderr
    assert broken.read_bytes() == unbroken.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.jsonl", "fixes.jsonl", "unbroken.jsonl"]
