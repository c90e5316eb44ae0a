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


def fine_pass(
    grid: Grid,
    shapes: Shapes,
    stand_ins: StandIns,
    coarse: Coarse,
    k: I64,
    blocks: slice,
) -> Fine:
    """Rasterise the shapes of some blocks on their fine cells.

    Args:
        k: int64, cells along a side, for every block of `coarse`.
        blocks: which blocks of `coarse`.
    """
    first, last = blocks.start, blocks.stop
    k_here = k[first:last]
    start = np.concatenate([[0], np.cumsum(k_here * k_here)])
    cell_col, cell_row = coarse.cell[first:last] % grid.nx, coarse.cell[first:last] // grid.nx
    g0, g1 = np.searchsorted(coarse.group_block, [first, last])
    e0, e1 = np.searchsorted(coarse.entry_group, [g0, g1])
    group, entry_row = coarse.entry_group[e0:e1] - g0, coarse.entry_row[e0:e1]
    group_block, slot, group_base = (
        coarse.group_block[g0:g1] - first,
        coarse.group_slot[g0:g1],
        coarse.group_base[g0:g1],
    )
    # A block of the rim is one endless cell: it holds what the coarse cell holds.
    rim_group = is_rim(grid, coarse.cell[first:last])[group_block]
    rim_entry = rim_group[group]
    rim_based = np.flatnonzero(rim_group & (group_base != 0))
    rim_cell, rim_row = start[group_block[group[rim_entry]]], entry_row[rim_entry]
    group, entry_row = group[~rim_entry], entry_row[~rim_entry]
    block = group_block[group]
    ax, ay, bx, by, sign, left, right = _entry_geometry(shapes, stand_ins, entry_row)
    kb, cc, cr = k_here[block], cell_col[block], cell_row[block]
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
            base=np.where(rim_group, 0, group_base),
        )
    )
    touched_block = group_block[raster.cell_group]
    touched = start[touched_block] + raster.cell_row * k_here[touched_block] + raster.cell_col
    run, row = spread(raster.run_first, raster.run_end - raster.run_first)
    run_block = group_block[raster.run_group[run]]
    run_cell = start[run_block] + row * k_here[run_block] + raster.run_col[run]
    based = raster.cell_base != 0
    stand, stand_sign = units(raster.stand_sign)
    stand_row = stand_ins.rows(raster.stand_vertex[stand], stand_sign)
    disc_cell, disc, held_cell, held_disc = _fine_discs(grid, shapes, coarse, k_here, start, blocks)
    return Fine(
        size=int(start[-1]),
        held_cell=np.concatenate([run_cell, touched[based], held_cell, start[group_block[rim_based]]]),
        held_slot=np.concatenate(
            [
                slot[raster.run_group[run]],
                slot[raster.cell_group[based]],
                shapes.circle_slot[held_disc],
                slot[rim_based],
            ]
        ),
        held_count=np.concatenate(
            [
                np.ones(len(run_cell), np.int64),
                raster.cell_base[based],
                np.ones(len(held_cell), np.int64),
                group_base[rim_based],
            ]
        ),
        edge_cell=np.concatenate([touched[raster.near_cell], touched[raster.stand_cell[stand]], rim_cell]),
        edge_row=np.concatenate([entry_row[raster.near_edge], stand_row, rim_row]),
        disc_cell=disc_cell,
        disc=disc,
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
    grid: Grid, shapes: Shapes, coarse: Coarse, k: I64, start: I64, blocks: slice
) -> tuple[I64, I64, I64, I64]:
    """Fine cells and circles: (touched cell, circle, cell inside, circle)."""
    d0, d1 = np.searchsorted(coarse.disc_block, [blocks.start, blocks.stop])
    disc, block = coarse.disc[d0:d1], coarse.disc_block[d0:d1] - blocks.start
    rim = is_rim(grid, coarse.cell[blocks])[block]
    rim_cell, rim_disc = start[block[rim]], disc[rim]
    disc, block = disc[~rim], block[~rim]
    kb = k[block]
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
