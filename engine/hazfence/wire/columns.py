"""Many fixes as columns in one message: the format that makes a Kafka message worth its cost.

You are on the floor of the wire formats; ``docs/wire.md`` has the layout for senders in other
languages, and the measurements against Arrow IPC and msgpack by which it was chosen. A message is
a fixed header, the columns as little-endian arrays one after another, and the vehicles' names.
Every length follows from the header, so a message is believed only when it is exactly as long as
its header says, and nothing is allocated before that. ``packer.py`` writes these messages,
``decode.py`` reads many of them at once through :class:`ColumnReader`.

    offset  bytes  what
         0      4  magic 89 48 5A 46 (0x89 "HZF")
         4      1  version, 1
         5      1  datum: 0 WGS-84, 1 CGCS2000, 2 GCJ-02, 3 BD-09
         6      2  which optional columns follow, one bit each
         8      4  n, number of fixes
        12      4  v, number of vehicles
        16      4  b, bytes of names
        20      4  0
        24    8 n  time_us   int64    microseconds UTC since 1970
             8 n  lon       float64  degrees
             8 n  lat       float64  degrees
             4 n  vehicle   uint32   place of the vehicle in the names, from 0
             4 n  bit 0: speed_kmh    float32, NaN unknown
             4 n  bit 1: heading_deg  float32, NaN unknown
             4 n  bit 2: status       uint32
             4 n  bit 3: alarm        uint32
             4 n  bit 4: accuracy_m   float32, NaN unknown
               b  names     UTF-8, separated by one zero byte
"""

from __future__ import annotations

import struct
from collections import defaultdict
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from hazfence.fixes import COLUMNS, DEFAULTS, OPTIONAL, FixBatch
from hazfence.wire.refusals import MAX_VEHICLE_BYTES, Refusal, Refused, check_vehicle
from hazfence_fences.datum import Datum, to_wgs84

__all__ = ["MAGIC", "VERSION", "ColumnReader", "encode_columns", "rows_to_wgs84"]

MAGIC = b"\x89HZF"
VERSION = 1
_HEADER = struct.Struct("<4sBBHIIII")
_DATUMS = (Datum.WGS84, Datum.CGCS2000, Datum.GCJ02, Datum.BD09)
_REQUIRED = ("time_us", "lon", "lat", "vehicle")
_OPTIONAL = ("speed_kmh", "heading_deg", "status", "alarm", "accuracy_m")
_DTYPES = {
    n: np.dtype("<u4") if n == "vehicle" else (COLUMNS | OPTIONAL)[n].newbyteorder("<")
    for n in _REQUIRED + _OPTIONAL
}
_ROW_BYTES = tuple(_DTYPES[n].itemsize for n in _REQUIRED)
_OPTIONAL_MASK = (1 << len(_OPTIONAL)) - 1


def encode_columns(batch: FixBatch, datum: Datum = Datum.WGS84) -> bytes:
    """Write a batch as one message.

    Args:
        batch: n fixes; ``offset``, ``item`` and ``received_us`` are the log's to give and are not sent.
            Optional columns that hold nothing but their default are left out.
        datum: what ``lon`` and ``lat`` are in.

    Returns:
        24 + 28 n + 4 n per optional column + the names, in bytes.

    Raises:
        ValueError: a vehicle's name is empty, holds a NUL or is longer than 128 bytes.
    """
    used = np.bincount(batch.vehicle, minlength=len(batch.vehicles)) > 0
    codes = (np.cumsum(used) - 1)[batch.vehicle]
    names = [batch.vehicles[c] for c in np.flatnonzero(used).tolist()]
    try:
        blob = "\0".join(names).encode()
        doubtful = _doubtful(names) or blob.count(0) >= max(1, len(names))
    except UnicodeEncodeError:
        doubtful = True
    if doubtful:
        for name in names:
            check_vehicle(name, "vehicle")
    columns: list[npt.NDArray[Any]] = [batch.time_us, batch.lon, batch.lat, codes]
    present = 0
    for bit, name in enumerate(_OPTIONAL):
        column = getattr(batch, name)
        if column is None:
            continue
        if np.isnan(column).all() if column.dtype.kind == "f" else not column.any():
            continue
        present |= 1 << bit
        columns.append(column)
    order = _REQUIRED + tuple(n for bit, n in enumerate(_OPTIONAL) if present >> bit & 1)
    header = _HEADER.pack(MAGIC, VERSION, _DATUMS.index(datum), present, len(batch), len(names), len(blob), 0)
    body = [c.astype(_DTYPES[n], copy=False).tobytes() for n, c in zip(order, columns, strict=True)]
    return b"".join([header, *body, blob])


