"""Where a vehicle can have been between two fixes: the space-time prism, and how certain a verdict is.

You are in ``hazfence.rules``, beside ``gates.py`` and ``zones.py``, which ask it before they open a breach.
A vehicle that never drives faster than a top speed ``v`` can have been at a place P between two fixes A and
B, ``T`` seconds apart, only if ``|AP| + |PB| <= v T``: at some moment in an ellipse with the fixes as foci,
at each moment in the lens where the disc around A that grows meets the disc around B that shrinks. Sources:
T. Hägerstrand, What about people in regional science? (1970); H. J. Miller, Modelling accessibility using
space-time prism concepts within geographical information systems (1991); D. Pfoser and C. S. Jensen,
Capturing the uncertainty of moving-object representations (1999), who cut tracks between samples this way.

* **certain**: no way at the top speed makes it untrue,
* **probable**: none at the speed observed does: the faster of the speeds reported at both fixes (and of the
  straight way), and what a terminal may be wrong by,
* **possible**: the straight way says so, but others do not.

The top speed is raised to what the vehicle itself reports. Fixes are discs, not points: the truth lies within
``e_A`` of A and ``e_B`` of B, where ``e`` is ``EngineSettings.settle_m`` or, where that is more, what the
receiver says of it (``Fix.error_m``). What is certain is so for all places in both discs:

* a place P was possible only if ``|AP| + |PB| <= v T + e_A + e_B`` (the triangle inequality, at both ends),
* a way around an area may begin at a true place that lies behind a corner of it, as seen from the fix; the
  way from the fix to there cuts into the area by less than ``max(e_A, e_B)``, so the area is taken as smaller
  by that,
* a fix in a fence proves that the vehicle was there only if the border is farther away than its own ``e``,
* a fix nearer to a border than its own ``e`` may lie on either side of it, so the crossing is somewhere
  between the last fix farther away on the one side and the first one on the other; ``settle.py`` asks of each
  step between these, and takes the weakest answer.

Two fixes that lie farther apart than the top speed allows contradict what is known; nothing that rests on
the way between them is certain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from hazfence.presence import Fix, Piece
from hazfence.rules.driving import apart2_m2
from hazfence_fences import Fence, Metric

__all__ = [
    "Certainty",
    "Way",
    "bypass_certainty",
    "bypass_levels",
    "entry_certainty",
    "passage_levels",
    "unavoidable",
]

_Floats = npt.NDArray[np.float64]

#: Terminals measure speed to 2 m/s (GB/T 35658).
SPEED_ERROR_KMH = 7.2
#: ``apart2_m2`` is good to half a per cent.
_ROUGH = 1.005
#: Columns are this much stricter than the judge, so that rounding never makes them disagree with it.
_SLACK_M = 0.01
#: A fix this near to the hull of an area is a corner of it.
_ON_RIM_M = 1e-6


class Certainty(StrEnum):
    """How certain a verdict is that rests on the way between two fixes; the first is the strongest."""

    CERTAIN = "certain"
    PROBABLE = "probable"
    POSSIBLE = "possible"

    def and_(self, other: Certainty) -> Certainty:
        """The weaker of the two."""
        order = tuple(Certainty)
        return order[max(order.index(self), order.index(other))]


class Way(NamedTuple):
    """What is known of the way between two fixes.

    Attributes:
        prev, fix: the fixes.
        reach_m: the longest way at the top speed, positions as wrong as they may be; what is longer, as
            measured between the fixes, cannot have been driven.
        error_m: by how much the worse of them may be wrong.
        both_m: and both together.
    """

    prev: Fix
    fix: Fix
    reach_m: float
    error_m: float
    both_m: float

    @classmethod
    def between(cls, prev: Fix, fix: Fix, top_kmh: float, error_m: float) -> Way:
        """The way from one fix to the next.

        Args:
            error_m: by how much a fix may be wrong that does not say that it is worse.

        Example:
            >>> a = Fix(0, 121.6, 29.9, 60.0, ())
            >>> b = Fix(30_000_000, 121.605, 29.9, 60.0, ())
            >>> way = Way.between(a, b, top_kmh=120.0, error_m=15.0)
            >>> round(way.reach_m), round(way.likely_m)
            (1030, 590)
        """
        seconds = (fix.time_us - prev.time_us) / 1e6
        fastest = top_kmh
        for kmh in (prev.speed_kmh, fix.speed_kmh):
            if kmh > fastest:  # never for an unknown one
                fastest = kmh
        one_m, other_m = max(error_m, prev.error_m), max(error_m, fix.error_m)
        both_m = one_m + other_m
        return cls(prev, fix, fastest / 3.6 * seconds + both_m, max(one_m, other_m), both_m)

    @property
    def likely_m(self) -> float:
        """The longest way at the speed observed; infinite when none is known."""
        prev, fix = self.prev, self.fix
        if prev.speed_kmh != prev.speed_kmh or fix.speed_kmh != fix.speed_kmh:
            return math.inf
        seconds = (fix.time_us - prev.time_us) / 1e6
        straight_m = math.sqrt(apart2_m2(prev.lon, prev.lat, fix.lon, fix.lat))
        driven_m = max(max(prev.speed_kmh, fix.speed_kmh) / 3.6 * seconds, straight_m)
        return driven_m + SPEED_ERROR_KMH / 3.6 * seconds + self.both_m

    @property
    def contradicts(self) -> bool:
        """Whether the fixes lie farther apart than the top speed allows."""
        prev, fix = self.prev, self.fix
        limit_m = self.reach_m * _ROUGH
        return bool(apart2_m2(prev.lon, prev.lat, fix.lon, fix.lat) > limit_m * limit_m)


def bypass_certainty(way: Way, gates: Iterable[Fence]) -> Certainty:
    """How certain it is that a vehicle passed none of the checkpoints on its way between two fixes.

    Args:
        way: neither end in a checkpoint, and the straight way through none.
        gates: the checkpoints.
    """
    if way.contradicts:
        return Certainty.POSSIBLE
    prev, fix = way.prev, way.fix
    nearest_m = math.inf
    for gate in gates:
        # No detour is shorter than from the one fix to the rim and from the rim to the other.
        least_m = gate.distance_m(prev.lon, prev.lat)
        if least_m <= way.reach_m and least_m + gate.distance_m(fix.lon, fix.lat) <= way.reach_m:
            nearest_m = min(nearest_m, detour_m(gate, prev, fix))
    if nearest_m > way.reach_m:
        return Certainty.CERTAIN
    return Certainty.PROBABLE if nearest_m > way.likely_m else Certainty.POSSIBLE


def detour_m(gate: Fence, prev: Fix, fix: Fix) -> float:
    """The shortest way, in metres, from one fix to the other that touches a fence.

    Args:
        gate: a circle or a polygon that neither fix lies in.
    """
    if gate.metric is not None:
        assert gate.radius_m is not None
        a, b = gate.metric.east_north_m(prev.lon, prev.lat), gate.metric.east_north_m(fix.lon, fix.lat)
        return _round_detour_m(gate.radius_m, a, b)
    # The sum of two distances is convex along every edge: search all edges at once.
    metric = Metric.at((prev.lon + fix.lon) / 2.0, (prev.lat + fix.lat) / 2.0)
    ax, ay, bx, by = gate.edges().T
    lo, hi = np.zeros(len(ax)), np.ones(len(ax))
    ends = (metric.east_north_m(prev.lon, prev.lat), metric.east_north_m(fix.lon, fix.lat))

    def long_m(t: _Floats) -> _Floats:
        east, north = metric.east_north_m(ax + t * (bx - ax), ay + t * (by - ay))
        return np.asarray(sum(np.hypot(east - x, north - y) for x, y in ends))

    for _ in range(60):
        third = (hi - lo) / 3.0
        left = long_m(lo + third) <= long_m(hi - third)
        lo, hi = np.where(left, lo, lo + third), np.where(left, hi - third, hi)
    return float(long_m((lo + hi) / 2.0).min())


def _round_detour_m(radius_m: float, a: tuple[float, float], b: tuple[float, float]) -> float:
    """From ``a`` over the disc about the origin to ``b``.

    Where the straight way meets the disc it is the shortest. Where it misses it, the shortest detour meets
    its rim as light meets a mirror, at the one place between the directions of ``a`` and ``b`` where both
    make the same angle with the radius.
    """
    straight_m, along = math.hypot(b[0] - a[0], b[1] - a[1]), 0.0
    if straight_m > 0.0:
        along = -(a[0] * (b[0] - a[0]) + a[1] * (b[1] - a[1])) / (straight_m * straight_m)
        along = min(max(along, 0.0), 1.0)
    foot = a[0] + along * (b[0] - a[0]), a[1] + along * (b[1] - a[1])
    if math.hypot(*foot) <= radius_m:
        return straight_m
    start = math.atan2(a[1], a[0])
    turn = math.remainder(math.atan2(b[1], b[0]) - start, math.tau)
    lo, hi = 0.0, 1.0
    for _ in range(32):  # to a millionth of a metre
        middle = (lo + hi) / 2.0
        east, north = math.cos(start + middle * turn), math.sin(start + middle * turn)
        slopes = []
        for x, y in (a, b):
            dx, dy = x - radius_m * east, y - radius_m * north
            slopes.append(abs(dx * north - dy * east) / math.hypot(dx, dy))
        lo, hi = (middle, hi) if slopes[0] < slopes[1] else (lo, middle)
    east, north = radius_m * math.cos(start + lo * turn), radius_m * math.sin(start + lo * turn)
    return math.hypot(a[0] - east, a[1] - north) + math.hypot(b[0] - east, b[1] - north)


def bypass_levels(
    ends: tuple[_Floats, _Floats, _Floats, _Floats],
    seconds: _Floats,
    speeds_kmh: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    top_kmh: _Floats,
    near_m: _Floats,
    gates: tuple[Any, _Floats],
    both_m: _Floats,
) -> npt.NDArray[np.int8]:
    """`bypass_certainty` for many steps, decided unless a limit lies between `_detour_bounds_m`.

    Args:
        ends: lon, lat of the fixes before and after, each of shape (n,), as is what follows.
        seconds: between them.
        speeds_kmh: reported at both; NaN for unknown.
        top_kmh: no vehicle drives faster.
        near_m: from some place of the straight way to the nearest checkpoint; 0 where nobody knows.
        gates: the metric of the round checkpoints, columns of shape (g, 1), and their radii, shaped so too.
        both_m: by how much both positions may be wrong together.

    Returns:
        int8, shape (n,): 0 certain, 1 probable, 2 possible; -1 where it is not decided.
    """
    lon0, lat0, lon1, lat1 = ends
    kmh0, kmh1 = (kmh.astype(np.float64) for kmh in speeds_kmh)
    reach_m = np.fmax(np.fmax(kmh0, kmh1), top_kmh) / 3.6 * seconds + both_m
    apart2 = apart2_m2(lon0, lat0, lon1, lat1)
    limit_m = reach_m * _ROUGH
    contradicts = apart2 > limit_m * limit_m
    level: npt.NDArray[np.int8] = np.where(contradicts, np.int8(2), np.int8(0))
    # A way over a place is at least as long as from there to any place of the straight way.
    at = (~contradicts & (near_m <= reach_m + 1.0)).nonzero()[0]
    if not len(at) or not len(gates[1]):
        return level
    row, gate = _within_reach(tuple(column.take(at) for column in ends), reach_m.take(at), gates)
    if not len(row):
        return level
    row = at.take(row)
    metric = Metric(*(getattr(gates[0], name).take(gate) for name in Metric.__slots__))
    lonlat = np.array(ends).take(row, axis=1)
    east, north = metric.east_north_m(lonlat[::2], lonlat[1::2])  # before and after, at once
    bounds_m = _detour_bounds_m(east + 1j * north, gates[1].take(gate))
    # Of each step, those of the shortest detour over any checkpoint.
    least_m, most_m = np.full((2, len(lon0)), np.inf)
    np.minimum.at(least_m, row, bounds_m[0])
    np.minimum.at(most_m, row, bounds_m[1])
    at = (least_m != np.inf).nonzero()[0]
    least_m, most_m, reach_m = least_m.take(at), most_m.take(at), reach_m.take(at)
    passed_s = seconds.take(at)
    driven_m = np.maximum(np.maximum(kmh0.take(at), kmh1.take(at)) / 3.6 * passed_s, np.sqrt(apart2.take(at)))
    likely_m = driven_m + SPEED_ERROR_KMH / 3.6 * passed_s + both_m.take(at)  # NaN for an unknown speed
    near = np.full(len(at), -1, np.int8)
    near[(least_m > likely_m + _SLACK_M) & (most_m <= reach_m - _SLACK_M)] = 1
    near[most_m <= np.fmin(likely_m, reach_m) - _SLACK_M] = 2
    near[least_m > reach_m + _SLACK_M] = 0
    level[at] = near
    return level


def _within_reach(
    ends: tuple[_Floats, ...], reach_m: _Floats, gates: tuple[Any, _Floats]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which checkpoints may be reached on which steps: (step, checkpoint), each of shape (k,).

    A detour over a place is at least twice as long as from the middle of the straight way to there.
    """
    lon0, lat0, lon1, lat1 = ends
    metric, radius_m = gates
    u, v = lon1 - lon0, lat1 - lat0
    # The middle in degrees is not quite that in metres, by an eighth of the change of a degree's length.
    wide_m = reach_m * 0.5 + 250.0 * (np.abs(u * v) + v * v) + _SLACK_M
    far2 = metric.distance2_m2(lon0 + 0.5 * u, lat0 + 0.5 * v)
    gate, row = (far2 <= np.square(radius_m + wide_m)).nonzero()
    return row, gate


