"""Plan an ordinary trip: through a checkpoint to a plant, perhaps a rest in the park, out again.

You are in the simulator, above ``ways.py``. A :class:`Proposal` is a planned trip together with
the breaches meant to be on it (none, here); ``day.py`` keeps it only when ``truth.py`` finds
exactly those on it. Next room: ``intents.py``, for trips on which something goes wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hazfence_replay.simulator.country import Crossing
from hazfence_replay.simulator.motion import drive
from hazfence_replay.simulator.timeline import Part, Report, Stand, Trip
from hazfence_replay.simulator.ways import Spot, Ways

__all__ = ["MINUTE_S", "Proposal", "finish", "loading", "ordinary", "waking"]

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """A planned trip.

    Attributes:
        trip: its exact path.
        expected: (kind, fence id) of every breach that is meant to be on it.
        ends_at: number of the gate in whose surroundings the truck is afterwards, and the spot.
        note: what was intended, in words.
    """

    trip: Trip
    expected: tuple[tuple[str, str], ...]
    ends_at: tuple[int, Spot]
    note: str


def ordinary(
    ways: Ways, rng: np.random.Generator, start_s: int, at: tuple[int, Spot], *, hurry: float = 1.0
) -> Proposal:
    """A trip without a breach.

    Args:
        ways: the roads.
        rng: random.
        start_s: whole seconds since the simulation's start.
        at: gate number and spot outside, where the truck is.
        hurry: factor on waits; below 1 where fences allow short stays only.
    """
    gate, origin = at
    crossing = ways.country.gates[gate]
    site = ways.a_site(rng)
    route = ways.into(origin, crossing, site)
    parts: list[Part] = [drive(route, rng, stops=ways.stops(route, crossing, rng)), loading(rng, hurry)]
    here = site
    if ways.network.parks and rng.random() < 0.35:
        here = ways.a_park(rng)
        route = ways.within(site, here)
        parts.append(drive(route, rng, stops=ways.stops(route, None, rng)))
        parts.append(Stand(float(rng.uniform(20.0, 110.0)) * MINUTE_S * hurry, Report.ASLEEP))
    return finish(ways, rng, parts, start_s, here, (), "ordinary trip")


def waking(ways: Ways, rng: np.random.Generator, start_s: int, *, hurry: float = 1.0) -> Proposal:
    """The way out of a truck that spent the night inside the district."""
    here = ways.a_park(rng)
    parts: list[Part] = [Stand(float(rng.uniform(20.0, 150.0)) * MINUTE_S * hurry, Report.ASLEEP)]
    return finish(ways, rng, parts, start_s, here, (), "leaves after a night inside")


def loading(rng: np.random.Generator, hurry: float = 1.0) -> Stand:
    """Loading or unloading at a plant."""
    return Stand(float(rng.uniform(20.0, 55.0)) * MINUTE_S * hurry, Report.IDLE)


def finish(
    ways: Ways,
    rng: np.random.Generator,
    parts: list[Part],
    start_s: int,
    here: Spot,
    expected: tuple[tuple[str, str], ...],
    note: str,
    *,
    side: tuple[Crossing, int] | None = None,
) -> Proposal:
    """Add the way out to the parts of a trip.

    Args:
        ways, rng, start_s, expected, note: of the trip.
        parts: what came before; the way out is added to a copy.
        here: where the truck is.
        side: the side crossing to leave by, and its gate's number; None leaves by a checkpoint.
    """
    if side is None:
        gate, away = ways.an_origin(rng)
        crossing = ways.country.gates[gate]
    else:
        crossing, gate = side
        gate, away = ways.an_origin(rng, gate)
    route = ways.out_of(here, crossing, away)
    last = drive(route, rng, stops=ways.stops(route, crossing, rng))
    return Proposal(Trip([*parts, last], start_s), expected, (gate, away), note)
