"""The process that starts workers and starts them again when they die.

You are above the worker: a worker that meets something unknown ends itself, because nothing in
its memory can be trusted then, and this brings up a fresh one, which reads the log again from its
checkpoint. ``hazfence serve`` calls :func:`serve`; a host that wants it in its own event loop uses
:class:`Supervisor`. SIGHUP restarts the workers one after the other, each when the one before is ready,
so that after an upgrade of the package at most one worker's share of the topic stands still at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time

import aiohttp
import structlog

from hazfence.worker.config import PREFIX, WorkerSettings
from hazfence.worker.log import set_up
from hazfence.worker.main import PARENT_VARIABLE

__all__ = ["Supervisor", "serve"]

_log = structlog.get_logger(__name__)
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
#: A worker that lived this long was well: the next death starts with the shortest pause again.
_WELL_AFTER_S = 60.0
_STOP_MARGIN_S = 30.0
#: How long a rolling restart waits for one worker; it goes on with the next one then.
_READY_S = 120.0


class Supervisor:
    """Keeps worker processes running.

    Args:
        settings: of every worker; the first serves metrics on ``web_port``, the next one port higher,
            and so on.
        workers: how many.

    Attributes:
        pids: process ids of the workers that run now.
        starts: how many workers were started so far.

    Example::

        supervisor = Supervisor(settings, workers=2)
        task = asyncio.create_task(supervisor.run())
        ...
        supervisor.stop()
        await task
    """

    def __init__(self, settings: WorkerSettings, *, workers: int = 1) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self._settings = settings
        self._workers = workers
        self._stop = asyncio.Event()
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._renewing: set[int] = set()
        self._rolling: asyncio.Task[None] | None = None
        self.starts = 0

    @property
    def pids(self) -> list[int]:
        """See the class."""
        return [process.pid for process in self._running.values()]

    def stop(self) -> None:
        """Make :meth:`run` end the workers gracefully and return."""
        self._stop.set()

    @property
    def restarting(self) -> bool:
        """Whether a rolling restart is under way."""
        return self._rolling is not None and not self._rolling.done()

    def restart(self) -> None:
        """Begin a rolling restart; one that is under way already goes on instead."""
        if not self.restarting:
            self._rolling = asyncio.get_running_loop().create_task(self._roll())

    async def _roll(self) -> None:
        """Renew one worker after the other, each gracefully."""
        _log.info("rolling restart: begins", workers=self._workers)
        for number in range(self._workers):
            old = self._running.get(number)
            if old is None or self._stop.is_set():
                continue
            self._renewing.add(number)
            gone = asyncio.ensure_future(old.wait())
            await self._end(old, gone)
            await gone
            if not await self._ready(number, old):
                _log.error("rolling restart: worker not ready, going on", worker=number, waited_s=_READY_S)
        _log.info("rolling restart: done")

    async def _ready(self, number: int, old: asyncio.subprocess.Process) -> bool:
        """Wait until a worker's successor has its partitions; without a web server, until it runs."""
        host = "127.0.0.1" if self._settings.web_host in ("0.0.0.0", "") else self._settings.web_host
        url = f"http://{host}:{self._settings.web_port + number}/readyz"
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + _READY_S
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while loop.time() < give_up_s and not self._stop.is_set():
                new = self._running.get(number)
                if new is not None and new is not old:
                    if not self._settings.web_port:
                        return True
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        async with session.get(url) as answer:
                            if answer.status == 200:
                                return True
                await asyncio.sleep(0.1)
        return self._stop.is_set()

    async def run(self) -> int:
        """Run until :meth:`stop`, or until every worker says that the settings cannot work.

        Returns:
            0, or 78 when the workers could not use the settings.
        """
        try:
            codes = await asyncio.gather(*(self._keep(number) for number in range(self._workers)))
        finally:
            if self._rolling is not None:
                self._rolling.cancel()
                await asyncio.gather(self._rolling, return_exceptions=True)
        return max(codes)

    async def _keep(self, number: int) -> int:
        deaths = 0
        while not self._stop.is_set():
            started_s = time.monotonic()
            code = await self._live(number)
            if self._stop.is_set():
                break
            if number in self._renewing:
                self._renewing.discard(number)
                continue
            if code == os.EX_CONFIG:
                return code
            if time.monotonic() - started_s > _WELL_AFTER_S:
                deaths = 0
            pause_s = _BACK_OFF_S[min(deaths, len(_BACK_OFF_S) - 1)]
            deaths += 1
            _log.warning("worker died: starting another", worker=number, code=code, pause_s=pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stop.wait()
        return 0

    async def _live(self, number: int) -> int:
        """One worker from its start to its end; the exit code, negative for a signal."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        env |= self._settings.to_env() | {PARENT_VARIABLE: str(os.getpid())}
        if self._settings.web_port:
            env[f"{PREFIX}WEB_PORT"] = str(self._settings.web_port + number)
        # The settings go through the environment, not the command line, which everybody can read.
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "hazfence.worker", env=env)
        self.starts += 1
        self._running[number] = process
        ending = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((ending, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await self._end(process, ending)
            return await ending
        finally:
            stopping.cancel()
            if process.returncode is None:  # we are being cancelled ourselves
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            self._running.pop(number, None)

    async def _end(self, process: asyncio.subprocess.Process, ending: asyncio.Task[int]) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._settings.flush_timeout_s + _STOP_MARGIN_S):
                await asyncio.shield(ending)
        except TimeoutError:
            _log.error("worker does not stop: killing it, nothing is lost", pid=process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def serve(settings: WorkerSettings, *, workers: int = 1) -> int:
    """Run workers under supervision until SIGTERM or SIGINT; what ``hazfence serve`` does.

    SIGHUP restarts the workers one after the other.

    Returns:
        the exit code for the process: 0 after a stop, 78 for settings that cannot work.
    """
    set_up(level=settings.log_level, as_json=settings.log_format == "json", secrets=settings.secrets())
    return asyncio.run(_serve(settings, workers))


async def _serve(settings: WorkerSettings, workers: int) -> int:
    supervisor = Supervisor(settings, workers=workers)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    loop.add_signal_handler(signal.SIGHUP, supervisor.restart)
    return await supervisor.run()
