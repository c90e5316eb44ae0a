"""Plate reads as messages: what a checkpoint's camera sends, one JSON object a message.

You are on the floor of the wire formats, beside ``json_fix.py``; ``docs/wire.md`` describes the message for
senders in other languages::

    {"plate": "浙B12345", "checkpoint": "cp-1", "time": "2026-03-02T08:00:00+08:00"}

A plate may come with spaces, dots, full-width characters or in letters of another alphabet that look
alike: ``hazfence.reference.normal_plate`` brings them together. What cannot be read comes out as a ``Reject``
with the reason and is kept.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from hazfence.events import from_iso, iso
from hazfence.ports import Reject
from hazfence.reference import normal_plate
from hazfence.rules.plates import PlateRead
from hazfence.settings import EngineSettings
from hazfence.wire.decode import Message, kept
from hazfence.wire.refusals import Refusal, Refused, check_vehicle

__all__ = ["DecodedReads", "decode_reads", "encode_read"]


class _JsonRead(msgspec.Struct, gc=False):
    plate: str
    checkpoint: str
    time: str | None = None
    time_ms: int | None = None


class DecodedReads(NamedTuple):
    """What :func:`decode_reads` found: reads in the order of their messages, and what is none."""

    reads: list[PlateRead]
    rejects: list[Reject]


def decode_reads(
    messages: Iterable[Message],
    checkpoints: Collection[str],
    settings: EngineSettings,
    *,
    max_message_bytes: int = 4 * 1024 * 1024,
    max_kept_bytes: int = 1024 * 1024,
) -> DecodedReads:
    """Read plate messages of one partition.

    Args:
        messages: in the order of their offsets.
        checkpoints: ids of the checkpoints that there are.
        settings: says which times cannot be true.
        max_message_bytes, max_kept_bytes: as for :func:`hazfence.wire.decode`.

    Returns:
        every read that can be used, and a reject for every message that cannot. Nothing raises, whatever
        the bytes are.

    Example:
        >>> message = Message(0, 0, b'{"plate":"\\u6d59B 12345","checkpoint":"cp-1","time_ms":1772409600000}')
        >>> decode_reads([message], {"cp-1"}, EngineSettings()).reads[0].time_us
        1772409600000000
    """
    reads, rejects = [], []
    for message in messages:
        try:
            reads.append(_read(message, checkpoints, settings, max_message_bytes))
        except Refused as refused:
            payload, note = kept(message.value or b"", max_kept_bytes)
            rejects.append(Reject(message.offset, -1, str(refused.reason), refused.detail + note, payload))
    return DecodedReads(reads, rejects)


def encode_read(read: PlateRead) -> bytes:
    """A read as its message.

    Example:
        >>> encode_read(PlateRead("A", "cp-1", 0))
        b'{"plate":"A","checkpoint":"cp-1","time":"1970-01-01T00:00:00.000000Z"}'
    """
    row = {"plate": read.plate, "checkpoint": read.checkpoint, "time": iso(read.time_us)}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def _read(
    message: Message, checkpoints: Collection[str], settings: EngineSettings, max_message_bytes: int
) -> PlateRead:
    value = message.value
    if not value:
        raise Refused(Refusal.EMPTY, "the message has no value: send a plate read")
    if len(value) > max_message_bytes:
        raise Refused(Refusal.TOO_LARGE, f"{len(value)} bytes; at most {max_message_bytes} are read")
    try:
        row = _DECODER.decode(value)
    except msgspec.ValidationError as error:
        missing = "missing required field" in str(error)
        raise Refused(
            Refusal.MISSING_KEY if missing else Refusal.WRONG_TYPE,
            f"{error}; send plate, checkpoint and time",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(Refusal.BAD_JSON, f"{error}; send one JSON object") from None
    check_vehicle(row.plate, "key 'plate'")
    if not normal_plate(row.plate):
        raise Refused(
            Refusal.BAD_VEHICLE, f"key 'plate' {row.plate!r} holds no letter or digit: send the plate"
        )
    if row.checkpoint not in checkpoints:
        known = ", ".join(sorted(checkpoints)) or "none"
        raise Refused(
            Refusal.UNKNOWN_CHECKPOINT,
            f"key 'checkpoint' {row.checkpoint!r:.80}: no such checkpoint; known are {known:.500}",
        )
    return PlateRead(row.plate, row.checkpoint, _time_us(row, message.timestamp_us, settings))


def _time_us(row: _JsonRead, received_us: int, settings: EngineSettings) -> int:
    if row.time is not None:
        try:
            time_us = from_iso(row.time)
        except (ValueError, OverflowError) as error:
            raise Refused(
                Refusal.WRONG_TYPE,
                f"key 'time': {error}; send ISO 8601 with offset, e.g. 2026-03-02T08:00:00+08:00",
            ) from None
    elif row.time_ms is not None:
        time_us = row.time_ms * 1000
    else:
        raise Refused(
            Refusal.MISSING_KEY, "key 'time' (ISO 8601 with offset) or 'time_ms' (epoch ms) is missing"
        )
    if time_us < settings.earliest_us:
        raise Refused(Refusal.BAD_TIME, f"a read of {_told(time_us)} is too old: set the camera's clock")
    latest_us = settings.latest_us
    if received_us > 0:
        latest_us = min(latest_us, received_us + round(settings.max_ahead_s * 1e6))
    if time_us > latest_us:
        raise Refused(
            Refusal.BAD_TIME, f"a read of {_told(time_us)} lies in the future: set the camera's clock"
        )
    return time_us


def _told(time_us: int) -> str:
    try:
        return iso(time_us)
    except OverflowError:
        return f"{time_us} us"


_DECODER = msgspec.json.Decoder(_JsonRead)
