"""How certain bypasses are, in columns: every step on which a checkpoint may have been passed unseen.

You are in the core, below ``plain.py``, which knows what borders are crossed, and beside ``leans.py``. A
bypass rests on all steps from the last fix that was surely on the one side to the first that is surely on
the other; ``settle.py`` looks at them one by one, :class:`Bypasses` at those of all vehicles of a batch, to
the same verdict. Where a detour is as long as a vehicle can have come, to a centimetre, ``rules/prism.py`` is
asked of that step alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hazfence.columns import Columns
from hazfence.crossed import Changes, Due, Raw
from hazfence.events import Kind
from hazfence.leans import Leans, key_of, leaning, places_of
from hazfence.ordered import among, ascending, distinct
from hazfence.presence import Fix
from hazfence.rules.book import Rulebook
from hazfence.rules.prism import Certainty, Way, bypass_certainty, bypass_levels
from hazfence.settings import EngineSettings
from hazfence.stays import EDGE_BITS, SURE_AT
from hazfence.vehicles import NEVER_US
from hazfence.wavers import Settling, Wavers
from hazfence_fences import Fence, FenceSet, Metric

__all__ = ["Bypasses"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]
_Levels = npt.NDArray[np.uint8]
_Rows = npt.NDArray[np.void]

_NONE = np.zeros(0, np.int64)


class Bypasses:
    """Works under one set of fences and settings.

    Args:
        fences, settings: in force.
        gates: the checkpoints; crossings are looked at only where all are round.
        wavers: settles borders, and knows which are guarded.

    Attributes:
        on: bool, a fence each: a bypass of its border is a breach; ``told`` whether it is told where that is
            not certain; ``top_kmh`` how fast a vehicle can be.
    """

    def __init__(
        self,
        fences: FenceSet,
        settings: EngineSettings,
        gates: Sequence[Fence],
        wavers: Wavers,
    ) -> None:
        n = len(fences)
        self.on, self.told = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.top_kmh = np.full(n, settings.top_speed_kmh)
        self._gates, self._wavers, self._settle_m = gates, wavers, settings.settle_m
        round_ = gates if all(gate.metric is not None for gate in gates) else ()
        columns = [[getattr(g.metric, name) for g in round_] for name in Metric.__slots__]
        self._round = (
            Metric(*(np.array(column)[:, None] for column in columns)),  # type: ignore[arg-type]
            np.array([g.radius_m for g in round_])[:, None],
        )

    def ask(self, i: int, fence: Fence, book: Rulebook) -> None:
        """Note a district's parameters, the same for every vehicle at every hour."""
        params = book.lookup(Kind.GATE_BYPASS, fence)
        self.on[i] = params is not None
        self.told[i] = book.lookup(Kind.POSSIBLE_BYPASS, fence) is not None
        if params is not None:
            self.top_kmh[i] = params["top_speed_kmh"]

    @staticmethod
    def beside(c: Columns, groups: _Ints) -> tuple[_Ints, _Ints]:
        """The fixes of some groups that lie beside guarded borders: (rows, fences), by row."""
        lo, hi = c.beside.searchsorted((c.starts[groups[0]] << 32, c.ends[groups[-1]] << 32))
        row, fence = c.beside[lo:hi] >> 32, c.beside[lo:hi] & 0xFFFF_FFFF
        mine = among(c.group_of(row), groups)
        return row[mine], fence[mine]

    def sides(
        self,
        c: Columns,
        due: Due,
        raw: Raw,
        beside: tuple[_Ints, _Ints],
        settling: Settling | None,
        known: tuple[_Ints, _Rows],
    ) -> tuple[Leans, Settling | None]:
        """How certain it is by each fix beside a border that no checkpoint was passed unseen.

        Args:
            c: the columns.
            due: the due fixes; ``raw``, the borders crossed, by those.
            beside: as :meth:`beside` gives them.
            settling: what became of the crossings; how certain those are that waver is noted there.
            known: what wavered and leaned before.

        Returns:
            that, and what is remembered of borders from fix to fix: what wavers, and what leans.
        """
        key = key_of(beside[1], beside[0])
        key.sort(kind="stable")
        crossed = self._wavers.guards[raw.fence].nonzero()[0]
        crossing = key_of(raw.fence[crossed], due.at[raw.row[crossed]])
        way = late = _NONE
        if settling is not None:
            way = key_of(settling.way["fence"], settling.way_row)
            late = key_of(settling.late["fence"], settling.late_row)
        way_on = self.on[way >> 40]
        if not (len(key) or len(crossing) or way_on.any() or leaning(known[1]).any()):
            return Leans.none(), settling
        steps = distinct(key, way[way_on])
        levels = self._levels_of(due, steps)
        level = levels[steps.searchsorted(key)]
        # What counts by its seconds though it is near the border is not certain, nor is what follows.
        counted = crossing if settling is None else crossing[settling.counts[crossed]]
        hasty = among(key, ascending(counted, late))
        level[hasty] = np.maximum(level[hasty], 1)
        leans = Leans.of(key, level, c, self._carried(c, due, distinct(key, crossing), known), known)
        if settling is not None:
            self._weaken(settling, c, due, leans, way, (steps, levels), among(late, key))
        return leans, leans.join(settling, len(raw.row), c)

    def _levels_of(self, due: Due, key: _Ints) -> _Levels:
        """How certain each step, to a fix near a border, leaves it."""
        level = np.zeros(len(key), np.uint8)
        row, fence = places_of(key)
        at = due.at.searchsorted(row)
        some = (self.on[fence] & (due.prev_us[at] != NEVER_US)).nonzero()[0]
        level[some] = self._levels(due, at[some], fence[some], np.zeros(len(some)))
        return level

    def _carried(self, c: Columns, due: Due, key: _Ints, known: tuple[_Ints, _Rows]) -> tuple[_Ints, _Levels]:
        """What is known before the first row of each vehicle, where it was beside a border by then."""
        row, fence = places_of(key)
        if not c.once:
            begins = (row == c.starts[c.group_of(row)]).nonzero()[0]
            key, row, fence = key[begins], row[begins], fence[begins]
        at = due.at.searchsorted(row)
        near = due.prev_us[at] == NEVER_US  # of a first fix nobody knows how it came there
        level = np.ones(len(key), np.uint8)
        asked = ~near & due.prev_beside[at]
        if len(known[0]):
            mine = key_of(known[1]["fence"], c.starts[known[0]])
            order = mine.argsort(kind="stable")
            mine = mine.take(order)
            place = mine.searchsorted(key)
            held = (mine.take(place, mode="clip") == key).nonzero()[0]
            level[held] = known[1]["edge"][order[place[held]]] >> SURE_AT
            near[held], asked[held] = True, False
        at = at[asked]
        wrong_m = due.wrong_m(self._settle_m, at)
        near[asked] = self._wavers.near(
            fence[asked], due.prev_lon[at], due.prev_lat[at], None if wrong_m is None else wrong_m[0]
        )
        return key[near], level[near]

    def _weaken(
        self,
        settling: Settling,
        c: Columns,
        due: Due,
        leans: Leans,
        way: _Ints,
        known: tuple[_Ints, _Levels],
        near: _Bools,
    ) -> None:
        """Note how certain each crossing is on which a vehicle wavers.

        Args:
            way: the keys of ``settling.way``; ``known`` those looked at, and how certain each step leaves it.
            near: which of ``settling.late`` count by their seconds alone.
        """
        at = self.on[way >> 40].nonzero()[0]
        level = np.zeros(len(way), np.uint8)
        if len(at):
            level[at] = known[1][known[0].searchsorted(way[at])]
            row, fence = places_of(way[at])
            first = settling.way["prev_us"][at] == due.prev_us[due.at.searchsorted(row)]
            at, row, fence = at[first], row[first], fence[first]
            level[at] = np.maximum(level[at], leans.before(c, fence, row))
        settling.weaken(level)
        edge = settling.late["edge"]
        edge[near] = (edge[near] & EDGE_BITS) | (np.maximum(edge[near] >> SURE_AT, 1) << SURE_AT)

    def judge(
        self, steps: _Rows, changes: Changes, c: Columns, due: Due, settling: Settling | None, leans: Leans
    ) -> None:
        """Write down how certain the bypasses among some steps are; see ``rules.prism``.

        Args:
            steps: of the changes, with what bypasses there are.
            settling: with what counts late.
        """
        row, fence = changes.row, changes.fence
        at = steps["bypass"].nonzero()[0]
        if not len(at):
            return
        level = np.zeros(len(at), np.uint8)
        here = (changes.to_us[at] == due.fix_us[row[at]]).nonzero()[0]
        if len(here):
            r, f = row[at[here]], fence[at[here]]
            near_m = np.where(steps["near"][at[here]] >= 0, steps["near_m"][at[here]], np.inf)
            found = np.maximum(self._levels(due, r, f, near_m), leans.before(c, f, due.at[r]))
            # Where a border counts by its seconds, it may not be across behind it.
            near = among(key_of(f, due.at[r]), leans.key)
            found[near] = np.maximum(found[near], 1)
            level[here] = found
        if settling is not None and len(settling.late):
            # Of what counts late, every step on the way was looked at already.
            name = due.at.searchsorted(settling.late_row) << 32 | settling.late["fence"]
            order = name.argsort(kind="stable")
            name, mine = name.take(order), row[at] << 32 | fence[at]
            place = name.searchsorted(mine)
            late = (name.take(place, mode="clip") == mine).nonzero()[0]
            level[late] = settling.late["edge"][order[place[late]]] >> SURE_AT
        steps["bypass"][at] = np.where((level == 0) | self.told[fence[at]], 1 + level, 0)

    def _levels(self, due: Due, row: _Ints, fence: _Ints, near_m: _Floats) -> _Levels:
        """How certain it is that no checkpoint was passed on each step, as the judge has it."""
        if not len(row):
            return np.zeros(0, np.uint8)
        ends = due.prev_lon.take(row), due.prev_lat.take(row), due.lon.take(row), due.lat.take(row)
        seconds = (due.fix_us.take(row) - due.prev_us.take(row)) / 1e6
        kmh = due.prev_kmh.take(row), due.kmh.take(row)
        top_kmh = self.top_kmh.take(fence)
        wrong_m = due.wrong_m(self._settle_m, row)
        both_m = np.full(len(row), 2.0 * self._settle_m) if wrong_m is None else wrong_m[0] + wrong_m[1]
        found = bypass_levels(ends, seconds, kmh, top_kmh, near_m, self._round, both_m)
        for i in (found < 0).nonzero()[0].tolist():
            found[i] = self._level(due, int(row[i]), float(top_kmh[i]))
        return found.astype(np.uint8)

    def _level(self, due: Due, i: int, top_kmh: float) -> int:
        """The same for one."""
        errors_m = (
            (0.0, 0.0) if due.errors_m is None else tuple(float(error_m[i]) for error_m in due.errors_m)
        )
        prev, fix = (
            Fix(int(us[i]), float(lon[i]), float(lat[i]), float(kmh[i]), (), error_m=error_m)
            for us, lon, lat, kmh, error_m in (
                (due.prev_us, due.prev_lon, due.prev_lat, due.prev_kmh, errors_m[0]),
                (due.fix_us, due.lon, due.lat, due.kmh, errors_m[1]),
            )
        )
        way = Way.between(prev, fix, top_kmh, self._settle_m)
        return tuple(Certainty).index(bypass_certainty(way, self._gates))
