"""What the engine remembers of every vehicle: columns for all, a record for the few.

You are in the core, below ``engine.py``. The last fix of each vehicle lies in :class:`Fleet`, a
set of arrays indexed by the engine's own vehicle code and grown by doubling. What plain Python
judges (open visits and breaches, a running overspeed) lies in a :class:`Record`, and only
vehicles that have such things own one. ``snapshot.py`` writes both down and reads them back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat

import numpy as np
import numpy.typing as npt

from hazfence.events import Event, Kind
from hazfence.fixes import FixBatch
from hazfence.states import Drive, Leaning, Motion, OffRoute, State, Trust, Unsure, Wavering
from hazfence.track import Track

__all__ = ["FOREVER_US", "NEVER_US", "Fleet", "Record", "SpeedRun", "open_key", "side_by_side"]

#: Time of the last fix of a vehicle that has had none.
NEVER_US = np.iinfo(np.int64).min
#: Deadline of a vehicle that waits for nothing.
FOREVER_US = np.iinfo(np.int64).max


@dataclass(slots=True)
class SpeedRun:
    """Fixes over the limit without one in between that is not."""

    started_us: int
    last_us: int
    lon: float
    lat: float
    last_lon: float
    last_lat: float
    fence_id: str
    fence_version: int
    limit_kmh: float
    max_kmh: float


@dataclass(slots=True)
class Record:
    """The judged part of one vehicle's state.

    Attributes:
        open: every visit and breach that goes on, by kind and fence.
        run: the overspeed that goes on, long enough to be an event or not yet.
        states: what each rule with a memory remembers, by its name.
    """

    open: dict[tuple[Kind, str], Event] = field(default_factory=dict)
    run: SpeedRun | None = None
    states: dict[str, State] = field(default_factory=dict)

    def standing(self) -> tuple[Event, ...]:
        """Everything that goes on, in an order that does not depend on how it came about.

        By beginning and fence; a visit before what goes on with it.
        """

        def order(event: Event) -> tuple[int, str, bool, str, str]:
            fence_id = event.fence_id or ""
            return event.started_us, fence_id, event.kind is not Kind.VISIT, str(event.kind), event.id

        return tuple(sorted(self.open.values(), key=order))

    @property
    def idle(self) -> bool:
        """True when there is nothing to remember."""
        return not self.open and self.run is None and not self.states

    @property
    def watch(self) -> bool:
        """True while every fix of the vehicle must be judged, however harmless it looks.

        An alarm, for one, ends with the first fix that does not repeat it.
        """
        if self.run is not None:
            return True
        if self.states and not _WATCHFUL.isdisjoint(self.states):
            return True
        for kind, _ in self.open:  # noqa: SIM110  (asked of every fix judged: no generator)
            if kind in _ALARMS:
                return True
        return False

    @property
    def unsure(self) -> bool:
        """Whether the next fix that lies far enough inside a restricted zone must be judged."""
        return Unsure.name in self.states

    @property
    def doubted(self) -> tuple[str, ...]:
        """The restricted zones of which it is not certain that it is inside, by id."""
        state = self.states.get(Unsure.name)
        return state.fences if isinstance(state, Unsure) else ()

    @property
    def motion(self) -> int:
        """What is known of its motion: 0 nothing, 1 it stands, 2 it moves."""
        motion = self.states.get(Motion.name)
        return 0 if not isinstance(motion, Motion) else 2 if motion.moving else 1

    @property
    def departed(self) -> bool:
        """Whether it is off the dedicated routes and this was said."""
        state = self.states.get(OffRoute.name)
        return isinstance(state, OffRoute) and state.said

    @property
    def overdriven(self) -> bool:
        """Whether it has driven for too long, this was said, and it drives on: a long silence is a rest."""
        drive = self.states.get(Drive.name)
        if not isinstance(drive, Drive) or drive.since_us is None or drive.rest_us is not None:
            return False
        return any(kind is Kind.OVERDRIVE for kind, _ in self.open)

    def copy(self) -> Record:
        """A copy that can be judged on without touching this one (events are frozen)."""
        run = self.run
        if run is not None:
            run = SpeedRun(**{name: getattr(run, name) for name in SpeedRun.__slots__})
        return Record(dict(self.open), run, dict(self.states))


_WATCHFUL = frozenset((Trust.name, Wavering.name, Leaning.name))
_ALARMS = (Kind.EMERGENCY, Kind.COLLISION, Kind.ROLLOVER)


def side_by_side(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.intp] | slice:
    """Places of vehicles, sorted and distinct: a slice when none is missing between first and last."""
    if len(codes):
        lo, hi = int(codes[0]), int(codes[-1]) + 1
        if hi - lo == len(codes):
            return slice(lo, hi)
    return codes.astype(np.intp)  # numbers of another type would be converted for every column


def open_key(event: Event) -> tuple[Kind, str]:
    """Under which key an event that goes on lies in :attr:`Record.open`."""
    return event.kind, str(event.detail.get("part") or event.fence_id or "")


class Fleet:
    """The last fix of every vehicle, as columns.

    Attributes:
        names: vehicle names by code.
        time_us, lon, lat, speed_kmh, heading_deg: the last accepted fix; ``NEVER_US`` for none.
        key: uint64, the set of fences covering the last fix (geometry alone, whatever the hour).
        deadline_us: int64, the next moment at which the vehicle must be judged without a fix.
        watch: bool, True while every fix of the vehicle must be judged.
        unsure: bool, True while it is not certain that it is inside a restricted zone.
        doubted: the zones, by the code of the vehicle, of those of them that are set apart.
        alarm: uint32, alarm bits of the last fix.
        motion: int8, what the record knows of its motion: 0 nothing, 1 stands, 2 moves.
        hushed: bool, True when it was said already that the vehicle is silent.
        departed: bool, True when it was said already that it is off the dedicated routes.
        overdriven: bool, True when it was said already that it drives for too long, and it drives on.
        forgotten_us: no fix before this moment can be judged any more, however short ago it was.
        first_us: the earliest fix, so that a history can be seen to be whole; ``FOREVER_US`` when unknown.
        error_m: by how much the last fix may be wrong, see ``Track``; ``inexact``: whether it is 0 of all.
        beside: bool, False where the last fix surely lies beside no guarded border.
    """

    _COLUMNS: tuple[tuple[str, type, float], ...] = (
        ("time_us", np.int64, NEVER_US),
        ("lon", np.float64, np.nan),
        ("lat", np.float64, np.nan),
        ("speed_kmh", np.float32, np.nan),
        ("heading_deg", np.float32, np.nan),
        ("key", np.uint64, 0),
        ("deadline_us", np.int64, FOREVER_US),
        ("watch", np.bool_, False),
        ("unsure", np.bool_, False),
        ("alarm", np.uint32, 0),
        ("motion", np.int8, 0),
        ("hushed", np.bool_, False),
        ("departed", np.bool_, False),
        ("overdriven", np.bool_, False),
        ("forgotten_us", np.int64, NEVER_US),
        ("first_us", np.int64, FOREVER_US),
        ("error_m", np.float32, 0.0),
        ("beside", np.bool_, True),
    )

    time_us: npt.NDArray[np.int64]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    speed_kmh: npt.NDArray[np.float32]
    heading_deg: npt.NDArray[np.float32]
    key: npt.NDArray[np.uint64]
    deadline_us: npt.NDArray[np.int64]
    watch: npt.NDArray[np.bool_]
    unsure: npt.NDArray[np.bool_]
    alarm: npt.NDArray[np.uint32]
    motion: npt.NDArray[np.int8]
    hushed: npt.NDArray[np.bool_]
    departed: npt.NDArray[np.bool_]
    overdriven: npt.NDArray[np.bool_]
    forgotten_us: npt.NDArray[np.int64]
    first_us: npt.NDArray[np.int64]
    error_m: npt.NDArray[np.float32]
    beside: npt.NDArray[np.bool_]

    def __init__(self) -> None:
        self.names: list[str] = []
        self.doubted: dict[int, tuple[str, ...]] = {}
        self.inexact = False
        self._codes: dict[str, int] = {}
        self._enrolled: tuple[tuple[str, ...], npt.NDArray[np.int32], bool] = (
            (),
            np.zeros(0, np.int32),
            False,
        )
        for name, dtype, default in self._COLUMNS:
            setattr(self, name, np.full(64, default, dtype))

    def __len__(self) -> int:
        return len(self.names)

    def code(self, name: str) -> int | None:
        """The engine's code of a vehicle, None when it never had a fix."""
        return self._codes.get(name)

    def enroll(self, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
        """The engine's codes of the given vehicles; new ones get the next free codes.

        Senders that keep their dictionary (the very same tuple) from batch to batch pay for it once.
        """
        if names is self._enrolled[0]:
            return self._enrolled[1]
        table = self._codes
        codes = np.fromiter(map(table.get, names, repeat(-1)), np.int32, len(names))
        for i in np.flatnonzero(codes < 0).tolist():
            code = table.get(names[i])
            if code is None:
                code = table[names[i]] = len(self.names)
                self.names.append(names[i])
            codes[i] = code
        # Where vehicles came in the order of the dictionary, its codes are the engine's own.
        same = len(codes) > 0 and int(codes[-1]) == len(codes) - 1 and bool((codes[1:] > codes[:-1]).all())
        self._enrolled = names, codes, same
        if len(self.names) > len(self.time_us):
            size = max(2 * len(self.time_us), len(self.names))
            for column, dtype, default in self._COLUMNS:
                grown: npt.NDArray[np.generic] = np.full(size, default, dtype)
                old = getattr(self, column)
                grown[: len(old)] = old
                setattr(self, column, grown)
        return codes

    def codes_of(self, names: tuple[str, ...], which: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The engine's codes of vehicles given by their places in a dictionary; perhaps ``which`` itself."""
        codes = self.enroll(names)
        return which if self._enrolled[2] else codes.take(which)

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """The columns, cut to the vehicles that exist; younger ones only when they say something."""
        found = {name: getattr(self, name)[: len(self)] for name, _, _ in self._COLUMNS if name != "beside"}
        for name in ("error_m", "overdriven"):
            if not found[name].any():
                del found[name]
        return found

    def restore(self, names: list[str], columns: dict[str, npt.NDArray[np.generic]]) -> None:
        """Take over names and columns as :meth:`columns` gave them."""
        self.enroll(tuple(names))
        for name, _, _ in self._COLUMNS:
            if name in columns:  # not all were known to every release
                getattr(self, name)[: len(names)] = columns[name]
        self.inexact = bool(self.error_m.any())

    def note(self, code: int, record: Record, deadline_us: int) -> None:
        """Write down what the screen has to know of a judged record."""
        self.deadline_us[code] = deadline_us
        self.watch[code] = record.watch
        self.unsure[code] = record.unsure
        if record.unsure:
            self.doubted[code] = record.doubted
        else:
            self.doubted.pop(code, None)
        self.hushed[code] = False
        for kind, _ in record.open:
            if kind is Kind.SILENT:
                self.hushed[code] = True
        if record.states:
            self.motion[code] = record.motion
            self.departed[code] = record.departed
            self.overdriven[code] = record.overdriven
        else:
            self.motion[code] = 0
            self.departed[code] = False
            self.overdriven[code] = False

    def last_track(self, codes: npt.NDArray[np.int32]) -> Track:
        """The last fix of each of the given vehicles, as columns."""
        return Track(
            self.time_us[codes],
            self.lon[codes],
            self.lat[codes],
            self.speed_kmh[codes],
            self.heading_deg[codes],
            self.key[codes],
            self.alarm[codes],
            self.error_m[codes] if self.inexact else None,
        )

    def move(
        self,
        codes: npt.NDArray[np.int32],
        last: Track,
        beside: npt.NDArray[np.bool_] | bool = True,
        changed: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Note the last fix of each of the given vehicles.

        Args:
            codes: the vehicles, sorted and distinct.
            last: the fixes.
            beside: which may lie beside a guarded border.
            changed: those with another set of fences than before; None where that is not known.
        """
        at = side_by_side(codes)  # a slice is written many times faster
        for name, column in zip(Track._fields[:-1], last, strict=False):
            if name != "key" or changed is None:
                getattr(self, name)[at] = column
        if changed is not None:
            self.key[codes.take(changed)] = last.key.take(changed)
        self.beside[at] = beside
        if last.error_m is not None:
            self.error_m[at] = last.error_m
            self.inexact = bool(self.error_m.any())
        elif self.inexact:
            self.error_m[at] = 0.0
            self.inexact = bool(self.error_m.any())

    def last_fixes(self, codes: npt.NDArray[np.intp]) -> FixBatch:
        """The last fix of each of the given vehicles, one a vehicle."""
        return FixBatch.of(
            np.arange(len(codes), dtype=np.int32),
            vehicles=tuple(self.names[c] for c in codes.tolist()),
            time_us=self.time_us[codes],
            lon=self.lon[codes],
            lat=self.lat[codes],
            speed_kmh=self.speed_kmh[codes],
            heading_deg=self.heading_deg[codes],
            alarm=self.alarm[codes],
        )
