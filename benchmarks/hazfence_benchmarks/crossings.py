"""Crossings and their times beside MEOS, the library of MobilityDB: none missed, the same moments.

You are beside ``exactness.py``, which reports what is found here; a test holds it to nothing wrong. Trips
with a handful of sparse fixes go over a few awkward polygons. Each stretch inside has to be found by both:
by the engine as a visit (the polygons are thin, so a passage between two fixes counts), by MEOS as a period
of the trip restricted to the polygon. Both interpolate on straight lines in longitude and latitude. Where
they disagree (a few of a hundred thousand), exact arithmetic says who is right.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import shapely

from hazfence import Engine, EngineSettings, FixBatch, Kind
from hazfence_fences import Fence, FenceKind, FenceSet

__all__ = ["TOLERANCE_US", "Compared", "compare", "trips"]

#: Both ends of a stretch may differ by so much; a stretch no longer than that may be seen by one side only.
TOLERANCE_US = 1000
_BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
_BEGAN_US = int(_BEGAN.timestamp()) * 1_000_000
_WEST, _SOUTH, _SIZE = 121.5, 29.9, 0.1
Stretch = tuple[int, int]


class Compared(NamedTuple):
    """What came of it.

    Attributes:
        stretches: found by MEOS.
        apart_us: the greatest difference in time where both agree.
        wrong: trips over a polygon on which the engine is wrong.
        theirs_wrong: trips over a polygon on which MEOS is.
    """

    stretches: int
    apart_us: int
    wrong: int
    theirs_wrong: int


def trips(count: int, *, fixes: int = 3, seed: int = 1) -> FixBatch:
    """Trips of distinct vehicles with sparse fixes over a box of about ten kilometres, by vehicle and time.

    Args:
        count: of trips.
        fixes: of each.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 0.25 * _SIZE, (count, fixes, 2))
    places = rng.uniform(0, _SIZE, (count, 1, 2)) + np.cumsum(steps, axis=1)
    every_us = rng.integers(1_000_000, 60_000_000, (count, fixes))
    return FixBatch.of(
        np.repeat(np.arange(count, dtype=np.int32), fixes),
        vehicles=tuple(f"trip-{i}" for i in range(count)),
        time_us=_BEGAN_US + np.cumsum(every_us, axis=1).ravel(),
        lon=_WEST + places[:, :, 0].ravel(),
        lat=_SOUTH + places[:, :, 1].ravel(),
        speed_kmh=30.0,
    )


def _areas() -> dict[str, shapely.Polygon]:
    """A star, a ring with a hole, a comb with thin teeth."""
    angle = np.arange(14) * np.pi / 7
    reach = np.where(np.arange(14) % 2, 0.45, 0.15) * _SIZE
    middle = _WEST + _SIZE / 2, _SOUTH + _SIZE / 2
    star = np.column_stack([middle[0] + reach * np.cos(angle), middle[1] + reach * np.sin(angle)])
    ring = shapely.Point(middle).buffer(0.4 * _SIZE, quad_segs=5)
    hole = shapely.Point(middle).buffer(0.2 * _SIZE, quad_segs=3)
    teeth = [(_WEST, _SOUTH)]
    for i in range(12):
        x = _WEST + _SIZE * i / 12
        teeth += [(x, _SOUTH + 0.9 * _SIZE), (x + _SIZE / 60, _SOUTH + 0.05 * _SIZE)]
    teeth.append((_WEST + _SIZE, _SOUTH))
    return {"star": shapely.Polygon(star), "ring": ring.difference(hole), "comb": shapely.Polygon(teeth)}


def compare(count: int, *, seed: int = 1) -> Compared:
    """Set the engine's visits beside MEOS.

    Args:
        count: of trips.
        seed: of the trips.

    Raises:
        ModuleNotFoundError: pymeos is not installed.
    """
    batch, areas = trips(count, seed=seed), _areas()
    ours, theirs = _ours(batch, areas), _theirs(batch, areas)
    rows_of: dict[str, list[int]] = {}
    for i, name in enumerate(batch.names()):
        rows_of.setdefault(name, []).append(i)
    stretches = apart_us = wrong = theirs_wrong = 0
    for key in ours.keys() | theirs.keys():
        mine, other = ours.get(key, []), theirs.get(key, [])
        stretches += len(other)
        off_us = _apart_us(mine, other)
        if off_us is not None:
            apart_us = max(apart_us, off_us)
            continue
        exact = _exact(batch.take(np.array(rows_of[key[0]])), areas[key[1]])
        wrong += _apart_us(mine, exact) is None
        theirs_wrong += _apart_us(other, exact) is None
    return Compared(stretches, apart_us, wrong, theirs_wrong)


