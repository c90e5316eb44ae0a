"""silent, coverage_gap, gnss_suspect and the terminal's alarm bits on hand-made tracks."""

from __future__ import annotations

import pytest

from hazfence import Engine, EngineSettings, Kind
from hazfence.rules import Rulebook

from ..property.world import box, fence_set
from .rule_tracks import DISTRICT, GATE, START_US, Case, batch

pytestmark = pytest.mark.usefixtures("judged")

# --- silent -----------------------------------------------------------------------------------

QUIET = {"silent": {"max_min": 5}}


def test_silent_for_longer_than_the_limit_until_the_next_fix() -> None:
    c = Case(QUIET, DISTRICT)
    c.drive((0, 1, 6, 40), (10, 5, 6, 40), (20, 5, 6, 40), (30, 5, 6, 40))
    assert c.wait(330) == []
    assert c.wait(330.001) == [("silent", "opened", 330.0, None)]
    assert c.wait(5000) == []
    assert c.drive((400, 5, 6, 40)) == [("silent", "closed", 330.0, 400.0)]
    assert c.wait(700) == []
    assert c.wait(701) == [("silent", "opened", 700.0, None)]


def test_silent_for_just_the_limit_is_none() -> None:
    c = Case(QUIET, DISTRICT)
    assert c.drive((0, 5, 6, 40), (300, 5, 6, 40), (600, 5, 6, 40)) == []


def test_silence_noticed_by_the_next_fix_is_the_same() -> None:
    c = Case(QUIET, DISTRICT)
    assert c.drive((0, 5, 6, 40), (400, 5, 6, 40)) == [
        ("silent", "opened", 300.0, None),
        ("silent", "closed", 300.0, 400.0),
    ]


def test_silence_outside_is_nobodys_business() -> None:
    c = Case(QUIET, DISTRICT)
    c.drive((0, 5, 6, 40), (10, 1, 6, 40))
    assert c.wait(9999) == []


def test_a_fix_that_comes_late_takes_silence_back() -> None:
    c = Case(QUIET, DISTRICT)
    c.drive((0, 5, 6, 40))
    c.wait(9999)
    assert c.drive((30, 5, 6, 40)) == [("silent", "retracted", 300.0, None)]
    assert c.wait(9999) == [("silent", "opened", 330.0, None)]


# --- coverage_gap -----------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "found"), [(300, 0), (301, 1)])
def test_a_gap_is_recorded_between_its_two_fixes(seconds: float, found: int) -> None:
    c = Case({"coverage_gap": True}, DISTRICT)
    said = c.drive((0, 0, 6, 40), (seconds, 5, 6, 40))
    assert said == [("coverage_gap", "closed", 0.0, float(seconds))] * found
    if found:
        assert c.last.detail["moved_m"] == pytest.approx(5 * 193.0, rel=0.01)


def test_a_gap_outside_is_not_recorded() -> None:
    c = Case({"coverage_gap": True}, DISTRICT)
    assert c.drive((0, 0, 6, 40), (999, 1, 6, 40)) == []
    assert c.wait(9999) == []


# --- gnss_suspect -----------------------------------------------------------------------------

DOUBT = {"gnss_suspect": True, "gate_bypass": True, "restricted_entry": True}
ZONE = box("zone", 6, 6, 9, 9, kind="restricted")


def doubting(*kinds: str) -> Engine:
    return Engine(fence_set(DISTRICT, GATE, ZONE), EngineSettings(rules=Rulebook(DOUBT)))


def test_a_lone_jump_is_suspect_and_makes_no_other_verdict() -> None:
    engine = doubting()
    # 4 steps of longitude (772 m) in 5 s are 556 km/h; the zone, and the border away from the gate.
    events = list(engine.process(batch([(0, 3, 5, 40), (5, 7, 7, 40), (10, 3.2, 5, 40), (15, 3.4, 5, 40)])))
    assert {e.kind for e in events if e.fence_id != "district"} == {Kind.GNSS_SUSPECT}
    opened, closed = (e for e in events if e.kind is Kind.GNSS_SUSPECT)
    assert (opened.started_us - START_US, opened.detail["why"]) == (5_000_000, "teleport")
    assert (closed.ended_us, closed.detail["believed"]) == (START_US + 5_000_000, False)
    assert engine.inside("浙B12345") == ("district",)