def _detour_bounds_m(ends: npt.NDArray[np.complex128], radius_m: _Floats) -> tuple[_Floats, _Floats]:
    """Metres that the shortest ways over discs about the origin are surely not below, and not above.

    Any place of a rim gives both: the way over it is no shorter than the shortest one, and no way comes to
    the disc but over the tangent there, the shortest to which is that of light in a mirror. Near the place
    where `_round_detour_m` ends they differ by the square of what it is missed by.

    Args:
        ends: of k ways, east + i north, shape (2, k).
        radius_m: of the discs, shape (k,).

    Returns:
        two of shape (k,); infinite where nothing is known.
    """
    a, b = ends
    way = b - a
    straight_m = np.abs(way)
    with np.errstate(invalid="ignore", divide="ignore"):
        along = -(a * way.conj()).real / (straight_m * straight_m)  # NaN for a way of no length
        meets = np.abs(a + np.fmin(np.fmax(along, 0.0), 1.0) * way) <= radius_m
        # A guess, right far from the disc and near to it: the angle is parted as the heights over the rim
        # are, by the distances from the centre. All is turned so that it lies in the east.
        high_m = np.fmax(np.abs(ends) - radius_m, 1e-9)
        guess = a * high_m[1] + b * high_m[0]
        ends = ends * (guess.conj() / np.abs(guess))
        # One step of Newton's towards equal angles. What another gains is less than _SLACK_M, on average.
        long_m = np.abs(ends - radius_m)
        sine = ends.imag / long_m
        slope = (ends.real - radius_m * sine * sine) / long_m
        turn = (sine[0] + sine[1]) / (slope[0] + slope[1])
        ends = ends * ((1.0 - 1j * turn) / np.sqrt(1.0 + turn * turn))
    high_m = ends.real - radius_m
    long_m = np.abs(ends - radius_m)
    # Where an end lies behind the tangent, the straight way meets it.
    over_m = np.abs(high_m[0] - high_m[1]) + 2.0 * np.maximum(np.minimum(high_m[0], high_m[1]), 0.0)
    least_m = np.hypot(over_m, ends.imag[0] - ends.imag[1])
    # No place is found (NaN) where an end lies on it or the centre between both; the straight way remains.
    least_m = np.fmax(least_m, straight_m)
    return least_m, np.where(meets, straight_m, np.fmin(long_m[0] + long_m[1], np.inf))


