"""What the rules cost: the core with every rule on against the core with visits only.

``hazfence bench rules``. The traffic is that of a whole
district, 21,500 vehicles on its corridors, in its park and around it, through
:meth:`Engine.process` and :meth:`Engine.advance` in batches of ten seconds. Processor time counts;
the first quarter, in which every vehicle is new, does not. What the rules cost is mainly the fixes
at which a vehicle stops, starts or meets a border.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hazfence import Engine, EngineSettings, FixBatch
from hazfence.rules import RULES, Rulebook
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.plan import BadOption, Plan
from hazfence_fences import FenceSet, load_fences

__all__ = ["options", "run", "traffic"]

_START_US = 1_772_409_600_000_000


def traffic(
    fences: FenceSet, *, vehicles: int = 21_500, minutes: float = 10.0, every_s: int = 10, seed: int = 1
) -> list[FixBatch]:
    """A batch of one fix a vehicle for every ``every_s`` seconds.

    Args:
        fences: a district with corridors and a park.
        vehicles: of which 45 % drive to and fro on the corridors, from outside to outside, and stop for
            half a minute every ten to twenty; a quarter stand in the park, the rest outside the district.
        minutes: for how long.
        every_s: how often each reports.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    names = tuple(f"浙B{i:05d}" for i in range(vehicles))
    axes = [np.array(f.axis.coords) for f in fences if f.axis is not None]
    road = rng.integers(0, len(axes), vehicles)
    park = next(f.bounds for f in fences if f.kind == "parking")
    west, south, _east, north = next(f.bounds for f in fences if f.kind == "district")
    what = rng.random(vehicles)
    drives, sleeps_in_park = what < 0.45, what > 0.75
    stand = rng.uniform((west - 0.2, south - 0.2), (west - 0.05, north), (vehicles, 2))
    stand[sleeps_in_park] = rng.uniform(park[:2], park[2:], (int(sleeps_in_park.sum()), 2))
    cruise_kmh, rhythm_s = rng.uniform(40, 56, vehicles), rng.uniform(600, 1200, vehicles)
    way_m, phase_s = rng.uniform(0, 60_000, vehicles), rng.uniform(0, 1200, vehicles)
    batches = []
    for step in range(round(minutes * 60 / every_s)):
        at_s = step * every_s
        stops = ~drives | ((at_s + phase_s) % rhythm_s < 30)
        kmh = np.where(stops, 0.0, cruise_kmh + rng.normal(0, 0.8, vehicles))
        way_m += kmh / 3.6 * every_s
        place = stand.copy()
        for i, axis in enumerate(axes):
            on = drives & (road == i)
            place[on] = _along(axis, way_m[on])
        place += rng.normal(0, 3e-5, place.shape)
        batches.append(
            FixBatch.of(
                np.arange(vehicles, dtype=np.int32),
                vehicles=names,
                time_us=_START_US + at_s * 1_000_000 + rng.integers(0, 1_000_000, vehicles),
                lon=place[:, 0],
                lat=place[:, 1],
                speed_kmh=kmh,
                status=3,
            )
        )
    return batches


def _along(axis: npt.NDArray[np.float64], way_m: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Places after so many metres to and fro on a line of degrees and a kilometre beyond its ends."""
    a_degree = np.array([96_500.0, 110_900.0])
    metres = axis * a_degree
    ahead = (metres[-1] - metres[-2]) / np.hypot(*(metres[-1] - metres[-2]))
    behind = (metres[0] - metres[1]) / np.hypot(*(metres[0] - metres[1]))
    metres = np.concatenate([[metres[0] + 1000 * behind], metres, [metres[-1] + 1000 * ahead]])
    at_m = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(metres, axis=0).T))])
    s = np.abs((way_m + at_m[-1]) % (2 * at_m[-1]) - at_m[-1])
    places: npt.NDArray[np.float64] = np.column_stack([np.interp(s, at_m, metres[:, k]) for k in (0, 1)])
    return np.asarray(places / a_degree)


def options(parser: argparse.ArgumentParser) -> None:
    """Vehicles and minutes."""
    parser.add_argument("--vehicles", type=int, help="of the district (21,500)")
    parser.add_argument("--minutes", type=float, help="of traffic (10)")


def run(plan: Plan, *, vehicles: int | None = None, minutes: float | None = None) -> Iterator[Figure]:
    """Fixes a second with every rule on, and with visits only; events of each kind in a note.

    Args:
        plan: its size says how much, where it is not given.
        vehicles: of the traffic.
        minutes: of the traffic.

    Raises:
        BadOption: fewer than 10 vehicles or less than a minute.
    """
    vehicles = plan.pick(300, 10_000, 21_500) if vehicles is None else vehicles
    minutes = plan.pick(1.0, 2.0, 10.0) if minutes is None else minutes
    if vehicles < 10 or minutes < 1:
        raise BadOption("--vehicles must be at least 10 and --minutes at least 1")
    fences = load_fences(_zhenhai())
    batches = traffic(fences, vehicles=vehicles, minutes=minutes, seed=plan.seed)
    fixes = sum(map(len, batches[len(batches) // 4 :]))
    books = {
        "visits only": EngineSettings(rules=Rulebook({str(rule.kind): False for rule in RULES})),
        "every rule": EngineSettings(rules=Rulebook.all_on({"overspeed": {"general_kmh": 60.0}})),
    }
    took_s: dict[str, list[float]] = {name: [] for name in books}
    kinds = dict[str, int]()
    for _ in range(plan.rounds(1, 5, 5)):
        for name, settings in books.items():
            one_s, kinds = _run(batches, fences, settings)
            took_s[name].append(max(one_s, 1e-6))
    note = "every rule: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    for name, times in took_s.items():
        yield Figure("rules", f"district, {vehicles} vehicles", name, OURS, "fixes/s",
                     tuple(fixes / t for t in times), fixes, clock="cpu",
                     note=note if name == "every rule" else "")  # fmt: skip


def _run(batches: list[FixBatch], fences: FenceSet, settings: EngineSettings) -> tuple[float, dict[str, int]]:
    """Seconds of processor time behind the first quarter, in which every vehicle is new."""
    engine, kinds, took_s = Engine(fences, settings), Counter[str](), 0.0
    gc.collect()
    for i, batch in enumerate(batches):
        started = time.process_time()
        events = [*engine.process(batch), *engine.advance(int(batch.time_us[-1]))]
        if i >= len(batches) // 4:
            took_s += time.process_time() - started
        kinds.update(str(event.kind) for event in events if event.revision == 1)
    return took_s, dict(sorted(kinds.items()))


def _zhenhai() -> Path:
    """The fences that come with the source."""
    return Path(str(resources.files("hazfence_fences"))).parent / "zhenhai"
