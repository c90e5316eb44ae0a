"""From messages to fixes: the first room that the worker takes every message through.

You are above the two formats (``json_fix.py``, ``columns.py``) and below ``hazfence.worker``. Many
messages of one partition come in, one :class:`hazfence.fixes.FixBatch` comes out, in the order of
the log; what cannot be read comes out as a ``Reject`` that keeps the message and says why. Both
formats may share a topic: the first byte tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hazfence.accuracy import accuracy_of
from hazfence.fixes import FixBatch
from hazfence.ports import Reject
from hazfence.wire.columns import MAGIC, ColumnReader, rows_to_wgs84
from hazfence.wire.json_fix import JsonFix, read_fix
from hazfence.wire.refusals import Refusal, Refused
from hazfence_fences.datum import Datum

__all__ = ["Decoded", "Message", "decode", "kept"]

_NAN = float("nan")


class Message(NamedTuple):
    """One message of a partition.

    Attributes:
        offset: its place on the partition.
        timestamp_us: when it was put on the topic, microseconds UTC; 0 when unknown.
        value: the bytes; None for a tombstone.
    """

    offset: int
    timestamp_us: int
    value: bytes | None


class Decoded(NamedTuple):
    """What :func:`decode` found: fixes in the order of (offset, item), and what is no fix."""

    batch: FixBatch
    rejects: list[Reject]


def decode(
    messages: Iterable[Message],
    *,
    max_message_bytes: int = 4 * 1024 * 1024,
    max_kept_bytes: int = 1024 * 1024,
) -> Decoded:
    """Read messages of one partition.

    Args:
        messages: in the order of their offsets.
        max_message_bytes: a longer message is refused unread.
        max_kept_bytes: how much of a refused message its ``Reject`` keeps.

    Returns:
        every fix that could be read, in WGS-84, and a reject for every message that could not.
        Nothing raises, whatever the bytes are.

    Example:
        >>> batch, rejects = decode([Message(4, 0, b'{"vehicle":"A"}')])
        >>> len(batch), rejects[0].reason, rejects[0].detail
        (0, 'missing_key', "key 'lon' is missing; send a number")
    """
    columns = ColumnReader()
    singles = _Singles()
    rejects: list[Reject] = []
    for offset, timestamp_us, value in messages:
        try:
            if not value:
                raise Refused(Refusal.EMPTY, "the message has no value: send a fix or a batch of fixes")
            if len(value) > max_message_bytes:
                raise Refused(
                    Refusal.TOO_LARGE,
                    f"{len(value)} bytes; at most {max_message_bytes} are read: send smaller batches, "
                    "or raise max_message_bytes",
                )
            if value[:1] == MAGIC[:1]:
                columns.add(offset, timestamp_us, value)
            elif value[0] in b"\t\n\r\xef" or 0x20 <= value[0] < 0x7F:
                singles.add(offset, timestamp_us, read_fix(value))
            else:
                raise Refused(
                    Refusal.UNKNOWN_FORMAT,
                    f"byte 0 is {value[0]:#04x}: neither JSON ('{{') nor a batch message ({MAGIC.hex(' ')})",
                )
        except Refused as refused:
            payload, note = kept(value or b"", max_kept_bytes)
            rejects.append(Reject(offset, -1, str(refused.reason), refused.detail + note, payload))
    return Decoded(_merge(columns, singles), rejects)


def kept(payload: bytes, limit: int) -> tuple[bytes, str]:
    """The part of a payload that is kept, and the words that say so when it is not the whole."""
    if len(payload) <= limit:
        return payload, ""
    return bytes(payload[:limit]), f" (the first {limit} of {len(payload)} bytes are kept)"


def _merge(columns: ColumnReader, singles: _Singles) -> FixBatch:
    if not len(singles):
        return columns.batch()
    if not len(columns):
        return singles.batch()
    joined = FixBatch.concat([columns.batch(), singles.batch()])
    return joined.take(np.argsort(joined.offset, kind="stable"))


class _Singles:
    """Fixes that came one a message, as columns that are still lists."""

    def __init__(self) -> None:
        self._table: dict[str, int] = {}
        self._rows: list[tuple[int, int, float, float, float, float, int, int, int, int]] = []
        self._accuracy: dict[int, float] = {}  # of the few, or of none, that say something
        self._shifted: dict[Datum, list[int]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, offset: int, received_us: int, fix: JsonFix) -> None:
        time_us, datum = fix.time_us(), fix.datum_or_default()
        if datum is not Datum.WGS84 and datum is not Datum.CGCS2000:
            self._shifted.setdefault(datum, []).append(len(self._rows))
        if fix.accuracy_m is not None or fix.hdop is not None or fix.satellites is not None:
            self._accuracy[len(self._rows)] = accuracy_of(fix.accuracy_m, fix.hdop, fix.satellites)
        self._rows.append(
            (
                self._table.setdefault(fix.vehicle, len(self._table)),
                time_us,
                fix.lon,
                fix.lat,
                _NAN if fix.speed_kmh is None else fix.speed_kmh,
                _NAN if fix.heading_deg is None else fix.heading_deg,
                fix.status or 0,
                fix.alarm or 0,
                offset,
                received_us,
            )
        )

    def batch(self) -> FixBatch:
        vehicle, time_us, lon, lat, speed, heading, status, alarm, offset, received = zip(
            *self._rows, strict=True
        )
        x, y = np.array(lon, np.float64), np.array(lat, np.float64)
        for datum, rows in self._shifted.items():
            rows_to_wgs84(x, y, np.array(rows), datum)
        accuracy = None
        if self._accuracy:
            accuracy = np.full(len(vehicle), np.nan)
            accuracy[list(self._accuracy)] = list(self._accuracy.values())
        with np.errstate(over="ignore"):  # a speed of 1e300 is infinite as float32, which is as good
            return FixBatch.of(
                np.array(vehicle, np.int32),
                vehicles=tuple(self._table),
                time_us=time_us,
                lon=x,
                lat=y,
                speed_kmh=np.array(speed, np.float64).astype(np.float32),
                heading_deg=np.array(heading, np.float64).astype(np.float32),
                status=status,
                alarm=alarm,
                offset=offset,
                item=0,
                received_us=received,
                accuracy_m=None if accuracy is None else accuracy.astype(np.float32),
            )
