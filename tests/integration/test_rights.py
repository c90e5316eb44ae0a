"""Each role tries everything there is to try on everything there is: what it may not do is refused."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from hazfence.services import Services

ADD, CHANGE, TIDY = {"SELECT", "INSERT"}, {"SELECT", "INSERT", "UPDATE"}, {"SELECT", "INSERT", "DELETE"}
#: What a worker may do with each table; with any other table, and with views, it may only read.
WORKER = {
    "stream": ADD, "vehicle_code": ADD, "fix": ADD, "event_revision": ADD, "dead_letter": ADD,
    "visit": CHANGE, "event": CHANGE, "checkpoint": CHANGE, "fence": CHANGE,
    "replay_run": TIDY, "replay_event": TIDY, "milestone": TIDY,  # nobody's evidence
}  # fmt: skip
ROLES = ("hazfence_read", "hazfence_write")
#: {r} is the table or view, {c} a column of it.
TRIES = {
    "SELECT": "SELECT {c} FROM {r} LIMIT 0",
    "INSERT": "INSERT INTO {r} ({c}) SELECT {c} FROM {r} WHERE false",
    "UPDATE": "UPDATE {r} SET {c} = {c} WHERE false",
    "DELETE": "DELETE FROM {r} WHERE false",
    "TRUNCATE": "TRUNCATE {r}",
    "DROP": "DROP {k} {r} CASCADE",
    "ALTER": "ALTER {k} {r} RENAME TO mine",
    "OWN": "ALTER {k} {r} OWNER TO CURRENT_USER",
    "INDEX": "CREATE INDEX ON {r} ({c})",
    "TRIGGER": "ALTER TABLE {r} DISABLE TRIGGER ALL",
}
#: Ways around the rights on tables.
BEYOND = (
    "CREATE TABLE hazfence.mine (x int)",
    "CREATE FUNCTION hazfence.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION hazfence.ensure_fix_day(day date, index_now boolean DEFAULT true) "
    "RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "ALTER FUNCTION hazfence.ensure_fix_day(date, boolean) SECURITY INVOKER",
    "DROP SCHEMA hazfence CASCADE",
    "DROP EXTENSION postgis CASCADE",
    "CREATE EXTENSION file_fdw",
    "CREATE ROLE another SUPERUSER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "SET ROLE postgres",
    "SET session_replication_role = replica",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/hazfence-was-here'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT rolpassword FROM pg_authid",
)


@pytest.fixture(scope="module")
def relations(services: Services, module_postgres_url: str) -> list[tuple[str, str, str]]:
    """Name, kind and a column that can be written, of every table and view; a day of fixes among them."""
    if services.postgres is None:
        pytest.skip("roles belong to the whole server: only tried in one of our own")
    with psycopg.connect(module_postgres_url) as connection:
        connection.execute("SELECT hazfence.ensure_fix_day('2026-03-02')")
        return connection.execute(
            """SELECT c.relname::text, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                      ELSE 'TABLE' END, min(a.attname)::text
               FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
               WHERE c.relnamespace = 'hazfence'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
                 AND a.attnum > 0 AND a.attidentity = '' AND NOT a.attisdropped
               GROUP BY 1, 2 ORDER BY 1"""
        ).fetchall()


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest, services: Services, module_postgres_url: str) -> Iterator[str]:
    """A user in the group, by the name of the group."""
    if services.postgres is None:
        pytest.skip("roles belong to the whole server: only tried in one of our own")
    with psycopg.connect(module_postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE tries_all LOGIN PASSWORD 'tries' IN ROLE {request.param}")
        yield request.param
        connection.execute("DROP OWNED BY tries_all")
        connection.execute("DROP ROLE tries_all")


def refused(connection: psycopg.Connection, statement: sql.SQL | sql.Composed | str) -> bool:
    """Whether a statement is refused for lack of rights; nothing it does stays."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)  # type: ignore[arg-type]
    except psycopg.errors.InsufficientPrivilege:
        return True
    except (
        psycopg.errors.WrongObjectType,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.ObjectNotInPrerequisiteState,
    ):
        # E.g. TRUNCATE of a view, or writing into one that is a join: impossible for anybody.
        return True
    return False


def test_every_statement_on_every_table(
    role: str, relations: list[tuple[str, str, str]], module_postgres_url: str
) -> None:
    address = module_postgres_url.split("@", 1)[1]
    may = set()
    with psycopg.connect(f"postgresql://tries_all:tries@{address}", autocommit=True) as connection:
        for name, kind, column in relations:
            for what, statement in TRIES.items():
                composed = sql.SQL(statement).format(
                    r=sql.Identifier("hazfence", name), c=sql.Identifier(column), k=sql.SQL(kind)
                )
                if not refused(connection, composed):
                    may.add((name, what))
    wanted = {(name, "SELECT") for name, _, _ in relations if not name.startswith("fix_2")}
    if role == "hazfence_write":
        wanted |= {(name, what) for name, rights in WORKER.items() for what in rights}
    # How far the schema came is the migrator's own matter, and a day is written through its parent.
    assert may - {("schema_version", "SELECT")} == wanted - {("schema_version", "SELECT")}


def test_no_way_around(role: str, module_postgres_url: str) -> None:
    address = module_postgres_url.split("@", 1)[1]
    with psycopg.connect(f"postgresql://tries_all:tries@{address}", autocommit=True) as connection:
        for statement in BEYOND:
            assert refused(connection, statement), statement
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER SYSTEM SET fsync = off")  # in no transaction
        day = "SELECT hazfence.ensure_fix_day('2026-03-03')"
        assert refused(connection, day) is (role == "hazfence_read")
        # The function runs with the migrator's rights: no search path of the caller may lead it astray.
        connection.execute("CREATE TEMP TABLE pg_class (relname text, relnamespace regnamespace)")
        connection.execute("SET search_path = pg_temp, public")
        assert refused(connection, day) is (role == "hazfence_read")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT hazfence.reference_changed()")


def test_a_file_was_not_written() -> None:
    from pathlib import Path

    assert not Path("/tmp/hazfence-was-here").exists()
