"""Fences as columns: oriented edges, their vertices, and circles, ready for vectorised geometry.

An edge is stored with its ends ordered by longitude (ax <= bx) and with a *sign*: looking up (north) from a
point, an edge passing overhead counts +1 when its ring runs right to left there and -1 when left to right,
outer rings being counter-clockwise and holes clockwise. The sum over all edges overhead is the winding
number: 1 inside a valid polygon, 0 outside. An edge is overhead of a longitude x when ax <= x < bx, so a
vertex belongs to exactly one of its two edges and a vertical edge to none: no special cases, and no rounding,
only comparisons of original coordinates.

The winding number being a sum is what the whole index rests on: multiplied by a fence's 64-bit key it can be
added up over all fences of a cell at once (see `lookup`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import shapely
from numpy.typing import NDArray

from hazfence_fences.model import Fence

__all__ = ["CIRCLE", "PSEUDO_SPAN_DEG", "ROW", "Shapes", "shapes_of"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

# One edge as the lookup reads it: 48 bytes side by side, one cache line. `tau` bounds the rounding error of
# the orientation of a point of a touched cell; `s` is sign * key of the fence, modulo 2**64.
ROW = np.dtype([("ax", "f8"), ("ay", "f8"), ("bx", "f8"), ("by", "f8"), ("tau", "f8"), ("s", "u8")])
# One circle: the constants of its Metric, its squared radius in square metres, and its fence's key: 64 bytes.
CIRCLE = np.dtype(
    [
        ("lon", "f8"),
        ("lat", "f8"),
        ("kx0", "f8"),
        ("kx1", "f8"),
        ("ky0", "f8"),
        ("ky1", "f8"),
        ("r2", "f8"),
        ("s", "u8"),
    ]
)
# A horizontal stand-in edge (see `raster`) runs this far east: out of every cell.
PSEUDO_SPAN_DEG = 1000.0
_ULP = 2.0**-53
_BATCH = 10_000  # fences taken apart at a time, so that memory stays bounded


@dataclass(slots=True)
class Shapes:
    """Edges and circles of some fences. All arrays of a group have one length.

    Attributes:
        rows: ROW[e], the edges.
        sign: int8[e], +1, -1, or 0 for a vertical edge.
        slot: int32[e], which fence.
        va, vb: int32[e], vertex of the left and of the right end, -1 for none.
        vx, vy: float64[v], the vertices.
        vertex_slot: int32[v], which fence.
        circles: CIRCLE[c].
        circle_slot: int32[c].
        circle_box: float64[c, 4], west, south, east, north.
    """

    rows: NDArray[np.void]
    sign: NDArray[np.int8]
    slot: I32
    va: I32
    vb: I32
    vx: F64
    vy: F64
    vertex_slot: I32
    circles: NDArray[np.void]
    circle_slot: I32
    circle_box: F64


def shapes_of(fences: Sequence[Fence], slots: I32, cell_w: float, cell_h: float) -> Shapes:
    """The edges and circles of fences, in the order of the fences.

    Args:
        fences: the fences.
        slots: int32, the slot of each.
        cell_w, cell_h: the coarse cell's size in degrees. A point asked about an edge is at most that far
            from the edge's box, which bounds the rounding error of its orientation.
    """
    parts = [
        _shapes_of(fences[a : a + _BATCH], slots[a : a + _BATCH], cell_w, cell_h)
        for a in range(0, max(len(fences), 1), _BATCH)
    ]
    vertices = np.cumsum([0, *(len(p.vx) for p in parts)])
    for part, first in zip(parts, vertices.tolist(), strict=False):
        part.va += first
        part.vb += first
    return Shapes(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Shapes)))


def _shapes_of(fences: Sequence[Fence], slots: I32, cell_w: float, cell_h: float) -> Shapes:
    flat = [i for i, f in enumerate(fences) if f.metric is None]
    circles, boxes, circle_slot = _circles(fences, slots)
    geometries = np.array([fences[i].geometry for i in flat], dtype=object)
    ax, ay, bx, by, owner, first, last, vx, vy, vertex_owner = _edges(geometries)
    swap = bx < ax
    dx, dy = np.abs(bx - ax), np.abs(by - ay)
    rows = np.zeros(len(ax), ROW)
    rows["ax"], rows["bx"] = np.where(swap, bx, ax), np.where(swap, ax, bx)
    rows["ay"], rows["by"] = np.where(swap, by, ay), np.where(swap, ay, by)
    # Shewchuk (1997), "Adaptive precision floating-point arithmetic", bounds the error of a 2D orientation by
    # (3 + 16 u) u (|left| + |right|), u = 2**-53; 8 u leaves room for the rounding of the bound itself.
    rows["tau"] = 8 * _ULP * (dx * (dy + 2 * cell_h) + dy * (dx + 2 * cell_w))
    sign = np.where(swap, 1, -1).astype(np.int8)
    sign[ax == bx] = 0
    flat_slots = slots[flat] if flat else np.zeros(0, np.int32)
    key = np.array([fences[i].key for i in flat], dtype=np.uint64)[owner]
    rows["s"] = np.where(sign > 0, key, np.where(sign < 0, -key, np.uint64(0)))
    return Shapes(
        rows=rows,
        sign=sign,
        slot=flat_slots[owner],
        va=np.where(swap, last, first).astype(np.int32),
        vb=np.where(swap, first, last).astype(np.int32),
        vx=vx,
        vy=vy,
        vertex_slot=flat_slots[vertex_owner],
        circles=circles,
        circle_slot=circle_slot,
        circle_box=boxes,
    )


def _circles(fences: Sequence[Fence], slots: I32) -> tuple[NDArray[np.void], F64, I32]:
    """Constants, boxes and slots of the circles among fences."""
    at = [i for i, f in enumerate(fences) if f.metric is not None]
    circles, boxes = np.zeros(len(at), CIRCLE), np.zeros((len(at), 4))
    for n, i in enumerate(at):
        f = fences[i]
        m = f.metric
        assert m is not None
        assert f.radius_m is not None
        circles[n] = (m.lon, m.lat, m.kx0, m.kx1, m.ky0, m.ky1, f.radius_m * f.radius_m, f.key)
        boxes[n] = f.bounds
    return circles, boxes, slots[at] if at else np.zeros(0, np.int32)


def _edges(geometries: NDArray[np.object_]) -> tuple[F64, F64, F64, F64, I64, I64, I64, F64, F64, I64]:
    """Directed edges (outer rings counter-clockwise, holes clockwise), owners, numbered vertices."""
    parts, part_owner = shapely.get_parts(geometries, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    outer = np.ones(len(rings), dtype=bool)
    outer[1:] = ring_part[1:] != ring_part[:-1]
    backwards = shapely.is_ccw(rings) != outer
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    starts = np.ones(len(ring), dtype=bool)
    starts[1:] = ring[1:] != ring[:-1]
    keep = starts.copy()
    keep[1:] |= (xy[1:] != xy[:-1]).any(axis=1)
    xy, ring, starts = xy[keep], ring[keep], starts[keep]
    # A ring's last point is its first again: the same vertex.
    number = np.arange(len(ring), dtype=np.int64)
    heads = np.flatnonzero(starts)
    tails = np.append(heads[1:], len(ring)) - 1 if len(heads) else heads
    number[tails] = heads
    a = np.flatnonzero(~np.isin(np.arange(len(ring)), tails))
    first, last = number[a], number[a + 1] if len(a) else number[a]
    back = backwards[ring[a]]
    first, last = np.where(back, last, first), np.where(back, first, last)
    owner = part_owner[ring_part[ring]]
    return (
        xy[first, 0], xy[first, 1], xy[last, 0], xy[last, 1], owner[a], first, last,
        np.ascontiguousarray(xy[:, 0]), np.ascontiguousarray(xy[:, 1]), owner,
    )  # fmt: skip
