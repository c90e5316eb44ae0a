"""Two engines through the same history: one with the fences of the time, one with the draft over them.

You are in the rehearsal's room. Fixes are read once, in the order of time, and given to both. Each side keeps
the last word on every breach that begins in the window, and counts visits; it is allowed to look a while
before the window, to know who is where when it begins, and a while beyond, to see what comes of what began in
it. Where fences changed within the window, both sides change then. Next room: ``compare.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hazfence.engine import Engine
from hazfence.events import Event, Phase
from hazfence.fixes import FixBatch
from hazfence.reference import ReferenceData
from hazfence.settings import EngineSettings
from hazfence_fences import FenceSet
from hazfence_replay.joint import Joint
from hazfence_replay.player import STEP_S, paces

__all__ = ["Side", "Window", "run"]


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of history counts, and how far around it is read; microseconds UTC.

    Attributes:
        since_us, until_us: facts that begin in [since, until) count.
        read_since_us, read_until_us: fixes of [.., ..) are read.
        clock_end_us: the last moment up to which silence is judged; None: it follows the newest fix, as a
            worker's event clock does.
        lateness_s, step_s: silence is believed this long after the moment, and looked for this often.
    """

    since_us: int
    until_us: int
    read_since_us: int
    read_until_us: int
    clock_end_us: int | None = None
    lateness_s: float = 60.0
    step_s: float = STEP_S

    def counts(self, event: Event) -> bool:
        """Whether the fact begins in the window."""
        return self.since_us <= event.started_us < self.until_us

    def silence_us(self, newest_us: int, *, last: bool) -> int:
        """Up to when silence may be judged when the newest fix is of ``newest_us``."""
        if last and self.clock_end_us is not None:
            return self.clock_end_us
        step_us = round(self.step_s * 1e6)
        return (newest_us - round(self.lateness_s * 1e6)) // step_us * step_us


@dataclass
class Side:
    """One of the two: an engine, and what it said that counts.

    Attributes:
        timeline: (from when, fences) in order; the first holds from the beginning.
        settings, reference: of the engine.
        keep_visits: whether visits are kept like breaches, and not only counted.
        said: the last revision of every fact that counts, by id; retracted ones too.
        visits: how many visits stand, by fence.
    """

    timeline: Sequence[tuple[int, FenceSet]]
    settings: EngineSettings
    reference: ReferenceData | None
    window: Window
    keep_visits: bool = False
    said: dict[str, Event] = field(default_factory=dict)
    visits: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        (_, fences), *later = self.timeline
        self._engine = Engine(fences, self.settings, self.reference)
        self._joint = Joint(fences, self.settings, self.reference)
        self._later = later
        self._taken_back: set[str] = set()

    def take(self, batch: FixBatch) -> None:
        """Take fixes in the order of time; fences change between them when their time has come."""
        while self._later and len(batch) and int(batch.time_us[-1]) >= self._later[0][0]:
            moment_us, fences = self._later.pop(0)
            at = int(np.searchsorted(batch.time_us, moment_us))
            self._judge(batch.take(slice(0, at)))
            self._engine.use_fences(fences)
            self._joint.use_fences(fences)
            batch = batch.take(slice(at, None))
        self._judge(batch)

    def silence(self, now_us: int) -> None:
        """Let time pass."""
        said = self._engine.advance(now_us)
        self._hear(said)
        self._hear(self._joint.take(FixBatch.empty(), said))
        self._hear(self._joint.advance(now_us))

    def standing(self) -> list[Event]:
        """What stands in the end, by beginning."""
        stands = [e for e in self.said.values() if e.phase is not Phase.RETRACTED]
        return sorted(stands, key=lambda e: (e.started_us, e.vehicle, str(e.kind), e.id))

    def end(self) -> None:
        """Say what the file alone says."""
        self._hear(self._joint.papers(self.window.since_us, self.window.until_us))

    def _judge(self, batch: FixBatch) -> None:
        said = self._engine.process(batch)
        self._hear(said)
        self._hear(self._joint.take(batch, said))

    def _hear(self, events: Iterable[Event]) -> None:
        for event in events:
            if not self.window.counts(event):
                continue
            if event.is_visit:
                self._count(event)
            if self.keep_visits or not event.is_visit:
                self.said[event.id] = event

    def _count(self, visit: Event) -> None:
        fence, gone = visit.fence_id or "", visit.phase is Phase.RETRACTED
        if gone and (visit.revision > 1 or visit.id in self._taken_back):
            self.visits[fence] -= visit.id not in self._taken_back
            self._taken_back.add(visit.id)
        elif not gone and (visit.revision == 1 or visit.id in self._taken_back):
            self.visits[fence] += 1
            self._taken_back.discard(visit.id)


def run(
    batches: Iterable[FixBatch],
    sides: Sequence[Side],
    window: Window,
    *,
    watch: Callable[[int, int], None] | None = None,
) -> int:
    """Let the sides go through the fixes.

    Args:
        batches: in the order of time, as the fix table's reader gives them.
        watch: called now and then with how many fixes were taken, and the time of the newest.

    Returns:
        how many fixes there were.
    """
    count, newest_us = 0, None
    for pace in paces(batches, sides[0].settings, step_s=window.step_s):
        if len(pace.batch):
            count += len(pace.batch)
            newest_us = int(pace.batch.time_us[-1])
            for side in sides:
                side.take(pace.batch)
        if pace.now_us is not None and newest_us is not None:
            for side in sides:
                side.silence(window.silence_us(newest_us, last=False))
        if watch is not None and newest_us is not None:
            watch(count, newest_us)
    if newest_us is not None:
        for side in sides:
            side.silence(window.silence_us(newest_us, last=True))
            side.end()
    return count
