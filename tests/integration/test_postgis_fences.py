"""Fences in the database: versions only for changes, and read back as the fences they were."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from shapely.geometry import LineString, box

from hazfence.postgis import PostgisStore
from hazfence_fences import Fence, FenceKind, FenceSet, Schedule, circle, corridor, load_fences

ZHENHAI = Path(__file__).parents[2] / "fences" / "zhenhai"
HOURS = Schedule.parse(
    {"tz": "Asia/Shanghai", "windows": [{"days": "mon-fri", "from": "22:00", "to": "06:00"}]}
)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgisStore]:
    store = PostgisStore(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def fences() -> FenceSet:
    return FenceSet(
        [
            Fence(
                "r'1", FenceKind.RESTRICTED, box(121.5, 29.9, 121.6, 30.0), name="禁区 \"1\" <b>",
                schedule=HOURS, speed_limit_kmh=40.5, max_stay_min=0.1, valid_from_us=1_772_409_600_123_456,
                notes=("invented",), properties={"x": [1, 2.5, None, {"y": "é"}]},
            ),
            circle("c-1", FenceKind.CHECKPOINT, 121.7, 29.95, 150.0),
            corridor("k-1", FenceKind.CORRIDOR, LineString([(121.6, 29.9), (121.7, 29.97)]), 60.0, thin=True),
        ]
    )  # fmt: skip


def test_saved_fences_are_read_back_equal(postgres_url):
    async def test() -> None:
        async with opened(postgres_url) as store:
            assert len(await store.load_fences()) == 0
            saved = await store.save_fences(fences())
            assert saved.changed == ("r'1", "c-1", "k-1")
            back = await store.load_fences()
            assert list(back) == list(fences()) == list(saved.fences)
            assert back.fingerprint == fences().fingerprint

    run(test)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("""
            SELECT id, kind, shape, ST_IsValid(geom), ST_SRID(geom), round(ST_X(centre)::numeric, 3)::float8,
                   radius_m, ST_GeometryType(axis), width_m, schedule ->> 'tz', thin
            FROM hazfence.fence ORDER BY key""").fetchall() == [
            ("r'1", "restricted", "polygon", True, 4326, None, None, None, None, "Asia/Shanghai", False),
            ("c-1", "checkpoint", "circle", True, 4326, 121.7, 150.0, None, None, None, True),
            ("k-1", "corridor", "corridor", True, 4326, None, None, "ST_LineString", 60.0, None, True),
        ]


def test_the_districts_fences_survive_the_database(postgres_url):
    async def test() -> None:
        given = load_fences(ZHENHAI)
        async with opened(postgres_url) as store:
            await store.save_fences(given)
            back = await store.load_fences()
            assert list(back) == list(given)
            assert (await store.save_fences(load_fences(ZHENHAI))).changed == ()

    run(test)


def test_a_version_is_new_only_when_something_changed(postgres_url):
    async def test() -> None:
        async with opened(postgres_url) as store:
            await store.save_fences(fences())
            assert (await store.save_fences(fences())).changed == ()
            slower = dataclasses.replace(fences()["r'1"], speed_limit_kmh=30.0)
            saved = await store.save_fences(fences().with_fence(slower))
            assert saved.changed == ("r'1",)
            assert {fence.id: fence.version for fence in saved.fences} == {"r'1": 2, "c-1": 1, "k-1": 1}
            assert (await store.load_fences())["r'1"].speed_limit_kmh == 30.0
            # The author's own count goes ahead of ours, never behind.
            ahead = await store.save_fences(FenceSet([dataclasses.replace(slower, version=7)]))
            assert ahead.fences[0].version == 7
            assert (await store.save_fences(FenceSet([slower]))).changed == ()
            assert [fence.id for fence in await store.load_fences()] == ["r'1", "c-1", "k-1"]

    run(test)
    with psycopg.connect(postgres_url) as connection:
        history = """SELECT version, speed_limit_kmh, retired_at IS NULL FROM hazfence.fence
                     WHERE kind = 'restricted'"""
        assert sorted(connection.execute(history).fetchall()) == [
            (1, 40.5, False),
            (2, 30.0, False),
            (7, 30.0, True),
        ]


def test_fences_are_retired_only_when_asked(postgres_url):
    async def test() -> None:
        async with opened(postgres_url) as store:
            await store.save_fences(fences())
            fewer = fences().without("c-1")
            assert (await store.save_fences(fewer)).retired == ()
            assert len(await store.load_fences()) == 3
            assert (await store.save_fences(fewer, retire_others=True)).retired == ("c-1",)
            assert [fence.id for fence in await store.load_fences()] == ["r'1", "k-1"]
            again = await store.save_fences(fences())
            assert again.changed == ("c-1",)
            assert again.fences["c-1"].version == 2

    run(test)


def test_what_the_database_cannot_keep_is_refused_with_its_name(postgres_url):
    async def test() -> None:
        async with opened(postgres_url) as store:
            for odd in (
                Fence("z", FenceKind.ZONE, box(1, 1, 2, 2), name="a\0b"),
                Fence("z", FenceKind.ZONE, box(1, 1, 2, 2), properties={"x": "\ud800"}),
                Fence("z" * 201, FenceKind.ZONE, box(1, 1, 2, 2)),
            ):
                with pytest.raises(ValueError, match="fence 'z+': .*correct it"):
                    await store.save_fences(FenceSet([circle("ok", FenceKind.ZONE, 1, 1, 5), odd]))
            assert len(await store.load_fences()) == 0, "all or nothing"

    run(test)


def test_two_savers_at_once_do_not_make_two_versions(postgres_url):
    async def test() -> None:
        async with opened(postgres_url) as one, opened(postgres_url) as two:
            results = await asyncio.gather(*(store.save_fences(fences()) for store in (one, two, one, two)))
            assert sorted(len(saved.changed) for saved in results) == [0, 0, 0, 3]

    run(test)
