"""How long after it was produced a fix's event is committed in PostGIS, at several loads.

``hazfence bench latency`` runs one worker on broker, PostGIS (durable) and Redis, and sends fixes that are
made at the moment they are sent, through the packing producer and, at a lower load, one JSON fix a message.
Some vehicles drive in and out of a checkpoint with every fix, so each of their fixes opens or closes a visit;
the fix's own time is the moment it was produced, and PostgreSQL notes the moment of each commit
(``track_commit_timestamp``). The packing, the broker, the worker's linger, matching and the commit are all in
it. That moment is taken before the commit waits for the disk, so beside it stands the moment at which Redis
got the event, for which the worker has read it back: what a reader sees, the disk and the way to the board
included. Every crossing counts: those not stored yet when all fixes are processed are waited for. How
much later than planned the sender made a crossing is told too, as a fix that is made late waits in no
figure. Everything shares one machine.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
import structlog
from aiokafka import AIOKafkaProducer

from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.redis_board import RedisBoard
from hazfence.services import free_port
from hazfence.wire import encode_fix
from hazfence.wire.packer import partition_of
from hazfence.wire.producer import FixProducer
from hazfence.worker.broker import wait_for_broker
from hazfence.worker.config import WorkerSettings
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.plan import BadOption, Plan
from hazfence_benchmarks.stage import shared
from hazfence_benchmarks.stream import WorkerProcess, until
from hazfence_benchmarks.workloads import ZHENHAI
from hazfence_fences import load_fences

__all__ = ["options", "run"]

_PARTITIONS = 4
_VEHICLES = 21_000  # as many as a district has on file
_CROSSING = 500
_CROSSES_EVERY_S = 5.0
_TICK_S = 0.01
_WARM_UP_S = 3.0
#: So much time is made up for, and so much of it at once.
_OWED_S, _BURST_S = 5.0, 0.25
_QUANTILES = (50, 95, 99)
#: Until what is processed must be stored, and on the board.
_STORED_WITHIN_S = 60.0
_COMMITS = """
SELECT vehicle, started_at, ended_at, pg_xact_commit_timestamp(xmin)
FROM hazfence.event_revision
WHERE topic = %s AND kind = 'visit' AND fence_id = %s AND vehicle LIKE 'X%%'
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Loads and time."""
    parser.add_argument("--rates", help="fixes a second, with commas; packed")
    parser.add_argument("--singles", help="the same, one JSON fix a message")
    parser.add_argument("--seconds", type=float, help="of each load, after warming up")


def run(
    plan: Plan, *, rates: str | None = None, singles: str | None = None, seconds: float | None = None
) -> Iterator[Figure]:
    """Median, 95 and 99 % of the time from a fix's making to its event's commit, and to the board.

    Args:
        plan: its size gives loads and time where they are not given.
        rates: fixes a second through the packing producer, with commas.
        singles: the same with one JSON fix a message.
        seconds: of each load.

    Raises:
        BadOption: a rate is no positive number, or the database does not note the moments of its commits.
        ServiceError: a service cannot be started.
    """
    packed = _numbers("rates", rates, plan.pick([2000], [1000, 20_000], [1000, 5000, 10_000, 20_000]))
    single = _numbers("singles", singles, plan.pick([], [1000], [1000, 5000]))
    seconds = plan.pick(2.0, 7.0, 30.0) if seconds is None else seconds
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with shared() as stage, stage.database() as url:
        with psycopg.connect(url) as connection:
            if connection.execute("SHOW track_commit_timestamp").fetchone() != ("on",):
                raise BadOption("HAZFENCE_DATABASE_URL: set track_commit_timestamp = on, or leave it out")
        streaming = stage.streaming()
        base = {"database_url": url, "kafka": streaming.kafka, "redis_url": streaming.redis_url}
        for one_fix, loads in ((False, packed), (True, single)):
            for rate in loads:
                yield from _figures(base, rate, one_fix, seconds, streaming.broker)


def _numbers(name: str, given: str | None, otherwise: list[int]) -> list[int]:
    if given is None:
        return otherwise
    try:
        found = [int(one) for one in given.split(",") if one.strip()]
    except ValueError:
        found = [0]
    if any(one < 200 for one in found):
        raise BadOption(f"--{name} must be whole numbers of at least 200, with commas")
    return found


def _figures(base: dict[str, Any], rate: int, one_fix: bool, seconds: float, broker: str) -> Iterator[Figure]:
    measured = asyncio.run(_measure(base, rate, one_fix, seconds))
    about: dict[str, Any] = {
        "suite": "latency", "workload": "one JSON fix a message" if one_fix else "packed for 75 ms",
        "x": float(rate), "x_name": "fixes/s",
    }  # fmt: skip
    note = f"latency: broker {broker}, one worker, durable PostgreSQL, all on the same cores"
    for what, waited_s, quantiles in (
        ("produced to committed", measured["committed_s"], _QUANTILES),
        ("produced to told on the board", measured["told_s"], _QUANTILES),
        ("sender behind its plan", measured["behind_s"], _QUANTILES[-1:]),
    ):
        for q in quantiles:
            ms = float(np.percentile(waited_s, q)) * 1e3
            yield Figure(
                **about, what=f"{what}, {q} %", way=OURS, unit="ms", values=(ms,), better="less",
                clock="wall", n=len(waited_s), note=note,
            )  # fmt: skip
    sent = measured["sent"]
    yield Figure(
        **about, what="worker's processor time a fix", way=OURS, unit="us", better="less", clock="cpu",
        n=sent, values=(measured["cpu_s"] / sent * 1e6,),
    )  # fmt: skip
    yield Figure(
        **about, what="fixes a second that were really sent", way=OURS, unit="fixes/s", clock="wall", n=sent,
        values=(sent / measured["wall_s"],),
    )  # fmt: skip


async def _measure(base: dict[str, Any], rate: int, one_fix: bool, seconds: float) -> dict[str, Any]:
    """Send for a while and ask the database when each crossing was committed."""
    topic = f"hazfence.bench.{secrets.token_hex(4)}"
    more: dict[str, Any] = {
        "topic": topic, "dead_topic": "", "group": topic, "board_prefix": topic + ":", "fences": str(ZHENHAI),
        "topic_partitions": _PARTITIONS, "log_level": "warning", "web_port": free_port(),
    }  # fmt: skip
    settings = WorkerSettings.for_embedded_broker(**base, **more)
    await wait_for_broker(settings)
    gate = next(fence for fence in load_fences(ZHENHAI) if fence.radius_m)
    assert gate.centre is not None
    assert gate.radius_m is not None
    feed = _Feed(rate, gate.centre, gate.radius_m)
    worker = WorkerProcess(settings)
    try:
        await until(worker, lambda m: m.get("hazfence_partitions", 0) == _PARTITIONS)
        async with _Sender(settings, one_fix) as send:
            await _send(feed, send, _WARM_UP_S)
            feed.begin()
            cpu_s, start_s = worker.cpu_s(), time.monotonic()
            await _send(feed, send, seconds)
            wall_s, sent = time.monotonic() - start_s, feed.sent
        await until(worker, lambda m: m.get("hazfence_fixes_total", 0) >= feed.total)
        cpu_s = worker.cpu_s() - cpu_s
        committed_s = await _all_of(feed, lambda: _committed(settings, gate.id))
        told_s = await _all_of(feed, lambda: _told(settings, gate.id))
    finally:
        # All is measured; a polite end can take Faust half a minute.
        worker.process.kill()
        worker.process.wait()
    return {
        "committed_s": committed_s, "told_s": told_s, "behind_s": feed.behind_s, "cpu_s": cpu_s,
        "wall_s": wall_s, "sent": sent,
    }  # fmt: skip


async def _all_of(feed: _Feed, look: Callable[[], Awaitable[list[_Seen]]]) -> npt.NDArray[np.float64]:
    """The latency of every crossing; those that nobody has seen yet are waited for.

    Raises:
        RuntimeError: some never came.
    """
    end_s = time.monotonic() + _STORED_WITHIN_S
    while True:
        found, missing = feed.latencies(await look())
        if not missing:
            return found
        if time.monotonic() > end_s:
            raise RuntimeError(f"{missing} of {missing + len(found)} crossings were not seen")
        await asyncio.sleep(0.2)


async def _committed(settings: WorkerSettings, gate: str) -> list[_Seen]:
    async with await psycopg.AsyncConnection.connect(settings.database_url.get_secret_value()) as connection:
        rows = await (await connection.execute(_COMMITS, (settings.topic, gate))).fetchall()
    return [
        _Seen(vehicle, round((ended_at or started_at).timestamp() * 1e6), committed_at.timestamp())
        for vehicle, started_at, ended_at, committed_at in rows
    ]


async def _told(settings: WorkerSettings, gate: str) -> list[_Seen]:
    """The same from the board's stream, whose ids are the milliseconds at which Redis got each entry."""
    assert settings.redis_url is not None
    board = RedisBoard(settings.redis_url.get_secret_value(), prefix=settings.board_prefix)
    seen, after = [], "0"
    try:
        while entries := await board.events(after, count=5000):
            after = entries[-1][0]
            for entry_id, said in entries:
                event = Event.from_json(said)
                if event.is_visit and event.fence_id == gate and event.vehicle.startswith("X"):
                    crossed_us = event.started_us if event.ended_us is None else event.ended_us
                    seen.append(_Seen(event.vehicle, crossed_us, int(entry_id.partition("-")[0]) / 1e3))
    finally:
        await board.close()
    return seen


