"""One partition and its one owner: claim, order and checkpoint, which all work on a partition has in common.

You are below ``processor.py`` (a partition of fixes) and ``joint.py`` (the rules about several of them), and
above ``waiting.py`` and ``order.py``. An :class:`Owner` takes a partition over (older owners are fenced off),
goes on from the checkpoint, does one thing at a time, and drops everything without another write when
anything breaks off midway: its memory may then be ahead of the store.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Required, TypedDict

import structlog

from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.history import MilestoneNews
from hazfence.ports import Checkpoint, Claim, Reject, Store
from hazfence.reference import ReferenceData
from hazfence.settings import EngineSettings
from hazfence.wire import Message
from hazfence.worker.dead import DeadLetters
from hazfence.worker.file import CurrentFile
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.order import LogOrder
from hazfence.worker.waiting import Dropped, Patience, within
from hazfence_fences import FenceSet

__all__ = ["Clock", "Given", "Owner", "ProcessorSettings"]

_log = structlog.get_logger(__name__)


class Clock(StrEnum):
    """What moves time on when no fix comes."""

    WALL = "wall"  #: the real time, once the partition has been read to its end
    EVENT = "event"  #: the newest fix of the partition: for replays, which then depend on the log alone


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    """How a partition is worked on.

    Attributes:
        clock: see :class:`Clock`.
        lateness_s: silence is believed only this long after the moment it is about.
        event_step_s: with the event clock, silence is looked for each time it passes a multiple of this.
        checkpoint_every_s: time between checkpoints.
        max_buffered_fixes: more fixes than this make a checkpoint at once.
        keep_fixes: whether accepted fixes are stored at all.
        fixes_indexed: whether the store finds stored fixes by vehicle and time at once.
        max_message_bytes, max_kept_bytes: see ``hazfence.wire.decode``.
        tell_heard: whether the store is told how far time has come, for rules about all partitions.
    """

    clock: Clock = Clock.WALL
    lateness_s: float = 60.0
    event_step_s: float = 600.0
    checkpoint_every_s: float = 5.0
    max_buffered_fixes: int = 200_000
    keep_fixes: bool = True
    fixes_indexed: bool = True
    max_message_bytes: int = 4 * 1024 * 1024
    max_kept_bytes: int = 1024 * 1024
    tell_heard: bool = False

    @property
    def recent_in_store(self) -> bool:
        """Whether recent fixes are read back from the store; they are part of every snapshot otherwise."""
        return self.keep_fixes and self.fixes_indexed


class Given(TypedDict, total=False):
    """What an :class:`Owner` is made with, for those that pass it on; see there."""

    fences: Required[FenceSet]
    store: Required[Store]
    settings: ProcessorSettings | None
    engine_settings: EngineSettings | None
    metrics: WorkerMetrics | None
    dead: DeadLetters | None
    file: CurrentFile | None
    monotonic_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


class Owner(ABC):
    """Owns one partition; made anew for each assignment.

    Args:
        topic, partition: which.
        fences, engine_settings: in force.
        store: the durable side.
        settings: see :class:`ProcessorSettings`.
        metrics: what is counted.
        dead: the dead-letter topic; None for none.
        file: vehicles and waybills on file; None for none.
        monotonic_s, sleep: the clock of back-offs and intervals, replaced in tests.

    Attributes:
        checkpoint_offset: the ``next_offset`` that the store's checkpoint stands for; None before
            there is one.
        watermark_us: how far time has come, None before it began: of a partition of fixes the time of the
            newest one accepted.
        touched: vehicles with a fix or event since the board last took them away.
        turned: vehicles whose visits changed since the board last took them away.
        committed: set when the store's outbox has something new.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        *,
        fences: FenceSet,
        store: Store,
        settings: ProcessorSettings | None = None,
        engine_settings: EngineSettings | None = None,
        metrics: WorkerMetrics | None = None,
        dead: DeadLetters | None = None,
        file: CurrentFile | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.checkpoint_offset: int | None = None
        self.watermark_us: int | None = None
        self.touched: set[str] = set()
        self.turned: set[str] = set()
        self.committed = asyncio.Event()
        self._fences = fences
        self._engine_settings = engine_settings or EngineSettings()
        self._rules = self._engine_settings.rules
        self._in_force = self._rules.for_fences(fences.fences, {})
        self._store = store
        self._settings = settings or ProcessorSettings()
        self._metrics = metrics or WorkerMetrics()
        self._dead = dead or DeadLetters(None, self._metrics)
        self._file = file
        self._reference: ReferenceData | None = None
        self._monotonic_s = monotonic_s
        self._patience = Patience(
            self._metrics, monotonic_s=monotonic_s, sleep=sleep, topic=topic, partition=partition
        )
        self._order = LogOrder(0, monotonic_s)
        self._log = _log.bind(topic=topic, partition=partition)
        self._lock = asyncio.Lock()
        self._claim: Claim | None = None
        self._checkpointed_s = 0.0

    @property
    def next_offset(self) -> int:
        """Offset of the message wanted next."""
        return self._order.next_offset

    @property
    def loaded(self) -> bool:
        """True from the end of :meth:`load` until the partition is dropped."""
        return self._claim is not None and not self._patience.given_up

    @property
    def waiting(self) -> bool:
        """True while a store that is away is waited for."""
        return self._patience.waiting

    @abstractmethod
    async def load(self) -> None:
        """Take the partition over and restore the state of its checkpoint.

        Raises:
            Dropped: given up while the store was away.
            SnapshotError: the stored state cannot be read by this release.
        """

    @asynccontextmanager
    async def _taking_over(self) -> AsyncIterator[Checkpoint | None]:
        """Claim the partition; its checkpoint, to be restored. After that the partition is ours."""
        async with self._lock:
            claim, checkpoint = await self._patience.until_done(
                "claim", lambda: self._store.claim(self.topic, self.partition)
            )
            if self._file is not None:
                self._reference = await self._patience.until_done("read the file", self._file.load)
            yield checkpoint
            if checkpoint is not None:
                self._order.next_offset = self.checkpoint_offset = checkpoint.next_offset
            self._claim = claim
            self._checkpointed_s = self._monotonic_s()

    async def feed(self, messages: Sequence[Message]) -> int | None:
        """Take messages in, in the order of their offsets.

        Returns:
            the offset from which the log has to be read again, because messages before these are
            missing; None when all is well.

        Raises:
            Dropped: the partition is not ours any more; nothing of these messages counts.
        """
        async with self._mine():
            admitted = self._order.admit(messages)
            self._metrics.messages_skipped.inc(admitted.skipped)
            if admitted.missing:
                self._metrics.messages_missing.inc(admitted.missing)
                self._log.warning("the log no longer has some messages", missing=admitted.missing)
            self._refresh()
            if admitted.messages:
                await self._take(admitted.messages)
            return self._read_again(admitted.seek_to)

    @abstractmethod
    async def _take(self, messages: Sequence[Message]) -> None:
        """Take in the next messages, none of which is missing or known."""

    @abstractmethod
    def _refresh(self) -> None:
        """Judge by the newest file from here on."""

    def _read_again(self, from_offset: int | None) -> int | None:
        """Count that the log is to be read again, if it is."""
        if from_offset is not None:
            self._metrics.seeks.inc()
            self._log.info("reading the log again", from_offset=from_offset)
        return from_offset

    @abstractmethod
    async def tick(self, now_us: int, *, caught_up: bool) -> int | None:
        """Let time pass.

        Args:
            now_us: the wall clock, microseconds UTC.
            caught_up: whether every message of the partition has been fed. Silence proves nothing
                about messages that wait in the log, so until then time stands at the newest one.

        Returns:
            as :meth:`feed`: an offset to read from again, when that was asked for and not done.

        Raises:
            Dropped: the partition is not ours any more.
        """

    @abstractmethod
    async def checkpoint(self) -> None:
        """Store a checkpoint now, if anything happened since the last one."""

    async def close(self, *, timeout_s: float = 10.0) -> None:
        """Store a last checkpoint if the store answers in time, and drop the partition.

        Nothing is lost when it does not: the log is read again from the checkpoint before.
        """
        try:
            if self.loaded:
                await within(timeout_s, self.checkpoint())
        except Dropped:
            pass
        except TimeoutError:
            self._log.warning("store away: left without a last checkpoint", next_offset=self.next_offset)
        finally:
            self.drop()

    def drop(self) -> None:
        """Drop the partition at once: what waits for a store that is away raises :class:`Dropped`."""
        self._patience.give_up()
        self._metrics.forget(self.topic, self.partition)

    @abstractmethod
    async def ended(self) -> None:
        """After :meth:`drop`: come back when nothing more is being written."""

    @asynccontextmanager
    async def _mine(self) -> AsyncIterator[None]:
        """One thing at a time, while the partition is ours, and none after one that broke off."""
        async with self._lock:
            if not self.loaded:
                raise self._not_loaded()
            try:
                yield
            except BaseException:
                self._patience.give_up()
                raise

    def _not_loaded(self) -> Dropped:
        return Dropped(f"{self.topic}/{self.partition} is not loaded")

    def _claimed(self) -> Claim:
        assert self._claim is not None
        return self._claim

    def _due(self) -> bool:
        return self._monotonic_s() - self._checkpointed_s >= self._settings.checkpoint_every_s

    def _count(self, events: Iterable[Event], rejects: Iterable[Reject] = ()) -> None:
        for event in events:
            self._metrics.events.labels(str(event.kind), str(event.phase)).inc()
        for reject in rejects:
            self._metrics.dead.labels(reject.reason).inc()

    async def _write(self, events: Sequence[Event], rejects: Sequence[Reject], **holding: int) -> None:
        """Store what follows from the log alone, at once, and send its dead letters."""
        await self._patience.until_done(
            "write", lambda: self._store.write(self._claimed(), events, rejects), **holding
        )
        self._committed(events)
        await self._dead.put(self.topic, self.partition, rejects)

    async def _checkpoint(
        self,
        checkpoint: Checkpoint,
        fixes: FixBatch,
        events: Sequence[Event],
        rejects: Sequence[Reject] = (),
        milestones: Sequence[MilestoneNews] = (),
    ) -> None:
        """Store a checkpoint with all that belongs to it, in one transaction."""
        await self._dead.flush()
        with self._metrics.checkpoint_seconds.time():
            await self._patience.until_done(
                "checkpoint",
                lambda: self._store.checkpoint(
                    self._claimed(), checkpoint, fixes, events, rejects, milestones
                ),
                buffered_fixes=len(fixes),
            )
        self._metrics.checkpoints.inc()
        self.checkpoint_offset = checkpoint.next_offset
        self._committed(events)

    def _committed(self, events: Sequence[Event]) -> None:
        if events:
            self.touched.update(event.vehicle for event in events)
            self.committed.set()
