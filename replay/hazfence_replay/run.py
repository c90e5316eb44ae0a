"""A whole replay: a source through engines on all cores into a journal, from where it was stopped.

You are at the centre of the replay house. :func:`run` reads, cuts into paces, deals them out and keeps what
is said; every few seconds it makes the engines stand still and writes down where everything stands. What
becomes of the journal is for ``outputs.py`` to say. The command line calls this; so may a program.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hazfence.clean import Reason, screen_values
from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.rows import Row
from hazfence.settings import EngineSettings
from hazfence_replay.joint import Joint
from hazfence_replay.journal import Checkpoint, Journal, JournalMismatch, as_rows
from hazfence_replay.player import STEP_S, Pace, paces
from hazfence_replay.readers import TrackReader
from hazfence_replay.shards import Job, Shards

__all__ = ["Progress", "Summary", "behind", "run"]

#: Seconds between two checkpoints.
_CHECKPOINT_S = 10.0
#: Rows of events in memory before they are written without a checkpoint; they are found and written again
#: when the run is stopped before the next one, which changes nothing.
_MOST_HELD = 20_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is.

    Attributes:
        fixes: read so far, those of an earlier run included.
        share: of the source, 0 to 1; None when that cannot be told.
        at_us: event time; None before the first fix.
    """

    fixes: int
    share: float | None
    at_us: int | None


@dataclass(slots=True)
class Summary:
    """What a replay came to.

    Attributes:
        fixes: read, within the wanted span and vehicles.
        set_aside: fixes the engines could not use, by reason.
        vehicles: that had a fix.
        oldest_us, newest_us: times of the accepted fixes; None without one.
        events: facts by kind and phase, as they stand.
        resumed_fixes: how many of the fixes an earlier run had done.
        took_s: seconds of this run.
    """

    fixes: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    vehicles: int = 0
    oldest_us: int | None = None
    newest_us: int | None = None
    events: dict[tuple[str, str], int] = field(default_factory=dict)
    resumed_fixes: int = 0
    took_s: float = 0.0

    @property
    def accepted(self) -> int:
        """Fixes the engines used."""
        return self.fixes - self.set_aside.total()


def run(
    reader: TrackReader,
    job: Job,
    journal: Journal,
    *,
    until_us: int | None = None,
    processes: int = 1,
    step_s: float = STEP_S,
    checkpoint_s: float = _CHECKPOINT_S,
    watch: Callable[[Progress], None] | None = None,
    look: Callable[[FixBatch], None] | None = None,
) -> Summary:
    """Replay a source into a journal.

    Args:
        reader: of the source; read anew from its beginning when the journal says that a part is done,
            which is then passed over.
        job: fences, settings and reference data; ``render`` is not used.
        journal: new, or of a replay that was stopped; it is left open and filled.
        until_us: the clock goes on to this at the end, microseconds UTC; None: to the newest fix.
        processes: engines; a journal that was begun with another number goes on with that.
        step_s: how often silence is looked for, seconds of event time.
        checkpoint_s: seconds between checkpoints.
        watch: called after every pace.
        look: called with every batch that was read, e.g. to draw it.

    Raises:
        TrackError: the source cannot be read.
        JournalMismatch: the source holds fewer fixes than were done.
    """
    began_s = time.monotonic()
    known = journal.checkpoint
    tally = _Tally(known)
    summary = Summary(resumed_fixes=known.fixes if known else 0)
    seen = _Seen(reader, look)
    rest = behind(seen, summary.resumed_fixes)
    # Behind the engines' snapshots stands that of the rules over all vehicles.
    engines, together = (known.snapshots[:-1], known.snapshots[-1]) if known else (None, None)
    job = job._replace(render=as_rows)
    joint = Joint(job.fences, job.settings, job.reference)
    joint.go_on(together or b"")
    with Shards(job, len(engines) if engines else processes, engines) as shards:
        held: dict[str, Row] = {}
        sizes: list[int] = []

        def hold(rows: Iterable[Row]) -> None:
            """Keep rows until they are written: of each fact the last word, as the journal does."""
            for row in rows:
                before = held.get(row[0])
                if before is None or before[1] < row[1]:
                    held[row[0]] = row

        def take() -> None:
            said = shards.answer()
            tally.add(sizes.pop(0), said.reasons, said.oldest_us, said.newest_us)
            hold(said.events)
            if watch is not None:
                watch(Progress(tally.fixes, reader.share, tally.newest_us))

        def save(*, place: bool) -> None:
            where = tally.checkpoint([*shards.snapshots(), joint.snapshot()]) if place else None
            journal.save(held.values(), where)
            held.clear()

        saved_s = time.monotonic()
        stream = paces(
            rest, job.settings, until=until_us, step_s=step_s, newest_us=known.newest_us if known else None
        )
        for pace in stream:
            shards.give(pace)
            sizes.append(len(pace.batch))
            hold(as_rows(_over_all(joint, pace, job.settings)))
            while shards.full:
                take()
            if time.monotonic() - saved_s >= checkpoint_s and journal.path is not None:
                while shards.under_way:
                    take()
                save(place=True)
                saved_s = time.monotonic()
            elif len(held) > _MOST_HELD:
                save(place=False)
        while shards.under_way:
            take()
        save(place=journal.path is not None)
    end_us = tally.newest_us if until_us is None else max(until_us, tally.newest_us or until_us)
    if end_us is not None and tally.oldest_us is not None:
        # A crowd is what it is in the end, so it is counted when every visit is known.
        visits = journal.visits(joint.crowded)
        last = [*joint.take(FixBatch.empty(), visits), *joint.papers(tally.oldest_us, end_us)]
        journal.save(as_rows(last), None)
    summary.fixes, summary.set_aside = tally.fixes, tally.set_aside()
    summary.oldest_us, summary.newest_us = tally.oldest_us, tally.newest_us
    summary.vehicles, summary.events = len(seen.names), journal.count()
    summary.took_s = time.monotonic() - began_s
    return summary


