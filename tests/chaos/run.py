"""One chaos run: services, workers and a feed are set up, harmed, and compared with a run in peace.

You are at the heart of ``tests/chaos``: :func:`run` is all of it in order. ``harm.py`` does the harm,
``crew.py`` keeps the workers, ``feeder.py`` feeds, ``proxy.py`` is the network, ``doomed.py`` the worker that
dies where it is told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer

from hazfence.redis_board import RedisBoard
from hazfence.services import (
    PrivateBroker,
    PrivateKafka,
    PrivatePostgres,
    PrivateRedis,
    free_port,
    fresh_database,
    kafka_missing,
    with_database,
)
from hazfence.wire import Message, decode
from hazfence.worker.broker import wait_for_broker
from hazfence.worker.config import WorkerSettings
from hazfence_sql import migrate
from tests.accounting import account

from .crew import Crew
from .feeder import Feeder
from .harm import Harm, SmallDisk
from .proxy import Proxy
from .rows import Compared, compare, dump, offsets, out_of_order

_FENCES = Path(__file__).parents[2] / "fences" / "zhenhai"
_PARTITIONS = 4
#: A busy machine may be slow, but as long as it gets on it is waited for.
_STILL_S = 90.0
_FATAL = 70


@dataclass
class Report:
    """What a run did and found."""

    seed: int
    broker: str
    disk: str
    kills: int = 0
    seconds: float = 0.0
    harms: dict[str, int] = field(default_factory=dict)
    died_at: dict[str, int] = field(default_factory=dict)
    ended_by_themselves: dict[int, int] = field(default_factory=dict)
    compared: list[Compared] = field(default_factory=list)
    accounts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.compared)

    @property
    def differences(self) -> int:
        return sum(one.differences for one in self.compared)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"rows": self.rows, "differences": self.differences}


class NotCaughtUp(AssertionError):
    """The workers did not get to the end of the log after everything was mended."""


def run(seed: int, kills: int, folder: Path, say: Callable[[str], None], *, pace: float = 1.0) -> Report:
    """Harm a system until ``kills`` processes got SIGKILL, and compare its rows with those of peace.

    Args:
        seed: of the feed and of the harms.
        kills: at least this many.
        folder: for the logs of workers and services; must exist.
        say: hears what happens.
        pace: below 1, harms and the pauses between them are shorter.
    """
    started_s = time.monotonic()
    with contextlib.ExitStack() as held:
        world = _World(held, folder)
        report = Report(seed, world.broker_name, world.disk_name)
        say(f"seed {seed}, broker: {world.broker_name}; disk full: {world.disk_name}")
        crew = held.enter_context(Crew(world.how, folder, random.Random(seed + 1)))
        harm = Harm(
            seed, crew=crew, postgres=world.postgres, broker=world.broker, redis=world.redis, ways=world.ways,
            disk=world.fill, database=world.database, pace=pace,
            say=lambda what: say(f"{time.monotonic() - started_s:6.1f} s, {harm.kills:3} kills: {what}"),
        )  # fmt: skip
        feeder = Feeder(world.how.kafka, world.how.topic, _PARTITIONS, seed + 2)
        feeder.start()
        try:
            crew.join()
            crew.join()
            while harm.kills < kills:
                harm.one()
            harm.over()
        finally:
            feeder.stop()
        log = asyncio.run(_read_log(world.how.kafka, world.how.topic))
        _until_read(world.direct_url, world.how.topic, log, crew)
        report.kills = harm.kills
        report.harms, report.died_at = dict(harm.done), dict(crew.died_at)
        report.ended_by_themselves = dict(crew.ends)
        say("the same log once more, in peace")
        quiet = _quiet_run(world, folder, log, seed)
        board = asyncio.run(_board_like(quiet, world.redis.url))
        while len(crew):
            crew.leave()
        report.compared = compare(dump(world.direct_url), dump(world.quiet_url))
        report.compared.append(_compare_boards(board, quiet))
        _account(log, report, feeder, world)
        _find_faults(report, world.direct_url)
    report.seconds = round(time.monotonic() - started_s, 1)
    return report


class _World:
    """Services of our own, each behind a proxy, and settings for both runs."""

    def __init__(self, held: contextlib.ExitStack, folder: Path) -> None:
        self.postgres = held.enter_context(PrivatePostgres(durable=False))
        self.redis = held.enter_context(PrivateRedis())
        self.ways = {
            "PostgreSQL": held.enter_context(Proxy(free_port(), self.postgres.port)),
            "Redis": held.enter_context(Proxy(free_port(), self.redis.port)),
        }
        missing = kafka_missing()
        self.broker: PrivateKafka | PrivateBroker
        if missing is None:
            way = self.ways["the broker"] = held.enter_context(Proxy(free_port()))
            # Clients go where the broker says it is: through the proxy.
            settings = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{way.port}"}
            self.broker = held.enter_context(PrivateKafka(settings=settings))
            way.target = self.broker.port
            kafka, self.broker_name = f"127.0.0.1:{way.port}", "Apache Kafka"
        else:
            self.broker = held.enter_context(PrivateBroker())
            kafka = self.broker.bootstrap
            self.broker_name = f"embedded, so it is frozen only, not killed and not cut off ({missing})"
        held.callback(self._keep_logs, folder)
        self.direct_url = held.enter_context(_database(self.postgres.url))
        self.quiet_url = held.enter_context(_database(self.postgres.url))
        self.database = self.direct_url.rsplit("/", 1)[1]
        self.fill, self.disk_name = self._small_disk()
        topic = "hazfence.chaos"
        self.how = WorkerSettings.load(
            database_url=with_database(_through(self.postgres.url, self.ways["PostgreSQL"]), self.database),
            redis_url=_through(self.redis.url, self.ways["Redis"]), kafka=kafka, topic=topic,
            dead_topic=topic + ".dead", group=topic, fences=str(_FENCES), clock="event", event_step_s=300.0,
            topic_partitions=_PARTITIONS, checkpoint_every_s=0.5, tick_every_s=0.3, flush_timeout_s=3.0,
            session_timeout_s=3.0, heartbeat_s=0.7, rebalance_timeout_s=6.0, board_every_s=0.5,
            board_prefix="chaos:", board_tail=10_000_000, board_stream_length=10_000_000, web_port=0,
            log_level="info",
        )  # fmt: skip
        asyncio.run(wait_for_broker(self.how))

    def _keep_logs(self, folder: Path) -> None:
        """What the services said goes beside what the workers said, before their folders go."""
        for service in (self.postgres, self.redis, self.broker):
            with contextlib.suppress(OSError):
                shutil.copyfile(service.log_path, folder / f"{service.name}.log")

    def _small_disk(self) -> tuple[Callable[[bool], None], str]:
        """A real small disk for the tables of fixes where it can be had, a trigger that says so otherwise."""
        owner = self.postgres._owner()
        disk = SmallDisk(self.postgres.folder / "small-disk", megabytes=2048)
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            if owner is not None and disk.mount(owner):
                connection.execute(f"CREATE TABLESPACE small LOCATION '{disk.folder}'")
                connection.execute(f"ALTER DATABASE {self.database} SET default_tablespace = small")
                return disk.fill, "a file system of its own for the fixes, filled to the last byte"
        with psycopg.connect(self.direct_url, autocommit=True) as connection:
            connection.execute(_TRIGGER)

        def fill(full: bool) -> None:
            with psycopg.connect(self.direct_url, autocommit=True) as connection:
                connection.execute("UPDATE chaos_disk SET is_full = %s", (full,))

        return fill, "a trigger that raises disk_full at each checkpoint (no file system may be mounted here)"


_TRIGGER = """
CREATE TABLE chaos_disk (is_full boolean NOT NULL);
INSERT INTO chaos_disk VALUES (false);
CREATE FUNCTION chaos_disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT is_full FROM chaos_disk) THEN
        RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_disk_full AFTER UPDATE ON hazfence.checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION chaos_disk_full();
