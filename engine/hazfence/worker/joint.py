"""The rules that no partition can judge alone: plates, capacity, separation, papers.

You are beside ``processor.py``, whose partitions each see some of the vehicles. What concerns several of
them, or things that are no fixes, is judged here, by the one worker that owns the one partition of the topic
of plate reads: the group gives it to exactly one, and the claim in the store keeps a former owner from
writing. What it takes in:

- plate reads, messages of its own topic;
- visits, read back from the store as the partitions committed them, revision by revision, up to a cursor a
  partition;
- fixes for ``separation``, read from the topic of fixes a second time, up to an offset a partition;
- the file of vehicles and waybills, for goods and for papers that expire.

Cursors, offsets and what the rules remember are one checkpoint, stored in one transaction with the events
they led to. After a crash it goes on from there: what was said is not said again, what was not stored is
found again. Nothing depends on the order in which the partitions come: each rule works out what should
stand from all that is known, and corrects what it said before (``hazfence.rules.joint``). What is *missing*
(a plate that no camera read) is said when every partition has got past its time.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Unpack

from hazfence.clean import screen_values
from hazfence.engine import Engine
from hazfence.events import Event, Kind
from hazfence.fixes import FixBatch
from hazfence.ports import Checkpoint
from hazfence.rules.capacity import CapacityWatch
from hazfence.rules.papers import paper_warnings
from hazfence.rules.plates import PlateWatch
from hazfence.rules.separation import SeparationWatch
from hazfence.snapshot import SnapshotError
from hazfence.wire import Message, decode
from hazfence.wire.plates import decode_reads
from hazfence.worker.owner import Clock, Given, Owner
from hazfence_fences import FenceKind, FenceSet

__all__ = ["JointProcessor", "Tail"]

_VERSION = 1
_CHUNK = 2000
#: So much of a log or an outbox at once, before events are stored and time is looked at again.
_ROUNDS = 20
#: Visits are remembered this long, and read from the outbox this far back when there is no checkpoint.
_KEEP_S = 172_800.0


class Tail(Protocol):
    """Reads a topic beside the group: every partition, from offsets that the reader keeps itself."""

    async def ends(self) -> Mapping[int, int]:
        """The offset after the last message of each partition."""

    async def read(self, offsets: Mapping[int, int]) -> Mapping[int, Sequence[Message]]:
        """Some messages from these offsets on, of partitions that have any.

        A partition that begins behind its offset is read from its beginning.
        """

    async def close(self) -> None:
        """Let go of the connection."""


class JointProcessor(Owner):
    """Works on what all partitions have in common, as owner of the partition of plate reads.

    Args:
        topic, partition: of the plate reads.
        fixes_topic: whose partitions found the visits.
        tail: the topic of fixes; None for none, then ``separation`` says nothing.
        **given: as :class:`Owner` says; fences and rules are those of the partitions.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        *,
        fixes_topic: str,
        tail: Tail | None = None,
        **given: Unpack[Given],
    ) -> None:
        super().__init__(topic, partition, **given)
        self._fixes_topic = fixes_topic
        self._tail = tail
        self._joint = self._in_force.joint
        self._gates = {f.id for f in self._fences.fences if f.kind is FenceKind.CHECKPOINT}
        # The board asks for positions: there are none, the partitions show their own.
        self._no_vehicles = Engine(FenceSet(()))
        self._events: list[Event] = []
        self._cursors: dict[int, int] = {}
        self._offsets: dict[int, int] = {}
        self._fixes_us: dict[int, int] = {}
        self._papers_us: int | None = None
        self._wall_us: int | None = None
        self._caught_up = False
        self._received_us = 0
        self._reads_us = 0
        self._changed = False
        self._plates = PlateWatch(self._fences, self._rules, keep_s=_KEEP_S)
        self._capacity = CapacityWatch(self._fences, self._rules, keep_s=_KEEP_S)
        self._separation = self._new_separation()

    @property
    def engine(self) -> Engine:
        """An engine without vehicles.

        Raises:
            Dropped: not loaded, or not ours any more.
        """
        if not self.loaded:
            raise self._not_loaded()
        return self._no_vehicles

    async def load(self) -> None:
        """See :class:`Owner`."""
        async with self._taking_over() as checkpoint:
            self._separation = self._new_separation()
            if checkpoint is not None:
                self._restore(checkpoint.snapshot)
        self._log.info("joint rules loaded", epoch=self._claimed().epoch, rules=sorted(self._joint))

    async def tick(self, now_us: int, *, caught_up: bool) -> int | None:
        """Let time pass: read what the partitions found, judge, and store.

        Args, returns and raises as :class:`Owner` says.
        """
        async with self._mine():
            self._wall_us, self._caught_up = now_us, caught_up
            await self._round()
            if self._events or (self._changed and self._due()):
                await self._save()
            return self._read_again(self._order.ask_again())

    async def checkpoint(self) -> None:
        """Look once more at everything that is stored by now, and store what follows."""
        async with self._mine():
            await self._round()
            if self._events or self._changed:
                await self._save()

    async def ended(self) -> None:
        """Nothing is written beside the work."""

    async def _take(self, messages: Sequence[Message]) -> None:
        settings = self._settings
        reads, rejects = decode_reads(
            messages,
            self._gates,
            self._engine_settings,
            max_message_bytes=settings.max_message_bytes,
            max_kept_bytes=settings.max_kept_bytes,
        )
        self._metrics.taken_in.inc(len(messages))
        self._metrics.unreadable.inc(len(rejects))
        self._metrics.messages.inc(len(messages))
        self._metrics.plate_reads.inc(len(reads))
        self._received_us = max(self._received_us, messages[-1].timestamp_us)
        self._reads_us = max([self._reads_us, *(read.time_us for read in reads)])
        self._changed = True
        if self._matches_plates:
            self._events += self._plates.take(reads=reads)
        if rejects:
            self._count((), rejects)
            await self._write((), rejects)

    @property
    def _matches_plates(self) -> bool:
        return bool(self._joint & {Kind.PLATE_WITHOUT_GPS, Kind.GPS_WITHOUT_PLATE})

    async def _round(self) -> None:
        """Take in what is new everywhere, and judge what time allows."""
        self._refresh()
        # How far the partitions are is asked first: the outboxes then hold all that was found up to there.
        progress = await self._patience.until_done(
            "read progress", lambda: self._store.progress(self._fixes_topic)
        )
        ends = await self._tail.ends() if self._tail is not None else {}
        read_all = True
        if self._matches_plates or Kind.ZONE_CAPACITY in self._joint:
            for partition in progress:
                read_all &= await self._read_outbox(partition)
        if Kind.SEPARATION in self._joint and self._tail is not None:
            await self._read_fixes(ends)
            self._events += self._separation.advance(self._fixes_moment_us(ends))
        done = {p for p, where in progress.items() if p in ends and (where.next_offset or 0) >= ends[p]}
        known = {p: where.heard_us for p, where in progress.items() if where.heard_us is not None}
        moments = self._wall_or_event(known, done)
        if moments is not None:
            everywhere_us, anywhere_us = moments
            if read_all:
                self._let_time_pass(everywhere_us)
            self._warn_of_papers(anywhere_us)
            self._metrics.joint_until.set((self.watermark_us or 0) / 1e6)

    def _wall_or_event(self, heard_us: Mapping[int, int], done: set[int]) -> tuple[int, int] | None:
        """The moment up to which every partition is known, and the newest known of any."""
        if not heard_us:
            return None
        newest_us = max(heard_us.values())
        if self._settings.clock is Clock.WALL and self._wall_us is not None:
            newest_us = max(newest_us, self._wall_us - int(self._settings.lateness_s * 1e6))
        # With the event clock a partition that was read to its end says nothing of time.
        lagging = [t for p, t in heard_us.items() if self._settings.clock is Clock.WALL or p not in done]
        return min(lagging, default=newest_us), newest_us

    def _let_time_pass(self, now_us: int) -> None:
        if not self._caught_up:
            # Reads that wait in the log may be the ones that are missing.
            read_us = self._received_us if self._settings.clock is Clock.WALL else self._reads_us
            now_us = min(now_us, read_us - int(self._settings.lateness_s * 1e6))
        if self.watermark_us is None or now_us > self.watermark_us:
            self.watermark_us = now_us
            self._changed = True
            if self._matches_plates:
                self._events += self._plates.advance(now_us)
            self._capacity.forget(now_us)

    def _warn_of_papers(self, now_us: int) -> None:
        """Warn of papers whose moment has come since the last look; the first look warns of nothing old."""
        if Kind.PAPER_EXPIRING not in self._joint or self._reference is None:
            return
        if self._papers_us is None:
            self._papers_us = now_us - now_us % _DAY_US
        if now_us > self._papers_us:
            self._events += paper_warnings(self._reference, self._papers_us, now_us)
            self._papers_us = now_us
            self._changed = True

    async def _read_outbox(self, partition: int) -> bool:
        """Take in visits that a partition committed; True when these were all."""
        if partition not in self._cursors:
            self._cursors[partition] = await self._patience.until_done(
                "find the outbox's start",
                lambda: self._store.outbox_start(self._fixes_topic, partition, _KEEP_S),
            )
        for _ in range(_ROUNDS):
            after = self._cursors[partition]
            rows = await self._patience.until_done(
                "read visits",
                lambda after=after: self._store.outbox(self._fixes_topic, partition, after, _CHUNK),  # type: ignore[misc]
            )
            if rows:
                visits = [row.event for row in rows if row.event.kind is Kind.VISIT]
                if self._matches_plates:
                    self._events += self._plates.take(visits)
                self._events += self._capacity.take(visits)
                self._cursors[partition] = rows[-1].seq
                self._changed = True
            if len(rows) < _CHUNK:
                return True
        return False

    async def _read_fixes(self, ends: Mapping[int, int]) -> None:
        """Take in fixes of all partitions, a second time after their own processors."""
        assert self._tail is not None
        for _ in range(_ROUNDS):
            for p, end in ends.items():
                if self._offsets.get(p, 0) > end:
                    self._log.warning("the topic of fixes was made anew: reading it from its start")
                    self._offsets[p] = 0
            wanted = {p: self._offsets.get(p, 0) for p, end in ends.items() if self._offsets.get(p, 0) < end}
            if not wanted:
                return
            found = await self._tail.read(wanted)
            if not found:
                return
            for partition, messages in found.items():
                batch, _ = decode(messages, max_message_bytes=self._settings.max_message_bytes)
                batch = batch.take(screen_values(batch, self._engine_settings) == 0)
                if len(batch):
                    self._separation.take(batch)
                    newest_us = int(batch.time_us.max())
                    self._fixes_us[partition] = max(self._fixes_us.get(partition, newest_us), newest_us)
                self._offsets[partition] = messages[-1].offset + 1
                self._changed = True

    def _fixes_moment_us(self, ends: Mapping[int, int]) -> int:
        """Up to which moment the fixes of every partition were read."""
        late_us = int(self._settings.lateness_s * 1e6)
        behind = [t for p, t in self._fixes_us.items() if self._offsets.get(p, 0) < ends.get(p, 0)]
        if self._settings.clock is Clock.WALL and self._wall_us is not None and not behind:
            return self._wall_us - late_us
        return min(behind, default=max(self._fixes_us.values(), default=0)) - late_us

    def _refresh(self) -> None:
        if self._file is not None and self._file.data is not self._reference:
            self._reference = self._file.data
            self._separation.use_reference(self._reference)

    async def _save(self) -> None:
        """Store what was found and what is known, together."""
        events = self._events
        self._count(events)
        await self._checkpoint(Checkpoint(self.next_offset, self._snapshot()), FixBatch.empty(), events)
        self._events, self._changed = [], False
        self._checkpointed_s = self._monotonic_s()

    def _snapshot(self) -> bytes:
        data: dict[str, Any] = {
            "version": _VERSION,
            "now_us": self.watermark_us,
            "papers_us": self._papers_us,
            "cursors": self._cursors,
            "offsets": self._offsets,
            "fixes_us": self._fixes_us,
            "plates": self._plates.snapshot().decode(),
            "capacity": self._capacity.snapshot().decode(),
            "separation": self._separation.snapshot().decode(),
        }
        return zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 1)

    def _restore(self, snapshot: bytes) -> None:
        try:
            data = json.loads(zlib.decompress(snapshot))
            version = data["version"]
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise SnapshotError(f"the joint rules' state is damaged: {error!r}") from error
        if version != _VERSION:
            raise SnapshotError(
                f"the joint rules' state is of version {version}; this release reads {_VERSION}"
            )
        self.watermark_us, self._papers_us = data["now_us"], data["papers_us"]
        for name in ("cursors", "offsets", "fixes_us"):
            setattr(self, f"_{name}", {int(p): at for p, at in data[name].items()})
        self._plates = PlateWatch.restore(data["plates"].encode(), self._fences, self._rules, keep_s=_KEEP_S)
        self._capacity = CapacityWatch.restore(
            data["capacity"].encode(), self._fences, self._rules, keep_s=_KEEP_S
        )
        self._separation = SeparationWatch.restore(
            data["separation"].encode(),
            self._fences,
            self._rules,
            self._reference,
            max_gap_s=self._engine_settings.max_gap_s,
        )

    def _new_separation(self) -> SeparationWatch:
        return SeparationWatch(
            self._fences, self._rules, self._reference, max_gap_s=self._engine_settings.max_gap_s
        )


_DAY_US = 86_400_000_000
