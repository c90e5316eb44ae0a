"""A simulated week in which every rule is broken on purpose: all found, none else, none twice."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter

import pytest

from hazfence import Engine, EngineSettings, Event
from hazfence.rules import RULES
from hazfence.rules.plates import PlateWatch
from hazfence_replay.compare import compare
from hazfence_replay.simulator.case_trips import CASES
from hazfence_replay.simulator.cases import SimulatedWeek, simulate_week, week_fences, week_rules

#: What the week does not plant: the simulated day plants the first, the others have tests by hand.
ELSEWHERE = {
    "restricted_entry",
    "paper_expiring",
    "zone_capacity",
    "separation",
}
NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


def found(week: SimulatedWeek, *, clock_lag_us: int = 0) -> list[Event]:
    engine = Engine(week_fences(), EngineSettings(rules=week_rules()), week.reference)
    watch = PlateWatch(week_fences(), week_rules())
    events: list[Event] = []
    reads = list(week.reads)
    for start in range(0, len(week.fixes), 20_000):
        batch = week.fixes.take(slice(start, start + 20_000))
        now_us = int(batch.time_us[-1]) - clock_lag_us
        passed = bisect_right(reads, now_us, key=lambda read: read.time_us)
        found = [*engine.process(batch), *engine.advance(now_us)]
        events += [*found, *watch.take(found, reads[:passed]), *watch.advance(now_us)]
        del reads[:passed]
    found = list(engine.advance(week.end_us))
    return [*events, *found, *watch.take(found, reads), *watch.advance(week.end_us)]


@pytest.mark.slow
@pytest.mark.parametrize(("vehicles", "seed"), [(1000, 2), (1000, 3)] if NIGHTLY else [(220, 2)])
def test_planted_is_found_over_seven_days(vehicles: int, seed: int) -> None:
    week = simulate_week(seed=seed, vehicles=vehicles, days=7)
    result = compare(week.truth, found(week))
    assert result.perfect, "\n".join(result.explain()[:20])
    planted = Counter(p.kind for p in week.truth)
    assert set(planted) == {str(rule.kind) for rule in RULES} - ELSEWHERE
    assert min(planted.values()) >= 10
    nearly = {case for case, _, _ in week.near}
    assert nearly == {case for case in CASES if case.startswith("near_")}


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
    result = compare(week.truth, found(shuffled, clock_lag_us=180_000_000))
    assert result.perfect, "\n".join(result.explain()[:20])


def test_the_same_seed_gives_the_same_week() -> None:
    one, other = (simulate_week(seed=7, vehicles=5, days=2) for _ in range(2))
    assert one.fixes == other.fixes
    assert one.truth == other.truth
    assert simulate_week(seed=8, vehicles=5, days=2).fixes != one.fixes
