"""The file in PostgreSQL: read as it was written, by state and time, and news of it heard or found."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest

from hazfence.events import from_iso
from hazfence.postgis import PostgisReference
from hazfence.postgis.link import is_away

FILE = """
INSERT INTO hazfence.company (id, name, audit, valid_from) VALUES ('C-1', 'one', 'approved', '2026-01-01Z');
INSERT INTO hazfence.vehicle (plate, category, company_id, audit, papers, valid_from, valid_to) VALUES
    ('浙B·12345', 'tank', 'C-1', 'pending', '{}', '2026-01-01Z', '2026-02-01Z'),
    ('浙B·12345', 'tank', 'C-1', 'approved', '{"transport permit": "2026-05-01T00:00:00+08:00"}',
     '2026-02-01Z', NULL);
INSERT INTO hazfence.person (id, role, audit, valid_from) VALUES ('P-1', 'driver', 'rejected', '2026-01-01Z');
INSERT INTO hazfence.tank (id, audit, valid_from) VALUES ('T-1', 'approved', '2026-01-01Z');
INSERT INTO hazfence.waybill
    (number, plate, un_number, un_class, goods, tank_id, window_from, window_to, approved_at)
VALUES ('W-1', '浙B12345', 1017, '2.3', '液氯', 'T-1', '2026-03-02 08:00+08', '2026-03-02 12:00+08',
        '2026-03-01Z'),
       ('W-2', '浙B12345', 1203, '3', '', NULL, '2026-03-03 08:00+08', '2026-03-03 12:00+08', NULL);
"""


def us(text: str) -> int:
    return from_iso(text)


def test_the_file_is_read_as_it_stood_at_each_moment(postgres_url):
    async def test() -> None:
        file = PostgisReference(postgres_url)
        await file.open()
        seq, data, _ = await file.load()
        assert (seq, data.filed, data.waybills) == (0, (), ())
        with psycopg.connect(postgres_url) as connection:
            connection.execute(FILE)
        seq, data, _ = await file.load()
        await file.close()
        assert seq == 5
        assert data.audit("浙b 12345", us("2026-01-15T00:00:00Z")) == "pending"
        assert data.audit("浙B12345", us("2026-02-01T00:00:00Z")) == "approved"
        assert data.audit("浙B12345", us("2025-12-31T00:00:00Z")) is None
        assert data.classes("浙B12345", us("2026-03-01T00:00:00Z")) == {"tank"}
        bill = data.waybill("浙B12345", us("2026-03-02T08:00:00+08:00"))
        assert bill is not None
        assert (bill.number, bill.un_class, bill.goods, bill.tank) == ("W-1", "2.3", "液氯", "T-1")
        assert data.waybill("浙B12345", us("2026-03-03T09:00:00+08:00")) is None
        person = data.row("person", "P-1", us("2026-03-01T00:00:00Z"))
        assert person is not None
        assert (person.audit, person.category) == ("rejected", "driver")
        vehicle = data.row("vehicle", "浙B12345", us("2026-03-01T00:00:00Z"))
        assert vehicle is not None
        assert vehicle.papers == {"transport permit": us("2026-04-30T16:00:00Z")}

    asyncio.run(asyncio.wait_for(test(), 60))


def test_news_is_heard_at_once_and_found_by_polling_when_it_was_not_heard(postgres_url):
    async def change() -> None:
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
            await connection.execute("UPDATE hazfence.waybill SET withdrawn_at = now() WHERE number = 'W-1'")

    async def test() -> None:
        with psycopg.connect(postgres_url) as connection:
            connection.execute(FILE)
        file = PostgisReference(postgres_url, poll_s=30.0)
        seq, _, _ = await file.load()
        assert not await file.changed(seq, 0.05)
        began = time.monotonic()
        waiting = asyncio.create_task(file.changed(seq, 30.0))
        await asyncio.sleep(0.2)
        await change()
        assert await waiting
        assert time.monotonic() - began < 10
        # What happened while nobody listened is seen by the count.
        await file.close()
        seq, _, _ = await file.load()
        await change()
        assert await file.changed(seq, 0.05)
        # Without LISTEN (the ear is deaf: a pooler in between, say) polling finds it.
        deaf = PostgisReference(postgres_url, poll_s=0.1)
        seq, _, _ = await deaf.load()
        ear = await deaf._listening()
        await ear.execute("UNLISTEN *")
        waiting = asyncio.create_task(deaf.changed(seq, 30.0))
        await asyncio.sleep(0.2)
        await change()
        assert await asyncio.wait_for(waiting, 10)
        await deaf.close()
        await file.close()

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_broken_ear_is_told_as_away_and_mended_by_the_next_call(postgres_url):
    async def test() -> None:
        file = PostgisReference(postgres_url, poll_s=30.0)
        seq, _, _ = await file.load()
        waiting = asyncio.create_task(file.changed(seq, 30.0))
        await asyncio.sleep(0.3)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE '%reference_change%' "
                "AND pid <> pg_backend_pid()"
            )
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(waiting, 20)
        assert not await file.changed(seq, 0.05)
        await file.close()

    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE hazfence.waybill SET window_to = window_from", "waybill_window_in_order"),
        ("UPDATE hazfence.waybill SET un_number = 9999", "waybill_un_number_known"),
        ("UPDATE hazfence.vehicle SET audit = 'fine'", "vehicle_audit_known"),
        ("INSERT INTO hazfence.vehicle (plate, audit) VALUES ('浙B·12345', 'approved')", "vehicle_holds"),
    ],
)
def test_the_database_refuses_what_cannot_be_meant(postgres_url, statement, constraint):
    with psycopg.connect(postgres_url) as connection:
        connection.execute(FILE)
        with pytest.raises(psycopg.errors.IntegrityError) as error:
            connection.execute(statement)
        assert constraint in str(error.value)
        assert not is_away(error.value)


def test_a_paper_without_a_moment_is_named(postgres_url):
    async def test() -> None:
        file = PostgisReference(postgres_url)
        state = await file.load()
        await file.close()
        assert state.faults == (
            "tank 'T-1': paper 'inspection' expires 'soon'; write a moment such as 2026-05-01T00:00:00+08:00",
        )
        assert [row.id for row in state.data.filed] == ["T-2"]  # the others count

    with psycopg.connect(postgres_url) as connection:
        papers = '{"inspection": "soon"}'
        connection.execute(
            "INSERT INTO hazfence.tank (id, audit, papers) "
            "VALUES ('T-1', 'approved', %s), ('T-2', 'approved', '{}')",
            [papers],
        )
    asyncio.run(asyncio.wait_for(test(), 60))
