"""overpark and overdrive on hand-made tracks: fires, just not, in silence, ends, taken back."""

from __future__ import annotations

import pytest

from ..property.world import box
from .rule_tracks import DISTRICT, HOUR, LANE, MINUTE, PARK, Case, Row, Said

pytestmark = pytest.mark.usefixtures("judged")

STOP = "overpark"
RULE = {STOP: {"max_min": 10}}


def stand(start: float, end: float, i: float = 5, j: float = 5, every: float = 60) -> list[Row]:
    """Fixes at one place, from start to end inclusive."""
    count = round((end - start) / every)
    return [(start + every * k, i, j, 0.0) for k in range(count + 1)]


def test_standing_too_long_begins_at_the_deadline_and_ends_when_it_moves_again() -> None:
    c = Case(RULE, DISTRICT, PARK)
    assert c.drive((0, 4, 5, 40), *stand(20, 620)) == []  # stands since 20 s, ten minutes are not exceeded
    assert c.drive((680, 5, 5, 0)) == [(STOP, "opened", 620.0, None)]
    assert c.drive((740, 5, 5, 0), (760, 5, 5, 20), (790, 6, 5, 40)) == [(STOP, "closed", 620.0, 760.0)]
    assert (c.last.fence_id, c.last.lon, c.last.detail["max_min"]) == (
        "district",
        pytest.approx(121.51),
        10.0,
    )


def test_standing_for_just_the_limit_is_none() -> None:
    c = Case(RULE, DISTRICT)
    assert c.drive((0, 4, 5, 40), *stand(20, 560), (620, 5, 5, 20)) == []
    assert c.wait(99_999) == []


def test_standing_in_silence() -> None:
    c = Case(RULE, DISTRICT)
    c.drive((0, 4, 5, 40), (20, 5, 5, 0))
    assert c.wait(620) == []
    assert c.wait(620.5) == [(STOP, "opened", 620.0, None)]
    assert c.drive((5000, 5, 5, 0)) == []
    assert c.drive((5060, 5, 5, 30)) == [(STOP, "closed", 620.0, 5060.0)]


def test_what_silence_said_is_taken_back_when_it_turns_up_elsewhere() -> None:
    c = Case(RULE, DISTRICT)
    c.drive((0, 4, 5, 40), (20, 5, 5, 0))
    c.wait(5000)
    # Found two steps on: it stood for certain only until 20 s.
    assert c.drive((5060, 7, 5, 0)) == [(STOP, "retracted", 620.0, None)]
    assert c.wait(5060 + 601) == [(STOP, "opened", 5660.0, None)]


def test_a_late_fix_that_moved_breaks_the_stand() -> None:
    c = Case(RULE, DISTRICT)
    assert c.drive((0, 4, 5, 40), *stand(20, 680)) == [(STOP, "opened", 620.0, None)]
    # It crept on at 350 s: a new stand since 380 s, too long from 980 s on.
    assert c.drive((350, 5, 5, 20)) == [(STOP, "retracted", 620.0, None)]
    assert c.wait(980) == []
    assert c.wait(980.5) == [(STOP, "opened", 980.0, None)]


def test_in_a_park_and_where_it_is_allowed_it_may_stand() -> None:
    plant = box("plant", 3, 3, 5, 5, kind="zone", rules={STOP: {"allowed": True}})
    c = Case(RULE, DISTRICT, PARK, plant)
    assert c.drive((0, 8, 7.5, 40), *stand(20, 5000, 8, 8)) == []
    assert c.drive((5100, 4, 4, 40), *stand(5200, 9000, 4, 4)) == []


def test_outside_the_district_it_may_stand() -> None:
    c = Case(RULE, DISTRICT)
    assert c.drive((0, 0, 0, 40), *stand(20, 5000, 0, 0)) == []


def test_a_short_hop_begins_a_new_stand() -> None:
    c = Case(RULE, DISTRICT)
    assert c.drive((0, 4, 5, 40), *stand(20, 560), (600, 5, 5, 20), *stand(640, 1180)) == []


def test_without_speeds_moving_is_being_farther_than_sixty_metres_from_the_fix_before() -> None:
    nan = float("nan")
    c = Case(RULE, DISTRICT)
    # .3 steps of longitude are 58 m, .4 steps 77 m.
    assert c.drive((0, 4, 5, nan), (60, 5, 5, nan), (120, 5.3, 5, nan), (700, 5.3, 5, nan)) == []
    assert c.drive((740, 5.3, 5, nan)) == [(STOP, "opened", 720.0, None)]
    assert c.drive((800, 5.7, 5, nan)) == [(STOP, "closed", 720.0, 740.0)]


def test_by_class_and_hours_the_limit_can_differ() -> None:
    night = {"tz": "Asia/Shanghai", "windows": [{"days": "mon-sun", "from": "00:00", "to": "00:10"}]}
    rules = {STOP: {"max_min": 10, "when": [{"hours": night, "set": {"max_min": 2}}]}}
    c = Case(rules, DISTRICT)
    c.drive((0, 4, 5, 40), (20, 5, 5, 0))
    assert c.wait(141) == [(STOP, "opened", 140.0, None)]
    c = Case(rules, DISTRICT)
    c.drive((0, 4, 5, 40), (1200, 5, 5, 0))
    assert c.wait(1800) == []


