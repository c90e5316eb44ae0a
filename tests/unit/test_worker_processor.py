"""One partition: what is stored when, what silence fires, and what is counted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import hazfence.worker.processor
from hazfence import FixBatch, Kind
from hazfence.wire import Message, encode_columns, encode_fix
from hazfence.worker.processor import Clock
from hazfence.worker.waiting import Dropped

from .worker_place import IN, MINUTE_US, OUT, START_US, Place, fix, log, run


def test_events_at_once_fixes_with_the_checkpoint() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        await processor.feed(log(fix(0), fix(1)))
        assert place.kinds() == ["visit"]
        assert len(place.store.fixes("t", 0)) == 0
        place.now_s = 6
        await processor.tick(START_US, caught_up=True)
        assert len(place.store.fixes("t", 0)) == 2
        assert processor.checkpoint_offset == 2
        assert place.sample("checkpoints_total") == 1
        place.now_s = 60
        await processor.tick(START_US, caught_up=True)
        assert place.sample("checkpoints_total") == 1  # nothing happened since

    run(go())


def test_many_fixes_make_a_checkpoint_at_once() -> None:
    async def go() -> None:
        place = Place(max_buffered_fixes=10)
        processor = await place.processor()
        batch = FixBatch.of(["A"] * 25, time_us=range(START_US, START_US + 25), lon=121.5, lat=29.9)
        await processor.feed(log(encode_columns(batch)))
        assert len(place.store.fixes("t", 0)) == 25

    run(go())


def test_a_large_checkpoint_is_packed_in_a_thread_and_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hazfence.worker.processor, "_LARGE_BYTES", 0)
    monkeypatch.setattr(hazfence.worker.processor, "_DRAFTS_A_TURN", 5)

    async def go() -> None:
        place = Place()
        processor = await place.processor()
        await processor.feed(log(*[fix(0, vehicle=f"V{i}") for i in range(50)]))
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await processor.checkpoint()
        beside.cancel()
        assert turns >= 10  # fifty vehicles, five a turn
        _, checkpoint = await place.store.claim("t", 0)
        assert checkpoint is not None
        assert checkpoint.snapshot == processor.engine.snapshot(with_recent=False)
        assert len(place.store.fixes("t", 0)) == 50

    run(go())


def test_messages_have_their_turn_while_a_first_checkpoint_is_written_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hazfence.worker.processor, "_DRAFTS_A_TURN", 5)

    async def go() -> None:
        place = Place()
        processor = await place.processor()
        await processor.feed(log(*[fix(0, vehicle=f"V{i}") for i in range(50)]))
        place.now_s = 6
        await processor.tick(START_US, caught_up=True)
        assert processor.checkpoint_offset is None  # due, and begun
        await processor.feed(log(fix(0, vehicle="last"), start=50))
        assert processor.checkpoint_offset is None
        assert "last" in {event.vehicle for event in place.store.events.values()}
        for _ in range(30):
            await asyncio.sleep(0)
        await processor.tick(START_US, caught_up=True)
        await processor.close()
        assert processor.checkpoint_offset == 51
        assert len(place.store.fixes("t", 0)) == 51
        assert place.sample("checkpoints_total") == 1
        again = await place.processor()
        assert len(again.engine.positions()) == 51

    run(go())


def test_where_all_vehicles_change_all_the_time_a_checkpoint_is_made_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hazfence.worker.processor, "_DRAFTS_A_TURN", 1)
    monkeypatch.setattr(hazfence.worker.processor, "_TURNS_BEFOREHAND", 3)

    async def go() -> None:
        place = Place()
        processor = await place.processor()
        vehicles = [f"V{i}" for i in range(20)]
        place.now_s = 6
        for minute in range(20):
            where = OUT if minute % 2 else IN
            values = [fix(minute, where, vehicle) for vehicle in vehicles]
            await processor.feed(log(*values, start=20 * minute))
            await asyncio.sleep(0)
        assert processor.checkpoint_offset
        processor.drop()
        await processor.ended()

    run(go())


def test_a_partition_dropped_while_it_is_written_down_stores_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hazfence.worker.processor, "_DRAFTS_A_TURN", 1)

    async def go() -> None:
        place = Place()
        processor = await place.processor()
        await processor.feed(log(*[fix(0, vehicle=f"V{i}") for i in range(50)]))
        place.now_s = 6
        await processor.tick(START_US, caught_up=True)
        processor.drop()
        await processor.ended()
        with pytest.raises(Dropped):
            await processor.tick(START_US, caught_up=True)
        assert len(place.store.fixes("t", 0)) == 0
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("draft")]

    run(go())


def test_fixes_can_be_left_out() -> None:
    async def go() -> None:
        place = Place(keep_fixes=False)
        processor = await place.processor()
        await processor.feed(log(fix(0)))
        await processor.close()
        assert len(place.store.fixes("t", 0)) == 0
        assert place.kinds() == ["visit"]

    run(go())


@pytest.mark.parametrize("how", [{}, {"fixes_indexed": False}, {"keep_fixes": False}])
def test_recent_fixes_come_back_from_the_store_or_with_the_snapshot(how: dict[str, bool]) -> None:
    """A late fix after a restart is judged the same, whether the store can be asked or not."""

    async def go() -> None:
        place = Place(**how)
        asked = []
        really = place.store.recent_fixes

        async def recent_fixes(*arguments: Any) -> FixBatch:
            asked.append(arguments)
            return await really(*arguments)

        place.store.recent_fixes = recent_fixes  # type: ignore[method-assign]
        processor = await place.processor()
        await processor.feed(log(fix(0, OUT), fix(1, OUT), fix(4, OUT)))
        await processor.close()
        assert place.kinds() == []
        again = await place.processor()
        await again.feed(log(fix(2), start=3))  # it had been inside in between
        await again.close()
        assert place.kinds() == ["visit"]
        assert bool(asked) is (not how)

    run(go())


def test_overstay_fires_in_silence_and_is_stored_with_its_snapshot() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        await processor.feed(log(fix(0)))
        await processor.tick(START_US + 4 * MINUTE_US, caught_up=True)
        assert place.kinds() == ["visit"]
        assert processor.checkpoint_offset is None
        await processor.tick(START_US + 6 * MINUTE_US, caught_up=True)
        assert place.kinds() == [Kind.OVERSTAY, "visit"]
        assert processor.checkpoint_offset == 1
        again = await place.processor()
        await again.tick(START_US + 7 * MINUTE_US, caught_up=True)
        (overstay,) = [e for e in place.store.events.values() if e.kind is Kind.OVERSTAY]
        assert overstay.revision == 1

    run(go())


def test_silence_proves_nothing_while_messages_wait() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        await processor.feed([Message(0, START_US, fix(0))])
        await processor.tick(START_US + 60 * MINUTE_US, caught_up=False)
        assert place.kinds() == ["visit"]
        await processor.feed([Message(1, START_US + 8 * MINUTE_US, fix(6, vehicle="B"))])
        await processor.tick(START_US + 60 * MINUTE_US, caught_up=False)
        assert place.kinds() == [Kind.OVERSTAY, "visit", "visit"]  # A's; B's deadline is not reached

    run(go())


def test_lateness_puts_silence_off() -> None:
    async def go() -> None:
        place = Place(lateness_s=120.0)
        processor = await place.processor()
        await processor.feed(log(fix(0)))
        await processor.tick(START_US + 6 * MINUTE_US, caught_up=True)
        assert place.kinds() == ["visit"]
        await processor.tick(START_US + 8 * MINUTE_US, caught_up=True)
        assert place.kinds() == [Kind.OVERSTAY, "visit"]

    run(go())


def test_event_clock_is_moved_by_other_vehicles() -> None:
    async def go() -> None:
        place = Place(clock=Clock.EVENT, event_step_s=60)
        processor = await place.processor()
        await processor.feed(log(fix(0), fix(4, OUT, "B")))
        await processor.tick(START_US + 600 * MINUTE_US, caught_up=True)
        assert place.kinds() == ["visit"]
        await processor.feed(log(fix(7, OUT, "B"), start=2))
        assert place.kinds() == [Kind.OVERSTAY, "visit"]

    run(go())


def test_event_clock_is_not_moved_by_a_broken_clock() -> None:
    async def go() -> None:
        place = Place(clock=Clock.EVENT, event_step_s=60)
        processor = await place.processor()
        far = encode_fix("B", START_US + 50 * 366 * 86_400_000_000, *OUT)
        await processor.feed(log(fix(0), far))
        assert place.kinds() == ["visit"]
        assert place.sample("fixes_set_aside_total", reason="time_future") == 1

    run(go())


def test_bad_input_is_counted_and_kept_and_nothing_else_lost() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        bad = [
            b"{", b"[]", fix(0, (500.0, 29.9)), fix(0, (0.0, 0.0)), b"\x89HZF\x01",
            b'{"vehicle":"A","time_ms":0,"lon":121.5,"lat":29.9}',
            b'{"vehicle":"A","time":"2099-01-01T00:00:00Z","lon":121.5,"lat":29.9}',
            b'{"vehicle":"A","time_ms":0,"lon":NaN,"lat":29.9}', b"x" * 5_000_000,
        ]  # fmt: skip
        values = [value for i, one in enumerate(bad) for value in (one, fix(i))]
        await processor.feed(log(*values))
        await processor.close()
        assert len(place.store.fixes("t", 0)) == len(bad)
        reasons = [
            place.store.rejects["t", 0, 2 * i, -1 if i in (0, 1, 4, 8) else 0].reason for i in range(9)
        ]
        assert reasons == [
            "bad_json", "wrong_type", "out_of_range", "null_island", "truncated", "time_too_old",
            "time_future", "not_finite", "too_large",
        ]  # fmt: skip
        for reason in reasons:
            assert place.sample("dead_letters_total", reason=reason) == 1
        fixes, accepted = place.sample("fixes_total"), place.sample("fixes_accepted_total")
        aside = sum(place.sample("fixes_set_aside_total", reason=reason) for reason in reasons)
        assert (fixes, accepted, aside) == (14, 9, 5)
        nan = json.loads(place.store.rejects["t", 0, 14, 0].payload)
        assert nan["lon"] == "nan"

    run(go())


def test_duplicates_are_counted_only() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        await processor.feed(log(fix(0), fix(0)))
        assert place.sample("fixes_set_aside_total", reason="duplicate") == 1
        assert place.store.rejects == {}

    run(go())
