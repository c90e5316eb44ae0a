"""All partitions of a worker: taken over and let go at the right moments, and never stolen back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from hazfence import SnapshotError
from hazfence.memory import MemoryBoard, MemoryStore
from hazfence.ports import Checkpoint
from hazfence.wire import Message, encode_fix
from hazfence.worker import partitions as module
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.partitions import LogEnd, Partitions, Place
from hazfence.worker.processor import PartitionProcessor, ProcessorSettings
from hazfence.worker.showcase import Showcase

from .worker_place import MINUTE_US, PARK, START_US

A, B = Place("t", 0), Place("t", 1)


def fix(offset: int, vehicle: str = "V") -> Message:
    return Message(offset, START_US, encode_fix(vehicle, START_US + offset, 121.5, 29.9))


class Worker:
    """A worker's partitions over a store and a board that others may share."""

    def __init__(self, store: MemoryStore | None = None, *, board: bool = True, **options: Any) -> None:
        self.store = store or MemoryStore()
        self.board = MemoryBoard() if board else None
        self.metrics = WorkerMetrics()
        self.seeks: list[tuple[Place, int]] = []
        self.fatal: list[BaseException] = []
        self.all = Partitions(
            self._make,
            seek=self._seek,
            metrics=self.metrics,
            on_fatal=self.fatal.append,
            board_every_s=0.02,
            **{"linger_s": 0.001, **options},
        )

    async def feed(self, messages: dict[Place, list[Message]]) -> None:
        for place, some in messages.items():
            for message in some:
                await self.all.put(place, [message])
        await self.all.settled()

    async def tick(self, now_us: int, end_of: Callable[[Place], LogEnd | None]) -> None:
        """Two ticks: the first begins to load, the second ticks what is loaded."""
        await self.all.tick(now_us, end_of)
        await self.all.settled()
        await self.all.tick(now_us, end_of)

    def _make(self, place: Place) -> tuple[PartitionProcessor, Showcase | None]:
        processor = PartitionProcessor(
            *place, fences=PARK, store=self.store, metrics=self.metrics,
            settings=ProcessorSettings(lateness_s=0, checkpoint_every_s=1000),
        )  # fmt: skip
        if self.board is None:
            return processor, None
        return processor, Showcase(
            processor, store=self.store, board=self.board, metrics=self.metrics, every_s=0.02
        )

    async def _seek(self, place: Place, offset: int) -> None:
        self.seeks.append((place, offset))


