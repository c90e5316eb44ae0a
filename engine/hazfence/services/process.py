"""One private server process: folder, port, start, readiness, kill, restart, clean-up.

You are below ``hazfence.services``: this module knows nothing of PostgreSQL, Redis or Kafka. It gives the
three of them (`postgres.py`, `redis_server.py`, `broker.py`) what they share: a folder of their own, a free
loopback port, a process that cannot outlive the one that started it, a readiness wait with a time limit,
and signals for tests that pull the plug. Read `postgres.py` next.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import queue
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

__all__ = ["PrivateService", "ServiceError", "free_port"]

_FOLDER_PREFIX = "hazfence-"
_LOCK_NAME = ".owner.lock"


class ServiceError(RuntimeError):
    """A private service cannot be started or did not become ready; the message says what to do about it."""


def free_port() -> int:
    """Return a free TCP port on 127.0.0.1, below the kernel's range for outgoing connections.

    A port inside that range is a trap for a service that gets killed and restarted: a client that
    reconnects in a loop may be given the very same port as its own end, talk to itself, and keep the
    service from coming back.
    """
    low = 32768
    with contextlib.suppress(OSError, ValueError):
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first, last = (10_240, low - 1) if low > 12_000 else (1_024, max(low - 1, 2_048))
    for _ in range(200):
        port = random.randint(first, last)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServiceError(f"no free TCP port found on 127.0.0.1 between {first} and {last}")


class _Spawner:
    """Start children from one thread that never ends.

    Linux sends PR_SET_PDEATHSIG when the *thread* that forked ends, not the process: a database started
    from a short-lived worker thread would be shot with it.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pid = 0

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._pid != os.getpid():  # first use, or we are a fork, where threads do not follow
                self._pid = os.getpid()
                self._jobs = queue.SimpleQueue()
                threading.Thread(
                    target=self._work, args=(self._jobs,), name="service-spawner", daemon=True
                ).start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((start, future))
        return future.result(timeout=60)

    @staticmethod
    def _work(jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]]) -> None:
        while True:
            start, future = jobs.get()
            try:
                future.set_result(start())
            except BaseException as error:
                future.set_exception(error)


_spawner = _Spawner()