def _over_all(joint: Joint, pace: Pace, settings: EngineSettings) -> list[Event]:
    """What the rules about more than one vehicle say to a pace."""
    if not joint.wants_fixes:
        return []
    believed = screen_values(pace.batch, settings) == 0
    found = joint.take(pace.batch.take(believed), ())
    return [*found, *(() if pace.now_us is None else joint.advance(pace.now_us))]


class _Tally:
    """What is counted along the way, and survives a stop."""

    def __init__(self, known: Checkpoint | None) -> None:
        counts = known.counts if known else {}
        self.fixes = known.fixes if known else 0
        self.oldest_us: int | None = counts.get("oldest_us")
        self.newest_us: int | None = known.newest_us if known else None
        self._reasons = np.array(counts.get("reasons", [0] * len(Reason)), np.int64)

    def add(self, fixes: int, reasons: Any, oldest_us: int | None, newest_us: int | None) -> None:
        self.fixes += fixes
        self._reasons += reasons
        if oldest_us is not None and newest_us is not None:
            self.oldest_us = oldest_us if self.oldest_us is None else min(self.oldest_us, oldest_us)
            self.newest_us = newest_us if self.newest_us is None else max(self.newest_us, newest_us)

    def set_aside(self) -> Counter[str]:
        found = {Reason(i).label: n for i, n in enumerate(self._reasons.tolist()) if i and n}
        return Counter(found)

    def checkpoint(self, snapshots: Iterable[bytes]) -> Checkpoint:
        counts = {"oldest_us": self.oldest_us, "reasons": self._reasons.tolist()}
        return Checkpoint(self.fixes, self.newest_us, tuple(snapshots), counts)


class _Seen:
    """The reader's batches, looked at in passing."""

    def __init__(self, reader: TrackReader, look: Callable[[FixBatch], None] | None) -> None:
        self._reader, self._look = reader, look
        self._names: set[str] = set()
        self._now: tuple[str, ...] = ()
        self._used = np.zeros(0, np.bool_)

    @property
    def names(self) -> set[str]:
        """Vehicles that had a fix."""
        self._names.update(self._now[code] for code in np.flatnonzero(self._used).tolist())
        return self._names

    def __iter__(self) -> Iterator[FixBatch]:
        for batch in self._reader:
            if batch.vehicles is not self._now:
                self._names = self.names
                self._now, self._used = batch.vehicles, np.zeros(len(batch.vehicles), np.bool_)
            self._used[batch.vehicle] = True
            if self._look is not None:
                self._look(batch)
            yield batch


def behind(batches: Iterable[FixBatch], done: int) -> Iterator[FixBatch]:
    """The stream without its first fixes."""
    left = done
    for batch in batches:
        if left >= len(batch):
            left -= len(batch)
            continue
        yield batch.take(slice(left, None)) if left else batch
        left = 0
    if left:
        raise JournalMismatch(
            f"the source has {done - left} fixes, of which {done} were done before: it was changed; "
            "begin anew with --fresh"
        )
