"""A simulated week in which every rule is broken on purpose: all found, none else, none twice."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from hazfence.rules import RULES
from hazfence_replay.simulator.case_trips import CASES
from hazfence_replay.simulator.cases import SimulatedWeek, simulate_week
from hazfence_replay.week import find

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


@pytest.mark.slow
@pytest.mark.parametrize(("vehicles", "seed"), [(1000, 2), (1000, 3)] if NIGHTLY else [(1000, 2)])
def test_planted_is_found_over_seven_days(vehicles: int, seed: int) -> None:
    week = simulate_week(seed=seed, vehicles=vehicles, days=7)
    result = find(week)
    assert result.perfect, "\n".join(result.explain()[:20])
    planted = Counter(p.kind for p in week.truth)
    assert set(planted) == {str(rule.kind) for rule in RULES}
    assert min(planted.values()) >= 10
    nearly = {case for case, _, _ in week.near}
    assert nearly == {case for case in CASES if case.startswith("near_")} | {"near_yard", "near_bays"}


def test_late_fixes_change_nothing_that_is_found() -> None:
    week = simulate_week(seed=5, vehicles=30, days=1)
    # Every tenth fix comes two minutes after the others of its time.
    late = week.fixes.offset * 0
    late[::10] = 120_000_000
    order = (week.fixes.time_us + late).argsort(kind="stable")
    shuffled = SimulatedWeek(
        week.fixes.take(order),
        *(week.truth, week.reference, week.reads, week.near),
        *(week.start_us, week.end_us),
    )
    result = find(shuffled, clock_lag_us=180_000_000)
    assert result.perfect, "\n".join(result.explain()[:20])


def test_the_same_seed_gives_the_same_week() -> None:
    one, other = (simulate_week(seed=7, vehicles=5, days=2) for _ in range(2))
    assert one.fixes == other.fixes
    assert one.truth == other.truth
    assert simulate_week(seed=8, vehicles=5, days=2).fixes != one.fixes
