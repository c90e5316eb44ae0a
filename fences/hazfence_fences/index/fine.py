"""The fine pass: the shapes of some blocks on their fine cells.

The blocks' edges and bases come from the coarse pass; the same rasteriser works on them, each block a frame
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.coarse import Coarse, StandIns, is_rim, units, window_of
from hazfence_fences.index.raster import Frames, disc_cells, rasterise, spread
from hazfence_fences.index.shapes import PSEUDO_SPAN_DEG, Shapes
from hazfence_fences.index.table import Grid

__all__ = ["Fine", "fine_pass"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(slots=True)
class Fine:
    """The fine pass over some blocks. Fine cells are numbered through the blocks, row by row.

    Attributes:
        size: fine cells in all.
        held_cell, held_slot, held_count: int64[h], a fence counted so often in a cell in any case.
        edge_cell, edge_row: int64[e], edges (rows) to be looked at in a cell.
        disc_cell, disc: int64[d], circles to be looked at in a cell.
    """

    size: int
    held_cell: I64
    held_slot: I64
    held_count: I64
    edge_cell: I64
    edge_row: I64
    disc_cell: I64
    disc: I64


def fine_pass(grid: Grid, shapes: Shapes, stand_ins: StandIns, coarse: Coarse, k: I64, blocks: slice) -> Fine:
    """Rasterise the shapes of some blocks on their fine cells.

    Args:
        k: int64, cells along a side, for every block of `coarse`.
        blocks: which blocks of `coarse`.
    """
    start = np.concatenate([[0], np.cumsum(k[blocks] * k[blocks])])
    none = np.zeros(0, np.int64)
    held_cell, held_slot, held_count, edge_cell, edge_row = none, none, none, none, none
    disc_cell, disc, inside_cell, inside_disc = none, none, none, none
    g0, g1 = np.searchsorted(coarse.group_block, [blocks.start, blocks.stop])
    if g0 < g1:
        groups = slice(int(g0), int(g1))
        held_cell, held_slot, held_count, edge_cell, edge_row = _fine_edges(
            grid, shapes, stand_ins, coarse, k, start, blocks, groups
        )
    d0, d1 = np.searchsorted(coarse.disc_block, [blocks.start, blocks.stop])
    if d0 < d1:
        discs = slice(int(d0), int(d1))
        disc_cell, disc, inside_cell, inside_disc = _fine_discs(grid, shapes, coarse, k, start, blocks, discs)
    return Fine(
        size=int(start[-1]),
        held_cell=np.concatenate([held_cell, inside_cell]),
        held_slot=np.concatenate([held_slot, shapes.circle_slot[inside_disc]]),
        held_count=np.concatenate([held_count, np.ones(len(inside_cell), np.int64)]),
        edge_cell=edge_cell,
        edge_row=edge_row,
        disc_cell=disc_cell,
        disc=disc,
    )


def _fine_edges(
    grid: Grid,
    shapes: Shapes,
    stand_ins: StandIns,
    coarse: Coarse,
    k: I64,
    start: I64,
    blocks: slice,
    groups: slice,
) -> tuple[I64, I64, I64, I64, I64]:
    """Edges in fine cells: (held cell, its slot, how often; touched cell, row)."""
    e0, e1 = np.searchsorted(coarse.entry_group, [groups.start, groups.stop])
    group, entry_row = coarse.entry_group[e0:e1] - groups.start, coarse.entry_row[e0:e1]
    group_block, slot = coarse.group_block[groups] - blocks.start, coarse.group_slot[groups]
    base, k_here, cells = coarse.group_base[groups], k[blocks], coarse.cell[blocks]
    # A block of the rim is one endless cell: it holds what the coarse cell holds.
    rim = is_rim(grid, cells)[group_block]
    rim_entry, rim_based = rim[group], np.flatnonzero(rim & (base != 0))
    rim_cell, rim_row = start[group_block[group[rim_entry]]], entry_row[rim_entry]
    group, entry_row = group[~rim_entry], entry_row[~rim_entry]
    block = group_block[group]
    ax, ay, bx, by, sign, left, right = _entry_geometry(shapes, stand_ins, entry_row)
    kb, cc, cr = k_here[block], cells[block] % grid.nx, cells[block] // grid.nx
    raster = rasterise(
        Frames(
            group=group,
            ua=((ax - grid.x0) * grid.sx - cc) * kb,
            va=((ay - grid.y0) * grid.sy - cr) * kb,
            ub=((bx - grid.x0) * grid.sx - cc) * kb,
            vb=((by - grid.y0) * grid.sy - cr) * kb,
            sign=sign,
            left=left,
            right=right,
            cols=k_here[group_block],
            rows=k_here[group_block],
            base=np.where(rim, 0, base),
        )
    )
    touched_block = group_block[raster.cell_group]
    touched = start[touched_block] + raster.cell_row * k_here[touched_block] + raster.cell_col
    run, row = spread(raster.run_first, raster.run_end - raster.run_first)
    run_group = raster.run_group[run]
    run_block = group_block[run_group]
    run_cell = start[run_block] + row * k_here[run_block] + raster.run_col[run]
    based = raster.cell_base != 0
    stand, stand_sign = units(raster.stand_sign)
    stand_row = stand_ins.rows(raster.stand_vertex[stand], stand_sign)
    ones = np.ones(len(run_cell), np.int64)
    return (
        np.concatenate([run_cell, touched[based], start[group_block[rim_based]]]),
        np.concatenate([slot[run_group], slot[raster.cell_group[based]], slot[rim_based]]),
        np.concatenate([ones, raster.cell_base[based], base[rim_based]]),
        np.concatenate([touched[raster.near_cell], touched[raster.stand_cell[stand]], rim_cell]),
        np.concatenate([entry_row[raster.near_edge], stand_row, rim_row]),
    )


def _entry_geometry(
    shapes: Shapes, stand_ins: StandIns, row: I64
) -> tuple[F64, F64, F64, F64, I64, I64, I64]:
    """Ends (ax, ay, bx, by), sign and left and right vertices of rows, be they edges or stand-ins."""
    n = len(shapes.rows)
    edge = row < n
    rows = shapes.rows[row[edge]]
    ends = np.zeros((4, len(row)))
    rest = np.full((3, len(row)), -1, np.int64)
    for i, name in enumerate(("ax", "ay", "bx", "by")):
        ends[i, edge] = rows[name]
    columns: tuple[NDArray[Any], ...] = (shapes.sign, shapes.va, shapes.vb)
    for i, values in enumerate(columns):
        rest[i, edge] = values[row[edge]]
    if not edge.all():
        which = row[~edge] - n
        vertex = np.concatenate(stand_ins.vertex)[which]
        ends[:, ~edge] = (
            shapes.vx[vertex],
            shapes.vy[vertex],
            shapes.vx[vertex] + PSEUDO_SPAN_DEG,
            shapes.vy[vertex],
        )
        rest[:2, ~edge] = np.concatenate(stand_ins.sign)[which], vertex
    return ends[0], ends[1], ends[2], ends[3], rest[0], rest[1], rest[2]


def _fine_discs(
    grid: Grid, shapes: Shapes, coarse: Coarse, k: I64, start: I64, blocks: slice, discs: slice
) -> tuple[I64, I64, I64, I64]:
    """Circles in fine cells: (touched cell, circle; cell inside, circle)."""
    disc, block = coarse.disc[discs], coarse.disc_block[discs] - blocks.start
    rim = is_rim(grid, coarse.cell[blocks])[block]
    rim_cell, rim_disc = start[block[rim]], disc[rim]
    disc, block = disc[~rim], block[~rim]
    kb = k[blocks][block]
    cell = np.stack([coarse.cell[blocks][block] % grid.nx, coarse.cell[blocks][block] // grid.nx], axis=1)
    c = shapes.circles[disc]
    pair, col, row, held, held_col, held_row = disc_cells(
        c,
        ((c["lon"] - grid.x0) * grid.sx - cell[:, 0]) * kb,
        grid.cell_w / kb,
        (grid.y0 - c["lat"]) + cell[:, 1] * grid.cell_h,
        grid.cell_h / kb,
        *window_of(grid, shapes.circle_box[disc], cell, kb, kb[:, None]),
    )
    touched = np.concatenate([start[block[pair]] + row * kb[pair] + col, rim_cell])
    inside = start[block[held]] + held_row * kb[held] + held_col
    return touched, np.concatenate([disc[pair], rim_disc]), inside, disc[held]
