"""Which edges some places may be near: rasters of the land around edges, and the table's cells around them.

Nearly all places are near no edge, so they are asked a table of cells first, and only of the few that are
left a distance is measured. All of it is conservative: a place within the distance is never left out, some
others are let through. Three ways for three sizes: :class:`EdgeCells` names the edges near a cell,
:class:`EdgeBits` has a bit a cell for so many edges that these lists would be long, and :func:`keys_around`
marks the coarse cells of a `CellTable`, so that `FenceSet.locate` names such places on its way. Lengths are
in cells inside, in metres outside. ``hazfence.beside`` puts them together.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.raster import spread
from hazfence_fences.index.table import IN_BLOCK, CellTable
from hazfence_fences.metric import Metric

__all__ = ["Around", "EdgeBits", "EdgeCells", "keys_around"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

#: Places are looked at along an edge, no farther from one to the next, in cells; a table's cells are few.
_STRIDE, _STRIDE_OF_TABLE = 0.5, 0.03
#: A table has no fewer cells than that each way.
_FEWEST = 64
#: So many places are marked at a time.
_AT_ONCE = 1 << 20


def _half_deg(edges: F64, within_m: float) -> F64:
    """A distance in degrees of longitude and latitude, where they are longest; metres a hundredth shorter."""
    metric = Metric.at(float(edges[:, ::2].mean()), float(np.abs(edges[:, 1::2]).max()))
    return np.array([within_m / max(metric.kx0, 1e3), within_m / metric.ky0]) * 1.01


def _reach(near: F64, stride: float) -> F64:
    """How far from such places the cells lie that are near: an edge is no farther than half a stride."""
    return np.asarray(near + 0.51 * stride)


def _along(u: F64, v: F64, near: F64, stride: float = _STRIDE) -> Iterator[tuple[F64, F64, I64]]:
    """Places in all cells that edges come near to: (u, v, edge), a few at a time, cells more than once.

    Args:
        u, v: float64[n, 2], the ends of the edges, in cells.
        near: how near that is each way, in cells; `_reach` of it is at most 1.
        stride: from one place looked at to the next, at most.
    """
    far = np.maximum(np.abs(u[:, 1] - u[:, 0]), np.abs(v[:, 1] - v[:, 0]))
    count = np.ceil(far / stride).astype(np.int64) + 1
    reach = _reach(near, stride)
    # A box no wider than a cell lies in the cells of its corners; a wider one also in those of its middle.
    shifts = [[-r, r] if 2.0 * r <= 1.0 else [-r, 0.0, r] for r in reach.tolist()]
    total = count.cumsum()
    for a in range(0, int(total[-1]) if len(total) else 0, _AT_ONCE):
        first, last = total.searchsorted((a, a + _AT_ONCE), side="right")
        some = slice(first, min(last + 1, len(count)))
        edge, k = spread(np.zeros(some.stop - first, np.int64), count[some])
        here = slice(
            a - int(total[first] - count[first]),
            a + _AT_ONCE - int(total[first] - count[first]),
        )
        edge, k = edge[here] + first, k[here]
        part = k / np.maximum(count - 1, 1)[edge]
        x, y = (c[edge, 0] + part * (c[edge, 1] - c[edge, 0]) for c in (u, v))
        for east in shifts[0]:
            for north in shifts[1]:
                yield x + east, y + north, edge


_ONE = np.uint64(1)


class _Cells:
    """Cells of land, in a square table that begins anew every so many cells.

    Args:
        edges: float64[n, 4], lon0, lat0, lon1, lat1 degrees.
        within_m: how near.
        cells: each way, at most; a power of two.
        turns: how often the table begins anew across the edges, each way.

    Attributes:
        cells: each way.
    """

    def __init__(self, edges: F64, within_m: float, cells: int, turns: int) -> None:
        lon, lat = edges[:, ::2], edges[:, 1::2]
        half = _half_deg(edges, within_m)
        wide = np.array([np.ptp(lon), np.ptp(lat)])
        # Cells are not smaller than what has to be marked on both sides of an edge, so fewer may do as well.
        while turns == 1 and cells > _FEWEST and (wide / (cells // 2 - 8) < 2.5 * half).all():
            cells //= 2
        self.cells = cells
        size = np.maximum(wide / (turns * (cells - 8)), 2.0 * half)
        self._per_lon, self._per_lat = (1.0 / size).tolist()
        self._cells, self._bits = np.int32(cells - 1), np.int32(cells.bit_length() - 1)
        self._near = half / size

    def _marks(self, edges: F64) -> Iterator[tuple[I32, I64]]:
        """All cells that edges come near to, more than once: (cell, edge)."""
        lon, lat = edges[:, ::2] * self._per_lon, edges[:, 1::2] * self._per_lat
        for x, y, edge in _along(lon, lat, self._near):
            yield self._number(x, y), edge

    def _number(self, x: F64, y: F64) -> I32:
        """The cells of places, in cells; x and y are not used after."""
        column, row = x.astype(np.int32), y.astype(np.int32)
        column &= self._cells
        row &= self._cells
        row <<= self._bits
        row |= column
        return row

    def _of(self, lon: F64, lat: F64) -> I32:
        """The cells of places, in degrees."""
        return self._number(lon * self._per_lon, lat * self._per_lat)

    @staticmethod
    def _are(marked: NDArray[np.uint8], cell: I32) -> NDArray[np.bool_]:
        """Which cells are marked, a bit each."""
        byte = marked.take(cell >> 3)
        byte >>= (cell & 7).astype(np.uint8)
        byte &= 1
        return byte.view(np.bool_)


class EdgeBits(_Cells):
    """A bit a cell: whether any edge is near.

    Args:
        edges, within_m, cells, turns: float64[n, 4] degrees; metres; see above.

    Example:
        >>> bits = EdgeBits(np.array([[121.5, 29.9, 121.6, 29.9]]), 15.0, 512)
        >>> bits.marked(np.array([121.55, 121.55]), np.array([29.9001, 29.95])).tolist()
        [True, False]
    """

    def __init__(self, edges: F64, within_m: float, cells: int, *, turns: int = 1) -> None:
        super().__init__(edges, within_m, cells, turns)
        marked = np.zeros(self.cells * self.cells, np.bool_)
        for cell, _ in self._marks(edges):
            marked[cell] = True
        self._marked = np.packbits(marked, bitorder="little")

    def marked(self, lon: F64, lat: F64) -> NDArray[np.bool_]:
        """Which places (degrees, finite) may be near an edge: bool[n]."""
        return self._are(self._marked, self._of(lon, lat))


class EdgeCells(_Cells):
    """The edges near each cell.

    Args:
        edges, within_m, cells: float64[n, 4] degrees; metres; see above.

    Example:
        >>> cells = EdgeCells(np.array([[121.5, 29.9, 121.6, 29.9]]), 15.0, 512)
        >>> rows, edges = cells.near(np.array([0, 1]), np.array([121.55, 121.55]), np.array([29.95, 29.9001]))
        >>> rows.tolist(), edges.tolist()
        ([1], [0])
    """

    def __init__(self, edges: F64, within_m: float, cells: int) -> None:
        super().__init__(edges, within_m, cells, 1)
        met = [np.zeros(0, np.int64)]
        for cell, edge in self._marks(edges):
            key = cell.astype(np.int64) << 32 | edge
            # Along an edge most places are in the cell of the one before.
            met.append(key.compress(np.append(True, key[1:] != key[:-1])))
        key = _distinct(np.concatenate(met))
        self._edge = (key & 0xFFFF_FFFF).astype(np.int32)
        cell = (key >> 32).astype(np.int32)
        first = np.append(0, (cell[1:] != cell[:-1]).nonzero()[0] + 1)[: len(cell)]
        #: Where each cell's edges begin, cell after cell that has any; one more, where the last ones end.
        self._start = np.append(first, len(cell))
        cell = cell[first]
        # Which cells have any, a bit each, and how many of those come before each 64 bits: a hundredth of the
        # memory that a number a cell takes.
        marked = np.zeros(self.cells * self.cells, np.bool_)
        marked[cell] = True
        self._marked = np.packbits(marked, bitorder="little")
        self._words = self._marked.view("<u8")
        counts = np.bitwise_count(self._words)
        self._before = counts.cumsum(dtype=np.int32) - counts

    def near(self, rows: I64, lon: F64, lat: F64) -> tuple[I64, I32]:
        """Of some rows of places (degrees, finite), which edges they may be near: (rows, edges), by row."""
        cell = self._of(lon.take(rows), lat.take(rows))
        some = self._are(self._marked, cell).nonzero()[0]
        rows, cell = rows.take(some), cell.take(some)
        at = cell >> 6
        below = (_ONE << (cell & 63).astype(np.uint64)) - _ONE
        which = self._before.take(at) + np.bitwise_count(self._words.take(at) & below)
        begin = self._start.take(which)
        which += 1
        owner, entry = spread(begin, self._start.take(which) - begin)
        return rows.take(owner), self._edge.take(entry)


def _distinct(numbers: I64) -> I64:
    """The distinct ones of some numbers, not negative, ascending.

    By sixteen bits at a time: so numpy sorts millions in a fifth of the time.
    """
    for bits in range(0, int(numbers.max(initial=0)).bit_length(), 16):
        digit = (numbers >> bits).astype(np.uint16)
        numbers = numbers.take(digit.argsort(kind="stable"))
    return numbers.compress(np.append(True, numbers[1:] != numbers[:-1])[: len(numbers)])


class Around:
    """A table's cells with those around some edges among those that are looked at closely.

    Attributes:
        table: the table.
        cell_key: its `CellTable.cell_key`, but `IN_BLOCK` also where an edge is near.
    """

    __slots__ = ("cell_key", "table")

    def __init__(self, table: CellTable, cell_key: U64) -> None:
        self.table = table
        self.cell_key = cell_key


def keys_around(table: CellTable, edges: F64, within_m: float) -> Around | None:
    """What `FenceSet.locate` needs to name the places that may be near some edges.

    Args:
        table: the set's.
        edges: float64[n, 4], lon0, lat0, lon1, lat1 degrees.
        within_m: how near.

    Returns:
        None where the table's cells are so small that this would be many of them.
    """
    g = table.grid
    scale = np.array([g.sx, g.sy])
    near = _half_deg(edges, within_m) * scale
    if (_reach(near, _STRIDE_OF_TABLE) > 1.0).any():
        return None
    cell_key = table.cell_key.copy()
    ends = (edges[:, ::2] - g.x0) * g.sx, (edges[:, 1::2] - g.y0) * g.sy
    for u, v, _ in _along(*ends, near, _STRIDE_OF_TABLE):
        # As the points outside the grid, these are put into its outermost cells.
        col, row = np.clip(u, 0.0, g.nx - 1.0), np.clip(v, 0.0, g.ny - 1.0)
        cell_key[row.astype(np.int64) * g.nx + col.astype(np.int64)] = IN_BLOCK
    return Around(table, cell_key)
