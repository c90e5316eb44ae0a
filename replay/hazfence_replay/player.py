"""Drive the engine with recorded fixes: the replay's clock is the time of the fixes.

You are between the readers and the engine. Live, a timer calls ``engine.advance(now)``; in a
replay nothing ticks, so :func:`replay` advances the engine to the latest accepted fix after
every batch, and at the end to ``until``. A deadline that passes while its vehicle is silent
thus fires as it would have fired live, as soon as any other vehicle's fix shows that the time
has come. Next room: ``ledger.py``, which turns the events into rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from hazfence.engine import Engine
from hazfence.events import Event
from hazfence.fixes import FixBatch

__all__ = ["replay"]


def replay(
    batches: Iterable[FixBatch],
    engine: Engine,
    *,
    since: int | None = None,
    until: int | None = None,
) -> Iterator[Event]:
    """Feed batches to an engine and yield its events as they come.

    Args:
        batches: in time order, e.g. ``open_track(path)`` or ``day.batches()``.
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
    clock: int | None = None
    for whole in batches:
        batch = _between(whole, since, until)
        if not len(batch):
            continue
        outcome = engine.process(batch)
        yield from outcome
        times = batch.time_us[outcome.accepted]
        if len(times):
            # A refused fix (a clock in 2099) must not move anyone's deadline.
            latest_us = int(times.max())
            clock = latest_us if clock is None else max(clock, latest_us)
            yield from engine.advance(clock)
    if until is not None:
        yield from engine.advance(until if clock is None else max(clock, until))


def _between(batch: FixBatch, since: int | None, until: int | None) -> FixBatch:
    if since is None and until is None:
        return batch
    keep = np.ones(len(batch), dtype=np.bool_)
    if since is not None:
        keep &= batch.time_us >= since
    if until is not None:
        keep &= batch.time_us < until
    return batch if keep.all() else batch.take(keep)
