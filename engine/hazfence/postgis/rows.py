"""Fixes as rows of PostgreSQL's binary COPY format, built from arrays without a Python object a row.

You are in the PostGIS adapter, below `store.py`. The format (PostgreSQL manual, COPY, "Binary Format"): a
header, then for every row a 16-bit count of fields and for every field its 32-bit length and its bytes, all
big-endian; a length of -1 is NULL. Speed and heading may be NULL, and a NULL has no bytes, so rows come in
four lengths; each kind becomes one structured array. Accuracy that is not known is 0, not NULL: a row of the
table is then no longer with it than without. The order of rows in a batch is not kept, which a
table does not have anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hazfence.fixes import FixBatch

__all__ = ["BEGIN", "END", "copy_rows"]

BEGIN = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
END = b"\xff\xff"

#: Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
_EPOCH_US = 946_684_800_000_000

#: Column and type on the wire, in the order of ``queries/copy_fixes.sql``.
_COLUMNS = (
    ("time", ">i8"),
    ("lon", ">f8"),
    ("lat", ">f8"),
    ("offset", ">i8"),
    ("status", ">i8"),
    ("alarm", ">i8"),
    ("vehicle_code", ">i4"),
    ("stream", ">i4"),
    ("item", ">i4"),
    ("accuracy_m", ">f4"),
    ("speed_kmh", ">f4"),
    ("heading_deg", ">f4"),
)

#: Rows a piece: a quarter of a megabyte, so that building and sending stay within the cache and take about a
#: millisecond.
_PIECE = 2048


@cache
def _blank(speed: bool, heading: bool) -> npt.NDArray[Any]:
    """A row of the kind (with or without speed and heading) with its counts and lengths filled in."""
    absent = {"speed_kmh": not speed, "heading_deg": not heading}
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in _COLUMNS:
        fields.append((f"{name}_length", ">i4"))
        if not absent.get(name):
            fields.append((name, kind))
    row = np.zeros(1, np.dtype(fields))
    row["fields"] = len(_COLUMNS)
    for name, kind in _COLUMNS:
        row[f"{name}_length"] = -1 if absent.get(name) else np.dtype(kind).itemsize
    return row


def copy_rows(batch: FixBatch, codes: npt.NDArray[np.int32], stream: int) -> Iterator[memoryview]:
    """Yield the rows of a batch in pieces, to be sent between `BEGIN` and `END`.

    Rows are in the order of (vehicle, time): neighbours in the index are then written together, and so are
    the fixes of one vehicle on disk, where they are looked for.

    Args:
        batch: the fixes.
        codes: int32, for every entry of ``batch.vehicles`` its number in the database.
        stream: number of the partition in the database.
    """
    vehicle = codes[batch.vehicle]
    with_speed, with_heading = ~np.isnan(batch.speed_kmh), ~np.isnan(batch.heading_deg)
    order = np.lexsort((batch.time_us, vehicle))
    kinds = (with_speed.astype(np.int8) * 2 + with_heading)[order]
    for kind in range(4):
        chosen = order[kinds == kind]
        blank = _blank(kind >= 2, kind % 2 == 1)
        for start in range(0, len(chosen), _PIECE):
            at = chosen[start : start + _PIECE]
            rows = np.repeat(blank, len(at))
            rows["time"] = batch.time_us[at] - _EPOCH_US
            rows["lon"] = batch.lon[at]
            rows["lat"] = batch.lat[at]
            rows["offset"] = batch.offset[at]
            rows["status"] = batch.status[at]
            rows["alarm"] = batch.alarm[at]
            rows["vehicle_code"] = vehicle[at]
            rows["stream"] = stream
            rows["item"] = batch.item[at]
            if batch.accuracy_m is not None:
                rows["accuracy_m"] = np.where(
                    batch.accuracy_m[at] > 0.0, batch.accuracy_m[at], 0.0
                )  # never NaN
            if kind >= 2:
                rows["speed_kmh"] = batch.speed_kmh[at]
            if kind % 2:
                rows["heading_deg"] = batch.heading_deg[at]
            yield rows.view(np.uint8).data
