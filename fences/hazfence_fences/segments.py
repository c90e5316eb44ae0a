"""Where a straight lon/lat segment lies inside one fence, as fractions of the segment.

Two fences of mathematics: polygons (corridors are polygons too) and true circles. Whether a segment touches
at all is decided exactly for polygons (shapely's `intersects` is a robust predicate) and by one fixed
sequence of operations for circles, the same for a single segment here and for arrays in `circle_touches`, so
that `FenceSet.segment_hits` and `Fence.intervals` never disagree. The fractions themselves are rounded like
any floating-point quotient.
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from hazfence_fences.metric import Metric

__all__ = [
    "Bands",
    "circle_intervals",
    "circle_passages",
    "circle_roots",
    "circle_touches",
    "polygon_edges",
    "polygon_intervals",
]

F64 = NDArray[np.float64]
Intervals = list[tuple[float, float]]

# Two crossings closer than this fraction of the segment are one: a segment through a vertex meets both its
# edges, and the two quotients differ in their last bits.
_SAME = 1e-12
# Newton rounds for the nearest point of a segment to a circle's centre. The squared distance along the
# segment is a parabola but for parts in 1e4, so two rounds reach the last bits; one more is kept for very
# long segments.
_ROUNDS = 3
# Newton rounds for a circle's root at most, an even number; nearly all are found in two or three.
_MOST_ROUNDS = 60


def polygon_edges(geometry: Any) -> F64:
    """All edges of a polygon or multipolygon, holes included: float64[n, 4] of (lon0, lat0, lon1, lat1)."""
    rings = shapely.get_rings(shapely.get_parts(geometry))
    coords, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    edges = np.hstack([coords[:-1], coords[1:]])[same]
    moved = (edges[:, 0] != edges[:, 2]) | (edges[:, 1] != edges[:, 3])
    return np.ascontiguousarray(edges[moved])


class Bands:
    """A polygon's edges in bands of latitude, to find the one that a short segment crosses.

    Args:
        edges: float64[n, 4] as `polygon_edges` gives them.
    """

    EDGES_A_BAND = 4
    MOST_BANDS = 4096
    #: More edges than this near a segment are a case for numpy, not for a loop.
    MOST_EDGES = 256
    #: Twice an area is right to about this part of the products it is the difference of.
    UNSURE = 1e-15

    def __init__(self, edges: F64) -> None:
        south, north = np.minimum(edges[:, 1], edges[:, 3]), np.maximum(edges[:, 1], edges[:, 3])
        count = min(self.MOST_BANDS, max(1, len(edges) // self.EDGES_A_BAND))
        self._south, self._last = float(south.min()), count - 1
        self._bands_a_degree = count / max(float(north.max()) - self._south, 1e-12)
        self._edges = [tuple(row) for row in edges.tolist()]
        self._bands: list[list[int]] = [[] for _ in range(count)]
        for n, (low, high) in enumerate(zip(self._band(south), self._band(north), strict=True)):
            for band in range(low, high + 1):
                self._bands[band].append(n)

    def _band(self, lat: F64) -> list[int]:
        place = ((lat - self._south) * self._bands_a_degree).astype(np.int64)
        return [int(p) for p in np.clip(place, 0, self._last)]

    def only_crossing(self, lon0: float, lat0: float, lon1: float, lat1: float) -> float | None:
        """The fraction at which a segment crosses the boundary, if it certainly does so just once.

        None when it crosses more or less often, or when rounding could hide the answer; then
        `polygon_intervals` has to say.
        """
        south, north = (lat0, lat1) if lat0 <= lat1 else (lat1, lat0)
        low = min(max(int((south - self._south) * self._bands_a_degree), 0), self._last)
        high = min(max(int((north - self._south) * self._bands_a_degree), 0), self._last)
        near: list[int] | set[int] = self._bands[low]
        if high > low:
            near = set().union(*self._bands[low : high + 1])
        if len(near) > self.MOST_EDGES:
            return None
        dx, dy = lon1 - lon0, lat1 - lat0
        west, east = (lon0, lon1) if dx >= 0.0 else (lon1, lon0)
        found: float | None = None
        for n in near:
            ax, ay, bx, by = self._edges[n]
            if (ax < west and bx < west) or (ax > east and bx > east):
                continue
            if (ay < south and by < south) or (ay > north and by > north):
                continue
            p, q = dx * (ay - lat0), dy * (ax - lon0)
            a = p - q
            if abs(a) <= self.UNSURE * (abs(p) + abs(q)):
                return None
            p, q = dx * (by - lat0), dy * (bx - lon0)
            b = p - q
            if abs(b) <= self.UNSURE * (abs(p) + abs(q)):
                return None
            if (a > 0.0) == (b > 0.0):
                continue
            s = a / (a - b)
            t = (ax + s * (bx - ax) - lon0) / dx if abs(dx) >= abs(dy) else (ay + s * (by - ay) - lat0) / dy
            if abs(t) <= 1e-9 or abs(t - 1.0) <= 1e-9:
                return None
            if 0.0 < t < 1.0:
                if found is not None:
                    return None
                found = t
        return found


def polygon_intervals(
    geometry: Any, edges: F64, lon0: float, lat0: float, lon1: float, lat1: float
) -> Intervals:
    """Fractions of a segment inside a valid polygon or multipolygon; see `Fence.intervals`."""
    if lon0 == lon1 and lat0 == lat1:
        return [(0.0, 1.0)] if shapely.intersects_xy(geometry, lon0, lat0) else []
    if not shapely.intersects(geometry, shapely.linestrings([[lon0, lat0], [lon1, lat1]])):
        return []
    starts, ends = (bool(b) for b in shapely.intersects_xy(geometry, [lon0, lon1], [lat0, lat1]))
    cuts = _polygon_cuts(edges, lon0, lat0, lon1, lat1)
    # The ends are judged by the exact predicate, never by a rounded quotient.
    cuts = [t for t in cuts if _SAME < t < 1.0 - _SAME]
    marks = [0.0, *cuts, 1.0]
    middle = [(a + b) / 2.0 for a, b in pairwise(marks)]
    inside = shapely.intersects_xy(
        geometry, [lon0 + t * (lon1 - lon0) for t in middle], [lat0 + t * (lat1 - lat0) for t in middle]
    )
    out: Intervals = [(0.0, 0.0)] if starts else []
    for n, held in enumerate(inside.tolist()):
        a, b = marks[n], marks[n + 1]
        if held:
            a = a if n or starts else _SAME
            b = b if n + 2 < len(marks) or ends else 1.0 - _SAME
            _extend(out, a, b)
        if n + 2 < len(marks):
            _extend(out, b, b)  # a cut lies on the boundary, and the boundary belongs to the fence
    if ends:
        _extend(out, 1.0, 1.0)
    if not out:  # touches so lightly that no quotient shows it: the nearest place of the segment
        line = shapely.linestrings([[lon0, lat0], [lon1, lat1]])
        t = float(
            np.clip(
                shapely.line_locate_point(line, shapely.intersection(line, geometry).centroid, True), 0, 1
            )
        )
        out = [(t, t)]
    return out


def _extend(out: Intervals, a: float, b: float) -> None:
    """Add [a, b] to a sorted list, joining it to the last one when they meet."""
    if out and a - out[-1][1] <= _SAME:
        out[-1] = (out[-1][0], max(b, out[-1][1]))
    else:
        out.append((a, b))


def _polygon_cuts(edges: F64, lon0: float, lat0: float, lon1: float, lat1: float) -> list[float]:
    """Sorted fractions at which the segment meets an edge; for an edge along the segment, both its ends."""
    west, east = min(lon0, lon1), max(lon0, lon1)
    south, north = min(lat0, lat1), max(lat0, lat1)
    ax, ay, bx, by = edges.T
    near = (np.maximum(ax, bx) >= west) & (np.minimum(ax, bx) <= east)
    near &= (np.maximum(ay, by) >= south) & (np.minimum(ay, by) <= north)
    ax, ay, bx, by = edges[near].T
    dx, dy = lon1 - lon0, lat1 - lat0
    a = dx * (ay - lat0) - dy * (
        ax - lon0
    )  # twice the signed areas: on which side of the segment an edge's ends are
    b = dx * (by - lat0) - dy * (bx - lon0)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = a / (a - b)
        x, y = ax + s * (bx - ax), ay + s * (by - ay)
    crosses = (a != b) & (s >= 0.0) & (s <= 1.0)
    flat = (a == 0.0) & (b == 0.0)
    x = np.concatenate([x[crosses], ax[flat], bx[flat]])
    y = np.concatenate([y[crosses], ay[flat], by[flat]])
    t = (x - lon0) / dx if abs(dx) >= abs(dy) else (y - lat0) / dy
    t = np.sort(t[(t >= 0.0) & (t <= 1.0)])
    if t.size > 1:
        t = t[np.concatenate([[True], np.diff(t) > _SAME])]
    return [float(v) for v in t]


def circle_touches(
    metric: Metric, r2: F64, half_w: F64, half_h: F64, lon0: F64, lat0: F64, lon1: F64, lat1: F64
) -> NDArray[np.bool_]:
    """Which of n pairs of a closed disc and a segment touch: bool[n].

    Args:
        metric: the discs' metrics, its fields float64[n].
        r2: squared radii in square metres, float64[n].
        half_w, half_h: `Metric.half_box_deg` of each.
        lon0, lat0, lon1, lat1: the segments, degrees WGS-84, float64[n].
    """
    u, v, du, dv = lon0 - metric.lon, lat0 - metric.lat, lon1 - lon0, lat1 - lat0
    first, last = np.zeros_like(u), np.ones_like(u)
    for place, step, half in ((u, du, half_w), (v, dv, half_h)):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            p, q = (-half - place) / step, (half - place) / step
        still = step == 0.0
        beside = still & (np.abs(place) > half)
        first = np.where(still, np.where(beside, 2.0, first), np.maximum(first, np.minimum(p, q)))
        last = np.where(still, last, np.minimum(last, np.maximum(p, q)))
    crosses = first <= last
    first, last = np.where(crosses, first, 0.0), np.where(crosses, last, 0.0)
    t = np.minimum(np.maximum(_nearest(metric, u, v, du, dv, (first + last) / 2.0), first), last)
    near = crosses & (_height(metric, u + t * du, v + t * dv) <= r2)
    ends = metric.distance2_m2(lon0, lat0) <= r2
    ends |= metric.distance2_m2(lon1, lat1) <= r2
    return np.asarray(near | ends)


def circle_intervals(
    metric: Metric, radius_m: float, lon0: float, lat0: float, lon1: float, lat1: float
) -> Intervals:
    """Fractions of a segment inside a circle: at most one interval, a disc being convex; see `Fence`."""
    r2 = radius_m * radius_m
    starts = metric.distance2_m2(lon0, lat0) <= r2
    ends = metric.distance2_m2(lon1, lat1) <= r2
    if starts and ends:
        return [(0.0, 1.0)]
    u, v, du, dv = lon0 - metric.lon, lat0 - metric.lat, lon1 - lon0, lat1 - lat0
    first, last = 0.0, 1.0
    for place, step, half in zip((u, v), (du, dv), metric.half_box_deg(radius_m), strict=True):
        if step == 0.0:
            first = 2.0 if abs(place) > half else first
        else:
            p, q = (-half - place) / step, (half - place) / step
            first, last = max(first, min(p, q)), min(last, max(p, q))
    low = 0.0
    if first <= last:
        low = min(max(_nearest(metric, u, v, du, dv, (first + last) / 2.0), first), last)
    if starts or ends:
        low = 0.0 if starts else 1.0
        first, last = 0.0, 1.0
    elif first > last or _height(metric, u + low * du, v + low * dv) > r2:
        return []
    a = 0.0 if starts else _root(metric, r2, u, v, du, dv, first, low)
    b = 1.0 if ends else _root(metric, r2, u, v, du, dv, last, low)
    return [(min(a, b), max(a, b))]


def _height(m: Metric, u: Any, v: Any) -> Any:
    """Squared metres from the centre of a point u, v degrees away."""
    x = (m.kx0 + m.kx1 * v) * u
    y = (m.ky0 + m.ky1 * v) * v
    return x * x + y * y


def _slope(m: Metric, u: Any, v: Any, du: Any, dv: Any) -> tuple[Any, Any]:
    """Half the first and (nearly) half the second derivative of `_height` along the segment."""
    kx = m.kx0 + m.kx1 * v
    x = kx * u
    y = (m.ky0 + m.ky1 * v) * v
    dx = kx * du + m.kx1 * dv * u
    dy = (m.ky0 + 2.0 * m.ky1 * v) * dv
    first = x * dx + y * dy
    second = dx * dx + dy * dy + 2.0 * (m.kx1 * du * dv * x + m.ky1 * dv * dv * y)
    return first, second


def _nearest(m: Metric, u: Any, v: Any, du: Any, dv: Any, t: Any) -> Any:
    """Fraction (maybe outside 0..1) of the segment's point nearest the centre, by Newton from t."""
    for _ in range(_ROUNDS):
        first, second = _slope(m, u + t * du, v + t * dv, du, dv)
        t = t - first / (second + 1e-300)  # a segment of no length stays at its start
    return t


