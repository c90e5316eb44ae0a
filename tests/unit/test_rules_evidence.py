"""Every breach names the fixes that it rests on, and the same ones whichever way it is noticed."""

from __future__ import annotations

from typing import Any

from hazfence import Event, Kind
from hazfence.events import from_iso

from ..property.world import START_US, box
from .rule_tracks import GATE, SECOND, Case

DISTRICT = box("district", 2, 2, 10, 10, kind="district", max_stay_min=30)
ZONE = box("zone", 4, 4, 6, 6, kind="restricted")


class _Case(Case):
    """Keeps events of every kind."""

    def _new(self, events: list[Event]) -> list[Any]:
        self.events += events
        return []


def case(*fences: dict[str, Any]) -> Case:
    return _Case({}, *fences, kind="any")


def fixes(events: list[Event], kind: Kind) -> list[list[float]]:
    """The seconds of the fixes named, of each first revision of a kind."""
    return [
        [(from_iso(at) - START_US) / SECOND for at in event.detail["fixes"]]
        for event in events
        if event.kind is kind and event.revision == 1
    ]


def test_a_bypass_names_the_two_fixes_around_the_crossing() -> None:
    tried = case(DISTRICT, GATE)
    tried.drive((0, 1, 3, 60), (20, 3, 3, 60), (40, 4, 3, 60), (60, 4, 1, 60))
    assert fixes(tried.events, Kind.GATE_BYPASS) == [[0, 20], [40, 60]]
    assert all(e.detail["between"] == e.detail["fixes"] for e in tried.events if e.kind is Kind.GATE_BYPASS)


def test_an_entry_names_the_two_fixes_around_it() -> None:
    tried = case(DISTRICT, ZONE)
    tried.drive((0, 3, 5, 40), (30, 5, 5, 40), (60, 7, 5, 40))
    assert fixes(tried.events, Kind.RESTRICTED_ENTRY) == [[0, 30]]


def test_an_entry_made_certain_later_names_the_fix_that_did_it() -> None:
    tried = case(DISTRICT, ZONE)
    # About 5 m inside is no proof; 50 m are.
    tried.drive((0, 4.03, 5, 10), (30, 4.03, 5, 10), (60, 4.3, 5, 10))
    assert fixes(tried.events, Kind.POSSIBLE_ENTRY) == [[0]]
    assert fixes(tried.events, Kind.RESTRICTED_ENTRY) == [[0, 60]]


def test_an_overstay_names_how_it_came_in_and_where_it_was_seen_last() -> None:
    by_fix, in_silence = case(DISTRICT), case(DISTRICT)
    for tried in (by_fix, in_silence):
        tried.drive((0, 1, 6, 40), (20, 3, 6, 40), (600, 3, 6, 0), (900, 3, 6, 0))
    by_fix.drive((2000, 3, 6, 0))
    in_silence.wait(3000)
    assert fixes(by_fix.events, Kind.OVERSTAY) == [[0, 20, 900]]
    assert fixes(in_silence.events, Kind.OVERSTAY) == [[0, 20, 900]]
    in_silence.drive((3100, 3, 6, 0))
    assert [e.revision for e in in_silence.events if e.kind is Kind.OVERSTAY] == [1]


def test_a_stay_known_from_its_first_fix_rests_on_that() -> None:
    tried = case(DISTRICT, ZONE)
    tried.drive((0, 5, 5, 0))
    tried.wait(2000)
    assert fixes(tried.events, Kind.OVERSTAY) == [[0]]
    assert fixes(tried.events, Kind.RESTRICTED_ENTRY) == [[0]]


def test_an_overspeed_names_its_first_and_last_fix() -> None:
    tried = case(box("district", 2, 2, 10, 10, kind="district", speed_limit_kmh=60))
    tried.drive((0, 3, 6, 70), (10, 4, 6, 71), (30, 5, 6, 72), (40, 6, 6, 50))
    assert fixes(tried.events, Kind.OVERSPEED) == [[0, 30]]
