"""Fences from GeoJSON (RFC 7946), repaired where that is safe and refused where it is not.

A feature needs `id` and `kind` in its properties (a feature-level `id` will do). Polygon and MultiPolygon are
areas, Point with `radius_m` a circle, LineString with `width_m` a corridor. Further properties: `name`,
`datum`, `speed_limit_kmh`, `max_stay_min`, `schedule`, `valid_from`, `valid_to`, `version`, `thin`,
`invented`, `notes`; all else is kept in `Fence.properties`. The datum is the feature's `datum`, or the
collection's, or WGS-84; a pre-RFC `crs` member is obeyed when it names WGS-84 or CGCS2000 and refused
otherwise.

Places in messages are in the datum of the file, so that its author finds them.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Polygon, mapping

from hazfence_fences.datum import Datum, to_wgs84
from hazfence_fences.errors import FenceError
from hazfence_fences.fenceset import FenceSet
from hazfence_fences.model import Fence, FenceKind, circle, corridor
from hazfence_fences.schedule import Schedule

__all__ = ["load_fences", "parse_fences", "to_feature"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECLARED = ("id", "name", "kind", "datum", "declared_datum", "radius_m", "width_m", "version", "thin")
_LIMITS = ("speed_limit_kmh", "max_stay_min", "schedule", "valid_from", "valid_to")
_KNOWN = frozenset((*_DECLARED, *_LIMITS, "invented", "notes"))
_CRS = {
    "urn:ogc:def:crs:OGC:1.3:CRS84": Datum.WGS84,
    "urn:ogc:def:crs:OGC::CRS84": Datum.WGS84,
    "urn:ogc:def:crs:EPSG::4326": Datum.WGS84,
    "EPSG:4326": Datum.WGS84,
    "urn:ogc:def:crs:EPSG::4490": Datum.CGCS2000,
    "EPSG:4490": Datum.CGCS2000,
}
# Under a hundredth of a square metre a part left by a repair is a seam of rounding, not a place.
_SLIVER_DEG2 = 1e-12
_LARGEST = sys.float_info.max
_CUT = "cut it at 180 degrees into the parts of a MultiPolygon (RFC 7946 3.1.9)"


def load_fences(path: str | os.PathLike[str]) -> FenceSet:
    """Read a .geojson file, or all .geojson files of a folder in the order of their names.

    Raises:
        FenceError: naming file, feature, place and mend; also when there is no file or no fence, or an id
            twice.
        OSError: the file cannot be read.
    """
    where = Path(path)
    files = sorted(p for p in where.iterdir() if p.suffix == ".geojson") if where.is_dir() else [where]
    if not files:
        raise FenceError(
            "no .geojson file in this folder", source=str(where), mend="name a file or folder that has fences"
        )
    fences: list[Fence] = []
    owner: dict[str, str] = {}
    for file in files:
        try:
            obj = json.loads(file.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise FenceError(
                f"is not UTF-8 (byte {error.start})", source=str(file), mend="save it as UTF-8"
            ) from None
        except json.JSONDecodeError as error:
            raise FenceError(
                f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
                source=str(file),
                mend="correct it there",
            ) from None
        for fence in parse_fences(obj, source=str(file)):
            if fence.id in owner:
                raise FenceError(
                    f"id is used in {owner[fence.id]} already",
                    source=str(file),
                    fence_id=fence.id,
                    mend="give every fence its own id",
                )
            owner[fence.id] = str(file)
            fences.append(fence)
    if not fences:
        raise FenceError("has no feature", source=str(where), mend="put at least one fence in it")
    return FenceSet(fences)


def parse_fences(obj: Mapping[str, Any], *, source: str) -> list[Fence]:
    """The fences of a GeoJSON FeatureCollection or Feature.

    Args:
        obj: the parsed JSON.
        source: what messages call it, usually the file name.

    Returns:
        The fences in the order of their features, in WGS-84; what was repaired stands in `Fence.notes`.

    Raises:
        FenceError: naming source, feature, place and mend.
    """
    kind = obj.get("type") if isinstance(obj, Mapping) else None
    if kind == "Feature":
        features: Any = [obj]
    elif kind == "FeatureCollection" and isinstance(obj.get("features"), list):
        features = obj["features"]
    else:
        raise FenceError(
            "is no GeoJSON FeatureCollection or Feature", source=source, mend="wrap the geometry in a Feature"
        )
    default = _collection_datum(obj, source)
    fences: list[Fence] = []
    seen: dict[str, int] = {}
    for i, feature in enumerate(features):
        fence_id = _feature_id(feature)
        try:
            fence = _fence(feature, default)
        except FenceError as error:
            raise error.located(source=source, feature=i, fence_id=fence_id) from None
        if fence.id in seen:
            raise FenceError(
                f"id is used by feature {seen[fence.id]} already",
                source=source,
                feature=i,
                fence_id=fence.id,
                mend="give every fence its own id",
            )
        seen[fence.id] = i
        fences.append(fence)
    return fences


def to_feature(fence: Fence) -> dict[str, Any]:
    """A GeoJSON Feature, in WGS-84, that `parse_fences` reads back as an equal fence."""
    if fence.centre is not None:
        geometry: Any = {"type": "Point", "coordinates": list(fence.centre)}
    else:
        geometry = json.loads(json.dumps(mapping(fence.geometry if fence.axis is None else fence.axis)))
    properties: dict[str, Any] = {
        **fence.properties,
        "id": fence.id,
        "kind": str(fence.kind),
        "datum": str(Datum.WGS84),
        "declared_datum": str(fence.datum),
        "name": fence.name or None,
        "radius_m": fence.radius_m,
        "width_m": fence.width_m,
        "speed_limit_kmh": fence.speed_limit_kmh,
        "max_stay_min": fence.max_stay_min,
        "schedule": None if fence.schedule is None else fence.schedule.to_json(),
        "valid_from": _iso(fence.valid_from_us),
        "valid_to": _iso(fence.valid_to_us),
        "version": fence.version,
        "thin": fence.thin,
        "notes": list(fence.notes) or None,
    }
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {key: value for key, value in properties.items() if value is not None},
    }


def _collection_datum(obj: Mapping[str, Any], source: str) -> Datum:
    crs = obj.get("crs")
    if crs is not None:
        name = crs.get("properties") if isinstance(crs, Mapping) else crs
        if isinstance(name, Mapping):
            name = name.get("name")
        if not isinstance(name, str) or name not in _CRS:
            raise FenceError(
                f"has crs {name!r}",
                source=source,
                mend="reproject to longitude/latitude in WGS-84 (EPSG:4326) and drop 'crs'",
            )
        return _CRS[name]
    try:
        return Datum.parse(obj.get("datum") or Datum.WGS84)
    except (ValueError, AttributeError) as error:
        raise FenceError(str(error), source=source) from None


def _feature_id(feature: Any) -> str | None:
    if not isinstance(feature, Mapping):
        return None
    properties = feature.get("properties")
    found = properties.get("id") if isinstance(properties, Mapping) else None
    found = feature.get("id") if found is None else found
    return (
        str(found) if isinstance(found, str | int) and not isinstance(found, bool) and found != "" else None
    )


def _fence(feature: Any, default: Datum) -> Fence:
    """One feature as a fence; the errors know neither file nor feature yet."""
    if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
        raise FenceError(
            "is not a GeoJSON Feature", mend="make it {'type': 'Feature', 'properties': ..., 'geometry': ...}"
        )
    properties = feature.get("properties") or {}
    if not isinstance(properties, Mapping):
        raise FenceError(
            f"properties are {type(properties).__name__}", mend="make them an object with 'id' and 'kind'"
        )
    fence_id = _feature_id(feature)
    if fence_id is None:
        raise FenceError("has no id", mend="give it a property 'id', a string that stays the same")
    kind = _kind(properties)
    try:
        declared = properties.get("datum")
        datum = default if declared is None else Datum.parse(declared)
        original = Datum.parse(properties.get("declared_datum") or datum)
    except (ValueError, AttributeError) as error:
        raise FenceError(str(error)) from None
    notes = [str(note) for note in properties.get("notes") or ()]
    if properties.get("invented") and "invented" not in notes:
        notes.insert(0, "invented")
    fields: dict[str, Any] = {
        "name": str(properties.get("name") or ""),
        "datum": original,
        "speed_limit_kmh": _number(properties, "speed_limit_kmh"),
        "max_stay_min": _number(properties, "max_stay_min"),
        "schedule": _schedule(properties),
        "valid_from_us": _moment(properties, "valid_from"),
        "valid_to_us": _moment(properties, "valid_to"),
        "version": _version(properties),
        "thin": _flag(properties, "thin"),
        "properties": {k: v for k, v in properties.items() if k not in _KNOWN},
    }
    geometry = feature.get("geometry")
    if not isinstance(geometry, Mapping) or not isinstance(geometry.get("type"), str):
        raise FenceError(
            "has no geometry",
            mend="give it a Polygon, MultiPolygon, Point with radius_m or LineString with width_m",
        )
    shape, coordinates = geometry["type"], geometry.get("coordinates")
    radius, width = _number(properties, "radius_m"), _number(properties, "width_m")
    if (radius is not None) != (shape == "Point"):
        raise FenceError(
            f"{shape} {'with' if radius is not None else 'without'} radius_m",
            mend="a circle is a Point with radius_m in metres",
        )
    if (width is not None) != (shape == "LineString"):
        raise FenceError(
            f"{shape} {'with' if width is not None else 'without'} width_m",
            mend="a corridor is a LineString with width_m in metres",
        )
    if shape == "Point":
        xy = _positions([coordinates], notes)
        lon, lat = to_wgs84(xy[:, 0], xy[:, 1], datum)
        assert radius is not None
        return circle(fence_id, kind, float(lon[0]), float(lat[0]), radius, notes=tuple(notes), **fields)
    if shape == "LineString":
        xy = _positions(coordinates, notes)
        if len(xy) < 2:
            raise FenceError(f"line has {len(xy)} points", mend="give it at least two different points")
        _no_leap(xy)
        assert width is not None
        axis = LineString(np.column_stack(to_wgs84(xy[:, 0], xy[:, 1], datum)))
        return corridor(fence_id, kind, axis, width, notes=tuple(notes), **fields)
    if shape not in ("Polygon", "MultiPolygon"):
        raise FenceError(
            f"geometry is a {shape}",
            mend="a fence is a Polygon, MultiPolygon, Point with radius_m or LineString with width_m",
        )
    area = _area([coordinates] if shape == "Polygon" else coordinates, datum, notes)
    return Fence(fence_id, kind, area, notes=tuple(notes), **fields)


def _area(polygons: Any, datum: Datum, notes: list[str]) -> Polygon | MultiPolygon:
    """Coordinates of a MultiPolygon as a valid geometry in WGS-84; repairs are noted."""
    if not isinstance(polygons, list) or not polygons:
        raise FenceError("polygon has no coordinates", mend="give it at least one ring of 4 points")
    drawn: list[Polygon] = []
    for rings in polygons:
        if not isinstance(rings, list) or not rings:
            raise FenceError("polygon has no ring", mend="give it at least one ring of 4 points")
        plain = [_ring(ring, notes) for ring in rings]
        drawn.append(Polygon(plain[0], plain[1:]))
    area: Any = drawn[0] if len(drawn) == 1 else MultiPolygon(drawn)
    # First mended as drawn, where a line that runs there and back is exactly that; then turned into WGS-84,
    # where rounding may (very rarely) make two touching lines cross.
    area = _mended(area, notes)
    if datum in (Datum.GCJ02, Datum.BD09):
        area = shapely.transform(area, lambda xy: np.column_stack(to_wgs84(xy[:, 0], xy[:, 1], datum)))
        area = _mended(area, notes)
    return area


def _mended(area: Any, notes: list[str]) -> Any:
    if shapely.is_valid(area):
        return area
    what, place = _reason(shapely.is_valid_reason(area))
    mended: Any = shapely.make_valid(area)
    parts = [p for p in shapely.get_parts(shapely.get_parts(mended)) if p.geom_type == "Polygon"]
    parts = [p for p in parts if p.area > _SLIVER_DEG2]
    if not parts:
        raise FenceError(
            f"area is invalid ({what}) and nothing of it can be kept",
            place=place,
            mend="draw it anew as a simple polygon",
        )
    out = parts[0] if len(parts) == 1 else MultiPolygon(parts)
    if not shapely.is_valid(out):
        out = shapely.union_all(parts)
    at = "" if place is None else f" at ({place[0]:.9g}, {place[1]:.9g})"
    notes.append(
        f"repaired: {what}{at}; kept {len(parts)} polygon{'s' if len(parts) > 1 else ''} of what it encloses"
    )
    return out


def _reason(text: str) -> tuple[str, tuple[float, float] | None]:
    match = re.fullmatch(r"(.*)\[(\S+) (\S+)\]", text)
    return (match[1].lower(), (float(match[2]), float(match[3]))) if match else (text.lower(), None)


def _ring(ring: Any, notes: list[str]) -> NDArray[np.float64]:
    xy = _positions(ring, notes)
    if len(xy) >= 3 and (xy[0] != xy[-1]).any():
        xy = np.concatenate([xy, xy[:1]])
        note = "repaired: a ring was not closed"
        if note not in notes:
            notes.append(note)
    if len(xy) < 4:
        place = (float(xy[0, 0]), float(xy[0, 1])) if len(xy) else None
        raise FenceError(
            f"ring has {len(xy)} points",
            place=place,
            mend="a ring needs at least 4, the last equal to the first",
        )
    _no_leap(xy)
    return xy


def _no_leap(xy: NDArray[np.float64]) -> None:
    leap = np.abs(np.diff(xy[:, 0])) > 180
    if leap.any():
        x, y = xy[int(np.argmax(leap))].tolist()
        raise FenceError("spans the antimeridian", place=(x, y), mend=_CUT)


def _positions(coordinates: Any, notes: list[str]) -> NDArray[np.float64]:
    """Positions as float64[n, 2] in range; a height is dropped. The slow way only names the bad one."""
    try:
        array = np.array(coordinates)
    except ValueError:
        array = np.empty(0, dtype=object)  # of unequal lengths
    if array.ndim != 2 or array.dtype.kind not in "if" or array.shape[1] < 2:
        array = _positions_slowly(coordinates)
    elif array.shape[1] > 2:
        array = array[:, :2]
    xy = array.astype(np.float64)
    bad = ~((np.abs(xy[:, 0]) <= 180) & (np.abs(xy[:, 1]) <= 90))  # NaN is bad too
    if bad.any():
        n = int(np.argmax(bad))
        x, y = xy[n].tolist()
        mend = "use degrees, longitude first"
        if abs(x) > 180 and abs(y) <= 90 and abs(x) <= 360:
            mend += "; an area over the antimeridian: " + _CUT
        if abs(y) > 90 and abs(x) <= 90 and abs(y) <= 180:
            mend = "longitude comes first in GeoJSON: swap the two"
        if not (np.isfinite(x) and np.isfinite(y)):
            mend = "give two finite numbers, degrees, longitude first"
        raise FenceError(f"position {n} is out of range", place=(x, y), mend=mend)
    return xy


def _positions_slowly(coordinates: Any) -> NDArray[np.float64]:
    if not isinstance(coordinates, list):
        raise FenceError(
            f"coordinates are {type(coordinates).__name__}, not a list of positions", mend="see RFC 7946 3.1"
        )
    out: list[tuple[float, float]] = []
    for n, position in enumerate(coordinates):
        good = isinstance(position, list) and len(position) >= 2
        good = good and all(isinstance(v, int | float) and not isinstance(v, bool) for v in position[:2])
        good = good and not any(abs(v) > _LARGEST for v in position[:2])
        if not good:
            place = out[-1] if out else None
            told = json.dumps(position, ensure_ascii=False, default=str)
            told = told if len(told) <= 60 else told[:57] + "..."
            after = " (after the place named)" if place else ""
            raise FenceError(
                f"position {n} is {told}{after}",
                place=place,
                mend="a position is [longitude, latitude] in degrees",
            )
        out.append((float(position[0]), float(position[1])))
    return np.array(out, dtype=np.float64).reshape(-1, 2)


def _kind(properties: Mapping[str, Any]) -> FenceKind:
    told = properties.get("kind")
    try:
        return FenceKind(str(told))
    except ValueError:
        what = "has no kind" if told is None else f"kind is {told!r}"
        raise FenceError(what, mend=f"set 'kind' to one of {', '.join(FenceKind)}") from None


def _number(properties: Mapping[str, Any], key: str) -> float | None:
    value = properties.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LARGEST:
        raise FenceError(f"{key} is {value!r}", mend="give a number above 0, or leave it out")
    return float(value)


def _version(properties: Mapping[str, Any]) -> int:
    value = properties.get("version", 1)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise FenceError(f"version is {value!r:.40}", mend="count versions from 1")
    return value


def _flag(properties: Mapping[str, Any], key: str) -> bool | None:
    value = properties.get(key)
    if value is not None and not isinstance(value, bool):
        raise FenceError(f"{key} is {value!r}", mend="write true or false, or leave it out")
    return value


def _schedule(properties: Mapping[str, Any]) -> Schedule | None:
    value = properties.get("schedule")
    if value is None:
        return None
    try:
        return Schedule.parse(value)
    except ValueError as error:
        raise FenceError(str(error)) from None


def _moment(properties: Mapping[str, Any], key: str) -> int | None:
    value = properties.get(key)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise FenceError(
            f"{key} is {value!r}", mend="write date, time and zone, such as '2026-03-01T00:00:00+08:00'"
        )
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _iso(time_us: int | None) -> str | None:
    return None if time_us is None else (_EPOCH + timedelta(microseconds=time_us)).isoformat()
