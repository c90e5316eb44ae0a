"""A small world for property tests: a district, its gates, zones; and tracks on a coarse grid.

Coordinates lie on a grid of which the fences' borders are part, so that hypothesis finds fixes
on borders and corners, and shrinks to tracks that can be drawn by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from hazfence import Engine, FixBatch
from hazfence_fences import FenceSet, parse_fences

START_US = 1_772_380_800_000_000  # Monday 2026-03-02, 00:00 in Shanghai
LON0, LAT0, STEP = 121.5, 29.9, 0.002
#: Rows of vehicle, time_us, lon, lat, speed_kmh and, if anybody says so, accuracy_m.
Track = list[tuple[Any, ...]]


def at(i: float, j: float) -> tuple[float, float]:
    return LON0 + i * STEP, LAT0 + j * STEP


def box(fence_id: str, i0: float, j0: float, i1: float, j1: float, **properties: Any) -> dict[str, Any]:
    ring = [at(i0, j0), at(i1, j0), at(i1, j1), at(i0, j1), at(i0, j0)]
    return {
        "type": "Feature",
        "properties": {"id": fence_id, **properties},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def disc(fence_id: str, i: float, j: float, radius_m: float, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"id": fence_id, "radius_m": radius_m, **properties},
        "geometry": {"type": "Point", "coordinates": at(i, j)},
    }


def fence_set(*features: dict[str, Any]) -> FenceSet:
    return FenceSet(parse_fences({"type": "FeatureCollection", "features": list(features)}, source="test"))


#: Short windows, some meeting, one shorter than the gaps between fixes.
HOURS = {
    "tz": "Asia/Shanghai",
    "windows": [
        {"days": "mon-sun", "from": "00:02", "to": "00:20"},
        {"days": "mon-sun", "from": "00:20", "to": "00:30"},
        {"days": "mon-sun", "from": "01:00", "to": "01:01"},
        {"days": "mon-sun", "from": "02:00", "to": "05:00"},
    ],
}

#: A district of 8 by 8 steps (about 1.5 km), gates west and south, and things inside and across.
WORLD = fence_set(
    box("district", 2, 2, 10, 10, kind="district", speed_limit_kmh=80, max_stay_min=30),
    disc("gate-west", 2, 6, 150, kind="checkpoint"),
    disc("gate-south", 6, 2, 150, kind="checkpoint"),
    box("tank-farm", 4, 4, 6, 6, kind="restricted"),
    box("park", 7, 7, 9, 9, kind="parking", max_stay_min=5, speed_limit_kmh=20),
    box("weir", 9.5, 0, 11, 12, kind="restricted", thin=True),
)

#: The same, with fences that are in force at times only.
TIMED_WORLD = FenceSet(
    [
        *WORLD.fences,
        *fence_set(
            box("curfew", 3, 3, 9, 5, kind="restricted", max_stay_min=4, schedule=HOURS),
            box("slow-hours", 2, 2, 10, 4, kind="zone", speed_limit_kmh=60, schedule=HOURS),
            box("works", 2, 6, 4, 8, kind="restricted", thin=True, schedule=HOURS),
        ).fences,
    ]
)

#: Mostly not said; better than ``settle_m``, worse, and so bad that a fix tells next to nothing.
ACCURACY_M = st.sampled_from([float("nan")] * 4 + [9.0, 40.0, 90.0, 250.0])

steps = st.tuples(
    st.sampled_from(["A", "B"]),
    st.sampled_from([1, 5, 10, 30, 30, 120, 400, 2400]),  # seconds since the vehicle's last fix
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from([0.0, 15.0, 60.0, 80.0, 81.0, 95.0, float("nan")]),
    ACCURACY_M,
)


@st.composite
def tracks(draw: st.DrawFn, max_size: int = 40) -> Track:
    """Fixes of two vehicles in order of time a vehicle, interleaved as they come; half say how good."""
    clock = {"A": START_US, "B": START_US + 7_000_000}
    track: Track = []
    said = draw(st.booleans())
    for vehicle, wait_s, i, j, speed, accuracy in draw(st.lists(steps, min_size=1, max_size=max_size)):
        clock[vehicle] += wait_s * 1_000_000
        track.append((vehicle, clock[vehicle], *at(i, j), speed, *([accuracy] if said else [])))
    return track


def batch_of(track: Track) -> FixBatch:
    if not track:
        return FixBatch.empty()
    vehicle, time_us, lon, lat, speed, *accuracy = zip(*track, strict=True)
    return FixBatch.of(
        vehicle,
        time_us=np.array(time_us),
        lon=np.array(lon),
        lat=np.array(lat),
        speed_kmh=np.array(speed),
        accuracy_m=np.array(accuracy[0]) if accuracy else None,
    )


def written_afresh(engine: Engine) -> bytes:
    """An engine's snapshot without what it has written beforehand."""
    drafts, engine._books.drafts = engine._books.drafts, None
    try:
        return engine.snapshot()
    finally:
        engine._books.drafts = drafts
