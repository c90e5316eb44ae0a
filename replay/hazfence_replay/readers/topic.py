"""A Kafka topic from a time on, as batches of fixes, up to where it ended when the reader began.

You are among the track readers. Partitions are read side by side and merged by the time at which messages
were put on the topic, so the stream is the same on every run, whichever partition answers first. Nobody's
offsets are touched: the reader belongs to no consumer group. Next room: ``hazfence.wire``, which decodes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from hazfence.fixes import FixBatch
from hazfence.wire import Message, decode
from hazfence_replay.kafka import TopicUrl, client_options, partitions_of, topic_url
from hazfence_replay.readers.rejects import Reject, Rejects
from hazfence_replay.readers.wanted import Wanted

__all__ = ["TopicReader"]

#: A fix may be this far ahead of the moment its message was put on the topic (``max_ahead_s``).
_AHEAD_MS = 300_000
_WAIT_MS = 1_000
#: Messages of a partition that wait for those of the others.
_HELD = 2_000


class TopicReader:
    """The fixes of one topic.

    Args:
        url: ``kafka://HOST:PORT[,HOST:PORT]/TOPIC``.
        wanted: which fixes; with ``since_us``, messages from five minutes before it on are read.
        batch_fixes: the most fixes in one batch.
        rejects: where messages go that are no fixes; ``line`` is their offset.

    In the batches ``offset`` and ``item`` are those of the message, ``received_us`` its timestamp.

    Raises (while iterating):
        ValueError: there is no such topic.
        aiokafka.errors.KafkaError: the broker cannot be reached.

    Example:
        >>> reader = TopicReader("kafka://localhost:9092/hazfence.fixes")  # doctest: +SKIP
        >>> events = list(replay(reader, Engine(fences)))  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        wanted: Wanted | None = None,
        batch_fixes: int = 65_536,
        rejects: Rejects | None = None,
    ) -> None:
        self._url = topic_url(url)
        self.source = str(self._url)
        self.rejects = Rejects() if rejects is None else rejects
        self.share: float | None = 0.0
        self._wanted = wanted or Wanted()
        self._batch_fixes = batch_fixes

    def __iter__(self) -> Iterator[FixBatch]:
        with asyncio.Runner() as runner:
            log = _Log(self._url)
            try:
                runner.run(log.open(self._wanted.since_us))
                while messages := runner.run(log.next()):
                    self.share = log.share
                    yield from self._fixes(messages)
                self.share = 1.0
            finally:
                runner.run(log.close())

    def _fixes(self, messages: list[_Placed]) -> Iterator[FixBatch]:
        found: list[FixBatch] = []
        orders: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        place = {(partition, message.offset): i for i, (_, partition, message) in enumerate(messages)}
        for partition in sorted({partition for _, partition, _ in messages}):
            batch, rejects = decode(message for _, p, message in messages if p == partition)
            for reject in rejects:
                where = f"{self.source}[{partition}]"
                self.rejects.add(Reject(where, reject.offset, reject.reason, reject.detail))
            if len(batch):
                found.append(batch)
                offsets, which = np.unique(batch.offset, return_inverse=True)
                at = [place[partition, offset] for offset in offsets.tolist()]
                orders.append(np.array(at, np.int64)[which])
        if not found:
            return
        whole = FixBatch.concat(found).take(np.argsort(np.concatenate(orders), kind="stable"))
        whole = self._wanted.cut(whole)
        for start in range(0, len(whole), self._batch_fixes):
            yield whole.take(slice(start, start + self._batch_fixes))


#: A message with its place in the order of the topic: its time (never going back), and its partition.
_Placed = tuple[int, int, Message]


class _Partition:
    def __init__(self, number: int, begin: int, end: int) -> None:
        self.number, self.begin, self.end = number, begin, end
        self.held: deque[_Placed] = deque()
        self.next = begin
        self.newest_us = 0

    @property
    def ended(self) -> bool:
        return self.next >= self.end

    def take(self, record: Any) -> None:
        if record.offset >= self.end:
            self.next = self.end
            return
        time_us = max(0, record.timestamp or 0) * 1000
        self.newest_us = max(self.newest_us, time_us)
        self.held.append((self.newest_us, self.number, Message(record.offset, time_us, record.value)))
        self.next = record.offset + 1


class _Log:
    """All partitions of a topic as one list of messages."""

    def __init__(self, url: TopicUrl) -> None:
        self._url, self._topic = url, url.topic
        self._consumer: Any = None
        self._parts: dict[Any, _Partition] = {}

    @property
    def share(self) -> float:
        whole = sum(p.end - p.begin for p in self._parts.values()) or 1
        return sum(p.next - p.begin for p in self._parts.values()) / whole

    async def open(self, since_us: int | None) -> None:
        options = client_options(self._url.servers)
        numbers = await partitions_of(self._url, options)
        self._consumer = AIOKafkaConsumer(**options)
        await self._consumer.start()
        places = [TopicPartition(self._topic, number) for number in numbers]
        self._consumer.assign(places)
        first = await self._consumer.beginning_offsets(places)
        last = await self._consumer.end_offsets(places)
        if since_us is not None:
            since_ms = max(0, since_us // 1000 - _AHEAD_MS)
            found = await self._consumer.offsets_for_times(dict.fromkeys(places, since_ms))
            first = {p: last[p] if found[p] is None else max(first[p], found[p].offset) for p in places}
        for place in places:
            self._parts[place] = _Partition(place.partition, first[place], last[place])
            self._consumer.seek(place, first[place])

    async def next(self) -> list[_Placed]:
        """The next messages in order; none at the end."""
        while True:
            while waits := [t for t, p in self._parts.items() if not p.held and not p.ended]:
                for place, part in self._parts.items():
                    busy = part.ended or len(part.held) >= _HELD
                    (self._consumer.pause if busy else self._consumer.resume)(place)
                await self._fetch()
                for place in waits:
                    # Markers of transactions take up offsets that no record has.
                    part = self._parts[place]
                    part.next = max(part.next, await self._consumer.position(place))
            live = [p for p in self._parts.values() if p.held]
            # From here on something may still come that belongs earlier.
            bound = min((p.held[-1][0] for p in live if not p.ended), default=None)
            ready = []
            for part in live:
                while part.held and (bound is None or part.held[0][0] < bound or len(live) == 1):
                    ready.append(part.held.popleft())
            if ready or not live:
                return sorted(ready, key=lambda placed: (placed[0], placed[1], placed[2].offset))
            # All of one moment: read on until it passes.
            self._consumer.resume(*(t for t, p in self._parts.items() if not p.ended))
            await self._fetch()

    async def _fetch(self) -> None:
        fetched = await self._consumer.getmany(timeout_ms=_WAIT_MS)
        for place, records in fetched.items():
            for record in records:
                self._parts[place].take(record)

    async def close(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
