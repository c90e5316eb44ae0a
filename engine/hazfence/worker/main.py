"""A worker as a process: from settings to the last checkpoint.

You are at the top of the worker. :func:`run_worker` is what ``python -m hazfence.worker`` and the
supervisor's children run: it waits for what is away, builds the app of ``app.py``, keeps it
running until SIGTERM or SIGINT, and ends it gracefully. A crash of Faust's ends the process with
an error; ``supervisor.py`` starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from aiokafka.errors import KafkaError

from hazfence.postgis import PostgisStore, SchemaMismatch
from hazfence.postgis.reference import PostgisReference
from hazfence.redis_board import RedisBoard
from hazfence.rules import Rulebook, RuleError
from hazfence.worker.app import build_app, partitions_of
from hazfence.worker.broker import wait_for_broker
from hazfence.worker.config import PREFIX, SettingsError, WorkerSettings
from hazfence.worker.log import set_up
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.waiting import Patience
from hazfence.worker.web import WebServer
from hazfence_fences import FenceError, FenceSet, load_fences

__all__ = ["PARENT_VARIABLE", "run_worker", "work"]

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
#: Set by the supervisor to its own process id: a worker whose parent is gone ends too.
PARENT_VARIABLE = f"{PREFIX}SUPERVISOR_PID"
_STOP_MARGIN_S = 20.0
#: Objects more than before, and generations, between looks; Python's own are 700, 10, 10.
_COLLECT_AFTER = (10_000, 10, 20)


def run_worker(settings: WorkerSettings) -> int:
    """Run a worker in this process until it is told to stop by SIGTERM or SIGINT.

    Returns:
        the exit code: 0 after a graceful stop, 1 when Faust crashed, 78 for settings that cannot work.
    """
    set_up(level=settings.log_level, as_json=settings.log_format == "json", secrets=settings.secrets())
    _spare_the_collector()
    try:
        return asyncio.run(_until_told(settings))
    except (SettingsError, SchemaMismatch) as error:
        _log.error("cannot work with these settings", error=str(error))
        return os.EX_CONFIG


def _spare_the_collector() -> None:
    """Let Python's garbage collector leave alone what was loaded, and look less often.

    Everything stands still while it looks through all objects, a tenth of a second of the modules alone.
    What a worker makes goes without it as soon as nobody names it; the few circles that asyncio leaves are
    found young.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


