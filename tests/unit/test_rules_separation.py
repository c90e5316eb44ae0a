"""Incompatible goods side by side: hand-made stands, and the table that says what is incompatible."""

from __future__ import annotations

import numpy as np
import pytest

from hazfence import Event, FixBatch, Phase, ReferenceData, Waybill
from hazfence.reference import UN_CLASSES
from hazfence.rules import Rulebook, RuleError
from hazfence.rules.segregation import LEVELS, class_codes, level
from hazfence.rules.separation import SeparationWatch
from hazfence_fences import FenceSet, parse_fences

# 08:00 in Shanghai, a whole number of steps of 30 s since 1970.
START_US = 1_772_409_600_000_000
MIN_US = 60_000_000
#: Metres of a degree at 30 degrees north, as the simulator's and the engine's metric has them.
EAST_M = 96_400.0
BOOK = Rulebook({"separation": {"near_m": 30, "for_min": 10, "apart_s": 120}})


def box(fence_id: str, west: float, east: float, **properties: object) -> dict[str, object]:
    ring = [[west, 29.9], [east, 29.9], [east, 30.1], [west, 30.1], [west, 29.9]]
    return {
        "type": "Feature",
        "properties": {"id": fence_id, **properties},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


FENCES = FenceSet(
    parse_fences(
        {
            "type": "FeatureCollection",
            "features": [
                box("district", 121.5, 121.9, kind="district"),
                box("park", 121.7, 121.75, kind="parking"),
                box("bays", 121.8, 121.85, kind="parking", rules={"separation": False}),
            ],
        },
        source="test",
    )
)
FILE = ReferenceData(
    waybills=[
        Waybill("1", "A", 1203, "3", START_US - MIN_US, START_US + 600 * MIN_US, START_US - MIN_US),
        Waybill("2", "B", 3105, "5.2", START_US - MIN_US, START_US + 600 * MIN_US, START_US - MIN_US),
        Waybill("3", "C", 1202, "3", START_US - MIN_US, START_US + 600 * MIN_US, START_US - MIN_US),
    ]
)


def stand(
    vehicle: str, from_min: float, to_min: float, *, east_m: float = 0.0, lon: float = 121.6
) -> list[tuple[str, int, float]]:
    """A fix every 10 s from a moment to another, so many metres east of a place."""
    times = range(round(from_min * MIN_US), round(to_min * MIN_US) + 1, 10_000_000)
    return [(vehicle, START_US + t, lon + east_m / EAST_M) for t in times]


def batch(rows: list[tuple[str, int, float]]) -> FixBatch:
    names, time_us, lon = zip(*rows, strict=True)
    return FixBatch.of(names, time_us=np.array(time_us), lon=np.array(lon), lat=np.full(len(rows), 30.0))


def run(rows: list[tuple[str, int, float]], until_min: float, book: Rulebook = BOOK) -> list[Event]:
    watch = SeparationWatch(FENCES, book, FILE)
    watch.take(batch(rows))
    return list(watch.advance(START_US + round(until_min * MIN_US)))


def facts(events: list[Event]) -> list[tuple[str, str, str | None, float, float | None]]:
    """(vehicle, other, fence, from minute, to minute) of what stands."""
    last = {e.id: e for e in events}
    return [
        (
            e.vehicle,
            e.detail["other"],
            e.fence_id,
            (e.started_us - START_US) / MIN_US,
            None if e.ended_us is None else (e.ended_us - START_US) / MIN_US,
        )
        for e in last.values()
        if e.phase is not Phase.RETRACTED
    ]


def test_the_table_is_symmetric_and_says_what_the_code_of_the_sea_says() -> None:
    assert (LEVELS == LEVELS.T).all()
    assert set(class_codes()) == UN_CLASSES | {""}
    known = {
        ("2.1", "3"): 2, ("2.1", "4.1"): 1, ("2.1", "5.1"): 2, ("2.3", "3"): 2, ("2.2", "3"): 1,
        ("3", "5.1"): 2, ("3", "5.2"): 2, ("3", "8"): 0, ("4.2", "8"): 1, ("4.3", "8"): 1, ("5.1", "8"): 2,
        ("1.1", "3"): 4, ("1.3", "4.2"): 3, ("1.4", "6.1"): 0, ("6.2", "8"): 3, ("7", "8"): 2,
        ("9", "1.1"): 0, ("3", "3"): 0, ("1.2", "5.1"): 4, ("1.6", "7"): 2, ("6.1", "5.2"): 1,
    }  # fmt: skip
    assert {pair: level(*pair) for pair in known} == known


def test_fires_at_the_deadline_and_ends_with_the_last_moment_near() -> None:
    rows = stand("A", 0, 60) + stand("B", 5, 25, east_m=20) + stand("B", 25.5, 60, east_m=500)
    # B comes at 08:05, so near since then; ten minutes later it is too long; last near 08:25.
    events = run(rows, 60)
    assert facts(events) == [("A", "B", "district", 15, 25)]
    (event,) = events
    assert event.phase is Phase.CLOSED
    assert event.detail["goods"] == ["3", "5.2"]
    assert event.detail["level"] == 2
    assert event.detail["nearest_m"] == pytest.approx(20, abs=0.2)
    assert event.lon == pytest.approx(121.6 + 10 / EAST_M, abs=1e-7)


def test_a_moment_short_of_the_limit_is_none() -> None:
    gone = stand("B", 14.6, 60, east_m=500)
    assert facts(run(stand("A", 0, 60) + stand("B", 5, 14.5, east_m=20) + gone, 60)) == []
    assert facts(run(stand("A", 0, 60) + stand("B", 5, 60, east_m=31), 60)) == []


def test_the_same_goods_and_no_goods_are_none() -> None:
    assert facts(run(stand("A", 0, 60) + stand("C", 0, 60, east_m=10), 60)) == []
    assert facts(run(stand("A", 0, 60) + stand("X", 0, 60, east_m=10), 60)) == []


def test_outside_the_district_and_where_a_fence_says_no_is_none() -> None:
    for lon in (121.4, 121.82):
        rows = stand("A", 0, 60, lon=lon) + stand("B", 0, 60, lon=lon, east_m=10)
        assert facts(run(rows, 60)) == []


def test_the_park_is_named_when_it_is_there() -> None:
    rows = stand("A", 0, 30, lon=121.72) + stand("B", 0, 30, lon=121.72, east_m=10)
    assert facts(run(rows, 60))[0][2] == "park"


def test_apart_for_two_minutes_is_still_together_for_three_is_not() -> None:
    near = stand("A", 0, 60) + stand("B", 0, 6, east_m=10) + stand("B", 6.5, 8, east_m=90)
    assert facts(run([*near, *stand("B", 8.5, 20, east_m=10)], 20)) == [("A", "B", "district", 10, None)]
    far = stand("A", 0, 60) + stand("B", 0, 6, east_m=10) + stand("B", 6.5, 9.5, east_m=90)
    assert facts(run([*far, *stand("B", 10, 19.5, east_m=10)], 19.9)) == []


def test_fires_in_silence_while_the_last_fix_is_not_old_and_is_retracted_by_none() -> None:
    watch = SeparationWatch(FENCES, BOOK, FILE)
    # Both were last heard of at 08:08; they are where they were for five minutes.
    watch.take(batch(stand("A", 0, 8) + stand("B", 0, 8, east_m=10)))
    assert watch.advance(START_US + 9 * MIN_US) == ()
    events = list(watch.advance(START_US + round(12.5 * MIN_US)))
    assert facts(events) == [("A", "B", "district", 10, None)]
    events += watch.advance(START_US + 30 * MIN_US)
    assert facts(events) == [("A", "B", "district", 10, 12.5)]


def test_a_late_fix_takes_back_what_was_said_without_it() -> None:
    watch = SeparationWatch(FENCES, BOOK, FILE)
    watch.take(batch(stand("A", 0, 20) + stand("B", 0, 2, east_m=10) + stand("B", 6.9, 20, east_m=10)))
    events = list(watch.advance(START_US + 21 * MIN_US))
    assert facts(events) == [("A", "B", "district", 10, None)]
    # B had been away from 08:02 to 08:06; the terminal sends that later.
    watch.take(batch(stand("B", 2.1, 6.8, east_m=400)))
    events += watch.advance(START_US + 21 * MIN_US)
    assert facts(events) == [("A", "B", "district", 17, None)]
    assert [e.phase for e in events] == [Phase.OPENED, Phase.RETRACTED, Phase.OPENED]
    events += watch.advance(START_US + 60 * MIN_US)
    # Last heard of at 08:20 and believed for five minutes, the last step before that at 08:24:30.
    assert facts(events) == [("A", "B", "district", 17, 24.5)]


def test_what_comes_too_late_is_counted() -> None:
    watch = SeparationWatch(FENCES, BOOK, FILE, keep_s=600)
    watch.take(batch(stand("A", 0, 60)))
    watch.advance(START_US + 60 * MIN_US)
    watch.take(batch(stand("B", 0, 1)))
    assert watch.too_late == 7


def test_goods_are_those_of_the_moment() -> None:
    end_us = START_US + 15 * MIN_US
    bills = [
        Waybill("1", "A", 1203, "3", START_US, START_US + 600 * MIN_US, START_US),
        Waybill("2", "B", 3105, "5.2", START_US, end_us, START_US),
    ]
    watch = SeparationWatch(FENCES, BOOK, ReferenceData(waybills=bills))
    watch.take(batch(stand("A", 0, 60) + stand("B", 0, 60, east_m=10)))
    # B's waybill ends at 08:15:00; the last step at which it carried peroxide is half a minute before.
    events = list(watch.advance(START_US + 60 * MIN_US))
    assert facts(events) == [("A", "B", "district", 10, 14.5)]


def test_numbers_belong_to_the_general_book() -> None:
    feature = box("x", 121.5, 121.6, kind="parking", rules={"separation": {"near_m": 5}})
    fences = FenceSet(parse_fences({"type": "FeatureCollection", "features": [feature]}, source="test"))
    with pytest.raises(RuleError, match="'near_m' is said for all fences; write it in the general book"):
        BOOK.for_fences(fences.fences, {})
