"""A simulated day through the engine: every planted breach found, nothing else, whatever the cut."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hazfence import Engine, Event, FixBatch, Kind
from hazfence_fences import FenceKind, FenceSet, load_fences
from hazfence_replay.compare import compare
from hazfence_replay.ledger import latest, visit_rows
from hazfence_replay.player import replay
from hazfence_replay.simulator import SimulatedDay, simulate


@pytest.fixture(scope="module")
def fences() -> FenceSet:
    return load_fences("fences/zhenhai")


@pytest.fixture(scope="module")
def day(fences: FenceSet) -> SimulatedDay:
    return simulate(fences, seed=20260302)


@pytest.fixture(scope="module")
def events(fences: FenceSet, day: SimulatedDay) -> list[Event]:
    return list(replay(day.batches(), Engine(fences), until=day.end_us))


def test_all_planted_breaches_of_300_trucks_are_found_and_none_else(
    day: SimulatedDay, events: list[Event]
) -> None:
    assert len(day.fixes.vehicles) == 300
    assert len(day) > 400_000
    result = compare(day.truth, events, near_misses=day.near_misses)
    assert result.explain() == []
    assert result.perfect
    planted = {row.kind: row.planted for row in result.rows()}
    breaches = {"gate_bypass", "overspeed", "overstay", "restricted_entry"}
    assert set(planted) == {*breaches, "coverage_gap", "total"}
    assert min(planted[kind] for kind in breaches) >= 12
    assert planted["coverage_gap"] >= 4
    assert len(day.near_misses) == 18


def test_breaches_begin_and_end_when_they_do_as_nearly_as_reports_can_tell(
    day: SimulatedDay, events: list[Event]
) -> None:
    for planted, row in compare(day.truth, events).pairs:
        off_s = (row.started_us - planted.at_us) / 1e6
        # A crossing is interpolated between fixes at most 31 s apart, at nearly even speed; an
        # overspeed begins with the first fix over the limit, never before the truth (noise: 1 km/h).
        assert abs(off_s) < 12.0 if planted.kind != "overspeed" else -3.0 < off_s < 33.0
        assert (row.ended_us is None) == (planted.until_us is None)
        if planted.kind == "gate_bypass":
            place = np.hypot((row.lon - planted.lon) * 96_486, (row.lat - planted.lat) * 110_852)
            assert place < 80.0


def test_every_trip_is_one_visit_and_every_gate_crossing_one_passage(
    fences: FenceSet, day: SimulatedDay, events: list[Event]
) -> None:
    """Noise must not make visits: the district is entered once a trip, not once a wobble."""
    stays = [v for v in visit_rows(events) if v.fence_id == "zhenhai"]
    located = fences.locate(day.fixes.lon, day.fixes.lat).contains("zhenhai")
    entries = 0
    for code in range(len(day.fixes.vehicles)):
        inside = located[day.fixes.vehicle == code]
        entries += int(inside[0]) + int((~inside[:-1] & inside[1:]).sum())
    assert len(stays) == entries
    assert len(stays) > 800
    # Every crossing of the border that is no bypass is a visit to a checkpoint at that moment.
    gates = {f.id for f in fences if f.kind is FenceKind.CHECKPOINT}
    passages: dict[str, list[tuple[int, int | None]]] = {}
    for v in visit_rows(events):
        if v.fence_id in gates:
            passages.setdefault(v.vehicle, []).append((v.entered_us, v.left_us))
    bypasses = {(e.vehicle, e.started_us) for e in latest(events) if e.kind is Kind.GATE_BYPASS}
    crossings = [
        (e.vehicle, at)
        for e in latest(events)
        if e.kind is Kind.VISIT and e.fence_id == "zhenhai"
        for at in (e.started_us if e.detail["entry"] == "crossing" else None, e.ended_us)
        if at is not None
    ]
    unseen = [
        (vehicle, at)
        for vehicle, at in crossings
        if (vehicle, at) not in bypasses
        and not any(a <= at and (b is None or at <= b) for a, b in passages.get(vehicle, []))
    ]
    assert unseen == []
    witness = Counter(e.detail["witness"] for e in latest(events) if e.fence_id in gates)
    assert witness["segment"] > 20


def test_the_cut_into_batches_changes_no_row(
    fences: FenceSet, day: SimulatedDay, events: list[Event]
) -> None:
    whole = list(replay([day.fixes], Engine(fences), until=day.end_us))
    assert latest(whole) == latest(events)
    # Truck after truck, as files of a folder might come, advanced only at the end.
    engine = Engine(fences)
    said: list[Event] = []
    for code in range(len(day.fixes.vehicles)):
        said += engine.process(day.fixes.take(day.fixes.vehicle == code))
    said += engine.advance(day.end_us)
    assert latest(said) == latest(events)


def test_stopped_and_restored_in_the_middle_of_the_day(
    fences: FenceSet, day: SimulatedDay, events: list[Event]
) -> None:
    half = len(day) // 2
    first = Engine(fences)
    said = list(replay([day.fixes.take(slice(0, half))], first))
    second = Engine.restore(first.snapshot(), fences)
    rest: list[FixBatch] = [day.fixes.take(slice(half, None))]
    said += replay(rest, second, until=day.end_us)
    assert latest(said) == latest(events)
