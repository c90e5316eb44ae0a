"""How fast the whole core is: fixes in, visits and breaches out, beside the same written by hand.

Run ``hazfence bench core`` (``--json`` for machines). Trucks drive straight for minutes at a time
through the region of a fence set and report every ten seconds; every fix goes through cleaning,
order, matching, segments against thin fences, transitions and rules. Written by hand means an rtree,
prepared shapely geometries and a dict of the fences each vehicle was in, a fix at a time, no segments
and no rules. Both must agree on where every vehicle is in the end. Next room: ``match.py``, the index
alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rtree
import shapely
from numpy.typing import NDArray
from shapely.prepared import prep

from hazfence import Engine, FixBatch
from hazfence_benchmarks.match import SETS, machine
from hazfence_fences import FenceSet

__all__ = ["main", "measure", "truck_traffic"]

_START_US = 1_772_409_600_000_000
_EVERY_S = 10
_TURN = 1 / 60  # of the reports: a truck takes another road every ten minutes or so


def truck_traffic(fences: FenceSet, *, vehicles: int, steps: int, seed: int = 1) -> list[FixBatch]:
    """One batch a step, one fix a vehicle in it.

    Args:
        fences: trucks stay within their common bounds.
        vehicles: half of them drive at 30 to 60 km/h, half stand, as in a district by day.
        steps: reports of each vehicle, ten seconds apart.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    west, south, east, north = shapely.total_bounds([f.geometry for f in fences])
    lon, lat = rng.uniform(west, east, vehicles), rng.uniform(south, north, vehicles)
    heading = rng.uniform(0, 2 * np.pi, vehicles)
    kmh = np.where(rng.random(vehicles) < 0.5, rng.uniform(30, 60, vehicles), 0.0)
    step_deg = kmh / 3.6 * _EVERY_S / 111_195.0
    names = tuple(f"浙B{i:06d}" for i in range(vehicles))
    batches = []
    for step in range(steps):
        turns = rng.random(vehicles) < _TURN
        heading = np.where(turns, rng.uniform(0, 2 * np.pi, vehicles), heading)
        lon = lon + step_deg * np.cos(heading) / np.cos(np.radians(lat))
        lat = lat + step_deg * np.sin(heading)
        out = (lon < west) | (lon > east) | (lat < south) | (lat > north)
        heading = np.where(out, heading + np.pi, heading)
        batches.append(
            FixBatch.of(
                np.arange(vehicles, dtype=np.int32),
                vehicles=names,
                time_us=_START_US + step * _EVERY_S * 1_000_000 + rng.integers(0, 10**6, vehicles),
                lon=lon,
                lat=lat,
                speed_kmh=kmh,
                status=3,
            )
        )
    return batches


def measure(
    sets: Sequence[str] = tuple(SETS), *, vehicles: int = 100_000, steps: int = 8, by_hand: int = 1000
) -> dict[str, Any]:
    """Measure the named sets: a JSON-able dict.

    Args:
        sets: names out of ``match.SETS``.
        vehicles: fixes a batch.
        steps: batches; the first, in which every vehicle is new, is not counted.
        by_hand: vehicles that the way written by hand follows.

    Raises:
        AssertionError: the two ways disagree on where a vehicle is.
    """
    found = {name: _measure_set(SETS[name], vehicles, steps, by_hand) for name in sets}
    return {"suite": "core", "machine": machine(), "vehicles": vehicles, "steps": steps, "sets": found}


def _measure_set(make: Callable[[], FenceSet], vehicles: int, steps: int, by_hand: int) -> dict[str, Any]:
    fences = make()
    batches = truck_traffic(fences, vehicles=vehicles, steps=steps)
    engine, hand = Engine(fences), _ByHand(fences)
    engine.process(batches[0])
    few = [batch.take(slice(0, by_hand)) for batch in batches]
    hand.process(few[0])
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    events = 0
    for batch, part in zip(batches[1:], few[1:], strict=True):
        began, cpu = time.perf_counter(), time.process_time()
        events += len(engine.process(batch))
        ours.append((time.perf_counter() - began, time.process_time() - cpu))
        began, cpu = time.perf_counter(), time.process_time()
        hand.process(part)
        theirs.append((time.perf_counter() - began, time.process_time() - cpu))
    for name in few[0].vehicles[:by_hand]:
        assert set(engine.inside(name)) == hand.inside[name], name
    wall_s, cpu_s = np.median(np.array(ours), axis=0)
    hand_cpu_s = float(np.median(np.array(theirs), axis=0)[1])
    rate, hand_rate = vehicles / cpu_s, by_hand / hand_cpu_s
    return {
        "fences": len(fences),
        "mfixes_per_s": round(vehicles / wall_s / 1e6, 3),
        "mfixes_per_cpu_s": round(rate / 1e6, 3),
        "events_per_fix": round(events / (vehicles * (steps - 1)), 4),
        "by_hand_mfixes_per_cpu_s": round(hand_rate / 1e6, 4),
        "ratio": round(rate / hand_rate, 1),
    }


class _ByHand:
    """The way one writes first; tells entries and exits, nothing else."""

    def __init__(self, fences: FenceSet) -> None:
        self.inside: dict[str, set[str]] = {}
        self._fences = fences.fences
        self._tests = [prep(f.geometry).covers if f.metric is None else None for f in fences]
        self._tree = rtree.index.Index((i, f.bounds, None) for i, f in enumerate(fences))

    def process(self, batch: FixBatch) -> list[tuple[str, str, str]]:
        told = []
        places: NDArray[Any] = np.column_stack([batch.lon, batch.lat])
        for name, (x, y) in zip(batch.names(), places.tolist(), strict=True):
            point, now = shapely.Point(x, y), set()
            for i in self._tree.intersection((x, y, x, y)):
                test, fence = self._tests[i], self._fences[i]
                if fence.covers(x, y) if test is None else test(point):
                    now.add(fence.id)
            before = self.inside.get(name, set())
            told += [(name, "enter", f) for f in now - before] + [(name, "exit", f) for f in before - now]
            self.inside[name] = now
        return told


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the sets named on the command line (all without names)."""
    parser = argparse.ArgumentParser(prog="hazfence bench core", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET", help=f"of {', '.join(SETS)}")
    parser.add_argument("--vehicles", type=int, default=100_000, help="fixes a batch")
    parser.add_argument("--steps", type=int, default=8, help="batches")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.sets) - set(SETS))
    if unknown:
        parser.error(f"unknown set {unknown[0]!r}; choose from {', '.join(SETS)}")
    if options.vehicles < 1 or options.steps < 2:
        parser.error("--vehicles must be at least 1 and --steps at least 2")
    by_hand = min(1000, options.vehicles)
    found = measure(options.sets, vehicles=options.vehicles, steps=options.steps, by_hand=by_hand)
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    head = (
        f"{'set':<8}{'fences':>8}{'M fixes/s':>11}{'/CPU s':>9}{'events/fix':>12}{'by hand':>10}{'ratio':>9}"
    )
    lines = [head]
    for name, row in found["sets"].items():
        lines.append(
            f"{name:<8}{row['fences']:>8}{row['mfixes_per_s']:>11.2f}{row['mfixes_per_cpu_s']:>9.2f}"
            f"{row['events_per_fix']:>12.4f}{row['by_hand_mfixes_per_cpu_s']:>10.4f}{row['ratio']:>9.1f}"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