"""


@contextlib.contextmanager
def _database(url: str) -> Iterator[str]:
    with fresh_database(url) as fresh:
        migrate(fresh, roles=False)
        yield fresh


def _through(url: str, way: Proxy) -> str:
    head, _, tail = url.rpartition(":")
    return f"{head}:{way.port}/{tail.partition('/')[2]}"


_Log = dict[int, list[Message]]


async def _read_log(kafka: str, topic: str) -> _Log:
    """Every message of the topic, by partition and offset."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        ends = {tp: end for tp, end in (await consumer.end_offsets(consumer.assignment())).items() if end}
        log: _Log = {tp.partition: [] for tp in ends}
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                log[tp.partition] += [Message(r.offset, r.timestamp * 1000, r.value) for r in records]
        return log
    finally:
        await consumer.stop()


def _until_read(url: str, topic: str, log: _Log, crew: Crew) -> None:
    ends = {partition: messages[-1].offset + 1 for partition, messages in log.items()}
    before, give_up_s = None, 0.0
    while (at := offsets(url, topic)) != ends:
        if at != before:
            before, give_up_s = at, time.monotonic() + _STILL_S
        elif time.monotonic() > give_up_s:
            raise NotCaughtUp(
                f"checkpoints stand still at {at}, the log ends at {ends}; the workers "
                f"said last\n{crew.say()}"
            )
        time.sleep(0.2)


async def _board(url: str, prefix: str) -> list[Any]:
    board = RedisBoard(url, prefix=prefix)
    try:
        vehicles = await board.vehicles()
        return [vehicles, await board.breaches(), await board.visits()]
    finally:
        await board.close()


async def _board_like(quiet: list[Any], url: str) -> list[Any]:
    """The board, when it is as it should be, or as it is after a while."""
    give_up_s = time.monotonic() + 40.0
    while (now := await _board(url, "chaos:")) != quiet and time.monotonic() < give_up_s:
        await asyncio.sleep(0.5)
    return now


