"""``hazfence migrate``, ``serve``, ``up`` and ``down``: the parts that run for a long time.

You are on the top floor. ``serve`` is a worker under a supervisor beside services that exist;
``up`` brings private services too, for a developer's machine; both read ``HAZFENCE_*``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from hazfence.cli import show

__all__ = ["down", "migrate", "serve", "up"]

_Folder = Annotated[Path, typer.Option("--folder", help="Where the private services live.")]
_UP_S = 120.0
_DOWN_S = 60.0


def migrate(
    database_url: Annotated[
        str, typer.Option("--database-url", help="PostgreSQL URL.", envvar="HAZFENCE_DATABASE_URL")
    ],
    to: Annotated[str, typer.Option(help="Version to migrate to.")] = "head",
) -> None:
    """Bring the database schema up to date."""
    from hazfence_sql import current
    from hazfence_sql import migrate as bring

    bring(database_url, to)
    show.talk.print(f"schema hazfence is at version {current(database_url)}")


def serve(
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many worker processes.")] = 1,
) -> None:
    """Run workers under a supervisor, with settings from HAZFENCE_* variables."""
    from hazfence.worker.config import WorkerSettings
    from hazfence.worker.supervisor import serve as keep_running

    sys.exit(keep_running(WorkerSettings.load(), workers=workers))


def up(
    folder: _Folder = Path(".hazfence"),
    fences: Annotated[
        Path, typer.Option("--fences", help="GeoJSON file or folder of fences.", envvar="HAZFENCE_FENCES")
    ] = Path("fences/zhenhai"),
    detach: Annotated[bool, typer.Option("--detach", help="Come back when everything is up.")] = False,
) -> None:
    """Start PostGIS, Redis, a broker and a worker privately, until `hazfence down`."""
    if _running(folder):
        raise ValueError(f"already up in {folder}: end it with: hazfence down --folder {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    if detach:
        _detach(folder, fences)
        return
    from hazfence.cli.pipeline import Pipeline
    from hazfence.worker.processor import Clock
    from hazfence_fences import load_fences

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Pipeline(folder, load_fences(fences), clock=Clock.WALL) as system:
        (folder / "pid").write_text(str(os.getpid()))
        try:
            system.start_services()
            system.prepare()
            system.start_worker()
            env = {k: v for k, v in system.settings.to_env().items() if k in _SHOWN}
            lines = "".join(f"export {name}='{value}'\n" for name, value in env.items())
            path = folder / "env"
            path.touch(mode=0o600)  # it holds passwords
            path.write_text(lines)
            show.talk.print(f"up; connection settings are in {path}", markup=False)
            while True:
                time.sleep(1)
                system.metric("hazfence_fixes_total")
        finally:
            (folder / "env").unlink(missing_ok=True)
            (folder / "pid").unlink(missing_ok=True)


_SHOWN = (
    "HAZFENCE_DATABASE_URL",
    "HAZFENCE_KAFKA",
    "HAZFENCE_REDIS_URL",
    "HAZFENCE_TOPIC",
    "HAZFENCE_WEB_PORT",
)


def down(folder: _Folder = Path(".hazfence")) -> None:
    """End what `hazfence up` started."""
    pid = _running(folder)
    if pid is None:
        show.talk.print(f"nothing is up in {folder}", markup=False)
        return
    os.kill(pid, signal.SIGTERM)
    give_up_s = time.monotonic() + _DOWN_S
    while _is_hazfence(pid):
        if time.monotonic() > give_up_s:
            raise OSError(f"process {pid} does not end; see {folder / 'up.log'}")
        time.sleep(0.1)
    show.talk.print("down")


def _detach(folder: Path, fences: Path) -> None:
    log_path = folder / "up.log"
    with log_path.open("wb") as log:
        command = [
            sys.executable,
            "-m",
            "hazfence.cli",
            "up",
            "--folder",
            str(folder),
            "--fences",
            str(fences),
        ]
        child = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
    give_up_s = time.monotonic() + _UP_S
    while not (folder / "env").exists():
        if child.poll() is not None:
            last = log_path.read_text(errors="replace").strip().splitlines()[-1:]
            raise OSError(f"did not come up: {''.join(last)} (see {log_path})")
        if time.monotonic() > give_up_s:
            child.terminate()
            raise OSError(f"not up after {_UP_S:.0f} s; see {log_path}")
        time.sleep(0.1)
    show.out.print(f"up. In your shell:  . {folder / 'env'}   End it with:  make down", markup=False)


def _running(folder: Path) -> int | None:
    """The process of `hazfence up` in this folder, None when there is none."""
    try:
        pid = int((folder / "pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if _is_hazfence(pid) else None


def _is_hazfence(pid: int) -> bool:
    """Whether the process lives and is ours: a number may have gone to another one since."""
    try:
        return b"hazfence" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
