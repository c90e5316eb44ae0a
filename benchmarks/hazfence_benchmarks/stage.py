"""The servers of a run: each is started when a suite or peer first asks for it, and all later ones share it.

``with shared() as stage`` gives the stage that is open, or opens one that ends with the block; `command.run`
opens one around all its suites, so that PostgreSQL, the broker and Redis are started once, not once a suite.
Nobody works in a database of another: `Stage.database` copies a fresh one. What the environment names
(HAZFENCE_DATABASE_URL, HAZFENCE_KAFKA, HAZFENCE_REDIS_URL) is used as it is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from hazfence.services import PrivatePostgres, Services, fresh_database
from hazfence.services.environment import DATABASE_VARIABLE
from hazfence_sql import migrate

__all__ = ["Stage", "Streaming", "shared"]

_PREFIX = "hazfence_bench"


@dataclass(frozen=True, slots=True)
class Streaming:
    """A broker and a Redis: ``host:port`` of the one, URL of the other, and what the broker is."""

    kafka: str
    redis_url: str
    broker: str


class Stage:
    """Servers, started when asked for, ended with the stage."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._servers: dict[bool, str] = {}
        self._templates: dict[bool, str] = {}
        self._streaming: Streaming | None = None

    @contextlib.contextmanager
    def database(self, *, durable: bool = True) -> Iterator[str]:
        """URL of a fresh database with the schema in it, for as long as the block lasts.

        Args:
            durable: whether a private server waits for the disk. It notes the moments of commits.

        Raises:
            ServiceError: PostgreSQL cannot be started.
        """
        server = self._server(durable)
        with fresh_database(server, template=self._template(durable, server), prefix=_PREFIX) as url:
            yield url

    def streaming(self) -> Streaming:
        """The broker and Redis.

        Raises:
            ServiceError: one of them cannot be started.
        """
        if self._streaming is None:
            environ = {**os.environ, DATABASE_VARIABLE: "unused"}
            services = self._stack.enter_context(Services(prefer_kafka=True, environ=environ))
            broker = "given broker" if services.broker is None else type(services.broker).__name__
            self._streaming = Streaming(services.kafka, services.redis_url, broker)
        return self._streaming

    def _server(self, durable: bool) -> str:
        given = os.environ.get(DATABASE_VARIABLE)
        if given:
            return given
        if durable not in self._servers:
            own = PrivatePostgres(durable=durable, settings={"track_commit_timestamp": "on"})
            self._servers[durable] = self._stack.enter_context(own).url
        return self._servers[durable]

    def _template(self, durable: bool, server: str) -> str:
        """Name of a migrated database that the others are copied from: it is quicker than to migrate each."""
        if durable not in self._templates:
            url = self._stack.enter_context(fresh_database(server, prefix=_PREFIX))
            migrate(url, roles=False)
            self._templates[durable] = url.rsplit("/", 1)[1].split("?")[0]
        return self._templates[durable]


_open: ContextVar[Stage | None] = ContextVar("stage", default=None)


@contextlib.contextmanager
def shared() -> Iterator[Stage]:
    """The open stage, or one of its own for the block.

    Example:
        >>> with shared() as stage, shared() as same:
        ...     stage is same
        True
    """
    there = _open.get()
    if there is not None:
        yield there
        return
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        token = _open.set(stage)
        try:
            yield stage
        finally:
            _open.reset(token)