class ColumnReader:
    """Reads message after message and gives all their fixes as one batch.

    The columns of all messages are joined as bytes and become arrays once, because a numpy call a
    column a message would cost more than the message.

    Example:
        >>> reader = ColumnReader()
        >>> reader.add(7, 0, encode_columns(FixBatch.of(["A", "B"], time_us=[0, 1], lon=1.0, lat=2.0)))
        >>> reader.batch().offset.tolist()
        [7, 7]
    """

    def __init__(self) -> None:
        # A name met for the first time gets the next code, without a line of Python a name.
        self._table: dict[str, int] = defaultdict(count().__next__)
        self._parts: dict[str, list[Any]] = {name: [] for name in _DTYPES}
        self._counts: list[int] = []
        self._accurate = False  # whether any message told how good positions are
        self._offsets: list[int] = []
        self._received: list[int] = []
        self._shifted: list[tuple[int, int, Datum]] = []
        self._rows = 0

    def __len__(self) -> int:
        """Number of fixes read so far."""
        return self._rows

    def add(self, offset: int, received_us: int, value: bytes) -> None:
        """Take one message in; refused, it leaves nothing behind.

        Raises:
            Refused: the message contradicts itself, or is of an unknown version or datum.
        """
        datum, present, n, names, codes = _open(value)
        local = np.fromiter(map(self._table.__getitem__, names), np.int32, len(names))
        position, parts = _HEADER.size, self._parts
        whole = memoryview(value)
        for name, size in zip(_REQUIRED, _ROW_BYTES, strict=True):
            if name != "vehicle":
                parts[name].append(whole[position : position + size * n])
            position += size * n
        parts["vehicle"].append(local[codes])
        for bit, name in enumerate(_OPTIONAL):
            if present >> bit & 1:
                parts[name].append(whole[position : position + 4 * n])
                position += 4 * n
                self._accurate |= name in OPTIONAL
            elif name in DEFAULTS:
                parts[name].append(np.full(n, DEFAULTS[name], _DTYPES[name]))
            elif n:
                parts[name].append(n)  # so many fixes without; filled in only where others have it
        if datum not in (Datum.WGS84, Datum.CGCS2000):
            self._shifted.append((self._rows, self._rows + n, datum))
        self._counts.append(n)
        self._offsets.append(offset)
        self._received.append(received_us)
        self._rows += n

    def batch(self) -> FixBatch:
        """All fixes read so far, in the order of the messages, in WGS-84."""
        columns: dict[str, Any] = {}
        for name, dtype in _DTYPES.items():
            if name in OPTIONAL:
                if not self._accurate:
                    continue
                told: list[Any] = [
                    np.full(p, np.nan, dtype) if isinstance(p, int) else p for p in self._parts[name]
                ]
                joined = np.frombuffer(bytearray().join(told), dtype)
            elif name == "vehicle":
                joined = np.concatenate(self._parts[name]) if self._parts[name] else np.empty(0, np.int32)
            else:
                # bytearray, not bytes: numpy gives a writable array over it, and the datum needs one.
                joined = np.frombuffer(bytearray().join(self._parts[name]), dtype)
            columns[name] = joined.astype((COLUMNS | OPTIONAL)[name], copy=False)
        for start, stop, datum in self._shifted:
            rows_to_wgs84(columns["lon"], columns["lat"], slice(start, stop), datum)
        counts = np.array(self._counts, np.int64)
        starts = np.cumsum(counts) - counts
        columns["offset"] = np.repeat(np.array(self._offsets, np.int64), counts)
        columns["received_us"] = np.repeat(np.array(self._received, np.int64), counts)
        columns["item"] = (np.arange(self._rows) - np.repeat(starts, counts)).astype(np.int32)
        return FixBatch(vehicles=tuple(self._table), **columns)


