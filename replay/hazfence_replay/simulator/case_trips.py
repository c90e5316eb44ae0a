"""The trips of ``cases.py``: straight ways at a steady speed, and what is wrong with each.

You are in the simulator. A :class:`Trip` is a list of places (kilometres about the district's middle),
speeds and waits. Where and when a rule is broken follows from distance and speed alone; nothing here
knows an engine. Each ``_case`` function plans one kind of trip; near misses are planned beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "CASES",
    "Trip",
    "bay_pair",
    "doubtful_bypass",
    "doubtful_entry",
    "finished",
    "trip_of",
    "yard_crowd",
]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Place = tuple[float, float]

_MIN, _HOUR = 60.0, 3600.0
_KMH = 50.0
_WEST, _EAST, _NORTH, _SOUTH = (-12.0, 0.0), (12.0, 0.0), (0.0, 12.0), (0.0, -12.0)
_PLANT, _PARK, _MIDDLE = (-3.0, 3.0), (3.0, 3.0), (0.0, 0.0)


class Truth(NamedTuple):
    """What begins and ends when, seconds after midnight; ``stay`` is the stay in the district."""

    kind: str
    fence_id: str
    at_s: float
    until_s: float


@dataclass
class Trip:
    """A trip being planned; see the module's text.

    Attributes:
        t_s, xy, kmh: knots; between them the truck moves straight and evenly, at ``kmh`` of the first.
        truth: what is wrong with it.
        near: whether it nearly is.
        silent: (from, to) in which the terminal sends nothing.
        jumps: (moment, kilometres east) of single false fixes.
        still: (from, to) in which the position is frozen.
        bits: (from, to, alarm bits).
        waybill: its window; None for none.
        cargo: UN number and class.
    """

    t_s: list[float]
    xy: list[Place]
    kmh: list[float] = field(default_factory=list)
    truth: list[Truth] = field(default_factory=list)
    near: bool = False
    silent: list[tuple[float, float]] = field(default_factory=list)
    jumps: list[tuple[float, float]] = field(default_factory=list)
    still: list[tuple[float, float]] = field(default_factory=list)
    bits: list[tuple[float, float, int]] = field(default_factory=list)
    waybill: tuple[float, float] | None = None
    cargo: tuple[int, str] = (1203, "3")

    @property
    def now(self) -> float:
        """Seconds after midnight."""
        return self.t_s[-1]

    def go(self, *places: Place, kmh: float = _KMH) -> Trip:
        """Drive there."""
        for place in places:
            km = float(np.hypot(place[0] - self.xy[-1][0], place[1] - self.xy[-1][1]))
            self.kmh.append(kmh)
            self.t_s.append(self.now + km / kmh * _HOUR)
            self.xy.append(place)
        return self

    def wait(self, seconds: float) -> Trip:
        """Stand."""
        self.kmh.append(0.0)
        self.t_s.append(self.now + seconds)
        self.xy.append(self.xy[-1])
        return self

    def crossing(self, axis: int, at_km: float, nth: int = 0) -> float:
        """When the way crosses the line x (axis 0) or y (axis 1) = ``at_km``, the nth time."""
        c = np.array([p[axis] for p in self.xy]) - at_km
        hits = np.flatnonzero((c[:-1] < 0) != (c[1:] < 0))
        i = int(hits[nth])
        return self.t_s[i] + (self.t_s[i + 1] - self.t_s[i]) * float(c[i] / (c[i] - c[i + 1]))

    def say(self, kind: str, fence_id: str, at_s: float, until_s: float | None = None) -> None:
        """Write down what is wrong."""
        self.truth.append(Truth(kind, fence_id, at_s, at_s if until_s is None else until_s))

    def near_place(self, place: Place, km: float) -> list[tuple[float, float]]:
        """(from, to) of every time it is within some kilometres of a place, to a fifth of a second."""
        t = np.arange(self.t_s[0], self.t_s[-1], 0.2)
        x, y = (np.interp(t, self.t_s, [p[k] for p in self.xy]) - place[k] for k in (0, 1))
        edge = np.diff(np.concatenate([[False], np.hypot(x, y) <= km, [False]]).astype(np.int8))
        firsts, ends = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1) - 1
        return list(zip(t[firsts].tolist(), t[ends].tolist(), strict=True))

    def stay(self) -> tuple[float, float]:
        """When it first comes into the district and when it last leaves, to half a second."""
        t = np.arange(self.t_s[0], self.t_s[-1])
        xy = np.column_stack([np.interp(t, self.t_s, [p[k] for p in self.xy]) for k in (0, 1)])
        inside = np.flatnonzero(np.abs(xy).max(axis=1) <= 10.0)
        return float(t[inside[0]]) - 0.5, float(t[inside[-1]]) + 0.5

    def reports(self, every_s: int, rng: np.random.Generator) -> tuple[I64, F64, F64, I64]:
        """What the terminal sends: seconds after midnight, kilometres, km/h, alarm bits."""
        t = np.arange(np.ceil(self.t_s[0]), self.t_s[-1], every_s)
        for start, end in self.silent:
            t = t[(t <= start) | (t >= end)]
        leg = np.clip(np.searchsorted(self.t_s, t, side="right") - 1, 0, len(self.kmh) - 1)
        kmh = np.array(self.kmh)[leg]
        kmh = np.where(kmh > 0, np.round(kmh + np.clip(rng.normal(0, 0.8, len(t)), -2, 2), 1), 0.0)
        xy = np.column_stack([np.interp(t, self.t_s, [p[k] for p in self.xy]) for k in (0, 1)])
        for moment, east_km in self.jumps:
            xy[int(np.searchsorted(t, moment)), 0] += east_km
        alarm = np.zeros(len(t), np.int64)
        for start, end, bits in self.bits:
            alarm[(t >= start) & (t <= end)] |= bits
        return t.astype(np.int64), xy, kmh, alarm

    def frozen(self, t: I64) -> list[tuple[int, int]]:
        """First and last report of each frozen stretch."""
        return [
            (int(np.searchsorted(t, start)), int(np.searchsorted(t, end, side="right")) - 1)
            for start, end in self.still
        ]


def trip_of(case: str, rng: np.random.Generator) -> Trip:
    """Plan a trip of a kind, one of :data:`CASES` or ``ordinary``."""
    return finished(_PLANNERS[case](rng), case)


def finished(trip: Trip, case: str = "") -> Trip:
    """A planned trip with its stay in the district, and a waybill where it has none and should."""
    entered, left = trip.stay()
    trip.say("stay", "district", entered, left)
    if trip.waybill is None and case != "no_waybill":
        trip.waybill = (trip.t_s[0] - _HOUR, trip.now + _HOUR)
    return trip


def _start(rng: np.random.Generator, at: Place = _WEST, first_h: float = 6.5, last_h: float = 16.0) -> Trip:
    return Trip([round(float(rng.uniform(first_h, last_h)) * _HOUR)], [at])


def _to_plant(trip: Trip) -> Trip:
    return trip.go((-3.0, 0.0), _PLANT)


def _from_plant(trip: Trip) -> Trip:
    return trip.go((-3.0, 0.0), _EAST)


def _load(trip: Trip, rng: np.random.Generator) -> Trip:
    return trip.wait(float(rng.uniform(21, 26)) * _MIN)


def _ordinary(rng: np.random.Generator) -> Trip:
    trip = _load(_to_plant(_start(rng)), rng)
    if rng.random() < 0.3:
        # A rest in the park on the way; in all well below the 90 minutes to the next gate.
        return trip.go((-3.0, 0.0), (3.0, 0.0), _PARK).wait(10 * _MIN).go((3.0, 0.0), _EAST)
    return _from_plant(trip)


def _curfew(rng: np.random.Generator, late: bool = False) -> Trip:
    # From the north gate to the town, four kilometres on, takes 288 s.
    trip = _start(rng, _NORTH, *((13.2, 14.0) if late else (11.0, 12.4))).go(_MIDDLE, _EAST)
    if not late:
        trip.say("curfew", "town", trip.crossing(1, 6.0), trip.crossing(1, 4.0))
    trip.near = late
    return trip


def _overspeed(rng: np.random.Generator, over: bool = True) -> Trip:
    trip = _load(_to_plant(_start(rng)), rng).go((-3.0, 0.0), (0.0, 0.0))
    begin = trip.now
    trip.go((3.0, 0.0), kmh=75.0 if over else 57.0)
    if over:
        trip.say("overspeed", "district", begin, trip.now)
    trip.near = not over
    return trip.go(_EAST)


def _off_route(rng: np.random.Generator, back_in_time: bool = False) -> Trip:
    trip = _load(_to_plant(_start(rng)), rng).go((-3.0, 0.0), (5.0, 0.0))
    far_km = 0.5 if back_in_time else float(rng.choice([0.6, 2.0]))
    left = trip.now + 0.06 / _KMH * _HOUR
    trip.go((5.0, -far_km))
    if far_km == 0.6:
        trip.wait(float(rng.uniform(4, 9)) * _MIN)
    trip.go((5.0, 0.0))
    back = trip.now - 0.06 / _KMH * _HOUR
    if not back_in_time:
        # Farther than a kilometre from the lane's edge, or longer than 180 s.
        far = left + 1.0 / _KMH * _HOUR
        trip.say(
            "corridor_departure", "district", min(left + 180.0, far) if far_km > 1.06 else left + 180.0, back
        )
    trip.near = back_in_time
    return trip.go(_EAST)


def _roadside(rng: np.random.Generator, short: bool = False) -> Trip:
    trip = _start(rng).go((-6.0, 0.0))
    begin = trip.now
    trip.wait(26 * _MIN if short else float(rng.uniform(33, 50)) * _MIN)
    if not short:
        trip.say("overpark", "district", begin + 30 * _MIN, trip.now)
    trip.near = short
    return trip.go(_EAST)


def _tired(rng: np.random.Generator, rests: bool = False) -> Trip:
    trip = _start(rng, first_h=6.5, last_h=10.0)
    begin = trip.now
    while trip.now - begin < 2.4 * _HOUR:
        trip.go((-11.7, 0.0), _WEST)
    trip.wait((22 if rests else 9) * _MIN)
    while trip.now - begin < 4.6 * _HOUR:
        trip.go((-11.7, 0.0), _WEST)
    # Driving goes on until the terminal falls silent at home; the last report vouches for five minutes.
    trip.go(_EAST)
    if not rests:
        trip.say("overdrive", "", begin + 4 * _HOUR, trip.now + 5 * _MIN)
    trip.near = rests
    return trip


def _slow(rng: np.random.Generator, in_time: bool = False) -> Trip:
    trip = _start(rng).go((3.0, 0.0), _PARK)
    trip.wait((50 if in_time else float(rng.uniform(75, 100))) * _MIN).go((3.0, 0.0), _EAST)
    if not in_time:
        # From the rim of the western gate, 150 m inside, to that of the eastern one.
        trip.say("segment_overtime", "gate-west", trip.crossing(0, -9.85) + 90 * _MIN, trip.crossing(0, 9.85))
    trip.near = in_time
    return trip


def _offline(rng: np.random.Generator, short: bool = False) -> Trip:
    trip = _start(rng).go(_EAST)
    begin = trip.crossing(0, -8.0) + float(rng.uniform(0, 120))
    end = begin + (3.5 * _MIN if short else float(rng.uniform(7, 12)) * _MIN)
    trip.silent.append((begin, end))
    if not short:
        trip.say("silent", "district", begin + 5 * _MIN, end)
        trip.say("coverage_gap", "district", begin, end)
    trip.near = short
    return trip


def _jump(rng: np.random.Generator) -> Trip:
    trip = _start(rng).go(_EAST)
    moment = trip.crossing(0, -5.0) + float(rng.uniform(0, 300))
    trip.jumps.append((moment, float(rng.choice([-30.0, 6.0, 30.0]))))
    trip.say("gnss_suspect", "", moment)
    return trip


def _frozen(rng: np.random.Generator) -> Trip:
    trip = _start(rng).go(_EAST)
    begin = trip.crossing(0, -5.0) + float(rng.uniform(0, 300))
    trip.still.append((begin, begin + 200.0))
    trip.say("gnss_suspect", "", begin, begin + 200.0)
    return trip


def _alarm(kind: str, bit: int) -> Callable[[np.random.Generator], Trip]:
    def plan(rng: np.random.Generator) -> Trip:
        trip = _start(rng).go(_EAST)
        begin = trip.crossing(0, 0.0)
        trip.bits.append((begin, begin + 120.0, 1 << bit))
        trip.say(kind, "", begin, begin + 120.0)
        return trip

    return plan


def _no_waybill(rng: np.random.Generator) -> Trip:
    trip = _from_plant(_load(_to_plant(_start(rng)), rng))
    trip.say("no_waybill", "district", *trip.stay())
    return trip


def _waybill_over(rng: np.random.Generator) -> Trip:
    trip = _to_plant(_start(rng))
    ends = trip.now + 10 * _MIN
    trip = _from_plant(_load(trip, rng))
    trip.waybill = (trip.t_s[0] - _HOUR, ends)
    trip.say("overstay", "district", ends, trip.stay()[1])
    return trip


def _cargo(rng: np.random.Generator, allowed: bool = False) -> Trip:
    # Chlorine drives slower than the others, so that it meets none of them for long on the way.
    trip = _start(rng, _NORTH, 14.0, 17.0).go(_MIDDLE, _SOUTH, kmh=_KMH if allowed else 40.0)
    trip.cargo = (1203, "3") if allowed else (1017, "2.3")
    if not allowed:
        trip.say("cargo_forbidden", "town", trip.crossing(1, 6.0), trip.crossing(1, 4.0))
    trip.near = allowed
    return trip


def _restricted(rng: np.random.Generator, stops_before: bool = False) -> Trip:
    trip = _start(rng).go((-6.0, 0.0), (-6.0, 2.6 if stops_before else 2.9)).wait(5 * _MIN)
    trip.go((-6.0, 0.0), _EAST)
    if not stops_before:
        trip.say("restricted_entry", "depot", trip.crossing(1, 2.7), trip.crossing(1, 2.7, 1))
    trip.near = stops_before
    return trip


def yard_crowd(base_s: float, trucks: int) -> list[Trip]:
    """Trucks that come to the yard five minutes after one another and stand there for forty.

    From the fourth on it holds too many, until the last but three leaves.
    """
    trips = []
    for i in range(trucks):
        trip = Trip([0.0], [_WEST]).go((-6.0, 0.0), (-6.0, -3.0)).wait(40 * _MIN - 2 * 0.3 / _KMH * _HOUR)
        trip.go((-6.0, 0.0), _EAST)
        shift = base_s + i * 5 * _MIN - trip.crossing(1, -2.7)
        trip.t_s = [t + shift for t in trip.t_s]
        trips.append(trip)
    return trips


def bay_pair(base_s: float, bay: int, *, near: bool) -> tuple[Trip, Trip, tuple[float, float]]:
    """Petrol waits in a bay for forty minutes; oxidiser stands beside it for a while, five minutes later.

    Oxidiser drives slower than the others, so that it meets none of them for long on the way.

    Returns:
        the two trips, and from when to when they stood side by side.
    """
    x, y = 5.74 + 0.05 * (bay % 4), 2.75 + 0.1 * (bay // 4)
    one, other = Trip([0.0], [_WEST]), Trip([0.0], [_WEST])
    one.go((6.0, 0.0), (6.0, 3.0), (x, y)).wait(40 * _MIN)
    other.go((6.0, 0.0), (6.0, 3.0), (x + 0.008, y), kmh=44.0)
    one.t_s = [t + base_s - one.t_s[-2] for t in one.t_s]
    beside = base_s + 5 * _MIN
    other.t_s = [t + beside - other.now for t in other.t_s]
    other.wait((7 if near else 18) * _MIN)
    together = beside, other.now
    one.go((6.0, 3.0), (6.0, 0.0), _EAST)
    other.go((6.0, 3.0), (6.0, 0.0), _EAST, kmh=44.0)
    other.cargo = (1942, "5.1")
    one.near = other.near = near
    return one, other, together


def _bypass(rng: np.random.Generator) -> Trip:
    trip = _start(rng, (-12.0, 6.0)).go((-3.0, 6.0), _PLANT)
    trip.say("gate_bypass", "district", trip.crossing(0, -10.0))
    return _from_plant(_load(trip, rng))


def doubtful_bypass(rng: np.random.Generator) -> Trip:
    """In beside a gate, the terminal silent for a minute: it had time to come through the gate."""
    trip = _start(rng, (-12.0, 0.45)).go((-9.2, 0.45), (-9.2, 0.0))
    at_s = trip.crossing(0, -10.0)
    trip.silent.append((at_s - 25.0, at_s + 25.0))
    trip.say("possible_bypass", "district", at_s)
    return _from_plant(_load(_to_plant(trip), rng))


def doubtful_entry(rng: np.random.Generator) -> Trip:
    """Over the sluice and back, the terminal silent each time: it had time to drive around."""
    trip = _start(rng).go((-8.0, 0.0), (-8.0, -2.6), (-8.0, 0.0), _EAST)
    north, south = (-1.4, -1.6)
    for first, last, nth in ((north, south, 0), (south, north, 1)):
        entered, left = trip.crossing(1, first, nth), trip.crossing(1, last, nth)
        trip.silent.append((entered - 20.0, left + 20.0))
        trip.say("possible_entry", "sluice", entered, left)
    return trip


_PLANNERS: dict[str, Callable[[np.random.Generator], Trip]] = {
    "ordinary": _ordinary,
    "curfew": _curfew,
    "near_curfew": lambda rng: _curfew(rng, late=True),
    "overspeed": _overspeed,
    "near_overspeed": lambda rng: _overspeed(rng, over=False),
    "off_route": _off_route,
    "near_off_route": lambda rng: _off_route(rng, back_in_time=True),
    "roadside": _roadside,
    "near_roadside": lambda rng: _roadside(rng, short=True),
    "tired": _tired,
    "near_tired": lambda rng: _tired(rng, rests=True),
    "slow": _slow,
    "near_slow": lambda rng: _slow(rng, in_time=True),
    "offline": _offline,
    "near_offline": lambda rng: _offline(rng, short=True),
    "jump": _jump,
    "frozen": _frozen,
    "emergency": _alarm("emergency", 0),
    "collision": _alarm("collision", 29),
    "rollover": _alarm("rollover", 30),
    "no_waybill": _no_waybill,
    "waybill_over": _waybill_over,
    "cargo": _cargo,
    "near_cargo": lambda rng: _cargo(rng, allowed=True),
    "bypass": _bypass,
    "restricted": _restricted,
    "near_restricted": lambda rng: _restricted(rng, stops_before=True),
}

#: The trips on which something is planted, or nearly.
CASES = tuple(name for name in _PLANNERS if name != "ordinary")
