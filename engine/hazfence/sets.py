"""Sets of fences by their keys: which fences a key stands for, and what follows for every set of them.

You are in the core, below ``screen.py``. Where a fix lies is a 64-bit key, the sum of the keys of the
fences that cover it (see ``hazfence_fences``). What a key stands for is looked up once, when it is
first met, and remembered here as columns, so that what many fixes' sets have in common, or not, is
worked out without a Python object a fix.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hazfence_fences import Fence, FenceSet
from hazfence_fences.index.raster import spread

__all__ = ["Sets"]

_Ints = npt.NDArray[np.int64]
_Keys = npt.NDArray[np.uint64]


class Sets:
    """The sets met so far, under one set of fences.

    Args:
        fences: the fences in force.
        known: fence ids by set key, as they were under other fences; fences that are gone are left
            out, and such a set has another key now, see :attr:`rekeyed`.
    """

    def __init__(self, fences: FenceSet, known: Mapping[int, tuple[str, ...]] | None = None) -> None:
        self._fences = fences
        #: Keys of ``known`` that stand for other keys now, because fences are gone.
        self.rekeyed: dict[int, int] = {}
        self._keys = np.zeros(1, np.uint64)  # sorted
        self._starts = np.zeros(1, np.int64)  # of each key's members
        self._counts = np.zeros(1, np.int64)
        self._members = np.zeros(0, np.int32)
        self._tuples: dict[int, tuple[Fence, ...]] = {0: ()}
        found: dict[int, list[int]] = {}
        for key, ids in (known or {}).items():
            indexes = sorted(fences.index_of(i) for i in ids if i in fences)
            new_key = fences.key_of(indexes)
            if new_key != key:
                self.rekeyed[key] = new_key
            if new_key:
                found[new_key] = indexes
        if found:
            self._add(
                np.array(list(found), np.uint64),
                np.array([len(m) for m in found.values()], np.int64),
                np.array([i for m in found.values() for i in m], np.int32),
            )

    def __len__(self) -> int:
        return len(self._keys)

    def fences_of(self, key: int) -> tuple[Fence, ...]:
        """The fences of a set that was met before, in the order of the fence set."""
        found = self._tuples.get(key)
        if found is None:
            at = self._find(np.array([key], np.uint64))[0]
            lo = self._starts[at]
            indexes = self._members[lo : lo + self._counts[at]].tolist()
            found = self._tuples[key] = tuple(self._fences[i] for i in indexes)
        return found

    def fences_of_old(self, key: int) -> tuple[Fence, ...]:
        """The fences of a set as it was known under other fences, without those that are gone."""
        return self.fences_of(self.rekeyed.get(key, key))

    def ids(self, key: int) -> tuple[str, ...]:
        """The fence ids of a set that was met before."""
        return tuple(fence.id for fence in self.fences_of(key))

    def meet(self, key: _Keys, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> None:
        """Look up what the keys stand for that were never met.

        Args:
            key: uint64, shape (n,), the set of each point.
            lon, lat: the points, degrees WGS-84.
        """
        at = self._keys.searchsorted(key)
        fresh = (self._keys.take(at, mode="clip") != key).nonzero()[0]
        if not len(fresh):
            return
        new, first = np.unique(key[fresh], return_index=True)
        where = fresh[first]
        rows, members = self._fences.members(lon[where], lat[where])
        self._add(new, np.bincount(rows, minlength=len(new)), members)

    def members(self, key: _Keys) -> tuple[_Ints, npt.NDArray[np.int32]]:
        """The members of sets met before: (int64[k] rows of ``key``, int32[k] fence indexes), by row."""
        at = self._find(key)
        rows, places = spread(self._starts[at], self._counts[at])
        return rows, self._members[places]

    def indexes(self, key: int) -> list[int]:
        """The members (fence indexes) of a set met before."""
        return self.members(np.array([key], np.uint64))[1].tolist()  # type: ignore[no-any-return]

    def places(self, key: _Keys) -> _Ints:
        """The places of sets met before in :attr:`keys`."""
        return self._find(key)

    @property
    def keys(self) -> _Keys:
        """The keys of all sets met so far, ascending."""
        return self._keys

    def _find(self, key: _Keys) -> _Ints:
        return self._keys.searchsorted(key)

    def _add(self, key: _Keys, count: _Ints, members: npt.NDArray[np.int32]) -> None:
        """Take in sets with new, distinct keys; ``members`` holds ``count`` indexes for each."""
        starts = count.cumsum() - count + len(self._members)
        self._members = np.append(self._members, members)
        order = key.argsort()
        at = self._keys.searchsorted(key[order])
        self._keys = np.insert(self._keys, at, key[order])
        self._starts = np.insert(self._starts, at, starts[order])
        self._counts = np.insert(self._counts, at, count[order])
