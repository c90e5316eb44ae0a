"""Edges that several fences share, as neighbouring districts do, put together into one.

A lookup adds up ``sign * key`` over edges, so two fences' equal edges can be one row with the sum. The row of
the first is the *head* and stands for all; a group lists the rows it stands for (the head's own share as a
row of its own), for those who must tell the fences apart: the scalar reader, and taking a fence out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hazfence_fences.index.shapes import Shapes

__all__ = ["Merged", "merge"]

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


@dataclass(slots=True)
class Merged:
    """Groups of equal edges.

    Attributes:
        head: int64[e], for every row of `Shapes` the row that stands for it: itself, mostly.
        heads: int64[g], the rows that stand for more than themselves.
        start, count: int64[g], which of `others` each stands for besides.
        others: int64[m], those rows.
    """

    head: I64
    heads: I64
    start: I64
    count: I64
    others: I64


def merge(shapes: Shapes) -> Merged:
    """Find the equal edges of different fences."""
    rows = shapes.rows
    n = len(rows)
    head = np.arange(n, dtype=np.int64)
    if n < 2:
        return Merged(head, head[:0], head[:0], head[:0], head[:0])
    mixed = np.zeros(n, np.uint64)
    for name in ("ax", "ay", "bx", "by"):
        mixed = (mixed ^ np.ascontiguousarray(rows[name]).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    order = np.argsort(mixed, kind="stable")
    # In hash order equal edges are neighbours, the lowest row first; unequal ones may be among them.
    first = np.ones(n, dtype=bool)
    first[1:] = mixed[order[1:]] != mixed[order[:-1]]
    lead = order[np.maximum.accumulate(np.where(first, np.arange(n), 0))]
    same = ~first & (shapes.slot[order] != shapes.slot[lead])
    for name in ("ax", "ay", "bx", "by"):
        same &= rows[name][order] == rows[name][lead]
    others, lead = order[same], lead[same]
    head[others] = lead
    new = np.ones(len(lead), dtype=bool)
    new[1:] = lead[1:] != lead[:-1]
    start = np.flatnonzero(new)
    return Merged(head, lead[new], start, np.diff(np.append(start, len(lead))), others)
