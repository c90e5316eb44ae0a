"""Sets of fences by their keys: which fences a key stands for, and what follows for every set of them.

You are in the core, below ``screen.py``. Where a fix lies is a 64-bit key, the sum of the keys of the
fences that cover it (see ``hazfence_fences``). What a key stands for is looked up once, when it is
first met, and remembered here as columns, so that what many fixes' sets have in common, or not, is
worked out without a Python object a fix. Where fences lie thick there are hundreds of thousands of sets, and
each fix asks for its own three times: so keys are found in a table by their upper bits, which takes two looks
into memory, where a search among sorted keys takes twenty.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hazfence_fences import Fence, FenceSet
from hazfence_fences.index.raster import spread
from hazfence_fences.index.table import Pool

__all__ = ["Sets"]

_Ints = npt.NDArray[np.int64]
_Keys = npt.NDArray[np.uint64]

#: No place: there is nothing at this slot.
_FREE = -1
#: Of a set's span, the bits that say how many members it has.
_COUNT_BITS = 24
_LEAST_BITS = 8


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
        # In the order in which they were met, the empty set first.
        self._keys = Pool(np.uint64, [0])
        self._spans = Pool(np.int64, [0])  # of each key's members: where they begin, and how many
        self._members = Pool(np.int32)
        self._make_room()
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
        return self._keys.used

    def fences_of(self, key: int) -> tuple[Fence, ...]:
        """The fences of a set that was met before, in the order of the fence set."""
        found = self._tuples.get(key)
        if found is None:
            found = self._tuples[key] = tuple(self._fences[i] for i in self.indexes(key))
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
        fresh = (self._look(key) == _FREE).nonzero()[0]
        if not len(fresh):
            return
        new, first = np.unique(key[fresh], return_index=True)
        where = fresh[first]
        rows, members = self._fences.members(lon[where], lat[where])
        self._add(new, np.bincount(rows, minlength=len(new)), members)

    def members(self, key: _Keys) -> tuple[_Ints, npt.NDArray[np.int32]]:
        """The members of sets met before: (int64[k] rows of ``key``, int32[k] fence indexes), by row."""
        span = self._spans.array.take(self._look(key))
        rows, places = spread(span >> _COUNT_BITS, span & ((1 << _COUNT_BITS) - 1))
        return rows, self._members.array.take(places)

    def indexes(self, key: int) -> list[int]:
        """The members (fence indexes) of a set met before."""
        return self.members(np.array([key], np.uint64))[1].tolist()  # type: ignore[no-any-return]

    def places(self, key: _Keys) -> _Ints:
        """The places of sets met before in :attr:`keys`."""
        return self._look(key).astype(np.int64)

    @property
    def keys(self) -> _Keys:
        """The keys of all sets met so far, in the order in which they were met."""
        return self._keys.array[: self._keys.used]

    def _look(self, key: _Keys) -> npt.NDArray[np.int32]:
        """The place of each key in :attr:`keys`; ``_FREE`` for those that were never met."""
        slot = (key >> self._shift).view(np.int64)
        found = self._table.take(slot)
        missed = (self._keys.array.take(found) != key).nonzero()[0]
        while len(missed):  # those that are nowhere, and the few that had to make way
            missed = missed.compress(found.take(missed) != _FREE)
            at = (slot.take(missed) + 1) & (len(self._table) - 1)
            slot[missed] = at
            at = self._table.take(at)
            found[missed] = at
            missed = missed.compress(self._keys.array.take(at) != key.take(missed))
        return found

    def _enter(self, places: npt.NDArray[np.int32]) -> None:
        """Have keys found: at the slot that their upper bits name, or the next one that is free."""
        slot = (self._keys.array.take(places) >> self._shift).view(np.int64)
        while len(places):
            free = (self._table.take(slot) == _FREE).nonzero()[0]
            self._table[slot.take(free)] = places.take(free)  # of several at one slot one stays
            left = (self._table.take(slot) != places).nonzero()[0]
            places, slot = places.take(left), (slot.take(left) + 1) & (len(self._table) - 1)

    def _make_room(self) -> None:
        """Have four slots a key: keys are random numbers, so few have to make way for others."""
        bits = max((4 * len(self)).bit_length(), _LEAST_BITS)
        self._shift = np.uint64(64 - bits)
        self._table = np.full(1 << bits, _FREE, np.int32)
        self._enter(np.arange(len(self), dtype=np.int32))

    def _add(self, key: _Keys, count: _Ints, members: npt.NDArray[np.int32]) -> None:
        """Take in sets with new, distinct keys; ``members`` holds ``count`` indexes for each."""
        starts = count.cumsum() - count + self._members.append(members)
        self._spans.append((starts << _COUNT_BITS) | count)
        begin = self._keys.append(key)
        if 2 * len(self) > len(self._table):
            self._make_room()
        else:
            self._enter(np.arange(begin, len(self), dtype=np.int32))
