"""The plate reads that a fact rests on, out of the fact itself.

You are in the explain room, beside ``derive.py``. Reads of checkpoint cameras are not kept in a table; what
the two rules about them used is part of the event: the read that no passage belongs to, or the stretch in
which the camera read no such plate, and when taken back, the read that came after all. That is taken for
true, and the other half, the passages, is found anew from the stored fixes.
"""

from __future__ import annotations

from collections.abc import Iterable

from hazfence.events import Event, Kind, from_iso
from hazfence.rules.plates import PlateRead, PlateWatch
from hazfence.settings import EngineSettings
from hazfence_fences import FenceSet

__all__ = ["READ_KINDS", "joined", "reads_of"]

#: Kinds that rest on plate reads.
READ_KINDS = (Kind.PLATE_WITHOUT_GPS, Kind.GPS_WITHOUT_PLATE)
#: Nothing of a piece of evidence is too old for it.
_KEEP_S = 3650 * 86_400.0


def reads_of(event: Event) -> tuple[PlateRead, ...] | None:
    """The reads that a fact was judged with; None when it does not say (a release before this one).

    A ``gps_without_plate`` that stands was judged with none.
    """
    detail, gate = event.detail, event.fence_id
    if gate is None:
        return None
    if event.kind is Kind.PLATE_WITHOUT_GPS:
        plate = detail.get("read")
        return (PlateRead(plate, gate, event.started_us),) if isinstance(plate, str) else None
    if "unread" not in detail:
        return None
    read_at = detail.get("read_at")
    return () if read_at is None else (PlateRead(event.vehicle, gate, from_iso(read_at)),)


def joined(
    event: Event, found: Iterable[Event], fences: FenceSet, settings: EngineSettings, until_us: int
) -> tuple[Event, ...]:
    """What the two rules say of passages and the fact's own reads, when all waiting is over.

    Args:
        event: the fact.
        found: visits of the vehicle, as the engine said them.
        until_us: a moment by which these are known.
    """
    reads = [read for read in reads_of(event) or () if read.checkpoint in fences]
    gate = next((fence for fence in fences if fence.id == event.fence_id), None)
    params = settings.rules.for_fences(fences.fences, {}).lookup(event.kind, gate, at_us=event.started_us)
    waits = (event.detail.get("wait_s"), (params or {}).get("wait_s"))
    wait_s = max([0.0, *(wait for wait in waits if isinstance(wait, int | float))])
    watch = PlateWatch(fences, settings.rules, keep_s=_KEEP_S)
    over_us = max(until_us, event.ended_us or event.started_us) + round(wait_s * 1e6) + 1_000_000
    return (*watch.take(found, reads), *watch.advance(over_us))
