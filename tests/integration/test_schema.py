"""The schema: migrated from every version, equal to the models, open to QGIS, tight in its rights."""

from __future__ import annotations

import logging
import threading

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import Session

from hazfence.services import Services, fresh_database, with_database
from hazfence_sql import MigrationError, current, head, migrate, queries, versions
from hazfence_sql.models import Base, Breach, Checkpoint, Fix

CATALOG = {
    "columns": """
        SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity::text, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'hazfence'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'hazfence'::regnamespace AND conrelid <> 0""",
    "indexes": """
        SELECT indrelid::regclass::text, pg_get_indexdef(indexrelid)
        FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE c.relnamespace = 'hazfence'::regnamespace""",
    "tables": """
        SELECT relname, relkind::text, obj_description(oid, 'pg_class'), pg_get_partkeydef(oid)
        FROM pg_class WHERE relnamespace = 'hazfence'::regnamespace AND relkind IN ('r', 'p')""",
}


def catalog(url: str) -> dict[str, list[tuple]]:
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = public")
        found = {name: connection.execute(query).fetchall() for name, query in CATALOG.items()}
    return {
        name: sorted((row for row in rows if "schema_version" not in str(row[0])), key=repr)
        for name, rows in found.items()
    }


def engine(url: str):
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))


def test_models_equal_the_migrated_schema_down_to_constraints_and_indexes(postgres_url, empty_postgres_url):
    made = engine(empty_postgres_url)
    with made.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA hazfence")
        Base.metadata.create_all(connection)
    made.dispose()
    migrated, modelled = catalog(postgres_url), catalog(empty_postgres_url)
    assert len(migrated["tables"]) == len(Base.metadata.tables)
    for part in CATALOG:
        assert migrated[part], part
        assert migrated[part] == modelled[part], part


def test_alembic_finds_nothing_to_change(postgres_url):
    looked_at = engine(postgres_url)
    with looked_at.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table": "schema_version",
                "version_table_schema": "hazfence",
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, parents: kind != "schema" or name == "hazfence",
            },
        )
        assert compare_metadata(context, Base.metadata) == []
    looked_at.dispose()


@pytest.mark.parametrize("start", [None, *versions()])
def test_every_version_leads_to_head_and_keeps_its_rows(empty_postgres_url, postgres_url, start):
    url = empty_postgres_url
    assert current(url) is None
    if start is not None:
        assert migrate(url, start, roles=False) == start
        with psycopg.connect(url) as connection:
            fill(connection)
    assert migrate(url, roles=False) == head() == current(url)
    if start is not None:
        with psycopg.connect(url) as connection:  # a day keeps the index it has
            days = connection.execute(queries.load("history_days")).fetchall()
            assert [(row[0], row[4]) for row in days] == [("fix_20260302", True)]
            assert connection.execute("SELECT count(*) FROM hazfence.fix_map").fetchone() == (4,)
    assert migrate(url, roles=False) == head()
    assert migrate(url, versions()[0], roles=False) == head(), "never backwards"
    with psycopg.connect(url) as connection:
        if start is None:
            fill(connection)
        assert connection.execute("SELECT count(*) FROM hazfence.breach_map").fetchone() == (1,)
        connection.execute("DROP TABLE hazfence.fix_20260302")
    assert catalog(url) == catalog(postgres_url)


def fill(connection: psycopg.Connection) -> None:
    """One row in each table, with what version 0001 knows."""
    connection.execute("SELECT hazfence.ensure_fix_day('2026-03-02')")
    connection.execute("""
        INSERT INTO hazfence.fence (id, version, kind, name, shape, geom, thin, definition)
        VALUES ('r-1', 1, 'restricted', '禁区', 'polygon',
                ST_Multi(ST_MakeEnvelope(121.5, 29.9, 121.6, 30.0, 4326)), false, '{}');
        INSERT INTO hazfence.vehicle_code (vehicle) VALUES ('浙B12345');
        INSERT INTO hazfence.stream (topic, partition) VALUES ('t', 0);
        INSERT INTO hazfence.fix (time, lon, lat, "offset", status, alarm, vehicle_code, stream, item)
        SELECT '2026-03-02 08:00+08', 121.55, 29.95, o, 3, 4294967295, 1, 1, i
        FROM generate_series(7, 8) AS o, generate_series(0, 1) AS i;
        INSERT INTO hazfence.checkpoint (topic, partition, epoch, next_offset, snapshot)
        VALUES ('t', 0, 1, 9, 'x');
        INSERT INTO hazfence.dead_letter
            (topic, partition, "offset", item, reason, detail, payload, payload_bytes)
        VALUES ('t', 0, 6, -1, 'bad_json', '', 'x', 1);
    """)
    event = (
        '[{"id": "00000000000000000000000000000001", "kind": "%s", "vehicle": "浙B12345", "fence_id": "r-1",'
        ' "fence_version": 1, "revision": 1, "phase": "opened", "started_at": "2026-03-02T00:00:00.123456Z",'
        ' "ended_at": null, "lon": 121.5, "lat": 29.9, "severity": "breach", "detail": {"a": 1}}]'
    )
    for kind, number in (("restricted_entry", "1"), ("visit", "2")):
        connection.execute(
            queries.load("store_events"),
            {
                "events": (event % kind).replace('1", "kind', number + '", "kind'),
                "topic": "t",
                "partition": 0,
            },
        )


