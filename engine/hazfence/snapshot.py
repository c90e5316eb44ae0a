"""A snapshot: all that the engine knows, as bytes, and back.

You are in the core, called by ``engine.py``. Layout: the magic ``HZFS``, a version (1 byte), a
CRC-32 (4 bytes, big endian) of what follows, then a zlib stream of: the length of a JSON header
(4 bytes, big endian), the header, and the columns of the fleet one behind the other. The header
holds what plain Python judges (open events, running overspeeds) and the fence ids behind each
set key in use. The same state gives the same bytes, so snapshots can be compared.

A release that changes the layout raises ``VERSION`` and keeps reading the versions before it.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

from hazfence.books import Books
from hazfence.events import Event
from hazfence.states import from_json, to_json
from hazfence.story import Correction, Story
from hazfence.vehicles import Record, SpeedRun, open_key

__all__ = ["SnapshotError", "dump", "load"]

MAGIC = b"HZFS"
VERSION = 1
_HEAD = struct.Struct(">4sBI")
_LENGTH = struct.Struct(">I")


class SnapshotError(ValueError):
    """The bytes are no snapshot, are damaged, or are of a version this release cannot read."""


def dump(books: Books, sets: dict[int, tuple[str, ...]]) -> bytes:
    """Fleet, records, what of the stories must outlive a restart, and the sets in use, as bytes."""
    fleet, records, stories = books.fleet, books.records, books.stories
    columns = fleet.columns()
    used = np.unique(columns["key"]).tolist()
    header = {
        "names": fleet.names,
        "columns": {name: str(column.dtype.newbyteorder("<").str) for name, column in columns.items()},
        "sets": {str(key): sets[key] for key in used if key},
        "records": {str(code): _record_json(records[code]) for code in sorted(records)},
        "stories": {
            str(code): _story_json(story) for code, story in sorted(stories.items()) if story.worth_keeping
        },
    }
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode()
    body = b"".join(c.astype(c.dtype.newbyteorder("<"), copy=False).tobytes() for c in columns.values())
    packed = zlib.compress(_LENGTH.pack(len(text)) + text + body, level=1)
    return _HEAD.pack(MAGIC, VERSION, zlib.crc32(packed)) + packed


def load(data: bytes, books: Books) -> dict[int, tuple[str, ...]]:
    """Fill empty books from a snapshot; returns the sets in use.

    Raises:
        SnapshotError: see there.
    """
    if len(data) < _HEAD.size or data[:4] != MAGIC:
        raise SnapshotError("no snapshot: it does not begin with HZFS")
    _, version, crc = _HEAD.unpack_from(data)
    if version != VERSION:
        raise SnapshotError(
            f"snapshot version {version}, this release reads version {VERSION}: upgrade hazfence"
        )
    packed = data[_HEAD.size :]
    if zlib.crc32(packed) != crc:
        raise SnapshotError("snapshot damaged: its checksum does not match; go back to the one before")
    raw = zlib.decompress(packed)
    (length,) = _LENGTH.unpack_from(raw)
    header = json.loads(raw[_LENGTH.size : _LENGTH.size + length])
    at = _LENGTH.size + length
    columns = {}
    for name, dtype in header["columns"].items():
        size = np.dtype(dtype).itemsize * len(header["names"])
        columns[name] = np.frombuffer(raw[at : at + size], dtype)
        at += size
    books.fleet.restore(header["names"], columns)
    for code, record in header["records"].items():
        books.records[int(code)] = _record(record)
    for code, story in header["stories"].items():
        books.stories[int(code)] = _story(story)
    return {int(key): tuple(ids) for key, ids in header["sets"].items()}


def _record_json(record: Record) -> dict[str, Any]:
    run = record.run
    return {
        "open": [event.to_json() for event in record.open.values()],
        "run": None if run is None else {name: getattr(run, name) for name in SpeedRun.__slots__},
        "states": to_json(record.states),
    }


def _record(data: dict[str, Any]) -> Record:
    events = [Event.from_json(e) for e in data["open"]]
    return Record(
        open={open_key(e): e for e in events},
        run=None if data["run"] is None else SpeedRun(**data["run"]),
        states=from_json(data.get("states", {})),
    )


def _story_json(story: Story) -> dict[str, Any]:
    return {
        "base": None if story.base is None else _record_json(story.base),
        "silent_us": story.silent_us,
        "said": [event.to_json() for event in story.said.values()],
        "corrections": {event_id: list(c) for event_id, c in story.corrections.items()},
    }


def _story(data: dict[str, Any]) -> Story:
    said = [Event.from_json(e) for e in data["said"]]
    return Story(
        base=None if data["base"] is None else _record(data["base"]),
        silent_us=data["silent_us"],
        said={e.id: e for e in said},
        corrections={event_id: Correction(*c) for event_id, c in data["corrections"].items()},
    )
