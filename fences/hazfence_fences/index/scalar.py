"""One point: the same cells, read with plain Python numbers, which for a single fix beats any array.

Also the last word on points too close to an edge for a batch: here the fence itself is asked (shapely's exact
covers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.table import CellTable
from hazfence_fences.model import Fence

__all__ = ["ScalarReader"]

_REMEMBERED = 1 << 17  # sets kept as tuples: enough for whole cells, and no growth with the traffic


class ScalarReader:
    """Reads one table point by point.

    Args:
        table: the table.
        fence_of: the fence of a slot.
        place: int32, index of a slot.
    """

    def __init__(self, table: CellTable, fence_of: Callable[[int], Fence], place: NDArray[np.int32]) -> None:
        g = table.grid
        self._table = table
        self._fence_of = fence_of
        self._x0, self._y0, self._sx, self._sy, self._nx = g.x0, g.y0, g.sx, g.sy, g.nx
        self._max_x, self._max_y = g.nx - 1.0, g.ny - 1.0
        # memoryviews index three times faster than arrays, and give plain Python numbers
        self._coarse, self._block_set = table.coarse.data, table.block_set.data
        self._block = table.block.view("i4").reshape(-1).data
        self._fine, self._entries = table.fine.data, table.entries.data
        self._record_set = table.record_set.data
        self._record = table.record.view("i4").reshape(-1).data
        self._counts = table.record.view("u2").reshape(-1).data
        self._rows = table.rows.view("f8").reshape(-1).data
        self._row_sign, self._row_slot = table.row_sign.data, table.row_slot.data
        self._row_group = table.row_group.data
        self._circles = table.circles.view("f8").reshape(-1).data
        self._circle_slot = table.circle_slot.data
        self._set_start, self._set_count = table.set_start.data, table.set_count.data
        self._set_slots = table.members.data
        self._group_start, self._group_count = table.group_start.data, table.group_count.data
        self._group_rows = table.group_rows.data
        # Where no fence was ever changed, slots are indexes.
        self._place = None if np.array_equal(place, np.arange(len(place))) else place.data
        self._sets: dict[int, tuple[int, ...]] = {0: ()}
        self._known: dict[tuple[int, int], tuple[int, ...]] = {}

    def indexes(self, lon: float, lat: float) -> tuple[int, ...]:
        """Indexes of the fences covering a finite point, ascending."""
        tx = (lon - self._x0) * self._sx
        ty = (lat - self._y0) * self._sy
        if not 0.0 <= tx <= self._max_x:
            tx = 0.0 if tx < 0.0 else self._max_x
        if not 0.0 <= ty <= self._max_y:
            ty = 0.0 if ty < 0.0 else self._max_y
        ix, iy = int(tx), int(ty)
        number, held = self._coarse[iy * self._nx + ix], 0
        if number < 0:
            at, number = -4 * number, self._block_set[-number]
            k = self._block[at + 3]
            held = self._fine[self._block[at + 2] + int((ty - iy) * k) * k + int((tx - ix) * k)]
            if held < 0:
                return self._sorted(self._set(number) + self._settle(-held, lon, lat))
        known = self._known.get((number, held))
        if known is None:
            known = self._sorted(self._set(number) + self._set(held))
            if len(self._known) < _REMEMBERED:
                self._known[number, held] = known
        return known

    def _sorted(self, slots: Iterable[int]) -> tuple[int, ...]:
        place = self._place
        return tuple(sorted(slots if place is None else [place[slot] for slot in slots]))

    def _set(self, number: int) -> tuple[int, ...]:
        """The slots of a set, as stored."""
        found = self._sets.get(number)
        if found is None:
            start = self._set_start[number]
            found = tuple(self._set_slots[start : start + self._set_count[number]].tolist())
            if len(self._sets) < _REMEMBERED:
                self._sets[number] = found
        return found

    def _members(self, row: int) -> list[int]:
        """The rows a row stands for."""
        group = self._row_group[row]
        start = self._group_start[group]
        return self._group_rows[start : start + self._group_count[group]].tolist()

    def _settle(self, record: int, x: float, y: float) -> tuple[int, ...]:
        """The fences of a touched cell that cover the point: winding number 1."""
        inside = self._set(self._record_set[record])
        start = self._record[4 * record + 2]
        discs_at = start + self._counts[8 * record + 6]
        end = discs_at + self._counts[8 * record + 7]
        entries, rows = self._entries, self._rows
        over: list[tuple[int, bool]] = []
        for n in range(start, discs_at):
            row = entries[n]
            at = 6 * row
            ax = rows[at]
            if ax <= x:
                bx = rows[at + 2]
                if x <= bx:
                    ay, tau = rows[at + 1], rows[at + 4]
                    d = (bx - ax) * (y - ay) - (rows[at + 3] - ay) * (x - ax)
                    close = -tau <= d <= tau
                    if close or (d < 0 and x < bx):
                        over.append((row, close))
        if over or (inside and min(inside) < 0) or len(set(inside)) < len(inside):
            inside = self._wound(inside, over, x, y)
        if discs_at == end:
            return inside
        held = []
        circles = self._circles
        for n in range(discs_at, end):
            row = entries[n]
            at = 8 * row
            v = y - circles[at + 1]
            north = (circles[at + 4] + circles[at + 5] * v) * v
            r2 = circles[at + 6]
            if north * north <= r2:  # what is added to it is not negative
                east = (circles[at + 2] + circles[at + 3] * v) * (x - circles[at])
                if east * east + north * north <= r2:
                    held.append(self._circle_slot[row])
        return (*inside, *held) if held else inside

    def _wound(
        self, base: tuple[int, ...], over: Iterable[tuple[int, bool]], x: float, y: float
    ) -> tuple[int, ...]:
        """The fences of winding number 1, given what is counted in any case and the edges overhead."""
        winding: dict[int, int] = {}
        for slot in base:
            if slot >= 0:
                winding[slot] = winding.get(slot, 0) + 1
            else:
                winding[~slot] = winding.get(~slot, 0) - 1
        for row, close in over:
            for own in self._members(row) if self._row_group[row] else (row,):
                slot = self._row_slot[own]
                if close:
                    winding[slot] = 1 << 20 if self._fence_of(slot).covers(x, y) else -(1 << 20)
                else:
                    winding[slot] = winding.get(slot, 0) + self._row_sign[own]
        return tuple([slot for slot, count in winding.items() if count == 1 or count > 1 << 19])
