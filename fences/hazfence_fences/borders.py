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
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from hazfence_fences.index.raster import spread
from hazfence_fences.index.table import Pool
from hazfence_fences.metric import Metric
from hazfence_fences.model import Fence
from hazfence_fences.segments import Bands, circle_passages, circle_roots

__all__ = ["Borders"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

# A fence's border: a polygon's bands (where the entries of the lowest begin in `starts`, the number of the
# last one, its south, bands a degree, the metric about its middle), or a circle (last is -1) with its metric,
# squared radius and box.
_BORDER = np.dtype(
    [
        ("bands", "i8"),
        ("last", "i4"),
        ("south", "f8"),
        ("scale", "f8"),
        ("lon", "f8"),
        ("lat", "f8"),
        ("kx0", "f8"),
        ("kx1", "f8"),
        ("ky0", "f8"),
        ("ky1", "f8"),
        ("r2", "f8"),
        ("half_w", "f8"),
        ("half_h", "f8"),
    ]
)
# An edge within a band: the edge, the band, and the lowest band of the edge.
_ENTRY = np.dtype([("edge", "i4"), ("band", "i4"), ("first", "i4")])
# Crossings nearer to each other than this fraction of the segment are left to `intervals`.
_APART = 1e-9
# Pairs handled at a time, so that scratch arrays stay small.
_STEP = 32_768


class Borders:
    """The borders of fences by slot, read in as slots are added."""

    def __init__(self) -> None:
        self._border = Pool(_BORDER)
        self._edges = Pool(np.dtype([("ax", "f8"), ("ay", "f8"), ("bx", "f8"), ("by", "f8")]))
        self._entries = Pool(_ENTRY)
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
        border = np.zeros(len(new), _BORDER)
        border["last"] = -1
        for i, fence in enumerate(new):
            if fence.metric is not None:
                assert fence.radius_m is not None
                m = fence.metric
                r2 = fence.radius_m * fence.radius_m
                box = m.half_box_deg(fence.radius_m)
                border[i] = (0, -1, 0.0, 0.0, m.lon, m.lat, m.kx0, m.kx1, m.ky0, m.ky1, r2, *box)
        polygons = np.array([i for i, fence in enumerate(new) if fence.metric is None], np.int64)
        if len(polygons):
            self._read_polygons(border, polygons, [new[i] for i in polygons.tolist()])
        self._border.append(border)

    def _read_polygons(self, border: NDArray[np.void], which: I64, fences: Sequence[Fence]) -> None:
        owner, edges = _all_edges(fences)
        south, north = np.minimum(edges[:, 1], edges[:, 3]), np.maximum(edges[:, 1], edges[:, 3])
        count = np.bincount(owner, minlength=len(fences))
        first = np.cumsum(count) - count
        low, high = np.minimum.reduceat(south, first), np.maximum.reduceat(north, first)
        bands = np.clip(count // Bands.EDGES_A_BAND, 1, Bands.MOST_BANDS)
        scale = bands / np.maximum(high - low, 1e-12)
        begin = np.cumsum(bands) - bands
        lowest = _band(south, low[owner], scale[owner], bands[owner] - 1)
        highest = _band(north, low[owner], scale[owner], bands[owner] - 1)
        edge, band = spread(lowest, highest - lowest + 1)
        place = begin[owner[edge]] + band
        order = np.argsort(place, kind="stable")
        entries = np.empty(len(edge), _ENTRY)
        base = self._edges.append(np.ascontiguousarray(edges).view(self._edges.array.dtype).reshape(-1))
        entries["edge"] = edge[order] + base
        entries["band"] = band[order]
        entries["first"] = lowest[edge[order]]
        at = self._entries.append(entries)
        starts = np.searchsorted(place[order], np.arange(int(bands.sum()) + 1)) + at
        # One more start than bands: where the last one ends.
        border["bands"][which] = begin + self._starts.append(starts)
        border["last"][which] = bands - 1
        border["south"][which] = low
        border["scale"][which] = scale
        for i, fence in zip(which.tolist(), fences, strict=True):
            west, south_, east, north_ = fence.bounds
            middle = Metric.at((west + east) / 2.0, (south_ + north_) / 2.0)
            for name in Metric.__slots__:
                border[name][i] = getattr(middle, name)

    def crossings(
        self, slot: I32, leaving: NDArray[np.bool_], lon0: F64, lat0: F64, lon1: F64, lat1: F64
    ) -> F64:
        """See `FenceSet.crossings`; `slot` is the fence of each pair."""
        out = np.full(len(slot), np.nan)
        for a in range(0, len(slot), _STEP):
            part = slice(a, a + _STEP)
            border = self._border.array.take(slot[part])
            ways, ends = leaving[part], (lon0[part], lat0[part], lon1[part], lat1[part])
            round_ = border["last"] < 0
            for some, of in ((np.flatnonzero(round_), _circle), (np.flatnonzero(~round_), self._polygon)):
                if len(some):
                    some_ends = (end.take(some) for end in ends)
                    out[a + some] = of(border.take(some), ways.take(some), *some_ends)
        return out

    def passages(self, slot: I32, lon0: F64, lat0: F64, lon1: F64, lat1: F64) -> tuple[F64, F64]:
        """See `FenceSet.passages`; `slot` is the fence of each pair."""
        border = self._border.array.take(slot)
        metric, r2 = Metric(**_metric(border)), border["r2"]
        outside = (metric.distance2_m2(lon0, lat0) > r2) & (metric.distance2_m2(lon1, lat1) > r2)
        outside &= border["last"] < 0
        begin, end = np.full(len(slot), np.nan), np.full(len(slot), np.nan)
        at = np.flatnonzero(outside)
        border = border.take(at)
        metric, x0, y0 = Metric(**_metric(border)), lon0.take(at), lat0.take(at)
        begin[at], end[at] = circle_passages(
            metric,
            border["r2"],
            border["half_w"],
            border["half_h"],
            (x0 - metric.lon, y0 - metric.lat, lon1.take(at) - x0, lat1.take(at) - y0),
        )
        return begin, end

    def circles(self, slot: I32) -> tuple[Metric, F64]:
        """See `FenceSet.circles`; `slot` is each fence's."""
        border = self._border.array.take(slot)
        return Metric(**_metric(border)), np.sqrt(border["r2"])

    def near(self, slot: I32, lon: F64, lat: F64, within_m: float) -> NDArray[np.bool_]:
        """See `FenceSet.near_border`; `slot` is the fence of each pair."""
        border = self._border.array.take(slot)
        metric = Metric(**_metric(border))
        round_ = border["last"] < 0
        away_m = np.abs(np.sqrt(metric.distance2_m2(lon, lat)) - np.sqrt(border["r2"]))
        out = round_ & (away_m < within_m)
        at = np.flatnonzero(~round_)
        if not len(at):
            return np.asarray(out)
        border, x, y = border.take(at), lon.take(at), lat.take(at)
        kx, ky = border["kx0"] + border["kx1"] * (y - border["lat"]), border["ky0"]
        reach = within_m / ky * 1.01
        last = border["last"].astype(np.int64)
        low = _band(y - reach, border["south"], border["scale"], last)
        high = _band(y + reach, border["south"], border["scale"], last)
        begin = self._starts.array.take(border["bands"] + low)
        end = self._starts.array.take(border["bands"] + high + 1)
        owner, place = spread(begin, end - begin)
        e = self._edges.array.take(self._entries.array.take(place)["edge"])
        kx, ky = kx.take(owner), ky.take(owner)
        ax, ay = (e["ax"] - x.take(owner)) * kx, (e["ay"] - y.take(owner)) * ky
        dx, dy = (e["bx"] - e["ax"]) * kx, (e["by"] - e["ay"]) * ky
        t = np.minimum(np.maximum(-(ax * dx + ay * dy) / (dx * dx + dy * dy), 0.0), 1.0)
        px, py = ax + t * dx, ay + t * dy
        out[at[owner[px * px + py * py < within_m * within_m]]] = True
        return np.asarray(out)

    def _polygon(
        self,
        border: NDArray[np.void],
        leaving: NDArray[np.bool_],
        lon0: F64,
        lat0: F64,
        lon1: F64,
        lat1: F64,
    ) -> F64:
        """As `Bands.only_crossing`, pair by pair, but of several crossings the first or the last."""
        south, north = np.minimum(lat0, lat1), np.maximum(lat0, lat1)
        dx, dy = lon1 - lon0, lat1 - lat0
        west, east = np.where(dx >= 0.0, lon0, lon1), np.where(dx >= 0.0, lon1, lon0)
        last = border["last"].astype(np.int64)
        low = _band(south, border["south"], border["scale"], last)
        high = _band(north, border["south"], border["scale"], last)
        begin = self._starts.array.take(border["bands"] + low)
        end = self._starts.array.take(border["bands"] + high + 1)
        owner, at = spread(begin, end - begin)
        entry = self._entries.array.take(at)
        # An edge in several of the bands counts once, in the lowest of them.
        once = np.flatnonzero(entry["band"] == np.maximum(low.take(owner), entry["first"]))
        owner, edge = owner.take(once), entry["edge"].take(once)
        e = self._edges.array.take(edge)
        ax, ay, bx, by = e["ax"], e["ay"], e["bx"], e["by"]
        w, s_, o, n = west.take(owner), south.take(owner), east.take(owner), north.take(owner)
        beside = (
            ((ax < w) & (bx < w)) | ((ax > o) & (bx > o)) | ((ay < s_) & (by < s_)) | ((ay > n) & (by > n))
        )
        near = np.flatnonzero(~beside)
        owner = owner.take(near)
        ax, ay, bx, by = ax.take(near), ay.take(near), bx.take(near), by.take(near)
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
            found = np.flatnonzero(other & (t > 0.0) & (t < 1.0))
        bad = np.zeros(len(lon0), np.bool_)
        bad[owner[unsure]] = True
        owner, t = owner.take(found), t.take(found)
        count = np.bincount(owner, minlength=len(lon0))
        bad |= count % 2 == 0  # both ends are on the same side: not the question
        out = np.full(len(lon0), np.nan)
        if count.max(initial=0) > 1:
            order = np.lexsort((t, owner))
            owner, t = owner.take(order), t.take(order)
            close = (owner[1:] == owner[:-1]) & (t[1:] - t[:-1] <= _APART)
            bad[owner[1:][close]] = True
        first = np.flatnonzero(count)
        end = np.cumsum(count).take(first)
        if not count.max(initial=0) > 1:
            out[owner] = t
        else:
            out[first] = t.take(np.where(leaving.take(first), end - count.take(first), end - 1))
        out[bad] = np.nan
        return out


def _all_edges(fences: Sequence[Fence]) -> tuple[I64, F64]:
    """The edges of all fences, as `polygon_edges` gives those of one: (owner, float64[n, 4])."""
    parts, part_of = shapely.get_parts([fence.geometry for fence in fences], return_index=True)
    rings, ring_of = shapely.get_rings(parts, return_index=True)
    coords, ring = shapely.get_coordinates(rings, return_index=True)
    edges = np.hstack([coords[:-1], coords[1:]])
    keep = ring[1:] == ring[:-1]
    keep &= (edges[:, 0] != edges[:, 2]) | (edges[:, 1] != edges[:, 3])
    return part_of[ring_of[ring[:-1][keep]]].astype(np.int64), edges[keep]


def _band(lat: F64, south: F64, scale: F64, last: I64) -> I64:
    place = (lat - south) * scale
    return np.minimum(np.maximum(place, 0.0), last).astype(np.int64)


def _metric(border: NDArray[np.void]) -> dict[str, Any]:
    """The fields of the circles' metrics."""
    return {name: np.ascontiguousarray(border[name]) for name in Metric.__slots__}


def _circle(
    border: NDArray[np.void], leaving: NDArray[np.bool_], lon0: F64, lat0: F64, lon1: F64, lat1: F64
) -> F64:
    """As `circle_intervals` for a segment with one end inside; NaN for the others."""
    fields: Any = {
        name: np.ascontiguousarray(border[name]) for name in ("lon", "lat", "kx0", "kx1", "ky0", "ky1")
    }
    metric, r2 = Metric(**fields), border["r2"]
    starts = metric.distance2_m2(lon0, lat0) <= r2
    ends = metric.distance2_m2(lon1, lat1) <= r2
    out = np.full(len(lon0), np.nan)
    at = np.flatnonzero((starts != ends) & (starts == leaving))
    if len(at):
        fields = {name: column.take(at) for name, column in fields.items()}
        metric = Metric(**fields)
        x0, y0, inside = lon0.take(at), lat0.take(at), starts.take(at)
        u, v = x0 - metric.lon, y0 - metric.lat
        du, dv = lon1.take(at) - x0, lat1.take(at) - y0
        away, low = np.where(inside, 1.0, 0.0), np.where(inside, 0.0, 1.0)
        out[at] = circle_roots(metric, r2.take(at), u, v, du, dv, away, low)
    return out
