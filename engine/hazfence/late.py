"""Fixes that come late: judged as if they had come in time, and what was said without them corrected.

You are in the core, called by ``engine.py`` for fixes that are not after their vehicle's last
one. Most late fixes change nothing (same fences as both neighbours, no thin fence touched, no
judgement between them); :meth:`Late.look` screens those in columns. For each of the rest the
vehicle's story is told again from a state before the fix, twice: as it was known and as it is known
now, and ``story.py`` says the difference. Of several fixes at one moment one stands, decided by their values
(``recent.rank``), so what stands in the end is a function of the set of fixes, not of their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hazfence.books import Books
from hazfence.clean import Reason
from hazfence.columns import Before, track_of
from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.judge import Judge
from hazfence.news import Batch, News
from hazfence.presence import Fix
from hazfence.recall import Recall
from hazfence.screen import Screen
from hazfence.story import Mark
from hazfence.tell import Teller
from hazfence.track import Track, rank
from hazfence.turns import Turns, in_turns
from hazfence.vehicles import FOREVER_US, NEVER_US, Record

__all__ = ["Late"]

_Ints = npt.NDArray[np.int64]
_OnTime = Callable[[npt.NDArray[np.int32], Track, tuple[_Ints, _Ints], Before, bool], Batch]

#: So many fixes after a late one are looked at first: most stories agree again by then.
_ENOUGH = 40


class Late:
    """Takes in late fixes under one set of fences and settings.

    Args:
        books: what is remembered, and kept up here.
        screen, judge, teller, recall: those of the engine.
        settle_m: as in ``EngineSettings``.
        plain: whether vehicles may be kept in columns (``plain.py``).
    """

    def __init__(
        self,
        books: Books,
        screen: Screen,
        judge: Judge,
        teller: Teller,
        recall: Recall,
        *,
        settle_m: float,
        plain: bool,
    ) -> None:
        self._books = books
        self._screen = screen
        self._judge = judge
        self._teller = teller
        self._recall = recall
        self._settle_m = settle_m
        self._plain = plain

    def take_all(
        self,
        batch: FixBatch,
        rows: _Ints | None,
        turns: Turns,
        reason: npt.NDArray[np.uint8],
        news: News,
        on_time: _OnTime,
    ) -> None:
        """Take in fixes some of which are late, each in its turn.

        Args:
            batch: has them, in ``rows`` (None: all).
            turns: which of them are late.
            reason: of each row of the batch, filled in for those that are.
            news: takes what follows.
            on_time: takes those in that are not: vehicle codes, fixes, groups, what was before, and whether
                they are located.

        Raises:
            NeedsHistory: one is too late for the memory; nothing has changed.
        """
        books, timely, late = self._books, turns.on_time, turns.late
        if rows is None:
            key = self._screen.keys(batch.lon, batch.lat)
        else:
            key = np.zeros(len(batch), np.uint64)
            key[rows] = self._screen.keys(batch.lon[rows], batch.lat[rows])
            timely, late = rows[timely], rows[late]
        codes = turns.late_codes
        track = track_of(batch, late, self._settle_m)._replace(key=key[late])
        if books.recall_us:
            self._recall.ask(codes, track.time_us, turns.newest_us, late, len(batch))
        reason[late], in_turn = self.look(codes, track, turns.newest_us)
        for here, lone in in_turns(turns, in_turn):
            own, at = turns.codes[here], timely[here]
            if len(own):
                groups = self._screen.groups(own)
                before = Before(books.fleet, own[groups[0]], books.stays)
                # Mostly the late ones come behind all others: then these need not be picked one by one.
                together = int(at[-1]) - int(at[0]) + 1 == len(at) and bool((at[1:] > at[:-1]).all())
                which = slice(int(at[0]), int(at[-1]) + 1) if together else at
                some = track_of(batch, which, self._settle_m)._replace(key=key[which])
                news.add(on_time(own, some, groups, before, True))
            if len(lone):
                newest_us = turns.newest_us[lone]
                reason[late[lone]], told = self.take_in(codes[lone], track.cut(lone), newest_us)
                news.add(told)

    def look(
        self, codes: npt.NDArray[np.int32], track: Track, newest_us: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Look at late fixes; take in those that certainly change nothing.

        Args:
            codes: engine's vehicle codes, sorted; within a vehicle in order of arrival.
            track: the fixes, with ``key``.
            newest_us: for each, the latest moment its vehicle was seen before it arrived.

        Returns:
            a reason for each fix, and bool, shape (n,): those of vehicles with one that may change
            something, which have to be taken in one after the other.
        """
        reason = np.zeros(len(codes), np.uint8)
        reason[self._too_late(codes, track.time_us, newest_us)] = Reason.LATE
        at = (reason == 0).nonzero()[0]
        if not len(at):
            return reason, np.zeros(len(codes), np.bool_)
        fixes, own = (track, codes) if len(at) == len(codes) else (track.cut(at), codes[at])
        self._screen.sets.meet(fixes.key, fixes.lon, fixes.lat)
        known, harmless = self._harmless(own, fixes)
        disordered = np.zeros(int(own[-1]) + 1, np.bool_)
        disordered[own[~known & ~harmless]] = True
        mine = disordered[own]
        reason[at[known & ~mine]] = Reason.DUPLICATE
        plain = harmless & ~mine
        self._books.recent.add(own[plain], fixes.cut(plain))
        in_turn = np.zeros(len(codes), np.bool_)
        in_turn[at] = mine
        return reason, in_turn

    def _too_late(
        self,
        codes: npt.NDArray[np.int32],
        time_us: npt.NDArray[np.int64],
        newest_us: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.bool_]:
        """Late by more than memory or the history held reaches, or from before the memory began."""
        books = self._books
        limit_us: int | npt.NDArray[np.int64] = books.recent_us
        if books.held:
            held = time_us >= books.held_from_us(codes)
            limit_us = np.where(held, max(books.recall_us, books.recent_us), limit_us)
        too_late = newest_us - time_us >= limit_us
        return np.asarray(too_late | (time_us < books.fleet.forgotten_us[codes]))

    def _harmless(
        self, codes: npt.NDArray[np.int32], fixes: Track
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which late fixes are known already, and which certainly change nothing.

        May miss some, never the other way round.
        """
        near = self._books.recent.neighbours(codes, fixes)
        fine = near.between & (fixes.key == near.before.key) & (fixes.key == near.after.key)
        fine &= ~self._screen.too_fast(fixes)
        fine &= ~self._screen.lies_beside(fixes)
        fine &= ~self._screen.touches_between(near.before, fixes, near.after)
        fine &= ~self._screen.stirs_between(near.before, fixes, near.after)
        # Two late fixes between the same neighbours are each other's neighbours: leave them to the judge.
        at = np.flatnonzero(fine)
        if (codes[at[1:]] == codes[at[:-1]]).any():
            there = at[np.lexsort((near.before.time_us[at], codes[at]))]
            same = (codes[there[1:]] == codes[there[:-1]]) & (
                near.before.time_us[there[1:]] == near.before.time_us[there[:-1]]
            )
            fine[there[1:][same]] = fine[there[:-1][same]] = False
            at = np.flatnonzero(fine)
        fine[at] = ~self._books.judged_after(codes[at], near.before.time_us[at])
        inside = np.flatnonzero(fine)
        inside = inside[self._screen.well_inside(fixes.cut(inside))]
        if len(inside):  # it may make certain what was not
            fine[inside] = ~self._books.ever_unsure(codes[inside])
        return near.known, fine

    def take_in(
        self, codes: npt.NDArray[np.int32], fixes: Track, newest_us: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], list[Event]]:
        """Take in late fixes that may change something, one a vehicle.

        Args:
            codes: engine's codes of their vehicles, ascending.
            fixes: the fixes, with ``key``; :meth:`look` has met their sets.
            newest_us: for each, the latest moment its vehicle was seen before it arrived.

        Returns:
            a reason for each fix, and what has to be said, vehicle by vehicle.
        """
        books = self._books
        reason = np.where(self._too_late(codes, fixes.time_us, newest_us), Reason.LATE, Reason.OK)
        reason = reason.astype(np.uint8)
        taken: list[tuple[int, Mark, Track, bool]] = []
        at = np.flatnonzero(reason == 0)
        moments = fixes.time_us[at]
        stories = books.recent.around(codes[at], moments, _ENOUGH)
        for i, code, time_us, (known, whole) in zip(
            at.tolist(), codes[at].tolist(), moments.tolist(), stories, strict=True
        ):
            if code in books.held:  # it may begin farther back
                known, whole = books.recent.of(code), True
            place = int(np.searchsorted(known.time_us, time_us))
            if place < len(known.time_us) and known.time_us[place] == time_us:
                ours, theirs = rank(fixes, i), rank(known, place)
                if ours <= theirs:
                    reason[i] = Reason.DUPLICATE if ours == theirs else Reason.SAME_TIME
                    continue
            start = self._start(code, known, place - 1)
            if start is None:
                reason[i] = Reason.LATE
                continue
            books.fleet.first_us[code] = min(time_us, int(books.fleet.first_us[code]))
            begin = int(np.searchsorted(known.time_us, start.time_us, side="right"))
            taken.append((i, start, known.cut(slice(begin, None)), whole))
        accepted = np.array([i for i, *_ in taken], np.intp)
        books.recent.add(codes[accepted], fixes.cut(accepted))
        events: list[Event] = []
        for i, start, known, whole in taken:
            code = int(codes[i])
            events += self._tell_again(code, start, known, whole, fixes.cut(slice(i, i + 1)))
            if self._plain:
                # Most go on as before: what comes next of them need not be judged one by one.
                members = self._screen.sets.indexes(int(books.fleet.key[code]))
                books.take_in(code, members, int(books.fleet.time_us[code]))
        return reason, events

    def _start(self, code: int, known: Track, at: int) -> Mark | None:
        """The state after the known fix at ``at`` (-1: before the first); None when it is lost."""
        books, story = self._books, self._books.story(code)
        if at < 0:
            # Recalled history must be seen to begin where the vehicle's fixes began.
            whole = code not in books.held or int(known.time_us[0]) == books.fleet.first_us[code]
            if not whole or books.fleet.forgotten_us[code] != NEVER_US:
                return None
            return Mark(None, Record(), NEVER_US)
        fix = self._teller.fix_of(known, at)
        state = story.state_at(fix.time_us, books.record(code))
        if state is not None:
            return Mark(fix, state[0].copy(), state[1])
        # Milestones are few: in recalled history the way to the fix begins at the last one before it.
        mark = story.mark_before(fix.time_us) if code in books.held else None
        return None if mark is None else Mark(mark.prev, mark.record.copy(), mark.since_us)

    def _tell_again(self, code: int, start: Mark, known: Track, all_known: bool, late: Track) -> list[Event]:
        """Tell a story from a mark, as it was known and as it is known now; say the difference.

        Both are told only until they agree: the same state after the same fix has the same future.

        Args:
            start: where to begin.
            known: the fixes after it without the late one; at least ``_ENOUGH`` of them are after that, or
                ``all_known`` says that there are no more.
            late: the late fix.
        """
        story, stood = self._books.story(code), tuple(start.record.open.values())
        merged, news_us = _with(known, late), int(late.time_us[0])
        reach, marks = 4, list[Mark]()
        due_us = self._due_us(code, start)
        told, found = (_Way(start.record.copy(), start.prev, due_us, start.since_us) for _ in range(2))
        begin_us = start.time_us
        while True:
            end = int(merged.time_us.searchsorted(news_us, side="right")) + reach
            if end >= len(merged.time_us) and not all_known:
                # The late one is remembered by now, and another of its moment that it replaces.
                merged = self._books.recent.of(code)
                merged = merged.cut(merged.time_us > start.time_us)
                later = merged.cut(merged.time_us > news_us)
                known = Track.join([known.cut(known.time_us <= news_us), later])
                all_known = True
            whole = end >= len(merged.time_us)
            end_us = int(merged.time_us[min(end, len(merged.time_us)) - 1])
            self._walk(
                code,
                ((told, _stretch(known, begin_us, end_us)), (found, _stretch(merged, begin_us, end_us))),
                marks,
            )
            if whole or told.record == found.record:
                break
            begin_us, reach = end_us, reach * 8
        story.replace_marks(start, marks, found.since_us, None if whole else end_us)
        if whole:
            last = self._teller.fix_of(merged, len(merged.time_us) - 1)
            self._books.fleet.move(np.array([code], np.int32), merged.cut(slice(-1, None)))
            return self._settle(code, last, told, found, stood)
        news = story.correct(self._books.record(code), told.events, found.events, stood)
        if story.base is not None:
            story.renumber(story.base)
        return news

    def _settle(self, code: int, last: Fix, told: _Way, found: _Way, stood: tuple[Event, ...]) -> list[Event]:
        """Finish a story told again up to its last fix: what was said in silence is judged again too."""
        story = self._books.story(code)
        if story.silent_us is None:
            news = story.correct(found.record, told.events, found.events, stood)
            self._books.keep(code, found.record, found.deadline_us)
            return news
        base, record = found.record, found.record.copy()
        name = self._books.fleet.names[code]
        in_silence = self._judge.silence(name, record, last, story.silent_us)
        said = tuple(story.said.values())
        news = story.correct(record, [*told.events, *said], [*found.events, *in_silence], stood)
        story.renumber(base)
        # Only what silence still says may be taken back by the next fix; the rest is settled.
        story.base, story.said = base, {e.id: story.as_said(e) for e in in_silence}
        self._books.keep(code, record, self._judge.deadline_us(record, last, story.silent_us, name))
        return news

    def _due_us(self, code: int, start: Mark) -> int:
        """Up to which moment silence is harmless after a mark."""
        if start.prev is None:
            return FOREVER_US
        name = self._books.fleet.names[code]
        return self._judge.deadline_us(start.record, start.prev, start.prev.time_us, name)

    def _walk(self, code: int, ways: tuple[tuple[_Way, Track], ...], marks: list[Mark]) -> None:
        """Go on with two tellings of one vehicle's story, each by a stretch of fixes.

        ``marks`` takes those of the second one. Both are looked at together: that is half the work.
        """
        some = [i for i, (_, fixes) in enumerate(ways) if len(fixes.time_us)]
        if not some:
            return
        codes = np.repeat(np.array(some, np.int32), [len(ways[i][1].time_us) for i in some])
        before = Before.of([(ways[i][0].prev, ways[i][0].record, ways[i][0].deadline_us) for i in some])
        c = self._screen.look(codes, Track.join([ways[i][1] for i in some]), before, located=True)
        name = self._books.fleet.names[code]
        for i, lo, hi in zip(some, c.starts.tolist(), c.ends.tolist(), strict=True):
            way, kept = ways[i][0], marks if i else None
            told = self._teller.tell(
                name, way.record, way.prev, c, (lo, hi), way.deadline_us, kept, way.since_us
            )
            way.events += told.events
            way.deadline_us = told.deadline_us
            if told.judged is not None:
                way.since_us = told.judged.time_us
            way.prev = self._teller.fix_of(c.track, hi - 1)


@dataclass(slots=True)
class _Way:
    """One of the two tellings of a story, as far as it has come.

    Attributes:
        record: the state after ``prev``.
        prev: the last fix on the way.
        deadline_us: up to which moment silence is harmless.
        since_us: since when the state has been as it is.
        events: what was told.
    """

    record: Record
    prev: Fix | None
    deadline_us: int
    since_us: int
    events: list[Event] = field(default_factory=list)


def _stretch(fixes: Track, after_us: int, until_us: int) -> Track:
    """Those fixes of one vehicle, in order, after one moment and up to another."""
    begin, end = fixes.time_us.searchsorted((after_us, until_us), side="right").tolist()
    return fixes.cut(slice(begin, end))


def _with(known: Track, late: Track) -> Track:
    """One vehicle's fixes, in order and one a moment, with one more that stands at its moment."""
    place = int(np.searchsorted(known.time_us, late.time_us[0]))
    after = place
    if after < len(known.time_us) and known.time_us[after] == late.time_us[0]:
        after += 1
    return Track.join([known.cut(slice(None, place)), late, known.cut(slice(after, None))])
