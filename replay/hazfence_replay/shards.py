"""The player on all cores: vehicles are dealt out to processes, and the rows are those of one.

You are beside ``player.py``. Vehicles know nothing of each other in the engine, so each process owns an
engine and a share of the vehicles. All of them are given the same paces, with the same moments, and each
picks out its own vehicles' fixes (``dealing.py``); what they say is put back in the order in which one engine
would have said it. Reading stays with the caller, which bounds them all: a dozen processes judge as fast as
one reads Parquet. Next room: ``run.py``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from hazfence.clean import Reason
from hazfence.engine import Engine
from hazfence.events import Event
from hazfence.reference import ReferenceData
from hazfence.settings import EngineSettings
from hazfence_fences import FenceSet
from hazfence_replay.dealing import Dealer, Dealt, Names, Share, memory_bytes
from hazfence_replay.player import Pace

__all__ = ["Job", "Said", "Shards"]

#: Paces that may be under way: the reader works while the engines do.
_AHEAD = 3


class Job(NamedTuple):
    """What every engine of a replay works with.

    Attributes:
        fences, settings, reference: as for :class:`hazfence.Engine`.
        render: what becomes of the events of a pace before they leave their process: a function of a
            module, which turns an engine's outcome into a list of anything, in no set order; None leaves
            them as they are.
    """

    fences: FenceSet
    settings: EngineSettings
    reference: ReferenceData | None = None
    render: Callable[[Sequence[Event]], list[Any]] | None = None


class Said(NamedTuple):
    """What came of one pace.

    Attributes:
        events: revisions, by vehicle in the order of their first fix, first those of the fixes, then those of
            the silence; or what they were rendered to.
        reasons: int64, shape (number of reasons,): how many fixes met each :class:`hazfence.clean.Reason`.
        oldest_us, newest_us: times of the oldest and the newest accepted fix; None without one.
    """

    events: list[Any]
    reasons: npt.NDArray[np.int64]
    oldest_us: int | None
    newest_us: int | None


class Shards:
    """Engines over shares of the vehicles, in processes of their own (one alone works in this one).

    Args:
        job: what they work with.
        count: how many.
        snapshots: one an engine, to go on from; as :meth:`snapshots` gave them.
        apart: even one alone works in a process of its own.

    Example:
        >>> with Shards(Job(fences, EngineSettings()), 2) as shards:  # doctest: +SKIP
        ...     for said in shards.run(paces(reader)):
        ...         print(len(said.events))
    """

    def __init__(
        self, job: Job, count: int, snapshots: Sequence[bytes] | None = None, *, apart: bool = False
    ) -> None:
        if count < 1:
            raise ValueError(f"a replay needs at least one process, not {count}")
        given: Sequence[bytes | None] = [None] * count if snapshots is None else snapshots
        if len(given) != count:
            raise ValueError(f"{len(given)} snapshots for {count} processes")
        self._count, self._rendered = count, job.render is not None
        #: Paces given whose answer was not taken.
        self.under_way = 0
        self._names = Names()
        self._dealer: Dealer | None = None
        self._shards: list[_Shard]
        if count == 1 and not apart:
            self._ahead = 1
            self._shards = [_Local(job, given[0])]
            return
        self._ahead = _AHEAD
        # Spawned, not forked: nothing of the reader's threads and connections gets into them.
        context = multiprocessing.get_context("spawn")
        # Memory without a name: nothing of it is left, whatever is killed.
        memory = context.RawArray("B", memory_bytes(_AHEAD))
        self._dealer = Dealer(np.frombuffer(memory, np.uint8), _AHEAD, self._names)
        self._shards = [_Process(context, job, one, memory, i, count) for i, one in enumerate(given)]

    def run(self, paces: Iterable[Pace]) -> Iterator[Said]:
        """Take paces and yield what came of each, in their order, a few paces later.

        Raises:
            RuntimeError: a process ended; the text says how.
        """
        for pace in paces:
            while self.full:
                yield self.answer()
            self.give(pace)
        while self.under_way:
            yield self.answer()

    @property
    def full(self) -> bool:
        """Whether an answer should be taken before the next pace is given."""
        return self.under_way >= self._ahead

    def give(self, pace: Pace) -> None:
        """Give each engine its part of a pace.

        Raises:
            RuntimeError: :attr:`full`; or a process ended, and the text says how.
        """
        if self.full:
            raise RuntimeError(f"{self.under_way} paces are under way: take an answer first")
        self.under_way += 1
        if self._dealer is not None:
            dealt = self._dealer.deal(pace)
            for shard in self._shards:
                shard.give(dealt)
            return
        if not self._rendered:
            self._names.codes(pace.batch.vehicles)
        self._shards[0].give(pace)

    def use_fences(self, fences: FenceSet) -> None:
        """Go on with other fences from the next pace on."""
        for shard in self._shards:
            shard.use_fences(fences)

    def answer(self) -> Said:
        """What came of the oldest pace under way; waits for it.

        Raises:
            RuntimeError: a process ended; the text says how.
        """
        answers = [shard.answer() for shard in self._shards]
        self.under_way -= 1
        events: list[Any] = []
        for parts in ([answer[0] for answer in answers], [answer[1] for answer in answers]):
            said = [one for part in parts for one in part]
            if not self._rendered:
                # Within a vehicle the order is that of its engine; vehicles stand as they first came.
                said.sort(key=lambda event: self._names.number.get(event.vehicle, -1))
            events += said
        oldest = [answer[3] for answer in answers if answer[3] is not None]
        newest = [answer[4] for answer in answers if answer[4] is not None]
        reasons = np.sum([answer[2] for answer in answers], axis=0)
        return Said(events, reasons, min(oldest) if oldest else None, max(newest) if newest else None)

    def snapshots(self) -> list[bytes]:
        """The state of each engine after the last pace.

        Raises:
            RuntimeError: paces are under way whose answers were not taken.
        """
        if self.under_way:
            raise RuntimeError(f"{self.under_way} paces are under way: take their answers first")
        return [shard.snapshot() for shard in self._shards]

    def close(self) -> None:
        """End the processes."""
        for shard in self._shards:
            shard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


#: What was said of the fixes and of the silence, reasons, oldest and newest time.
_Answer = tuple[list[Any], list[Any], npt.NDArray[np.int64], int | None, int | None]


class _Shard(Protocol):
    def give(self, what: Any, /) -> None: ...
    def answer(self) -> _Answer: ...
    def use_fences(self, fences: FenceSet) -> None: ...
    def snapshot(self) -> bytes: ...
    def close(self) -> None: ...


class _Local:
    """An engine in this process."""

    def __init__(self, job: Job, snapshot: bytes | None) -> None:
        if snapshot is None:
            self._engine = Engine(job.fences, job.settings, job.reference)
        else:
            self._engine = Engine.restore(snapshot, job.fences, job.settings, job.reference)
        self._render = job.render
        self._answers: deque[_Answer] = deque()

    def give(self, pace: Pace) -> None:
        outcome = self._engine.process(pace.batch)
        silent = () if pace.now_us is None else self._engine.advance(pace.now_us)
        reasons = np.bincount(outcome.reason, minlength=len(Reason)).astype(np.int64)
        times = pace.batch.time_us if not reasons[1:].any() else pace.batch.time_us[outcome.accepted]
        span = (int(times.min()), int(times.max())) if len(times) else (None, None)
        self._answers.append((self._said(outcome), self._said(silent), reasons, *span))

    def _said(self, events: Sequence[Event]) -> list[Any]:
        return list(events) if self._render is None else self._render(events)

    def answer(self) -> _Answer:
        return self._answers.popleft()

    def use_fences(self, fences: FenceSet) -> None:
        self._engine.use_fences(fences)

    def snapshot(self) -> bytes:
        return self._engine.snapshot()

    def close(self) -> None:
        pass


class _Process:
    """An engine in a process of its own."""

    def __init__(
        self, context: SpawnContext, job: Job, snapshot: bytes | None, memory: Any, number: int, of: int
    ) -> None:
        self._end, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, job, snapshot, memory, number, of), daemon=True
        )
        self._process.start()
        theirs.close()
        # Both sides writing and nobody reading would be the end: a thread takes the answers at once.
        self._came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()

    def _listen(self) -> None:
        try:
            while True:
                self._came.put(self._end.recv())
        except (EOFError, OSError):
            self._came.put(_ENDED)

    def give(self, dealt: Dealt) -> None:
        self._send(dealt)

    def answer(self) -> _Answer:
        found: _Answer = self._receive()
        return found

    def use_fences(self, fences: FenceSet) -> None:
        self._send(fences)

    def snapshot(self) -> bytes:
        self._send(None)
        found: bytes = self._receive()
        return found

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._end.send(_ENDED)
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._ear.join()
        self._end.close()

    def _send(self, what: Any) -> None:
        try:
            self._end.send(what)
        except OSError:
            # It has said why, if it could.
            while True:
                self._receive()

    def _receive(self) -> Any:
        found = self._came.get()
        if isinstance(found, Exception):
            raise found
        if found == _ENDED:
            self._process.join(5)
            raise RuntimeError(f"a process of the replay ended with code {self._process.exitcode}")
        return found


_ENDED = "ended"


def _serve(end: Connection, job: Job, snapshot: bytes | None, memory: Any, number: int, of: int) -> None:
    """The life of such a process: paces in, answers out, until the other side ends it."""
    # Ctrl-C is the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        try:
            local, share = _Local(job, snapshot), Share(np.frombuffer(memory, np.uint8), number, of)
            while (what := end.recv()) != _ENDED:
                if what is None:
                    end.send(local.snapshot())
                elif isinstance(what, FenceSet):
                    local.use_fences(what)
                else:
                    local.give(share.take(what))
                    end.send(local.answer())
        except (EOFError, OSError):
            raise
        except Exception as error:
            end.send(error)
