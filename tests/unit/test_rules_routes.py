"""corridor_departure, gate pairing and segment_overtime on hand-made tracks."""

from __future__ import annotations

import pytest

from hazfence import Phase
from hazfence.rules import RuleError

from ..property.world import box, disc
from .rule_tracks import DISTRICT, GATE, LANE, MINUTE, PARK, Case

pytestmark = pytest.mark.usefixtures("judged")

OFF = "corridor_departure"
RULE = {OFF: {"for_s": 100, "farther_m": 1000}}


def case(**changes: float) -> Case:
    return Case({OFF: {**RULE[OFF], **changes}}, DISTRICT, GATE, LANE, PARK)


def test_off_the_route_for_too_long_begins_at_its_deadline_and_ends_on_the_route() -> None:
    c = case()
    # The lane's northern edge is at 6.5: left half way between 6 and 7, at 5 s; back at 155 s.
    assert c.drive((0, 5, 6, 40), (10, 5, 7, 40), (100, 5, 7, 40)) == []
    assert c.drive((110, 5, 7, 40)) == [(OFF, "opened", 105.0, None)]
    assert c.drive((150, 5, 7, 40), (160, 5, 6, 40)) == [(OFF, "closed", 105.0, 155.0)]
    assert (c.last.fence_id, c.last.lon, c.last.lat) == ("district", 121.51, pytest.approx(29.913))
    assert c.last.detail["for_s"] == 100.0


def test_off_the_route_for_just_the_time_allowed_is_none() -> None:
    c = case()
    assert c.drive((0, 5, 6, 40), (10, 5, 7, 40), (100, 5, 7, 40), (110, 5, 6, 40)) == []
    assert c.wait(10_000) == []


def test_off_the_route_in_silence() -> None:
    c = case()
    assert c.drive((0, 5, 6, 40), (10, 5, 7, 40)) == []
    assert c.wait(105) == []
    assert c.wait(105.001) == [(OFF, "opened", 105.0, None)]
    assert c.wait(900) == []
    assert c.drive((290, 5, 7, 40), (300, 5, 6, 40)) == [(OFF, "closed", 105.0, 295.0)]


def test_what_silence_said_is_taken_back_when_a_fix_shows_it_on_the_route_in_time() -> None:
    c = case()
    c.drive((0, 5, 6, 40), (10, 5, 7, 40))
    c.wait(900)
    assert c.drive((60, 5, 6, 40)) == [(OFF, "retracted", 105.0, None)]


def test_far_off_the_route_fires_at_once() -> None:
    c = Case({OFF: {"for_s": 100, "farther_m": 500}}, DISTRICT, GATE, LANE)
    # Two and a half steps of .002 degrees of latitude north of the lane are 554 m; half a step less 443 m.
    assert c.drive((0, 5, 6, 40), (10, 5, 8.5, 40)) == []
    assert c.drive((20, 5, 9, 40)) == [(OFF, "opened", 20.0, None)]
    assert c.last.detail["away_m"] == pytest.approx(554.3, abs=0.5)


def test_parks_and_plants_and_the_union_of_corridors_are_on_the_route() -> None:
    second = box("lane-2", 5, 6.5, 6, 10, kind="corridor")
    plant = box("plant", 3, 8, 4, 9, kind="zone", rules={OFF: {"on_route": True}})
    c = Case(RULE, DISTRICT, GATE, LANE, PARK, second, plant)
    assert c.drive((0, 5.5, 6, 40), (300, 5.5, 8, 0), (310, 5.5, 8, 40)) == []
    assert c.drive((320, 8, 8, 40), (900, 8, 8, 0)) == []
    assert c.drive((910, 3.5, 8.5, 40), (2000, 3.5, 8.5, 0)) == []


def test_outside_the_district_there_is_no_route_to_depart_from() -> None:
    c = case()
    assert c.drive((0, 3, 6, 40), (10, 0, 8, 40), (1000, 0, 8, 40)) == []


def test_leaving_the_district_ends_it() -> None:
    c = case()
    assert c.drive((0, 5, 6, 40), (10, 5, 7, 40), (150, 5, 9, 40), (160, 5, 11, 40)) == [
        (OFF, "opened", 105.0, None),
        (OFF, "closed", 105.0, 155.0),
    ]


def test_without_any_corridor_there_is_no_such_breach() -> None:
    c = Case(RULE, DISTRICT, GATE)
    assert c.drive((0, 5, 6, 40), (1000, 5, 7, 40)) == []


# --- entry and exit of a stay in the district -------------------------------------------------


