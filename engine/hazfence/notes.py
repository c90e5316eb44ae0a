"""What the rules with a memory remember of plain vehicles, as columns; ``stays.py`` has their visits.

You are in the core, below ``books.py``. A vehicle that is not set apart has a row here: does it stand or
move, since when is it parked, driving, off the routes, on the way between two checkpoints. The same as
objects, for the judge, are the states of ``states.py``; ``noting.py`` works the rows out for many vehicles
at once and turns the one into the other. Every fix judged leaves an entry in a log, the row as it was
before, for as long as a late fix may ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hazfence.events import Event
from hazfence.stays import Log
from hazfence.vehicles import FOREVER_US, NEVER_US

__all__ = ["DRIVE_SAID", "ENTRY", "NOTE", "OFF_SAID", "PARK_SAID", "Held", "Notes", "Past", "blank"]

_Ints = npt.NDArray[np.int64]
_Rows = npt.NDArray[np.void]
_T = TypeVar("_T")
#: (first, last) moments of stretches of driving, see ``states.Drive``.
Past = tuple[tuple[int, int], ...]
#: Events of rules with a memory that go on.
Held = tuple[Event, ...]

#: ``NEVER_US`` says that there is no such state. ``motion`` is as in ``vehicles.Fleet``; ``turned`` is the
#: fix at which it last stopped or moved off. ``reached_us`` are the limits of overdrive in the order of its
#: parts, ``FOREVER_US`` for none. Parked and off the route are said of the one district there is; ``gate`` is
#: the index, among all fences, of the checkpoint left. ``said`` tells, by the bits below, what is an event.
NOTE = np.dtype(
    [
        ("turned_us", "i8"),
        ("turned_lon", "f8"),
        ("turned_lat", "f8"),
        ("parked_us", "i8"),
        ("parked_lon", "f8"),
        ("parked_lat", "f8"),
        ("drives_us", "i8"),
        ("rests_us", "i8"),
        ("reached_us", "i8", (3,)),
        ("off_us", "i8"),
        ("off_lon", "f8"),
        ("off_lat", "f8"),
        ("left_us", "i8"),
        ("left_lon", "f8"),
        ("left_lat", "f8"),
        ("gate", "i4"),
        ("motion", "i1"),
        ("said", "u1"),
    ]
)
#: One fix judged: the note before it, the moments of the fix before, of this one and of the judgement before,
#: the fix before itself, and how many visits opened and closed with it.
ENTRY = np.dtype(
    [
        ("note", NOTE),
        ("prev_us", "i8"),
        ("fix_us", "i8"),
        ("since_us", "i8"),
        ("prev_lon", "f8"),
        ("prev_lat", "f8"),
        ("prev_key", "u8"),
        ("prev_kmh", "f4"),
        ("prev_alarm", "u4"),
        ("prev_error_m", "f4"),
        ("steps", "u4"),
    ]
)

#: Off the routes, parked for too long, and the parts of overdrive from ``DRIVE_SAID`` on.
OFF_SAID, PARK_SAID, DRIVE_SAID = 1, 2, 4


def blank(count: int) -> _Rows:
    """Notes of vehicles of which nothing is known."""
    rows = np.zeros(count, NOTE)
    for name in ("turned_us", "parked_us", "drives_us", "rests_us", "off_us", "left_us"):
        rows[name] = NEVER_US
    rows["reached_us"] = FOREVER_US
    return rows


class Notes:
    """The notes of all vehicles.

    Args:
        limit_us: gives, for vehicle codes, the moments before which no late fix is judged.
        names: of the vehicles, by code; may grow.

    Attributes:
        names: as given.
        log: an ``ENTRY`` of every fix judged here, as long as it is needed.
        held: by code the events of rules with a memory that go on.
    """

    def __init__(self, limit_us: Callable[[npt.NDArray[np.int32]], _Ints], names: Sequence[str]) -> None:
        self._limit_us = limit_us
        self.names = names
        self._rows, self._blank = blank(64), blank(1)[0]
        self.held: dict[int, Held] = {}
        self._past: dict[int, Past] = {}
        # Of each vehicle (moment of a fix, the past before it), where it changed; few have any.
        self._past_log: dict[int, list[tuple[int, Past]]] = {}
        self._held_log: dict[int, list[tuple[int, Held]]] = {}
        self.log = Log(limit_us, ENTRY)

    def grow(self, vehicles: int) -> None:
        """Have room for that many vehicles."""
        if vehicles > len(self._rows):
            more = max(2 * len(self._rows), vehicles) - len(self._rows)
            self._rows = np.append(self._rows, blank(more))

    def rows(self, codes: npt.NDArray[np.int32]) -> _Rows:
        """The notes of vehicles, as a copy."""
        return self._rows.take(codes)

    def put(self, codes: npt.NDArray[np.int32], rows: _Rows) -> None:
        """Put other notes in the place of those of some vehicles."""
        self._rows[codes] = rows

    def past(self, code: int) -> Past:
        """What a vehicle has driven before, as far as limits of a day need it."""
        return self._past.get(code, ())

    def set_past(self, code: int, past: Past, at_us: int | None = None) -> None:
        """Note another past of a vehicle; it has it from the fix at ``at_us`` on, None: it is given."""
        if at_us is not None:
            self._log(self._past_log.setdefault(code, []), code, at_us, self.past(code))
        if past:
            self._past[code] = past
        else:
            self._past.pop(code, None)

    def _log(self, known: list[tuple[int, _T]], code: int, at_us: int, before: _T) -> None:
        """Note what was before a fix, as long as a late one may ask."""
        known.append((at_us, before))
        limit_us = int(self._limit_us(np.array([code], np.int32))[0])
        while len(known) > 1 and known[1][0] < limit_us:
            del known[0]

    def past_before(self, code: int, fix_us: int) -> Past:
        """What a vehicle's past was before a fix."""
        for at_us, past in self._past_log.get(code, ()):
            if at_us >= fix_us:
                return past
        return self.past(code)

    def set_held(self, code: int, held: Held, at_us: int) -> None:
        """From the fix of a moment on other events of a vehicle go on."""
        self._log(self._held_log.setdefault(code, []), code, at_us, self.held.get(code, ()))
        if held:
            self.held[code] = held
        else:
            self.held.pop(code, None)

    def held_after(self, code: int, time_us: int) -> Held:
        """What of a vehicle went on after the fix of a moment."""
        for at_us, held in self._held_log.get(code, ()):
            if at_us > time_us:
                return held
        return self.held.get(code, ())

    def forget(self, code: int) -> None:
        """A vehicle is set apart: what is remembered of it is elsewhere now."""
        self._rows[code] = self._blank
        self.held.pop(code, None)
        self._past.pop(code, None)
        self._past_log.pop(code, None)
        self._held_log.pop(code, None)
