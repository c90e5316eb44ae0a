"""Zones in which hazmat vehicles may not be: ``restricted_entry``, ``possible_entry``, ``curfew`` at times.

You are in ``hazfence.rules``. All look at a stay in one fence: restricted_entry lasts as long as the stay,
possible_entry until it is certain (``prism.py``), curfew as long as the stay and the closed hours overlap.
Source: GB/T 35658 6.1.2, the platform itself raises area and time-ban alarms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hazfence.events import Event, Kind, Phase, Severity, event_id
from hazfence.rules.prism import Certainty
from hazfence.rules.step import Span
from hazfence.visits import entered_by
from hazfence_fences import Fence, Schedule

__all__ = ["closed_hours", "entry"]


def entry(visit: Event, fence: Fence, sure: Certainty = Certainty.CERTAIN, seen: Sequence[str] = ()) -> Event:
    """闯禁: a visit to a restricted zone (GB/T 35658 6.1.2: the platform raises area alarms).

    疑似闯禁 unless it is certain that the vehicle was inside: it may have taken another way, or its position
    may be wrong by more than it lies inside.

    Args:
        seen: the fixes that it rests on beside those that the visit began with.
    """
    certain = sure is Certainty.CERTAIN
    kind = Kind.RESTRICTED_ENTRY if certain else Kind.POSSIBLE_ENTRY
    return Event(
        id=event_id(kind, visit.vehicle, fence.id, visit.started_us),
        kind=kind,
        vehicle=visit.vehicle,
        fence_id=fence.id,
        fence_version=fence.version,
        revision=1,
        phase=Phase.OPENED,
        started_us=visit.started_us,
        ended_us=None,
        lon=visit.lon,
        lat=visit.lat,
        severity=Severity.BREACH if certain else Severity.WARNING,
        detail={
            "entry": visit.detail["entry"],
            "entry_between": visit.detail["entry_between"],
            "certainty": str(sure),
            "fixes": [*entered_by(visit), *seen],
        },
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
