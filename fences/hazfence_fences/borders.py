"""Where many segments leave or enter many fences: the ends of `Fence.intervals` that hold a fix, in columns.

For each pair of a segment and a fence, of which one end of the segment is inside, this gives the fraction at
which the stay that holds that end begins or ends, or NaN where rounding could hide the answer; then
`Fence.intervals` has to say. An answer is to the last bit the one `intervals` gives: the same operations in
the same order as in `segments`. A polygon's edges lie in bands of latitude, so that a short segment meets few
of them; the edges of all fences stand one behind the other in shared arrays. `FenceSet.crossings` is the way
in.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from hazfence_fences.index.raster import spread
from hazfence_fences.index.table import Pool
from hazfence_fences.metric import Metric
from hazfence_fences.model import Fence
from hazfence_fences.segments import Bands, circle_passages, circle_roots

__all__ = ["Borders", "beside_edges", "metric_of"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

# A fence's border in eight numbers, so that one line of a core's cache holds it. Of a circle: its metric,
# squared radius and radius. Of a polygon: where the entries of its lowest band begin in `starts`, the number
# of its last band, its south, bands a degree, and what `near` needs of the metric about its middle.
_CIRCLE = ("lon", "lat", "kx0", "kx1", "ky0", "ky1", "r2", "radius_m")
_POLYGON = ("bands", "last", "south", "scale", "lat", "kx0", "kx1", "ky0")
_BORDER = np.dtype([(name, "f8") for name in _CIRCLE])
# Half width and half height of a circle's box, degrees.
_BOX = np.dtype([("half_w", "f8"), ("half_h", "f8")])
# An edge, as often as there are bands that it lies in; the band, and the lowest one of the edge.
_EDGE = np.dtype([("ax", "f8"), ("bx", "f8"), ("ay", "f8"), ("by", "f8")])
_BAND = np.dtype([("band", "i4"), ("first", "i4")])
# From where to where an edge goes in longitude, roughly: by this most edges of a band are left out, in a
# quarter of the memory. What numbers of 32 bits are wrong by is less than half of _ROUGH_DEG, by which
# questions are wider.
_SPAN = np.dtype([("west", "f4"), ("east", "f4")])
_ROUGH_DEG = 2e-5
# Crossings nearer to each other than this fraction of the segment are left to `intervals`.
_APART = 1e-9
# Pairs handled at a time, so that scratch arrays stay small.
_STEP = 8192


class Borders:
    """The borders of fences by slot, read in as slots are added."""

    def __init__(self) -> None:
        self._border = Pool(_BORDER)
        self._round = Pool(np.bool_)
        self._box = Pool(_BOX)
        self._edges = Pool(_EDGE)
        self._bands = Pool(_BAND)
        self._spans = Pool(_SPAN)
        self._starts = Pool(np.int64)

    @property
    def known(self) -> int:
        """How many slots were read in."""
        return self._border.used

    def read(self, fences: Sequence[Fence]) -> None:
        """Read in the fences of all slots after those already known; one caller at a time."""
        new = fences[self._border.used :]
        if not new:
            return
        border, box = np.zeros(len(new), _BORDER), np.zeros(len(new), _BOX)
        round_ = np.array([fence.metric is not None for fence in new], np.bool_)
        for i in round_.nonzero()[0].tolist():
            m, radius_m = new[i].metric, new[i].radius_m
            assert m is not None
            assert radius_m is not None
            r2 = radius_m * radius_m
            border[i] = (m.lon, m.lat, m.kx0, m.kx1, m.ky0, m.ky1, r2, np.sqrt(r2))
            box[i] = m.half_box_deg(radius_m)
        polygons = (~round_).nonzero()[0]
        if len(polygons):
            border[polygons] = self._read_polygons([new[i] for i in polygons.tolist()])
        self._box.append(box)
        self._round.append(round_)
        self._border.append(border)

    def _read_polygons(self, fences: Sequence[Fence]) -> NDArray[np.void]:
        """The rows of polygons, whose edges are read in."""
        owner, edges = _all_edges(fences)
        south, north = np.minimum(edges[:, 1], edges[:, 3]), np.maximum(edges[:, 1], edges[:, 3])
        count = np.bincount(owner, minlength=len(fences))
        first = count.cumsum() - count
        low, high = np.minimum.reduceat(south, first), np.maximum.reduceat(north, first)
        bands = np.clip(count // Bands.EDGES_A_BAND, 1, Bands.MOST_BANDS)
        scale = bands / np.maximum(high - low, 1e-12)
        begin = bands.cumsum() - bands
        lowest = _band(south, low[owner], scale[owner], bands[owner] - 1)
        highest = _band(north, low[owner], scale[owner], bands[owner] - 1)
        edge, band = spread(lowest, highest - lowest + 1)
        place = begin[owner[edge]] + band
        order = place.argsort(kind="stable")
        edge = edge[order]
        entries, where = np.empty(len(edge), _EDGE), np.empty(len(edge), _BAND)
        for i, name in enumerate(("ax", "ay", "bx", "by")):
            entries[name] = edges[edge, i]
        where["band"], where["first"] = band[order], lowest[edge]
        at = self._edges.append(entries)
        self._bands.append(where)
        spans = np.empty(len(edge), _SPAN)
        spans["west"], spans["east"] = (
            np.minimum(entries["ax"], entries["bx"]),
            np.maximum(entries["ax"], entries["bx"]),
        )
        self._spans.append(spans)
        # One more start than bands: where the last one ends.
        starts = np.searchsorted(place[order], np.arange(int(bands.sum()) + 1)) + at
        middle = [metric_of(fence) for fence in fences]
        numbers: Any = {
            "bands": begin + self._starts.append(starts),
            "last": bands - 1,
            "south": low,
            "scale": scale,
        }
        numbers |= {name: [getattr(m, name) for m in middle] for name in _POLYGON[4:]}
        rows: NDArray[np.void] = np.empty(len(fences), _BORDER)
        for name, field in zip(_POLYGON, _CIRCLE, strict=True):
            rows[field] = numbers[name]
        return rows

    def crossings(
        self,
        slot: I32,
        leaving: NDArray[np.bool_],
        lon0: F64,
        lat0: F64,
        lon1: F64,
        lat1: F64,
        within_m: float | F64 | None = None,
    ) -> tuple[F64, NDArray[np.bool_]]:
        """See `FenceSet.crossings` and `FenceSet.crossings_near`; `slot` is the fence of each pair.

        Of each border both are asked one after the other, while a core's cache still has its edges.
        """
        out = np.empty(len(slot))
        near = np.zeros(0 if within_m is None else len(slot), np.bool_)
        for a in range(0, len(slot), _STEP):
            round_ = self._round.array.take(slot[a : a + _STEP])
            some = round_.nonzero()[0]
            for here, crossing, beside in (
                (some, _circle, _near_circle),
                ((~round_).nonzero()[0], self._polygon, self._near_polygon),
            ):
                if not len(here):
                    continue
                at: I64 | slice = slice(a, a + _STEP) if len(here) == len(round_) else here + a
                rows, x, y = self._rows(slot[at]), lon1[at], lat1[at]
                out[at] = crossing(rows, leaving[at], lon0[at], lat0[at], x, y)
                if within_m is not None:
                    some_m = within_m[at] if isinstance(within_m, np.ndarray) else within_m
                    near[at] = beside(rows, x, y, some_m)
        return out, near

    def _rows(self, slot: I32) -> F64:
        """The numbers of borders as columns: float64[8, n], named by `_CIRCLE` and `_POLYGON`."""
        rows = self._border.array.take(slot)
        return np.ascontiguousarray(rows.view(np.float64).reshape(-1, len(_CIRCLE)).T)

    def passages(self, slot: I32, lon0: F64, lat0: F64, lon1: F64, lat1: F64) -> tuple[F64, F64]:
        """See `FenceSet.passages`; `slot` is the fence of each pair."""
        *fields, r2, _ = self._rows(slot)
        metric = Metric(*fields)
        outside = (metric.distance2_m2(lon0, lat0) > r2) & (metric.distance2_m2(lon1, lat1) > r2)
        outside &= self._round.array.take(slot)
        begin, end = np.full(len(slot), np.nan), np.full(len(slot), np.nan)
        at = outside.nonzero()[0]
        *fields, r2, _ = self._rows(slot.take(at))
        metric = Metric(*fields)
        x0, y0, box = lon0.take(at), lat0.take(at), self._box.array.take(slot.take(at))
        begin[at], end[at] = circle_passages(
            metric,
            r2,
            box["half_w"],
            box["half_h"],
            (x0 - metric.lon, y0 - metric.lat, lon1.take(at) - x0, lat1.take(at) - y0),
        )
        return begin, end

    def circles(self, slot: I32) -> tuple[Metric, F64]:
        """See `FenceSet.circles`; `slot` is each fence's."""
        *fields, _, radius_m = self._rows(slot)
        return Metric(*fields), radius_m

    def near(self, slot: I32, lon: F64, lat: F64, within_m: float | F64) -> NDArray[np.bool_]:
        """See `FenceSet.near_border`; `slot` is the fence of each pair."""
        out = np.empty(len(slot), np.bool_)
        for a in range(0, len(slot), _STEP):
            part = slice(a, a + _STEP)
            slots, x, y = slot[part], lon[part], lat[part]
            within = within_m[part] if isinstance(within_m, np.ndarray) else within_m
            round_ = self._round.array.take(slots)
            some = round_.nonzero()[0]
            if len(some) in (0, len(slots)):
                out[part] = (_near_circle if len(some) else self._near_polygon)(
                    self._rows(slots), x, y, within
                )
                continue
            for here, of in ((some, _near_circle), ((~round_).nonzero()[0], self._near_polygon)):
                some_within = within.take(here) if isinstance(within, np.ndarray) else within
                out[a + here] = of(self._rows(slots.take(here)), x.take(here), y.take(here), some_within)
        return out

    def _near_polygon(self, rows: F64, x: F64, y: F64, within_m: float | F64) -> NDArray[np.bool_]:
        bands, last, south, scale, lat, kx0, kx1, ky = rows
        kx = kx0 + kx1 * (y - lat)
        reach = within_m / ky * 1.01
        low, high = _band(y - reach, south, scale, last), _band(y + reach, south, scale, last)
        # What lies beside the place in longitude is farther away; most of a band's edges do.
        reach = within_m / kx * 1.01
        owner, place = self._entries_of(bands.astype(np.int64), low, high, x - reach, x + reach)
        ax, bx, ay, by = _edges(self._edges.array.take(place))
        x, y, kx, ky = x.take(owner), y.take(owner), kx.take(owner), ky.take(owner)
        out = np.zeros(rows.shape[1], np.bool_)
        within = within_m.take(owner) if isinstance(within_m, np.ndarray) else within_m
        out[owner.compress(beside_edges((ax, bx, ay, by), x, y, kx, ky, within))] = True
        return out

    def _entries_of(self, bands: I64, low: I64, high: I64, west: F64, east: F64) -> tuple[I64, I64]:
        """The edges of some polygons in some bands: (places among the polygons, places of the entries).

        All that reach from `west` to `east`, and a few that do not.
        """
        begin = self._starts.array.take(bands + low)
        high = high + bands
        high += 1
        count = self._starts.array.take(high) - begin
        owner, place = spread(begin, count)
        span = self._spans.array.take(place)
        apart = span["east"] < (west - _ROUGH_DEG).astype(np.float32).repeat(count)
        apart |= span["west"] > (east + _ROUGH_DEG).astype(np.float32).repeat(count)
        some = (~apart).nonzero()[0]
        return owner.take(some), place.take(some)

    def near_one(self, slot: int, lon: float, lat: float, within_m: float) -> bool:
        """As `near` for a single place, by the same operations: arrays of one are slow."""
        row: Any = self._border.array.item(slot)
        if self._round.array.item(slot):
            *fields, _, radius_m = row
            away_m: float = sqrt(Metric(*fields).distance2_m2(lon, lat)) - radius_m
            return abs(away_m) < within_m
        bands, last, south, scale, middle, kx0, kx1, ky = row
        kx = kx0 + kx1 * (lat - middle)
        reach = within_m / ky * 1.01
        low, high = (int(min(max((y - south) * scale, 0.0), last)) for y in (lat - reach, lat + reach))
        starts, first = self._starts.array, int(bands)
        edges: Any = self._edges.array[starts.item(first + low) : starts.item(first + high + 1)].tolist()
        reach = within_m / kx * 1.01
        west, east = lon - reach, lon + reach
        for ax, bx, ay, by in edges:
            if (ax < west and bx < west) or (ax > east and bx > east):
                continue
            dx, dy = (bx - ax) * kx, (by - ay) * ky
            ax, ay = (ax - lon) * kx, (ay - lat) * ky
            length2 = dx * dx + dy * dy
            t = min(max(-(ax * dx + ay * dy) / length2, 0.0), 1.0) if length2 else 0.0
            px, py = ax + t * dx, ay + t * dy
            if px * px + py * py < within_m * within_m:
                return True
        return False

    def _polygon(
        self, rows: F64, leaving: NDArray[np.bool_], lon0: F64, lat0: F64, lon1: F64, lat1: F64
    ) -> F64:
        """As `Bands.only_crossing`, pair by pair, but of several crossings the first or the last."""
        south, north = np.minimum(lat0, lat1), np.maximum(lat0, lat1)
        dx, dy = lon1 - lon0, lat1 - lat0
        west, east = np.minimum(lon0, lon1), np.maximum(lon0, lon1)
        bands, last, lowest, scale = rows[:4]
        low, high = _band(south, lowest, scale, last), _band(north, lowest, scale, last)
        owner, at = self._entries_of(bands.astype(np.int64), low, high, west, east)
        edge = self._edges.array.take(at)
        ax, bx, ay, by = edge["ax"], edge["bx"], edge["ay"], edge["by"]
        w, s_, o, n = west.take(owner), south.take(owner), east.take(owner), north.take(owner)
        beside = (
            ((ax < w) & (bx < w)) | ((ax > o) & (bx > o)) | ((ay < s_) & (by < s_)) | ((ay > n) & (by > n))
        )
        near = (~beside).nonzero()[0]
        owner = owner.take(near)
        # An edge in several of the bands counts once, in the lowest of them.
        if (low != high).any():
            where = self._bands.array.take(at.take(near))
            once = (where["band"] == np.maximum(low.take(owner), where["first"])).nonzero()[0]
            near, owner = near.take(once), owner.take(once)
        ax, bx, ay, by = _edges(edge.take(near))
        x0, y0, dx_, dy_ = lon0.take(owner), lat0.take(owner), dx.take(owner), dy.take(owner)
        p, q = dx_ * (ay - y0), dy_ * (ax - x0)
        a = p - q
        unsure = np.abs(a) <= Bands.UNSURE * (np.abs(p) + np.abs(q))
        p, q = dx_ * (by - y0), dy_ * (bx - x0)
        b = p - q
        unsure |= np.abs(b) <= Bands.UNSURE * (np.abs(p) + np.abs(q))
        other = (a > 0.0) != (b > 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            s = a / (a - b)
            t = np.where(
                np.abs(dx_) >= np.abs(dy_), (ax + s * (bx - ax) - x0) / dx_, (ay + s * (by - ay) - y0) / dy_
            )
            unsure |= other & ((np.abs(t) <= 1e-9) | (np.abs(t - 1.0) <= 1e-9))
            found = (other & (t > 0.0) & (t < 1.0)).nonzero()[0]
        bad = np.zeros(len(lon0), np.bool_)
        bad[owner[unsure]] = True
        owner, t = owner.take(found), t.take(found)
        count = np.bincount(owner, minlength=len(lon0))
        bad |= count % 2 == 0  # both ends are on the same side: not the question
        out = np.full(len(lon0), np.nan)
        out[owner] = t
        more = ((count > 1) & ~bad).nonzero()[0]
        if len(more):
            several = (count.take(owner) > 1).nonzero()[0]  # of one pair they are neighbours
            owner, t = owner.take(several), t.take(several)
            order = np.lexsort((t, owner))
            t = t.take(order)
            close = (owner[1:] == owner[:-1]) & (t[1:] - t[:-1] <= _APART)
            bad[owner[1:][close]] = True
            first = owner.searchsorted(more)
            out[more] = t.take(np.where(leaving.take(more), first, first + count.take(more) - 1))
        out[bad] = np.nan
        return out


def metric_of(fence: Fence) -> Metric:
    """The metric by which it is told how near a place is to a polygon's border: that about its middle."""
    west, south, east, north = fence.bounds
    return Metric.at((west + east) / 2.0, (south + north) / 2.0)


def beside_edges(
    edges: tuple[F64, F64, F64, F64] | F64, x: F64, y: F64, kx: F64, ky: F64, within_m: float | F64
) -> NDArray[np.bool_]:
    """Which places lie nearer to the edge beside them than a distance.

    Args:
        edges: ax, bx, ay, by, degrees, each float64[n]; no edge has length 0.
        x, y: the places, degrees.
        kx, ky: metres a degree.
        within_m: metres.
    """
    ax, bx, ay, by = edges
    dx, dy = (bx - ax) * kx, (by - ay) * ky
    ax, ay = (ax - x) * kx, (ay - y) * ky
    t = np.minimum(np.maximum(-(ax * dx + ay * dy) / (dx * dx + dy * dy), 0.0), 1.0)
    px, py = ax + t * dx, ay + t * dy
    return np.asarray(px * px + py * py < within_m * within_m)


def _all_edges(fences: Sequence[Fence]) -> tuple[I64, F64]:
    """The edges of all fences, as `polygon_edges` gives those of one: (owner, float64[n, 4])."""
    parts, part_of = shapely.get_parts([fence.geometry for fence in fences], return_index=True)
    rings, ring_of = shapely.get_rings(parts, return_index=True)
    coords, ring = shapely.get_coordinates(rings, return_index=True)
    edges = np.hstack([coords[:-1], coords[1:]])
    keep = ring[1:] == ring[:-1]
    keep &= (edges[:, 0] != edges[:, 2]) | (edges[:, 1] != edges[:, 3])
    return part_of[ring_of[ring[:-1][keep]]].astype(np.int64), edges[keep]


def _band(lat: F64, south: F64, scale: F64, last: F64 | I64) -> I64:
    place = (lat - south) * scale
    return np.minimum(np.maximum(place, 0.0), last).astype(np.int64)


def _edges(rows: NDArray[np.void]) -> F64:
    """Edges as columns: float64[4, n], named by `_EDGE`."""
    return np.ascontiguousarray(rows.view(np.float64).reshape(-1, 4).T)


def _near_circle(rows: F64, lon: F64, lat: F64, within_m: float | F64) -> NDArray[np.bool_]:
    *fields, _, radius_m = rows
    metric = Metric(*fields)
    return np.asarray(np.abs(np.sqrt(metric.distance2_m2(lon, lat)) - radius_m) < within_m)


def _circle(rows: F64, leaving: NDArray[np.bool_], lon0: F64, lat0: F64, lon1: F64, lat1: F64) -> F64:
    """As `circle_intervals` for a segment with one end inside; NaN for the others."""
    *fields, r2, _ = rows
    metric = Metric(*fields)
    starts = metric.distance2_m2(lon0, lat0) <= r2
    ends = metric.distance2_m2(lon1, lat1) <= r2
    asked = (starts != ends) & (starts == leaving)
    if not asked.all():
        out = np.full(len(lon0), np.nan)
        at = asked.nonzero()[0]
        if len(at):
            some = (column.take(at) for column in (leaving, lon0, lat0, lon1, lat1))
            out[at] = _circle(np.ascontiguousarray(rows[:, at]), *some)
        return out
    away, low = np.where(leaving, 1.0, 0.0), np.where(leaving, 0.0, 1.0)
    return circle_roots(metric, r2, lon0 - metric.lon, lat0 - metric.lat, lon1 - lon0, lat1 - lat0, away, low)
