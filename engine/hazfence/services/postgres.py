"""A private PostgreSQL with PostGIS: its own cluster, port, password and folder.

One of the three services of this package (`process.py` holds what they share). A system cluster is never
looked at: only Debian's binaries are used. `fresh_database` makes and drops a database inside any server,
private or given.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit, urlunsplit

from hazfence.services.process import PrivateService, ServiceError

__all__ = ["PrivatePostgres", "fresh_database", "with_database"]

_MISSING = (
    "PostgreSQL with PostGIS is not installed: run scripts/install-system-packages.sh "
    "(Debian: apt-get install postgresql-postgis), or set HAZFENCE_DATABASE_URL"
)


def _binaries() -> Path | None:
    """Return the bin directory of the newest installed server that has PostGIS."""
    found: list[tuple[int, Path]] = []
    for initdb in Path("/usr/lib/postgresql").glob("*/bin/initdb"):
        share = Path("/usr/share/postgresql") / initdb.parents[1].name / "extension" / "postgis.control"
        if initdb.parents[1].name.isdigit() and share.exists():
            found.append((int(initdb.parents[1].name), initdb.parent))
    if found:
        return max(found)[1]
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class PrivatePostgres(PrivateService):
    """A PostgreSQL cluster of our own, listening on 127.0.0.1 only, with PostGIS in its database.

    As root the server runs as user ``postgres`` (else ``nobody``), because PostgreSQL refuses to run as root.

    Args:
        folder: see `PrivateService`.
        database: name of the database that `url` points to; created with the postgis extension.
        durable: False switches fsync off: faster, survives `kill` but not a power cut; for tests.
        port: see `PrivateService`.
        ready_within_s: see `PrivateService`.
        settings: further server settings, e.g. ``{"max_connections": "20"}``.

    Example:
        >>> with PrivatePostgres(durable=False) as postgres:  # doctest: +SKIP
        ...     psycopg.connect(postgres.url)
    """

    name: ClassVar[str] = "PostgreSQL"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": roll back, disconnect, shut down
    orphan_signal: ClassVar[signal.Signals] = signal.SIGQUIT  # "immediate": ends the backends too

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        database: str = "hazfence",
        durable: bool = True,
        port: int | None = None,
        ready_within_s: float = 60.0,
        settings: dict[str, str] | None = None,
    ) -> None:
        super().__init__(folder, port=port, ready_within_s=ready_within_s)
        self.database = database
        self.durable = durable
        self.settings = dict(settings or {})
        self._bin: Path | None = None

    @property
    def url(self) -> str:
        """URL of the database for libpq, e.g. ``postgresql://postgres:...@127.0.0.1:21345/hazfence``."""
        return self.url_of(self.database)

    def url_of(self, database: str) -> str:
        """Return the URL of another database in this cluster."""
        return f"postgresql://postgres:{self._secret()}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def _owner(self) -> tuple[int, int] | None:
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return entry.pw_uid, entry.pw_gid
        raise ServiceError(
            "PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody' to run it as"
        )

    def _check(self) -> None:
        self._bin = _binaries()
        if self._bin is None:
            raise ServiceError(_MISSING)

    def _tool(self, name: str) -> str:
        if self._bin is None:
            self._check()
        assert self._bin is not None
        return str(self._bin / name)

    def _prepare(self) -> None:
        if (self.folder / "data" / "PG_VERSION").exists():
            return
        self._secret()
        command = [
            self._tool("initdb"), "--pgdata", str(self.folder / "data"), "--username", "postgres",
            "--pwfile", str(self.folder / "password"), "--auth", "scram-sha-256",
            "--locale", "C.UTF-8", "--encoding", "UTF8", "--no-instructions",
        ]  # fmt: skip
        if not self.durable:
            command.append("--no-sync")
        owner = self._owner()
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            errors="replace",
            user=owner[0] if owner else None,
            group=owner[1] if owner else None,
            extra_groups=[] if owner else None,
            check=False,
        )
        if done.returncode != 0:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            raise ServiceError(f"initdb failed: {' | '.join(done.stderr.strip().splitlines()[-3:])}")

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            # synchronous_commit stays on: off, a killed server loses what it had confirmed.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        settings |= self.settings
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [self._tool("postgres"), "-D", str(self.folder / "data"), *options]

    def _answers(self) -> bool:
        import psycopg

        try:
            with psycopg.connect(self.url_of("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _after_ready(self) -> None:
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            known = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [self.database]
            ).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.database)))
        with psycopg.connect(self.url, autocommit=True) as connection:
            try:
                connection.execute(
                    "SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS postgis"
                )
            except psycopg.Error as error:
                raise ServiceError(f"{_MISSING} ({error})") from error


def with_database(url: str, database: str) -> str:
    """Return ``url`` pointing to another database of the same server.

    Example:
        >>> with_database("postgresql://me@host:5432/a?sslmode=require", "b")
        'postgresql://me@host:5432/b?sslmode=require'
    """
    return urlunsplit(urlsplit(url)._replace(path="/" + quote(database, safe="")))


@contextlib.contextmanager
def fresh_database(url: str, *, template: str | None = None, prefix: str = "hazfence_test") -> Iterator[str]:
    """Create a database ``<prefix>_<random>`` in the server of ``url``, yield its URL, drop it afterwards.

    Nothing else in the server is touched, so this is safe on a database server somebody lent us; the user
    in the URL needs CREATEDB.

    Args:
        url: any database of the server.
        template: database to copy; None: an empty database with the postgis extension.
        prefix: lower-case name prefix.
    """
    import psycopg
    from psycopg import sql

    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", prefix):
        raise ValueError(f"database prefix {prefix!r}: use lower-case letters, digits and _")
    name = f"{prefix}_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        source = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + source)
    fresh = with_database(url, name)
    try:
        if template is None:
            with psycopg.connect(fresh, autocommit=True) as connection:
                connection.execute(
                    "SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS postgis"
                )
        yield fresh
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
