"""The engine's books: all that it remembers, in one place.

You are in the core, below ``engine.py`` (fixes on time, silence) and ``late.py`` (fixes that come
late), which both keep these books. Columns for every vehicle (:class:`~hazfence.vehicles.Fleet`),
a record for those with something open, a story for those that were ever judged, and the recent
fixes. ``snapshot.py`` writes down what must outlive a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from hazfence.arrivals import KeysOf
from hazfence.drafts import Drafts
from hazfence.judged import Taken
from hazfence.news import Telling
from hazfence.notes import Notes
from hazfence.presence import Fix
from hazfence.recent import Recent
from hazfence.states import unassured
from hazfence.stays import Stays
from hazfence.story import Mark, Story
from hazfence.track import Track
from hazfence.vehicles import FOREVER_US, NEVER_US, Fleet, Record, open_key

__all__ = ["LONG_AGO_US", "Books", "Held"]

LONG_AGO_US = -(2**62)


@dataclass(slots=True)
class Held:
    """A vehicle whose history was recalled, and is remembered for the time being; see ``recall.py``.

    Attributes:
        from_us: late fixes from this moment on can be judged.
        kept_us: everything from this moment on is remembered.
        fixes: how many were recalled.
        filed: its milestones as the host has them or is about to have them.
    """

    from_us: int
    kept_us: int
    fixes: int
    filed: list[Mark] = field(default_factory=list)


class Books:
    """Fleet, records, stories and recent fixes of one engine.

    Attributes:
        fleet: the last fix of every vehicle, and what it waits for.
        records: what goes on with vehicles that are judged fix by fix, by vehicle code; those with
            nothing open have none.
        stories: how to tell a vehicle's story again, by vehicle code.
        recent: recent fixes of all vehicles.
        stays: the plain visits of the vehicles that are not set apart; see ``stays.py``.
        notes: what rules remember of the same vehicles; see ``notes.py``.
        telling: tells those under the fences in force; given by the engine.
        drafts: what was written for the next snapshot already; None while nobody asked for that.
        held: the vehicles whose history was recalled, the one used last at the end.
        stones: milestones that the host does not have yet, by vehicle code: those of the host from a
            moment on are replaced by these.
        filed_us: up to when a milestone was last looked for, a vehicle each; ``NEVER_US`` for those of
            which the host does not even have the beginning.

    Args:
        recent_s, recall_h: see ``EngineSettings``.
        keys: says what covers a place under the fences in force.
    """

    def __init__(self, recent_s: float, recall_h: float, keys: KeysOf) -> None:
        self.recent_us = round(recent_s * 1e6)
        self.recall_us = round(recall_h * 3.6e9)
        self.held: dict[int, Held] = {}
        self.stones: dict[int, tuple[int, list[Mark]]] = {}
        self.filed_us = np.zeros(0, np.int64)
        self.fleet = Fleet()
        self.records: dict[int, Record] = {}
        self.stories: dict[int, Story] = {}
        self.recent = Recent(self._limit_us, self.recent_us, keys)
        self.stays = Stays(self._limit_us)
        self.notes = Notes(self._limit_us, self.fleet.names)
        self.telling: Telling | None = None
        self.drafts: Drafts | None = None
        self._forgotten_us: npt.NDArray[np.int64] | None = None  # of a memory that is suspended

    def grow(self) -> None:
        """Have room for every vehicle there is."""
        self.stays.grow(len(self.fleet))
        self.notes.grow(len(self.fleet))

    def touch(self, codes: int | npt.NDArray[np.int32]) -> None:
        """Note that something about these vehicles may change: what was written of them is old then."""
        if self.drafts is not None:
            self.drafts.touch(codes)

    def note(self, taken: Taken) -> None:
        """Write down what was worked out in columns of some vehicles."""
        fleet, codes = self.fleet, taken.codes
        self.touch(codes)
        fleet.deadline_us[codes] = taken.deadline_us
        fleet.watch[codes], fleet.unsure[codes] = taken.watch, taken.unsure
        if taken.motion is not None:
            fleet.motion[codes], fleet.overdriven[codes] = taken.motion, taken.overdriven

    def log(self, taken: Taken) -> None:
        """Keep of that what a late fix may ask for, if one may come."""
        if self.recent_us:
            for part in taken.logged:
                self.stays.log.add(*part)
            self.notes.log.add(taken.noted, taken.entries)

    def record(self, code: int) -> Record:
        """A vehicle's record, to be judged on; an empty one when nothing is open."""
        self.touch(code)
        self.set_apart(code)
        return self.records.get(code) or Record()

    def story(self, code: int) -> Story:
        """A vehicle's story, to be told on; made when there is none."""
        self.touch(code)
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
        note = self.notes.rows(np.array([code], np.int32))[0]
        rows = self.stays.visits.of(code), self.stays.wavers.of(code)
        return self.telling.record(*rows, note, self.notes.past(code), self.notes.held.get(code, ()))

    def story_seen(self, code: int) -> Story | None:
        """A vehicle's story, to look at only; None when it was never judged."""
        story, judged_us = self.stories.get(code), self.plainly_judged_us(code)
        if judged_us is None:
            return story
        marks = self.plain_marks(code, NEVER_US if story is None else story.plain_us)
        seen = Story() if story is None else story
        seen = replace(seen, marks=[*seen.marks, *marks], judged_us=judged_us)
        self.trim(code, seen)
        return seen

    def plain_marks(self, code: int, after_us: int) -> list[Mark]:
        """The marks of a vehicle kept in columns, of fixes judged after a moment."""
        assert self.telling is not None
        return self.telling.marks(code, self.stays, self.notes, after_us)

    def plainly_judged_us(self, code: int) -> int | None:
        """When a vehicle kept in columns was last judged; None when it never was, or is set apart."""
        if self.stays.apart(code) or self.stays.judged_us(code) == NEVER_US:
            return None
        return self.stays.judged_us(code)

    def begins(self, code: int) -> bool:
        """Whether all fixes of a vehicle are known from the first on, and the host has no milestone yet."""
        new = code >= len(self.filed_us) or self.filed_us[code] == NEVER_US
        return bool(new and self.fleet.first_us[code] != FOREVER_US)

    def release(self, code: int) -> None:
        """Forget the history of a vehicle again, beyond what memory keeps."""
        del self.held[code]
        self.trim(code, self.stories[code])

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
        found |= self.stays.log.steps_from(codes, time_us, after_us)
        return found | self.notes.log.steps_from(codes, time_us, after_us)

    def ever_unsure(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Which vehicles were in a restricted zone, at some moment remembered, but not for certain."""
        found = self.fleet.unsure[codes]
        maybe = self.stays.log.doubted(codes)
        for i in np.flatnonzero(~found).tolist():
            code = int(codes[i])
            story = self.story_seen(code) if maybe[i] else self.stories.get(code)
            found[i] = story is not None and any(mark.record.unsure for mark in story.marks)
        return found

    def set_apart(self, code: int) -> None:
        """See to it that a vehicle is judged fix by fix: it has a record and a story of its own."""
        self.touch(code)
        if self.stays.apart(code):
            return
        story, record = self.story_seen(code), self.record_seen(code)
        if story is not None:
            # Never less than before: a late fix may have moved ``judged_us`` back meanwhile.
            story.plain_us = max(story.plain_us, story.judged_us)
            self.stories[code] = story
        if not record.idle:
            self.records[code] = record
        if record.unsure:
            self.fleet.doubted[code] = record.doubted
        self.stays.set_apart(code)
        self.notes.forget(code)

    def set_all_apart(self) -> None:
        """The same for every vehicle, before the fences change under them."""
        for code in self.stays.together():
            self.set_apart(code)
        self.stays.log.clear()
        self.notes.log.clear()

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
        held = self.telling.held(record)
        keys = {open_key(event) for event in held}
        visits = {key: event for key, event in record.open.items() if key not in keys}
        rows, note = (
            self.telling.rows(code, replace(record, open=visits), key_members),
            self.telling.note(record),
        )
        if rows is None or note is None:
            return
        if story is not None and story.corrections:
            said = {event.id for event in record.open.values()}
            # What begins from now on, or began at a border not yet crossed for certain, has another name
            # than what was corrected before.
            begins_us = min([last_us, *rows[1]["at_us"].tolist()])
            if any(i in said or c.started_us >= begins_us for i, c in story.corrections.items()):
                return
        self.records.pop(code, None)
        self.fleet.doubted.pop(code, None)
        self.stays.take_in(code, NEVER_US if story is None else story.judged_us, *rows)
        self.notes.put(np.array([code], np.int32), note[0])
        self.notes.set_past(code, note[1])
        if held:
            self.notes.held[code] = held

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
        self.trim(code, story)

    def trim(self, code: int, story: Story) -> None:
        """Give up what is too old of a story, unless its vehicle's history is held."""
        if code not in self.held:
            last_us = int(self.fleet.time_us[code])
            story.trim(last_us, last_us - self.recent_us)

    def find_overdriven(
        self, deadline_us: Callable[[Record, Fix, int, str], int], last_fix: Callable[[int], Fix]
    ) -> None:
        """Find the vehicles that drive for too long: a snapshot of an older release has deadlines for them.

        Args:
            deadline_us: as :meth:`hazfence.judge.Judge.deadline_us`.
            last_fix: of a vehicle, by code.
        """
        for code, record in self.records.items():
            if record.overdriven:
                story, last = self.stories.get(code, Story()), last_fix(code)
                judged_us = max(story.judged_us, NEVER_US if story.silent_us is None else story.silent_us)
                self.fleet.overdriven[code] = True
                self.fleet.deadline_us[code] = deadline_us(record, last, judged_us, self.fleet.names[code])

    def redrawn(self, fence_ids: Collection[str] | None = None) -> None:
        """Forget, of vehicles beside borders that are redrawn, that they surely passed no checkpoint so far.

        Args:
            fence_ids: of the fences; None for all. All vehicles are set apart.
        """
        bases = (story.base for story in self.stories.values() if story.base is not None)
        for record in (*self.records.values(), *bases):
            if record.states:
                record.states = unassured(record.states, fence_ids)

    def begin_memory(self, keys: KeysOf | None = None) -> None:
        """Forget recent fixes and marks; each vehicle's last fix is where its memory begins.

        ``keys`` says from now on what covers a place, under other fences than before.
        """
        fleet = self.fleet
        self.recent.clear(keys)
        self.held.clear()
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
        """Take the recent fixes back that a snapshot was without; none when the memory is not suspended."""
        if self._forgotten_us is None:
            return
        self.recent.clear()
        self.recent.add(codes, fixes)
        self.fleet.forgotten_us[: len(self._forgotten_us)] = self._forgotten_us
        self._forgotten_us = None

    def _limit_us(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        limit_us = self.fleet.time_us[codes] - self.recent_us
        if not self.held:
            return limit_us
        kept_us = np.full(len(self.fleet), FOREVER_US, np.int64)
        kept_us[list(self.held)] = [held.kept_us for held in self.held.values()]
        return np.minimum(limit_us, kept_us[codes])

    def held_from_us(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """From when on late fixes of each vehicle can be judged; the greatest int64 if no history is held."""
        from_us = np.full(len(self.fleet), FOREVER_US, np.int64)
        if self.held:
            from_us[list(self.held)] = [held.from_us for held in self.held.values()]
        return from_us[codes]
