"""How matching grows with the number of fences: from 7 to 100,000 small ones, beside the peers.

``hazfence bench fences``: circles, blobs and corridors of 50 to 300 m that overlap, spread over a district
and its surroundings, so that more fences also mean more of them over every point; asked with points
spread evenly, in batches of 100,000. Told: points a second, and seconds to build.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.match import side_by_side
from hazfence_benchmarks.peers import POINT_PEERS, opened
from hazfence_benchmarks.plan import BadOption, Plan, timed
from hazfence_benchmarks.points import POINTS
from hazfence_benchmarks.workloads import set_c

__all__ = ["options", "run"]

_BATCHES = 4


def options(parser: argparse.ArgumentParser) -> None:
    """How many fences, which points."""
    parser.add_argument("--counts", help="numbers of fences, by commas, instead of those of the size")
    parser.add_argument("--points", default="uniform", help=f"of {', '.join(POINTS)}")


def run(plan: Plan, *, counts: str | None = None, points: str = "uniform") -> Iterator[Figure]:
    """Measure each number of fences.

    Args:
        plan: its size says which numbers, where they are not given.
        counts: numbers of fences by commas.
        points: a kind out of `points.POINTS`.

    Raises:
        BadOption: a number that is none, or an unknown kind of points.
    """
    if points not in POINTS:
        raise BadOption(f"unknown kind of points {points!r}; choose from {', '.join(POINTS)}")
    full = [7, 100, 1000, 10_000, 100_000]
    for count in _numbers(counts) or plan.pick([50], [7, 1000, 10_000], full):
        fences = set_c(count, plan.seed)
        built = timed(lambda fences=fences: fences.table)  # type: ignore[misc]
        yield Figure("fences", "small", "build", OURS, "s", (max(built.cpu_s, 1e-6),), count, "less", "cpu",
                     count, "fences")  # fmt: skip
        batch = plan.pick(1000, 100_000, 100_000)
        lots = [POINTS[points](fences, batch, plan.seed * 100 + i) for i in range(_BATCHES)]
        with opened(POINT_PEERS, plan, fences) as (peers, skipped):
            yield from side_by_side(plan, fences, peers, lots, suite="fences", workload=f"small, {points}",
                                    x=float(count), x_name="fences")  # fmt: skip
            for way, why in skipped.items():
                yield Figure("fences", f"small, {points}", "locate", way, "points/s", x=float(count),
                             x_name="fences", skipped=why)  # fmt: skip


def _numbers(text: str | None) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise BadOption(f"--counts: numbers by commas, such as 7,100,1000, not {text!r}") from error
    if any(number < 1 for number in found):
        raise BadOption("--counts: every number must be at least 1")
    return found
