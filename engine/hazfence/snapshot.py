"""A snapshot: all that the engine knows, as bytes, and back.

You are in the core, called by ``engine.py``. Layout: the magic ``HZFS``, a version (1 byte), a
CRC-32 (4 bytes, big endian) of what follows, then a zlib stream of: the length of a JSON header
(4 bytes, big endian), the header, and columns one behind the other: those of the fleet, then those
of the recent fixes. The header holds what plain Python judges (records and stories; each event
once, in ``events``, named by its place) and the fence ids behind each set key in use. The same
state gives the same bytes, so snapshots can be compared.

A release that changes the layout raises ``VERSION`` and keeps reading the versions before it.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.books import LONG_AGO_US, Books
from hazfence.events import Event
from hazfence.presence import Fix
from hazfence.recent import Track
from hazfence.states import from_json, to_json
from hazfence.story import Correction, Mark, Story
from hazfence.vehicles import Record, SpeedRun, open_key
from hazfence_fences import Fence, FenceSet

__all__ = ["READABLE", "Opened", "SnapshotError", "dump", "load", "pack_mark", "unpack", "unpack_mark"]

MAGIC = b"HZFS"
VERSION = 2
#: Every version that this release restores; ``tests/data/snapshot_v*.json`` holds one of each.
READABLE = (1, 2)
_HEAD = struct.Struct(">4sBI")
_LENGTH = struct.Struct(">I")
_Columns = dict[str, npt.NDArray[np.generic]]


class SnapshotError(ValueError):
    """The bytes are no snapshot, are damaged, or are of a version this release cannot read."""


def dump(books: Books, ids_of: Callable[[int], tuple[str, ...]], terms: str, *, with_recent: bool) -> bytes:
    """The books and the sets in use, as bytes; recent fixes only when asked for.

    Args:
        books: all that is known.
        ids_of: the fence ids behind a set key.
        terms: a fingerprint of the fences and limits that verdicts are made under.
        with_recent: see :meth:`Engine.snapshot`.
    """
    books.tidy()
    fleet = books.fleet.columns()
    recent: _Columns = {}
    if with_recent:
        codes, track = books.recent.all()
        recent = {"codes": codes, **track._asdict()}
    writer = _Writer()
    records = {
        str(code): writer.record(record)
        for code in books.codes_of_records()
        if not (record := books.record_seen(code)).idle
    }
    stories = {
        str(code): writer.story(story)
        for code in books.codes_of_stories()
        if (story := books.story_kept(code)) is not None
    }
    used = np.unique(np.concatenate((fleet["key"], recent.get("key", fleet["key"])))).tolist()
    keys = sorted({*used, *writer.keys} - {0})
    header = {
        "names": books.fleet.names,
        "fleet": _described(fleet),
        "recent": _described(recent),
        "sets": {str(key): ids_of(key) for key in keys},
        "terms": terms,
        "events": [event.to_json() for event in writer.events],
        "records": records,
        "stories": stories,
    }
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()
    little = [c.astype(c.dtype.newbyteorder("<"), copy=False) for c in (*fleet.values(), *recent.values())]
    packed = zlib.compress(_LENGTH.pack(len(text)) + text + b"".join(c.tobytes() for c in little), level=1)
    return _HEAD.pack(MAGIC, VERSION, zlib.crc32(packed)) + packed


class Opened(NamedTuple):
    """A snapshot unpacked, once for all that is read from it."""

    header: dict[str, Any]
    body: bytes

    @property
    def sets(self) -> dict[int, tuple[str, ...]]:
        """The fence ids behind each set key that it uses."""
        return {int(key): tuple(ids) for key, ids in self.header["sets"].items()}

    @property
    def terms(self) -> str | None:
        """The fingerprint of the fences and limits that it was made under; None where none is noted."""
        found: str | None = self.header.get("terms")
        return found


def load(opened: Opened, books: Books, fences_of: Callable[[int], tuple[Fence, ...]]) -> bool:
    """Fill empty books from a snapshot.

    Args:
        opened: see :func:`unpack`.
        books: new ones.
        fences_of: the fences behind a set key, as far as they still exist.

    Returns:
        whether the snapshot holds recent fixes.
    """
    header, body = opened
    fleet, at = _columns(header["fleet"], body, 0)
    recent, _ = _columns(header["recent"], body, at)
    books.fleet.restore(header["names"], fleet)
    books.filed_us = np.full(len(books.fleet), LONG_AGO_US)
    books.stays.grow(len(books.fleet))
    books.notes.grow(len(books.fleet))
    reader = _Reader([Event.from_json(event) for event in header["events"]], fences_of)
    for code, record in header["records"].items():
        books.stays.set_apart(int(code))
        books.records[int(code)] = reader.record(record)
    for code, story in header["stories"].items():
        books.stays.set_apart(int(code))
        books.stories[int(code)] = reader.story(story)
    if recent:
        codes = recent.pop("codes").astype(np.int32)
        books.recent.add(codes, Track(**recent))  # type: ignore[arg-type]
    return bool(header["recent"])


def _described(columns: _Columns) -> dict[str, Any]:
    """Names, dtypes and length of columns."""
    return {name: [c.dtype.newbyteorder("<").str, len(c)] for name, c in columns.items()}


def _columns(described: dict[str, Any], body: bytes, at: int) -> tuple[_Columns, int]:
    columns: _Columns = {}
    for name, (dtype, length) in described.items():
        size = np.dtype(dtype).itemsize * length
        little = np.frombuffer(body[at : at + size], dtype)
        columns[name] = little.astype(little.dtype.newbyteorder("="))
        at += size
    return columns, at


def unpack(data: bytes) -> Opened:
    """Header and columns of what :func:`dump` gave.

    Raises:
        SnapshotError: see there.
    """
    if len(data) < _HEAD.size or data[:4] != MAGIC:
        raise SnapshotError("no snapshot: it does not begin with HZFS")
    _, version, crc = _HEAD.unpack_from(data)
    if version not in READABLE:
        raise SnapshotError(
            f"snapshot version {version}, this release reads {', '.join(map(str, READABLE))}: "
            "install the release of hazfence that wrote it, or a newer one"
        )
    packed = data[_HEAD.size :]
    if zlib.crc32(packed) != crc:
        raise SnapshotError("snapshot damaged: its checksum does not match; go back to the one before")
    raw = zlib.decompress(packed)
    (length,) = _LENGTH.unpack_from(raw)
    at = _LENGTH.size + length
    return Opened(json.loads(raw[_LENGTH.size : at]), raw[at:])


def pack_mark(mark: Mark) -> bytes:
    """A mark as bytes that stand alone; fences by their ids."""
    writer = _Writer()
    prev = None if mark.prev is None else [*mark.prev[:3], None, [f.id for f in mark.prev.fences]]
    if prev is not None and mark.prev is not None and not math.isnan(mark.prev.speed_kmh):
        prev[3] = mark.prev.speed_kmh
    record = writer.record(mark.record)
    events = [event.to_json() for event in writer.events]
    return json.dumps([prev, record, events], ensure_ascii=True, separators=(",", ":")).encode()


def unpack_mark(state: bytes, since_us: int, fences: FenceSet) -> Mark:
    """What :func:`pack_mark` gave; fences that are gone are left out."""
    prev, record, events = json.loads(state)
    fix = None
    if prev is not None:
        time_us, lon, lat, speed, ids = prev
        members = tuple(fences[i] for i in ids if i in fences)
        fix = Fix(time_us, lon, lat, math.nan if speed is None else speed, members)
    reader = _Reader([Event.from_json(event) for event in events], lambda _: ())
    return Mark(fix, reader.record(record), since_us)


class _Writer:
    """Records and stories as JSON values, each event once in ``events``."""

    def __init__(self) -> None:
        self.events: dict[Event, int] = {}
        self.keys: set[int] = set()

    def record(self, record: Record) -> dict[str, Any]:
        run = record.run
        return {
            "open": [self._event(event) for event in record.standing()],
            "run": None if run is None else {name: getattr(run, name) for name in SpeedRun.__slots__},
            "states": to_json(record.states),
        }

    def story(self, story: Story) -> dict[str, Any]:
        return {
            "judged_us": story.judged_us,
            "base": None if story.base is None else self.record(story.base),
            "silent_us": story.silent_us,
            "said": [self._event(event) for event in story.said.values()],
            "corrections": {event_id: list(c) for event_id, c in story.corrections.items()},
            "marks": [[self._fix(m.prev), self.record(m.record), m.since_us] for m in story.marks],
        }

    def _event(self, event: Event) -> int:
        return self.events.setdefault(event, len(self.events))

    def _fix(self, fix: Fix | None) -> list[Any] | None:
        if fix is None:
            return None
        key = sum(fence.key for fence in fix.fences) % 2**64
        self.keys.add(key)
        speed = None if math.isnan(fix.speed_kmh) else fix.speed_kmh
        return [fix.time_us, fix.lon, fix.lat, speed, str(key)]


class _Reader:
    """The way back from :class:`_Writer`."""

    def __init__(self, events: list[Event], fences_of: Callable[[int], tuple[Fence, ...]]) -> None:
        self._events = events
        self._fences_of = fences_of

    def record(self, data: dict[str, Any]) -> Record:
        events = [self._events[i] for i in data["open"]]
        return Record(
            open={open_key(e): e for e in events},
            run=None if data["run"] is None else SpeedRun(**data["run"]),
            states=from_json(data.get("states", {})),
        )

    def story(self, data: dict[str, Any]) -> Story:
        said = [self._events[i] for i in data["said"]]
        return Story(
            marks=[
                Mark(self._fix(prev), self.record(record), since) for prev, record, since in data["marks"]
            ],
            judged_us=data["judged_us"],
            base=None if data["base"] is None else self.record(data["base"]),
            silent_us=data["silent_us"],
            said={e.id: e for e in said},
            corrections={event_id: Correction(*c) for event_id, c in data["corrections"].items()},
        )

    def _fix(self, data: list[Any] | None) -> Fix | None:
        if data is None:
            return None
        time_us, lon, lat, speed, key = data
        return Fix(time_us, lon, lat, math.nan if speed is None else speed, self._fences_of(int(key)))
