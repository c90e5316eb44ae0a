"""When two facts are about the same thing, and where they differ.

You are in the replay's house, below explaining (is what comes out now what was stored?) and rehearsing (what
does a draft change?). Both compare what two engines say of one history.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hazfence.events import Event, Phase
from hazfence.postgis.storable import events_json

__all__ = ["TOLD_AS", "counterpart", "differences"]

#: Details that make facts of one kind, vehicle and fence different ones.
_TELL_APART = ("part", "direction", "other")
#: What a detail calls a parameter of its rule, where that is not the parameter's own name.
TOLD_AS = {"overspeed_for_s": "for_s", "gate_tolerance_m": "tolerance_m", "max_stay_min": "max_min"}

#: Two facts without duration, of one kind and fence, are about the same thing when this near.
_SAME_MOMENT_US = 600_000_000


def counterpart(event: Event, among: Iterable[Event]) -> Event | None:
    """The fact itself among others; else one of the same kind, vehicle and fence about the same time.

    What lasts is about the same time when it overlaps, what does not when it is ten minutes apart at most.
    """
    alike = []
    for other in among:
        if other.phase is Phase.RETRACTED:
            continue
        if other.id == event.id:
            return other
        if (other.kind, other.vehicle, other.fence_id) != (event.kind, event.vehicle, event.fence_id):
            continue
        if any(other.detail.get(name) != event.detail.get(name) for name in _TELL_APART):
            continue
        apart = abs(other.started_us - event.started_us)
        ends = (other.ended_us or 2**62, event.ended_us or 2**62)
        overlap = min(ends) > max(other.started_us, event.started_us)
        if overlap or apart <= _SAME_MOMENT_US:
            alike.append((apart, other.started_us, other))
    return min(alike, key=lambda a: a[:2])[2] if alike else None


def differences(stored: Event, found: Event, *, but: tuple[str, ...] = ()) -> Iterable[tuple[str, Any, Any]]:
    """Where two facts differ, as they would be stored.

    Ids, numbers of revisions and what was amended on the way do not count, only whether it is over.

    Args:
        but: fields that do not count either.

    Yields:
        (field, of the one, of the other); a detail's field is ``detail.name``.
    """
    [a, b] = json.loads(events_json([stored, found]))
    a["over"], b["over"] = stored.is_over, found.is_over
    flat = [{**one, **{f"detail.{k}": v for k, v in one["detail"].items()}} for one in (a, b)]
    left_out = ("id", "revision", "phase", "detail", *but)
    for name in sorted(flat[0].keys() | flat[1].keys()):
        if name not in left_out and flat[0].get(name) != flat[1].get(name):
            yield name, flat[0].get(name), flat[1].get(name)