class _Seen(NamedTuple):
    """A crossing of a vehicle, and when it was seen, in seconds since 1970."""

    vehicle: str
    crossed_us: int
    seen_s: float


async def _send(feed: _Feed, send: Any, seconds: float) -> None:
    """Send what is due every hundredth of a second."""
    end_s = time.monotonic() + seconds
    while (now_s := time.monotonic()) < end_s:
        await send(feed.due())
        await asyncio.sleep(max(0.0, now_s + _TICK_S - time.monotonic()))


class _Sender:
    """Sends batches of fixes, packed or one by one."""

    def __init__(self, settings: WorkerSettings, one_fix: bool) -> None:
        self._topic = settings.topic
        self._packed = FixProducer(settings.kafka, settings.topic)
        self._singles = AIOKafkaProducer(bootstrap_servers=settings.kafka, linger_ms=5) if one_fix else None

    async def __aenter__(self) -> Any:
        if self._singles is None:
            await self._packed.start()
            return self._packed.send_batch
        await self._singles.start()
        return self._each

    async def __aexit__(self, *_: object) -> None:
        await (self._packed if self._singles is None else self._singles).stop()

    async def _each(self, batch: FixBatch) -> None:
        assert self._singles is not None
        rows = zip(batch.names(), batch.time_us.tolist(), batch.lon.tolist(), batch.lat.tolist(), strict=True)
        for vehicle, time_us, lon, lat in rows:
            value = encode_fix(vehicle, time_us, lon, lat, speed_kmh=40.0, status=3)
            where = partition_of(vehicle, _PARTITIONS)
            await self._singles.send(self._topic, value, partition=where)


