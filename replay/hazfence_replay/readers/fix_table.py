"""The fix table in PostGIS (``hazfence.fix``) as batches of fixes in time order.

You are among the track readers. What a worker accepted is history, and may be judged again: by a draft
fence, by another setting, by another release. The table has a partition a UTC day; each is sorted by the
server and comes as PostgreSQL's binary COPY rows, all of one length, so that a block of them is one numpy
array. Nothing is written and no lock is held but that of a reader. Next room: ``wanted.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from psycopg.conninfo import conninfo_to_dict

from hazfence.accuracy import of_stored
from hazfence.fixes import FixBatch
from hazfence.postgis.storable import storable_name
from hazfence_replay.readers.rejects import Rejects, TrackError
from hazfence_replay.readers.wanted import Wanted
from hazfence_sql import queries

__all__ = ["FixTableReader"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
#: Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
_EPOCH_US = 946_684_800_000_000
_HEAD_BYTES = 19  # signature, flags, length of the (empty) extension

#: A row of ``queries/read_fixes.sql``: the number of fields, then each field's length and value.
_FIELDS = (
    ("time", ">i8"),
    ("lon", ">f8"),
    ("lat", ">f8"),
    ("offset", ">i8"),
    ("status", ">i8"),
    ("alarm", ">i8"),
    ("vehicle_code", ">i4"),
    ("item", ">i4"),
    ("accuracy_m", ">f4"),
    ("speed_kmh", ">f4"),
    ("heading_deg", ">f4"),
)
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        *(pair for name, kind in _FIELDS for pair in ((f"{name}_length", ">i4"), (name, kind))),
    ]
)


class FixTableReader:
    """Stored fixes of one database.

    Args:
        url: libpq URL of a migrated database; the user needs role hazfence_read.
        wanted: which fixes.
        batch_fixes: the most fixes in one batch.
        rejects: for the sake of the other readers; stored fixes can all be read.

    In the batches ``offset`` and ``item`` are those of the message that brought the fix.

    Raises (while iterating):
        TrackError: there is no fix table.
        psycopg.OperationalError: the server cannot be reached.

    Example:
        >>> reader = FixTableReader(url, wanted=Wanted(since_us, until_us))  # doctest: +SKIP
        >>> events = list(replay(reader, Engine(fences), until=until_us))  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        wanted: Wanted | None = None,
        batch_fixes: int = 65_536,
        rejects: Rejects | None = None,
    ) -> None:
        if batch_fixes < 1:
            raise ValueError(f"batch_fixes must be at least 1, not {batch_fixes}")
        self._url = url
        parts = conninfo_to_dict(url)  # so that no password gets into a message
        self.source = f"fix table of {parts.get('dbname', '')}@{parts.get('host', 'localhost')}"
        self.rejects = Rejects() if rejects is None else rejects
        self.share: float | None = 0.0
        self._wanted = wanted or Wanted()
        self._batch_fixes = batch_fixes

    def __iter__(self) -> Iterator[FixBatch]:
        with psycopg.connect(self._url, autocommit=True, application_name="hazfence replay") as connection:
            connection.execute("SET timezone = 'UTC'")
            connection.execute("SET default_transaction_read_only = on")
            days = self._days(connection)
            names = _Names(self._url, connection, self._wanted)
            whole, done = sum(size for _, size in days) or 1, 0
            for day, size in days:
                since, until = self._span(day)
                if since < until:
                    yield from self._read(connection, names, since, until)
                done += size
                self.share = done / whole

    def _days(self, connection: psycopg.Connection[Any]) -> list[tuple[date, int]]:
        try:
            return [(day, size) for day, size in connection.execute(queries.load("fix_days")).fetchall()]
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            raise TrackError(
                f"{self.source}: there is no table hazfence.fix: run 'hazfence migrate'"
            ) from None

    def _span(self, day: date) -> tuple[datetime, datetime]:
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = begin + _DAY
        if self._wanted.since_us is not None:
            begin = max(begin, _EPOCH + timedelta(microseconds=self._wanted.since_us))
        if self._wanted.until_us is not None:
            end = min(end, _EPOCH + timedelta(microseconds=self._wanted.until_us))
        return begin, end

    def _read(
        self, connection: psycopg.Connection[Any], names: _Names, since: datetime, until: datetime
    ) -> Iterator[FixBatch]:
        if names.codes is not None and not names.codes:
            return
        asked = {"since": since, "until": until, "codes": names.codes}
        # Outside a transaction of ours: a long replay must not keep the server from cleaning up.
        with connection.cursor() as cursor, cursor.copy(queries.load("read_fixes"), asked) as copy:
            rows: list[bytes | bytearray | memoryview] = []
            first = True
            for row in copy:
                if first:
                    row, first = row[_HEAD_BYTES:], False
                    if not row:
                        continue
                rows.append(row)
                if len(rows) == self._batch_fixes:
                    yield self._batch(rows, names)
                    rows = []
            if batch := self._batch(rows, names):
                yield batch

    def _batch(self, rows: list[bytes | bytearray | memoryview], names: _Names) -> FixBatch:
        block = b"".join(rows)
        table = np.frombuffer(block, _ROW, len(block) // _ROW.itemsize)
        if not len(table):
            return FixBatch.empty()
        codes, vehicle = np.unique(table["vehicle_code"], return_inverse=True)
        return FixBatch.of(
            vehicle.astype(np.int32),
            vehicles=names.of(codes.tolist()),
            time_us=table["time"].astype(np.int64) + _EPOCH_US,
            **{name: table[name] for name in ("lon", "lat", "offset", "item", "speed_kmh", "heading_deg")},
            status=table["status"].astype(np.uint32),
            alarm=table["alarm"].astype(np.uint32),
            accuracy_m=of_stored(table["accuracy_m"].astype(np.float32)),
        )


class _Names:
    """Names of vehicles by their number; numbers that came after the reader began are asked for."""

    def __init__(self, url: str, connection: psycopg.Connection[Any], wanted: Wanted) -> None:
        self._url = url
        asked = None if wanted.vehicles is None else sorted({storable_name(v) for v in wanted.vehicles})
        self._known = self._ask(connection, asked)
        #: numbers of the wanted vehicles; None for all
        self.codes = None if asked is None else sorted(self._known)

    def of(self, codes: list[int]) -> tuple[str, ...]:
        if any(code not in self._known for code in codes):
            # In the middle of a COPY the connection is busy: ask through another.
            with psycopg.connect(self._url, autocommit=True) as connection:
                self._known = self._ask(connection, None)
        return tuple(self._known[code] for code in codes)

    @staticmethod
    def _ask(connection: psycopg.Connection[Any], vehicles: list[str] | None) -> dict[int, str]:
        rows = connection.execute(queries.load("vehicle_names"), {"vehicles": vehicles}).fetchall()
        return dict(rows)
