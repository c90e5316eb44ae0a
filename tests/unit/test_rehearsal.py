"""A draft over today's fences, and what two sides make of one history."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from hazfence.events import Kind
from hazfence.fixes import FixBatch
from hazfence.reference import Filed, ReferenceData
from hazfence.settings import EngineSettings
from hazfence_fences import Fence, FenceKind, FenceSet, circle
from hazfence_replay.rehearse import Draft, Rehearsed, Side, Window, compare_sides, read_draft, run
from hazfence_replay.simulator.cases import simulate_week, week_fences, week_rules
from tests.unit import test_rules_separation as separation

DAY_US = 1_772_409_600_000_000


def zone(fence_id: str, lon: float, **more: object) -> Fence:
    return circle(fence_id, FenceKind.RESTRICTED, lon, 29.98, 500.0, **more)


def east(start_s: int = 0, name: str = "A") -> FixBatch:
    """From 121.55 to 121.65 in an hour, a fix each 10 s."""
    n = 361
    return FixBatch.of(
        [name] * n,
        time_us=DAY_US + (start_s + np.arange(n) * 10) * 1_000_000,
        lon=121.55 + np.arange(n) * 0.1 / 360,
        lat=[29.98] * n,
        speed_kmh=[30.0] * n,
    )


WINDOW = Window(DAY_US, DAY_US + 3_600_000_000, DAY_US, DAY_US + 7_200_000_000)


def rehearsed(
    today: FenceSet, draft: Draft, *, window: Window = WINDOW, batches: list[FixBatch] | None = None
) -> Rehearsed:
    settings = EngineSettings()
    sides = [
        Side([(0, today)], settings, None, window),
        Side([(0, draft.over(today))], draft.settings_over(settings), None, window),
    ]
    run(batches or [east()], sides, window)
    return compare_sides(*sides, sides[0].standing())


def counts(found: Rehearsed) -> dict[str, int]:
    return {what: sum(c.what == what for c in found.changes) for what in ("gained", "lost", "changed")}


TODAY = FenceSet([zone("west", 121.57), zone("east", 121.63, max_stay_min=60.0)])


def test_a_new_zone_gains_its_breaches_and_nothing_else() -> None:
    found = rehearsed(TODAY, Draft((zone("middle", 121.60),)))
    assert counts(found) == {"gained": 1, "lost": 0, "changed": 0}
    [change] = found.changes
    # By hand: 121.60 is reached after half an hour, at a degree in 36,000 s; a degree is 96,406 m here.
    assert abs(change.event.started_us / 1e6 - (DAY_US / 1e6 + 1800 - 500 / 96_406 * 36_000)) < 2.0
    assert [(r.fence_id, r.today, r.draft, r.gained) for r in found.rows] == [
        ("east", 1, 1, 0), ("middle", 0, 1, 1), ("west", 1, 1, 0),
    ]  # fmt: skip
    assert found.visits == (("middle", 0, 1),)
    assert (found.live, found.live_same) == ((), 2)


def test_a_zone_taken_out_loses_them() -> None:
    found = rehearsed(TODAY, Draft(without=frozenset({"west"})))
    assert counts(found) == {"gained": 0, "lost": 1, "changed": 0}
    assert found.changes[0].draft is None
    assert found.visits == (("west", 1, 0),)


def test_a_border_moved_by_a_little_changes_what_is_still_the_same_breach() -> None:
    found = rehearsed(
        TODAY,
        Draft(
            (
                dataclasses.replace(
                    TODAY["west"], radius_m=520.0, geometry=zone("west", 121.57).geometry.buffer(0.0002)
                ),
            )
        ),
    )
    assert counts(found) == {"gained": 0, "lost": 0, "changed": 1}
    [change] = found.changes
    assert change.today is not None
    assert change.draft is not None
    assert change.today.id != change.draft.id
    assert {"started_at", "ended_at"} <= {name for name, _, _ in change.fields}


def test_a_limit_that_lets_others_through() -> None:
    stay = Draft((dataclasses.replace(TODAY["east"], max_stay_min=1.0),))
    found = rehearsed(TODAY, stay)
    assert counts(found) == {"gained": 1, "lost": 0, "changed": 0}
    assert found.changes[0].event.kind is Kind.OVERSTAY


def test_thresholds_may_be_drafted_and_alone_change_nothing() -> None:
    limited = FenceSet([circle("road", FenceKind.ZONE, 121.6, 29.98, 20_000.0, speed_limit_kmh=20.0)])
    same = rehearsed(limited, Draft(settings={"overspeed_for_s": 60.0}))
    assert counts(same) == {"gained": 0, "lost": 0, "changed": 0}
    assert counts(rehearsed(limited, Draft(settings={"overspeed_for_s": 86_400.0})))["lost"] == 1
    assert counts(rehearsed(limited, Draft(settings={"rules": {"overspeed": False}})))["lost"] == 1
    with pytest.raises(ValueError, match="unknown engine setting 'speed'"):
        Draft(settings={"speed": 1}).settings_over(EngineSettings())


def test_what_begins_outside_the_window_does_not_count() -> None:
    window = dataclasses.replace(WINDOW, since_us=DAY_US + 1_200_000_000, until_us=DAY_US + 2_400_000_000)
    found = rehearsed(TODAY, Draft((zone("middle", 121.60),)), window=window)
    assert [(r.fence_id, r.gained) for r in found.rows] == [("middle", 1)]


@pytest.mark.parametrize(("at", "processes"), [(1, 0), (50, 1), (361, 0)])
def test_fences_that_change_meanwhile_change_at_their_moment(at: int, processes: int) -> None:
    # When half of the way is done, one zone that lies ahead is there no more, and another is.
    moment_us = DAY_US + 1_800_000_000
    first, second = FenceSet([zone("west", 121.57), zone("late", 121.63)]), FenceSet([zone("new", 121.62)])
    whole = east()
    batches = [whole.take(slice(i, i + at)) for i in range(0, len(whole), at)]
    side = Side([(0, first), (moment_us, second)], EngineSettings(), None, WINDOW, processes=processes)
    run(batches, [side], WINDOW)
    assert [(e.fence_id, e.kind) for e in side.standing()] == [
        ("west", Kind.RESTRICTED_ENTRY), ("new", Kind.RESTRICTED_ENTRY),
    ]  # fmt: skip
    assert side.visits == {"west": 1, "new": 1}


def test_a_crowd_is_counted_on_both_sides() -> None:
    yard = circle("yard", FenceKind.ZONE, 121.60, 29.98, 500.0)
    two = FixBatch.concat([east(), east(60, "B")])
    two = two.take(np.argsort(two.time_us, kind="stable"))
    limited = dataclasses.replace(yard, properties={"rules": {"zone_capacity": {"most": 1}}})
    found = rehearsed(FenceSet([yard]), Draft((limited,)), batches=[two])
    assert [c.event.kind for c in found.changes if c.what == "gained"] == [Kind.ZONE_CAPACITY]


def test_what_concerns_two_vehicles_and_the_file_is_rehearsed() -> None:
    rows = separation.stand("A", 0, 40) + separation.stand("B", 5, 40, east_m=12.0)
    fixes = separation.batch(sorted(rows, key=lambda row: row[1]))
    since_us = separation.START_US
    window = Window(
        since_us, since_us + 3_600_000_000, since_us, since_us + 3_600_000_000, since_us + 3_600_000_000
    )
    papers = ReferenceData(
        [Filed("vehicle", "A", "approved", 0, papers={"permit": since_us + 60_000_000})],
        separation.FILE.waybills,
    )
    plan = Draft(settings={"rules": {"separation": True, "paper_expiring": True}})
    sides = [
        Side([(0, separation.FENCES)], settings, papers, window)
        for settings in (EngineSettings(), plan.settings_over(EngineSettings()))
    ]
    run([fixes], sides, window)
    found = compare_sides(*sides)
    kinds = [change.event.kind for change in found.changes if change.what == "gained"]
    assert kinds == [Kind.PAPER_EXPIRING, Kind.SEPARATION]


def test_with_every_rule_on_processes_find_what_one_finds() -> None:
    week = simulate_week(seed=2, vehicles=110, days=1)
    fixes = week.fixes.take(week.fixes.vehicle % 3 == 0)
    fences, start_us, end_us = week_fences(), int(fixes.time_us.min()), int(fixes.time_us.max())
    window = Window(start_us, end_us, start_us, end_us, end_us)
    zones = frozenset(fence.id for fence in fences if fence.kind is FenceKind.RESTRICTED)
    later = (start_us + end_us) // 2, fences.without(min(zones))
    settings, plan = EngineSettings(rules=week_rules()), Draft(without=zones)
    found = []
    for processes in (0, 2):
        about = (settings, week.reference, window, True, processes)
        sides = [Side([(0, fences), later], *about), Side([(0, plan.over(fences))], *about)]
        count = run([fixes], sides, window)
        standing = [side.standing() for side in sides]
        found.append((count, standing, compare_sides(*sides).to_json(), [side.visits for side in sides]))
    assert found[1] == found[0]
    assert len({event.kind for event in found[0][1][0]}) > 8
    assert len(found[0][2]["changes"]) > 0


def test_versions_are_those_that_publishing_would_give() -> None:
    today = FenceSet([zone("west", 121.57, version=3), zone("east", 121.63, version=2)])
    draft = Draft(
        (zone("west", 121.57), zone("east", 121.64), zone("new", 121.6), zone("old", 121.5)),
        versions={"west": 3, "east": 2, "old": 7},
    )
    over = {fence.id: fence.version for fence in draft.over(today)}
    assert over == {"west": 3, "east": 3, "new": 1, "old": 8}


def test_what_cannot_be_drafted_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--without moon: no such fence is in force; there are east, west"):
        read_draft(None, today=TODAY, without=["moon"])
    broken = tmp_path / "draft.geojson"
    broken.write_text(json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature"}]}))
    with pytest.raises(ValueError, match=r"draft\.geojson"):
        read_draft(broken, today=TODAY)
