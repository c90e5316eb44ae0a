"""The PostGIS store keeps the port's promises: once, in order, all or nothing, and only for the owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

from hazfence.events import Kind, Phase
from hazfence.fixes import FixBatch
from hazfence.history import Milestone, MilestoneNews, Missing
from hazfence.memory import MemoryStore
from hazfence.ports import Checkpoint, Reject, StaleClaim, Store
from hazfence.postgis import PostgisStore, SchemaMismatch
from hazfence_sql import migrate, queries

from .stored import START_US, P, T, fact, fixes, opened, rows, run

# -- promises that the twin in memory keeps too ----------------------------------------------------


@pytest.fixture(params=["postgis", "memory"])
def make_store(request) -> Callable[[], Store]:
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    url = request.getfixturevalue("postgres_url")
    return lambda: PostgisStore(url)


def test_what_is_stored_comes_back_as_it_was(make_store):
    async def test() -> None:
        store = make_store()
        await store.open()
        claim, checkpoint = await store.claim(T, P)
        assert (claim.epoch, checkpoint) == (1, None)
        said = [
            fact(1),
            fact(2, kind=Kind.VISIT, detail={}),
            fact(2, 2, Phase.CLOSED, Kind.VISIT),
            fact(1, 2, Phase.AMENDED),
            fact(3, phase=Phase.CLOSED, kind=Kind.GATE_BYPASS, fence_id=None, fence_version=None),
            fact(4, phase=Phase.RETRACTED),
        ]
        await store.write(claim, said, [])
        outbox = await store.outbox(T, P, 0, 100)
        assert [published.event for published in outbox] == said
        seqs = [published.seq for published in outbox]
        assert seqs == sorted(set(seqs))
        assert list(await store.open_events(T, P)) == [said[3]]
        assert await store.outbox(T, P + 1, 0, 100) == []
        assert await store.open_events(T, P + 1) == []
        assert [p.seq for p in await store.outbox(T, P, seqs[1], 3)] == seqs[2:5]
        for count in range(8):
            tail = await store.outbox_tail(T, P, count)
            assert [p.seq for p in await store.outbox(T, P, tail, 100)] == seqs[max(0, 6 - count) :]
        await store.close()

    run(test)


def test_storing_again_changes_nothing_and_no_revision_goes_back(make_store):
    async def test() -> None:
        store = make_store()
        await store.open()
        claim, _ = await store.claim(T, P)
        opened_, closed = fact(1), fact(1, 2, Phase.CLOSED)
        reject = Reject(5, -1, "bad_json", "line 1", b"{")
        await store.write(claim, [opened_, closed, opened_], [reject, reject])
        first = await store.outbox(T, P, 0, 100)
        await store.write(claim, [opened_], [reject])
        await store.write(claim, [opened_, closed], [Reject(5, -1, "other", "", b"")])
        assert await store.outbox(T, P, 0, 100) == first
        assert [p.event for p in first] == [opened_, closed]
        assert await store.open_events(T, P) == []
        await store.close()

    run(test)


def test_only_the_last_owner_writes(make_store):
    async def test() -> None:
        store, other = make_store(), make_store()
        await store.open()
        await other.open()
        old, _ = await store.claim(T, P)
        await store.checkpoint(old, Checkpoint(10, b"\0one"), fixes(0, 10), [fact(1)])
        new, checkpoint = await other.claim(T, P)
        assert checkpoint == Checkpoint(10, b"\0one")
        assert new.epoch == old.epoch + 1
        for attempt in (
            store.write(old, [fact(2)], []),
            store.write(old, [], [Reject(1, 0, "x", "", b"")]),
            store.checkpoint(old, Checkpoint(20, b"two"), fixes(10, 10), [fact(3)]),
            store.checkpoint(old, Checkpoint(10, b"two"), FixBatch.empty()),
        ):
            with pytest.raises(StaleClaim):
                await attempt
        await other.write(new, [fact(4)], [])
        assert [p.event for p in await store.outbox(T, P, 0, 9)] == [fact(1), fact(4)]
        elsewhere, nothing = await store.claim(T, P + 1)
        assert (elsewhere.epoch, nothing) == (1, None)
        assert (await store.claim(T, P))[1] == Checkpoint(10, b"\0one")
        await store.close()
        await other.close()

    run(test)


def test_a_checkpoint_that_is_repeated_stores_no_fix_twice(make_store, request):
    async def test() -> None:
        store = make_store()
        await store.open()
        claim, _ = await store.claim(T, P)
        for _ in range(3):
            await store.checkpoint(claim, Checkpoint(10, b"a"), fixes(0, 10), [fact(1)])
        await store.checkpoint(claim, Checkpoint(10, b"b"), FixBatch.empty(), [fact(2)])
        await store.checkpoint(claim, Checkpoint(12, b"c"), fixes(10, 2))
        assert (await store.claim(T, P))[1] == Checkpoint(12, b"c")
        assert [p.event for p in await store.outbox(T, P, 0, 9)] == [fact(1), fact(2)]
        if isinstance(store, MemoryStore):
            stored = store.fixes(T, P)
            assert len(stored) == 120
        await store.close()

    run(test)
    if "postgres_url" in request.fixturenames or request.node.callspec.params["make_store"] == "postgis":
        assert len(rows(request.getfixturevalue("postgres_url"), "fix")) == 120


def stone(vehicle: str, second: int, since: int) -> Milestone:
    return Milestone(vehicle, START_US + second * 1_000_000, START_US + since * 1_000_000, b"%d" % second)


def news(vehicle: str, from_s: int, needed_s: int, *stones: Milestone) -> MilestoneNews:
    return MilestoneNews(vehicle, START_US + from_s * 1_000_000, START_US + needed_s * 1_000_000, stones)


def test_history_is_what_the_last_checkpoint_left(make_store):
    async def test() -> None:
        store = make_store()
        await store.open()
        claim, _ = await store.claim(T, P)
        said = fixes(0, 10, vehicles=2)  # of each vehicle one every two seconds, for 100 s
        a, b = said.vehicles
        first = [
            news(a, -9, -99, Milestone(a, -(2**63), -(2**63), b"first"), stone(a, 10, 4), stone(a, 20, 16)),
            news(b, 30, -99, stone(b, 30, 2)),
        ]
        await store.checkpoint(claim, Checkpoint(10, b"1"), said, milestones=first)

        async def history(vehicle: str, at_s: int, valid_s: int = 1000, settled: bool = False) -> Any:
            at_us, valid_us = START_US + at_s * 1_000_000, START_US + valid_s * 1_000_000
            asked = Missing(vehicle, at_us, valid_us, START_US + 1_000_000_000, settled)
            found = await store.history(T, P, [asked])
            assert set(found.fixes.names()) <= {vehicle}
            times = (found.fixes.time_us - START_US) // 1_000_000
            return {s.state for s in found.stones}, int(times.min()), int(times.max()), len(times)

        # From the milestone before; from the fix before where one holds over the moment wanted.
        assert await history(a, 15) == ({b"10", b"20"}, 8, 98, 46)
        assert await history(a, 17) == ({b"20"}, 16, 98, 42)
        assert await history(a, 25) == ({b"20"}, 18, 98, 41)
        assert await history(a, 25, valid_s=20) == ({b"10"}, 8, 98, 46)
        assert await history(a, 3) == ({b"first", b"10", b"20"}, 0, 98, 50)
        assert await history(b, 3) == ({b"30"}, 1, 99, 50)
        assert await history(b, 31, settled=True) == (set(), 29, 99, 36)

        # Replaced from 15 s on; what lies before the last one not after 12 s is needed no more.
        second = [news(a, 15, 12, stone(a, 16, 12), stone(a, 40, 18))]
        for _ in range(2):  # its answer was lost
            await store.checkpoint(claim, Checkpoint(11, b"2"), fixes(10, 1, vehicles=2), milestones=second)
        assert await history(a, 3) == ({b"10", b"16", b"40"}, 2, 108, 54)
        assert await history(a, 25) == ({b"40"}, 24, 108, 43)
        nobody = await store.history(T, P, [Missing("nobody", START_US, START_US, START_US, False)])
        assert len(nobody.fixes) == 0
        assert not nobody.stones
        await store.close()

    run(test)


# -- the database's own ----------------------------------------------------------------------------


def test_milestones_are_looked_up_vehicle_by_vehicle_whatever_the_statistics_say(postgres_url):
    """Of a stream that began after they were gathered the planner thinks that it has no milestone."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("""
            INSERT INTO hazfence.vehicle_code (vehicle) SELECT 'V' || i FROM generate_series(1, 8000) AS i;
            INSERT INTO hazfence.stream (topic, partition) SELECT 't', i FROM generate_series(0, 3) AS i;
            INSERT INTO hazfence.milestone SELECT s.stream, v.code, 0, 0, ''
            FROM hazfence.vehicle_code AS v CROSS JOIN hazfence.stream AS s WHERE s.partition < 3;
            ANALYZE hazfence.milestone;
            INSERT INTO hazfence.milestone SELECT s.stream, v.code, 0, 0, ''
            FROM hazfence.vehicle_code AS v CROSS JOIN hazfence.stream AS s WHERE s.partition = 3
        """)
        (young,) = connection.execute("SELECT max(stream) FROM hazfence.stream").fetchone()
        codes = list(range(1, 501))
        moments = {name: [1] * len(codes) for name in ("from_us", "needed_us", "wanted_us", "valid_us")}
        for name in ("drop_milestones", "prune_milestones", "milestones"):
            plan = connection.execute(
                "EXPLAIN (ANALYZE, FORMAT JSON) " + queries.load(name),
                {"stream": young, "codes": codes, **moments},
            ).fetchone()[0]
            nodes = list(_nodes(plan[0]["Plan"]))
            scans = [node for node in nodes if node.get("Relation Name") == "milestone"]
            assert scans, name
            assert all(node["Node Type"] != "Seq Scan" for node in scans), name
            # Nothing is read that is not wanted.
            assert sum(node.get("Rows Removed by Join Filter", 0) for node in nodes) == 0, name
            assert sum(node.get("Rows Removed by Filter", 0) for node in nodes) == 0, name


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def test_events_do_not_wait_for_the_milestones_of_a_checkpoint(postgres_url):
    async def test() -> None:
        async with opened(postgres_url) as store:
            claim, _ = await store.claim(T, P)
            said = fixes(0, 10, vehicles=2)
            vehicle = said.vehicles[0]
            first = [news(vehicle, -9, -99, stone(vehicle, 10, 4))]
            await store.checkpoint(claim, Checkpoint(10, b"1"), said, milestones=first)
            async with await psycopg.AsyncConnection.connect(postgres_url) as busy:
                await busy.execute("SELECT FROM hazfence.milestone FOR UPDATE")
                saving = asyncio.create_task(
                    store.checkpoint(claim, Checkpoint(11, b"2"), fixes(10, 1, vehicles=2), milestones=first)
                )
                await asyncio.sleep(0.3)
                async with asyncio.timeout(5):
                    await store.write(claim, [fact(1)], [])
                assert not saving.done()
                await busy.rollback()
                await saving
            assert (await store.claim(T, P))[1] == Checkpoint(11, b"2")
            assert [p.event for p in await store.outbox(T, P, 0, 9)] == [fact(1)]

    run(test)
    assert len(rows(postgres_url, "milestone")) == 1


def test_fixes_are_stored_to_the_last_bit(postgres_url):
    async def test() -> None:
        async with opened(postgres_url) as store:
            claim, _ = await store.claim(T, P)
            await store.checkpoint(claim, Checkpoint(10, b""), fixes(0, 4, per_message=25))

    run(test)
    batch = fixes(0, 4, per_message=25)
    with psycopg.connect(postgres_url, options="-c timezone=UTC") as connection:
        stored = connection.execute("""
            SELECT vehicle, (extract(epoch FROM time) * 1000000)::bigint, lon, lat, speed_kmh, heading_deg,
                   status, alarm, "offset", item, topic, partition
            FROM hazfence.fix JOIN hazfence.vehicle_code ON code = vehicle_code
            JOIN hazfence.stream USING (stream)
            ORDER BY time""").fetchall()
    assert stored == [
        (
            batch.vehicles[batch.vehicle[i]], batch.time_us[i], batch.lon[i], batch.lat[i],
            None if np.isnan(batch.speed_kmh[i]) else float(batch.speed_kmh[i]),
            None if np.isnan(batch.heading_deg[i]) else float(batch.heading_deg[i]),
            batch.status[i], batch.alarm[i], batch.offset[i], batch.item[i], T, P,
        )
        for i in range(100)
    ]  # fmt: skip


def test_days_are_created_ahead_and_vehicles_numbered_once(postgres_url):
    async def test() -> None:
        day_us = 86_400_000_000
        async with opened(postgres_url) as one, opened(postgres_url) as two:
            claims = [(await store.claim(T, n))[0] for n, store in enumerate((one, two))]
            midnight = START_US - 123_456

            def batch(days: list[float]) -> FixBatch:
                times = [midnight + int(day * day_us) for day in days]
                return FixBatch.of(
                    [f"V{i}" for i in range(len(days))], time_us=times, lon=1.0, lat=2.0, offset=5
                )

            await asyncio.gather(  # both are new to both days and all vehicles at once
                one.checkpoint(claims[0], Checkpoint(6, b""), batch([0, 0.999999, 40, -1e-9, -3])),
                two.checkpoint(claims[1], Checkpoint(6, b""), batch([0, 1, -3, 2, 3.5, 4])),
            )
            # The database is restored to an earlier state: numbers learnt must not be used any more.
            await one.open()
            await one.checkpoint(claims[0], Checkpoint(7, b""), batch([0]).take(slice(0, 0)))

    run(test)
    with psycopg.connect(postgres_url, options="-c timezone=UTC") as connection:
        days = connection.execute("""
            SELECT right(relname, 4) FROM pg_class WHERE relname LIKE 'fix\\_2%' AND relkind = 'r'
            ORDER BY relname""").fetchall()
        assert [day for (day,) in days] == [
            "0227", "0228", "0301", "0302", "0303", "0304", "0305", "0306", "0307", "0411", "0412",
        ]  # fmt: skip
        misplaced = """SELECT count(*) FROM hazfence.fix
                       WHERE tableoid::regclass::text NOT LIKE to_char(time, '%YYYYMMDD')"""
        assert connection.execute(misplaced).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM hazfence.fix").fetchone() == (11,)
        numbered = connection.execute("SELECT vehicle FROM hazfence.vehicle_code ORDER BY vehicle").fetchall()
        assert numbered == [(f"V{i}",) for i in range(6)]


ODD = [
    "浙B12345", "a'b\"c\\d", "'; DROP TABLE hazfence.fix; --", "%(x)s %s {}", "a\0b", "a␀b", "\ud800",
    "\udc00x", "", " ", "\n\t\r", "x" * 200, "x" * 201, "x" * 100_000, "\\N", "\\.", "🚚", "\u202e",
    "e\u0301", "é", "<script>",
]  # fmt: skip


def test_odd_characters_never_block_a_partition(postgres_url):
    async def test() -> None:
        async with opened(postgres_url, payload_limit_bytes=1000) as store:
            claim, _ = await store.claim("odd' topic", P)
            events = [
                fact(n, vehicle=text, fence_id=text, detail={text: text, "n": [float("nan"), text]})
                for n, text in enumerate(ODD)
            ]
            rejects = [
                Reject(n, n, text, text, text.encode("utf-8", "surrogatepass") + bytes(range(256)))
                for n, text in enumerate(ODD)
            ]
            batch = FixBatch.of(ODD, time_us=START_US, lon=1.0, lat=2.0, offset=range(len(ODD)))
            for _ in range(2):
                await store.write(claim, events, rejects)
                await store.checkpoint(claim, Checkpoint(100, b"\0"), batch, events, rejects)
            back = [p.event for p in await store.outbox("odd' topic", P, 0, 1000)]
            assert [event.id for event in back] == [event.id for event in events]
            for event, text in zip(back, ODD, strict=True):
                if "\0" not in text and len(text) <= 200 and text.isprintable() and "\ud800" not in text:
                    assert event.vehicle == event.fence_id == text
                    assert event.detail == {text: text, "n": [None, text]}
            assert len({event.vehicle for event in back}) == len(ODD)
            # What it gives out can be stored again under the same names.
            await store.write(claim, back, [])
            assert [p.event for p in await store.outbox("odd' topic", P, 0, 1000)] == back

    run(test)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM hazfence.vehicle_code").fetchone() == (len(ODD),)
        kept = connection.execute(
            'SELECT reason, detail, payload, payload_bytes FROM hazfence.dead_letter ORDER BY "offset"'
        ).fetchall()
        for (reason, detail, payload, size), text in zip(kept, ODD, strict=True):
            raw = text.encode("utf-8", "surrogatepass") + bytes(range(256))
            assert (payload, size) == (raw[:1000], len(raw))
            assert len(reason) <= 100
            assert len(detail) <= 2000
        assert kept[0][:2] == (ODD[0], ODD[0])


def test_fixes_can_be_left_out(postgres_url):
    async def test() -> None:
        async with opened(postgres_url, keep_fixes=False) as store:
            claim, _ = await store.claim(T, P)
            await store.checkpoint(claim, Checkpoint(10, b"x"), fixes(0, 10), [fact(1)])

    run(test)
    assert [len(rows(postgres_url, table)) for table in ("fix", "event", "checkpoint")] == [0, 1, 1]


def test_a_fix_beyond_the_checkpoint_is_a_mistake_that_is_told(postgres_url):
    async def test() -> None:
        async with opened(postgres_url) as store:
            claim, _ = await store.claim(T, P)
            with pytest.raises(ValueError, match="offset 9 cannot be part of the checkpoint before 9"):
                await store.checkpoint(claim, Checkpoint(9, b"x"), fixes(0, 10))

    run(test)
    assert rows(postgres_url, "fix") == []


def test_a_database_that_is_not_migrated_is_told(empty_postgres_url):
    async def test() -> None:
        for version in (None, "0001"):
            if version:
                migrate(empty_postgres_url, version, roles=False)
            with pytest.raises(
                SchemaMismatch, match=f"has schema version {version or 'none'}, .*hazfence migrate"
            ):
                await PostgisStore(empty_postgres_url).open()

    run(test)


def test_unexpected_errors_go_up_and_leave_the_store_usable(postgres_url):
    async def test() -> None:
        async with opened(postgres_url, connections=1) as store:
            claim, _ = await store.claim(T, P)
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute("ALTER TABLE hazfence.event RENAME TO gone")
                with pytest.raises(psycopg.errors.UndefinedTable):
                    await store.write(claim, [fact(1)], [])
                connection.execute("ALTER TABLE hazfence.gone RENAME TO event")
            await store.write(claim, [fact(1)], [])

    run(test)
    assert len(rows(postgres_url, "event")) == 1


def test_all_fixes_of_the_last_moment_before_come_back(postgres_url: str) -> None:
    """Which of them stands is the engine's to say."""
    batch = fixes(0, 40, vehicles=4)
    last = batch.take(slice(-4, None))
    before = batch.take(np.flatnonzero(batch.time_us == last.time_us[0] - 60_000_000))
    rivals = [replace(before, lon=before.lon + step) for step in (-0.01, 0.01)]
    assert len(before) == 1

    async def test() -> None:
        memory = MemoryStore()
        async with opened(postgres_url) as store:
            for one in (store, memory):
                claim, _ = await one.claim(T, P)
                stored = FixBatch.concat([rivals[0], batch, rivals[1]])
                await one.checkpoint(claim, Checkpoint(40, b""), stored)
                recent = await one.recent_fixes(T, P, last, 60)
                assert len(recent) == 4 * 16 + 2
                found = recent.lon[recent.time_us == before.time_us[0]]
                wanted = [rivals[0].lon[0], before.lon[0], rivals[1].lon[0]]
                assert sorted(found.tolist()) == pytest.approx(wanted)

    run(test)


