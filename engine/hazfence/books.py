"""The engine's books: all that it remembers, in one place.

You are in the core, below ``engine.py`` (fixes on time, silence) and ``late.py`` (fixes that come
late), which both keep these books. Columns for every vehicle (:class:`~hazfence.vehicles.Fleet`),
a record for those with something open, a story for those that were ever judged, and the recent
fixes. ``snapshot.py`` writes down what must outlive a restart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hazfence.news import Telling
from hazfence.recent import Recent, Track
from hazfence.stays import Stays
from hazfence.story import Story
from hazfence.vehicles import NEVER_US, Fleet, Record

__all__ = ["Books"]


class Books:
    """Fleet, records, stories and recent fixes of one engine.

    Attributes:
        fleet: the last fix of every vehicle, and what it waits for.
        records: what goes on with vehicles that are judged fix by fix, by vehicle code; those with
            nothing open have none.
        stories: how to tell a vehicle's story again, by vehicle code.
        recent: recent fixes of all vehicles.
        stays: the plain visits of the vehicles that are not set apart; see ``stays.py``.
        telling: tells those under the fences in force; given by the engine.
    """

    def __init__(self, recent_s: float) -> None:
        self.recent_us = round(recent_s * 1e6)
        self.fleet = Fleet()
        self.records: dict[int, Record] = {}
        self.stories: dict[int, Story] = {}
        self.recent = Recent(self._limit_us)
        self.stays = Stays(self._limit_us)
        self.telling: Telling | None = None
        self._forgotten_us = np.zeros(0, np.int64)

    def record(self, code: int) -> Record:
        """A vehicle's record, to be judged on; an empty one when nothing is open."""
        self.set_apart(code)
        return self.records.get(code) or Record()

    def story(self, code: int) -> Story:
        """A vehicle's story, to be told on; made when there is none."""
        self.set_apart(code)
        story = self.stories.get(code)
        if story is None:
            story = self.stories[code] = Story()
        return story

    def record_seen(self, code: int) -> Record:
        """A vehicle's record, to look at only."""
        if self.stays.apart(code):
            return self.records.get(code) or Record()
        assert self.telling is not None
        _, places = self.stays.expand(np.array([code], np.int32))
        return self.telling.record(self.stays.rows(places))

    def story_seen(self, code: int) -> Story | None:
        """A vehicle's story, to look at only; None when it was never judged."""
        story = self.stories.get(code)
        if self.stays.apart(code) or self.stays.judged_us(code) == NEVER_US:
            return story
        assert self.telling is not None
        _, places = self.stays.expand(np.array([code], np.int32))
        after_us = NEVER_US if story is None else story.plain_us
        marks = self.telling.marks(self.stays.rows(places), self.stays.log.of(code, after_us))
        judged_us = self.stays.judged_us(code)
        seen = Story() if story is None else story
        seen = replace(seen, marks=[*seen.marks, *marks], judged_us=judged_us)
        last_us = int(self.fleet.time_us[code])
        seen.trim(last_us, last_us - self.recent_us)
        return seen

    def codes_of_records(self) -> list[int]:
        """Codes of the vehicles that may have something open, ascending."""
        return sorted({*self.records, *self.stays.together()})

    def codes_of_stories(self) -> list[int]:
        """Codes of the vehicles that were ever judged, ascending."""
        return sorted({*self.stories, *self.stays.together()})

    def judged_after(
        self, codes: npt.NDArray[np.int32], time_us: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Of each vehicle, whether the known fix that follows the one of a moment was judged."""
        after_us = np.full(len(codes), NEVER_US, np.int64)
        found = np.zeros(len(codes), np.bool_)
        for i, (code, at_us) in enumerate(zip(codes.tolist(), time_us.tolist(), strict=True)):
            story = self.stories.get(code)
            if story is not None:
                after_us[i] = story.plain_us
                found[i] = story.judged_after(at_us)
        return found | self.stays.log.steps_from(codes, time_us, after_us)

    def set_apart(self, code: int) -> None:
        """See to it that a vehicle is judged fix by fix: it has a record and a story of its own."""
        if self.stays.apart(code):
            return
        story, record = self.story_seen(code), self.record_seen(code)
        if story is not None:
            # Never less than before: a late fix may have moved ``judged_us`` back meanwhile.
            story.plain_us = max(story.plain_us, story.judged_us)
            self.stories[code] = story
        if not record.idle:
            self.records[code] = record
        self.stays.set_apart(code)

    def set_all_apart(self) -> None:
        """The same for every vehicle, before the fences change under them."""
        for code in self.stays.together():
            self.set_apart(code)
        self.stays.log.clear()

    def take_in(self, code: int, key_members: list[int], last_us: int) -> None:
        """Let a vehicle's plain visits be kept in columns again, if there is nothing else to keep.

        Args:
            code: of a vehicle that is set apart.
            key_members: the fences (indexes) that cover its last fix.
            last_us: the time of that.
        """
        record, story = self.records.get(code) or Record(), self.stories.get(code)
        assert self.telling is not None
        if story is not None and story.base is not None:
            return
        rows = self.telling.rows(code, record, key_members)
        if rows is None:
            return
        if story is not None and story.corrections:
            said = {event.id for event in record.open.values()}
            # What begins from now on has another name than what was corrected before.
            if any(i in said or c.started_us >= last_us for i, c in story.corrections.items()):
                return
        self.records.pop(code, None)
        self.stays.take_in(code, NEVER_US if story is None else story.judged_us, rows)

    def keep(self, code: int, record: Record, deadline_us: int) -> None:
        """Put a vehicle's state back, with the moment at which it has to be looked at again."""
        fleet, story = self.fleet, self.story(code)
        if record.idle:
            self.records.pop(code, None)
        else:
            self.records[code] = record
        fleet.note(code, record, deadline_us)
        # What was said in silence must be compared at the next fix, whatever that fix is like.
        fleet.watch[code] |= story.base is not None
        last_us = int(fleet.time_us[code])
        story.trim(last_us, last_us - self.recent_us)

    def tidy(self) -> None:
        """Give up what is too old of every story, so that the books depend on the fixes alone."""
        for code, story in self.stories.items():
            last_us = int(self.fleet.time_us[code])
            story.trim(last_us, last_us - self.recent_us)

    def begin_memory(self) -> None:
        """Forget recent fixes and marks; each vehicle's last fix is where its memory begins."""
        fleet = self.fleet
        self.recent.clear()
        for story in self.stories.values():
            story.marks.clear()
        codes = np.flatnonzero(fleet.time_us[: len(fleet)] != NEVER_US).astype(np.int32)
        fleet.forgotten_us[codes] = fleet.time_us[codes]
        self.recent.add(codes, fleet.last_track(codes))

    def suspend_memory(self) -> None:
        """Begin the memory with each vehicle's last fix, until :meth:`resume_memory`."""
        fleet = self.fleet
        self._forgotten_us = fleet.forgotten_us[: len(fleet)].copy()
        codes = np.flatnonzero(fleet.time_us[: len(fleet)] != NEVER_US).astype(np.int32)
        fleet.forgotten_us[codes] = fleet.time_us[codes]
        self.recent.add(codes, fleet.last_track(codes))

    def resume_memory(self, codes: npt.NDArray[np.int32], fixes: Track) -> None:
        """Take the recent fixes back that a snapshot was without."""
        self.recent.clear()
        self.recent.add(codes, fixes)
        self.fleet.forgotten_us[: len(self._forgotten_us)] = self._forgotten_us

    def _limit_us(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        return self.fleet.time_us[codes] - self.recent_us
