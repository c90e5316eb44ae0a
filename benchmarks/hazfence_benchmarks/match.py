"""How fast points and segments are matched, beside what one would use instead, in the same run.

``hazfence bench match [SET ...]``: each fence set is asked for points of three kinds: trucks on their
ways, points spread evenly, and the worst case, points on and next to vertices and edges. Every peer is
asked the same points first and what it gets wrong is counted; then rounds of all are interleaved, so that
a busy moment of the machine hits all of them. Besides: the least numpy loop as a limit, one point at a
time, segments against thin fences, the time to build, to change one fence, and to the first answer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazfence_benchmarks.exactness import reference_keys
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.peers import POINT_PEERS, PointPeer, check, opened
from hazfence_benchmarks.plan import BadOption, Plan, interleave, rates, timed
from hazfence_benchmarks.points import POINTS
from hazfence_benchmarks.workloads import SETS, points_around, small_fence
from hazfence_benchmarks.yardstick import LEAST, Least
from hazfence_fences import FenceSet

__all__ = ["options", "run", "side_by_side"]

F64 = NDArray[np.float64]

_BATCHES = 8  # different batches in turn: one batch over and over would sit in the cache
_AT_A_STRETCH = 4  # calls in a round: a stream asks its index all the time


def options(parser: argparse.ArgumentParser) -> None:
    """Sets, batch, kinds of points."""
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; all without names")
    parser.add_argument("--batch", type=int, default=100_000, help="points a call")
    parser.add_argument("--points", help=f"kinds of points, of {', '.join(POINTS)}; all without it")


def run(
    plan: Plan, sets: Sequence[str] = (), *, batch: int = 100_000, points: str | None = None
) -> Iterator[Figure]:
    """Measure the named sets.

    Args:
        plan: the common options.
        sets: names out of `workloads.SETS`; without any, those that fit the size of the plan.
        batch: points a call of `locate`.
        points: kinds of points by commas, out of `workloads.POINTS`.

    Raises:
        BadOption: an unknown set or kind, or a batch below 1.
    """
    chosen = list(sets) or plan.pick(["A"], ["A", "B"], list(SETS))
    kinds = list(POINTS) if points is None else points.split(",")
    for what, given, known in (("set", chosen, SETS), ("kind of points", kinds, POINTS)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise BadOption(f"unknown {what} {unknown[0]!r}; choose from {', '.join(known)}")
    if batch < 1:
        raise BadOption("--batch must be at least 1")
    yield _first_answer(plan)
    for name in chosen:
        fences = SETS[name]()
        built = timed(lambda fences=fences: fences.table)  # type: ignore[misc]
        about: dict[str, Any] = {"suite": "match", "workload": name, "way": OURS}
        yield Figure(**about, what="build", unit="s", values=(built.cpu_s,), clock="cpu", better="less",
                     n=len(fences))  # fmt: skip
        with opened(POINT_PEERS, plan, fences) as (peers, skipped):
            for kind in kinds:
                size = plan.pick(2_000, 20_000 if kind == "worst" else 100_000, 100_000)
                lots = _lots(plan, fences, kind, min(batch, size))
                yield from side_by_side(plan, fences, peers, lots, suite="match", workload=f"{name} {kind}")
            for way, why in skipped.items():
                yield Figure("match", name, "locate", way, "points/s", skipped=why)
        yield from _besides(plan, fences, name)


def _lots(plan: Plan, fences: FenceSet, kind: str, batch: int) -> list[tuple[F64, F64]]:
    return [POINTS[kind](fences, batch, plan.seed * 100 + i) for i in range(_BATCHES)]


def side_by_side(
    plan: Plan, fences: FenceSet, peers: Sequence[PointPeer], lots: Sequence[tuple[F64, F64]], **about: Any
) -> Iterator[Figure]:
    """Locate batches of points: ours, the limit and the peers, checked first, then in the same rounds.

    Args:
        plan: the common options.
        fences: asked.
        peers: built from the same fences.
        lots: batches of one size, in turn; the last serves for the check.
        about: suite, workload, and what else the figures have in common.
    """
    batch, sample = len(lots[0][0]), lots[-1]
    few = slice(0, plan.pick(300, 5_000, 20_000))
    lon, lat = sample[0][few], sample[1][few]
    wrong = int(np.count_nonzero(fences.locate(lon, lat).keys != reference_keys(fences, lon, lat)))
    least, number = Least(batch), len(lots)
    calls: dict[str, Callable[[int], Any]] = {
        OURS: lambda n: [fences.locate(*lots[(n + i) % number]) for i in range(_AT_A_STRETCH)],
        LEAST: lambda n: [least(*lots[(n + i) % number]) for i in range(_AT_A_STRETCH)],
    }
    marks: dict[str, dict[str, Any]] = {
        OURS: {"clock": "cpu", "checked": len(lon), "wrong": wrong, "n": batch * _AT_A_STRETCH},
        LEAST: {"clock": "cpu", "n": batch * _AT_A_STRETCH},
    }
    for peer in peers:
        asked = min(peer.points, batch)
        x, y = sample[0][:asked], sample[1][:asked]
        errors = check(fences, peer, x, y)
        calls[peer.name] = partial(_ask, peer, [(a[:asked], b[:asked]) for a, b in lots])
        marks[peer.name] = {"clock": peer.clock, "checked": len(x), "wrong": errors, "n": asked}
    for way, took in interleave(calls, plan.rounds()).items():
        items, clock = marks[way]["n"], marks[way]["clock"]
        marks[way]["wall"] = rates(items, took, "wall") if clock == "cpu" else ()
        values = rates(items, took, clock)
        yield Figure(way=way, unit="points/s", values=values, what="locate", **about, **marks[way])


def _ask(peer: PointPeer, lots: list[tuple[F64, F64]], n: int) -> Any:
    return peer.pairs(*lots[n % len(lots)])


def _besides(plan: Plan, fences: FenceSet, name: str) -> Iterable[Figure]:
    """One point at a time, segments against thin fences, a changed fence."""
    about: dict[str, Any] = {"suite": "match", "workload": name, "way": OURS, "clock": "cpu"}
    n = plan.pick(500, 20_000, 20_000)
    lon, lat = points_around(fences, n, plan.seed, 0.05)
    one, singles = fences.locate_one, list(zip(lon.tolist(), lat.tolist(), strict=True))
    x, y = points_around(fences, plan.pick(2_000, 100_000, 100_000), plan.seed + 1, 0.05)
    rng = np.random.default_rng(plan.seed)
    way, far = rng.uniform(0, 2 * np.pi, len(x)), rng.uniform(0.0006, 0.004, len(x))
    ends = x + np.cos(way) * far, y + np.sin(way) * far
    took = interleave(
        {
            "one by one": lambda _: [one(a, b) for a, b in singles],
            "segments": lambda _: fences.segment_hits(x, y, *ends),
        },
        plan.rounds(),
    )
    yield Figure(**about, what="one by one", unit="points/s", values=rates(n, took["one by one"]), n=n)
    if any(fence.thin for fence in fences):
        yield Figure(**about, what="segments", unit="segments/s", values=rates(len(x), took["segments"]),
                     n=len(x), note="segments of trucks, 70 to 400 m, against thin fences")  # fmt: skip
    if len(fences) >= 100:
        values = _changes(fences, plan.pick(3, 20, 60), plan.seed)
        yield Figure(**about, what="change a fence", unit="ms", values=values, better="less")


def _changes(fences: FenceSet, n: int, seed: int) -> tuple[float, ...]:
    """Milliseconds until a set with one fence changed answers."""
    rng, live, times = np.random.default_rng(seed), fences, []
    x, y = points_around(fences, 50, 1)
    for _ in range(n + 5):
        fence = small_fence(rng, fences[int(rng.integers(0, len(fences)))].id)

        def change(fence: Any = fence) -> None:
            nonlocal live
            live = live.with_fence(fence)
            live.locate(x, y)

        times.append(timed(change).cpu_s * 1e3)
    return tuple(times[5:])


def _first_answer(plan: Plan) -> Figure:
    """From starting Python to the first located point on set A, everything imported and built."""
    code = (
        "import numpy as np; from hazfence_benchmarks.workloads import set_a; "
        "assert set_a().locate(np.full(99, 121.6), np.full(99, 29.99)).keys[0] != 0"
    )
    values = []
    for _ in range(plan.pick(1, 3, 5)):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        values.append(time.perf_counter() - begun)
    return Figure("match", "A", "first answer after starting Python", OURS, "s", tuple(values),
                  better="less", clock="wall")  # fmt: skip
