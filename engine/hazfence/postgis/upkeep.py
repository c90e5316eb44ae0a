"""Upkeep of the history: days made ahead, days closed, what is old taken away.

You are in the PostGIS adapter, beside the store and on the owner's side of the rights: workers write, and
this, run once a day, keeps the tables in shape while they do. ``hazfence maintain`` calls `plan` and
`carry_out`. Nothing here stops a worker for longer than a moment: indexes are built concurrently, rows go
in portions, and a day is dropped with a short lock timeout, again and again until it succeeds.

A day is *closed* when it is over for a while: it then gets what indexes it lacks and is vacuumed and frozen,
once, so that nobody has to read it again to keep transaction numbers apart. Late fixes may still come in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow, dict_row

from hazfence.postgis.link import SchemaMismatch
from hazfence_sql import head, queries

__all__ = ["Action", "Step", "Upkeep", "UpkeepError", "carry_out", "plan"]

_Connection = psycopg.Connection[TupleRow]
#: Rows a statement when old rows are taken away.
_PORTION = 10_000
_LOCK_TRIES, _LOCK_TIMEOUT, _LOCK_PAUSE_S = 60, "2s", 1.0
#: Memory for building indexes; the default of PostgreSQL sorts a busy day on disk.
_SORT_MEMORY = "256MB"


class UpkeepError(RuntimeError):
    """Upkeep cannot be done; the message says why and what to do."""


class Action(StrEnum):
    """What a step does."""

    MAKE_DAY = "make day"
    INDEX_DAY = "index day"
    CLOSE_DAY = "close day"
    DROP_DAY = "drop day"
    DELETE_BREACHES = "delete breaches"
    DELETE_VISITS = "delete visits"
    DELETE_LETTERS = "delete dead letters"


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is to be kept how long, and how days are made.

    Attributes:
        fixes_kept_days: whole UTC days of fixes before today; 0 keeps them for ever. China asks for six
            months (at most 184 days) of monitoring data and three years (1096 days) of violations:
            Measures for the dynamic supervision of road transport vehicles (道路运输车辆动态监督管理办法).
        breaches_kept_days: days since a breach or a visit was over; 0 keeps them for ever.
        letters_kept_days: days since a dead letter was kept; 0 keeps them for ever.
        days_ahead: days after today that are made now.
        close_after_h: hours after its end when a day is closed; late fixes should be in by then.
        index_at_once: whether a day has its index by vehicle and time from the start.
    """

    fixes_kept_days: int = 184
    breaches_kept_days: int = 1096
    letters_kept_days: int = 184
    days_ahead: int = 7
    close_after_h: float = 24.0
    index_at_once: bool = True

    def __post_init__(self) -> None:
        for name in (
            "fixes_kept_days",
            "breaches_kept_days",
            "letters_kept_days",
            "days_ahead",
            "close_after_h",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"Upkeep.{name} must be at least 0, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        action: see `Action`.
        day: the UTC day, for days.
        count: rows concerned: of a day as PostgreSQL last counted them, of the others exactly.
        bytes: what the day has on disk.
        before: rows older than this go.
        broken: indexes of the day that an interrupted run left behind; they go first.
    """

    action: Action
    day: date | None = None
    count: int = 0
    bytes: int = 0
    before: datetime | None = None
    broken: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The step as a JSON-able dict."""
        return {
            "action": str(self.action),
            "day": None if self.day is None else self.day.isoformat(),
            "count": self.count,
            "bytes": self.bytes,
            "before": None if self.before is None else self.before.isoformat(),
        }


def plan(url: str, upkeep: Upkeep, *, now: datetime | None = None) -> list[Step]:
    """What there is to do; nothing is changed.

    Args:
        url: libpq URL; reading is enough.
        upkeep: see there.
        now: the moment to judge from; this moment when None.

    Raises:
        SchemaMismatch: not migrated as far as this release needs.
        psycopg.OperationalError: the server cannot be reached.
    """
    now = now or datetime.now(UTC)
    with _connect(url) as connection:
        _check_schema(connection)
        return [*_days_to_do(connection, upkeep, now), *_rows_to_do(connection, upkeep, now)]


def carry_out(
    url: str, steps: list[Step], upkeep: Upkeep, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Step]:
    """Do the steps in order and yield each one when it is done.

    Args:
        url: libpq URL of the owner of the schema, who migrated it.
        steps: from `plan`.
        upkeep: as for `plan`.
        sleep: waits between tries, replaced in tests.

    Raises:
        UpkeepError: another upkeep is running, the user is not the owner, or a day is always locked.
        psycopg.Error: a statement failed; what was yielded is done, and a new plan finds the rest.
    """
    if not steps:
        return
    with _connect(url) as connection:
        (free,) = connection.execute(queries.load("upkeep_lock")).fetchone() or (False,)
        if not free:
            raise UpkeepError("another upkeep of this database is running: wait for its end")
        (owner,) = connection.execute(queries.load("upkeep_owner")).fetchone() or (False,)
        if not owner:
            raise UpkeepError(
                f"user {connection.info.user} does not own hazfence.fix: maintain with the user that migrated"
            )
        connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(_SORT_MEMORY))
        for step in steps:
            _do(connection, step, upkeep, sleep)
            yield step


