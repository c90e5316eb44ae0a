"""One step of one vehicle: from its fix before to the next one, or to a moment of silence.

You are in ``hazfence.rules``, at what every rule with a memory is given. ``hazfence.judge`` makes a
:class:`Step` once presence is worked out, and calls the rules with it. A rule looks at the step,
takes and leaves its state in ``step.states``, and says what it found with :meth:`Step.open`,
:meth:`Step.close` and :meth:`Step.say`. What goes on stands in ``step.record.open`` as last said.

Two things keep silence and fixes alike: a rule that may fire in silence lets its event begin at
the deadline, whenever it is noticed; and it takes nothing from ``step.fix`` but time when
``step.silent``, for then there was no fix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hazfence.events import Event, Kind, Phase, event_id, iso
from hazfence.presence import Edge, Fix, Piece
from hazfence.rules.book import Params
from hazfence.rules.catalogue import rule_of
from hazfence.states import State
from hazfence.vehicles import Record, open_key
from hazfence_fences import Fence, FenceKind

__all__ = ["Ask", "Span", "Step", "both", "minus", "runs", "union"]

#: (from, to) in microseconds UTC.
Span = tuple[int, int]
#: The parameters of a rule in a fence at a moment, None when it is off: (rule, fence, at_us).
Ask = Callable[[str, Fence | None, int], Params | None]


@dataclass(slots=True)
class Step:
    """See the module's text.

    Attributes:
        vehicle: its name.
        record: its state, changed in place.
        prev: its last fix before that can be trusted; None when there is none.
        fix: where the step ends; its ``silent`` tells that only time passed.
        heard_us: when it was last heard before, trusted or not; None when never.
        witnessed: whether prev and fix are near enough in time to tell what happened between.
        pieces: presence on the way, by fence id, in the order of the fences.
        ask: parameters of a rule.
        out: what was said so far.
        was_in: the districts that it was visiting where the step begins.
        steady: True when it was in the same fences all the time, so that no border was met.
        left_before: fences that it left before the step, of which only now it is certain, and when.
        sure: how certain it is that no checkpoint was passed since the last fix that was surely on its side,
            by the id of the district crossed on this step or nearby, a ``Certainty`` of ``prism.py``.
    """

    vehicle: str
    record: Record
    prev: Fix | None
    fix: Fix
    heard_us: int | None
    witnessed: bool
    ask: Ask
    out: list[Event]
    pieces: dict[str, tuple[Fence, list[Piece]]]
    was_in: tuple[Fence, ...] = ()
    steady: bool = False
    left_before: tuple[tuple[int, Fence], ...] = ()
    sure: Mapping[str, str] = field(default_factory=dict)

    @property
    def silent(self) -> bool:
        """True when no fix came, only time passed."""
        return self.fix.silent

    @property
    def states(self) -> dict[str, State]:
        """What the rules remember."""
        return self.record.states

    @property
    def t0(self) -> int:
        """Where the step begins, microseconds UTC."""
        return self.fix.time_us if self.prev is None else self.prev.time_us

    @property
    def t1(self) -> int:
        """Where it ends."""
        return self.fix.time_us

    def place(self, at_us: int) -> tuple[float, float]:
        """Where it was at a moment of the step: on the straight line between the two fixes."""
        prev, fix = self.prev, self.fix
        if prev is None or at_us >= fix.time_us:
            return fix.lon, fix.lat
        if at_us <= prev.time_us:
            return prev.lon, prev.lat
        part = (at_us - prev.time_us) / (fix.time_us - prev.time_us)
        return prev.lon + part * (fix.lon - prev.lon), prev.lat + part * (fix.lat - prev.lat)

    def last_known(self, at_us: int) -> tuple[float, float]:
        """The place of the last fix not after a moment of the step."""
        if self.prev is None or at_us >= self.fix.time_us:
            return self.fix.lon, self.fix.lat
        return self.prev.lon, self.prev.lat

    def presence(self, fences: Iterable[Fence]) -> list[Span]:
        """When it was inside any of the fences."""
        if self.steady:
            return [(self.t0, self.t1)] if any(f in self.fix.fences for f in fences) else []
        return union(
            (piece.start_us, piece.end_us)
            for fence in fences
            for piece in self.pieces.get(fence.id, (fence, ()))[1]
        )

    def present(self, fences: Iterable[Fence]) -> bool:
        """Whether it is inside any of them where the step ends."""
        if self.steady:
            return any(f in self.fix.fences for f in fences)
        return any(
            piece.ends is Edge.GOES_ON
            for fence in fences
            for piece in self.pieces.get(fence.id, (fence, ()))[1]
        )

    def met(self, kind: FenceKind | None = None) -> list[Fence]:
        """The fences of a kind (None: of any) that the step has to do with."""
        if self.steady:
            return [f for f in self.fix.fences if kind is None or f.kind is kind]
        return [fence for fence, _ in self.pieces.values() if kind is None or fence.kind is kind]

    def is_open(self, kind: Kind, part: str) -> bool:
        """Whether such an event goes on; ``part`` is the fence's id, or a rule's own word."""
        return (kind, part) in self.record.open

    def open(
        self,
        kind: Kind,
        fence: Fence | None,
        at_us: int,
        place: tuple[float, float],
        detail: Mapping[str, Any],
        part: str = "",
    ) -> None:
        """Say that something began and goes on."""
        event = self._event(kind, fence, at_us, place, detail, part)
        self.record.open[open_key(event)] = event
        self.out.append(event)

    def close(
        self, kind: Kind, part: str, at_us: int, place: tuple[float, float], detail: Mapping[str, Any]
    ) -> None:
        """Say that it is over; nothing when it was not open."""
        event = self.record.open.pop((kind, part), None)
        if event is not None:
            self.out.append(
                replace(
                    event,
                    revision=event.revision + 1,
                    phase=Phase.CLOSED,
                    ended_us=at_us,
                    end_lon=place[0],
                    end_lat=place[1],
                    detail={**event.detail, **detail},
                )
            )

    def say(
        self,
        kind: Kind,
        fence: Fence | None,
        span: Span,
        place: tuple[float, float],
        end_place: tuple[float, float],
        detail: Mapping[str, Any],
        part: str = "",
    ) -> None:
        """Say something that is over as it is said."""
        event = self._event(kind, fence, span[0], place, detail, part, span[1])
        self.out.append(
            replace(event, phase=Phase.CLOSED, ended_us=span[1], end_lon=end_place[0], end_lat=end_place[1])
        )

    def _event(
        self,
        kind: Kind,
        fence: Fence | None,
        at_us: int,
        place: tuple[float, float],
        detail: Mapping[str, Any],
        part: str,
        until_us: int | None = None,
    ) -> Event:
        rule = rule_of(kind)
        assert rule is not None
        name = f"{kind}:{part}" if part else str(kind)
        return Event(
            id=event_id(name, self.vehicle, None if fence is None else fence.id, at_us),
            kind=kind,
            vehicle=self.vehicle,
            fence_id=None if fence is None else fence.id,
            fence_version=None if fence is None else fence.version,
            revision=1,
            phase=Phase.OPENED,
            started_us=at_us,
            ended_us=None,
            lon=place[0],
            lat=place[1],
            severity=rule.severity,
            detail={**({"part": part} if part else {}), **detail, "fixes": self.evidence(at_us, until_us)},
        )

    def evidence(self, at_us: int, until_us: int | None = None) -> list[str]:
        """The fixes that a verdict about a moment, or a span of the step, rests on: at most two.

        They are those not after the moment (or the span's end), so noticing it in silence or with the
        next fix names the same.
        """
        until_us = at_us if until_us is None else until_us
        known = [] if self.prev is None else [self.prev]
        if not self.silent:
            known.append(self.fix)
        return [iso(fix.time_us) for fix in known if fix.time_us <= until_us]

    def last_fix(self) -> str:
        """The time of the fix that a verdict reached at a deadline rests on."""
        return iso(self.t0)


def union(spans: Iterable[Span]) -> list[Span]:
    """Sorted, disjoint spans that cover what the given ones cover; those that meet are joined."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def minus(spans: Collection[Span], gone: Collection[Span]) -> list[Span]:
    """What is left of disjoint ``spans`` without ``gone``; what has no duration is left out."""
    left = list(spans)
    for start, end in gone:
        left = [part for a, b in left for part in ((a, min(b, start)), (max(a, end), b)) if part[0] < part[1]]
    return sorted(left)


def both(one: Collection[Span], other: Collection[Span]) -> list[Span]:
    """Where two lists of disjoint spans overlap; what has no duration is left out."""
    found = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return sorted(span for span in found if span[0] < span[1])


def runs(
    since_us: int | None, spans: Collection[Span], t0: int, t1: int, *, goes_on: bool
) -> list[tuple[int, int | None]]:
    """Join the spans of a step with what went on before it and what goes on behind it.

    Args:
        since_us: since when it has been going on; None when it has not.
        spans: of this step, sorted and disjoint.
        t0, t1: the step.
        goes_on: whether it goes on where the step ends.

    Returns:
        (since, end) of each run; the end is None for the one that goes on.
    """
    spans = list(spans)
    if goes_on and (not spans or spans[-1][1] < t1):
        spans.append((t1, t1))
    found: list[tuple[int, int | None]] = []
    if since_us is not None and (not spans or spans[0][0] > t0):
        found.append((since_us, t0))
        since_us = None
    for i, (start, end) in enumerate(spans):
        begin = since_us if i == 0 and since_us is not None else start
        found.append((begin, None if goes_on and i == len(spans) - 1 else end))
    return found
