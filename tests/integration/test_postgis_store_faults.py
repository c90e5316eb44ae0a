"""The PostGIS store when something breaks: sessions killed, answers lost, servers away, rights missing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from hazfence.events import Kind, Phase
from hazfence.ports import Checkpoint, Reject, StaleClaim, StoreAway
from hazfence.postgis import PostgisStore
from hazfence.services import PrivatePostgres
from hazfence_fences import FenceKind, FenceSet, circle
from hazfence_sql import migrate

from .stored import TABLES, P, T, everything, fact, fixes, opened, rows, run

T_ = TypeVar("T_")


# -- faults ----------------------------------------------------------------------------------------


async def a_day(store: PostgisStore, until_done: Callable[..., Awaitable[Any]]) -> None:
    """A short life of a partition, touching every table twice."""
    claim, _ = await until_done(lambda: store.claim(T, P))
    rejects = [Reject(n, -1, "bad_json", "", b"{") for n in range(3)]
    await until_done(lambda: store.write(claim, [fact(1), fact(2, kind=Kind.VISIT)], rejects[:1]))
    ended = [fact(1, 2, Phase.CLOSED)]
    await until_done(lambda: store.checkpoint(claim, Checkpoint(10, b"a"), fixes(0, 10), ended, rejects[1:2]))
    await until_done(lambda: store.write(claim, [fact(2, 2, Phase.CLOSED, Kind.VISIT), fact(3)], []))
    await until_done(lambda: store.checkpoint(claim, Checkpoint(20, b"b"), fixes(10, 10), [], rejects[2:]))


async def patiently(attempt: Callable[[], Awaitable[T_]]) -> T_:
    while True:
        try:
            return await attempt()
        except StoreAway:
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(module_postgres_url) -> dict[str, list[tuple]]:
    async def test() -> None:
        async with opened(module_postgres_url) as store:
            await a_day(store, patiently)

    run(test)
    found = everything(module_postgres_url)
    assert [len(found[table]) for table in TABLES] == [1, 2, 5, 200, 3, 1]
    return found


@pytest.mark.parametrize(
    ("table", "action", "at_commit"),
    [
        ("fix", "INSERT", False), ("event_revision", "INSERT", False), ("visit", "INSERT", False),
        ("visit", "UPDATE", False), ("event", "INSERT", False), ("event", "UPDATE", False),
        ("dead_letter", "INSERT", False), ("checkpoint", "UPDATE", False), ("event", "INSERT", True),
        ("checkpoint", "UPDATE", True),
    ],
)  # fmt: skip
def test_a_session_killed_at_any_statement_leaves_all_or_nothing(
    postgres_url, undisturbed, table, action, at_commit
):
    """A trigger ends the session that fires it, at every second chance; the worker tries again."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE public.chance; GRANT ALL ON public.chance TO PUBLIC")
        connection.execute("""
            CREATE FUNCTION public.kill() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('public.chance') % 2 = 1 THEN
                    PERFORM pg_terminate_backend(pg_backend_pid());
                END IF;
                RETURN NEW;
            END $$""")
        if at_commit:
            create = (
                "CREATE CONSTRAINT TRIGGER kill AFTER {} ON {} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
            )
        else:
            create = "CREATE TRIGGER kill BEFORE {} ON {} FOR EACH STATEMENT"
        where = sql.SQL(action), sql.Identifier("hazfence", table)
        connection.execute(sql.SQL(create + " EXECUTE FUNCTION public.kill()").format(*where))

        async def test() -> None:
            async with opened(postgres_url) as store:
                killed = 0

                async def until_done(attempt: Callable[[], Awaitable[T_]]) -> T_:
                    nonlocal killed
                    while True:
                        before = everything(postgres_url)
                        try:
                            return await attempt()
                        except StoreAway:
                            killed += 1
                            assert everything(postgres_url) == before

                await a_day(store, until_done)
                assert killed

        run(test)
    assert everything(postgres_url) == undisturbed