def test_a_stay_tells_the_gates_of_entry_and_exit_and_a_bypass_out_tells_the_way_in() -> None:
    east = disc("gate-east", 10, 6, 150, kind="checkpoint")
    c = Case({"gate_bypass": True}, DISTRICT, GATE, east)
    c.drive((0, 1, 6, 60), (30, 3, 6, 60), (60, 9, 6, 60), (90, 11, 6, 60))
    c.drive((120, 9, 6, 60), (150, 9, 9, 60), (180, 11, 9, 60))
    assert [e.detail["direction"] for e in c.events] == ["out"]
    assert c.last.detail["entry_gate"] == "gate-east"
    assert c.last.detail["entered_at"] == "2026-03-01T16:01:45.000000Z"


def test_the_visit_names_both_gates() -> None:
    c = Case({"gate_bypass": True}, DISTRICT, GATE, kind="visit")
    c.drive((0, 1, 6, 60), (30, 3, 6, 60), (60, 9, 9, 60), (90, 11, 9, 60))
    stay = [e for e in c.events if e.fence_id == "district"][-1]
    assert (stay.detail["entry_gate"], stay.detail["exit_gate"]) == ("gate", None)


# --- segment_overtime -------------------------------------------------------------------------

SEG = "segment_overtime"
TO = {"east": {"min_min": 2, "max_min": 10}, "*": {"max_min": 20}}
WEST = disc("west", 2, 6, 150, kind="checkpoint", rules={SEG: {"to": TO}})
EAST = disc("east", 10, 6, 150, kind="checkpoint")
NORTH = disc("north", 6, 10, 150, kind="checkpoint")


#: When a vehicle leaves west that is at step 1 at 0 s and at step 3 at 60 s: a circle of 150 m reaches
#: .7772 steps east of its centre.
LEFT = 30 + 0.7772 * 30


def segment(**settings: float) -> Case:
    return Case({SEG: True}, DISTRICT, WEST, EAST, NORTH, **settings)


def test_a_segment_within_its_times_is_none() -> None:
    c = segment()
    assert c.drive((0, 1, 6, 60), (60, 3, 6, 60), (240, 6, 6, 60), (500, 9, 6, 60), (530, 11, 6, 60)) == []
    assert c.wait(99_999) == []


def test_a_segment_too_long_to_that_checkpoint_is_said_when_it_is_reached() -> None:
    c = segment()
    c.drive((0, 1, 6, 60), (60, 3, 6, 60))
    rows = [(60.0 + 60 * k, 6.0, 6.0, 0.0) for k in range(1, 12)]
    [event] = c.drive(*rows, (750, 9, 6, 60), (780, 11, 6, 60))
    assert event[:2] == (SEG, "closed")
    assert event[2] == pytest.approx(LEFT + 600, abs=0.1)
    assert event[3] == pytest.approx(750 + 15 - 0.7772 * 15, abs=0.1)
    assert (c.last.fence_id, c.last.detail["to"], c.last.detail["max_min"]) == ("west", "east", 10)


def test_a_segment_too_short_is_said_at_once() -> None:
    c = segment()
    [event] = c.drive((0, 1, 6, 60), (20, 3, 6, 60), (60, 9, 6, 60), (90, 11, 6, 60))
    assert event[0] == "short"
    assert event[2] == event[3]
    assert c.last.detail["took_min"] < c.last.detail["min_min"] == 2


def test_a_segment_that_leads_nowhere_fires_in_silence_and_ends_at_the_next_checkpoint() -> None:
    c = segment()
    c.drive((0, 1, 6, 60), (60, 3, 6, 60), (120, 6, 6, 0))
    assert c.wait(LEFT + 20 * MINUTE - 1) == []
    [opened] = c.wait(LEFT + 20 * MINUTE + 1)
    assert opened[:2] == (SEG, "opened")
    assert opened[2] == pytest.approx(LEFT + 20 * MINUTE, abs=0.1)
    rows = [(1200.0 + 60 * k, 6.0, 6.0, 0.0) for k in range(1, 10)]
    [closed] = c.drive(*rows, (1770, 6, 9, 60), (1800, 6, 11, 60))
    assert closed[:3] == (SEG, "closed", opened[2])
    assert c.last.detail["to"] == "north"


def test_leaving_the_district_by_the_checkpoint_begins_no_segment() -> None:
    c = segment()
    c.drive((0, 5, 6, 60), (30, 3, 6, 60), (60, 1, 6, 60))
    assert c.wait(99_999) == []


