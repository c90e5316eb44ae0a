"""Faust: the one file that knows it, and what had to be done so that it can be relied on.

You are at the worker's edge towards Kafka. :func:`build_app` gives a Faust app with one agent that
hands raw messages to ``partitions.py``; a timer ticks. Everything
that must be right when something dies is in there, not here. What Faust would do otherwise, seen
in its 0.15 and worked around in this file:

- an exception in the agent loses messages: the agent only hands messages over, and what goes wrong
  behind it ends the process (``on_fatal``);
- ``take`` waits out its time even when messages are there, and acks what it gives up: the agent takes
  what comes, and it is collected in the partitions' inboxes;
- a message costs it 75 us and more on its way to the agent, whatever is in it: what one fetch brought
  of a partition goes that way as one (:class:`_Portion`);
- offsets are committed past what was processed: :class:`_Consumer` commits to Kafka what the
  stored checkpoints stand for, and nothing else; it is a hint for the next start and for lag tools;
- after a seek, what was fetched before makes Faust drop what is read again: its memory of read
  offsets is switched off, ``order.py`` keeps the order;
- batches come before ``on_partitions_assigned`` has ended, and after a revocation:
  ``partitions.py`` leaves both alone;
- when its queue is nearly full it stops fetching, and then sleeps a whole second: switched off, the
  queue's own limit is enough;
- ``fetch_max_wait_ms`` is fixed at 1500, which makes half a second of latency: set in
  :class:`_ConsumerThread`;
- it sleeps a second at the start to let tables register: there are none (:class:`_NoTables`);
- a module-level app would catch an event loop on import: there is only this function.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from yarl import URL

from hazfence.ports import Board, Reference, Store
from hazfence.wire import Message
from hazfence.worker.broker import client_options, leave, tls_context
from hazfence.worker.config import WorkerSettings
from hazfence.worker.dead import DeadLetters
from hazfence.worker.file import CurrentFile
from hazfence.worker.joint import JointProcessor
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.partitions import LogEnd, Partitions, Place, Processor
from hazfence.worker.processor import PartitionProcessor, ProcessorSettings
from hazfence.worker.showcase import Showcase
from hazfence.worker.tail import KafkaTail
from hazfence.worker.waiting import within
from hazfence_fences import FenceSet

__all__ = ["build_app", "partitions_of"]

_log = structlog.get_logger(__name__)
#: What Faust's services say of themselves goes with Faust's own lines.
_FAUST_LOG = logging.getLogger("faust.hazfence")
#: What was heard of a partition's end is old after this: a broker that is away says nothing.
_CURRENT_S = 10.0
#: Portions, each a partition's of a fetch, that may wait inside Faust on top of the inboxes.
_QUEUE_PORTIONS = 4
#: For what may be left undone: the copy of the offsets in Kafka, dead letters on their topic.
_LAST_S = 5.0
_FATAL = 70  # EX_SOFTWARE: the supervisor starts the worker again


def build_app(
    settings: WorkerSettings,
    *,
    fences: FenceSet,
    store: Store,
    board: Board | None = None,
    reference: Reference | None = None,
    metrics: WorkerMetrics | None = None,
    on_fatal: Callable[[BaseException], None] | None = None,
) -> faust.App:
    """Build the Faust app of a worker; nothing runs and nothing is connected yet.

    Args:
        settings: see there.
        fences: the fences in force.
        store, board, reference: open or to be opened by the caller, and his to close. Without reference,
            rules that ask the file of vehicles and waybills say nothing.
        metrics: what is counted.
        on_fatal: called when something unknown goes wrong while messages are processed; the default
            logs it and ends the process at once, as nothing in memory can be trusted then.

    Returns:
        an app for ``await app.start()`` and ``await app.stop()``; stopping makes last checkpoints.
    """
    metrics = metrics or WorkerMetrics()
    fatal = on_fatal or _end_process
    app = _App(
        settings.group,
        broker=[URL(f"kafka://{server}") for server in settings.kafka.split(",")],
        broker_credentials=_credentials(settings),
        value_serializer="raw",
        key_serializer="raw",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=settings.fetch_max_bytes,
        stream_buffer_maxsize=_QUEUE_PORTIONS,
        # Partitions.revoke waits for what is being processed; Faust's own waiting can hang.
        stream_wait_empty=False,
        broker_session_timeout=settings.session_timeout_s,
        broker_request_timeout=max(90.0, settings.session_timeout_s + 10),
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_rebalance_timeout=settings.rebalance_timeout_s,
        # A store that is away for hours holds the consumer up; heartbeats show that we live.
        broker_max_poll_interval=24 * 3600.0,
        broker_commit_interval=max(1.0, settings.checkpoint_every_s / 2),
        producer_acks=-1,
        TableManager=_NoTables,
    )
    app.transport = _Transport(app.conf.broker_consumer, app, settings.fetch_max_wait_ms)
    dead = DeadLetters(_dead_topic(app, settings.dead_topic) if settings.dead_topic else None, metrics)
    engine_settings, processing = settings.engine_settings(), settings.processor()
    rules = engine_settings.rules.for_fences(fences.fences, {})
    file = None if reference is None else CurrentFile(reference, metrics)
    topics = [settings.topic]
    tail: KafkaTail | None = None
    if rules.joint:
        topics.append(settings.plate_topic)
        processing = replace(processing, tell_heard=True)
        tail = app.tail = KafkaTail(client_options(settings), settings.topic)
    desk = settings.desk()

    def make(place: Place) -> tuple[Processor, Showcase | None]:
        processor: Processor
        if place.topic == settings.topic:
            processor = PartitionProcessor(
                *place, fences=fences, engine_settings=engine_settings, store=store, settings=processing,
                metrics=metrics, dead=dead, file=file,
            )  # fmt: skip
        else:
            processor = JointProcessor(
                *place, fixes_topic=settings.topic, fences=fences, engine_settings=engine_settings,
                store=store, settings=_joint(settings, processing), metrics=metrics, dead=dead, file=file,
                tail=tail,
            )  # fmt: skip
        if board is None:
            return processor, None
        return processor, Showcase(
            processor, store=store, board=board, metrics=metrics, every_s=settings.board_every_s,
            tail=settings.board_tail, desk=desk,
        )  # fmt: skip

    async def seek(place: Place, offset: int) -> None:
        try:
            await app.consumer.seek_wait({TP(*place): offset})
        except (IllegalStateError, TimeoutError) as error:  # just revoked, or slow; asked for again if missed
            _log.info("seek not done", topic=place.topic, partition=place.partition, error=repr(error))

    partitions = app.partitions = Partitions(
        make,
        seek=seek,
        metrics=metrics,
        on_fatal=fatal,
        linger_s=settings.linger_s,
        inbox_bytes=settings.inbox_bytes,
        flush_timeout_s=settings.flush_timeout_s,
        board_every_s=settings.board_every_s,
        last_topic=settings.plate_topic,
    )

    @app.agent(app.topic(*topics, value_type=bytes, key_type=bytes), concurrency=1, name="match")
    async def match(stream: Any) -> None:
        async for event in stream.events():
            portion = event.message
            await partitions.put(Place(portion.topic, portion.partition), portion.messages)

    async def tick() -> None:
        consumer = app.consumer
        assert isinstance(consumer, _Consumer)
        try:
            await partitions.tick(time.time_ns() // 1000, consumer.log_end)
        except Exception as error:
            fatal(error)

    async def measure() -> None:
        consumer = app.consumer
        assert isinstance(consumer, _Consumer)
        await consumer.ask_ends()
        partitions.measure(time.time_ns() // 1000, consumer.log_end)

    async def assigned(_: Any, /, places: Any, **__: Any) -> None:
        ours = {Place(tp.topic, tp.partition) for tp in places if tp.topic in topics}
        _log.info("partitions assigned", partitions=[f"{p.topic}/{p.partition}" for p in sorted(ours)])
        partitions.assign(ours)

    async def revoked(_: Any, /, places: Any, **__: Any) -> None:
        gone = {Place(tp.topic, tp.partition) for tp in places}
        _log.info("partitions revoked", partitions=[f"{p.topic}/{p.partition}" for p in sorted(gone)])
        await partitions.revoke(gone)

    if file is not None:
        app.task()(file.keep_fresh)
    app.timer(settings.tick_every_s, name="tick")(tick)
    app.timer(max(1.0, settings.tick_every_s), name="measure")(measure)
    signals: Any = app
    signals.on_partitions_assigned.connect(assigned)
    signals.on_partitions_revoked.connect(revoked)
    return app


def partitions_of(app: Any) -> Partitions:
    """The partitions of an app made by :func:`build_app`: for readiness and tests."""
    assert isinstance(app, _App)
    return app.partitions


def _joint(settings: WorkerSettings, processing: ProcessorSettings) -> ProcessorSettings:
    return replace(processing, checkpoint_every_s=settings.joint_every_s)


def _credentials(settings: WorkerSettings) -> Any:
    """TLS and SASL as Faust takes them; None for plain text, its default."""
    context = tls_context(settings)
    if "sasl" not in settings.kafka_security:
        return None if context is None else faust.SSLCredentials(context)
    assert settings.kafka_password is not None
    return faust.SASLCredentials(
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        ssl_context=context,
        mechanism=settings.kafka_sasl_mechanism,
    )


def _dead_topic(app: faust.App, topic: str) -> Callable[[bytes, bytes], Awaitable[Awaitable[Any]]]:
    async def send(key: bytes, value: bytes) -> Awaitable[Any]:
        producer = await app.maybe_start_producer()
        sent: Awaitable[Any] = await producer.send(topic, key, value, None, None, None)
        return sent

    return send


def _end_process(error: BaseException) -> None:
    _log.critical(
        "unknown error while processing: ending the process, the supervisor starts it again",
        exc_info=error,
    )
    os._exit(_FATAL)


class _NoTables(TableManager):
    """Faust's manager of tables, of which there are none: it need not wait a second for them to register."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class _App(faust.App):
    """A Faust app that lets its partitions go before it stops, and leaves no folders behind."""

    logger = _FAUST_LOG
    partitions: Partitions
    tail: KafkaTail | None = None

    def _create_directories(self) -> None:
        """Faust's folders are for tables, of which there are none."""

    async def _stop_consumer(self) -> None:
        self.partitions.free_waiting()
        # Faust cancels its reader once and then waits for it; nothing comes in any more either way.
        with contextlib.suppress(TimeoutError):
            await within(_LAST_S, super()._stop_consumer())
        await self.partitions.close()
        if self.tail is not None:
            await self.tail.close()

    async def _producer_flush(self, logger: Any) -> None:
        # Dead letters were waited for by the last checkpoints, and lie in the table.
        with contextlib.suppress(TimeoutError):
            await within(_LAST_S, super()._producer_flush(logger))


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka's consumer lives."""

    logger = _FAUST_LOG

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # aiokafka reads it when it starts; Faust has no setting for it.
        consumer._fetch_max_wait_ms = transport.fetch_max_wait_ms
        return consumer

    async def on_thread_stop(self) -> None:
        consumer = self._consumer
        if consumer is None:
            await super().on_thread_stop()
        else:
            await leave(consumer._client, super().on_thread_stop())


