"""Telling a stretch of one vehicle's story: walk its fixes, judge those that matter.

You are in the core, between ``engine.py`` (which vehicle, which fixes) and ``judge.py`` (what
follows from one fix). The screen has marked the fixes that are due; between them, a deadline may
pass or the record may ask for every fix (``Record.watch``). The same walk serves fixes as they
come and a story told again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hazfence.columns import Columns
from hazfence.events import Event
from hazfence.judge import Judge
from hazfence.presence import Fix
from hazfence.screen import Screen
from hazfence.story import Mark
from hazfence.track import Track
from hazfence.vehicles import NEVER_US, Record

__all__ = ["Teller", "Told"]


class Told(NamedTuple):
    """What a walk gave: events, the last fix judged (None: none was), and the next deadline."""

    events: list[Event]
    judged: Fix | None
    deadline_us: int


class Teller:
    """Walks under one set of fences and settings."""

    def __init__(self, screen: Screen, judge: Judge) -> None:
        self._screen = screen
        self._judge = judge

    def tell(
        self,
        name: str,
        record: Record,
        prev: Fix | None,
        c: Columns,
        rows: tuple[int, int],
        deadline_us: int,
        marks: list[Mark] | None = None,
        since_us: int = NEVER_US,
    ) -> Told:
        """Judge what is due among one vehicle's fixes.

        Args:
            name: the vehicle's.
            record: its state after ``prev``, changed in place.
            prev: the fix before the first row; None when there is none.
            c: what the screen made of the fixes.
            rows: first row, and the one behind the last.
            deadline_us: the moment up to which silence is harmless.
            marks: takes a mark before each fix judged.
            since_us: since when ``record`` has been as it is.
        """
        lo, hi = rows
        time_us = c.track.time_us
        due = [lo + i for i in np.flatnonzero(c.due[lo:hi]).tolist()]
        due.reverse()
        last_us = int(time_us[hi - 1]) if hi > lo else deadline_us
        zones: tuple[str, ...] = ()  # in doubt, and the rows well inside one of them
        inside: list[int] = []
        events: list[Event] = []
        row, fix = lo, None
        while True:
            while due and due[-1] < row:
                due.pop()
            if not record.watch:
                candidate = due[-1] if due else hi
                if record.unsure:
                    # One passed that did not end the doubt (a zone not in force) is not the last one.
                    if zones != record.doubted or min(inside, default=hi) < row:
                        zones = record.doubted
                        inside = self._screen.first_inside(c.track, zones, (row, hi)) if row < hi else []
                    candidate = min([candidate, *inside])
                if deadline_us < last_us:
                    passed = lo + int(np.searchsorted(time_us[lo:hi], deadline_us, side="right"))
                    candidate = min(candidate, max(passed, row))
                row = candidate
            if row >= hi:
                return Told(events, fix, deadline_us)
            if row > lo:
                prev = self.fix_of(c.track, row - 1)
            if marks is not None:
                marks.append(Mark(prev, record.copy(), since_us))
            fix = self.fix_of(c.track, row)
            steady = c.light[row] and not record.watch and not record.unsure
            if steady and prev is not None and deadline_us >= fix.time_us:
                events += self._judge.move(name, record, prev, fix)
            else:
                events += self._judge.fix(name, record, prev, fix, self._screen.hits(c, row))
            deadline_us = self._judge.deadline_us(record, fix, fix.time_us, name)
            since_us = fix.time_us
            row += 1

    def fix_of(self, track: Track, at: int) -> Fix:
        """One row of the columns as plain Python."""
        return Fix(
            int(track.time_us[at]),
            float(track.lon[at]),
            float(track.lat[at]),
            float(track.speed_kmh[at]),
            self._screen.sets.fences_of(int(track.key[at])),
            int(track.alarm[at]),
            error_m=track.error_at(at),
        )