def test_leaving_the_district_elsewhere_ends_the_segment_without_a_word() -> None:
    c = segment()
    c.drive((0, 1, 6, 60), (60, 3, 6, 60), (120, 3, 9, 60), (180, 1, 9, 60))
    assert c.wait(99_999) == []


def test_leaving_the_district_over_a_border_not_certain_at_once_ends_the_segment_too() -> None:
    c = segment()
    # 2 m outside is not certain, 200 m are: it left, and nothing is said when the 20 minutes are over.
    c.drive((0, 1, 6, 60), (60, 3, 6, 60), (120, 3, 9.9, 60), (150, 3, 10.01, 10), (180, 3, 11, 60))
    assert c.wait(99_999) == []


def test_a_segment_that_may_have_ended_at_the_border_waits_until_that_is_settled() -> None:
    beyond = (LEFT + 20 * MINUTE - 5, 3, 10.01, 10)
    gone, back = segment(), segment()
    for c in (gone, back):
        assert c.drive((0, 1, 6, 60), (60, 3, 6, 60), (LEFT + 1100, 3, 9.9, 20), beyond) == []
        assert c.wait(LEFT + 20 * MINUTE + 60) == []
    # In silence it counts as crossed after ten minutes, at its own time: that was before the limit.
    assert gone.wait(99_999) == []
    [opened] = back.drive((LEFT + 20 * MINUTE + 70, 3, 9, 20))
    assert opened[:2] == (SEG, "opened")
    assert opened[2] == pytest.approx(LEFT + 20 * MINUTE, abs=0.1)


def overtime() -> Case:
    """Left west at 53.3 s and stands in the middle since 240 s: the longest time of 20 min is over."""
    c = segment(recent_s=1800)
    c.drive((0, 1, 6, 60), (60, 3, 6, 60))
    for k in range(1, 9):
        c.drive((60.0 + 180 * k, 6.0, 6.0, 0.0))
    assert c.stands() == [(SEG, "opened", pytest.approx(LEFT + 20 * MINUTE, abs=0.1), None)]
    return c


def test_a_late_fix_at_the_checkpoint_takes_the_overtime_back() -> None:
    c = overtime()
    # From step 6 at 600 s to 9.9 at 640 s: the rim at 9.2228 was reached at 633.1 s, 579.7 s after it left
    # west, within the 10 min to east; and no way from east has a limit.
    c.drive((640, 9.9, 6, 60))
    assert c.stands() == [(SEG, "retracted", pytest.approx(LEFT + 20 * MINUTE, abs=0.1), None)]


def test_a_late_fix_at_the_checkpoint_too_late_for_it_makes_it_that_checkpoints_overtime() -> None:
    c = overtime()
    # From step 6 at 1140 s to 9.9 at 1200 s: the rim at 9.2228 was reached at 1189.6 s, over 10 min to east.
    c.drive((1200, 9.9, 6, 60))
    reached = 1140 + 60 * (4 - 0.7772) / 3.9
    assert c.stands() == [
        (SEG, "closed", pytest.approx(LEFT + 10 * MINUTE, abs=0.1), pytest.approx(reached, abs=0.1)),
        (SEG, "retracted", pytest.approx(LEFT + 20 * MINUTE, abs=0.1), None),
    ]
    east = next(e for e in c.events if e.phase is Phase.CLOSED)
    assert (east.detail["to"], east.detail["max_min"]) == ("east", 10)


@pytest.mark.parametrize(("took_s", "found"), [(599.5, []), (600.5, [(SEG, "closed")])])
def test_a_segment_of_just_its_longest_time_is_none(took_s: float, found: list[tuple[str, str]]) -> None:
    c = segment()
    c.drive((0, 1, 6, 60), (60, 3, 6, 60), (300, 6, 6, 0), (570, 6, 6, 0))
    # It is at the rim of east, .7772 steps from its centre, just so long after it left west.
    at = LEFT + took_s
    c.drive((at - 10, 10 - 0.7772 - 1, 6, 60), (at + 10, 10 - 0.7772 + 1, 6, 60))
    assert [s[:2] for s in c.stands()] == found


def test_whether_a_fence_is_a_route_cannot_differ_by_class_or_hours() -> None:
    when = [{"classes": ["tank"], "set": {"on_route": True}}]
    plant = box("plant", 3, 8, 4, 9, kind="zone", rules={OFF: {"when": when}})
    with pytest.raises(RuleError, match=r"fence 'plant'.*when\[0\].*'on_route' holds for every vehicle"):
        Case({OFF: True}, DISTRICT, LANE, plant)