def _root(m: Metric, r2: float, u: float, v: float, du: float, dv: float, out: float, low: float) -> float:
    """The fraction between `out` (outside) and `low` (inside) at which the segment passes the circle.

    From the root of the parabola through `low`, which is nearly it, on with Newton, kept between the two.
    Rounding may let it go to and fro between two numbers for ever: what has come back to where it was two
    rounds before is as far as it gets.
    """
    first, second = _slope(m, u + low * du, v + low * dv, du, dv)
    excess = _height(m, u + low * du, v + low * dv) - r2
    step = sqrt(max(first * first - second * excess, 0.0))
    t = low + (step - first if out > low else -step - first) / (second + 1e-300)
    a, b = out, low
    before = None
    for n in range(_MOST_ROUNDS):
        if not min(a, b) <= t <= max(a, b):
            t = (a + b) / 2.0
        excess = _height(m, u + t * du, v + t * dv) - r2
        if excess > 0.0:
            a = t
        else:
            b = t
        first, _ = _slope(m, u + t * du, v + t * dv, du, dv)
        near = t - excess / (2.0 * first) if first != 0.0 else (a + b) / 2.0
        if abs(near - t) <= 1e-15:
            return min(max(near, 0.0), 1.0)
        if n % 2:
            if before == (t, a, b):
                return float(near)
            before = t, a, b
        t = near
    return float(t)