class PrivateService:
    """A server process of our own: context manager with `start`, `kill`, `stop`, `restart`, `close`.

    ``with PrivateRedis() as redis: ...`` starts on entry and removes everything on exit. Without ``with``,
    call `start` and `close`; an `atexit` hook closes what was forgotten, the kernel ends the server when
    this process is killed, and the folders such a death leaves behind are swept by the next start.

    Args:
        folder: where data and log live. Kept afterwards, and found again by the next start, when given;
            temporary and removed by `close` when None.
        port: TCP port on 127.0.0.1; a free one when None. It stays the same over `restart`.
        ready_within_s: seconds `start` waits for the server to answer.
    """

    name: ClassVar[str] = "service"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    orphan_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        port: int | None = None,
        ready_within_s: float = 30.0,
    ) -> None:
        self._given_folder = Path(folder).absolute() if folder is not None else None
        self._given_port = port
        self.port = port or 0
        self.ready_within_s = ready_within_s
        self._folder: Path | None = None
        self._lock_file: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped_pids: list[int] = []
        self._started_by = 0

    # -- what a concrete service says about itself -------------------------------------------------

    def _check(self) -> None:
        """Raise `ServiceError` naming the package to install when the server's binary is missing."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """Fill a new folder (initdb, configuration); called before every start."""

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        """Tell whether the server answers on its port; False or `OSError` means not yet."""
        raise NotImplementedError

    def _after_ready(self) -> None:
        """Do what needs a running server (create the database)."""

    def _owner(self) -> tuple[int, int] | None:
        """Uid and gid the server must run as, None for our own."""
        return None

    def _environment(self) -> Mapping[str, str] | None:
        return None

    @property
    def url(self) -> str:
        """Address for clients; complete with password."""
        raise NotImplementedError

    # -- life --------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The service's own folder.

        Raises:
            ServiceError: before `start` or after `close`.
        """
        if self._folder is None:
            raise ServiceError(f"the private {self.name} has not been started")
        return self._folder

    @property
    def log_path(self) -> Path:
        """What the server wrote to stdout and stderr."""
        return self.folder / "server.log"

    @property
    def pid(self) -> int | None:
        """Process id of the running server, None when it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self.pid is not None

    def start(self) -> Self:
        """Start the server and wait until it answers; does nothing when it runs already.

        Raises:
            ServiceError: binary missing, folder unusable, not ready in time, or the server ended (its last
                log lines are in the message).
        """
        if self.running:
            return self
        self._check()
        self._open_folder()
        self._started_by = os.getpid()
        atexit.register(self._close_at_exit)
        try:
            self._prepare()
            first_time = self.port == 0
            for attempt in range(3):
                if first_time:
                    self.port = free_port()
                try:
                    self._launch()
                    break
                except ServiceError:
                    # Somebody may have taken the port between our look and the server's bind.
                    if not first_time or attempt == 2 or "in use" not in self._log_tail():
                        raise
            self._after_ready()
        except BaseException:
            self.close()
            raise
        return self

    def _launch(self) -> None:
        command = self._command()
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            # setpriv runs after the change of user, which would clear the signal.
            command = [setpriv, "--pdeathsig", self.orphan_signal.name.removeprefix("SIG"), *command]
        owner = self._owner()
        environment = {**os.environ, **(self._environment() or {})}

        def start() -> subprocess.Popen[bytes]:
            with open(self.log_path, "ab") as log:
                return subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for us: we stop the server after its clients
                    user=owner[0] if owner else None,
                    group=owner[1] if owner else None,
                    extra_groups=[] if owner else None,
                )

        self._process = _spawner.run(start)
        deadline = time.monotonic() + self.ready_within_s
        while True:
            if self._process.poll() is not None:
                raise ServiceError(
                    f"the private {self.name} ended with status {self._process.returncode} while starting: "
                    f"{self._log_tail()}"
                )
            with contextlib.suppress(OSError):
                if self._answers():
                    return
            if time.monotonic() > deadline:
                self.kill()
                raise ServiceError(
                    f"the private {self.name} did not answer within {self.ready_within_s:g} s: "
                    f"{self._log_tail()}"
                )
            time.sleep(0.02)

    def _log_tail(self, lines: int = 5) -> str:
        with contextlib.suppress(OSError, ServiceError):
            text = self.log_path.read_text(errors="replace").strip().splitlines()
            return " | ".join(text[-lines:]) or "(its log is empty)"
        return "(no log)"

    def kill(self) -> None:
        """SIGKILL the server and all it forked, as a crash would, and wait until they are gone."""
        self.resume()
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGSTOP)  # or it might fork one more that is not in the list
        family = _descendants(process.pid)
        process.kill()
        for pid in family:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=30)
        _wait_gone(family)

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop the server in order; kill it when that takes longer than ``timeout_s``. The data stay."""
        self.resume()
        process = self._process
        if process is None:
            return
        family = _descendants(process.pid)
        if process.poll() is None:
            process.send_signal(self.stop_signal)
            try:
                process.wait(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                return
        self._process = None
        _wait_gone(family)

    def restart(self) -> Self:
        """Start again with the same data on the same port; a running server is stopped first."""
        if self._folder is None:
            raise ServiceError(f"the private {self.name} has not been started")
        self.stop()
        try:
            self._prepare()
            self._launch()
            self._after_ready()
        except BaseException:
            self.close()
            raise
        return self

    def pause(self) -> None:
        """SIGSTOP the server and its children: connections stay open, nothing answers (a hung machine)."""
        pid = self.pid
        if pid is None:
            raise ServiceError(f"the private {self.name} is not running")
        self._stopped_pids = [pid, *_descendants(pid)]
        for each in self._stopped_pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        pids, self._stopped_pids = self._stopped_pids, []
        for each in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove its folder when it was a temporary one. May be called more than once."""
        try:
            self.stop()
        finally:
            atexit.unregister(self._close_at_exit)
            folder, self._folder = self._folder, None
            if folder is not None and self._given_folder is None:
                shutil.rmtree(folder, ignore_errors=True)
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None
            if self._given_port is None:
                self.port = 0

    def _close_at_exit(self) -> None:
        if os.getpid() == self._started_by:  # a forked child that ends must not take the server with it
            self.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- folder ------------------------------------------------------------------------------------

    def may_live_in(self, folder: Path) -> bool:
        """Whether the user that the server runs as can get at a folder; its parents must exist."""
        owner = self._owner()
        return owner is None or _closed_directory(folder, owner) is None

    def _open_folder(self) -> None:
        if self._folder is not None:
            return
        owner = self._owner()
        if self._given_folder is not None:
            folder = self._given_folder
            folder.mkdir(parents=True, exist_ok=True)
            if owner is not None:
                _require_reachable(folder, owner, self.name)
        else:
            base = _temporary_base(owner)
            _sweep(base)
            folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{self.name.lower()}-", dir=base))
        lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ServiceError(
                f"{folder} is in use by another private {self.name}: end it or give another folder"
            ) from None
        if owner is not None:
            os.chown(folder, *owner)
        folder.chmod(0o700)
        self._lock_file, self._folder = lock, folder

    def _secret(self) -> str:
        """Return the random password; kept in the folder so that a given folder can be opened again."""
        path = self.folder / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16))
            owner = self._owner()
            if owner is not None:
                os.chown(path, *owner)
        return path.read_text().strip()


def _descendants(pid: int) -> list[int]:
    """Return the pids below ``pid``, from /proc; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    ahead = [pid]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def _wait_gone(pids: Iterable[int], timeout_s: float = 15.0) -> None:
    """Wait until none of ``pids`` runs: PostgreSQL does not start while an old backend holds its memory."""
    deadline = time.monotonic() + timeout_s
    for pid in pids:
        while time.monotonic() < deadline:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except (OSError, IndexError):
                break
            if state in "ZX":
                break
            time.sleep(0.005)


def _closed_directory(folder: Path, owner: tuple[int, int]) -> Path | None:
    """Return the first parent that ``owner`` may not pass through, None when the way is free."""
    uid, gid = owner
    for parent in reversed(folder.resolve().parents):
        info = parent.stat()
        bit = 0o100 if info.st_uid == uid else 0o010 if info.st_gid == gid else 0o001
        if not info.st_mode & bit:
            return parent
    return None


def _require_reachable(folder: Path, owner: tuple[int, int], name: str) -> None:
    closed = _closed_directory(folder, owner)
    if closed is not None:
        raise ServiceError(
            f"{name} does not run as root, and uid {owner[0]}, which it runs as, may not enter {closed}: "
            "give a folder outside of it, or leave the folder out for a temporary one"
        )


def _temporary_base(owner: tuple[int, int] | None) -> Path:
    """Return a directory for temporary folders that the server's user can reach."""
    bases = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    for base in bases:
        usable = base.is_dir() and os.access(base, os.W_OK | os.X_OK)
        if usable and (owner is None or _closed_directory(base / "x", owner) is None):
            return base
    raise ServiceError(
        f"no temporary directory that uid {owner[0] if owner else os.getuid()} can reach; set TMPDIR"
    )


def _sweep(base: Path) -> None:
    """Remove folders whose owner died without a chance to clean up: their lock is free."""
    for folder in base.glob(f"{_FOLDER_PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # not one of ours, or not ours to remove
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its owner lives
        finally:
            os.close(lock)
