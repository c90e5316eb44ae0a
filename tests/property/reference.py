"""The slow and obviously right way: one vehicle, one fence, whole tracks, plain shapely.

Shares nothing with the engine but the fences' definitions and the settings. Inside is
``shapely.covers`` (a geodesic distance for circles); a crossing is where shapely cuts the
segment (bisection on the geodesic for circles); rules are read off the finished lists.
"""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import NamedTuple

import numpy as np
import shapely
from pyproj import Geod

from hazfence import EngineSettings
from hazfence_fences import Fence, FenceKind, FenceSet

from .world import Track

GEOD = Geod(ellps="WGS84")
SAMPLES = 400


class Fact(NamedTuple):
    kind: str
    vehicle: str
    fence_id: str
    start_us: float
    end_us: float | None


class At(NamedTuple):
    t: float
    lon: float
    lat: float
    speed: float


def _distance_m(fence: Fence, lon: float, lat: float) -> float:
    """To the circle's rim, negative inside."""
    assert fence.centre is not None
    assert fence.radius_m is not None
    return float(GEOD.inv(lon, lat, *fence.centre)[2]) - fence.radius_m


def inside(fence: Fence, lon: float, lat: float) -> bool:
    if fence.shape == "circle":
        return _distance_m(fence, lon, lat) <= 0
    return bool(fence.geometry.covers(shapely.Point(lon, lat)))


def stretches(fence: Fence, a: At, b: At) -> list[tuple[float, float]]:
    """Fractions of the segment inside the fence."""
    if fence.shape == "circle":
        return _circle_stretches(fence, a, b)
    if (a.lon, a.lat) == (b.lon, b.lat):
        return [(0.0, 1.0)] if inside(fence, a.lon, a.lat) else []
    line = shapely.LineString([(a.lon, a.lat), (b.lon, b.lat)])
    cut = fence.geometry.intersection(line)
    found = []
    for part in getattr(cut, "geoms", [cut]):
        if part.is_empty:
            continue
        ends = [line.project(shapely.Point(c), normalized=True) for c in part.coords]
        found.append((min(ends), max(ends)))
    found.sort()
    joined: list[tuple[float, float]] = []
    for x, y in found:
        if joined and x <= joined[-1][1] + 1e-12:
            joined[-1] = (joined[-1][0], max(y, joined[-1][1]))
        else:
            joined.append((x, y))
    return joined


def _circle_stretches(fence: Fence, a: At, b: At) -> list[tuple[float, float]]:
    def at(f: float) -> float:
        return _distance_m(fence, a.lon + f * (b.lon - a.lon), a.lat + f * (b.lat - a.lat))

    def root(lo: float, hi: float) -> float:
        rising = at(hi) > at(lo)
        for _ in range(60):
            mid = (lo + hi) / 2
            if (at(mid) > 0) == rising:
                hi = mid
            else:
                lo = mid
        return (lo + hi) / 2

    # The distance to a centre along a segment falls, then rises: find the lowest point, then both roots.
    lo, hi = 0.0, 1.0
    for _ in range(100):
        third = (hi - lo) / 3
        if at(lo + third) < at(hi - third):
            hi -= third
        else:
            lo += third
    nearest = (lo + hi) / 2
    nearest = min((nearest, 0.0, 1.0), key=at)
    if at(nearest) > 0:
        return []
    start = 0.0 if at(0.0) <= 0 else root(0.0, nearest)
    end = 1.0 if at(1.0) <= 0 else root(nearest, 1.0)
    return [(start, end)]


def visits(
    fence: Fence, path: list[At], max_gap_us: float
) -> list[tuple[float, float | None, bool, tuple[At, At] | None, tuple[At, At] | None]]:
    """Of every visit: start, end, was it a fix that saw it, segment of entry, segment of exit."""
    found = []
    start: tuple[float, bool, tuple[At, At] | None] | None = None
    if path and inside(fence, path[0].lon, path[0].lat):
        start = (path[0].t, True, None)
    for a, b in pairwise(path):
        before, after = inside(fence, a.lon, a.lat), inside(fence, b.lon, b.lat)
        witnessed = b.t - a.t <= max_gap_us
        parts = stretches(fence, a, b)
        if not (fence.thin and witnessed):
            if before == after:
                parts = [(0.0, 1.0)] if before else []
            else:
                parts = [parts[-1]] if after else [parts[0]]
        for x, y in parts:
            goes_on = after and y >= 1 - 1e-12
            comes_in = before and x <= 1e-12
            if x == y and not goes_on and not comes_in:
                continue
            if not comes_in:
                start = (a.t + x * (b.t - a.t), goes_on, (a, b))
            if not goes_on:
                assert start is not None
                found.append((start[0], a.t + y * (b.t - a.t), start[1], start[2], (a, b)))
                start = None
    if start is not None:
        found.append((start[0], None, start[1], start[2], None))
    return found


