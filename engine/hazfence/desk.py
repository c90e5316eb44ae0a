"""What is worth telling a person: shelves and chatter, counted, while every row is stored all the same.

You are in the core, behind the engine: :class:`Desk` stands between its events and whoever is alarmed by
them (a screen, a phone), never between them and the store. Two things are held back. A *shelf* (搁置): by
configuration, certain kinds of certain vehicles in certain fences are known about until some moment.
*Chatter*: the same kind of the same vehicle in the same fence again, shortly after the last one ended.
Nothing is lost: each is counted by reason and kind, and an event told once is told to its end. ISA-18.2
knows both under these names.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hazfence.events import Event, Kind, Phase, from_iso

__all__ = ["Desk", "DeskError", "Shelf"]

_FOREVER_US = 2**62


class DeskError(ValueError):
    """A desk's configuration that cannot be used; names the place and the mend."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is put aside; an empty set stands for all.

    Attributes:
        kinds, vehicles, fences: of the events.
        from_us, to_us: events that begin in [from, to), microseconds UTC.
        why: for people.
    """

    kinds: frozenset[str] = frozenset()
    vehicles: frozenset[str] = frozenset()
    fences: frozenset[str] = frozenset()
    from_us: int = 0
    to_us: int = _FOREVER_US
    why: str = ""

    def holds(self, event: Event) -> bool:
        """Whether the event lies on it."""
        return (
            (not self.kinds or event.kind in self.kinds)
            and (not self.vehicles or event.vehicle in self.vehicles)
            and (not self.fences or event.fence_id in self.fences)
            and self.from_us <= event.started_us < self.to_us
        )


class Desk:
    """Tells events, or holds them back and counts them.

    Args:
        given: JSON::

            {"quiet_s": {"overspeed": 120, "*": 30},
             "shelves": [{"kinds": ["overpark"], "fences": ["yard"], "until": "2026-03-05T00:00:00+08:00",
                          "why": "gate under repair"}]}

    Raises:
        DeskError: an unknown key or kind, a value that cannot be meant.

    Attributes:
        held: how many revisions were held back, by (``shelved`` or ``chatter``, kind).

    Example:
        >>> desk = Desk({"quiet_s": {"*": 60}})
        >>> for event in desk.tell(engine.process(batch)):
        ...     ...
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        given = given or {}
        if unknown := sorted(set(given) - {"quiet_s", "shelves"}):
            raise DeskError(f"desk: has no key {unknown[0]!r}; it has quiet_s, shelves")
        self._quiet_us = _quiet(given.get("quiet_s", {}))
        self._shelves = tuple(
            _shelf(s, f"desk, shelves[{i}]") for i, s in enumerate(given.get("shelves", []))
        )
        self.held: Counter[tuple[str, str]] = Counter()
        self._told: dict[str, Event] = {}
        self._held: dict[str, str] = {}
        self._last: dict[tuple[str, str, str], int] = {}

    def tell(self, events: Iterable[Event]) -> list[Event]:
        """Those of the events that are to be told, in their order; visits are none of its business."""
        return [event for event in events if event.kind is Kind.VISIT or self._tells(event)]

    def holds(self, event: Event) -> bool:
        """Whether an event that goes on is being held back."""
        return event.id in self._held

    def _tells(self, event: Event) -> bool:
        why = self._held.get(event.id)
        if why is None and event.id not in self._told:
            why = self._why(event)
        if why is not None:
            self.held[why, str(event.kind)] += 1
            self._held[event.id] = why
            if event.is_over:
                del self._held[event.id]
        else:
            self._told[event.id] = event
        if event.phase is not Phase.RETRACTED:
            key = (str(event.kind), event.vehicle, event.fence_id or "")
            end_us = event.started_us if event.ended_us is None else event.ended_us
            self._last[key] = max(self._last.get(key, end_us), end_us)
        if event.is_over:
            self._told.pop(event.id, None)
        return why is None

    def _why(self, event: Event) -> str | None:
        """Why an event not told before is not to be told; None when it is."""
        if any(shelf.holds(event) for shelf in self._shelves):
            return "shelved"
        quiet_us = self._quiet_us.get(str(event.kind), self._quiet_us.get("*", 0))
        last_us = self._last.get((str(event.kind), event.vehicle, event.fence_id or ""))
        if last_us is not None and 0 <= event.started_us - last_us < quiet_us:
            return "chatter"
        return None


def _quiet(given: Any) -> dict[str, int]:
    if not isinstance(given, Mapping):
        raise DeskError(f'desk, quiet_s: is {given!r}; write seconds by kind, such as {{"*": 60}}')
    quiet = {}
    for kind, seconds in given.items():
        if kind != "*":
            _kind(kind, "desk, quiet_s")
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not number or not 0 <= seconds < math.inf:
            raise DeskError(f"desk, quiet_s of {kind!r}: is {seconds!r}; give seconds, at least 0")
        quiet[kind] = round(seconds * 1e6)
    return quiet


def _shelf(given: Any, where: str) -> Shelf:
    keys = {"kinds", "vehicles", "fences", "from", "until", "why"}
    if not isinstance(given, Mapping) or not set(given) & (keys - {"why"}):
        raise DeskError(f"{where}: is {given!r}; write an object with kinds, vehicles, fences, from or until")
    if unknown := sorted(set(given) - keys):
        raise DeskError(f"{where}: has no key {unknown[0]!r}; it has {', '.join(sorted(keys))}")
    sets = {}
    for key in ("kinds", "vehicles", "fences"):
        names = given.get(key, [])
        if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
            raise DeskError(f"{where}, {key}: is {names!r}; write a list of names")
        sets[key] = frozenset(names)
    for kind in sets["kinds"]:
        _kind(kind, where)
    moments = {}
    for key, default in (("from", 0), ("until", _FOREVER_US)):
        try:
            moments[key] = from_iso(given[key]) if key in given else default
        except (TypeError, ValueError):
            raise DeskError(f"{where}, {key}: is {given[key]!r}; write 2026-03-05T00:00:00+08:00") from None
    if moments["from"] >= moments["until"]:
        raise DeskError(f"{where}: ends before it begins; swap from and until, or correct them")
    return Shelf(**sets, from_us=moments["from"], to_us=moments["until"], why=str(given.get("why", "")))


def _kind(kind: str, where: str) -> None:
    if kind not in set(Kind) - {Kind.VISIT}:
        raise DeskError(f"{where}: there is no kind {kind!r}; known are {', '.join(sorted(set(Kind)))}")
