"""What a reader may be told about a file: names, datum, time zone, columns.

You are beside the readers. One object serves all formats, so that a folder may hold several; a reader
uses what concerns it. ``hazfence replay`` fills it from its options.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hazfence_fences.datum import Datum

__all__ = ["FIELDS", "ReadOptions"]

#: What a column of a table may be.
FIELDS = (
    "vehicle",
    "time",
    "date",
    "lon",
    "lat",
    "speed_kmh",
    "speed_mps",
    "heading_deg",
    "status",
    "alarm",
    "accuracy_m",
    "hdop",
    "satellites",
)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read a track.

    Attributes:
        vehicle: the one vehicle of the track, whatever the file says; None: as the file says.
        name_from: where a track without a vehicle's name takes it from, see :class:`GpxReader`.
        datum: what the coordinates are in.
        tz: IANA name of the zone of times without an offset (``Asia/Shanghai``, ``UTC``); None refuses
            such times where the format does not say what they are in.
        time_format: strptime pattern of the times, where they are in no usual form.
        columns: which column is what: a field of :data:`FIELDS` to the column's name, or to its number
            from 1.
        encoding: of text (``utf-8``, ``gb18030``...); None finds out.
        delimiter: between columns; None finds out.
        batch_fixes: the most fixes in one batch.

    Raises:
        ValueError: a value that cannot be; the message says which are known.
    """

    vehicle: str | None = None
    name_from: Literal["track", "file"] = "track"
    datum: Datum = Datum.WGS84
    tz: str | None = None
    time_format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    delimiter: str | None = None
    batch_fixes: int = 65_536

    def __post_init__(self) -> None:
        if self.batch_fixes < 1:
            raise ValueError(f"batch_fixes must be at least 1, not {self.batch_fixes}")
        if self.name_from not in ("track", "file"):
            raise ValueError(f"name_from must be 'track' or 'file', not {self.name_from!r}")
        for name in self.columns:
            if name not in FIELDS:
                raise ValueError(f"no field {name!r} to give a column to; there are {', '.join(FIELDS)}")
        if self.tz is not None:
            try:
                zoneinfo.ZoneInfo(self.tz)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError(
                    f"unknown time zone {self.tz!r}: write an IANA name such as Asia/Shanghai or UTC"
                ) from None
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError:
                raise ValueError(
                    f"unknown encoding {self.encoding!r}: write e.g. utf-8, gb18030 or utf-16"
                ) from None
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ValueError(f"the delimiter must be one character, not {self.delimiter!r}")
