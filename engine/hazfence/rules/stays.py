"""Staying too long in a fence: ``overstay``, the first of the four kinds of 超时 (长时间滞留).

You are in ``hazfence.rules``. The limit is the fence's ``max_stay_min`` (a hazmat park: 6 h, a weak
source), or what its ``rules`` say for a vehicle class or for the hour of entry.
"""

from __future__ import annotations

from collections.abc import Callable

from hazfence.events import Event, Kind, Phase, Severity, event_id, iso
from hazfence.rules.book import Params
from hazfence.visits import entered_by
from hazfence_fences import Fence

__all__ = ["overstay", "overstay_deadline_us"]


def overstay_deadline_us(visit: Event, params: Params | None) -> int | None:
    """The last moment at which the visit is not yet too long; None when there is no limit."""
    if params is None or params["max_min"] is None:
        return None
    limit_min: float = params["max_min"]
    return visit.started_us + round(limit_min * 60e6)


def overstay(
    visit: Event,
    fence: Fence,
    params: Params | None,
    until_us: int,
    lon: float,
    lat: float,
    seen: Callable[[int], list[str]],
) -> Event | None:
    """超时滞留: a visit longer than its limit.

    Begins at the deadline, whenever it is noticed: by the next fix, or in silence.

    Args:
        until_us: up to when the vehicle is known (or, in silence, taken) to have stayed.
        lon, lat: the vehicle's last known place at the deadline.
        seen: gives the last fixes not after a moment of the step, as told.
    """
    deadline_us = overstay_deadline_us(visit, params)
    if deadline_us is None or params is None or until_us <= deadline_us:
        return None
    return Event(
        id=event_id(Kind.OVERSTAY, visit.vehicle, fence.id, deadline_us),
        kind=Kind.OVERSTAY,
        vehicle=visit.vehicle,
        fence_id=fence.id,
        fence_version=fence.version,
        revision=1,
        phase=Phase.OPENED,
        started_us=deadline_us,
        ended_us=None,
        lon=lon,
        lat=lat,
        severity=Severity.BREACH,
        detail={
            "entered_at": iso(visit.started_us),
            "max_stay_min": params["max_min"],
            # How it came in, and where it was seen last before the limit.
            "fixes": sorted({*entered_by(visit), *seen(deadline_us)}),
        },
    )
