"""curfew, overspeed by general limits, and stay limits by hour, on hand-made tracks."""

from __future__ import annotations

import pytest

from ..property.world import box
from .rule_tracks import DISTRICT, Case

pytestmark = pytest.mark.usefixtures("judged")

BAN = {"tz": "Asia/Shanghai", "windows": [{"days": "mon-sun", "from": "00:10", "to": "00:20"}]}
TOWN = box("town", 4, 4, 6, 6, kind="zone", rules={"curfew": {"hours": BAN}})


def curfew() -> Case:
    return Case({}, TOWN, kind="curfew")


def test_a_curfew_lasts_as_long_as_the_stay_and_the_closed_hours_overlap() -> None:
    c = curfew()
    assert c.drive((0, 3, 5, 40), (590, 5, 5, 0), (601, 5, 5, 0)) == [("curfew", "opened", 600.0, None)]
    assert c.drive((1190, 5, 5, 0), (1210, 5, 5, 0)) == [("curfew", "closed", 600.0, 1200.0)]


def test_a_curfew_begins_with_the_entry_and_ends_with_the_exit() -> None:
    c = curfew()
    assert c.drive((700, 3, 5, 40), (720, 5, 5, 40), (740, 7, 5, 40)) == [
        ("curfew", "opened", 710.0, None),
        ("curfew", "closed", 710.0, 730.0),
    ]
    assert (c.last.lon, c.last.end_lon) == pytest.approx((121.508, 121.512))


def test_a_curfew_fires_and_ends_in_silence() -> None:
    c = curfew()
    assert c.drive((0, 3, 5, 40), (60, 5, 5, 0)) == []
    assert c.wait(599.999) == []
    assert c.wait(600) == [("curfew", "opened", 600.0, None)]
    assert c.wait(1199.999) == []
    assert c.wait(1200) == [("curfew", "closed", 600.0, 1200.0)]
    assert c.wait(5000) == []
    assert c.drive((5001, 5, 5, 0)) == []


def test_leaving_as_it_closes_is_no_curfew() -> None:
    c = curfew()
    assert c.drive((580, 5, 5, 40), (600, 5, 5, 40), (620, 7, 5, 40))[:1] == [
        ("curfew", "opened", 600.0, None)
    ]
    c = curfew()
    assert c.drive((580, 5, 5, 40), (590, 5, 5, 40), (610, 7, 5, 40)) == []  # the edge, at 600 s


def test_a_curfew_said_in_silence_is_taken_back_when_it_had_left_in_time() -> None:
    c = curfew()
    c.drive((0, 3, 5, 40), (60, 5, 5, 0))
    c.wait(700)
    assert c.drive((70, 7, 5, 40)) == [("curfew", "retracted", 600.0, None)]


def test_a_curfew_at_all_hours_of_a_passage_that_only_the_segment_saw_is_none() -> None:
    thin = box("town", 4, 4, 6, 6, kind="zone", thin=True, rules={"curfew": {"hours": BAN}})
    c = Case({}, thin, kind="curfew")
    assert c.drive((700, 3, 5, 40), (720, 7, 5, 40)) == []


# --- general limits ---------------------------------------------------------------------------

GENERAL = {"overspeed": {"general_kmh": 60, "motorway_kmh": 80, "for_s": 20}}
MOTORWAY = box("g9", 2, 8, 10, 9, kind="zone", rules={"overspeed": {"motorway": True}})


def test_sixty_in_the_district_and_eighty_on_its_motorways() -> None:
    c = Case(GENERAL, DISTRICT, MOTORWAY)
    assert c.drive((0, 3, 3, 60), (30, 4, 3, 60), (60, 5, 3, 61), (90, 6, 3, 61)) == [
        ("overspeed", "opened", 60.0, None)
    ]
    assert c.drive((120, 6, 3, 60)) == [("overspeed", "closed", 60.0, 90.0)]
    assert c.drive((150, 6, 8.5, 80), (180, 7, 8.5, 80)) == []
    assert c.drive((210, 7, 8.5, 81), (240, 8, 8.5, 81)) == [("overspeed", "opened", 210.0, None)]
    assert (c.last.fence_id, c.last.detail["limit_kmh"]) == ("district", 80.0)


def test_a_lower_sign_wins_over_the_general_limit_and_a_higher_one_does_not() -> None:
    lane = box("lane", 2, 2, 10, 4, kind="corridor", speed_limit_kmh=40)
    road = box("road", 2, 6, 10, 7, kind="corridor", speed_limit_kmh=70)
    c = Case(GENERAL, DISTRICT, lane, road)
    assert c.drive((0, 3, 3, 41), (30, 4, 3, 41)) == [("overspeed", "opened", 0.0, None)]
    assert c.last.fence_id == "lane"
    c.drive((60, 4, 3, 40))
    assert c.drive((100, 4, 6.5, 65), (130, 5, 6.5, 65)) == [("overspeed", "opened", 100.0, None)]
    assert c.last.fence_id == "district"


def test_outside_the_district_the_general_limit_does_not_hold() -> None:
    c = Case(GENERAL, DISTRICT)
    assert c.drive((0, 0, 0, 99), (30, 1, 0, 99), (60, 1, 1, 99)) == []


def test_by_night_eighty_per_cent_where_ruled() -> None:
    night = {"night_factor": 0.8, "night_hours": BAN}
    c = Case({"overspeed": {**GENERAL["overspeed"], **night}}, DISTRICT)
    assert c.drive((0, 3, 3, 50), (30, 4, 3, 50)) == []
    assert c.drive((600, 4, 3, 50), (630, 5, 3, 50)) == [("overspeed", "opened", 600.0, None)]
    assert c.last.detail["limit_kmh"] == 48.0
    assert c.drive((1200, 5, 3, 50)) == [("overspeed", "closed", 600.0, 630.0)]


def test_a_fence_may_be_exempt() -> None:
    yard = box("yard", 2, 2, 10, 10, kind="zone", speed_limit_kmh=10, rules={"overspeed": False})
    c = Case({"overspeed": True}, yard)
    assert c.drive((0, 3, 3, 50), (30, 4, 3, 50), (60, 4, 3, 50)) == []


def test_a_stay_limit_by_the_hour_of_entry() -> None:
    hours = {"overstay": {"when": [{"hours": BAN, "set": {"max_min": 5}}]}}
    park = box("park", 4, 4, 6, 6, kind="parking", max_stay_min=60, rules=hours)
    c = Case({}, park, kind="overstay")
    c.drive((700, 5, 5, 0))
    assert c.wait(1001) == [("overstay", "opened", 1000.0, None)]
    c = Case({}, park, kind="overstay")
    c.drive((100, 5, 5, 0))
    assert c.wait(3000) == []
