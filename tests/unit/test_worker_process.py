"""The worker as a process: web, log lines, and a supervisor over children that die."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import structlog

from hazfence.services import free_port
from hazfence.worker import supervisor as module
from hazfence.worker.config import WorkerSettings
from hazfence.worker.log import set_up
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.supervisor import Supervisor
from hazfence.worker.web import WebServer


@pytest.fixture
def settings() -> WorkerSettings:
    return WorkerSettings.load(
        database_url="postgresql://u:geheim@127.0.0.1:1/x", kafka="127.0.0.1:1", fences="db", web_port=0
    )


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_web_answers_what_is_asked() -> None:
    async def go() -> None:
        metrics, reasons = WorkerMetrics(), ["the store is away"]
        web = WebServer(metrics, lambda: reasons, host="127.0.0.1", port=0)
        await web.start()
        metrics.set_aside.labels("late").inc(2)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{web.port}") as http:
                async with http.get("/healthz") as answer:
                    assert answer.status == 200
                async with http.get("/readyz") as answer:
                    assert (answer.status, await answer.text()) == (503, "the store is away\n")
                reasons.clear()
                async with http.get("/readyz") as answer:
                    assert answer.status == 200
                async with http.get("/metrics") as answer:
                    assert answer.headers["Content-Type"].startswith("text/plain; version=")
                    assert 'hazfence_fixes_set_aside_total{reason="late"} 2.0' in await answer.text()
        finally:
            await web.stop()

    asyncio.run(go())


def test_two_workers_in_one_process_count_apart() -> None:
    one, two = WorkerMetrics(), WorkerMetrics()
    one.fixes.inc()
    assert b"hazfence_fixes_total 1.0" in one.render()
    assert b"hazfence_fixes_total 0.0" in two.render()


@pytest.mark.usefixtures("logging_as_it_was")
def test_json_lines_of_ours_and_of_the_libraries() -> None:
    out = io.StringIO()
    set_up(as_json=True, stream=out)
    structlog.get_logger("x").bind(vehicle='浙B"1\n2').info("seen", fixes=3)
    logging.getLogger("somebody").warning("said %s", "so")
    logging.getLogger("aiokafka.x").info("chatter")
    structlog.get_logger("x").debug("not this")
    ours, theirs = (json.loads(line) for line in out.getvalue().splitlines())
    assert (ours["event"], ours["vehicle"], ours["fixes"]) == ("seen", '浙B"1\n2', 3)
    assert (theirs["event"], theirs["level"]) == ("said so", "warning")


@pytest.mark.usefixtures("logging_as_it_was")
def test_lines_for_people_have_no_codes_in_files() -> None:
    out = io.StringIO()
    set_up(stream=out)
    structlog.get_logger("x").info("seen", vehicle="浙B1")
    assert "seen" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def child(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let the supervisor start this program instead of a worker."""
    real = asyncio.create_subprocess_exec

    async def start(*_: str, env: dict[str, str]) -> asyncio.subprocess.Process:
        return await real(sys.executable, "-c", program, env=env)

    monkeypatch.setattr(module.asyncio, "create_subprocess_exec", start)
    monkeypatch.setattr(module, "_BACK_OFF_S", (0.01,))


def test_dead_workers_are_started_again(monkeypatch: pytest.MonkeyPatch, settings: WorkerSettings) -> None:
    child(monkeypatch, "import time; time.sleep(60)")

    async def go() -> None:
        supervisor = Supervisor(settings, workers=2)
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(20):
            for kills in range(3):
                while supervisor.starts < 2 + kills or len(supervisor.pids) < 2:
                    await asyncio.sleep(0.01)
                os.kill(supervisor.pids[0], signal.SIGKILL)
            while supervisor.starts < 5:
                await asyncio.sleep(0.01)
            supervisor.stop()
            assert await running == 0
        assert supervisor.pids == []

    asyncio.run(go())


