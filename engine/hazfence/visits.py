"""Visits as events: how one opens and how what goes on is closed, said in one place.

You are in the core, below ``judge.py``, which judges fix by fix, and ``plain.py``, which opens and
closes the plain visits of many vehicles in columns. Both say the same thing of the same visit, to the
last byte, because both say it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hazfence.events import Event, Kind, Phase, event_id, iso
from hazfence.presence import Edge
from hazfence_fences import Fence

__all__ = ["BORDER", "between", "closed", "entered_by", "exit_detail", "opened"]

#: Edges that lie between two fixes.
BORDER = (Edge.CROSSING, Edge.GAP)


def opened(
    vehicle: str,
    fence: Fence,
    at_us: int,
    place: tuple[float, float],
    begins: Edge,
    fixes_us: tuple[int, int] | None,
    *,
    sure: str | None = None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Event:
    """A visit that begins.

    Args:
        vehicle: its name.
        fence: the fence visited.
        at_us, place: when and where it begins.
        begins: how.
        fixes_us: times of the two fixes that it lies between, when it is a border crossed.
        sure: None when a fix lies in the stay; else it rests on a segment alone, and so certain is that, a
            ``Certainty`` of ``rules/prism.py``.
        more: what else belongs to the detail.
    """
    return Event(
        id=event_id(Kind.VISIT, vehicle, fence.id, at_us),
        kind=Kind.VISIT,
        vehicle=vehicle,
        fence_id=fence.id,
        fence_version=fence.version,
        revision=1,
        phase=Phase.OPENED,
        started_us=at_us,
        ended_us=None,
        lon=place[0],
        lat=place[1],
        detail={
            "fence_kind": str(fence.kind),
            "entry": str(begins),
            "entry_between": between(fixes_us if begins in BORDER else None),
            **({"witness": "fix"} if sure is None else {"witness": "segment", "certainty": str(sure)}),
            **more,
        },
    )


def closed(event: Event, at_us: int, place: tuple[float, float], detail: Mapping[str, Any]) -> Event:
    """The last revision of what went on."""
    # Said in full: it is said of every visit, and `dataclasses.replace` takes four times as long.
    return Event(
        id=event.id,
        kind=event.kind,
        vehicle=event.vehicle,
        fence_id=event.fence_id,
        fence_version=event.fence_version,
        revision=event.revision + 1,
        phase=Phase.CLOSED,
        started_us=event.started_us,
        ended_us=at_us,
        lon=event.lon,
        lat=event.lat,
        end_lon=place[0],
        end_lat=place[1],
        severity=event.severity,
        detail=detail,
    )


def exit_detail(
    event: Event, how: Edge, fixes_us: tuple[int, int] | None, more: Mapping[str, Any]
) -> dict[str, Any]:
    """The detail of what ends with a visit, and of the visit itself.

    Args:
        event: as last said.
        how: the way the visit ends.
        fixes_us: times of the two fixes that the end lies between, if it does.
        more: what only the visit says.
    """
    detail: dict[str, Any] = {**event.detail, "exit": str(how)}
    if event.kind is Kind.VISIT:
        detail["exit_between"] = between(fixes_us)
        detail.update(more)
    return detail


def entered_by(visit: Event) -> list[str]:
    """The fixes that the beginning of a visit rests on: the two around the border, or the first one inside.

    Empty when the vehicle did nothing: the fence came into force, or was drawn, around it.
    """
    if visit.detail["entry"] == Edge.FIRST_FIX:
        return [iso(visit.started_us)]
    return list(visit.detail["entry_between"] or ())


def between(fixes_us: tuple[int, int] | None) -> list[str] | None:
    """Two moments as they are told."""
    return None if fixes_us is None else [iso(fixes_us[0]), iso(fixes_us[1])]
