"""The broker before and after there is a worker: reached, waited for, its topics seen to; and left again.

You are beside ``main.py``, which comes here first, because Faust dies of a broker that is away and
creates no topic that nobody sends to. Whoever speaks to the broker takes TLS and SASL from here, and
:func:`leave` lets go of a client in a short time, whatever has become of the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Coroutine
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from hazfence.worker.config import PREFIX, SettingsError, WorkerSettings
from hazfence.worker.waiting import within

__all__ = ["client_options", "leave", "tls_context", "until_hung_up", "wait_for_broker"]

_log = structlog.get_logger(__name__)
_PAUSE_S = (0.5, 1.0, 2.0, 3.0)
_SAY_AGAIN_S = 15.0
#: A broker that answers does so in milliseconds.
_POLITE_S = 3.0
_LOOK_AGAIN_S = 0.005


def tls_context(settings: WorkerSettings) -> ssl.SSLContext | None:
    """Whom to believe and who to be, for TLS with the broker; None without TLS.

    Host names are checked, and only TLS 1.2 and newer is spoken.

    Raises:
        SettingsError: a file is not what it should be.
    """
    if "ssl" not in settings.kafka_security:
        return None
    name = "KAFKA_CA_FILE"
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
        if settings.kafka_cert_file and settings.kafka_key_file:
            name = "KAFKA_CERT_FILE or _KEY_FILE"
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file, password="")
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(
            f"{PREFIX}{name}: no use for TLS ({error}); give PEM files that belong together"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def client_options(settings: WorkerSettings) -> dict[str, Any]:
    """Keywords for any client of aiokafka: where the broker is, and TLS and SASL as the settings say.

    They hold the password.

    Raises:
        SettingsError: see `tls_context`.

    Example:
        >>> from hazfence.worker.config import WorkerSettings
        >>> client_options(WorkerSettings.load(database_url="postgresql://", kafka="a:1,b:2", fences="db"))
        {'bootstrap_servers': ['a:1', 'b:2'], 'security_protocol': 'PLAINTEXT'}
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka.split(","),
        "security_protocol": settings.kafka_security.upper(),
    }
    if (context := tls_context(settings)) is not None:
        options["ssl_context"] = context
    if "sasl" in settings.kafka_security:
        assert settings.kafka_password is not None
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return options


async def leave(client: AIOKafkaClient, stopping: Coroutine[Any, Any, Any]) -> None:
    """Stop a consumer or producer: politely for a while, then without another word.

    aiokafka says goodbye to the group and waits for the answer as long as for any other, and a connection
    with something left to send is closed only when it is sent: with a broker that hangs neither ends.

    Args:
        client: the connections of what is stopped.
        stopping: its ``stop()``.
    """
    try:
        await within(_POLITE_S, stopping)
    except (KafkaError, OSError, TimeoutError) as error:
        _log.info("the broker was left without a word", error=str(error) or repr(error))
        for connection in list(client._conns.values()):
            if connection._writer is not None:
                connection._writer.transport.abort()
        with contextlib.suppress(TimeoutError):
            await within(_POLITE_S, client.close())


async def until_hung_up() -> None:
    """Wait, before an event loop ends, until the connections that were closed in it are gone.

    A TLS connection is gone when the broker has answered the goodbye. aiokafka waits for that with those
    that worked and not with one whose user or password was refused, which then outlives its loop as an
    open socket. A broker that does not answer is not waited for longer than :func:`leave` would.
    """
    transports = vars(asyncio.get_running_loop()).get("_transports", {})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_POLITE_S):
            while any(one._sock is not None for one in list(transports.values())):
                await asyncio.sleep(_LOOK_AGAIN_S)


async def wait_for_broker(settings: WorkerSettings, *, joint: bool = False) -> None:
    """Come back when the broker answers and the topics exist.

    Args:
        settings: name them.
        joint: whether the topic of plate reads is needed.

    Raises:
        SettingsError: a topic is missing and may not be created here.
    """
    clock = asyncio.get_running_loop().time
    tries, since_s, said_s = 0, clock(), float("-inf")
    while True:
        try:
            await _see_to_topics(settings, joint)
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


async def _see_to_topics(settings: WorkerSettings, joint: bool) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=10_000)
    try:
        await admin.start()
        there = set(await admin.list_topics())
        wanted = {settings.topic: settings.topic_partitions}
        if settings.dead_topic:
            wanted[settings.dead_topic] = 1
        if joint:
            wanted[settings.plate_topic] = 1
            if settings.plate_topic in there:
                await _see_that_it_is_one(admin, settings.plate_topic)
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


async def _see_that_it_is_one(admin: AIOKafkaAdminClient, topic: str) -> None:
    """The plates of all checkpoints are judged together, so they come on one partition."""
    (told,) = await admin.describe_topics([topic])
    if len(told["partitions"]) > 1:
        raise SettingsError(
            f"topic {topic} has {len(told['partitions'])} partitions; make one with a single partition, "
            f"or name it in {PREFIX}PLATE_TOPIC"
        )
