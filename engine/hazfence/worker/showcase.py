"""Keeping the board up to date with one partition, beside the partition's own way.

You are beside ``processor.py``: what it stored is read back from the store's outbox in the order
of ``seq`` and published, positions follow at most once a second, and a board that was emptied is
laid anew. What the desk holds back (``hazfence.desk``) is passed over here, counted, and in the store all
the same. All of this runs in a task of its own, so a board that hangs holds up no fix. The board
remembers the last ``seq`` of each partition; nothing has to be remembered here across a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from hazfence.desk import Desk
from hazfence.engine import Engine
from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.ports import Board, BoardAway, BoardForgot, Published, Store, StoreAway
from hazfence.worker.metrics import WorkerMetrics

__all__ = ["Showcase"]

_log = structlog.get_logger(__name__)
_CHUNK = 500
#: Vehicles looked up and shown before others have their turn.
_VEHICLES_A_TURN = 250
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0)
_SAY_AGAIN_S = 15.0
#: A board that was emptied while nothing happens is noticed within this time.
_LOOK_EVERY_S = 5.0


class Shown(Protocol):
    """What there is to show of a partition; see ``PartitionProcessor``."""

    topic: str
    partition: int
    touched: set[str]
    turned: set[str]
    committed: asyncio.Event

    @property
    def engine(self) -> Engine:
        """See ``PartitionProcessor.engine``."""


class Showcase:
    """Shows one partition on the board.

    Args:
        processor: whose partition it is.
        store: for the outbox.
        board: where to show it.
        metrics: what is counted.
        every_s: positions are shown at most this often.
        tail: how many of the latest revisions go onto the stream of a board that was emptied.
        desk: what people are not told, see ``hazfence.desk``.
    """

    def __init__(
        self,
        processor: Shown,
        *,
        store: Store,
        board: Board,
        metrics: WorkerMetrics,
        every_s: float = 1.0,
        tail: int = 1000,
        desk: Mapping[str, Any] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processor = processor
        self._place = processor.topic, processor.partition
        self._store = store
        self._board = board
        self._metrics = metrics
        self._every_s = every_s
        self._tail = tail
        self._monotonic_s = monotonic_s
        self._log = _log.bind(topic=processor.topic, partition=processor.partition)
        self._desk_given = desk or {}
        self._desk = Desk(self._desk_given)
        self._held: dict[tuple[str, str], int] = {}
        self._seq: int | None = None
        self._inside: dict[str, tuple[str, ...]] = {}
        self._shown_s = float("-inf")
        self._looked_s = monotonic_s()
        self._failures = 0
        self._not_before_s = float("-inf")
        self._said_s = float("-inf")

    async def update(self, *, at_once: bool = False) -> bool:
        """Publish what was stored and show positions that changed, if the board can be reached.

        Args:
            at_once: show positions however lately they were shown, as before leaving.

        Returns:
            True when the board is up to date but for positions younger than ``every_s``.

        Raises:
            Dropped: the partition is not ours any more.
        """
        if self._monotonic_s() < self._not_before_s:
            return False
        try:
            try:
                await self._update(at_once)
            except BoardForgot:
                self._seq = None
                await self._update(at_once)
        except (BoardAway, BoardForgot) as error:
            self._away(error)
            return False
        except StoreAway:
            return False  # the processor waits for it and says so
        if self._failures:
            self._log.info("board back", failures=self._failures)
        self._failures = 0
        self._metrics.board_up.set(1)
        return True

    async def _update(self, at_once: bool) -> None:
        if self._seq is None:
            await self._meet()
        await self._publish()
        now_s = self._monotonic_s()
        if at_once or now_s - self._shown_s >= self._every_s:
            await self._show_positions()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            if await self._board.last_seq(*self._place) is None:
                raise BoardForgot("the board was emptied")

    async def _meet(self) -> None:
        """Find out what the board knows of the partition, and lay it anew if that is nothing."""
        newest = await self._store.outbox_tail(*self._place, 0)
        last = await self._board.last_seq(*self._place)
        if last is None or last > newest:  # emptied, or another database's board
            after = await self._store.outbox_tail(*self._place, self._tail)
            await self._read_desk(after)
            open_events = self._told(await self._store.open_events(*self._place))
            self._processor.touched.clear()
            fixes, inside = await self._everywhere()
            await self._board.rebuild(*self._place, fixes, inside, open_events, after)
            self._metrics.board_rebuilds.inc()
            self._log.info("board laid anew", vehicles=len(fixes), open_events=len(open_events))
            self._seq, self._shown_s = after, self._monotonic_s()
        else:
            await self._read_desk(last)
            self._processor.touched.update(self._processor.engine.positions().vehicles)
            self._seq = last
        self._processor.committed.set()

    async def _publish(self) -> None:
        if not self._processor.committed.is_set():
            return
        self._processor.committed.clear()
        try:
            while True:
                assert self._seq is not None
                entries = await self._store.outbox(*self._place, self._seq, _CHUNK)
                if not entries:
                    return
                told = self._tell(entries)
                if told:
                    self._metrics.published.inc(await self._board.publish(*self._place, told))
                self._seq = entries[-1].seq
        except BaseException:
            self._processor.committed.set()
            raise

    def _tell(self, entries: Sequence[Published]) -> list[Published]:
        """What the desk tells of these; the rest is counted."""
        if not self._desk_given:
            return list(entries)
        told = set(map(_name, self._desk.tell(entry.event for entry in entries)))
        for (why, kind), number in self._desk.held.items():
            self._metrics.held.labels(why, kind).inc(number - self._held.get((why, kind), 0))
        self._held = dict(self._desk.held)
        return [entry for entry in entries if _name(entry.event) in told]

    async def _read_desk(self, until_seq: int) -> None:
        """Let the desk know what was told and held before, as far back as the tail reaches."""
        if not self._desk_given:
            return
        self._desk, self._held = Desk(self._desk_given), {}
        seq = await self._store.outbox_tail(*self._place, self._tail)
        while seq < until_seq:
            entries = await self._store.outbox(*self._place, seq, _CHUNK)
            if not entries:
                break
            self._desk.tell(entry.event for entry in entries if entry.seq <= until_seq)
            seq = entries[-1].seq
        self._held = dict(self._desk.held)

    def _told(self, events: Sequence[Event]) -> list[Event]:
        """Those of the events that go on that were told."""
        return [event for event in events if not self._desk.holds(event)]

    async def _show_positions(self) -> None:
        """Show the vehicles that were touched, a few at a time: others have their turn in between."""
        touched, self._processor.touched = self._processor.touched, set()
        left = sorted(touched)
        try:
            while left:
                fixes = self._processor.engine.positions(left[:_VEHICLES_A_TURN])
                await self._board.show_positions(*self._place, fixes, self._inside_of(fixes.names()))
                del left[:_VEHICLES_A_TURN]
        except BaseException:
            self._processor.touched.update(left)
            raise
        if touched:
            self._shown_s = self._monotonic_s()

    async def _everywhere(self) -> tuple[FixBatch, list[tuple[str, ...]]]:
        """Last fix and fences of all vehicles, from one moment of the engine."""
        engine = self._processor.engine
        names = engine.positions().names()
        for start in range(0, len(names), _VEHICLES_A_TURN):
            self._inside_of(names[start : start + _VEHICLES_A_TURN])
            await asyncio.sleep(0)
        fixes = engine.positions()
        return fixes, self._inside_of(fixes.names())

    def _inside_of(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The fences that vehicles are in."""
        # Most vehicles are where they were, and to ask the engine of each costs more than all the rest here.
        engine, inside, turned = self._processor.engine, self._inside, self._processor.turned
        for name in turned:
            inside.pop(name, None)
        turned.clear()
        for name in names:
            if name not in inside:
                inside[name] = engine.inside(name)
        return [inside[name] for name in names]

    def _away(self, error: Exception) -> None:
        self._metrics.board_failures.inc()
        self._metrics.board_up.set(0)
        # Emptied or replaced while it was away? Ask again what it knows.
        self._seq = None
        now_s = self._monotonic_s()
        self._not_before_s = now_s + _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]
        self._failures += 1
        if now_s - self._said_s >= _SAY_AGAIN_S:
            self._said_s = now_s
            self._log.warning(
                "board away: going on without it, it will be caught up",
                failures=self._failures,
                error=str(error),
            )


def _name(event: Event) -> tuple[str, int]:
    return event.id, event.revision
