"""The engine: batches of fixes in, events out; the one ordered way of a fix.

You are at the top of the core. :meth:`Engine.process` reads like the way of a fix: clean, order,
locate, screen, judge. The first four look at whole columns; the screen proves of most fixes
that they can change nothing (same fences as before, no thin fence touched, no limit exceeded, no
deadline passed), and only the rest goes to ``judge.py``, vehicle by vehicle in time order.
:meth:`Engine.advance` fires deadlines in silence; the moment is passed in, the core reads no
clock. The engine does no IO and keeps no global state: a host may own as many as it likes, one
a partition, each used by one thread at a time.

The promise: what stands in the end is a function of the set of fixes, not of their order, of how
they were cut into batches, or of whether a deadline was noticed by ``advance`` or by the next fix.
On time, fixes go straight through; one that comes late is judged from memory (``late.py``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from hazfence.arrivals import GAP_US
from hazfence.books import Books
from hazfence.clean import Extent, extent_of, screen_values
from hazfence.columns import Before, Columns, newest_before, shifted, track_of
from hazfence.drafts import Drafts
from hazfence.events import Event, Kind
from hazfence.fixes import FixBatch
from hazfence.history import History, MilestoneNews
from hazfence.judge import Judge
from hazfence.judged import Taken
from hazfence.late import Late
from hazfence.news import Batch, News, Telling
from hazfence.outcome import Outcome
from hazfence.plain import Plain
from hazfence.presence import Fix, Presence
from hazfence.recall import Recall
from hazfence.reference import ReferenceData
from hazfence.screen import Screen
from hazfence.settings import EngineSettings
from hazfence.snapshot import Frozen, dump, load, unpack
from hazfence.states import State
from hazfence.story import Mark
from hazfence.tell import Teller
from hazfence.track import Track
from hazfence.turns import Turns
from hazfence.vehicles import NEVER_US, SpeedRun
from hazfence_fences import FenceSet

__all__ = ["Engine"]

_Ints = npt.NDArray[np.int64]

#: Settings that say which fixes are used and kept, not what follows from them.
_NO_TERMS = frozenset(
    ("earliest_us", "latest_us", "max_ahead_s", "max_behind_h", "max_accuracy_m", "recent_s", "recall_h")
)


class Engine:
    """Matches fixes against fences and says what follows.

    Args:
        fences: the fences in force.
        settings: thresholds; the defaults are those of Zhenhai's rules.
        reference: vehicles, waybills and papers on file; without it, rules about papers say nothing.

    Example:
        >>> from hazfence import Engine, FixBatch
        >>> from hazfence_fences import load_fences
        >>> engine = Engine(load_fences("fences/zhenhai"))
        >>> day = 1_767_225_600_000_000
        >>> batch = FixBatch.of(["浙B12345"], time_us=[day], lon=[121.61], lat=[29.98])
        >>> [str(e.kind) for e in engine.process(batch)]
        ['visit']
    """

    def __init__(
        self,
        fences: FenceSet,
        settings: EngineSettings | None = None,
        reference: ReferenceData | None = None,
    ) -> None:
        self._settings = settings or EngineSettings()
        self._reference = reference
        self._books = Books(self._settings.recent_s, self._settings.recall_h, fences.keys)
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

        Raises:
            NeedsHistory: with ``EngineSettings.recall_h``, when a fix is too late for the memory. Nothing
                has changed; give the engine what it asks for (:meth:`recall`) and process again.
        """
        news, reason = News(), np.zeros(len(batch), np.uint8)
        if not len(batch):
            return Outcome(news, reason)
        rows: _Ints | None = None  # None: all, as they came
        extent = extent_of(batch, self._settings)
        if extent is None:
            reason = screen_values(batch, self._settings)
            if reason.any():
                rows = np.flatnonzero(reason == 0)
                if not len(rows):
                    return Outcome(news, reason)
        fleet = self._books.fleet
        codes = fleet.codes_of(batch.vehicles, batch.vehicle if rows is None else batch.vehicle[rows])
        self._books.grow()
        once = bool((codes[1:] > codes[:-1]).all())
        if not once and (codes[1:] < codes[:-1]).any():
            heard_us = fleet.time_us[codes]
            time_us = batch.time_us if rows is None else batch.time_us[rows]
            if (time_us <= heard_us).any():
                turns = Turns.of(codes, time_us, heard_us)
                self._late.take_all(batch, rows, turns, reason, news, self._on_time)
                return Outcome(news, reason)
            order = np.argsort(codes, kind="stable")
            rows = order if rows is None else rows[order]
            codes = codes[order]
        track = track_of(batch, rows, self._settings.settle_m)
        groups = self._screen.groups(codes, once=once)
        firsts = codes if len(groups[0]) == len(codes) else codes[groups[0]]
        last = Before(fleet, firsts, self._books.stays)
        if newest_before(track.time_us, groups, last.time_us) is None:
            news.add(self._on_time(codes, track, groups, last, extent=extent))
        else:
            turns = Turns.of(codes, track.time_us, fleet.time_us[codes])
            self._late.take_all(batch, rows, turns, reason, news, self._on_time)
        return Outcome(news, reason)

    def advance(self, now_us: int) -> tuple[Event, ...]:
        """Fire the deadlines that passed before ``now_us`` (microseconds UTC) in silence.

        Returns:
            new events, by vehicle in the order of their first fix. When there are none, nothing
            that matters has changed.
        """
        fleet = self._books.fleet
        events: list[Event] = []
        waiting = fleet.deadline_us[: len(fleet)] < now_us
        waiting[self._screen.unheard(fleet, now_us)] = True
        for code in np.flatnonzero(waiting).tolist():
            last = self._last_fix(code)
            if now_us <= last.time_us:
                continue
            story, record = self._books.story(code), self._books.record(code)
            base = story.base or record
            trial = base.copy()
            found = self._judge.silence(fleet.names[code], trial, last, now_us)
            news = story.correct(trial, tuple(story.said.values()), found, tuple(base.open.values()))
            if news:
                story.speak(base, now_us, news)
                record = trial
                events += news
            deadline_us = self._judge.deadline_us(record, last, now_us, fleet.names[code])
            self._books.keep(code, record, deadline_us)
            # After a look into silence the deadlines count from the last fix again when one comes.
            fleet.watch[code] = True
        return tuple(events)

    def use_fences(self, fences: FenceSet) -> None:
        """Go on with other fences.

        A visit to a fence that is gone closes with ``exit`` ``fence_removed``, one to a fence
        redrawn around the vehicle with ``fence_changed``, at the vehicle's next fix or ``advance``;
        nothing is matched again with old positions. Fixes from before the change that come after
        it are set aside as ``LATE``.
        """
        self._books.set_all_apart()
        self._books.redrawn({f.id for f in self._fences.fences if f.id in fences and fences[f.id] != f})
        self._bind(fences, self._sets_in_use())
        self._rebind()
        self._books.begin_memory(fences.keys)

    def use_reference(self, reference: ReferenceData | None) -> None:
        """Go on with another file of vehicles, waybills and papers.

        A change is effective at its own time (an approval from when it was given): what was judged
        before that time stands. What is open is looked at again at the vehicle's next fix or ``advance``.
        """
        self._reference = reference
        self._books.set_all_apart()
        self._bind_judge()  # the screen stays: marks and recent fixes name sets that it has met
        fleet = self._books.fleet
        for code, record in self._books.records.items():
            if any(kind is Kind.VISIT for kind, _ in record.open):
                fleet.deadline_us[code] = NEVER_US

    def positions(self, vehicles: Iterable[str] | None = None) -> FixBatch:
        """The last accepted fix of every vehicle, one a vehicle; or of these, those unknown left out."""
        fleet = self._books.fleet
        if vehicles is None:
            return fleet.last_fixes(np.flatnonzero(fleet.time_us[: len(fleet)] != NEVER_US))
        codes = np.array([code for v in vehicles if (code := fleet.code(v)) is not None], np.intp)
        return fleet.last_fixes(codes[fleet.time_us[codes] != NEVER_US])

    def inside(self, vehicle: str) -> tuple[str, ...]:
        """Ids of the fences that the vehicle is visiting, by entry; empty when it is unknown."""
        code = self._books.fleet.code(vehicle)
        if code is None:
            return ()
        standing = self._books.record_seen(code).standing()
        return tuple(str(event.fence_id) for event in standing if event.kind is Kind.VISIT)

    def presence(self, vehicle: str, fence_id: str, at_us: int) -> Presence:
        """Whether the vehicle is in a fence at a moment after its last fix (microseconds UTC).

        Returns:
            unknown when it was never heard, or not for longer than ``max_gap_s``: then it may be anywhere,
            though its visits go on until a fix says where it went. At a border that it has not crossed for
            certain yet it counts as where it was.

        Raises:
            KeyError: there is no such fence.
        """
        self._fences.index_of(fence_id)
        code = self._books.fleet.code(vehicle)
        heard_us = NEVER_US if code is None else int(self._books.fleet.time_us[code])
        if at_us - heard_us > self._settings.max_gap_s * 1e6:
            return Presence.UNKNOWN
        return Presence.INSIDE if fence_id in self.inside(vehicle) else Presence.OUTSIDE

    def last_fix(self, vehicle: str) -> FixBatch:
        """The vehicle's last accepted fix, a batch of one; of none when it is unknown."""
        code = self._books.fleet.code(vehicle)
        known = code is not None and self._books.fleet.time_us[code] != NEVER_US
        return self._books.fleet.last_fixes(np.array([code] if known else [], np.intp))

    def open_events(self, vehicle: str | None = None) -> tuple[Event, ...]:
        """Every visit and breach that goes on, as last said; of one vehicle, or of all."""
        if vehicle is not None:
            code = self._books.fleet.code(vehicle)
            return () if code is None else self._books.record_seen(code).standing()
        books = self._books
        return tuple(e for code in books.codes_of_records() for e in books.record_seen(code).standing())

    def memory(self, vehicle: str) -> tuple[SpeedRun | State, ...]:
        """What rules with a memory keep of a vehicle (``states.py``), by name; a running overspeed first."""
        code = self._books.fleet.code(vehicle)
        if code is None:
            return ()
        record = self._books.record_seen(code).copy()
        states = (record.states[name] for name in sorted(record.states))
        return (*(() if record.run is None else (record.run,)), *states)

    def snapshot(self, *, with_recent: bool = True) -> bytes:
        """Everything the engine knows, as bytes that :meth:`restore` takes; the same for the same state.

        Args:
            with_recent: whether recent fixes are part of it. A host that stores every accepted fix
                can leave them out, and give them back with :meth:`remember`.
        """
        return self.freeze(with_recent=with_recent).pack()

    def freeze(self, *, with_recent: bool = True) -> Frozen:
        """What :meth:`snapshot` would give, not packed yet: that can be done in another thread meanwhile."""
        return dump(self._books, self._screen.sets.ids, self._terms, with_recent=with_recent)

    def draft(self, limit: int) -> bool:
        """Do a part of the next snapshot's work beforehand; for hosts that take one every few seconds.

        From the first call on the engine keeps the text that it has written of each vehicle, and writes
        again only what has changed.

        Args:
            limit: write about this many vehicles at most; a vehicle takes one or two tenths of a millisecond.

        Returns:
            True when nothing is left: :meth:`freeze` has only to put together what is there.

        Example:
            >>> engine = Engine(FenceSet([]))
            >>> while not engine.draft(limit=100):
            ...     pass  # let others have their turn
            >>> frozen = engine.freeze()
            >>> frozen.pack() == engine.snapshot()
            True
        """
        if self._books.drafts is None:
            self._books.drafts = Drafts(self._books)
        return self._books.drafts.work(limit)

    @classmethod
    def restore(
        cls,
        data: bytes,
        fences: FenceSet,
        settings: EngineSettings | None = None,
        reference: ReferenceData | None = None,
    ) -> Engine:
        """An engine that goes on where :meth:`snapshot` was taken, perhaps with other fences or settings.

        Without recent fixes in the snapshot, and until :meth:`remember`, what is older than a
        vehicle's last fix is ``LATE``. With other fences or settings it stays so, as after
        :meth:`use_fences`: nothing is judged again by limits that were not in force.

        Raises:
            SnapshotError: the bytes are damaged or of a version this release cannot read.
        """
        opened = unpack(data)
        engine = cls(fences, settings, reference)
        engine._bind(fences, opened.sets)
        whole = load(opened, engine._books, engine._screen.sets.fences_of_old)
        if not opened.tells_overdriven:
            engine._books.find_overdriven(engine._judge.deadline_us, engine._last_fix)
        engine._rebind()
        if opened.terms not in (None, engine._terms):
            engine._books.redrawn()
            engine._books.begin_memory()
        elif not whole:
            engine._books.suspend_memory()
        return engine

    def remember(self, fixes: FixBatch) -> None:
        """Give a restored engine its recent fixes back: accepted ones, as they were, in any order.

        Args:
            fixes: all accepted fixes of the last ``recent_s`` before each vehicle's last one, and those
                of the last moment before. Fixes of vehicles that the snapshot does not know are left out.
        """
        codes = np.array([-1 if (c := self._books.fleet.code(v)) is None else c for v in fixes.vehicles])
        codes = codes.astype(np.int32)[fixes.vehicle]
        mine = codes >= 0
        track = track_of(fixes.take(mine), None, self._settings.settle_m)
        if mine.any():
            track = track._replace(key=self._screen.locate(track.lon, track.lat))
        self._books.resume_memory(codes[mine], track)

    def recall(self, history: History) -> None:
        """Give the engine what ``NeedsHistory``, the last one raised, asked for.

        Args:
            history: of each vehicle in ``missing``, the milestones and accepted fixes that the host has
                kept, those not stored yet included. What is not there is set aside as ``LATE``.
        """
        self._recall.take(history)

    def milestones(self, most: int = 250) -> Iterator[list[MilestoneNews]]:
        """Take what has changed in the milestones since the last call, to be kept beside the fixes.

        With ``EngineSettings.recall_h``, call it before each :meth:`snapshot` and store both in one
        transaction: the snapshot takes them for stored. It goes a step of ``most`` vehicles at a time, so
        that a host has other things done in between; feed nothing and let no time pass before the last.
        """
        return self._recall.news(most)

    def _bind(self, fences: FenceSet, sets: dict[int, tuple[str, ...]]) -> None:
        """Work with these fences from now on."""
        self._fences = fences
        plain = {k: v for k, v in self._settings.to_json().items() if k not in _NO_TERMS}
        text = json.dumps(plain, sort_keys=True, default=str).encode()
        #: A fingerprint of the fences and of all settings that verdicts depend on.
        self._terms = f"{fences.fingerprint}-{blake2b(text, digest_size=8).hexdigest()}"
        self._screen = Screen(fences, self._settings, sets)
        self._books.fleet.beside[:] = True
        self._bind_judge()

    def _bind_judge(self) -> None:
        """Judge by the file on hand from now on."""
        fences = self._fences
        if self._books.drafts is not None:
            self._books.drafts = Drafts(self._books)
        self._judge = Judge(fences, self._settings, self._reference)
        self._teller = Teller(self._screen, self._judge)
        self._plain = Plain(fences, self._settings, self._judge, self._screen.beside)
        self._telling = Telling(self._plain, self._screen.sets, self._books.fleet.names)
        self._books.telling = self._telling
        settle_m, plain = self._settings.settle_m, self._plain.on
        self._recall = Recall(self._books, self._screen, fences, settle_m)
        here = self._books, self._screen, self._judge, self._teller, self._recall
        self._late = Late(*here, settle_m=settle_m, plain=plain)

    def _rebind(self) -> None:
        """Visits to fences that are no more become due; sets that held them are named anew."""
        fleet, n = self._books.fleet, len(self._books.fleet)
        for code, record in self._books.records.items():
            if any(k is Kind.VISIT and fence_id not in self._fences for k, fence_id in record.open):
                fleet.deadline_us[code] = NEVER_US
        for old, new in self._screen.sets.rekeyed.items():
            fleet.key[:n][fleet.key[:n] == np.uint64(old)] = np.uint64(new)

    def _sets_in_use(self) -> dict[int, tuple[str, ...]]:
        """The fence ids behind the set of every vehicle's last fix."""
        fleet = self._books.fleet
        return {key: self._screen.sets.ids(key) for key in np.unique(fleet.key[: len(fleet)]).tolist()}

    def _on_time(
        self,
        codes: npt.NDArray[np.int32],
        track: Track,
        groups: tuple[_Ints, _Ints],
        before: Before,
        located: bool = False,
        extent: Extent | None = None,
    ) -> Batch:
        """Take in fixes that are news for their vehicles, sorted by vehicle and time, in these groups."""
        books, fleet = self._books, self._books.fleet
        first = codes if len(groups[0]) == len(codes) else codes[groups[0]]
        if self._books.recall_us:
            new = before.time_us == NEVER_US
            fleet.first_us[first[new]] = track.time_us[groups[0][new]]
        c = self._screen.look(codes, track, before, groups, located=located, extent=extent)
        active, taken = c.active, list[Taken]()
        if self._plain.on:
            plain = active[c.plain[active] & books.stays.ours(first[active])]
            if len(plain):
                for some in self._plain.take(c, before, plain, books.stays, books.notes, self._screen.sets):
                    books.note(some)
                    active = active[~some.groups[active]]
                    taken.append(some)
        judged = [
            (group, self._judge_vehicle(c, int(c.starts[group]), int(c.ends[group])))
            for group in active.tolist()
        ]
        if c.gap_us > GAP_US:
            books.recent.note_gaps(codes, c.track, shifted(c.track.time_us, c.starts, before.time_us))
        last, changed = (c.track, c.changed) if c.once else (c.track.cut(c.ends - 1), None)
        fleet.move(first, last, c.last_beside(), changed)
        books.recent.add_in_order(codes, c.track, None if extent is None else extent.span_us)
        for some in taken:
            books.log(some)
        said = [one for some in taken for one in some.said]
        return Batch(judged, [(some.group, some.steps) for some in taken], said, self._telling)

    def _judge_vehicle(self, c: Columns, lo: int, hi: int) -> list[Event]:
        """Judge one vehicle's fixes ``lo..hi`` of the sorted columns."""
        code = int(c.codes[lo])
        fleet, story = self._books.fleet, self._books.story(code)
        name = fleet.names[code]
        prev, silent_us = None if fleet.time_us[code] == NEVER_US else self._last_fix(code), story.silent_us
        record, said = story.wake(self._books.record(code))
        row, events, judged_us = lo, list[Event](), NEVER_US if prev is None else prev.time_us
        while said and row < hi:
            # The first fix after a silence: judged from the state before it, and compared with
            # what was said meanwhile.
            story.marks.append(Mark(prev, record.copy(), story.judged_us))
            stood, fix = tuple(record.open.values()), self._teller.fix_of(c.track, row)
            found = self._judge.fix(name, record, prev, fix, self._screen.hits(c, row))
            story.judged_us, prev, row = fix.time_us, fix, row + 1
            said, doubted, judged_us = [], said, fix.time_us
            if not self._judge.in_doubt(record, fix):
                events += story.correct(record, doubted, found, stood)
                continue
            # A fix that cannot be true takes nothing back: the silence goes on.
            assert silent_us is not None
            base, record = record, record.copy()
            in_silence = self._judge.silence(name, record, fix, silent_us)
            events += story.correct(record, doubted, [*found, *in_silence], stood)
            story.renumber(base)
            story.base, story.silent_us, judged_us = base, silent_us, silent_us
            story.said = {e.id: story.as_said(e) for e in in_silence}
            if row < hi or not in_silence:
                record, said = story.wake(record)
                judged_us = fix.time_us
        deadline_us = int(fleet.deadline_us[code])
        if prev is not None and (row > lo or (fleet.watch[code] and not record.watch)):
            deadline_us = self._judge.deadline_us(record, prev, judged_us, name)
        told = self._teller.tell(name, record, prev, c, (row, hi), deadline_us, story.marks, story.judged_us)
        if told.judged is not None:
            story.judged_us = told.judged.time_us
        events += story.count_on(record, told.events)
        self._books.keep(code, record, told.deadline_us)
        if self._plain.on:
            members = self._screen.sets.indexes(int(c.track.key[hi - 1]))
            self._books.take_in(code, members, int(c.track.time_us[hi - 1]))
        return events

    def _last_fix(self, code: int) -> Fix:
        f = self._books.fleet
        fences = self._screen.sets.fences_of(int(f.key[code]))
        place = float(f.lon[code]), float(f.lat[code]), float(f.speed_kmh[code])
        error_m = float(f.error_m[code])
        return Fix(int(f.time_us[code]), *place, fences, int(f.alarm[code]), error_m=error_m)

    def __repr__(self) -> str:
        books = self._books
        return f"Engine({len(books.fleet)} vehicles, {len(books.records)} of them with something open)"
