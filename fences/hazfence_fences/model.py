"""What a fence is: an immutable area on the WGS-84 ellipsoid with its kind, limits, hours and version.

`Fence` answers every question about ONE fence (is a place in it, where does a segment cross it, how far away
is it, is it in force now). Reading fences from files is `geojson`; asking many fences at once is `fenceset`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from math import isfinite, sqrt
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Point, Polygon

from hazfence_fences.datum import Datum
from hazfence_fences.errors import FenceError
from hazfence_fences.metric import Metric
from hazfence_fences.schedule import Schedule
from hazfence_fences.segments import Bands, Intervals, circle_intervals, polygon_edges, polygon_intervals

__all__ = [
    "CIRCLE_POINTS",
    "MAX_RADIUS_M",
    "MAX_WIDTH_M",
    "Fence",
    "FenceKind",
    "circle",
    "corridor",
    "fence_key",
]

# Points of the polygon a circle is drawn and stored as; verdicts use the true circle.
CIRCLE_POINTS = 128
# Where the metric of circles is still within a millimetre in a hundred metres; larger areas are polygons.
MAX_RADIUS_M = 50_000.0
MAX_WIDTH_M = 20_000.0
_MAX_CIRCLE_LAT = 85.0


class FenceKind(StrEnum):
    """What a fence is for. The engine's rules look at this; limits apply to every kind."""

    DISTRICT = "district"
    CHECKPOINT = "checkpoint"
    RESTRICTED = "restricted"
    CORRIDOR = "corridor"
    PARKING = "parking"
    ZONE = "zone"


def fence_key(fence_id: str) -> int:
    """The 64-bit key of a fence id: the same in every process, never 0.

    A set of fences is known by the sum (modulo 2**64) of its fences' keys; the empty set by 0.
    """
    try:
        name = fence_id.encode()
    except UnicodeEncodeError:
        raise FenceError(
            "id holds half of a surrogate pair", fence_id=fence_id, mend="use whole characters"
        ) from None
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little") or 1


