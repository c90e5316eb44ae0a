"""One fence more or one fewer, without compiling anew: only the cells it touches are written again.

Writers come one at a time (the set's registry holds a lock); readers are never in their way. Blocks are
copied with their changed cells at the end of the pools, the coarse arrays are copied whole, and the new
`CellTable` is handed out when it is complete.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.build import append_shapes, choose_k, put_blocks, put_records
from hazfence_fences.index.coarse import StandIns, coarse_pass
from hazfence_fences.index.fine import Fine, fine_pass
from hazfence_fences.index.raster import distinct, spread
from hazfence_fences.index.shapes import shapes_of
from hazfence_fences.index.table import CellTable, Pools
from hazfence_fences.model import Fence

__all__ = ["patch_table"]

_MOST = 1 << 20  # more than any base winding number

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]


def patch_table(
    t: CellTable, gone: tuple[Fence, int] | None, come: tuple[Fence, int] | None, key_of: U64
) -> CellTable:
    """A table without one fence and with another.

    Args:
        t: a table; it stays as it is.
        gone: a fence of the table and its slot, or None.
        come: a fence and its slot, not in use, or None.
        key_of: uint64, key by slot.
    """
    new = CellTable(t.grid, t.coarse.copy(), t.pools)
    if gone is not None:
        _remove(new, *gone)
        new = CellTable(t.grid, new.coarse, t.pools)
    if come is not None:
        _add(new, *come, key_of)
    new = CellTable(t.grid, new.coarse, t.pools)
    new.go_on_from(t)
    return new


def _add(t: CellTable, fence: Fence, slot: int, key_of: U64) -> None:
    """Write a fence into a table nobody reads yet."""
    grid, pools = t.grid, t.pools
    shapes = shapes_of([fence], np.array([slot], np.int32), grid.cell_w, grid.cell_h)
    stand_ins = StandIns(shapes)
    coarse = coarse_pass(grid, shapes, stand_ins)
    inside = coarse.inside_cell
    if len(inside):
        ids, back = distinct(t.coarse_sets(inside))
        _set_whole(t, inside, _extended(pools, ids, np.ones(len(ids), np.int64), slot, fence.key)[back])
    if not len(coarse.cell):
        return
    t = CellTable(grid, t.coarse, pools)
    whole = t.coarse_sets(coarse.cell)
    old = np.maximum(-t.coarse[coarse.cell], 0)
    k = np.where(old > 0, t.block["k"][old], choose_k(grid, shapes, coarse)).astype(np.int64)
    fine = fine_pass(grid, shapes, stand_ins, coarse, k, slice(0, len(k)))
    fine.edge_row += pools.rows.used
    fine.disc += pools.circles.used
    append_shapes(pools, shapes, stand_ins, key_of)
    cells = _cells_of(t, old, k)
    held = np.bincount(fine.held_cell, fine.held_count, fine.size).astype(np.int64)
    changed = held != 0
    changed[fine.edge_cell] = True
    changed[fine.disc_cell] = True
    at = np.flatnonzero(changed)
    # Cells with the same set and the same count get the same new set.
    pair, back = distinct(_base_of(t, cells[at]) * (2 * _MOST) + held[at] + _MOST)
    base = _extended(pools, pair // (2 * _MOST), pair % (2 * _MOST) - _MOST, slot, fence.key)[back]
    edge_cell, edge_row, disc_cell, disc = _entries_of(t, cells, at[cells[at] < 0])
    fine.edge_cell = np.concatenate([edge_cell, fine.edge_cell])
    fine.edge_row = np.concatenate([edge_row, fine.edge_row])
    fine.disc_cell, fine.disc = np.concatenate([disc_cell, fine.disc_cell]), np.concatenate([disc, fine.disc])
    cells[at] = base
    t.coarse[coarse.cell] = -put_blocks(pools, put_records(pools, fine, cells), k, whole)
    pools.wasted += int((k * k)[old > 0].sum())


def _remove(t: CellTable, fence: Fence, slot: int) -> None:
    """Take a fence out of a table nobody reads yet."""
    grid, pools = t.grid, t.pools
    west, south, east, north = fence.bounds
    c0, c1 = (int(min(max((x - grid.x0) * grid.sx + d, 0), grid.nx - 1)) for x, d in ((west, -1), (east, 1)))
    r0, r1 = (
        int(min(max((y - grid.y0) * grid.sy + d, 0), grid.ny - 1)) for y, d in ((south, -1), (north, 1))
    )
    window = (np.arange(r0, r1 + 1)[:, None] * grid.nx + np.arange(c0, c1 + 1)).reshape(-1)
    ids, back = distinct(t.coarse_sets(window))
    lost = _count_in(t, ids, slot)
    if lost.any():
        held = (lost != 0)[back]
        _set_whole(t, window[held], _reduced(pools, ids, lost, slot, fence.key)[back[held]])
    t = CellTable(grid, t.coarse, pools)
    window = window[t.coarse[window] < 0]
    if not len(window):
        return
    whole = t.coarse_sets(window)
    old = -t.coarse[window]
    k = t.block["k"][old].astype(np.int64)
    cells = _cells_of(t, old, k)
    ids, back = distinct(_base_of(t, cells))
    lost = _count_in(t, ids, slot)
    edge_cell, edge_row, disc_cell, disc = _entries_of(t, cells, np.flatnonzero(cells < 0))
    edge_cell, edge_row = _apart(t, edge_cell, edge_row, slot)
    own_edge, own_disc = t.row_slot[edge_row] == slot, t.circle_slot[disc] == slot
    changed = (lost != 0)[back]
    changed[edge_cell[own_edge]] = True
    changed[disc_cell[own_disc]] = True
    at = np.flatnonzero(changed)
    base = _reduced(pools, ids, lost, slot, fence.key)[back[at]]
    kept_edge, kept_disc = ~own_edge & changed[edge_cell], ~own_disc & changed[disc_cell]
    none = np.zeros(0, np.int64)
    fine = Fine(
        size=len(cells),
        held_cell=none,
        held_slot=none,
        held_count=none,
        edge_cell=edge_cell[kept_edge],
        edge_row=edge_row[kept_edge],
        disc_cell=disc_cell[kept_disc],
        disc=disc[kept_disc],
    )
    cells[at] = base
    t.coarse[window] = -put_blocks(pools, put_records(pools, fine, cells), k, whole)
    pools.wasted += int((k * k).sum())


def _set_whole(t: CellTable, cells: I64, sets: I64) -> None:
    """Give coarse cells other sets that cover all of them; blocks keep their fine cells."""
    pools = t.pools
    held = t.coarse[cells]
    plain = held >= 0
    t.coarse[cells[plain]] = sets[plain]
    if not plain.all():
        block = pools.block.array[-held[~plain]]
        block["key"] = pools.set_key.array[sets[~plain]]
        pools.block_set.append(sets[~plain].astype(np.int32))
        t.coarse[cells[~plain]] = -(pools.block.append(block) + np.arange(len(block)))


def _cells_of(t: CellTable, block: I32, k: I64) -> I64:
    """The fine cells of blocks one after the other; zeros for block 0."""
    owner, place = spread(t.block["start"][block].astype(np.int64), k * k)
    return np.where(block[owner] > 0, t.fine[np.where(block[owner] > 0, place, 0)], 0).astype(np.int64)


def _base_of(t: CellTable, cells: I64) -> I64:
    """The set that is counted in any case, per fine cell."""
    return np.where(cells >= 0, cells, t.record_set[np.maximum(-cells, 0)])


def _entries_of(t: CellTable, cells: I64, busy: I64) -> tuple[I64, I64, I64, I64]:
    """(cell, row) of the edges and (cell, circle) of the circles of fine cells that have a record."""
    record = t.record[-cells[busy]]
    start, edges = record["start"].astype(np.int64), record["edges"].astype(np.int64)
    owner, place = spread(start, edges)
    disc_owner, disc_place = spread(start + edges, record["discs"].astype(np.int64))
    return (
        busy[owner],
        t.entries[place].astype(np.int64),
        busy[disc_owner],
        t.entries[disc_place].astype(np.int64),
    )


def _apart(t: CellTable, edge_cell: I64, edge_row: I64, slot: int) -> tuple[I64, I64]:
    """The entries, those rows that stand for an edge of the slot and others replaced by all of these."""
    group = t.row_group[edge_row]
    heads = np.flatnonzero(group)
    owner, place = spread(
        t.group_start[group[heads]].astype(np.int64), t.group_count[group[heads]].astype(np.int64)
    )
    rows = t.group_rows[place].astype(np.int64)
    wanted = np.zeros(len(heads), dtype=bool)
    wanted[owner[t.row_slot[rows] == slot]] = True
    keep = np.ones(len(edge_row), dtype=bool)
    keep[heads[wanted]] = False
    rows, owner = rows[wanted[owner]], owner[wanted[owner]]
    return np.concatenate([edge_cell[keep], edge_cell[heads[owner]]]), np.concatenate([edge_row[keep], rows])


def _times(count: I64, key: int) -> U64:
    return count.astype(np.uint64) * np.uint64(key)  # modulo 2**64, negative counts too


def _count_in(t: CellTable, ids: I64, slot: int) -> I64:
    """How often a slot is counted in sets."""
    owner, place = spread(t.set_start[ids].astype(np.int64), t.set_count[ids].astype(np.int64))
    members = t.members[place]
    return np.bincount(owner, (members == slot) * 1 - (members == ~slot) * 1, len(ids)).astype(np.int64)


def _extended(pools: Pools, ids: I64, count: I64, slot: int, key: int) -> I64:
    """Sets with a slot counted so much more (count 0: the set itself)."""
    out = ids.astype(np.int64)
    some = np.flatnonzero(count)
    ids, count = ids[some], count[some]
    owner, place = spread(
        pools.set_start.array[ids].astype(np.int64), pools.set_count.array[ids].astype(np.int64)
    )
    more, _ = spread(np.zeros(len(ids), np.int64), np.abs(count))
    members = np.concatenate(
        [pools.members.array[place], np.where(count > 0, slot, ~slot)[more].astype(np.int32)]
    )
    keys = pools.set_key.array[ids] + _times(count, key)
    out[some] = _append_sets(pools, np.concatenate([owner, more]), members, keys)
    return out


def _reduced(pools: Pools, ids: I64, lost: I64, slot: int, key: int) -> I64:
    """Sets without a slot that is counted `lost` times in them (0: the set itself)."""
    out = ids.astype(np.int64)
    some = np.flatnonzero(lost)
    ids, lost = ids[some], lost[some]
    owner, place = spread(
        pools.set_start.array[ids].astype(np.int64), pools.set_count.array[ids].astype(np.int64)
    )
    members = pools.members.array[place]
    keep = (members != slot) & (members != ~slot)
    keys = pools.set_key.array[ids] - _times(lost, key)
    out[some] = _append_sets(pools, owner[keep], members[keep], keys)
    return out


def _append_sets(pools: Pools, owner: I64, members: I32, keys: U64) -> I64:
    """Append sets given as (which, member) pairs; an empty one is set 0."""
    order = np.argsort(owner, kind="stable")
    length = np.bincount(owner, minlength=len(keys))
    start = pools.members.append(members[order]) + np.cumsum(length) - length
    number = pools.set_key.append(keys) + np.arange(len(keys))
    pools.set_start.append(start)
    pools.set_count.append(length)
    return np.where(length > 0, number, 0)
