"""How fast points and segments are matched, beside the two ways one would write by hand, in the same run.

Run ``python -m hazfence_benchmarks.match`` (``--json`` for machines). Ways: *hazfence*, `FenceSet.locate` on
batches; *by hand*, an rtree and prepared shapely geometries, a point at a time; *strtree*, shapely's STRtree
and vectorised `covers`, in bulk. All three are asked the same points first and must give the same sets. Then
rounds of the three are interleaved, so that a busy moment of the machine hits all of them; medians are told,
by the clock and by the processor time of the process, which differ where other programs share the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rtree
import shapely
from numpy.typing import NDArray
from shapely.geometry import Point
from shapely.prepared import prep

from hazfence_benchmarks.exactness import reference_pairs
from hazfence_benchmarks.workloads import points_around, set_a, set_b, set_c, small_fence
from hazfence_fences import FenceSet

__all__ = ["SETS", "TARGETS_MPOINTS", "machine", "main", "measure"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

SETS: dict[str, Callable[[], FenceSet]] = {
    "A": set_a,
    "B": set_b,
    "C10k": lambda: set_c(10_000),
    "C100k": lambda: set_c(100_000),
}
# What the project set out to reach: million points a second on one core, batches of 100,000.
TARGETS_MPOINTS = {"A": 100.0, "B": 35.0, "C10k": 12.0, "C100k": 2.5}
_AT_A_STRETCH = 4  # calls in a round: a stream asks its index all the time
_BATCHES = 8  # different batches in turn: one batch over and over would sit in the cache


class _ByHand:
    """What one writes first: candidates from an R-tree, then the prepared geometry, point by point."""

    def __init__(self, fences: FenceSet) -> None:
        self.keys = [f.key for f in fences]
        self.tests = [prep(f.geometry).covers if f.metric is None else None for f in fences]
        self.fences = fences
        self.tree = rtree.index.Index((i, f.bounds, None) for i, f in enumerate(fences))

    def keys_of(self, lon: F64, lat: F64) -> U64:
        out = []
        for x, y in zip(lon.tolist(), lat.tolist(), strict=True):
            key, point = 0, Point(x, y)
            for i in self.tree.intersection((x, y, x, y)):
                test = self.tests[i]
                if self.fences[i].covers(x, y) if test is None else test(point):
                    key += self.keys[i]
            out.append(key % (1 << 64))
        return np.array(out, dtype=np.uint64)


def _bulk_keys(fences: FenceSet, keys: U64, lon: F64, lat: F64) -> U64:
    point, fence = reference_pairs(fences, lon, lat)
    out = np.zeros(len(lon), dtype=np.uint64)
    np.add.at(out, point, keys[fence])
    return out


def _timed(work: Callable[..., Any], *args: Any) -> tuple[float, float]:
    """Seconds by the clock and of the process that a call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*args)
    return time.perf_counter() - wall, time.process_time() - cpu


def _rates(points: int, times: list[tuple[float, float]]) -> dict[str, float]:
    wall, cpu = np.median(np.array(times), axis=0)
    return {"mpoints_per_s": round(points / wall / 1e6, 4), "mpoints_per_cpu_s": round(points / cpu / 1e6, 4)}


def measure(
    sets: Sequence[str] = tuple(SETS),
    *,
    batch: int = 100_000,
    rounds: int = 15,
    by_hand_points: int = 1000,
    strtree_points: int = 10_000,
) -> dict[str, Any]:
    """Measure the named sets: a JSON-able dict.

    Args:
        sets: names out of `SETS`.
        batch: points a call of `locate`.
        rounds: rounds of the three ways, interleaved.
        by_hand_points, strtree_points: points a round of the slower ways.

    Raises:
        AssertionError: two ways gave different answers.
    """
    return {
        "machine": machine(),
        "batch": batch,
        "first_result_s": _first_result_s(),
        "sets": {name: _measure_set(name, batch, rounds, by_hand_points, strtree_points) for name in sets},
    }


def _measure_set(
    name: str, batch: int, rounds: int, by_hand_points: int, strtree_points: int
) -> dict[str, Any]:
    fences = SETS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    build_wall, build_cpu = _timed(lambda: fences.table)
    out: dict[str, Any] = {
        "fences": len(fences),
        "vertices": int(sum(f.edge_count for f in fences)),
        "build_s": round(build_wall, 3),
        "build_cpu_s": round(build_cpu, 3),
        "build_peak_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1),
        "table_mb": round(fences.table.nbytes / 1e6, 1),
    }
    hand, keys = _ByHand(fences), np.array([f.key for f in fences], dtype=np.uint64)
    lon, lat = points_around(fences, 20_000, 77, 0.05)
    got, few = fences.locate(lon, lat).keys, slice(0, 2000)
    assert (got == _bulk_keys(fences, keys, lon, lat)).all(), "STRtree gives other sets"
    assert (got[few] == hand.keys_of(lon[few], lat[few])).all(), "rtree by hand gives other sets"
    batches = [points_around(fences, batch, seed, 0.05) for seed in range(_BATCHES)]
    ours, by_hand, strtree = [], [], []
    for n in range(rounds):
        ours += [_timed(fences.locate, *batches[(n + i) % _BATCHES]) for i in range(_AT_A_STRETCH)]
        x, y = batches[n % _BATCHES]
        by_hand.append(_timed(hand.keys_of, x[:by_hand_points], y[:by_hand_points]))
        strtree.append(_timed(_bulk_keys, fences, keys, x[:strtree_points], y[:strtree_points]))
    out["hazfence"] = _rates(batch, ours)
    out["by_hand"] = _rates(by_hand_points, by_hand)
    out["strtree"] = _rates(strtree_points, strtree)
    ours_rate = out["hazfence"]["mpoints_per_cpu_s"]
    out["times_by_hand"] = round(ours_rate / out["by_hand"]["mpoints_per_cpu_s"], 1)
    out["times_strtree"] = round(ours_rate / out["strtree"]["mpoints_per_cpu_s"], 1)
    out["target_mpoints_per_s"] = TARGETS_MPOINTS[name]
    out["other_batches"] = {}
    for size in (1000, 10_000):
        parts = [(x[:size], y[:size]) for x, y in batches]
        times = [_timed(fences.locate, *parts[i % _BATCHES]) for i in range(40)]
        out["other_batches"][str(size)] = _rates(size, times)
    one, singles = fences.locate_one, list(zip(*(v[:20_000].tolist() for v in batches[0]), strict=True))
    one(*singles[0])
    wall, cpu = _timed(lambda: [one(a, b) for a, b in singles])
    out["one_by_one"] = {"kpoints_per_s": round(20 / wall, 1), "kpoints_per_cpu_s": round(20 / cpu, 1)}
    out["segments"] = _segments(fences, batches)
    if len(fences) >= 100:
        out["patch_ms"] = _patches(fences)
    return out