def entry_certainty(
    fence: Fence,
    piece: Piece,
    prev: Fix | None,
    fix: Fix,
    top_kmh: float,
    error_m: float,
    near: Callable[[Fence, Fix, float], bool],
) -> Certainty:
    """How certain it is that a vehicle was in a fence during a piece of presence.

    A fix in the piece proves it when it lies farther inside than it may be wrong. One before or after the
    piece proves it when the border is farther away than the vehicle can have come meanwhile. A piece that
    rests on the segment alone is certain when there is no way around the fence.

    Args:
        piece: of presence, on the way from ``prev`` to ``fix``.
        top_kmh, error_m: top speed, and by how much a position may be wrong that does not say it is worse.
        near: whether a fix lies nearer to the fence's border than so many metres.
    """
    found = Certainty.POSSIBLE
    way = None if prev is None or fix.silent else Way.between(prev, fix, top_kmh, error_m)
    for known, apart_us in (
        (prev, piece.start_us - (piece.start_us if prev is None else prev.time_us)),
        (fix, fix.time_us - piece.end_us),
    ):
        if known is None or known.silent or fence not in known.fences:
            continue
        seconds = max(apart_us, 0) / 1e6
        fastest = top_kmh if not known.speed_kmh > top_kmh else known.speed_kmh
        wrong_m = max(error_m, known.error_m)
        if not near(fence, known, fastest / 3.6 * seconds + wrong_m):
            return Certainty.CERTAIN
        if not seconds:
            found = Certainty.PROBABLE
        elif way is not None and math.isfinite(way.likely_m):
            length_s = (fix.time_us - way.prev.time_us) / 1e6
            if not near(fence, known, way.likely_m * seconds / length_s + wrong_m):
                found = Certainty.PROBABLE
    if not piece.by_fix and way is not None and not way.contradicts:
        if fence.metric is not None:
            level = _passage_level(fence, way, top_kmh)
            return found if level is Certainty.POSSIBLE else level
        if unavoidable(fence, way, way.reach_m, way.error_m):
            return Certainty.CERTAIN
        if math.isfinite(way.likely_m) and unavoidable(fence, way, way.likely_m, way.error_m):
            return Certainty.PROBABLE
    return found


