"""PostgreSQL, Redis and Kafka as a cautious operator runs them: TLS, users with passwords, few rights."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import redis
from aiokafka.errors import KafkaError
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from hazfence.doctor import Status, examine
from hazfence.memory import MemoryStore
from hazfence.ports import BoardAway, Checkpoint, StoreAway
from hazfence.postgis import PostgisStore
from hazfence.redis_board import RedisBoard
from hazfence.services import PrivateKafka, PrivatePostgres, PrivateRedis, free_port, kafka_missing
from hazfence.wire.producer import FixProducer
from hazfence.worker.app import build_app
from hazfence.worker.broker import client_options, wait_for_broker
from hazfence.worker.config import WorkerSettings
from hazfence_fences import load_fences
from hazfence_sql import migrate

from .authority import Authority
from .stored import fact, fixes
from .worker_process import DAY_US, FENCES, Worker, settings, until

#: Of characters that mean something in a URL, a shell and SQL.
PASSWORD = "p@ss:w/r%d#?&'\"$é"
IN_URL = quote(PASSWORD, safe="")


def finding(part: str, check: str, **given: Any) -> Any:
    how = WorkerSettings.load(**{"kafka": "127.0.0.1:1", "fences": str(FENCES), **given})
    (one,) = [f for f in examine(how) if (f.part, f.check) == (part, check)]
    assert PASSWORD not in one.said + one.mend
    assert IN_URL not in one.said + one.mend
    return one


# -- PostgreSQL ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, Authority]]:
    """A server that takes nobody without TLS and password; URL of a worker's user without TLS parameters."""
    owner = None
    if os.geteuid() == 0:
        owner = "postgres" if any(user.pw_name == "postgres" for user in pwd.getpwall()) else "nobody"
    folder = Path(tempfile.mkdtemp(prefix="hazfence-tls-"))
    try:
        made = Authority(folder, owner)
        (folder / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        tls = {
            "ssl": "on", "ssl_cert_file": str(made.cert), "ssl_key_file": str(made.key),
            "hba_file": str(folder / "pg_hba.conf"),
        }  # fmt: skip
        with PrivatePostgres(durable=False, settings=tls) as server:
            migrate(server.url)
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("CREATE ROLE secure_worker LOGIN IN ROLE hazfence_write")
                connection.execute(
                    psycopg.sql.SQL("ALTER ROLE secure_worker PASSWORD {}").format(
                        psycopg.sql.Literal(PASSWORD)
                    )
                )
            address = server.url.split("@")[1]
            yield f"postgresql://secure_worker:{IN_URL}@{address}", made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_postgresql_over_tls_with_a_user_of_few_rights(database: tuple[str, Authority]) -> None:
    url, made = database
    secure = f"{url}?sslmode=verify-full&sslrootcert={made.ca}"

    async def go() -> None:
        store = PostgisStore(secure)
        await store.open()
        claim, _ = await store.claim("t", 0)
        await store.checkpoint(claim, Checkpoint(2, b"s"), fixes(0, 2), [fact(1)])
        assert [entry.event for entry in await store.outbox("t", 0, 0, 10)] == [fact(1)]
        await store.close()

    asyncio.run(go())
    assert finding("database", "encryption", database_url=secure).said == "TLS"
    assert finding("database", "rights", database_url=secure).status is Status.OK


@pytest.mark.parametrize(
    ("parameters", "says", "mend"),
    [
        ("sslmode=disable", "no encryption", "pg_hba.conf"),
        ("sslmode=verify-full&sslrootcert={wrong}", "certificate verify failed", "sslrootcert=FILE"),
        ("sslmode=verify-full&sslrootcert=/nowhere.pem", "does not exist", "sslrootcert=FILE"),
    ],
)
def test_postgresql_that_must_not_be_trusted(
    database: tuple[str, Authority], tmp_path: Path, parameters: str, says: str, mend: str
) -> None:
    url, _ = database
    given = f"{url}?{parameters.format(wrong=Authority(tmp_path / 'other').ca)}"

    async def go() -> None:
        with pytest.raises(StoreAway) as caught:
            await PostgisStore(given).open()
        assert PASSWORD not in str(caught.value)

    asyncio.run(go())
    one = finding("database", "reachable", database_url=given)
    assert one.status is Status.FAIL
    assert says in one.said
    assert mend in one.mend


# -- Redis -----------------------------------------------------------------------------------------

#: What docs/operating.md gives a worker.
RIGHTS = (
    "resetchannels ~hazfence:* +@read +@write +@scripting +@connection +@transaction +time -@dangerous +info"
)


def test_redis_over_tls_with_a_user_of_few_rights(tmp_path: Path) -> None:
    made, port = Authority(tmp_path / "tls"), free_port()
    password = "r3dis-of-plain-characters"
    tls = {
        "tls-port": str(port), "tls-cert-file": str(made.cert), "tls-key-file": str(made.key),
        "tls-ca-cert-file": str(made.ca), "tls-auth-clients": "no",
        "user worker on": f">{password} {RIGHTS}",
    }  # fmt: skip
    assert RIGHTS in (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    with PrivateRedis(persist=False, settings=tls):
        url = f"rediss://worker:{password}@127.0.0.1:{port}/0"
        secure = f"{url}?ssl_ca_certs={made.ca}"

        async def go() -> None:
            board = RedisBoard(secure)
            await board.open()
            batch = fixes(0, 1)
            await board.rebuild("t", 0, batch, [("z-1",)] * len(batch), [fact(1)], 7)
            assert await board.last_seq("t", 0) == 7
            await board.show_positions("t", 0, batch, [("z-1",)] * len(batch))
            assert len(await board.vehicles()) == 5
            assert len(await board.near(121.0, 29.0, 1000)) == 5
            assert [one["id"] for one in await board.breaches()] == [fact(1).id]
            await board.close()
            untrusted = RedisBoard(url)
            with pytest.raises(BoardAway, match="certificate verify failed"):
                await untrusted.open()
            await untrusted.close()

        asyncio.run(go())
        given = {"database_url": "postgresql://127.0.0.1:1/x", "redis_url": secure}
        for check in ("encryption", "version", "scripts", "clock", "memory"):
            assert finding("board", check, **given).status is Status.OK
        assert "ssl_ca_certs" in finding("board", "reachable", **{**given, "redis_url": url}).mend
        with redis.Redis.from_url(secure) as client:
            for forbidden in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("GET", "other")):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*forbidden)


