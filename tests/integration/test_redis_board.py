"""The board on a real Redis: the rules of the port, the same as its twin in memory, and the reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio as redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hazfence import Event, FixBatch, Kind, Phase
from hazfence.memory import MemoryBoard
from hazfence.ports import BoardAway, BoardForgot, Published
from hazfence.redis_board import RedisBoard
from hazfence.services import PrivateRedis

PLATE = "浙B\"12':345\n{}"


def event(n: int, revision: int = 1, phase: Phase = Phase.OPENED, kind: Kind = Kind.OVERSTAY) -> Event:
    return Event(
        id=f"{n:032x}", kind=kind, vehicle=PLATE, fence_id="围栏:1", fence_version=1,
        revision=revision, phase=phase, started_us=n, ended_us=None if phase is Phase.OPENED else n + 1,
        lon=121.5, lat=29.9, detail={"n": n, "text": PLATE},
    )  # fmt: skip


def position(names: list[str], time_us: int, lat: float = 29.9) -> FixBatch:
    return FixBatch.of(names, time_us=time_us, lon=121.5, lat=lat, speed_kmh=50.0, status=3)


@asynccontextmanager
async def board(url: str, prefix: str, **options: Any) -> AsyncIterator[RedisBoard]:
    one = RedisBoard(url, prefix=prefix, **options)
    try:
        yield one
    finally:
        await one.close()


def with_board(url: str, prefix: str, go: Callable[[RedisBoard], Awaitable[None]]) -> None:
    async def run() -> None:
        async with board(url, prefix) as one:
            await one.open()
            await go(one)

    asyncio.run(run())


def test_a_board_that_knows_nothing_says_so(redis_url: str, redis_prefix: str) -> None:
    async def go(one: RedisBoard) -> None:
        assert await one.last_seq("t", 0) is None
        with pytest.raises(BoardForgot):
            await one.publish("t", 0, [Published(1, event(1))])
        with pytest.raises(BoardForgot):
            await one.show_positions("t", 0, position(["A"], 1), [()])
        assert await one.events() == []
        assert await one.vehicle("A") is None
        assert await one.vehicles() == []

    with_board(redis_url, redis_prefix, go)


def test_a_revision_goes_out_once(redis_url: str, redis_prefix: str) -> None:
    async def go(one: RedisBoard) -> None:
        await one.rebuild("t", 0, FixBatch.empty(), [], [], 10)
        entries = [Published(11, event(1)), Published(15, event(2)), Published(16, event(1, 2, Phase.CLOSED))]
        assert await one.publish("t", 0, entries[:2]) == 2
        assert await one.publish("t", 0, entries) == 1
        assert await one.publish("t", 0, entries) == 0
        assert await one.last_seq("t", 0) == 16
        stream = await one.events()
        assert [(e["seq"], e["revision"]) for _, e in stream] == [(11, 1), (15, 1), (16, 2)]
        assert Event.from_json(stream[0][1]) == event(1)
        assert [e["id"] for e in await one.breaches()] == [event(2).id]
        assert await one.events(stream[-1][0]) == []

    with_board(redis_url, redis_prefix, go)


def test_two_owners_at_once_still_say_it_once(redis_url: str, redis_prefix: str) -> None:
    async def go(one: RedisBoard) -> None:
        await one.rebuild("t", 0, FixBatch.empty(), [], [], 0)
        entries = [Published(n, event(n)) for n in range(1, 1201)]
        new = await asyncio.gather(*(one.publish("t", 0, entries) for _ in range(4)))
        assert sum(new) == 1200
        assert [e["seq"] for _, e in await one.events(count=5000)] == list(range(1, 1201))

    with_board(redis_url, redis_prefix, go)


def test_presence_and_places(redis_url: str, redis_prefix: str) -> None:
    async def go(one: RedisBoard) -> None:
        await one.rebuild("t", 0, position([PLATE, "B"], 5), [("围栏:1", "z"), ()], [], 0)
        assert await one.inside("围栏:1") == [PLATE]
        assert await one.inside("z") == [PLATE]
        shown = await one.vehicle(PLATE)
        assert shown == {
            "vehicle": PLATE, "time": "1970-01-01T00:00:00.000005Z", "lon": 121.5, "lat": 29.9,
            "speed_kmh": 50.0, "heading_deg": None, "status": 3, "alarm": 0, "fences": ["围栏:1", "z"],
        }  # fmt: skip
        assert await one.vehicles() == [await one.vehicle("B"), shown]
        near = await one.near(121.5, 29.9001, 100)
        assert sorted(name for name, _ in near) == sorted(["B", PLATE])
        assert near[0][1] == pytest.approx(11.1, abs=0.5)
        await one.show_positions("t", 0, position([PLATE], 4), [()])  # older: ignored
        assert await one.vehicle(PLATE) == shown
        await one.show_positions("t", 0, position([PLATE], 6, lat=89.0), [("z",)])
        assert await one.inside("围栏:1") == []
        assert await one.inside("z") == [PLATE]
        assert [name for name, _ in await one.near(121.5, 29.9, 100)] == ["B"]

    with_board(redis_url, redis_prefix, go)


def test_laying_anew_touches_only_its_partition(redis_url: str, redis_prefix: str) -> None:
    async def go(one: RedisBoard) -> None:
        visit = event(3, kind=Kind.VISIT)
        await one.rebuild("t", 0, position(["A"], 5), [("z",)], [event(1), visit], 7)
        await one.rebuild("t", 1, position(["B"], 5), [("z",)], [event(2)], 8)
        assert [e["id"] for e in await one.visits()] == [visit.id]
        await one.rebuild("t", 0, position(["C"], 1), [()], [], 9)
        assert await one.vehicle("A") is None
        assert await one.inside("z") == ["B"]
        assert [e["id"] for e in await one.breaches()] == [event(2).id]
        assert await one.visits() == []
        assert [name for name, _ in await one.near(121.5, 29.9, 10)] == ["B", "C"]
        assert (await one.last_seq("t", 0), await one.last_seq("t", 1)) == (9, 8)

    with_board(redis_url, redis_prefix, go)


def test_laying_anew_that_broke_off_is_no_board(redis_url: str, redis_prefix: str) -> None:
    async def go(one: RedisBoard) -> None:
        await one.rebuild("t", 0, position(["A"], 5), [("z",)], [], 7)
        fixes = position(["B"], 6)
        with pytest.raises(ValueError, match="zip"):
            await one.rebuild("t", 0, fixes, [], [], 8)  # dies between the old and the new
        assert await one.last_seq("t", 0) is None
        await one.rebuild("t", 0, fixes, [()], [], 8)
        assert await one.vehicle("A") is None

    with_board(redis_url, redis_prefix, go)


def test_many_vehicles_and_a_short_stream(redis_url: str, redis_prefix: str) -> None:
    async def run() -> None:
        async with board(redis_url, redis_prefix, stream_length=100) as one:
            names = [f"V{i}" for i in range(3000)]
            await one.rebuild("t", 0, position(names, 5), [("z",)] * 3000, [], 0)
            assert len(await one.inside("z")) == 3000
            await one.publish("t", 0, [Published(n, event(n)) for n in range(1, 2001)])
            assert 100 <= len(await one.events(count=5000)) < 500
            await one.rebuild("t", 0, FixBatch.empty(), [], [], 0)
            assert await one.inside("z") == []
            assert await one.vehicles() == []

    asyncio.run(run())


FENCES = st.sampled_from([(), ("x",), ("x", "y")])
ACTIONS = st.lists(
    st.tuples(st.just("publish"), st.integers(1, 4), st.integers(1, 3), st.sampled_from(list(Phase)))
    | st.tuples(
        st.just("show"), st.sampled_from("ABC"), st.integers(1, 5), st.sampled_from([(), ("x",), ("x", "y")])
    )
    | st.tuples(st.just("rebuild"), st.integers(0, 5), st.sampled_from("ABC"), st.integers(1, 4)),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_redis_and_its_twin_agree(redis_url: str, redis_prefix: str, actions: list[Any]) -> None:
    async def run() -> None:
        async with board(redis_url, redis_prefix) as one:
            keys = [key async for key in one._redis.scan_iter(match=redis_prefix + "*")]
            if keys:
                await one._redis.delete(*keys)
            twin = MemoryBoard()
            for seq, action in enumerate(actions, 1):
                answers: list[int | str] = []
                for each in (one, twin):
                    try:
                        if action[0] == "publish":
                            said = replace(event(action[1], action[2], action[3]), vehicle="A")
                            answers.append(await each.publish("t", 0, [Published(seq, said)]))
                        elif action[0] == "show":
                            await each.show_positions("t", 0, position([action[1]], action[2]), [action[3]])
                        else:
                            fixes = position([action[2]], 3)
                            await each.rebuild("t", 0, fixes, [("x",)], [event(action[3])], action[1])
                    except BoardForgot:
                        answers.append("forgot")
                assert len(set(answers)) <= 1
            assert await one.last_seq("t", 0) == await twin.last_seq("t", 0)
            assert [e["seq"] for _, e in await one.events()] == [p.seq for _, _, p in twin.stream]
            opened = {e["id"]: e["revision"] for e in await one.breaches()}
            assert opened == {i: e.revision for i, e in twin.open_events.items()}
            assert {v["vehicle"]: v["fences"] for v in await one.vehicles()} == {
                name: list(shown.inside) for name, shown in twin.vehicles.items()
            }

    asyncio.run(run())


def test_away_and_back() -> None:
    async def run(private: PrivateRedis) -> None:
        async with board(private.url, "x:", timeout_s=0.5) as one:
            await one.rebuild("t", 0, FixBatch.empty(), [], [], 0)
            private.pause()
            with pytest.raises(BoardAway, match="Redis"):
                await one.publish("t", 0, [Published(1, event(1))])
            private.resume()
            await one.publish("t", 0, [Published(1, event(1))])
            assert len(await one.events()) == 1  # whether or not the first try had been done after all
            private.kill()
            with pytest.raises(BoardAway):
                await one.last_seq("t", 0)
            private.restart()
            assert await one.last_seq("t", 0) in (0, 1, None)

    with PrivateRedis() as private:
        asyncio.run(run(private))


def test_nobody_there() -> None:
    async def run() -> None:
        async with board("redis://:secret@127.0.0.1:1/0", "x:") as one:
            with pytest.raises(BoardAway) as caught:
                await one.open()
            assert "secret" not in str(caught.value)
            assert "secret" not in repr(one)

    asyncio.run(run())


def test_a_foreign_key_is_the_board_being_away(redis_url: str, redis_prefix: str) -> None:
    async def go(one: RedisBoard) -> None:
        async with redis.Redis.from_url(redis_url) as raw:
            await raw.set(redis_prefix + "partition:t/0", "not a hash")
        with pytest.raises(BoardAway, match="WRONGTYPE"):
            await one.last_seq("t", 0)

    with_board(redis_url, redis_prefix, go)
