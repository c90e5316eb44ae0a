"""Give every truck its day: when it starts, which trips it makes, and which of them go wrong.

You are in the simulator, above ``trips.py`` and ``intents.py``. A truck works a shift a day and
makes several trips in it. Whether a trip is what it was meant to be is decided by ``truth.py``:
an ordinary trip must be free of breaches, a planted one must show the planted ones; else it is
planned again with other random numbers. Every truck and every try has its own generator, so a
truck's day does not depend on how many other trucks there are. Next room: ``reports.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from hazfence_replay.simulator.country import SimulationError
from hazfence_replay.simulator.intents import (
    Intent,
    Occasion,
    Unsuitable,
    plan_intent,
    speed_fences,
    stay_fences,
)
from hazfence_replay.simulator.timeline import Trip
from hazfence_replay.simulator.trips import Proposal, ordinary, waking
from hazfence_replay.simulator.truth import Ambiguous, Breach, breaches_of
from hazfence_replay.simulator.ways import Spot, Ways

__all__ = ["Plants", "TruckPlan", "plan_truck", "share_out"]

_TRIES = 60
_HOUR_S = 3600.0
_DAY_S = 86_400.0
#: A breach that begins this near to the end of the simulation could fall on either side of it.
_END_MARGIN_S = 180.0
_WAKES_INSIDE = 0.06


@dataclass(frozen=True, slots=True)
class Plants:
    """How many trips of each intent are planted; each on a truck of its own.

    Attributes:
        bypass: trips over the border by a side road: in, out or both, in turn.
        restricted: trips into a restricted zone.
        overspeed: long stretches over a limit.
        overstay: stays beyond a limit; half of them silent, a third still there at the end.
        near: near misses that must not fire: speed just below a limit, short bursts over it,
            stays that end minutes before their limit.
    """

    bypass: int = 12
    restricted: int = 12
    overspeed: int = 16
    overstay: int = 16
    near: int = 18

    @classmethod
    def for_trucks(cls, trucks: int) -> Plants:
        """The default counts, scaled from 300 trucks, but at least one of each."""
        usual = cls()
        return cls(**{f.name: max(1, round(getattr(usual, f.name) * trucks / 300)) for f in fields(cls)})

    def intents(self) -> list[tuple[Intent, int]]:
        """(intent, its number) of every planted trip."""
        bypass = (Intent.BYPASS_IN, Intent.BYPASS_OUT, Intent.BYPASS_BOTH)
        near = (Intent.NEAR_SPEED, Intent.NEAR_STAY, Intent.NEAR_BURST)
        wanted = [bypass[i % 3] for i in range(self.bypass)]
        wanted += [Intent.RESTRICTED] * self.restricted + [Intent.OVERSPEED] * self.overspeed
        wanted += [Intent.OVERSTAY] * self.overstay + [near[i % 3] for i in range(self.near)]
        counts: Counter[Intent] = Counter()
        found = []
        for intent in wanted:
            found.append((intent, counts[intent]))
            counts[intent] += 1
        return found


@dataclass(slots=True)
class TruckPlan:
    """One truck's days.

    Attributes:
        trips: in time order.
        breaches: what it does wrong, with the note of the trip.
        near: notes of its near misses.
    """

    trips: list[Trip] = field(default_factory=list)
    breaches: list[tuple[Breach, str]] = field(default_factory=list)
    near: list[tuple[Intent, str]] = field(default_factory=list)


def share_out(plants: Plants, trucks: int, rng: np.random.Generator) -> dict[int, tuple[Intent, int]]:
    """Which truck gets which planted trip.

    Raises:
        SimulationError: there are fewer trucks than planted trips.
    """
    intents = plants.intents()
    if len(intents) > trucks:
        raise SimulationError(
            f"{len(intents)} planted trips need as many trucks, but there are {trucks}: "
            "plant fewer (Plants(bypass=..., ...)) or simulate more trucks"
        )
    chosen = rng.choice(trucks, len(intents), replace=False).tolist()
    return dict(zip(chosen, intents, strict=True))


def plan_truck(
    ways: Ways, seed: Sequence[int], intent: tuple[Intent, int] | None, start_us: int, end_s: float
) -> TruckPlan:
    """Plan one truck.

    Args:
        ways: the roads.
        seed: numbers that make this truck's random numbers its own.
        intent: what is planted on one of its trips, and the number of that plant.
        start_us: the simulation's start, microseconds UTC.
        end_s: its length, seconds.

    Raises:
        SimulationError: the planted trip does not fit the fences or the time.
    """
    _check_possible(ways, intent)
    why = ""
    for attempt in range(_TRIES):
        rng = np.random.default_rng([*seed, attempt])
        try:
            return _plan(ways, rng, intent, start_us, end_s)
        except (Ambiguous, Unsuitable) as error:
            why = str(error)
    what = "an ordinary day" if intent is None else f"a planted trip ({intent[0]})"
    raise SimulationError(
        f"{what} could not be planned in {_TRIES} tries; the last one failed because: {why}. "
        f"Simulate longer than {end_s / _HOUR_S:g} h, plant less of it, or loosen the fences' limits"
    )


def _check_possible(ways: Ways, intent: tuple[Intent, int] | None) -> None:
    if intent is None:
        return
    what = intent[0]
    lacking = None
    if what is Intent.RESTRICTED and not ways.country.restricted:
        lacking = "no restricted zone; set Plants(restricted=0)"
    elif what in (Intent.OVERSPEED, Intent.NEAR_SPEED, Intent.NEAR_BURST) and not speed_fences(ways):
        lacking = "no speed limit on district or corridors; set Plants(overspeed=0, near=0)"
    elif what in (Intent.OVERSTAY, Intent.NEAR_STAY) and not stay_fences(ways):
        lacking = "no stay limit on district or parks; set Plants(overstay=0, near=0)"
    elif what in (Intent.BYPASS_IN, Intent.BYPASS_OUT, Intent.BYPASS_BOTH) and not ways.sides:
        lacking = "no place on the border far enough from every checkpoint; set Plants(bypass=0)"
    if lacking:
        raise SimulationError(f"cannot plant {what}: the fences have {lacking}")


def _plan(
    ways: Ways, rng: np.random.Generator, intent: tuple[Intent, int] | None, start_us: int, end_s: float
) -> TruckPlan:
    plan = TruckPlan()
    days = max(1, int(np.ceil(end_s / _DAY_S - 1e-9)))
    planted_day = int(rng.integers(days)) if intent is not None else -1
    at = ways.an_origin(rng)
    now = 0.0
    for day in range(days):
        length = min(_DAY_S, end_s - day * _DAY_S)
        shift = day * _DAY_S + _shift_start(rng, length)
        shift_end = shift + float(rng.uniform(0.3, 0.48)) * length
        if day == 0 and intent is None and rng.random() < _WAKES_INSIDE:
            proposal = _peaceful(ways, rng, 0, None, start_us)
            plan.trips.append(proposal.trip)
            at, now = proposal.ends_at, proposal.trip.end_s + 600.0
        if day == planted_day and intent is not None:
            latest = end_s - day * _DAY_S - _needs_s(ways, *intent)
            if latest < 120.0:
                raise Unsuitable(f"it needs {_needs_s(ways, *intent) / _HOUR_S:.1f} h")
            shift = day * _DAY_S + min(shift - day * _DAY_S, float(rng.uniform(60.0, latest)))
            now = max(now, shift)
            # Some have a peaceful trip before, where the time allows.
            if rng.random() < 0.5 and now + 4 * _HOUR_S < day * _DAY_S + latest:
                at, now = _add_ordinary(ways, rng, plan, at, now, start_us)
            at, now = _add_planted(ways, rng, plan, intent, at, now, start_us, end_s)
        now = max(now, shift)
        while now < min(shift_end, end_s - 300.0):
            at, now = _add_ordinary(ways, rng, plan, at, now, start_us)
    return plan


def _shift_start(rng: np.random.Generator, length_s: float) -> float:
    if length_s < _DAY_S:
        return float(rng.uniform(0.005, 0.35)) * length_s
    # Most start in the morning, some at any hour.
    hour = rng.normal(6.8, 1.9) if rng.random() < 0.75 else rng.uniform(0.1, 15.0)
    return float(np.clip(hour, 0.1, 15.0)) * _HOUR_S


def _needs_s(ways: Ways, intent: Intent, number: int) -> float:
    """Room to leave between the start of a planted trip and the end of the simulation."""
    if intent in (Intent.OVERSTAY, Intent.NEAR_STAY):
        choices = stay_fences(ways)
        stay_s = float(choices[number % len(choices)].max_stay_min or 0.0) * 60.0
        return stay_s + (1.5 if intent is Intent.OVERSTAY else 2.0) * _HOUR_S
    return 4.0 * _HOUR_S


def _add_ordinary(
    ways: Ways, rng: np.random.Generator, plan: TruckPlan, at: tuple[int, Spot], now: float, start_us: int
) -> tuple[tuple[int, Spot], float]:
    proposal = _peaceful(ways, rng, int(now), at, start_us)
    plan.trips.append(proposal.trip)
    return proposal.ends_at, proposal.trip.end_s + float(rng.uniform(12.0, 70.0)) * 60.0


def _peaceful(
    ways: Ways, rng: np.random.Generator, start_s: int, at: tuple[int, Spot] | None, start_us: int
) -> Proposal:
    """A trip on which nothing happens, in more and more of a hurry where stays are short."""
    why = ""
    for hurry in (1.0, 1.0, 0.6, 0.3, 0.1, 0.03):
        if at is None:
            proposal = waking(ways, rng, start_s, hurry=hurry)
        else:
            proposal = ordinary(ways, rng, start_s, at, hurry=hurry)
        try:
            found = breaches_of(proposal.trip, ways.country.fences, start_us)
        except Ambiguous as error:
            why = str(error)
            continue
        if not found:
            return proposal
        why = f"{found[0].kind} in {found[0].fence_id!r} on an ordinary trip"
    raise Ambiguous(why)


def _add_planted(
    ways: Ways,
    rng: np.random.Generator,
    plan: TruckPlan,
    intent: tuple[Intent, int],
    at: tuple[int, Spot],
    now: float,
    start_us: int,
    end_s: float,
) -> tuple[tuple[int, Spot], float]:
    kind, number = intent
    proposal = plan_intent(ways, rng, kind, Occasion(number, int(now), at, end_s))
    found = breaches_of(proposal.trip, ways.country.fences, start_us)
    if any(abs(b.at_s - end_s) < _END_MARGIN_S for b in found):
        raise Ambiguous("a breach begins just as the simulation ends")
    seen = Counter((b.kind, b.fence_id) for b in found)
    meant = Counter(proposal.expected)
    # A long stay in a park is a long stay in the district too: that may come with it.
    extra = {key for key in seen - meant if key[0] != "overstay" or kind is not Intent.OVERSTAY}
    if meant - seen or extra:
        raise Unsuitable(f"planned {dict(meant)}, but the trip shows {dict(seen)}")
    if kind is not Intent.OVERSTAY and proposal.trip.end_s > end_s:
        raise Unsuitable("the trip does not end in time")
    if any(b.at_s > end_s for b in found if (b.kind, b.fence_id) in meant):
        raise Unsuitable("the breach would begin after the end")
    plan.trips.append(proposal.trip)
    plan.breaches += [(b, proposal.note) for b in found if b.at_s < end_s]
    if not kind.is_breach:
        plan.near.append((kind, proposal.note))
    return proposal.ends_at, proposal.trip.end_s + float(rng.uniform(12.0, 70.0)) * 60.0
