"""Bring a database to this version of the schema, forward only.

The statements are in ``migrations/*.sql``, to be read and reviewed as SQL; Alembic keeps the order and the
record of what has been run (table ``hazfence.schema_version``), through a three-line handle a script in
``migrations/versions``. To add one: write ``migrations/0004_what.sql`` and its handle, change `models.py`
alike, run the tests. `hazfence_sql.queries` holds the statements the programs use.
"""

from __future__ import annotations

import logging
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

__all__ = ["MigrationError", "current", "head", "migrate", "versions"]

SCHEMA = "hazfence"
VERSION_TABLE = "schema_version"

#: Held while migrating, so that of two programs started at once one waits for the other.
_LOCK = 0x68617A66656E6365

log = logging.getLogger(__name__)


class MigrationError(RuntimeError):
    """The database cannot be migrated; the message says what to do."""


def versions() -> tuple[str, ...]:
    """Every version of the schema, oldest first, e.g. ``("0001", "0002")``.

    Example:
        >>> versions()[0]
        '0001'
    """
    names = (entry.name for entry in resources.files("hazfence_sql").joinpath("migrations").iterdir())
    return tuple(sorted(name[:4] for name in names if re.fullmatch(r"\d{4}_\w+\.sql", name)))


def head() -> str:
    """The newest version of the schema, the one this release works with."""
    return versions()[-1]


def migrate(url: str, target: str = "head", *, roles: bool = True) -> str:
    """Migrate the database forward to ``target`` and return the version it then has.

    Each script runs in a transaction of its own; when one fails, the database stays at the version before it.
    A database already at or beyond ``target`` is left as it is. The extension postgis is created when it is
    missing.

    Args:
        url: libpq or SQLAlchemy URL of a user that may create schemas (and, once, the extension).
        target: a version, e.g. ``"0001"``, or ``"head"``.
        roles: create the group roles hazfence_read and hazfence_write, if the user may; they are seen by
            every
            database of the server.

    Raises:
        MigrationError: no PostGIS, no right to create it, an unknown target, or a database newer than this
        release. sqlalchemy.exc.DBAPIError: the server cannot be reached or refused a statement.
    """
    from alembic import command
    from sqlalchemy import text

    known = versions()
    target = known[-1] if target == "head" else target
    if target not in known:
        raise MigrationError(f"there is no schema version {target!r}; this release knows {', '.join(known)}")
    with _engine(url).connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.add_notice_handler(lambda notice: log.info("%s: %s", notice.severity, notice.message_primary))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        try:
            _ensure_postgis(connection)
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            connection.execute(
                text("SELECT set_config('hazfence.roles', :roles, false)"),
                {"roles": "on" if roles else "off"},
            )
            connection.commit()
            before = _version(connection)
            if before is not None and before not in known:
                raise MigrationError(
                    f"the database has schema version {before}, this release knows only up to {known[-1]}: "
                    "install the newer release"
                )
            if before is None or before < target:
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, target)
                connection.commit()
            return _version(connection) or target
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()


def current(url: str) -> str | None:
    """Return the schema version of the database, None when it was never migrated.

    Raises:
        sqlalchemy.exc.DBAPIError: the server cannot be reached.
    """
    with _engine(url).connect() as connection:
        return _version(connection)


def run_script(name: str) -> None:
    """Run one of the scripts on Alembic's connection; for the handles in ``migrations/versions`` only."""
    from alembic import op

    script = resources.files("hazfence_sql").joinpath("migrations", name).read_text(encoding="utf-8")
    # Without parameters the driver takes several statements at once and no % or : is special.
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "hazfence_sql:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _engine(url: str) -> Engine:
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.pool import NullPool

    address = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url))
    return create_engine(address, poolclass=NullPool)


def _version(connection: Connection) -> str | None:
    from sqlalchemy import text

    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": f"{SCHEMA}.{VERSION_TABLE}"}) is None:
        return None
    version: str | None = connection.scalar(text(f"SELECT version_num FROM {SCHEMA}.{VERSION_TABLE}"))
    return version


def _ensure_postgis(connection: Connection) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    if connection.scalar(text("SELECT 1 FROM pg_extension WHERE extname = 'postgis'")):
        connection.commit()
        return
    try:
        connection.execute(text("CREATE EXTENSION postgis"))
        connection.commit()
    except DBAPIError as error:
        connection.rollback()
        raise MigrationError(
            f"the database has no PostGIS and it could not be created ({str(error.orig).strip()}): install "
            "it (Debian: postgresql-postgis) and let an administrator run CREATE EXTENSION postgis"
        ) from error
