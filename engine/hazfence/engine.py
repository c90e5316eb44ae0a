"""The engine: batches of fixes in, events out; the one ordered way of a fix.

You are at the top of the core. :meth:`Engine.process` reads like the way of a fix: clean, order,
locate, screen, judge. The first four look at whole columns; the screen proves of most fixes
that they can change nothing (same fences as before, no thin fence touched, no limit exceeded, no
deadline passed), and only the rest goes to ``judge.py``, vehicle by vehicle in time order.
:meth:`Engine.advance` fires deadlines in silence; the moment is passed in, the core reads no
clock. The engine does no IO and keeps no global state: a host may own as many as it likes, one
a partition, each used by one thread at a time.

The promise: the events depend on the fixes and on their order a vehicle, never on how they were
cut into batches, nor on whether a deadline was noticed by ``advance`` or by the next fix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from hazfence.clean import Reason, screen_values
from hazfence.events import Event, Kind
from hazfence.fixes import FixBatch
from hazfence.judge import Judge
from hazfence.presence import Fix
from hazfence.screen import Columns, Screen, in_order
from hazfence.settings import EngineSettings
from hazfence.snapshot import dump, load
from hazfence.vehicles import NEVER_US, Fleet, Record
from hazfence_fences import FenceSet

__all__ = ["Engine", "Outcome"]


class Outcome(Sequence[Event]):
    """What came of a batch: a sequence of events, and what became of each fix.

    Attributes:
        events: the new revisions; in time order a vehicle.
        reason: uint8, shape (n,), a :class:`~hazfence.clean.Reason` for every fix of the batch.
    """

    __slots__ = ("events", "reason")

    def __init__(self, events: tuple[Event, ...], reason: npt.NDArray[np.uint8]) -> None:
        self.events = events
        self.reason = reason

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): the fixes that were used."""
        return np.equal(self.reason, 0)

    def counts(self) -> Counter[str]:
        """How many fixes were set aside, by reason."""
        codes, numbers = np.unique(self.reason[self.reason != 0], return_counts=True)
        return Counter({Reason(c).label: n for c, n in zip(codes.tolist(), numbers.tolist(), strict=True)})

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Event, ...]: ...
    def __getitem__(self, index: int | slice) -> Event | tuple[Event, ...]:
        return self.events[index]

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __repr__(self) -> str:
        return f"Outcome({len(self)} events, {int(self.accepted.sum())} of {len(self.reason)} fixes accepted)"


