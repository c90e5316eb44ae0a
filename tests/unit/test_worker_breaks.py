"""One partition: who may store it, and what happens when something breaks off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from hazfence.ports import StoreAway
from hazfence.worker.waiting import Dropped

from .worker_place import MINUTE_US, OUT, START_US, Place, fix, log, run


def test_a_store_that_is_away_is_waited_for_and_says_so() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        place.store.away = True

        async def come_back() -> None:
            while len(place.naps) < 9:
                await asyncio.sleep(0)
            place.store.away = False

        with capture_logs() as logs:
            await asyncio.gather(processor.feed(log(fix(0))), come_back())
        assert place.kinds() == ["visit"]
        said = [entry for entry in logs if entry["event"].startswith("store away")]
        assert 1 <= len(said) <= 3  # not once a try
        assert said[0]["topic"] == "t"
        assert any(entry["event"] == "store back" for entry in logs)
        assert place.naps[:3] == [0.1, 0.2, 0.5]
        assert place.sample("store_up") == 1

    run(go())


def test_another_owner_makes_a_partition_stale() -> None:
    async def go() -> None:
        place = Place()
        old = await place.processor()
        new = await place.processor()
        with pytest.raises(Dropped):
            await old.feed(log(fix(0)))
        assert not old.loaded
        with pytest.raises(Dropped):
            await old.tick(START_US, caught_up=True)
        await old.close()
        assert place.store.events == {}
        await new.feed(log(fix(0)))
        assert place.kinds() == ["visit"]
        assert place.sample("stale_claims_total") == 1

    run(go())


@pytest.mark.parametrize("when", ["write", "checkpoint"])
def test_what_was_cut_off_midway_stores_no_snapshot(when: str) -> None:
    """The state in memory is ahead of the store then: a checkpoint would lose what was not written."""

    async def go() -> None:
        place = Place(max_buffered_fixes=1)
        processor = await place.processor()

        def hang(method: str, moment: str) -> None:
            if method == when:
                raise StoreAway("hangs")

        place.store.fault = hang
        feeding = asyncio.create_task(processor.feed(log(fix(0))))
        await asyncio.sleep(0.01)
        if when == "write":
            feeding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await feeding
        else:  # it is stored beside the feeding
            await feeding
            processor.drop()
            await processor.ended()
        place.store.fault = None
        await processor.close()
        again = await place.processor()
        assert again.next_offset == 0
        await again.feed(log(fix(0)))
        await again.close()
        assert place.kinds() == ["visit"]
        assert len(place.store.fixes("t", 0)) == 1

    run(go())


class Hanging:
    """Checkpoints of a store that come to an end only when they may."""

    def __init__(self, place: Place) -> None:
        self.may = asyncio.Event()
        self.begun = 0
        self.place, self._checkpoint = place, place.store.checkpoint
        place.store.checkpoint = self  # type: ignore[assignment,method-assign]

    async def __call__(self, *given: Any) -> None:
        self.begun += 1
        await self.may.wait()
        await self._checkpoint(*given)


def test_events_do_not_wait_for_a_checkpoint_and_what_came_meanwhile_is_in_the_next() -> None:
    async def go() -> None:
        place = Place()
        slow = Hanging(place)
        processor = await place.processor()
        place.now_s = 6
        await processor.feed(log(fix(0)))
        await processor.feed(log(fix(1, OUT), fix(2, vehicle="B"), start=1))  # due, but one is under way
        await processor.tick(START_US, caught_up=True)
        assert slow.begun == 1
        assert place.kinds() == ["visit", "visit"]
        assert place.sample("buffered_fixes", topic="t", partition="0") == 3
        assert processor.checkpoint_offset is None
        slow.may.set()
        await processor.checkpoint()
        assert slow.begun == 2
        assert processor.checkpoint_offset == 3
        assert place.store.fixes("t", 0).offset.tolist() == [0, 1, 2]

    run(go())


def test_with_as_many_fixes_as_may_wait_a_checkpoint_is_waited_for() -> None:
    async def go() -> None:
        place = Place(max_buffered_fixes=2)
        slow = Hanging(place)
        processor = await place.processor()
        await processor.feed(log(fix(0), fix(1)))
        feeding = asyncio.create_task(processor.feed(log(fix(2), fix(3), start=2)))
        await asyncio.sleep(0.01)
        assert not feeding.done()
        slow.may.set()
        await feeding
        await processor.close()
        assert place.store.fixes("t", 0).offset.tolist() == [0, 1, 2, 3]

    run(go())


def test_what_silence_says_waits_for_the_checkpoint_before_it() -> None:
    async def go() -> None:
        place = Place()
        slow = Hanging(place)
        processor = await place.processor()
        place.now_s = 6
        await processor.feed(log(fix(0)))
        ticking = asyncio.create_task(processor.tick(START_US + 20 * MINUTE_US, caught_up=True))
        await asyncio.sleep(0.01)
        assert not ticking.done()
        assert place.kinds() == ["visit"]
        slow.may.set()
        await ticking
        assert "overstay" in place.kinds()
        assert slow.begun == 2

    run(go())


def test_a_checkpoint_that_goes_wrong_beside_the_work_ends_it() -> None:
    async def go() -> None:
        place = Place(max_buffered_fixes=1)
        processor = await place.processor()

        def break_(method: str, moment: str) -> None:
            if method == "checkpoint":
                raise ZeroDivisionError

        place.store.fault = break_
        await processor.feed(log(fix(0)))
        with pytest.raises(ZeroDivisionError):
            await processor.feed(log(fix(1), start=1))
        assert not processor.loaded
        await processor.close()

    run(go())


def test_close_does_not_wait_for_a_store_for_ever() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        await processor.feed(log(fix(0)))
        place.store.away = True
        with capture_logs() as logs:
            await processor.close(timeout_s=0.05)
        assert [entry["log_level"] for entry in logs][-1] == "warning"
        place.store.away = False
        again = await place.processor()
        assert again.next_offset == 0

    run(go())


def test_giving_up_frees_what_waits() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        place.store.away = True
        feeding = asyncio.create_task(processor.feed(log(fix(0))))
        await asyncio.sleep(0.01)
        processor.drop()
        with pytest.raises(Dropped):
            await feeding

    run(go())


def test_a_hole_makes_the_log_be_read_again() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        assert await processor.feed(log(fix(5), start=5)) == 0
        assert await processor.feed(log(*[fix(i) for i in range(6)])) is None
        assert processor.next_offset == 6
        assert place.sample("seeks_total") == 1
        assert place.sample("messages_missing_total") == 0

    run(go())
