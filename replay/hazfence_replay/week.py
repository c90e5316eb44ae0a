"""``python -m hazfence_replay.week``: break every rule for a week on purpose, and see that all is found.

You are on the top floor, beside ``compare.py``. ``make week`` runs this with 1,000 trucks over 7 days; the
exit code is 0 when everything planted was found, and nothing else.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.settings import EngineSettings
from hazfence_replay.compare import Comparison, compare
from hazfence_replay.simulator.cases import SimulatedWeek, simulate_week, week_fences, week_rules
from hazfence_replay.whole import replay_whole

__all__ = ["find", "found", "main"]


def find(week: SimulatedWeek, *, clock_lag_us: int = 0) -> Comparison:
    """Run a week through the engine and the rules beside it, and compare.

    Example:
        >>> find(simulate_week(seed=1, vehicles=12, days=1)).perfect
        True
    """
    return compare(week.truth, found(week, clock_lag_us=clock_lag_us))


def found(week: SimulatedWeek, *, clock_lag_us: int = 0) -> Iterator[Event]:
    """What the engine and the rules beside it say of a week; the clock stays so far behind the fixes."""
    return replay_whole(
        _batches(week.fixes),
        week_fences(),
        EngineSettings(rules=week_rules()),
        week.reference,
        week.reads,
        since=week.start_us,
        until=week.end_us,
        clock_lag_us=clock_lag_us,
    )


def main(argv: list[str] | None = None) -> int:
    """Simulate, find, print the table."""
    parser = argparse.ArgumentParser(description="Break every rule for a week and find it all.")
    parser.add_argument("--vehicles", type=int, default=1000)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args(argv)
    began_s = time.process_time()
    week = simulate_week(seed=args.seed, vehicles=args.vehicles, days=args.days)
    sys.stdout.write(
        f"{args.vehicles} trucks, {args.days} days, seed {args.seed}: {len(week.fixes):,} fixes, "
        f"{len(week.reads):,} plate reads, {len(week.near):,} near misses\n"
    )
    result = find(week)
    widths = (22, 8, 6, 7, 6, 8, 9)
    for cells in (result.HEADER, *(row.cells() for row in result.rows())):
        sys.stdout.write(
            "".join(
                cell.ljust(w) if i == 0 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
            )
            + "\n"
        )
    for line in result.explain()[:20]:
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"{time.process_time() - began_s:.0f} s of processor time\n")
    return 0 if result.perfect else 1


def _batches(fixes: FixBatch, size: int = 20_000) -> Iterator[FixBatch]:
    for start in range(0, len(fixes), size):
        yield fixes.take(slice(start, start + size))


if __name__ == "__main__":
    sys.exit(main())
