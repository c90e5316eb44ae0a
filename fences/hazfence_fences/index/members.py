"""Members: which fences cover each of many points, told fence by fence, not as a key.

The same cells as in `lookup`, read for fewer points: those whose set is new. What `lookup` adds up as keys is
here counted slot by slot: the sets of the cells, the signs of the edges overhead, the circles. A fence covers
the point when its count is 1. Where a point is too close to an edge, the edge's fence is asked by shapely's
exact predicate, all such pairs at once, and its word stands in place of the count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.raster import spread
from hazfence_fences.index.table import CellTable

__all__ = ["Covers", "locate_members"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
#: (slots int64[n], lon, lat float64[n]) -> bool[n]: whether the polygons of slots cover points, exactly.
Covers = Callable[[I64, F64, F64], NDArray[np.bool_]]


def locate_members(t: CellTable, x: F64, y: F64, covers: Covers) -> tuple[I64, I64]:
    """The slots covering finite points.

    Args:
        t: the table.
        x, y: float64[n] degrees.
        covers: asked about the pairs of a point and a polygon whose edge is too close to the point.

    Returns:
        (int64[k] points, int64[k] slots) by point, then slot.
    """
    g = t.grid
    with np.errstate(over="ignore"):
        # The operations of `lookup`, in their order: the same cells.
        u, v = np.clip((x - g.x0) * g.sx, 0.0, g.nx - 1.0), np.clip((y - g.y0) * g.sy, 0.0, g.ny - 1.0)
    held = t.coarse.take(v.astype(np.int64) * g.nx + u.astype(np.int64)).astype(np.int64)
    in_block = (held < 0).nonzero()[0]
    sets, owners = [np.where(held < 0, 0, held)], [np.arange(len(x), dtype=np.int64)]
    pairs: list[tuple[I64, I64, I64]] = []
    close = np.zeros((2, 0), np.int64)
    if len(in_block):
        number = -held.take(in_block)
        block = t.block.take(number)
        k = block["k"].astype(np.int64)
        u, v = u.take(in_block), v.take(in_block)
        cell = ((v - np.floor(v)) * block["k"]).astype(np.int64) * k
        cell += ((u - np.floor(u)) * block["k"]).astype(np.int64) + block["start"]
        fine = t.fine.take(cell).astype(np.int64)
        busy = (fine < 0).nonzero()[0]
        records, at = -fine.take(busy), in_block.take(busy)
        sets += [t.block_set.take(number), np.maximum(fine, 0), t.record_set.take(records)]
        owners += [in_block, in_block, at]
        record = t.record.take(records)
        edges, discs = record["edges"].astype(np.int64), record["discs"].astype(np.int64)
        start = record["start"].astype(np.int64)
        found, close = _edges(t, x, y, at, start, edges)
        pairs += [found, _discs(t, x, y, at, start + edges, discs)]
    pairs.append(_of_sets(t, np.concatenate(owners), np.concatenate(sets)))
    point, slot, sign = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    slots = max(int(slot.max(initial=0)), int(close[1].max(initial=0))) + 1
    pair = _counted(point * slots + slot, sign)
    if close.size:
        asked = np.unique(close[0] * slots + close[1])
        covered = covers(asked % slots, x.take(asked // slots), y.take(asked // slots))
        pair = np.union1d(np.setdiff1d(pair, asked, assume_unique=True), asked[covered])
    return pair // slots, pair % slots


def _of_sets(t: CellTable, owner: I64, number: I64) -> tuple[I64, I64, I64]:
    """What stands in the sets of some points: (point, slot, sign)."""
    some = number.nonzero()[0]
    owner, number = owner.take(some), number.take(some)
    which, at = spread(t.set_start.take(number).astype(np.int64), t.set_count.take(number).astype(np.int64))
    slot = t.members.take(at).astype(np.int64)
    return owner.take(which), np.where(slot < 0, ~slot, slot), np.where(slot < 0, -1, 1)


def _edges(t: CellTable, x: F64, y: F64, at: I64, start: I64, count: I64) -> tuple[tuple[I64, I64, I64], I64]:
    """The edges overhead of points in touched cells, and int64[2, k], points and slots of those too close."""
    which, entry = spread(start, count)
    owner, number = at.take(which), t.entries.take(entry).astype(np.int64)
    row = t.rows.take(number)
    px, py, ax, bx, ay = x.take(owner), y.take(owner), row["ax"], row["bx"], row["ay"]
    d = (bx - ax) * (py - ay)
    d -= (row["by"] - ay) * (px - ax)
    beside = (ax <= px) & (px <= bx)
    near = (beside & (np.abs(d) <= row["tau"])).nonzero()[0]
    close_to, close_row = _each(t, owner.take(near), number.take(near))
    over = (beside & (px < bx) & (d < 0)).nonzero()[0]
    owner, number = _each(t, owner.take(over), number.take(over))
    sign = t.row_sign.take(number).astype(np.int64)
    close = np.stack([close_to, t.row_slot.take(close_row).astype(np.int64)])
    return (owner, t.row_slot.take(number).astype(np.int64), sign), close


def _each(t: CellTable, owner: I64, number: I64) -> tuple[I64, I64]:
    """Points and rows, a row that stands for several equal edges replaced by all of them."""
    group = t.row_group.take(number)
    many = group.nonzero()[0]
    if not len(many):
        return owner, number
    which, place = spread(
        t.group_start.take(group.take(many)).astype(np.int64),
        t.group_count.take(group.take(many)).astype(np.int64),
    )
    alone = (group == 0).nonzero()[0]
    return (
        np.concatenate((owner.take(alone), owner.take(many).take(which))),
        np.concatenate((number.take(alone), t.group_rows.take(place).astype(np.int64))),
    )


def _discs(t: CellTable, x: F64, y: F64, at: I64, start: I64, count: I64) -> tuple[I64, I64, I64]:
    """The circles that hold points in touched cells."""
    which, entry = spread(start, count)
    owner, number = at.take(which), t.entries.take(entry)
    row = t.circles.take(number)
    v = y.take(owner) - row["lat"]
    east = (row["kx0"] + row["kx1"] * v) * (x.take(owner) - row["lon"])
    north = (row["ky0"] + row["ky1"] * v) * v
    inside = (east * east + north * north <= row["r2"]).nonzero()[0]
    return owner.take(inside), t.circle_slot.take(number.take(inside)).astype(np.int64), np.ones_like(inside)


def _counted(pair: I64, sign: I64) -> I64:
    """The pairs (point and slot in one number) whose signs add up to 1, sorted."""
    order = pair.argsort(kind="stable")
    pair, sign = pair.take(order), sign.take(order)
    if not len(pair):
        return pair
    first = np.concatenate(([True], pair[1:] != pair[:-1])).nonzero()[0]
    inside = first[np.add.reduceat(sign, first) == 1]
    return np.asarray(pair.take(inside))
