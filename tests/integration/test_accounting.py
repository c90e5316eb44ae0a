"""The account of a log finds what is lost, doubled or invented; otherwise it would prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from hazfence import FixBatch
from hazfence.postgis import PostgisStore
from hazfence.wire import Message, encode_columns
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.processor import PartitionProcessor
from hazfence_fences import load_fences
from tests.accounting import Account, account, assert_accounted
from tests.integration.worker_process import DAY_US, FENCES

TOPIC = "hazfence.test.account"
#: Vehicle a: a fix, the same again, another place at the same moment; b: nowhere; then no message at all.
BATCH = FixBatch.of(
    ["a", "a", "a", "b"], time_us=[DAY_US] * 4, lon=[121.5, 121.5, 121.6, 500.0], lat=29.9, status=3,
    item=range(4),
)  # fmt: skip
LOG = {0: [Message(0, 0, encode_columns(BATCH)), Message(1, 0, b"{"), Message(2, 0, encode_columns(BATCH))]}


@asynccontextmanager
async def worked(url: str) -> AsyncIterator[WorkerMetrics]:
    store, metrics = PostgisStore(url), WorkerMetrics()
    await store.open()
    processor = PartitionProcessor(TOPIC, 0, fences=load_fences(FENCES), store=store, metrics=metrics)
    await processor.load()
    await processor.feed(LOG[0])
    await processor.close()
    yield metrics
    await store.close()


def accounted(url: str, *damage: str) -> Account:
    async def run() -> Account:
        async with worked(url) as metrics:
            assert metrics.unaccounted() == 0
            metrics.taken_in.inc()
            assert metrics.unaccounted() == 1
        with psycopg.connect(url) as connection:
            for statement in damage:
                connection.execute(statement)
        return await account(url, TOPIC, LOG)

    return asyncio.run(run())


def test_a_log_with_all_there_can_be(postgres_url: str) -> None:
    found = accounted(postgres_url)
    assert_accounted(found)
    assert found.set_aside == 4
    assert (found.taken_in, found.accepted, found.repeated, found.dead) == (9, 2, 2, 1)
    assert found.reasons == {"out_of_range": 2, "same_time": 2, "bad_json": 1}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM hazfence.fix", "lost, a at"),
        ("INSERT INTO hazfence.fix SELECT * FROM hazfence.fix", "2 rows"),
        ("DELETE FROM hazfence.dead_letter WHERE item = -1", "unreadable"),
        ("DELETE FROM hazfence.dead_letter WHERE item = 3", "lost, b at"),
        ('UPDATE hazfence.dead_letter SET item = 0 WHERE item = 3 AND "offset" = 0', "a row and a letter"),
        ('UPDATE hazfence.fix SET "offset" = 2, item = 7', "not on the log before the checkpoint"),
    ],
)
def test_what_does_not_add_up_is_named(postgres_url: str, damage: str, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        assert_accounted(accounted(postgres_url, damage))
