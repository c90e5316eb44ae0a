"""What the engine's surroundings must offer: the store and the board, as protocols.

You are between the core, which knows no services, and the adapters, which are nothing else.
The worker (``hazfence.worker``) talks to these protocols only. The real parts are
``hazfence.postgis`` and ``hazfence.redis_board``; ``hazfence.memory`` has twins of both that
keep everything in dicts and obey the same rules, for tests and for hosts without services.

How each thing comes to be done once: events found in fixes depend on the log alone, so they
may be written at once and written again after a crash (same ids, same revisions, no change).
Events found in silence depend on the clock, so they are committed only together with the
snapshot that knows them. What goes out to Redis is read back from the store's outbox in the
order of ``seq``, and the board remembers the last ``seq`` it saw of each partition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.history import History, MilestoneNews, Missing
from hazfence.reference import ReferenceData

__all__ = [
    "Board",
    "BoardAway",
    "Checkpoint",
    "Claim",
    "FileState",
    "Progress",
    "Published",
    "Reference",
    "Reject",
    "StaleClaim",
    "Store",
    "StoreAway",
]


class StoreAway(ConnectionError):
    """The store cannot be reached now: keep what you hold and try again."""


class BoardAway(ConnectionError):
    """The board cannot be reached now: go on without it, it can be rebuilt."""


class BoardForgot(RuntimeError):
    """The board holds no ``seq`` for the partition (it was emptied): lay it anew with ``rebuild``."""


class StaleClaim(RuntimeError):
    """Another worker has claimed the partition since: drop it and write nothing more for it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write for one partition, until somebody claims it anew (``epoch`` + 1)."""

    topic: str
    partition: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a partition's state was when the messages before ``next_offset`` had been processed.

    Attributes:
        next_offset: see above.
        snapshot: the state.
        heard_us: the moment up to which all is said that can be said of the partition's vehicles,
            microseconds UTC; None when nobody asks, or when it is not known.
    """

    next_offset: int
    snapshot: bytes
    heard_us: int | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """A message, or one fix of it, that was not used, kept with the reason.

    Attributes:
        offset: offset of the message on its partition.
        item: place of the fix within the message; -1 for the message as a whole.
        reason: short, countable: a decoder's word (``bad_json``) or a ``clean.Reason`` name.
        detail: one line for a person: the place and the mend.
        payload: the message as received, or the one fix as JSON.
    """

    offset: int
    item: int
    reason: str
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """An event as the outbox holds it: ``seq`` grows with every revision stored for a partition."""

    seq: int
    event: Event


class FileState(NamedTuple):
    """What is on file at a moment.

    Attributes:
        seq: the count of changes it stands for.
        data: what is on file.
        faults: what is wrong with rows that had to be left out, one line each.
    """

    seq: int
    data: ReferenceData
    faults: tuple[str, ...] = ()


class Progress(NamedTuple):
    """How far a partition has come, as last stored.

    Attributes:
        heard_us: see :class:`Checkpoint`.
        next_offset: see :class:`Checkpoint`; None before the first one.
    """

    heard_us: int | None
    next_offset: int | None