def _connect(url: str) -> _Connection:
    # Autocommit, because neither CREATE INDEX CONCURRENTLY nor VACUUM runs inside a transaction.
    return psycopg.connect(url, autocommit=True, application_name="hazfence maintain", connect_timeout=5)


def _check_schema(connection: _Connection) -> None:
    found = None
    (there,) = connection.execute("SELECT to_regclass('hazfence.schema_version')").fetchone() or (None,)
    if there is not None:
        (found,) = connection.execute(queries.load("schema_version")).fetchone() or (None,)
    if found is None or str(found) < head():
        raise SchemaMismatch(
            f"the database has schema version {found or 'none'}, this release needs {head()}: "
            "run 'hazfence migrate'"
        )


def _days_to_do(connection: _Connection, upkeep: Upkeep, now: datetime) -> Iterator[Step]:
    with connection.cursor(row_factory=dict_row) as cursor:
        days = {row["day"]: row for row in cursor.execute(queries.load("history_days"))}
    today = now.astimezone(UTC).date()
    for ahead in range(upkeep.days_ahead + 1):
        if (day := today + timedelta(days=ahead)) not in days:
            yield Step(Action.MAKE_DAY, day)
    oldest = today - timedelta(days=upkeep.fixes_kept_days) if upkeep.fixes_kept_days else date.min
    for day, row in days.items():
        of_day: dict[str, Any] = {"day": day, "count": row["rows"], "bytes": row["bytes"]}
        over = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        if day < oldest:
            yield Step(Action.DROP_DAY, **of_day)
        elif over + timedelta(hours=upkeep.close_after_h) <= now:
            if not (row["by_vehicle"] and row["by_time"]):
                yield Step(Action.CLOSE_DAY, **of_day, broken=tuple(row["broken"]))
        elif upkeep.index_at_once and not row["by_vehicle"]:
            yield Step(Action.INDEX_DAY, **of_day, broken=tuple(row["broken"]))


def _rows_to_do(connection: _Connection, upkeep: Upkeep, now: datetime) -> Iterator[Step]:
    if upkeep.breaches_kept_days:
        before = now - timedelta(days=upkeep.breaches_kept_days)
        counts = connection.execute(queries.load("old_events_count"), {"before": before}).fetchone() or (0, 0)
        for action, count in zip((Action.DELETE_BREACHES, Action.DELETE_VISITS), counts, strict=True):
            if count:
                yield Step(action, count=count, before=before)
    if upkeep.letters_kept_days:
        before = now - timedelta(days=upkeep.letters_kept_days)
        (count,) = connection.execute(queries.load("old_letters_count"), {"before": before}).fetchone() or (
            0,
        )
        if count:
            yield Step(Action.DELETE_LETTERS, count=count, before=before)


_DELETES = {
    Action.DELETE_BREACHES: "old_events_delete",
    Action.DELETE_VISITS: "old_visits_delete",
    Action.DELETE_LETTERS: "old_letters_delete",
}


def _do(connection: _Connection, step: Step, upkeep: Upkeep, sleep: Callable[[float], None]) -> None:
    if step.action in _DELETES:
        query = queries.load(_DELETES[step.action])
        while connection.execute(query, {"before": step.before, "limit": _PORTION}).rowcount:
            pass
        return
    assert step.day is not None
    if step.action is Action.MAKE_DAY:
        parameters = {"days": [step.day], "index_now": upkeep.index_at_once}
        connection.execute(queries.load("ensure_fix_days"), parameters)
    elif step.action is Action.DROP_DAY:
        _drop(connection, step.day, sleep)
    else:
        _index(connection, step.day, step.broken, with_time=step.action is Action.CLOSE_DAY)


def _table(day: date) -> sql.Identifier:
    return sql.Identifier("hazfence", f"fix_{day:%Y%m%d}")


def _index(connection: _Connection, day: date, broken: tuple[str, ...], *, with_time: bool) -> None:
    for name in broken:
        connection.execute(
            sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier("hazfence", name))
        )
    kinds = [("vehicle_time", "(vehicle_code, time)")]
    if with_time:
        kinds.append(("time", "USING brin (time) WITH (autosummarize)"))
    with connection.cursor(row_factory=dict_row) as cursor:
        (row,) = [one for one in cursor.execute(queries.load("history_days")) if one["day"] == day]
    there = {"vehicle_time": row["by_vehicle"], "time": row["by_time"]}
    for suffix, columns in kinds:
        if not there[suffix]:
            connection.execute(
                sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} " + columns).format(
                    sql.Identifier(f"fix_{day:%Y%m%d}_{suffix}"), _table(day)
                )
            )
    if with_time:
        connection.execute(sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(_table(day)))


def _drop(connection: _Connection, day: date, sleep: Callable[[float], None]) -> None:
    """Drop a day; that locks the whole fix table for a moment, so it gives way when workers are writing."""
    for left in reversed(range(_LOCK_TRIES)):
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_TIMEOUT))
                connection.execute(sql.SQL("DROP TABLE {}").format(_table(day)))
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if not left:
                raise UpkeepError(
                    f"day {day} is always in use: end long queries on hazfence.fix and maintain again"
                ) from error
            sleep(_LOCK_PAUSE_S)
