"""The doctor against real services, whole and with each thing broken."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from hazfence import FixBatch
from hazfence.doctor import Finding, Status, examine
from hazfence.ports import Checkpoint
from hazfence.postgis import PostgisStore
from hazfence.services import PrivateKafka, PrivateRedis, Services, free_port
from hazfence.wire import encode_columns
from hazfence.worker.config import WorkerSettings
from hazfence_fences import load_fences
from hazfence_sql import head
from tests.acceptance.test_cli import hazfence

FENCES = Path(__file__).parents[2] / "fences" / "zhenhai"


@pytest.fixture
def settings(postgres_url: str, broker: str, redis_url: str, topic: str) -> WorkerSettings:
    return WorkerSettings.for_embedded_broker(
        database_url=postgres_url, kafka=broker, redis_url=redis_url, fences=str(FENCES), topic=topic,
        dead_topic=topic + ".dead", topic_partitions=2,
    )  # fmt: skip


def other(settings: WorkerSettings, **change: Any) -> WorkerSettings:
    return WorkerSettings.load(**{**settings.model_dump(), **change})


def found(settings: WorkerSettings, part: str, check: str | None = None, **how: Any) -> Finding:
    """The finding about a thing; with no check the one that failed."""
    all_of_it = [f for f in examine(settings, **how) if f.part == part]
    mine = [f for f in all_of_it if (f.status is Status.FAIL if check is None else f.check == check)]
    assert len(mine) == 1, all_of_it
    assert bool(mine[0].mend) == (mine[0].status is not Status.OK)
    return mine[0]


def query(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


async def make_topics(kafka: str, *topics: str, partitions: int = 2, messages: int = 0) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics])
    await admin.close()
    if messages:
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            for number in range(messages):
                fix = FixBatch.of(["A"], time_us=number, lon=1.0, lat=2.0)
                await producer.send_and_wait(topics[0], encode_columns(fix), partition=number % partitions)


async def store_checkpoint(url: str, topic: str, partition: int, next_offset: int) -> None:
    store = PostgisStore(url)
    await store.open()
    claim, _ = await store.claim(topic, partition)
    await store.checkpoint(claim, Checkpoint(next_offset, b"HZFS\x01state"), FixBatch.empty())
    await store.close()


def test_all_is_well_where_all_is_well(settings: WorkerSettings, services: Services) -> None:
    asyncio.run(make_topics(settings.kafka, settings.topic, settings.dead_topic, messages=6))
    asyncio.run(store_checkpoint(settings.database_url.get_secret_value(), settings.topic, 0, 2))
    query(
        settings.database_url.get_secret_value(),
        "SELECT hazfence.ensure_fix_day((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(0, 1) n",
    )
    findings = examine(settings)
    assert [f for f in findings if f.status is Status.FAIL] == []
    said = {(f.part, f.check): f for f in findings}
    for part, check in (
        ("database", "reachable"), ("database", "version"), ("database", "postgis"), ("database", "schema"),
        ("database", "clock"), ("database", "days"), ("database", "connections"), ("database", "checkpoints"),
        ("fences", "in force"), ("broker", "reachable"), ("broker", "log"), ("board", "reachable"),
        ("board", "version"), ("board", "memory"), ("board", "clock"), ("board", "scripts"),
    ):  # fmt: skip
        assert said[part, check].status is Status.OK, said[part, check]
    assert said["fences", "in force"].said.startswith(f"{len(load_fences(FENCES))} fences")
    assert "1 messages after" in said["broker", "log"].said
    if services.postgres is not None:
        assert said["database", "rights"].status is Status.WARN, "our own user is a superuser"
        assert said["database", "room"].said.endswith("are free")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("postgresql://127.0.0.1:{port}/x", "start PostgreSQL"),
        ("{url}_no", "create the database"),
        ("{wrong}", "user and password"),
        ("{url}?sslmode=require", "SSL"),
    ],
)
def test_a_database_that_cannot_be_reached(settings: WorkerSettings, change: str, says: str) -> None:
    url = settings.database_url.get_secret_value()
    secret = url.split(":")[2].split("@")[0]
    broken = change.format(port=free_port(), url=url, wrong=url.replace(secret, "wrongsecret"))
    one = found(other(settings, database_url=broken), "database")
    assert one.check == "reachable"
    assert says in one.said + one.mend
    assert secret not in one.said + one.mend
    assert "wrongsecret" not in one.said + one.mend


def test_a_database_that_was_not_migrated_or_is_too_new(
    settings: WorkerSettings, empty_postgres_url: str
) -> None:
    one = found(other(settings, database_url=empty_postgres_url), "database")
    assert (one.check, one.said) == ("schema", f"version none, this release needs {head()}")
    assert "hazfence migrate" in one.mend
    url = settings.database_url.get_secret_value()
    query(url, "UPDATE hazfence.schema_version SET version_num = '0001'")
    assert found(settings, "database").said == f"version 0001, this release needs {head()}"
    query(url, "UPDATE hazfence.schema_version SET version_num = '9999'")
    assert found(settings, "database", "schema").mend == "install the newer release"


def test_a_database_without_postgis(settings: WorkerSettings, empty_postgres_url: str) -> None:
    query(empty_postgres_url, "DROP EXTENSION postgis")
    all_of_it = examine(other(settings, database_url=empty_postgres_url))
    assert ("postgis", Status.FAIL) in [(f.check, f.status) for f in all_of_it]


def test_rights_too_few_and_too_many(settings: WorkerSettings, services: Services) -> None:
    if services.postgres is None:
        pytest.skip("roles belong to the whole server: only tried in one of our own")
    url = settings.database_url.get_secret_value()
    query(
        url,
        "CREATE ROLE doctor_reads LOGIN PASSWORD 'secret-r' IN ROLE hazfence_read",
        "CREATE ROLE doctor_writes LOGIN PASSWORD 'secret-w' IN ROLE hazfence_write",
    )
    try:
        as_user = {
            who: url.replace(url.split("//")[1].split("@")[0], f"doctor_{who}:secret-{who[0]}")
            for who in ("reads", "writes")
        }
        one = found(other(settings, database_url=as_user["reads"]), "database")
        assert one.check == "rights"
        assert "may not DELETE on milestone and 15 more" in one.said
        assert "GRANT hazfence_write" in one.mend
        one = found(other(settings, database_url=as_user["writes"]), "database", "rights")
        assert (one.status, one.said) == (Status.OK, "those of a worker, and no more")
        query(url, "REVOKE DELETE ON hazfence.milestone FROM hazfence_write")
        one = found(other(settings, database_url=as_user["writes"]), "database", "rights")
        assert (one.status, "may not DELETE on milestone" in one.said) == (Status.FAIL, True)
        query(url, "GRANT DELETE ON hazfence.milestone TO hazfence_write")
        query(url, "GRANT DELETE ON hazfence.event TO doctor_writes")
        one = found(other(settings, database_url=as_user["writes"]), "database", "rights")
        assert one.status is Status.WARN
    finally:
        query(url, "DROP OWNED BY doctor_reads, doctor_writes", "DROP ROLE doctor_reads, doctor_writes")


def test_days_are_missed_only_when_fixes_are_kept(settings: WorkerSettings) -> None:
    one = found(settings, "database", "days")
    assert (one.status, "hazfence maintain" in one.mend) == (Status.WARN, True)
    assert found(other(settings, keep_fixes=False), "database", "days").status is Status.OK
    query(
        settings.database_url.get_secret_value(),
        "SELECT hazfence.ensure_fix_day((now() AT TIME ZONE 'UTC')::date + n, false) "
        "FROM generate_series(0, 1) AS n",
    )
    assert "hazfence maintain before workers start" in found(settings, "database", "days").mend
    assert found(other(settings, fix_index="when_closed"), "database", "days").status is Status.OK


@pytest.mark.parametrize(("ahead_s", "status"), [(0, Status.OK), (-5, Status.WARN), (120, Status.FAIL)])
def test_clocks_that_disagree(settings: WorkerSettings, ahead_s: float, status: Status) -> None:
    for part in ("database", "board"):
        assert found(settings, part, "clock", clock_s=lambda: time.time() - ahead_s).status is status


def test_fences_missing_or_broken(settings: WorkerSettings, tmp_path: Path) -> None:
    in_database = other(settings, fences="db")
    assert "hazfence fences load" in found(in_database, "fences").mend

    async def save() -> None:
        store = PostgisStore(settings.database_url.get_secret_value())
        await store.open()
        await store.save_fences(load_fences(FENCES))
        await store.close()

    asyncio.run(save())
    assert found(in_database, "fences", "in force").said.startswith(f"{len(load_fences(FENCES))} fences")
    broken = tmp_path / "broken.geojson"
    broken.write_text('{"type": "FeatureCollection", "features": [{"type": "Feature"}]}')
    assert "broken.geojson" in found(other(settings, fences=str(broken)), "fences").mend
    broken.write_text('{"type": "FeatureCollection", "features": []}')
    assert found(other(settings, fences=str(broken)), "fences").status is Status.FAIL


def test_topics_missing_and_too_narrow(settings: WorkerSettings) -> None:
    check = f"topic {settings.topic}"
    assert found(settings, "broker", check).said == "does not exist yet"
    one = found(other(settings, create_topics=False, dead_topic=""), "broker")
    assert (one.check, one.said) == (check, "does not exist")
    asyncio.run(make_topics(settings.kafka, settings.topic))
    assert found(settings, "broker", check).said == "2 partitions, 1 copy"
    one = found(other(settings, topic_partitions=6), "broker", check)
    assert "the settings speak of 6" in one.said


@pytest.mark.parametrize(
    ("configs", "status", "says"),
    [
        ({"retention.ms": "3600000"}, Status.WARN, "1 h"),
        ({"retention.ms": "-1"}, Status.OK, "for ever"),
        ({"cleanup.policy": "compact"}, Status.FAIL, "older fixes of a vehicle vanish"),
    ],
)
def test_a_log_that_forgets_too_soon(
    settings: WorkerSettings, services: Services, configs: dict[str, str], status: Status, says: str
) -> None:
    if not isinstance(services.broker, PrivateKafka):
        pytest.skip("only Apache Kafka tells how a topic is set")

    async def make() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
        await admin.start()
        await admin.create_topics([NewTopic(settings.topic, 2, 1, topic_configs=configs)])
        await admin.close()

    asyncio.run(make())
    one = found(settings, "broker", "retention")
    assert (one.status, says in one.said) == (status, True)
    big = other(settings, max_message_bytes=1000)
    assert "workers refuse more than 1000" in found(big, "broker", "message size").said


def test_a_broker_that_is_away(settings: WorkerSettings) -> None:
    started_s = time.monotonic()
    one = found(other(settings, kafka=f"127.0.0.1:{free_port()}"), "broker")
    assert (one.check, "start the broker" in one.mend) == ("reachable", True)
    assert time.monotonic() - started_s < 30


def test_a_log_that_does_not_reach_the_checkpoint(settings: WorkerSettings) -> None:
    asyncio.run(make_topics(settings.kafka, settings.topic, messages=4))
    asyncio.run(store_checkpoint(settings.database_url.get_secret_value(), settings.topic, 0, 5000))
    one = found(settings, "broker")
    assert one.check == "log"
    assert "offset 5000 is not on the log" in one.said


def test_snapshots_of_a_release_to_come(settings: WorkerSettings) -> None:
    url = settings.database_url.get_secret_value()
    asyncio.run(store_checkpoint(url, settings.topic, 0, 5))
    query(url, "UPDATE hazfence.checkpoint SET snapshot = '\\x485a465363' || snapshot")
    one = found(settings, "database")
    assert (one.check, one.said) == ("snapshots", "of format 99, this release reads 1, 2, 3")


def test_a_board_that_is_away_forgets_or_refuses(settings: WorkerSettings) -> None:
    one = found(other(settings, redis_url=f"redis://127.0.0.1:{free_port()}"), "board")
    assert "start Redis" in one.mend
    assert "not set" in found(other(settings, redis_url=None), "board", "reachable").said
    with PrivateRedis(persist=False, settings={"maxmemory": "50mb"}) as own:
        one = found(other(settings, redis_url=own.url.replace("@", "wrong@")), "board")
        assert "user and password" in one.mend
        assert "wrong" not in one.said.lower().replace("wrongpass", "")
        assert "laid anew" in found(other(settings, redis_url=own.url), "board", "persistence").said
        with redis.Redis.from_url(own.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            one = found(other(settings, redis_url=own.url), "board")
            assert (one.check, "noeviction" in one.mend) == ("memory", True)
            client.config_set("maxmemory-policy", "noeviction")
            client.execute_command(
                "ACL",
                "SETUSER",
                "narrow",
                "on",
                ">narrowsecret",
                "~hazfence:*",
                "+@all",
                "-@scripting",
                "-info",
            )
        narrow = f"redis://narrow:narrowsecret@127.0.0.1:{own.port}/0"
        findings = {f.check: f for f in examine(other(settings, redis_url=narrow)) if f.part == "board"}
        assert findings["scripts"].status is Status.FAIL
        assert findings["version"].status is Status.WARN


@pytest.fixture
def environment(settings: WorkerSettings) -> dict[str, str]:
    return settings.to_env()


def test_the_command_tells_and_ends_with_a_code(environment: dict[str, str]) -> None:
    done = hazfence("doctor", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   database, reachable" in done.stdout
    assert "mend: " in done.stdout
    strict = hazfence("doctor", "--strict", "--json", **environment)
    assert strict.returncode == 1
    rows = [json.loads(line) for line in strict.stdout.splitlines()]
    assert {row["part"] for row in rows} == {"database", "fences", "broker", "board"}
    password = environment["HAZFENCE_DATABASE_URL"].split(":")[2].split("@")[0]
    assert password not in done.stdout + done.stderr + strict.stdout + strict.stderr
    gone = hazfence("doctor", **{**environment, "HAZFENCE_KAFKA": f"127.0.0.1:{free_port()}"})
    assert gone.returncode == 1
    assert "fail broker, reachable" in gone.stdout
    assert "Traceback" not in gone.stderr
    assert len(gone.stderr.splitlines()) == 1, gone.stderr
    unset = hazfence("doctor")
    assert (unset.returncode, "HAZFENCE_KAFKA: is not set" in unset.stdout) == (1, True)
