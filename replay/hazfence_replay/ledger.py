"""From a stream of revisions to what stands in the end: rows of visits and breaches.

You are behind the engine. It speaks in revisions (opened, amended, closed, retracted); people and
tables want one row a fact. :func:`latest` keeps the last word on each; :func:`visit_rows` and
:func:`breach_rows` turn these into plain rows that the CLI prints, the map draws and the tests
compare. Next rooms: ``compare.py`` (rows against planted truth), ``map/`` (rows as pictures).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hazfence.events import Event, Phase, iso

__all__ = ["BreachRow", "VisitRow", "breach_rows", "latest", "visit_rows"]


@dataclass(frozen=True, slots=True)
class VisitRow:
    """One stay inside a fence.

    Attributes:
        vehicle, fence_id: who and where.
        entered_us: when, microseconds UTC.
        left_us: when; None while still inside.
        stay_s: seconds between both; None while still inside.
    """

    vehicle: str
    fence_id: str
    entered_us: int
    left_us: int | None

    @property
    def stay_s(self) -> float | None:
        """Seconds between entering and leaving; None while still inside."""
        return None if self.left_us is None else (self.left_us - self.entered_us) / 1e6

    def cells(self) -> tuple[str, str, str, str, str]:
        """The row as text: vehicle, fence, entered, left, stay (``h:mm:ss``)."""
        stay = "" if self.stay_s is None else _hms(self.stay_s)
        left = "still inside" if self.left_us is None else iso(self.left_us)
        return self.vehicle, self.fence_id, iso(self.entered_us), left, stay


@dataclass(frozen=True, slots=True)
class BreachRow:
    """One breach as it stands.

    Attributes:
        id: of the event.
        kind, vehicle, fence_id: what, who and where.
        started_us, ended_us: microseconds UTC; ``ended_us`` None while it goes on.
        lon, lat: degrees WGS-84, where it began.
        detail: what the verdict rests on, as in the event.
    """

    id: str
    kind: str
    vehicle: str
    fence_id: str
    started_us: int
    ended_us: int | None
    lon: float
    lat: float
    detail: Mapping[str, Any] = field(default_factory=dict, hash=False)


def latest(events: Iterable[Event]) -> list[Event]:
    """The highest revision of every event, without the retracted, by start, vehicle and kind."""
    last: dict[str, Event] = {}
    for event in events:
        known = last.get(event.id)
        if known is None or event.revision > known.revision:
            last[event.id] = event
    standing = [e for e in last.values() if e.phase != Phase.RETRACTED]
    return sorted(standing, key=lambda e: (e.started_us, e.vehicle, e.kind, e.fence_id or ""))


def visit_rows(events: Iterable[Event]) -> list[VisitRow]:
    """The visits among the events, one row each, by time of entering."""
    return [
        VisitRow(e.vehicle, e.fence_id or "", e.started_us, e.ended_us) for e in latest(events) if e.is_visit
    ]


def breach_rows(events: Iterable[Event]) -> list[BreachRow]:
    """The breaches among the events, one row each, by time of their beginning."""
    return [
        BreachRow(
            id=e.id,
            kind=str(e.kind),
            vehicle=e.vehicle,
            fence_id=e.fence_id or "",
            started_us=e.started_us,
            ended_us=e.ended_us,
            lon=e.lon,
            lat=e.lat,
            detail=e.detail,
        )
        for e in latest(events)
        if not e.is_visit
    ]


def _hms(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
