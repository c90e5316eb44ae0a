"""Visits to restricted zones of which it is not certain yet that they are, in columns.

You are in the core, beside ``wavers.py``. A visit whose fix lies no farther inside than a position may be
wrong begins as a ``possible_entry``; the first fix farther inside makes the ``restricted_entry`` of it
(``rules.prism.entry_certainty`` says so fix by fix). In columns the visit is a row of ``stays.py`` that says
so itself: :func:`doubts_of` finds for all vehicles of a batch which visits begin in doubt and at which fix a
doubt is over, :func:`confirmed` tells that as steps. A fix outside that is as far from the border ends the
visit, so while it goes on, to be far from the border is to be far inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.columns import Columns
from hazfence.crossed import Changes, Due
from hazfence.ordered import among, in_turn
from hazfence.stays import CLEARED, CONFIRMED, IN_DOUBT, NO_DISTRICT, NO_GATE, STAY, STEP, in_order, joined
from hazfence_fences.index.raster import spread

__all__ = ["Doubts", "as_told", "confirmed", "doubts_of", "in_doubt"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.void]


class Doubts(NamedTuple):
    """What became of doubts.

    Attributes:
        opens: the changes that begin a visit in doubt.
        old: of each doubt that ends with a fix far inside the visit from before the batch, -1 for none;
        opener: or the change that began it, -1 for none;
        closer: the change that ends it later in the batch, -1 for none;
        row: and the row of that fix.
    """

    opens: _Ints
    old: _Ints
    opener: _Ints
    closer: _Ints
    row: _Ints

    def of(self, which: _Ints) -> Doubts:
        """Some of the doubts that end."""
        return Doubts(self.opens, *(column[which] for column in self[1:]))

    def settle(self, steps: _Rows, open_rows: _Rows, sure_us: _Ints, still: _Ints, begun: _Rows) -> _Rows:
        """Note the moments at which doubts end in the visits, and in the steps that close them later.

        Args:
            steps: those of the changes, changed in place where they close.
            open_rows: the visits from before the batch.
            sure_us: a doubt that ends each.
            still, begun: the steps, ascending, whose visits go on, and those visits, changed in place.

        Returns:
            the visits, in doubt.
        """
        known, new, closed = self.old >= 0, self.opener >= 0, self.closer >= 0
        was = np.zeros(len(self.row), STAY)
        was[known], was[new] = open_rows[self.old[known]], steps["stay"][self.opener[new]]
        steps["stay"]["sure_us"][self.closer[closed]] = sure_us[closed]
        opener, over_us = self.opener[new], sure_us[new]
        place = still.searchsorted(opener)
        mine = among(opener, still).nonzero()[0]
        begun["sure_us"][place[mine]] = over_us[mine]
        return was


def doubts_of(
    c: Columns,
    due: Due,
    changes: Changes,
    entry: _Bools,
    before: tuple[_Ints, _Ints, _Ints],
    near: Callable[[_Ints, _Floats, _Floats, npt.NDArray[np.float32] | None], _Bools],
) -> Doubts | None:
    """Find the visits that begin in doubt, and the fixes that end a doubt; None when there is neither.

    Args:
        c: the columns.
        due: the due fixes; ``changes`` by those, in the order of time within each.
        entry: bool, a fence each: who is in it has entered a restricted zone.
        before: (number, group, fence) of the visits that were in doubt before the batch.
        near: whether places that may be wrong by so much are too near to a border to be on either side of it
            for certain.
    """
    opens = (changes.opens & entry[changes.fence] & ~changes.far).nonzero()[0]
    at = changes.row[opens]
    error_m = None if due.errors_m is None else due.errors_m[1][at]
    opens = opens[near(changes.fence[opens], due.lon[at], due.lat[at], error_m)]
    if not len(opens) and not len(before[0]):
        return None
    number, group, fence = before
    begin = np.concatenate((c.starts[group], due.at[changes.row[opens]] + 1))
    group, fence = (
        np.concatenate((group, due.group[changes.row[opens]])),
        np.concatenate((fence, changes.fence[opens])),
    )
    name = group << 32 | fence
    # A doubt lasts until its visit ends: with the next change at that border.
    mine = entry[changes.fence].nonzero()[0]
    of_change = due.group[changes.row[mine]] << 32 | changes.fence[mine]
    order = of_change.argsort(kind="stable")
    mine, of_change = mine[order], of_change[order]
    following = of_change.searchsorted(name)
    place = np.zeros(len(changes.row), np.int64)
    place[mine] = np.arange(len(mine))
    following[len(number) :] = place[opens] + 1
    ends = following < len(mine)
    ends[ends] = of_change[following[ends]] == name[ends]
    closer = np.full(len(name), -1)
    closer[ends] = mine[following[ends]]
    end = c.ends[group]
    end[ends] = due.at[changes.row[closer[ends]]]
    owner, row = spread(begin, end - begin)
    t = c.track
    error_m = None if t.error_m is None else t.error_m[row]
    sure = (~near(fence[owner], t.lon[row], t.lat[row], error_m)).nonzero()[0]
    over, first = np.unique(owner[sure], return_index=True)
    row = row[sure[first]]
    old = np.concatenate((number, np.full(len(opens), -1)))[over]
    opener = np.concatenate((np.full(len(number), -1), opens))[over]
    return Doubts(opens, old, opener, closer[over], row)


def confirmed(stays: _Rows, row: _Ints, due: Due, possible: _Bools) -> tuple[_Ints, _Rows]:
    """Tell doubts that are over as steps: the entry, and the end of what was but possible.

    Args:
        stays: the visits as they were, in doubt.
        row: of the due fixes, those that make them certain.
        due: the fixes.
        possible: bool, a fence each: a possible entry is told.

    Returns:
        (due fixes, steps).
    """
    steps = np.zeros(len(row), STEP)
    steps["stay"], steps["what"], steps["gate"], steps["near"] = stays, CONFIRMED, NO_DISTRICT, NO_GATE
    steps["at_us"], steps["lon"], steps["lat"] = stays["start_us"], due.lon[row], due.lat[row]
    told = possible[stays["fence"]].nonzero()[0]
    ends = steps.take(told)
    ends["what"], ends["at_us"] = CLEARED, due.fix_us[row[told]]
    return np.append(row, row[told]), joined([steps, ends])


def as_told(row: _Ints, steps: _Rows, more: tuple[_Ints, _Rows]) -> tuple[_Ints, _Rows]:
    """Steps and others among them, as they are told: what happened first in a fix first, then by fence."""
    parts = [steps, more[1]]
    at_us, fence = (
        np.concatenate(columns)
        for columns in zip(*((rows["at_us"], rows["stay"]["fence"]) for rows in parts), strict=True)
    )
    row = np.append(row, more[0])
    order = in_turn(row, at_us, fence)
    return row[order], in_order(parts, order)


def in_doubt(stays: _Rows) -> _Bools:
    """Which visits are in doubt."""
    return np.asarray(stays["sure_us"] == IN_DOUBT)
