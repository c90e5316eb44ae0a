"""The answer of `FenceSet.locate`: which fences cover each of n points, told as keys, members or columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hazfence_fences.fenceset import FenceSet

__all__ = ["Located"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]


class Located:
    """Which fences cover each of n points.

    The coordinates are kept, not copied: members are worked out when asked for. Asking after overwriting them
    is an error, not a wrong answer.

    Attributes:
        keys: uint64[n], the sum of the covering fences' keys (modulo 2**64). Equal keys, equal sets; 0: none.
        around: int64, rows of points that may be near the edges asked about, ascending; all near ones are
            among them. None where no edges were asked about.
    """

    __slots__ = ("_fences", "_lat", "_lon", "around", "keys")

    def __init__(self, fences: FenceSet, lon: F64, lat: F64, keys: U64, around: I64 | None = None) -> None:
        self._fences = fences
        self._lon = lon
        self._lat = lat
        self.keys = keys
        self.around = around

    def __len__(self) -> int:
        return len(self.keys)

    def member_indexes(self, i: int) -> tuple[int, ...]:
        """Indexes into `FenceSet.fences` of the fences covering point i, ascending.

        Raises:
            RuntimeError: the arrays given to `locate` were overwritten since.
        """
        found = self._fences.locate_one(self._lon.item(i), self._lat.item(i))
        if self._fences.key_of(found) != self.keys.item(i):
            raise RuntimeError(
                f"the coordinates of row {i} changed since locate(); give it arrays you do not reuse"
            )
        return found

    def members(self, i: int) -> tuple[str, ...]:
        """Ids of the fences covering point i, in the order of `FenceSet.fences`."""
        return tuple(self._fences[j].id for j in self.member_indexes(i))

    def contains(self, fence_id: str) -> NDArray[np.bool_]:
        """Whether that fence covers each point: bool[n].

        Raises:
            KeyError: no such fence in the set.
        """
        fence = self._fences[fence_id]
        west, south, east, north = fence.bounds
        near = (self._lon >= west) & (self._lon <= east) & (self._lat >= south) & (self._lat <= north)
        near &= self.keys != 0
        rows = np.flatnonzero(near)
        near[rows] = fence.covers_many(self._lon[rows], self._lat[rows])
        return near

    def pairs(self) -> tuple[I64, I32]:
        """All (row int64[k], fence index int32[k]) pairs, by row, then fence: the whole answer as columns."""
        sets, back = self._sets()
        length = np.array([len(held) for held in sets], dtype=np.int64)
        flat = np.array([j for held in sets for j in held], dtype=np.int32)
        count = length[back]
        rows = np.repeat(np.arange(len(self), dtype=np.int64), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        begin = np.cumsum(length) - length
        return rows, flat[begin[back[rows]] + within]

    def _sets(self) -> tuple[list[tuple[int, ...]], I64]:
        """The distinct sets, and which of them each point is in."""
        _, first, back = np.unique(self.keys, return_index=True, return_inverse=True)
        return [self.member_indexes(i) for i in first.tolist()], back.reshape(-1)

    def __repr__(self) -> str:
        return f"<Located {len(self)} points, {int(np.count_nonzero(self.keys))} in a fence>"
