"""The doctor's look at PostgreSQL, and at the fences, which may be in it or in files.

You are behind `report.py`. One connection, read only, closed at the end. What is looked for: can it be
reached and by whom, is it new enough, is the schema this release's, may the user do a worker's work and no
more, are there days for the next fixes, is there room, do the clocks agree.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from hazfence.doctor.report import Say, skew
from hazfence.snapshot import READABLE
from hazfence.worker.config import WorkerSettings
from hazfence_fences import FenceError, load_fences
from hazfence_sql import head, queries

__all__ = ["look"]

_TIMEOUT_S = 5
_POSTGRES, _POSTGIS = 14, (3, 1)
_LOCAL = ("", "localhost", "127.0.0.1", "::1")
#: Less room than this, or than this part of the disk, is said.
_ROOM_FAIL_BYTES, _ROOM_WARN_BYTES, _ROOM_WARN_PART = 1 << 30, 10 << 30, 0.1
_Connection = psycopg.Connection[dict[str, Any]]


def look(settings: WorkerSettings, say: Say, fences: Say, clock_s: Callable[[], float]) -> dict[int, int]:
    """Examine the database and the fences.

    Args:
        settings: of the worker.
        say, fences: collect what is found.
        clock_s: this machine's clock, seconds since 1970.

    Returns:
        for each partition of the topic the offset its checkpoint stands for; empty when unknown.
    """
    in_files = settings.fences != "db"
    if in_files:
        _fences_in_files(settings.fences, fences)
    try:
        connection = psycopg.connect(
            settings.database_url.get_secret_value(),
            row_factory=dict_row,
            connect_timeout=_TIMEOUT_S,
            application_name="hazfence doctor",
            options=f"-c statement_timeout={_TIMEOUT_S}s -c default_transaction_read_only=on",
        )
    except psycopg.Error as error:
        say.fail("reachable", str(error) or type(error).__name__, _mend_of(str(error)))
        return {}
    with connection:
        try:
            return _examine(settings, connection, say, None if in_files else fences, clock_s)
        except psycopg.Error as error:
            say.fail("answers", str(error) or type(error).__name__, "see the log of PostgreSQL")
            return {}


def _mend_of(error: str) -> str:
    """What to do about an error of connecting, by what libpq says in every language and version."""
    if "pg_hba" in error:
        return (
            "allow user, database and address in pg_hba.conf; where it says hostssl, add ?sslmode=verify-full"
        )
    if "certificate" in error or "SSL" in error:
        return "give the authority: add ?sslmode=verify-full&sslrootcert=FILE to HAZFENCE_DATABASE_URL"
    if "password" in error or "authentication" in error or "role" in error:
        return "put user and password into HAZFENCE_DATABASE_URL, and allow them in pg_hba.conf"
    if "does not exist" in error:
        return "create the database (createdb), or mend its name in HAZFENCE_DATABASE_URL"
    return "start PostgreSQL, or mend host and port in HAZFENCE_DATABASE_URL"


def _examine(
    settings: WorkerSettings,
    connection: _Connection,
    say: Say,
    fences: Say | None,
    clock_s: Callable[[], float],
) -> dict[int, int]:
    server = connection.execute(queries.load("doctor_server")).fetchone()
    assert server is not None
    local = connection.info.host.startswith("/") or connection.info.host in _LOCAL
    say.ok("reachable", f"{connection.info.host}:{connection.info.port} as {server['login']}")
    _encryption(say, local=local, encrypted=server["encrypted"])
    _versions(say, server)
    _durability(say, server)
    _connections(say, server, settings.database_connections)
    _room(say, server, local=local)
    _clock(say, connection, clock_s)
    if not _schema(say, connection, migrated=server["migrated"]):
        return {}
    _rights(say, connection, superuser=server["superuser"])
    _days(say, connection, kept=settings.keep_fixes, at_once=settings.fix_index == "at_once")
    if fences is not None:
        _fences_in_database(connection, fences)
    return _checkpoints(say, connection, settings)


def _encryption(say: Say, *, local: bool, encrypted: bool) -> None:
    if encrypted:
        say.ok("encryption", "TLS")
    elif local:
        say.ok("encryption", "none, and none is needed on the same machine")
    else:
        say.warn(
            "encryption",
            "the connection is not encrypted",
            "add ?sslmode=verify-full to HAZFENCE_DATABASE_URL, and ssl = on in postgresql.conf",
        )


def _versions(say: Say, server: dict[str, Any]) -> None:
    version = server["version"].split()[0]
    if server["version_num"] // 10_000 < _POSTGRES:
        say.fail("version", f"PostgreSQL {version}", f"upgrade to PostgreSQL {_POSTGRES} or newer")
    else:
        say.ok("version", f"PostgreSQL {version}")
    postgis = server["postgis"]
    if postgis is None:
        say.fail(
            "postgis",
            "the database has no PostGIS",
            "install it (Debian: postgresql-postgis) and let an administrator run CREATE EXTENSION postgis",
        )
    elif tuple(int(part) for part in postgis.split(".")[:2]) < _POSTGIS:
        wanted = ".".join(map(str, _POSTGIS))
        say.fail(
            "postgis",
            f"PostGIS {postgis}",
            f"upgrade to PostGIS {wanted} or newer: SELECT postgis_extensions_upgrade()",
        )
    else:
        say.ok("postgis", f"PostGIS {postgis}")


def _durability(say: Say, server: dict[str, Any]) -> None:
    if server["standby"]:
        say.fail("writable", "the server is a standby", "point HAZFENCE_DATABASE_URL at the primary")
    elif not server["durable"]:
        say.warn(
            "durable",
            "fsync or full_page_writes is off: a power cut may ruin the database",
            "set both on in postgresql.conf, unless everything in it can be lost",
        )
    else:
        say.ok("durable", "fsync and full_page_writes are on")


def _connections(say: Say, server: dict[str, Any], wanted: int) -> None:
    free = server["connections_max"] - server["connections_used"]
    said = (
        f"{server['connections_used']} of {server['connections_max']} in use, a worker takes up to {wanted}"
    )
    if free < wanted:
        say.warn("connections", said, "raise max_connections, or lower HAZFENCE_DATABASE_CONNECTIONS")
    else:
        say.ok("connections", said)


def _room(say: Say, server: dict[str, Any], *, local: bool) -> None:
    size = f"the database has {_gigabytes(server['bytes'])}"
    folder = server["data_directory"]
    if not local or folder is None:
        why = "on another machine" if not local else "seen only by a member of pg_read_all_settings"
        say.ok("room", f"{size}; the disk is not looked at: {why}")
        return
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        say.ok("room", f"{size}; the disk is not looked at: it cannot be seen from here")
        return
    said = f"{size}; {_gigabytes(disk.free)} of {_gigabytes(disk.total)} are free"
    mend = "make room, or keep less: hazfence maintain, and HAZFENCE_FIXES_KEPT_DAYS"
    if disk.free < _ROOM_FAIL_BYTES:
        say.fail("room", said, mend)
    elif disk.free < _ROOM_WARN_BYTES or disk.free < disk.total * _ROOM_WARN_PART:
        say.warn("room", said, mend)
    else:
        say.ok("room", said)


def _gigabytes(count: int) -> str:
    return f"{count / (1 << 30):,.1f} GB"


def _clock(say: Say, connection: _Connection, clock_s: Callable[[], float]) -> None:
    before_s = clock_s()
    row = connection.execute(
        "SELECT extract(epoch FROM clock_timestamp())::double precision AS now_s"
    ).fetchone()
    after_s = clock_s()
    assert row is not None
    skew(say, "PostgreSQL", row["now_s"], before_s, after_s)


def _schema(say: Say, connection: _Connection, *, migrated: bool) -> bool:
    found = None
    if migrated:
        row = connection.execute(queries.load("schema_version")).fetchone()
        found = None if row is None else str(row["version_num"])
    if found is None or found < head():
        said = f"version {found or 'none'}, this release needs {head()}"
        say.fail("schema", said, "run hazfence migrate as the owner of the schema")
        return False
    if found > head():
        say.warn("schema", f"version {found}, this release knows up to {head()}", "install the newer release")
    else:
        say.ok("schema", f"version {found}")
    return True


def _rights(say: Say, connection: _Connection, *, superuser: bool) -> None:
    missing = [row["missing"] for row in connection.execute(queries.load("doctor_rights"))]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        say.fail(
            "rights", f"the user may not {missing[0]}{more}", "GRANT hazfence_write TO the worker's user"
        )
        return
    (beyond,) = connection.execute(queries.load("doctor_beyond")).fetchone().values()  # type: ignore[union-attr]
    if superuser or beyond:
        who = "a superuser" if superuser else "one that may delete what was found"
        say.warn(
            "rights", f"the user is {who}", "let workers use a user of their own: GRANT hazfence_write TO it"
        )
    else:
        say.ok("rights", "those of a worker, and no more")


def _days(say: Say, connection: _Connection, *, kept: bool, at_once: bool) -> None:
    if not kept:
        say.ok("days", "fixes are not kept (HAZFENCE_KEEP_FIXES)")
        return
    days = {row["day"]: row for row in connection.execute(queries.load("history_days"))}
    today = datetime.now(UTC).date()
    wanted = [today, today + timedelta(days=1)]
    missing = [str(day) for day in wanted if day not in days]
    said = f"{len(days)} days" + (f", {min(days)} to {max(days)}" if days else "")
    bare = [
        str(day) for day, row in days.items() if not row["by_vehicle"] and day >= today - timedelta(days=1)
    ]
    if at_once and bare:
        say.fail(
            "days",
            f"{said}; {bare[0]} has no index by vehicle, and a worker's start would read it once a vehicle",
            "run hazfence maintain before workers start, or set HAZFENCE_FIX_INDEX=when_closed",
        )
    elif missing:
        say.warn(
            "days",
            f"{said}; none yet for {' and '.join(missing)}: the first fix of a day waits for its table",
            "run hazfence maintain every day; it makes days ahead",
        )
    else:
        say.ok("days", said)


def _fences_in_database(connection: _Connection, say: Say) -> None:
    found = len(connection.execute(queries.load("fences_in_force")).fetchall())
    if not found:
        say.fail("in force", "no fence in the database", "run hazfence fences load FOLDER")
    else:
        say.ok("in force", f"{found} fences in the database")


def _fences_in_files(path: str, say: Say) -> None:
    try:
        fences = load_fences(path)
    except (FenceError, OSError) as error:
        say.fail("in force", str(error), f"mend {path}; hazfence fences check {path} names the place")
        return
    if not len(fences):
        say.fail("in force", f"no fence in {path}", "put GeoJSON there, or set HAZFENCE_FENCES")
        return
    repaired = sum(bool(fence.notes) for fence in fences.fences)
    notes = f", {repaired} of them repaired (hazfence fences check says how)" if repaired else ""
    say.ok("in force", f"{len(fences)} fences in {path}{notes}")


def _checkpoints(say: Say, connection: _Connection, settings: WorkerSettings) -> dict[int, int]:
    rows = connection.execute(queries.load("doctor_checkpoints"), {"topic": settings.topic}).fetchall()
    stored = [row for row in rows if row["next_offset"] is not None]
    if not stored:
        say.ok("checkpoints", f"none of topic {settings.topic} yet: the first worker reads it from its start")
        return {}
    formats = {row["format"] for row in stored} - {None}
    if unreadable := sorted(formats - set(READABLE)):
        say.fail(
            "snapshots",
            f"of format {unreadable[0]}, this release reads {', '.join(map(str, READABLE))}",
            "install the release that wrote them, or a newer one",
        )
    else:
        say.ok("snapshots", f"of format {', '.join(map(str, sorted(formats))) or 'unknown'}")
    oldest_s = max(row["age_s"] for row in stored)
    newest_s = min(row["age_s"] for row in stored)
    say.ok(
        "checkpoints",
        f"of {len(stored)} partitions; the newest {newest_s:.0f} s old, the oldest {oldest_s:.0f} s",
    )
    return {row["partition"]: row["next_offset"] for row in stored}
