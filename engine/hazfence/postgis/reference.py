"""The file of vehicles, waybills and papers, read from PostgreSQL and kept fresh.

You are in the PostGIS adapter, behind the port ``hazfence.ports.Reference``. The tables are written by
whoever keeps the file; their triggers count every change and NOTIFY. :meth:`PostgisReference.changed`
listens, and looks at the count every ``poll_s`` all the same, for a NOTIFY is lost while a connection
is down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from hazfence.events import from_iso
from hazfence.ports import StoreAway
from hazfence.postgis.link import Link, is_away
from hazfence.reference import Filed, ReferenceData, ReferenceFault, Waybill
from hazfence_sql import queries

__all__ = ["PostgisReference", "reference_of_rows"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class PostgisReference:
    """Reads everything on file; see the port.

    Args:
        url: libpq URL of a database migrated with `hazfence_sql.migrate`; role hazfence_read is enough.
        since: rows and waybills that ended before are left out; None for all there are.
        poll_s: how often to look at the count of changes, should a NOTIFY be lost.

    Example:
        >>> file = PostgisReference(url)  # doctest: +SKIP
        >>> seq, data = await file.load()
        >>> engine.use_reference(data)
        >>> await file.changed(seq, timeout_s=3600)
    """

    def __init__(self, url: str, *, since: datetime | None = None, poll_s: float = 10.0) -> None:
        self._url = url
        self._link = Link(url, size=1)
        self._since = since or datetime(1900, 1, 1, tzinfo=UTC)
        self._poll_s = poll_s
        self._ear: AsyncConnection[TupleRow] | None = None

    async def open(self) -> None:
        """Connect and check the schema.

        Raises:
            StoreAway: the server cannot be reached.
            SchemaMismatch: the database is not migrated as far as this release needs.
        """
        await self._link.check()

    async def close(self) -> None:
        """Close the connections."""
        ear, self._ear = self._ear, None
        if ear is not None:
            await ear.close()
        await self._link.close()

    async def load(self) -> tuple[int, ReferenceData]:
        """Everything on file, of one moment, and the count of changes it stands for."""
        since = {"since": self._since}
        async with self._link.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            row = await (await connection.execute(queries.load("reference_seq"))).fetchone()
            filed = await (await connection.execute(queries.load("reference_filed"), since)).fetchall()
            bills = await (await connection.execute(queries.load("reference_waybills"), since)).fetchall()
        seq = int(row[0]) if row else 0
        return seq, reference_of_rows(filed, bills)

    async def changed(self, after_seq: int, timeout_s: float) -> bool:
        """Wait until there are changes after ``after_seq``; False when time is up.

        Raises:
            StoreAway: the server cannot be reached.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            while True:
                ear = await self._listening()
                # Looked at after LISTEN: what changes from here on is heard.
                row = await (await ear.execute(queries.load("reference_seq"))).fetchone()
                if row is not None and int(row[0]) > after_seq:
                    return True
                left_s = deadline - asyncio.get_running_loop().time()
                if left_s <= 0:
                    return False
                async for _ in ear.notifies(timeout=min(left_s, self._poll_s), stop_after=1):
                    pass
        except (psycopg.Error, OSError) as error:
            ear_lost, self._ear = self._ear, None
            if ear_lost is not None:
                with contextlib.suppress(psycopg.Error, OSError):
                    await ear_lost.close()
            if not is_away(error):
                raise
            raise StoreAway(f"PostgreSQL: {str(error).splitlines()[0] if str(error) else error}") from error

    async def _listening(self) -> AsyncConnection[TupleRow]:
        if self._ear is None or self._ear.closed:
            self._ear = await AsyncConnection.connect(self._url, autocommit=True, connect_timeout=5)
            await self._ear.execute("LISTEN hazfence_reference")
        return self._ear


def reference_of_rows(filed: Iterable[TupleRow], bills: Iterable[TupleRow]) -> ReferenceData:
    """From the rows of ``reference_filed.sql`` and ``reference_waybills.sql``.

    Raises:
        ReferenceFault: a row cannot be used; names it.
    """
    return ReferenceData(map(_filed, filed), map(_waybill, bills))


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _maybe_us(moment: datetime | None) -> int | None:
    return None if moment is None else _us(moment)


def _filed(row: TupleRow) -> Filed:
    kind, name_id, audit, valid_from, valid_to, name, category, papers = row
    return Filed(
        kind,
        name_id,
        audit,
        _us(valid_from),
        _maybe_us(valid_to),
        name,
        category,
        dict(_papers(f"{kind} {name_id!r}", papers)),
    )


def _papers(where: str, papers: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    for paper, expires in papers.items():
        try:
            yield paper, from_iso(expires)
        except (TypeError, ValueError):
            raise ReferenceFault(
                f"{where}: paper {paper!r} expires {expires!r}; "
                "write a moment such as 2026-05-01T00:00:00+08:00"
            ) from None


def _waybill(row: TupleRow) -> Waybill:
    (
        number,
        plate,
        un_number,
        un_class,
        start,
        end,
        approved,
        withdrawn,
        goods,
        tank,
        driver,
        escort,
        tonnes,
    ) = row
    return Waybill(
        number,
        plate,
        un_number,
        un_class,
        _us(start),
        _us(end),
        _maybe_us(approved),
        _maybe_us(withdrawn),
        goods,
        tank or "",
        driver or "",
        escort or "",
        tonnes,
    )
