"""Clocks that are fast, slow, reset or standing: one vehicle's matter, set aside by name, and mendable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hazfence import Engine, EngineSettings, Event, FixBatch, Phase
from hazfence.worker.dead import set_aside
from hazfence_replay.readers import open_source

from ..property.world import START_US, WORLD, at

S, HOUR_US = 1_000_000, 3_600_000_000
YEAR_US = 365 * 24 * HOUR_US
#: In by the west gate, through the tank farm, out by the south gate.
WAY = [(0.5, 6), (2, 6), (3.5, 6), (5, 5), (5, 5), (6, 3), (6, 2), (6, 0.5)]
SETTINGS = EngineSettings(recent_s=1e6, max_behind_h=720.0)


def drive(vehicle: str, wrong_us: int = 0, standing: bool = False) -> FixBatch:
    """A truck on its way, sent as it drives; its clock is wrong by so much, or stands still."""
    n = len(WAY)
    sent_us = START_US + np.arange(n) * 20 * S
    lon, lat = np.array([at(*place) for place in WAY]).T
    time_us = np.full(n, START_US) if standing else sent_us + wrong_us
    return FixBatch.of(
        [vehicle] * n, time_us=time_us, lon=lon, lat=lat, speed_kmh=40.0, received_us=sent_us + S
    )


def together(*drives: FixBatch) -> FixBatch:
    fixes = FixBatch.concat(drives)
    return fixes.take(np.argsort(fixes.received_us, kind="stable"))


def standing(events: list[Event], vehicle: str) -> list[tuple[object, ...]]:
    last = {e.id: e for e in events if e.vehicle == vehicle}
    return sorted(
        (str(e.kind), str(e.fence_id), e.started_us, str(e.ended_us))
        for e in last.values()
        if e.phase is not Phase.RETRACTED
    )


GOOD = list(Engine(WORLD, SETTINGS).process(drive("good")))


@pytest.mark.parametrize(
    ("wrong", "reasons"),
    [
        (drive("bad", 301 * S + S), {"time_future": 8}),
        (drive("bad", 20 * YEAR_US), {"time_future": 8}),
        (drive("bad", 100 * YEAR_US), {"time_future": 8}),
        (drive("bad", -56 * YEAR_US), {"time_too_old": 8}),
        (drive("bad", -1024 * 7 * 24 * HOUR_US), {"time_too_old": 8}),
        (drive("bad", -11 * YEAR_US), {"time_behind": 8}),
        # One that is greater takes the place of the one that stands.
        (drive("bad", standing=True), {"same_time": 2, "duplicate": 1}),
        (drive("bad", 200 * S), {}),
        (drive("bad", -HOUR_US), {}),
    ],
    ids=["fast", "far", "after-2090", "in-1970", "week-rollover", "reset", "standing", "a-bit-fast", "slow"],
)
def test_a_wrong_clock_is_named_and_is_nobody_elses_matter(wrong: FixBatch, reasons: dict[str, int]) -> None:
    fixes = together(drive("good"), wrong)
    engine = Engine(WORLD, SETTINGS)
    outcome = engine.process(fixes)
    assert outcome.counts() == reasons
    assert standing(list(outcome), "good") == standing(GOOD, "good")
    one_by_one = Engine(WORLD, SETTINGS)
    parts = [one_by_one.process(fixes.take(slice(i, i + 1))) for i in range(len(fixes))]
    assert sum((part.counts() for part in parts), start=type(parts[0].counts())()) == reasons
    assert standing([e for part in parts for e in part], "good") == standing(GOOD, "good")


@pytest.mark.parametrize("order", [1, 2, 3])
def test_which_fixes_are_set_aside_does_not_depend_on_the_order_they_come_in(order: int) -> None:
    fixes = together(
        drive("good"), drive("fast", 400 * S), drive("reset", -11 * YEAR_US), drive("slow", -60 * S)
    )
    rng = np.random.default_rng(order)
    shuffled = fixes.take(rng.permutation(len(fixes)))
    one, other = Engine(WORLD, SETTINGS), Engine(WORLD, SETTINGS)
    said, said_too = one.process(fixes), other.process(shuffled)
    assert said.counts() == said_too.counts() == {"time_future": 8, "time_behind": 8}
    for vehicle in ("good", "slow"):
        assert standing(list(said), vehicle) == standing(list(said_too), vehicle) != []


def test_a_clock_that_drifts_moves_its_facts_and_nothing_else() -> None:
    # A second a fix slow: a quarter of an hour in a day.
    fixes = drive("good")
    slow = FixBatch.of(
        ["good"] * len(fixes),
        time_us=fixes.time_us - np.arange(len(fixes)) * S,
        **{name: getattr(fixes, name) for name in ("lon", "lat", "speed_kmh", "received_us")},
    )
    found = standing(list(Engine(WORLD, SETTINGS).process(slow)), "good")
    assert [row[:2] for row in found] == [row[:2] for row in standing(GOOD, "good")]
    assert (
        max(abs(int(a[2]) - int(b[2])) for a, b in zip(found, standing(GOOD, "good"), strict=True)) <= 7 * S
    )  # type: ignore[call-overload]


def test_a_clock_put_right_again_makes_late_fixes_of_its_vehicle_only() -> None:
    wrong = drive("bad", 200 * S)
    half = len(WAY) // 2
    fixes = together(drive("good"), wrong.take(slice(0, half)), drive("bad").take(slice(half, None)))
    outcome = Engine(WORLD, SETTINGS).process(fixes)
    assert outcome.counts() == {}
    assert standing(list(outcome), "good") == standing(GOOD, "good")
    short = Engine(WORLD, EngineSettings(recent_s=60.0)).process(fixes)
    assert short.counts() == {"late": 4}
    assert standing(list(short), "good") == standing(GOOD, "good")


def test_old_tracks_may_be_sent_on_purpose() -> None:
    old = drive("bad", -11 * YEAR_US)
    assert Engine(WORLD, EngineSettings()).process(old).counts() == {}


def test_what_was_set_aside_is_kept_whole_and_once_mended_says_what_it_would_have(tmp_path: Path) -> None:
    fast = drive("good", 400 * S)
    engine = Engine(WORLD, SETTINGS)
    outcome = engine.process(fast)
    letters = set_aside(fast, outcome.reason)
    assert {letter.reason for letter in letters} == {"time_future"}
    (tmp_path / "letters.jsonl").write_bytes(b"\n".join(letter.payload for letter in letters))
    [again] = list(open_source(str(tmp_path / "letters.jsonl")))
    mended = FixBatch.of(
        again.vehicle,
        vehicles=again.vehicles,
        time_us=again.time_us - 400 * S,
        **{name: getattr(again, name) for name in ("lon", "lat", "speed_kmh")},
    )
    assert standing(list(engine.process(mended)), "good") == standing(GOOD, "good")
