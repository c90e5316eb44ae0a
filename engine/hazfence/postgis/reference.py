"""The file of vehicles, waybills and papers, read from PostgreSQL and kept fresh.

You are in the PostGIS adapter, behind the port ``hazfence.ports.Reference``. The tables are written by
whoever keeps the file; their triggers count every change and NOTIFY. :meth:`PostgisReference.changed`
listens, and looks at the count every ``poll_s`` all the same, for a NOTIFY is lost while a connection
is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from hazfence.events import from_iso, iso
from hazfence.ports import FileState, StoreAway
from hazfence.postgis.link import Link, is_away
from hazfence.reference import Filed, ReferenceData, ReferenceFault, Waybill
from hazfence_sql import queries

__all__ = ["PostgisReference", "reference_of_rows"]

_T = TypeVar("_T")
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
        >>> state = await file.load()
        >>> engine.use_reference(state.data)
        >>> await file.changed(state.seq, timeout_s=3600)
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

    async def load(self) -> FileState:
        """Everything on file that can be used, of one moment, and what is wrong with the rest."""
        since = {"since": self._since}
        async with self._link.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            row = await (await connection.execute(queries.load("reference_seq"))).fetchone()
            filed = await (await connection.execute(queries.load("reference_filed"), since)).fetchall()
            bills = await (await connection.execute(queries.load("reference_waybills"), since)).fetchall()
        seq = int(row[0]) if row else 0
        rows, bad_rows = _usable(_filed, filed)
        usable, bad_bills = _usable(_waybill, bills)
        data, contradictions = ReferenceData.of_usable(rows, usable)
        return FileState(seq, data, (*bad_rows, *bad_bills, *contradictions))

    async def save(self, data: ReferenceData) -> None:
        """Put everything in ``data`` into the tables, for imports and demonstrations; the rest stays.

        The role hazfence_write may not: the file belongs to whoever keeps it.
        """
        async with self._link.transaction() as connection:
            for kind in ("company", "person", "tank", "vehicle"):
                rows = [_filed_row(row) for row in data.filed if row.kind == kind]
                if rows:
                    await connection.execute(queries.load(f"save_{kind}"), {"rows": json.dumps(rows)})
            bills = [_waybill_row(bill) for bill in data.waybills]
            if bills:
                await connection.execute(queries.load("save_waybill"), {"rows": json.dumps(bills)})

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


def _usable(read: Callable[[TupleRow], _T], rows: Iterable[TupleRow]) -> tuple[list[_T], list[str]]:
    """What can be read of the rows, and a line for each that cannot."""
    found, faults = [], []
    for row in rows:
        try:
            found.append(read(row))
        except ReferenceFault as fault:
            faults.append(str(fault))
    return found, faults


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


def _filed_row(row: Filed) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "category": row.category,
        "audit": row.audit,
        "papers": {paper: iso(expires_us) for paper, expires_us in row.papers.items()},
        "valid_from": iso(row.from_us),
        "valid_to": _maybe_iso(row.to_us),
    }


def _waybill_row(bill: Waybill) -> dict[str, Any]:
    return {
        "number": bill.number,
        "plate": bill.plate,
        "un_number": bill.un_number,
        "un_class": bill.un_class,
        "goods": bill.goods,
        "tank_id": bill.tank or None,
        "driver_id": bill.driver or None,
        "escort_id": bill.escort or None,
        "quantity_t": bill.quantity_t,
        "window_from": iso(bill.from_us),
        "window_to": iso(bill.to_us),
        "approved_at": _maybe_iso(bill.approved_us),
        "withdrawn_at": _maybe_iso(bill.withdrawn_us),
    }


def _maybe_iso(time_us: int | None) -> str | None:
    return None if time_us is None else iso(time_us)


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
