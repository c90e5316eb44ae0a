"""Borders settled in columns: which crossings count now, which are taken back, which go on wavering.

You are in the core, beside ``settle.py``, which says what it means to waver and does this fix by fix.
:class:`Wavers` does it for all vehicles of a batch at once. Seen from one vehicle and one fence, a batch is
a row of *runs*: stretches of fixes on one side of the border as the positions have it. A run is *decided*
at its first fix that is far enough from the border, or that comes long enough after the crossing. So what a
vehicle counts as is the side of the last run that was decided, and a run on the other side is a crossing:
at once when its first fix decides it, late when another one does, and one that wavers as long as none does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.beside import Beside
from hazfence.chains import lump
from hazfence.columns import Columns
from hazfence.crossed import Raw
from hazfence.ordered import among, begins, distinct
from hazfence.stays import EDGE_BITS, SURE_AT, WAVER
from hazfence_fences import FenceSet
from hazfence_fences.index.raster import spread

__all__ = ["Settling", "Wavers"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.void]

#: Fixes looked at together in a run that is not decided; more of it later.
_AT_ONCE = 8
#: More sets of checkpoints than a row can number are a case for the judge.
_MOST_SETS = 1 << 15


class Settling(NamedTuple):
    """What became of crossings.

    Attributes:
        counts: bool, for each raw crossing whether it counts at once.
        late_row, late: the rows at which crossings from before count, and those.
        way_row, way: each row up to which one wavers, as long as it is not taken back, and what does.
        before_row, before: for each row that was judged while the vehicle wavered, what did before it.
        after_group, after: what goes on wavering.
        rows: all rows that are judged because of it, ascending.
        lost: groups of which nothing could be said.
        runs: of what is late, way, before and after, which run of wavering it belongs to, numbered from 0.
    """

    counts: _Bools
    late_row: _Ints
    late: _Rows
    way_row: _Ints
    way: _Rows
    before_row: _Ints
    before: _Rows
    after_group: _Ints
    after: _Rows
    rows: _Ints
    lost: _Ints
    runs: tuple[_Ints, _Ints, _Ints, _Ints]

    def weaken(self, level: npt.NDArray[np.uint8]) -> None:
        """Note how certain each crossing is, given how certain each row of its way leaves it.

        Args:
            level: of each row of the way: 0 certain, 1 probable, 2 possible, see ``rules.prism``.
        """
        of_late, of_way, of_before, of_after = self.runs
        # What it was before the batch, and the weakest of the way so far; runs follow one another.
        weakest = np.maximum.accumulate(4 * of_way + np.maximum(level, self.way["edge"] >> SURE_AT))
        weakest = (weakest - 4 * of_way).astype(np.uint8)
        key = (of_way << 40) | self.way_row
        for rows, wanted in (
            (self.late, (of_late << 40) | self.late_row),
            (self.before, (of_before << 40) | (self.before_row - 1)),
            (self.after, key[of_way.searchsorted(of_after, side="right") - 1] if len(key) else key),
        ):
            place = key.searchsorted(wanted)
            known = (key.take(place, mode="clip") == wanted).nonzero()[0] if len(key) else place[:0]
            edge = rows["edge"][known] & EDGE_BITS
            rows["edge"][known] = edge | (weakest[place[known]] << SURE_AT)


class Wavers:
    """Settles borders under one set of fences.

    Args:
        fences: the fences in force.
        settle_m, settle_s: see ``EngineSettings``.
        beside: knows the guarded borders among them.

    Attributes:
        guards: bool, a fence each: whether its border is guarded.
    """

    def __init__(self, fences: FenceSet, settle_m: float, settle_s: float, beside: Beside) -> None:
        self._fences, self._beside = fences, beside
        self.guards = beside.guards
        self._settle_m = settle_m
        self.settle_us = round(settle_s * 1e6)
        self._settles = np.array([not (f.thin or f.timed) for f in fences.fences], np.bool_)
        self.on = bool(settle_m) and bool(self._settles.any())
        #: Sets of checkpoints by their number; of each the checkpoints' numbers, ascending.
        self.sets: list[tuple[int, ...]] = [()]
        self._numbers: dict[tuple[int, ...], int] = {(): 0}

    def number(self, gates: tuple[int, ...]) -> int | None:
        """The number of a set of checkpoints; None when there are too many sets."""
        known = self._numbers.get(gates)
        if known is None and len(self.sets) < _MOST_SETS:
            known = self._numbers[gates] = len(self.sets)
            self.sets.append(gates)
        return known

    def settle(
        self,
        c: Columns,
        raw: Raw,
        first_ever: _Bools,
        known: tuple[_Ints, _Rows],
        met: Callable[[_Ints], tuple[_Ints, _Ints]],
    ) -> Settling | None:
        """Say what becomes of the borders crossed in a batch; None when all of it counts at once.

        Args:
            c: the columns.
            raw: borders crossed.
            first_ever: which of them are in truth a vehicle's first fix.
            known: what wavered before: (group, rows).
            met: gives, for rows of the columns, the checkpoints each has to do with: (int64[k] places among
                the rows, int64[k] numbers of the checkpoints).
        """
        asked = self._settles[raw.fence] & ~first_ever
        if raw.near is None:
            near, at = np.zeros(len(raw.row), np.bool_), asked.nonzero()[0]
            near[at] = self._unsure(c, raw.row[at], raw.fence[at], raw.at_us[at])
        else:
            near = asked & raw.near & (raw.fix_us - raw.at_us < self.settle_us)
        if not near.any() and not len(known[0]):
            return None
        # Only what happens at these borders has to be looked at.
        pair = (raw.group << 32) | raw.fence
        old = (known[0] << 32) | known[1]["fence"]
        shaky = distinct(pair[near], old)
        place = shaky.searchsorted(pair)
        mine = (shaky.take(place, mode="clip") == pair).nonzero()[0]

        pair = np.concatenate((old, pair[mine]))
        # Of one border, what is from before comes first, then the batch in the order of rows, as it is here.
        order = pair.argsort(kind="stable")
        source = np.concatenate((np.full(len(old), -1), mine))[order]  # -1: from before
        waver = self._as_wavers(c, raw, mine, known).take(order)
        pair, group = pair[order], pair[order] >> 32
        side = ~waver["inside"]
        fresh = source >= 0
        begin = c.starts[group]
        begin[fresh] = raw.row[source[fresh]]
        starts = begins(pair)
        last = np.ones(len(pair), np.bool_)
        last[:-1] = starts[1:]
        end = np.empty_like(begin)
        end[:-1] = begin[1:]
        end[last] = c.ends[group[last]]

        decided = np.full(len(pair), -1)
        sure = fresh.copy()
        sure[fresh] = ~near[source[fresh]]
        decided[sure] = begin[sure]
        at = (~sure).nonzero()[0]
        self._decide(c, waver, at, (begin + fresh)[at], end[at], decided)

        # What a vehicle counted as before each run: the side of the last one decided.
        index = np.arange(len(pair))
        first = np.maximum.accumulate(np.where(starts, index, 0))
        then = np.maximum.accumulate(np.where(decided >= 0, index, -1))
        then[1:] = then[:-1].copy()
        then[:1] = -1
        counted = np.where(then >= first, side[then], ~side[first])
        crosses = side != counted
        at_once = crosses & fresh & (decided == begin)
        counts = np.ones(len(raw.row), np.bool_)
        counts[mine] = False
        counts[source[at_once]] = True

        w = (crosses & ~at_once).nonzero()[0]
        waver, group, fresh, begin = waver.take(w), group[w], fresh[w], begin[w]
        decided, end = decided[w], end[w]
        goes_on = (decided < 0) & (end == c.ends[group])
        until = np.where(decided >= 0, decided, np.where(goes_on, end - 1, end))
        from_ = begin + fresh
        owner, row = spread(from_, until - from_ + 1)
        before = waver.take(owner)
        lost = self._touch(waver, (begin, until, group), (owner, row, before), met)
        late = (decided >= 0).nonzero()[0]
        # The row that takes it back is no part of the way.
        way, way_row = spread(begin, until - begin + (goes_on | (decided >= 0)))
        return Settling(
            counts,
            decided[late],
            waver.take(late),
            way_row,
            waver.take(way),
            row,
            before,
            group[goes_on],
            waver.compress(goes_on),
            distinct(row, begin[fresh]),
            lost,
            (late, way, owner, np.flatnonzero(goes_on)),
        )

    def _as_wavers(self, c: Columns, raw: Raw, mine: _Ints, known: tuple[_Ints, _Rows]) -> _Rows:
        """Crossings from before and of the batch, as wavers."""
        old = len(known[0])
        waver = np.zeros(old + len(mine), WAVER)
        lump(waver)[:old] = lump(known[1])
        new = waver[old:]
        new["at_us"], new["lon"], new["lat"] = raw.at_us[mine], raw.lon[mine], raw.lat[mine]
        new["prev_us"], new["fix_us"] = raw.prev_us[mine], raw.fix_us[mine]
        new["code"], new["fence"], new["next"] = c.codes[raw.row[mine]], raw.fence[mine], -1
        new["edge"], new["inside"] = raw.edge[mine], ~raw.opens[mine]
        return waver

    def _unsure(self, c: Columns, row: _Ints, fence: _Ints, at_us: _Ints) -> _Bools:
        """Which fixes decide nothing about a border crossed at a moment."""
        t = c.track
        if self.guards.take(fence).all():  # that was asked of all fixes
            near = among(row << 32 | fence, c.beside)
        else:
            near = self.near(fence, t.lon[row], t.lat[row], None if t.error_m is None else t.error_m[row])
        near &= c.track.time_us[row] - at_us < self.settle_us
        return near

    def near(
        self, fence: _Ints, lon: _Floats, lat: _Floats, error_m: npt.NDArray[Any] | None = None
    ) -> _Bools:
        """Which places are too near to a border to be on either side of it for certain.

        ``error_m`` is by how much each may be wrong, where that is more than ``settle_m``; None for none.
        """
        if not len(fence):
            return np.zeros(0, np.bool_)
        if error_m is not None and error_m.any():
            within_m = np.maximum(error_m.astype(np.float64), self._settle_m)
            return self._fences.near_border(fence.astype(np.int32), lon, lat, within_m, sound=True)
        if self.guards.take(fence).all():  # as where districts are all there is to settle
            return self._beside.near(fence, lon, lat)
        return self._fences.near_border(fence.astype(np.int32), lon, lat, self._settle_m, sound=True)

    def _decide(
        self, c: Columns, waver: _Rows, runs: _Ints, from_: _Ints, end: _Ints, decided: _Ints
    ) -> None:
        """Write down the first row of each run, from some row on, that decides it."""
        many = _AT_ONCE
        while len(runs):
            owner, row = spread(from_, np.minimum(end - from_, many))
            which = runs[owner]
            sure = np.flatnonzero(~self._unsure(c, row, waver["fence"][which], waver["at_us"][which]))[::-1]
            decided[which[sure]] = row[sure]  # of several the first is written last
            from_ = from_ + many
            left = (decided[runs] < 0) & (from_ < end)
            runs, from_, end = runs[left], from_[left], end[left]
            many *= 8

    def _touch(
        self,
        waver: _Rows,
        runs: tuple[_Ints, _Ints, _Ints],
        before: tuple[_Ints, _Ints, _Rows],
        met: Callable[[_Ints], tuple[_Ints, _Ints]],
    ) -> _Ints:
        """Add the checkpoints met since a crossing to what wavers.

        Args:
            waver: a run each.
            runs: of each its first row, the last row it concerns, its group.
            before: (run, row, what wavers before the row), by run and row.
            met: see :meth:`settle`.

        Returns:
            groups of which nothing can be said.
        """
        owner, row = spread(runs[0], runs[1] - runs[0] + 1)
        at, gate = met(row)
        lost: list[int] = []
        if not len(at):
            return np.zeros(0, np.int64)
        own, rows = owner[at], row[at]
        order = np.lexsort((rows, own))
        own, rows, gate = own[order], rows[order], gate[order]
        starts = begins(own).nonzero()[0]
        for lo, hi in zip(starts.tolist(), [*starts[1:].tolist(), len(own)], strict=True):
            run = int(own[lo])
            met_rows, gates = rows[lo:hi].tolist(), gate[lo:hi].tolist()
            touched = set(self.sets[int(waver["touched"][run])])
            mine = np.searchsorted(before[0], (run, run + 1))
            places = np.arange(mine[0], mine[1])
            for i, (here, one) in enumerate(zip(met_rows, gates, strict=True)):
                touched.add(one)
                if i + 1 < len(gates) and met_rows[i + 1] == here:
                    continue
                number = self.number(tuple(sorted(touched)))
                if number is None:
                    lost.append(int(runs[2][run]))
                    break
                before[2]["touched"][places[before[1][places] > here]] = number
                waver["touched"][run] = number
        return np.array(lost, np.int64)
