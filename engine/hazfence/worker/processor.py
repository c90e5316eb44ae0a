"""One partition: messages in, events out, each thing done once.

You are in the heart of the worker, above the core, the wire formats and the ports, and below
``partitions.py``, which owns one :class:`PartitionProcessor` for each partition assigned. There is
no Faust here and no service. The rules of the house:

- the offset that counts is the one in the store's checkpoint. :meth:`~PartitionProcessor.load`
  takes the partition over (older owners are fenced off) and goes on from there; messages before
  it are skipped, a hole after it makes the log be read again from there (``order.py``);
- what is found in fixes depends on the log alone: it is stored at once, and a second run after a
  crash stores the same things under the same names. What is found in silence by the wall clock
  depends on the moment: it is stored together with the snapshot that knows it; and so is what was
  found with the help of the file of vehicles and waybills, which may be another one at a second run;
- the fixes since the last checkpoint wait in memory and go with the next one, which is stored beside the
  work that goes on; only what may not be stored without it waits for it;
- a store that is away is waited for, in place (``waiting.py``); a board that is away is done without
  and caught up from the store's outbox (``showcase.py``);
- when anything breaks off midway, the state in memory may be ahead of the store: the partition is
  dropped without another write, and loaded anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple, Unpack

import numpy as np
import numpy.typing as npt

from hazfence.clean import Reason, screen_values
from hazfence.engine import Engine
from hazfence.events import Event, Kind
from hazfence.fixes import FixBatch
from hazfence.history import History, MilestoneNews, NeedsHistory
from hazfence.ports import Checkpoint, Reject
from hazfence.rules.papers import WAYBILL
from hazfence.snapshot import Frozen
from hazfence.wire import Message, decode
from hazfence.worker.dead import set_aside
from hazfence.worker.owner import Clock, Given, Owner, ProcessorSettings
from hazfence.worker.waiting import end

__all__ = ["Clock", "PartitionProcessor", "ProcessorSettings"]

#: Multiples of it spread evenly over the time between two checkpoints, however many partitions there are.
_GOLDEN = 0.6180339887498949
#: With more than this a checkpoint is packed in a thread; below, the way there and back is not worth it.
_LARGE_BYTES = 200_000
#: Vehicles written down for a snapshot before others have their turn: a few milliseconds.
_DRAFTS_A_TURN = 20
#: So many turns, then the rest is written while the partition waits: where all vehicles change all the time,
#: there would be no end.
_TURNS_BEFOREHAND = 500
#: The same of milestones, which all vehicles get at the start.
_MILESTONES_A_TURN = 250
_Reasons = npt.NDArray[np.uint8]
_BY_FILE = (Kind.UNREGISTERED, Kind.NO_WAYBILL, Kind.CARGO_FORBIDDEN)


class _Known(NamedTuple):
    """What is known at one moment, for a checkpoint."""

    next_offset: int
    frozen: Frozen
    heard_us: int | None
    fixes: list[FixBatch]
    milestones: list[MilestoneNews]

    def pack(self) -> tuple[Checkpoint, FixBatch]:
        """As the store takes it; runs in a thread of its own."""
        checkpoint = Checkpoint(self.next_offset, self.frozen.pack(), self.heard_us)
        return checkpoint, FixBatch.concat(self.fixes)


class PartitionProcessor(Owner):
    """Works on one partition of fixes; arguments and attributes are those of :class:`Owner`."""

    def __init__(self, topic: str, partition: int, **given: Unpack[Given]) -> None:
        super().__init__(topic, partition, **given)
        if not self._settings.recent_in_store:  # without the index, history would be a search of the day
            self._engine_settings = replace(self._engine_settings, recall_h=0.0)
        self._by_class = self._in_force.by_class
        self._heard_us: int | None = None
        self._told_us: int | None = None
        self._engine: Engine | None = None
        self._buffer: list[FixBatch] = []
        self._buffered = 0
        self._saving: asyncio.Task[None] | None = None
        self._drafting: asyncio.Task[None] | None = None
        self._being_saved = 0
        self._received_us: int | None = None

    @property
    def engine(self) -> Engine:
        """The partition's engine.

        Raises:
            Dropped: not loaded, or not ours any more.
        """
        if self._engine is None or self._patience.given_up:
            raise self._not_loaded()
        return self._engine

    async def load(self) -> None:
        """See :class:`Owner`."""
        async with self._taking_over() as checkpoint:
            if checkpoint is None:
                engine = Engine(self._fences, self._engine_settings, self._reference)
            else:
                engine = Engine.restore(
                    checkpoint.snapshot, self._fences, self._engine_settings, self._reference
                )
            positions = engine.positions()
            if len(positions) and self._settings.recent_in_store:
                # Recent fixes are not in the snapshot: they lie in the store already, row by row.
                recent = await self._patience.until_done(
                    "read recent fixes",
                    lambda: self._store.recent_fixes(
                        self.topic, self.partition, positions, engine.settings.recent_s
                    ),
                )
                engine.remember(recent)
            if len(positions):
                self.watermark_us = int(positions.time_us.max())
            self._engine = engine
        # Partitions that were loaded together would all make their checkpoints in the same moment.
        self._checkpointed_s -= self.partition * _GOLDEN % 1.0 * self._settings.checkpoint_every_s
        self._log.info(
            "partition loaded",
            epoch=self._claimed().epoch,
            next_offset=self.next_offset,
            vehicles=len(positions),
        )

    async def tick(self, now_us: int, *, caught_up: bool) -> int | None:
        """Let time pass: fire what is due in silence, and make a checkpoint when it is time.

        Args, returns and raises as :class:`Owner` says.
        """
        async with self._mine():
            self._refresh()
            events: tuple[Event, ...] = ()
            if self._settings.clock is Clock.WALL:
                moment_us = now_us if caught_up else self._received_us
                if moment_us is not None:
                    moment_us = min(moment_us, now_us) - int(self._settings.lateness_s * 1e6)
                    events = self.engine.advance(moment_us)
                    self._heard_us = max(self._heard_us or moment_us, moment_us)
                    self._turn(events)
            if events:
                # Alone they could be contradicted by a second run that reads the clock at other moments.
                await self._save(events)
            elif self._due() and self.next_offset != (self.checkpoint_offset or 0):
                if self._drafted():
                    await self._save_beside()
            elif self._untold() and self._due() and self._saving is None:
                await self._tell_heard()
            self._gauge(now_us)
            return self._read_again(self._order.ask_again())

    async def checkpoint(self) -> None:
        """See :class:`Owner`."""
        async with self._mine():
            await self._saved()
            if self.next_offset != (self.checkpoint_offset or 0):
                await self._save(())

    def drop(self) -> None:
        """See :class:`Owner`."""
        super().drop()
        for task in (self._saving, self._drafting):
            if task is not None:
                task.cancel()

    async def ended(self) -> None:
        """See :class:`Owner`."""
        await end(self._saving, self._drafting)

    @asynccontextmanager
    async def _mine(self) -> AsyncIterator[None]:
        async with super()._mine():
            if self._saving is not None and self._saving.done():
                await self._saved()
            yield

    def _refresh(self) -> None:
        if self._file is not None and self._file.data is not self._reference:
            self._reference = self._file.data
            self.engine.use_reference(self._reference)

    async def _take(self, messages: Sequence[Message]) -> None:
        await self._work_on(messages)
        if self._buffered >= self._settings.max_buffered_fixes or (self._due() and self._drafted()):
            await self._save_beside()

    async def _work_on(self, messages: Sequence[Message]) -> None:
        settings, metrics = self._settings, self._metrics
        with metrics.step_seconds.labels("decode").time():
            batch, rejects = decode(
                messages,
                max_message_bytes=settings.max_message_bytes,
                max_kept_bytes=settings.max_kept_bytes,
            )
        metrics.taken_in.inc(len(batch) + len(rejects))
        metrics.unreadable.inc(len(rejects))
        with metrics.step_seconds.labels("match").time():
            events, reason = await self._match(batch)
        self._turn(events)
        metrics.messages.inc(len(messages))
        rejects += set_aside(batch, reason)
        self._metrics_of_fixes(reason)
        self._received_us = max(self._received_us or 0, messages[-1].timestamp_us) or None
        rejects.sort(key=lambda reject: (reject.offset, reject.item))
        if any(map(self._by_file, events)):
            await self._save(events, rejects)
            await self._dead.put(self.topic, self.partition, rejects)
            return
        self._count(events, rejects)
        if events or rejects:
            with metrics.step_seconds.labels("write").time():
                await self._write(events, rejects, buffered_fixes=self._buffered)

    async def _match(self, batch: FixBatch) -> tuple[list[Event], _Reasons]:
        """Run a batch through the engine; with the event clock, silence is part of the log's story.

        The batch is then cut wherever the newest fix passes a multiple of ``event_step_s``, and time
        moves on there: at the same fixes on every run, however the log is cut into batches.
        """
        if self._settings.clock is not Clock.EVENT or not len(batch):
            return await self._process(batch)
        step_us = int(self._settings.event_step_s * 1e6)
        late_us = int(self._settings.lateness_s * 1e6)
        believed = screen_values(batch, self.engine.settings) == 0
        floor_us = self.watermark_us if self.watermark_us is not None else np.iinfo(np.int64).min // 2
        newest_us = np.maximum.accumulate(np.maximum(np.where(believed, batch.time_us, floor_us), floor_us))
        steps = np.concatenate([[(floor_us - late_us) // step_us], (newest_us - late_us) // step_us])
        events: list[Event] = []
        reasons = []
        start = 0
        for cut in (np.flatnonzero(np.diff(steps)) + 1).tolist():
            found, reason = await self._process(batch.take(slice(start, cut)))
            events += found
            events += self.engine.advance(int(steps[cut]) * step_us)
            reasons.append(reason)
            start = cut
        found, reason = await self._process(batch.take(slice(start, None)))
        events += found
        reasons.append(reason)
        if len(steps) and int(steps[-1]) * step_us > 0:
            self._heard_us = int(steps[-1]) * step_us
        return events, np.concatenate(reasons)

    def _turn(self, events: Iterable[Event]) -> None:
        self.turned.update(event.vehicle for event in events if event.is_visit)

    def _by_file(self, event: Event) -> bool:
        """Whether a second run, with a newer file, may find something else in its place."""
        if self._file is None or event.kind is Kind.VISIT:
            return False
        return self._by_class or event.kind in _BY_FILE or event.detail.get("part") == WAYBILL

    async def _process(self, batch: FixBatch) -> tuple[list[Event], _Reasons]:
        """Run a batch through the engine, giving it the history that fixes hours late need."""
        events: list[Event] = []
        reasons: list[_Reasons] = []
        start, end = 0, len(batch)
        while True:
            part = batch if start == 0 and end == len(batch) else batch.take(slice(start, end))
            try:
                outcome = self.engine.process(part)
            except NeedsHistory as needs:
                await self._recall(needs)
                end = start + needs.rows
                continue
            events += outcome
            reasons.append(outcome.reason)
            self._keep(part, outcome.reason)
            if end == len(batch):
                return events, reasons[0] if len(reasons) == 1 else np.concatenate(reasons)
            start, end = end, len(batch)

    async def _recall(self, needs: NeedsHistory) -> None:
        """Read what the engine needs: what is stored, and the fixes that wait for the next checkpoint."""
        await self._saved()  # what is being stored is neither
        with self._metrics.step_seconds.labels("recall").time():
            stored = await self._patience.until_done(
                "read history",
                lambda: self._store.history(self.topic, self.partition, needs.missing),
                buffered_fixes=self._buffered,
            )
            wanted = {one.vehicle for one in needs.missing}
            waiting = [b.take(np.isin(b.vehicle, _codes(b, wanted))) for b in self._buffer]
            self.engine.recall(History(stored.stones, FixBatch.concat([stored.fixes, *waiting])))
        self._metrics.recalled.inc(len(needs.missing))

    def _keep(self, batch: FixBatch, reason: _Reasons) -> None:
        accepted = batch if not reason.any() else batch.take(reason == 0)
        if not len(accepted):
            return
        self.watermark_us = max(self.watermark_us or 0, int(accepted.time_us.max()))
        self.touched.update(accepted.vehicles)
        if self._settings.keep_fixes:
            self._buffer.append(accepted)
            self._buffered += len(accepted)

    def _metrics_of_fixes(self, reason: _Reasons) -> None:
        self._metrics.fixes.inc(len(reason))
        for code, number in enumerate(np.bincount(reason).tolist()):
            if code == Reason.OK:
                self._metrics.accepted.inc(number)
            elif number:
                self._metrics.set_aside.labels(Reason(code).label).inc(number)

    async def _save(self, events: Sequence[Event], rejects: Sequence[Reject] = ()) -> None:
        """Make a checkpoint, with events that may not be stored without it."""
        await self._saved()
        self._count(events, rejects)
        await self._store_known(await self._known(), events, rejects)

    async def _save_beside(self) -> None:
        """Begin a checkpoint and go on, unless one is under way.

        Events found in fixes meanwhile are stored without waiting for it; they may be stored before the
        checkpoint, as after a crash they would be found again. With as many fixes waiting as may, the one
        under way is waited for first.
        """
        if self._saving is not None:
            if self._buffered < self._settings.max_buffered_fixes:
                return
            await self._saved()
        self._saving = asyncio.create_task(
            self._store_known(await self._known(), (), ()), name=f"checkpoint {self.topic}/{self.partition}"
        )
        self._saving.add_done_callback(_seen)
        await asyncio.sleep(0)  # let it begin

    async def _saved(self) -> None:
        """Wait for the checkpoint under way, and raise what went wrong with it."""
        saving = self._saving
        if saving is not None:
            await saving
            self._saving = None

    def _drafted(self) -> bool:
        """Whether what is new of the vehicles is written down for a checkpoint; otherwise that begins.

        Where there is much, as when all vehicles are new, messages have their turn in between.
        """
        if self._saving is not None:
            return True  # nothing begins before that is stored
        if self._drafting is None:
            if self.engine.draft(_DRAFTS_A_TURN):
                return True
            self._drafting = asyncio.create_task(self._draft(), name=f"draft {self.topic}/{self.partition}")
            self._drafting.add_done_callback(_seen)
            return False
        if not self._drafting.done():
            return False
        drafting, self._drafting = self._drafting, None
        drafting.result()
        return True

    async def _draft(self) -> None:
        for _ in range(_TURNS_BEFOREHAND):
            await asyncio.sleep(0)
            async with self._lock:
                if self._patience.given_up or self.engine.draft(_DRAFTS_A_TURN):
                    return

    async def _known(self) -> _Known:
        """What a checkpoint made now holds; the fixes are taken out of the buffer.

        Other partitions have their turn while what is new of each vehicle is written down.
        """
        while not self.engine.draft(_DRAFTS_A_TURN):
            await asyncio.sleep(0)
        milestones: list[MilestoneNews] = []
        for step in self.engine.milestones(_MILESTONES_A_TURN):
            milestones += step
            await asyncio.sleep(0)
        frozen = self.engine.freeze(with_recent=not self._settings.recent_in_store)
        heard_us = self._heard_us if self._settings.tell_heard else None
        known = _Known(self.next_offset, frozen, heard_us, self._buffer, milestones)
        self._buffer, self._buffered, self._being_saved = [], 0, self._buffered
        self._checkpointed_s = self._monotonic_s()
        return known

    async def _store_known(self, known: _Known, events: Sequence[Event], rejects: Sequence[Reject]) -> None:
        if known.frozen.size + 60 * sum(map(len, known.fixes)) < _LARGE_BYTES:
            checkpoint, fixes = known.pack()
        else:  # packing leaves Python to others for most of the time
            checkpoint, fixes = await asyncio.to_thread(known.pack)
        await self._checkpoint(checkpoint, fixes, events, rejects, known.milestones)
        self._being_saved = 0
        self._told_us = checkpoint.heard_us

    def _untold(self) -> bool:
        return self._settings.tell_heard and self._heard_us != self._told_us

    async def _tell_heard(self) -> None:
        """Say how far time has come where nothing else happened."""
        heard_us = self._heard_us
        if heard_us is not None:
            await self._patience.until_done(
                "tell the time", lambda: self._store.heard(self._claimed(), heard_us)
            )
        self._told_us = heard_us
        self._checkpointed_s = self._monotonic_s()

    def _gauge(self, now_us: int) -> None:
        place = self.topic, str(self.partition)
        self._metrics.buffered.labels(*place).set(self._buffered + self._being_saved)
        if self.watermark_us is not None:
            self._metrics.watermark_age.labels(*place).set((now_us - self.watermark_us) / 1e6)


def _codes(batch: FixBatch, vehicles: Collection[str]) -> list[int]:
    return [code for code, name in enumerate(batch.vehicles) if name in vehicles]


def _seen(task: asyncio.Task[None]) -> None:
    """What went wrong is raised when the task is waited for; a partition that is dropped does not wait."""
    if not task.cancelled():
        task.exception()
