"""Plan trips on which something goes wrong, or nearly: the planted breaches and the near misses.

You are in the simulator, beside ``trips.py``. Each :class:`Intent` has one function here, which
chooses roads, speeds and waits that lead to it. Where the roads at hand do not allow it, the
function raises :class:`Unsuitable`, and the planner tries other ones. What the trip really does
is not said here: ``truth.py`` looks. Next room: ``plan.py``, which gives every truck its day.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from hazfence_fences import Fence
from hazfence_replay.simulator.motion import SpeedWindow, drive
from hazfence_replay.simulator.routes import STEP_M, Route
from hazfence_replay.simulator.timeline import Part, Report, Stand, Trip
from hazfence_replay.simulator.trips import MINUTE_S, Proposal, finish, loading
from hazfence_replay.simulator.truth import stays
from hazfence_replay.simulator.ways import Spot, Ways

__all__ = ["Intent", "Occasion", "Unsuitable", "plan_intent", "speed_fences", "stay_fences"]

_OVER_BY = (0.2, 0.32)
_OVER_FOR_S = (130.0, 260.0)
_TOO_LONG_MIN = (12.0, 110.0)
_JUST_IN_TIME_MIN = (2.5, 6.0)
_BELOW_KMH = 2.5
_BURST_KMH = 12.0
_BURST_M = 220.0


class Intent(StrEnum):
    """What is planned to go wrong, or nearly wrong, on a trip."""

    BYPASS_IN = "bypass_in"
    BYPASS_OUT = "bypass_out"
    BYPASS_BOTH = "bypass_both"
    RESTRICTED = "restricted"
    OVERSPEED = "overspeed"
    OVERSTAY = "overstay"
    NEAR_SPEED = "near_speed"  #: just below the limit for minutes
    NEAR_BURST = "near_burst"  #: over the limit, a few seconds at a time
    NEAR_STAY = "near_stay"  #: leaves minutes before the stay becomes too long

    @property
    def is_breach(self) -> bool:
        """False for the near misses."""
        return not self.value.startswith("near_")


class Unsuitable(Exception):
    """These roads do not lend themselves to what was intended; try others."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """Where and when a trip with an intent begins.

    Attributes:
        number: counts the trips of this intent, so that its variants take turns.
        start_s: whole seconds since the simulation's start.
        at: gate number and spot outside.
        end_s: the end of the simulation.
    """

    number: int
    start_s: int
    at: tuple[int, Spot]
    end_s: float


def stay_fences(ways: Ways) -> list[Fence]:
    """The fences in which a stay can be planted too long: parks and district, where limited."""
    country = ways.country
    return [f for f in (*(f for f, _ in country.parks), country.district_fence) if f.max_stay_min]


def speed_fences(ways: Ways) -> list[Fence]:
    """The fences in which a speed can be planted too high: district and corridors, where limited."""
    country = ways.country
    return [f for f in (country.district_fence, *(f for f, _ in country.corridors)) if f.speed_limit_kmh]


def plan_intent(ways: Ways, rng: np.random.Generator, intent: Intent, occasion: Occasion) -> Proposal:
    """A trip on which ``intent`` happens.

    Raises:
        Unsuitable: not with the roads that were drawn; another try draws others.
    """
    match intent:
        case Intent.BYPASS_IN | Intent.BYPASS_OUT | Intent.BYPASS_BOTH:
            return _bypass(ways, rng, intent, occasion)
        case Intent.RESTRICTED:
            return _restricted(ways, rng, occasion)
        case Intent.OVERSPEED:
            return _overspeed(ways, rng, occasion)
        case Intent.NEAR_SPEED | Intent.NEAR_BURST:
            return _near_speed(ways, rng, intent, occasion)
        case Intent.OVERSTAY:
            return _overstay(ways, rng, occasion)
        case Intent.NEAR_STAY:
            return _near_stay(ways, rng, occasion)


def _bypass(ways: Ways, rng: np.random.Generator, intent: Intent, occasion: Occasion) -> Proposal:
    gate, origin = occasion.at
    site = ways.a_site(rng)
    breach = ("gate_bypass", ways.country.district_fence.id)
    enters = intent is not Intent.BYPASS_OUT
    crossing = ways.a_side(rng, gate)[0] if enters else ways.country.gates[gate]
    route = ways.into(origin, crossing, site)
    parts: list[Part] = [drive(route, rng, stops=ways.stops(route, crossing, rng)), loading(rng)]
    if intent is Intent.BYPASS_IN:
        return finish(ways, rng, parts, occasion.start_s, site, (breach,), "in by a side road")
    expected = (breach, breach) if enters else (breach,)
    note = "in and out by side roads" if enters else "out by a side road"
    return finish(ways, rng, parts, occasion.start_s, site, expected, note, side=ways.a_side(rng))


def _restricted(ways: Ways, rng: np.random.Generator, occasion: Occasion) -> Proposal:
    zone = occasion.number % len(ways.country.restricted)
    fence, _ = ways.country.restricted[zone]
    doors = ways.zone_ways[zone]
    if not doors:
        raise Unsuitable(f"no road comes near {fence.id!r}")
    gate, origin = occasion.at
    crossing = ways.country.gates[gate]
    site = ways.a_site(rng)
    into = ways.into(origin, crossing, site)
    there = ways.to_zone(site, doors[int(rng.integers(len(doors)))])
    gate_out, away = ways.an_origin(rng)
    leave = ways.country.gates[gate_out]
    out = ways.from_zone(doors[int(rng.integers(len(doors)))], leave, away)
    parts: list[Part] = [
        drive(into, rng, stops=ways.stops(into, crossing, rng)),
        loading(rng),
        drive(there, rng),
        Stand(float(rng.uniform(3.0, 14.0)) * MINUTE_S, Report.DRIVING),
        drive(out, rng, stops=[s for s in ways.stops(out, leave, rng) if out.s_m[s.index] > 3000.0]),
    ]
    expected = (("restricted_entry", fence.id),)
    return Proposal(Trip(parts, occasion.start_s), expected, (gate_out, away), f"drives into {fence.id}")


def _overspeed(ways: Ways, rng: np.random.Generator, occasion: Occasion) -> Proposal:
    fence, route, site, first, last = _fast_road(ways, rng, occasion)
    limit = float(fence.speed_limit_kmh or 0.0)
    room_m = float(route.s_m[last] - route.s_m[first])
    speed = limit * (1.0 + float(rng.uniform(*_OVER_BY)))
    want_m = min(room_m, speed / 3.6 * float(rng.uniform(*_OVER_FOR_S)) + 500.0)
    if want_m < speed / 3.6 * 100.0 + 400.0:
        raise Unsuitable(f"{fence.id!r} has only {room_m:.0f} m at a stretch on this road")
    begin = int(np.searchsorted(route.s_m, route.s_m[first] + rng.uniform(0.0, room_m - want_m)))
    end = int(np.searchsorted(route.s_m, route.s_m[begin] + want_m, side="right")) - 1
    note = f"{speed:.0f} km/h where {limit:.0f} is allowed"
    windows = [SpeedWindow(begin, end, speed)]
    return _fast(ways, rng, occasion, route, site, (first, last), windows, (("overspeed", fence.id),), note)


def _near_speed(ways: Ways, rng: np.random.Generator, intent: Intent, occasion: Occasion) -> Proposal:
    fence, route, site, first, last = _fast_road(ways, rng, occasion)
    limit = float(fence.speed_limit_kmh or 0.0)
    if route.s_m[last] - route.s_m[first] < 3000.0:
        raise Unsuitable(f"{fence.id!r} has no 3 km at a stretch on this road")
    windows = [SpeedWindow(first, last, limit - _BELOW_KMH)]
    note = f"{limit - _BELOW_KMH:.1f} km/h where {limit:.0f} is allowed"
    if intent is Intent.NEAR_BURST:
        for s in np.arange(route.s_m[first] + 700.0, route.s_m[last] - 700.0, 1300.0)[:4].tolist():
            begin = int(np.searchsorted(route.s_m, s))
            windows.append(SpeedWindow(begin, begin + round(_BURST_M / STEP_M), limit + _BURST_KMH))
        note = f"over {limit:.0f} km/h for a few seconds at a time"
    return _fast(ways, rng, occasion, route, site, (first, last), windows, (), note)


def _fast(
    ways: Ways,
    rng: np.random.Generator,
    occasion: Occasion,
    route: Route,
    site: Spot,
    stretch: tuple[int, int],
    windows: list[SpeedWindow],
    expected: tuple[tuple[str, str], ...],
    note: str,
) -> Proposal:
    crossing = ways.country.gates[occasion.at[0]]
    stops = [s for s in ways.stops(route, crossing, rng) if not stretch[0] <= s.index <= stretch[1]]
    parts: list[Part] = [drive(route, rng, stops=stops, windows=windows), loading(rng)]
    return finish(ways, rng, parts, occasion.start_s, site, expected, note)


def _fast_road(
    ways: Ways, rng: np.random.Generator, occasion: Occasion
) -> tuple[Fence, Route, Spot, int, int]:
    """A way in with the longest stretch on which one fence alone sets the limit."""
    choices = speed_fences(ways)
    fence = choices[occasion.number % len(choices)]
    gate, origin = occasion.at
    best: tuple[Fence, Route, Spot, int, int] | None = None
    for _ in range(6):
        site = ways.a_site(rng)
        off_corridor = fence.id == ways.country.district_fence.id
        route = ways.into(origin, ways.country.gates[gate], site, off_corridor=off_corridor)
        stretch = _stretch(ways, route, fence)
        if stretch is not None and (best is None or stretch[1] - stretch[0] > best[4] - best[3]):
            best = fence, route, site, *stretch
    if best is None:
        raise Unsuitable(f"no road from here uses {fence.id!r}")
    return best


def _stretch(ways: Ways, route: Route, fence: Fence) -> tuple[int, int] | None:
    """First and last point of the longest stretch where ``fence`` sets the lowest limit, alone."""
    fences = ways.country.fences
    inside = route.member[:, fences.index_of(fence.id)] & (route.limit_kmh == fence.speed_limit_kmh)
    for i, other in enumerate(fences):
        limit = other.speed_limit_kmh
        if other.id != fence.id and limit is not None and limit <= (fence.speed_limit_kmh or 0.0):
            inside &= ~route.member[:, i]
    # Away from the fence's edges, so that noise leaves the truck in it.
    reach = round(60.0 / STEP_M)
    edge = np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8))
    firsts, lasts = np.flatnonzero(edge == 1) + reach, np.flatnonzero(edge == -1) - 1 - reach
    if not len(firsts) or not (lasts > firsts).any():
        return None
    longest = int(np.argmax(lasts - firsts))
    return int(firsts[longest]), int(lasts[longest])


def _overstay(ways: Ways, rng: np.random.Generator, occasion: Occasion) -> Proposal:
    choices = stay_fences(ways)
    number = occasion.number
    fence = choices[number % len(choices)]
    over_s = float(rng.uniform(*_TOO_LONG_MIN)) * MINUTE_S
    stay_s = float(fence.max_stay_min or 0.0) * MINUTE_S + over_s
    how = Report.SILENT if number // len(choices) % 2 else Report.ASLEEP
    until = f"stays {over_s / 60:.0f} min too long in {fence.id}"
    if number % 3 == 2:
        stay_s = max(stay_s, occasion.end_s - occasion.start_s + 3600.0)
        until = f"stays too long in {fence.id} and is still there at the end"
    note = f"{until}, {'silent' if how is Report.SILENT else 'reporting'}"
    return _staying(ways, rng, occasion, fence, stay_s, how, (("overstay", fence.id),), note)


def _near_stay(ways: Ways, rng: np.random.Generator, occasion: Occasion) -> Proposal:
    choices = stay_fences(ways)
    fence = choices[occasion.number % len(choices)]
    left_s = float(rng.uniform(*_JUST_IN_TIME_MIN)) * MINUTE_S
    stay_s = float(fence.max_stay_min or 0.0) * MINUTE_S - left_s
    note = f"leaves {fence.id} {left_s / 60:.1f} min before its limit"
    return _staying(ways, rng, occasion, fence, stay_s, Report.ASLEEP, (), note)


def _staying(
    ways: Ways,
    rng: np.random.Generator,
    occasion: Occasion,
    fence: Fence,
    stay_s: float,
    how: Report,
    expected: tuple[tuple[str, str], ...],
    note: str,
) -> Proposal:
    """A trip whose stay inside ``fence`` lasts ``stay_s``, from border to border."""
    gate, origin = occasion.at
    crossing = ways.country.gates[gate]
    here = ways.in_park(rng, fence.id) or ways.a_site(rng)
    route = ways.into(origin, crossing, here)
    first = drive(route, rng, stops=ways.stops(route, crossing, rng))
    gate_out, away = ways.an_origin(rng)
    leave = ways.country.gates[gate_out]
    route = ways.out_of(here, leave, away)
    last = drive(route, rng, stops=ways.stops(route, leave, rng))
    bare = Trip([first, last], occasion.start_s)
    index = ways.country.fences.index_of(fence.id)
    moving_s = sum(left - entered for entered, left, _ in stays(bare, bare.member[:, index]))
    stand_s = stay_s - moving_s
    if stand_s < 600.0:
        raise Unsuitable(f"the drive through {fence.id!r} alone takes {moving_s / 60:.0f} min")
    parts: list[Part] = [first]
    if how is Report.SILENT:
        # It reports its arrival, then nothing until it leaves.
        parts += [Stand(180.0, Report.IDLE), Stand(stand_s - 180.0, Report.SILENT)]
    else:
        parts.append(Stand(stand_s, how))
    return Proposal(Trip([*parts, last], occasion.start_s), expected, (gate_out, away), note)
