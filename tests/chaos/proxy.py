"""A TCP proxy in front of a service: the network that can be cut and restored."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

_T = TypeVar("_T")


class Proxy:
    """Forwards a port of its own on 127.0.0.1 to another; a context manager that leaves no connection open.

    Args:
        port: where clients connect.
        target: the service's port; may be set later.
    """

    def __init__(self, port: int, target: int = 0) -> None:
        self.port = port
        self.target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {port}", daemon=True)
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._ends: set[_End] = set()
        self._reaching: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def refuse(self) -> None:
        """Break every connection and refuse new ones: the way is known to be gone."""
        self._do(self._refuse())

    def swallow(self) -> None:
        """Let nothing through, and say nothing: a cable that was pulled."""
        self._do(self._swallow())

    def restore(self) -> None:
        """Let everything through again; what was held back arrives late, as TCP would have it."""
        self._do(self._listen())

    def _do(self, call: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(30)

    async def _listen(self) -> None:
        self._open.set()
        for end in self._ends:
            end.look()
        if self._server is None:
            self._server = await self._loop.create_server(lambda: _End(self), "127.0.0.1", self.port)

    async def _swallow(self) -> None:
        self._open.clear()
        for end in self._ends:
            end.look()

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._reaching:
            task.cancel()
        await asyncio.gather(*self._reaching, return_exceptions=True)
        while self._ends:
            for end in self._ends:
                end.transport.abort()
            await asyncio.sleep(0)

    async def _close(self) -> None:
        await self._refuse()
        # What was accepted in the last moment has no end yet, but a task of the loop's.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=0.05)
            await self._refuse()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def came(self, end: _End) -> None:
        """A connection begins; a client's goes on to the service."""
        self._ends.add(end)
        if end.other is None:
            task = self._loop.create_task(self._reach(end))
            self._reaching.add(task)
            task.add_done_callback(self._reaching.discard)

    def went(self, end: _End) -> None:
        """A connection is over."""
        self._ends.discard(end)

    async def _reach(self, here: _End) -> None:
        try:
            await self._open.wait()
            with contextlib.suppress(OSError):  # the service is away: the client sees a closed connection
                await self._loop.create_connection(lambda: _End(self, here), "127.0.0.1", self.target)
        finally:
            if here.other is None:
                here.transport.abort()


class _End(asyncio.Protocol):
    """One of the two connections that make a way, the client's (no ``other`` yet) or that to the service."""

    transport: asyncio.Transport

    def __init__(self, proxy: Proxy, other: _End | None = None) -> None:
        self._proxy = proxy
        self._full = False
        self.other = other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._proxy.came(self)
        if self.other is not None:
            self.other.other = self
            self.other.look()
        self.look()

    def look(self) -> None:
        """Read, or do not: it depends on whether anything may pass, and on whether it can be written."""
        if self.transport.is_closing():
            return
        if self._proxy.is_open and self.other is not None and not self.other._full:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        self._full = True
        if self.other is not None:
            self.other.look()

    def resume_writing(self) -> None:
        self._full = False
        if self.other is not None:
            self.other.look()

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.went(self)
        if self.other is not None:
            self.other.transport.close()  # when what is under way has arrived
