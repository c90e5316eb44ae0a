"""All partitions of one worker: loaded when assigned, fed, ticked, shown, and let go.

You are between ``app.py``, which hands over what Faust brings, and ``processor.py``, which works on
one partition. There is no Faust here. Each partition has an inbox and a task of its own: while one
waits for the store, the others go on and its inbox fills, so that under load the next transaction
carries more. What lies in an inbox counts as unread: it is thrown away when the partition leaves
and read again by the next owner. A partition is taken over only between its assignment and its
revocation, and never again after another worker has claimed it, until it is assigned anew: two
workers that believe the same must not take it from each other for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

import structlog

from hazfence.wire import Message
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.showcase import Showcase, Shown
from hazfence.worker.waiting import Dropped, end, within

__all__ = ["LogEnd", "Partitions", "Place"]

_log = structlog.get_logger(__name__)
#: Bytes of messages that are fed at once, at most and at least: as few as are needed for a portion not to
#: hold the event loop up for long, whatever is in it.
_FEED_BYTES, _LEAST_FEED_BYTES = 1024 * 1024, 16 * 1024
_LONG_S = 0.5
_LONGEST_LINGER_S = 0.05
_BOARD_PAUSE_S = 0.25
_BOARD_LAST_S = 3.0
_SAY_AGAIN_S = 60.0


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class LogEnd(NamedTuple):
    """What the consumer knows of a partition's end.

    Attributes:
        offset: the offset after the last message.
        current: whether that was heard lately.
    """

    offset: int
    current: bool


class Processor(Shown, Protocol):
    """What works on a partition: ``PartitionProcessor``, or ``JointProcessor`` on that of the plate reads."""

    checkpoint_offset: int | None
    watermark_us: int | None

    @property
    def next_offset(self) -> int:
        """Offset of the message wanted next."""

    @property
    def loaded(self) -> bool:
        """True from the end of :meth:`load` until it is dropped."""

    @property
    def waiting(self) -> bool:
        """True while a store that is away is waited for."""

    async def load(self) -> None:
        """Take the partition over."""

    async def feed(self, messages: Sequence[Message]) -> int | None:
        """Take messages in; an offset from which to read again, or None."""

    async def tick(self, now_us: int, *, caught_up: bool) -> int | None:
        """Let time pass; as :meth:`feed`."""

    async def checkpoint(self) -> None:
        """Store what is not stored yet."""

    def drop(self) -> None:
        """Drop the partition at once."""

    async def ended(self) -> None:
        """After :meth:`drop`: come back when nothing more is being written."""


class Partitions:
    """Owns a processor for each partition assigned.

    Args:
        make: builds processor and showcase (None for no board) of a partition.
        seek: makes the consumer read a partition again from an offset.
        metrics: what is counted.
        on_fatal: called when a partition's work ends with something unknown; nothing in memory can
            be trusted then.
        linger_s: from one portion to the next, so that messages find company; up to 0.05 s under load.
        inbox_bytes: messages that may wait in all inboxes before :meth:`put` does.
        flush_timeout_s: for the last checkpoint of a partition that leaves.
        board_every_s: how often the board is looked after when nothing is committed.
        last_topic: partitions of this topic are let go after the others, whose last words they take in.
    """

    def __init__(
        self,
        make: Callable[[Place], tuple[Processor, Showcase | None]],
        *,
        seek: Callable[[Place, int], Awaitable[None]],
        metrics: WorkerMetrics,
        on_fatal: Callable[[BaseException], None],
        linger_s: float = 0.02,
        inbox_bytes: int = 32 * 1024 * 1024,
        flush_timeout_s: float = 10.0,
        board_every_s: float = 1.0,
        last_topic: str = "",
    ) -> None:
        self._make = make
        self._last_topic = last_topic
        self._seek = seek
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._linger_s = linger_s
        self._inbox_bytes = inbox_bytes
        self._flush_timeout_s = flush_timeout_s
        self._board_every_s = board_every_s
        self._slots: dict[Place, _Slot] = {}
        self._assigned: set[Place] = set()
        self._barred: set[Place] = set()
        self._said_s: dict[Place, float] = {}
        self._truncated: set[Place] = set()
        self._waiting_bytes = 0
        self._room = asyncio.Event()

    @property
    def assigned(self) -> frozenset[Place]:
        """The partitions that the group has given to this worker."""
        return frozenset(self._assigned)

    def unready(self) -> list[str]:
        """Why the worker cannot do all its work now; empty when it can."""
        if not self._assigned:
            return ["no partition is assigned to this worker"]
        reasons = []
        for place in sorted(self._assigned):
            name, slot = f"{place.topic}/{place.partition}", self._slots.get(place)
            if place in self._barred:
                reasons.append(f"{name}: another worker has claimed it")
            elif slot is not None and slot.processor.waiting:
                reasons.append(f"{name}: the store is away")
            elif slot is None or not slot.processor.loaded:
                reasons.append(f"{name}: not loaded yet")
            elif place in self._truncated:
                reasons.append(f"{name}: the log ends before the checkpoint")
        return reasons

    def checkpoints(self) -> dict[Place, int]:
        """For each loaded partition the offset that its stored checkpoint stands for."""
        return {
            place: slot.processor.checkpoint_offset
            for place, slot in self._slots.items()
            if slot.processor.loaded and slot.processor.checkpoint_offset is not None
        }

    def wanted(self) -> dict[Place, int]:
        """For each loaded partition the offset that is wanted next."""
        return {place: s.processor.next_offset for place, s in self._slots.items() if s.processor.loaded}

    def assign(self, places: Collection[Place]) -> None:
        """These are ours now: those that are not loaded yet begin to be."""
        self._assigned = set(places)
        self._barred.clear()
        self._truncated.clear()
        for place in sorted(self._assigned):
            self._slot(place)

    async def put(self, place: Place, messages: Sequence[Message]) -> None:
        """Hand over the next messages of a partition; waits only when too much lies unprocessed.

        Messages of a partition that is not ours are left alone: its owner reads them.
        """
        slot = self._slot(place)
        if slot is None:
            return
        size = sum([len(message.value) for message in messages if message.value])
        slot.inbox.extend(messages)
        slot.inbox_bytes += size
        self._waiting_bytes += size
        slot.idle.clear()
        slot.came.set()
        while self._waiting_bytes > self._inbox_bytes:
            self._room.clear()
            await self._room.wait()

    async def settled(self) -> None:
        """Come back when everything handed over so far is processed or thrown away."""
        for slot in list(self._slots.values()):
            await slot.idle.wait()

    async def tick(self, now_us: int, end_of: Callable[[Place], LogEnd | None]) -> None:
        """Let time pass on every partition that is loaded, and begin to load those that are not.

        Args:
            now_us: the wall clock, microseconds UTC.
            end_of: what the consumer knows of a partition's end, if anything.
        """
        await asyncio.gather(*(self._tick(place, now_us, end_of(place)) for place in sorted(self._assigned)))

    def measure(self, now_us: int, end_of: Callable[[Place], LogEnd | None]) -> None:
        """Show how far behind each partition is; waits for nothing, so that it can be seen while all wait.

        Args:
            now_us, end_of: as for :meth:`tick`.
        """
        self._metrics.inbox.set(self._waiting_bytes)
        for place, slot in self._slots.items():
            if not slot.processor.loaded:
                continue
            labels, end = (place.topic, str(place.partition)), end_of(place)
            if end is not None:
                self._metrics.lag.labels(*labels).set(max(0, end.offset - slot.processor.next_offset))
            if slot.processor.watermark_us is not None:
                self._metrics.watermark_age.labels(*labels).set((now_us - slot.processor.watermark_us) / 1e6)

    def free_waiting(self) -> None:
        """Drop the partitions that wait for a store that is away, so that nothing waits for them."""
        for slot in list(self._slots.values()):
            if slot.processor.waiting:
                slot.processor.drop()

    async def revoke(self, places: Iterable[Place]) -> None:
        """Make a last checkpoint of these and let them go; nothing is written for them afterwards."""
        going = [self._slots.pop(place) for place in places if place in self._slots]
        self._assigned -= set(places)
        for last in (False, True):
            some = [slot for slot in going if (slot.place.topic == self._last_topic) == last]
            await asyncio.gather(*(self._let_go(slot) for slot in some))
        self._metrics.partitions.set(len(self._slots))

    async def close(self) -> None:
        """Let go of everything."""
        await self.revoke(set(self._assigned) | set(self._slots))

    def _slot(self, place: Place) -> _Slot | None:
        """The partition's slot, made when there is none; None when the partition is not ours."""
        if place not in self._assigned or place in self._barred:
            return None
        slot = self._slots.get(place)
        if slot is None:
            slot = self._slots[place] = _Slot(place, *self._make(place))
            slot.working = asyncio.create_task(self._work(slot), name=f"work {place.topic}/{place.partition}")
        return slot

    async def _work(self, slot: _Slot) -> None:
        """A partition's task: load, then feed what comes, until it is let go."""
        try:
            await slot.processor.load()
            self._metrics.partitions.set(len(self._slots))
            await self._seek(slot.place, slot.processor.next_offset)
            if slot.showcase is not None:
                slot.showing = asyncio.create_task(self._show(slot), name=f"show {slot.place.partition}")
            slot.loaded.set()
            while not slot.leaving:
                if not slot.inbox:
                    slot.idle.set()
                    slot.came.clear()
                    await slot.came.wait()
                    continue
                if slot.inbox_bytes < slot.feed_bytes:
                    # Wait for company, under load as long as the last portion took: the next one is then
                    # worth its cost. What comes after a pause has waited for nobody and is fed at once.
                    rest_s = min(max(slot.took_s, self._linger_s), _LONGEST_LINGER_S)
                    wait_s = slot.fed_s + rest_s - time.monotonic()
                    if wait_s > 0:
                        await asyncio.sleep(wait_s)
                        if slot.leaving:
                            break
                start_s = time.monotonic()
                seek_to = await slot.processor.feed(self._portion(slot))
                slot.fed_s = time.monotonic()
                slot.took_s = slot.fed_s - start_s
                if slot.took_s > _LONG_S:
                    slot.feed_bytes = max(_LEAST_FEED_BYTES, slot.feed_bytes // 2)
                elif slot.took_s < _LONG_S / 4:
                    slot.feed_bytes = min(_FEED_BYTES, slot.feed_bytes * 2)
                if seek_to is not None:
                    await self._seek(slot.place, seek_to)
        except Dropped:
            self._lose(slot)
        except Exception as error:
            self._on_fatal(error)
        finally:
            self._empty(slot)
            slot.loaded.set()
            slot.idle.set()

    def _portion(self, slot: _Slot) -> list[Message]:
        """The next messages of the inbox, about as many bytes as can be fed in a short time."""
        portion: list[Message] = []
        size = 0
        while slot.inbox and size < slot.feed_bytes:
            message = slot.inbox.popleft()
            size += len(message.value or b"")
            portion.append(message)
        self._took(slot, size)
        return portion

    def _took(self, slot: _Slot, size: int) -> None:
        slot.inbox_bytes -= size
        self._waiting_bytes -= size
        self._room.set()

    def _empty(self, slot: _Slot) -> None:
        slot.inbox.clear()
        self._took(slot, slot.inbox_bytes)

    async def _tick(self, place: Place, now_us: int, end: LogEnd | None) -> None:
        slot = self._slot(place)
        if slot is None or not slot.processor.loaded:
            return
        next_offset = slot.processor.next_offset
        caught_up = False
        if end is not None:
            caught_up = end.current and next_offset >= end.offset
            self._watch_end(place, next_offset, end)
        try:
            seek_to = await slot.processor.tick(now_us, caught_up=caught_up)
        except Dropped:
            self._lose(slot)
            return
        if seek_to is not None:
            await self._seek(place, seek_to)

    def _watch_end(self, place: Place, next_offset: int, end: LogEnd) -> None:
        """A log that ends before the checkpoint is another log, and its messages would seem known."""
        if not end.current or end.offset >= next_offset:
            self._truncated.discard(place)
            return
        self._truncated.add(place)
        now_s = time.monotonic()
        if now_s - self._said_s.get(place, float("-inf")) >= _SAY_AGAIN_S:
            self._said_s[place] = now_s
            _log.error(
                "the log ends before the checkpoint: was the topic deleted or cut?",
                topic=place.topic,
                partition=place.partition,
                log_end=end.offset,
                checkpoint=next_offset,
                mend="restore the topic, or read the new one from its start, keeping the state: "
                "UPDATE hazfence.checkpoint SET next_offset = 0 for it, with the workers stopped",
            )

    def _lose(self, slot: _Slot) -> None:
        """Another worker has it, or it broke off: not ours until it is assigned anew."""
        if self._slots.get(slot.place) is slot:
            del self._slots[slot.place]
            self._barred.add(slot.place)
            self._metrics.partitions.set(len(self._slots))
        slot.processor.drop()
        slot.leave()
        if slot.showing is not None:
            slot.showing.cancel()

    async def _let_go(self, slot: _Slot) -> None:
        """The last things of a partition, none of which may take for ever."""
        self._empty(slot)
        slot.leave()
        await end(slot.showing)
        try:
            if slot.processor.loaded and not slot.processor.waiting:
                # After what is being fed now.
                await within(self._flush_timeout_s, slot.processor.checkpoint())
                if slot.showcase is not None:
                    await within(_BOARD_LAST_S, slot.showcase.update(at_once=True))
        except (Dropped, TimeoutError) as error:
            _log.warning(
                "left without a last checkpoint or board update: the next owner does it again",
                topic=slot.place.topic,
                partition=slot.place.partition,
                error=repr(error),
            )
        slot.processor.drop()
        await end(slot.working)
        await slot.processor.ended()

    async def _show(self, slot: _Slot) -> None:
        assert slot.showcase is not None
        while not slot.leaving:
            try:
                up_to_date = await slot.showcase.update()
            except Dropped:
                return
            except Exception:  # the board must never stop a partition, whatever is wrong with it
                _log.exception("board update failed", topic=slot.place.topic, partition=slot.place.partition)
                up_to_date = False
            if up_to_date:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._board_every_s):
                        await slot.processor.committed.wait()
            else:
                await asyncio.sleep(_BOARD_PAUSE_S)


class _Slot:
    """A partition at work."""

    def __init__(self, place: Place, processor: Processor, showcase: Showcase | None) -> None:
        self.place = place
        self.processor = processor
        self.showcase = showcase
        self.inbox: deque[Message] = deque()
        self.inbox_bytes = 0
        self.leaving = False
        self.took_s = 0.0  # by the last feed
        self.fed_s = float("-inf")  # when it ended
        self.feed_bytes = _FEED_BYTES
        self.came = asyncio.Event()
        self.idle = asyncio.Event()  # not set while something waits or is being fed
        self.loaded = asyncio.Event()
        self.working: asyncio.Task[None] | None = None
        self.showing: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Feed nothing more."""
        self.leaving = True
        self.came.set()
