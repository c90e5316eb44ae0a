"""Planted against found: what the engine missed, invented or said twice.

You are behind simulator and engine. :func:`compare` pairs every planted breach with an event of
the same kind, vehicle and fence that begins at about the same time, and reports what is left over
on either side. The pairing is by nearest beginning, so a second event for one planted breach is
told apart (doubled) from one that nobody planted (false). The tolerance covers what a terminal
that reports every half minute can make known, not what an engine may be wrong by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hazfence.events import Event, iso
from hazfence_replay.ledger import BreachRow, breach_rows
from hazfence_replay.simulator.day import NearMiss, Planted

__all__ = ["TOLERANCE_S", "Comparison", "KindRow", "compare"]

#: How far the beginning of an event may be from the planted one, seconds, by kind. A crossing is
#: interpolated between two fixes up to 30 s apart, and noise moves it a little; an overspeed begins
#: with the first fix over the limit.
TOLERANCE_S: Mapping[str, float] = {
    "gate_bypass": 45.0,
    "possible_bypass": 45.0,
    "restricted_entry": 60.0,
    "possible_entry": 60.0,
    "overspeed": 75.0,
    "overstay": 60.0,
}
_OTHER_TOLERANCE_S = 60.0


@dataclass(frozen=True, slots=True)
class KindRow:
    """One line of the table.

    Attributes:
        kind: of breach, or ``total``.
        planted, found: how many planted, and how many of them were found.
        missed, false, doubled: how many were not found, were found but not planted, were found
            more than once.
        worst_s: the largest difference between planted and found beginnings, seconds; 0 when
            nothing was found.
    """

    kind: str
    planted: int
    found: int
    missed: int
    false: int
    doubled: int
    worst_s: float

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        counts = (self.planted, self.found, self.missed, self.false, self.doubled)
        return (self.kind, *map(str, counts), f"{self.worst_s:.1f}" if self.found else "")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Planted against found.

    Attributes:
        pairs: (planted, found) that belong together.
        missed: planted, but not found.
        false: found, but not planted.
        doubled: found once more.
        fired_near: near misses whose vehicle has a false breach; a subset of the reasons for
            ``false``.
    """

    pairs: tuple[tuple[Planted, BreachRow], ...]
    missed: tuple[Planted, ...]
    false: tuple[BreachRow, ...]
    doubled: tuple[BreachRow, ...]
    fired_near: tuple[NearMiss, ...]

    HEADER = ("breach", "planted", "found", "missed", "false", "doubled", "worst, s")

    @property
    def perfect(self) -> bool:
        """All found, none else, none twice."""
        return not (self.missed or self.false or self.doubled)

    def rows(self) -> list[KindRow]:
        """A row for each kind, by name, and a total."""
        kinds = {p.kind for p, _ in self.pairs} | {p.kind for p in self.missed}
        kinds |= {b.kind for b in self.false} | {b.kind for b in self.doubled}
        return [self._row(kind) for kind in sorted(kinds)] + [self._row(None)]

    def _row(self, kind: str | None) -> KindRow:
        def count(items: Iterable[Planted | BreachRow]) -> int:
            return sum(1 for item in items if kind is None or item.kind == kind)

        off = [abs(p.at_us - b.started_us) / 1e6 for p, b in self.pairs if kind is None or p.kind == kind]
        missed = count(self.missed)
        return KindRow(
            kind="total" if kind is None else kind,
            planted=len(off) + missed,
            found=len(off),
            missed=missed,
            false=count(self.false),
            doubled=count(self.doubled),
            worst_s=max(off, default=0.0),
        )

    def explain(self) -> list[str]:
        """One line in words for everything that is not as it should be."""
        lines = [
            f"missed: {p.kind} of {p.vehicle} in {p.fence_id} at {iso(p.at_us)} ({p.note})"
            for p in self.missed
        ]
        lines += [
            f"false: {b.kind} of {b.vehicle} in {b.fence_id} at {iso(b.started_us)}" for b in self.false
        ]
        lines += [
            f"doubled: {b.kind} of {b.vehicle} in {b.fence_id} at {iso(b.started_us)}" for b in self.doubled
        ]
        return lines


def compare(
    truth: Iterable[Planted],
    found: Iterable[Event] | Sequence[BreachRow],
    *,
    near_misses: Iterable[NearMiss] = (),
    tolerance_s: Mapping[str, float] | None = None,
) -> Comparison:
    """Pair planted breaches with found ones.

    Args:
        truth: what was planted.
        found: events (all revisions; visits are passed over), or breach rows read from elsewhere.
        near_misses: what must not fire, to name it when it does.
        tolerance_s: seconds by kind; :data:`TOLERANCE_S` for kinds it lacks.

    Example:
        >>> result = compare(day.truth, replay(day.batches(), Engine(fences), until=day.end_us))
        >>> result.perfect
        True
    """
    allowed = {**TOLERANCE_S, **(tolerance_s or {})}
    rows = _rows(found)
    by_key: defaultdict[tuple[str, str, str], list[BreachRow]] = defaultdict(list)
    for row in rows:
        by_key[row.kind, row.vehicle, row.fence_id].append(row)
    planted_by_key: defaultdict[tuple[str, str, str], list[Planted]] = defaultdict(list)
    for planted in truth:
        planted_by_key[planted.kind, planted.vehicle, planted.fence_id].append(planted)
    pairs: list[tuple[Planted, BreachRow]] = []
    missed: list[Planted] = []
    false: list[BreachRow] = []
    doubled: list[BreachRow] = []
    for key in sorted(by_key.keys() | planted_by_key.keys()):
        candidates, wanted = by_key[key], planted_by_key[key]
        limit_us = allowed.get(key[0], _OTHER_TOLERANCE_S) * 1e6
        distances = sorted(
            (abs(p.at_us - b.started_us), i, j)
            for i, p in enumerate(wanted)
            for j, b in enumerate(candidates)
            if abs(p.at_us - b.started_us) <= limit_us
        )
        taken_p: set[int] = set()
        taken_b: set[int] = set()
        for _, i, j in distances:
            if i not in taken_p and j not in taken_b:
                taken_p.add(i)
                taken_b.add(j)
                pairs.append((wanted[i], candidates[j]))
        missed += [p for i, p in enumerate(wanted) if i not in taken_p]
        near = {j for _, _, j in distances}
        doubled += [b for j, b in enumerate(candidates) if j not in taken_b and j in near]
        false += [b for j, b in enumerate(candidates) if j not in near]
    wrong = {b.vehicle for b in (*false, *doubled)}
    return Comparison(
        pairs=tuple(sorted(pairs, key=lambda pair: (pair[0].at_us, pair[0].vehicle))),
        missed=tuple(missed),
        false=tuple(false),
        doubled=tuple(doubled),
        fired_near=tuple(n for n in near_misses if n.vehicle in wrong),
    )


def _rows(found: Iterable[Event] | Sequence[BreachRow]) -> list[BreachRow]:
    items = list(found)
    events = [item for item in items if isinstance(item, Event)]
    return [item for item in items if isinstance(item, BreachRow)] + breach_rows(events)
