"""The doctor's look at the Kafka broker: topics, their partitions, copies and retention, and what is read.

You are behind `report.py`. The question behind it all: if everything downstream were away for days, would
the fixes still be on the log? And does the log still begin before, and end after, what the checkpoints
stand for?
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from hazfence.doctor.report import Say
from hazfence.worker.broker import client_options, until_hung_up
from hazfence.worker.config import SettingsError, WorkerSettings

__all__ = ["look"]

_Topics = dict[str, list[dict[str, Any]]]
_TIMEOUT_S = 5.0
_LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")
#: The log must carry the fixes over a long weekend with the database away.
_RETENTION_WARN_H = 72.0


def look(settings: WorkerSettings, say: Say, checkpoints: dict[int, int]) -> None:
    """Examine the broker.

    Args:
        settings: of the worker.
        say: collects what is found.
        checkpoints: for each partition the offset wanted next.
    """
    quiet = logging.getLogger("aiokafka")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)  # it logs every try to connect; the finding says it once
    try:
        asyncio.run(_look(settings, say, checkpoints))
    finally:
        quiet.setLevel(level)


async def _look(settings: WorkerSettings, say: Say, checkpoints: dict[int, int]) -> None:
    try:
        options = client_options(settings)
    except SettingsError as error:
        say.fail("settings", str(error), "give PEM files")
        return
    admin = AIOKafkaAdminClient(**options, request_timeout_ms=int(_TIMEOUT_S * 1000))
    try:
        async with asyncio.timeout(3 * _TIMEOUT_S):
            await admin.start()
            # All topics, because asking for one by name makes a broker that creates topics by itself do so.
            topics = {one["topic"]: one.get("partitions") or [] for one in await admin.describe_topics()}
            await _examine(settings, admin, say, topics)
        there = {one["partition"] for one in topics.get(settings.topic, ())}
        if there:
            await _logs(settings, options, say, {p: at for p, at in checkpoints.items() if p in there})
    except (KafkaError, OSError, TimeoutError) as error:
        text = str(error) or type(error).__name__
        secured = settings.kafka_security != "plaintext"
        more = ", or mend HAZFENCE_KAFKA_SECURITY and its user, password and CA file" if secured else ""
        say.fail("reachable", text, f"start the broker, or mend HAZFENCE_KAFKA{more}")
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await admin.close()
        await until_hung_up()


async def _examine(settings: WorkerSettings, admin: Any, say: Say, topics: _Topics) -> None:
    cluster = await admin.describe_cluster()
    brokers = cluster.get("brokers", [])
    said = f"{settings.kafka}, {len(brokers)} broker{'s' * (len(brokers) != 1)}"
    say.ok("reachable", said)
    local = all(server.rpartition(":")[0] in _LOCAL for server in settings.kafka.split(","))
    if "ssl" in settings.kafka_security:
        say.ok("encryption", "TLS")
    elif local:
        say.ok("encryption", "none, and none is needed on the same machine")
    else:
        say.warn(
            "encryption", "the connection is not encrypted", "set HAZFENCE_KAFKA_SECURITY to ssl or sasl_ssl"
        )
    for topic, wanted in ((settings.topic, settings.topic_partitions), (settings.dead_topic, 1)):
        if topic:
            _topic(settings, say, topic, topics.get(topic, []), wanted=wanted, brokers=len(brokers))
    if topics.get(settings.topic):
        await _retention(settings, admin, say, settings.topic)


def _topic(
    settings: WorkerSettings,
    say: Say,
    topic: str,
    partitions: list[dict[str, Any]],
    *,
    wanted: int,
    brokers: int,
) -> None:
    check = f"topic {topic}"
    if not partitions:
        if settings.create_topics:
            say.warn(
                check, "does not exist yet", f"nothing: the first worker makes it, with {wanted} partitions"
            )
        else:
            say.fail(check, "does not exist", "create it, or set HAZFENCE_CREATE_TOPICS=true")
        return
    copies = min(len(one["replicas"]) for one in partitions)
    said = f"{len(partitions)} partitions, {copies} cop{'ies' if copies > 1 else 'y'}"
    out = [one["partition"] for one in partitions if one.get("error_code", 0) or one.get("leader", 0) < 0]
    if out:
        say.fail(check, f"{said}; partition {out[0]} has no leader", "start the missing broker")
    elif copies < min(brokers, 3):
        say.warn(
            check,
            said,
            f"give it {min(brokers, 3)} copies (kafka-reassign-partitions): one disk lost is fixes lost",
        )
    elif topic == settings.topic and len(partitions) < wanted:
        mend = f"kafka-topics --alter --partitions {wanted}, or set HAZFENCE_TOPIC_PARTITIONS"
        say.warn(
            check,
            f"{said}; the settings speak of {wanted}",
            f"{mend}; more than {len(partitions)} workers have nothing to do",
        )
    else:
        say.ok(check, said)


async def _retention(settings: WorkerSettings, admin: Any, say: Say, topic: str) -> None:
    try:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        _, _, _, _, entries = answer.resources[0]
        found = {entry[0]: entry[1] for entry in entries}
    except (KafkaError, OSError, TimeoutError, ValueError, IndexError, TypeError) as error:
        say.warn(
            "retention",
            f"not told by the broker ({type(error).__name__})",
            f"see to it that it keeps {_RETENTION_WARN_H:.0f} h",
        )
        return
    if "retention.ms" not in found:
        say.warn("retention", "not told by the broker", f"see to it that it keeps {_RETENTION_WARN_H:.0f} h")
        return
    policy = found.get("cleanup.policy") or "delete"
    hours = int(found["retention.ms"]) / 3_600_000
    said = "for ever" if hours < 0 else f"{hours:,.0f} h"
    if "compact" in policy:
        say.fail(
            "retention",
            f"cleanup.policy {policy}: older fixes of a vehicle vanish",
            "set cleanup.policy=delete",
        )
    elif 0 <= hours < _RETENTION_WARN_H:
        say.warn(
            "retention",
            said,
            f"set retention.ms to {_RETENTION_WARN_H:.0f} h or more: fixes wait there while the database is "
            "away",
        )
    else:
        say.ok("retention", said)
    largest = int(found.get("max.message.bytes") or 0)
    if largest > settings.max_message_bytes:
        say.warn(
            "message size",
            f"the topic takes {largest} bytes, workers refuse more than {settings.max_message_bytes}",
            "raise HAZFENCE_MAX_MESSAGE_BYTES, or lower max.message.bytes of the topic",
        )


async def _logs(
    settings: WorkerSettings, options: dict[str, Any], say: Say, checkpoints: dict[int, int]
) -> None:
    """Read one message where each checkpoint ends: is it still, and already, on the log?"""
    if not checkpoints:
        return
    consumer = AIOKafkaConsumer(
        **options,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=1024,
        request_timeout_ms=int(_TIMEOUT_S * 1000),
    )
    await consumer.start()
    lost: list[int] = []
    places = {TopicPartition(settings.topic, partition): offset for partition, offset in checkpoints.items()}
    ends: dict[TopicPartition, int] = {}
    try:
        consumer.assign(list(places))
        for place, offset in places.items():
            consumer.seek(place, offset)
        clock = asyncio.get_running_loop().time
        give_up_s = clock() + _TIMEOUT_S
        while len(ends) + len(lost) < len(places) and clock() < give_up_s:
            try:
                await consumer.getmany(timeout_ms=100, max_records=1)
            except OffsetOutOfRangeError as error:
                out = {place.partition for place in error.args[0]}
                lost += sorted(out - set(lost))
            for place in places:
                if (end := consumer.highwater(place)) is not None:
                    ends[place] = end
    finally:
        await consumer.stop()
    lost += [
        place.partition for place, end in ends.items() if end < places[place] and place.partition not in lost
    ]
    behind = sum(max(0, end - places[place]) for place, end in ends.items())
    if lost:
        say.fail(
            "log",
            f"partition {lost[0]}: the checkpoint's offset {checkpoints[lost[0]]} is not on the log: "
            "fixes were deleted before they were read, or the topic was made anew",
            "see docs/worker.md, A topic that was deleted and made anew; keep the log longer (retention)",
        )
    elif len(ends) < len(places):
        say.warn("log", f"{len(places) - len(ends)} partitions did not answer", "see the log of the broker")
    else:
        say.ok("log", f"every checkpoint is on it; {behind} messages after them")
