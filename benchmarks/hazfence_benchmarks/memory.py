"""What fences and vehicles take: bytes of memory each, measured in processes of their own, and of a snapshot.

``hazfence bench memory``: a fresh Python makes so many fences, or lets so many vehicles report, and its
resident memory before and after is compared; nothing that this process did before can blur it. Vehicles
first report once, then every ten seconds until the engine remembers ten minutes of each, as it does to
judge late fixes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.plan import Plan

__all__ = ["peak_bytes", "run"]


def run(plan: Plan) -> Iterator[Figure]:
    """Bytes a fence, a vehicle, a remembered fix and a snapshot, and MB of a process that has none."""
    for count in plan.pick([200], [1000, 10_000], [1000, 10_000, 100_000]):
        yield from _figures(plan, "fences", count)
    for count in plan.pick([500], [5_000, 20_000], [10_000, 100_000, 300_000]):
        yield from _figures(plan, "vehicles", count)


def _figures(plan: Plan, kind: str, count: int) -> Iterator[Figure]:
    rows = [_child(kind, count, plan.seed + n) for n in range(plan.rounds(1, 1, 3))]
    for what in rows[0]:
        unit = "MB" if what.startswith(("process", "peak")) else "bytes"
        values = tuple(float(row[what]) for row in rows)
        yield Figure("memory", kind, what, OURS, unit, values, count, "less", x=float(count), x_name=kind)


def _child(kind: str, count: int, seed: int) -> dict[str, float]:
    """Measure in a fresh Python."""
    code = f"from hazfence_benchmarks import memory; memory.measure_here({kind!r}, {count}, {seed})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure_here(kind: str, count: int, seed: int) -> None:
    """Measure in this process, which should be fresh, and print a JSON object."""
    found = _fences(count, seed) if kind == "fences" else _vehicles(count, seed)
    sys.stdout.write(json.dumps(found))


def _fences(count: int, seed: int) -> dict[str, float]:
    from hazfence_benchmarks.workloads import set_a, set_c

    set_a().locate([121.6], [29.99])  # all code is loaded
    empty = _resident()
    fences = set_c(count, seed)
    shapes = _resident()
    index = fences.table.nbytes
    fences.locate([121.6], [29.99])
    return {
        "process without fences": empty / 1e6,
        "a fence, its shape": (shapes - empty) / count,
        "a fence, its index": index / count,
        "a fence, all": (_resident() - empty) / count,
        "peak while building": peak_bytes() / 1e6,
    }


def _vehicles(count: int, seed: int) -> dict[str, float]:
    from hazfence import Engine, EngineSettings
    from hazfence_benchmarks.core import truck_traffic
    from hazfence_benchmarks.workloads import set_a

    fences = set_a()
    warm: Any = Engine(fences)
    for batch in truck_traffic(fences, vehicles=100, steps=3, seed=seed):
        warm.process(batch)
    engine = Engine(fences)
    empty = _resident()
    steps = round(EngineSettings().recent_s / 10)
    lot = 10_000
    first = 0
    for begin in range(0, count, lot):
        size = min(lot, count - begin)
        batches = truck_traffic(fences, vehicles=size, steps=1, seed=seed, first=begin)
        engine.process(batches[0])
    del batches
    first = _resident() - empty
    snapshot = len(engine.snapshot(with_recent=False))
    for begin in range(0, count, lot):
        size = min(lot, count - begin)
        for batch in truck_traffic(fences, vehicles=size, steps=steps, seed=seed, first=begin):
            engine.process(batch)
        del batch
    full = _resident() - empty
    return {
        "process without vehicles": empty / 1e6,
        "a vehicle, one fix": first / count,
        "a vehicle, ten minutes remembered": full / count,
        "a remembered fix": (full - first) / count / (steps - 1),
        "a vehicle in a snapshot": snapshot / count,
    }


def _resident() -> int:
    """Bytes of this process that are in memory, what is free to give back given back."""
    import gc

    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """Bytes of this process that were in memory at most. In ``ru_maxrss`` the parent's peak lives on."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