# -- Kafka -----------------------------------------------------------------------------------------


class SecuredKafka(PrivateKafka):
    """As its parent, with one more listener that wants TLS, user and password."""

    def __init__(self, made: Authority) -> None:
        super().__init__(ready_within_s=180)
        self.secure_port = free_port()
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        self.settings |= {
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(made.both),
            "listener.name.secure.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.secure.plain.sasl.jaas.config": f'{plain} user_worker="plain-s3cret";',
            "listener.name.secure.scram-sha-512.sasl.jaas.config": f"{scram};",
        }

    def _properties(self, port: int, controller_port: int) -> str:
        path = Path(super()._properties(port, controller_port))
        lines = path.read_text().splitlines()
        secure = f",SECURE://127.0.0.1:{self.secure_port}"
        path.write_text("\n".join(f"{x}{secure}" if x.startswith("listeners=") else x for x in lines) + "\n")
        return str(path)

    def _java(self, main: str, *arguments: str) -> list[str]:
        if main.endswith("StorageTool"):
            arguments += ("--add-scram", "SCRAM-SHA-512=[name=scrammer,password=scram-s3cret]")
        return super()._java(main, *arguments)


@pytest.fixture(scope="module")
def kafka() -> Iterator[tuple[SecuredKafka, Authority]]:
    if (missing := kafka_missing()) is not None:
        pytest.skip(f"TLS and SASL are tried on Apache Kafka only: {missing}")
    folder = Path(tempfile.mkdtemp(prefix="hazfence-tls-"))
    try:
        made = Authority(folder)
        with SecuredKafka(made) as server:
            yield server, made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_worker_on_a_kafka_that_wants_tls_user_and_password(
    kafka: tuple[SecuredKafka, Authority], postgres_url: str, topic: str, tmp_path: Path
) -> None:
    server, made = kafka
    how = settings(
        postgres_url, f"127.0.0.1:{server.secure_port}", topic, kafka_security="sasl_ssl",
        kafka_username="scrammer", kafka_password="scram-s3cret",
        kafka_ca_file=str(made.ca), log_level="debug",
    )  # fmt: skip
    with Worker(how, tmp_path / "log") as worker:
        worker.until_ready()

        async def feed() -> None:
            options = client_options(how)
            async with FixProducer(",".join(options.pop("bootstrap_servers")), topic, **options) as producer:
                for second in range(0, 300, 15):
                    await producer.send(
                        "浙B12345", DAY_US + second * 1_000_000, 121.61, 29.98, speed_kmh=40.0
                    )

        asyncio.run(feed())
        until(lambda: worker.metrics().get("hazfence_fixes_accepted_total") == 20, 20, "not all read")
        found = {f.check: f for f in examine(how) if f.part == "broker"}
        assert found["encryption"].said == "TLS"
        assert found["reachable"].status is Status.OK
        assert worker.stop() == 0
        assert "scram-s3cret" not in worker.said()
    plain = {"kafka_sasl_mechanism": "PLAIN", "kafka_username": "worker", "kafka_password": "plain-s3cret"}
    asyncio.run(wait_for_broker(WorkerSettings.load(**{**how.model_dump(), **plain})))
    wrong = how.model_copy(update={"kafka_password": type(how.kafka_password)("wr0ng-s3cret")})
    for _ in range(5):  # a refused connection is often still open a moment later: none may be left behind
        (one,) = [f for f in examine(wrong) if f.part == "broker"]
        assert (one.status, "user, password" in one.mend) == (Status.FAIL, True)
        assert "wr0ng" not in one.said