def _apart_us(one: list[Stretch], other: list[Stretch]) -> int | None:
    """How far two lists of stretches are apart; None when they disagree."""
    longer = [sorted(s for s in found if s[1] - s[0] > TOLERANCE_US) for found in (one, other)]
    if len(longer[0]) != len(longer[1]):
        return None
    pairs = zip(*longer, strict=True)
    off_us = max((max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a, b in pairs), default=0)
    return off_us if off_us <= TOLERANCE_US else None


def _exact(trip: FixBatch, area: shapely.Polygon) -> list[Stretch]:
    """The stretches of one trip inside, in rational numbers: slow and beyond doubt."""
    edges = [
        tuple(map(Fraction, (*a, *b)))
        for ring in (area.exterior, *area.interiors)
        for a, b in pairwise(ring.coords)
    ]
    found: list[tuple[Fraction, Fraction]] = []
    rows = list(zip(trip.time_us.tolist(), trip.lon.tolist(), trip.lat.tolist(), strict=True))
    for (t0, *p), (t1, *q) in pairwise(rows):
        px, py, qx, qy = map(Fraction, (*p, *q))
        cuts = {Fraction(0), Fraction(1)}
        for ax, ay, bx, by in edges:
            d = (qx - px) * (by - ay) - (qy - py) * (bx - ax)
            if d:
                s = ((ax - px) * (by - ay) - (ay - py) * (bx - ax)) / d
                u = ((ax - px) * (qy - py) - (ay - py) * (qx - px)) / d
                if 0 <= s <= 1 and 0 <= u <= 1:
                    cuts.add(s)
        for a, b in pairwise(sorted(cuts)):
            middle = (a + b) / 2
            if not _inside(px + middle * (qx - px), py + middle * (qy - py), edges):
                continue
            start, end = t0 + a * (t1 - t0), t0 + b * (t1 - t0)
            if found and found[-1][1] == start:
                start = found.pop()[0]
            found.append((start, end))
    return [(round(start), round(end)) for start, end in found]


def _inside(x: Fraction, y: Fraction, edges: list[tuple[Fraction, ...]]) -> bool:
    """Even or odd: how many edges a ray to the east crosses."""
    odd = False
    for ax, ay, bx, by in edges:
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            odd = not odd
    return odd


def _ours(batch: FixBatch, areas: dict[str, shapely.Polygon]) -> dict[tuple[str, str], list[Stretch]]:
    fences = FenceSet(Fence(name, FenceKind.ZONE, area, thin=True) for name, area in areas.items())
    engine = Engine(fences, EngineSettings(max_gap_s=1e6, recent_s=0))
    found: dict[tuple[str, str], list[Stretch]] = {}
    last_us = dict(zip(batch.names(), batch.time_us.tolist(), strict=True))
    standing = {event.id: event for event in engine.process(batch) if event.kind is Kind.VISIT}
    for event in standing.values():
        # A trip that ends inside: until its last fix, as MEOS has it.
        end_us = last_us[event.vehicle] if event.ended_us is None else event.ended_us
        found.setdefault((event.vehicle, str(event.fence_id)), []).append((event.started_us, end_us))
    return found


def _theirs(batch: FixBatch, areas: dict[str, shapely.Polygon]) -> dict[tuple[str, str], list[Stretch]]:
    import pymeos

    pymeos.pymeos_initialize("UTC")
    found: dict[tuple[str, str], list[Stretch]] = {}
    texts: dict[str, list[str]] = {}
    rows = zip(batch.names(), batch.time_us.tolist(), batch.lon.tolist(), batch.lat.tolist(), strict=True)
    for name, time_us, lon, lat in rows:
        moment = _BEGAN + timedelta(microseconds=time_us - _BEGAN_US)
        texts.setdefault(name, []).append(f"Point({lon!r} {lat!r})@{moment:%Y-%m-%d %H:%M:%S.%f+00}")
    for name, instants in texts.items():
        trip: Any = pymeos.TGeomPointSeq(string="[" + ", ".join(instants) + "]")
        for area_name, area in areas.items():
            inside = trip.at(area)
            if inside is None:
                continue
            found[name, area_name] = _stretches(str(inside))
    return found


#: An instant in MEOS' text, with the brackets of its sequence where it is the first or the last of one. Read
#: from here, for pymeos takes each moment through dateutil, which takes longer than all the rest.
_INSTANT = re.compile(r"([\[(]?)POINT\([^)]*\)@([^,\])}]*)([\])]?)", re.IGNORECASE)


def _stretches(text: str) -> list[Stretch]:
    """Beginnings and ends of the sequences, or moments of the instants, in MEOS' text."""
    instants = [(first, _us(datetime.fromisoformat(at)), last) for first, at, last in _INSTANT.findall(text)]
    if not any(first for first, _, _ in instants):
        return [(at_us, at_us) for _, at_us, _ in instants]
    begins, ends = ([one[1] for one in instants if one[side]] for side in (0, 2))
    return list(zip(begins, ends, strict=True))


def _us(moment: datetime) -> int:
    return _BEGAN_US + (moment - _BEGAN) // timedelta(microseconds=1)
