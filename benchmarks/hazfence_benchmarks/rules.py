"""What the rules cost: the core with every rule on against the core with visits only.

Run ``python -m hazfence_benchmarks.rules`` (``--json`` for machines). The traffic is that of a whole
district, 21,500 simulated trucks on a working morning, through :meth:`Engine.process` and
:meth:`Engine.advance` in batches of ten seconds. Processor time counts, so a busy machine slows
neither side; the first quarter, in which every vehicle is new, is not counted.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import Counter
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hazfence import Engine, EngineSettings, FixBatch
from hazfence.rules import RULES, Rulebook
from hazfence_fences import FenceSet, load_fences
from hazfence_replay.simulator import simulate

__all__ = ["main", "measure", "traffic"]

_HOUR_US, _DAY_US = 3_600_000_000, 86_400_000_000


def traffic(
    fences: FenceSet, *, vehicles: int = 21_500, minutes: float = 20.0, seed: int = 1
) -> list[FixBatch]:
    """Simulated trucks from 09:00 on, each of them many times over, in batches of ten seconds.

    Args:
        fences: as for the simulator.
        vehicles: how many; a hundred different ones, the rest drive the same ways a little later.
        minutes: for how long.
        seed: of everything random.
    """
    day = simulate(fences, seed=seed, trucks=100, hours=24.0).fixes
    first_us = (
        int(day.time_us.min()) // _DAY_US * _DAY_US - 8 * _HOUR_US
    )  # 00:00 in Shanghai, or a day before
    while first_us + 24 * _HOUR_US <= int(day.time_us.min()):
        first_us += _DAY_US
    from_us = first_us + 9 * _HOUR_US
    part = day.take((day.time_us >= from_us) & (day.time_us < from_us + round(minutes * 60e6)))
    times = -(-vehicles // len(part.vehicles))
    lag_us = np.random.default_rng(seed).integers(0, 10_000_000, times)
    clones = [
        replace(
            part, vehicles=tuple(f"{v}-{k}" for v in part.vehicles), time_us=part.time_us + int(lag_us[k])
        )
        for k in range(times)
    ]
    everything = FixBatch.concat(clones)
    everything = everything.take(everything.vehicle < vehicles)
    everything = everything.take(np.argsort(everything.time_us, kind="stable"))
    edges = np.arange(from_us, from_us + round(minutes * 60e6) + 20_000_000, 10_000_000)
    cuts = np.searchsorted(everything.time_us, edges)
    return [everything.take(slice(lo, hi)) for lo, hi in pairwise(cuts.tolist()) if lo < hi]


def measure(*, vehicles: int = 21_500, minutes: float = 20.0, rounds: int = 3) -> dict[str, Any]:
    """Fixes a second with every rule on, and with visits only.

    Returns:
        ``visits_fixes_per_s``, ``rules_fixes_per_s``, their ``ratio`` (of the best rounds), what was
        measured, and the events of each kind with every rule on.
    """
    fences = load_fences(_zhenhai())
    batches = traffic(fences, vehicles=vehicles, minutes=minutes)
    fixes = sum(map(len, batches[len(batches) // 4 :]))
    books = {
        "visits": EngineSettings(rules=Rulebook({str(rule.kind): False for rule in RULES})),
        "rules": EngineSettings(rules=Rulebook.all_on({"overspeed": {"general_kmh": 80.0}})),
    }
    best, kinds = dict.fromkeys(books, float("inf")), dict[str, int]()
    for _ in range(rounds):
        for name, settings in books.items():
            took_s, kinds = _run(batches, fences, settings)
            best[name] = min(best[name], took_s)
    speeds = {f"{name}_fixes_per_s": round(fixes / took_s) for name, took_s in best.items()}
    return {
        "suite": "rules",
        "vehicles": vehicles,
        "fixes": fixes,
        "batch_fixes": round(fixes / max(1, len(batches) * 3 // 4)),
        **speeds,
        "ratio": round(best["visits"] / best["rules"], 3),
        "events": kinds,
    }


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


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--vehicles", type=int, default=21_500)
    parser.add_argument("--minutes", type=float, default=20.0)
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