@dataclass(frozen=True, slots=True)
class Fence:
    """One fence. Build it with `parse_fences`, `load_fences`, `circle`, `corridor`, or from a valid polygon.

    Attributes:
        id: unique in its set; what events name.
        kind: what it is for.
        geometry: Polygon or MultiPolygon, WGS-84 degrees, valid. A circle's is a fine polygon for drawing and
            for the database (verdicts use centre and radius); a corridor's is the buffered line, and is what
            counts.
        name: for people.
        shape: what it was declared as.
        centre: (lon, lat) in degrees, circles only.
        radius_m: metres, circles only.
        axis: LineString in WGS-84 degrees, corridors only.
        width_m: full width in metres, corridors only.
        datum: what the coordinates were declared in before they became WGS-84.
        speed_limit_kmh: km/h, or None for no limit.
        max_stay_min: minutes, or None for no limit.
        schedule: hours in force, or None for always.
        valid_from_us, valid_to_us: microseconds UTC, from inclusive to exclusive, or None for open.
        version: 1, 2, ... ; events name the version they were judged by.
        thin: whether segments between fixes are tested against it; by default checkpoints.
        notes: repairs made on reading, and labels such as "invented".
        properties: what else the GeoJSON feature carried.
        key: see `fence_key`.
    """

    id: str
    kind: FenceKind
    geometry: Polygon | MultiPolygon
    name: str = ""
    shape: Literal["polygon", "circle", "corridor"] = "polygon"
    centre: tuple[float, float] | None = None
    radius_m: float | None = None
    axis: LineString | None = None
    width_m: float | None = None
    datum: Datum = Datum.WGS84
    speed_limit_kmh: float | None = None
    max_stay_min: float | None = None
    schedule: Schedule | None = None
    valid_from_us: int | None = None
    valid_to_us: int | None = None
    version: int = 1
    thin: bool | None = None  # None: by kind; a bool after construction
    notes: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    key: int = field(init=False, compare=False)
    _radius2_m2: float = field(init=False, repr=False, compare=False)
    _metric: Metric | None = field(init=False, repr=False, compare=False)
    _cache: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise FenceError("has no id", mend="give every fence a non-empty 'id'")
        put = object.__setattr__
        put(self, "kind", FenceKind(self.kind))
        put(self, "thin", self.kind is FenceKind.CHECKPOINT if self.thin is None else bool(self.thin))
        put(self, "key", fence_key(self.id))
        put(self, "_radius2_m2", (self.radius_m or 0.0) * (self.radius_m or 0.0))
        put(self, "_metric", None)
        put(self, "_cache", {})
        self._check()
        if self.shape == "circle":
            assert self.centre is not None
            put(self, "_metric", Metric.at(*self.centre))
        shapely.prepare(self.geometry)

    def _check(self) -> None:
        """Refuse what would make wrong verdicts; files are repaired before they come here."""
        geometry = self.geometry
        if not isinstance(geometry, Polygon | MultiPolygon) or geometry.is_empty:
            raise FenceError(
                f"geometry is {getattr(geometry, 'geom_type', type(geometry).__name__)}, not an area",
                fence_id=self.id,
                mend="give a Polygon or MultiPolygon, or use circle() or corridor()",
            )
        if not shapely.is_valid(geometry):
            raise FenceError(
                f"geometry is invalid: {shapely.is_valid_reason(geometry)}",
                fence_id=self.id,
                mend="repair it with shapely.make_valid, or read it with parse_fences, which does",
            )
        west, south, east, north = geometry.bounds
        if west < -180 or east > 180 or south < -90 or north > 90:
            place = (west if west < -180 else east, south if south < -90 else north)
            raise FenceError(
                "geometry leaves longitude -180..180, latitude -90..90",
                fence_id=self.id,
                place=place,
                mend="use degrees, longitude first, and cut the area at the antimeridian (RFC 7946 3.1.9)",
            )
        if (self.shape == "circle") != (self.centre is not None and self.radius_m is not None):
            raise FenceError(
                "a circle has centre and radius_m, nothing else has", fence_id=self.id, mend="use circle()"
            )
        if (self.shape == "corridor") != (self.axis is not None and self.width_m is not None):
            raise FenceError(
                "a corridor has axis and width_m, nothing else has", fence_id=self.id, mend="use corridor()"
            )
        for label, value in (("speed_limit_kmh", self.speed_limit_kmh), ("max_stay_min", self.max_stay_min)):
            if value is not None and not (isfinite(value) and value > 0):
                raise FenceError(
                    f"{label} is {value!r}", fence_id=self.id, mend="give a number above 0, or leave it out"
                )
        if self.version < 1:
            raise FenceError(f"version is {self.version!r}", fence_id=self.id, mend="count versions from 1")
        start, end = self.valid_from_us, self.valid_to_us
        if start is not None and end is not None and start >= end:
            raise FenceError(
                "valid_from is not before valid_to", fence_id=self.id, mend="swap or correct them"
            )

    def covers(self, lon: float, lat: float) -> bool:
        """Whether a place (degrees WGS-84) is in the closed fence (its boundary belongs to it: ST_Covers)."""
        if self._metric is not None:
            return bool(self._metric.distance2_m2(lon, lat) <= self._radius2_m2)
        return bool(shapely.intersects_xy(self.geometry, lon, lat))

    def covers_many(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """`covers` for float64[n] arrays of degrees: bool[n]."""
        if self._metric is not None:
            return np.asarray(self._metric.distance2_m2(lon, lat) <= self._radius2_m2)
        return np.asarray(shapely.intersects_xy(self.geometry, lon, lat))

    def intervals(self, lon0: float, lat0: float, lon1: float, lat1: float) -> Intervals:
        """The parts of a straight lon/lat segment that lie in the closed fence.

        Args:
            lon0, lat0, lon1, lat1: the segment's ends, degrees WGS-84.

        Returns:
            Sorted, disjoint, maximal (a, b) with 0 <= a <= b <= 1, fractions of the segment from its first
            end; a == b where it only touches. A segment of no length gives [(0, 1)] or []. An interval starts
            at 0 exactly when the first end is covered, and ends at 1 exactly when the second is.

        Example:
            >>> circle("cp", FenceKind.CHECKPOINT, 121.6, 29.9, 150.0).intervals(121.59, 29.9, 121.61, 29.9)
            [(0.42..., 0.57...)]
        """
        if self._metric is not None:
            assert self.radius_m is not None
            return circle_intervals(self._metric, self.radius_m, lon0, lat0, lon1, lat1)
        return polygon_intervals(self.geometry, self.edges(), lon0, lat0, lon1, lat1)

    def only_crossing(self, lon0: float, lat0: float, lon1: float, lat1: float) -> float | None:
        """The fraction at which a segment crosses the boundary, if it certainly does so just once.

        Much quicker than `intervals` for a short segment and a polygon with many edges.

        Returns:
            The fraction, equal to the one `intervals` gives; None for a circle, when the segment crosses more
            or less often, or when rounding could hide the answer: then ask `intervals`.
        """
        if self._metric is not None:
            return None
        bands: Bands | None = self._cache.get("bands")
        if bands is None:
            bands = self._cache["bands"] = Bands(self.edges())
        return bands.only_crossing(lon0, lat0, lon1, lat1)

    def distance_m(self, lon: float, lat: float) -> float:
        """Metres from a place (degrees WGS-84) to the fence, 0 inside; within 0.1 % up to 50 km."""
        if self._metric is not None:
            return max(0.0, self._metric.distance_m(lon, lat) - self.radius_m)  # type: ignore[operator]
        return 0.0 if self.covers(lon, lat) else self.boundary_distance_m(lon, lat)

    def boundary_distance_m(self, lon: float, lat: float) -> float:
        """Metres from a place (degrees WGS-84) to the fence's boundary, from either side."""
        if self._metric is not None:
            return abs(self._metric.distance_m(lon, lat) - self.radius_m)  # type: ignore[operator]
        ax, ay, bx, by = self.edges().T
        metric = Metric.at(lon, lat)
        # The nearest place of each edge, with the degrees' lengths of here; then its distance in the metric.
        # Edges are straight in degrees: between projected ends a long edge would pass elsewhere.
        dx, dy = (bx - ax) * metric.kx0, (by - ay) * metric.ky0
        along = (lon - ax) * metric.kx0 * dx + (lat - ay) * metric.ky0 * dy
        t = np.clip(along / (dx * dx + dy * dy), 0.0, 1.0)
        near2 = metric.distance2_m2(ax + t * (bx - ax), ay + t * (by - ay))
        return sqrt(float(np.min(near2)))

    def edges(self) -> NDArray[np.float64]:
        """Edges of `geometry`, holes included: float64[n, 4] of lon0, lat0, lon1, lat1; not to be written."""
        known = self._cache.get("edges")
        if known is None:
            known = self._cache["edges"] = polygon_edges(self.geometry)
        return known

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """A (west, south, east, north) box in degrees that holds all of the fence, of true circles too."""
        if self._metric is not None:
            half_w, half_h = self._metric.half_box_deg(self.radius_m)  # type: ignore[arg-type]
            lon, lat = self._metric.lon, self._metric.lat
            return lon - half_w, lat - half_h, lon + half_w, lat + half_h
        return self.geometry.bounds  # type: ignore[no-any-return]

    @property
    def edge_count(self) -> int:
        """How many edges its geometry has, about: what it costs an index."""
        return int(shapely.get_num_coordinates(self.geometry))

    @property
    def metric(self) -> Metric | None:
        """The metric about a circle's centre; None for polygons and corridors."""
        return self._metric

    @property
    def timed(self) -> bool:
        """Whether it is ever out of force: it has a schedule or a validity."""
        return self.schedule is not None or self.valid_from_us is not None or self.valid_to_us is not None

    def in_force(self, time_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the fence is in force at each moment (int64[n] microseconds UTC): bool[n]."""
        time_us = np.asarray(time_us, dtype=np.int64)
        out = np.ones(time_us.shape, bool) if self.schedule is None else self.schedule.in_force(time_us)
        if self.valid_from_us is not None:
            out &= time_us >= self.valid_from_us
        if self.valid_to_us is not None:
            out &= time_us < self.valid_to_us
        return out

    def next_change(self, time_us: int) -> int | None:
        """The next moment (us UTC) after `time_us` at which `in_force` may flip; None if it never will."""
        moments = [m for m in (self.valid_from_us, self.valid_to_us) if m is not None and m > time_us]
        if self.schedule is not None:
            change = self.schedule.next_change(time_us)
            moments += [] if change is None else [change]
        return min(moments, default=None)

    @property
    def digest(self) -> bytes:
        """16 bytes that change with id, version, and all that decides where the fence is or what it asks."""
        known = self._cache.get("digest")
        if known is None:
            h = blake2b(digest_size=16)
            h.update(repr((self.id, self.version, self.shape, self.centre, self.radius_m)).encode())
            hours = self.schedule
            # Sorted, since the order of a set of dates is another in every process.
            when = hours and (hours.tz, hours.windows, hours.dates, sorted(hours.excepted))
            asks = (self.kind.value, self.thin, self.speed_limit_kmh, self.max_stay_min)
            h.update(repr((*asks, when, self.valid_from_us, self.valid_to_us)).encode())
            # As JSON: the order of a database's keys is not that of a file.
            h.update(json.dumps(self.properties, sort_keys=True, default=str).encode())
            h.update(shapely.to_wkb(self.geometry, byte_order=1))
            known = self._cache["digest"] = h.digest()
        return known

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __repr__(self) -> str:
        size = {
            "circle": f"circle of {self.radius_m:g} m at ({self.centre[0]:.5f}, {self.centre[1]:.5f})"
            if self.centre is not None
            else "",
            "corridor": f"corridor of {self.width_m or 0:g} m",
            "polygon": f"{self.geometry.geom_type} of {shapely.get_num_coordinates(self.geometry)} points",
        }[self.shape]
        return f"<Fence {self.id!r} {self.kind} v{self.version}: {size}>"


def circle(fence_id: str, kind: FenceKind, lon: float, lat: float, radius_m: float, **more: Any) -> Fence:
    """A circular fence about (lon, lat), degrees WGS-84; `more` are further fields of `Fence`.

    Raises:
        FenceError: a radius not in 0..MAX_RADIUS_M, a centre too near a pole, or a circle over the
        antimeridian.
    """
    where: dict[str, Any] = {"fence_id": fence_id, "place": (lon, lat)}
    if not 0 < radius_m <= MAX_RADIUS_M:
        raise FenceError(
            f"radius_m is {radius_m!r}",
            **where,
            mend=f"give metres, above 0 and at most {MAX_RADIUS_M:g}; draw larger areas as polygons",
        )
    if not (isfinite(lon) and isfinite(lat) and abs(lon) <= 180 and abs(lat) <= _MAX_CIRCLE_LAT):
        raise FenceError(
            "circle's centre is out of range",
            **where,
            mend=f"use degrees, longitude first, latitude within {_MAX_CIRCLE_LAT:g}",
        )
    metric = Metric.at(lon, lat)
    if abs(lon) + metric.half_box_deg(radius_m)[0] > 180:
        raise FenceError(
            "circle spans the antimeridian",
            **where,
            mend="draw a MultiPolygon cut at 180 degrees (RFC 7946 3.1.9)",
        )
    polygon = Polygon(metric.ring(radius_m, CIRCLE_POINTS))
    return Fence(fence_id, kind, polygon, shape="circle", centre=(lon, lat), radius_m=radius_m, **more)


def corridor(fence_id: str, kind: FenceKind, axis: LineString, width_m: float, **more: Any) -> Fence:
    """A fence of all places within half of `width_m` of a line (degrees WGS-84); `more`: `Fence` fields.

    The line is buffered, with round ends, in a transverse Mercator projection about its middle: within a part
    in a thousand of the width for lines up to 500 km. The resulting polygon is the fence.

    Raises:
        FenceError: a width not in 0..MAX_WIDTH_M, a line without length or over the antimeridian.
    """
    if not 0 < width_m <= MAX_WIDTH_M:
        raise FenceError(
            f"width_m is {width_m!r}",
            fence_id=fence_id,
            mend=f"give metres, above 0 and at most {MAX_WIDTH_M:g}",
        )
    if axis.is_empty or axis.length == 0:
        raise FenceError(
            "corridor's line has no length", fence_id=fence_id, mend="give at least two different points"
        )
    west, south, east, north = axis.bounds
    # Here and not above: it takes a sixth of the time that a process needs to start.
    import pyproj

    local = pyproj.Proj(proj="tmerc", lon_0=(west + east) / 2, lat_0=(south + north) / 2, ellps="WGS84")
    fine = shapely.segmentize(axis, 0.01)  # edges are straight in lon/lat; points every ~1 km keep them so
    flat = shapely.transform(fine, lambda xy: np.column_stack(local(xy[:, 0], xy[:, 1])))
    wide = shapely.buffer(flat, width_m / 2, quad_segs=16)
    area = shapely.transform(wide, lambda xy: np.column_stack(local(xy[:, 0], xy[:, 1], inverse=True)))
    if not shapely.is_valid(area):
        area = shapely.union_all(shapely.get_parts(shapely.make_valid(area)))
    west, _, east, _ = area.bounds
    if east - west > 180 or west < -180 or east > 180:
        place = Point(axis.coords[0])
        raise FenceError(
            "corridor spans the antimeridian",
            fence_id=fence_id,
            place=(place.x, place.y),
            mend="cut the line at 180 degrees into two fences",
        )
    return Fence(fence_id, kind, area, shape="corridor", axis=axis, width_m=width_m, **more)
