"""Upkeep: days made ahead, closed and dropped, old rows taken away, and no worker disturbed by it."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from hazfence.events import Phase
from hazfence.ports import Checkpoint, Reject, StoreAway
from hazfence.postgis import PostgisStore, SchemaMismatch
from hazfence.postgis.upkeep import Action, Step, Upkeep, UpkeepError, carry_out, plan
from hazfence.services import Services
from hazfence_sql import queries
from tests.acceptance.test_cli import hazfence
from tests.integration.stored import everything, fact, fixes, opened

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)  # fixes() are of 2026-03-02
UPKEEP = Upkeep(days_ahead=2)


def done(url: str, upkeep: Upkeep = UPKEEP, now: datetime = NOW) -> list[Step]:
    return list(carry_out(url, plan(url, upkeep, now=now), upkeep, sleep=lambda _: None))


def days(url: str) -> dict[date, tuple[bool, bool]]:
    """Whether each day has its index by vehicle, and by time."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(queries.load("history_days")).fetchall()
    return {row[1]: (row[4], row[5]) for row in rows}


def actions(steps: list[Step]) -> list[tuple[Action, str | None]]:
    return [(step.action, None if step.day is None else step.day.isoformat()) for step in steps]


def store_fixes(url: str, count: int = 20, *, at_once: bool = True) -> None:
    async def go() -> None:
        async with opened(url, index_at_once=at_once) as store:
            claim, _ = await store.claim("t", 0)
            await store.checkpoint(claim, Checkpoint(count, b"s"), fixes(0, count))

    asyncio.run(go())


def test_days_are_made_ahead_once_and_a_dry_run_makes_none(postgres_url: str) -> None:
    wanted = [(Action.MAKE_DAY, f"2026-03-0{day}") for day in (4, 5, 6)]
    assert actions(plan(postgres_url, UPKEEP, now=NOW)) == wanted
    assert days(postgres_url) == {}
    assert actions(done(postgres_url)) == wanted
    assert set(days(postgres_url).values()) == {(True, False)}
    assert plan(postgres_url, UPKEEP, now=NOW) == []
    late = replace(UPKEEP, index_at_once=False)
    assert actions(done(postgres_url, late, NOW + timedelta(days=1))) == [(Action.MAKE_DAY, "2026-03-07")]
    assert days(postgres_url)[date(2026, 3, 7)] == (False, True)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_day_that_is_over_is_closed_once_and_keeps_its_rows(postgres_url: str, at_once: bool) -> None:
    store_fixes(postgres_url, at_once=at_once)
    before = everything(postgres_url)
    upkeep = replace(UPKEEP, index_at_once=at_once)
    day = date(2026, 3, 2)
    assert days(postgres_url)[day] == (at_once, not at_once)
    assert (Action.CLOSE_DAY, "2026-03-02") not in actions(
        plan(postgres_url, upkeep, now=datetime(2026, 3, 3, 23, 59, tzinfo=UTC))
    )
    assert (Action.CLOSE_DAY, "2026-03-02") in actions(done(postgres_url, upkeep))
    assert days(postgres_url)[day] == (True, True)
    assert plan(postgres_url, upkeep, now=NOW) == []
    assert everything(postgres_url) == before
    with psycopg.connect(postgres_url) as connection:
        (pages, frozen) = connection.execute(
            "SELECT relpages, relallvisible FROM pg_class WHERE relname = 'fix_20260302'"
        ).fetchone()
        assert pages == frozen > 0, "vacuumed"
        connection.execute("SET enable_seqscan = off")
        shown = connection.execute(
            "EXPLAIN SELECT * FROM hazfence.fix WHERE vehicle_code = 1 AND time > '2026-03-02' "
            "AND time < '2026-03-02 01:00' ORDER BY time"
        ).fetchall()
        assert any("fix_20260302_vehicle_time" in line for (line,) in shown)


def test_workers_that_index_at_once_again_find_their_open_days_indexed(postgres_url: str) -> None:
    store_fixes(postgres_url, at_once=False)
    on_the_day = datetime(2026, 3, 2, 12, tzinfo=UTC)
    steps = actions(done(postgres_url, replace(UPKEEP, days_ahead=0), on_the_day))
    assert steps == [(Action.INDEX_DAY, "2026-03-02"), (Action.INDEX_DAY, "2026-03-03")]
    assert days(postgres_url)[date(2026, 3, 2)] == (True, True)


