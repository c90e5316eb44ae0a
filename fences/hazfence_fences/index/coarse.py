"""The coarse pass: all edges and circles on the coarse grid, a batch of fences at a time.

It finds the coarse cells that lie wholly inside fences, and what enters the others (the blocks); `fine` goes
on there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, radians
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.raster import TOUCH, Frames, disc_cells, distinct, rasterise, spread
from hazfence_fences.index.shapes import Shapes
from hazfence_fences.index.table import Grid
from hazfence_fences.model import Fence

__all__ = ["Coarse", "StandIns", "choose_grid", "coarse_pass", "is_rim", "units", "window_of"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

# The coarse arrays (16 bytes a cell) should stay in a core's second-level cache.
_COARSE_MIN, _COARSE_MAX = 2**12, 2**17
_COARSE_PER_EDGE = 32
_BATCH_EDGES = 200_000  # edges of one batch, so that memory stays bounded


def choose_grid(fences: Sequence[Fence]) -> Grid:
    """A coarse grid over all the fences' boxes, with a rim of empty cells."""
    if not fences:
        return Grid(0.0, 0.0, 1.0, 1.0, 2, 2)
    boxes = np.array([f.bounds for f in fences])
    west, south = (float(v) for v in boxes[:, :2].min(axis=0))
    east, north = (float(v) for v in boxes[:, 2:].max(axis=0))
    edges = sum(f.edge_count for f in fences)
    cells = min(max(edges * _COARSE_PER_EDGE, _COARSE_MIN), _COARSE_MAX)
    width, height = max(east - west, 1e-7), max(north - south, 1e-7)
    squash = cos(radians(min(abs(south + north) / 2, 80)))  # a degree of longitude is that much shorter
    nx = int(np.clip(np.sqrt(cells * width * squash / height), 16, cells / 16))
    ny = int(np.clip(cells / nx, 16, cells / 16))
    sx, sy = nx / (width * (1 + 1e-9)), ny / (height * (1 + 1e-9))
    return Grid(west - 1.5 / sx, south - 1.5 / sy, sx, sy, nx + 3, ny + 3)


@dataclass(slots=True)
class Coarse:
    """The coarse pass: which coarse cells lie inside which fences, and what enters the blocks.

    Attributes:
        inside_cell, inside_slot: int64[i], pairs of a coarse cell wholly inside a fence.
        cell: int64[b], the touched coarse cells, ascending: the blocks.
        group_block, group_slot, group_base: int64[g], a fence in a block, in order of block.
        entry_group, entry_row: int64[e], edges (`Shapes` rows) or stand-ins of the groups, in order.
        disc_block, disc: int64[d], circles through blocks, in order of block: indexes into `Shapes.circles`.
    """

    inside_cell: I64
    inside_slot: I64
    cell: I64
    group_block: I64
    group_slot: I64
    group_base: I64
    entry_group: I64
    entry_row: I64
    disc_block: I64
    disc: I64


