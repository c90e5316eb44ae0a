"""A snapshot: all that the engine knows, as bytes, and back.

You are in the core, called by ``engine.py``. Layout: the magic ``HZFS``, a version (1 byte), a
CRC-32 (4 bytes, big endian) of what follows, then a zlib stream of: the length of a JSON header
(4 bytes, big endian), the header, and columns one behind the other: those of the fleet, then those
of the recent fixes. The header holds a piece for each vehicle of which more is known than its last fix
(``drafts.py`` writes them) and the fence ids behind each set key in use. The same state gives the same
bytes, so snapshots can be compared. :func:`dump` takes the state down, :meth:`Frozen.pack` packs it, which
takes longer, needs the engine no more and leaves Python to others.

A release that changes the layout raises ``VERSION`` and keeps reading the versions before it.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.books import LONG_AGO_US, Books
from hazfence.drafts import Drafts, encode, inexact
from hazfence.events import Event
from hazfence.presence import Fix
from hazfence.states import from_json, to_json
from hazfence.story import Correction, Mark, Story
from hazfence.track import Track
from hazfence.vehicles import Record, SpeedRun, open_key
from hazfence_fences import Fence, FenceSet

__all__ = [
    "READABLE",
    "Frozen",
    "Opened",
    "SnapshotError",
    "dump",
    "load",
    "pack_mark",
    "unpack",
    "unpack_mark",
]

MAGIC = b"HZFS"
VERSION = 3
#: Every version that this release restores; ``tests/data/snapshot_v*.json`` holds one of each.
READABLE = (1, 2, 3)
_HEAD = struct.Struct(">4sBI")
_LENGTH = struct.Struct(">I")
_Columns = dict[str, npt.NDArray[np.generic]]
_FencesOf = Callable[[int], tuple[Fence, ...]]


class SnapshotError(ValueError):
    """The bytes are no snapshot, are damaged, or are of a version this release cannot read."""


class Frozen(NamedTuple):
    """The state of an engine at one moment, taken down and not packed yet."""

    parts: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes that there are to pack."""
        return sum(map(len, self.parts))

    def pack(self) -> bytes:
        """The snapshot; may run in a thread of its own."""
        packed = zlib.compress(b"".join(self.parts), level=1)
        return _HEAD.pack(MAGIC, VERSION, zlib.crc32(packed)) + packed


def dump(books: Books, ids_of: Callable[[int], tuple[str, ...]], terms: str, *, with_recent: bool) -> Frozen:
    """The books and the sets in use; recent fixes only when asked for.

    Args:
        books: all that is known.
        ids_of: the fence ids behind a set key.
        terms: a fingerprint of the fences and limits that verdicts are made under.
        with_recent: see :meth:`Engine.snapshot`.
    """
    drafts = books.drafts or Drafts(books)
    drafts.work()
    fleet = books.fleet.columns()
    recent: _Columns = {}
    if with_recent:
        codes, track = books.recent.all()
        recent = {"codes": codes, **{name: c for name, c in track._asdict().items() if c is not None}}
    used = np.unique(np.concatenate((fleet["key"], recent.get("key", fleet["key"])))).tolist()
    keys = sorted({*used, *drafts.keys()} - {0})
    rest = {
        "fleet": _described(fleet),
        "recent": _described(recent),
        "sets": {str(key): ids_of(key) for key in keys},
        "terms": terms,
    }
    text = f'{{"names":{drafts.names()},"told":{{{drafts.text()}}},{encode(rest)[1:]}'.encode()
    little = [c.astype(c.dtype.newbyteorder("<"), copy=False) for c in (*fleet.values(), *recent.values())]
    return Frozen((_LENGTH.pack(len(text)), text, *[c.tobytes() for c in little]))


