"""The whole system on this machine: services, schema, fences and a worker, up and down again.

You are on the top floor; ``demo.py`` and ``service.py`` (``hazfence up``) stand on this. Services
that the environment names are used as they are, the others are started privately
(``hazfence.services``). The worker is a child process with a log file of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from hazfence.reference import ReferenceData
from hazfence.services import PrivatePostgres, ServiceError, Services, free_port
from hazfence.worker.config import WorkerSettings
from hazfence.worker.processor import Clock
from hazfence_fences import FenceSet

__all__ = ["Pipeline"]

_READY_S = 60.0
_STOP_S = 45.0


class Pipeline:
    """Services, schema, fences and one worker; a context manager.

    Args:
        folder: where the private services and the worker's log live; the services of root live in a
            temporary folder when this one is closed to others.
        fences: to be saved in the database and used by the worker.
        clock: ``event`` for a day that is fed faster than time, ``wall`` for real life.
        partitions: of the topic, when it has to be made.
        topic: where fixes arrive; its dead letters go to ``<topic>.dead``.
        group: consumer group of the worker.
        rules: rulebook file; None for the four rules that are on by default.

    Attributes:
        settings: the worker's, once started.
        log_path: what the worker says.
    """

    def __init__(
        self,
        folder: Path,
        fences: FenceSet,
        *,
        clock: Clock,
        partitions: int = 4,
        topic: str = "hazfence.fixes",
        group: str = "hazfence",
        rules: Path | None = None,
    ) -> None:
        self.folder = folder
        self.log_path = folder / "worker.log"
        self._fences = fences
        self._clock = clock
        self._partitions = partitions
        self._topic = topic
        self._group = group
        self._rules = rules
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / "services"
        home = place if PrivatePostgres().may_live_in(place) else None
        self._services = Services(home, durable=clock is Clock.WALL)
        self._worker: subprocess.Popen[bytes] | None = None

    def start_services(self) -> None:
        """Start what the environment does not name.

        Raises:
            ServiceError: a program is missing or does not start; the text names the mend.
        """
        self._services.start()

    def prepare(self) -> int:
        """Bring the schema up to date and save the fences; returns how many fences were new or changed."""
        import psycopg

        from hazfence.postgis import PostgisStore
        from hazfence_sql import migrate, queries

        migrate(self._services.database_url)
        if self._services.broker is not None:
            # The private broker forgets its topics when it ends; the database of the last time does not.
            with psycopg.connect(self._services.database_url) as connection:
                connection.execute(queries.load("read_log_anew"))

        async def save() -> int:
            store = PostgisStore(self._services.database_url)
            await store.open()
            try:
                return len((await store.save_fences(self._fences)).changed)
            finally:
                await store.close()

        return asyncio.run(save())

    def put_on_file(self, data: ReferenceData) -> None:
        """Put vehicles, waybills and papers into their tables."""
        from hazfence.postgis.reference import PostgisReference

        async def save() -> None:
            file = PostgisReference(self._services.database_url)
            try:
                await file.save(data)
            finally:
                await file.close()

        asyncio.run(save())

    def start_worker(self) -> None:
        """Start the worker and wait until it owns its partitions.

        Raises:
            ServiceError: it did not become ready; the text names its log.
        """
        rhythm = WorkerSettings.for_embedded_broker if self._services.broker else WorkerSettings.load
        self.settings = rhythm(
            database_url=self._services.database_url,
            kafka=self._services.kafka,
            redis_url=self._services.redis_url,
            fences="db",
            clock=self._clock,
            topic=self._topic,
            dead_topic=f"{self._topic}.dead",
            group=self._group,
            rules=None if self._rules is None else str(self._rules),
            plate_topic=f"{self._topic}.plates",
            topic_partitions=self._partitions,
            web_port=free_port(),
        )
        with self.log_path.open("ab") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "hazfence.worker"],
                env={**os.environ, **self.settings.to_env()},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        give_up_s = time.monotonic() + _READY_S
        while self._ask("readyz") is None:
            if self._worker.poll() is not None:
                raise ServiceError(
                    f"the worker ended with code {self._worker.returncode}; see {self.log_path}"
                )
            if time.monotonic() > give_up_s:
                raise ServiceError(f"the worker was not ready after {_READY_S:.0f} s; see {self.log_path}")
            time.sleep(0.1)

    @property
    def database_url(self) -> str:
        """Of the database in use."""
        return self._services.database_url

    def metric(self, name: str) -> float:
        """The sum of one of the worker's metrics over its labels; 0 while it does not answer.

        Raises:
            ServiceError: the worker has ended.
        """
        if self._worker is not None and self._worker.poll() is not None:
            raise ServiceError(f"the worker ended with code {self._worker.returncode}; see {self.log_path}")
        text = self._ask("metrics") or ""
        found = 0.0
        for line in text.splitlines():
            if line.startswith((f"{name} ", f"{name}{{")):
                found += float(line.rsplit(" ", 1)[1])
        return found

    def stop_worker(self) -> None:
        """Tell the worker to stop and wait for its last checkpoint."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.terminate()
        try:
            worker.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()

    def close(self) -> None:
        """Stop everything that was started."""
        try:
            self.stop_worker()
        finally:
            self._services.close()

    def _ask(self, page: str) -> str | None:
        with contextlib.suppress(OSError, urllib.error.URLError):
            url = f"http://127.0.0.1:{self.settings.web_port}/{page}"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return str(answer.read().decode())
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
