"""Paces dealt out to processes: columns stand in memory that all of them share, and each takes its own.

You are below ``shards.py``. To cut a pace into shares and send each through a pipe costs the reading process
as much as an engine takes to judge it; to lay the columns down once costs a twentieth of that, and each
process picks out its own fixes on its own core. A :class:`Dealer` lays down, a :class:`Share` picks; between
them goes a :class:`Dealt`, a few hundred bytes. Vehicles are spoken of by the number under which they first
came, and each process keeps the names of its own only, always in the very same tuple, so that no engine looks
a name up twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.fixes import COLUMNS, OPTIONAL, FixBatch
from hazfence_replay.player import MOST_FIXES, Pace

__all__ = ["Dealer", "Dealt", "Names", "Share", "memory_bytes", "shard_of"]

_Column = npt.NDArray[Any]
_TYPES: Mapping[str, np.dtype[Any]] = COLUMNS | OPTIONAL
#: Bytes of one pace at the most, and where in them each column begins.
_SLOT_BYTES = MOST_FIXES * sum(dtype.itemsize for dtype in _TYPES.values())
_BEGINS = dict(
    zip(
        _TYPES,
        np.cumsum([0, *(MOST_FIXES * dtype.itemsize for dtype in _TYPES.values())]).tolist(),
        strict=False,
    )
)


def shard_of(vehicle: str, shards: int) -> int:
    """The process that a vehicle belongs to, the same on every run.

    Example:
        >>> shard_of("浙B12345", 2)
        0
    """
    return zlib.crc32(vehicle.encode("utf-8", "surrogatepass")) % shards


def memory_bytes(slots: int) -> int:
    """How much memory so many paces need that are under way at once."""
    return slots * _SLOT_BYTES


class Dealt(NamedTuple):
    """What the processes are told of a pace.

    Attributes:
        slot: where in the shared memory its columns stand.
        fixes: how many it has.
        standing: names of the columns that stand there; codes of vehicles count over all paces.
        same: columns of which every fix has the same value, with that value.
        loose: columns as they are, of a pace too long for the memory.
        names: vehicles that no pace before had, in the order of their numbers.
        now_us: as in :class:`~hazfence_replay.player.Pace`.
    """

    slot: int
    fixes: int
    standing: tuple[str, ...]
    same: dict[str, Any]
    loose: dict[str, _Column]
    names: tuple[str, ...]
    now_us: int | None


class Names:
    """Numbers vehicles in the order in which they first come.

    Attributes:
        number: of each name.
        names: by number.
    """

    def __init__(self) -> None:
        self.number: dict[str, int] = {}
        self.names: list[str] = []
        self._given: tuple[str, ...] = ()
        self._codes = np.zeros(0, np.int32)

    def codes(self, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
        """The number of each name, int32, shape (n,); the same tuple again costs nothing."""
        if names is not self._given:
            known = len(self._given)
            if names[:known] != self._given:
                known = 0
            number, before = self.number, len(self.number)
            more = [number.setdefault(name, len(number)) for name in names[known:]]
            self.names += list(number)[before:] if len(number) > before else ()
            self._codes = np.concatenate([self._codes[:known], np.array(more, np.int32)])
            self._given = names
        return self._codes


class Dealer:
    """Lays paces down for the processes.

    Args:
        memory: uint8, of :func:`memory_bytes` bytes, shared with every :class:`Share`.
        slots: paces that may be under way at once; the one before so many must have been answered by all
            processes when the next is dealt.
        names: numbers the vehicles.
    """

    def __init__(self, memory: npt.NDArray[np.uint8], slots: int, names: Names) -> None:
        self._memory, self._slots, self._names = memory, slots, names
        self._next = self._told = 0

    def deal(self, pace: Pace) -> Dealt:
        """Lay a pace down; gives what every process is to be told."""
        batch = pace.batch
        codes = self._names.codes(batch.vehicles)
        columns = {name: getattr(batch, name) for name in COLUMNS}
        columns["vehicle"] = codes[batch.vehicle]
        if batch.accuracy_m is not None:
            columns["accuracy_m"] = batch.accuracy_m
        slot, self._next = self._next, (self._next + 1) % self._slots
        same = {name: column[0] for name, column in columns.items() if _constant(column)}
        rest = {name: column for name, column in columns.items() if name not in same}
        loose = rest if len(batch) > MOST_FIXES else {}
        standing = () if loose else tuple(rest)
        for name in standing:
            _column(self._memory, slot, name, len(batch))[:] = rest[name]
        names = tuple(self._names.names[self._told :])
        self._told += len(names)
        return Dealt(slot, len(batch), standing, same, loose, names, pace.now_us)


class Share:
    """Picks one process's part out of what is dealt.

    Args:
        memory: as the dealer's.
        number: of the process, from 0.
        of: how many there are.
    """

    def __init__(self, memory: npt.NDArray[np.uint8], number: int, of: int) -> None:
        self._memory, self._number, self._of = memory, number, of
        self._names: tuple[str, ...] = ()
        #: Our own number of every vehicle; -1 for those of others.
        self._own = np.zeros(0, np.int32)

    def take(self, dealt: Dealt) -> Pace:
        """The fixes that are ours, in memory of our own."""
        if dealt.names:
            self._learn(dealt.names)
        n = dealt.fixes
        columns = dealt.loose | {name: _column(self._memory, dealt.slot, name, n) for name in dealt.standing}
        if "vehicle" in dealt.same:
            columns["vehicle"] = np.full(n, dealt.same["vehicle"], np.int32)
        own = self._own[columns.pop("vehicle")]
        index = np.flatnonzero(own >= 0)
        taken = {name: column[index] for name, column in columns.items()}
        for name, value in dealt.same.items():
            if name != "vehicle":
                taken[name] = np.full(len(index), value, _TYPES[name])
        return Pace(FixBatch(self._names, own[index], **taken), dealt.now_us)

    def _learn(self, names: tuple[str, ...]) -> None:
        ours = np.fromiter((shard_of(name, self._of) == self._number for name in names), np.bool_, len(names))
        own = np.where(ours, len(self._names) + np.cumsum(ours) - 1, -1).astype(np.int32)
        self._own = np.concatenate([self._own, own])
        if ours.any():
            self._names = (*self._names, *(names[i] for i in np.flatnonzero(ours).tolist()))


def _column(memory: npt.NDArray[np.uint8], slot: int, name: str, count: int) -> _Column:
    """A column of a pace, as it stands in the memory."""
    begin, dtype = slot * _SLOT_BYTES + _BEGINS[name], _TYPES[name]
    return memory[begin : begin + count * dtype.itemsize].view(dtype)


def _constant(column: _Column) -> bool:
    """Whether every value is the first, to the last bit (so that NaN is like NaN)."""
    if not len(column):
        return False
    bits = column.view(f"u{column.itemsize}")
    # Most columns that change do so at once.
    return bool(bits[0] == bits[-1] == bits[len(bits) // 2] and (bits == bits[0]).all())
