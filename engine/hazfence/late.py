"""Fixes that come late: judged as if they had come in time, and what was said without them corrected.

You are in the core, called by ``engine.py`` for fixes that are not after their vehicle's last
one. Most late fixes change nothing (same fences as both neighbours, no thin fence touched, no
judgement between them); :meth:`Late.take_in` screens those in columns. For the rest the vehicle's
story is told again from a mark before the fix, twice: as it was known and as it is known now, and
``story.py`` says the difference. Of several fixes at one moment one stands, decided by their values
(``recent.rank``), so what stands in the end is a function of the set of fixes, not of their order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hazfence.books import Books
from hazfence.clean import Reason
from hazfence.events import Event
from hazfence.judge import Judge
from hazfence.presence import Fix
from hazfence.recent import Track, merge_tracks, rank
from hazfence.screen import Before, Screen, group_starts
from hazfence.story import Mark
from hazfence.tell import Teller, Told
from hazfence.vehicles import FOREVER_US, NEVER_US, Record

__all__ = ["Late"]


class Late:
    """Takes in late fixes under one set of fences and settings."""

    def __init__(self, books: Books, screen: Screen, judge: Judge, teller: Teller) -> None:
        self._books = books
        self._screen = screen
        self._judge = judge
        self._teller = teller

    def take_in(self, codes: npt.NDArray[np.int32], late: Track) -> tuple[npt.NDArray[np.uint8], list[Event]]:
        """Take in late fixes.

        Args:
            codes: engine's vehicle codes, sorted; within a vehicle in order of arrival.
            late: the fixes; ``key`` is computed here.

        Returns:
            a reason for each fix, and the revisions that follow.
        """
        late = late._replace(key=self._screen.locate(late.lon, late.lat))
        reason = np.zeros(len(codes), np.uint8)
        reason[late.time_us <= self._books.fleet.forgotten_us[codes]] = Reason.LATE
        harmless = self._harmless(codes, late, reason == 0)
        if harmless.any():
            self._books.recent.add(codes[harmless], late.cut(harmless))
        events: list[Event] = []
        rest = np.flatnonzero(~harmless & (reason == 0))
        if len(rest):
            starts = group_starts(codes[rest])
            for lo, hi in zip(starts.tolist(), [*starts[1:].tolist(), len(rest)], strict=True):
                of_one = rest[lo:hi]
                reason[of_one], told = self._take_in_one(int(codes[rest[lo]]), late.cut(of_one))
                events += told
        return reason, events

    def _harmless(
        self, codes: npt.NDArray[np.int32], late: Track, usable: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Which late fixes certainly change nothing; may miss some, never the other way round."""
        at = np.flatnonzero(usable)
        harmless = np.zeros(len(codes), np.bool_)
        if not len(at):
            return harmless
        before, after, alone = self._books.recent.neighbours(codes[at], late.time_us[at])
        fix = late.cut(at)
        fine = alone & (fix.key == before.key) & (fix.key == after.key)
        fine &= ~self._screen.too_fast(fix)
        fine &= ~self._screen.touches(before, fix) & ~self._screen.touches(fix, after)
        fine &= ~self._screen.stirs_between(before, fix, after)
        # Two late fixes between the same neighbours are each other's neighbours: leave them to the judge.
        pairs = np.stack((codes[at], before.time_us))
        _, inverse, counts = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
        fine &= counts[inverse.ravel()] == 1
        stories = self._books.stories
        for i in np.flatnonzero(fine).tolist():
            story = stories.get(int(codes[at[i]]))
            if story is not None and story.judged_after(int(before.time_us[i])):
                fine[i] = False
        harmless[at[fine]] = True
        return harmless

    def _take_in_one(self, code: int, late: Track) -> tuple[npt.NDArray[np.uint8], list[Event]]:
        """Take in late fixes of one vehicle, in the order of arrival."""
        reason = np.zeros(len(late.time_us), np.uint8)
        known = self._books.recent.of(code, int(self._books.fleet.forgotten_us[code]))
        news = _not_known(known, late, reason)
        news = news[np.argsort(late.time_us[news], kind="stable")]
        start = None
        while len(news) and (start := self._start(code, int(late.time_us[news[0]]), known)) is None:
            reason[news[0]] = Reason.LATE
            news = news[1:]
        if start is None:
            return reason, []
        fixes = late.cut(news)
        self._books.recent.add(np.full(len(news), code, np.int32), fixes)
        known = known.cut(known.time_us > start.time_us)
        merged = merge_tracks(known, fixes)
        return reason, self._tell_again(code, start, known, merged, int(fixes.time_us[-1]))

    def _start(self, code: int, time_us: int, known: Track) -> Mark | None:
        """The state before a moment from which the story can be told again; None when none is left."""
        story, since_us = self._books.story(code), int(self._books.fleet.forgotten_us[code])
        at = int(np.searchsorted(known.time_us, time_us)) - 1
        if at >= 0:
            fix = self._teller.fix_of(known, at)
            state = story.state_at(fix.time_us, self._books.record(code))
            if state is not None:
                return Mark(fix, state[0].copy(), state[1])
        elif since_us == NEVER_US:
            return Mark(None, Record(), NEVER_US)
        return story.mark_before(time_us, since_us)

    def _tell_again(self, code: int, start: Mark, known: Track, merged: Track, news_us: int) -> list[Event]:
        """Tell a story from a mark, as it was known and as it is known now; say the difference.

        Both are told only until they agree: the same state after the same fix has the same future.

        Args:
            start: where to begin.
            known, merged: the fixes after it without and with the late ones.
            news_us: time of the last late one.
        """
        story, stood = self._books.story(code), tuple(start.record.open.values())
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

    def _walk(self, code: int, start: Mark, record: Record, track: Track, marks: list[Mark] | None) -> Told:
        """Walk a stretch of one vehicle's remembered fixes from a mark, changing ``record``."""
        prev = start.prev
        name = self._books.fleet.names[code]
        due_us = FOREVER_US if prev is None else self._judge.deadline_us(record, prev, prev.time_us, name)
        if not len(track.time_us):
            return Told([], None, due_us)
        codes = np.full(len(track.time_us), code, np.int32)
        c = self._screen.look(codes, track, Before.of(prev, record, due_us), located=True)
        return self._teller.tell(name, record, prev, c, (0, len(codes)), due_us, marks, start.since_us)


def _not_known(known: Track, late: Track, reason: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """Those of the late fixes that change what is known; the others get their reason."""
    stands: dict[int, tuple[float, ...]] = {}
    news: list[int] = []
    for i, time_us in enumerate(late.time_us.tolist()):
        fix = rank(late, i)
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
