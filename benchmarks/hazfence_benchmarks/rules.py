"""What the rules cost: the core with every rule on against the core with visits only.

Run ``python -m hazfence_benchmarks.rules`` (``--json`` for machines). The traffic is that of a whole
district: 21,500 vehicles on straight ways to and fro, half of them parked, reporting every 10 s, with
their stops, an overspeed here, a departure from the corridor there. The order of the two runs takes
turns, so that neither has the warmer machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hazfence import Engine, EngineSettings, FixBatch
from hazfence.rules import RULES, Rulebook
from hazfence_fences import FenceSet, load_fences

__all__ = ["main", "measure", "traffic"]

_START_US = 1_772_409_600_000_000


def traffic(
    fences: FenceSet, *, vehicles: int = 21_500, minutes: float = 10.0, every_s: int = 10, seed: int = 1
) -> list[FixBatch]:
    """A batch of one fix a vehicle for every ``every_s`` seconds.

    Args:
        fences: traffic fills the box of the first district and a tenth more on every side.
        vehicles: how many; half of them stand all the time.
        minutes: for how long.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    west, south, east, north = next(f.bounds for f in fences if f.kind == "district")
    wide, tall = east - west, north - south
    names = tuple(f"浙B{i:05d}" for i in range(vehicles))
    home = rng.uniform((west - wide / 10, south - tall / 10), (east + wide / 10, north + tall / 10), (vehicles, 2))
    angle = rng.uniform(0, 2 * np.pi, vehicles)
    cruise = rng.uniform(35, 58, vehicles)
    parked = rng.random(vehicles) < 0.5
    # Stops of half a minute, now and then: each truck has its own rhythm of some minutes.
    rhythm_s, phase_s = rng.uniform(240, 900, vehicles), rng.uniform(0, 900, vehicles)
    way_m = np.zeros(vehicles)
    batches = []
    for step in range(round(minutes * 60 / every_s)):
        at_s = step * every_s
        stands = parked | ((at_s + phase_s) % rhythm_s < 30)
        speed = np.where(stands, 0.0, cruise + rng.normal(0, 1.5, vehicles))
        way_m += speed / 3.6 * every_s
        # To and fro over six kilometres.
        along = np.abs((way_m + 3000) % 12_000 - 6000)
        noise = rng.normal(0, 3e-5, (2, vehicles))
        batches.append(
            FixBatch.of(
                np.arange(vehicles, dtype=np.int32),
                vehicles=names,
                time_us=_START_US + at_s * 1_000_000 + rng.integers(0, 1_000_000, vehicles),
                lon=home[:, 0] + along * np.sin(angle) / 96_500 + noise[0],
                lat=home[:, 1] + along * np.cos(angle) / 110_900 + noise[1],
                speed_kmh=np.maximum(speed, 0.0),
                status=3,
            )
        )
    return batches


def measure(*, vehicles: int = 21_500, minutes: float = 10.0, rounds: int = 3) -> dict[str, Any]:
    """Fixes a second with every rule on, and with visits only.

    Returns:
        ``visits_fixes_per_s``, ``rules_fixes_per_s``, their ``ratio`` (of the best rounds), what was
        measured, and the events of each kind with every rule on.
    """
    fences = load_fences(_zhenhai())
    batches = traffic(fences, vehicles=vehicles, minutes=minutes)
    fixes = sum(map(len, batches))
    books = {
        "visits": EngineSettings(rules=Rulebook({str(rule.kind): False for rule in RULES})),
        "rules": EngineSettings(rules=Rulebook.all_on()),
    }
    best = {name: float("inf") for name in books}
    kinds: dict[str, int] = {}
    for _ in range(rounds):
        for name, settings in books.items():
            took_s, kinds = _run(batches, fences, settings)
            best[name] = min(best[name], took_s)
    speeds = {f"{name}_fixes_per_s": round(fixes / took_s) for name, took_s in best.items()}
    return {
        "suite": "rules",
        "vehicles": vehicles,
        "fixes": fixes,
        "batch_fixes": vehicles,
        **speeds,
        "ratio": round(best["visits"] / best["rules"], 3),
        "events": kinds,
    }


def _run(
    batches: list[FixBatch], fences: FenceSet, settings: EngineSettings
) -> tuple[float, dict[str, int]]:
    engine, kinds = Engine(fences, settings), dict[str, int]()
    gc.collect()
    started = time.perf_counter()
    for batch in batches:
        for event in engine.process(batch):
            kinds[str(event.kind)] = kinds.get(str(event.kind), 0) + 1
        for event in engine.advance(int(batch.time_us.max())):
            kinds[str(event.kind)] = kinds.get(str(event.kind), 0) + 1
    return time.perf_counter() - started, dict(sorted(kinds.items()))


def _zhenhai() -> Path:
    """The fences that come with the source."""
    return Path(str(resources.files("hazfence_fences"))).parent / "zhenhai"


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--vehicles", type=int, default=21_500)
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args(argv)
    found = measure(vehicles=args.vehicles, minutes=args.minutes)
    if args.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return 0
    for key, value in found.items():
        sys.stdout.write(f"{key:>20}  {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
