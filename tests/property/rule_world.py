"""A small world in which every rule can fire within an hour, for property tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from hazfence import EngineSettings, Filed, FixBatch, ReferenceData, Waybill
from hazfence.rules import Rulebook
from hazfence_fences import FenceSet

from .world import ACCURACY_M, START_US, WORLD, Track, at, box, fence_set

NIGHT = {"tz": "Asia/Shanghai", "windows": [{"days": "mon-sun", "from": "00:10", "to": "00:40"}]}
CLOSED = {
    "tz": "Asia/Shanghai",
    "windows": [
        {"days": "mon-sun", "from": "00:03", "to": "00:06"},
        {"days": "mon-sun", "from": "00:20", "to": "00:50"},
        {"days": "mon-sun", "from": "00:50", "to": "01:10"},
    ],
}
SEGMENTS = {"gate-south": {"min_min": 1, "max_min": 8}, "*": {"max_min": 12}}


def rule_fences() -> FenceSet:
    features: list[dict[str, Any]] = [
        box("lane", 2, 5.5, 8, 6.5, kind="corridor", speed_limit_kmh=60),
        box("cross-lane", 5.5, 2, 6.5, 8, kind="corridor"),
        box(
            "old-town",
            *(3, 3, 5, 5),
            kind="zone",
            rules={"curfew": {"hours": CLOSED}, "cargo_forbidden": {"un_classes": ["3"]}},
        ),
        box(
            "plant",
            3,
            8,
            5,
            10,
            kind="zone",
            rules={"corridor_departure": False, "overpark": {"allowed": True}},
        ),
    ]
    world = [f for f in WORLD.fences if f.id != "gate-west"]
    gate = fence_set(
        {
            "type": "Feature",
            "properties": {
                "id": "gate-west",
                "kind": "checkpoint",
                "radius_m": 150,
                "rules": {"segment_overtime": {"to": SEGMENTS}},
            },
            "geometry": {"type": "Point", "coordinates": at(2, 6)},
        },
        *features,
    )
    return FenceSet([*world, *gate.fences])


RULE_WORLD = rule_fences()

MINUTE_US = 60_000_000
#: A is approved and under way at times, B is on no file.
ON_FILE = ReferenceData(
    [
        Filed("vehicle", "A", "approved", START_US - 1, START_US + 10 * MINUTE_US, category="tank"),
        Filed("vehicle", "A", "pending", START_US + 10 * MINUTE_US, START_US + 25 * MINUTE_US),
        Filed("vehicle", "A", "approved", START_US + 25 * MINUTE_US),
    ],
    [
        Waybill("1", "A", 1203, "3", START_US, START_US + 5 * MINUTE_US, START_US - 9),
        Waybill("2", "A", 1017, "2.3", START_US, START_US + 40 * MINUTE_US, START_US + 4 * MINUTE_US),
        Waybill("3", "B", 1203, "3", START_US + 3 * MINUTE_US, START_US + 12 * MINUTE_US, START_US),
    ],
)

QUICK: dict[str, Any] = {
    "overspeed": {"general_kmh": 70, "motorway_kmh": 75, "night_factor": 0.9, "night_hours": NIGHT},
    "corridor_departure": {"for_s": 100, "farther_m": 500},
    "overpark": {"max_min": 4},
    "overdrive": {
        "continuous_h": 0.2,
        "rest_min": 3,
        "daily_h": 0.3,
        "night_h": 0.15,
        "night_hours": NIGHT,
    },
    "silent": {"max_min": 5},
    "coverage_gap": {"longer_s": 200},
    "gnss_suspect": False,
}


def rule_settings(**changes: Any) -> EngineSettings:
    book = Rulebook.all_on({**QUICK, **changes})
    return EngineSettings(gate_tolerance_m=100.0, recent_s=1e6, max_accuracy_m=1000.0, rules=book)


STEPS = st.tuples(
    st.sampled_from(["A", "B"]),
    st.sampled_from([1, 5, 10, 30, 30, 60, 120, 400, 2400]),  # seconds since the vehicle's last fix
    st.sampled_from([-2, -1, -1, 0, 0, 0, 1, 1, 2, 9]),
    st.sampled_from([-2, -1, -1, 0, 0, 0, 1, 1, 2]),
    st.sampled_from([0.0, 0.0, 15.0, 60.0, 62.0, 72.0, 81.0, 95.0, float("nan")]),
    st.sampled_from([0] * 8 + [1, 1 << 29, 1 | 1 << 30]),
    ACCURACY_M,
)


@st.composite
def walks(draw: st.DrawFn, max_size: int = 50) -> list[tuple[Any, ...]]:
    """Fixes of two vehicles that walk about the grid, with alarm bits; half say how good they are."""
    clock = {"A": START_US, "B": START_US + 7_000_000}
    place = {"A": (6, 6), "B": (1, 6)}
    track = []
    said = draw(st.booleans())
    for vehicle, wait_s, di, dj, speed, alarm, accuracy in draw(
        st.lists(STEPS, min_size=1, max_size=max_size)
    ):
        clock[vehicle] += wait_s * 1_000_000
        i, j = place[vehicle]
        place[vehicle] = ((i + di) % 13, (j + dj) % 13)
        more = [accuracy] if said else []
        track.append((vehicle, clock[vehicle], *at(*place[vehicle]), speed, alarm, *more))
    return track


def rule_batch(track: list[tuple[Any, ...]]) -> FixBatch:
    if not track:
        return FixBatch.empty()
    vehicle, time_us, lon, lat, speed, alarm, *accuracy = zip(*track, strict=True)
    return FixBatch.of(
        vehicle,
        time_us=np.array(time_us),
        lon=np.array(lon),
        lat=np.array(lat),
        speed_kmh=np.array(speed),
        alarm=np.array(alarm),
        accuracy_m=np.array(accuracy[0]) if accuracy else None,
    )


def plain_track(track: list[tuple[Any, ...]]) -> Track:
    return [row[:5] for row in track]  # type: ignore[misc]
