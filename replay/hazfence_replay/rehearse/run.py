"""Two engines through the same history: one with the fences of the time, one with the draft over them.

You are in the rehearsal's room. Fixes are read once, in the order of time, and given to both. Each side keeps
the last word on every breach that begins in the window, and counts visits; it is allowed to look a while
before the window, to know who is where when it begins, and a while beyond, to see what comes of what began in
it. Where fences changed within the window, both sides change then. Each side may work in processes of its own
(``shards.py``), a few paces behind the reader; what it says is the same. Next room: ``compare.py``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hazfence.events import Event, Phase
from hazfence.fixes import FixBatch
from hazfence.reference import ReferenceData
from hazfence.settings import EngineSettings
from hazfence_fences import FenceSet
from hazfence_replay.joint import Joint
from hazfence_replay.player import STEP_S, Pace, paces
from hazfence_replay.shards import Job, Shards

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
        processes: among which its vehicles are shared out; 0: it works in this one.
        said: the last revision of every fact that counts, by id; retracted ones too.
        visits: how many visits stand, by fence.
    """

    timeline: Sequence[tuple[int, FenceSet]]
    settings: EngineSettings
    reference: ReferenceData | None
    window: Window
    keep_visits: bool = False
    processes: int = 0
    said: dict[str, Event] = field(default_factory=dict)
    visits: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        (_, fences), *later = self.timeline
        job = Job(fences, self.settings, self.reference)
        self._engines = Shards(job, max(1, self.processes), apart=self.processes > 0)
        self._joint = Joint(fences, self.settings, self.reference)
        self._later = later
        self._taken_back: set[str] = set()
        #: What was given and not answered yet: fixes, a silence up to a moment, fences to go on with.
        self._given: deque[FixBatch | int | FenceSet] = deque()
        self._nothing = FixBatch.empty()

    def take(self, batch: FixBatch) -> None:
        """Take fixes in the order of time; fences change between them when their time has come."""
        while self._later and len(batch) and int(batch.time_us[-1]) >= self._later[0][0]:
            moment_us, fences = self._later.pop(0)
            at = int(np.searchsorted(batch.time_us, moment_us))
            self._give(batch.take(slice(0, at)), None)
            self._engines.use_fences(fences)
            self._given.append(fences)
            batch = batch.take(slice(at, None))
        # None of its fixes, but its names: what deals out vehicles knows them already.
        self._nothing = batch.take(slice(0, 0))
        self._give(batch, None)

    def silence(self, now_us: int) -> None:
        """Let time pass."""
        self._give(self._nothing, now_us)

    def standing(self) -> list[Event]:
        """What stands in the end, by beginning."""
        stands = [e for e in self.said.values() if e.phase is not Phase.RETRACTED]
        return sorted(stands, key=lambda e: (e.started_us, e.vehicle, str(e.kind), e.id))

    def end(self) -> None:
        """Hear what is still under way, and say what the file alone says."""
        while self._engines.under_way:
            self._answer()
        self._hear(self._joint.papers(self.window.since_us, self.window.until_us))

    def close(self) -> None:
        """End its processes."""
        self._engines.close()

    def _give(self, batch: FixBatch, now_us: int | None) -> None:
        self._engines.give(Pace(batch, now_us))
        self._given.append(batch if now_us is None else now_us)
        while self._engines.full:
            self._answer()

    def _answer(self) -> None:
        while isinstance(self._given[0], FenceSet):
            self._joint.use_fences(self._given.popleft())  # type: ignore[arg-type]
        given, said = self._given.popleft(), self._engines.answer().events
        self._hear(said)
        if isinstance(given, FixBatch):
            self._hear(self._joint.take(given, said))
        else:
            assert isinstance(given, int)
            self._hear(self._joint.take(FixBatch.empty(), said))
            self._hear(self._joint.advance(given))

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
    """Let the sides go through the fixes; their processes end with it.

    Args:
        batches: in the order of time, as the fix table's reader gives them.
        watch: called now and then with how many fixes were taken, and the time of the newest.

    Returns:
        how many fixes there were.
    """
    try:
        return _run(batches, sides, window, watch)
    finally:
        for side in sides:
            side.close()


def _run(
    batches: Iterable[FixBatch],
    sides: Sequence[Side],
    window: Window,
    watch: Callable[[int, int], None] | None,
) -> int:
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
