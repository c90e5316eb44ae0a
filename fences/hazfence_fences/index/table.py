"""What is compiled: a coarse grid, fine blocks under its busy cells, and what the cells hold.

    coarse cell -> the set of fences that cover it wholly, or a block
    block       -> that set, and k x k fine cells, k a power of two
    fine cell   -> the set of fences that cover it wholly besides, or a record
    record      -> a set counted in any case, and the edges and circles that pass through the cell

A *set* is a list of fence slots with the sum of their keys; a slot may stand in it more than once or negated
(stored as ``~slot``), for a record's set carries the base winding numbers of `raster`. A *slot* is a fence's
number inside the index; it never changes while the fence lives and is not reused.

Arrays are append-only pools. A patched table is a new coarse array plus whatever was appended; readers of the
old table never see the tail. Nothing in a table is ever written once a reader can reach it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.shapes import CIRCLE, ROW

__all__ = ["BLOCK", "IN_BLOCK", "RECORD", "CellTable", "Grid", "Pool", "Pools"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

# A block: key of the set that covers all of it, where its fine cells start, how many there are along a side.
BLOCK = np.dtype([("key", "u8"), ("start", "i4"), ("k", "i4")])
# A touched fine cell: key of what is counted in any case, where its entries start, how many are edges, how
# many circles.
RECORD = np.dtype([("key", "u8"), ("start", "i4"), ("edges", "u2"), ("discs", "u2")])
# Stands for a set's key where a coarse cell is a block.
IN_BLOCK = np.uint64(2**64 - 1)
_GROWTH = 1.5
_SPARE = 1.0625


@dataclass(frozen=True, slots=True)
class Grid:
    """The coarse grid: a point is in column floor((lon - x0) * sx) and row floor((lat - y0) * sy).

    The outermost cells are empty: points outside the grid are put into them.
    """

    x0: float
    y0: float
    sx: float
    sy: float
    nx: int
    ny: int

    @property
    def cell_w(self) -> float:
        """Width of a coarse cell, degrees."""
        return 1.0 / self.sx

    @property
    def cell_h(self) -> float:
        """Height of a coarse cell, degrees."""
        return 1.0 / self.sy


class Pool:
    """An append-only array with spare room at its end."""

    __slots__ = ("array", "used")

    def __init__(self, dtype: Any, first: Any = None) -> None:
        self.array: NDArray[Any] = np.zeros(0, dtype)
        self.used = 0
        if first is not None:
            self.append(np.asarray(first, dtype))

    def append(self, values: NDArray[Any]) -> int:
        """Add values at the end; returns where they start. Earlier holders of `array` keep theirs.

        The first values may become the pool's own array: do not write to them afterwards.
        """
        start, end = self.used, self.used + len(values)
        if not start:
            self.array = values.astype(self.array.dtype, copy=False)
        if end > len(self.array):
            bigger = np.empty(max(int(end * _GROWTH), 64), self.array.dtype)
            bigger[:start] = self.array[:start]
            self.array = bigger
        if start:
            self.array[start:end] = values
        self.used = end
        return start

    def trim(self) -> None:
        """Give back all but a little of the spare room."""
        wanted = max(int(self.used * _SPARE), 64)
        if wanted < len(self.array):
            self.array = self.array[:wanted].copy()


# Name, type and first entry of each pool.
_POOLS: dict[str, tuple[Any, Any]] = {
    "set_key": (np.uint64, [0]),
    "set_start": (np.int32, [0]),
    "set_count": (np.int32, [0]),
    "members": (np.int32, None),
    "record": (RECORD, np.zeros(1, RECORD)),
    "record_set": (np.int32, [0]),
    "entries": (np.int32, None),
    "rows": (ROW, None),
    "row_sign": (np.int8, None),
    "row_slot": (np.int32, None),
    "row_group": (np.int32, None),
    "group_start": (np.int32, [0]),
    "group_count": (np.int32, [0]),
    "group_rows": (np.int32, None),
    "circles": (CIRCLE, None),
    "circle_slot": (np.int32, None),
    "block": (BLOCK, np.zeros(1, BLOCK)),
    "block_set": (np.int32, [0]),
    "fine": (np.int32, [0]),
}


class Pools:
    """All pools of a table and of its patched successors; set, record and block number 0 mean none.

    Attributes:
        set_key, set_start, set_count: a set's key, and where its slots stand in `members`.
        record, record_set: a record (RECORD), and the set that is counted in any case in its cell.
        entries: the records' rows, then circles.
        rows, row_sign, row_slot, row_group: edges (ROW), their signs and their fences, and the group a row
            stands for (0: itself alone; see `merge`).
        group_start, group_count: where the rows of a group stand in `group_rows`.
        circles, circle_slot: circles (CIRCLE) and their fences.
        block, block_set: a block (BLOCK), and the set that covers all of it.
        fine: a set's number, or minus a record's.
        wasted: fine cells of replaced blocks: how much a rebuild would free.
    """

    __slots__ = (*_POOLS, "wasted")
    set_key: Pool
    set_start: Pool
    set_count: Pool
    members: Pool
    record: Pool
    record_set: Pool
    entries: Pool
    rows: Pool
    row_sign: Pool
    row_slot: Pool
    row_group: Pool
    group_start: Pool
    group_count: Pool
    group_rows: Pool
    circles: Pool
    circle_slot: Pool
    block: Pool
    block_set: Pool
    fine: Pool

    def __init__(self) -> None:
        self.wasted = 0
        for name, (dtype, first) in _POOLS.items():
            setattr(self, name, Pool(dtype, first))

    def trim(self) -> None:
        """Give back spare room, pool by pool."""
        for name in _POOLS:
            getattr(self, name).trim()


class CellTable:
    """The arrays a lookup reads, and the pools they are the front of.

    Attributes:
        grid: the coarse grid.
        coarse: int32, per coarse cell, row by row: the number of a set, or minus that of a block.
        pools: see `Pools`; every pool's array is an attribute of the table under the pool's name.
    """

    __slots__ = (*_POOLS, "_cell_key", "coarse", "grid", "pools")
    set_key: U64
    set_start: I32
    set_count: I32
    members: I32
    record: NDArray[np.void]
    record_set: I32
    entries: I32
    rows: NDArray[np.void]
    row_sign: NDArray[np.int8]
    row_slot: I32
    row_group: I32
    group_start: I32
    group_count: I32
    group_rows: I32
    circles: NDArray[np.void]
    circle_slot: I32
    block: NDArray[np.void]
    block_set: I32
    fine: I32

    def __init__(self, grid: Grid, coarse: I32, pools: Pools) -> None:
        self.grid = grid
        self.coarse = coarse
        self.pools = pools
        self._cell_key: U64 | None = None
        for name in _POOLS:
            setattr(self, name, getattr(pools, name).array)

    @property
    def cell_key(self) -> U64:
        """uint64, per coarse cell: the key of the set that covers it, `IN_BLOCK` for a block.

        What most points ask for, so it is looked up without a detour; made at the first question.
        """
        found = self._cell_key
        if found is None:
            found = self._cell_key = self._keys_of(self.coarse)
        return found

    def go_on_from(self, before: CellTable) -> None:
        """Take over what a table of the same grid knows of the cells in which nothing has changed."""
        if before._cell_key is not None:
            changed = (self.coarse != before.coarse).nonzero()[0]
            cell_key = before._cell_key.copy()
            cell_key[changed] = self._keys_of(self.coarse.take(changed))
            self._cell_key = cell_key

    def _keys_of(self, held: I32) -> U64:
        found = self.set_key.take(held, mode="clip")  # blocks are negative: clipped to set 0
        found[held < 0] = IN_BLOCK
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        keys = 0 if self._cell_key is None else self._cell_key.nbytes
        return int(self.coarse.nbytes + keys + sum(getattr(self, name).nbytes for name in _POOLS))

    def coarse_sets(self, cells: I64) -> I64:
        """The sets that cover all of some coarse cells."""
        held = self.coarse[cells].astype(np.int64)
        return np.where(held >= 0, held, self.block_set[np.maximum(-held, 0)])

    def set_members(self, number: int) -> list[int]:
        """The slots of a set, as stored (``~slot`` for a negative count)."""
        start = int(self.set_start[number])
        return self.members[start : start + int(self.set_count[number])].tolist()  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        g, p = self.grid, self.pools
        cells, busy = p.fine.used - 1, p.record.used - 1
        return (
            f"<CellTable {g.nx} x {g.ny} cells, {p.block.used - 1} blocks, {cells} fine cells, "
            f"{busy} with edges, {self.nbytes / 1e6:.1f} MB>"
        )
