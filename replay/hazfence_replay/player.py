"""Drive the engine with recorded fixes: the replay's clock is the time of the fixes.

You are between the readers and the engine. Live, a timer calls ``engine.advance(now)``; in a replay
nothing ticks, so :func:`paces` cuts the stream where the newest fix passes a multiple of ten minutes,
and time moves on there, as it does in a worker with the event clock. A deadline that passes while its
vehicle is silent thus fires as soon as any other vehicle's fix shows that the time has come. Where
the cuts are depends on the fixes alone, not on how a reader batches them. Next rooms: ``shards.py``
(the same on all cores), ``ledger.py``, which turns the events into rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from hazfence.clean import screen_values
from hazfence.engine import Engine
from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.settings import EngineSettings
from hazfence_replay.readers.wanted import Wanted

__all__ = ["MOST_FIXES", "STEP_S", "Pace", "paces", "replay"]

#: How often silence is looked for, seconds of event time; the worker's ``event_step_s``.
STEP_S = 600.0
#: A pace holds at least so many fixes before time moves on: what an engine does once a pace, about 4 ms, is
#: little beside what it does for them, in a half or a quarter of them too, when vehicles are dealt out;
_LEAST_FIXES = 65_536
#: and at most so many: what the engine takes in one go, about 9 MB of columns.
MOST_FIXES = 131_072


class Pace(NamedTuple):
    """What the engine does next: take in a batch, then let time pass.

    Attributes:
        batch: the next fixes of the stream, in its order.
        now_us: the moment to which time moves on after them, microseconds UTC; None: it does not.
    """

    batch: FixBatch
    now_us: int | None


def paces(
    batches: Iterable[FixBatch],
    settings: EngineSettings | None = None,
    *,
    until: int | None = None,
    step_s: float = STEP_S,
    newest_us: int | None = None,
) -> Iterator[Pace]:
    """Cut a stream of fixes into paces, the same however it came in batches.

    Args:
        batches: fixes, best in time order; those that come later than others are judged as late.
        settings: of the engine that will take them: what they call a broken clock moves no time.
        until: time moves on to this at the end, microseconds UTC; None: to the newest fix.
        step_s: time moves on at multiples of this.
        newest_us: to go on in the middle of a stream, after a pace: the newest believed time before.

    Yields:
        paces; together their batches are the stream. The last one moves time to its end, and is
        empty when nothing else was left to do.
    """
    pacer = _Pacer(settings or EngineSettings(), round(step_s * 1e6), newest_us)
    for batch in batches:
        yield from pacer.take(batch)
    yield from pacer.end(until)


def replay(
    batches: Iterable[FixBatch],
    engine: Engine,
    *,
    since: int | None = None,
    until: int | None = None,
) -> Iterator[Event]:
    """Feed batches to an engine and yield its events as they come.

    Args:
        batches: any stream of fixes, e.g. ``open_track(path)``, ``open_source(url, wanted=...)`` or
            ``day.batches()``; best in time order.
        engine: a ``hazfence.engine.Engine``.
        since: fixes before this time are left out; microseconds UTC.
        until: fixes from this time on are left out, and the clock is moved to it at the end, so
            that stays which outlast the track are judged too; microseconds UTC. None stops the
            clock at the last accepted fix.

    Yields:
        Revisions of events; see ``hazfence_replay.ledger`` for the rows they make.

    Example:
        >>> rows = visit_rows(replay(open_track("drive.gpx"), Engine(load_fences("fences/zhenhai"))))
    """
    wanted = Wanted(since, until)
    for pace in paces(map(wanted.cut, batches), engine.settings, until=until):
        yield from engine.process(pace.batch)
        if pace.now_us is not None:
            yield from engine.advance(pace.now_us)


class _Pacer:
    def __init__(self, settings: EngineSettings, step_us: int, newest_us: int | None) -> None:
        self._settings, self._step_us = settings, step_us
        self._held: list[FixBatch] = []
        self._count = 0
        self._newest_us = newest_us

    def take(self, batch: FixBatch) -> Iterator[Pace]:
        if not len(batch):
            return
        believed = screen_values(batch, self._settings) == 0
        floor_us = np.iinfo(np.int64).min // 2 if self._newest_us is None else self._newest_us
        newest_us = np.maximum.accumulate(np.where(believed, batch.time_us, floor_us))
        np.maximum(newest_us, floor_us, out=newest_us)
        steps = newest_us // self._step_us
        before = np.append(floor_us // self._step_us, steps[:-1])
        # At the first believed fix of all no time has passed yet.
        passed = np.flatnonzero((steps > before) & (before >= 0)).tolist()
        start = 0
        for cut in [*passed, len(batch)]:
            while self._count + cut - start > MOST_FIXES:
                end = start + MOST_FIXES - self._count
                self._hold(batch.take(slice(start, end)))
                yield self._pace(None)
                start = end
            if cut == len(batch):
                break
            if self._count + cut - start >= _LEAST_FIXES:
                self._hold(batch.take(slice(start, cut)))
                yield self._pace(int(steps[cut]) * self._step_us)
                start = cut
        self._hold(batch.take(slice(start, None)))
        if newest_us[-1] > np.iinfo(np.int64).min // 2:
            self._newest_us = int(newest_us[-1])

    def end(self, until_us: int | None) -> Iterator[Pace]:
        now_us = self._newest_us
        if until_us is not None:
            now_us = until_us if now_us is None else max(now_us, until_us)
        if self._count or now_us is not None:
            yield self._pace(now_us)

    def _hold(self, part: FixBatch) -> None:
        if len(part):
            self._held.append(part)
            self._count += len(part)

    def _pace(self, now_us: int | None) -> Pace:
        batch, self._held, self._count = FixBatch.concat(self._held), [], 0
        return Pace(batch, now_us)
