"""Plate reads against GPS, and zones that hold so many: by hand, late, in any order, over a restart."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hazfence import Engine, EngineSettings, Event, Phase
from hazfence.rules import Rulebook
from hazfence.rules.capacity import CapacityWatch
from hazfence.rules.plates import PlateRead, PlateWatch

from ..property.world import START_US, box, fence_set
from .rule_tracks import DISTRICT, GATE, PLATE, Row, Said, batch, said

BOTH = Rulebook({"plate_without_gps": True, "gps_without_plate": True})
FENCES = fence_set(DISTRICT, GATE)
#: Through the gate from 9.2 s to 20.8 s, see the test of segments in test_core_rules.
THROUGH: list[Row] = [(0, 0, 6, 60), (30, 4, 6, 60)]


def us(seconds: float) -> int:
    return START_US + round(seconds * 1e6)


def read(seconds: float, plate: str = PLATE, gate: str = "gate") -> PlateRead:
    return PlateRead(plate, gate, us(seconds))


class Gate:
    def __init__(self) -> None:
        self.engine, self.watch = Engine(FENCES, EngineSettings()), PlateWatch(FENCES, BOTH)

    def drive(self, rows: list[Row] = THROUGH) -> list[Said]:
        return self._said(self.watch.take(self.engine.process(batch(rows))))

    def read(self, *reads: PlateRead) -> list[Said]:
        return self._said(self.watch.take(reads=reads))

    def wait(self, seconds: float) -> list[Said]:
        self.watch = PlateWatch.restore(self.watch.snapshot(), FENCES, BOTH)
        return self._said(self.watch.advance(us(seconds)))

    @staticmethod
    def _said(events: Any) -> list[Said]:
        return [said(event) for event in events]


def test_a_read_and_a_passage_belong_together() -> None:
    gate = Gate()
    assert gate.drive() == []
    assert gate.read(read(15, "浙Ｂ 12345")) == []
    assert gate.wait(9999) == []


@pytest.mark.parametrize(("seconds", "fine"), [(-110, True), (-112, False), (140, True), (142, False)])
def test_they_may_be_two_minutes_apart(seconds: float, fine: bool) -> None:
    gate = Gate()
    gate.drive()
    gate.read(read(seconds))
    assert {s[0] for s in gate.wait(9999)} == (set() if fine else {"plate_without_gps", "gps_without_plate"})


def test_a_read_without_gps_is_said_when_its_time_is_up() -> None:
    gate = Gate()
    gate.read(read(15))
    assert gate.wait(315) == []
    assert gate.wait(315.001) == [("plate_without_gps", "closed", 15.0, 15.0)]
    assert gate.wait(9999) == []
    # The terminal had stored its fixes and sends them late.
    assert gate.drive() == [("plate_without_gps", "retracted", 15.0, 15.0)]


def test_a_passage_without_a_read_is_said_and_taken_back_by_a_late_read() -> None:
    gate = Gate()
    gate.drive()
    assert gate.wait(320) == []
    [event] = gate.wait(321)
    assert event[:2] == ("gps_without_plate", "closed")
    assert event[2:] == (pytest.approx(9.17, abs=0.01), pytest.approx(20.83, abs=0.01))
    assert [s[1] for s in gate.read(read(15))] == ["retracted"]


def test_another_gate_or_another_plate_does_not_count() -> None:
    gate = Gate()
    gate.drive()
    gate.read(read(15, "浙B54321"))
    assert {s[0] for s in gate.wait(9999)} == {"plate_without_gps", "gps_without_plate"}
    with pytest.raises(ValueError, match="no such checkpoint; known are gate"):
        gate.read(read(15, gate="gat"))


def test_what_is_old_is_forgotten_and_stands() -> None:
    gate = Gate()
    gate.read(read(15))
    assert len(gate.wait(400)) == 1
    assert gate.wait(400 + 172_800) == []
    assert gate.drive() == []
    assert gate.watch.too_late == 1


def test_forgetting_tears_no_pair_apart() -> None:
    gate = Gate()
    gate.drive()
    gate.read(read(15))
    for late in range(-150, 150, 5):
        assert gate.wait(172_800 + 15 + late) == []


def test_a_fence_may_be_without_a_camera() -> None:
    blind = {**GATE, "properties": {**GATE["properties"], "rules": {"gps_without_plate": False}}}
    fences = fence_set(DISTRICT, blind)
    engine, watch = Engine(fences), PlateWatch(fences, BOTH)
    watch.take(engine.process(batch(THROUGH)))
    assert watch.advance(us(9999)) == ()


# --- zone_capacity ----------------------------------------------------------------------------

YARD = fence_set(box("yard", 4, 4, 6, 6, kind="parking", rules={"zone_capacity": {"most": 2}}))


def stays(*rows: tuple[str, float, float | None]) -> list[Event]:
    """Visits to the yard: vehicle, from and to in seconds; through a real engine."""
    engine, events = Engine(YARD), []
    for vehicle, start, end in rows:
        track: list[Row] = [(start - 10, 3, 5, 40), (start + 10, 5, 5, 0)]
        if end is not None:
            track += [(end - 10, 5, 5, 0), (end + 10, 7, 5, 40)]
        events += engine.process(batch(track, vehicle))
    return events


CROWD = (
    ("A", 100.0, 1000.0),
    ("B", 200.0, 2000.0),
    ("C", 300.0, 900.0),
    ("D", 950.0, None),
    ("E", 5000.0, None),
)


def final(events: list[Event]) -> list[tuple[float, float | None, int, int]]:
    last = {event.id: event for event in events}
    return sorted(
        (said(e)[2], said(e)[3], e.detail["peak"], e.detail["most"])
        for e in last.values()
        if e.phase is not Phase.RETRACTED
    )


def test_more_than_the_yard_holds_from_the_first_too_many_until_it_holds_again() -> None:
    watch = CapacityWatch(YARD, Rulebook())
    events = list(watch.take(stays(*CROWD)))
    assert final(events) == [(300.0, 900.0, 3, 2), (950.0, 1000.0, 3, 2)]


def test_as_many_as_it_holds_is_fine() -> None:
    watch = CapacityWatch(YARD, Rulebook())
    assert watch.take(stays(("A", 100, 500), ("B", 200, None), ("C", 600, None))) == ()


@pytest.mark.parametrize(("third", "found"), [(500, []), (499, [(499.0, 500.0, 3, 2)])])
def test_who_leaves_makes_room_at_that_moment(third: float, found: list[Any]) -> None:
    watch = CapacityWatch(YARD, Rulebook())
    assert final(list(watch.take(stays(("A", 100, 500), ("B", 200, None), ("C", third, None))))) == found


@pytest.mark.parametrize("seed", range(8))
def test_in_any_order_of_arrival_the_same_stands(seed: int) -> None:
    events = stays(*CROWD)
    random.Random(seed).shuffle(events)
    watch, found = CapacityWatch(YARD, Rulebook()), list[Event]()
    for event in events:
        found += watch.take([event])
        watch = CapacityWatch.restore(watch.snapshot(), YARD, Rulebook())
    assert final(found) == [(300.0, 900.0, 3, 2), (950.0, 1000.0, 3, 2)]
    revisions: dict[str, int] = {}
    for event in found:
        assert event.revision == revisions.get(event.id, 0) + 1
        revisions[event.id] = event.revision


def test_a_crowd_that_goes_on_is_open_and_outlives_forgetting() -> None:
    watch = CapacityWatch(YARD, Rulebook(), keep_s=100)
    [opened] = watch.take(stays(("A", 100, None), ("B", 200, None), ("C", 300, None)))
    assert (opened.phase, opened.vehicle, opened.fence_id) == (Phase.OPENED, "", "yard")
    watch.forget(us(90_000))
    assert watch.take(stays(("Z", 80_000, 80_100)))[-1].detail["peak"] == 4
    watch.forget(us(90_000))
    events = watch.take([e for e in stays(("A", 100, 85_000)) if e.phase is Phase.CLOSED])
    assert [(e.phase, e.id) for e in events] == [(Phase.CLOSED, opened.id)]
