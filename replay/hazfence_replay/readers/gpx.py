"""GPX files (topografix.com/GPX/1/1 and 1/0) as batches of fixes.

You are in the first of the track readers. The file goes through expat in pieces, so XML of any
size needs no tree in memory; the points are kept as plain columns (about 60 bytes each), put
into time order (devices write their newest track first) and handed out in batches. Only track
points (``trkpt``) are read: waypoints and routes are places, not a drive. Reading by events
rather than into objects is what lets one broken point be set aside with its line while the rest
of the drive goes on; the tests hold it equal to the gpxpy library, point by point. Next room:
``merge.py``.
"""

from __future__ import annotations

import gzip
import io
import math
import os
from array import array
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Literal
from xml.parsers import expat

import numpy as np

from hazfence.accuracy import accuracy_of
from hazfence.fixes import FixBatch
from hazfence_fences.datum import Datum, to_wgs84
from hazfence_replay.readers.files import split
from hazfence_replay.readers.merge import sorted_by_time
from hazfence_replay.readers.rejects import Reject, Rejects, TrackError

__all__ = ["GpxReader"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PIECE_BYTES = 1 << 18
_MPS_IN_KMH = 3.6


class GpxReader:
    """One GPX file.

    Args:
        source: path of a ``.gpx`` or ``.gpx.gz`` file, or its bytes, or an open binary file.
        vehicle: the vehicle that drove; None takes it from ``name_from``.
        name_from: ``"track"`` takes the name of each track (the file's name where it has none),
            ``"file"`` the name of the file without its suffixes.
        datum: what the file's coordinates are in. GPX says WGS-84; phone apps made for Chinese
            maps sometimes export GCJ-02.
        batch_fixes: the most fixes in one batch.
        rejects: where to put what cannot be read; a new one by default.
        name: what messages call the source when it is no path.

    A time without an offset is UTC, as the GPX schema says. Speed (m/s) and course come from
    GPX 1.0 elements or from any extension elements called ``speed`` and ``course``, as Garmin's
    TrackPointExtension has them; NaN where there are none. In the batches ``offset`` is the
    line of the file and ``item`` the number of the point in it, both from 1.

    Raises (while iterating):
        TrackError: the file is no XML, no GPX, broken off or has no track point.

    Example:
        >>> for batch in GpxReader("tests/data/car_track_visnjan.gpx"):
        ...     batch
        FixBatch(104 fixes of 1 vehicles)
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        vehicle: str | None = None,
        name_from: Literal["track", "file"] = "track",
        datum: Datum = Datum.WGS84,
        batch_fixes: int = 65_536,
        rejects: Rejects | None = None,
        name: str | None = None,
    ) -> None:
        if batch_fixes < 1:
            raise ValueError(f"batch_fixes must be at least 1, not {batch_fixes}")
        if name_from not in ("track", "file"):
            raise ValueError(f"name_from must be 'track' or 'file', not {name_from!r}")
        self._raw = source
        self.share: float | None = 0.0
        is_path = isinstance(source, str | os.PathLike)
        self.source = name or (os.fspath(source) if is_path else "(GPX bytes)")  # type: ignore[arg-type]
        self.rejects = Rejects() if rejects is None else rejects
        self._vehicle = vehicle
        self._name_from = name_from
        self._datum = datum
        self._batch_fixes = batch_fixes

    def __iter__(self) -> Iterator[FixBatch]:
        stem = split(Path(self.source).name)[0]
        handler = _Handler(self.source, stem, self._vehicle, self._name_from, self.rejects)
        with closing(self._open()) as stream:
            _parse(stream, handler)
        if not handler.ordinal:
            raise TrackError(
                f"{self.source}: no track point (trkpt) in this GPX file; routes and waypoints have no "
                "times and cannot be replayed: export the recorded track"
            )
        yield from self._batches(handler)

    def _open(self) -> BinaryIO:
        raw = self._raw
        if isinstance(raw, bytes):
            return io.BytesIO(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
        if isinstance(raw, str | os.PathLike):
            path = Path(raw)
            if path.suffix.lower() == ".gz":
                return gzip.open(path, "rb")  # type: ignore[return-value]
            return path.open("rb")
        # The caller's file stays the caller's to close.
        return io.BytesIO(raw.read())

    def _batches(self, handler: _Handler) -> Iterator[FixBatch]:
        if not handler.time_us:
            self.share = 1.0
            return
        lon, lat = to_wgs84(np.array(handler.lon), np.array(handler.lat), self._datum)
        whole = sorted_by_time(
            FixBatch.of(
                np.array(handler.vehicle, dtype=np.int32),
                vehicles=tuple(handler.vehicles),
                time_us=np.array(handler.time_us),
                lon=lon,
                lat=lat,
                speed_kmh=np.array(handler.speed_kmh),
                heading_deg=np.array(handler.heading_deg),
                offset=np.array(handler.line),
                item=np.array(handler.number),
                accuracy_m=None if np.isnan(handler.accuracy_m).all() else np.array(handler.accuracy_m),
            )
        )
        for start in range(0, len(whole), self._batch_fixes):
            yield whole.take(slice(start, start + self._batch_fixes))
            self.share = min(1.0, (start + self._batch_fixes) / len(whole))


def _parse(stream: BinaryIO, handler: _Handler) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.text
    parser.StartDoctypeDeclHandler = handler.doctype
    handler.parser = parser
    empty = True
    try:
        while piece := stream.read(_PIECE_BYTES):
            empty = False
            parser.Parse(piece, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        what = (
            "is empty"
            if empty
            else f"is not well-formed XML at line {error.lineno}, column {error.offset + 1}"
        )
        why = "" if empty else f" ({expat.errors.messages[error.code]})"
        after = f" after {handler.ordinal} track points" if handler.ordinal else ""
        raise TrackError(
            f"{handler.source} {what}{why}{after}; nothing of it was used: export it again, or cut it "
            "after its last whole point and close the open tags"
        ) from error
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise TrackError(f"{handler.source}: cannot read on: {error}; is the file whole?") from error


class _Handler:
    """What expat calls: a flat state, since a GPX track is at most four elements deep."""

    def __init__(self, source: str, stem: str, vehicle: str | None, name_from: str, rejects: Rejects) -> None:
        self.parser: expat.XMLParserType
        self.source = source
        self.rejects = rejects
        self._stem = stem
        self._fixed_name = vehicle if vehicle is not None else (stem if name_from == "file" else None)
        self._path: list[str] = []
        self._text: list[str] = []
        self.vehicles: dict[str, int] = {}
        self._track_name = ""
        self._track_from = 0
        self._track = self._segment = self._in_segment = 0
        self.ordinal = 0
        self._attributes: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._line = 0
        self.vehicle, self.number = array("i"), array("i")
        self.time_us, self.line = array("q"), array("q")
        self.lon, self.lat, self.speed_kmh, self.heading_deg, self.accuracy_m = (array("d") for _ in range(5))

    def doctype(self, *_: object) -> None:
        # GPX has no document type; an internal one is only good for entity tricks.
        raise TrackError(f"{self.source}: has a document type declaration, which no GPX file has: remove it")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        if not self._path and name != "gpx":
            raise TrackError(
                f"{self.source}: this is XML, but its root is <{name}>, not <gpx>: not a GPX file"
            )
        self._path.append(name)
        self._text.clear()
        if name == "trkpt":
            self.ordinal += 1
            self._in_segment += 1
            self._attributes, self._values = attributes, {}
            self._line = self.parser.CurrentLineNumber
        elif name == "trkseg":
            self._segment += 1
            self._in_segment = 0
        elif name == "trk":
            self._track += 1
            self._segment = 0
            self._track_name = ""
            self._track_from = len(self.time_us)

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, tag: str) -> None:
        path = self._path
        name = path.pop()
        if name == "trkpt":
            self._point()
        elif name in ("time", "speed", "course", "hdop", "sat") and "trkpt" in path:
            self._values.setdefault(name, "".join(self._text).strip())
        elif name == "name" and path and path[-1] == "trk":
            self._track_name = "".join(self._text).strip()
        elif name == "trk":
            self._name_track()
        self._text.clear()

    def _name_track(self) -> None:
        # The schema puts <name> first, but some writers put it last: so it is given at the end.
        name = self._fixed_name if self._fixed_name is not None else (self._track_name or self._stem)
        code = self.vehicles.setdefault(name, len(self.vehicles))
        self.vehicle.extend([code] * (len(self.time_us) - self._track_from))

    def _point(self) -> None:
        try:
            lon, lat = float(self._attributes["lon"]), float(self._attributes["lat"])
            if not (-180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0):
                raise ValueError
        except (KeyError, ValueError):
            said = " ".join(f'{k}="{v}"' for k, v in self._attributes.items()) or "no attributes"
            self._reject("bad_coordinate", f"{said}: lon must be in -180..180 and lat in -90..90 degrees")
            return
        said = self._values.get("time", "")
        if not said:
            self._reject("no_time", "the point has no <time>")
            return
        try:
            moment = datetime.fromisoformat(said)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            time_us = (moment - _EPOCH) // _MICROSECOND
        except (ValueError, OverflowError):
            self._reject("bad_time", f"{said!r} is no ISO 8601 time such as 2026-03-02T08:00:00Z")
            return
        self.time_us.append(time_us)
        self.lon.append(lon)
        self.lat.append(lat)
        self.speed_kmh.append(_number(self._values.get("speed")) * _MPS_IN_KMH)
        self.heading_deg.append(_number(self._values.get("course")))
        told = (_number(self._values.get(name)) for name in ("hdop", "sat"))
        self.accuracy_m.append(accuracy_of(None, *told))
        self.line.append(self._line)
        self.number.append(self.ordinal)

    def _reject(self, reason: str, detail: str) -> None:
        name = f" {self._track_name!r}" if self._track_name else ""
        place = f"track {self._track}{name}, segment {self._segment}, point {self._in_segment}"
        self.rejects.add(Reject(self.source, self._line, reason, f"{place}: {detail}"))


def _number(said: str | None) -> float:
    try:
        value = float(said) if said else math.nan
    except ValueError:
        return math.nan
    # A device's "no value" (negative) must not pass for a speed or a course.
    return value if math.isfinite(value) and value >= 0 else math.nan
