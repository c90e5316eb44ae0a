"""Rules of the file at their edges: the exact end of a paper, silence, and fixes that come late."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from hazfence import Engine, EngineSettings, Filed, ReferenceData
from hazfence.rules import Rulebook
from hazfence.rules.papers import paper_warnings

from ..property.world import box, fence_set
from .rule_tracks import Said, last_words
from .test_rules_papers import DAY_US, PLATE, RULES, Papers, bill, data, on_file, us

#: In from 5 s to 15 s, in the north of the district, away from the school.
STAY = ((0, 1, 8, 40), (10, 3, 8, 40), (20, 1, 8, 40))
#: The same over the border of the school.
SCHOOL_STAY = ((0, 3, 5, 40), (10, 5, 5, 40), (20, 7, 5, 40))
CHLORINE: dict[str, Any] = {"un_number": 1017, "un_class": "2.3"}


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (on_file(5), []),
        (on_file(6), [("unregistered", "closed", 5.0, 6.0)]),
        (on_file(to_s=15), []),
        (on_file(to_s=14), [("unregistered", "closed", 14.0, 15.0)]),
    ],
)
def test_approved_for_just_the_stay_is_fine(row: Filed, wanted: list[Said]) -> None:
    c = Papers("unregistered", row)
    c.drive(*STAY)
    assert last_words(c.events) == wanted


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (5, 15, []),
        (6, 15, [("no_waybill", "closed", 5.0, 6.0)]),
        # Past the end of its window it is an overstay.
        (5, 14, []),
    ],
)
def test_a_waybill_for_just_the_stay_is_fine(start: float, end: float, wanted: list[Said]) -> None:
    c = Papers("no_waybill", on_file(), bill(start=start, end=end))
    c.drive(*STAY)
    assert last_words(c.events) == wanted


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (-99, 5, []),
        (-99, 6, [("cargo_forbidden", "closed", 5.0, 6.0)]),
        (15, 99, []),
        (14, 99, [("cargo_forbidden", "closed", 14.0, 15.0)]),
    ],
)
def test_goods_before_or_after_the_stay_are_fine(start: float, end: float, wanted: list[Said]) -> None:
    c = Papers("cargo_forbidden", on_file(), bill(start=start, end=end, **CHLORINE))
    c.drive(*SCHOOL_STAY)
    assert last_words(c.events) == wanted


def test_a_waybill_that_begins_and_ends_in_silence_begins_and_ends_the_breach() -> None:
    c = Papers("cargo_forbidden", on_file(), bill(start=100, end=300, **CHLORINE))
    assert c.drive((0, 3, 5, 40), (10, 5, 5, 0)) == []
    assert c.wait(99.999) == []
    assert c.wait(100) == [("cargo_forbidden", "opened", 100.0, None)]
    assert c.wait(1000) == [("cargo_forbidden", "closed", 100.0, 300.0)]


def test_a_district_in_force_by_the_hour_is_entered_without_a_waybill_in_silence() -> None:
    hours = {"tz": "Asia/Shanghai", "windows": [{"days": "mon-sun", "from": "00:10", "to": "00:20"}]}
    timed = box("district", 2, 2, 10, 10, kind="district", schedule=hours)
    c = Papers("no_waybill")
    c.engine = Engine(fence_set(timed), EngineSettings(rules=Rulebook(RULES)), data(on_file()))
    assert c.drive((0, 3, 8, 40), (10, 4, 8, 0)) == []
    assert c.wait(599.999) == []
    assert c.wait(600) == [("no_waybill", "opened", 600.0, None)]
    assert c.wait(5000) == [("no_waybill", "closed", 600.0, 1200.0)]


def test_an_approval_that_ran_out_in_silence_is_taken_back_when_it_had_left() -> None:
    c = Papers("unregistered", on_file(to_s=100))
    assert c.drive(*STAY[:2]) == []
    assert c.wait(200) == [("unregistered", "opened", 100.0, None)]
    assert c.drive(STAY[2]) == [("unregistered", "retracted", 100.0, None)]


def test_goods_that_began_in_silence_are_taken_back_when_it_had_left() -> None:
    c = Papers("cargo_forbidden", on_file(), bill(start=100, **CHLORINE))
    assert c.drive(*SCHOOL_STAY[:2]) == []
    assert c.wait(200) == [("cargo_forbidden", "opened", 100.0, None)]
    assert c.drive(SCHOOL_STAY[2]) == [("cargo_forbidden", "retracted", 100.0, None)]


@pytest.mark.parametrize("kind", ["unregistered", "no_waybill"])
def test_a_late_fix_outside_moves_the_entry_without_papers(kind: str) -> None:
    c = Papers(kind)
    c.drive(*STAY)
    assert last_words(c.events) == [(kind, "closed", 5.0, 15.0)]
    # Still one step outside at 6 s: it entered half way between 6 and 10.
    c.drive((6, 1, 8, 40))
    assert last_words(c.events) == [(kind, "retracted", 5.0, 15.0), (kind, "closed", 8.0, 15.0)]


def test_a_late_fix_on_the_school_road_shows_the_forbidden_goods() -> None:
    c = Papers("cargo_forbidden", on_file(), bill(**CHLORINE))
    assert c.drive((0, 3, 5, 40), (20, 3, 5, 40)) == []
    c.drive((10, 5, 5, 40))
    assert last_words(c.events) == [("cargo_forbidden", "closed", 5.0, 15.0)]


def test_a_paper_is_warned_of_at_its_own_moments_and_not_one_microsecond_sooner() -> None:
    file = ReferenceData([Filed("vehicle", PLATE, "approved", us(-1e8), papers={"permit": us(0)})])
    for days in (30, 7, 0):
        at_us = us(0) - days * DAY_US
        assert paper_warnings(file, at_us - DAY_US, at_us) == ()
        [warning] = paper_warnings(file, at_us, at_us + 1)
        # It has no duration, and nobody needs to drive for it.
        assert (str(warning.kind), str(warning.phase)) == ("paper_expiring", "closed")
        assert (warning.started_us, warning.ended_us) == (at_us, at_us)


def test_a_renewal_that_comes_late_leaves_only_what_was_said_before_it() -> None:
    old = Filed("tank", "T-1", "approved", us(-1e8), papers={"inspection": us(0)})
    renewed = ReferenceData(
        [
            Filed("tank", "T-1", "approved", us(-1e8), us(0) - 10 * DAY_US, papers={"inspection": us(0)}),
            Filed("tank", "T-1", "approved", us(0) - 10 * DAY_US, papers={"inspection": us(1e8)}),
        ]
    )
    # Asked day by day; the renewal of ten days before becomes known eight days before.
    cuts = [us(0) + k * DAY_US for k in range(-31, 2)]
    found = []
    for from_us, to_us in pairwise(cuts):
        file = ReferenceData([old]) if to_us <= us(0) - 8 * DAY_US else renewed
        found += [e.detail["days_left"] for e in paper_warnings(file, from_us, to_us)]
    assert found == [30]
