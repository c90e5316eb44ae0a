"""Drive an engine and the rules about several vehicles with recorded fixes, plate reads and a file.

You are beside ``player.py``, which drives an engine alone. In a worker these rules have a place of their own
(``hazfence.worker.joint``); in one process they stand beside the engine as here: visits go from the engine to
``PlateWatch`` and ``CapacityWatch``, fixes to ``SeparationWatch``, and papers are asked of the file as time
goes by.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from hazfence.engine import Engine
from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.reference import ReferenceData
from hazfence.rules.capacity import CapacityWatch
from hazfence.rules.papers import paper_warnings
from hazfence.rules.plates import PlateRead, PlateWatch
from hazfence.rules.separation import SeparationWatch
from hazfence.settings import EngineSettings
from hazfence_fences import FenceSet

__all__ = ["replay_whole"]


def replay_whole(
    batches: Iterable[FixBatch],
    fences: FenceSet,
    settings: EngineSettings,
    reference: ReferenceData,
    reads: Sequence[PlateRead] = (),
    *,
    since: int,
    until: int,
    clock_lag_us: int = 0,
) -> Iterator[Event]:
    """Feed everything in the order of time and yield what is said.

    Args:
        batches: of fixes, by time.
        fences, settings, reference: of the engine, and of the rules beside it.
        reads: plate reads, by time.
        since, until: papers are warned of from the one on, and the clock is moved to the other at the end;
            microseconds UTC.
        clock_lag_us: the clock stays this far behind the last fix of each batch: so late may others come.

    Yields:
        revisions of events; see ``hazfence_replay.ledger`` for the rows they make.
    """
    engine = Engine(fences, settings, reference)
    plates, capacity = PlateWatch(fences, settings.rules), CapacityWatch(fences, settings.rules)
    separation = SeparationWatch(fences, settings.rules, reference, max_gap_s=settings.max_gap_s)
    warns = settings.rules.for_fences(fences.fences, {}).ever("paper_expiring")
    left, warned_us = list(reads), since

    def judge(batch: FixBatch, now_us: int, passed: int) -> Iterator[Event]:
        nonlocal warned_us
        found = [*engine.process(batch), *engine.advance(now_us)]
        yield from found
        yield from plates.take(found, left[:passed])
        yield from plates.advance(now_us)
        yield from capacity.take(found)
        separation.take(batch)
        yield from separation.advance(now_us)
        if warns and now_us > warned_us:
            yield from paper_warnings(reference, warned_us, now_us)
            warned_us = now_us
        del left[:passed]

    for batch in batches:
        now_us = int(batch.time_us[-1]) - clock_lag_us
        yield from judge(batch, now_us, bisect_right(left, now_us, key=lambda read: read.time_us))
    yield from judge(FixBatch.empty(), until, len(left))