def circle_roots(m: Metric, r2: F64, u: F64, v: F64, du: F64, dv: F64, out: F64, low: F64) -> F64:
    """`_root` for n segments at once, the same to the last bit: float64[n].

    Args:
        m: the circles' metrics, its fields float64[n].
        r2, u, v, du, dv, out, low: as for `_root`, float64[n].
    """
    at_u, at_v = u + low * du, v + low * dv
    first, second = _slope(m, at_u, at_v, du, dv)
    excess = _height(m, at_u, at_v) - r2
    up = out > low
    step = np.sqrt(np.maximum(first * first - second * excess, 0.0))
    t = low + np.where(up, step - first, -step - first) / (second + 1e-300)
    least, most = np.minimum(out, low), np.maximum(out, low)
    metric: Any = m
    kx0, kx1, ky0, ky1 = metric.kx0, metric.kx1, metric.ky0, metric.ky1
    kx2, ky2 = kx1 * dv, 2.0 * ky1
    found: F64 = np.empty_like(u)
    left: NDArray[np.int64] | None = None  # which these are, once some have been parted with
    open_ = np.ones(len(t), np.bool_)
    before: F64 | None = None
    for n in range(_MOST_ROUNDS):
        within = (least <= t) & (t <= most)
        if not within.all():
            t = np.where(within, t, (least + most) / 2.0)
        # `_height` and the first of `_slope`, what they have in common worked out once.
        x, y = u + t * du, v + t * dv
        kx = kx0 + kx1 * y
        slope_x = kx * du + kx2 * x
        x *= kx
        slope_y = (ky0 + ky2 * y) * dv
        y *= ky0 + ky1 * y
        first = x * slope_x + y * slope_y
        excess = x * x + y * y - r2
        beyond = (excess > 0.0) == up
        np.copyto(most, t, where=beyond)
        np.copyto(least, t, where=~beyond)
        flat = first == 0.0
        if flat.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                near = np.where(flat, (least + most) / 2.0, t - excess / (2.0 * first))
        else:
            near = t - excess / (2.0 * first)
        done = np.abs(near - t) <= 1e-15
        done &= open_
        at = done.nonzero()[0]
        found[at if left is None else left.take(at)] = np.minimum(np.maximum(near.take(at), 0.0), 1.0)
        open_ &= ~done
        if n % 2 and n > 2:  # few are left, and they may have come back to where they were
            state = np.stack((t, least, most))
            if before is not None:
                back = (state == before).all(axis=0)
                back &= open_
                at = back.nonzero()[0]
                found[at if left is None else left.take(at)] = near.take(at)
                open_ &= ~back
            before = state
        count, t = np.count_nonzero(open_), near
        if not count:
            return found
        if 2 * count < len(t):  # to go on with a few that are done costs less than to part from them
            still = open_.nonzero()[0]
            left = still if left is None else left.take(still)
            columns: Any = (kx0, kx1, ky0, ky1, kx2, ky2, r2, u, v, du, dv, least, most, t, up, open_)
            kx0, kx1, ky0, ky1, kx2, ky2, r2, u, v, du, dv, least, most, t, up, open_ = (
                column.take(still) for column in columns
            )
            before = None if before is None else before.take(still, axis=1)
    found[open_ if left is None else left[open_]] = t[open_]
    return found


