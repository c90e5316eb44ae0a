"""Dead letters on their topic: at least once, and never in the way of the fixes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable
from typing import Any

import numpy as np

from hazfence import FixBatch, Reason
from hazfence.ports import Reject
from hazfence.worker import dead
from hazfence.worker.dead import DeadLetters, letter, set_aside
from hazfence.worker.metrics import WorkerMetrics


class Topic:
    """A topic that refuses as often as told."""

    def __init__(self, *, refuse_sends: int = 0, refuse_answers: int = 0) -> None:
        self.letters: list[bytes] = []
        self.refuse_sends, self.refuse_answers = refuse_sends, refuse_answers

    async def send(self, key: bytes, value: bytes) -> Awaitable[Any]:
        if self.refuse_sends:
            self.refuse_sends -= 1
            raise ConnectionError("no broker")
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.refuse_answers:
            self.refuse_answers -= 1
            answer.set_exception(ConnectionError("broker gone"))
        else:
            self.letters.append(key)
            answer.set_result(None)
        return answer


REJECTS = [Reject(i, -1, "bad_json", "character 0", b"x") for i in range(3)]
KEYS = [b"t/0/0/-1", b"t/0/1/-1", b"t/0/2/-1"]


def run(topic: Topic, patience_s: float = 5.0) -> WorkerMetrics:
    metrics = WorkerMetrics()

    async def go() -> None:
        letters = DeadLetters(topic.send, metrics, patience_s=patience_s)
        await letters.put("t", 0, REJECTS)
        await letters.flush()
        await letters.flush()

    asyncio.run(go())
    return metrics


def failures(metrics: WorkerMetrics) -> float | None:
    return metrics.registry.get_sample_value("hazfence_dead_topic_failures_total")


def test_letters_arrive_in_order() -> None:
    topic = Topic()
    assert failures(run(topic)) == 0
    assert topic.letters == KEYS


def test_refused_sends_are_tried_again() -> None:
    topic = Topic(refuse_sends=2)
    assert failures(run(topic)) == 0
    assert topic.letters == KEYS


def test_lost_answers_are_sent_again() -> None:
    topic = Topic(refuse_answers=2)
    assert failures(run(topic)) == 0
    assert sorted(topic.letters) == KEYS


def test_patience_ends_and_is_counted() -> None:
    topic = Topic(refuse_sends=10**6)
    assert failures(run(topic, patience_s=0.15)) == 3
    assert topic.letters == []


def test_no_topic_is_fine() -> None:
    async def go() -> None:
        letters = DeadLetters(None, WorkerMetrics())
        await letters.put("t", 0, REJECTS)
        await letters.flush()

    asyncio.run(go())


def test_two_partitions_wait_for_their_own_letters() -> None:
    gate = asyncio.Event()
    sent: list[bytes] = []

    async def go() -> None:
        async def send(key: bytes, value: bytes) -> Awaitable[Any]:
            async def arrive() -> None:
                await gate.wait()
                sent.append(key)

            return asyncio.ensure_future(arrive())

        letters = DeadLetters(send, WorkerMetrics())
        await letters.put("t", 0, REJECTS[:1])
        await letters.put("t", 1, REJECTS[1:2])
        flushes = [asyncio.create_task(letters.flush()) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert not any(flush.done() for flush in flushes)
        gate.set()
        await asyncio.gather(*flushes)

    asyncio.run(go())
    assert sorted(sent) == [b"t/0/0/-1", b"t/1/1/-1"]


def test_a_letter_holds_what_fits_and_says_how_much_there_was() -> None:
    payload = bytes(range(256)) * 1000
    key, value = letter("主题", 3, Reject(9, 4, "too_large", "x", payload))
    assert key.decode() == "主题/3/9/4"
    data = json.loads(value)
    assert base64.b64decode(data["payload"]) == payload[: dead.MAX_PAYLOAD_BYTES]
    assert data["payload_bytes"] == len(payload)


def test_set_aside_keeps_all_but_duplicates() -> None:
    batch = FixBatch.of(["A"] * 3, time_us=[1, 2, 3], lon=1.0, lat=2.0, offset=[7, 7, 8], item=[0, 1, 0])
    reason = np.array([Reason.DUPLICATE, Reason.LATE, Reason.OK], np.uint8)
    (reject,) = set_aside(batch, reason)
    assert (reject.offset, reject.item, reject.reason) == (7, 1, "late")
    assert "'A'" in reject.detail
    assert "order of their times" in reject.detail
    assert json.loads(reject.payload)["vehicle"] == "A"


def test_every_reason_has_a_mend() -> None:
    for reason in Reason:
        if reason not in (Reason.OK, Reason.DUPLICATE):
            batch = FixBatch.of(["A"], time_us=0, lon=[float("nan")], lat=[0.0])
            (reject,) = set_aside(batch, np.array([reason], np.uint8))
            assert reject.detail.split(": ", 1)[1] != reason.label
