"""What a snapshot says of each vehicle, written once and again only when it has changed.

You are in the core, below ``snapshot.py``, which puts these pieces into its frame. A piece is JSON: the
events that are named in it, each once; what is open, as places among them (now, in what was said before a
silence, then at each mark); the record; the story. Most vehicles are as they were at the snapshot before, and
of one that is not most marks are, so a host that takes snapshots often (:meth:`Engine.draft`) lets the engine
keep what it has written: then only what is new is written, and that a few vehicles at a time.

A piece depends on what is known of the vehicle alone, not on when or how often it was written, nor on
whether the vehicle is kept in columns or judged fix by fix.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.events import Event
from hazfence.presence import Fix
from hazfence.states import to_json
from hazfence.story import REMEMBERED_US, Mark, Story
from hazfence.vehicles import FOREVER_US, NEVER_US, Record, SpeedRun

if TYPE_CHECKING:
    from hazfence.books import Books

__all__ = ["Drafts", "encode", "inexact", "set_key"]

#: JSON as snapshots have it: the same value gives the same text.
encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode
_Codes = npt.NDArray[np.intp]


class _Told(NamedTuple):
    """A mark as text; what was open then beside it."""

    mark: Mark | None  # None for one made of columns, which nobody holds
    time_us: int
    text: str
    open: tuple[Event, ...]
    key: int  # of the set of fences that it names


@dataclass(slots=True)
class _Draft:
    """A vehicle's piece, and what is needed to write the next one."""

    text: str = ""
    keys: frozenset[int] = frozenset()
    events: dict[Event, str] = field(default_factory=dict)
    marks: list[_Told] = field(default_factory=list)
    plain_us: int = NEVER_US
    last_us: int = NEVER_US


class Drafts:
    """The pieces of all vehicles.

    Args:
        books: what they tell of.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._pieces: dict[int, _Draft] = {}
        self._changed = np.zeros(0, np.bool_)
        #: A piece is as it must be while its vehicle's last fix is not after this: nothing is too old in it.
        self._holds_us = np.zeros(0, np.int64)
        self._begun = False
        self._names: tuple[int, str] = (0, "")

    def touch(self, codes: int | npt.NDArray[np.int32]) -> None:
        """Note that something about these vehicles may change."""
        self._grow()
        self._changed[codes] = True

    def work(self, limit: int | None = None) -> bool:
        """Write the pieces of vehicles of which something is new, at most ``limit`` of them.

        Returns:
            True when all pieces are as they must be.
        """
        stale = self._stale()
        now = stale if limit is None else stale[:limit]
        for code in now.tolist():
            self._write(code)
        self._changed[now] = False
        return len(now) == len(stale)

    def text(self) -> str:
        """All pieces as the members of one JSON object, by vehicle."""
        return ",".join([self._pieces[code].text for code in sorted(self._pieces)])

    def keys(self) -> set[int]:
        """The keys of the sets of fences that are named in the pieces."""
        return set[int]().union(*[piece.keys for piece in self._pieces.values() if piece.keys])

    def names(self) -> str:
        """The vehicles' names as a JSON list; there are only ever more of them."""
        names, (done, text) = self._books.fleet.names, self._names
        if done < len(names):
            more = encode(names[done:])
            text = f"{text[:-1]},{more[1:]}" if done else more
            self._names = len(names), text
        return text or "[]"

    # ---------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        more = len(self._books.fleet) - len(self._changed)
        if more > 0:
            more = max(more, len(self._changed))
            self._changed = np.append(self._changed, np.zeros(more, np.bool_))
            self._holds_us = np.append(self._holds_us, np.full(more, FOREVER_US))

    def _stale(self) -> _Codes:
        self._grow()
        books, count = self._books, len(self._books.fleet)
        if not self._begun:
            self._begun = True
            self._changed[[*books.codes_of_records(), *books.codes_of_stories()]] = True
        return np.flatnonzero(self._changed[:count] | (books.fleet.time_us[:count] > self._holds_us[:count]))

    def _write(self, code: int) -> None:
        """Write a vehicle's piece anew, from what was written before as far as that still holds."""
        books, last_us = self._books, int(self._books.fleet.time_us[code])
        record, story = books.record_seen(code), books.stories.get(code)
        judged_us = books.plainly_judged_us(code)
        before = self._pieces.get(code) or _Draft()
        if story is None and judged_us is None and record.idle:
            self._pieces.pop(code, None)
            self._holds_us[code] = FOREVER_US
            return
        draft = _Draft(last_us=last_us, plain_us=NEVER_US if story is None else story.plain_us)
        draft.marks = self._marks(code, before, draft, story, in_columns=judged_us is not None)
        limit_us = last_us - books.recent_us
        first = bisect_left(draft.marks, limit_us, key=lambda told: told.time_us) - 1
        if first > 0:
            del draft.marks[:first]
        holds_us = [told.time_us + books.recent_us for told in draft.marks[1:2]]
        if story is not None:
            books.trim(code, story)
            holds_us += [c.started_us + REMEMBERED_US for c in story.corrections.values()]
        self._holds_us[code] = min(holds_us, default=FOREVER_US)
        if story is None and judged_us is not None:
            story = Story()
        _put_together(code, draft, before.events, record, story, judged_us)
        self._pieces[code] = draft

    def _marks(
        self, code: int, before: _Draft, draft: _Draft, story: Story | None, *, in_columns: bool
    ) -> list[_Told]:
        """The marks of a vehicle, of which only those are told that were not there before."""
        known = {id(told.mark): told for told in before.marks if told.mark is not None}
        marks = [] if story is None else [known.get(id(mark)) or _tell(mark, mark) for mark in story.marks]
        if in_columns:
            after_us = draft.plain_us
            if before.last_us != NEVER_US and before.plain_us == draft.plain_us:
                # In columns time only goes on; what is told again is in a story of its own from then on.
                after_us = max(after_us, before.last_us)
                marks += [told for told in before.marks if told.mark is None]
            marks += [_tell(mark, None) for mark in self._books.plain_marks(code, after_us)]
        return marks