def circle_passages(
    m: Metric, r2: F64, half_w: F64, half_h: F64, segment: tuple[F64, F64, F64, F64]
) -> tuple[F64, F64]:
    """`circle_intervals` for n segments with both ends outside, the same to the last bit.

    Args:
        m: the circles' metrics, its fields float64[n].
        r2, half_w, half_h: as for `circle_touches`.
        segment: u, v, du, dv: the start as degrees from the centre, and the way to the end.

    Returns:
        float64[n] begins and ends of the stays, fractions; NaN where a segment passes by.
    """
    u, v, du, dv = segment
    first, last = np.zeros_like(u), np.ones_like(u)
    for place, step, half in ((u, du, half_w), (v, dv, half_h)):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            p, q = (-half - place) / step, (half - place) / step
        still = step == 0.0
        first = np.where(
            still, np.where(np.abs(place) > half, 2.0, first), np.maximum(first, np.minimum(p, q))
        )
        last = np.where(still, last, np.minimum(last, np.maximum(p, q)))
    begin, end = np.full(len(u), np.nan), np.full(len(u), np.nan)
    at = np.flatnonzero(first <= last)
    m = Metric(*(getattr(m, name).take(at) for name in Metric.__slots__))
    u, v, du, dv, r2, first, last = (column.take(at) for column in (u, v, du, dv, r2, first, last))
    low = np.minimum(np.maximum(_nearest(m, u, v, du, dv, (first + last) / 2.0), first), last)
    inside = np.flatnonzero(_height(m, u + low * du, v + low * dv) <= r2)
    n = len(inside)
    inside = np.append(inside, inside)  # both ends at once
    m = Metric(*(getattr(m, name).take(inside) for name in Metric.__slots__))
    u, v, du, dv, r2, low = (column.take(inside) for column in (u, v, du, dv, r2, low))
    out = np.append(first.take(inside[:n]), last.take(inside[:n]))
    root = circle_roots(m, r2, u, v, du, dv, out, low)
    a, b, inside = root[:n], root[n:], inside[:n]
    begin[at.take(inside)], end[at.take(inside)] = np.minimum(a, b), np.maximum(a, b)
    return begin, end
