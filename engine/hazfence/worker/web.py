"""The worker's small web server: metrics, and whether it lives and works.

You are beside the worker's way. The server is our own and not Faust's, because it has to answer
before there is a broker to start Faust with. ``/healthz`` says that the process lives; ``/readyz``
that its partitions are loaded and the store answers, with 503 and the reasons when not.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from hazfence.worker.metrics import WorkerMetrics

__all__ = ["WebServer"]

_log = structlog.get_logger(__name__)


class WebServer:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``.

    Args:
        metrics: what ``/metrics`` shows.
        unready: reasons why the worker cannot do its work now; none when it can.
        host, port: where; port 0 takes a free one.

    Attributes:
        port: the port in use once started.
    """

    def __init__(
        self, metrics: WorkerMetrics, unready: Callable[[], list[str]], *, host: str, port: int
    ) -> None:
        self._metrics = metrics
        self._unready = unready
        self._host = host
        self.port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Start serving.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/healthz", self._show_health)
        app.router.add_get("/readyz", self._show_ready)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        _log.info("metrics and health", url=f"http://{self._host}:{self.port}/metrics")

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _show_health(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _show_ready(self, _: web.Request) -> web.Response:
        reasons = self._unready()
        if reasons:
            return web.Response(status=503, text="".join(f"{reason}\n" for reason in reasons))
        return web.Response(text="ready\n")