class _Feed:
    """Fixes of vehicles that stand about, and of some that cross a checkpoint with each fix.

    Attributes:
        sent: fixes since `begin`.
        total: all fixes.
    """

    def __init__(self, rate: int, centre: Any, radius_m: float) -> None:
        crossings = min(_CROSSING, rate // 20)
        others = max(1, min(_VEHICLES, rate * 15) - crossings)
        rng = np.random.default_rng(5)
        self._crossing = tuple(f"X{i:04d}" for i in range(crossings))
        self._others = tuple(f"浙B{i:05d}" for i in range(others))
        self._lon, self._lat = rng.uniform(121.3, 121.9, others), rng.uniform(29.7, 30.2, others)
        self._centre, self._away = centre, 5 * radius_m / 111_000
        self._rate = rate - crossings / _CROSSES_EVERY_S
        self._since_s = self._looked_s = time.time()
        self._next = 0
        self._due_s = time.time() + rng.uniform(0, _CROSSES_EVERY_S, crossings)
        self._inside = np.zeros(crossings, np.bool_)
        self._times: list[list[int]] = [[] for _ in range(crossings)]
        self._since_us = 0
        self._behind_s: list[float] = []
        self.sent = self.total = 0

    def begin(self) -> None:
        """From here on it counts; what the warming up still owes is forgotten."""
        self._since_us, self.sent, self._behind_s = time.time_ns() // 1000, 0, []
        self._since_s = self._looked_s = time.time()

    def due(self) -> FixBatch:
        """The fixes of this moment."""
        now_s = time.time()
        now_us = int(now_s * 1e6)
        count = len(self._others)
        # What a busy machine held up is made up for, but at twice the rate at most: a burst is not what is
        # measured, and neither is less than was asked for.
        self._since_s = max(self._since_s, now_s - _OWED_S)
        owed_s = now_s - self._since_s
        number = int(self._rate * min(owed_s, 2 * (now_s - self._looked_s), _BURST_S))
        self._since_s += number / self._rate
        self._looked_s = now_s
        here = np.arange(self._next, self._next + number) % count
        self._next = (self._next + number) % count
        crossing = np.flatnonzero(self._due_s <= now_s)
        self._behind_s += (now_s - self._due_s[crossing]).tolist()
        self._due_s[crossing] += _CROSSES_EVERY_S
        self._inside[crossing] ^= True
        for i in crossing.tolist():
            self._times[i].append(now_us)
        self.sent += len(here) + len(crossing)
        self.total += len(here) + len(crossing)
        away = np.where(self._inside[crossing], 0.0, self._away)
        return FixBatch.of(
            [self._others[i] for i in here.tolist()] + [self._crossing[i] for i in crossing.tolist()],
            time_us=now_us,
            lon=np.concatenate([self._lon[here], np.full(len(crossing), self._centre[0])]),
            lat=np.concatenate([self._lat[here], self._centre[1] + away]),
            speed_kmh=40.0,
            status=3,
        )

    @property
    def behind_s(self) -> npt.NDArray[np.float64]:
        """How much later than planned each crossing since `begin` was made."""
        return np.array(self._behind_s)

    def latencies(self, seen: Sequence[_Seen]) -> tuple[npt.NDArray[np.float64], int]:
        """Seconds from making to being seen, of the crossings since `begin`, and how many were not seen.

        A crossing's moment lies between two fixes, and became known with the later one.
        """
        found = []
        times = [np.array(one, np.int64) for one in self._times]
        left = {(i, us) for i, one in enumerate(self._times) for us in one if us >= self._since_us}
        for vehicle, crossed_us, seen_s in seen:
            which = int(vehicle[1:])
            place = int(np.searchsorted(times[which], crossed_us))
            if place < len(times[which]) and times[which][place] >= self._since_us:
                made_us = int(times[which][place])
                left.discard((which, made_us))
                found.append(seen_s - made_us / 1e6)
        return np.array(found), len(left)
