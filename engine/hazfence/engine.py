"""The engine: batches of fixes in, events out; the one ordered way of a fix.

You are at the top of the core. :meth:`Engine.process` reads like the way of a fix: clean, order,
locate, screen, judge. The first four look at whole columns; the screen proves of most fixes
that they can change nothing (same fences as before, no thin fence touched, no limit exceeded, no
deadline passed), and only the rest goes to ``judge.py``, vehicle by vehicle in time order.
:meth:`Engine.advance` fires deadlines in silence; the moment is passed in, the core reads no
clock. The engine does no IO and keeps no global state: a host may own as many as it likes, one
a partition, each used by one thread at a time.

The promise: the events depend on the fixes and on their order a vehicle, never on how they were
cut into batches, nor on whether a deadline was noticed by ``advance`` or by the next fix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from hazfence.clean import Reason, screen_values
from hazfence.events import Event, Kind
from hazfence.fixes import FixBatch
from hazfence.judge import Judge
from hazfence.presence import Fix
from hazfence.recent import Recent, Track, merge_tracks, rank
from hazfence.screen import Before, Columns, Screen, group_starts, news_of
from hazfence.settings import EngineSettings
from hazfence.snapshot import dump, load
from hazfence.story import Mark, Story
from hazfence.tell import Teller, Told
from hazfence.vehicles import FOREVER_US, NEVER_US, Fleet, Record
from hazfence_fences import FenceSet

__all__ = ["Engine", "Outcome"]


class Outcome(Sequence[Event]):
    """What came of a batch: a sequence of events, and what became of each fix.

    Attributes:
        events: the new revisions; in time order a vehicle.
        reason: uint8, shape (n,), a :class:`~hazfence.clean.Reason` for every fix of the batch.
    """

    __slots__ = ("events", "reason")

    def __init__(self, events: tuple[Event, ...], reason: npt.NDArray[np.uint8]) -> None:
        self.events = events
        self.reason = reason

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): the fixes that were used."""
        return np.equal(self.reason, 0)

    def counts(self) -> Counter[str]:
        """How many fixes were set aside, by reason."""
        codes, numbers = np.unique(self.reason[self.reason != 0], return_counts=True)
        return Counter({Reason(c).label: n for c, n in zip(codes.tolist(), numbers.tolist(), strict=True)})

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Event, ...]: ...
    def __getitem__(self, index: int | slice) -> Event | tuple[Event, ...]:
        return self.events[index]

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __repr__(self) -> str:
        return f"Outcome({len(self)} events, {int(self.accepted.sum())} of {len(self.reason)} fixes accepted)"


