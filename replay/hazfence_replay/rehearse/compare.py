"""Which breaches a draft gains, loses and changes, by fence and kind.

You are in the rehearsal's room. A fact that both sides tell under one id is the same or changed; of the rest,
those about the same thing (``hazfence_replay.facts.counterpart``) are changed too, as when a border was
moved by a few metres and with it the moment of entry. What then is only in the draft is gained, only in
today's lost. Next room: ``show.py``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hazfence.events import Event, Phase
from hazfence.rules.catalogue import rule_of
from hazfence_replay.facts import TOLD_AS, counterpart, differences
from hazfence_replay.rehearse.run import Side, Window

__all__ = ["Change", "Rehearsed", "Row", "beside_live", "compare_sides"]

What = Literal["gained", "lost", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that is not the same on both sides.

    Attributes:
        what: gained (only by the draft), lost (only today), changed.
        today, draft: the fact on either side; None where it is not.
        fields: (field, today, draft) where it changed.
    """

    what: What
    today: Event | None
    draft: Event | None
    fields: tuple[tuple[str, Any, Any], ...] = ()

    @property
    def event(self) -> Event:
        """The fact itself; as the draft has it, where both have it."""
        event = self.draft or self.today
        assert event is not None
        return event

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dict."""
        return {
            "what": self.what,
            "today": None if self.today is None else self.today.to_json(),
            "draft": None if self.draft is None else self.draft.to_json(),
            "changed": [list(one) for one in self.fields],
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a fence and kind.

    Attributes:
        fence_id, kind: of the facts.
        today, draft: how many there are on either side.
        gained, lost, changed: how many of them.
    """

    fence_id: str
    kind: str
    today: int
    draft: int
    gained: int
    lost: int
    changed: int


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of a rehearsal.

    Attributes:
        rows: by fence and kind.
        changes: every fact that is not the same, by beginning.
        visits: (fence, today, draft) of each fence whose number of visits differs.
        live: how today's side compares with the rows that were said live: a `Change` for each that is
            not the same (today: the live one, draft: the rehearsed one), and how many are the same.
    """

    rows: tuple[Row, ...]
    changes: tuple[Change, ...]
    visits: tuple[tuple[str, int, int], ...]
    live: tuple[Change, ...]
    live_same: int

    def examples(self, most: int) -> list[Change]:
        """Up to ``most`` changes of every fence, kind and way of changing."""
        taken: Counter[tuple[str, str, str]] = Counter()
        found = []
        for change in self.changes:
            key = (change.event.fence_id or "", str(change.event.kind), change.what)
            if taken[key] < most:
                taken[key] += 1
                found.append(change)
        return found

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dict."""
        from dataclasses import asdict

        return {
            "rows": [asdict(row) for row in self.rows],
            "changes": [change.to_json() for change in self.changes],
            "visits": [{"fence_id": f, "today": a, "draft": b} for f, a, b in self.visits],
            "live": {"same": self.live_same, "other": [change.to_json() for change in self.live]},
        }


def compare_sides(today: Side, draft: Side, live: Iterable[Event] = ()) -> Rehearsed:
    """Compare what the two sides said, and today's with what was said live."""
    was, now = today.standing(), draft.standing()
    changes, _ = _changes(was, now)
    counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, events in (("today", was), ("draft", now)):
        for event in events:
            counts[event.fence_id or "", str(event.kind)][name] += 1
    for change in changes:
        counts[change.event.fence_id or "", str(change.event.kind)][change.what] += 1
    rows = tuple(
        Row(fence, kind, n["today"], n["draft"], n["gained"], n["lost"], n["changed"])
        for (fence, kind), n in sorted(counts.items())
    )
    differ = sorted(f for f in today.visits | draft.visits if today.visits[f] != draft.visits[f])
    visits = tuple((f, today.visits[f], draft.visits[f]) for f in differ)
    others, same = beside_live(was, live, today.window)
    return Rehearsed(rows, tuple(changes), visits, tuple(others), same)


def beside_live(
    rehearsed: Sequence[Event], live: Iterable[Event], window: Window
) -> tuple[list[Change], int]:
    """Compare rehearsed rows with those said live, as far as the rehearsal could see.

    Live may know the end of what ends behind the rehearsal's last fix; to both it then goes on.

    Returns:
        what is not the same, and how many are.
    """
    end_us = window.read_until_us
    if window.clock_end_us is not None:
        end_us = min(end_us, window.clock_end_us)
    stands = [e for e in live if e.phase is not Phase.RETRACTED and window.counts(e)]
    beyond = {e.id for e in stands if e.ended_us is not None and e.ended_us > end_us}
    beyond |= {e.id for e in stands if e.ended_us is None}
    beyond &= {e.id for e in rehearsed if e.ended_us is None}
    return _changes(*([_going_on(e) if e.id in beyond else e for e in side] for side in (stands, rehearsed)))


def _changes(was: Sequence[Event], now: Sequence[Event]) -> tuple[list[Change], int]:
    changes: list[Change] = []
    left = {event.id: event for event in now}
    alone = []
    same = 0
    for event in was:
        other = left.pop(event.id, None)
        if other is None:
            alone.append(event)
        elif fields := _fields(event, other):
            changes.append(Change("changed", event, other, fields))
        else:
            same += 1
    alike: defaultdict[tuple[str, str, str | None], dict[str, Event]] = defaultdict(dict)
    for event in left.values():
        alike[str(event.kind), event.vehicle, event.fence_id][event.id] = event
    for event in alone:
        near = alike.get((str(event.kind), event.vehicle, event.fence_id), {})
        other = counterpart(event, near.values())
        if other is None:
            changes.append(Change("lost", event, None))
        else:
            del near[other.id], left[other.id]
            changes.append(Change("changed", event, other, _fields(event, other)))
    changes += [Change("gained", None, event) for event in left.values()]
    changes.sort(key=lambda c: (c.event.started_us, c.event.vehicle, str(c.event.kind), c.event.id))
    return changes, same


def _fields(was: Event, now: Event) -> tuple[tuple[str, Any, Any], ...]:
    """Where a fact changed; () when it is the same fact judged by other limits, which are the draft's.

    Which fixes decided it follows from the limits too.
    """
    rule = rule_of(str(was.kind))
    limits = {f"detail.{p.name}" for p in rule.parameters} if rule is not None else set()
    limits |= {f"detail.{name}" for name in TOLD_AS} | {"detail.fixes"}
    fields = tuple(differences(was, now, but=("fence_version",)))
    return fields if any(name not in limits for name, _, _ in fields) else ()


def _going_on(event: Event) -> Event:
    """The fact without its end, and without what was learnt until then."""
    return replace(event, ended_us=None, phase=Phase.OPENED, end_lon=None, end_lat=None, detail={})
