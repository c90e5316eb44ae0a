"""The worker on a real broker, PostGIS and Redis: bad input, kills, services away, and its good end."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hazfence.memory import MemoryBoard, MemoryStore
from hazfence.redis_board import RedisBoard
from hazfence.services import PrivateBroker, PrivatePostgres, PrivateRedis, free_port, private_broker
from hazfence.wire import encode_columns, encode_fix
from hazfence.wire.packer import partition_of
from hazfence.wire.producer import FixProducer
from hazfence.worker import main
from hazfence.worker.app import build_app, partitions_of
from hazfence.worker.broker import wait_for_broker
from hazfence.worker.config import WorkerSettings
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.supervisor import Supervisor
from hazfence_fences import load_fences
from hazfence_sql import migrate

from ..accounting import account, assert_accounted
from .worker_process import (
    DAY_US,
    FENCES,
    Worker,
    check_rows,
    day,
    read_letters,
    read_whole_log,
    send,
    settings,
    until,
)

TRUCKS = 60


def total(log: dict[int, list[Any]]) -> int:
    return sum(map(len, log.values()))


def offsets(url: str, topic: str) -> dict[int, int]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT partition, next_offset FROM hazfence.checkpoint WHERE topic = %s", (topic,)
        ).fetchall()
    return {partition: offset or 0 for partition, offset in rows}


async def feed(kafka: str, topic: str, first: int, steps: int, **how: Any) -> None:
    async with FixProducer(kafka, topic, max_fixes=200, **how) as producer:
        await producer.send_batch(day(TRUCKS, steps, first=first))


BAD: list[tuple[bytes, str, int]] = [
    (b'{"vehicle":"A","time"', "bad_json", -1),
    (b"\xff\xfe\x00", "unknown_format", -1),
    (b'{"vehicle":5,"time_ms":1,"lon":1,"lat":1}', "wrong_type", -1),
    (b'{"vehicle":"A","time_ms":1,"lon":1}', "missing_key", -1),
    (b'{"vehicle":"A","time":"2026-03-02T08:00:00Z","lon":NaN,"lat":29.9}', "not_finite", 0),
    (b'{"vehicle":"A","time":"2026-03-02T08:00:00Z","lon":500,"lat":29.9}', "out_of_range", 0),
    (b'{"vehicle":"A","time":"2026-03-02T08:00:00Z","lon":0,"lat":0}', "null_island", 0),
    (b'{"vehicle":"A","time":"1970-01-01T00:00:00Z","lon":121.5,"lat":29.9}', "time_too_old", 0),
    (b'{"vehicle":"A","time":"2099-01-01T00:00:00Z","lon":121.5,"lat":29.9}', "time_future", 0),
    (b'{"vehicle":"A","time_ms":1,"lon":1,"lat":1,"datum":"NAD27"}', "unknown_datum", -1),
    (b'{"vehicle":"a\\u0000b","time_ms":1,"lon":1,"lat":1}', "bad_vehicle", -1),
    (encode_columns(day(5, 5))[:-3], "truncated", -1),
    (b"\x89HZF\x01\x00\xff\xff" + bytes(16), "bad_batch", -1),
    (b"\x89HZF\x01\x00\x00\x00\xff\xff\xff\xff" + bytes(12), "truncated", -1),
    (b"[" * 300_000, "too_large", -1),
    (b"", "empty", -1),
]


def test_bad_input_costs_only_itself(
    postgres_url: str, redis_url: str, redis_prefix: str, broker: str, topic: str, tmp_path: Path
) -> None:
    how = settings(
        postgres_url, broker, topic, redis_url=redis_url, board_prefix=redis_prefix, max_message_bytes=200_000
    )
    with Worker(how, tmp_path / "log") as worker:
        worker.until_ready()
        assert worker.get("healthz") == (200, "alive\n")
        times = range(DAY_US, DAY_US + len(BAD) * 15_000_000, 15_000_000)
        good = [encode_fix("好", t, 121.5 + i / 1000, 29.95, status=3) for i, t in enumerate(times)]
        values = [value for bad, fine in zip(BAD, good, strict=True) for value in (bad[0], fine)]
        asyncio.run(send(broker, topic, values, partition=1))
        asyncio.run(feed(broker, topic, 0, 20))
        log = asyncio.run(read_whole_log(broker, topic))
        until(lambda: worker.metrics()["hazfence_messages_total"] >= total(log), 20, "not all read")
        metrics = worker.metrics()
        assert worker.alive()
        letters = asyncio.run(read_letters(broker, topic + ".dead", len(BAD)))
        assert worker.stop() == 0
    # Each counted, each kept in table and topic under its place, and nothing else lost.
    for (value, reason, item), offset in zip(BAD, range(0, 2 * len(BAD), 2), strict=True):
        (one,) = [letter for letter in letters if letter["offset"] == offset]
        assert (one["topic"], one["partition"], one["item"], one["reason"]) == (topic, 1, item, reason)
        assert one["detail"]
        if item == -1:
            assert base64.b64decode(one["payload"]) == value[: 64 * 1024]
            assert one["payload_bytes"] == len(value)
        assert metrics[f'hazfence_dead_letters_total{{reason="{reason}"}}'] >= 1
    assert metrics["hazfence_fixes_total"] == TRUCKS * 20 + len(good) + 5
    assert metrics["hazfence_fixes_accepted_total"] == TRUCKS * 20 + len(good)
    quiet = asyncio.run(check_rows(how, log))
    found = asyncio.run(account(postgres_url, topic, log, max_message_bytes=200_000))
    assert_accounted(found)
    unreadable = sum(item == -1 for _, _, item in BAD)
    assert (found.dead, found.set_aside) == (unreadable, len(BAD) - unreadable)
    assert metrics["hazfence_unaccounted"] == 0
    assert metrics["hazfence_taken_in_total"] == found.taken_in
    assert metrics["hazfence_messages_unreadable_total"] == found.dead
    assert len(quiet.rejects) == len(BAD)
    assert {(r.offset, r.item): r.reason for r in quiet.rejects.values()} == {
        (2 * i, item): reason for i, (_, reason, item) in enumerate(BAD)
    }
    assert offsets(postgres_url, topic) == {p: len(messages) for p, messages in log.items() if messages}

    async def board() -> tuple[list[str], list[str]]:
        one = RedisBoard(redis_url, prefix=redis_prefix)
        try:
            return (
                [v["vehicle"] for v in await one.vehicles()],
                [e["id"] for _, e in await one.events(count=100_000)],
            )
        finally:
            await one.close()

    shown, said = asyncio.run(board())
    assert len(shown) == TRUCKS + 1
    assert set(said) == set(quiet.events)


def test_kill_minus_nine_in_the_middle_of_a_feed(
    postgres_url: str, redis_url: str, redis_prefix: str, broker: str, topic: str, tmp_path: Path
) -> None:
    how = settings(
        postgres_url, broker, topic, redis_url=redis_url, board_prefix=redis_prefix, checkpoint_every_s=0.4
    )

    async def go() -> None:
        supervisor = Supervisor(how)
        running = asyncio.create_task(supervisor.run())
        board = RedisBoard(redis_url, prefix=redis_prefix)
        killed: list[int] = []
        seen = 0
        try:
            await wait_for_broker(how)
            # Feed on, and kill each worker as soon as it has stored something: it is in the middle then.
            first = 0
            while len(killed) < 3 or first < 200:
                await feed(broker, topic, first, 10)
                first += 10
                stored = sum(offsets(postgres_url, topic).values())
                fresh = [pid for pid in supervisor.pids if pid not in killed]
                if len(killed) < 3 and fresh and stored > seen:
                    killed.append(fresh[0])
                    os.kill(killed[-1], signal.SIGKILL)
                    await asyncio.sleep(0.2)
                    seen = sum(offsets(postgres_url, topic).values())
                assert first < 2000, "workers store nothing"
                await asyncio.sleep(0.2)
            log = await read_whole_log(broker, topic)
            ends = {p: len(m) for p, m in log.items()}
            give_up_s = time.monotonic() + 40
            while offsets(postgres_url, topic) != ends:
                assert time.monotonic() < give_up_s, (offsets(postgres_url, topic), ends)
                await asyncio.sleep(0.1)
            assert supervisor.starts == len(killed) + 1
            quiet = await check_rows(how, log)
            going_on = {e.id for e in quiet.events.values() if not e.is_visit and not e.is_over}
            while {e["id"] for e in await board.breaches()} != going_on:
                assert time.monotonic() < give_up_s, "the board never caught up"
                await asyncio.sleep(0.1)
            said = [(e["id"], e["revision"]) for _, e in await board.events(count=100_000)]
            assert len(set(said)) == len(said)
            assert {event_id for event_id, _ in said} == set(quiet.events)
        finally:
            await board.close()
            supervisor.stop()
            assert await running == 0

    asyncio.run(go())


def test_everything_away_at_start_in_the_middle_and_at_the_end(topic: str, tmp_path: Path) -> None:
    with PrivatePostgres() as postgres, PrivateRedis() as redis, private_broker() as broker:
        migrate(postgres.url)
        postgres.stop()
        redis.stop()
        broker.pause()
        how = settings(postgres.url, broker.bootstrap, topic, redis_url=redis.url, keep_fixes=True)
        with Worker(how, tmp_path / "log") as worker:
            until(lambda: "store away" in worker.said(), 20, "does not say that the store is away")
            assert worker.get("healthz")[0] == 200
            assert worker.get("readyz") == (503, "the store is away\n")
            postgres.restart()
            until(lambda: "broker away" in worker.said(), 30, "does not say that the broker is away")
            assert worker.get("readyz") == (503, "the broker is away\n")
            broker.resume()
            worker.until_ready()
            asyncio.run(feed(broker.bootstrap, topic, 0, 20))
            until(lambda: worker.metrics()["hazfence_fixes_total"] == TRUCKS * 20, 20, "not processed")
            assert "board away" in worker.said()
            assert worker.metrics()["hazfence_board_up"] == 0
            # In the middle: the store hangs, then dies; fixes wait in the log.
            postgres.kill()
            asyncio.run(feed(broker.bootstrap, topic, 20, 20))
            until(lambda: worker.metrics().get("hazfence_store_up") == 0, 20, "does not notice")
            asyncio.run(feed(broker.bootstrap, topic, 40, 20))
            redis.restart()
            time.sleep(1)
            postgres.restart()
            log = asyncio.run(read_whole_log(broker.bootstrap, topic))
            until(lambda: worker.metrics()["hazfence_fixes_total"] == TRUCKS * 60, 40, "not caught up")
            assert worker.alive()
            assert worker.said().count("store away") < 12
            until(lambda: worker.metrics()["hazfence_board_up"] == 1, 20, "board not back")
            assert worker.stop() == 0
        asyncio.run(check_rows(how, log))
        hasty = how.model_copy(update={"flush_timeout_s": 1.0})
        for harm in ("pause", "kill"):
            with Worker(hasty, tmp_path / harm) as worker:
                worker.until_ready()
                for service in (broker, postgres, redis):
                    getattr(service, harm)()
                begun_s = time.monotonic()
                assert worker.stop() == 0
                assert time.monotonic() - begun_s < 20
                assert "Traceback" not in worker.said()
            for service in (broker, postgres, redis):
                service.resume() if harm == "pause" else service.restart()
        asyncio.run(check_rows(how, log))


def test_a_second_worker_takes_over_and_gives_back(
    postgres_url: str, broker: str, topic: str, tmp_path: Path
) -> None:
    how = settings(postgres_url, broker, topic)
    other = settings(postgres_url, broker, topic)
    with Worker(how, tmp_path / "one") as one, Worker(other, tmp_path / "two") as two:
        one.until_ready()
        asyncio.run(feed(broker, topic, 0, 40))
        two.until_ready()
        until(
            lambda: (
                one.metrics()["hazfence_partitions"] + two.metrics()["hazfence_partitions"] == 3
                and two.metrics()["hazfence_partitions"] >= 1
            ),
            40,
            "the partitions are not shared",
        )
        asyncio.run(feed(broker, topic, 40, 40))
        assert one.stop() == 0
        asyncio.run(feed(broker, topic, 80, 40))
        until(lambda: two.metrics()["hazfence_partitions"] == 3, 40, "not taken over")
        log = asyncio.run(read_whole_log(broker, topic))
        ends = {p: len(m) for p, m in log.items()}
        until(lambda: offsets(postgres_url, topic) == ends, 40, "not processed to the end")
        assert two.stop() == 0
    asyncio.run(check_rows(how, log))


def test_messages_beyond_the_checkpoint_are_read_again_in_silence(
    postgres_url: str, broker: str, topic: str, tmp_path: Path
) -> None:
    """Kafka's hint is ahead of the store, and nothing more comes: the timer has to notice."""
    how = settings(postgres_url, broker, topic)
    with Worker(how, tmp_path / "one") as worker:
        worker.until_ready()
        asyncio.run(feed(broker, topic, 0, 40))
        until(lambda: worker.metrics()["hazfence_fixes_total"] == TRUCKS * 40, 20, "not processed")
        assert worker.stop() == 0
    with psycopg.connect(postgres_url) as connection:  # as if a backup of last night had been restored
        for table in ("checkpoint", "fix", "visit", "event", "event_revision"):
            connection.execute(f"DELETE FROM hazfence.{table}")
    with Worker(how, tmp_path / "two") as worker:
        worker.until_ready()
        until(lambda: worker.metrics()["hazfence_fixes_total"] >= TRUCKS * 40, 20, "not read again")
        assert worker.stop() == 0
    asyncio.run(check_rows(how, asyncio.run(read_whole_log(broker, topic))))