def test_a_broker_that_must_not_be_trusted(
    kafka: tuple[SecuredKafka, Authority], tmp_path: Path, topic: str
) -> None:
    server, _ = kafka
    how = settings(
        "postgresql://x/y", f"127.0.0.1:{server.secure_port}", topic, kafka_security="sasl_ssl",
        kafka_username="scrammer", kafka_password="scram-s3cret",
        kafka_ca_file=str(Authority(tmp_path / "other").ca),
    )  # fmt: skip

    async def go() -> None:
        async with asyncio.timeout(3):
            await wait_for_broker(how)

    with pytest.raises((TimeoutError, KafkaError)):
        asyncio.run(go())


@pytest.mark.parametrize("security", ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])
def test_faust_is_given_what_the_other_clients_are_given(security: str, tmp_path: Path) -> None:
    """Needs no Kafka: what reaches aiokafka through Faust equals what reaches it directly."""
    given: dict[str, Any] = {"kafka_security": security}
    if "ssl" in security:
        given["kafka_ca_file"] = str(Authority(tmp_path).ca)
    if "sasl" in security:
        given |= {"kafka_username": "me", "kafka_password": PASSWORD, "kafka_sasl_mechanism": "SCRAM-SHA-256"}
    how = settings("postgresql://x/y", "127.0.0.1:1", "t", **given)
    app = build_app(how, fences=load_fences(FENCES), store=MemoryStore())
    by_faust = dict(credentials_to_aiokafka_auth(app.conf.broker_credentials, app.conf.ssl_context))
    direct = client_options(how)
    assert direct.pop("bootstrap_servers") == ["127.0.0.1:1"]
    contexts = [options.pop("ssl_context", None) for options in (by_faust, direct)]
    assert [context is not None for context in contexts] == ["ssl" in security] * 2
    assert by_faust == direct
    for context in filter(None, contexts):
        assert context.check_hostname
        assert [ca["subject"][0][0][1] for ca in context.get_ca_certs()] == ["test authority"]
