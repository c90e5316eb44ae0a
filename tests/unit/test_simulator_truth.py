"""The truth about a trip, against paths so simple that it can be told by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from shapely.geometry import box

from hazfence_fences import Fence, FenceKind, FenceSet, circle, parse_fences
from hazfence_replay.simulator.timeline import Trip
from hazfence_replay.simulator.truth import Ambiguous, breaches_of

START_US = 1_772_380_800_000_000  # 2026-03-02 00:00 in Shanghai
DISTRICT = Fence(
    "d", FenceKind.DISTRICT, box(121.5, 29.9, 121.7, 30.1), speed_limit_kmh=80.0, max_stay_min=60.0
)
LANE = Fence("lane", FenceKind.CORRIDOR, box(121.55, 29.9, 121.6, 30.1), speed_limit_kmh=60.0)
ZONE = Fence("z", FenceKind.RESTRICTED, box(121.62, 29.9, 121.66, 30.1))
GATE = circle("gate", FenceKind.CHECKPOINT, 121.5, 30.0, 150.0)


@dataclass
class Path:
    """What ``breaches_of`` looks at, without roads."""

    t_s: np.ndarray
    lonlat: np.ndarray
    speed_mps: np.ndarray
    member: np.ndarray


def path(fences: FenceSet, t: list[float], lon: list[float], kmh: list[float], lat: float = 30.0) -> Trip:
    """Straight from place to place, a point a second."""
    at = np.arange(t[0], t[-1] + 1.0)
    x = np.interp(at, t, lon)
    y = np.full(len(at), lat)
    member = np.column_stack([f.covers_many(x, y) for f in fences])
    return Path(at, np.column_stack([x, y]), np.interp(at, t, kmh) / 3.6, member)  # type: ignore[return-value]


def told(fences: FenceSet, trip: Trip) -> list[tuple[str, str, float, float]]:
    return [(b.kind, b.fence_id, b.at_s, b.until_s) for b in breaches_of(trip, fences, START_US)]


def test_a_peaceful_trip_through_the_gate() -> None:
    fences = FenceSet([DISTRICT, GATE, LANE, ZONE])
    trip = path(fences, [0, 100, 200, 300], [121.49, 121.51, 121.51, 121.49], [50] * 4)
    assert told(fences, trip) == []


def test_a_border_crossed_away_from_the_gate() -> None:
    fences = FenceSet([DISTRICT, GATE])
    trip = path(fences, [0, 100, 201], [121.49, 121.51, 121.49], [50] * 3, lat=30.05)
    # In half way between the points at 49 and 50 s, out half way between those at 150 and 151 s.
    assert told(fences, trip) == [
        ("gate_bypass", "d", 49.5, 49.5),
        ("gate_bypass", "d", 150.5, 150.5),
    ]
    beside = path(fences, [0, 100, 200], [121.49, 121.51, 121.49], [50] * 3, lat=30.004)
    with pytest.raises(Ambiguous, match="from a checkpoint"):
        told(fences, beside)


def test_a_restricted_zone_entered() -> None:
    fences = FenceSet([ZONE])
    trip = path(fences, [0, 100, 400, 500], [121.61, 121.63, 121.63, 121.61], [30] * 4)
    assert told(fences, trip) == [("restricted_entry", "z", 49.5, 450.5)]
    short = path(fences, [0, 50, 100], [121.61, 121.63, 121.61], [30] * 3)
    with pytest.raises(Ambiguous, match="for 51 s only"):
        told(fences, short)


def test_the_lowest_limit_counts_and_short_bursts_do_not() -> None:
    fences = FenceSet([DISTRICT, LANE])
    # 70 km/h: too fast in the lane (121.55 to 121.6), not in the district.
    trip = path(fences, [0, 1000], [121.51, 121.68], [70, 70])
    (found,) = told(fences, trip)
    assert found[:2] == ("overspeed", "lane")
    assert found[2:] == pytest.approx((236.0, 529.0), abs=1.0)
    burst = path(
        fences,
        [0, 300, 305, 312, 317, 600],
        [121.51, 121.52, 121.52, 121.52, 121.52, 121.53],
        [70, 70, 90, 90, 70, 70],
    )
    assert told(fences, burst) == []
    middling = path(
        fences,
        [0, 300, 305, 345, 350, 600],
        [121.51, 121.52, 121.52, 121.52, 121.52, 121.53],
        [70, 70, 90, 90, 70, 70],
    )
    with pytest.raises(Ambiguous, match="too short"):
        told(fences, middling)
    both = path(fences, [0, 1000], [121.51, 121.68], [90, 90])
    with pytest.raises(Ambiguous, match="more than one limit"):
        told(fences, both)


def test_a_stay_beyond_its_limit_begins_to_be_one_at_the_deadline() -> None:
    fences = FenceSet([DISTRICT, GATE])
    trip = path(fences, [0, 100, 4000, 4100], [121.49, 121.51, 121.51, 121.49], [50] * 4)
    (found,) = told(fences, trip)
    assert found == ("overstay", "d", 49.5 + 3600.0, 4050.5)
    near = path(fences, [0, 100, 3650, 3750], [121.49, 121.51, 121.51, 121.49], [50] * 4)
    with pytest.raises(Ambiguous, match="after its limit"):
        told(fences, near)
    # A truck that was inside when the trip began has stayed since then.
    sleeper = path(fences, [0, 3700, 3800], [121.51, 121.51, 121.49], [0, 0, 50])
    assert told(fences, sleeper)[0][2] == 3600.0


def test_a_fence_out_of_force_forbids_nothing() -> None:
    feature = {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[121.62, 29.9], [121.66, 29.9], [121.66, 30.1], [121.62, 30.1], [121.62, 29.9]]],
        },
        "properties": {
            "id": "z",
            "kind": "restricted",
            "schedule": {
                "tz": "Asia/Shanghai",
                "windows": [{"days": "mon-sun", "from": "07:00", "to": "09:00"}],
            },
        },
    }
    fences = FenceSet(parse_fences({"type": "FeatureCollection", "features": [feature]}, source="here"))
    at_four = path(fences, [14_400, 14_500, 14_800, 14_900], [121.61, 121.63, 121.63, 121.61], [30] * 4)
    assert told(fences, at_four) == []
    at_eight = path(fences, [28_800, 28_900, 29_200, 29_300], [121.61, 121.63, 121.63, 121.61], [30] * 4)
    assert [b[:2] for b in told(fences, at_eight)] == [("restricted_entry", "z")]
