"""Batches: the key of the set of fences covering each point.

A key is the sum of the covering fences' keys, and winding numbers are sums of signs of edges overhead, so a
point's key is its coarse cell's key + its fine cell's key + the sum of ``s = sign * key`` over the edges of
its cell overhead of it + the keys of the circles it is in. Edges of different fences need not even be told
apart.

An orientation whose sign could be wrong by rounding (|d| <= tau) settles nothing: such points, as good as on
an edge, are told fence by fence with the help of shapely's exact predicate (see `members`, `scalar`).
"""

from __future__ import annotations

from math import isfinite
from threading import local

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.raster import spread
from hazfence_fences.index.table import IN_BLOCK, CellTable, Grid

__all__ = ["BATCH", "locate_keys", "refuse_infinite"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

# Points handled at a time: enough that numpy's cost a call does not count in the second step, which few
# points reach; in the first step few enough for its scratch arrays to stay in a core's second-level cache.
BATCH = 131_072
_STEP = 16_384


class _Scratch(local):
    """Each thread's scratch arrays, kept: fresh memory costs more than the arithmetic done in it."""

    def __init__(self) -> None:
        self.work, self.code = np.empty(_STEP), np.empty(_STEP, np.intp)
        self.col, self.row = np.empty(_STEP, np.int32), np.empty(_STEP, np.int32)


_scratch = _Scratch()


def locate_keys(
    t: CellTable,
    x: F64,
    y: F64,
    cell_key: U64 | None = None,
    *,
    sound: bool = False,
    bounds: tuple[float, float, float, float] | None = None,
) -> tuple[U64, I64, I64]:
    """Keys of the covering sets of points.

    Args:
        cell_key: the table's, or with more cells that are `IN_BLOCK`.
        sound: all coordinates are known to be finite.
        bounds: west, south, east and north of all points, where known.

    Returns:
        (uint64[n] keys, int64 rows too close to an edge to be settled here: their keys are not valid, int64
        rows in cells that are `IN_BLOCK`, ascending).

    Raises:
        ValueError: a coordinate is not finite.
    """
    out = np.empty(len(x), np.uint64)
    cell_key = t.cell_key if cell_key is None else cell_key
    close, inner = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    inside = bounds is not None and _inside(t.grid, bounds)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what is far beyond the world may overflow: it is clipped
        for a in range(0, len(x), BATCH):
            part = slice(a, a + BATCH)
            rows, finite = _batch(t, cell_key, x[part], y[part], out[part], sound=sound, inside=inside)
            if not finite:
                refuse_infinite(x, y)
            if len(rows):
                close.append(_fine(t, x[part], y[part], rows, out[part]) + a)
                inner.append(rows + a)
    return out, np.concatenate(close), np.concatenate(inner)


def _inside(g: Grid, bounds: tuple[float, float, float, float]) -> bool:
    """Whether all points within some bounds fall into the grid as they are, cut to whole numbers.

    By the operations of `_batch`, none of which puts a greater number before a lesser one.
    """
    west, south, east, north = bounds
    return bool(
        (west - g.x0) * g.sx > -1.0
        and (east - g.x0) * g.sx < g.nx
        and (south - g.y0) * g.sy > -1.0
        and (north - g.y0) * g.sy < g.ny
    )


def _batch(
    t: CellTable, cell_key: U64, x: F64, y: F64, out: U64, *, sound: bool, inside: bool
) -> tuple[I64, bool]:
    """Write the keys of at most BATCH points; those in blocks are left, and whether all may be finite.

    `inside`, of sound points, is as `_inside` has it.
    """
    g, s = t.grid, _scratch
    work, code, col, row = s.work, s.code, s.col, s.row
    finite = True
    blocks = [np.zeros(0, np.int64)]
    for a in range(0, len(x), _STEP):
        part = slice(a, min(a + _STEP, len(x)))
        if part.stop - a < _STEP:
            end = part.stop - a
            work, code, col, row = work[:end], code[:end], col[:end], row[:end]
        for values, origin, scale, last, cell in (
            (x, g.x0, g.sx, g.nx - 1.0, col),
            (y, g.y0, g.sy, g.ny - 1.0, row),
        ):
            np.subtract(values[part], origin, out=work)
            np.multiply(work, scale, out=work)
            if not sound:
                least, most = work.min(), work.max()  # not a number if one is none
                if not (least >= 0.0 and most <= last):
                    finite = finite and isfinite(least) and isfinite(most)
                    np.clip(work, 0.0, last, out=work)
            elif not inside:
                np.clip(work, 0.0, last, out=work)
            np.copyto(cell, work, casting="unsafe")
        np.multiply(row, g.nx, out=row)
        np.add(row, col, out=row)
        np.copyto(code, row)
        keys = np.take(cell_key, code, out=out[part], mode="clip")
        blocks.append((keys == IN_BLOCK).nonzero()[0] + a)
    return np.concatenate(blocks), finite


def refuse_infinite(x: F64, y: F64) -> None:
    """Raise a ValueError that names the first row that is not finite; nothing if all are."""
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"row {row} is not finite: lon {x[row]}, lat {y[row]}; set such points aside first")