def test_a_topic_made_anew_is_noticed_and_mended(postgres_url: str, topic: str, tmp_path: Path) -> None:
    with PrivateBroker() as broker:
        how = settings(postgres_url, broker.bootstrap, topic)
        with Worker(how, tmp_path / "one") as worker:
            worker.until_ready()
            asyncio.run(feed(broker.bootstrap, topic, 0, 20))
            until(lambda: worker.metrics()["hazfence_fixes_total"] == TRUCKS * 20, 20, "not processed")
            assert worker.stop() == 0
        broker.restart()  # it keeps its topics in memory
        with Worker(how, tmp_path / "two") as worker:
            until(lambda: "the log ends before the checkpoint" in worker.get("readyz")[1], 30, "not noticed")
            assert "UPDATE hazfence.checkpoint SET next_offset = 0" in worker.said()
            assert worker.stop() == 0
        with psycopg.connect(postgres_url) as connection:
            connection.execute("UPDATE hazfence.checkpoint SET next_offset = 0")
        with Worker(how, tmp_path / "three") as worker:
            worker.until_ready()
            asyncio.run(feed(broker.bootstrap, topic, 20, 20))
            until(lambda: worker.metrics()["hazfence_fixes_accepted_total"] == TRUCKS * 20, 20, "lost")
            assert worker.stop() == 0
        with psycopg.connect(postgres_url) as connection:
            assert connection.execute("SELECT count(*) FROM hazfence.fix").fetchone() == (TRUCKS * 40,)


