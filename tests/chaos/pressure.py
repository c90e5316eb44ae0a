"""Back-pressure: the database slow or away for long while fixes come: `python -m tests.chaos.pressure`.

One worker is fed at a steady rate. For a while most answers of PostgreSQL take their time, then nothing comes
through to it at all, then everything is well again. Watched are the worker's memory, what it holds, how often
the group was rebalanced, and how long it takes to catch up; in the end every fix must be in the table, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psycopg
import typer

from hazfence import FixBatch
from hazfence.services import PrivatePostgres, PrivateRedis, free_port, fresh_database, private_broker
from hazfence.services import with_database as in_database
from hazfence.wire.producer import FixProducer
from hazfence.worker.broker import wait_for_broker
from hazfence.worker.config import WorkerSettings
from hazfence.worker.log import set_up
from hazfence_sql import migrate
from tests.integration.worker_process import FENCES, Worker

from .feeder import DAY_US
from .proxy import Proxy

_VEHICLES = 5000
_PARTITIONS = 4
_CATCH_UP_S = 900.0


@dataclass
class Pressed:
    """What was seen.

    Attributes:
        sent, stored: fixes sent, and rows in the end.
        before_mb, most_mb: the worker's memory when all was well, and at most.
        most_inbox_bytes, most_buffered: what it held at most.
        most_lag_messages: how far it was behind at most, as the metric says.
        assignments: how often partitions were assigned; 1 is the start.
        retries: calls repeated because the store was away.
        catch_up_s: from the end of the outage until everything was stored.
    """

    rate: float
    slow_s: float
    away_s: float
    sent: int = 0
    stored: int = 0
    before_mb: float = 0.0
    most_mb: float = 0.0
    most_inbox_bytes: int = 0
    most_buffered: int = 0
    most_lag_messages: int = 0
    assignments: int = 0
    retries: int = 0
    catch_up_s: float = 0.0


class _Source:
    """Sends fixes at a steady rate until it is stopped."""

    def __init__(self, kafka: str, topic: str, rate: float) -> None:
        self._kafka, self._topic, self._rate = kafka, topic, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="source")
        self.sent = 0

    def __enter__(self) -> _Source:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        start_s = time.monotonic()
        async with FixProducer(self._kafka, self._topic) as producer:
            while not self._stop.is_set():
                due = min(int((time.monotonic() - start_s) * self._rate) - self.sent, 50_000)
                if due > 0:
                    await producer.send_batch(_fixes(self.sent, due))
                    self.sent += due
                await asyncio.sleep(0.1)


def _fixes(first: int, count: int) -> FixBatch:
    step, vehicle = np.divmod(np.arange(first, first + count), _VEHICLES)
    return FixBatch.of(
        vehicle.astype(np.int32),
        vehicles=[f"浙B{i:05d}" for i in range(_VEHICLES)],
        time_us=DAY_US + step * 1_000_000 + vehicle,
        lon=121.4 + vehicle * 1e-5,
        lat=29.9 + step * 1e-6,
        speed_kmh=40.0,
        status=3,
    )


def press(rate: float, slow_s: float, away_s: float, folder: Path, **settings: int) -> Pressed:
    """Run it; see the module.

    Args:
        rate: fixes a second.
        slow_s, away_s: how long the database is slow, and away.
        folder: for the worker's log.
        **settings: of the worker, e.g. smaller bounds for a shorter run.
    """
    found = Pressed(rate, slow_s, away_s)
    with contextlib.ExitStack() as held:
        postgres = held.enter_context(PrivatePostgres(durable=False))
        redis = held.enter_context(PrivateRedis())
        broker = held.enter_context(private_broker())
        url = held.enter_context(fresh_database(postgres.url))
        migrate(url, roles=False)
        way = held.enter_context(Proxy(free_port(), postgres.port))
        head, _, _ = postgres.url.rpartition(":")
        how = WorkerSettings.for_embedded_broker(
            database_url=in_database(f"{head}:{way.port}/x", url.rsplit("/", 1)[1]), redis_url=redis.url,
            kafka=broker.bootstrap, topic="hazfence.pressure", group="pressure", dead_topic="",
            fences=str(FENCES), topic_partitions=_PARTITIONS, clock="event", web_port=free_port(), **settings,
        )  # fmt: skip
        asyncio.run(wait_for_broker(how))
        worker = held.enter_context(Worker(how, folder / "worker.log"))
        worker.until_ready(60)
        with _Source(how.kafka, how.topic, rate) as source:
            _watch(worker, found, max(4.0, how.checkpoint_every_s))
            found.before_mb = found.most_mb
            end_s = time.monotonic() + slow_s
            while time.monotonic() < end_s:  # nine tenths of the time nothing gets through
                way.swallow()
                _watch(worker, found, 0.9)
                way.restore()
                _watch(worker, found, 0.1)
            way.refuse()
            _watch(worker, found, away_s)
            way.restore()
            back_s = time.monotonic()
            _watch(worker, found, 2.0)
        found.sent = source.sent
        with psycopg.connect(url, autocommit=True) as connection:
            while _stored(connection) < found.sent:
                assert time.monotonic() - back_s < _CATCH_UP_S, f"{_stored(connection)} of {found.sent}"
                _watch(worker, found, 0.2)
            found.catch_up_s = round(time.monotonic() - back_s, 1)
        assert worker.stop() == 0
        with psycopg.connect(url) as connection:
            found.stored = _stored(connection)
        found.assignments = worker.said().count("partitions assigned")
    return found


def _stored(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute("SELECT count(*) FROM hazfence.fix").fetchone()
    assert row is not None
    return row[0]


def _watch(worker: Worker, found: Pressed, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while True:
        assert worker.process is not None
        assert worker.alive(), "the worker died"
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        resident_kb = int(status.partition("VmRSS:")[2].split()[0])
        found.most_mb = max(found.most_mb, round(resident_kb / 1024, 1))
        metrics = worker.metrics()

        def total(name: str, metrics: dict[str, float] = metrics) -> int:
            return int(
                sum(value for key, value in metrics.items() if key.split("{")[0] == f"hazfence_{name}")
            )

        found.most_inbox_bytes = max(found.most_inbox_bytes, total("inbox_bytes"))
        found.most_buffered = max(found.most_buffered, total("buffered_fixes"))
        found.most_lag_messages = max(found.most_lag_messages, total("lag_messages"))
        found.retries = max(found.retries, total("store_retries_total"))
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return
        time.sleep(min(left_s, 0.5))


def main(
    rate: Annotated[float, typer.Option(help="Fixes a second.")] = 20_000,
    slow_s: Annotated[float, typer.Option(help="How long the database is slow.")] = 60,
    away_s: Annotated[float, typer.Option(help="How long it is away then.")] = 600,
) -> None:
    """Keep the database away from a worker that is fed, and see that it holds its breath and catches up."""
    set_up(level="error")
    with tempfile.TemporaryDirectory() as folder:
        found = press(rate, slow_s, away_s, Path(folder))
    print(json.dumps(asdict(found), indent=1))
    wrong = found.stored != found.sent or found.assignments != 1
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