def _fine(t: CellTable, x: F64, y: F64, rows: I64, out: U64) -> I64:
    """Keys of rows that fall into blocks; returns the rows too close to call."""
    g = t.grid
    u, v = x.take(rows), y.take(rows)
    # The operations of the first step again, in their order: the same cell.
    for w, origin, scale, last in ((u, g.x0, g.sx, g.nx - 1.0), (v, g.y0, g.sy, g.ny - 1.0)):
        np.subtract(w, origin, out=w)
        np.multiply(w, scale, out=w)
        np.clip(w, 0.0, last, out=w)
    col, row = np.floor(u), np.floor(v)
    u -= col
    v -= row
    row *= g.nx  # whole numbers, far below 2**53
    row += col
    coarse = t.coarse.take(row.astype(np.intp))
    # Cells that are looked at for another reason, or whose key happens to be `IN_BLOCK`, are no blocks: they
    # are looked up in block number 0, which is empty, and their keys put right after.
    whole = (coarse > 0).nonzero()[0]
    block = t.block.take(-np.minimum(coarse, 0))
    k = block["k"]
    u *= k
    v *= k
    cell = v.astype(np.int32)
    cell *= k
    cell += u.astype(np.int32)
    cell += block["start"]
    held = t.fine.take(cell)
    busy = (held < 0).nonzero()[0]
    add = t.set_key.take(held, mode="clip")  # records are negative: clipped to set 0
    add += block["key"]
    if whole.size:
        add[whole] = t.set_key.take(coarse.take(whole))
    if busy.size == 0:
        out[rows] = add
        return busy
    at = rows.take(busy)
    record = t.record.take(-held.take(busy))
    add[busy] += record["key"]
    px, py = x.take(at), y.take(at)
    edges, discs = record["edges"].astype(np.int64), record["discs"].astype(np.int64)
    start = record["start"].astype(np.int64)
    close: list[I64] = []
    has = edges.nonzero()[0]
    if has.size:
        close.append(has.take(_edges(t, px, py, has, start.take(has), edges.take(has), busy, add)))
    has = discs.nonzero()[0]
    if has.size:
        _discs(t, px, py, has, (start + edges).take(has), discs.take(has), busy, add)
    out[rows] = add
    found = [some for some in close if len(some)]
    return at.take(np.unique(np.concatenate(found))) if found else np.zeros(0, np.int64)


def _edges(t: CellTable, px: F64, py: F64, has: I64, start: I64, count: I64, busy: I64, add: U64) -> I64:
    """Add the edges overhead; returns which of `has` are too close to an edge."""
    owner, entry = spread(start, count)
    row = t.rows.take(t.entries.take(entry))
    who = has.take(owner)
    px, py = px.take(who), py.take(who)
    ax, bx, ay = row["ax"], row["bx"], row["ay"]
    over = ax <= px
    d = (bx - ax) * (py - ay)
    d -= (row["by"] - ay) * (px - ax)
    close = np.abs(d) <= row["tau"]
    close &= over
    close &= px <= bx
    over &= px < bx
    over &= d < 0
    first = count.cumsum() - count
    add[busy.take(has)] += np.add.reduceat(row["s"] * over, first)
    return owner[close] if close.any() else np.zeros(0, np.int64)


def _discs(t: CellTable, px: F64, py: F64, has: I64, start: I64, count: I64, busy: I64, add: U64) -> None:
    """Add the circles that hold the point: the operations of `Metric.distance2_m2`, in its order."""
    owner, entry = spread(start, count)
    row = t.circles.take(t.entries.take(entry))
    who = has.take(owner)
    v = py.take(who) - row["lat"]
    x = (row["kx0"] + row["kx1"] * v) * (px.take(who) - row["lon"])
    y = (row["ky0"] + row["ky1"] * v) * v
    inside = x * x + y * y <= row["r2"]
    first = count.cumsum() - count
    add[busy.take(has)] += np.add.reduceat(row["s"] * inside, first)
