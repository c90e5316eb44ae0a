"""What lies farther back than memory, as the core and its host speak of it.

You are on the lowest floor of the core. An engine remembers the fixes of the last ``recent_s`` of
each vehicle. Its host keeps all of them, and may give back what a fix that is hours late needs:
:class:`NeedsHistory` says which, a :class:`History` answers. So that the story need not be told
from its beginning, the engine hands out a :class:`Milestone` of each vehicle about once an hour,
the state at a fix that memory has given up; the host keeps them beside the fixes. What is done
with all this is in ``recall.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hazfence.fixes import FixBatch

__all__ = ["History", "Milestone", "MilestoneNews", "Missing", "NeedsHistory", "start_us", "thinned"]


@dataclass(frozen=True, slots=True)
class Milestone:
    """The state of a vehicle's story at one of its fixes.

    Attributes:
        vehicle: its name.
        time_us: the fix, microseconds UTC; the least int64 for "before the first one".
        since_us: the state was the same at every fix from this one on; the least int64 for "always".
        state: bytes that only an engine can read.
    """

    vehicle: str
    time_us: int
    since_us: int
    state: bytes


@dataclass(frozen=True, slots=True)
class MilestoneNews:
    """What has changed in the milestones of one vehicle.

    Attributes:
        vehicle: its name.
        from_us: milestones from this moment on are replaced by ``stones``.
        needed_us: no story is told again from before this moment: of the milestones not after it,
            only the last one is still needed.
        stones: the new ones, by time.
    """

    vehicle: str
    from_us: int
    needed_us: int
    stones: tuple[Milestone, ...]


class Missing(NamedTuple):
    """What the engine needs to judge fixes of one vehicle.

    Attributes:
        vehicle: its name.
        time_us: its story has to be told again from here.
        valid_us: stored milestones from this moment on do not hold any more.
        last_us: its last fix; nothing after it is needed.
        settled: True when no milestone is needed: the state after the fix before ``time_us`` is known.
    """

    vehicle: str
    time_us: int
    valid_us: int
    last_us: int
    settled: bool


class History(NamedTuple):
    """The answer: of every vehicle asked for, milestones and accepted fixes, in any order.

    ``fixes`` are all from :func:`start_us` of its milestones on, and those of the last moment before.
    """

    stones: Sequence[Milestone]
    fixes: FixBatch


class NeedsHistory(Exception):
    """A batch holds fixes so late that the engine has to be told first what came before.

    Raised by ``Engine.process`` before it has changed anything, and only when
    ``EngineSettings.recall_h`` asks for it. Give the answer to ``Engine.recall`` and process again:
    the first ``rows`` fixes of the batch, then the rest.

    Attributes:
        missing: one a vehicle.
        rows: how many fixes of the batch can be processed with the answer.
    """

    def __init__(self, missing: Sequence[Missing], rows: int) -> None:
        super().__init__(f"the history of {len(missing)} vehicles is needed: see Engine.recall")
        self.missing = tuple(missing)
        self.rows = rows


def start_us(missing: Missing, stones: Iterable[Milestone]) -> int:
    """From which moment on the fixes of a vehicle are needed, given its milestones.

    With one that holds over ``missing.time_us`` it is that moment, else that of the last one before.

    Example:
        >>> stones = [Milestone("A", 100, 50, b""), Milestone("A", 200, 150, b"")]
        >>> [start_us(Missing("A", t, 1000, 1000, False), stones) for t in (30, 100, 130, 200, 300)]
        [30, 100, 100, 200, 200]
    """
    if missing.settled:
        return missing.time_us
    best = None
    for stone in stones:
        if stone.since_us < missing.time_us <= stone.time_us < missing.valid_us:
            return missing.time_us
        if stone.time_us < min(missing.time_us, missing.valid_us):
            best = stone.time_us if best is None else max(best, stone.time_us)
    return missing.time_us if best is None else best


def thinned(times_us: Iterable[int], step_us: int) -> list[int]:
    """Indexes of the moments to keep of many: the first in each step of time.

    Args:
        times_us: in order.
        step_us: length of a step.

    Example:
        >>> thinned([5, 12, 18, 25, 47], 10)
        [0, 1, 3, 4]
    """
    kept: list[int] = []
    last = None
    for i, time_us in enumerate(times_us):
        if last is None or time_us // step_us > last:
            kept.append(i)
            last = time_us // step_us
    return kept