# --- overdrive --------------------------------------------------------------------------------

TIRED = "overdrive"


def drive(start: float, end: float, every: float = 60, offset: float = 0.0) -> list[Row]:
    """Fixes at 40 km/h to and fro, from start to end inclusive."""
    count = round((end - start) / every)
    return [(start + every * k, 4 + (k % 2) + offset, 6, 40.0) for k in range(count + 1)]


def test_four_hours_without_a_rest() -> None:
    c = Case({TIRED: True}, DISTRICT, LANE)
    assert c.drive(*drive(0, 4 * HOUR)) == []
    assert c.drive((4 * HOUR + 60, 5, 6, 40)) == [("continuous", "opened", 4.0 * HOUR, None)]
    c.drive(*drive(4 * HOUR + 120, 5 * HOUR), *stand(5 * HOUR + 60, 5 * HOUR + 20 * MINUTE, 5, 6))
    assert len(c.events) == 1  # it stands for 19 minutes: no rest yet
    assert c.drive(*stand(5 * HOUR + 21 * MINUTE, 5 * HOUR + 22 * MINUTE, 5, 6)) == [
        ("continuous", "closed", 4.0 * HOUR, 5 * HOUR + 60.0)
    ]
    assert c.last.detail["drives_since"] == "2026-03-01T16:00:00.000000Z"


@pytest.mark.parametrize(
    ("stood_s", "found"),
    [(4 * HOUR, []), (4 * HOUR + 2, [("continuous", "closed", 4.0 * HOUR, 4.0 * HOUR + 2)])],
)
def test_four_hours_and_then_a_rest_is_none(stood_s: float, found: list[Said]) -> None:
    c = Case({TIRED: True}, DISTRICT)
    # It drives until the first standing fix.
    c.drive(*drive(0, 4 * HOUR - 60), *stand(stood_s, stood_s + 21 * MINUTE, 5, 6))
    assert c.stands() == found


def test_a_late_fix_that_drives_denies_the_rest() -> None:
    c = Case({TIRED: True}, DISTRICT, recent_s=3 * HOUR)
    # Nobody saw it for 25 min, of which the last fix vouches for five: it may have rested for 20.
    assert c.drive(*drive(0, 2 * HOUR), *drive(2 * HOUR + 25 * MINUTE, 4 * HOUR + 10 * MINUTE)) == []
    assert c.drive((2 * HOUR + 12 * MINUTE, 5, 6, 40)) == [("continuous", "opened", 4.0 * HOUR, None)]


def test_a_late_fix_that_stands_shows_the_rest() -> None:
    c = Case({TIRED: True}, DISTRICT, recent_s=3 * HOUR)
    # Nobody saw it for 21 min, of which the last fix vouches for five: 16 are no rest.
    c.drive(*drive(0, 2 * HOUR), *drive(2 * HOUR + 21 * MINUTE, 4 * HOUR + 10 * MINUTE))
    assert c.stands() == [("continuous", "opened", 4.0 * HOUR, None)]
    # It stood a minute after that fix: 20 minutes until it drove on.
    c.drive((2 * HOUR + MINUTE, 5, 6, 0))
    assert c.stands() == [("continuous", "retracted", 4.0 * HOUR, None)]


def test_a_rest_of_twenty_minutes_begins_anew() -> None:
    c = Case({TIRED: True}, DISTRICT)
    rest = stand(2 * HOUR, 2 * HOUR + 20 * MINUTE, 5, 6)
    assert c.drive(*drive(0, 2 * HOUR - 60), *rest, *drive(2 * HOUR + 20 * MINUTE + 60, 6 * HOUR)) == []


def test_a_rest_of_nineteen_minutes_does_not() -> None:
    c = Case({TIRED: True}, DISTRICT)
    stop = stand(2 * HOUR, 2 * HOUR + 18 * MINUTE, 5, 6)
    c.drive(*drive(0, 2 * HOUR - 60), *stop, *drive(2 * HOUR + 19 * MINUTE, 5 * HOUR))
    assert [(e.detail["part"], e.started_us - c.events[0].started_us) for e in c.events] == [
        ("continuous", 0)
    ]
    assert c.last.detail["drives_since"] == "2026-03-01T16:00:00.000000Z"


def test_the_limit_passed_during_a_stop_counts_from_driving_on() -> None:
    c = Case({TIRED: True}, DISTRICT)
    stop = stand(4 * HOUR - 300, 4 * HOUR + 300, 5, 6)
    assert c.drive(*drive(0, 4 * HOUR - 360), *stop) == []
    assert c.drive((4 * HOUR + 360, 5, 6, 40), (4 * HOUR + 420, 6, 6, 40)) == [
        ("continuous", "opened", 4 * HOUR + 360.0, None)
    ]


