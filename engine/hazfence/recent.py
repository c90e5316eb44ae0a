"""Recent fixes, remembered in bounded memory, so that a late one finds its neighbours.

You are in the core, below ``engine.py``. Accepted fixes wait as they came, batch by batch, until a late
one asks for its neighbours; only then are they sorted vehicle by vehicle (``blocks.py``). Where nothing
comes late, nothing is ever sorted: what has become too old is dropped, but for the few fixes that are still
needed. How late a fix may be is no matter of what happens to be remembered: ``late.py`` goes by
``EngineSettings.recent_s``, so it is the same however the input was cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hazfence.blocks import Blocks, Neighbours
from hazfence.track import Track
from hazfence.vehicles import NEVER_US

__all__ = ["Neighbours", "Recent"]

#: Fixes of one vehicle farther apart than this are noted, so that the earlier one is not dropped too soon.
_GAP_US = 120_000_000


_T = TypeVar("_T", bound=np.generic)


class _Waiting(NamedTuple):
    """Fixes as they came: columns, and the earliest and the latest time among them."""

    codes: npt.NDArray[np.int32]
    fixes: Track
    earliest_us: int
    latest_us: int


class Recent:
    """Recent accepted fixes of all vehicles (about 50 bytes each).

    Args:
        limit_us: gives, for vehicle codes, the moments before which fixes need not be kept. The last
            fix before that moment is kept too, so every moment after it has a neighbour.
        recent_us: how long before its vehicle's last fix that is.
    """

    def __init__(
        self, limit_us: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.int64]], recent_us: int
    ) -> None:
        self._limit_us = limit_us
        self._recent_us = recent_us
        self._blocks = Blocks(limit_us)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._waiting: deque[_Waiting] = deque()
        self._latest_us = 0
        # (vehicle, time) of fixes after which there was a gap.
        self._gaps: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]] = []

    def __len__(self) -> int:
        """How many fixes there is room for in what is in use."""
        return len(self._blocks) + sum(len(w.codes) for w in self._waiting)

    def add(self, codes: npt.NDArray[np.int32], fixes: Track) -> None:
        """Remember fixes of any vehicles, in any order."""
        self._sort_in()
        self._blocks.add(codes, fixes)

    def add_in_order(
        self, codes: npt.NDArray[np.int32], fixes: Track, before_us: npt.NDArray[np.int64]
    ) -> None:
        """Remember fixes each of which comes after all that is known of its vehicle.

        Args:
            codes: vehicles, shape (n,), sorted.
            fixes: theirs, in the order of time. Columns that own their memory are kept as they are, and
                become read-only; views are copied, as they may be small parts of what they would keep alive.
            before_us: the time of each one's fix before.
        """
        if not len(codes):
            return
        earliest_us, latest_us = int(fixes.time_us.min()), int(fixes.time_us.max())
        if int(before_us.min()) < latest_us - _GAP_US:
            gap = np.flatnonzero(before_us < fixes.time_us - _GAP_US)
            gap = gap[before_us[gap] != NEVER_US]
            if len(gap):
                self._gaps.append((codes[gap], before_us[gap]))
        kept = Track(*[None if column is None else _kept(column) for column in fixes])  # type: ignore[arg-type]
        self._waiting.append(_Waiting(_kept(codes), kept, earliest_us, latest_us))
        self._latest_us = max(self._latest_us, latest_us)
        old_us = self._latest_us - self._recent_us - 2 * _GAP_US
        while self._waiting and self._waiting[0].latest_us < old_us:
            self._drop(self._waiting.popleft())

    def replace(self, code: int, fixes: Track) -> None:
        """Remember these fixes of a vehicle and no others."""
        self._sort_in()
        self._blocks.forget(code)
        self._blocks.add(np.full(len(fixes.time_us), code, np.int32), fixes)

    def neighbours(self, codes: npt.NDArray[np.int32], fixes: Track) -> Neighbours:
        """The remembered fixes next to others; see :meth:`Blocks.neighbours`."""
        self._sort_in()
        return self._blocks.neighbours(codes, fixes)

    def of(self, code: int) -> Track:
        """What is remembered of a vehicle, in time order, one fix a moment."""
        return self.each(np.array([code], np.int32))[0]

    def each(self, codes: npt.NDArray[np.int32]) -> list[Track]:
        """The same of each of some vehicles (distinct, ascending)."""
        self._sort_in()
        return self._blocks.each(codes)

    def all(self) -> tuple[npt.NDArray[np.int32], Track]:
        """Everything that has to be remembered, sorted by vehicle and time."""
        self._sort_in()
        return self._blocks.all()

    def _sort_in(self) -> None:
        """Put what waits where it can be looked up."""
        while self._waiting:
            waiting = self._waiting.popleft()
            self._blocks.add(waiting.codes, waiting.fixes)
        self._gaps.clear()

    def _drop(self, waiting: _Waiting) -> None:
        """Forget old fixes, but for those that are still needed.

        A fix is needed when it is after its vehicle's limit, or the last one before it. A fix farther
        than a gap before the limit is neither, unless a gap followed: the next fix is before the limit too.
        """
        codes, fixes = waiting[:2]
        needed = fixes.time_us > self._limit_us(codes) - _GAP_US
        if self._gaps:
            # Of one vehicle and moment there are but few: compare one by one where the vehicle is the same.
            gap_codes = np.concatenate([c for c, _ in self._gaps])
            gap_us = np.concatenate([t for _, t in self._gaps])
            order = np.lexsort((gap_us, gap_codes))
            gap_codes, gap_us = gap_codes[order], gap_us[order]
            at = np.searchsorted(gap_codes, codes)
            while True:
                inside = at < len(gap_codes)
                same = np.zeros(len(codes), np.bool_)
                same[inside] = gap_codes[at[inside]] == codes[inside]
                if not same.any():
                    break
                hit = same.copy()
                hit[same] = gap_us[at[same]] == fixes.time_us[same]
                needed |= hit
                at[same] += 1
                at[~same] = len(gap_codes)
            # Gaps that followed a fix dropped before are of no use any more. What came later may be older.
            oldest_us = min((w.earliest_us for w in self._waiting), default=self._latest_us)
            keep = gap_us >= oldest_us
            self._gaps = [(gap_codes[keep], gap_us[keep])] if keep.any() else []
        if needed.any():
            self._blocks.add(codes[needed], fixes.cut(needed))


def _kept(column: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """A column that nobody will write to."""
    column = column if column.flags.owndata else column.copy()
    column.flags.writeable = False
    return column
