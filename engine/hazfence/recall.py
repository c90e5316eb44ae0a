"""History: what is asked back of the host for fixes that come hours late, and what is handed to it.

You are in the core, below ``engine.py``. A fix older than memory finds neither its neighbours nor a
state to tell from. :meth:`Recall.ask` notices it before anything has changed; the host answers from
its table of fixes, and :meth:`Recall.take` puts the answer where recent fixes and marks lie. From
there on ``late.py`` does what it always does: a vehicle whose history is *held* is one with a longer
memory. It stays held until room is needed; nothing that is said depends on whether it is.

In return :meth:`Recall.news` hands out milestones, about one an hour and vehicle: states that memory is
about to give up, and those that a late fix has changed. Any of them will do to tell a story from, so
what is said does not depend on when they were made.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hazfence.books import LONG_AGO_US, Books, Held
from hazfence.columns import track_of
from hazfence.history import History, Milestone, MilestoneNews, Missing, NeedsHistory, thinned
from hazfence.screen import Screen
from hazfence.snapshot import pack_mark, unpack_mark
from hazfence.story import Mark
from hazfence.track import Track, merge_tracks
from hazfence.vehicles import FOREVER_US, NEVER_US, Record
from hazfence_fences import FenceSet

__all__ = ["HELD_FIXES", "MILESTONE_US", "Recall"]

#: A vehicle gets a milestone about once in this time.
MILESTONE_US = 3_600_000_000
_BEGINNING = Mark(None, Record(), NEVER_US)
#: Every vehicle has that one, and at the start they all come in one moment.
_PACKED_BEGINNING = pack_mark(_BEGINNING)

#: Fixes of held histories at most (about 50 bytes each), beyond what one batch needs.
HELD_FIXES = 300_000
#: Vehicles asked for at once.
VEHICLES_AT_ONCE = 32


class Recall:
    """Asks for history and takes it, under one set of fences."""

    def __init__(self, books: Books, screen: Screen, fences: FenceSet, settle_m: float) -> None:
        self._books = books
        self._screen = screen
        self._fences = fences
        self._settle_m = settle_m
        self._asked: dict[int, Missing] = {}
        self._wanted: set[int] = set()

    def ask(
        self,
        codes: npt.NDArray[np.int32],
        time_us: npt.NDArray[np.int64],
        newest_us: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        length: int,
    ) -> None:
        """Look for fixes that cannot be judged without more history.

        Args:
            codes: engine's vehicle codes of the fixes of a batch.
            time_us: their times.
            newest_us: for each, the latest moment its vehicle was seen before it arrived.
            rows: their places in the batch.
            length: of the batch.

        Raises:
            NeedsHistory: there are some.
        """
        books = self._books
        late_us = newest_us - time_us
        # newest_us is the least int64 for a vehicle never seen: the difference then wraps around.
        far = (newest_us >= time_us) & (late_us >= books.recent_us) & (late_us < books.recall_us)
        far &= time_us >= books.fleet.forgotten_us[codes]
        if not far.any():
            return
        self._wanted = set(np.unique(codes[far]).tolist())
        far &= time_us < books.held_from_us(codes)
        at = np.flatnonzero(far)
        if not len(at):
            return
        at = at[np.argsort(rows[at], kind="stable")]
        wanted: dict[int, int] = {}
        found = (codes[at].tolist(), time_us[at].tolist(), rows[at].tolist())
        for code, moment_us, row in zip(*found, strict=True):
            if code not in wanted and len(wanted) == VEHICLES_AT_ONCE:
                length = row
                break
            wanted[code] = min(moment_us, wanted.get(code, moment_us))
        self._asked = {code: self._missing(code, moment_us) for code, moment_us in wanted.items()}
        raise NeedsHistory(tuple(self._asked.values()), length)

    def take(self, history: History) -> None:
        """Hold the history of the vehicles last asked for."""
        books = self._books
        self._make_room()
        stones: dict[str, list[Milestone]] = {}
        for stone in history.stones:
            stones.setdefault(stone.vehicle, []).append(stone)
        codes, track = self._located(history)
        for code, missing in self._asked.items():
            lo, hi = np.searchsorted(codes, (code, code + 1))
            fixes = merge_tracks(track.cut(slice(lo, hi)), books.recent.of(code))
            # Before it is held, so that what memory merges now is kept from this moment on.
            first_us = int(fixes.time_us[0]) if len(fixes.time_us) else missing.time_us
            kept_us = min(first_us, missing.time_us - 1)
            books.held[code] = Held(missing.time_us, kept_us, len(fixes.time_us))
            books.recent.replace(code, fixes)
            self._lay_stones(code, missing, stones.get(missing.vehicle, []))
        self._asked = {}

    def news(self, most: int) -> Iterator[list[MilestoneNews]]:
        """Milestones that the host does not have yet; it is expected to keep them before anything else.

        A vehicle gets one when the last one looked for is an hour old: the state before the last
        judgement that is so old that no late fix reaches it without history.

        Args:
            most: vehicles looked at in one step, of which there are as many as are needed; at the start
                every vehicle is looked at. Between them the books must stay as they are.

        Yields:
            what was found in a step, which may be nothing.
        """
        books, fleet = self._books, self._books.fleet
        if not books.recall_us:
            return
        limit_us = fleet.time_us[: len(fleet)] - books.recent_us
        more = len(fleet) - len(books.filed_us)
        books.filed_us = np.append(books.filed_us, np.full(more, NEVER_US, np.int64))
        # The same as ``books.begins``, of all at once: at the start they all come in one moment.
        begin = (books.filed_us == NEVER_US) & (fleet.first_us[: len(fleet)] != FOREVER_US)
        for code in np.flatnonzero(begin).tolist():
            self._replace_stones(code, NEVER_US, [_BEGINNING])
        np.maximum(books.filed_us, LONG_AGO_US, out=books.filed_us)
        due = (fleet.time_us[: len(fleet)] != NEVER_US) & (limit_us - books.filed_us >= MILESTONE_US)
        books.filed_us[due] = limit_us[due]
        first_us = fleet.first_us[: len(fleet)]
        due &= (first_us < limit_us) | (first_us == FOREVER_US)  # nothing was judged before the first fix
        told = set(books.codes_of_stories())  # most vehicles were never judged, and have no mark to give
        for step in _steps([code for code in np.flatnonzero(due).tolist() if code in told], most):
            for code in step:
                story = None if code in books.held else books.story_seen(code)
                mark = None if story is None else story.mark_before(int(limit_us[code]) - 1)
                if mark is not None:
                    self._replace_stones(code, mark.time_us, [mark])
            yield []
        for code in books.held:
            self._file_held(code)
        changed, books.stones = books.stones, {}
        for step in _steps(list(changed), most):
            yield [self._packed(code, *changed[code]) for code in step]

    def _packed(self, code: int, from_us: int, marks: list[Mark]) -> MilestoneNews:
        """What has changed of a vehicle's milestones, as the host keeps it."""
        fleet = self._books.fleet
        name, needed_us = fleet.names[code], int(fleet.time_us[code]) - self._books.recall_us
        stones = tuple([Milestone(name, m.time_us, m.since_us, _state(m)) for m in marks])
        return MilestoneNews(name, from_us, needed_us, stones)

    def _file_held(self, code: int) -> None:
        """Note which milestones of a vehicle whose history is held the host does not have yet."""
        books, held = self._books, self._books.held[code]
        story, limit_us = books.story_seen(code), int(books.fleet.time_us[code]) - books.recent_us
        old = [] if story is None else [mark for mark in story.marks if mark.time_us < limit_us]
        stones = [old[i] for i in thinned([mark.time_us for mark in old], MILESTONE_US)]
        same = len(stones) == len(held.filed) and all(a is b for a, b in zip(stones, held.filed, strict=True))
        if stones and not same:
            held.filed = stones
            self._replace_stones(code, stones[0].time_us, stones)

    def _release(self, code: int) -> None:
        self._file_held(code)
        self._books.release(code)

    def _replace_stones(self, code: int, from_us: int, stones: list[Mark]) -> None:
        before_us, before = self._books.stones.get(code, (from_us, []))
        kept = [mark for mark in before if mark.time_us < from_us]
        self._books.stones[code] = (min(before_us, from_us), [*kept, *stones])

    def _missing(self, code: int, time_us: int) -> Missing:
        books = self._books
        if code in books.held:  # not from as far back as is wanted now
            self._release(code)
        last_us = int(books.fleet.time_us[code])
        story = books.story_seen(code)
        settled = story is None or time_us > story.judged_us
        valid_us = books.stones[code][0] if code in books.stones else last_us + 1
        return Missing(books.fleet.names[code], time_us, valid_us, max(last_us, time_us), settled)

    def _make_room(self) -> None:
        """Let go of the histories used longest ago, but of none that the batch at hand needs."""
        books = self._books
        total = sum(held.fixes for held in books.held.values())
        for code in list(books.held):
            if code in self._wanted:
                books.held[code] = books.held.pop(code)  # used last
            elif total > HELD_FIXES:
                total -= books.held[code].fixes
                self._release(code)

    def _located(self, history: History) -> tuple[npt.NDArray[np.int32], Track]:
        """The fixes of a history as columns sorted by vehicle."""
        fixes = history.fixes
        known = [self._books.fleet.code(v) for v in fixes.vehicles]
        codes = np.array([-1 if c is None else c for c in known], np.int32)[fixes.vehicle]
        order = np.argsort(codes, kind="stable")
        fixes, codes = fixes.take(order), codes[order]
        track = track_of(fixes, None, self._settle_m)
        if len(fixes):
            track = track._replace(key=self._screen.locate(fixes.lon, fixes.lat))
        return codes, track

    def _lay_stones(self, code: int, missing: Missing, stones: list[Milestone]) -> None:
        """Put milestones before the marks that memory has."""
        books, story = self._books, self._books.story(code)
        if missing.settled:
            return
        marks = [
            unpack_mark(stone.state, stone.since_us, self._fences)
            for stone in stones
            if stone.time_us < missing.valid_us
        ]
        if books.begins(code):
            marks.append(_BEGINNING)
        marks += books.stones[code][1] if code in books.stones else []
        first_us = story.marks[0].time_us if story.marks else story.judged_us
        # Those from before the memory began were told under other fences.
        forgotten_us = int(books.fleet.forgotten_us[code])
        marks = [mark for mark in marks if forgotten_us <= mark.time_us < first_us]
        marks.sort(key=lambda mark: mark.time_us)
        story.marks[:0] = marks
        books.held[code].filed = list(marks)


def _steps(codes: list[int], most: int) -> Iterator[list[int]]:
    """The codes, at most so many at once."""
    for start in range(0, len(codes), most):
        yield codes[start : start + most]


def _state(mark: Mark) -> bytes:
    return _PACKED_BEGINNING if mark is _BEGINNING else pack_mark(mark)