def test_recent_fixes_come_back_as_they_were_with_the_one_before(postgres_url: str) -> None:
    batch = fixes(0, 40, vehicles=4)  # each vehicle every 4 s, 100 times, from offset 0 on
    last = batch.take(slice(-4, None))

    async def test() -> None:
        memory = MemoryStore()
        async with opened(postgres_url) as store:
            found = []
            for one in (store, memory):
                claim, _ = await one.claim(T, P)
                other, _ = await one.claim(T, P + 1)
                assert len(await one.recent_fixes(T, P, last, 60)) == 0
                await one.checkpoint(claim, Checkpoint(40, b""), batch)
                # The same vehicles' fixes of another partition are none of this one's.
                await one.checkpoint(other, Checkpoint(40, b""), batch)
                found.append(await one.recent_fixes(T, P, last, 60))
                assert len(await one.recent_fixes(T, P, last.take(slice(0, 0)), 60)) == 0
        for recent in found:
            assert len(recent) == 4 * 16  # 15 within the minute, and the one before
            order = np.lexsort((recent.vehicle, recent.time_us))
            recent = recent.take(order)
            wanted = batch.take(slice(-64, None))
            for name in ("time_us", "lon", "lat", "speed_kmh", "heading_deg", "alarm"):
                assert np.array_equal(getattr(recent, name), getattr(wanted, name), equal_nan=True), name
            assert np.array_equal(recent.accuracy(), wanted.accuracy(), equal_nan=True)
            assert recent.names() == wanted.names()

    run(test)
