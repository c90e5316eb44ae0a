"""One partition: what is stored when, who may store it, and what happens when something breaks off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

import hazfence.worker.processor
from hazfence import FixBatch, Kind
from hazfence.memory import MemoryBoard, MemoryStore
from hazfence.ports import StoreAway
from hazfence.wire import Message, encode_columns, encode_fix
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.processor import Clock, PartitionProcessor, ProcessorSettings
from hazfence.worker.showcase import Showcase
from hazfence.worker.waiting import Dropped
from hazfence_fences import FenceSet, parse_fences

MINUTE_US = 60_000_000
START_US = 1_772_380_800_000_000
CORNERS = [[121.49, 29.89], [121.51, 29.89], [121.51, 29.91], [121.49, 29.91], [121.49, 29.89]]
PARK = FenceSet(
    parse_fences(
        {
            "type": "Feature",
            "properties": {"id": "park", "kind": "parking", "max_stay_min": 5},
            "geometry": {"type": "Polygon", "coordinates": [CORNERS]},
        },
        source="test",
    )
)
IN, OUT = (121.5, 29.9), (121.6, 29.9)


def fix(minute: float, place: tuple[float, float] = IN, vehicle: str = "A") -> bytes:
    return encode_fix(vehicle, START_US + int(minute * MINUTE_US), *place)


def log(*values: bytes, start: int = 0) -> list[Message]:
    return [Message(start + i, START_US + 30 * MINUTE_US, value) for i, value in enumerate(values)]


class Place:
    """A store, a clock in our hands, and the processors of one partition."""

    def __init__(self, **settings: Any) -> None:
        self.store = MemoryStore()
        self.board = MemoryBoard()
        self.metrics = WorkerMetrics()
        self.now_s = 0.0
        self.naps: list[float] = []
        self.settings = ProcessorSettings(**{"lateness_s": 0.0, "checkpoint_every_s": 5.0, **settings})

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    async def processor(self) -> PartitionProcessor:
        processor = PartitionProcessor(
            "t", 0, fences=PARK, store=self.store, settings=self.settings, metrics=self.metrics,
            monotonic_s=lambda: self.now_s, sleep=self.sleep,
        )  # fmt: skip
        await processor.load()
        return processor

    def showcase(self, processor: PartitionProcessor, **options: Any) -> Showcase:
        return Showcase(
            processor, store=self.store, board=self.board, metrics=self.metrics,
            monotonic_s=lambda: self.now_s, **options,
        )  # fmt: skip

    def kinds(self) -> list[str]:
        return sorted(event.kind for event in self.store.events.values())

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"hazfence_{name}", labels) or 0.0


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


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


def test_board_follows_and_is_laid_anew_when_emptied() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        showcase = place.showcase(processor, tail=1)
        await processor.feed(log(fix(0), fix(1, OUT, "B")))
        assert await showcase.update()
        assert place.board.vehicles["A"].inside == ("park",)
        assert place.board.vehicles["B"].inside == ()
        (visit,) = place.board.open_events.values()
        place.board.forget()
        place.now_s += 1
        await processor.feed(log(fix(2, OUT, "B"), start=2))
        assert await showcase.update()
        assert place.board.vehicles["A"].inside == ("park",)
        assert place.board.open_events == {visit.id: visit}
        assert place.sample("board_rebuilds_total") == 2
        await processor.feed(log(fix(3, OUT), start=3))
        assert await showcase.update()
        assert place.board.open_events == {}

    run(go())


def test_an_emptied_board_is_noticed_in_silence() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        showcase = place.showcase(processor)
        await processor.feed(log(fix(0)))
        await showcase.update()
        place.board.forget()
        place.now_s += 6
        await showcase.update()
        assert set(place.board.vehicles) == {"A"}

    run(go())


def test_a_board_of_another_database_is_laid_anew() -> None:
    async def go() -> None:
        place = Place()
        await place.board.rebuild("t", 0, FixBatch.empty(), [], [], after_seq=10**6)
        processor = await place.processor()
        await processor.feed(log(fix(0)))
        await place.showcase(processor).update()
        assert len(place.board.stream) == 1
        assert set(place.board.vehicles) == {"A"}

    run(go())


def test_positions_are_shown_at_most_once_a_second() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        showcase = place.showcase(processor)
        await processor.feed(log(fix(0)))
        await showcase.update()
        for minute in (1, 2):
            place.now_s += 0.4
            await processor.feed(log(fix(minute), start=minute))
            await showcase.update()
            assert place.board.vehicles["A"].fix.time_us[0] == START_US
        place.now_s += 0.4
        await showcase.update()
        assert place.board.vehicles["A"].fix.time_us[0] == START_US + 2 * MINUTE_US

    run(go())


def test_a_board_that_is_away_holds_nothing_up() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        showcase = place.showcase(processor)
        place.board.away = True
        await processor.feed(log(fix(0)))
        with capture_logs() as logs:
            for _ in range(5):
                assert not await showcase.update()
                place.now_s += 1
        assert sum(entry["event"].startswith("board away") for entry in logs) == 1
        assert place.kinds() == ["visit"]
        place.board.away = False
        place.now_s += 10
        assert await showcase.update()
        assert len(place.board.stream) == 1
        assert place.sample("board_up") == 1

    run(go())