@pytest.mark.parametrize(
    ("view", "kind", "rows"),
    [
        ("fence_map", "MULTIPOLYGON", 1),
        ("breach_map", "POINT", 1),
        ("visit_map", "POINT", 1),
        ("fix_map", "POINT", 4),
    ],
)
def test_views_open_in_qgis(postgres_url, view, kind, rows):
    with psycopg.connect(postgres_url) as connection:
        fill(connection)
        found = connection.execute(
            sql.SQL("SELECT key, ST_AsText(geom) FROM hazfence.{}").format(sql.Identifier(view))
        ).fetchall()
        assert len(found) == len({key for key, _ in found}) == rows
        assert all(isinstance(key, int) and text.startswith(kind) for key, text in found)
        # What QGIS reads to know the layer: a typed geometry column with its SRID.
        layer = connection.execute(
            "SELECT type, srid FROM geometry_columns WHERE f_table_schema = 'hazfence' AND f_table_name = %s",
            [view],
        ).fetchall()
        assert layer == [(kind, 4326)]


def test_last_breaches_reads_well(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        fill(connection)
        cursor = connection.execute("TABLE hazfence.last_breaches LIMIT 10")
        assert [column.name for column in cursor.description or ()][:5] == [
            "started_at", "kind", "vehicle", "fence", "severity",
        ]  # fmt: skip
        assert cursor.fetchall()[0][1:5] == ("restricted_entry", "浙B12345", "禁区", "breach")
        connection.execute("UPDATE hazfence.event SET phase = 'retracted'")
        assert connection.execute("TABLE hazfence.last_breaches").fetchall() == []
        assert connection.execute("SELECT * FROM hazfence.breach_map").fetchall() == []


def test_models_read_what_the_programs_wrote(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        fill(connection)
    host = engine(postgres_url)
    with Session(host) as session:
        breach = session.scalars(select(Breach)).one()
        assert (breach.kind, breach.vehicle, breach.started_at.microsecond) == (
            "restricted_entry",
            "浙B12345",
            123456,
        )
        assert session.scalar(select(func.ST_AsText(Breach.place))) == "POINT(121.5 29.9)"
        assert len(session.scalars(select(Fix)).all()) == 4
        assert session.scalars(select(Fix)).first().alarm == 2**32 - 1
        assert session.scalars(select(Checkpoint)).one().snapshot == b"x"
    host.dispose()


def test_days_are_utc_days_whatever_the_session_thinks(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SET timezone = 'Asia/Shanghai'; SET datestyle = 'SQL, DMY'")
        assert connection.execute("SELECT hazfence.ensure_fix_day('2026-03-02')").fetchone() == (True,)
        assert connection.execute("SELECT hazfence.ensure_fix_day('2026-03-02')").fetchone() == (False,)
        assert connection.execute("SELECT hazfence.ensure_fix_day('2026-03-03')").fetchone() == (True,)
        connection.execute("SET timezone = 'UTC'; SET datestyle = 'ISO'")
        bounds = connection.execute(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'fix_20260302'"
        ).fetchone()
        assert bounds == ("FOR VALUES FROM ('2026-03-02 00:00:00+00') TO ('2026-03-03 00:00:00+00')",)
        for day in ("1999-12-31", "2200-01-01", "infinity", None):
            with pytest.raises(psycopg.Error, match="no fixes are kept for day"):
                connection.execute("SELECT hazfence.ensure_fix_day(%s::date)", [day])


def test_making_a_day_neither_waits_for_a_running_copy_nor_stops_it(postgres_url):
    with psycopg.connect(postgres_url) as writer, psycopg.connect(postgres_url, autocommit=True) as maker:
        writer.execute("SELECT hazfence.ensure_fix_day('2026-03-02')")
        writer.commit()
        insert = """INSERT INTO hazfence.fix
                    (time, lon, lat, "offset", status, alarm, vehicle_code, stream, item)
                    VALUES ('2026-03-02T01:00Z', 0, 0, 0, 0, 0, 1, 1, 0)"""
        writer.execute(insert)
        maker.execute("SET lock_timeout = '2s'")
        maker.execute("SELECT hazfence.ensure_fix_day('2026-03-03')")
        writer.execute("SET lock_timeout = '2s'")
        with maker.transaction():
            maker.execute("SELECT hazfence.ensure_fix_day('2026-03-04')")
            writer.execute(insert)


def test_two_migrators_at_once_both_end_well(empty_postgres_url):
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(migrate(empty_postgres_url, roles=False))
        except Exception as error:  # the test shows it
            ended.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [head()] * 3


def test_unknown_versions_are_refused(postgres_url):
    with pytest.raises(MigrationError, match="there is no schema version '7777'"):
        migrate(postgres_url, "7777")
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE hazfence.schema_version SET version_num = '9999'")
    with pytest.raises(MigrationError, match="install the newer release"):
        migrate(postgres_url)


@pytest.fixture
def logins(services: Services, postgres_url: str):
    """A user in each group role, and one that may create neither role nor extension."""
    if services.postgres is None:
        pytest.skip("roles belong to the whole server: only tried in one of our own")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE test_writer LOGIN PASSWORD 'w' IN ROLE hazfence_write")
        connection.execute("CREATE ROLE test_reader LOGIN PASSWORD 'r' IN ROLE hazfence_read")
        connection.execute("CREATE ROLE test_plain LOGIN PASSWORD 'p'")
    address = postgres_url.split("@", 1)[1]
    yield {who: f"postgresql://test_{who}:{who[0]}@{address}" for who in ("writer", "reader", "plain")}
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY test_writer, test_reader, test_plain")
        connection.execute("DROP ROLE test_writer, test_reader, test_plain")


def test_roles_can_do_their_work_and_no_more(logins):
    with psycopg.connect(logins["writer"], autocommit=True) as writer:
        fill(writer)
        for forbidden in (
            "DROP TABLE hazfence.fix_20260302",
            "DELETE FROM hazfence.event_revision",
            "UPDATE hazfence.event_revision SET revision = 2",
            "DELETE FROM hazfence.event",
            "TRUNCATE hazfence.fix",
            "CREATE TABLE hazfence.mine (x int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                writer.execute(forbidden)
    with psycopg.connect(logins["reader"], autocommit=True) as reader:
        assert reader.execute("SELECT count(*) FROM hazfence.fix_map").fetchone() == (4,)
        assert len(reader.execute("TABLE hazfence.last_breaches").fetchall()) == 1
        for forbidden in ("DELETE FROM hazfence.event", "SELECT hazfence.ensure_fix_day('2026-03-09')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(forbidden)
    with psycopg.connect(logins["plain"], autocommit=True) as plain:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            plain.execute("SELECT * FROM hazfence.event")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            plain.execute("SELECT hazfence.ensure_fix_day('2026-03-09')")


def test_a_migrator_without_rights_over_roles_still_migrates(services, logins, postgres_server, caplog):
    with fresh_database(postgres_server) as url:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("GRANT CREATE ON DATABASE {} TO test_plain").format(sql.Identifier(name))
            )
            connection.execute("ALTER ROLE hazfence_read RENAME TO hidden_read")
            connection.execute("ALTER ROLE hazfence_write RENAME TO hidden_write")
        try:
            with caplog.at_level(logging.INFO, "hazfence_sql"):
                assert migrate(with_database(logins["plain"], name)) == head()
            assert "may not create role hazfence_write" in caplog.text
        finally:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("ALTER ROLE hidden_read RENAME TO hazfence_read")
                connection.execute("ALTER ROLE hidden_write RENAME TO hazfence_write")


def test_no_postgis_and_no_right_to_create_it_says_what_to_do(services, logins, postgres_server):
    with fresh_database(postgres_server) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP EXTENSION postgis")
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with pytest.raises(MigrationError, match="let an administrator run CREATE EXTENSION postgis"):
            migrate(with_database(logins["plain"], name))


def test_queries_are_named_and_unknown_names_refused():
    assert "store_events" in queries.names()
    with pytest.raises(KeyError, match=r"there are .*store_events"):
        queries.load("nothing")
