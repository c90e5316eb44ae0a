"""What rules remember of a vehicle between two fixes: small frozen records, one a rule.

You are on the lowest floor of the core, below ``vehicles.py``, whose ``Record`` holds at most one
of each of these by its ``name``. They are frozen, so copying a record is copying a dict, and made
of plain values, so ``snapshot.py`` writes them as JSON. What they mean is told by the rule that
owns them, in ``hazfence.rules``.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

__all__ = [
    "Drive",
    "Leaning",
    "Motion",
    "OffRoute",
    "Parked",
    "Segment",
    "State",
    "Trust",
    "Unsure",
    "Waver",
    "Wavering",
    "from_json",
    "to_json",
    "unassured",
]


@dataclass(frozen=True, slots=True)
class State:
    """Base of all states."""

    name: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Motion(State):
    """Does it stand or move, since which fix, and where that was (``rules.driving``)."""

    name: ClassVar[str] = "motion"
    moving: bool
    since_us: int
    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class Parked(State):
    """Standing where it may stand only for a while (``rules.driving.overpark``)."""

    name: ClassVar[str] = "parked"
    since_us: int
    lon: float
    lat: float
    fence_id: str


@dataclass(frozen=True, slots=True)
class Drive(State):
    """Driving without a rest (``rules.driving.overdrive``).

    Attributes:
        since_us: the first moving fix after the last rest; None when nothing is known.
        rest_us: since when it has not been driving; None while it drives.
        past: (first, last) moments of the stretches before, as far as the last 24 h need them.
        limits: (part, moment at which driving on reaches that limit), for this stretch.
    """

    name: ClassVar[str] = "drive"
    since_us: int | None
    rest_us: int | None
    past: tuple[tuple[int, int], ...] = ()
    limits: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class OffRoute(State):
    """Off the dedicated routes (``rules.routes``); ``said`` once the departure is an event."""

    name: ClassVar[str] = "off_route"
    since_us: int
    lon: float
    lat: float
    fence_id: str
    said: bool = False


@dataclass(frozen=True, slots=True)
class Segment(State):
    """On the way from a checkpoint to the next one (``rules.segments``)."""

    name: ClassVar[str] = "segment"
    fence_id: str
    left_us: int
    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class Trust(State):
    """Fixes are in doubt (``rules.trust``); while it is there, every fix is judged.

    Attributes:
        hold: time, place, speed and fences of the last fix that could be trusted, and its error where it
            has one; None when the doubt is over and only one more fix is watched.
        last: the same of the last suspect fix.
        since_us: the first suspect fix.
        count: suspect fixes so far that agree with one another.
        why: ``teleport``, ``spoof`` or ``frozen``.
    """

    name: ClassVar[str] = "trust"
    hold: tuple[Any, ...] | None
    last: tuple[Any, ...]
    since_us: int
    count: int
    why: str


class Waver(NamedTuple):
    """A border crossed that does not count yet (``settle.py``).

    Attributes:
        fence_id: whose border.
        inside: whether the vehicle still counts as inside.
        at_us, prev_us, fix_us: the crossing, and the two fixes around it.
        lon, lat: where.
        edge: how, an ``Edge`` of ``presence.py``.
        touched: the checkpoints that it had to do with since.
        sure: how certain it is that there were no others, a ``Certainty`` of ``rules/prism.py``.
    """

    fence_id: str
    inside: bool
    at_us: int
    prev_us: int
    fix_us: int
    lon: float
    lat: float
    edge: str
    touched: tuple[str, ...]
    sure: str = "certain"


@dataclass(frozen=True, slots=True)
class Wavering(State):
    """Near borders that it may or may not have crossed; while it is there, every fix is judged."""

    name: ClassVar[str] = "wavering"
    borders: tuple[Waver, ...]

    def __post_init__(self) -> None:
        # From JSON they come as plain tuples, from older releases without the last word: what led to the
        # crossing was not kept then, so nothing that follows is certain.
        plain: tuple[tuple[Any, ...], ...] = self.borders
        full = len(Waver._fields)
        object.__setattr__(self, "borders", tuple(Waver(*(*border, "probable")[:full]) for border in plain))


@dataclass(frozen=True, slots=True)
class Leaning(State):
    """Nearer to districts' borders than the last fix may be wrong, where it counts (``settle.py``).

    While it is there, every fix is judged.

    Attributes:
        borders: (fence, how certain it is, a ``Certainty``, that no checkpoint was passed since the last fix
            that was farther away).
    """

    name: ClassVar[str] = "leaning"
    borders: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Unsure(State):
    """Visits to restricted zones of which it is not certain yet that they are (``rules.zones``).

    While it is there, every fix is judged: one that lies far enough inside makes them certain.
    """

    name: ClassVar[str] = "unsure"
    fences: tuple[str, ...]


_KNOWN: dict[str, type[State]] = {
    c.name: c for c in (Motion, Parked, Drive, OffRoute, Segment, Trust, Wavering, Leaning, Unsure)
}

_FIELDS = {name: tuple(field.name for field in fields(kind)) for name, kind in _KNOWN.items()}


def unassured(states: dict[str, State], fence_ids: Collection[str] | None = None) -> dict[str, State]:
    """The same states, but of borders that were redrawn it is not certain that no checkpoint was passed.

    Which fixes were surely on their side was said of the border as it was.

    Args:
        states: of a record, by name.
        fence_ids: whose borders; None for all.
    """

    def but_probable(fence_id: str, sure: str) -> str:
        redrawn = fence_ids is None or fence_id in fence_ids
        return "probable" if redrawn and sure == "certain" else sure

    found = dict(states)
    wavering, leaning = states.get(Wavering.name), states.get(Leaning.name)
    if isinstance(wavering, Wavering):
        borders = (b._replace(sure=but_probable(b.fence_id, b.sure)) for b in wavering.borders)
        found[Wavering.name] = Wavering(tuple(borders))
    if isinstance(leaning, Leaning):
        found[Leaning.name] = Leaning(tuple((i, but_probable(i, sure)) for i, sure in leaning.borders))
    return found


def to_json(states: dict[str, State]) -> dict[str, Any]:
    """The states of a record as a JSON-able dict; an unknown speed is None."""
    return {
        name: {field: _plain(getattr(states[name], field)) for field in _FIELDS[name]}
        for name in sorted(states)
    }


def from_json(data: dict[str, Any]) -> dict[str, State]:
    """What :func:`to_json` gave; lists become tuples again."""
    return {name: _KNOWN[name](**{k: _tuples(v) for k, v in fields.items()}) for name, fields in data.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return None if value != value else value


def _tuples(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return tuple(math.nan if v is None else _tuples(v) for v in value)
