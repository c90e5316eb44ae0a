"""Compiling fences into a cell table: coarse pass, then the blocks, a batch of them at a time.

`store` is how blocks get into the pools; `patch` shares its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.coarse import Coarse, StandIns, choose_grid, coarse_pass, is_rim
from hazfence_fences.index.fine import Fine, fine_pass
from hazfence_fences.index.merge import Merged, merge
from hazfence_fences.index.raster import distinct, spread
from hazfence_fences.index.shapes import PSEUDO_SPAN_DEG, ROW, Shapes, shapes_of
from hazfence_fences.index.table import BLOCK, RECORD, CellTable, Grid, Pools
from hazfence_fences.model import Fence

__all__ = ["append_shapes", "build_table", "choose_k", "group_sets", "put_blocks", "put_records"]

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

# Sizes found by measuring on the benchmark's sets (`hazfence bench match`).
_K_MAX = 1024
_ENTRIES_PER_CELL = 0.25
_FINE_BUDGET = 4_000_000  # fine cells that hold an edge: bounds memory where fences lie thick
_BATCH = 400_000  # entries and fine cells of one batch, so that memory stays bounded


def group_sets(cell: I64, slot: I64, count: I64, key_of: U64) -> tuple[I64, U64, I64, I64, I32]:
    """Put (cell, slot, count) together by cell: (cells, keys, start and length in the member list, members).

    A count of n puts the slot n times into the list, a negative one ``~slot``.
    """
    order = np.argsort(cell)
    cell, slot, count = cell[order], slot[order], count[order]
    if (np.abs(count) > 1).any():
        owner, _ = spread(np.zeros(len(cell), np.int64), np.abs(count))
        cell, slot, count = cell[owner], slot[owner], np.sign(count)[owner]
    if not len(cell):
        none = np.zeros(0, np.int64)
        return none, none.astype(np.uint64), none, none, none.astype(np.int32)
    first = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
    key = np.where(count > 0, key_of[slot], -key_of[slot])
    length = np.diff(np.append(first, len(cell)))
    members = np.where(count > 0, slot, ~slot).astype(np.int32)
    return cell[first], np.add.reduceat(key, first), first, length, members


def intern(pools: Pools, key: U64, first: I64, length: I64, members: I32) -> I64:
    """Add sets to the pools, equal ones (equal keys) once: their numbers."""
    unique, at, back = np.unique(key, return_index=True, return_inverse=True)
    owner, place = spread(first[at], length[at])
    del owner
    start = pools.members.append(members[place])
    ends = np.cumsum(length[at])
    base = pools.set_key.append(unique)
    pools.set_start.append(start + ends - length[at])
    pools.set_count.append(length[at])
    return base + back.reshape(-1)


def store(pools: Pools, fine: Fine, k: I64, whole: I64, key_of: U64) -> I64:
    """Append blocks to the pools.

    Args:
        pools: where to.
        fine: the fine pass over the blocks.
        k: int64[b], their sides.
        whole: int64[b], the sets that cover all of them.
        key_of: uint64, key by slot.

    Returns:
        int64[b], the numbers of the blocks.
    """
    cell, key, first, length, members = group_sets(fine.held_cell, fine.held_slot, fine.held_count, key_of)
    number = intern(pools, key, first, length, members) if len(cell) else np.zeros(0, np.int64)
    cells = np.zeros(fine.size, np.int64)
    cells[cell] = number
    return put_blocks(pools, put_records(pools, fine, cells), k, whole)


def put_blocks(pools: Pools, cells: I64, k: I64, whole: I64) -> I64:
    """Append blocks with their fine cells: their numbers."""
    start = pools.fine.append(cells.astype(np.int32))
    block = np.zeros(len(k), BLOCK)
    block["key"], block["k"] = pools.set_key.array[whole], k
    block["start"] = start + np.concatenate([[0], np.cumsum(k * k)[:-1]])
    pools.block_set.append(whole.astype(np.int32))
    return pools.block.append(block) + np.arange(len(k))


def put_records(pools: Pools, fine: Fine, cells: I64) -> I64:
    """Turn cells with edges or circles into records: the cells with ``-record`` in their place."""
    mark = np.zeros(fine.size, bool)
    mark[fine.edge_cell] = True
    mark[fine.disc_cell] = True
    busy = np.flatnonzero(mark)
    if not len(busy):
        return cells
    rank = np.cumsum(mark) - 1
    edge_at, disc_at = rank[fine.edge_cell], rank[fine.disc_cell]
    edges, discs = np.bincount(edge_at, minlength=len(busy)), np.bincount(disc_at, minlength=len(busy))
    if max(edges.max(), discs.max()) > np.iinfo(np.uint16).max:
        raise OverflowError("more than 65535 edges or circles pass through one fine cell of the index")
    entry = np.concatenate([fine.edge_row, fine.disc])
    order = np.argsort(np.concatenate([edge_at * 2, disc_at * 2 + 1]))  # by cell, edges before circles
    start = pools.entries.append(entry[order].astype(np.int32))
    record = np.zeros(len(busy), RECORD)
    record["key"] = pools.set_key.array[cells[busy]]
    record["start"] = start + np.concatenate([[0], np.cumsum(edges + discs)[:-1]])
    record["edges"], record["discs"] = edges, discs
    number = pools.record.append(record)
    pools.record_set.append(cells[busy].astype(np.int32))
    cells[busy] = -(number + np.arange(len(busy)))
    return cells


def choose_k(grid: Grid, shapes: Shapes, coarse: Coarse) -> I64:
    """How finely to cut each block: by the length of the edges through it, within the memory budget."""
    n = len(coarse.cell)
    rows, circles = shapes.rows, shapes.circles
    # An edge's length in its block, in cells, is its length in all but at most what a cell holds.
    length = np.abs(rows["bx"] - rows["ax"]) * grid.sx + np.abs(rows["by"] - rows["ay"]) * grid.sy
    length = np.minimum(np.append(length, 0.0), 1.3)  # stand-ins have none
    block = coarse.group_block[coarse.entry_group]
    long = np.zeros(n) + np.bincount(block, length[np.minimum(coarse.entry_row, len(rows))], n)
    girth = np.minimum(np.sqrt(circles["r2"]) / circles["ky0"] * grid.sy * 6, 1.3)
    long += np.bincount(coarse.disc_block, girth[coarse.disc], n)
    share = 1.0
    while True:
        wanted = np.maximum(long / _ENTRIES_PER_CELL * share, 1.0)
        k = np.exp2(np.clip(np.round(np.log2(wanted)), 1, np.log2(_K_MAX)))
        k[is_rim(grid, coarse.cell)] = 1
        busy = float(np.minimum(k * long, k * k).sum())
        if busy <= _FINE_BUDGET and float((k * k).sum()) <= 4 * _FINE_BUDGET:
            return k.astype(np.int64)
        share /= 1.3


def append_shapes(
    pools: Pools, shapes: Shapes, stand_ins: StandIns, key_of: U64, merged: Merged | None = None
) -> None:
    """Append edges, then stand-ins, then the heads' own shares, to the pools; and circles to theirs."""
    vertex = np.concatenate([*stand_ins.vertex, np.zeros(0, np.int64)])
    sign = np.concatenate([*stand_ins.sign, np.zeros(0, np.int64)])
    slot = shapes.vertex_slot[vertex]
    edges, heads = len(shapes.rows), np.zeros(0, np.int64) if merged is None else merged.heads
    own = edges + len(vertex)  # where the heads' own shares begin
    rows = np.zeros(own + len(heads), ROW)
    rows[:edges], rows[own:] = shapes.rows, shapes.rows[heads]
    ends = rows[edges:own]
    ends["ax"], ends["bx"] = shapes.vx[vertex], shapes.vx[vertex] + PSEUDO_SPAN_DEG
    ends["ay"] = ends["by"] = shapes.vy[vertex]
    ends["s"] = np.where(sign > 0, key_of[slot], -key_of[slot])
    group = np.zeros(len(rows), np.int32)
    if merged is not None and len(heads):
        rows["s"][heads] += np.add.reduceat(shapes.rows["s"][merged.others], merged.start)
        listed = np.insert(merged.others, merged.start, own + np.arange(len(heads)))
        start = merged.start + np.arange(len(heads)) + pools.group_rows.append(listed)
        pools.group_count.append(merged.count + 1)
        group[heads] = pools.group_start.append(start) + np.arange(len(heads))
    pools.rows.append(rows)
    pools.row_sign.append(np.concatenate([shapes.sign, sign.astype(np.int8), shapes.sign[heads]]))
    pools.row_slot.append(np.concatenate([shapes.slot, slot, shapes.slot[heads]]))
    pools.row_group.append(group)
    pools.circles.append(shapes.circles)
    pools.circle_slot.append(shapes.circle_slot)


