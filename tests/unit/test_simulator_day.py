"""Whole simulated days: repeatable, in order, as planted, and on any district."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from shapely.geometry import LineString, box

from hazfence import FixBatch
from hazfence_fences import Fence, FenceKind, FenceSet, circle, corridor, load_fences
from hazfence_replay.simulator import (
    Plants,
    SimulatedDay,
    SimulationError,
    read_truth,
    simulate,
    write_jsonl,
    write_truth,
)

FEW = Plants(bypass=3, restricted=2, overspeed=3, overstay=4, near=3)


@pytest.fixture(scope="module")
def fences() -> FenceSet:
    return load_fences("fences/zhenhai")


@pytest.fixture(scope="module")
def day(fences: FenceSet) -> SimulatedDay:
    return simulate(fences, seed=11, trucks=60, plants=FEW)


def test_same_seed_same_bytes_other_seed_other_day(fences: FenceSet, day: SimulatedDay) -> None:
    again = simulate(fences, seed=11, trucks=60, plants=FEW)
    assert again.fixes == day.fixes
    assert again.truth == day.truth
    assert again.near_misses == day.near_misses
    other = simulate(fences, seed=12, trucks=60, plants=FEW)
    assert other.fixes.vehicles != day.fixes.vehicles
    assert len(other.roads) == len(day.roads)
    assert all((a == b).all() for a, b in zip(other.roads, day.roads, strict=True))


def test_fixes_are_in_time_order_across_trucks_and_of_one_day(day: SimulatedDay) -> None:
    fixes = day.fixes
    assert (np.diff(fixes.time_us) >= 0).all()
    assert fixes.time_us[0] >= day.start_us
    assert fixes.time_us[-1] < day.end_us
    assert day.end_us - day.start_us == 86_400_000_000
    assert (fixes.time_us % 1_000_000 == 0).all()
    assert len(set(day.fixes.vehicles)) == len(day.fixes.vehicles) == 60
    assert all(len(name) == 7 for name in fixes.vehicles)
    # None reports faster than every five seconds, or four after a late one.
    for code in range(60):
        step = np.diff(fixes.time_us[fixes.vehicle == code])
        assert step.min() >= 4_000_000
    parts = list(day.batches(7000))
    assert max(len(p) for p in parts) == 7000
    assert FixBatch.concat(parts) == fixes


def test_what_was_asked_for_was_planted(day: SimulatedDay) -> None:
    trips = Counter(p.kind for p in day.truth)
    # Three bypass trips: in, out, and both; a long stay may be too long for park and district.
    assert trips["gate_bypass"] == 4
    assert trips["restricted_entry"] == 2
    assert trips["overspeed"] == 3
    assert 4 <= trips["overstay"] <= 8
    assert [n.intent for n in day.near_misses] != []
    assert Counter(n.intent for n in day.near_misses) == {"near_speed": 1, "near_stay": 1, "near_burst": 1}
    planted = {p.vehicle for p in day.truth}
    assert not planted & {n.vehicle for n in day.near_misses}
    assert all(day.start_us <= p.at_us < day.end_us for p in day.truth)
    assert any(p.until_us is None for p in day.truth)
    gaps = [p for p in day.truth if p.kind == "coverage_gap"]
    assert gaps
    assert all(p.until_us is not None and p.until_us - p.at_us > 300_000_000 for p in gaps)
    assert any(p.kind == "overstay" and "silent" in p.note for p in day.truth)


def test_peaceful_trucks_obey_every_rule_measured_independently(fences: FenceSet, day: SimulatedDay) -> None:
    """From the noisy fixes alone, with shapely in the official projection and plain loops."""
    local = pyproj.Transformer.from_crs(4326, 4550, always_xy=True)

    def metres(geometry: object) -> shapely.Geometry:
        return shapely.transform(geometry, lambda xy: np.column_stack(local.transform(xy[:, 0], xy[:, 1])))

    district = metres(fences["zhenhai"].geometry)
    shapely.prepare(district)
    zones = shapely.union_all([metres(f.geometry) for f in fences if f.kind == "restricted"])
    gates = [metres(shapely.Point(f.centre)) for f in fences if f.kind == "checkpoint" and f.centre]
    guilty = {p.vehicle for p in day.truth}
    bursts = {n.vehicle for n in day.near_misses if n.intent == "near_burst"}
    crossings = 0
    for code, name in enumerate(day.fixes.vehicles):
        if name in guilty:
            continue
        own = day.fixes.take(day.fixes.vehicle == code)
        points = shapely.points(*local.transform(own.lon, own.lat))
        assert not shapely.dwithin(points, zones, 100.0).any(), name
        inside = shapely.covers(district, points)
        near = shapely.dwithin(points, district.boundary, 140.0)
        to_gate = np.min([shapely.distance(points, gate) for gate in gates], axis=0)
        assert to_gate[near].max(initial=0.0) < 620.0, name
        for k in np.flatnonzero(inside[1:] != inside[:-1]).tolist():
            segment = shapely.LineString([points[k], points[k + 1]])
            at = segment.intersection(district.boundary)
            assert at.geom_type == "Point", name
            assert min(at.distance(gate) for gate in gates) < 120.0, name
            crossings += 1
        located = fences.locate(own.lon, own.lat)
        allowed = np.full(len(own), 200.0)
        for fence in fences:
            if fence.speed_limit_kmh is not None:
                here = located.contains(fence.id)
                allowed[here] = np.minimum(allowed[here], fence.speed_limit_kmh)
            if fence.max_stay_min is not None:
                _assert_short_stays(own, located.contains(fence.id), fence.max_stay_min, name)
        if name not in bursts:
            assert (own.speed_kmh < allowed).all(), name
        else:
            _assert_short_bursts(own, own.speed_kmh > allowed, name)
    assert crossings > 200


def _assert_short_stays(own: FixBatch, inside: np.ndarray, max_stay_min: float, name: str) -> None:
    since = None
    for t, within in zip(own.time_us.tolist(), inside.tolist(), strict=True):
        since = (since if since is not None else t) if within else None
        assert since is None or t - since < max_stay_min * 60e6 - 60e6, name


def _assert_short_bursts(own: FixBatch, over: np.ndarray, name: str) -> None:
    since = None
    for t, fast in zip(own.time_us.tolist(), over.tolist(), strict=True):
        since = (since if since is not None else t) if fast else None
        assert since is None or t - since <= 16e6, name
    assert over.any(), name


def test_speed_and_heading_agree_with_the_way(day: SimulatedDay) -> None:
    geod = pyproj.Geod(ellps="WGS84")
    checked = 0
    for code in range(10):
        own = day.fixes.take(day.fixes.vehicle == code)
        dt = np.diff(own.time_us) / 1e6
        azimuth, _, length = geod.inv(own.lon[:-1], own.lat[:-1], own.lon[1:], own.lat[1:])
        mean = (own.speed_kmh[1:] + own.speed_kmh[:-1]) / 2
        steady = (dt < 12.0) & (np.abs(np.diff(own.speed_kmh)) < 3.0) & (mean > 25.0)
        turned = np.abs((own.heading_deg[1:] - own.heading_deg[:-1] + 180.0) % 360.0 - 180.0)
        steady &= turned < 8.0
        assert np.abs(length / dt * 3.6 - mean)[steady].max(initial=0.0) < 9.0
        off = np.abs((own.heading_deg[1:] - azimuth + 180.0) % 360.0 - 180.0)[steady]
        if len(off):
            assert np.median(off) < 6.0
        checked += int(steady.sum())
    assert checked > 2000


def test_sparse_terminals_jump_over_checkpoints(fences: FenceSet, day: SimulatedDay) -> None:
    """Passages that no fix witnesses exist, so that an engine that looks at fixes alone misses some."""
    gates = [f for f in fences if f.kind is FenceKind.CHECKPOINT]
    inside = fences.locate(day.fixes.lon, day.fixes.lat).contains("zhenhai")
    at_gate = np.any([g.covers_many(day.fixes.lon, day.fixes.lat) for g in gates], axis=0)
    jumped = defaultdict(int)
    for code in range(60):
        own = day.fixes.vehicle == code
        into, gate = inside[own], at_gate[own]
        for k in np.flatnonzero(into[1:] != into[:-1]).tolist():
            jumped[bool(gate[k] or gate[k + 1])] += 1
    assert jumped[False] > 5


def test_several_days_and_the_night_between(fences: FenceSet) -> None:
    days = simulate(fences, seed=3, trucks=8, hours=48.0, plants=Plants(0, 0, 0, 0, 0))
    assert days.end_us - days.start_us == 2 * 86_400_000_000
    assert days.truth == ()
    second = days.fixes.time_us >= days.start_us + 86_400_000_000
    assert 0.3 < second.mean() < 0.7


def test_another_district_without_corridors_and_parks() -> None:
    """Nothing about Zhenhai is written into the simulator: an invented square in another country."""
    fences = FenceSet(
        [
            Fence(
                "square",
                FenceKind.DISTRICT,
                box(10.0, 50.0, 10.2, 50.12),
                speed_limit_kmh=70,
                max_stay_min=150,
            ),
            circle("west", FenceKind.CHECKPOINT, 10.0, 50.06, 200.0, speed_limit_kmh=40),
            circle("south", FenceKind.CHECKPOINT, 10.1, 50.0, 120.0),
            Fence("school", FenceKind.RESTRICTED, box(10.12, 50.05, 10.13, 50.056)),
        ]
    )
    plants = Plants(bypass=3, restricted=1, overspeed=2, overstay=2, near=3)
    day = simulate(fences, seed=1, trucks=20, plants=plants, date="2026-07-01", timezone="Europe/Berlin")
    assert Counter(p.kind for p in day.truth) == {
        "gate_bypass": 4,
        "restricted_entry": 1,
        "overspeed": 2,
        "overstay": 2,
        "coverage_gap": 1,
    }
    assert day.start_us == 1_782_856_800_000_000  # 2026-06-30T22:00Z
    located = fences.locate(day.fixes.lon, day.fixes.lat)
    assert day.fixes.speed_kmh[located.contains("west")].max() < 40.0


def test_stays_are_hurried_where_fences_allow_short_ones_only(fences: FenceSet) -> None:
    from dataclasses import replace

    strict = fences.with_fence(replace(fences["zhenhai"], max_stay_min=110.0))
    day = simulate(strict, seed=5, trucks=6, plants=Plants(0, 0, 0, 0, 0))
    assert day.truth == ()
    assert len(day) > 1000
    with pytest.raises(SimulationError, match="an ordinary day could not be planned"):
        simulate(
            fences.with_fence(replace(fences["zhenhai"], max_stay_min=5.0)),
            seed=5,
            trucks=1,
            plants=Plants(0, 0, 0, 0, 0),
        )


def test_wishes_that_cannot_be_granted_are_refused_with_a_reason(fences: FenceSet) -> None:
    with pytest.raises(SimulationError, match="15 planted trips need as many trucks, but there are 10"):
        simulate(fences, seed=1, trucks=10, plants=FEW)
    with pytest.raises(SimulationError, match="trucks must be at least 1"):
        simulate(fences, seed=1, trucks=0)
    with pytest.raises(SimulationError, match="overstay.*Simulate longer than 3 h"):
        simulate(fences, seed=1, trucks=5, hours=3, plants=Plants(0, 0, 0, 1, 0))
    bare = FenceSet(f for f in fences if f.kind is not FenceKind.RESTRICTED)
    with pytest.raises(SimulationError, match="no restricted zone"):
        simulate(bare, seed=1, trucks=5, plants=Plants(0, 1, 0, 0, 0))


def test_a_park_too_narrow_to_stand_in_is_refused(fences: FenceSet) -> None:
    sliver = corridor("sliver", FenceKind.PARKING, LineString([(121.60, 30.0), (121.605, 30.0)]), 60.0)
    with pytest.raises(SimulationError, match="'sliver' is too narrow"):
        simulate(fences.with_fence(sliver), seed=1, trucks=2, plants=Plants(0, 0, 0, 0, 0))


def test_counts_scale_with_the_trucks() -> None:
    assert Plants.for_trucks(300) == Plants()
    assert Plants.for_trucks(1000).bypass == 40
    assert Plants.for_trucks(10) == Plants(1, 1, 1, 1, 1)


def test_written_fixes_decode_to_the_same_batch(day: SimulatedDay, tmp_path: Path) -> None:
    from hazfence.wire.json_fix import read_fix

    path = tmp_path / "fixes.jsonl"
    assert write_jsonl(day, path) == len(day)
    lines = path.read_bytes().splitlines()
    assert len(lines) == len(day)
    assert json.loads(lines[0])["time"].endswith("+08:00")
    for k in range(0, len(day), 997):
        fix = read_fix(lines[k])
        row = day.fixes.take(slice(k, k + 1))
        assert (fix.vehicle, fix.time_us(), fix.lon, fix.lat) == (
            row.names()[0],
            row.time_us[0],
            row.lon[0],
            row.lat[0],
        )
        assert fix.speed_kmh == pytest.approx(row.speed_kmh[0], abs=1e-4)
        assert fix.heading_deg == row.heading_deg[0]
        assert fix.status == row.status[0]


def test_truth_is_read_back_as_written(day: SimulatedDay, tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    write_truth(day.truth, path)
    assert read_truth(path) == day.truth
    path.write_text(path.read_text(encoding="utf-8") + '{"kind": "overstay"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=rf"truth.jsonl line {len(day.truth) + 1}"):
        read_truth(path)
