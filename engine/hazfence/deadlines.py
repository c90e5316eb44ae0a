"""Until when a vehicle may be silent before something has to be said about it.

You are in the core, beside ``judge.py``: it says what a fix or a silence means, this says when silence
begins to mean something. The engine keeps the moment with every vehicle, so that time passing costs
nothing for the thousands about which there is nothing to say. A moment that is too early is harmless, the
judge looks and finds nothing; one too late would be a breach told too late.
"""

from __future__ import annotations

from collections.abc import Iterator

from hazfence.events import Event, Kind
from hazfence.presence import Fix
from hazfence.remit import Remit
from hazfence.rules.driving import overdrive_deadline_us, overpark_deadline_us
from hazfence.rules.routes import corridor_departure_deadline_us
from hazfence.rules.segments import segment_deadline_us
from hazfence.rules.stays import overstay_deadline_us
from hazfence.rules.step import Ask
from hazfence.settle import Settler
from hazfence.states import Waver, Wavering
from hazfence.vehicles import FOREVER_US, Record

__all__ = ["deadline_us"]


def deadline_us(
    remit: Remit,
    settler: Settler,
    record: Record,
    last: Fix,
    judged_us: int,
    vehicle: str,
    *,
    in_doubt: bool,
) -> int:
    """The last moment up to which a vehicle may be silent without being judged.

    Args:
        remit: what there is to judge.
        settler: says when a wavering crossing counts.
        record: the state of the vehicle.
        last: its last fix that is not in doubt.
        judged_us: the moment up to which it has been judged.
        vehicle: its name.
        in_doubt: whether it was heard since then, by fixes that cannot be true.

    Returns:
        microseconds UTC; ``judged_us`` to be judged at the next occasion, ``FOREVER_US`` for no deadline.
    """
    ask = remit.ask_of(vehicle)
    wavering = record.states.get(Wavering.name)
    borders = wavering.borders if isinstance(wavering, Wavering) else ()
    leaving = {waver.fence_id for waver in borders if waver.inside}
    due = FOREVER_US
    for (kind, fence_id), event in record.open.items():
        if kind is not Kind.VISIT:
            continue
        if fence_id not in remit.fences:
            return judged_us  # its fence was removed: judge at the next occasion
        if fence_id in remit.timed_visits and fence_id not in leaving:
            due = min(due, *_of_visit(remit, ask, record, event, judged_us), FOREVER_US)
    for fence in last.fences if remit.timed else ():
        if fence.id in remit.timed:
            due = min(due, _before(fence.next_change(judged_us)))
    if record.states:
        for moment in _of_memory(remit, settler, ask, record, last, judged_us, borders, in_doubt):
            # What lies before was judged already, and nothing came of it.
            if moment is not None and judged_us <= moment < due:
                due = moment
    return due


def _of_visit(remit: Remit, ask: Ask, record: Record, visit: Event, judged_us: int) -> Iterator[int]:
    """The moments at which a visit that goes on is too long, in closed hours, or without papers."""
    assert visit.fence_id is not None
    fence = remit.fences[visit.fence_id]
    if (Kind.OVERSTAY, fence.id) not in record.open:
        params = ask(Kind.OVERSTAY, fence, visit.started_us)
        yield overstay_deadline_us(visit, params) or FOREVER_US
    curfew = ask(Kind.CURFEW, fence, visit.started_us) if remit.curfews else None
    if curfew is not None and curfew["hours"] is not None:
        yield _before(curfew["hours"].next_change(judged_us))
    if fence.id in remit.filed and remit.reference is not None:
        yield _before(remit.reference.next_change(visit.vehicle, judged_us))


def _of_memory(
    remit: Remit,
    settler: Settler,
    ask: Ask,
    record: Record,
    last: Fix,
    judged_us: int,
    borders: tuple[Waver, ...],
    in_doubt: bool,
) -> Iterator[int | None]:
    """The moments of borders that waver and of the rules with a memory."""
    yield settler.deadline_us(borders, judged_us)
    if remit.leaves_routes:
        yield corridor_departure_deadline_us(record, ask, remit.districts)
    if remit.parks:
        yield overpark_deadline_us(record, ask, remit.districts)
    if remit.segments:
        yield segment_deadline_us(record, ask, remit.gates)
    if remit.drives:
        yield from overdrive_deadline_us(record, ask, last, judged_us, remit.max_gap_us, in_doubt=in_doubt)


def _before(change_us: int | None) -> int:
    """The last moment before a change: the change itself is already the other state."""
    return FOREVER_US if change_us is None else change_us - 1
