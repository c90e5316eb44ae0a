"""A worker that dies at a point named beforehand, when it passes it for the n-th time.

The worker is the real one; only the calls through which something becomes durable or known outside are
wrapped. SIGKILL leaves no time for a last word; that it happened stands in a file.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

from hazfence.postgis.link import Link
from hazfence.postgis.store import PostgisStore
from hazfence.redis_board import RedisBoard
from hazfence.worker import app
from hazfence.worker.config import WorkerSettings
from hazfence.worker.dead import DeadLetters
from hazfence.worker.main import run_worker
from hazfence.worker.partitions import Partitions

#: What the store does in a transaction of its own, by the method that does it.
_STORE = {
    "claim": "claim",
    "write": "events",
    "checkpoint": "checkpoint",
    "_ensure_days": "new day",
    "_vehicle_codes": "new vehicles",
}
#: Other calls: the class, the method, and what it is.
_CALLS: list[tuple[type, str, str]] = [
    (RedisBoard, "publish", "board events"),
    (RedisBoard, "show_positions", "board positions"),
    (RedisBoard, "rebuild", "board anew"),
    (app._Consumer, "_commit", "offset commit"),
    (DeadLetters, "put", "dead letters"),
    (Partitions, "revoke", "revocation"),
]
POINTS = [
    *(f"{what}, {moment}" for what in _STORE.values() for moment in ("before commit", "after commit")),
    "events, lock held",
    "checkpoint, lock held",
    *(f"{what}, {moment}" for _, _, what in _CALLS for moment in ("before", "after")),
]

_doing: ContextVar[str] = ContextVar("doing", default="")


class _Fate:
    """When to die."""

    def __init__(self, said: str, point: str, count: int) -> None:
        self._said, self._point, self._left = said, point, count

    def pass_(self, point: str) -> None:
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0:
            with open(self._said, "a") as file:
                file.write(f"{point}\n")
            os.kill(os.getpid(), signal.SIGKILL)


def _wrap(fate: _Fate) -> None:
    for name, what in _STORE.items():
        setattr(PostgisStore, name, _known_as(what, getattr(PostgisStore, name)))
    hold, transaction = PostgisStore._hold, Link.transaction

    async def held(self: PostgisStore, *given: Any) -> Any:
        answer = await hold(self, *given)
        fate.pass_(f"{_doing.get()}, lock held")
        return answer

    @contextlib.asynccontextmanager
    async def struck(self: Link) -> AsyncIterator[Any]:
        what = _doing.get()
        async with transaction(self) as connection:
            yield connection
            fate.pass_(f"{what}, before commit")
        fate.pass_(f"{what}, after commit")

    PostgisStore._hold, Link.transaction = held, struck  # type: ignore[method-assign,assignment]
    for kind, name, what in _CALLS:
        setattr(kind, name, _around(fate, what, getattr(kind, name)))


def _known_as(what: str, call: Any) -> Any:
    async def known(*given: Any, **more: Any) -> Any:
        token = _doing.set(what)
        try:
            return await call(*given, **more)
        finally:
            _doing.reset(token)

    return known


def _around(fate: _Fate, what: str, call: Any) -> Any:
    async def around(*given: Any, **more: Any) -> Any:
        fate.pass_(f"{what}, before")
        answer = await call(*given, **more)
        fate.pass_(f"{what}, after")
        return answer

    return around


def live(fate: dict[str, str] | None) -> int:
    """Be a worker until the end, an appointed one if there is a fate; gives the exit code."""
    if fate is not None:
        _wrap(_Fate(fate["said"], fate["point"], int(fate["count"])))
    return run_worker(WorkerSettings.load())
