"""unregistered, no_waybill, cargo_forbidden, the waybill's window and expiring papers, by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from hazfence import Engine, EngineSettings, Event, Filed, ReferenceData, ReferenceFault, Waybill
from hazfence.reference import normal_plate
from hazfence.rules import Rulebook, RuleError
from hazfence.rules.papers import during, outside, paper_warnings

from ..property.world import START_US, box, fence_set
from .rule_tracks import DISTRICT, PLATE, Row, Said, batch, said

DAY_US = 86_400_000_000
RULES = {"unregistered": True, "no_waybill": True, "cargo_forbidden": True}
SCHOOL = box("school", 4, 4, 6, 6, kind="zone", rules={"cargo_forbidden": {"un_classes": ["1", "2.3"]}})


def us(seconds: float) -> int:
    return START_US + round(seconds * 1e6)


def on_file(from_s: float = -1e6, to_s: float | None = None, audit: Any = "approved", **more: Any) -> Filed:
    return Filed("vehicle", PLATE, audit, us(from_s), None if to_s is None else us(to_s), **more)


def bill(
    number: str = "W1", start: float = -1e5, end: float = 1e6, approved: float | None = -2e5, **more: Any
) -> Waybill:
    fields = {"un_number": 1203, "un_class": "3", **more}
    when = None if approved is None else us(approved)
    return Waybill(number, PLATE, from_us=us(start), to_us=us(end), approved_us=when, **fields)


class Papers:
    """An engine with a file, asked for one kind."""

    def __init__(self, kind: str, *rows: Filed | Waybill, rules: dict[str, Any] = RULES) -> None:
        self.kind = kind
        self.events: list[Event] = []
        self.engine = Engine(fence_set(DISTRICT, SCHOOL), EngineSettings(rules=Rulebook(rules)), data(*rows))

    def drive(self, *rows: Row, plate: str = PLATE) -> list[Said]:
        return self._new(self.engine.process(batch(list(rows), plate)))

    def wait(self, seconds: float) -> list[Said]:
        return self._new(self.engine.advance(us(seconds)))

    def _new(self, events: Any) -> list[Said]:
        news = [e for e in events if e.kind == self.kind]
        self.events += news
        return [said(e) for e in news]


def data(*rows: Filed | Waybill) -> ReferenceData:
    filed = [row for row in rows if isinstance(row, Filed)]
    return ReferenceData(filed, [row for row in rows if isinstance(row, Waybill)])


# --- unregistered -----------------------------------------------------------------------------


def test_a_vehicle_in_no_table_is_unregistered_for_the_whole_stay() -> None:
    c = Papers("unregistered", bill())
    assert c.drive((0, 1, 8, 40), (10, 3, 8, 40), (20, 1, 8, 40)) == [
        ("unregistered", "opened", 5.0, None),
        ("unregistered", "closed", 5.0, 15.0),
    ]
    assert c.events[0].detail["audit"] == "not on file"
    assert (c.events[0].lon, c.events[0].lat) == pytest.approx((121.504, 29.916))


def test_a_vehicle_on_file_and_approved_is_fine_however_its_plate_is_spelt() -> None:
    c = Papers("unregistered", on_file())
    for plate in (PLATE, "浙B·12345", "浙Ｂ 1 2345", "浙b12345", "浙В12345"):
        assert c.drive((0, 1, 8, 40), (10, 3, 8, 40), plate=plate) == []


@pytest.mark.parametrize("audit", ["pending", "rejected"])
def test_a_file_not_approved_counts_as_none(audit: str) -> None:
    c = Papers("unregistered", on_file(audit=audit))
    assert c.drive((0, 1, 8, 40), (10, 3, 8, 40)) == [("unregistered", "opened", 5.0, None)]
    assert c.events[0].detail["audit"] == audit


def test_approval_ends_it_and_its_end_begins_it_in_silence_too() -> None:
    c = Papers("unregistered", on_file(100, 500), on_file(500, audit="rejected"))
    assert c.drive((0, 1, 8, 40), (10, 3, 8, 40)) == [("unregistered", "opened", 5.0, None)]
    assert c.wait(99.999) == []
    assert c.wait(100) == [("unregistered", "closed", 5.0, 100.0)]
    assert c.wait(1000) == [("unregistered", "opened", 500.0, None)]
    assert c.drive((1001, 3, 8, 0), (1011, 1, 8, 40)) == [("unregistered", "closed", 500.0, 1006.0)]


# --- no_waybill, and past its window ----------------------------------------------------------


def test_without_a_waybill_until_one_is_approved() -> None:
    c = Papers("no_waybill", on_file(), bill(start=-100, approved=300))
    assert c.drive((0, 1, 8, 40), (10, 3, 8, 40), (290, 3, 8, 0)) == [("no_waybill", "opened", 5.0, None)]
    assert c.drive((310, 3, 8, 0)) == [("no_waybill", "closed", 5.0, 300.0)]


def test_a_waybill_not_approved_or_withdrawn_or_of_another_day_is_none() -> None:
    for waybill in (bill(approved=None), bill(withdrawn_us=us(-10)), bill(start=5000), bill(end=-50)):
        c = Papers("no_waybill", on_file(), waybill)
        assert c.drive((0, 1, 8, 40), (10, 3, 8, 40)) == [("no_waybill", "opened", 5.0, None)]


def test_a_valid_waybill_is_fine_and_so_is_one_that_follows_another() -> None:
    c = Papers("no_waybill", on_file(), bill("W1", end=600), bill("W2", start=500, end=900))
    assert c.drive((0, 1, 8, 40), (10, 3, 8, 40)) == []
    assert c.wait(899) == []


def test_waybills_that_overlap_cover_what_any_of_them_covers() -> None:
    short, long = bill("W1", start=200, end=400), bill("W2", start=-100, end=900)
    for bills in ((short, long), (long, short)):
        c = Papers("overstay", on_file(), *bills)
        assert c.drive((0, 1, 8, 40), (10, 3, 8, 40)) == []
        # The end of the one within the other says nothing, the end of the last one does.
        assert c.wait(899) == []
        assert c.wait(1000) == [("waybill", "opened", 900.0, None)]
        assert c.events[0].detail["waybill"] == "W2"


def test_of_two_waybills_at_once_each_is_held_against_the_fence() -> None:
    chlorine = bill("W2", start=100, end=300, un_number=1017, un_class="2.3")
    c = Papers("cargo_forbidden", on_file(), bill("W1", end=900), chlorine)
    assert c.drive((0, 5, 5, 0), (50, 5, 5, 0)) == []
    assert c.drive((200, 5, 5, 0), (500, 5, 5, 0)) == [
        ("cargo_forbidden", "opened", 100.0, None),
        ("cargo_forbidden", "closed", 100.0, 300.0),
    ]
    assert c.events[0].detail["waybill"] == "W2"


def test_past_the_window_is_an_overstay_not_a_missing_waybill() -> None:
    c = Papers("overstay", on_file(), bill(end=600))
    c.drive((0, 1, 8, 40), (10, 3, 8, 40))
    assert c.wait(599.9) == []
    assert c.wait(700) == [("waybill", "opened", 600.0, None)]
    assert c.events[0].detail["waybill"] == "W1"
    assert c.drive((1000, 3, 8, 0), (1010, 1, 8, 40)) == [("waybill", "closed", 600.0, 1005.0)]
    assert {e.kind for e in c.engine.open_events()} == set()


def test_leaving_within_the_window_takes_back_what_silence_said() -> None:
    c = Papers("overstay", on_file(), bill(end=600))
    c.drive((0, 1, 8, 40), (10, 3, 8, 40))
    c.wait(700)
    assert c.drive((20, 1, 8, 40)) == [("waybill", "retracted", 600.0, None)]


# --- cargo_forbidden --------------------------------------------------------------------------


def test_forbidden_cargo_in_the_fence_that_forbids_it() -> None:
    c = Papers("cargo_forbidden", on_file(), bill(un_number=1017, un_class="2.3", goods="液氯"))
    assert c.drive((0, 3, 5, 40), (10, 5, 5, 40), (20, 7, 5, 40)) == [
        ("cargo_forbidden", "opened", 5.0, None),
        ("cargo_forbidden", "closed", 5.0, 15.0),
    ]
    assert (c.events[0].fence_id, c.events[0].detail["un_number"]) == ("school", 1017)


def test_a_class_stands_for_its_divisions_and_other_cargo_is_fine() -> None:
    assert (
        len(
            Papers("cargo_forbidden", bill(un_number=333, un_class="1.1")).drive((0, 3, 5, 40), (10, 5, 5, 0))
        )
        == 1
    )
    assert Papers("cargo_forbidden", bill()).drive((0, 3, 5, 40), (10, 5, 5, 0)) == []
    assert Papers("cargo_forbidden").drive((0, 3, 5, 40), (10, 5, 5, 0)) == []


def test_a_fence_names_known_classes_only() -> None:
    fence = box("school", 4, 4, 6, 6, kind="zone", rules={"cargo_forbidden": {"un_classes": ["11"]}})
    with pytest.raises(RuleError, match="list of UN classes"):
        Engine(fence_set(fence))


# --- the file itself --------------------------------------------------------------------------


def test_last_week_is_judged_by_last_weeks_file() -> None:
    week_s = 7 * 86_400
    rows = (on_file(-1e6, week_s), on_file(week_s, audit="rejected"), bill())
    assert Papers("unregistered", *rows).drive((0, 1, 8, 40), (10, 3, 8, 40)) == []
    late = Papers("unregistered", *rows)
    assert len(late.drive((week_s + 100, 1, 8, 40), (week_s + 110, 3, 8, 40))) == 1


def test_new_data_while_it_is_inside_holds_from_its_own_time() -> None:
    c = Papers("no_waybill", on_file())
    assert c.drive((0, 1, 8, 40), (10, 3, 8, 40)) == [("no_waybill", "opened", 5.0, None)]
    c.engine.use_reference(data(on_file(), bill(start=-100, approved=60)))
    assert c.wait(50) == []
    assert c.wait(61) == [("no_waybill", "closed", 5.0, 60.0)]
    c.engine = Engine.restore(
        c.engine.snapshot(),
        c.engine.fences,
        c.engine.settings,
        data(on_file(), bill(start=-100, approved=60)),
    )
    assert c.drive((70, 3, 8, 0)) == []


def test_a_vehicles_class_on_file_chooses_its_parameters() -> None:
    rules = {"overpark": {"max_min": 10, "when": [{"classes": ["tank"], "set": {"max_min": 2}}]}}
    tank = Papers("overpark", on_file(category="tank"), rules=rules)
    tank.drive((0, 3, 8, 40), (10, 3, 8, 0))
    assert tank.wait(131) == [("overpark", "opened", 130.0, None)]
    van = Papers("overpark", on_file(category="van"), rules=rules)
    van.drive((0, 3, 8, 40), (10, 3, 8, 0))
    assert van.wait(600) == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bill(start=10, end=10), ["waybill 'W1'", "window ends before it begins"]),
        (lambda: bill(un_number=9999), ["no UN number 9999", "4 to 3599"]),
        (lambda: bill(un_class="10"), ["no UN class '10'"]),
        (lambda: Waybill("W", " ·", 1203, "3", 0, 1), ["no plate"]),
        (lambda: on_file(10, 5), ["holds to a moment not after"]),
        (lambda: on_file(audit="fine"), ["audit is 'fine'", "approved, pending or rejected"]),
        (lambda: data(on_file(0), on_file(5)), ["two rows hold at the same time"]),
        (lambda: data(bill(), bill()), ["number is used twice"]),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(make: Any, words: list[str]) -> None:
    with pytest.raises(ReferenceFault) as error:
        make()
    for word in words:
        assert word in str(error.value)


def test_plates_are_compared_as_people_read_them() -> None:
    assert normal_plate(" 浙Ｂ・１２３４５ ") == "浙B12345" == normal_plate("浙b-12345")
    assert normal_plate("浙В12345") == "浙B12345"  # a Cyrillic letter
    assert normal_plate("沪D12345") != normal_plate("浙D12345")


def test_papers_are_warned_of_thirty_and_seven_days_before_and_on_the_day() -> None:
    expires = us(0)
    rows = [
        Filed("vehicle", PLATE, "approved", us(-1e8), papers={"transport permit": expires}),
        Filed("person", "D-1", "approved", us(-1e8), papers={"licence": expires + DAY_US}),
    ]
    found = paper_warnings(ReferenceData(rows), expires - 30 * DAY_US, expires + 1)
    told = [(e.detail["id"], e.detail["days_left"], str(e.severity)) for e in found]
    assert told == [
        (PLATE, 30, "warning"),
        ("D-1", 30, "warning"),
        (PLATE, 7, "warning"),
        ("D-1", 7, "warning"),
        (PLATE, 0, "breach"),
    ]
    assert (found[0].vehicle, found[1].vehicle) == (PLATE, "")
    assert {str(e.kind) for e in found} == {"paper_expiring"}
    # In pieces it says the same, each once.
    cuts = [expires - 30 * DAY_US + k * DAY_US for k in range(31)] + [expires + 1]
    pieces = [e for a, b in pairwise(cuts) for e in paper_warnings(ReferenceData(rows), a, b)]
    assert pieces == list(found)


def test_a_renewed_paper_is_not_warned_of() -> None:
    rows = [
        Filed("tank", "T-1", "approved", us(-1e8), us(-86_400 * 10), papers={"inspection": us(0)}),
        Filed("tank", "T-1", "approved", us(-86_400 * 10), papers={"inspection": us(1e8)}),
    ]
    found = paper_warnings(ReferenceData(rows), us(-1e7), us(1e7))
    assert [e.detail["days_left"] for e in found] == [30]


def test_spans_beside_a_stay() -> None:
    assert outside([(0, 10), (20, 30)], 5, 25) == [((10, 20), True)]
    assert outside([(0, 10)], 5, 25) == [((10, 25), False)]
    assert outside([], 5, 25) == [((5, 25), False)]
    assert outside([(0, 99)], 5, 25) == []
    assert during([(0, 10), (20, 30)], 5, 25) == [((5, 10), True), ((20, 25), False)]
