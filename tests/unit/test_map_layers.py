"""Thinning tracks for a map: within tolerance, broken at gaps, never joined across vehicles."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import LineString, box

from hazfence import FixBatch
from hazfence_fences import Fence, FenceKind, FenceSet
from hazfence_replay.ledger import BreachRow
from hazfence_replay.map.layers import build_layers, thinned

START_US = 1_772_400_000_000_000


def batch(
    vehicle: str, seconds: list[float], lon: list[float], lat: list[float], kmh: object = 50.0
) -> FixBatch:
    return FixBatch.of(
        [vehicle] * len(seconds),
        time_us=START_US + (np.array(seconds) * 1e6).astype(np.int64),
        lon=lon,
        lat=lat,
        speed_kmh=kmh,
    )


def wandering(n: int = 3000, seed: int = 1) -> FixBatch:
    rng = np.random.default_rng(seed)
    heading = np.cumsum(rng.normal(0.0, 0.2, n))
    x, y = np.cumsum(np.sin(heading)) * 2e-4, np.cumsum(np.cos(heading)) * 2e-4
    return batch("A", list(np.arange(n) * 10.0), list(121.5 + x), list(29.9 + y))


def test_a_thinned_track_stays_within_its_tolerance_and_keeps_its_times() -> None:
    fixes = wandering()
    tracks, tolerance_m = thinned(fixes, 600)
    (track,) = tracks
    assert len(track.lon) <= 600 < len(fixes)
    squeeze = np.cos(np.deg2rad(29.9))
    line = LineString(np.column_stack([track.lon * squeeze, track.lat]))
    off = shapely.distance(shapely.points(fixes.lon * squeeze, fixes.lat), line) * 111_320
    assert off.max() < tolerance_m * 1.05
    known = dict(zip((fixes.time_us / 1e6).tolist(), fixes.lon.tolist(), strict=True))
    assert all(
        known[t] == pytest.approx(lon, abs=1e-12) for t, lon in zip(track.time_s, track.lon, strict=True)
    )
    assert track.time_s[[0, -1]].tolist() == [START_US / 1e6, START_US / 1e6 + 29_990.0]


def test_fewer_vertices_need_a_wider_tolerance() -> None:
    fixes = wandering()
    counts = {limit: thinned(fixes, limit) for limit in (10_000, 500, 100)}
    assert counts[10_000][1] < counts[500][1] < counts[100][1]
    assert sum(len(t.lon) for t in counts[100][0]) <= 100


def test_a_gap_breaks_the_line_and_vehicles_are_never_joined() -> None:
    a = batch("A", [0, 10, 20, 400, 410], [121.5, 121.51, 121.52, 121.6, 121.61], [29.9] * 5)
    lone = batch("B", [0], [122.0], [29.9])
    # C's first fix stands alone, as it begins with a long stand: it must not be joined to A.
    c = batch("C", [0, 100, 200, 210], [123.0, 123.0, 123.0, 123.1], [29.9] * 4, [0.0, 0.0, 0.0, 40.0])
    mixed = FixBatch.concat([c, a, lone])
    tracks, _ = thinned(mixed, 1000)
    seen = [(mixed.vehicles[t.vehicle], (t.time_s - START_US / 1e6).tolist()) for t in tracks]
    assert ("A", [0.0, 20.0]) in seen
    assert ("A", [400.0, 410.0]) in seen
    assert [times[-1] for name, times in seen if name == "C"] == [210.0]
    assert {name for name, _ in seen} == {"A", "C"}
    for track in tracks:
        assert np.ptp(track.lon) < 0.2
        assert (np.diff(track.time_s) > 0).all()


def test_a_stand_keeps_its_ends_so_that_a_played_truck_waits() -> None:
    seconds = [*range(0, 100, 10), *range(100, 1100, 60), *range(1100, 1200, 10)]
    moving = [s < 100 or s >= 1100 for s in seconds]
    way = np.interp(seconds, [0, 100, 1100, 1200], [121.5, 121.51, 121.51, 121.52])
    fixes = batch(
        "A", [float(s) for s in seconds], list(way), [29.9] * len(seconds), np.where(moving, 40.0, 0.0)
    )
    (track,) = thinned(fixes, 1000)[0]
    times = track.time_s - START_US / 1e6
    played = np.interp([100.0, 500.0, 1050.0], times, track.lon)
    assert played == pytest.approx([121.51] * 3, abs=2e-4)
    assert len(times) < 12


def test_layers_gather_span_bounds_and_unlocatable_fixes_are_left_out() -> None:
    yard = Fence("yard", FenceKind.PARKING, box(121.5, 29.8, 121.51, 30.0))
    far = batch("A", [0.0, 10.0], [122.0, float("nan")], [29.9, 29.9])
    row = BreachRow("x", "overstay", "Z", "yard", START_US + 5_000_000, None, 121.7, 29.9)
    layers = build_layers(FenceSet([yard]), [far], [row])
    assert layers.tracks == ()
    assert layers.bounds == (121.5, 29.8, 121.7, 30.0)
    assert (layers.start_s, layers.end_s) == (START_US / 1e6 + 5, START_US / 1e6 + 5)
    empty = build_layers(FenceSet(), (), ())
    assert empty.bounds[0] < empty.bounds[2]
    assert empty.tracks == ()