class Relay:
    """A relay to the server that can lose the answer to a commit: the connection ends once it is done.

    Attributes:
        lose: the answer to this many-th commit from now is lost; 0: none.
    """

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._serving: set[asyncio.Task[None]] = set()
        self.lose = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        netloc = f"{self._address.username}:{self._address.password}@127.0.0.1:{port}"
        try:
            yield urlunsplit(self._address._replace(netloc=netloc))
        finally:
            server.close()
            await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        up_reader, up_writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        losing = False

        async def up() -> None:
            nonlocal losing
            while data := await reader.read(65536):
                if b"COMMIT" in data and self.lose:
                    self.lose -= 1
                    losing = self.lose == 0
                up_writer.write(data)
                await up_writer.drain()

        async def down() -> None:
            while (data := await up_reader.read(65536)) and not losing:
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in (writer, up_writer):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()


def test_when_the_answer_to_a_commit_is_lost_nothing_is_stored_twice(postgres_url, undisturbed):
    async def test() -> None:
        relay = Relay(postgres_url)
        async with relay.open() as url, opened(url) as store:
            lost = {"with all written": 0, "before it": 0}

            async def until_done(attempt: Callable[[], Awaitable[T_]]) -> T_:
                # An attempt may be three commits: days, vehicles, the thing itself. Lose each of them once.
                for which in (1, 2, 2, 2):
                    before = everything(postgres_url)
                    relay.lose = which
                    try:
                        done = await attempt()
                        assert relay.lose, "an answer was lost and nobody said so"
                        relay.lose = 0
                        return done
                    except StoreAway:
                        lost["before it" if everything(postgres_url) == before else "with all written"] += 1
                raise AssertionError("no end of commits")

            await a_day(store, until_done)
            assert lost["with all written"] == 5
            assert lost["before it"] == 2

    run(test)
    assert everything(postgres_url) == undisturbed


def test_a_commit_still_under_way_when_the_worker_tries_again_counts_once(postgres_url):
    """The first try holds the partition's row and commits only after the second has copied its fixes."""

    async def test() -> None:
        async with opened(postgres_url) as store:
            claim, _ = await store.claim(T, P)
            first = await psycopg.AsyncConnection.connect(postgres_url)
            await first.execute(
                "UPDATE hazfence.checkpoint SET next_offset = 10, snapshot = 'a'"
                " WHERE topic = %s AND partition = %s",
                [T, P],
            )
            again = asyncio.create_task(store.checkpoint(claim, Checkpoint(10, b"a"), fixes(0, 10)))
            await asyncio.sleep(0.5)
            assert not again.done()
            await first.commit()
            await first.close()
            with pytest.raises(StoreAway, match="just been committed"):
                await again
            assert rows(postgres_url, "fix") == []
            await store.checkpoint(claim, Checkpoint(10, b"a"), fixes(0, 10))

    run(test)
    assert rows(postgres_url, "fix") == []  # this test's first try stored none; the second must not either


def test_a_hanging_owner_does_not_keep_its_successor_waiting(postgres_url):
    """The owner stops in the middle of copying its fixes; the next one takes over at once."""

    async def test() -> None:
        async with opened(postgres_url) as store, opened(postgres_url) as successor:
            claim, _ = await store.claim(T, P)
            go_on, copying = asyncio.Event(), asyncio.Event()
            batch = fixes(0, 10)
            original = psycopg.AsyncCopy.write

            async def write(self, data):
                copying.set()
                await go_on.wait()
                await original(self, data)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(psycopg.AsyncCopy, "write", write)
                late = asyncio.create_task(store.checkpoint(claim, Checkpoint(10, b"late"), batch, [fact(1)]))
                await copying.wait()
                new, nothing = await asyncio.wait_for(successor.claim(T, P), 5)
                assert nothing is None
                go_on.set()
                with pytest.raises(StaleClaim):
                    await late
            await successor.checkpoint(new, Checkpoint(10, b"new"), batch, [fact(2)])

    run(test)
    assert len(rows(postgres_url, "fix")) == 100
    assert len(rows(postgres_url, "event")) == 1