class Opened(NamedTuple):
    """A snapshot unpacked, once for all that is read from it."""

    header: dict[str, Any]
    body: bytes

    @property
    def sets(self) -> dict[int, tuple[str, ...]]:
        """The fence ids behind each set key that it uses."""
        return {int(key): tuple(ids) for key, ids in self.header["sets"].items()}

    @property
    def tells_overdriven(self) -> bool:
        """Whether it says which vehicles drive for too long; older ones, and those without one, do not."""
        return "overdriven" in self.header["fleet"]

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
    books.grow()
    told = _told(header, fences_of) if "told" in header else _told_by_older(header, fences_of)
    for code, record, story in told:
        books.stays.set_apart(code)
        if record is not None:
            books.records[code] = record
            if record.unsure:
                books.fleet.doubted[code] = record.doubted
        if story is not None:
            books.stories[code] = story
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
    fix, record = mark.prev, mark.record
    prev: list[Any] | None = None
    if fix is not None:
        speed = None if math.isnan(fix.speed_kmh) else fix.speed_kmh
        prev = [fix.time_us, fix.lon, fix.lat, speed, [fence.id for fence in fix.fences], *inexact(fix)]
    run, events = record.run, record.standing()
    now = {
        "open": list(range(len(events))),
        "run": None if run is None else {name: getattr(run, name) for name in SpeedRun.__slots__},
        "states": to_json(record.states),
    }
    return encode([prev, now, [event.to_json() for event in events]]).encode()


def unpack_mark(state: bytes, since_us: int, fences: FenceSet) -> Mark:
    """What :func:`pack_mark` gave; fences that are gone are left out."""
    prev, record, events = json.loads(state)
    fix = None
    if prev is not None:
        time_us, lon, lat, speed, ids, *error_m = prev
        members = tuple(fences[i] for i in ids if i in fences)
        fix = Fix(time_us, lon, lat, math.nan if speed is None else speed, members, error_m=sum(error_m))
    reader = _Reader([Event.from_json(event) for event in events], lambda _: ())
    return Mark(fix, reader.record(record), since_us)


def _told(header: dict[str, Any], fences_of: _FencesOf) -> Iterator[tuple[int, Record | None, Story | None]]:
    """Record and story of each vehicle."""
    for code, (events, opened, now, story) in header["told"].items():
        known = [Event.from_json(event) for event in events]
        going_on = iter(opened)
        record = _record(known, next(going_on), now)
        if story is None:
            yield int(code), record, None
            continue
        judged_us, base, silent_us, corrections, marks = story
        before = _record(known, next(going_on), base)
        said = [known[i] for i in next(going_on)]
        found = []
        for (prev, state, since_us), places in zip(marks, going_on, strict=True):
            then = _record(known, places, state)
            assert then is not None
            found.append(Mark(_fix(prev, fences_of), then, since_us))
        yield int(code), record, Story(
            marks=found,
            judged_us=judged_us,
            base=before,
            silent_us=silent_us,
            said={event.id: event for event in said},
            corrections={event_id: Correction(*c) for event_id, c in corrections.items()},
        )  # fmt: skip


def _record(events: list[Event], places: list[int], remembered: list[Any] | None) -> Record | None:
    if remembered is None:
        return None
    run, states = remembered
    going_on = {open_key(events[i]): events[i] for i in places}
    return Record(going_on, None if run is None else SpeedRun(**run), from_json(states))


def _fix(data: list[Any] | None, fences_of: _FencesOf) -> Fix | None:
    if data is None:
        return None
    time_us, lon, lat, speed, key, *error_m = data
    kmh = math.nan if speed is None else speed
    return Fix(time_us, lon, lat, kmh, fences_of(int(key)), error_m=sum(error_m))


def _told_by_older(
    header: dict[str, Any], fences_of: _FencesOf
) -> Iterator[tuple[int, Record | None, Story | None]]:
    """The same of versions 1 and 2, which have each event of all vehicles in one list."""
    reader = _Reader([Event.from_json(event) for event in header["events"]], fences_of)
    for code, record in header["records"].items():
        yield int(code), reader.record(record), None
    for code, story in header["stories"].items():
        yield int(code), None, reader.story(story)


class _Reader:
    """Records and stories as versions 1 and 2 have them, and milestones still do."""

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
                Mark(_fix(prev, self._fences_of), self.record(record), since)
                for prev, record, since in data["marks"]
            ],
            judged_us=data["judged_us"],
            base=None if data["base"] is None else self.record(data["base"]),
            silent_us=data["silent_us"],
            said={e.id: e for e in said},
            corrections={event_id: Correction(*c) for event_id, c in data["corrections"].items()},
        )
