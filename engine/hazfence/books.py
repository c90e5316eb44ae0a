"""The engine's books: all that it remembers, in one place.

You are in the core, below ``engine.py`` (fixes on time, silence) and ``late.py`` (fixes that come
late), which both keep these books. Columns for every vehicle (:class:`~hazfence.vehicles.Fleet`),
a record for those with something open, a story for those that were ever judged, and the recent
fixes. ``snapshot.py`` writes down what must outlive a restart.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hazfence.recent import Recent, Track
from hazfence.story import Story
from hazfence.vehicles import NEVER_US, Fleet, Record

__all__ = ["Books"]


class Books:
    """Fleet, records, stories and recent fixes of one engine.

    Attributes:
        fleet: the last fix of every vehicle, and what it waits for.
        records: what goes on, by vehicle code; vehicles with nothing open have none.
        stories: how to tell a vehicle's story again, by vehicle code.
        recent: recent fixes of all vehicles.
    """

    def __init__(self, recent_s: float) -> None:
        self.recent_us = round(recent_s * 1e6)
        self.fleet = Fleet()
        self.records: dict[int, Record] = {}
        self.stories: dict[int, Story] = {}
        self.recent = Recent(self._limit_us)
        self._forgotten_us = np.zeros(0, np.int64)

    def record(self, code: int) -> Record:
        """A vehicle's record; an empty one when nothing is open."""
        return self.records.get(code) or Record()

    def story(self, code: int) -> Story:
        """A vehicle's story, made when there is none."""
        story = self.stories.get(code)
        if story is None:
            story = self.stories[code] = Story()
        return story

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