async def _until_told(settings: WorkerSettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watch = asyncio.create_task(_watch_parent(stop))
    try:
        return await work(settings, stop)
    finally:
        watch.cancel()


async def work(settings: WorkerSettings, stop: asyncio.Event, *, metrics: WorkerMetrics | None = None) -> int:
    """Work until ``stop`` is set; the part of :func:`run_worker` that installs no signal handler.

    Returns:
        0 after a graceful stop, 1 when Faust crashed or could not start.

    Raises:
        SettingsError: fences or topics are not as the settings say.
        SchemaMismatch: the database is not migrated as far as this release needs.
    """
    metrics = metrics or WorkerMetrics()
    stage = _Stage()
    store = PostgisStore(
        settings.database_url.get_secret_value(),
        connections=settings.database_connections,
        keep_fixes=settings.keep_fixes,
        index_at_once=settings.fix_index == "at_once",
        payload_limit_bytes=settings.max_kept_bytes,
    )
    board = _board(settings)
    async with contextlib.AsyncExitStack() as held:
        if settings.web_port:
            web = WebServer(metrics, lambda: stage.unready(), host=settings.web_host, port=settings.web_port)
            await web.start()
            held.push_async_callback(web.stop)
        held.push_async_callback(store.close)
        if board is not None:
            held.push_async_callback(board.close)
        fences = await _unless(stop, _prepare(settings, store, metrics, stage))
        if fences is None:
            return 0
        reference = _reference(settings, fences)
        if reference is not None:
            held.push_async_callback(reference.close)
        app = build_app(
            settings, fences=fences, store=store, board=board, reference=reference, metrics=metrics
        )
        stage.unready = partitions_of(app).unready
        app.finalize()
        try:
            await app.start()
        except (KafkaError, OSError) as error:  # it answered a moment ago
            crashed = True
            _log.error("the broker went away at the start: ending the process", error=str(error))
        else:
            _log.info("worker started", group=settings.group, topic=settings.topic, fences=len(fences))
            while not stop.is_set() and not app.crashed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await stop.wait()
            if crashed := bool(app.crashed):
                _log.error("Faust crashed: ending the process", error=repr(app.crash_reason))
        stage.say("stopping")
        try:
            async with asyncio.timeout(settings.flush_timeout_s + _STOP_MARGIN_S):
                await app.stop()
        except TimeoutError:
            _log.error("stopping took too long: leaving without more ado, nothing is lost")
            os._exit(1)
        _log.info("worker stopped")
        return 1 if crashed else 0


class _Stage:
    """What the worker is waiting for, for ``/readyz``."""

    def __init__(self) -> None:
        self.unready: Callable[[], list[str]] = lambda: ["starting"]

    def say(self, reason: str) -> None:
        self.unready = lambda: [reason]


async def _prepare(
    settings: WorkerSettings, store: PostgisStore, metrics: WorkerMetrics, stage: _Stage
) -> FenceSet:
    """Wait for store and broker, and read the fences."""
    stage.say("the store is away")
    patience = Patience(metrics)
    await patience.until_done("connect", store.open)
    fences = (
        await patience.until_done("load fences", store.load_fences)
        if settings.fences == "db"
        else _fences_of(settings.fences)
    )
    if not len(fences):
        raise SettingsError(
            f"{PREFIX}FENCES: no fence in {settings.fences}; save some in the database, or name a folder"
        )
    stage.say("the broker is away")
    await wait_for_broker(settings, joint=bool(_rules(settings, fences).joint))
    return fences


def _fences_of(path: str) -> FenceSet:
    try:
        return load_fences(path)
    except FenceError as error:
        raise SettingsError(f"{PREFIX}FENCES: {error}") from error


def _reference(settings: WorkerSettings, fences: FenceSet) -> PostgisReference | None:
    """The file of vehicles and waybills, when a rule asks it."""
    rules = _rules(settings, fences)
    if rules.joint:
        _log.info("joint rules are on: plate reads are expected", topic=settings.plate_topic)
    return PostgisReference(settings.database_url.get_secret_value()) if rules.asks_file else None


def _rules(settings: WorkerSettings, fences: FenceSet) -> Rulebook:
    try:
        return settings.engine_settings().rules.for_fences(fences.fences, {})
    except RuleError as error:
        raise SettingsError(f"{PREFIX}FENCES: {error}") from error


def _board(settings: WorkerSettings) -> RedisBoard | None:
    if settings.redis_url is None:
        _log.info("no live board: HAZFENCE_REDIS_URL is not set")
        return None
    return RedisBoard(
        settings.redis_url.get_secret_value(),
        prefix=settings.board_prefix,
        stream_length=settings.board_stream_length,
    )


async def _unless(stop: asyncio.Event, call: Coroutine[Any, Any, _T]) -> _T | None:
    """The answer of a call, or None when ``stop`` was set before it came."""
    calling, stopping = asyncio.ensure_future(call), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((calling, stopping), return_when=asyncio.FIRST_COMPLETED)
        return await calling if calling.done() else None
    finally:
        for task in (calling, stopping):
            task.cancel()
        await asyncio.gather(calling, stopping, return_exceptions=True)


async def _watch_parent(stop: asyncio.Event) -> None:
    """Stop when the supervisor that started us is gone: it would start another worker, not find us."""
    parent = os.environ.get(PARENT_VARIABLE)
    while parent:
        if os.getppid() != int(parent):
            _log.warning("the supervisor is gone: stopping")
            stop.set()
            return
        await asyncio.sleep(1.0)