def facts(track: Track, fences: FenceSet, settings: EngineSettings, until_us: int) -> list[Fact]:
    """Everything that is to be said about the tracks when the time is ``until_us``."""
    found: list[Fact] = []
    max_gap_us = settings.max_gap_s * 1e6
    gates = [f for f in fences.fences if f.kind is FenceKind.CHECKPOINT]
    for vehicle in sorted({row[0] for row in track}):
        path = [At(*row[1:5]) for row in track if row[0] == vehicle]
        for fence in fences.fences:
            for start, end, by_fix, entry, leave in visits(fence, path, max_gap_us):
                found.append(Fact("visit", vehicle, fence.id, start, end))
                if fence.kind is FenceKind.RESTRICTED:
                    sure = by_fix or (entry is not None and _no_way_around(fence, entry, settings))
                    kind = "restricted_entry" if sure else "possible_entry"
                    found.append(Fact(kind, vehicle, fence.id, start, end))
                if fence.max_stay_min is not None:
                    deadline = start + fence.max_stay_min * 60e6
                    if (until_us if end is None else end) > deadline:
                        found.append(Fact("overstay", vehicle, fence.id, deadline, end))
                if fence.kind is FenceKind.DISTRICT:
                    for moment, segment in ((start, entry), (end, leave)):
                        if (
                            moment is not None
                            and segment is not None
                            and _bypass(moment, segment, gates, settings)
                        ):
                            sure = _no_time_for_a_gate(segment, gates, settings)
                            kind = "gate_bypass" if sure else "possible_bypass"
                            found.append(Fact(kind, vehicle, fence.id, moment, moment))
        found += _overspeeds(vehicle, path, fences, settings)
        found += _gaps(vehicle, path, fences)
    return found


def _gaps(vehicle: str, path: list[At], fences: FenceSet) -> list[Fact]:
    """Fixes more than five minutes apart, one of them in the district."""
    [district] = [f for f in fences.fences if f.kind is FenceKind.DISTRICT]
    return [
        Fact("coverage_gap", vehicle, district.id, a.t, b.t)
        for a, b in pairwise(path)
        if b.t - a.t > 300e6 and (inside(district, a.lon, a.lat) or inside(district, b.lon, b.lat))
    ]


def _bypass(moment: float, segment: tuple[At, At], gates: list[Fence], settings: EngineSettings) -> bool:
    a, b = segment
    if b.t - a.t > settings.max_gap_s * 1e6:
        return False
    f = (moment - a.t) / (b.t - a.t)
    lon, lat = a.lon + f * (b.lon - a.lon), a.lat + f * (b.lat - a.lat)
    return not any(stretches(g, a, b) or _distance_m(g, lon, lat) <= settings.gate_tolerance_m for g in gates)


def _longest_m(segment: tuple[At, At], settings: EngineSettings) -> tuple[float, float]:
    """How far it can have driven between two fixes, and how far they are apart."""
    a, b = segment
    told = [speed for speed in (a.speed, b.speed) if speed == speed]
    longest = max([settings.top_speed_kmh, *told]) / 3.6 * (b.t - a.t) / 1e6
    return longest, float(GEOD.inv(a.lon, a.lat, b.lon, b.lat)[2])


def _no_time_for_a_gate(segment: tuple[At, At], gates: list[Fence], settings: EngineSettings) -> bool:
    """Try every place of every gate's rim."""
    longest, apart = _longest_m(segment, settings)
    if apart > longest:
        return False  # the fixes contradict the top speed
    for gate in gates:
        n = 1440
        assert gate.centre is not None
        assert gate.radius_m is not None
        around = [np.full(n, v) for v in gate.centre]
        lon, lat, _ = GEOD.fwd(*around, np.linspace(0, 360, n), np.full(n, gate.radius_m))
        ways = sum(GEOD.inv(lon, lat, np.full(n, p.lon), np.full(n, p.lat))[2] for p in segment)
        if ways.min() <= longest:
            return False
    return True


def _no_way_around(fence: Fence, segment: tuple[At, At], settings: EngineSettings) -> bool:
    """Try every way from corner to corner that keeps out of the fence."""
    longest, apart = _longest_m(segment, settings)
    if apart > longest:
        return False
    a, b = ((p.lon, p.lat) for p in segment)
    corners = [tuple(c) for c in fence.geometry.exterior.coords[:-1]]
    for count in range(len(corners) + 1):
        for chosen in permutations(corners, count):
            stops = [a, *chosen, b]
            way = shapely.LineString(stops)
            long_m = sum(GEOD.inv(*p, *q)[2] for p, q in pairwise(stops))
            if long_m <= longest and not way.relate_pattern(fence.geometry, "T********"):
                return False
    return True


def _overspeeds(vehicle: str, path: list[At], fences: FenceSet, settings: EngineSettings) -> list[Fact]:
    runs: list[list[tuple[At, str]]] = [[]]
    for fix in path:
        if runs[-1] and fix.t - runs[-1][-1][0].t > settings.max_gap_s * 1e6:
            runs.append([])
        if fix.speed != fix.speed:
            continue
        limits = [
            (f.speed_limit_kmh, f.id)
            for f in fences.fences
            if f.speed_limit_kmh is not None and inside(f, fix.lon, fix.lat)
        ]
        if limits and fix.speed > min(limits)[0] + settings.overspeed_margin_kmh:
            runs[-1].append((fix, min(limits)[1]))
        else:
            runs.append([])
    found = []
    for i, run in enumerate(runs):
        if run and run[-1][0].t - run[0][0].t > settings.overspeed_for_s * 1e6:
            end = None if i == len(runs) - 1 else run[-1][0].t
            found.append(Fact("overspeed", vehicle, run[0][1], run[0][0].t, end))
    return found
