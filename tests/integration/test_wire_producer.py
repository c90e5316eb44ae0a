"""The packing producer on a real broker: everything arrives, in order, and what never will is said."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from aiokafka.errors import KafkaError

from hazfence import FixBatch
from hazfence.services import PrivateBroker
from hazfence.wire import decode
from hazfence.wire.packer import partition_of
from hazfence.wire.producer import FixProducer
from hazfence.worker.broker import wait_for_broker

from .worker_process import read_whole_log, settings


def fixes(n: int) -> FixBatch:
    rng = np.random.default_rng(n)
    return FixBatch.of([f"V{i}" for i in rng.integers(0, 40, n)], time_us=range(n), lon=1.0, lat=2.0)


async def check(kafka: str, topic: str, sent: list[tuple[str, int]]) -> None:
    log = await read_whole_log(kafka, topic)
    for partition, messages in log.items():
        batch, rejects = decode(messages)
        assert rejects == []
        got = list(zip(batch.names(), batch.time_us.tolist(), strict=True))
        assert got == [fix for fix in sent if partition_of(fix[0], len(log)) == partition]


def test_singles_and_batches_arrive_in_order(broker: str, topic: str) -> None:
    async def go() -> None:
        await wait_for_broker(settings("postgresql:///unused", broker, topic))
        sent: list[tuple[str, int]] = []
        async with FixProducer(broker, topic, max_fixes=50, max_delay_s=0.01) as producer:

            async def singles() -> None:
                for i in range(300):
                    await producer.send("S", i, 1.0, 2.0, speed_kmh=5.0)
                    if i % 40 == 0:
                        await asyncio.sleep(0.015)  # let the timer flush in between

            batch = fixes(2000)
            await asyncio.gather(singles(), producer.send_batch(batch))
            sent = [("S", i) for i in range(300)]
            sent_batch = list(zip(batch.names(), batch.time_us.tolist(), strict=True))
        log = await read_whole_log(broker, topic)
        for messages in log.values():
            got = list(zip(*(lambda b: (b.names(), b.time_us.tolist()))(decode(messages).batch), strict=True))
            ours = [fix for fix in got if fix[0] == "S"]
            assert ours in ([], sent)
            others = [fix for fix in got if fix[0] != "S"]
            names = {fix[0] for fix in others}
            assert others == [fix for fix in sent_batch if fix[0] in names]

    asyncio.run(go())


def test_a_broker_that_hangs_loses_nothing(topic: str) -> None:
    async def go(private: PrivateBroker) -> None:
        await wait_for_broker(settings("postgresql:///unused", private.bootstrap, topic))
        batch = fixes(4000)
        sent = list(zip(batch.names(), batch.time_us.tolist(), strict=True))
        # A short patience makes aiokafka give up, so that sending again is ours.
        async with FixProducer(
            private.bootstrap, topic, max_fixes=100, max_pending=2, request_timeout_ms=1000
        ) as producer:
            await producer.send_batch(batch.take(slice(0, 1000)))
            private.pause()
            rest = asyncio.create_task(producer.send_batch(batch.take(slice(1000, None))))
            await asyncio.sleep(3)
            assert not rest.done()  # the sender is made to wait
            private.resume()
            await rest
        log = await read_whole_log(private.bootstrap, topic)
        seen: list[tuple[str, int]] = []
        for messages in log.values():
            read = decode(messages).batch
            seen += list(zip(read.names(), read.time_us.tolist(), strict=True))
            # At least once: a repeated message is a block of known fixes, never a gap or a swap.
            for name in read.vehicles:
                times = read.time_us[read.vehicle == read.vehicles.index(name)]
                firsts = times[np.sort(np.unique(times, return_index=True)[1])]
                assert (np.diff(firsts) > 0).all()
        assert set(seen) == set(sent)

    with PrivateBroker() as private:
        asyncio.run(go(private))


def test_what_can_never_arrive_is_said(broker: str, topic: str) -> None:
    async def go() -> None:
        await wait_for_broker(settings("postgresql:///unused", broker, topic))
        producer = FixProducer(broker, topic, max_fixes=5000, max_request_size=1000)
        await producer.start()
        await producer.send_batch(fixes(100))  # waits in the packer
        with pytest.raises(KafkaError, match="bytes"):
            await producer.flush()
        with pytest.raises(KafkaError, match="bytes"):  # and again, for whoever did not listen
            await producer.send_batch(fixes(20_000))
        with pytest.raises(KafkaError, match="bytes"):
            await producer.stop()


def test_nobody_there_leaves_nothing_open() -> None:
    async def go() -> None:
        producer = FixProducer("127.0.0.1:1")
        with pytest.raises(KafkaError):
            await producer.start()
        await producer.stop()

    asyncio.run(go())
