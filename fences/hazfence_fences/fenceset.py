"""Many fences at once: which of them cover each point, and which thin ones a segment touches.

`FenceSet` is immutable; `with_fence` and `without` give a new set and leave readers of the old one
undisturbed. Answers are exact: `locate` equals shapely's `covers` for polygons, boundary points included, and
the true circle for circles. An R-tree (rtree) over the fences' boxes finds the candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from rtree import index as rtree_index

from hazfence_fences.errors import FenceError
from hazfence_fences.model import Fence
from hazfence_fences.segments import circle_touches

__all__ = ["FenceSet", "Located"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

# Measured: 1.4-1.9 times faster than rtree's default of 100.
_LEAF = 16


class Located:
    """Which fences cover each of n points.

    Attributes:
        keys: uint64[n], the sum of the keys of the covering fences (modulo 2**64): equal keys, equal sets; 0
        is none.
    """

    def __init__(self, fences: FenceSet, keys: U64, starts: I64, held: I32) -> None:
        self._fences = fences
        self.keys = keys
        self._starts = starts
        self._held = held

    def __len__(self) -> int:
        return len(self.keys)

    def member_indexes(self, i: int) -> tuple[int, ...]:
        """Indexes into `FenceSet.fences` of the fences covering point i, ascending."""
        i = range(len(self))[i]
        return tuple(self._held[self._starts[i] : self._starts[i + 1]].tolist())

    def members(self, i: int) -> tuple[str, ...]:
        """Ids of the fences covering point i, in the order of `FenceSet.fences`."""
        return tuple(self._fences[j].id for j in self.member_indexes(i))

    def contains(self, fence_id: str) -> NDArray[np.bool_]:
        """Whether that fence covers each point: bool[n].

        Raises:
            KeyError: no such fence in the set.
        """
        rows = np.flatnonzero(self._held == self._fences.index_of(fence_id))
        out = np.zeros(len(self), dtype=bool)
        out[np.searchsorted(self._starts, rows, side="right") - 1] = True
        return out

    def __repr__(self) -> str:
        return f"<Located {len(self)} points, {int(np.count_nonzero(self.keys))} in a fence>"


class FenceSet:
    """An immutable, indexed set of fences with distinct ids.

    Example:
        >>> from hazfence_fences import FenceKind, circle
        >>> fences = FenceSet([circle("cp-1", FenceKind.CHECKPOINT, 121.6, 29.9, 150.0)])
        >>> fences.locate([121.6, 121.7], [29.9, 29.9]).members(0)
        ('cp-1',)
    """

    def __init__(self, fences: Iterable[Fence] = ()) -> None:
        self._fences = tuple(fences)
        self._index = {fence.id: i for i, fence in enumerate(self._fences)}
        if len(self._index) != len(self._fences):
            twice = Counter(fence.id for fence in self._fences).most_common(1)[0][0]
            raise FenceError(
                "id is used twice in one set", fence_id=twice, mend="give every fence its own id"
            )
        self._keys = np.array([fence.key for fence in self._fences], dtype=np.uint64)
        self._tree = _tree(enumerate(self._fences))
        self._thin = _tree((i, fence) for i, fence in enumerate(self._fences) if fence.thin)
        self.timed: tuple[int, ...] = tuple(i for i, fence in enumerate(self._fences) if fence.timed)

    @property
    def fences(self) -> tuple[Fence, ...]:
        """The fences in their order."""
        return self._fences

    def __len__(self) -> int:
        return len(self._fences)

    def __iter__(self) -> Iterator[Fence]:
        return iter(self._fences)

    def __contains__(self, fence_id: object) -> bool:
        return fence_id in self._index

    def __getitem__(self, which: int | str) -> Fence:
        return self._fences[which if isinstance(which, int) else self._index[which]]

    def index_of(self, fence_id: str) -> int:
        """The index of a fence in `fences`.

        Raises:
            KeyError: no such fence.
        """
        return self._index[fence_id]

    def __repr__(self) -> str:
        kinds: dict[str, int] = {}
        for fence in self._fences:
            kinds[fence.kind] = kinds.get(fence.kind, 0) + 1
        told = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        return f"<FenceSet {len(self)} fences{': ' + told if told else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return FenceSet, (self._fences,)

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the fences' ids, versions and geometry, whatever their order."""
        total = sum(int.from_bytes(fence.digest, "little") for fence in self._fences)
        return f"{total % (1 << 128):032x}"

    def with_fence(self, fence: Fence) -> FenceSet:
        """A new set with this fence added, or put in the place of the one with its id."""
        fences = list(self._fences)
        if fence.id in self._index:
            fences[self._index[fence.id]] = fence
        else:
            fences.append(fence)
        return FenceSet(fences)

    def without(self, fence_id: str) -> FenceSet:
        """A new set without that fence; the others keep their order.

        Raises:
            KeyError: no such fence.
        """
        gone = self._index[fence_id]
        return FenceSet(self._fences[:gone] + self._fences[gone + 1 :])

    def locate(self, lon: ArrayLike, lat: ArrayLike) -> Located:
        """Which fences cover each point, boundaries included.

        Args:
            lon, lat: float64[n] degrees WGS-84. Points outside -180..180, -90..90 are in no fence.

        Raises:
            ValueError: arrays of different length or not one-dimensional, not numbers, or not finite (the
                message names the first such row).
        """
        x, y = _points(lon, lat)
        n = len(x)
        point, fence = self._candidates(self._tree, x, y, x, y)
        hit = np.zeros(len(point), dtype=bool)
        order = np.argsort(fence, kind="stable")
        bounds = np.flatnonzero(np.diff(fence[order], prepend=-1, append=-1)).tolist()
        for a, b in pairwise(bounds):
            rows = order[a:b]
            hit[rows] = self._fences[fence[rows[0]]].covers_many(x[point[rows]], y[point[rows]])
        point, fence = point[hit], fence[hit]
        order = np.lexsort((fence, point))
        point, fence = point[order], fence[order]
        starts = np.searchsorted(point, np.arange(n + 1))
        keys = np.zeros(n, dtype=np.uint64)
        np.add.at(keys, point, self._keys[fence])
        return Located(self, keys, starts, fence.astype(np.int32))

    def segment_hits(
        self, lon0: ArrayLike, lat0: ArrayLike, lon1: ArrayLike, lat1: ArrayLike
    ) -> tuple[I64, I32]:
        """Every (segment, thin fence) pair that touch.

        Args:
            lon0, lat0, lon1, lat1: float64[n] degrees WGS-84, the ends of segments straight in lon/lat.

        Returns:
            (rows int64[k], fence indexes int32[k]), sorted by row, then fence.

        Raises:
            ValueError: as for `locate`.
        """
        ax, ay = _points(lon0, lat0)
        bx, by = _points(lon1, lat1)
        if len(ax) != len(bx):
            raise ValueError(f"{len(ax)} segment starts but {len(bx)} ends; give arrays of one length")
        west, east = np.minimum(ax, bx), np.maximum(ax, bx)
        south, north = np.minimum(ay, by), np.maximum(ay, by)
        row, fence = self._candidates(self._thin, west, south, east, north)
        hit = np.zeros(len(row), dtype=bool)
        for which in np.unique(fence).tolist():
            own = np.flatnonzero(fence == which)
            rows = row[own]
            f = self._fences[which]
            ends = ax[rows], ay[rows], bx[rows], by[rows]
            if f.metric is not None and f.radius_m is not None:
                hit[own] = circle_touches(f.metric, f.radius_m, *ends)
            else:
                lines = shapely.linestrings(np.stack([np.stack(ends[:2], 1), np.stack(ends[2:], 1)], axis=1))
                hit[own] = shapely.intersects(f.geometry, lines)
        row, fence = row[hit], fence[hit]
        order = np.lexsort((fence, row))
        return row[order], fence[order].astype(np.int32)

    def _candidates(
        self, tree: rtree_index.Index | None, west: F64, south: F64, east: F64, north: F64
    ) -> tuple[I64, I64]:
        """Pairs (row, fence) whose boxes meet, from the R-tree's bulk query."""
        if tree is None or len(west) == 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        bulk: Any = tree.intersection_v
        found, counts = bulk(np.stack([west, south], 1), np.stack([east, north], 1))
        return np.repeat(np.arange(len(west)), counts.astype(np.int64)), np.asarray(found, dtype=np.int64)


def _tree(fences: Iterable[tuple[int, Fence]]) -> rtree_index.Index | None:
    boxes = [(i, fence.bounds, None) for i, fence in fences]
    if not boxes:
        return None
    properties = rtree_index.Property(
        leaf_capacity=_LEAF, index_capacity=_LEAF, near_minimum_overlap_factor=8
    )
    return rtree_index.Index(iter(boxes), properties=properties)


def _points(lon: ArrayLike, lat: ArrayLike) -> tuple[F64, F64]:
    """Two finite float64 arrays of one length, or a ValueError that says what is wrong where."""
    try:
        x = np.ascontiguousarray(lon, dtype=np.float64)
        y = np.ascontiguousarray(lat, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"longitudes and latitudes must be numbers: {error}") from None
    if np.ndim(lon) != 1 or np.ndim(lat) != 1 or len(x) != len(y):
        raise ValueError(
            f"longitudes of shape {np.shape(lon)} and latitudes of shape {np.shape(lat)}; "
            "give two one-dimensional arrays of one length"
        )
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"row {row} is not finite: lon {x[row]}, lat {y[row]}; set such points aside first")
    return x, y