def run(go: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(go())  # type: ignore[arg-type]


def no_end(_: Place) -> LogEnd | None:
    return None


def test_loaded_as_soon_as_assigned_without_a_fix_or_a_tick() -> None:
    async def go() -> None:
        worker = Worker()
        assert worker.all.unready() == ["no partition is assigned to this worker"]
        worker.all.assign({A, B})
        assert worker.all.unready() == ["t/0: not loaded yet", "t/1: not loaded yet"]
        await worker.feed({A: [fix(0)]})
        assert worker.all.unready() == []
        # Each is read from where its checkpoint stands, whatever the consumer thinks.
        assert sorted(worker.seeks) == [(A, 0), (B, 0)]
        assert worker.metrics.registry.get_sample_value("hazfence_partitions") == 2
        await worker.all.close()
        assert worker.all.checkpoints() == {}
        assert worker.metrics.registry.get_sample_value("hazfence_partitions") == 0

    run(go)


def test_first_message_and_tick_load_once() -> None:
    async def go() -> None:
        worker = Worker()
        worker.all.assign({A})
        await asyncio.gather(worker.feed({A: [fix(0)]}), worker.tick(START_US, no_end))
        (claim, _) = await worker.store.claim(*A)
        assert claim.epoch == 2  # ours was 1
        await worker.all.close()

    run(go)


def test_before_assignment_and_after_revocation_nothing_is_taken() -> None:
    async def go() -> None:
        worker = Worker()
        await worker.feed({A: [fix(0)]})
        assert worker.store.events == {}
        worker.all.assign({A})
        await worker.feed({A: [fix(0)]})
        await worker.all.revoke({A})
        (claim, checkpoint) = await worker.store.claim(*A)
        assert checkpoint is not None
        assert checkpoint.next_offset == 1  # the last checkpoint was made
        await worker.feed({A: [fix(1)]})
        await worker.tick(START_US, no_end)
        assert (await worker.store.claim(*A))[0].epoch == claim.epoch + 1

    run(go)


def test_a_partition_claimed_by_another_is_not_stolen_back() -> None:
    async def go() -> None:
        one = Worker()
        two = Worker(one.store)
        for worker in (one, two):
            worker.all.assign({A})
        await one.feed({A: [fix(0)]})
        await two.feed({A: [fix(0), fix(1)]})
        await one.feed({A: [fix(1, "W")]})
        for _ in range(3):
            await one.tick(START_US, no_end)
            await one.feed({A: [fix(2)]})
            await two.tick(START_US, no_end)
        assert one.all.unready() == ["t/0: another worker has claimed it"]
        assert two.all.unready() == []
        one.all.assign({A})  # the group says so: now it may
        await one.tick(START_US, no_end)
        assert one.all.unready() == []
        await one.all.close()
        await two.all.close()

    run(go)


def test_silence_counts_only_at_the_end_of_the_log() -> None:
    async def go() -> None:
        worker = Worker()
        worker.all.assign({A})
        await worker.feed({A: [fix(0)]})
        late_us = START_US + 60 * MINUTE_US
        for end in (None, LogEnd(5, True), LogEnd(1, False)):
            await worker.tick(late_us, lambda _, end=end: end)  # type: ignore[misc]
            assert {e.kind for e in worker.store.events.values()} == {"visit"}
        await worker.tick(late_us, lambda _: LogEnd(1, True))
        assert {e.kind for e in worker.store.events.values()} == {"visit", "overstay"}
        labels = {"topic": "t", "partition": "0"}
        worker.all.measure(late_us, lambda _: LogEnd(1, True))
        assert worker.metrics.registry.get_sample_value("hazfence_lag_messages", labels) == 0
        await worker.all.close()

    run(go)


def test_a_log_that_ends_before_the_checkpoint_is_said() -> None:
    async def go() -> None:
        worker = Worker()
        worker.all.assign({A})
        await worker.feed({A: [fix(0), fix(1)]})
        with capture_logs() as logs:
            for _ in range(3):
                await worker.tick(START_US, lambda _: LogEnd(1, True))
        said = [entry for entry in logs if entry["log_level"] == "error"]
        assert len(said) == 1
        assert "mend" in said[0]
        assert worker.all.unready() == ["t/0: the log ends before the checkpoint"]
        await worker.tick(START_US, lambda _: LogEnd(2, True))
        assert worker.all.unready() == []
        await worker.all.close()

    run(go)


def test_a_rebalance_does_not_wait_for_a_store_that_is_away() -> None:
    async def go() -> None:
        worker = Worker(flush_timeout_s=30)
        worker.all.assign({A, B})
        await worker.tick(START_US, no_end)
        worker.store.away = True
        feeding = asyncio.create_task(worker.feed({A: [fix(0)]}))
        await asyncio.sleep(0.05)
        assert worker.all.unready() == ["t/0: the store is away"]
        worker.all.free_waiting()
        async with asyncio.timeout(1):
            await feeding
            await worker.all.revoke({A})
        worker.store.away = False
        worker.all.assign({A, B})
        await worker.feed({A: [fix(0)]})
        assert len(worker.store.events) == 1
        await worker.all.close()

    run(go)


def test_leaving_takes_no_longer_than_allowed() -> None:
    async def go() -> None:
        worker = Worker(flush_timeout_s=0.1)
        worker.all.assign({A})
        await worker.feed({A: [fix(0)]})
        worker.store.away = True
        async with asyncio.timeout(2):
            await worker.all.close()
        worker.store.away = False
        assert (await worker.store.claim(*A))[1] is None

    run(go)


def test_let_go_while_loading() -> None:
    async def go() -> None:
        worker = Worker()
        worker.store.away = True
        worker.all.assign({A})
        await worker.all.tick(START_US, no_end)
        await asyncio.sleep(0.02)
        assert worker.all.unready() == ["t/0: the store is away"]
        async with asyncio.timeout(1):
            await worker.all.revoke({A})
        worker.store.away = False
        worker.all.assign({A})
        await worker.tick(START_US, no_end)
        assert worker.all.unready() == []
        await worker.all.close()

    run(go)


def test_a_snapshot_that_cannot_be_read_is_an_error() -> None:
    async def go() -> None:
        worker = Worker()
        claim, _ = await worker.store.claim(*A)
        from hazfence import FixBatch

        await worker.store.checkpoint(claim, Checkpoint(5, b"rubbish"), FixBatch.empty())
        worker.all.assign({A})
        await worker.tick(START_US, no_end)
        (error,) = worker.fatal
        assert isinstance(error, SnapshotError)
        assert worker.all.unready() == ["t/0: not loaded yet"]
        await worker.all.close()

    run(go)


def test_the_board_follows_by_itself_and_survives_anything() -> None:
    async def go() -> None:
        worker = Worker()
        assert worker.board is not None
        worker.all.assign({A})
        await worker.feed({A: [fix(0)]})

        async def shown(offset: int) -> None:
            async with asyncio.timeout(3):
                while worker.board.vehicles["V"].fix.time_us[0] != START_US + offset:  # type: ignore[union-attr]
                    await asyncio.sleep(0.01)

        await asyncio.sleep(0.1)
        await shown(0)
        assert len(worker.board.stream) == 1

        def odd(method: str, moment: str) -> None:
            raise ZeroDivisionError(method)

        worker.board.fault = odd
        with capture_logs() as logs:
            await worker.feed({A: [fix(1)]})
            await asyncio.sleep(0.1)
        assert any(entry["event"] == "board update failed" for entry in logs)
        worker.board.fault = None
        await shown(1)
        await worker.all.close()

    run(go)


def test_a_message_after_a_pause_is_fed_at_once_and_the_next_ones_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed: list[tuple[float, int]] = []
    feed = PartitionProcessor.feed

    async def noted(self: PartitionProcessor, messages: Sequence[Message]) -> int | None:
        fed.append((time.monotonic(), len(messages)))
        return await feed(self, messages)

    monkeypatch.setattr(PartitionProcessor, "feed", noted)
    monkeypatch.setattr(module, "_LONGEST_LINGER_S", 0.3)

    async def go() -> None:
        worker = Worker(board=False, linger_s=0.3)
        worker.all.assign({A})
        await worker.feed({A: [fix(0)]})
        came_s = time.monotonic()
        for offset in range(1, 5):
            await worker.all.put(A, [fix(offset)])
            await asyncio.sleep(0.01)
        await worker.all.settled()
        assert [count for _, count in fed] == [1, 4]
        assert fed[1][0] - came_s > 0.2  # these waited for company
        await asyncio.sleep(0.35)
        came_s = time.monotonic()
        await worker.feed({A: [fix(5)]})
        assert fed[2][0] - came_s < 0.2  # and this one did not
        await worker.all.close()

    run(go)


def test_what_waits_is_fed_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        monkeypatch.setattr(module, "_FEED_BYTES", 250)
        worker = Worker(board=False)
        worker.all.assign({A})
        fed: list[int] = []
        original = PartitionProcessor.feed

        async def feed(self: PartitionProcessor, messages: Any) -> int | None:
            fed.append(len(messages))
            return await original(self, messages)

        monkeypatch.setattr(PartitionProcessor, "feed", feed)
        await worker.feed({A: [fix(i) for i in range(9)]})
        assert sum(fed) == 9
        assert max(fed) == 3
        assert worker.all.wanted() == {A: 9}
        await worker.all.close()

    run(go)


def test_how_far_behind_is_seen_while_the_store_is_away() -> None:
    async def go() -> None:
        worker = Worker()
        worker.all.assign({A})
        await worker.feed({A: [fix(0)]})
        worker.store.away = True
        await worker.all.put(A, [fix(1, "W")])  # opens a visit, which cannot be stored
        await asyncio.sleep(0.1)
        await worker.all.put(A, [fix(2)])
        worker.all.measure(START_US + 2 * MINUTE_US, lambda _: LogEnd(9, False))
        sample, labels = worker.metrics.registry.get_sample_value, {"topic": "t", "partition": "0"}
        assert sample("hazfence_lag_messages", labels) == 9 - worker.all.wanted()[A]
        assert sample("hazfence_watermark_age_seconds", labels) is not None
        assert sample("hazfence_inbox_bytes") == len(fix(2).value or b"")
        worker.store.away = False
        await worker.all.settled()
        await worker.all.close()

    run(go)


def test_portions_that_take_long_get_smaller_and_grow_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONG_S", 0.02)

    async def go() -> None:
        worker = Worker()
        worker.all.assign({A})
        await worker.feed({A: [fix(0)]})
        slot, feed = worker.all._slots[A], worker.all._slots[A].processor.feed

        async def slow(messages: Sequence[Message]) -> int | None:
            await asyncio.sleep(0.03)
            return await feed(messages)

        slot.processor.feed = slow  # type: ignore[method-assign]
        before = slot.feed_bytes
        await worker.feed({A: [fix(1)]})
        assert slot.feed_bytes == before // 2
        for offset in range(2, 12):
            await worker.feed({A: [fix(offset)]})
        assert slot.feed_bytes == module._LEAST_FEED_BYTES
        slot.processor.feed = feed  # type: ignore[method-assign]
        monkeypatch.setattr(module, "_LONG_S", 100.0)
        await worker.feed({A: [fix(12)]})
        assert slot.feed_bytes == 2 * module._LEAST_FEED_BYTES
        await worker.all.close()

    run(go)


def test_a_full_inbox_makes_the_reader_wait() -> None:
    async def go() -> None:
        worker = Worker(inbox_bytes=300)
        worker.all.assign({A, B})
        await worker.tick(START_US, no_end)
        worker.store.away = True

        async def read() -> None:
            for i in range(20):
                await worker.all.put(A, [fix(i)])

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        assert not reading.done()
        assert worker.all._waiting_bytes < 600
        worker.store.away = False
        async with asyncio.timeout(5):
            await reading
            await worker.all.settled()
        assert worker.all.wanted()[A] == 20
        await worker.all.close()

    run(go)


def test_what_waits_in_an_inbox_is_thrown_away_with_the_partition() -> None:
    async def go() -> None:
        worker = Worker(inbox_bytes=300)
        worker.all.assign({A})
        await worker.tick(START_US, no_end)
        worker.store.away = True
        reading = asyncio.create_task(worker.feed({A: [fix(i) for i in range(20)]}))
        await asyncio.sleep(0.05)
        worker.all.free_waiting()
        async with asyncio.timeout(2):
            await worker.all.revoke({A})
            await reading
        assert worker.all._waiting_bytes == 0
        worker.store.away = False
        assert (await worker.store.claim(*A))[1] is None
        assert worker.store.events == {}

    run(go)


def test_one_partition_does_not_wait_for_another() -> None:
    async def go() -> None:
        worker = Worker(board=False)
        worker.all.assign({A, B})
        await worker.tick(START_US, no_end)
        gate = asyncio.Event()
        original = worker.store.write

        async def write(claim: Any, events: Any, rejects: Any) -> None:
            if claim.partition == A.partition:
                await gate.wait()
            await original(claim, events, rejects)

        worker.store.write = write  # type: ignore[method-assign]
        await worker.all.put(A, [fix(0)])
        await worker.all.put(B, [fix(0, "W")])
        async with asyncio.timeout(2):
            while {e.vehicle for e in worker.store.events.values()} != {"W"}:
                await asyncio.sleep(0)
        gate.set()
        await worker.all.settled()
        assert len(worker.store.events) == 2
        await worker.all.close()

    run(go)


def test_what_is_being_fed_is_stored_before_the_partition_leaves() -> None:
    async def go() -> None:
        worker = Worker(board=False)
        worker.all.assign({A})
        await worker.tick(START_US, no_end)
        gate = asyncio.Event()
        original = worker.store.write

        async def write(claim: Any, events: Any, rejects: Any) -> None:
            await gate.wait()
            await original(claim, events, rejects)

        worker.store.write = write  # type: ignore[method-assign]
        await worker.all.put(A, [fix(0)])
        await asyncio.sleep(0.01)
        leaving = asyncio.create_task(worker.all.revoke({A}))
        await asyncio.sleep(0.01)
        gate.set()
        await leaving
        checkpoint = (await worker.store.claim(*A))[1]
        assert checkpoint is not None
        assert checkpoint.next_offset == 1
        assert len(worker.store.events) == 1

    run(go)


def test_a_hole_leads_to_a_seek() -> None:
    async def go() -> None:
        worker = Worker()
        worker.all.assign({A})
        await worker.tick(START_US, no_end)
        worker.seeks.clear()
        await worker.feed({A: [fix(3)]})
        assert worker.seeks == [(A, 0)]
        await worker.all.close()

    run(go)
