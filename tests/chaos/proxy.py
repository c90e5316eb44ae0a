"""A TCP proxy in front of a service: the network that can be cut and restored."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

_T = TypeVar("_T")


class Proxy:
    """Forwards a port of its own on 127.0.0.1 to another; a context manager.

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
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def refuse(self) -> None:
        """Break every connection and refuse new ones: the way is known to be gone."""
        self._do(self._refuse())

    def swallow(self) -> None:
        """Let nothing through, and say nothing: a cable that was pulled."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def restore(self) -> None:
        """Let everything through again; what was held back arrives late, as TCP would have it."""
        self._do(self._listen())

    def _do(self, call: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(30)

    async def _listen(self) -> None:
        self._open.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            back, there = await asyncio.open_connection("127.0.0.1", self.target)
            done, rest = await asyncio.wait(
                (
                    asyncio.ensure_future(self._pump(reader, there)),
                    asyncio.ensure_future(self._pump(back, writer)),
                ),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for pump in rest:
                pump.cancel()
            await asyncio.gather(*done, *rest, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the service is away or we are cut: the client sees a closed connection
        finally:
            self._tasks.discard(task)
            for end in (writer, there):
                if end is not None:
                    with contextlib.suppress(Exception):
                        end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
