"""What the reader of a topic and the feeder of one share: the URL, and how to connect.

You are beside ``readers/topic.py`` and ``feed.py``. A topic is named ``kafka://HOST:PORT[,HOST:PORT]/TOPIC``;
TLS and SASL come from the worker's own settings (``HAZFENCE_KAFKA_SECURITY`` and its kin, see
``docs/operating.md``), so that no password stands in a URL.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, NamedTuple

__all__ = ["TopicUrl", "client_options", "partitions_of", "topic_url"]

_URL = re.compile(r"kafka://(?P<servers>[^/@\s]+:\d+)/(?P<topic>[A-Za-z0-9._-]+)/?$")


class TopicUrl(NamedTuple):
    """Where a topic is.

    Attributes:
        servers: ``host:port[,host:port]``.
        topic: its name.
    """

    servers: str
    topic: str

    def __str__(self) -> str:
        return f"kafka://{self.servers}/{self.topic}"


def topic_url(url: str) -> TopicUrl:
    """Take a URL apart.

    Raises:
        ValueError: it is none.

    Example:
        >>> topic_url("kafka://localhost:9092/hazfence.fixes")
        TopicUrl(servers='localhost:9092', topic='hazfence.fixes')
    """
    found = _URL.match(url)
    if not found:
        raise ValueError(f"{url!r} names no topic: write kafka://HOST:PORT/TOPIC")
    return TopicUrl(found["servers"], found["topic"])


def client_options(servers: str) -> dict[str, Any]:
    """Keywords for any client of aiokafka: the servers, and TLS and SASL as the environment says.

    Raises:
        hazfence.worker.config.SettingsError: the variables contradict each other.
    """
    from hazfence.worker.broker import client_options as of_settings
    from hazfence.worker.config import WorkerSettings

    # The database and the fences are no concern of a client; any value that passes will do.
    settings = WorkerSettings.load(kafka=servers, database_url="postgresql://", fences="db")
    return of_settings(settings)


async def partitions_of(url: TopicUrl, options: dict[str, Any]) -> list[int]:
    """The partitions of a topic.

    Args:
        url: of the topic.
        options: as :func:`client_options` gives them.

    Raises:
        ValueError: there is no such topic.
        KafkaError: the broker cannot be reached.
    """
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        # Asked for by name, a topic that is not there may be made: so the list comes first.
        if url.topic not in await admin.list_topics():
            raise ValueError(
                f"{url}: the broker has no such topic: create it, or start a worker, which does "
                "(HAZFENCE_CREATE_TOPICS)"
            )
        (found,) = await admin.describe_topics([url.topic])
        return sorted(part["partition"] for part in found["partitions"])
    finally:
        with suppress(Exception):  # what went wrong before is the error to tell
            await admin.close()
