"""Zones in which hazmat vehicles may not be: ``restricted_entry`` always, ``curfew`` at times.

You are in ``hazfence.rules``. Both look at a stay in one fence: restricted_entry lasts as long as the
stay, curfew as long as the stay and the closed hours overlap. Source: GB/T 35658 6.1.2, the platform
itself raises area and time-ban alarms.
"""

from __future__ import annotations

import numpy as np

from hazfence.events import Event, Kind, Phase, Severity, event_id
from hazfence.rules.step import Span
from hazfence_fences import Fence, FenceKind, Schedule

__all__ = ["closed_hours", "restricted_entry"]


def restricted_entry(visit: Event, fence: Fence) -> Event | None:
    """闯禁: a visit to a restricted zone (GB/T 35658 6.1.2: the platform raises area alarms).

    A passage that no fix witnessed is no breach: the vehicle may have taken another way.
    """
    if fence.kind is not FenceKind.RESTRICTED or visit.detail["witness"] != "fix":
        return None
    return Event(
        id=event_id(Kind.RESTRICTED_ENTRY, visit.vehicle, fence.id, visit.started_us),
        kind=Kind.RESTRICTED_ENTRY,
        vehicle=visit.vehicle,
        fence_id=fence.id,
        fence_version=fence.version,
        revision=1,
        phase=Phase.OPENED,
        started_us=visit.started_us,
        ended_us=None,
        lon=visit.lon,
        lat=visit.lat,
        severity=Severity.BREACH,
        detail={"entry": visit.detail["entry"], "entry_between": visit.detail["entry_between"]},
    )


def closed_hours(hours: Schedule, start_us: int, end_us: int) -> list[tuple[Span, bool]]:
    """When a stay and the closed hours overlap.

    Args:
        hours: when the fence is closed.
        start_us, end_us: the stay, as far as it is known; end inclusive.

    Returns:
        (from, to) and whether the hours themselves ended it, in order.
    """
    found = []
    at_us = start_us
    while at_us <= end_us:
        change_us = hours.next_change(at_us)
        if bool(hours.in_force(np.array([at_us], np.int64))[0]):
            over = change_us is not None and change_us <= end_us
            found.append(((at_us, change_us if over and change_us is not None else end_us), over))
        if change_us is None:
            break
        at_us = change_us
    return found