def _open(value: bytes) -> tuple[Datum, int, int, list[str], npt.NDArray[Any]]:
    """Check everything that can be checked: (datum, optional columns, n, names, codes)."""
    if len(value) < _HEADER.size:
        raise Refused(
            Refusal.TRUNCATED, f"{len(value)} bytes; a batch message has a header of {_HEADER.size} bytes"
        )
    magic, version, datum, present, n, vehicles, blob_bytes, zero = _HEADER.unpack_from(value)
    if magic != MAGIC or version != VERSION:
        raise Refused(
            Refusal.UNKNOWN_FORMAT,
            f"bytes 0-4 are {value[:5].hex(' ')}; version {VERSION} starts with "
            f"{MAGIC.hex(' ')} {VERSION:02x}",
        )
    if datum >= len(_DATUMS):
        known = ", ".join(f"{i} {name}" for i, name in enumerate(_DATUMS))
        raise Refused(Refusal.UNKNOWN_DATUM, f"byte 5 says datum {datum}; known are {known}")
    if present & ~_OPTIONAL_MASK or zero:
        raise Refused(
            Refusal.BAD_BATCH,
            f"bytes 6-7 are 0x{present:04x}, bytes 20-23 0x{zero:08x}; "
            f"version {VERSION} has only the column bits 0x{_OPTIONAL_MASK:04x}, and zero in 20-23",
        )
    names_at = _HEADER.size + n * (sum(_ROW_BYTES) + 4 * present.bit_count())
    wanted = names_at + blob_bytes
    if len(value) != wanted:
        short = len(value) < wanted
        raise Refused(
            Refusal.TRUNCATED if short else Refusal.BAD_BATCH,
            f"{len(value)} bytes, but {n} fixes and {blob_bytes} bytes of names make {wanted}; "
            + ("the end is missing" if short else "send nothing behind the names"),
        )
    codes = np.frombuffer(value, _DTYPES["vehicle"], n, _HEADER.size + n * sum(_ROW_BYTES[:3]))
    names = _names(value, names_at, vehicles)
    if n and (top := int(codes.max())) >= vehicles:
        raise Refused(
            Refusal.BAD_BATCH,
            f"fix {int(codes.argmax())} is of vehicle {top}, but there are {vehicles} names; "
            "count vehicles from 0",
        )
    return _DATUMS[datum], present, n, names, codes


def _names(value: bytes, position: int, vehicles: int) -> list[str]:
    try:
        text = str(memoryview(value)[position:], "utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            Refusal.BAD_VEHICLE, f"byte {position + error.start}: the names are not UTF-8"
        ) from None
    names = text.split("\0") if text else []
    if len(names) != vehicles:
        raise Refused(
            Refusal.BAD_BATCH,
            f"byte 12 says {vehicles} vehicles, but byte {position} starts {len(names)} names; "
            "separate names by one zero byte",
        )
    if _doubtful(names):
        for place, name in enumerate(names):
            check_vehicle(name, f"name {place}")
    return names


def _doubtful(names: list[str]) -> bool:
    """One look at the extremes instead of one at each name; a character has at most 4 bytes."""
    lengths = list(map(len, names))
    return bool(lengths) and (min(lengths) == 0 or max(lengths) * 4 > MAX_VEHICLE_BYTES)


def rows_to_wgs84(
    lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64], rows: Any, datum: Datum
) -> None:
    """Turn some rows into WGS-84 in place; values that are no place on earth stay as they are.

    Args:
        lon, lat: float64, shape (n,), degrees in ``datum``; changed.
        rows: a slice or an integer array.
        datum: what those rows are in.
    """
    x, y = lon[rows].copy(), lat[rows].copy()
    # NaN, 500 degrees and (0, 0) are for hazfence.clean to name; a shift would hide the last.
    earthly = (np.abs(x) <= 180.0) & (np.abs(y) <= 90.0) & ~((x == 0.0) & (y == 0.0))
    x[earthly], y[earthly] = to_wgs84(x[earthly], y[earthly], datum)
    lon[rows], lat[rows] = x, y
