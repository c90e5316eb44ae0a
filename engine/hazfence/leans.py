"""Vehicles beside a guarded border, in columns: how certain it is that they are still on their side.

You are in the core, beside ``wavers.py``. A fix nearer to a district's border than it may be wrong does not
say on which side the vehicle is; how certain a bypass is that follows therefore rests on every step since
the last fix farther away. ``settle.py`` keeps that in mind fix by fix (``states.Leaning``, or ``Waver.sure``
while the border wavers). Here a batch is, for each vehicle and district, a row of *stretches* of fixes
beside the border; what is known of a stretch is the weakest of its steps, and of what was known before the
batch where it began there. What outlives the batch is a row of ``stays.WAVER`` whose edge is ``LEANS``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.columns import Columns
from hazfence.ordered import among, ascending, distinct
from hazfence.stays import EDGE_BITS, LEANS, SURE_AT, WAVER, in_order, joined
from hazfence.vehicles import FOREVER_US
from hazfence.wavers import Settling

__all__ = ["Leans", "key_of", "leaning", "places_of"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Levels = npt.NDArray[np.uint8]
_Rows = npt.NDArray[np.void]
#: (group, rows) of what wavers or leans.
_Known = tuple[_Ints, _Rows]


def leaning(rows: _Rows) -> _Bools:
    """Which rows of ``stays.WAVER`` lean."""
    return np.asarray((rows["edge"] & EDGE_BITS) == LEANS)


def key_of(fence: npt.NDArray[Any], row: _Ints) -> _Ints:
    """Pairs as numbers that are in order by fence, then by row."""
    return (fence.astype(np.int64) << 40) | row


def places_of(key: _Ints) -> tuple[_Ints, _Ints]:
    """The (rows, fences) of such numbers."""
    return key & ((1 << 40) - 1), key >> 40


class Leans(NamedTuple):
    """The fixes of some vehicles beside guarded borders.

    Attributes:
        key: of each, ascending: the fence, and the row of the columns.
        level: how certain it is by then, 0 certain, 1 probable, 2 possible; see ``rules.prism``.
        carry_key, carry: the same before the first row of a vehicle, where it was beside one already.
        known: what leaned before the batch.
    """

    key: _Ints
    level: _Levels
    carry_key: _Ints
    carry: _Levels
    known: _Known

    @classmethod
    def of(
        cls,
        key: _Ints,
        steps: _Levels,
        c: Columns,
        carry: tuple[_Ints, _Levels],
        known: _Known,
    ) -> Leans:
        """What is known after each fix beside a border.

        Args:
            key: of the fixes, ascending.
            steps: how certain each step to one of them leaves it.
            c: the columns.
            carry: as above, keys ascending.
            known: what wavered and leaned before the batch.
        """
        leans = leaning(known[1])
        level = steps.copy()
        row, _ = places_of(key)
        first = None if c.once else row == c.starts.take(c.group_of(row))
        if len(carry[0]):
            place = carry[0].searchsorted(key)
            mine = carry[0].take(place, mode="clip") == key
            if first is not None:
                mine &= first
            at = mine.nonzero()[0]
            level[at] = np.maximum(level[at], carry[1].take(place.take(at)))
        if first is not None:
            # The weakest of the stretch so far; stretches follow one another.
            first[1:] |= key[1:] != key[:-1] + 1
            stretch = 4 * np.cumsum(first)
            level = (np.maximum.accumulate(stretch + level) - stretch).astype(np.uint8)
        return cls(key, level, *carry, (known[0][leans], known[1].compress(leans)))

    @classmethod
    def none(cls) -> Leans:
        """Nobody is beside a border, or was."""
        none, levels = np.zeros(0, np.int64), np.zeros(0, np.uint8)
        return cls(none, levels, none, levels, (none, np.zeros(0, WAVER)))

    def before(self, c: Columns, fence: _Ints, row: _Ints) -> _Levels:
        """How certain it is before some rows of the columns."""
        found = np.zeros(len(row), np.uint8)
        first = None if c.once else row == c.starts[c.group_of(row)]
        ways = [(first, self.carry_key, self.carry, row)]
        if first is not None:
            ways.append((~first, self.key, self.level, row - 1))
        for which, known, level, at in ways:
            if len(known):
                key = key_of(fence, at)
                place = known.searchsorted(key)
                mine = known.take(place, mode="clip") == key
                here = (mine if which is None else mine & which).nonzero()[0]
                found[here] = level.take(place.take(here))
        return found

    def join(self, settling: Settling | None, crossings: int, c: Columns) -> Settling | None:
        """What wavers, and what leans: all that is remembered of borders from fix to fix.

        Args:
            settling: what wavers; None for nothing.
            crossings: how many borders were crossed.
            c: the columns.
        """
        group, rows = self.known
        if not len(self.key) and not len(group):
            return settling
        if settling is None:
            settling = _nothing(crossings)
        row, fence = places_of(self.key)
        last = c.ends[c.group_of(row)] - 1
        goes_on, after = (row < last).nonzero()[0], (row == last).nonzero()[0]
        lean = self._rows(fence, self.level, c.codes[row])
        # Before each fix what leaned at the one before, unless it wavered there.
        before_row, before = c.starts[group], rows
        if len(goes_on):
            before_row, before = np.append(before_row, row[goes_on] + 1), joined([rows, lean.take(goes_on)])
        wavered = ascending(key_of(settling.before["fence"], settling.before_row))
        free = (~among(key_of(before["fence"], before_row), wavered)).nonzero()[0]
        before_row = np.append(settling.before_row, before_row[free])
        order = before_row.argsort(kind="stable")
        # And after the last one, unless it wavers.
        after_group = c.group_of(row[after])
        wavers = ascending((settling.after_group << 32) | settling.after["fence"])
        free_after = (~among((after_group << 32) | fence[after], wavers)).nonzero()[0]
        after_group = np.append(settling.after_group, after_group[free_after])
        by_group = after_group.argsort(kind="stable")
        return settling._replace(
            before_row=before_row[order],
            before=in_order([settling.before, before.take(free)], order),
            after_group=after_group[by_group],
            after=in_order([settling.after, lean.take(after[free_after])], by_group),
            rows=distinct(settling.rows, row, row[goes_on] + 1, c.starts[group]),
        )

    @staticmethod
    def _rows(fence: _Ints, level: _Levels, codes: npt.NDArray[np.int32]) -> _Rows:
        """As rows that outlive the batch."""
        rows = np.zeros(len(fence), WAVER)
        rows["fence"], rows["code"], rows["next"] = fence, codes, -1
        rows["at_us"], rows["edge"] = FOREVER_US, LEANS | (level << SURE_AT)
        return rows


def _nothing(crossings: int) -> Settling:
    """Nothing wavers: every crossing counts at once."""
    none, rows = np.zeros(0, np.int64), np.zeros(0, WAVER)
    counts, runs = np.ones(crossings, np.bool_), (none, none, none, none)
    return Settling(counts, none, rows, none, rows, none, rows, none, rows, none, none, runs)
