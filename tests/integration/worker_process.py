"""A worker as a child process, its topic, and what a quiet run of the same log would have stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from hazfence import Event, FixBatch
from hazfence.memory import MemoryStore
from hazfence.ports import Reject
from hazfence.postgis import PostgisStore
from hazfence.services import free_port
from hazfence.wire import Message
from hazfence.worker.config import WorkerSettings
from hazfence.worker.processor import PartitionProcessor
from hazfence_fences import load_fences

FENCES = Path(__file__).parents[2] / "fences" / "zhenhai"
DAY_US = 1_772_380_800_000_000


def settings(database_url: str, kafka: str, topic: str, **more: Any) -> WorkerSettings:
    """Settings for a test: event clock, short rhythms, a port of its own."""
    return WorkerSettings.for_embedded_broker(
        **{
            "database_url": database_url, "kafka": kafka, "topic": topic, "dead_topic": topic + ".dead",
            "group": topic, "fences": str(FENCES), "clock": "event", "event_step_s": 300.0,
            "topic_partitions": 3, "checkpoint_every_s": 1.0, "tick_every_s": 0.3,
            "web_port": free_port(), **more,
        }
    )  # fmt: skip


class Worker:
    """``python -m hazfence.worker`` with a log file."""

    def __init__(self, how: WorkerSettings, log: Path) -> None:
        self.how = how
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        env = {k: v for k, v in os.environ.items() if not k.startswith("HAZFENCE_")} | self.how.to_env()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hazfence.worker"], env=env, stdout=log, stderr=log
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if error is not None:
            sys.stdout.write(self.said()[-6000:])

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.how.web_port}/{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> dict[str, float]:
        lines = [line for line in self.get("metrics")[1].splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def until_ready(self, within_s: float = 40.0) -> None:
        until(lambda: self.get("readyz")[0] == 200, within_s, f"worker not ready: {self.get('readyz')}")


def until(true: Callable[[], object], within_s: float, what: str) -> None:
    """Wait until something is true."""
    give_up_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < give_up_s, what
        time.sleep(0.05)


def day(trucks: int, steps: int, *, first: int = 0) -> FixBatch:
    """Trucks that cross the district in all directions, a fix each 15 s, in the order of time."""
    vehicle = np.tile(np.arange(trucks, dtype=np.int32), steps)
    step = np.repeat(np.arange(first, first + steps), trucks)
    speed = 40.0 + vehicle % 50
    return FixBatch.of(
        vehicle,
        vehicles=[f"浙B{i:05d}" for i in range(trucks)],
        time_us=DAY_US + step.astype(np.int64) * 15_000_000,
        lon=121.4 + 0.4 * ((vehicle * 0.37 + step * 0.003) % 1.0),
        lat=29.85 + 0.2 * ((vehicle * 0.71 + step * 0.0013) % 1.0),
        speed_kmh=speed,
        status=3,
    )


async def send(kafka: str, topic: str, values: list[bytes], partition: int) -> None:
    """Put raw messages on one partition, in order."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=8 * 1024 * 1024)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, partition=partition)
    finally:
        await producer.stop()


async def read_log(
    kafka: str, topic: str, count: int, within_s: float = 20.0, *, quiet_s: float = 0.0
) -> dict[int, list[Message]]:
    """The first ``count`` messages of a topic, by partition, as the worker gets them.

    With ``quiet_s`` also what comes after them, until nothing has come for so long.
    """
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()  # without a group: all partitions
    try:
        log: dict[int, list[Message]] = {place.partition: [] for place in sorted(consumer.assignment())}
        give_up_s, heard_s = time.monotonic() + within_s, time.monotonic()
        while (got := sum(map(len, log.values()))) < count or time.monotonic() < heard_s + quiet_s:
            assert time.monotonic() < give_up_s, f"only {got} of {count} messages"
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                log[place.partition] += [Message(r.offset, r.timestamp * 1000, r.value) for r in records]
                heard_s = time.monotonic()
        return log
    finally:
        await consumer.stop()


