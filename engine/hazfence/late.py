"""Fixes that come late: judged as if they had come in time, and what was said without them corrected.

You are in the core, called by ``engine.py`` for fixes that are not after their vehicle's last
one. Most late fixes change nothing (same fences as both neighbours, no thin fence touched, no
judgement between them); :meth:`Late.look` screens those in columns. For each of the rest the
vehicle's story is told again from a state before the fix, twice: as it was known and as it is known
now, and ``story.py`` says the difference. Of several fixes at one moment one stands, decided by their values
(``recent.rank``), so what stands in the end is a function of the set of fixes, not of their order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hazfence.books import Books
from hazfence.clean import Reason
from hazfence.columns import Before
from hazfence.events import Event
from hazfence.judge import Judge
from hazfence.presence import Fix
from hazfence.screen import Screen
from hazfence.story import Mark
from hazfence.tell import Teller, Told
from hazfence.track import Track, rank
from hazfence.vehicles import FOREVER_US, NEVER_US, Record

__all__ = ["Late"]

#: So many fixes after a late one are looked at first: most stories agree again by then.
_ENOUGH = 40


class Late:
    """Takes in late fixes under one set of fences and settings.

    Args:
        books: what is remembered, and kept up here.
        screen, judge, teller: those of the engine.
        plain: whether vehicles may be kept in columns (``plain.py``).
    """

    def __init__(self, books: Books, screen: Screen, judge: Judge, teller: Teller, *, plain: bool) -> None:
        self._books = books
        self._screen = screen
        self._judge = judge
        self._teller = teller
        self._plain = plain

    def look(
        self, codes: npt.NDArray[np.int32], track: Track, newest_us: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Look at fixes some of which are late; take in those that certainly change nothing.

        Args:
            codes: engine's vehicle codes, sorted; within a vehicle in order of arrival.
            track: the fixes, with ``key``.
            newest_us: for each, the latest moment its vehicle was seen before it arrived.

        Returns:
            a reason for each fix, and bool, shape (n,): fixes of vehicles with a late fix that may
            change something, which have to be taken in one after the other.
        """
        reason = np.zeros(len(codes), np.uint8)
        late = track.time_us <= newest_us
        reason[late & self._too_late(codes, track.time_us, newest_us)] = Reason.LATE
        at = np.flatnonzero(late & (reason == 0))
        if not len(at):
            return reason, np.zeros(len(codes), np.bool_)
        fixes = track.cut(at)
        self._screen.sets.meet(fixes.key, fixes.lon, fixes.lat)
        known, harmless = self._harmless(codes[at], fixes)
        disordered = np.zeros(int(codes[-1]) + 1, np.bool_)
        disordered[codes[at[~known & ~harmless]]] = True
        in_turn = disordered[codes] & (reason == 0)
        reason[at[known & ~in_turn[at]]] = Reason.DUPLICATE
        plain = harmless & ~in_turn[at]
        self._books.recent.add(codes[at[plain]], fixes.cut(plain))
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
        reach = 4
        while True:
            end = int(np.searchsorted(merged.time_us, news_us, side="right")) + reach
            if end >= len(merged.time_us) and not all_known:
                # The late one is remembered by now, and another of its moment that it replaces.
                merged = self._books.recent.of(code)
                merged = merged.cut(merged.time_us > start.time_us)
                later = merged.cut(merged.time_us > news_us)
                known = Track.join([known.cut(known.time_us <= news_us), later])
                all_known = True
            whole = end >= len(merged.time_us)
            end_us = int(merged.time_us[min(end, len(merged.time_us)) - 1])
            before, after = start.record.copy(), start.record.copy()
            marks: list[Mark] = []
            ways = known.cut(known.time_us <= end_us), merged.cut(merged.time_us <= end_us)
            told, found = self._walk(code, start, ways, (before, after), marks)
            if whole or before == after:
                break
            reach *= 8
        since_us = start.since_us if found.judged is None else found.judged.time_us
        story.replace_marks(start, marks, since_us, None if whole else end_us)
        if whole:
            last = self._teller.fix_of(merged, len(merged.time_us) - 1)
            self._books.fleet.move(np.array([code], np.int32), merged.cut(slice(-1, None)))
            return self._settle(code, last, after, told.events, found, stood)
        news = story.correct(self._books.record(code), told.events, found.events, stood)
        if story.base is not None:
            story.renumber(story.base)
        return news

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
        story = self._books.story(code)
        if story.silent_us is None:
            news = story.correct(record, told, found.events, stood)
            self._books.keep(code, record, found.deadline_us)
            return news
        base, record = record, record.copy()
        name = self._books.fleet.names[code]
        in_silence = self._judge.silence(name, record, last, story.silent_us)
        said = tuple(story.said.values())
        news = story.correct(record, [*told, *said], [*found.events, *in_silence], stood)
        story.renumber(base)
        # Only what silence still says may be taken back by the next fix; the rest is settled.
        story.base, story.said = base, {e.id: story.as_said(e) for e in in_silence}
        self._books.keep(code, record, self._judge.deadline_us(record, last, story.silent_us, name))
        return news

    def _walk(
        self,
        code: int,
        start: Mark,
        ways: tuple[Track, Track],
        records: tuple[Record, Record],
        marks: list[Mark],
    ) -> tuple[Told, Told]:
        """Walk two tellings of a stretch of one vehicle's fixes from a mark, changing their records.

        ``marks`` takes those of the second one. Both are looked at together: that is half the work.
        """
        prev, name = start.prev, self._books.fleet.names[code]
        record = records[0]
        due_us = FOREVER_US if prev is None else self._judge.deadline_us(record, prev, prev.time_us, name)
        some = [i for i, way in enumerate(ways) if len(way.time_us)]
        told = [Told([], None, due_us), Told([], None, due_us)]
        if some:
            codes = np.repeat(np.array(some, np.int32), [len(ways[i].time_us) for i in some])
            before = Before.of(prev, record, due_us, len(some))
            c = self._screen.look(codes, Track.join([ways[i] for i in some]), before, located=True)
            for i, lo, hi in zip(some, c.starts.tolist(), c.ends.tolist(), strict=True):
                kept = marks if i else None
                told[i] = self._teller.tell(name, records[i], prev, c, (lo, hi), due_us, kept, start.since_us)
        return told[0], told[1]


def _with(known: Track, late: Track) -> Track:
    """One vehicle's fixes, in order and one a moment, with one more that stands at its moment."""
    place = int(np.searchsorted(known.time_us, late.time_us[0]))
    after = place
    if after < len(known.time_us) and known.time_us[after] == late.time_us[0]:
        after += 1
    return Track.join([known.cut(slice(None, place)), late, known.cut(slice(after, None))])
