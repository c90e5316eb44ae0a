"""Connections to PostgreSQL: a few, kept, each used for one transaction at a time; and what "away" means.

You are in the PostGIS adapter, below `store.py`. There is no reconnecting here: a transaction that fails
because the server cannot be reached, is going down, or is out of something raises `StoreAway`, and the
worker, which still holds everything the transaction was to write, tries again in place. Any other error is
a fault of ours and goes up as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from hazfence.ports import StoreAway
from hazfence_sql import head, queries

__all__ = ["Link", "SchemaMismatch"]

#: SQLSTATEs (or their first digits) that say "not now" and not "never": connection trouble (08), out of
#: disk, memory or connections (53), shutdown, crash, cancelled (57), I/O (58), deadlock and serialisation
#: (40), a lock held too long (55P03), a standby (25006), a session ended for idling (25P03, 25P04).
_AWAY = ("08", "53", "57", "58", "40", "55P03", "25006", "25P03", "25P04")

#: Three probes unanswered, or data unacknowledged for 20 s, end a connection. A worker that hangs inside a
#: transaction is thrown out after 30 s, so that it cannot keep its partition from another.
_CONNECT = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "hazfence",
}
_SESSION = "SET timezone = 'UTC'; SET idle_in_transaction_session_timeout = '30s'; SET lock_timeout = '15s'"


class SchemaMismatch(RuntimeError):
    """The database's schema is not the one this release works with; the message says what to run."""


def is_away(error: BaseException) -> bool:
    """Tell whether the error means that trying again later may work."""
    if isinstance(error, psycopg.Error):
        if error.sqlstate is not None:
            return error.sqlstate.startswith(_AWAY)
        # Without a state it did not come from a statement: no connection could be made, or it broke.
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return isinstance(error, OSError)


class Link:
    """A handful of connections to one database, opened as needed.

    Args:
        url: libpq URL or connection string.
        size: connections at most; a further transaction waits for a free one.
    """

    def __init__(self, url: str, *, size: int = 4) -> None:
        self._url = url
        self._idle: list[AsyncConnection[TupleRow]] = []
        self._free = asyncio.Semaphore(size)
        self._generation = 0

    async def check(self) -> None:
        """Connect and look at the schema's version.

        Raises:
            StoreAway: no connection.
            SchemaMismatch: not migrated, or not far enough.
        """
        async with self.transaction() as connection:
            found = None
            if await _one(connection, "SELECT to_regclass('hazfence.schema_version')") is not None:
                found = await _one(connection, queries.load("schema_version"))
        if found is None or str(found) < head():
            raise SchemaMismatch(
                f"the database has schema version {found or 'none'}, this release needs {head()}: "
                "run 'hazfence migrate'"
            )

    async def close(self) -> None:
        """Close the idle connections now, and those in use when their transaction ends."""
        self._generation += 1
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """A connection inside a transaction: committed at the end, rolled back on any error.

        Raises:
            StoreAway: see `is_away`. Whether the transaction was committed is then not known.
        """
        async with self.connection() as connection, connection.transaction():
            yield connection

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """A connection on which each statement stands for itself: one way there and back to read something.

        Raises:
            StoreAway: see `is_away`.
        """
        async with self._free:
            generation = self._generation
            connection: AsyncConnection[TupleRow] | None = None
            try:
                connection = self._idle.pop() if self._idle else await self._connect()
                yield connection
            except (psycopg.Error, OSError) as error:
                if isinstance(error, StoreAway) or not is_away(error):
                    raise
                raise StoreAway(f"PostgreSQL: {_first_line(error)}") from error
            finally:
                if connection is not None:
                    settled = connection.info.transaction_status == TransactionStatus.IDLE
                    if settled and not connection.closed and generation == self._generation:
                        self._idle.append(connection)
                    else:
                        await connection.close()

    async def _connect(self) -> AsyncConnection[TupleRow]:
        connection = await AsyncConnection.connect(self._url, autocommit=True, **_CONNECT)  # type: ignore[arg-type]
        try:
            await connection.execute(_SESSION)
        except BaseException:
            await connection.close()
            raise
        return connection


async def _one(connection: AsyncConnection[TupleRow], query: str) -> object | None:
    row = await (await connection.execute(query)).fetchone()
    return row[0] if row else None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
