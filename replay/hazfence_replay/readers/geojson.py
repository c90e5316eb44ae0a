"""GeoJSON, GeoJSON text sequences, MF-JSON and the worker's own JSON lines as batches of fixes.

You are among the track readers. A FeatureCollection is read feature by feature through a window on the
file, so that its size does not matter; a sequence (RFC 8142, or one feature a line) likewise. A feature is

* a ``Point`` with the time, and what else there is, among its properties;
* a ``LineString`` with a time a vertex, in ``properties.coordTimes``, ``properties.times`` or
  ``properties.coordinateProperties.times`` (as converters of GPX write them), or in
  ``properties.datetimes``: the MF-JSON Trajectory of OGC 19-045r3, clause 8;
* an MF-JSON feature with ``temporalGeometry`` of type ``MovingPoint`` (or a collection of them), of the
  same standard, clause 7: only its points are read, so there is no need of prisms and interpolation;
* an object as the worker takes it from its topic (``{"vehicle": ..., "time": ..., "lon": ...}``).

Next room: ``rows.py``, which checks each fix.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, BinaryIO

from hazfence.fixes import FixBatch
from hazfence_fences.datum import Datum
from hazfence_replay.readers.files import BROKEN, Item, Meter
from hazfence_replay.readers.options import ReadOptions
from hazfence_replay.readers.rejects import Rejects, TrackError, ZoneError
from hazfence_replay.readers.rows import Rows
from hazfence_replay.readers.shape import shape_of
from hazfence_replay.readers.times import NoZone, TimeReader

__all__ = ["GeoJsonReader"]

_WINDOW = 1 << 18
#: A feature longer than this is taken for one that does not end.
_LONGEST = 256 << 20
#: Sets of property names whose meaning is remembered; features of one file have one or two.
_SHAPES = 1000
_TIMES = ("coordTimes", "times", "datetimes")
#: What speeds are in, by the names that MF-JSON's ``form`` and ``uom`` use (UN/CEFACT codes and symbols).
_SPEEDS = {"KMH": 1.0, "KM/H": 1.0, "MTS": 3.6, "M/S": 3.6, "KNT": 1.852, "KT": 1.852}


class GeoJsonReader:
    """One file of features.

    Args:
        item: the file.
        options: datum, zone, names of properties...; see :class:`ReadOptions`.
        rejects: where broken features and points go.

    In the batches ``offset`` is the line of the file on which the feature begins, from 1, and ``item`` the
    place of the point in it.

    Raises (while iterating):
        TrackError: the file is no JSON of that kind, breaks off, or times need a zone.
    """

    def __init__(self, item: Item, options: ReadOptions, rejects: Rejects) -> None:
        self.source, self.rejects = item.name, rejects
        self._item, self._options = item, options
        self._meter: Meter | None = None
        self._times = TimeReader(options.tz, options.time_format)
        self._shapes: dict[tuple[str, ...], dict[str, str]] = {}

    @property
    def share(self) -> float | None:
        """How much of the file was read."""
        return 0.0 if self._meter is None else self._meter.share

    def __iter__(self) -> Iterator[FixBatch]:
        rows = Rows(self.source, self.rejects, self._times, self._options.datum)
        count = 0
        try:
            stream, self._meter = self._item.open()
            with closing(stream):
                for line, feature in _Objects(self.source, stream, rows):
                    count += 1
                    self._feature(feature, line, rows)
                    if len(rows) >= self._options.batch_fixes:
                        yield from self._cut(rows)
        except NoZone as error:
            raise ZoneError(f"{self.source}: {error}") from None
        except (UnicodeDecodeError, *BROKEN) as error:
            said = str(error) or type(error).__name__
            raise TrackError(f"{self.source}: cannot read on: {said}; is the file whole?") from error
        if not count and not len(self.rejects):
            raise TrackError(f"{self.source}: no feature in this file")
        yield from self._cut(rows)

    def _cut(self, rows: Rows) -> Iterator[FixBatch]:
        whole = rows.batch()
        for start in range(0, len(whole), self._options.batch_fixes):
            yield whole.take(slice(start, start + self._options.batch_fixes))

    def _feature(self, feature: Any, line: int, rows: Rows) -> None:
        if not isinstance(feature, dict):
            rows.lose(line, "no_feature", "not an object", _shown(feature))
            return
        properties = feature.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        if isinstance(moving := feature.get("temporalGeometry"), dict):
            self._moving(feature, properties, moving, line, rows)
            return
        geometry = feature.get("geometry")
        if "geometry" not in feature and "lon" in feature:
            self._point(feature, feature, line, rows)
            return
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        places = geometry.get("coordinates") if isinstance(geometry, dict) else None
        if kind == "Point" and isinstance(places, list) and len(places) >= 2:
            flat = {**properties, _LON: places[0], _LAT: places[1]}
            self._point(feature, flat, line, rows)
        elif kind == "LineString" and isinstance(places, list):
            self._line(feature, properties, places, line, rows)
        else:
            rows.lose(line, "no_track", f"geometry {kind} is no point or line with times", _shown(properties))

    def _point(self, feature: Mapping[str, Any], flat: Mapping[str, Any], line: int, rows: Rows) -> None:
        cells = self._cells(flat)
        if _LON in flat:
            cells["lon"], cells["lat"] = flat[_LON], flat[_LAT]
        if "datum" in flat and "geometry" not in feature and not self._is_datum(flat["datum"]):
            said = f"its datum is {flat['datum']!r}, not {self._options.datum}"
            rows.lose(line, "other_datum", said, _shown(flat))
            return
        rows.add(line, self._vehicle(feature, cells), cells, lambda: _shown(flat))

    def _is_datum(self, said: Any) -> bool:
        try:
            same = {Datum.WGS84, Datum.CGCS2000}
            found = Datum.parse(str(said))
        except ValueError:
            return False
        return found is self._options.datum or {found, self._options.datum} <= same

    def _line(
        self,
        feature: Mapping[str, Any],
        properties: Mapping[str, Any],
        places: Sequence[Any],
        line: int,
        rows: Rows,
    ) -> None:
        beside = properties.get("coordinateProperties")
        more: Mapping[str, Any] = beside if isinstance(beside, dict) else {}
        times = next((p[n] for p in (properties, more) for n in _TIMES if isinstance(p.get(n), list)), None)
        if times is None or len(times) != len(places):
            said = "no time" if times is None else f"{len(times)} times"
            where = _shown({k: v for k, v in properties.items() if not isinstance(v, list | dict)})
            rows.lose(line, "no_time", f"a line of {len(places)} points with {said}", where)
            return
        columns = {**self._lists(properties, len(places)), **self._lists(more, len(places))}
        vehicle = self._vehicle(feature, self._cells(properties))
        self._points(vehicle, times, places, columns, line, rows)

    def _moving(
        self,
        feature: Mapping[str, Any],
        properties: Mapping[str, Any],
        moving: Mapping[str, Any],
        line: int,
        rows: Rows,
    ) -> None:
        parts = moving.get("prisms") if moving.get("type") == "MovingGeometryCollection" else [moving]
        vehicle = self._vehicle(feature, self._cells(properties))
        for part in parts if isinstance(parts, list) else []:
            kind = part.get("type") if isinstance(part, dict) else None
            times, places = (
                (part.get("datetimes"), part.get("coordinates")) if kind == "MovingPoint" else (0, 0)
            )
            if not isinstance(times, list) or not isinstance(places, list) or len(times) != len(places):
                said = f"a temporalGeometry of type {kind} without a time a point"
                rows.lose(line, "no_track", said, _shown(properties))
                continue
            columns = _temporal(feature.get("temporalProperties"), times)
            self._points(vehicle, times, places, columns, line, rows)

    def _points(
        self,
        vehicle: str,
        times: Sequence[Any],
        places: Sequence[Any],
        columns: Mapping[str, Sequence[Any]],
        line: int,
        rows: Rows,
    ) -> None:
        for number, (time, place) in enumerate(zip(times, places, strict=True)):
            two = place if isinstance(place, list) and len(place) >= 2 else (None, None)
            cells = {name: column[number] for name, column in columns.items()}
            cells |= {"time": time, "lon": two[0], "lat": two[1]}
            rows.add(line, vehicle, cells, partial(_point_of, vehicle, number + 1), number + 1)

    def _cells(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        names = tuple(name for name, value in flat.items() if not isinstance(value, list | dict))
        at = self._shapes.get(names)
        if at is None:
            told = {f: n for f, n in self._options.columns.items() if n in names}
            at = {f: names[place] for f, place in shape_of(names, told, self.source, needs=()).at.items()}
            if len(self._shapes) < _SHAPES:
                self._shapes[names] = at
        cells = {field: flat[name] for field, name in at.items()}
        for name in ("status", "alarm"):
            if name not in self._options.columns and isinstance(cells.get(name), str):
                cells.pop(name)
        if "date" in cells and isinstance(cells.get("time"), str):
            cells["time"] = f"{cells['date']} {cells['time']}"
        return cells

    def _lists(self, properties: Mapping[str, Any], length: int) -> dict[str, Sequence[Any]]:
        """Values by vertex, e.g. ``speeds``: a list as long as the line under a name that is known."""
        lists = {n: v for n, v in properties.items() if isinstance(v, list) and len(v) == length}
        names = [n.removesuffix("s") for n in lists]
        at = shape_of(names, {}, self.source, needs=()).at
        values = list(lists.values())
        return {f: values[at[f]] for f in ("speed_kmh", "speed_mps", "heading_deg") if f in at}

    def _vehicle(self, feature: Mapping[str, Any], cells: Mapping[str, Any]) -> str:
        if self._options.vehicle is not None:
            return self._options.vehicle
        said = cells.get("vehicle", feature.get("id"))
        return self._item.stem if said is None else str(said).strip()


_LON, _LAT = " lon", " lat"


def _point_of(vehicle: str, number: int) -> str:
    return f"point {number} of {vehicle}"


def _temporal(properties: Any, times: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Speed and course of an MF-JSON feature, where they are given for the times of the points."""
    found: dict[str, Sequence[Any]] = {}
    for group in properties if isinstance(properties, list) else []:
        if not isinstance(group, dict) or group.get("datetimes") != times:
            continue
        for name, value in group.items():
            values = value.get("values") if isinstance(value, dict) else None
            if not isinstance(values, list) or len(values) != len(times):
                continue
            unit = str(value.get("form", value.get("uom", "KMH"))).upper()
            if name.lower() in ("speed", "velocity") and unit in _SPEEDS:
                scale = _SPEEDS[unit]
                found["speed_kmh"] = [v * scale if isinstance(v, int | float) else None for v in values]
            elif name.lower() in ("heading", "course", "bearing", "direction"):
                found["heading_deg"] = values
    return found


