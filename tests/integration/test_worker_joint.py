"""All rules on a real broker and PostGIS: plates on their own topic, the file in its tables, and kills."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from hazfence import Event, Filed, ReferenceData, Waybill
from hazfence.postgis import PostgisStore
from hazfence.postgis.reference import PostgisReference
from hazfence.rules.plates import PlateRead
from hazfence.wire.plates import encode_read
from hazfence.wire.producer import FixProducer
from hazfence.worker.broker import wait_for_broker
from hazfence.worker.config import SettingsError, WorkerSettings
from hazfence.worker.supervisor import Supervisor
from hazfence_replay.compare import compare
from hazfence_replay.simulator.cases import SimulatedWeek, simulate_week, week_geojson

from .worker_process import Worker, send, settings, until

PARTITIONS = 3
UNTIL = "hazfence_joint_until_seconds"


def how_with_rules(url: str, kafka: str, topic: str, folder: Path, **more: Any) -> WorkerSettings:
    fences = folder / "week.geojson"
    fences.write_text(json.dumps(week_geojson()))
    return settings(
        url, kafka, topic, fences=str(fences), rules="all", plate_topic=f"{topic}.plates",
        joint_every_s=0.5, event_step_s=60.0, topic_partitions=PARTITIONS, **more,
    )  # fmt: skip


async def put_on_file(url: str, data: ReferenceData) -> None:
    file = PostgisReference(url)
    try:
        await file.save(data)
    finally:
        await file.close()


async def last_revisions(url: str, topic: str) -> list[Event]:
    """The last revision of every event, of the partitions of fixes and of what is beside; each said once."""
    store = PostgisStore(url)
    await store.open()
    last: dict[str, Event] = {}
    revisions = []
    try:
        for place in [(topic, p) for p in range(PARTITIONS)] + [(f"{topic}.plates", 0)]:
            for entry in await store.outbox(*place, 0, 10**6):
                assert entry.event.revision > (last[entry.event.id].revision if entry.event.id in last else 0)
                last[entry.event.id] = entry.event
                revisions.append((entry.event.id, entry.event.revision))
    finally:
        await store.close()
    assert len(set(revisions)) == len(revisions)
    return list(last.values())


async def feed(how: WorkerSettings, week: SimulatedWeek, pause_s: float) -> None:
    """Fixes and reads as time goes by, faster."""
    reads = list(week.reads)
    async with FixProducer(how.kafka, how.topic, max_fixes=500) as producer:
        for start in range(0, len(week.fixes), 400):
            batch = week.fixes.take(slice(start, start + 400))
            await producer.send_batch(batch)
            passed = [read for read in reads if read.time_us <= int(batch.time_us[-1])]
            reads = reads[len(passed) :]
            await send(how.kafka, how.plate_topic, list(map(encode_read, passed)), 0)
            await asyncio.sleep(pause_s)
    await send(how.kafka, how.plate_topic, list(map(encode_read, reads)), 0)


def stored(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM hazfence.fix").fetchone()
    assert row is not None
    return int(row[0])


def joint_until_s(how: WorkerSettings) -> float:
    """Up to which moment the joint rules know what is missing, as the worker says."""
    with contextlib.suppress(OSError):
        url = f"http://127.0.0.1:{how.web_port}/metrics"
        with urllib.request.urlopen(url, timeout=2) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(v) for n, _, v in (x.rpartition(" ") for x in lines) if n == UNTIL)
    return 0.0


def test_a_day_with_all_rules_and_kills_is_found_as_planted(
    postgres_url: str, broker: str, topic: str, tmp_path: Path
) -> None:
    week = simulate_week(seed=7, vehicles=16, days=1)
    how = how_with_rules(postgres_url, broker, topic, tmp_path)
    asyncio.run(put_on_file(postgres_url, week.reference))

    async def go() -> None:
        supervisor = Supervisor(how)
        running = asyncio.create_task(supervisor.run())
        try:
            await wait_for_broker(how, joint=True)
            feeding = asyncio.create_task(feed(how, week, 0.8))
            # Kill each worker as soon as it has stored something: it is in the middle then.
            seen = 0
            for killed in range(2):
                while not (seen < (now := await asyncio.to_thread(stored, postgres_url)) and supervisor.pids):
                    if now == len(week.fixes):
                        break  # a slow start: everything came at once
                    await asyncio.sleep(0.05)
                for pid in supervisor.pids:
                    os.kill(pid, signal.SIGKILL)
                while supervisor.starts < killed + 2:
                    await asyncio.sleep(0.05)
                seen = await asyncio.to_thread(stored, postgres_url)
            await feeding
            give_up_s = time.monotonic() + 120
            while await asyncio.to_thread(stored, postgres_url) < len(week.fixes):
                assert time.monotonic() < give_up_s, "not all fixes stored"
                await asyncio.sleep(0.2)
            # The event clock moves on by whole minutes, a minute late.
            last_s = week.fixes.time_us.max() / 1e6 - 120
            while await asyncio.to_thread(joint_until_s, how) < last_s:
                assert time.monotonic() < give_up_s, "the joint rules never caught up"
                await asyncio.sleep(0.2)
            assert supervisor.starts == 3
        finally:
            supervisor.stop()
            assert await running == 0

    asyncio.run(go())
    events = asyncio.run(last_revisions(postgres_url, topic))
    # Behind the newest fix nobody knows what has been missed: the worker's day ends there.
    end_us = int(week.fixes.time_us.max()) - 15 * 60_000_000
    truth = [p for p in week.truth if p.at_us < end_us]
    result = compare(truth, [event for event in events if event.started_us < end_us])
    assert result.perfect, result.explain()[:10]
    joint = {"plate_without_gps", "gps_without_plate", "separation", "zone_capacity", "paper_expiring"}
    assert joint <= {p.kind for p in truth}


def test_plate_reads_that_cannot_be_used_cost_only_themselves(
    postgres_url: str, broker: str, topic: str, tmp_path: Path
) -> None:
    how = how_with_rules(postgres_url, broker, topic, tmp_path, clock="wall")
    bad = [
        (b"{", "bad_json"),
        (b"", "empty"),
        (b'{"plate":"A"}', "missing_key"),
        (b'{"plate":"A","checkpoint":"gate-west"}', "missing_key"),
        (b'{"plate":7,"checkpoint":"gate-west","time_ms":1}', "wrong_type"),
        (b'{"plate":"A","checkpoint":"gate-west","time":"today"}', "wrong_type"),
        (b'{"plate":" . ","checkpoint":"gate-west","time_ms":1772409600000}', "bad_vehicle"),
        (b'{"plate":"A","checkpoint":"cp-9","time_ms":1772409600000}', "unknown_checkpoint"),
        (b'{"plate":"A","checkpoint":"gate-west","time_ms":1}', "bad_time"),
        (b'{"plate":"A","checkpoint":"gate-west","time":"2099-01-01T00:00:00Z"}', "bad_time"),
    ]
    with Worker(how, tmp_path / "log") as worker:
        worker.until_ready()
        good = encode_read(PlateRead("浙B 1·2345", "gate-west", time.time_ns() // 1000))
        asyncio.run(send(broker, how.plate_topic, [*(value for value, _ in bad), good], 0))
        until(lambda: worker.metrics().get("hazfence_plate_reads_total", 0) == 1, 20, "the good one not read")
        assert worker.stop() == 0
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            'SELECT "offset", reason, detail FROM hazfence.dead_letter WHERE topic = %s ORDER BY 1',
            (how.plate_topic,),
        ).fetchall()
    assert [row[1] for row in rows] == [reason for _, reason in bad]
    assert all(row[2] for row in rows)


def test_the_file_is_heard_of_while_the_worker_runs(
    postgres_url: str, broker: str, topic: str, tmp_path: Path
) -> None:
    """An unregistered truck is said as such; once it is on file for a time, the next one is not."""
    how = how_with_rules(postgres_url, broker, topic, tmp_path, clock="wall", lateness_s=0.0)
    start_us = time.time_ns() // 1000 - 600_000_000

    async def drive(vehicle: str) -> None:
        async with FixProducer(broker, topic) as producer:
            for k in range(8):
                await producer.send(vehicle, start_us + k * 30_000_000, 123.6, 30.0, speed_kmh=0.0, status=3)

    def kinds(vehicle: str) -> set[str]:
        with psycopg.connect(postgres_url) as connection:
            rows = connection.execute(
                "SELECT kind FROM hazfence.event WHERE vehicle = %s", (vehicle,)
            ).fetchall()
        return {row[0] for row in rows}

    with Worker(how, tmp_path / "log") as worker:
        worker.until_ready()
        asyncio.run(drive("浙B00001"))
        until(lambda: {"unregistered", "no_waybill"} <= kinds("浙B00001"), 20, "not said")
        loads = worker.metrics()["hazfence_reference_loads_total"]
        row = Filed("vehicle", "浙B00002", "approved", start_us - 10**9)
        bill = Waybill("W", "浙B00002", 1203, "3", start_us - 10**9, start_us + 10**11, start_us - 10**9)
        asyncio.run(put_on_file(postgres_url, ReferenceData([row], [bill])))
        until(lambda: worker.metrics()["hazfence_reference_loads_total"] > loads, 5, "news not heard")
        asyncio.run(drive("浙B00002"))
        until(lambda: "silent" in kinds("浙B00002"), 20, "not judged")
        assert not kinds("浙B00002") & {"unregistered", "no_waybill"}
        assert worker.stop() == 0


def test_a_plate_topic_with_several_partitions_is_refused(
    postgres_url: str, broker: str, topic: str, tmp_path: Path
) -> None:
    how = how_with_rules(postgres_url, broker, topic, tmp_path)

    async def go() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(how.plate_topic, 2, 1)])
        finally:
            await admin.close()
        with pytest.raises(SettingsError, match="has 2 partitions; make one with a single partition"):
            await wait_for_broker(how, joint=True)

    asyncio.run(go())
