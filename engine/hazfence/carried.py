"""What rules with a memory carry along for many vehicles: the state of the work, and what came of it.

You are in the core, below ``noting.py``, which works out fix after fix what the rules remember. A limit that
is reached, a stand or a drive that ends: those are few, and each is told by the rule itself, of a
:class:`~hazfence.rules.step.Step` made for it, so that it is what the judge would say.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.events import Event
from hazfence.notes import NOTE, Held, Notes, Past
from hazfence.noticed import Fixes, Zones
from hazfence.presence import Fix
from hazfence.rules.driving import in_hours_us
from hazfence.rules.step import Ask, Step
from hazfence.vehicles import FOREVER_US, Record, open_key
from hazfence_fences import Schedule

__all__ = ["Hours", "Noted", "Work"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Rows = npt.NDArray[np.void]

_DAY_US = 86_400_000_000


class Noted(NamedTuple):
    """What came of it.

    Attributes:
        failed: bool, a vehicle each: it is a case for the judge, and nothing else here is true of it.
        rows: the notes after the last fix, a vehicle each.
        before: the notes before it, a fix each.
        deadline_us: until when nothing has to be said in silence, a vehicle each.
        pasts: by vehicle the moment of the fix, and what the past is from there, where it changed.
        said: by vehicle the fixes at which something began or ended, and the events of each.
        held: by vehicle the moments of those, and what goes on from there.
        passed_us: a vehicle each, the deadline that passes before its next due fix; with the fix behind it
            due too, it can be worked out. ``FOREVER_US`` where that is not why it failed.
    """

    failed: _Bools
    rows: _Rows
    before: _Rows
    deadline_us: _Ints
    pasts: dict[int, list[tuple[int, Past]]]
    said: dict[int, list[tuple[int, list[Event]]]]
    held: dict[int, list[tuple[int, Held]]]
    passed_us: _Ints


class Work:
    """What is being worked out: the notes as they are so far, and what was found."""

    def __init__(
        self, zones: Zones, fixes: Fixes, codes: npt.NDArray[np.int32], notes: Notes, ask: Ask
    ) -> None:
        self.zones, self.fixes, self.rows = zones, fixes, notes.rows(codes)
        self._codes, self._notes, self._ask = codes, notes, ask
        self.before = np.zeros(len(fixes.vehicle), NOTE)
        self.failed = np.zeros(len(codes), np.bool_)
        self.deadline_us, self.passed_us = (np.full(len(codes), FOREVER_US, np.int64) for _ in range(2))
        self.pasts: dict[int, list[tuple[int, Past]]] = {}
        self.said: dict[int, list[tuple[int, list[Event]]]] = {}
        self.held: dict[int, list[tuple[int, Held]]] = {}
        self._steps: dict[int, Step] = {}

    def past(self, vehicle: int) -> Past:
        """A vehicle's past by now."""
        changed = self.pasts.get(vehicle)
        return self._notes.past(int(self._codes[vehicle])) if changed is None else changed[-1][1]

    def set_past(self, vehicle: int, at_us: int, past: Past) -> None:
        """From a fix on it has another one."""
        self.pasts.setdefault(vehicle, []).append((at_us, past))

    def step(self, row: int) -> Step:
        """The way to a fix, which is not the first one, as the judge has it: for a rule to say what it finds.

        One a round and vehicle; few need any.
        """
        f, vehicle = self.fixes, int(self.fixes.vehicle[row])
        known = self._steps.get(vehicle)
        if known is not None:
            return known
        prev_us, code = int(f.prev_us[row]), int(self._codes[vehicle])
        prev = Fix(prev_us, float(f.prev_lon[row]), float(f.prev_lat[row]), math.nan, ())
        fix = Fix(int(f.fix_us[row]), float(f.lon[row]), float(f.lat[row]), float(f.kmh[row]), ())
        changed = self.held.get(vehicle)
        held = self._notes.held.get(code, ()) if changed is None else changed[-1][1]
        record = Record({open_key(event): event for event in held})
        step = Step(self._notes.names[code], record, prev, fix, prev_us, True, self._ask, [], {})
        self._steps[vehicle] = step
        return step

    def over(self) -> None:
        """All fixes of a round are done: what rules said is kept."""
        for vehicle, step in self._steps.items():
            if step.out:
                self.said.setdefault(vehicle, []).append((step.t1, step.out))
                held = tuple(step.record.open.values())
                self.held.setdefault(vehicle, []).append((step.t1, held))
        self._steps.clear()

    def noted(self) -> Noted:
        """What came of it all."""
        return Noted(self.failed, self.rows, self.before, self.deadline_us, self.pasts, self.said, self.held,
                     self.passed_us)  # fmt: skip


class Hours:
    """When so much time within certain hours is spent; see :func:`hazfence.rules.driving.in_hours_us`.

    Vehicles that begin in the same stretch outside the hours reach it at one moment, so one answer is kept.
    """

    def __init__(self) -> None:
        self._known: tuple[int, int, int | None] | None = None

    def spent_us(self, hours: Schedule, since: int, limit_us: int) -> int | None:
        """When driving on from ``since`` has spent ``limit_us`` within the hours."""
        known = self._known
        if known is not None and known[0] <= since < known[1]:
            return known[2]
        found = in_hours_us(hours, since, limit_us)
        change = hours.next_change(since)
        outside = not bool(hours.in_force(np.array([since], np.int64))[0])
        if outside and change is not None and found is not None and found < since + 2 * _DAY_US:
            self._known = since, change, found
        return found