class Store(Protocol):
    """The durable side: PostGIS. Every method may raise :class:`StoreAway`."""

    async def open(self) -> None:
        """Connect; safe to call again after :class:`StoreAway`."""

    async def close(self) -> None:
        """Let go of the connections."""

    async def claim(self, topic: str, partition: int) -> tuple[Claim, Checkpoint | None]:
        """Take a partition over, fencing off its former owner, and read where to go on."""

    async def write(self, claim: Claim, events: Sequence[Event], rejects: Sequence[Reject]) -> None:
        """Store events and rejects in one transaction; storing them again changes nothing.

        Raises:
            StaleClaim: somebody else owns the partition now; nothing was written.
        """

    async def checkpoint(
        self,
        claim: Claim,
        checkpoint: Checkpoint,
        fixes: FixBatch,
        events: Sequence[Event] = (),
        rejects: Sequence[Reject] = (),
        milestones: Sequence[MilestoneNews] = (),
    ) -> None:
        """Store fixes, events, rejects, milestones, snapshot and offset in one transaction, or none of them.

        A repetition (the first answer was lost on the way) stores no fix again: fixes go in only when
        ``next_offset`` is above the one stored.

        Raises:
            StaleClaim: somebody else owns the partition now; nothing was written.
        """

    async def recent_fixes(self, topic: str, partition: int, last: FixBatch, recent_s: float) -> FixBatch:
        """Stored fixes that ``Engine.remember`` wants back after a restart.

        Args:
            last: the last fix of each vehicle, one a vehicle, as ``Engine.positions`` gives them.
            recent_s: how far back from each.

        Returns:
            time, place, speed and heading of the fixes of that time and, for each vehicle, of those
            of the last moment before; in any order.
        """

    async def history(self, topic: str, partition: int, missing: Sequence[Missing]) -> History:
        """What ``Engine.recall`` wants back of some vehicles, as of the last checkpoint.

        Returns:
            for each vehicle its milestones below ``valid_us``, as far back as is needed, and the
            stored fixes until ``last_us`` from :func:`~hazfence.history.start_us` of those on, with
            those of the last moment before; in any order.
        """

    async def outbox(self, topic: str, partition: int, after_seq: int, limit: int) -> Sequence[Published]:
        """Revisions of the partition with ``seq`` above ``after_seq``, in order, at most ``limit``."""

    async def outbox_tail(self, topic: str, partition: int, count: int) -> int:
        """The ``after_seq`` with which :meth:`outbox` gives the last ``count`` revisions."""

    async def open_events(self, topic: str, partition: int) -> Sequence[Event]:
        """Every visit and breach of the partition that is not over."""

    async def heard(self, claim: Claim, heard_us: int) -> None:
        """Note how far time has come on a partition on which nothing else happened.

        Raises:
            StaleClaim: somebody else owns the partition now; nothing was written.
        """

    async def progress(self, topic: str) -> Mapping[int, Progress]:
        """How far each partition of a topic has come that was ever claimed.

        What :meth:`outbox` gives afterwards holds everything that was found up to then.
        """

    async def outbox_start(self, topic: str, partition: int, age_s: float) -> int:
        """The ``after_seq`` with which :meth:`outbox` gives what was stored in the last ``age_s``."""


class Board(Protocol):
    """The live side: Redis. Every method may raise :class:`BoardAway`."""

    async def open(self) -> None:
        """Connect; safe to call again after :class:`BoardAway`."""

    async def close(self) -> None:
        """Let go of the connection."""

    async def last_seq(self, topic: str, partition: int) -> int | None:
        """The ``seq`` last published for the partition; None when the board knows nothing of it."""

    async def publish(self, topic: str, partition: int, entries: Sequence[Published]) -> int:
        """Append to the event stream and move open visits and breaches, in order.

        An entry at or below the last ``seq`` is skipped, atomically, so a revision goes out once.

        Returns:
            how many entries were new.

        Raises:
            BoardForgot: nothing was published; the partition has to be laid anew first.
        """

    async def show_positions(
        self, topic: str, partition: int, fixes: FixBatch, inside: Sequence[tuple[str, ...]]
    ) -> None:
        """Show the last fix of each vehicle in ``fixes`` (one a vehicle) and the fences it is in.

        A fix older than the one shown is ignored.

        Raises:
            BoardForgot: nothing was shown; the partition has to be laid anew first.
        """

    async def rebuild(
        self,
        topic: str,
        partition: int,
        fixes: FixBatch,
        inside: Sequence[tuple[str, ...]],
        open_events: Sequence[Event],
        after_seq: int,
    ) -> None:
        """Lay the partition's part of the board anew; publishing goes on above ``after_seq``."""


class Reference(Protocol):
    """Where vehicles, waybills and papers are on file. Every method may raise :class:`StoreAway`."""

    async def open(self) -> None:
        """Connect; safe to call again after :class:`StoreAway`."""

    async def close(self) -> None:
        """Let go of the connections."""

    async def load(self) -> FileState:
        """Everything on file that can be used, and what is wrong with the rest."""

    async def changed(self, after_seq: int, timeout_s: float) -> bool:
        """Wait until there are changes after the ``after_seq`` of :meth:`load`; False when time is up."""