async def read_whole_log(kafka: str, topic: str) -> dict[int, list[Message]]:
    """Every message of a topic to which nobody sends any more."""
    log = await read_log(kafka, topic, 1)
    while True:
        before = sum(map(len, log.values()))
        log = await read_log(kafka, topic, before, 60.0, quiet_s=0.5)
        if sum(map(len, log.values())) == before:
            return log


async def quiet_run(how: WorkerSettings, log: dict[int, list[Message]]) -> MemoryStore:
    """What the log gives when nothing goes wrong: the same rules, in memory."""
    store = MemoryStore()
    for partition, messages in log.items():
        processor = PartitionProcessor(
            how.topic, partition, fences=load_fences(how.fences), engine_settings=how.engine_settings(),
            store=store, settings=how.processor(),
        )  # fmt: skip
        await processor.load()
        assert await processor.feed(messages) is None
        await processor.close()
    return store


async def stored_events(
    url: str, topic: str, partitions: int
) -> tuple[dict[str, Event], list[tuple[str, int]]]:
    """The last revision of every event in the outbox, and all revisions."""
    store = PostgisStore(url)
    await store.open()
    try:
        last: dict[str, Event] = {}
        revisions = []
        for partition in range(partitions):
            for entry in await store.outbox(topic, partition, 0, 10**7):
                last[entry.event.id] = entry.event
                revisions.append((entry.event.id, entry.event.revision))
        return last, revisions
    finally:
        await store.close()


ROWS = """
SELECT v.vehicle, f.time, f.lon, f.lat, f.speed_kmh, s.partition, f."offset", f.item
FROM hazfence.fix f JOIN hazfence.vehicle_code v ON v.code = f.vehicle_code
JOIN hazfence.stream s USING (stream)
WHERE s.topic = %s ORDER BY s.partition, f."offset", f.item
"""
LETTERS = """
SELECT partition, "offset", item, reason, detail, payload FROM hazfence.dead_letter WHERE topic = %s
"""


async def check_rows(how: WorkerSettings, log: dict[int, list[Message]]) -> MemoryStore:
    """Fixes, events and dead letters in the database are those of a quiet run of the log."""
    import psycopg

    url = how.database_url.get_secret_value()
    quiet = await quiet_run(how, log)
    last, revisions = await stored_events(url, how.topic, len(log))
    assert len(set(revisions)) == len(revisions)
    assert last == quiet.events
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await (await connection.execute(ROWS, (how.topic,))).fetchall()
        letters = await (await connection.execute(LETTERS, (how.topic,))).fetchall()
        for table, visit in (("visit", True), ("event", False)):
            found = await (
                await connection.execute(f"SELECT event_id, revision, phase FROM hazfence.{table}")
            ).fetchall()
            assert {(row[0].hex, row[1], row[2]) for row in found} == {
                (e.id, e.revision, str(e.phase)) for e in quiet.events.values() if e.is_visit is visit
            }
    expected = []
    for partition in sorted(log):
        f = quiet.fixes(how.topic, partition)
        places = [f.time_us.tolist(), f.lon.tolist(), f.lat.tolist(), [partition] * len(f)]
        expected += list(zip(f.names(), *places, f.offset.tolist(), f.item.tolist(), strict=True))
    assert [(r[0], round(r[1].timestamp() * 1e6), r[2], r[3], r[5], r[6], r[7]) for r in rows] == expected
    kept = {(how.topic, p, o, i): Reject(o, i, reason, d, bytes(b)) for p, o, i, reason, d, b in letters}
    assert kept == quiet.rejects
    return quiet


async def read_letters(kafka: str, topic: str, count: int) -> list[dict[str, Any]]:
    """Dead letters from their topic."""
    log = await read_log(kafka, topic, count)
    return [json.loads(message.value or b"") for messages in log.values() for message in messages]