class Engine:
    """Matches fixes against fences and says what follows.

    Args:
        fences: the fences in force.
        settings: thresholds; the defaults are those of Zhenhai's rules.

    Example:
        >>> from hazfence import Engine, FixBatch
        >>> from hazfence_fences import load_fences
        >>> engine = Engine(load_fences("fences/zhenhai"))
        >>> day = 1_767_225_600_000_000
        >>> batch = FixBatch.of(["浙B12345"], time_us=[day], lon=[121.61], lat=[29.98])
        >>> [str(e.kind) for e in engine.process(batch)]
        ['visit']
    """

    def __init__(self, fences: FenceSet, settings: EngineSettings | None = None) -> None:
        self._settings = settings or EngineSettings()
        self._fleet = Fleet()
        self._records: dict[int, Record] = {}
        self._screen = Screen(fences, self._settings)
        self._judge = Judge(fences, self._settings)
        self._fences = fences

    @property
    def fences(self) -> FenceSet:
        """The fences in force."""
        return self._fences

    @property
    def settings(self) -> EngineSettings:
        """The thresholds in use."""
        return self._settings

    def process(self, batch: FixBatch) -> Outcome:
        """Take in a batch of fixes, of any vehicles, in the order of arrival.

        Returns:
            the events that follow, and what became of each fix. A fix that is not after its
            vehicle's last one is set aside as ``LATE`` or ``DUPLICATE``.
        """
        reason = screen_values(batch, self._settings)
        rows = np.flatnonzero(reason == 0)
        if not len(rows):
            return Outcome((), reason)
        codes = self._fleet.enroll(batch.vehicles)[batch.vehicle[rows]]
        order = np.argsort(codes, kind="stable")
        rows, codes = rows[order], codes[order]
        fresh = in_order(self._fleet, codes, batch, rows)
        if fresh is not None:
            reason[rows] = fresh
            rows, codes = rows[fresh == 0], codes[fresh == 0]
            if not len(rows):
                return Outcome((), reason)
        columns = self._screen.look(self._fleet, codes, batch, rows)
        events: list[Event] = []
        for group in columns.active.tolist():
            self._judge_vehicle(columns, int(columns.starts[group]), int(columns.ends[group]), events)
        last = columns.ends - 1
        fleet, vehicles = self._fleet, codes[last]
        for name in ("time_us", "lon", "lat", "speed_kmh", "heading_deg", "key"):
            getattr(fleet, name)[vehicles] = getattr(columns, name)[last]
        return Outcome(tuple(events), reason)

    def advance(self, now_us: int) -> tuple[Event, ...]:
        """Fire the deadlines that passed before ``now_us`` (microseconds UTC) in silence.

        Returns:
            new events, by vehicle in the order of their first fix. When there are none, nothing
            that matters has changed.
        """
        fleet = self._fleet
        events: list[Event] = []
        waiting = fleet.deadline_us[: len(fleet)] < now_us
        waiting[self._screen.unheard(fleet, now_us)] = True
        for code in np.flatnonzero(waiting).tolist():
            record = self._records.get(code, Record())
            last = self._last_fix(code)
            if now_us <= last.time_us:
                continue
            events += self._judge.silence(fleet.names[code], record, last, now_us)
            self._keep(code, record, last, now_us)
        return tuple(events)

    def use_fences(self, fences: FenceSet) -> None:
        """Go on with other fences.

        A visit to a fence that is gone closes with ``exit`` ``fence_removed``, one to a fence
        redrawn around the vehicle with ``fence_changed``, at the vehicle's next fix or ``advance``;
        nothing is matched again with old positions.
        """
        self._screen = Screen(fences, self._settings, self._screen.set_ids())
        self._judge = Judge(fences, self._settings)
        self._fences = fences
        self._rebind()

    def positions(self) -> FixBatch:
        """The last accepted fix of every vehicle, one a vehicle."""
        return self._fleet.last_fixes(np.flatnonzero(self._fleet.time_us[: len(self._fleet)] != NEVER_US))

    def inside(self, vehicle: str) -> tuple[str, ...]:
        """Ids of the fences that the vehicle is visiting; empty when it is unknown."""
        code = self._fleet.code(vehicle)
        record = None if code is None else self._records.get(code)
        if record is None:
            return ()
        return tuple(fence_id for kind, fence_id in record.open if kind is Kind.VISIT)

    def open_events(self) -> tuple[Event, ...]:
        """Every visit and breach that goes on, as last said."""
        return tuple(e for code in sorted(self._records) for e in self._records[code].open.values())

    def snapshot(self) -> bytes:
        """Everything the engine knows, as bytes that :meth:`restore` takes; the same for the same state."""
        return dump(self._fleet, self._records, self._screen.set_ids())

    @classmethod
    def restore(cls, data: bytes, fences: FenceSet, settings: EngineSettings | None = None) -> Engine:
        """An engine that goes on where :meth:`snapshot` was taken, perhaps with other fences.

        Raises:
            SnapshotError: the bytes are damaged or of a version this release cannot read.
        """
        engine = cls(fences, settings)
        sets = load(data, engine._fleet, engine._records)
        engine._screen = Screen(fences, engine._settings, sets)
        engine._rebind()
        return engine

    def _rebind(self) -> None:
        """Make every open visit to a fence that is no more due for judgement."""
        for code, record in self._records.items():
            if any(k is Kind.VISIT and fence_id not in self._fences for k, fence_id in record.open):
                self._fleet.deadline_us[code] = NEVER_US
        removed = self._screen.rekeyed()
        fleet, n = self._fleet, len(self._fleet)
        for old, new in removed.items():
            fleet.key[:n][fleet.key[:n] == np.uint64(old)] = np.uint64(new)

    def _judge_vehicle(self, c: Columns, lo: int, hi: int, events: list[Event]) -> None:
        """Judge one vehicle's fixes ``lo..hi`` of the sorted columns, skipping the harmless ones."""
        fleet, code = self._fleet, int(c.codes[lo])
        name = fleet.names[code]
        record = self._records.get(code) or Record()
        due = [lo + i for i in np.flatnonzero(c.due[lo:hi]).tolist()]
        deadline_us, watch = int(fleet.deadline_us[code]), bool(fleet.watch[code])
        row, fix = lo, None
        while True:
            while due and due[0] < row:
                due.pop(0)
            if not watch:
                candidate = due[0] if due else hi
                if deadline_us < c.time_us[hi - 1]:
                    passed = lo + int(np.searchsorted(c.time_us[lo:hi], deadline_us, side="right"))
                    candidate = min(candidate, max(passed, row))
                row = candidate
            if row >= hi:
                break
            prev = self._fix(c, row - 1) if row > lo else self._last_fix_or_none(code)
            fix = self._fix(c, row)
            events += self._judge.fix(name, record, prev, fix, self._screen.hits(c, row))
            deadline_us = self._judge.deadline_us(record, fix, fix.time_us, name)
            watch = record.watched
            row += 1
        if fix is not None:
            self._keep(code, record, fix, fix.time_us)

    def _keep(self, code: int, record: Record, last: Fix, judged_us: int) -> None:
        """Put a judged record back, with the moment at which it has to be looked at again."""
        if record.idle:
            self._records.pop(code, None)
        else:
            self._records[code] = record
        deadline_us = self._judge.deadline_us(record, last, judged_us, self._fleet.names[code])
        # After a look into silence the deadlines count from the next fix, whatever that fix is like.
        self._fleet.note(code, record, deadline_us, watch=judged_us > last.time_us)

    def _fix(self, c: Columns, row: int) -> Fix:
        fences = self._screen.fences_of(int(c.key[row]))
        place = float(c.lon[row]), float(c.lat[row])
        return Fix(int(c.time_us[row]), *place, float(c.speed_kmh[row]), fences, int(c.alarm[row]))

    def _last_fix(self, code: int) -> Fix:
        f = self._fleet
        fences = self._screen.fences_of(int(f.key[code]))
        return Fix(
            int(f.time_us[code]), float(f.lon[code]), float(f.lat[code]), float(f.speed_kmh[code]), fences
        )

    def _last_fix_or_none(self, code: int) -> Fix | None:
        return None if self._fleet.time_us[code] == NEVER_US else self._last_fix(code)

    def __repr__(self) -> str:
        return f"Engine({len(self._fleet)} vehicles, {len(self._records)} of them with something open)"
