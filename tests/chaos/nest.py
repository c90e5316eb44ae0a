"""Where workers come from: a process that has everything imported and forks one in no time.

Importing takes a second and more, which a run with hundreds of kills would spend on nothing else. The forked
worker runs what ``python -m hazfence.worker`` runs. :class:`Nest` is the crew's side; the module run as a
program is the other one, and ends, with its workers, when its standard input is closed or its parent dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

_TREE = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1


class Hatched:
    """A worker process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: Future[int] = Future()
        self._lock = threading.Lock()
        # Another process may get the number when this one has died; the descriptor stays with this one.
        self._descriptor: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._descriptor = os.pidfd_open(pid)

    def send_signal(self, number: signal.Signals) -> None:
        with self._lock, contextlib.suppress(ProcessLookupError):  # it has just died
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)

    def died(self, code: int) -> None:
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None
        self.code.set_result(code)

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        return self.code.result()


class Nest:
    """Starts workers; ``close`` ends them all."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.chaos.nest"]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_TREE
        )
        self._lock = threading.Lock()
        self._alive: dict[int, Hatched] = {}
        self._born: Future[Hatched] = Future()
        self._reader = threading.Thread(target=self._read, name="nest", daemon=True)
        self._reader.start()

    def hatch(self, env: dict[str, str], log: Path, fate: dict[str, str] | None) -> Hatched:
        """Start a worker with these variables alone; with a fate it is one of ``doomed.py``."""
        with self._lock:
            self._born = Future()
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"env": env, "log": str(log), "fate": fate}) + "\n")
            self._process.stdin.flush()
            return self._born.result(60)

    def close(self) -> None:
        for one in list(self._alive.values()):
            one.send_signal(signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(30)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "born" in said:
                one = self._alive[said["born"]] = Hatched(said["born"])
                self._born.set_result(one)
            else:
                self._alive.pop(said["died"]).died(said["code"])
        for one in self._alive.values():
            one.died(-signal.SIGKILL)


def main() -> None:
    """Fork a worker for each line of standard input, and say who was born and who died."""
    from . import doomed

    out, lock = sys.stdout, threading.Lock()
    while line := sys.stdin.readline():
        order = json.loads(line)
        with lock:
            out.flush()
            pid = os.fork()
            if pid == 0:
                _live(order, lambda fate: doomed.live(fate))
            print(json.dumps({"born": pid}), file=out, flush=True)
        threading.Thread(target=_mourn, args=(pid, out, lock), daemon=True).start()


def _mourn(pid: int, out: IO[str], lock: threading.Lock) -> None:
    _, status = os.waitpid(pid, 0)
    with lock:
        print(json.dumps({"died": pid, "code": os.waitstatus_to_exitcode(status)}), file=out, flush=True)


def _live(order: dict[str, Any], live: Callable[[dict[str, str] | None], int]) -> None:
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        empty = os.open(os.devnull, os.O_RDONLY)
        for here, there in ((empty, 0), (log, 1), (log, 2)):
            os.dup2(here, there)
        for name in [name for name in os.environ if name.startswith("HAZFENCE_")]:
            del os.environ[name]
        os.environ.update(order["env"])
        code = live(order["fate"])
    except BaseException:
        traceback.print_exc()  # as the interpreter does for ``python -m hazfence.worker``
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
