"""What one would use instead to find the fences that cover points, each asked through `PointPeer.pairs`.

`check` compares a peer with the exact answers before anybody times it, and counts what it gets wrong.
Polygons are the fences' own. A circle is exact only for peers that take the metres of the fences; the
others get the polygon that stands for it in the database, and what that gets wrong counts. Next room:
``match.py``, which sets them beside the index.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

import numpy as np
import rtree
from numpy.typing import NDArray
from shapely.geometry import Point
from shapely.prepared import prep

from hazfence_benchmarks.exactness import reference_keys, reference_pairs
from hazfence_fences import FenceSet

__all__ = ["POINT_PEERS", "ByHand", "Missing", "PointPeer", "StrTree", "check", "keys_of"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


class Missing(Exception):
    """A peer is not installed or cannot run here; the text says what is missing and how to get it."""


class PointPeer(Protocol):
    """Another way to locate points; built from a fence set, closed at the end.

    Attributes:
        name: as in the table.
        clock: ``cpu`` where all is done in one thread of this process, else ``wall``.
        points: how many to ask in a call, so that a call takes some tens of milliseconds.
    """

    name: ClassVar[str]
    clock: ClassVar[Literal["cpu", "wall"]]
    points: ClassVar[int]

    def __init__(self, fences: FenceSet) -> None: ...

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """(point, fence) indexes of all pairs in which the fence covers the point, in any order."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def keys_of(fences: FenceSet, points: int, pairs: tuple[I64, I64]) -> U64:
    """The key of each point's set, as `FenceSet.locate` gives it: uint64[points]."""
    point, fence = pairs
    keys = np.array([f.key for f in fences], dtype=np.uint64)
    out = np.zeros(points, dtype=np.uint64)
    np.add.at(out, point, keys[fence])
    return out


def check(fences: FenceSet, peer: PointPeer, lon: F64, lat: F64) -> int:
    """At how many points the peer's answer differs from the exact one."""
    got = keys_of(fences, len(lon), peer.pairs(lon, lat))
    return int(np.count_nonzero(got != reference_keys(fences, lon, lat)))


class ByHand:
    """What one writes first: candidates from an R-tree, then the prepared geometry, point by point."""

    name: ClassVar[str] = "rtree + prepared shapely"
    clock: ClassVar[Literal["cpu", "wall"]] = "cpu"
    points: ClassVar[int] = 1000

    def __init__(self, fences: FenceSet) -> None:
        self._tests = [prep(f.geometry).covers if f.metric is None else None for f in fences]
        self._fences = fences.fences
        self._tree = rtree.index.Index((i, f.bounds, None) for i, f in enumerate(fences))

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """Point by point."""
        points, found = [], []
        for n, (x, y) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)):
            point = Point(x, y)
            for i in self._tree.intersection((x, y, x, y)):
                test = self._tests[i]
                if self._fences[i].covers(x, y) if test is None else test(point):
                    points.append(n)
                    found.append(i)
        return np.array(points, dtype=np.int64), np.array(found, dtype=np.int64)

    def close(self) -> None:
        """Nothing to give back."""


class StrTree:
    """Shapely's STRtree and vectorised ``covers``, in bulk; circles by their metres, vectorised too."""

    name: ClassVar[str] = "shapely STRtree bulk"
    clock: ClassVar[Literal["cpu", "wall"]] = "cpu"
    points: ClassVar[int] = 10_000

    def __init__(self, fences: FenceSet) -> None:
        self._fences = fences

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """In bulk, the tree built at each call as the reference does: a small part of the time."""
        return reference_pairs(self._fences, lon, lat)

    def close(self) -> None:
        """Nothing to give back."""


#: All of them, the commonest first.
POINT_PEERS: tuple[type[PointPeer], ...] = (ByHand, StrTree)
