"""The broker before there is a worker: wait for it, and see that the topics are there.

You are beside ``main.py``, which comes here first, because Faust dies of a broker that is away and
creates no topic that nobody sends to.
"""

from __future__ import annotations

import asyncio

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from hazfence.worker.config import PREFIX, SettingsError, WorkerSettings

__all__ = ["wait_for_broker"]

_log = structlog.get_logger(__name__)
_PAUSE_S = (0.5, 1.0, 2.0, 3.0)
_SAY_AGAIN_S = 15.0


async def wait_for_broker(settings: WorkerSettings) -> None:
    """Come back when the broker answers and the topics exist.

    Raises:
        SettingsError: a topic is missing and may not be created here.
    """
    clock = asyncio.get_running_loop().time
    tries, since_s, said_s = 0, clock(), float("-inf")
    while True:
        try:
            await _see_to_topics(settings)
        except (KafkaError, OSError, TimeoutError) as error:
            if clock() - said_s >= _SAY_AGAIN_S:
                said_s = clock()
                _log.warning(
                    "broker away: waiting for it",
                    kafka=settings.kafka,
                    waited_s=round(clock() - since_s, 1),
                    error=str(error) or repr(error),
                )
            await asyncio.sleep(_PAUSE_S[min(tries, len(_PAUSE_S) - 1)])
            tries += 1
        else:
            if tries:
                _log.info("broker back", waited_s=round(clock() - since_s, 1))
            return


async def _see_to_topics(settings: WorkerSettings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.split(","), request_timeout_ms=10_000)
    try:
        await admin.start()
        there = set(await admin.list_topics())
        wanted = {settings.topic: settings.topic_partitions}
        if settings.dead_topic:
            wanted[settings.dead_topic] = 1
        missing = [name for name in wanted if name not in there]
        if missing and not settings.create_topics:
            raise SettingsError(
                f"topic {missing[0]} does not exist: create it, or set {PREFIX}CREATE_TOPICS=true"
            )
        for name in missing:
            topic = NewTopic(name, wanted[name], settings.topic_replication)
            answer = await admin.create_topics([topic])
            for _, code, *_rest in answer.topic_errors:
                if code not in (0, TopicAlreadyExistsError.errno):
                    raise for_code(code)(f"creating topic {name}")
            _log.info("topic created", topic=name, partitions=wanted[name])
    finally:
        await admin.close()