def test_what_an_interrupted_run_left_behind_is_built_anew(postgres_url: str, services: Services) -> None:
    if services.postgres is None:
        pytest.skip("an index can be broken on purpose only as superuser of one's own server")
    store_fixes(postgres_url, at_once=False)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "CREATE INDEX fix_20260302_vehicle_time ON hazfence.fix_20260302 (vehicle_code, time)"
        )
        connection.execute(
            "UPDATE pg_index SET indisvalid = false "
            "WHERE indexrelid = 'hazfence.fix_20260302_vehicle_time'::regclass"
        )
    (step,) = [one for one in plan(postgres_url, UPKEEP, now=NOW) if one.action is Action.CLOSE_DAY]
    assert step.broken == ("fix_20260302_vehicle_time",)
    done(postgres_url)
    assert days(postgres_url)[date(2026, 3, 2)] == (True, True)


def test_fixes_go_by_the_day_when_they_are_old_enough(postgres_url: str) -> None:
    store_fixes(postgres_url)
    keep = replace(UPKEEP, fixes_kept_days=184)
    still = datetime(2026, 3, 2, 1, tzinfo=UTC) + timedelta(days=184)
    assert Action.DROP_DAY not in [step.action for step in plan(postgres_url, keep, now=still)]
    for_ever = replace(UPKEEP, fixes_kept_days=0)
    gone = still + timedelta(days=1)
    assert Action.DROP_DAY not in [step.action for step in plan(postgres_url, for_ever, now=gone)]
    steps = done(postgres_url, keep, gone)
    (dropped,) = [step for step in steps if step.action is Action.DROP_DAY]
    assert (dropped.day, dropped.bytes > 0) == (date(2026, 3, 2), True)
    assert date(2026, 3, 2) not in days(postgres_url)
    assert everything(postgres_url)["fix"] == []
    store_fixes(postgres_url, 40)  # a fix as old as that is stored again all the same, and goes again
    assert len(everything(postgres_url)["fix"]) == 200


def test_a_worker_that_still_believes_in_a_day_makes_it_anew(postgres_url: str) -> None:
    async def go() -> None:
        async with opened(postgres_url) as store:
            claim, _ = await store.claim("t", 0)
            await store.checkpoint(claim, Checkpoint(5, b"s"), fixes(0, 5))
            done(postgres_url, replace(UPKEEP, fixes_kept_days=1), NOW + timedelta(days=9))
            assert date(2026, 3, 2) not in days(postgres_url)
            with pytest.raises(StoreAway, match="made anew"):
                await store.checkpoint(claim, Checkpoint(9, b"s"), fixes(5, 4))
            await store.checkpoint(claim, Checkpoint(9, b"s"), fixes(5, 4))

    asyncio.run(go())
    assert len(everything(postgres_url)["fix"]) == 40


def test_breaches_visits_and_letters_go_with_their_history_and_open_ones_stay(postgres_url: str) -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)

    async def fill(store: PostgisStore) -> None:
        claim, _ = await store.claim("t", 0)
        events = []
        for number in range(6):
            events.append(fact(number))
            if number % 2:
                events.append(fact(number, 2, Phase.CLOSED))
        rejects = [Reject(number, -1, "bad_json", "", b"x") for number in range(3)]
        await store.write(claim, events, rejects)

    async def go() -> None:
        async with opened(postgres_url) as store:
            await fill(store)

    asyncio.run(go())
    upkeep = Upkeep(days_ahead=0, breaches_kept_days=1096, letters_kept_days=184)
    early = actions(plan(postgres_url, upkeep, now=start + timedelta(days=1096)))
    assert Action.DELETE_BREACHES not in [action for action, _ in early]
    steps = done(postgres_url, upkeep, datetime.now(UTC) + timedelta(days=1097))
    counts = {step.action: step.count for step in steps}
    assert counts[Action.DELETE_BREACHES] == 3
    assert counts[Action.DELETE_LETTERS] == 3
    rest = everything(postgres_url)
    assert len(rest["event"]) == 3
    assert len(rest["event_revision"]) == 3
    assert rest["dead_letter"] == []
    kept = Upkeep(days_ahead=0, fixes_kept_days=0, breaches_kept_days=0, letters_kept_days=0)
    later = plan(postgres_url, kept, now=datetime.now(UTC) + timedelta(days=9999))
    assert {step.action for step in later} <= {Action.MAKE_DAY, Action.CLOSE_DAY}