class StandIns:
    """Rows for stand-in edges, made when first asked for and shared by all cells that need them."""

    def __init__(self, shapes: Shapes) -> None:
        self._row = np.full(2 * len(shapes.vx), -1, dtype=np.int64)  # by vertex, sign -1 before +1
        self.vertex: list[I64] = []
        self.sign: list[I64] = []
        self.used = len(shapes.rows)

    def rows(self, vertex: I64, sign: I64) -> I64:
        """Row numbers for stand-ins of sign +1 or -1 at vertices; new ones are numbered on from the edges."""
        side = vertex * 2 + (sign > 0)
        new, _ = distinct(side[self._row[side] < 0])
        self._row[new] = self.used + np.arange(len(new))
        self.used += len(new)
        self.vertex.append(new // 2)
        self.sign.append(new % 2 * 2 - 1)
        return self._row[side]


def coarse_pass(grid: Grid, shapes: Shapes, stand_ins: StandIns) -> Coarse:
    """Rasterise all shapes on the coarse grid, a batch of fences at a time."""
    heads = np.flatnonzero(np.diff(shapes.slot, prepend=-1))
    batch = heads // _BATCH_EDGES
    cuts: list[int] = [*heads[np.diff(batch, prepend=-1) != 0].tolist(), len(shapes.slot)]
    parts = [_coarse_edges(grid, shapes, stand_ins, a, b) for a, b in pairwise(cuts) if a < b]
    sizes = np.cumsum([0, *(len(part[2]) for part in parts)])
    none = np.zeros(0, np.int64)
    inside_cell, inside_slot, poly_cell, slot, base, entry_group, entry_row = (
        np.concatenate([none, *(part[i] + (sizes[n] if i == 5 else 0) for n, part in enumerate(parts))])
        for i in range(7)
    )
    none4 = (none, none, none, none)
    disc_cell, disc, held_cell, held_disc = _coarse_discs(grid, shapes) if len(shapes.circles) else none4
    cell, _ = distinct(np.concatenate([poly_cell, disc_cell]))
    # Groups in order of block; the entries follow their groups.
    order = np.argsort(poly_cell, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    entry_group = rank[entry_group]
    by_group = np.argsort(entry_group, kind="stable")
    by_block = np.argsort(disc_cell, kind="stable")
    return Coarse(
        inside_cell=np.concatenate([inside_cell, held_cell]),
        inside_slot=np.concatenate([inside_slot, shapes.circle_slot[held_disc]]),
        cell=cell,
        group_block=np.searchsorted(cell, poly_cell[order]),
        group_slot=slot[order],
        group_base=base[order],
        entry_group=entry_group[by_group],
        entry_row=entry_row[by_group],
        disc_block=np.searchsorted(cell, disc_cell[by_block]),
        disc=disc[by_block],
    )


def _coarse_edges(grid: Grid, shapes: Shapes, stand_ins: StandIns, a: int, b: int) -> tuple[I64, ...]:
    """The coarse pass over edges a to b, whole fences.

    Returns:
        (cell inside, its slot; touched cell, its slot, its base; entries: index of the touched cell, row).
    """
    rows = shapes.rows[a:b]
    slots, group = distinct(shapes.slot[a:b].astype(np.int64))
    n = len(slots)
    raster = rasterise(
        Frames(
            group=group,
            ua=(rows["ax"] - grid.x0) * grid.sx,
            va=(rows["ay"] - grid.y0) * grid.sy,
            ub=(rows["bx"] - grid.x0) * grid.sx,
            vb=(rows["by"] - grid.y0) * grid.sy,
            sign=shapes.sign[a:b].astype(np.int64),
            left=shapes.va[a:b].astype(np.int64),
            right=shapes.vb[a:b].astype(np.int64),
            cols=np.full(n, grid.nx),
            rows=np.full(n, grid.ny),
            base=np.zeros(n, np.int64),
            open_rim=True,
        )
    )
    run, row = spread(raster.run_first, raster.run_end - raster.run_first)
    stand, sign = units(raster.stand_sign)
    return (
        row * grid.nx + raster.run_col[run],
        slots[raster.run_group[run]],
        raster.cell_row * grid.nx + raster.cell_col,
        slots[raster.cell_group],
        raster.cell_base,
        np.concatenate([raster.near_cell, raster.stand_cell[stand]]),
        np.concatenate([raster.near_edge + a, stand_ins.rows(raster.stand_vertex[stand], sign)]),
    )


def units(sign: I64) -> tuple[I64, I64]:
    """Stand-ins of sign +-2 (rings meeting in a vertex) as two of +-1: (which stand-in, sign)."""
    owner, _ = spread(np.zeros(len(sign), np.int64), np.abs(sign))
    return owner, np.sign(sign)[owner]


def _coarse_discs(grid: Grid, shapes: Shapes) -> tuple[I64, I64, I64, I64]:
    """Coarse cells and circles: (touched cell, circle, cell inside, circle)."""
    c, n = shapes.circles, len(shapes.circles)
    whole = window_of(
        grid, shapes.circle_box, np.zeros((n, 2), np.int64), np.ones(n, np.int64), (grid.nx, grid.ny)
    )
    # Cells of the rim have no end: a circle that might reach into one is looked at there.
    first, end = np.minimum(whole[0], [grid.nx - 1, grid.ny - 1]), np.maximum(whole[1], 1)
    beyond = np.flatnonzero((first == 0).any(axis=1) | (end == [grid.nx, grid.ny]).any(axis=1))
    pair, rim_col = spread(first[beyond, 0], end[beyond, 0] - first[beyond, 0])
    again, rim_row = spread(first[beyond, 1][pair], (end[beyond, 1] - first[beyond, 1])[pair])
    rim_disc, rim_cell = beyond[pair[again]], rim_row * grid.nx + rim_col[again]
    on_rim = is_rim(grid, rim_cell)
    disc, col, row, held, held_col, held_row = disc_cells(
        c,
        (c["lon"] - grid.x0) * grid.sx,
        np.full(n, grid.cell_w),
        grid.y0 - c["lat"],
        np.full(n, grid.cell_h),
        np.clip(first, 1, [grid.nx - 1, grid.ny - 1]),
        np.clip(end, 1, [grid.nx - 1, grid.ny - 1]),
    )
    return (
        np.concatenate([row * grid.nx + col, rim_cell[on_rim]]),
        np.concatenate([disc, rim_disc[on_rim]]),
        held_row * grid.nx + held_col,
        held,
    )


def is_rim(grid: Grid, cell: I64) -> NDArray[np.bool_]:
    """Whether coarse cells are outermost ones, which reach to infinity."""
    col, row = cell % grid.nx, cell // grid.nx
    return np.asarray((col == 0) | (col == grid.nx - 1) | (row == 0) | (row == grid.ny - 1))


def window_of(grid: Grid, box: F64, cell: I64, k: I64, size: Any) -> tuple[I64, I64]:
    """The columns and rows of a frame (coarse cell cut into k x k, or the whole grid) that boxes meet."""
    scale = np.array([grid.sx, grid.sy])
    low = ((box[:, :2] - [grid.x0, grid.y0]) * scale - cell) * k[:, None] - TOUCH
    high = ((box[:, 2:] - [grid.x0, grid.y0]) * scale - cell) * k[:, None] + TOUCH
    first = np.clip(np.floor(low), 0, size).astype(np.int64)
    return first, np.maximum(np.clip(np.floor(high) + 1, 0, size).astype(np.int64), first)