def _compare_boards(disturbed: list[Any], quiet: list[Any]) -> Compared:
    different = sum(
        one not in there for a, b in zip(disturbed, quiet, strict=True) for here, there in ((a, b), (b, a))
        for one in here
    )  # fmt: skip
    example = next((str(o) for a, b in zip(disturbed, quiet, strict=True) for o in a if o not in b), "")
    return Compared("board", sum(map(len, quiet)), different, example)


def _quiet_run(world: _World, folder: Path, log: _Log, seed: int) -> list[Any]:
    """One worker reads the same log without being disturbed; its board."""
    how = world.how.model_copy(
        update={
            "database_url": type(world.how.database_url)(world.quiet_url),
            "redis_url": type(world.how.database_url)(world.redis.url),
            "group": "peace", "dead_topic": "", "board_prefix": "peace:", "web_port": 0,
            "session_timeout_s": 10.0, "heartbeat_s": 1.0,
        }
    )  # fmt: skip
    (folder / "peace").mkdir()
    with Crew(how, folder / "peace", random.Random(seed)) as crew:
        crew.join()
        _until_read(world.quiet_url, how.topic, log, crew)
        give_up_s = time.monotonic() + _STILL_S
        last: list[Any] = []
        while time.monotonic() < give_up_s:
            now = asyncio.run(_board(world.redis.url, "peace:"))
            if now == last and now[0]:
                break
            last = now
            time.sleep(1.5)
        crew.leave()
        if crew.ends:
            raise NotCaughtUp(f"the worker of the quiet run died: {dict(crew.ends)}\n{crew.say()}")
    return last


def _account(log: _Log, report: Report, feeder: Feeder, world: _World) -> None:
    """In = accepted + set aside + repeated + dead, item by item, and all that was sent is on the log."""
    found = asyncio.run(account(world.direct_url, world.how.topic, log))
    report.accounts = {
        "messages on the log": sum(map(len, log.values())),
        "in: fixes, and messages that cannot be read": found.taken_in,
        "accepted": found.accepted,
        "set aside": found.set_aside,
        "repeated": found.repeated,
        "dead": found.dead,
        "do not add up": len(found.wrong),
        "sent and confirmed, but not on the log": sum((feeder.sent - _fixes_of(log)).values()),
    }
    report.faults += found.wrong[:10]
    if found.taken_in != found.accepted + found.set_aside + found.repeated + found.dead:
        report.faults.append(f"the sum does not hold: {found}")
    if lost := report.accounts["sent and confirmed, but not on the log"]:
        report.faults.append(f"{lost} fixes were sent and are not on the log")


def _fixes_of(log: _Log) -> Counter[tuple[str, int]]:
    batch, _ = decode([message for messages in log.values() for message in messages])
    return Counter(zip(batch.names(), batch.time_us.tolist(), strict=True))


def _find_faults(report: Report, url: str) -> None:
    different = [one for one in report.compared if one.differences]
    report.faults += [f"{one.table}: {one.differences} differ, {one.example}" for one in different]
    if disorder := out_of_order(url):
        report.faults.append(f"{disorder} revisions were stored out of order")
    if _FATAL in report.ended_by_themselves:
        report.faults.append(f"unknown errors ended workers {report.ended_by_themselves[_FATAL]} times")


def table(report: Report) -> str:
    """The report for a person."""
    lines = [f"seed {report.seed}, {report.seconds} s, {report.broker}; disk full: {report.disk}", ""]
    lines += ["| kills and other harm | times |", "| --- | --- |"]
    lines += [f"| {what} | {times} |" for what, times in sorted(report.harms.items())]
    lines += [f"| **processes that got SIGKILL** | **{report.kills}** |", ""]
    lines += ["| died at | times |", "| --- | --- |"]
    lines += [f"| {what} | {times} |" for what, times in sorted(report.died_at.items())]
    lines += ["", "| table | rows compared | differences |", "| --- | --- | --- |"]
    lines += [f"| {one.table} | {one.rows} | {one.differences} |" for one in report.compared]
    lines += [f"| **all** | **{report.rows}** | **{report.differences}** |", ""]
    lines += ["| account | |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in report.accounts.items()), ""]
    ended = ", ".join(f"{n} with code {code}" for code, n in sorted(report.ended_by_themselves.items()))
    lines.append(f"workers that ended by themselves: {ended or 'none'}")
    lines += [f"FAULT: {fault}" for fault in report.faults] or ["no fault found"]
    return "\n".join(lines) + "\n"


def in_own_mounts(arguments: list[str]) -> int | None:
    """Run the program again where its mounts are its own and end with it; None when that is not allowed."""
    command = ["unshare", "--mount", "--propagation", "private"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        return None
    return subprocess.run([*command, sys.executable, "-m", "tests.chaos", *arguments], check=False).returncode