class _Objects:
    """The features of a stream, with the line each begins on."""

    def __init__(self, source: str, stream: BinaryIO, rows: Rows) -> None:
        self._source, self._stream, self._rows = source, stream, rows
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._at, self._line, self._ended = "", 0, 1, False

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        first = self._peek()
        if first == "[":
            self._step()
            yield from self._elements()
        elif self._is_collection():
            yield from self._elements()
        else:
            yield from self._sequence()

    def _is_collection(self) -> bool:
        """Step behind ``"features": [`` of a collection; False where the text begins with a feature."""
        while True:
            head = self._text[self._at :]
            place = _features(head)
            if place is not None:
                if place < 0:
                    return False
                self._skip(place)
                return True
            if self._ended or len(head) > 1 << 22:
                return False
            self._more()

    def _elements(self) -> Iterator[tuple[int, Any]]:
        """Elements of an array, up to its end."""
        while True:
            sign = self._peek()
            if sign == ",":
                self._step()
            elif sign == "]":
                return
            elif not sign:
                raise TrackError(
                    f"{self._source}: breaks off at line {self._line}, inside the list of features: "
                    "is the file whole?"
                )
            else:
                yield self._line, self._value(self._line, whole=True)

    def _sequence(self) -> Iterator[tuple[int, Any]]:
        """One value after the other; a line that holds none is set aside."""
        while self._peek():
            line = self._line
            try:
                value = self._value(line, whole=False)
            except _NotJson as error:
                rest = self._text[self._at :].partition("\n")[0]
                self._rows.lose(line, "bad_json", str(error), rest.strip())
                self._skip(len(rest))
                continue
            yield line, value

    def _value(self, line: int, *, whole: bool) -> Any:
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (json.JSONDecodeError, RecursionError) as error:
                cut = isinstance(error, json.JSONDecodeError) and not self._ended
                # In a sequence a value ends with its line at the latest, unless it is printed over several.
                if cut and (whole or "\n" not in self._text[self._at :] or self._open_ended()):
                    if len(self._text) - self._at > _LONGEST:
                        raise TrackError(f"{self._source} line {line}: a feature without end") from None
                    self._more()
                    continue
                if whole:
                    said = f"{self._source} line {line}: not JSON: {error}"
                    raise TrackError(f"{said}; mend it there or cut the file before it") from None
                raise _NotJson(f"not JSON: {error}") from None
            # A number may go on behind the window.
            if end == len(self._text) and not self._ended:
                self._more()
                continue
            self._skip(end - self._at)
            return value

    def _open_ended(self) -> bool:
        """Whether the first line opens more than it closes, so that the value goes on below it."""
        first = self._text[self._at :].partition("\n")[0].strip()
        return first in ("{", "[")

    def _peek(self) -> str:
        """The next character that means something; empty at the end."""
        while True:
            at = self._at
            while at < len(self._text) and self._text[at] in " \t\r\n\x1e":
                at += 1
            self._skip(at - self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def _step(self) -> None:
        self._skip(1)

    def _skip(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def _more(self) -> None:
        # As much again as is held, so that a long feature is not scanned over and over.
        size = max(_WINDOW, len(self._text) - self._at)
        piece = self._stream.read(size)
        self._text = self._text[self._at :] + self._decode(piece, not piece)
        self._at = 0
        self._ended = not piece


class _NotJson(ValueError):
    pass


def _features(text: str) -> int | None:
    """Where the first feature of a collection may begin; -1: this is none; None: more text is needed."""
    scan = json.JSONDecoder().raw_decode
    at = _blank(text, 0)
    if at >= len(text):
        return None
    if text[at] != "{":
        return -1
    at = _blank(text, at + 1)
    while True:
        try:
            key, at = scan(text, at)
        except (json.JSONDecodeError, RecursionError):
            return None
        at = _blank(text, at)
        if at >= len(text) or text[at] != ":":
            return None if at >= len(text) else -1
        at = _blank(text, at + 1)
        if at >= len(text):
            return None
        if key == "features":
            return at + 1 if text[at] == "[" else -1
        if key in ("geometry", "properties", "temporalGeometry", "vehicle"):
            return -1
        try:
            value, at = scan(text, at)
        except (json.JSONDecodeError, RecursionError):
            return None
        if key == "type" and value == "Feature":
            return -1
        at = _blank(text, at)
        if at >= len(text):
            return None
        if text[at] != ",":
            return -1
        at = _blank(text, at + 1)


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n\x1e":
        at += 1
    return at


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:200]