def test_stop_is_graceful(monkeypatch: pytest.MonkeyPatch, settings: WorkerSettings, tmp_path: Path) -> None:
    program = (
        "import signal, sys, time\n"
        f"def end(*_): open(r'{tmp_path}/done', 'w').close(); sys.exit(0)\n"
        f"signal.signal(signal.SIGTERM, end); open(r'{tmp_path}/up', 'w').close(); time.sleep(60)"
    )
    child(monkeypatch, program)

    async def go() -> None:
        supervisor = Supervisor(settings)
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(10):
            while not (tmp_path / "up").exists():
                await asyncio.sleep(0.01)
            supervisor.stop()
            assert await running == 0

    asyncio.run(go())
    assert (tmp_path / "done").exists()


def test_a_rolling_restart_renews_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, settings: WorkerSettings, tmp_path: Path
) -> None:
    """Each successor is ready before the next worker is told to stop."""
    base = free_port()
    program = (
        "import http.server, os, signal, sys, time, threading\n"
        "port = int(os.environ['HAZFENCE_WEB_PORT'])\n"
        "def note(what):\n"
        f"    with open(r'{tmp_path}/notes', 'a') as f: f.write(f'{{what}} {{port - {base}}}\\n')\n"
        "class Page(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        ready = time.monotonic() > born + 0.5\n"
        "        if ready and not said: said.append(1); note('ready')\n"
        "        self.send_response(200 if ready else 503); self.end_headers()\n"
        "    def log_message(self, *_): pass\n"
        "said, born = [], time.monotonic()\n"
        "class Server(http.server.HTTPServer): allow_reuse_address = True\n"
        "server = Server(('127.0.0.1', port), Page)\n"
        "def end(*_): note('stop'); os._exit(0)\n"
        "signal.signal(signal.SIGTERM, end); note('start')\n"
        "server.serve_forever()\n"
    )
    child(monkeypatch, program)
    notes = tmp_path / "notes"

    async def go() -> None:
        supervisor = Supervisor(settings.model_copy(update={"web_port": base}), workers=2)
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(30):
            while not notes.exists() or len(notes.read_text().splitlines()) < 2:
                await asyncio.sleep(0.01)
            notes.unlink()
            supervisor.restart()
            supervisor.restart()  # while one is under way, another is none
            while not notes.exists() or len(notes.read_text().splitlines()) < 6:
                await asyncio.sleep(0.01)
            assert supervisor.starts == 4
            supervisor.stop()
            assert await running == 0

    asyncio.run(go())
    assert notes.read_text().splitlines()[:6] == [
        "stop 0", "start 0", "ready 0", "stop 1", "start 1", "ready 1",
    ]  # fmt: skip


def test_settings_that_cannot_work_are_not_tried_for_ever(
    monkeypatch: pytest.MonkeyPatch, settings: WorkerSettings
) -> None:
    child(monkeypatch, "import sys; sys.exit(78)")
    supervisor_starts = []

    async def go() -> int:
        supervisor = Supervisor(settings)
        code = await supervisor.run()
        supervisor_starts.append(supervisor.starts)
        return code

    assert asyncio.run(go()) == 78
    assert supervisor_starts == [1]


def test_secrets_are_not_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, settings: WorkerSettings, tmp_path: Path
) -> None:
    program = (
        "import os, pathlib\n"
        f"pathlib.Path(r'{tmp_path}/argv').write_bytes(pathlib.Path('/proc/self/cmdline').read_bytes())\n"
        f"pathlib.Path(r'{tmp_path}/url').write_text(os.environ['HAZFENCE_DATABASE_URL'])\n"
        "raise SystemExit(78)"
    )
    child(monkeypatch, program)
    asyncio.run(Supervisor(settings).run())
    assert b"geheim" not in (tmp_path / "argv").read_bytes()
    assert "geheim" in (tmp_path / "url").read_text()


def test_no_worker_is_no_supervisor(settings: WorkerSettings) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Supervisor(settings, workers=0)


def test_missing_settings_are_said_in_one_line_each() -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("HAZFENCE_")}

    async def go() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hazfence.worker", env=env, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        return process.returncode, said.decode()

    code, said = asyncio.run(go())
    assert code == 78
    assert said.splitlines()[0].startswith("HAZFENCE_DATABASE_URL: is not set")
    assert "Traceback" not in said