class Engine:
    """Matches fixes against fences and says what follows.

    Args:
        fences: the fences in force.
        settings: thresholds; the defaults are those of Zhenhai's rules.

    Example:
        >>> from hazfence import Engine, FixBatch
        >>> from hazfence_fences import load_fences
        >>> engine = Engine(load_fences("fences/zhenhai"))
        >>> day = 1_767_225_600_000_000
        >>> batch = FixBatch.of(["浙B12345"], time_us=[day], lon=[121.61], lat=[29.98])
        >>> [str(e.kind) for e in engine.process(batch)]
        ['visit']
    """

    def __init__(self, fences: FenceSet, settings: EngineSettings | None = None) -> None:
        self._settings = settings or EngineSettings()
        self._fleet = Fleet()
        self._records: dict[int, Record] = {}
        self._stories: dict[int, Story] = {}
        self._recent = Recent(self._settings.recent_fixes, self._forget)
        self._bind(fences, {})

    @property
    def fences(self) -> FenceSet:
        """The fences in force."""
        return self._fences

    @property
    def settings(self) -> EngineSettings:
        """The thresholds in use."""
        return self._settings

    def process(self, batch: FixBatch) -> Outcome:
        """Take in a batch of fixes, of any vehicles, in the order of arrival.

        Returns:
            the events that follow, and what became of each fix. A late fix is judged as if it had
            come in time, and what was said without it is corrected; it is set aside as ``LATE`` only
            when its neighbours are not remembered any more.
        """
        reason = screen_values(batch, self._settings)
        rows = np.flatnonzero(reason == 0)
        if not len(rows):
            return Outcome((), reason)
        codes = self._fleet.enroll(batch.vehicles)[batch.vehicle[rows]]
        order = np.argsort(codes, kind="stable")
        rows, codes = rows[order], codes[order]
        track = Track(
            batch.time_us[rows],
            batch.lon[rows],
            batch.lat[rows],
            batch.speed_kmh[rows],
            batch.heading_deg[rows],
            np.zeros(len(rows), np.uint64),
        )
        events: list[Event] = []
        news = news_of(codes, track.time_us, self._fleet.time_us[codes[group_starts(codes)]])
        if news is None:
            self._on_time(codes, track, events)
        else:
            if news.any():
                self._on_time(codes[news], track.cut(news), events)
            late = ~news
            reason[rows[late]] = self._late(codes[late], track.cut(late), events)
        return Outcome(tuple(events), reason)

    def advance(self, now_us: int) -> tuple[Event, ...]:
        """Fire the deadlines that passed before ``now_us`` (microseconds UTC) in silence.

        Returns:
            new events, by vehicle in the order of their first fix. When there are none, nothing
            that matters has changed.
        """
        fleet = self._fleet
        events: list[Event] = []
        for code in np.flatnonzero(fleet.deadline_us[: len(fleet)] < now_us).tolist():
            last = self._last_fix(code)
            if now_us <= last.time_us:
                continue
            story = self._stories.setdefault(code, Story())
            record = self._records.get(code) or Record()
            base = story.base or record
            trial = base.copy()
            found = self._judge.silence(fleet.names[code], trial, last, now_us)
            news = story.correct(trial, tuple(story.said.values()), found, tuple(base.open.values()))
            if news:
                story.speak(base, now_us, news)
                record = trial
                events += news
            self._keep(code, record, story, self._judge.deadline_us(record, last, now_us))
        return tuple(events)

    def use_fences(self, fences: FenceSet) -> None:
        """Go on with other fences.

        A visit to a fence that is gone closes with ``exit`` ``fence_removed``, one to a fence
        redrawn around the vehicle with ``fence_changed``, at the vehicle's next fix or ``advance``;
        nothing is matched again with old positions. Fixes from before the change that come after
        it are set aside as ``LATE``.
        """
        self._bind(fences, self._screen.set_ids())
        self._recent.clear()
        for story in self._stories.values():
            story.marks.clear()
        self._remember_last_fixes()

    def positions(self) -> FixBatch:
        """The last accepted fix of every vehicle, one a vehicle."""
        return self._fleet.last_fixes(np.flatnonzero(self._fleet.time_us[: len(self._fleet)] != NEVER_US))

    def inside(self, vehicle: str) -> tuple[str, ...]:
        """Ids of the fences that the vehicle is visiting; empty when it is unknown."""
        code = self._fleet.code(vehicle)
        record = None if code is None else self._records.get(code)
        if record is None:
            return ()
        return tuple(fence_id for kind, fence_id in record.open if kind is Kind.VISIT)

    def open_events(self) -> tuple[Event, ...]:
        """Every visit and breach that goes on, as last said."""
        return tuple(e for code in sorted(self._records) for e in self._records[code].open.values())

    def snapshot(self) -> bytes:
        """Everything the engine knows, as bytes that :meth:`restore` takes; the same for the same state."""
        return dump(self._fleet, self._records, self._stories, self._screen.set_ids())

    @classmethod
    def restore(cls, data: bytes, fences: FenceSet, settings: EngineSettings | None = None) -> Engine:
        """An engine that goes on where :meth:`snapshot` was taken, perhaps with other fences.

        Recent fixes are not part of a snapshot: what is older than a vehicle's last fix is ``LATE``
        at first.

        Raises:
            SnapshotError: the bytes are damaged or of a version this release cannot read.
        """
        engine = cls(fences, settings)
        engine._bind(fences, load(data, engine._fleet, engine._records, engine._stories))
        engine._remember_last_fixes()
        return engine

    def _bind(self, fences: FenceSet, sets: dict[int, tuple[str, ...]]) -> None:
        """Work with these fences from now on; visits to fences that are no more become due."""
        self._fences = fences
        self._screen = Screen(fences, self._settings, sets)
        self._judge = Judge(fences, self._settings)
        self._teller = Teller(self._screen, self._judge)
        fleet, n = self._fleet, len(self._fleet)
        for code, record in self._records.items():
            if any(k is Kind.VISIT and fence_id not in fences for k, fence_id in record.open):
                fleet.deadline_us[code] = NEVER_US
        for old, new in self._screen.rekeyed().items():
            fleet.key[:n][fleet.key[:n] == np.uint64(old)] = np.uint64(new)

    def _forget(self, codes: npt.NDArray[np.int32], time_us: npt.NDArray[np.int64]) -> None:
        """Note that fixes are not remembered any more."""
        np.maximum.at(self._fleet.forgotten_us, codes, time_us)

    def _remember_last_fixes(self) -> None:
        """Begin the memory anew with each vehicle's last fix."""
        fleet = self._fleet
        codes = np.flatnonzero(fleet.time_us[: len(fleet)] != NEVER_US).astype(np.int32)
        fleet.forgotten_us[codes] = fleet.time_us[codes] - 1
        self._recent.add(codes, fleet.last_track(codes))

    def _on_time(self, codes: npt.NDArray[np.int32], track: Track, events: list[Event]) -> None:
        """Take in fixes that are news for their vehicles, sorted by vehicle and time."""
        fleet = self._fleet
        first = codes[group_starts(codes)]
        c = self._screen.look(codes, track, Before(*(getattr(fleet, name)[first] for name in Before._fields)))
        for group in c.active.tolist():
            events += self._judge_vehicle(c, int(c.starts[group]), int(c.ends[group]))
        fleet.move(codes[c.ends - 1], c.track.cut(c.ends - 1))
        self._recent.add(codes, c.track)

    def _judge_vehicle(self, c: Columns, lo: int, hi: int) -> list[Event]:
        """Judge one vehicle's fixes ``lo..hi`` of the sorted columns."""
        code = int(c.codes[lo])
        name, prev = self._fleet.names[code], self._last_fix_or_none(code)
        story = self._stories.setdefault(code, Story())
        record, said = story.wake(self._records.get(code) or Record())
        deadline_us, row, events = int(self._fleet.deadline_us[code]), lo, []
        if said:
            # The first fix after a silence: judged from the state before it, and compared with
            # what was said meanwhile.
            story.marks.append(Mark(prev, record.copy(), story.judged_us))
            stood, fix = tuple(record.open.values()), self._teller.fix(c, lo)
            found = self._judge.fix(name, record, prev, fix, self._screen.hits(c, lo))
            events = story.correct(record, said, found, stood)
            story.judged_us, prev, row = fix.time_us, fix, lo + 1
            deadline_us = self._judge.deadline_us(record, fix, fix.time_us)
        told = self._teller.tell(name, record, prev, c, (row, hi), deadline_us, story.marks, story.judged_us)
        if told.judged is not None:
            story.judged_us = told.judged.time_us
        self._keep(code, record, story, told.deadline_us)
        return events + story.count_on(record, told.events)

    def _late(self, codes: npt.NDArray[np.int32], track: Track, events: list[Event]) -> npt.NDArray[np.uint8]:
        """Take in late fixes, sorted by vehicle; returns a reason for each."""
        reason = np.zeros(len(codes), np.uint8)
        starts = group_starts(codes)
        for lo, hi in zip(starts.tolist(), [*starts[1:].tolist(), len(codes)], strict=True):
            late = track.cut(slice(lo, hi))
            late = late._replace(key=self._screen.locate(late.lon, late.lat))
            events += self._late_for(int(codes[lo]), late, reason[lo:hi])
        return reason

    def _late_for(self, code: int, late: Track, reason: npt.NDArray[np.uint8]) -> list[Event]:
        """Take in late fixes of one vehicle, in the order of arrival; fills in their reasons."""
        since_us = int(self._fleet.forgotten_us[code])
        known = self._recent.of(code, since_us)
        reason[late.time_us <= since_us] = Reason.LATE
        usable = np.flatnonzero(reason == 0)
        news = self._not_known(known, late, usable, reason)
        if not len(news):
            return []
        start = self._start_before(code, int(late.time_us[news].min()), known)
        if start is None:
            reason[news] = Reason.LATE
            return []
        self._recent.add(np.full(len(news), code, np.int32), late.cut(news))
        known = known.cut(known.time_us > start.time_us)
        merged = merge_tracks(known, late.cut(news))
        return self._tell_again(code, start, known, merged, int(late.time_us[news].max()))

    @staticmethod
    def _not_known(
        known: Track, late: Track, usable: npt.NDArray[np.intp], reason: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.intp]:
        """Those of the late fixes that change what is known; the others get their reason."""
        stands: dict[int, tuple[float, ...]] = {}
        news: list[int] = []
        for i in usable.tolist():
            time_us, fix = int(late.time_us[i]), rank(late, i)
            at = int(np.searchsorted(known.time_us, time_us))
            if time_us not in stands and at < len(known.time_us) and known.time_us[at] == time_us:
                stands[time_us] = rank(known, at)
            other = stands.get(time_us)
            if other is not None and fix <= other:
                reason[i] = Reason.DUPLICATE if fix == other else Reason.SAME_TIME
                continue
            stands[time_us] = fix
            news.append(i)
        return np.array(news, np.intp)

    def _start_before(self, code: int, time_us: int, known: Track) -> Mark | None:
        """The state before a moment from which the story can be told again; None when none is left."""
        story, since_us = self._stories.setdefault(code, Story()), int(self._fleet.forgotten_us[code])
        at = int(np.searchsorted(known.time_us, time_us)) - 1
        if at >= 0:
            fix = self._fix_of(known, at)
            state = story.state_at(fix.time_us, self._records.get(code) or Record())
            if state is not None:
                return Mark(fix, state[0].copy(), state[1])
        elif since_us == NEVER_US:
            return Mark(None, Record(), NEVER_US)
        return story.mark_before(time_us, since_us)

    def _tell_again(self, code: int, start: Mark, known: Track, merged: Track, news_us: int) -> list[Event]:
        """Tell a vehicle's story from a mark, as it was known and as it is known now; say the difference.

        Both are told only until they agree: the same state after the same fix has the same future.

        Args:
            start: where to begin.
            known, merged: the fixes after it without and with the late ones.
            news_us: time of the last late one.
        """
        story, stood = self._stories[code], tuple(start.record.open.values())
        now, now_base = self._records.get(code) or Record(), story.base
        reach = 1
        while True:
            end = int(np.searchsorted(merged.time_us, news_us, side="right")) + reach
            whole = end >= len(merged.time_us)
            end_us = int(merged.time_us[min(end, len(merged.time_us)) - 1])
            before, after = start.record.copy(), start.record.copy()
            marks: list[Mark] = []
            told = self._walk(code, start, before, known.cut(known.time_us <= end_us), None)
            found = self._walk(code, start, after, merged.cut(merged.time_us <= end_us), marks)
            if whole or before == after:
                break
            reach *= 4
        since_us = start.since_us if found.judged is None else found.judged.time_us
        later = [m for m in story.marks if m.time_us >= end_us and not whole]
        story.marks = [*(m for m in story.marks if m.time_us < start.time_us), start, *marks]
        story.marks += [
            m._replace(since_us=max(m.since_us, since_us)) if m.since_us < end_us else m for m in later
        ]
        if whole or story.judged_us <= end_us:
            story.judged_us = since_us
        if not whole:
            news = story.correct(now, told.events, found.events, stood)
            if now_base is not None:
                story.renumber(now_base)
            return news
        last = self._fix_of(merged, len(merged.time_us) - 1)
        self._fleet.move(np.array([code], np.int32), merged.cut(slice(-1, None)))
        return self._settle(code, last, after, told.events, found, stood)

    def _settle(
        self,
        code: int,
        last: Fix,
        record: Record,
        told: list[Event],
        found: Told,
        stood: tuple[Event, ...],
    ) -> list[Event]:
        """Finish a story told again up to its last fix: what was said in silence is judged again too."""
        story = self._stories[code]
        if story.silent_us is None:
            news = story.correct(record, told, found.events, stood)
            self._keep(code, record, story, found.deadline_us)
            return news
        base, record = record, record.copy()
        in_silence = self._judge.silence(self._fleet.names[code], record, last, story.silent_us)
        said = tuple(story.said.values())
        news = story.correct(record, [*told, *said], [*found.events, *in_silence], stood)
        story.renumber(base)
        real = {event.id: event for event in (*said, *in_silence, *news)}
        story.base = base
        story.said = {e.id: story.as_said(real[e.id]) for e in (*said, *in_silence)}
        self._keep(code, record, story, self._judge.deadline_us(record, last, story.silent_us))
        return news

    def _walk(self, code: int, start: Mark, record: Record, track: Track, marks: list[Mark] | None) -> Told:
        """Walk a stretch of one vehicle's remembered fixes from a mark, changing ``record``."""
        prev = start.prev
        due_us = FOREVER_US if prev is None else self._judge.deadline_us(record, prev, prev.time_us)
        before = Before.of(prev, record.watch, due_us)
        if not len(track.time_us):
            return Told([], None, due_us)
        codes = np.full(len(track.time_us), code, np.int32)
        c = self._screen.look(codes, track, before, located=True)
        rows = (0, len(codes))
        name = self._fleet.names[code]
        return self._teller.tell(name, record, prev, c, rows, due_us, marks, start.since_us)

    def _keep(self, code: int, record: Record, story: Story, deadline_us: int) -> None:
        """Put a vehicle's state back, with the moment at which it has to be looked at again."""
        if record.idle:
            self._records.pop(code, None)
        else:
            self._records[code] = record
        self._fleet.deadline_us[code] = deadline_us
        # What was said in silence must be compared at the next fix, whatever that fix is like.
        self._fleet.watch[code] = record.watch or story.base is not None
        behind_us = story.trim()
        if behind_us is not None:
            self._fleet.forgotten_us[code] = max(int(self._fleet.forgotten_us[code]), behind_us)

    def _fix_of(self, track: Track, at: int) -> Fix:
        t = track
        fences = self._screen.fences_of(int(t.key[at]))
        return Fix(int(t.time_us[at]), float(t.lon[at]), float(t.lat[at]), float(t.speed_kmh[at]), fences)

    def _last_fix(self, code: int) -> Fix:
        return self._fix_of(self._fleet.last_track(np.array([code], np.int32)), 0)

    def _last_fix_or_none(self, code: int) -> Fix | None:
        return None if self._fleet.time_us[code] == NEVER_US else self._last_fix(code)

    def __repr__(self) -> str:
        return f"Engine({len(self._fleet)} vehicles, {len(self._records)} of them with something open)"
