"""What was said before knowledge came, compared with what is known now.

You are in the core, called by ``judge.py``. An event found in silence (an overstay while the
truck sends nothing) is right as far as anybody can know, but the next fix may show that the
truck had left in time. The judgement is then made again from the last fix before the silence,
and this room works out what has to be said: nothing for what stands, a revision for what is
different, a retraction for what never was. Nothing said is ever deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hazfence.events import Event, Phase

__all__ = ["reconcile"]


def reconcile(said: Mapping[str, Event], found: Sequence[Event], stood: Iterable[Event]) -> list[Event]:
    """The revisions still to be said, given what was said and what is now found.

    Args:
        said: the last revision said of each event since the state from which ``found`` was judged.
        found: every revision found from that state on, in order.
        stood: the events that were open in that state.

    Returns:
        new revisions in the order found, then what is taken back: the end of an event that stood
        before (it is open again), or the whole of one that did not. The last revision found of an event
        keeps its content; only its ``revision`` and, when it goes on, its phase may differ.

    Example:
        An overstay said as revision 1 and found again as revision 1, then closed as 2: only
        revision 2 is returned.
    """
    revisions: dict[str, list[Event]] = {}
    for event in found:
        revisions.setdefault(event.id, []).append(event)
    due = {event_id: _due(said.get(event_id), rows) for event_id, rows in revisions.items()}
    news = [new for event in found if (new := due[event.id].pop(event.revision, None)) is not None]
    before = {event.id: event for event in stood}
    for event in said.values():
        if event.id in revisions or event.phase is Phase.RETRACTED:
            continue
        if event.id in before:
            if _content(event) != _content(before[event.id]):
                news.append(replace(before[event.id], revision=event.revision + 1, phase=Phase.AMENDED))
            continue
        detail = {**event.detail, "retracted_because": "a later fix shows otherwise"}
        news.append(replace(event, revision=event.revision + 1, phase=Phase.RETRACTED, detail=detail))
    return news


def _content(event: Event) -> Event:
    """The event without the counting: an amended one says no less than one that just opened."""
    return replace(event, revision=0, phase=Phase.OPENED if event.phase is Phase.AMENDED else event.phase)


def _due(before: Event | None, found: Sequence[Event]) -> dict[int, Event]:
    """Of one event: what to say for each revision found, by that revision's number."""
    if before is None:
        return {event.revision: event for event in found}
    if before.phase is Phase.RETRACTED:
        # It came true after all: its revisions go on counting from the retraction.
        return {event.revision: replace(event, revision=event.revision + before.revision) for event in found}
    for i, event in enumerate(found):
        if _content(event) == _content(before):  # it stands; what follows it is new
            shift = before.revision - event.revision
            return {e.revision: replace(e, revision=e.revision + shift) for e in found[i + 1 :]}
    last = found[-1]
    phase = Phase.AMENDED if last.phase is Phase.OPENED else last.phase
    return {last.revision: replace(last, revision=before.revision + 1, phase=phase)}
