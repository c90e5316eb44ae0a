"""What was said before knowledge came, compared with what is known now.

You are in the core, called by ``judge.py``. An event found in silence (an overstay while the
truck sends nothing) is right as far as anybody can know, but the next fix may show that the
truck had left in time. The judgement is then made again from the last fix before the silence,
and this room works out what has to be said: nothing for what stands, a revision for what is
different, a retraction for what never was. Nothing said is ever deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hazfence.events import Event, Phase

__all__ = ["reconcile"]


def reconcile(said: Mapping[str, Event], found: Sequence[Event]) -> list[Event]:
    """The revisions still to be said, given what was said and what is now found.

    Args:
        said: the last revision said of each event since the state from which ``found`` was judged.
        found: every revision found from that state on, in order.

    Returns:
        new revisions in the order found, then retractions. The last revision found of an event
        keeps its content; only its ``revision`` and, when it goes on, its phase may differ.

    Example:
        An overstay said as revision 1 and found again as revision 1, then closed as 2: only
        revision 2 is returned.
    """
    last_found: dict[str, Event] = {}
    matches: dict[str, int] = {}
    for event in found:
        last_found[event.id] = event
        before = said.get(event.id)
        if before is not None and event == before:
            matches[event.id] = event.revision
    news: list[Event] = []
    for event in found:
        before = said.get(event.id)
        if before is None:
            news.append(event)
        elif event.id in matches:
            if event.revision > matches[event.id]:
                news.append(event)
        elif event is last_found[event.id]:
            phase = Phase.AMENDED if event.phase is Phase.OPENED else event.phase
            news.append(replace(event, revision=before.revision + 1, phase=phase))
    for event in said.values():
        if event.id not in last_found and event.phase is not Phase.RETRACTED:
            detail = {**event.detail, "retracted_because": "a later fix shows otherwise"}
            news.append(replace(event, revision=event.revision + 1, phase=Phase.RETRACTED, detail=detail))
    return news
