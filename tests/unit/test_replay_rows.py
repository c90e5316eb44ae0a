"""Merging tracks, playing them, and turning revisions into rows and comparisons."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from shapely.geometry import box

from hazfence import Engine, Event, FixBatch, Kind, Phase
from hazfence.events import Severity, event_id
from hazfence_fences import Fence, FenceKind, FenceSet
from hazfence_replay.compare import compare
from hazfence_replay.ledger import BreachRow, breach_rows, latest, visit_rows
from hazfence_replay.player import replay
from hazfence_replay.readers import in_time_order
from hazfence_replay.simulator import NearMiss, Planted

START_US = 1_772_400_000_000_000
SECOND = 1_000_000


def fixes(vehicle: str, seconds: list[float], east: list[float]) -> FixBatch:
    """East in thousandths of a degree from 121.5."""
    return FixBatch.of(
        [vehicle] * len(seconds),
        time_us=START_US + (np.array(seconds) * SECOND).astype(np.int64),
        lon=121.5 + 0.001 * np.array(east),
        lat=[29.9] * len(seconds),
    )


def yard(max_stay_min: float | None = None) -> FenceSet:
    return FenceSet(
        [Fence("yard", FenceKind.PARKING, box(121.5, 29.8, 121.51, 30.0), max_stay_min=max_stay_min)]
    )


def event(kind: Kind, vehicle: str, start_s: float, revision: int = 1, phase: Phase = Phase.CLOSED) -> Event:
    at = START_US + int(start_s * SECOND)
    return Event(
        id=event_id(kind, vehicle, "z", at),
        kind=kind,
        vehicle=vehicle,
        fence_id="z",
        fence_version=1,
        revision=revision,
        phase=phase,
        started_us=at,
        ended_us=at + 60 * SECOND,
        lon=1.0,
        lat=2.0,
        severity=Severity.BREACH,
    )


def planted(kind: str, vehicle: str, start_s: float) -> Planted:
    at = START_US + int(start_s * SECOND)
    return Planted(kind, vehicle, "z", at, at, 1.0, 2.0, "")


def test_merging_gives_every_fix_once_in_time_order_however_the_sources_are_cut() -> None:
    dice = random.Random(4)
    sources = []
    for name in "ABCD":
        seconds = sorted(dice.choices(range(500), k=200))
        whole = fixes(name, [float(s) for s in seconds], [0.0] * 200)
        cuts = [0, *sorted(dice.sample(range(1, 200), 9)), 200]
        parts = [whole.take(slice(a, b)) for a, b in pairwise(cuts)]
        sources.append([FixBatch.empty(), *parts])
    merged = list(in_time_order(sources))
    together = FixBatch.concat(merged)
    assert len(together) == 800
    assert (np.diff(together.time_us) >= 0).all()
    for name, source in zip("ABCD", sources, strict=True):
        own = together.take(np.array([n == name for n in together.names()]))
        assert own.time_us.tolist() == FixBatch.concat(source).time_us.tolist()
    assert list(in_time_order([])) == []


def test_a_silent_stay_is_judged_by_another_vehicles_clock() -> None:
    parked = fixes("silent", [0, 10], [-1.0, 5.0])
    other = fixes("other", [20, 30, 400], [-50.0, -50.0, -50.0])
    events = list(replay(in_time_order([[parked], [other]]), Engine(yard(max_stay_min=2))))
    (row,) = breach_rows(events)
    entered_s = 10 / 6
    assert row.vehicle == "silent"
    assert row.started_us == START_US + round((entered_s + 120) * SECOND)
    assert row.ended_us is None


def test_the_clock_goes_on_to_until_and_fixes_outside_the_span_are_left_out() -> None:
    track = fixes("A", [0, 10, 20, 300], [-1.0, 5.0, 5.0, 50.0])
    until = START_US + 200 * SECOND
    assert breach_rows(replay([track], Engine(yard(2)), until=until))[0].ended_us is None
    assert breach_rows(replay([track], Engine(yard(4)), until=until)) == []
    late = list(replay([track], Engine(yard()), since=START_US + 15 * SECOND, until=until))
    (visit,) = visit_rows(late)
    assert visit.entered_us == START_US + 20 * SECOND
    assert visit.left_us is None
    assert visit.cells()[3:] == ("still inside", "")


def test_a_clock_in_another_century_moves_no_deadline() -> None:
    parked = fixes("silent", [0, 10], [-1.0, 5.0])
    broken = replace(fixes("broken", [20.0], [0.0]), time_us=np.array([4_102_444_800_000_000]))
    assert breach_rows(replay([parked, broken], Engine(yard(max_stay_min=2)))) == []


def test_rows_are_the_last_word_on_each_fact() -> None:
    track = fixes("A", [0, 10, 70, 80], [-5.0, 5.0, 5.0, 15.0])
    (row,) = visit_rows(replay([track], Engine(yard())))
    assert row.cells() == (
        "A",
        "yard",
        "2026-03-01T21:20:05.000000Z",
        "2026-03-01T21:21:15.000000Z",
        "0:01:10",
    )
    assert row.stay_s == pytest.approx(70.0)
    opened = event(Kind.OVERSTAY, "A", 0, phase=Phase.OPENED)
    closed = replace(opened, revision=2, phase=Phase.CLOSED)
    gone = replace(event(Kind.OVERSTAY, "B", 0), revision=3, phase=Phase.RETRACTED)
    assert latest([closed, opened, event(Kind.OVERSTAY, "B", 0), gone]) == [closed]


def test_planted_and_found_are_paired_by_nearest_beginning() -> None:
    truth = [planted("overspeed", "A", 0), planted("overspeed", "A", 100), planted("overstay", "B", 0)]
    found = [event(Kind.OVERSPEED, "A", 90), event(Kind.OVERSPEED, "A", 5), event(Kind.OVERSTAY, "B", -3)]
    result = compare(truth, found)
    assert result.perfect
    assert [round((b.started_us - p.at_us) / SECOND) for p, b in result.pairs] == [5, -3, -10]
    assert result.rows()[-1].cells() == ("total", "3", "3", "0", "0", "0", "10.0")


def test_missed_false_and_doubled_are_told_apart() -> None:
    truth = [planted("overspeed", "A", 0), planted("gate_bypass", "B", 0), planted("overstay", "D", 0)]
    found = [
        event(Kind.OVERSPEED, "A", 0),
        event(Kind.OVERSPEED, "A", 30),  # the same again
        event(Kind.GATE_BYPASS, "B", 46),  # just outside the tolerance of 45 s
        event(Kind.OVERSTAY, "C", 0),  # nobody planted it
        event(Kind.VISIT, "D", 0),  # a visit is no breach
    ]
    near = [NearMiss("near_stay", "C", "leaves in time"), NearMiss("near_stay", "E", "leaves in time")]
    result = compare(truth, found, near_misses=near)
    assert not result.perfect
    assert {p.vehicle for p in result.missed} == {"B", "D"}
    assert {b.vehicle for b in result.false} == {"B", "C"}
    assert [b.vehicle for b in result.doubled] == ["A"]
    assert result.fired_near == (near[0],)
    counts = {r.kind: (r.planted, r.found, r.missed, r.false, r.doubled) for r in result.rows()}
    assert counts == {
        "gate_bypass": (1, 0, 1, 1, 0),
        "overspeed": (1, 1, 0, 0, 1),
        "overstay": (1, 0, 1, 1, 0),
        "total": (3, 1, 2, 2, 1),
    }
    assert len(result.explain()) == 5
    assert compare(truth, found, tolerance_s={"gate_bypass": 46.0}).rows()[0].missed == 0


def test_rows_from_elsewhere_compare_like_events() -> None:
    row = BreachRow("x", "overspeed", "A", "z", START_US, None, 1.0, 2.0)
    assert compare([planted("overspeed", "A", 1)], [row]).perfect
    assert compare([], []).rows()[-1].planted == 0
