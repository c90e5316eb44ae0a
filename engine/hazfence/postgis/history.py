"""What the database knows of the past, for people who look into it: read, never written.

You are in the PostGIS adapter, beside `store.py`, which a worker writes through. Here a session is asked
for read-only transactions before it is asked for anything else, so that nothing an analyst runs can
change a row; role hazfence_read is enough. :class:`History` is used by one thread, and synchronous: its
users are commands for people. What is built on it: reports (`hazfence_replay.report`), explanations
(`hazfence_replay.explain`), rehearsals (`hazfence_replay.rehearse`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
from psycopg.rows import TupleRow

from hazfence.events import Event
from hazfence.postgis.fence_history import FenceHistory
from hazfence.postgis.link import SchemaMismatch
from hazfence.postgis.moments import moment_at
from hazfence.postgis.reference import reference_of_rows
from hazfence.postgis.store import event_of
from hazfence.reference import ReferenceData
from hazfence_sql import head, queries

__all__ = ["DIMENSIONS", "Fact", "History", "NotInHistory", "Only", "ReportRow", "Stored"]

#: What a report can count by.
DIMENSIONS = ("all", "kind", "vehicle", "company", "fence", "checkpoint", "hour", "day", "month", "year")


class NotInHistory(ValueError):
    """What was asked for is not in the database (any more); the message says what is."""


@dataclass(frozen=True, slots=True)
class Only:
    """Which facts count; None lets all in.

    Attributes:
        since_us, until_us: those that begin in [since, until), microseconds UTC.
        kinds, vehicles, companies, fences: names or ids.
    """

    since_us: int | None = None
    until_us: int | None = None
    kinds: tuple[str, ...] | None = None
    vehicles: tuple[str, ...] | None = None
    companies: tuple[str, ...] | None = None
    fences: tuple[str, ...] | None = None

    def parameters(self) -> dict[str, Any]:
        """For the queries."""
        return {
            "since": None if self.since_us is None else moment_at(self.since_us),
            "until": None if self.until_us is None else moment_at(self.until_us),
            **{
                name: None if (value := getattr(self, name)) is None else list(value)
                for name in ("kinds", "vehicles", "companies", "fences")
            },
        }


@dataclass(frozen=True, slots=True)
class Stored:
    """A visit or breach as the database holds it.

    Attributes:
        event: its latest revision.
        topic, partition: the partition whose fixes it was found in.
        known_at: when its first revision was stored.
        revised_at: when its latest one was.
        revisions: every revision and when it became known, in the order said.
    """

    event: Event
    topic: str
    partition: int
    known_at: datetime
    revised_at: datetime
    revisions: tuple[tuple[Event, datetime], ...]


@dataclass(frozen=True, slots=True)
class ReportRow:
    """Facts of one key, counted; see ``hazfence.report`` in the schema.

    Attributes:
        key: of the first dimension: a plate, an id, a kind, ``2026-03-02``; empty for facts without.
        key_2: of the second; None when only one was asked for.
        label: name of the company, fence or checkpoint; None where there is none.
        visits: stays and passages that stand.
        inside_s: seconds of those that are over, together.
        mean_stay_s: the mean of those; None when there are none.
        vehicles: different ones.
        breaches, warnings, notes: other facts that stand, by severity (notes: ``info``).
        going_on: facts that are not over.
        retracted: facts that turned out not to be; in no other number.
        first_at, last_at: earliest and latest beginning; None when nothing stands.
    """

    key: str
    key_2: str | None
    label: str | None
    visits: int
    inside_s: float
    mean_stay_s: float | None
    vehicles: int
    breaches: int
    warnings: int
    notes: int
    going_on: int
    retracted: int
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Fact:
    """One visit or breach of a report; times are local, without offset."""

    event_id: str
    kind: str
    severity: str
    phase: str
    vehicle: str
    company_id: str | None
    company: str | None
    fence_id: str | None
    fence: str | None
    checkpoint_id: str | None
    started: datetime
    ended: datetime | None
    lasted_s: float | None


class History:
    """Reads one database; a context manager.

    Args:
        url: libpq URL of a migrated database.
        time_zone: IANA name, for local days and times.

    Raises:
        ValueError: an unknown time zone, or (on entering) a URL that is none.
        SchemaMismatch: (on entering) the schema is older than this release needs.
        psycopg.OperationalError: (on entering) the server cannot be reached.

    Example:
        >>> with History(url) as history:  # doctest: +SKIP
        ...     rows = history.report("fence")
    """

    def __init__(self, url: str, *, time_zone: str = "Asia/Shanghai") -> None:
        try:
            self.zone = ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"there is no time zone {time_zone!r}: write e.g. Asia/Shanghai or UTC"
            ) from None
        self.time_zone = time_zone
        self.url = url
        self._connection: psycopg.Connection[TupleRow] | None = None

    def __enter__(self) -> Self:
        try:
            connection = psycopg.connect(
                self.url, autocommit=True, connect_timeout=10, application_name="hazfence history"
            )
        except psycopg.ProgrammingError:  # its text may repeat the URL, and with it a password
            raise ValueError(
                "the database URL cannot be read: write e.g. postgresql://user@host/hazfence"
            ) from None
        try:
            connection.execute("SET default_transaction_read_only = on")
            connection.execute("SET timezone = 'UTC'")
            connection.execute("SELECT set_config('hazfence.time_zone', %s, false)", [self.time_zone])
            found = None
            if _first(connection.execute("SELECT to_regclass('hazfence.schema_version')")) is not None:
                found = _first(connection.execute(queries.load("schema_version")))
            if found is None or str(found) < head():
                raise SchemaMismatch(
                    f"the database has schema version {found or 'none'}, this release needs {head()}: "
                    "run 'hazfence migrate'"
                )
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[TupleRow]:
        """The rows of one of ``hazfence_sql.queries``."""
        assert self._connection is not None, "use it in a with statement"
        return self._connection.execute(queries.load(query), parameters).fetchall()

    def report(self, by: str, by_2: str | None = None, only: Only | None = None) -> list[ReportRow]:
        """Facts counted by one dimension, or by two.

        Raises:
            ValueError: no such dimension.
        """
        for name in (by, by_2):
            if name is not None and name not in DIMENSIONS:
                raise ValueError(f"there is no report by {name!r}: by {', '.join(DIMENSIONS[1:])}")
        asked = {"by_1": by, "by_2": by_2, **(only or Only()).parameters()}
        return [ReportRow(*row) for row in self.ask("report", asked)]

    def facts(self, only: Only | None = None, *, limit: int | None = None) -> list[Fact]:
        """The visits and breaches that a report counts, by beginning; retracted ones too, as they say."""
        rows = self.ask("report_facts", {"limit": limit, **(only or Only()).parameters()})
        return [Fact(row[0].hex, *row[1:]) for row in rows]

    def span(self) -> tuple[datetime, datetime] | None:
        """When the first and the last visit or breach begin; None when there is none."""
        [(first, last)] = self.ask("report_span")
        return None if first is None else (first, last)

    def stored(self, event_id: str) -> Stored:
        """One visit or breach.

        Raises:
            NotInHistory: no such id, or none that can be one.
        """
        try:
            asked = {"id": uuid.UUID(event_id)}
        except ValueError:
            raise NotInHistory(
                f"{event_id!r} is no event id: it has 32 hex digits, as in the column event_id of "
                "hazfence.event and hazfence.visit"
            ) from None
        rows = self.ask("fact_by_id", asked)
        if not rows:
            raise NotInHistory(f"there is no event {event_id} in this database: not in event, not in visit")
        *event, topic, partition, known_at, revised_at = rows[0]
        revisions = tuple((event_of(row[:-1]), row[-1]) for row in self.ask("fact_revisions", asked))
        return Stored(event_of(event), topic, partition, known_at, revised_at, revisions)

    def overlapping(
        self,
        since_us: int,
        until_us: int,
        *,
        vehicles: Iterable[str] | None = None,
        fences: Iterable[str] | None = None,
    ) -> list[Event]:
        """Visits and breaches that overlap [since, until), by beginning; retracted ones too."""
        asked = {
            "since": moment_at(since_us),
            "until": moment_at(until_us),
            "vehicles": None if vehicles is None else list(vehicles),
            "fences": None if fences is None else list(fences),
        }
        return [event_of(row) for row in self.ask("facts_overlapping", asked)]

    def beginning(self, since_us: int, until_us: int, *, visits: bool = False) -> list[Event]:
        """Breaches (and visits) that begin in [since, until), latest revision each; retracted ones too."""
        asked = {"since": moment_at(since_us), "until": moment_at(until_us), "visits": visits}
        return [event_of(row) for row in self.ask("facts_beginning", asked)]

    def fixes_from(self, since_us: int) -> bool:
        """Whether any fix from a moment on is stored."""
        return bool(self.ask("fixes_from", {"since": moment_at(since_us)})[0][0])

    def fix_days(self) -> list[date]:
        """The days (UTC) of which there is a partition of fixes, oldest first."""
        return [row[0] for row in self.ask("fix_days")]

    def fences(self) -> FenceHistory:
        """Every version of every fence."""
        return FenceHistory.of_rows(self.ask("fence_history"))

    def reference(self) -> ReferenceData:
        """Everything on file."""
        since = {"since": datetime(1900, 1, 1, tzinfo=UTC)}
        filed, bills = self.ask("reference_filed", since), self.ask("reference_waybills", since)
        return reference_of_rows(filed, bills)

    def fix_span(self, vehicle: str) -> tuple[datetime, datetime] | None:
        """The first and the last stored fix of a vehicle; None when there is none."""
        rows = self.ask("fix_span", {"vehicle": vehicle})
        return None if not rows or rows[0][0] is None else (rows[0][0], rows[0][1])

    def local(self, moment: datetime | int | None) -> str:
        """A moment (or microseconds UTC) for people: ``2026-03-02 08:15:30``, empty for None."""
        if moment is None:
            return ""
        if isinstance(moment, int):
            moment = moment_at(moment)
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M:%S}"


def _first(rows: Iterable[Sequence[Any]]) -> Any:
    row = next(iter(rows), None)
    return None if row is None else row[0]
