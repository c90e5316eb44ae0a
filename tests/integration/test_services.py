"""Private services start, keep their data over a crash, and leave nothing behind, however they end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.backoff import NoBackoff
from redis.retry import Retry

from hazfence.services import (
    PrivateBroker,
    PrivateKafka,
    PrivatePostgres,
    PrivateRedis,
    PrivateService,
    ServiceError,
    Services,
    fresh_database,
    kafka_missing,
    with_database,
)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def once(url: str, **options: float) -> redis_client.Redis:
    """A client that tries once: the default retries for seconds."""
    return redis_client.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)


def until(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_postgres_keeps_committed_rows_over_kill_and_gives_the_same_address():
    with PrivatePostgres(durable=False) as postgres:
        url, folder = postgres.url, postgres.folder
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT ST_AsText(ST_Point(1, 2))").fetchone() == ("POINT(1 2)",)
            assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
            connection.execute("CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)")
        victim = psycopg.connect(url)
        backend = victim.info.backend_pid
        postgres.kill()
        assert not postgres.running
        assert not alive(backend)
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")
        victim.close()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=2)
        postgres.restart()
        assert postgres.url == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT x FROM kept").fetchone() == (7,)
        pid = postgres.pid
    assert pid is not None
    assert not alive(pid)
    assert not folder.exists()


def test_postgres_asks_for_its_password():
    with PrivatePostgres(durable=False) as postgres:
        wrong = postgres.url.replace(postgres._secret(), "wrong")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)


def test_a_given_folder_is_kept_and_opened_again():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as base:
        os.chmod(base, 0o755)  # so that the user PostgreSQL runs as can pass
        folder = Path(base) / "postgres"
        with PrivatePostgres(folder, durable=False) as postgres, psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE kept (x int)")
        with PrivatePostgres(folder, durable=False) as postgres:
            with psycopg.connect(postgres.url) as connection:
                assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
            with pytest.raises(ServiceError, match="in use by another"):
                PrivatePostgres(folder).start()
            assert postgres.running


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to drop to another user")
def test_a_folder_the_database_user_cannot_reach_is_named(tmp_path):
    tmp_path.chmod(0o700)
    with pytest.raises(ServiceError, match=f"may not enter .*{tmp_path.parts[1]}"):
        PrivatePostgres(tmp_path / "inside").start()


def test_redis_keeps_its_data_over_kill_and_wants_its_password():
    with PrivateRedis() as redis:
        with once(redis.url) as client:
            client.set("a", "1")
            redis.kill()
            with pytest.raises(redis_client.ConnectionError):
                client.get("a")
            redis.restart()
            assert client.get("a") == b"1"
        with (
            once(f"redis://127.0.0.1:{redis.port}/0") as client,
            pytest.raises(redis_client.AuthenticationError),
        ):
            client.get("a")
        folder = redis.folder
    assert not folder.exists()


def test_broker_carries_messages_and_forgets_them_when_killed():
    async def through(address: str) -> list[bytes]:
        async with AIOKafkaProducer(bootstrap_servers=address) as producer:
            await producer.send_and_wait("t", b"hello", key=b"k")
        async with AIOKafkaConsumer("t", bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            batches = await consumer.getmany(timeout_ms=5000)
            return [record.value for records in batches.values() for record in records]

    with PrivateBroker() as broker:
        address = broker.bootstrap
        assert asyncio.run(through(address)) == [b"hello"]
        broker.kill()
        broker.restart()
        assert broker.bootstrap == address
        assert asyncio.run(through(address)) == [b"hello"]


@pytest.mark.skipif(kafka_missing() is not None, reason=str(kafka_missing()))
def test_kafka_keeps_what_it_acknowledged_over_kill():
    async def create(address: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        try:
            await admin.create_topics([NewTopic("t", 1, 1)])
        finally:
            await admin.close()

    async def send(address: str, values: list[bytes]) -> None:
        async with AIOKafkaProducer(bootstrap_servers=address, acks="all") as producer:
            for value in values:
                await producer.send_and_wait("t", value)

    async def read(address: str, count: int) -> list[bytes]:
        found: list[bytes] = []
        async with AIOKafkaConsumer("t", bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            while len(found) < count:
                found += [r.value for rs in (await consumer.getmany(timeout_ms=5000)).values() for r in rs]
        return found

    with PrivateKafka() as kafka:
        address, pid = kafka.bootstrap, kafka.pid
        asyncio.run(create(address))
        asyncio.run(send(address, [b"one", b"two"]))
        kafka.kill()
        kafka.restart()
        assert kafka.bootstrap == address
        asyncio.run(send(address, [b"three"]))
        assert asyncio.run(read(address, 3)) == [b"one", b"two", b"three"]
        assert pid is not None
        assert not alive(pid)
        with pytest.raises(ServiceError, match=r"could not be formatted: .*no_such"):
            PrivateKafka(settings={"log.cleanup.policy": "no_such"}).start()
        pid = kafka.pid
    assert pid is not None
    assert not alive(pid)


def test_why_there_is_no_kafka_is_said(tmp_path):
    assert "empty" in str(kafka_missing({"HAZFENCE_KAFKA_JARS": ""}))
    assert "fetch-kafka.sh" in str(kafka_missing({"HAZFENCE_KAFKA_JARS": str(tmp_path)}))
    assert f"{tmp_path}/hazfence/kafka" in str(kafka_missing({"XDG_CACHE_HOME": str(tmp_path)}))


def test_pause_hangs_and_resume_heals():
    with (
        PrivateRedis() as redis,
        once(redis.url, socket_timeout=0.2) as client,
    ):
        client.set("a", "1")
        redis.pause()
        with pytest.raises(redis_client.TimeoutError):
            client.get("a")
        redis.resume()
        assert until(lambda: client.get("a") == b"1")


def test_a_service_started_from_a_thread_outlives_the_thread():
    redis = PrivateRedis()
    thread = threading.Thread(target=redis.start)
    thread.start()
    thread.join()
    try:
        time.sleep(0.3)
        assert redis.running
    finally:
        redis.close()


OWNER = """
import os, signal, sys, time
from hazfence.services import PrivatePostgres, PrivateRedis, PrivateBroker
services = [kind().start() for kind in (PrivatePostgres, PrivateRedis, PrivateBroker)]
print(*[s.pid for s in services], *[s.folder for s in services], flush=True)
how = sys.argv[1]
if how == "error":
    raise SystemExit(3)