def test_workers_write_on_while_days_are_made_closed_and_dropped(postgres_url: str) -> None:
    """Checkpoint after checkpoint goes on, and none fails, while everything around it changes."""
    store_fixes(postgres_url, at_once=False)
    old = datetime(2026, 3, 2, tzinfo=UTC) - timedelta(days=3)
    with psycopg.connect(postgres_url) as connection:
        for day in range(3):
            connection.execute("SELECT hazfence.ensure_fix_day(%s)", [(old + timedelta(days=day)).date()])
    stop, failed, stored = threading.Event(), [], [20]

    async def write() -> None:
        async with opened(postgres_url, index_at_once=False) as store:
            claim, _ = await store.claim("t", 0)
            while not stop.is_set():
                first = stored[0]
                await store.checkpoint(claim, Checkpoint(first + 5, b"s"), fixes(first, 5))
                stored[0] = first + 5

    def worker() -> None:
        try:
            asyncio.run(write())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=worker)
    thread.start()
    try:
        upkeep = Upkeep(days_ahead=5, fixes_kept_days=2, close_after_h=0)
        steps = list(carry_out(postgres_url, plan(postgres_url, upkeep, now=NOW), upkeep))
    finally:
        stop.set()
        thread.join()
    assert failed == []
    assert {step.action for step in steps} >= {Action.MAKE_DAY, Action.CLOSE_DAY, Action.DROP_DAY}
    assert len(everything(postgres_url)["fix"]) == stored[0] * 10 > 200


def test_a_day_in_use_is_waited_for_and_then_named(postgres_url: str) -> None:
    store_fixes(postgres_url)
    upkeep = Upkeep(days_ahead=0, fixes_kept_days=1)
    now = datetime(2026, 3, 9, tzinfo=UTC)
    steps = [step for step in plan(postgres_url, upkeep, now=now) if step.day == date(2026, 3, 2)]
    naps: list[float] = []
    with psycopg.connect(postgres_url) as reader:
        reader.execute("SELECT count(*) FROM hazfence.fix_20260302")

        def nap(seconds: float) -> None:
            naps.append(seconds)
            if len(naps) == 2:
                reader.rollback()

        assert actions(list(carry_out(postgres_url, steps, upkeep, sleep=nap))) == [
            (Action.DROP_DAY, "2026-03-02")
        ]
    assert len(naps) == 2


def test_only_one_upkeep_at_a_time_and_only_by_the_owner(postgres_url: str, services: Services) -> None:
    steps = plan(postgres_url, UPKEEP, now=NOW)
    with psycopg.connect(postgres_url) as other:
        other.execute(queries.load("upkeep_lock"))
        with pytest.raises(UpkeepError, match="another upkeep"):
            list(carry_out(postgres_url, steps, UPKEEP))
    if services.postgres is None:
        pytest.skip("roles belong to the whole server: only tried in one of our own")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE upkeep_writes LOGIN PASSWORD 'uw' IN ROLE hazfence_write")
        try:
            url = f"postgresql://upkeep_writes:uw@{postgres_url.split('@')[1]}"
            assert plan(url, UPKEEP, now=NOW) == steps, "anybody may look"
            with pytest.raises(UpkeepError, match=r"upkeep_writes does not own hazfence\.fix: maintain with"):
                list(carry_out(url, steps, UPKEEP))
        finally:
            connection.execute("DROP ROLE upkeep_writes")


def test_a_database_that_is_not_migrated_is_told(empty_postgres_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="run 'hazfence migrate'"):
        plan(empty_postgres_url, UPKEEP)


def test_the_command(postgres_url: str, empty_postgres_url: str) -> None:
    dry = hazfence("maintain", "--dry-run", "--days-ahead", 1, "--json", HAZFENCE_DATABASE_URL=postgres_url)
    rows = [json.loads(line) for line in dry.stdout.splitlines()]
    assert [(row["action"], row["done"]) for row in rows] == [("make day", False)] * 2
    assert days(postgres_url) == {}
    real = hazfence(
        "maintain", "--days-ahead", 1, "--fixes-kept-days", 30, HAZFENCE_DATABASE_URL=postgres_url
    )
    assert real.returncode == 0, real.stderr
    assert real.stdout.splitlines()[0].startswith("make day 20")
    assert "the law of China asks for 184" in real.stderr
    assert len(days(postgres_url)) == 2
    refused = hazfence("maintain", HAZFENCE_DATABASE_URL=empty_postgres_url)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "hazfence migrate" in refused.stderr


@pytest.mark.parametrize("wrong", ["days_ahead", "fixes_kept_days", "close_after_h"])
def test_settings_that_make_no_sense(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"Upkeep.{wrong} must be at least 0"):
        Upkeep(**{wrong: -1})