def _segments(fences: FenceSet, batches: list[tuple[F64, F64]]) -> dict[str, Any]:
    """Segments of trucks (70 m to 400 m between fixes) against the set's thin fences."""
    times, n, hits = [], len(batches[0][0]), 0
    for seed, (x, y) in enumerate(batches * 2):
        rng = np.random.default_rng(seed)
        way, far = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.0006, 0.004, n)
        ends = x + np.cos(way) * far, y + np.sin(way) * far
        times.append(_timed(fences.segment_hits, x, y, *ends))
        hits = len(fences.segment_hits(x, y, *ends)[0])
    rate = _rates(n, times[1:])
    return {
        "thin_fences": sum(bool(f.thin) for f in fences),
        "hits_in_last_batch": hits,
        "msegments_per_s": rate["mpoints_per_s"],
        "msegments_per_cpu_s": rate["mpoints_per_cpu_s"],
    }


def _patches(fences: FenceSet) -> dict[str, float]:
    """Milliseconds until a set with one fence changed answers."""
    rng, live, times = np.random.default_rng(3), fences, []
    x, y = points_around(fences, 50, 1)
    for _ in range(60):
        fence = small_fence(rng, fences[int(rng.integers(0, len(fences)))].id)

        def change(fence: Any = fence) -> None:
            nonlocal live
            live = live.with_fence(fence)
            live.locate(x, y)

        times.append(_timed(change))
    wall, cpu = np.array(times[5:]).T * 1e3
    return {
        "median": round(float(np.median(wall)), 2),
        "p95": round(float(np.quantile(wall, 0.95)), 2),
        "median_cpu": round(float(np.median(cpu)), 2),
    }


def _first_result_s() -> float:
    """Seconds from starting Python to the first located point on set A, everything imported and built."""
    code = (
        "import numpy as np; from hazfence_benchmarks.workloads import set_a; "
        "assert set_a().locate(np.full(99, 121.6), np.full(99, 29.99)).keys[0] != 0"
    )
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return round(time.perf_counter() - begun, 2)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    """What the numbers were measured on: processor, its load, and the versions that matter."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(
                (line.split(":")[1].strip() for line in lines if line.startswith("model name")), model
            )
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "shapely": shapely.__version__,
        "geos": ".".join(map(str, shapely.geos_version)),
        "rtree": rtree.__version__,
    }


def _table(found: dict[str, Any]) -> str:
    """The findings as lines for people."""
    m = found["machine"]
    lines = [
        f"{m['cpu']}, {m['cores']} cores, load {m['load_1min']}; one thread, batches of {found['batch']:,}",
        f"first result on A {found['first_result_s']} s after starting Python",
        "",
        "                                         | million points a second          | times as fast",
        "set     fences vertices  build s table MB |  clock    cpu target by hand strtree | hand strtree",
    ]
    for name, s in found["sets"].items():
        ours, hand, bulk = s["hazfence"], s["by_hand"], s["strtree"]
        lines.append(
            f"{name:<6}{s['fences']:>8}{s['vertices']:>9}{s['build_s']:>9.2f}{s['table_mb']:>9.1f} |"
            f"{ours['mpoints_per_s']:>7.1f}{ours['mpoints_per_cpu_s']:>7.1f}{s['target_mpoints_per_s']:>7.1f}"
            f"{hand['mpoints_per_s']:>8.3f}{bulk['mpoints_per_s']:>8.3f} |"
            f"{s['times_by_hand']:>5.0f}{s['times_strtree']:>8.0f}"
        )
    for name, s in found["sets"].items():
        thin, one = s["segments"], s["one_by_one"]
        line = (
            f"{name}: {one['kpoints_per_s']:.0f} k single points/s; build peak +{s['build_peak_mb']:.0f} MB"
        )
        if thin["thin_fences"]:
            line += f"; {thin['msegments_per_s']:.1f} M segments/s against {thin['thin_fences']} thin fences"
        if "patch_ms" in s:
            line += f"; one fence changed in {s['patch_ms']['median']} ms"
        lines.append(line)
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the sets named on the command line (all without names)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET", help=f"of {', '.join(SETS)}")
    parser.add_argument("--batch", type=int, default=100_000, help="points a call")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the three ways")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.sets) - set(SETS))
    if unknown:
        parser.error(f"unknown set {unknown[0]!r}; choose from {', '.join(SETS)}")
    found = measure(options.sets, batch=options.batch, rounds=options.rounds)
    sys.stdout.write((json.dumps(found) if options.json else _table(found)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
