"""How fast the whole core is: fixes in, visits and breaches out, beside the same written by hand.

Run ``hazfence bench core`` (``--json`` for machines). Trucks drive straight for minutes at a time
through the region of a fence set and report every ten seconds; every fix goes through cleaning,
order, matching, segments against thin fences, transitions and rules. Written by hand means an rtree,
prepared shapely geometries and a dict of the fences each vehicle was in, a fix at a time, no segments
and no rules. Both must agree on where every vehicle is in the end, so the engine compared with it counts
every border at once; the first line is the engine as it comes, with hysteresis at borders. The first batch,
in which every vehicle is new, what making an ``Event`` object of every event costs, what is left without
thin fences, and what receivers cost that say of some fixes that they are bad, are lines of their own. Each
way goes over all batches alone. Next room: ``match.py``, the index alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import replace
from typing import Any

import numpy as np
import shapely

from hazfence import Engine, EngineSettings, FixBatch
from hazfence.accuracy import accuracy_m
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.peers.tellers import TellerByHand
from hazfence_benchmarks.plan import BadOption, Plan, Took, rates, timed
from hazfence_benchmarks.workloads import SETS
from hazfence_fences import FenceSet

__all__ = ["options", "run", "truck_steps", "truck_traffic"]

_START_US = 1_772_409_600_000_000
_EVERY_S = 10
_BY_HAND = 1000  # vehicles that the way written by hand follows
#: Shares of fixes that say that they are bad, and how bad they are.
_BAD, _BAD_HDOP = {"1 %": 0.01, "10 %": 0.1}, (2.0, 4.0)
#: Batches after the first, of a tiny, a quick and a full run: where one takes some milliseconds, so many that
#: a tenth of a second in which others use the machine decides nothing.
_BATCHES, _FEW_OF = (3, 20, 40), {"C100k": (3, 6, 8)}
_TURN = 1 / 60  # of the reports: a truck takes another road every ten minutes or so


def truck_traffic(
    fences: FenceSet, *, vehicles: int, steps: int, seed: int = 1, first: int = 0
) -> list[FixBatch]:
    """The batches of `truck_steps`, all at once."""
    return list(truck_steps(fences, vehicles=vehicles, steps=steps, seed=seed, first=first))


def truck_steps(
    fences: FenceSet, *, vehicles: int, steps: int, seed: int = 1, first: int = 0
) -> Iterator[FixBatch]:
    """One batch a step, one fix a vehicle in it.

    Args:
        fences: trucks stay within their common bounds.
        vehicles: half of them drive at 30 to 60 km/h, half stand, as in a district by day.
        steps: reports of each vehicle, ten seconds apart.
        seed: of everything random.
        first: number of the first vehicle, for its plate.
    """
    rng = np.random.default_rng(seed)
    west, south, east, north = shapely.total_bounds([f.geometry for f in fences])
    lon, lat = rng.uniform(west, east, vehicles), rng.uniform(south, north, vehicles)
    heading = rng.uniform(0, 2 * np.pi, vehicles)
    kmh = np.where(rng.random(vehicles) < 0.5, rng.uniform(30, 60, vehicles), 0.0)
    step_deg = kmh / 3.6 * _EVERY_S / 111_195.0
    names = tuple(f"浙B{i:06d}" for i in range(first, first + vehicles))
    for step in range(steps):
        turns = rng.random(vehicles) < _TURN
        heading = np.where(turns, rng.uniform(0, 2 * np.pi, vehicles), heading)
        lon = lon + step_deg * np.cos(heading) / np.cos(np.radians(lat))
        lat = lat + step_deg * np.sin(heading)
        out = (lon < west) | (lon > east) | (lat < south) | (lat > north)
        heading = np.where(out, heading + np.pi, heading)
        yield FixBatch.of(
            np.arange(vehicles, dtype=np.int32),
            vehicles=names,
            time_us=_START_US + step * _EVERY_S * 1_000_000 + rng.integers(0, 10**6, vehicles),
            lon=lon,
            lat=lat,
            speed_kmh=kmh,
            status=3,
        )


def options(parser: argparse.ArgumentParser) -> None:
    """Sets, vehicles, steps."""
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; all without names")
    parser.add_argument("--vehicles", type=int, help="fixes a batch")
    parser.add_argument("--steps", type=int, help="batches; the first, all new, is a line of its own")


def run(
    plan: Plan, sets: Sequence[str] = (), *, vehicles: int | None = None, steps: int | None = None
) -> Iterator[Figure]:
    """Measure the named sets.

    Args:
        plan: its size says how much, where it is not given.
        sets: names out of ``workloads.SETS``.
        vehicles: fixes a batch.
        steps: batches; the first, in which every vehicle is new, is a line of its own.

    Raises:
        BadOption: an unknown set, or numbers out of range.
    """
    chosen = list(sets) or plan.pick(["A"], ["A", "C10k"], list(SETS))
    unknown = sorted(set(chosen) - set(SETS))
    if unknown:
        raise BadOption(f"unknown set {unknown[0]!r}; choose from {', '.join(SETS)}")
    if (vehicles is not None and vehicles < 1) or (steps is not None and steps < 2):
        raise BadOption("--vehicles must be at least 1 and --steps at least 2")
    for name in chosen:
        # Where events are many, a quick look needs fewer vehicles.
        fitting = plan.pick(500, 100_000 if name == "A" else 20_000, 100_000)
        batches = steps or plan.rounds(*_FEW_OF.get(name, _BATCHES)) + 1
        yield from _measure_set(name, vehicles or fitting, batches, plan.seed)


def _measure_set(name: str, vehicles: int, steps: int, seed: int) -> Iterator[Figure]:
    fences = SETS[name]()
    rng = np.random.default_rng(seed)

    def batches() -> list[FixBatch]:
        return truck_traffic(fences, vehicles=vehicles, steps=steps, seed=seed)

    few = [batch.take(slice(0, _BY_HAND)) for batch in batches()]
    fences.locate(few[0].lon[:1], few[0].lat[:1])  # what the index costs is told in ``match.py``
    counts: list[int] = []
    ways: dict[str, list[Took]] = {"": _alone(Engine(fences).process, batches(), counts)}
    events = sum(counts[1:])
    telling = Engine(fences)
    ways["told"] = _alone(lambda batch: telling.process(batch).events, batches())
    # Written by hand, every border counts at once; so does the engine that is compared with it.
    at_once, hand = Engine(fences, EngineSettings(settle_m=0.0)), TellerByHand(fences, Plan(seed=seed))
    ways["at once"] = _alone(at_once.process, batches())
    ways["hand"] = [timed(lambda part=part: hand.tell(part)) for part in few]  # type: ignore[misc]
    # Without thin fences, no segment has to be looked at.
    thick = FenceSet([fence for fence in fences if not fence.thin])
    bare = len(thick) < len(fences)
    if bare:
        ways["bare"] = _alone(Engine(thick).process, batches())
    for label, part in _BAD.items():
        ways[label] = _alone(Engine(fences).process, [_with_bad(batch, part, rng) for batch in batches()])
    # In the first batch every vehicle is new, and what is made of fences at their first use is made.
    first = ways[""][:1]
    ways = {way: took[1:] for way, took in ways.items()}
    names = few[0].vehicles[: len(few[0])]
    wrong = sum(set(at_once.inside(vehicle)) != hand.inside()[vehicle] for vehicle in names)
    about: dict[str, Any] = {"suite": "core", "workload": name, "what": "process", "unit": "fixes/s"}
    ours: dict[str, Any] = {**about, "n": vehicles, "clock": "cpu"}
    note = f"{name}: {events / (vehicles * (steps - 1)):.4f} events a fix"
    yield Figure(**ours, way=OURS, values=rates(vehicles, ways[""]), note=note)
    yield Figure(**ours, way=f"{OURS}, the first batch", values=rates(vehicles, first))
    yield Figure(**ours, way=f"{OURS}, Event objects made", values=rates(vehicles, ways["told"]))
    yield Figure(**ours, way=f"{OURS}, borders at once", values=rates(vehicles, ways["at once"]),
                 checked=len(names), wrong=wrong)  # fmt: skip
    if bare:
        yield Figure(**ours, way=f"{OURS}, without segments", values=rates(vehicles, ways["bare"]))
    for share in _BAD:
        low, high = _BAD_HDOP
        yield Figure(
            **ours, way=f"{OURS}, {share} with HDOP {low:g} to {high:g}", values=rates(vehicles, ways[share])
        )
    yield Figure(**about, way=hand.name, values=rates(len(few[0]), ways["hand"]), n=len(few[0]), clock="cpu",
                 checked=len(names))  # fmt: skip


def _with_bad(batch: FixBatch, share: float, rng: np.random.Generator) -> FixBatch:
    """The batch, of which so many fixes say that they are bad; of the rest nobody says anything."""
    hdop = np.where(rng.random(len(batch)) < share, rng.uniform(*_BAD_HDOP, len(batch)), np.nan)
    return replace(batch, accuracy_m=accuracy_m({"hdop": hdop}, len(batch)))


def _alone(
    process: Callable[[FixBatch], Sized], batches: list[FixBatch], counts: list[int] | None = None
) -> list[Took]:
    """Have an engine process all batches, and nothing else between them, as in service.

    Ways that take turns batch by batch would find their state thrown out of the caches by each other. A batch
    is gone once it is processed, but for what the engine keeps of it, and so is what follows from it but its
    number of events: so their memory serves for the next.
    """
    took: list[Took] = []
    found: list[int] = [] if counts is None else counts
    batches.reverse()
    while batches:
        batch = batches.pop()
        took.append(timed(lambda batch=batch: found.append(len(process(batch)))))  # type: ignore[misc]
    return took
