"""Twins of the store and the board that keep everything in memory and obey the same rules.

You are beside the adapters ``postgis.py`` and ``redis_board.py``, behind the same ports. The twins
serve tests and hosts without services; they forget everything with the process. What a test needs
on top: ``away`` makes a twin unreachable until it is set back, and ``fault`` is called at every
commit point, so that a test may raise there and see what survives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.history import History, Milestone, MilestoneNews, Missing, start_us
from hazfence.ports import (
    BoardAway,
    BoardForgot,
    Checkpoint,
    Claim,
    FileState,
    Progress,
    Published,
    Reject,
    StaleClaim,
    StoreAway,
)
from hazfence.reference import ReferenceData
from hazfence.vehicles import NEVER_US

__all__ = ["MemoryBoard", "MemoryReference", "MemoryStore", "Shown"]

#: Called with the method's name and ``before`` or ``after`` its commit; may raise.
Fault = Callable[[str, str], None]
_Place = tuple[str, int]


class MemoryStore:
    """The ``Store`` port in dicts.

    Attributes:
        away: while True every method raises ``StoreAway``.
        fault: see :data:`Fault`; an exception raised ``before`` leaves nothing written, one raised
            ``after`` leaves everything written and the caller without an answer.
        events: latest revision by event id.
        rejects: by (topic, partition, offset, item).
    """

    def __init__(self) -> None:
        self.away = False
        self.fault: Fault | None = None
        self.events: dict[str, Event] = {}
        self.rejects: dict[tuple[str, int, int, int], Reject] = {}
        self._epochs: dict[_Place, int] = {}
        self._checkpoints: dict[_Place, Checkpoint] = {}
        self._fixes: dict[_Place, list[FixBatch]] = {}
        self._milestones: dict[_Place, dict[str, list[Milestone]]] = {}
        self._outboxes: dict[_Place, list[Published]] = {}
        self._revisions: set[tuple[str, int]] = set()
        self._homes: dict[str, _Place] = {}
        self._heard: dict[_Place, int] = {}
        self._seq = 0

    def fixes(self, topic: str, partition: int) -> FixBatch:
        """Every fix stored for the partition, in the order it was stored."""
        return FixBatch.concat(self._fixes.get((topic, partition), []))

    async def open(self) -> None:
        """Does nothing, unless the store is away."""
        self._reach("open")

    async def close(self) -> None:
        """Does nothing."""

    async def claim(self, topic: str, partition: int) -> tuple[Claim, Checkpoint | None]:
        """See the port."""
        self._reach("claim")
        place = topic, partition
        self._epochs[place] = self._epochs.get(place, 0) + 1
        self._done("claim")
        return Claim(topic, partition, self._epochs[place]), self._checkpoints.get(place)

    async def write(self, claim: Claim, events: Sequence[Event], rejects: Sequence[Reject]) -> None:
        """See the port."""
        self._reach("write")
        self._check(claim)
        self._put(claim, events, rejects)
        self._done("write")

    async def checkpoint(
        self,
        claim: Claim,
        checkpoint: Checkpoint,
        fixes: FixBatch,
        events: Sequence[Event] = (),
        rejects: Sequence[Reject] = (),
        milestones: Sequence[MilestoneNews] = (),
    ) -> None:
        """See the port."""
        self._reach("checkpoint")
        self._check(claim)
        place = claim.topic, claim.partition
        stored = self._checkpoints.get(place)
        if len(fixes) and (stored is None or stored.next_offset < checkpoint.next_offset):
            self._fixes.setdefault(place, []).append(fixes)
        self._put(claim, events, rejects)
        known = self._milestones.setdefault(place, {})
        for news in milestones:
            kept = [stone for stone in known.get(news.vehicle, []) if stone.time_us < news.from_us]
            known[news.vehicle] = [*kept, *news.stones]
            needed = [s.time_us for s in known[news.vehicle] if s.time_us <= news.needed_us][-1:]
            known[news.vehicle] = [s for s in known[news.vehicle] if not needed or s.time_us >= needed[0]]
        self._checkpoints[place] = checkpoint
        if checkpoint.heard_us is not None:
            self._heard[place] = checkpoint.heard_us
        self._done("checkpoint")

    async def recent_fixes(self, topic: str, partition: int, last: FixBatch, recent_s: float) -> FixBatch:
        """See the port."""
        self._reach("recent_fixes")
        since = (last.time_us - round(recent_s * 1e6)).tolist()
        return self._since(topic, partition, dict(zip(last.names(), since, strict=True)))

    async def history(self, topic: str, partition: int, missing: Sequence[Missing]) -> History:
        """See the port."""
        self._reach("history")
        known = self._milestones.get((topic, partition), {})
        stones = {
            m.vehicle: [s for s in known.get(m.vehicle, []) if s.time_us < m.valid_us and not m.settled]
            for m in missing
        }
        starts = {m.vehicle: start_us(m, stones[m.vehicle]) for m in missing}
        return History(
            [s for vehicle, many in stones.items() for s in many if s.time_us >= starts[vehicle]],
            self._since(topic, partition, {vehicle: max(us - 1, NEVER_US) for vehicle, us in starts.items()}),
        )

    def _since(self, topic: str, partition: int, since: dict[str, int]) -> FixBatch:
        """Of each vehicle the fixes stored after a moment, and those of the last moment before."""
        stored = self.fixes(topic, partition)
        codes = {name: code for code, name in enumerate(stored.vehicles)}
        wanted = []
        for name, since_us in since.items():
            mine = np.flatnonzero(stored.vehicle == codes.get(name, -1))
            times_us = stored.time_us[mine]
            before_us = times_us[times_us <= since_us].max(initial=NEVER_US)
            wanted += mine[(times_us > since_us) | (times_us == before_us)].tolist()
        return stored.take(np.array(wanted, np.intp))

    async def outbox(self, topic: str, partition: int, after_seq: int, limit: int) -> Sequence[Published]:
        """See the port."""
        self._reach("outbox")
        return [p for p in self._outboxes.get((topic, partition), []) if p.seq > after_seq][:limit]

    async def outbox_tail(self, topic: str, partition: int, count: int) -> int:
        """See the port."""
        self._reach("outbox_tail")
        seqs = [0] + [p.seq for p in self._outboxes.get((topic, partition), [])]
        return seqs[max(0, len(seqs) - 1 - count)]

    async def open_events(self, topic: str, partition: int) -> Sequence[Event]:
        """See the port."""
        self._reach("open_events")
        here = topic, partition
        return [e for e in self.events.values() if not e.is_over and self._homes[e.id] == here]

    async def heard(self, claim: Claim, heard_us: int) -> None:
        """See the port."""
        self._reach("heard")
        self._check(claim)
        self._heard[claim.topic, claim.partition] = heard_us
        self._done("heard")

    async def progress(self, topic: str) -> Mapping[int, Progress]:
        """See the port."""
        self._reach("progress")
        found = {}
        for place in sorted(self._epochs):
            if place[0] == topic:
                stored = self._checkpoints.get(place)
                next_offset = None if stored is None else stored.next_offset
                found[place[1]] = Progress(self._heard.get(place), next_offset)
        return found

    async def outbox_start(self, topic: str, partition: int, age_s: float) -> int:
        """See the port: nothing here is old."""
        self._reach("outbox_start")
        return 0

    def _put(self, claim: Claim, events: Sequence[Event], rejects: Sequence[Reject]) -> None:
        place = claim.topic, claim.partition
        for event in events:
            known = self.events.get(event.id)
            if known is None or known.revision < event.revision:
                self.events[event.id] = event
                self._homes[event.id] = place
            if (event.id, event.revision) not in self._revisions:
                self._revisions.add((event.id, event.revision))
                self._seq += 1
                self._outboxes.setdefault(place, []).append(Published(self._seq, event))
        for reject in rejects:
            self.rejects.setdefault((*place, reject.offset, reject.item), reject)

    def _check(self, claim: Claim) -> None:
        current = self._epochs.get((claim.topic, claim.partition), 0)
        if current != claim.epoch:
            raise StaleClaim(f"{claim} was made stale by epoch {current}")

    def _reach(self, method: str) -> None:
        if self.away:
            raise StoreAway("the memory store was told to be away")
        if self.fault:
            self.fault(method, "before")

    def _done(self, method: str) -> None:
        if self.fault:
            self.fault(method, "after")


@dataclass(frozen=True, slots=True)
class Shown:
    """What the board shows of a vehicle: its last fix (a batch of one) and the fences it is in."""

    fix: FixBatch
    inside: tuple[str, ...]


class MemoryBoard:
    """The ``Board`` port in dicts.

    Attributes:
        away, fault: as for :class:`MemoryStore`.
        stream: every entry ever appended, with its topic and partition.
        open_events: open visits and breaches by id.
        vehicles: what is shown, by vehicle.
    """

    def __init__(self) -> None:
        self.away = False
        self.fault: Fault | None = None
        self.forget()

    def forget(self) -> None:
        """Lose everything, as Redis does when it is emptied."""
        self.stream: list[tuple[str, int, Published]] = []
        self.open_events: dict[str, Event] = {}
        self.vehicles: dict[str, Shown] = {}
        self._markers: dict[_Place, int] = {}
        self._vehicle_homes: dict[str, _Place] = {}
        self._event_homes: dict[str, _Place] = {}

    async def open(self) -> None:
        """Does nothing, unless the board is away."""
        self._reach("open")

    async def close(self) -> None:
        """Does nothing."""

    async def last_seq(self, topic: str, partition: int) -> int | None:
        """See the port."""
        self._reach("last_seq")
        return self._markers.get((topic, partition))

    async def publish(self, topic: str, partition: int, entries: Sequence[Published]) -> int:
        """See the port."""
        self._reach("publish")
        place = topic, partition
        last = self._marker(place)
        new = [entry for entry in entries if entry.seq > last]
        for entry in new:
            self.stream.append((topic, partition, entry))
            self._move(place, entry.event)
            self._markers[place] = entry.seq
        self._done("publish")
        return len(new)

    async def show_positions(
        self, topic: str, partition: int, fixes: FixBatch, inside: Sequence[tuple[str, ...]]
    ) -> None:
        """See the port."""
        self._reach("show_positions")
        self._marker((topic, partition))
        self._show((topic, partition), fixes, inside)
        self._done("show_positions")

    async def rebuild(
        self,
        topic: str,
        partition: int,
        fixes: FixBatch,
        inside: Sequence[tuple[str, ...]],
        open_events: Sequence[Event],
        after_seq: int,
    ) -> None:
        """See the port."""
        self._reach("rebuild")
        place = topic, partition
        for shown, homes in ((self.vehicles, self._vehicle_homes), (self.open_events, self._event_homes)):
            for name in [name for name, home in homes.items() if home == place]:
                shown.pop(name, None)
                del homes[name]
        self._show(place, fixes, inside)
        for event in open_events:
            self._move(place, event)
        self._markers[place] = after_seq
        self._done("rebuild")

    def _show(self, place: _Place, fixes: FixBatch, inside: Sequence[tuple[str, ...]]) -> None:
        for row, (name, fences) in enumerate(zip(fixes.names(), inside, strict=True)):
            shown = self.vehicles.get(name)
            if shown is None or shown.fix.time_us[0] <= fixes.time_us[row]:
                self.vehicles[name] = Shown(fixes.take(slice(row, row + 1)), fences)
                self._vehicle_homes[name] = place

    def _move(self, place: _Place, event: Event) -> None:
        shown = self.open_events.get(event.id)
        if event.is_over:
            self.open_events.pop(event.id, None)
        elif shown is None or shown.revision < event.revision:
            self.open_events[event.id] = event
            self._event_homes[event.id] = place

    def _marker(self, place: _Place) -> int:
        if place not in self._markers:
            raise BoardForgot(f"the board knows nothing of {place[0]}/{place[1]}")
        return self._markers[place]

    def _reach(self, method: str) -> None:
        if self.away:
            raise BoardAway("the memory board was told to be away")
        if self.fault:
            self.fault(method, "before")

    def _done(self, method: str) -> None:
        if self.fault:
            self.fault(method, "after")


class MemoryReference:
    """The ``Reference`` port in memory.

    Attributes:
        away: while True every method raises ``StoreAway``.
    """

    def __init__(self, data: ReferenceData | None = None) -> None:
        self.away = False
        self._data = data or ReferenceData()
        self._seq = 0
        self._news = asyncio.Event()

    def put(self, data: ReferenceData) -> None:
        """Replace everything on file."""
        self._data = data
        self._seq += 1
        self._news.set()

    async def open(self) -> None:
        """Nothing to connect to."""
        self._reach()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def load(self) -> FileState:
        """See the port."""
        self._reach()
        return FileState(self._seq, self._data)

    async def changed(self, after_seq: int, timeout_s: float) -> bool:
        """See the port."""
        self._reach()
        if self._seq <= after_seq:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), timeout_s)
            except TimeoutError:
                return False
        return self._seq > after_seq

    def _reach(self) -> None:
        if self.away:
            raise StoreAway("the reference is away, as the test wants it")
