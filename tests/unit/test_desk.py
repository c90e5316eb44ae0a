"""What is told to people: shelves, chatter, and the counting of both."""

from __future__ import annotations

from typing import Any

import pytest

from hazfence import Event, Kind, Phase
from hazfence.desk import Desk, DeskError
from hazfence.events import event_id

START_US = 1_772_380_800_000_000


def event(
    start_s: float,
    end_s: float | None = None,
    *,
    kind: Kind = Kind.OVERSPEED,
    vehicle: str = "A",
    **more: Any,
) -> Event:
    start = START_US + round(start_s * 1e6)
    end = None if end_s is None else START_US + round(end_s * 1e6)
    phase = Phase.OPENED if end is None else Phase.CLOSED
    fields = {"revision": 1 if end is None else 2, "phase": phase, **more}
    return Event(
        *(event_id(kind, vehicle, "f", start), kind, vehicle, "f", 1),
        **fields,
        started_us=start,
        ended_us=end,
        lon=121.5,
        lat=29.9,
    )


def test_without_configuration_everything_is_told() -> None:
    events = [event(0), event(0, 10), event(11), event(11, 12)]
    desk = Desk()
    assert desk.tell(events) == events
    assert desk.held == {}


def test_chatter_is_held_back_to_its_end_and_counted() -> None:
    desk = Desk({"quiet_s": {"*": 30}})
    first, again, later = [event(0), event(0, 10)], [event(39), event(39, 40)], [event(70), event(70, 80)]
    assert desk.tell([*first, *again, *later]) == [*first, *later]
    assert desk.held == {("chatter", "overspeed"): 2}
    assert desk.tell([event(81, vehicle="B")]) != []


def test_chatter_that_goes_on_stays_quiet() -> None:
    desk = Desk({"quiet_s": {"overspeed": 30}})
    told = desk.tell([e for k in range(20) for e in (event(20.0 * k), event(20.0 * k, 20.0 * k + 5))])
    assert told == [event(0), event(0, 5)]
    assert desk.held == {("chatter", "overspeed"): 38}


def test_what_was_told_is_told_to_its_end_even_if_it_is_taken_back() -> None:
    desk = Desk({"quiet_s": {"*": 1000}})
    retracted = event(0, revision=2, phase=Phase.RETRACTED)
    assert desk.tell([event(0), retracted]) == [event(0), retracted]


def test_a_shelf_holds_what_it_names_until_its_moment() -> None:
    desk = Desk(
        {
            "shelves": [
                {
                    "kinds": ["overspeed"],
                    "vehicles": ["A"],
                    "fences": ["f"],
                    "until": "2026-03-02T01:00:00+08:00",
                }
            ]
        }
    )
    assert desk.tell([event(0), event(0, 10)]) == []
    assert desk.tell([event(20, vehicle="B"), event(30, kind=Kind.OVERPARK), event(3600)]) != []
    assert desk.held == {("shelved", "overspeed"): 2}


def test_visits_pass() -> None:
    desk = Desk({"shelves": [{"vehicles": ["A"]}]})
    visit = event(0, kind=Kind.VISIT)
    assert desk.tell([visit]) == [visit]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"quiet": 3}, "no key 'quiet'"),
        ({"quiet_s": 3}, "seconds by kind"),
        ({"quiet_s": {"speeding": 3}}, "no kind 'speeding'"),
        ({"quiet_s": {"*": -1}}, "at least 0"),
        ({"shelves": [{}]}, r"shelves\[0\]"),
        ({"shelves": [{"kinds": "overspeed"}]}, "list of names"),
        ({"shelves": [{"kinds": ["speeding"]}]}, "no kind 'speeding'"),
        ({"shelves": [{"until": "tomorrow"}]}, "is 'tomorrow'"),
        (
            {"shelves": [{"from": "2026-03-05T00:00:00Z", "until": "2026-03-01T00:00:00Z"}]},
            "ends before it begins",
        ),
        ({"shelves": [{"kind": ["overspeed"], "until": "2026-03-05T00:00:00Z"}]}, "no key 'kind'"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: Any, words: str) -> None:
    with pytest.raises(DeskError, match=words):
        Desk(given)