def test_a_place_insisted_upon_is_believed_but_the_way_there_witnesses_nothing() -> None:
    engine = doubting()
    rows = [(0.0, 3.0, 12.0, 40.0)] + [(5.0 * k, 8.0 + 0.1 * k, 8.0, 40.0) for k in range(1, 5)]
    events = list(engine.process(batch(rows)))
    entry = next(e for e in events if e.kind is Kind.RESTRICTED_ENTRY)
    assert entry.detail["entry"] == "gap"
    assert Kind.GATE_BYPASS not in {e.kind for e in events}
    closed = [e for e in events if e.kind is Kind.GNSS_SUSPECT][-1]
    assert (closed.ended_us, closed.detail["believed"]) == (START_US + 10_000_000, True)


def test_a_fast_truck_is_not_suspect() -> None:
    c = Case({"gnss_suspect": True}, DISTRICT)
    # 10 s at 190 km/h are 528 m; a step is 193 m.
    assert c.drive((0, 3, 5, 190), (10, 5.7, 5, 190), (20, 8.4, 5, 190)) == []


def test_a_jump_that_the_speeds_deny_is_a_spoof() -> None:
    c = Case({"gnss_suspect": True}, DISTRICT)
    # Standing at both ends: 40 km/h over 10 s and 150 m of slack allow 261 m; two steps are 386 m.
    [opened] = c.drive((0, 3, 5, 0), (10, 5, 5, 0))
    assert (opened[1], c.last.detail["why"]) == ("opened", "spoof")
    assert c.drive((20, 3, 5, 0)) == [("gnss_suspect", "closed", 10.0, 10.0)]


@pytest.mark.parametrize(
    ("steps", "kmh", "why"),
    [
        # In 10 s: 200 km/h and 150 m of slack are 706 m, 40 km/h and the slack 261 m; a step is 193 m.
        (3.64, 190, []),
        (3.67, 190, ["teleport"]),
        (1.34, 0, []),
        (1.37, 0, ["spoof"]),
        # At 60 km/h: one and a half times that and 40 are 130 km/h, 511 m with the slack.
        (2.62, 60, []),
        (2.68, 60, ["spoof"]),
    ],
)
def test_as_far_as_it_can_have_driven_is_not_suspect(steps: float, kmh: float, why: list[str]) -> None:
    c = Case({"gnss_suspect": True}, DISTRICT)
    c.drive((0, 3, 5, kmh), (10, 3 + steps, 5, kmh))
    assert [e.detail["why"] for e in c.events] == why


def test_a_frozen_place_is_said_after_a_minute_and_ends_when_it_moves() -> None:
    c = Case({"gnss_suspect": True}, DISTRICT)
    c.drive((0, 3, 5, 40), (10, 4, 5, 40))
    assert c.drive(*[(20.0 + 10 * k, 4.0, 5.0, 50.0) for k in range(7)]) == []
    assert c.drive((90, 4, 5, 50)) == [("gnss_suspect", "opened", 20.0, None)]
    assert c.last.detail["why"] == "frozen"
    assert c.drive((100, 8, 5, 50)) == [("gnss_suspect", "closed", 20.0, 90.0)]


def test_standing_still_is_not_frozen() -> None:
    c = Case({"gnss_suspect": True}, DISTRICT)
    assert c.drive(*[(10.0 * k, 4.0, 5.0, 0.0) for k in range(50)]) == []


def test_a_suspect_fix_does_not_take_back_what_silence_said() -> None:
    park = box("park", 3, 4, 5, 6, kind="parking", max_stay_min=5)
    c = Case({"gnss_suspect": True}, DISTRICT, park, kind="overstay")
    c.drive((0, 4, 5, 0))
    assert c.wait(400) == [("overstay", "opened", 300.0, None)]
    assert c.drive((410, 300, 12, 0), (415, 300, 12, 0)) == []
    assert c.drive((420, 4, 5, 0)) == []
    assert c.drive((425, 4, 5, 5), (440, 6, 5, 40)) == [("overstay", "closed", 300.0, 432.5)]


# --- alarm bits -------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bit"), [("emergency", 0), ("collision", 29), ("rollover", 30)])
def test_an_alarm_bit_is_an_event_from_the_first_fix_with_it_to_the_first_without(
    kind: str, bit: int
) -> None:
    c = Case({kind: True}, DISTRICT)
    assert c.drive((0, 0, 0, 40), (10, 0, 0, 40, 1 << bit)) == [(kind, "opened", 10.0, None)]
    assert c.wait(5000) == []
    assert c.drive((20, 0, 0, 40, 1 << bit | 1 << 5)) == []
    assert c.drive((30, 0, 0, 40)) == [(kind, "closed", 10.0, 30.0)]
    assert c.drive((40, 0, 0, 40, (1 << 32) - 1 - (1 << bit))) == []


def test_off_an_alarm_bit_is_nothing() -> None:
    c = Case({"emergency": False}, DISTRICT)
    assert c.drive((0, 5, 5, 40, 1)) == []
