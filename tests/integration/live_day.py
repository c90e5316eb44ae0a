"""Days of fixes through a worker's processors into PostGIS, as live as it gets without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import numpy as np
import psycopg

from hazfence.fixes import FixBatch
from hazfence.postgis import PostgisStore
from hazfence.settings import EngineSettings
from hazfence.wire import Message
from hazfence.wire.columns import encode_columns
from hazfence.wire.packer import partition_of
from hazfence.worker.processor import Clock, PartitionProcessor, ProcessorSettings
from hazfence_fences import FenceSet

__all__ = ["TOPIC", "live", "publish"]

TOPIC = "hazfence.fixes"


def publish(url: str, fences: FenceSet, *, saved_at: str | None = None) -> FenceSet:
    """Save fences as ``hazfence fences load`` does; returns them with the versions they have.

    Args:
        saved_at: the moment that the database is told this happened, for a history in the past.
    """

    async def save() -> FenceSet:
        store = PostgisStore(url)
        await store.open()
        try:
            return (await store.save_fences(fences)).fences
        finally:
            await store.close()

    saved = asyncio.run(save())
    if saved_at is not None:
        with psycopg.connect(url) as connection:
            connection.execute(
                "UPDATE hazfence.fence SET retired_at = %(at)s WHERE retired_at > now() - interval '1 minute'"
                " AND saved_at <= %(at)s",
                {"at": saved_at},
            )
            connection.execute(
                "UPDATE hazfence.fence SET saved_at = %s WHERE saved_at > now() - interval '1 minute'",
                [saved_at],
            )
    return saved


def live(
    url: str,
    batches: Iterable[FixBatch],
    *,
    settings: EngineSettings | None = None,
    partitions: int = 2,
) -> None:
    """Feed batches to the processors of all partitions, with the fences in force and the event clock.

    Called again, it goes on behind the checkpoint, as a worker that was started again.
    """

    async def work() -> None:
        store = PostgisStore(url)
        await store.open()
        try:
            fences = await store.load_fences()
            processors = [
                PartitionProcessor(
                    TOPIC, p, fences=fences, store=store, engine_settings=settings,
                    settings=ProcessorSettings(clock=Clock.EVENT, event_step_s=600.0, checkpoint_every_s=1e9),
                )
                for p in range(partitions)
            ]  # fmt: skip
            for processor in processors:
                await processor.load()
            for batch in batches:
                mine = np.array([partition_of(v, partitions) for v in batch.vehicles])[batch.vehicle]
                for p, processor in enumerate(processors):
                    part = batch.take(mine == p)
                    received_us = int(batch.time_us.max())
                    if len(part):
                        message = Message(processor.next_offset, received_us, encode_columns(part))
                        assert await processor.feed([message]) is None
            for processor in processors:
                await processor.close()
        finally:
            await store.close()

    return asyncio.run(work())
