"""Recorded fixes into a Kafka topic: at the speed of life, ten times that, or as fast as can be.

You are beside ``run.py``: here nothing is judged, the workers at the topic's other end do that. So history
too large for one machine is replayed by as many workers as there are partitions, and a quiet system gets
traffic to show. Fixes go out packed and in order (``hazfence.wire.producer``); one that is sent twice after
a stop is a duplicate to the workers and changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import numpy as np

from hazfence.fixes import FixBatch
from hazfence.wire.producer import FixProducer
from hazfence_replay.journal import Checkpoint, Journal
from hazfence_replay.kafka import TopicUrl, client_options, partitions_of
from hazfence_replay.readers import TrackReader
from hazfence_replay.run import Progress, behind

__all__ = ["feed"]

#: Fixes handed over at once; between them time passes for pacing and progress.
_SLICE = 5_000
_LONGEST_NAP_S = 0.2


def feed(
    reader: TrackReader,
    to: TopicUrl,
    journal: Journal,
    *,
    speed: float | None = None,
    as_now: bool = False,
    checkpoint_s: float = 5.0,
    watch: Callable[[Progress], None] | None = None,
) -> int:
    """Send a source's fixes to a topic.

    Args:
        reader: of the source, best in time order.
        to: the topic; it must exist.
        journal: keeps how many fixes have been delivered, so that a stopped feed goes on there.
        speed: event time to time, 1 for the speed of life; None: as fast as the broker takes them.
        as_now: move all times so that the first fix is of this moment; for workers with the wall clock.
        checkpoint_s: seconds between two places to go on from.
        watch: called now and then.

    Returns:
        how many fixes were sent, those of an earlier run included.

    Raises:
        TrackError: the source cannot be read.
        ValueError: there is no such topic.
        KafkaError: the broker cannot be reached, or refuses for good.
    """
    return asyncio.run(_feed(reader, to, journal, speed, as_now, checkpoint_s, watch))


async def _feed(
    reader: TrackReader,
    to: TopicUrl,
    journal: Journal,
    speed: float | None,
    as_now: bool,
    checkpoint_s: float,
    watch: Callable[[Progress], None] | None,
) -> int:
    options = client_options(to.servers)
    await partitions_of(to, options)
    known = journal.checkpoint
    done, newest_us = (known.fixes, known.newest_us) if known else (0, None)
    shift_us: int | None = known.counts.get("shift_us") if known else None
    pace = _Pace(speed)
    servers = ",".join(options.pop("bootstrap_servers"))
    async with FixProducer(servers, to.topic, **options) as producer:

        async def save() -> None:
            await producer.flush()
            journal.save([], Checkpoint(done, newest_us, (), {"shift_us": shift_us}))

        saved_s = time.monotonic()
        for batch in _read(reader, done):
            if shift_us is None:
                shift_us = time.time_ns() // 1000 - int(batch.time_us[0]) if as_now else 0
            for part in pace.parts(batch):
                await pace.until(part)
                if shift_us:
                    np.add(part.time_us, shift_us, out=part.time_us)
                await producer.send_batch(part)
                done += len(part)
                newest_us = max(newest_us or 0, int(part.time_us.max()))
                if watch is not None:
                    watch(Progress(done, reader.share, newest_us))
                if journal.path is not None and time.monotonic() - saved_s >= checkpoint_s:
                    await save()
                    saved_s = time.monotonic()
        await save()
    return done


def _read(reader: TrackReader, done: int) -> Iterator[FixBatch]:
    for batch in behind(reader, done):
        for start in range(0, len(batch), _SLICE):
            # A copy: times may be moved in place.
            yield batch.take(np.arange(start, min(start + _SLICE, len(batch))))


class _Pace:
    """When the next fixes are due."""

    def __init__(self, speed: float | None) -> None:
        if speed is not None and not speed > 0:
            raise ValueError(f"the speed must be above 0, not {speed}")
        self._speed = speed
        self._began_s = 0.0
        self._first_us: int | None = None

    def parts(self, batch: FixBatch) -> Iterator[FixBatch]:
        """The batch cut so that what belongs to one nap goes out together."""
        if self._speed is None:
            yield batch
            return
        # A fix that comes after a newer one is due with that.
        due = np.maximum.accumulate(batch.time_us) // round(_LONGEST_NAP_S * 1e6 * self._speed)
        for index in np.split(np.arange(len(batch)), np.flatnonzero(np.diff(due)) + 1):
            yield batch.take(index)

    async def until(self, part: FixBatch) -> None:
        """Come back when the part is due."""
        if self._speed is None or not len(part):
            return
        now_s, at_us = time.monotonic(), int(part.time_us[0])
        if self._first_us is None:
            self._began_s, self._first_us = now_s, at_us
        wait_s = self._began_s + (at_us - self._first_us) / 1e6 / self._speed - now_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)