def passage_levels(
    metric: Metric,
    radius_m: _Floats,
    ends: tuple[_Floats, ...],
    seconds: _Floats,
    speeds_kmh: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    top_kmh: float,
    error_m: float | _Floats,
    both_m: float | _Floats | None = None,
) -> npt.NDArray[np.uint8]:
    """How certain it is that circles were passed through between two fixes outside of them.

    The shortest way around a circle runs straight to its rim, along it, and straight on. The circle is taken
    as smaller by the error of a position.

    Args:
        metric, radius_m: of the circles, columns of shape (n,).
        ends: lon, lat of the fixes before and after, each of shape (n,).
        seconds: between them.
        speeds_kmh: reported at both; NaN for unknown.
        top_kmh, error_m: top speed, and by how much the worse of two positions may be wrong.
        both_m: and both together; twice that by default.

    Returns:
        uint8, shape (n,): 0 certain, 1 probable, 2 possible; as ``Certainty`` has them.
    """
    both_m = 2.0 * error_m if both_m is None else both_m
    lon0, lat0, lon1, lat1 = ends
    kmh0, kmh1 = (kmh.astype(np.float64) for kmh in speeds_kmh)
    apart2 = apart2_m2(lon0, lat0, lon1, lat1)
    reach_m = np.fmax(np.fmax(kmh0, kmh1), top_kmh) / 3.6 * seconds + both_m
    driven_m = np.maximum(np.maximum(kmh0, kmh1) / 3.6 * seconds, np.sqrt(apart2))
    likely_m = driven_m + SPEED_ERROR_KMH / 3.6 * seconds + both_m
    (x0, y0), (x1, y1) = metric.east_north_m(lon0, lat0), metric.east_north_m(lon1, lat1)
    r = np.maximum(radius_m - error_m, 0.0)
    away0, away1 = np.hypot(x0, y0), np.hypot(x1, y1)
    turn = np.abs(np.arctan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1))
    with np.errstate(invalid="ignore", divide="ignore"):
        # The angle through which the way hugs the rim: none where the fixes see each other, NaN within.
        along = turn - np.arccos(r / away0) - np.arccos(r / away1)
        around_m = np.sqrt(away0 * away0 - r * r) + np.sqrt(away1 * away1 - r * r) + r * along
        hidden = (along > 0.0) & (apart2 <= (reach_m * _ROUGH) ** 2)
        level = np.full(len(r), 2, np.uint8)
        level[hidden & (around_m > likely_m)] = 1
        level[hidden & (around_m > reach_m)] = 0
    return level


