"""A fix that comes late puts each verdict right: what was said without it, and what stands, by hand."""

from __future__ import annotations

import pytest

from ..property.world import box
from .rule_tracks import DISTRICT, GATE, Case, Said

pytestmark = pytest.mark.usefixtures("judged")

ZONE = box("zone", 4, 4, 6, 6, kind="restricted")
#: Metres of one step of .002 degrees of longitude here, as the engine measures.
STEP_M = 193.0


# --- the border and the gates -----------------------------------------------------------------


def test_a_late_fix_moves_the_crossing_of_a_bypass() -> None:
    c = Case({"gate_bypass": True}, DISTRICT, GATE)
    assert c.drive((0, 1, 9, 60), (30, 3, 9, 60)) == [("gate_bypass", "closed", 15.0, 15.0)]
    # A tenth of a step from the border's far side at 20 s: .1 of the 1.1 steps left, 10 s for them.
    moved = 20 + 10 * 0.1 / 1.1
    assert sorted(c.drive((20, 1.9, 9, 60))) == [
        ("gate_bypass", "closed", pytest.approx(moved, abs=0.01), pytest.approx(moved, abs=0.01)),
        ("gate_bypass", "retracted", 15.0, 15.0),
    ]


def test_a_late_fix_at_the_checkpoint_takes_the_bypass_back() -> None:
    c = Case({"gate_bypass": True}, DISTRICT, GATE)
    # 1.8 steps of 221.7 m north of the gate, 150 m of it rim: the crossing is 249 m away, of 200 allowed.
    assert c.drive((0, 1, 7.8, 90), (15, 3, 7.8, 90)) == [("gate_bypass", "closed", 7.5, 7.5)]
    # By 7.5 s it had been 1.5 steps north and just inside: the crossing was 188 m from the rim.
    assert c.drive((7.5, 2.1, 7.5, 90)) == [("gate_bypass", "retracted", 7.5, 7.5)]


def test_a_late_first_fix_shows_the_bypass_of_a_vehicle_first_seen_inside() -> None:
    c = Case({"gate_bypass": True}, DISTRICT, GATE)
    assert c.drive((30, 3, 9, 60), (60, 5, 9, 60)) == []
    assert c.drive((0, 1, 9, 60)) == [("gate_bypass", "closed", 15.0, 15.0)]


# --- restricted zones -------------------------------------------------------------------------


def test_a_late_fix_outside_moves_the_entry() -> None:
    c = Case({"restricted_entry": True}, ZONE)
    assert c.drive((0, 3, 5, 40), (30, 5, 5, 40), (60, 7, 5, 40)) == [
        ("restricted_entry", "opened", 15.0, None),
        ("restricted_entry", "closed", 15.0, 45.0),
    ]
    # Still one step outside at 20 s: it entered half way between 20 and 30.
    c.drive((20, 3, 5, 40))
    assert c.stands() == [
        ("restricted_entry", "retracted", 15.0, 45.0),
        ("restricted_entry", "closed", 25.0, 45.0),
    ]


def test_a_late_fix_inside_shows_an_entry_that_nobody_saw() -> None:
    c = Case({"restricted_entry": True}, ZONE)
    assert c.drive((0, 3, 5, 40), (60, 3, 5, 40)) == []
    c.drive((30, 5, 5, 40))
    assert c.stands() == [("restricted_entry", "closed", 15.0, 45.0)]


def test_a_late_fix_well_inside_ends_the_doubt_at_its_own_moment() -> None:
    c = Case({"restricted_entry": True}, ZONE, kind="possible_entry")
    # 6 m and 9 m inside prove nothing, 40 m do.
    rows = [(0.0, 4 + 6 / STEP_M, 5.0, 0.0), (60.0, 4 + 9 / STEP_M, 5.0, 0.0)]
    assert c.drive(*rows) == [("possible_entry", "opened", 0.0, None)]
    assert c.drive((30, 4 + 40 / STEP_M, 5, 0)) == [("possible_entry", "closed", 0.0, 30.0)]
    assert c.last.detail["exit"] == "confirmed"


# --- speed ------------------------------------------------------------------------------------

SIXTY = box("road", 2, 2, 10, 10, kind="corridor", speed_limit_kmh=60)


def test_a_late_fix_at_the_limit_takes_the_overspeed_back() -> None:
    c = Case({"overspeed": {"for_s": 20}}, SIXTY)
    assert c.drive((0, 3, 5, 70), (30, 5, 5, 70), (50, 6, 5, 70)) == [("overspeed", "opened", 0.0, None)]
    # Broken at 25 s: 0 to 0 and 30 to 50 are left, of which the second is just not longer than 20 s.
    assert c.drive((25, 4.7, 5, 60)) == [("overspeed", "retracted", 0.0, None)]


def test_a_late_fix_at_the_limit_begins_a_longer_run_anew() -> None:
    c = Case({"overspeed": {"for_s": 20}}, SIXTY)
    c.drive((0, 3, 5, 70), (30, 5, 5, 70), (50, 6, 5, 70), (51, 6, 5, 70))
    assert sorted(c.drive((25, 4.7, 5, 60))) == [
        ("overspeed", "opened", 30.0, None),
        ("overspeed", "retracted", 0.0, None),
    ]


# --- what is known at all ---------------------------------------------------------------------


def test_a_late_fix_within_a_gap_takes_it_back_or_makes_it_shorter() -> None:
    rows = [(0.0, 5.0, 6.0, 0.0), (600.0, 5.0, 6.0, 0.0)]
    for late_s, wanted in (
        (300.0, list[Said]()),
        (100.0, [("coverage_gap", "closed", 100.0, 600.0)]),
    ):
        c = Case({"coverage_gap": True}, DISTRICT)
        assert c.drive(*rows) == [("coverage_gap", "closed", 0.0, 600.0)]
        assert sorted(c.drive((late_s, 5, 6, 0))) == [*wanted, ("coverage_gap", "retracted", 0.0, 600.0)]


def test_a_late_fix_that_tells_the_speed_between_takes_the_suspicion_back() -> None:
    c = Case({"gnss_suspect": True}, DISTRICT)
    # Standing at both ends, 386 m apart in 10 s, of 261 m possible: see the test of spoofs.
    [opened] = c.drive((0, 3, 5, 0), (10, 5, 5, 0))
    assert opened[1:3] == ("opened", 10.0)
    # At 140 km/h in between each half may be (1.5 * 140 + 40) / 3.6 * 5 + 150 = 497 m, and is 193 m.
    assert c.drive((5, 4, 5, 140)) == [("gnss_suspect", "retracted", 10.0, None)]


# --- what the terminal cries ------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bit"), [("emergency", 0), ("collision", 29), ("rollover", 30)])
def test_a_late_fix_with_or_without_the_bit_puts_the_alarm_right(kind: str, bit: int) -> None:
    cry = float(1 << bit)
    c = Case({kind: True}, DISTRICT)
    assert c.drive((0, 0, 0, 40), (30, 0, 0, 40)) == []
    c.drive((10, 0, 0, 40, cry))
    assert c.stands() == [(kind, "closed", 10.0, 30.0)]
    c.drive((20, 0, 0, 40))
    assert c.stands() == [(kind, "closed", 10.0, 20.0)]
    # The cry of 10 s began at 5 s: another beginning is another fact.
    c.drive((5, 0, 0, 40, cry))
    assert c.stands() == [(kind, "closed", 5.0, 20.0), (kind, "retracted", 10.0, 20.0)]