class _Forgetful(dict[TP, int | None]):
    """A dict that keeps nothing: Faust's memory of read offsets, switched off."""

    def __getitem__(self, key: TP) -> int | None:
        return None

    def __setitem__(self, key: TP, value: int | None) -> None:
        pass

    def update(self, *_: Any, **__: Any) -> None:
        pass


class _Portion(ConsumerMessage):
    """All that a fetch brought of a partition, as one message to Faust; its offset is the last one's."""

    __slots__ = ("messages",)

    def __init__(self, tp: TP, records: Sequence[Any], generation_id: int) -> None:
        last = records[-1]
        super().__init__(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type, None, None, b"",
            None, tp=tp, generation_id=generation_id,
        )  # fmt: skip
        # No timestamp is -1 in Kafka.
        self.messages = [Message(r.offset, max(r.timestamp, 0) * 1000, r.value) for r in records]


class _Consumer(driver.Consumer):
    """A consumer that commits what the checkpoints stand for."""

    logger = _FAUST_LOG

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _Forgetful()
        self._told: dict[TP, int] = {}
        self._asked: dict[TP, int] = {}

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """What was fetched, each partition's in a list of one."""
        fetched = await super()._getmany(active_partitions, timeout)
        return {tp: [records] for tp, records in (fetched or {}).items() if records}

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        return _Portion(tp, record, self.app.consumer_generation_id)

    def _partitions(self) -> Partitions:
        return partitions_of(self.app)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit the checkpoints' offsets; what Faust noted down of its acks is dropped."""
        self._acked.clear()
        self._acked_index.clear()
        self._gap.clear()
        ours = self.assignment()
        offsets = {TP(*place): offset for place, offset in self._partitions().checkpoints().items()}
        news = {tp: at for tp, at in offsets.items() if tp in ours and self._told.get(tp) != at}
        if not news:
            return False
        try:  # when the broker hangs, stopping must not wait for a hint
            if not await within(_LAST_S, self._commit(news)):
                return False
        except TimeoutError:
            return False
        self._told.update(news)
        return True

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a full queue makes the reader wait by itself, and as long as is needed."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Called before anything waits for what is being processed."""
        self._partitions().free_waiting()
        await super().on_partitions_revoked(revoked)
        self._told.clear()
        self._asked.clear()

    async def perform_seek(self) -> None:
        """Go where the group's offsets are, then where loaded partitions want to read on."""
        await super().perform_seek()
        ours = self.assignment()
        wanted = {TP(*place): offset for place, offset in self._partitions().wanted().items()}
        if seeks := {tp: offset for tp, offset in wanted.items() if tp in ours}:
            await self.seek_wait(seeks)

    async def ask_ends(self) -> None:
        """Ask the broker where the partitions end of which nothing was heard lately.

        While the inboxes are full nothing is fetched, and a fetch is what usually tells.
        """
        silent = [tp for tp in self.assignment() if not self._current(tp)]
        if not silent:
            self._asked.clear()
            return
        try:
            async with asyncio.timeout(_CURRENT_S):
                self._asked.update(await self.highwaters(*silent))
        except Exception as error:  # it is a figure for people, and the broker's troubles are told elsewhere
            _log.debug("the ends of the log are not known", error=repr(error))

    def _current(self, tp: TP) -> bool:
        end = self.log_end(Place(tp.topic, tp.partition))
        return end is not None and end.current

    def log_end(self, place: Place) -> LogEnd | None:
        """What was last heard of a partition's end."""
        consumer = self._thread._consumer
        if consumer is None or TP(*place) not in self.assignment():
            return None
        tp = TopicPartition(*place)
        try:
            offset, heard_ms = consumer.highwater(tp), consumer.last_poll_timestamp(tp)
        except (IllegalStateError, AssertionError):  # revoked in the consumer's thread at this moment
            return None
        if offset is None or heard_ms is None:
            return None
        asked = self._asked.get(TP(*place)) or 0
        return LogEnd(max(offset, asked), time.time() - heard_ms / 1000 < _CURRENT_S)


class _Producer(driver.Producer):
    """The producer of dead letters."""

    logger = _FAUST_LOG

    async def on_stop(self) -> None:
        producer = self._producer
        if producer is None:
            await super().on_stop()
        else:
            await leave(producer.client, super().on_stop())


class _Transport(driver.Transport):
    """Faust's transport, with consumer and producer as above."""

    Consumer = _Consumer
    Producer = _Producer

    def __init__(self, urls: list[URL], app: faust.App, fetch_max_wait_ms: int) -> None:
        super().__init__(urls, app)
        self.fetch_max_wait_ms = fetch_max_wait_ms
