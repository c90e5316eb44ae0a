"""Which cells of a grid an edge touches, what the winding number is elsewhere, and what a cell must remember.

The same routine serves the coarse grid (one frame, a group is a fence) and the fine blocks (a frame each, a
group is a fence in a block). Coordinates are in cells of the frame: cell (c, r) is [c, c+1] x [r, r+1].

A cell that no edge of a fence touches is wholly inside or outside. A touched cell remembers, for each fence,
the edges that touch it (*near* edges, whole, in their original coordinates) and a *base*: the winding number
of any point p of the cell is base + the signs of the near edges overhead of p. The edges that do not touch
the cell (*far*) count through the base alone. Is their sum overhead really the same all over the cell? It
changes only at the longitude of a vertex above the cell where a far edge meets a near one (where far meets
far, one takes over from the other). For each such vertex the cell remembers a *stand-in*, a horizontal edge
from the vertex out to the east, with the sign that makes up for it. So nothing is ever clipped or rounded:
all remembered coordinates are original ones.

Cells are taken a hair too large (`TOUCH`), so that the rounding with which a point is put into a cell cannot
matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HAIR", "TOUCH", "Frames", "Raster", "disc_cells", "distinct", "rasterise", "spread"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# In cells. Points are put into cells with errors below 1e-9; stand-ins are made for vertices within HAIR of
# the cell's columns, edges are near within TOUCH: each above the last, so no vertex of a cell can miss one of
# its edges.
HAIR = 1e-7
TOUCH = 2e-7


def spread(first: I64, count: I64) -> tuple[I64, I64]:
    """For each i the numbers first[i], first[i] + 1, ... (count[i] of them): (i repeated, the numbers)."""
    count = np.maximum(count, 0)
    ends = count.cumsum()
    numbers = np.arange(ends[-1] if len(ends) else 0, dtype=np.int64)
    numbers += (first - ends + count).repeat(count)
    return np.arange(len(count), dtype=np.int64).repeat(count), numbers


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], I64]:
    """The distinct values, ascending, and which of them each value is: `np.unique`, but faster here."""
    order = np.argsort(values)
    ordered = values[order]
    new = np.ones(len(values), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    back = np.empty(len(values), dtype=np.int64)
    back[order] = np.cumsum(new) - 1
    return ordered[new], back


@dataclass(slots=True)
class Frames:
    """Edges in frame coordinates, in groups (one fence in one frame).

    Attributes:
        group: int64[e], the group of each edge.
        ua, va, ub, vb: float64[e], its ends in cells, ua <= ub.
        sign: int64[e].
        left, right: int64[e], the vertices of its ends, -1 for none.
        cols, rows: int64[g], the frame's size in cells.
        base: int64[g], winding number that edges outside the group's list add everywhere in the frame.
        open_rim: whether the outermost cells reach to infinity (the coarse grid's do).
    """

    group: I64
    ua: F64
    va: F64
    ub: F64
    vb: F64
    sign: I64
    left: I64
    right: I64
    cols: I64
    rows: I64
    base: I64
    open_rim: bool = False


@dataclass(slots=True)
class Raster:
    """What `rasterise` found.

    Attributes:
        near_edge, near_cell: int64[m], pairs of an edge and (the index of) a touched cell, by cell.
        cell_group, cell_col, cell_row, cell_base: int64[t], the touched cells, by group, column, row.
        stand_cell, stand_vertex, stand_sign: int64[q], the stand-ins the cells need; the sign may be +-2.
        run_group, run_col, run_first, run_end: int64[k], runs of untouched cells inside: first <= row < end.
    """

    near_edge: I64
    near_cell: I64
    cell_group: I64
    cell_col: I64
    cell_row: I64
    cell_base: I64
    stand_cell: I64
    stand_vertex: I64
    stand_sign: I64
    run_group: I64
    run_col: I64
    run_first: I64
    run_end: I64


def rasterise(f: Frames) -> Raster:
    """Find touched cells with their bases and stand-ins, and the runs of cells inside."""
    widest = int(f.cols.max(initial=1))
    tallest = int(f.rows.max(initial=1)) + 1
    cols = f.cols[f.group]
    if f.open_rim:
        c0 = np.clip(np.floor(f.ua - TOUCH), 0, cols - 1).astype(np.int64)
        c1 = np.clip(np.floor(f.ub + TOUCH), 0, cols - 1).astype(np.int64)
    else:
        c0 = np.maximum(np.floor(f.ua - TOUCH), 0).astype(np.int64)
        c1 = np.minimum(np.floor(f.ub + TOUCH), cols - 1).astype(np.int64)
    edge, col = spread(c0, c1 - c0 + 1)
    begin, end = _limits(f, col, f.cols[f.group[edge]])
    # The piece of each edge over each of its columns, then the rows that piece passes.
    ua, va, ub, vb, rows = f.ua[edge], f.va[edge], f.ub[edge], f.vb[edge], f.rows[f.group[edge]]
    wide = ub - ua
    with np.errstate(divide="ignore", invalid="ignore"):
        t0 = np.where(wide > 0, np.clip((begin - TOUCH - ua) / wide, 0, 1), 0.0)
        t1 = np.where(wide > 0, np.clip((end + TOUCH - ua) / wide, 0, 1), 1.0)
        middle = va + (col + 0.5 - ua) / wide * (vb - va)
    v0, v1 = va + t0 * (vb - va), va + t1 * (vb - va)
    r0, r1 = np.floor(np.minimum(v0, v1) - TOUCH), np.floor(np.maximum(v0, v1) + TOUCH)
    if f.open_rim:
        r0, r1 = np.minimum(r0, rows - 1), np.maximum(r1, 0)
    r0, r1 = np.maximum(r0, 0).astype(np.int64), np.minimum(r1, rows - 1).astype(np.int64)
    # An edge overhead of a column's middle line adds its sign to the rows whose middle is below it: rows <
    # drop.
    overhead = (ua <= col + 0.5) & (col + 0.5 < ub)
    drop = np.zeros(len(edge), dtype=np.int64)
    drop[overhead] = np.clip(np.ceil(middle[overhead] - 0.5), 0, rows[overhead]).astype(np.int64)
    column = f.group[edge] * widest + col  # a column of a group; the edges' columns with their drops in order
    cross = np.flatnonzero(overhead)
    cross_key = column[cross] * tallest + drop[cross]
    order = np.argsort(cross_key)
    cross_key = cross_key[order]
    total = np.concatenate([[0], np.cumsum(f.sign[edge[cross[order]]])])

    def winding(column: I64, row: I64) -> I64:
        """Winding number at the middles of cells, counting the edges of the list only."""
        below = np.searchsorted(cross_key, column * tallest + row, side="right")
        end = np.searchsorted(cross_key, (column + 1) * tallest, side="left")
        return np.asarray(total[end] - total[below])

    piece, row = spread(r0, r1 - r0 + 1)
    key = column[piece] * tallest + row
    order = np.argsort(key)
    piece, row, key = piece[order], row[order], key[order]
    new = np.concatenate([[True], key[1:] != key[:-1]]) if len(key) else np.zeros(0, bool)
    near_cell, cell_key = np.cumsum(new) - 1, key[new]
    near_edge = edge[piece]
    cell_column, cell_row = cell_key // tallest, cell_key % tallest
    cell_group, cell_col = cell_column // widest, cell_column % widest
    near = overhead[piece] & (drop[piece] > row)
    cell_base = f.base[cell_group] + winding(cell_column, cell_row)
    cell_base -= np.bincount(near_cell, near * f.sign[near_edge], len(cell_key)).astype(np.int64)
    stand_cell, stand_vertex, stand_sign, west = _stand_ins(
        f, near_edge, near_cell, cell_group, cell_col, cell_row
    )
    # Stand-ins that begin west of the cell's middle are overhead of it: the base is what is left.
    cell_base -= np.bincount(stand_cell, west * stand_sign, len(cell_key)).astype(np.int64)
    runs = _runs(f, cell_column, cell_row, widest, column[cross], winding)
    stand = (stand_cell, stand_vertex, stand_sign)
    return Raster(near_edge, near_cell, cell_group, cell_col, cell_row, cell_base, *stand, *runs)


def _limits(f: Frames, at: I64, size: I64) -> tuple[F64, F64]:
    """Where columns (or rows) begin and end, in cells."""
    first, last = at.astype(np.float64), at + 1.0
    if f.open_rim:
        first[at == 0] = -np.inf
        last[at == size - 1] = np.inf
    return np.asarray(first), np.asarray(last)


def _stand_ins(
    f: Frames, near_edge: I64, near_cell: I64, cell_group: I64, cell_col: I64, cell_row: I64
) -> tuple[I64, I64, I64, NDArray[np.bool_]]:
    """Vertices above a cell, within its columns, where near edges end and no other near edge takes over.

    Returns:
        (cell, vertex, sign, whether the vertex is west of the cell's middle).
    """
    cells, vertices, signs, wests = [], [], [], []
    # Along its ring an edge starts with +1 and ends with -1; a vertical one (sign 0) is stored from start to
    # end.
    turn = np.where(f.sign == 0, -1, f.sign)
    first, last = _limits(f, cell_col, f.cols[cell_group])
    _, top = _limits(f, cell_row, f.rows[cell_group])
    first, last, top = first - HAIR, last + HAIR, top + HAIR
    for u, v, vertex, weight in ((f.ua, f.va, f.left, -1), (f.ub, f.vb, f.right, 1)):
        at, height = u[near_edge], v[near_edge]
        over = (at >= first[near_cell]) & (at <= last[near_cell]) & (height > top[near_cell])
        edge, cell = near_edge[over], near_cell[over]
        cells.append(cell)
        vertices.append(vertex[edge])
        signs.append(weight * turn[edge])
        wests.append(u[edge] <= cell_col[cell] + 0.5)
    cell, vertex, sign, west = (np.concatenate(v) for v in (cells, vertices, signs, wests))
    if not len(cell):
        return cell, vertex, sign, west
    order = np.lexsort((vertex, cell))
    cell, vertex, sign, west = cell[order], vertex[order], sign[order], west[order]
    heads = np.flatnonzero(np.concatenate([[True], (cell[1:] != cell[:-1]) | (vertex[1:] != vertex[:-1])]))
    sign = np.add.reduceat(sign, heads)
    heads, sign = heads[sign != 0], sign[sign != 0]
    return cell[heads], vertex[heads], sign, west[heads]


def _runs(
    f: Frames, column: I64, row: I64, widest: int, crossed: I64, winding: Callable[[I64, I64], I64]
) -> tuple[I64, I64, I64, I64]:
    """Runs of untouched cells with winding number 1, column by column."""
    height = f.rows[column // widest]
    first_in = np.concatenate([[True], column[1:] != column[:-1]]) if len(column) else np.zeros(0, bool)
    last_in = np.concatenate([column[1:] != column[:-1], [True]]) if len(column) else np.zeros(0, bool)
    start = np.where(first_in, 0, np.concatenate([[0], row[:-1] + 1])[: len(row)])
    # Columns without a touched cell: inside where the frame itself is, or under an edge above the frame.
    group = np.flatnonzero(f.base != 0)
    owner, col = spread(np.zeros(len(group), np.int64), f.cols[group])
    bare = np.setdiff1d(np.concatenate([group[owner] * widest + col, crossed]), column[first_in])
    columns = np.concatenate([column, column[last_in], bare])
    firsts = np.concatenate([start, row[last_in] + 1, np.zeros(len(bare), np.int64)])
    ends = np.concatenate([row, height[last_in], f.rows[bare // widest]])
    some = firsts < ends
    columns, firsts, ends = columns[some], firsts[some], ends[some]
    inside = f.base[columns // widest] + winding(columns, firsts)
    if not ((inside == 0) | (inside == 1)).all():
        raise AssertionError("winding number other than 0 or 1: a fence's geometry is not valid")
    held = inside == 1
    columns = columns[held]
    return columns // widest, columns % widest, firsts[held], ends[held]


def disc_cells(
    circle: NDArray[np.void], cu: F64, wide: F64, v0: F64, tall: F64, first: I64, end: I64
) -> tuple[I64, I64, I64, I64, I64, I64]:
    """Which cells of some frames circles pass through, and which lie wholly inside.

    Args:
        circle: CIRCLE[p], one per pair of a circle and a frame.
        cu: float64[p], the circle's centre in cells from the frame's west.
        wide, tall: float64[p], a cell's width and height in degrees.
        v0: float64[p], the frame's south relative to the centre, degrees of latitude.
        first, end: int64[p, 2], the columns and rows to look at: first <= column < end.

    Returns:
        (pair, column, row) of the cells passed through, then of the cells inside.
    """
    pair, row = spread(first[:, 1], end[:, 1] - first[:, 1])
    c = circle[pair]
    # The row's lower and upper rim, degrees from the centre, a hair outside.
    low, high = v0[pair] + (row - TOUCH) * tall[pair], v0[pair] + (row + 1 + TOUCH) * tall[pair]
    kx0, kx1 = c["kx0"] + c["kx1"] * low, c["kx0"] + c["kx1"] * high
    ky0, ky1 = c["ky0"] + c["ky1"] * low, c["ky0"] + c["ky1"] * high
    # Outer reach: no point of the row further east or west is in the circle (shortest degrees, smallest
    # difference).
    near = np.maximum(np.maximum(low, -high), 0.0)
    with np.errstate(invalid="ignore"):
        outer = np.sqrt(c["r2"] - (np.minimum(ky0, ky1) * near) ** 2) / np.minimum(kx0, kx1)
        # Inner reach: squared distance is convex, so a cell with its corners inside is inside.
        inner0 = np.sqrt(c["r2"] - (ky0 * low) ** 2) / kx0
        inner1 = np.sqrt(c["r2"] - (ky1 * high) ** 2) / kx1
    outer = np.where(np.isnan(outer), -1e9, outer / wide[pair] + TOUCH)
    inner = np.minimum(inner0, inner1)
    inner = np.where(np.isnan(inner), -1e9, inner / wide[pair] - TOUCH)
    middle, left, right = cu[pair], first[pair, 0], end[pair, 0]
    a = np.clip(np.ceil(middle - outer - 1), left, right).astype(np.int64)
    b = np.clip(np.floor(middle + outer) + 1, a, right).astype(np.int64)
    d = np.clip(np.ceil(middle - inner), a, b).astype(np.int64)
    e = np.clip(np.floor(middle + inner), d, b).astype(np.int64)
    owner, column = spread(np.concatenate([a, e]), np.concatenate([d - a, b - e]))
    owner %= len(a) if len(a) else 1
    held, inside = spread(d, e - d)
    return pair[owner], column, row[owner], pair[held], inside, row[held]