def test_settings_that_cannot_work_end_the_supervisor(
    empty_postgres_url: str, broker: str, topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    how = settings(empty_postgres_url, broker, topic)
    assert asyncio.run(Supervisor(how).run()) == 78
    said = capfd.readouterr().err
    assert "migrate" in said
    assert how.database_url.get_secret_value() not in said


def test_a_broker_that_leaves_just_before_the_start_ends_the_worker_in_order(
    postgres_url: str, topic: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def it_answered(_: WorkerSettings, **__: object) -> None:
        pass

    monkeypatch.setattr(main, "wait_for_broker", it_answered)
    how = settings(postgres_url, f"127.0.0.1:{free_port()}", topic)  # nobody there
    threads = threading.active_count()
    assert asyncio.run(main.work(how, asyncio.Event())) == 1
    until(lambda: threading.active_count() == threads, 10, "a thread would keep the process alive")
    assert "Traceback" not in capfd.readouterr().err


def test_embedded_in_a_host_with_its_own_store(broker: str, topic: str) -> None:
    """``build_app`` in the host's event loop, and how long a fix takes from send to stored event."""

    async def go() -> None:
        how = settings("postgresql:///unused", broker, topic, dead_topic="")
        await wait_for_broker(how)
        store, board, metrics = MemoryStore(), MemoryBoard(), WorkerMetrics()
        failures: list[BaseException] = []
        app = build_app(
            how,
            fences=load_fences(FENCES),
            store=store,
            board=board,
            metrics=metrics,
            on_fatal=failures.append,
        )
        app.finalize()
        await app.start()
        try:
            while partitions_of(app).unready():
                await asyncio.sleep(0.05)
            # In and out of the tank farm's neighbourhood: each fix opens or closes a visit to the district.
            waits = []
            for i in range(20):
                place = (121.61, 29.98) if i % 2 == 0 else (121.2, 29.5)
                value = encode_fix("A", DAY_US + i * 15_000_000, *place)
                before = sum(e.revision for e in store.events.values())
                sent_s = time.monotonic()
                await send(broker, topic, [value], partition_of("A", 3))
                while sum(e.revision for e in store.events.values()) == before:
                    assert time.monotonic() - sent_s < 5
                    await asyncio.sleep(0.005)
                waits.append(time.monotonic() - sent_s)
            waits.sort()
            assert waits[len(waits) // 2] < 0.5
        finally:
            await app.stop()
        assert failures == []
        assert board.open_events == {e.id: e for e in store.events.values() if not e.is_over}
        assert sum(partitions_of(app).checkpoints().values()) == 0  # all let go
        (_, checkpoint) = await store.claim(topic, partition_of("A", 3))
        assert checkpoint is not None
        assert checkpoint.next_offset == 20

    asyncio.run(go())


def test_what_is_unknown_ends_in_on_fatal(broker: str, topic: str) -> None:
    async def go() -> None:
        how = settings("postgresql:///unused", broker, topic, dead_topic="")
        await wait_for_broker(how)
        store = MemoryStore()
        failures: list[BaseException] = []
        app = build_app(how, fences=load_fences(FENCES), store=store, on_fatal=failures.append)

        def break_(method: str, moment: str) -> None:
            if method == "write":
                raise ZeroDivisionError

        store.fault = break_
        app.finalize()
        await app.start()
        try:
            while partitions_of(app).unready():
                await asyncio.sleep(0.05)
            await send(broker, topic, [encode_fix("A", DAY_US, 121.61, 29.98)], 0)
            while not failures:
                await asyncio.sleep(0.02)
        finally:
            store.fault = None
            await app.stop()
        assert isinstance(failures[0], ZeroDivisionError)
        assert store.events == {}
        (_, checkpoint) = await store.claim(topic, 0)
        assert checkpoint is None  # no snapshot of a state that is ahead of the store

    asyncio.run(go())
