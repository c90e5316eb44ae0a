"""A vehicle's story: where it can be told again from, and what has to be corrected then.

You are in the core, below ``engine.py``. The outcome of a vehicle is a function of its fixes in
time order. When a fix comes late, or the first one after a silence in which something was said,
the story is told twice from a :class:`Mark` before it: once as it was known, once as it is known
now; ``reconcile.py`` compares the two, and :meth:`Story.correct` says the difference under
revision numbers that go on counting. Nothing that was said needs to be kept for that, only the
revision numbers that differ from those a straight telling gives (:class:`Correction`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hazfence.events import Event, Phase
from hazfence.presence import Fix
from hazfence.reconcile import reconcile
from hazfence.vehicles import NEVER_US, Record

__all__ = ["Correction", "Mark", "Story"]

#: An event that began this long before the vehicle's last fix is not corrected any more.
REMEMBERED_US = 30 * 86_400_000_000


class Mark:
    """A place from which the story can be told: the state after ``prev`` (None: before the first fix).

    The state came about at ``since_us``, with the fix judged last, and held at every fix from then
    until ``prev``. Most marks are never told from: the record may be given as what makes it.
    """

    __slots__ = ("_record", "prev", "since_us")

    def __init__(self, prev: Fix | None, record: Record | Callable[[], Record], since_us: int) -> None:
        self.prev, self.since_us = prev, since_us
        self._record = record

    @property
    def record(self) -> Record:
        """The state; not to be changed."""
        if not isinstance(self._record, Record):
            self._record = self._record()
        return self._record

    def since(self, since_us: int) -> Mark:
        """The same state, held since another moment."""
        return Mark(self.prev, self._record, since_us)

    @property
    def time_us(self) -> int:
        """The moment of ``prev``."""
        return NEVER_US if self.prev is None else self.prev.time_us


class Correction(NamedTuple):
    """The last revision really said of an event, when a straight telling would count otherwise."""

    revision: int
    retracted: bool
    started_us: int


@dataclass(slots=True)
class Story:
    """What is needed to tell one vehicle's story again.

    Attributes:
        marks: states to start from, by time; kept in memory only.
        judged_us: time of the last fix that was judged; the record has not changed since.
        base: the record as of the last fix, when something was said in silence after it.
        silent_us: the moment at which that was said.
        said: what was said in silence, the last revision of each event.
        corrections: by event id.
        plain_us: steps of ``stays.py`` up to this moment are among the marks.
    """

    marks: list[Mark] = field(default_factory=list)
    judged_us: int = NEVER_US
    base: Record | None = None
    silent_us: int | None = None
    said: dict[str, Event] = field(default_factory=dict)
    corrections: dict[str, Correction] = field(default_factory=dict)
    plain_us: int = NEVER_US

    def speak(self, base: Record, now_us: int, news: Iterable[Event]) -> None:
        """Note what was said in silence, and the state that the next fix is judged from."""
        self.base, self.silent_us = base, now_us
        self.said.update((event.id, event) for event in news)

    def wake(self, record: Record) -> tuple[Record, list[Event]]:
        """The state to judge the next fix from, and what was said in silence after it."""
        if self.base is None:
            return record, []
        base, said = self.base, list(self.said.values())
        self.base, self.silent_us, self.said = None, None, {}
        return base, said

    def state_at(self, time_us: int, now: Record) -> tuple[Record, int] | None:
        """The state after the fix of a moment, and since when it held; None when it is lost.

        Args:
            time_us: of a known fix.
            now: the record as it is.
        """
        if time_us >= self.judged_us:
            return self.base or now, self.judged_us
        for mark in reversed(self.marks):
            if mark.since_us <= time_us <= mark.time_us:
                return mark.record, mark.since_us
        return None

    def judged_after(self, time_us: int) -> bool:
        """Whether the known fix that follows the one of ``time_us`` was judged.

        Where marks were given up nobody knows: that counts as judged.
        """
        if time_us >= self.judged_us:
            return False
        at = bisect_right(self.marks, time_us, key=lambda mark: mark.time_us)
        return at == len(self.marks) or self.marks[at].since_us > time_us

    def mark_before(self, time_us: int) -> Mark | None:
        """The last mark that is not after a moment; None when there is none."""
        at = bisect_right(self.marks, time_us, key=lambda mark: mark.time_us)
        return self.marks[at - 1] if at else None

    def replace_marks(self, start: Mark, marks: list[Mark], since_us: int, until_us: int | None) -> None:
        """Put new marks in the place of those from ``start`` on.

        Args:
            start: where the story was told again from; it is kept as a mark.
            marks: those made on the way.
            since_us: since when the state at the end has been as it is.
            until_us: the end of the way, from which on the old marks hold; None when there are none.
        """
        later: list[Mark] = []
        if until_us is not None:
            later = [mark for mark in self.marks if mark.time_us >= until_us]
            # A state that held at the end of the way has held since the last judgement on it.
            later = [m.since(since_us) if m.since_us <= until_us else m for m in later]
        if until_us is None or self.judged_us <= until_us:
            self.judged_us = since_us
        earlier = [mark for mark in self.marks if mark.time_us < start.time_us]
        self.marks = [*earlier, start, *marks, *later]

    def trim(self, last_us: int, limit_us: int) -> None:
        """Give up what is too old.

        Args:
            last_us: time of the vehicle's last fix.
            limit_us: no story is told again from before this moment; the last mark before it stays.
        """
        first = bisect_left(self.marks, limit_us, key=lambda mark: mark.time_us) - 1
        if first > 0:
            del self.marks[:first]
        old = [i for i, c in self.corrections.items() if c.started_us < last_us - REMEMBERED_US]
        for event_id in old:
            del self.corrections[event_id]

    def correct(
        self, record: Record, told: Sequence[Event], found: Sequence[Event], stood: Iterable[Event]
    ) -> list[Event]:
        """What has to be said, given the story as it was told and as it is found now.

        Args:
            record: the state after ``found``; its open events take over the real revisions.
            told: events of the story from the mark on, as it was known.
            found: the same as it is known now.
            stood: the events that were open at the mark.

        Returns:
            the revisions to be said, as :func:`~hazfence.reconcile.reconcile` orders them.
        """
        before = {event.id: event for event in stood}
        said = {event.id: event for event in told}
        for event in (*found, *before.values(), *said.values()):
            real = self.corrections.get(event.id)
            if real is None:
                continue
            if real.retracted:
                said[event.id] = replace(event, revision=real.revision, phase=Phase.RETRACTED)
            elif event.id in said or event.id in before:
                known = said.get(event.id, before.get(event.id, event))
                said[event.id] = replace(known, revision=real.revision)
        news = reconcile(said, found, before.values())
        last = {**said, **{event.id: event for event in news}}
        counted = {event.id: event.revision for event in (*before.values(), *found)}
        for event in last.values():
            retracted = event.phase is Phase.RETRACTED
            if retracted or event.id in self.corrections or counted.get(event.id) != event.revision:
                self.corrections[event.id] = Correction(event.revision, retracted, event.started_us)
        for key, event in record.open.items():
            if event.id in last:
                # The content found, under the number really said.
                record.open[key] = replace(event, revision=last[event.id].revision)
        return news

    def as_said(self, event: Event) -> Event:
        """The event under the number it was really said with."""
        real = self.corrections.get(event.id)
        if real is None:
            return event
        phase = Phase.RETRACTED if real.retracted else event.phase
        return replace(event, revision=real.revision, phase=phase)

    def renumber(self, record: Record) -> None:
        """Bring the revisions of a record's open events in line with what was really said."""
        for key, event in record.open.items():
            real = self.corrections.get(event.id)
            if real is not None and not real.retracted:
                record.open[key] = replace(event, revision=real.revision)

    def count_on(self, record: Record, found: list[Event]) -> list[Event]:
        """The numbers of new events of a story that was corrected before."""
        if not self.corrections:
            return found
        shift: dict[str, int] = {}
        news = []
        for event in found:
            real = self.corrections.get(event.id)
            if real is not None:
                if real.retracted:
                    shift[event.id] = real.revision  # it came true after all
                event = replace(event, revision=event.revision + shift.get(event.id, 0))
                self.corrections[event.id] = Correction(event.revision, False, event.started_us)
            news.append(event)
        for key, event in record.open.items():
            if event.id in shift:
                record.open[key] = replace(event, revision=event.revision + shift[event.id])
        return news