def _passage_level(fence: Fence, way: Way, top_kmh: float) -> Certainty:
    """`passage_levels` for one."""
    prev, fix = way.prev, way.fix
    one = [np.array([v]) for v in (prev.lon, prev.lat, fix.lon, fix.lat)]
    seconds = np.array([(fix.time_us - prev.time_us) / 1e6])
    kmh = np.array([prev.speed_kmh], np.float32), np.array([fix.speed_kmh], np.float32)
    assert fence.metric is not None
    assert fence.radius_m is not None
    metric = Metric(*(np.array([getattr(fence.metric, name)]) for name in Metric.__slots__))  # type: ignore[arg-type]
    radius_m = np.array([fence.radius_m])
    level = passage_levels(metric, radius_m, tuple(one), seconds, kmh, top_kmh, way.error_m, way.both_m)
    return tuple(Certainty)[int(level[0])]


def unavoidable(fence: Fence, way: Way, reach_m: float, error_m: float) -> bool:
    """Whether no way from one fix to the other, at most ``reach_m`` long, goes around a fence.

    A string pulled tight around one side of an area runs along the convex hull of the area and both fixes;
    the shorter of the two sides is the shortest way around. Where a fix lies in a bay of the area, or a part
    of the area is passed on both sides, this says False: it is not shown.

    Args:
        fence: one that holds neither fix; taken as smaller by the error of a position.
        way: between the two fixes.
        reach_m: positions as wrong as they may be.
        error_m: by how much.

    Example:
        >>> from hazfence_fences import FenceKind, circle
        >>> pond = circle("pond", FenceKind.RESTRICTED, 121.6, 29.9, 300.0, thin=True)
        >>> a, b = Fix(0, 121.595, 29.9, 60.0, ()), Fix(60_000_000, 121.605, 29.9, 60.0, ())
        >>> way = Way.between(a, b, top_kmh=120.0, error_m=0.0)
        >>> [unavoidable(pond, way, reach_m, 0.0) for reach_m in (1100.0, 1200.0)]
        [True, False]
    """
    prev, fix = way.prev, way.fix
    metric = Metric.at((prev.lon + fix.lon) / 2.0, (prev.lat + fix.lat) / 2.0)

    def flat(lonlat: _Floats) -> _Floats:
        return np.column_stack(metric.east_north_m(lonlat[:, 0], lonlat[:, 1]))

    ends = shapely.transform(shapely.points([(prev.lon, prev.lat), (fix.lon, fix.lat)]), flat)
    area = shapely.transform(fence.geometry, flat)
    if error_m:
        area = shapely.buffer(area, -error_m)
    straight = shapely.linestrings(shapely.get_coordinates(ends))
    for part in shapely.get_parts(area):
        if not shapely.intersects(part, straight):
            continue
        rim = shapely.get_exterior_ring(shapely.convex_hull(shapely.geometrycollections([part, *ends])))
        if rim is None or (shapely.distance(rim, ends) > _ON_RIM_M).any():
            continue
        at_m = shapely.line_locate_point(rim, ends)
        one_m = abs(float(at_m[1] - at_m[0]))
        if min(one_m, float(shapely.length(rim)) - one_m) > reach_m:
            return True
    return False
