"""The topic of fixes read a second time, beside the group: for rules that look at all vehicles together.

You are beside ``joint.py``, at the worker's second edge towards Kafka. :class:`KafkaTail` belongs to no
group and commits nothing: the offsets are the reader's, and lie in its own checkpoint. A broker that is
away gives nothing, is said in the log, and is asked again at the next look.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from hazfence.wire import Message
from hazfence.worker.broker import leave

__all__ = ["KafkaTail"]

_log = structlog.get_logger(__name__)
_FETCH_BYTES = 4 * 1024 * 1024
_WAIT_MS = 100
_SAY_AGAIN_S = 15.0


class KafkaTail:
    """Reads every partition of a topic from given offsets on.

    Args:
        client: keywords for aiokafka, see ``hazfence.worker.broker.client_options``.
        topic: to be read.
    """

    def __init__(self, client: Mapping[str, Any], topic: str) -> None:
        self._client = client
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._said_s = float("-inf")

    async def ends(self) -> Mapping[int, int]:
        """The offset after the last message of each partition; nothing while the broker is away."""
        try:
            consumer = await self._connected()
            places = sorted(consumer.assignment(), key=lambda place: place.partition)
            found = await consumer.end_offsets(places)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._away(error)
            return {}
        return {place.partition: offset for place, offset in found.items()}

    async def read(self, offsets: Mapping[int, int]) -> Mapping[int, Sequence[Message]]:
        """Some messages from these offsets on; nothing when none came at once."""
        try:
            consumer = await self._connected()
            places = {TopicPartition(self._topic, p): offset for p, offset in offsets.items()}
            for place, offset in places.items():
                if await consumer.position(place) != offset:
                    consumer.seek(place, offset)
            rows = await consumer.getmany(*places, timeout_ms=_WAIT_MS)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._away(error)
            return {}
        return {
            place.partition: [Message(row.offset, max(0, row.timestamp) * 1000, row.value) for row in some]
            for place, some in rows.items()
            if some
        }

    async def close(self) -> None:
        """Let go of the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await leave(consumer._client, consumer.stop())

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._client,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=_FETCH_BYTES,
            )
            try:
                await consumer.start()
                partitions = await self._partitions(consumer)
                consumer.assign([TopicPartition(self._topic, p) for p in partitions])
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[int]:
        """The partitions of the topic, asked of the cluster: without a group nobody has told us yet."""
        metadata = await consumer._client.fetch_all_metadata()
        found = metadata.partitions_for_topic(self._topic)
        if not found:
            raise TimeoutError(f"topic {self._topic} is not there yet")
        return sorted(found)

    async def _away(self, error: BaseException) -> None:
        await self.close()
        now_s = time.monotonic()
        if now_s - self._said_s >= _SAY_AGAIN_S:
            self._said_s = now_s
            _log.warning(
                "fixes cannot be read for the joint rules: trying on", error=str(error) or repr(error)
            )
