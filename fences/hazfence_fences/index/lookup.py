"""Batches: the key of the set of fences covering each point.

A key is the sum of the covering fences' keys, and winding numbers are sums of signs of edges overhead, so a
point's key is its coarse cell's key + its fine cell's key + the sum of ``s = sign * key`` over the edges of
its cell overhead of it + the keys of the circles it is in. Edges of different fences need not even be told
apart.

An orientation whose sign could be wrong by rounding (|d| <= tau) settles nothing: such points, as good as on
an edge, are answered one by one by shapely's exact predicate (see `scalar`).
"""

from __future__ import annotations

from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.raster import spread
from hazfence_fences.index.table import CellTable

__all__ = ["CHUNK", "locate_keys"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

# Points handled at a time: enough that numpy's cost a call does not count, little enough for the cache.
CHUNK = 65_536


class _Scratch(local):
    """Each thread's scratch arrays, kept: fresh memory costs more than the arithmetic done in it."""

    def __init__(self) -> None:
        self._arrays: tuple[Any, ...] = (
            *(np.empty(CHUNK) for _ in range(2)),
            *(np.empty(CHUNK, np.int32) for _ in range(2)),
            np.empty(CHUNK, np.intp),
            np.empty(CHUNK, np.int32),
        )

    def get(self) -> tuple[Any, ...]:
        return self._arrays


_scratch = _Scratch()


def locate_keys(t: CellTable, x: F64, y: F64) -> tuple[U64, I64]:
    """Keys of the covering sets of finite points.

    Returns:
        (uint64[n] keys, int64 rows too close to an edge to be settled here: their keys are not valid).
    """
    with np.errstate(over="ignore"):  # places far beyond the world: infinite cells are clipped like others
        return _locate_keys(t, x, y)


def _locate_keys(t: CellTable, x: F64, y: F64) -> tuple[U64, I64]:
    n = len(x)
    out = np.empty(n, np.uint64)
    scratch = _scratch.get()
    tx, ty, ix, iy, code, held = scratch
    g = t.grid
    close: list[I64] = []
    for a in range(0, n, CHUNK):
        b = min(n, a + CHUNK)
        if b - a < CHUNK:
            tx, ty, ix, iy, code, held = (v[: b - a] for v in scratch)
        np.subtract(x[a:b], g.x0, out=tx)
        np.multiply(tx, g.sx, out=tx)
        np.clip(tx, 0.0, g.nx - 1.0, out=tx)
        np.copyto(ix, tx, casting="unsafe")
        np.subtract(y[a:b], g.y0, out=ty)
        np.multiply(ty, g.sy, out=ty)
        np.clip(ty, 0.0, g.ny - 1.0, out=ty)
        np.copyto(iy, ty, casting="unsafe")
        np.multiply(iy, g.nx, out=iy)
        np.add(iy, ix, out=iy)
        np.copyto(code, iy)
        np.take(t.coarse, code, out=held, mode="clip")
        np.copyto(code, held)
        np.take(t.set_key, code, out=out[a:b], mode="clip")  # blocks are negative: clipped to set 0, of key 0
        rows = np.flatnonzero(held < 0)
        if rows.size:
            unsettled = _fine(t, x[a:b], y[a:b], rows, -code.take(rows), tx, ty, out[a:b])
            if unsettled.size:
                close.append(unsettled + a)
    return out, np.concatenate(close) if close else np.zeros(0, np.int64)


def _fine(t: CellTable, x: F64, y: F64, rows: I64, number: I64, tx: F64, ty: F64, out: U64) -> I64:
    """Keys of rows that fall into blocks (`number`); returns the rows too close to call."""
    block = t.block.take(number)
    k = block["k"]
    u, v = tx.take(rows), ty.take(rows)
    np.subtract(u, np.floor(u), out=u)
    np.subtract(v, np.floor(v), out=v)
    np.multiply(u, k, out=u)
    np.multiply(v, k, out=v)
    cell = v.astype(np.int32)
    cell *= k
    cell += u.astype(np.int32)
    cell += block["start"]
    held = t.fine.take(cell)
    busy = np.flatnonzero(held < 0)
    add = t.set_key.take(held, mode="clip")  # records are negative: clipped to set 0
    add += block["key"]
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
    has = np.flatnonzero(edges)
    if has.size:
        close.append(has.take(_edges(t, px, py, has, start.take(has), edges.take(has), busy, add)))
    has = np.flatnonzero(discs)
    if has.size:
        _discs(t, px, py, has, (start + edges).take(has), discs.take(has), busy, add)
    out[rows] = add
    return at.take(np.unique(np.concatenate(close))) if close else np.zeros(0, np.int64)


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
    first = np.cumsum(count) - count
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
    first = np.cumsum(count) - count
    add[busy.take(has)] += np.add.reduceat(row["s"] * inside, first)
