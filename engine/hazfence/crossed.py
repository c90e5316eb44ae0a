"""Borders crossed in columns: where two fixes lie on different sides of one, and circles passed through.

You are in the core, below ``plain.py``. For many fixes at once, each with the one before it: which fences
were entered and left on the way, when and where, to the last bit as ``presence.py`` finds it fix by fix.
What of that counts is for ``wavers.py`` to say.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hazfence.columns import Before, Columns
from hazfence.ordered import among, begins, in_turn
from hazfence.presence import Edge
from hazfence.rules.prism import passage_levels
from hazfence.sets import Sets
from hazfence.stays import EDGES
from hazfence.vehicles import NEVER_US
from hazfence_fences import FenceSet
from hazfence_fences.index.raster import spread

__all__ = ["CROSSING", "Changes", "Crossed", "Due", "Raw", "places"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]
_Ends = tuple[_Floats, _Floats, _Floats, _Floats]
_T = TypeVar("_T", bound=np.generic)

#: Edges by their number.
FIRST_FIX, CROSSING, GAP = (EDGES.index(e) for e in (Edge.FIRST_FIX, Edge.CROSSING, Edge.GAP))


class Due:
    """Due fixes of some vehicles, with the fix before each: columns of shape (n,), made when asked for.

    Args:
        c, before: the columns of the batch, and what was before.
        rows: those of the fixes, ascending (or in any order, where only the keys are asked for).

    Attributes:
        at: the rows.
        group: of each.
    """

    def __init__(self, c: Columns, before: Before, rows: _Ints) -> None:
        self._c, self._before = c, before
        self.at = rows
        self.group = c.group_of(rows)

    def _prev(self, column: npt.NDArray[_T], first: npt.NDArray[_T]) -> npt.NDArray[_T]:
        if self._c.once:
            return first.take(self.group)
        rows = self.at
        heads = rows == self._c.starts[self.group]
        return np.where(heads, first[self.group], column[np.maximum(rows - 1, 0)])

    @cached_property
    def codes(self) -> npt.NDArray[np.int32]:
        """The vehicles."""
        return self._c.codes.take(self.at)

    @cached_property
    def first(self) -> _Bools:
        """Which are their vehicle's first due fix of the batch."""
        return begins(self.group)

    @cached_property
    def prev_us(self) -> _Ints:
        """Of the fix before; ``NEVER_US`` for none."""
        return self._prev(self._c.track.time_us, self._before.time_us)

    @cached_property
    def prev_beside(self) -> _Bools:
        """Whether the fix before, of those that are the first of their vehicle, may lie beside a border."""
        return self._before.beside.take(self.group)

    @cached_property
    def prev_lon(self) -> _Floats:
        """Of the fix before."""
        return self._prev(self._c.track.lon, self._before.lon)

    @cached_property
    def prev_lat(self) -> _Floats:
        """Of the fix before."""
        return self._prev(self._c.track.lat, self._before.lat)

    @cached_property
    def prev_kmh(self) -> npt.NDArray[np.float32]:
        """Of the fix before."""
        return self._prev(self._c.track.speed_kmh, self._before.speed_kmh)

    @cached_property
    def prev_alarm(self) -> npt.NDArray[np.uint32]:
        """Of the fix before."""
        return self._prev(self._c.track.alarm, self._before.alarm)

    @cached_property
    def fix_us(self) -> _Ints:
        """Of the fix."""
        return self._c.track.time_us.take(self.at)

    @cached_property
    def lon(self) -> _Floats:
        """Degrees."""
        return self._c.track.lon.take(self.at)

    @cached_property
    def lat(self) -> _Floats:
        """Degrees."""
        return self._c.track.lat.take(self.at)

    @cached_property
    def kmh(self) -> npt.NDArray[np.float32]:
        """Of the fix."""
        return self._c.track.speed_kmh.take(self.at)

    @cached_property
    def key_before(self) -> npt.NDArray[np.uint64]:
        """The set of fences of the fix before."""
        return self._prev(self._c.track.key, self._before.key)

    @cached_property
    def key(self) -> npt.NDArray[np.uint64]:
        """The set of fences of the fix."""
        return self._c.track.key.take(self.at)

    @cached_property
    def errors_m(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None:
        """By how much both may be wrong, as ``Track`` has it; None when it is 0 of all."""
        t, before = self._c.track, self._before
        if t.error_m is None and before.error_m is None:
            return None
        fix_m = t.errors_m()
        return self._prev(fix_m, before.errors_m), fix_m.take(self.at)

    def wrong_m(self, settle_m: float, rows: npt.NDArray[Any]) -> tuple[_Floats, _Floats] | None:
        """By how many metres the fix before some rows, and theirs, may be wrong; None: ``settle_m`` each."""
        if self.errors_m is None:
            return None
        prev_m, fix_m = (np.maximum(error_m[rows].astype(np.float64), settle_m) for error_m in self.errors_m)
        return prev_m, fix_m


class Raw(NamedTuple):
    """Borders crossed as the positions have it; columns of shape (k,), by row."""

    row: _Ints  #: of the batch's columns
    group: _Ints
    fence: _Ints
    opens: _Bools
    at_us: _Ints
    lon: _Floats
    lat: _Floats
    prev_us: _Ints
    fix_us: _Ints
    edge: npt.NDArray[np.uint8]
    near: _Bools | None  #: the fix is nearer to the border than it may be wrong; None: nobody asked

    def far(self) -> _Bools:
        """Which fixes are known to be farther from the border than they may be wrong."""
        if self.near is None:
            return np.zeros(len(self.row), np.bool_)
        return np.asarray(~self.near & (self.prev_us != NEVER_US))


class Changes(NamedTuple):
    """Visits that open or close; columns of shape (k,)."""

    row: _Ints  #: of the due fixes
    fence: _Ints
    opens: _Bools
    at_us: _Ints
    lon: _Floats
    lat: _Floats
    from_us: _Ints  #: the fixes around the crossing
    to_us: _Ints
    how: npt.NDArray[np.uint8]
    seen: npt.NDArray[np.uint8]  #: how each visit was seen, see ``stays.py``
    touched: _Ints  #: the checkpoints met since, see ``wavers.py``
    far: _Bools  #: whether the fix is known to be farther from the border than it may be wrong

    def add(self, more: Changes) -> Changes:
        """Both, one behind the other."""
        both: Any = zip(self, more, strict=True)
        return Changes(*(np.concatenate(pair) for pair in both))

    def take(self, which: npt.NDArray[Any]) -> Changes:
        """Some of them, or in another order."""
        which = which.nonzero()[0] if which.dtype == np.bool_ else which
        columns: Any = self
        return Changes(*(column.take(which) for column in columns))


class Crossed:
    """Finds crossings under one set of fences.

    Args:
        fences: the fences in force.
        fine: bool, a fence each: the others are not looked at here.
        max_gap_us: two fixes farther apart than this witness nothing.
        top_kmh, error_m: how fast a vehicle can be, and by how much a position may be wrong.
        guards: bool, a fence each: of its border ``beside.py`` knows who is near. None: nobody will ask.
    """

    def __init__(
        self,
        fences: FenceSet,
        fine: _Bools,
        max_gap_us: int,
        top_kmh: float,
        error_m: float,
        guards: _Bools | None,
    ) -> None:
        self._fences = fences
        self._fine = fine
        self._all_fine = bool(fine.all())
        self._max_gap_us = max_gap_us
        self._limits = top_kmh, error_m
        self._guards = guards

    def raw(self, c: Columns, due: Due, sets: Sets, failed: _Bools) -> tuple[Raw, _Ints]:
        """Borders crossed with each due fix, by the positions, and what covers it or the one before.

        ``Raw.row`` is a place among the due fixes here; what covers is (row of the columns << 32 | fence),
        of all of them only where a thin fence was touched.
        """
        pairs, some = [], None
        if self._all_fine and not len(c.hit_rows):
            some = (due.key_before != due.key).nonzero()[0]
        for after, key in enumerate((due.key_before, due.key)):
            row, member = sets.members(key if some is None else key.take(some))
            if some is not None:
                row = some.take(row)
            elif not self._all_fine:
                failed[due.group[row[~self._fine[member]]]] = True
            pairs.append((row << 33) | (member.astype(np.int64) << 1) | after)
        both = np.concatenate(pairs)
        both.sort(kind="stable")  # two runs in order, merged
        first = begins(both >> 1)
        last = np.ones(len(both), np.bool_)
        last[:-1] = first[1:]
        alone = both.compress(first & last)
        row, fence = alone >> 33, (alone >> 1) & 0xFFFF_FFFF
        opens = (alone & 1).astype(np.bool_)
        prev_us, fix_us = due.prev_us.take(row), due.fix_us.take(row)
        at_us, lon, lat = fix_us.copy(), due.lon.take(row), due.lat.take(row)
        witnessed = fix_us - prev_us <= self._max_gap_us
        first_ever = prev_us == NEVER_US
        edge = np.where(first_ever, FIRST_FIX, np.where(witnessed, CROSSING, GAP)).astype(np.uint8)
        known = (~first_ever).nonzero()[0]
        r = row.take(known)
        ends = due.prev_lon.take(r), due.prev_lat.take(r), due.lon.take(r), due.lat.take(r)
        failed[due.group[r[np.abs(ends[2] - ends[0]) > 180.0]]] = True
        part, near = self._crossings(due, r, fence.take(known), ~opens.take(known), ends)
        if near is not None and len(known) < len(row):
            near, some = np.zeros(len(row), np.bool_), near
            near[known] = some
        unknown = part != part
        if unknown.any():
            failed[due.group[r[unknown]]] = True
            part[unknown] = 0.0
        moments = prev_us.take(known), fix_us.take(known)
        at_us[known] = moment = _moments(part, *moments)
        lon[known], lat[known] = places(moment, *moments, *ends)
        covers = (due.at[both >> 33] << 32) | ((both >> 1) & 0xFFFF_FFFF)
        raw = Raw(row, due.group[row], fence, opens, at_us, lon, lat, prev_us, fix_us, edge, near)
        return raw, covers

    def _crossings(
        self, due: Due, at: _Ints, fence: _Ints, leaving: _Bools, ends: _Ends
    ) -> tuple[_Floats, _Bools | None]:
        """Where due fixes ``at`` have crossed borders, and which are near to those, if anybody will ask."""
        index, error_m = fence.astype(np.int32), self._limits[1]
        if self._guards is None or self._guards.take(fence).all():
            return self._fences.crossings(index, leaving, *ends, sound=True), None
        wrong_m = due.wrong_m(error_m, at)
        return self._fences.crossings_near(index, leaving, ends, error_m if wrong_m is None else wrong_m[1])

    def hits(self, c: Columns, at: _Ints) -> tuple[_Ints, _Ints]:
        """The thin circles that the segments to some rows touch: (place among the rows, fence)."""
        if not len(c.hit_rows):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        first = c.hit_rows.searchsorted(at)
        row, hit = spread(first, c.hit_rows.searchsorted(at, side="right") - first)
        return row, c.hit_fences[hit].astype(np.int64)

    def passed(self, changes: Changes, c: Columns, due: Due, by_key: _Ints, failed: _Bools) -> Changes:
        """Add the circles passed through on the way to a due fix, and put all of it in order."""
        row, fence = self.hits(c, due.at)
        if len(row):
            failed[due.group[row[~self._fine[fence]]]] = True
            # A circle touched that holds neither fix was passed through, unless it was but touched.
            passed = (~among((due.at[row] << 32) | fence, by_key)).nonzero()[0]
            changes = changes.add(self._passages(row[passed], fence[passed], due))
        # In a step what happened first is told first; what happened at one moment in the order of fences.
        return changes.take(in_turn(changes.row, changes.at_us, changes.fence))

    def _passages(self, row: _Ints, fence: _Ints, due: Due) -> Changes:
        """Circles entered and left between two fixes."""
        ends = due.prev_lon[row], due.prev_lat[row], due.lon[row], due.lat[row]
        begin, end = self._fences.passages(fence.astype(np.int32), *ends, sound=True)
        length_us = due.fix_us[row] - due.prev_us[row]
        lasting = (np.rint(begin * length_us) < np.rint(end * length_us)).nonzero()[0]
        opens = np.repeat([True, False], len(lasting))
        row, fence = np.tile(row[lasting], 2), np.tile(fence[lasting], 2)
        moments = due.prev_us[row], due.fix_us[row]
        at_us = _moments(np.concatenate((begin[lasting], end[lasting])), *moments)
        ends = due.prev_lon[row], due.prev_lat[row], due.lon[row], due.lat[row]
        place = places(at_us, *moments, *ends)
        edge = np.full(len(row), CROSSING, np.uint8)
        none = np.zeros(len(row), np.int64)
        once = row[: len(lasting)]
        top_kmh, error_m = self._limits
        wrong_m = due.wrong_m(error_m, once)
        seen = np.uint8(1) + passage_levels(
            *self._fences.circles(fence[: len(lasting)].astype(np.int32)),
            tuple(end[: len(lasting)] for end in ends),
            (moments[1] - moments[0])[: len(lasting)] / 1e6,
            (due.prev_kmh[once], due.kmh[once]),
            top_kmh,
            error_m if wrong_m is None else np.maximum(*wrong_m),
            None if wrong_m is None else wrong_m[0] + wrong_m[1],
        )
        seen, far = np.tile(seen, 2), np.zeros(len(row), np.bool_)
        return Changes(row, fence, opens, at_us, *place, *moments, edge, seen, none, far)


def _moments(part: _Floats, prev_us: _Ints, fix_us: _Ints) -> _Ints:
    """When a vehicle was at a part of the way between two fixes."""
    return prev_us + np.rint(part * (fix_us - prev_us)).astype(np.int64)


def places(
    at_us: _Ints, prev_us: _Ints, fix_us: _Ints, lon0: _Floats, lat0: _Floats, lon1: _Floats, lat1: _Floats
) -> tuple[_Floats, _Floats]:
    """Where a vehicle was at a moment between two fixes; the operations of the judge, in its order."""
    with np.errstate(invalid="ignore", divide="ignore"):
        part = (at_us - prev_us) / (fix_us - prev_us)
    late, early = at_us >= fix_us, at_us <= prev_us
    lon = np.where(late, lon1, np.where(early, lon0, lon0 + part * (lon1 - lon0)))
    lat = np.where(late, lat1, np.where(early, lat0, lat0 + part * (lat1 - lat0)))
    return lon, lat