def test_silence_vouches_for_driving_on_for_five_minutes() -> None:
    c = Case({TIRED: True}, DISTRICT)
    c.drive(*drive(0, 4 * HOUR - 240))
    assert c.wait(4 * HOUR) == []
    assert c.wait(4 * HOUR + 1) == [("continuous", "opened", 4.0 * HOUR, None)]
    # Silent for twenty minutes more than it vouches for: it may have rested since.
    assert c.wait(4 * HOUR + 60 + 20 * MINUTE - 1) == []
    assert c.wait(4 * HOUR + 60 + 20 * MINUTE) == [("continuous", "closed", 4.0 * HOUR, 4 * HOUR + 60.0)]
    c = Case({TIRED: True}, DISTRICT)
    c.drive(*drive(0, 4 * HOUR - 360))
    assert c.wait(9 * HOUR) == []


def test_who_drives_on_past_the_limit_rests_when_silence_is_long_enough_after_the_last_fix() -> None:
    c = Case({TIRED: True}, DISTRICT, LANE)
    c.drive(*drive(0, 6 * HOUR))
    assert c.stands() == [("continuous", "opened", 4.0 * HOUR, None)]
    # The last fix vouches for five minutes, and twenty more are a rest: counted from there, whatever was
    # looked at before.
    assert c.wait(6 * HOUR + 25 * MINUTE - 0.000001) == []
    assert c.drive((6 * HOUR + 25 * MINUTE - 0.000001, 5, 6, 40)) == []
    c.drive(*drive(6 * HOUR + 26 * MINUTE, 7.5 * HOUR))
    assert c.wait(7.5 * HOUR + 25 * MINUTE - 0.000001) == []
    assert c.wait(7.5 * HOUR + 25 * MINUTE) == [("continuous", "closed", 4.0 * HOUR, 7.5 * HOUR + 300)]


def test_silence_counts_from_the_last_fix_that_can_be_true() -> None:
    rules = {TIRED: True, "gnss_suspect": {"max_kmh": 120}}
    c = Case(rules, DISTRICT, LANE)
    c.drive(*drive(0, 5 * HOUR))
    # Five minutes on it is said to be a hundred kilometres away.
    c.drive((5 * HOUR + 300, 500, 6, 40.0))
    assert c.wait(5 * HOUR + 25 * MINUTE - 0.000001) == []
    assert c.wait(5 * HOUR + 25 * MINUTE) == [("continuous", "closed", 4.0 * HOUR, 5 * HOUR + 300.0)]


def test_a_closed_drive_is_open_again_when_a_late_fix_shows_it_driving() -> None:
    c = Case({TIRED: True}, DISTRICT)
    c.drive(*drive(0, 4 * HOUR - 240))
    c.wait(5 * HOUR)
    assert c.drive((4 * HOUR + 300, 6, 6, 40)) == [("continuous", "amended", 4.0 * HOUR, None)]


def test_by_night_two_hours_where_ruled() -> None:
    night = {"tz": "Asia/Shanghai", "windows": [{"days": "mon-sun", "from": "22:00", "to": "06:00"}]}
    rules = {TIRED: {"night_h": 2, "night_hours": night}}
    c = Case(rules, DISTRICT)
    assert c.drive(*drive(0, 2 * HOUR)) == []
    assert c.drive((2 * HOUR + 60, 5, 6, 40)) == [("night", "opened", 2.0 * HOUR, None)]
    c = Case(rules, DISTRICT)  # from 05:00: one hour of night, then day
    assert c.drive(*drive(5 * HOUR, 9 * HOUR)) == []


def test_eight_hours_in_any_day() -> None:
    c = Case({TIRED: True}, DISTRICT)
    for k in range(3):  # three stretches of 2 h 30 min with half an hour between: 7 h 30 min by 9 h
        c.drive(
            *drive(3 * k * HOUR, 3 * k * HOUR + 150 * MINUTE),
            *stand(3 * k * HOUR + 151 * MINUTE, 3 * k * HOUR + 179 * MINUTE, 5, 6),
        )
    assert c.events == []
    # A stretch lasts until the first standing fix, a minute later: 3 x 151 min, 27 more make 8 h.
    found = c.drive(*drive(9 * HOUR, 10 * HOUR))
    assert found == [("daily", "opened", 9 * HOUR + 27.0 * MINUTE, None)]


def test_what_was_driven_a_day_ago_counts_no_more() -> None:
    c = Case({TIRED: True}, DISTRICT)
    c.drive(*drive(0, 3 * HOUR), *stand(3 * HOUR + 60, 4 * HOUR, 5, 6))
    c.drive(*drive(5 * HOUR, 8 * HOUR), *stand(8 * HOUR + 60, 9 * HOUR, 5, 6))
    # From 25 h on the first stretch is gone, the second leaves as fast as this one grows from 29 h on.
    assert c.drive(*drive(25 * HOUR, 28.5 * HOUR)) == []


def test_off_it_says_nothing() -> None:
    c = Case({TIRED: False}, DISTRICT)
    assert c.drive(*drive(0, 5 * HOUR)) == []
