"""The workers: started, killed, frozen, told to leave, and started again when they die."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from hazfence.worker.config import WorkerSettings

from .doomed import POINTS
from .nest import Hatched, Nest

#: Points that a worker passes once in a while, or once in its life.
_SELDOM = ("new", "board anew", "revocation", "dead letters", "offset commit")


class Crew:
    """Keeps some workers running, as a supervisor would; a context manager.

    Attributes:
        killed: workers killed from outside.
        died_at: deaths at each point of ``doomed.py``.
        ends: exit codes of workers that ended by themselves, without being asked.
    """

    def __init__(self, how: WorkerSettings, folder: Path, rng: random.Random) -> None:
        self._how = how
        self._folder = folder
        self._rng = rng
        self._lock = threading.RLock()
        self._slots: dict[int, _Slot] = {}
        self._number = 0
        self._nest = Nest()
        self._points: list[str] = []
        self.killed = 0
        self.ends: Counter[int] = Counter()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self._slots):
            self.leave(number, ask=False)
        self._nest.close()

    @property
    def died_at(self) -> Counter[str]:
        said = self._folder / "died"
        return Counter(said.read_text().splitlines()) if said.exists() else Counter()

    def __len__(self) -> int:
        return len(self._slots)

    def join(self) -> None:
        """One worker more."""
        with self._lock:
            self._number += 1
            slot = self._slots[self._number] = _Slot(self, self._number)
        slot.start()

    def leave(self, number: int | None = None, *, ask: bool = True) -> None:
        """One worker less, asked by SIGTERM or killed."""
        with self._lock:
            slot = self._slots.pop(self._rng.choice(sorted(self._slots)) if number is None else number)
        slot.end(ask=ask)

    def kill(self, age_s: float) -> None:
        """SIGKILL one when it is this old, starting or at work; its keeper starts another."""
        slot = self._any()
        while (left_s := slot.born_s + age_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.1))
        slot.signal(signal.SIGKILL)
        self.killed += 1

    def freeze(self) -> _Slot:
        """SIGSTOP one; ``thaw`` what is returned."""
        slot = self._any()
        slot.signal(signal.SIGSTOP)
        return slot

    def doom(self, point: str | None = None) -> str:
        """Let one die and come back as one that dies at a point; each point once before any twice."""
        if point is None:
            if not self._points:
                self._points = self._rng.sample(POINTS, len(POINTS))
            point = self._points.pop()
        slot = self._any()
        count = 1 if point.startswith(_SELDOM) else self._rng.randint(1, 3)
        slot.fate = {"point": point, "count": str(count)}
        slot.doomed = True
        slot.signal(signal.SIGTERM)
        return point

    def say(self) -> str:
        """The last lines of every worker's log."""
        parts = []
        for path in sorted(self._folder.glob("worker-*.log")):
            lines = path.read_text(errors="replace").splitlines()
            parts += [f"--- {path.name}", *lines[-25:]]
        return "\n".join(parts)

    def _any(self) -> _Slot:
        """One of those that are not on their way to an appointed death, if there is one."""
        with self._lock:
            free = [number for number, slot in self._slots.items() if not slot.doomed]
            return self._slots[self._rng.choice(sorted(free or self._slots))]

    def hatch(self, number: int, fate: dict[str, str] | None) -> Hatched:
        if fate is not None:
            fate = fate | {"said": str(self._folder / "died")}
        return self._nest.hatch(self._how.to_env(), self._folder / f"worker-{number:03}.log", fate)


class _Slot:
    """A worker's place; its thread starts another when one dies. The thread lives as long as the place."""

    def __init__(self, crew: Crew, number: int) -> None:
        self._crew = crew
        self._number = number
        self._leaving = threading.Event()
        self._lock = threading.Lock()
        self._asked: set[int] = set()
        self._process: Hatched | None = None
        self._thread = threading.Thread(target=self._keep, name=f"worker {number}", daemon=True)
        self.fate: dict[str, str] | None = None  # of the next
        self.doomed = False  # the present one, or the next
        self.born_s = time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self._process is not None:
                if number in (signal.SIGKILL, signal.SIGTERM):
                    self._asked.add(self._process.pid)
                self._process.send_signal(number)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def end(self, *, ask: bool) -> None:
        self._leaving.set()
        self.signal(signal.SIGTERM if ask else signal.SIGKILL)
        self._thread.join(40)
        if self._thread.is_alive():
            self.signal(signal.SIGKILL)
            self._thread.join()

    def _keep(self) -> None:
        while not self._leaving.is_set():
            fate, self.fate = self.fate, None
            with self._lock:
                if self._leaving.is_set():
                    return
                self._process = process = self._crew.hatch(self._number, fate)
                self.born_s = time.monotonic()
            code = process.wait()
            doomed = fate is not None and code == -signal.SIGKILL
            self.doomed = self.fate is not None
            if process.pid not in self._asked and not doomed:
                self._crew.ends[code] += 1
            self._leaving.wait(0.1)
