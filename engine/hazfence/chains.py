"""Rows by vehicle: for each vehicle a chain of rows in columns that all vehicles share.

You are on the lowest floor of the core, below ``stays.py``. Most vehicles have no row or two, and those of
many vehicles change at once: so rows lie where there is room, each names the next of its vehicle, and what a
batch changes is written in a few array operations, however many vehicles there are.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hazfence.ordered import begins

__all__ = ["NONE", "Chains", "Found", "lump"]

_Ints = npt.NDArray[np.int64]
_Rows = npt.NDArray[np.void]

#: The head of a vehicle without a row, and the end of a chain.
NONE = -1
#: Rows of some vehicles: (int64[k] places among the vehicles, int32[k] places of the rows), by vehicle.
Found = tuple[_Ints, npt.NDArray[np.int32]]


def lump(rows: _Rows) -> _Rows:
    """The same rows as mere bytes, to be copied at once: fields that numpy knows are copied one by one.

    To pick rows, ``take`` and ``compress`` do as well; ``rows[index]`` is twenty times slower.
    """
    return rows.view(_bytes(rows.dtype.itemsize))


@cache
def _bytes(size: int) -> np.dtype[np.void]:
    return np.dtype((np.void, size))


class Chains:
    """Rows of all vehicles.

    Args:
        dtype: of a row; its field ``next`` (int32) is this room's own.

    Attributes:
        head: int32, the first row of each vehicle; below 0 for none.
    """

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self.head = np.full(64, NONE, np.int32)
        self._rows = np.zeros(64, dtype)
        self._used = 0
        self._free = np.zeros(0, np.int32)

    def grow(self, vehicles: int) -> None:
        """Have room for that many vehicles."""
        more = max(2 * len(self.head), vehicles) - len(self.head)
        if vehicles > len(self.head):
            self.head = np.append(self.head, np.full(more, NONE, np.int32))

    def rows(self, at: npt.NDArray[np.int32]) -> _Rows:
        """Rows by their places."""
        return self._rows.take(at)

    def of(self, code: int) -> _Rows:
        """The rows of one vehicle."""
        return self.rows(self.expand(np.array([code], np.int32))[1])

    def expand(self, codes: npt.NDArray[np.int32]) -> Found:
        """Where the rows of vehicles are."""
        here = self.head.take(codes)
        owner = (here >= 0).nonzero()[0]
        here, following = here.take(owner), self._rows["next"]
        owners, places = [owner], [here]
        while len(owner):
            here = following[here]  # not taken: that would copy the whole of a field first
            some = (here >= 0).nonzero()[0]
            if not len(some):
                break
            owner, here = owner.take(some), here.take(some)
            owners.append(owner)
            places.append(here)
        if len(owners) == 1:
            return owners[0], places[0]
        owner, here = np.concatenate(owners), np.concatenate(places)
        order = owner.argsort(kind="stable")
        return owner.take(order), here.take(order)

    def change(
        self,
        codes: npt.NDArray[np.int32],
        found: Found,
        stays: npt.NDArray[np.bool_],
        new_owner: _Ints,
        new: _Rows,
    ) -> tuple[_Ints, _Rows]:
        """Put other rows in the place of those of some vehicles.

        Args:
            codes: the vehicles, distinct.
            found: their rows, as :meth:`expand` gives them.
            stays: bool, shape (k,), which of those stay.
            new_owner, new: the rows to add, and whose they are (places in ``codes``).

        Returns:
            all rows that these vehicles have now: places in ``codes``, sorted, and the rows.
        """
        owner, places = found[0][stays], found[1][stays]
        if len(places) < len(stays):
            self._free = np.concatenate((self._free, found[1][~stays]))
        fresh = self._allot(len(new))
        lump(self._rows)[fresh] = lump(new)
        owner, places = np.concatenate((owner, new_owner)), np.concatenate((places, fresh))
        order = owner.argsort(kind="stable")
        owner, places = owner.take(order), places.take(order)
        first = begins(owner).nonzero()[0]
        following = np.full(len(places), NONE, np.int32)
        following[:-1] = places[1:]
        following[first[1:] - 1] = NONE
        self._rows["next"][places] = following
        self.head[codes] = NONE
        self.head[codes[owner[first]]] = places[first]
        return owner, self._rows.take(places)

    def write(self, places: npt.NDArray[np.int32], name: str, values: npt.NDArray[Any]) -> None:
        """Write one field of rows."""
        self._rows[name][places] = values

    def put(self, code: int, rows: _Rows, head: int = NONE) -> None:
        """Give a vehicle these rows and no others; with none, this ``head``."""
        if not len(rows) and self.head[code] < 0:
            self.head[code] = head
            return
        _, places = self.expand(np.array([code], np.int32))
        self._free = np.append(self._free, places)
        fresh = self._allot(len(rows))
        self._rows[fresh] = rows
        if len(rows):
            self._rows["next"][fresh] = np.append(fresh[1:], np.int32(NONE))
        self.head[code] = fresh[0] if len(rows) else head

    def _allot(self, count: int) -> npt.NDArray[np.int32]:
        """Places for new rows."""
        reused = self._free[max(len(self._free) - count, 0) :]
        self._free = self._free[: len(self._free) - len(reused)]
        more = count - len(reused)
        if self._used + more > len(self._rows):
            grown = np.zeros(max(2 * len(self._rows), self._used + more), self._rows.dtype)
            grown[: self._used] = self._rows[: self._used]
            self._rows = grown
        fresh = np.arange(self._used, self._used + more, dtype=np.int32)
        self._used += more
        return np.concatenate((reused, fresh)) if len(reused) else fresh