time.sleep(60)
"""


@pytest.mark.parametrize("how", ["error", "kill"])
def test_nothing_survives_its_owner(how):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        words = owner.stdout.readline().split()
        pids, folders = [int(word) for word in words[:3]], [Path(word) for word in words[3:]]
        assert len(folders) == 3
        if how == "kill":
            owner.send_signal(signal.SIGKILL)
        owner.wait(timeout=20)
    assert until(lambda: not any(alive(pid) for pid in pids))
    if how == "kill":  # nobody was left to remove the folders: the next start sweeps them
        with PrivateRedis():
            pass
    assert not any(folder.exists() for folder in folders)


def test_a_server_that_cannot_start_says_why_and_leaves_nothing():
    before = set(Path(tempfile.gettempdir()).glob("hazfence-*"))
    with pytest.raises(ServiceError, match=r"ended with status .*no_such_setting"):
        PrivatePostgres(durable=False, settings={"no_such_setting": "1"}).start()
    with pytest.raises(ServiceError, match="did not answer within"):
        PrivateRedis(ready_within_s=0.3, settings={"port": "0", "unixsocket": "here.sock"}).start()
    assert set(Path(tempfile.gettempdir()).glob("hazfence-*")) <= before


def test_a_missing_binary_names_the_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ServiceError, match="apt-get install redis-server"):
        PrivateRedis().start()


def test_services_named_by_the_environment_are_not_started():
    environ = {
        "HAZFENCE_DATABASE_URL": "postgresql://u@db.example/x",
        "HAZFENCE_KAFKA": "kafka.example:9092",
    }
    with Services(environ=environ) as services:
        assert services.postgres is None
        assert services.broker is None
        assert (services.database_url, services.kafka) == tuple(environ.values())
        assert services.redis is not None
        redis: PrivateService = services.redis
        assert redis.running
    assert not redis.running


def test_fresh_database_is_dropped_even_with_somebody_connected(postgres_server):
    with fresh_database(postgres_server) as url:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        assert name.startswith("hazfence_test_")
        lingering = psycopg.connect(url)
    lingering.close()
    with psycopg.connect(postgres_server) as connection:
        assert connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None
    with pytest.raises(ValueError, match="prefix"), fresh_database(postgres_server, prefix="x; drop"):
        pass


def test_with_database_keeps_the_rest_of_the_url():
    assert (
        with_database("postgresql://a:b@h:1/x?sslmode=require", "y")
        == "postgresql://a:b@h:1/y?sslmode=require"
    )