def test_partitions_are_written_side_by_side(postgres_url):
    async def test() -> None:
        async with opened(postgres_url, connections=2) as store:
            claims = [(await store.claim(T, n))[0] for n in range(6)]
            await asyncio.gather(
                *(
                    store.checkpoint(claim, Checkpoint(10, b"x"), fixes(0, 10), [fact(n, vehicle=f"V{n}")])
                    for n, claim in enumerate(claims)
                ),
                *(store.write(claim, [fact(n, vehicle=f"W{n}")], []) for n, claim in enumerate(claims)),
            )
            for n in range(6):
                assert len(await store.outbox(T, n, 0, 10)) == 2

    run(test)
    assert len(rows(postgres_url, "fix")) == 600


def test_cancelled_in_the_middle_nothing_is_left_and_the_store_goes_on(postgres_url):
    async def test() -> None:
        async with opened(postgres_url, connections=1) as store:
            claim, _ = await store.claim(T, P)
            batch = fixes(0, 2000)
            for delay in (0, 0.001, 0.005, 0.02):
                task = asyncio.create_task(store.checkpoint(claim, Checkpoint(2000, b"x"), batch, [fact(1)]))
                await asyncio.sleep(delay)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await store.checkpoint(claim, Checkpoint(2000, b"x"), batch, [fact(1)])

    run(test)
    assert len(rows(postgres_url, "fix")) == 20_000


def test_the_server_killed_and_started_again_loses_and_doubles_nothing(undisturbed):
    with PrivatePostgres(durable=False) as postgres:
        migrate(postgres.url)

        async def test() -> None:
            store = PostgisStore(postgres.url)
            await store.open()

            async def until_done(attempt: Callable[[], Awaitable[T_]]) -> T_:
                await asyncio.to_thread(postgres.kill)
                for _ in range(2):
                    with pytest.raises(StoreAway, match="PostgreSQL: "):
                        await attempt()
                with pytest.raises(StoreAway):
                    await store.open()
                await asyncio.to_thread(postgres.restart)
                return await attempt()

            await a_day(store, until_done)
            await asyncio.to_thread(postgres.stop)
            with pytest.raises(StoreAway) as caught:
                await store.outbox(T, P, 0, 1)
            assert postgres._secret() not in str(caught.value)
            await asyncio.to_thread(postgres.restart)
            assert len(await store.outbox(T, P, 0, 10)) == 5
            await store.close()

        run(test)
        assert everything(postgres.url) == undisturbed


def test_the_writing_role_is_enough(services, postgres_url, undisturbed):
    if services.postgres is None:
        pytest.skip("roles belong to the whole server: only tried in one of our own")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE test_worker LOGIN PASSWORD 'w' IN ROLE hazfence_write")
    try:

        async def test() -> None:
            async with opened(f"postgresql://test_worker:w@{postgres_url.split('@', 1)[1]}") as store:
                await a_day(store, patiently)
                saved = await store.save_fences(FenceSet([circle("c", FenceKind.CHECKPOINT, 121, 29, 150)]))
                assert list(await store.load_fences()) == list(saved.fences)
                assert len(await store.outbox(T, P, 0, 10)) == 5
                assert len(await store.open_events(T, P)) == 1

        run(test)
        assert everything(postgres_url) == undisturbed
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("DROP ROLE test_worker")


def test_a_full_house_is_away_not_broken():
    """No connection slot left: wait, do not die."""
    few = {"max_connections": "5", "superuser_reserved_connections": "0"}
    with PrivatePostgres(durable=False, settings=few) as postgres:
        migrate(postgres.url)

        async def test() -> None:
            async with opened(postgres.url) as store:
                guests = [psycopg.connect(postgres.url) for _ in range(4)]
                await store._link.close()
                await asyncio.sleep(0.2)  # until the server has noticed
                guests.append(psycopg.connect(postgres.url))
                with pytest.raises(StoreAway, match="connection"):
                    await store.claim(T, P)
                for guest in guests:
                    guest.close()
                await patiently(lambda: store.claim(T, P))

        run(test)