def set_key(fix: Fix) -> int:
    """The key of the set of fences that a fix names."""
    return sum(fence.key for fence in fix.fences) % 2**64


def inexact(fix: Fix) -> list[float]:
    """What is written of a fix's error: nothing where it is 0, as it mostly is."""
    return [fix.error_m] if fix.error_m else []


def _tell(mark: Mark, kept: Mark | None) -> _Told:
    prev, record = mark.prev, mark.record
    key, fix = 0, "null"
    if prev is not None:
        key = set_key(prev)
        speed = None if math.isnan(prev.speed_kmh) else prev.speed_kmh
        fix = encode([prev.time_us, prev.lon, prev.lat, speed, str(key), *inexact(prev)])
    text = f"[{fix},{_remembered(record)},{mark.since_us}]"
    return _Told(kept, mark.time_us, text, record.standing(), key)


def _remembered(record: Record) -> str:
    """A record without what is open."""
    run = record.run
    ran = None if run is None else {name: getattr(run, name) for name in SpeedRun.__slots__}
    return encode([ran, to_json(record.states)])


def _put_together(
    code: int,
    draft: _Draft,
    known: Mapping[Event, str],
    record: Record,
    story: Story | None,
    judged_us: int | None,
) -> None:
    """Write the text of a draft whose marks are there."""
    numbers: dict[Event, int] = {}

    def places(events: Iterable[Event]) -> list[int]:
        return [numbers.setdefault(event, len(numbers)) for event in events]

    opened = [places(record.standing())]
    told = "null"
    if story is not None:
        base = "null"
        opened += [[], places(story.said.values())]
        if story.base is not None:
            opened[1], base = places(story.base.standing()), _remembered(story.base)
        opened += [places(mark.open) for mark in draft.marks]
        corrections = encode({event_id: list(c) for event_id, c in story.corrections.items()})
        judged_us = story.judged_us if judged_us is None else judged_us
        marks = ",".join([mark.text for mark in draft.marks])
        told = f"[{judged_us},{base},{encode(story.silent_us)},{corrections},[{marks}]]"
    now = "null" if record.idle else _remembered(record)
    draft.events = {event: known.get(event) or encode(event.to_json()) for event in numbers}
    draft.keys = frozenset(mark.key for mark in draft.marks) - {0}
    draft.text = f'"{code}":[[{",".join(draft.events.values())}],{encode(opened)},{now},{told}]'