def build_table(fences: Sequence[Fence], slots: I32, key_of: U64) -> CellTable:
    """Compile fences into a table.

    Args:
        fences: the fences; neighbours in space should be neighbours here, for the cache's sake.
        slots: int32, the slot of each.
        key_of: uint64, key by slot.
    """
    grid = choose_grid(fences)
    shapes = shapes_of(fences, slots, grid.cell_w, grid.cell_h)
    stand_ins = StandIns(shapes)
    coarse = coarse_pass(grid, shapes, stand_ins)
    pools = Pools()
    table = np.zeros(grid.nx * grid.ny, np.int32)
    ones = np.ones(len(coarse.inside_cell), np.int64)
    cell, key, first, length, members = group_sets(coarse.inside_cell, coarse.inside_slot, ones, key_of)
    if len(cell):
        table[cell] = intern(pools, key, first, length, members)
    k, merged = choose_k(grid, shapes, coarse), merge(shapes)
    for blocks in _batches(coarse, k):
        fine = fine_pass(grid, shapes, stand_ins, coarse, k, blocks)
        _take_heads(fine, merged.head)
        at = coarse.cell[blocks]
        table[at] = -store(pools, fine, k[blocks], table[at].astype(np.int64), key_of)
    del coarse
    append_shapes(pools, shapes, stand_ins, key_of, merged)
    del shapes, stand_ins, merged
    pools.trim()
    return CellTable(grid, table, pools)


def _take_heads(fine: Fine, head: I64) -> None:
    """Name edges that are equal by their head, once a cell: they touch the same cells."""
    edge = fine.edge_row < len(head)
    row = np.where(edge, head[np.where(edge, fine.edge_row, 0)], fine.edge_row)
    if (row == fine.edge_row).all():
        return
    key, _ = distinct(fine.edge_cell << 32 | row)
    fine.edge_cell, fine.edge_row = key >> 32, key & 0xFFFFFFFF


def _batches(coarse: Coarse, k: I64) -> list[slice]:
    """Runs of blocks of about equal work."""
    n = len(coarse.cell)
    work = (k * k).astype(np.float64)
    work += np.bincount(coarse.group_block[coarse.entry_group], minlength=n) * k / 2
    work += np.bincount(coarse.disc_block, minlength=n) * k * k / 2
    batch = (np.cumsum(work) // _BATCH).astype(np.int64)
    cuts = [0, *(np.flatnonzero(np.diff(batch)) + 1).tolist(), n]
    return [slice(a, b) for a, b in pairwise(cuts) if a < b]
