"""Separation: against every pair looked at one by one, in any cut and order, with restarts in between."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hazfence import Event, FixBatch, Phase, ReferenceData, Waybill
from hazfence.rules import Rulebook
from hazfence.rules.driving import apart2_m2
from hazfence.rules.segregation import level
from hazfence.rules.separation import SeparationWatch, near_pairs
from hazfence_fences import FenceSet, parse_fences

START_US = 1_772_409_600_000_000
STEP_US = 30_000_000
HOLD_US = 90_000_000
BOOK = Rulebook({"separation": {"near_m": 40, "for_min": 2, "apart_s": 60}})
Row = tuple[str, int, float]


def _box(fence_id: str, west: float, east: float, **properties: Any) -> dict[str, Any]:
    ring = [[west, 29.9], [east, 29.9], [east, 30.1], [west, 30.1], [west, 29.9]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": {"id": fence_id, **properties}, "geometry": geometry}


FENCES = FenceSet(
    parse_fences(
        {
            "type": "FeatureCollection",
            "features": [
                _box("district", 121.5, 121.6, kind="district"),
                _box("bays", 121.5002, 121.5004, kind="parking", rules={"separation": False}),
            ],
        },
        source="test",
    )
)
GOODS = {"A": "3", "B": "5.1", "C": "8", "D": "2.1"}
BILLS = [
    Waybill(name, name, 1000 + i, GOODS[name], START_US, START_US + 20 * 60_000_000, START_US)
    for i, name in enumerate(GOODS)
] + [Waybill("A2", "A", 1203, "5.2", START_US + 300_000_000, START_US + 10**10, START_US)]
FILE = ReferenceData(waybills=BILLS)

#: Places 20 m apart on a line that begins outside the district; the bays are in it.
rows = st.lists(
    st.tuples(
        st.sampled_from("ABCD"),
        st.integers(0, 1200).map(lambda s: START_US + s * 1_000_000),
        st.integers(-2, 10).map(lambda i: 121.5001 + i * 20 / 96_400),
    ),
    max_size=120,
    unique_by=lambda row: row[:2],
)


def batch(some: list[Row]) -> FixBatch:
    names, time_us, lon = zip(*some, strict=True)
    return FixBatch.of(names, time_us=np.array(time_us), lon=np.array(lon), lat=np.full(len(some), 30.0))


def standing(events: list[Event]) -> set[tuple[Any, ...]]:
    last = {event.id: event for event in events}
    return {
        (e.vehicle, e.detail["other"], e.fence_id, e.started_us, e.ended_us)
        for e in last.values()
        if e.phase is not Phase.RETRACTED
    }


def plainly(some: list[Row], until_us: int) -> set[tuple[Any, ...]]:
    """The rule in its own words: every pair, every step."""
    last_step = until_us // STEP_US
    found = set()
    for a, b in combinations(sorted(GOODS), 2):
        near = []
        for k in range(START_US // STEP_US, last_step + 1):
            where = []
            for name in (a, b):
                seen = [
                    row for row in some if row[0] == name and k * STEP_US - HOLD_US < row[1] <= k * STEP_US
                ]
                where.append(max(seen, key=lambda row: row[1], default=None))
            one, other = where
            if one is None or other is None:
                continue
            bills = [FILE.waybill(row[0], row[1]) for row in (one, other)]
            if any(bill is None for bill in bills) or level(bills[0].un_class, bills[1].un_class) < 2:
                continue
            bays = all(121.5002 <= row[2] <= 121.5004 for row in (one, other))
            if min(one[2], other[2]) >= 121.5 and not bays and abs(one[2] - other[2]) * 96_300 <= 40:
                near.append(k)
        runs: list[list[int]] = []
        for k in near:
            if runs and k - runs[-1][-1] <= 3:
                runs[-1].append(k)
            else:
                runs.append([k])
        for run in runs:
            if run[-1] - run[0] >= 4:
                over = last_step > run[-1] + 2
                end = run[-1] * STEP_US if over else None
                found.add((a, b, "district", (run[0] + 4) * STEP_US, end))
    return found


@given(some=rows, data=st.data())
def test_any_order_and_cut_stands_as_looked_at_one_by_one(some: list[Row], data: st.DataObject) -> None:
    until_us = START_US + 1500 * 1_000_000
    watch = SeparationWatch(FENCES, BOOK, FILE, max_gap_s=90)
    events: list[Event] = []
    order = data.draw(st.permutations(some))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=5)))
    for lo, hi in zip([0, *cuts], [*cuts, len(order)], strict=True):
        if lo < hi:
            watch.take(batch(order[lo:hi]))
            if data.draw(st.booleans()):
                watch.take(batch(order[lo:hi]))  # the log is read again
        ahead_s = data.draw(st.sampled_from([None, 0, 300, 900]))
        if ahead_s is not None:
            events += watch.advance(START_US + ahead_s * 1_000_000)
        if data.draw(st.booleans()):
            watch = SeparationWatch.restore(watch.snapshot(), FENCES, BOOK, FILE, max_gap_s=90)
    events += watch.advance(until_us)
    assert standing(events) == plainly(some, until_us)
    revisions = [(e.id, e.revision) for e in events]
    assert len(set(revisions)) == len(revisions)
    assert watch.too_late == 0


@given(
    places=st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), max_size=60),
    corner=st.sampled_from([(121.6, 29.97), (-0.0002, 0.0001), (10.0, -60.0)]),
    near_m=st.sampled_from([5.0, 30.0, 400.0]),
)
def test_near_pairs_are_all_pairs_that_are_near(
    places: list[tuple[int, int]], corner: tuple[float, float], near_m: float
) -> None:
    lon = np.array([corner[0] + i * 1e-4 for i, _ in places])
    lat = np.array([corner[1] + j * 1e-4 for _, j in places])
    i, j = near_pairs(lon, lat, near_m)
    wanted = [
        (a, b)
        for a, b in combinations(range(len(places)), 2)
        if apart2_m2(lon[a], lat[a], lon[b], lat[b]) <= near_m * near_m
    ]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == wanted
