"""Plain visits in columns: opened and closed for many vehicles at once, told as events when asked for.

You are in the core, between ``screen.py`` (which fixes are due) and ``judge.py``. Of most fixes that are
due all that follows is that a visit opens or closes, with the entry into a restricted zone or the
crossing of a district's border that goes with it. :class:`Plain` works that out for all such vehicles
of a batch in columns, to the last bit as the judge would fix by fix, and leaves every vehicle to the judge
of which it is not sure: a segment along a border or through a corner of it, a fence with hours or with a
limit that depends on the vehicle, a deadline passed, a thin polygon touched. ``stays.py`` keeps what is
open; ``news.py`` tells the steps made here as events.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hazfence.events import Kind
from hazfence.judge import Judge
from hazfence.notes import ENTRY, Notes
from hazfence.noting import Crossed, Fixes, Noted, Noting, places
from hazfence.presence import Edge
from hazfence.rules.prism import surely_missed
from hazfence.screen import Before, Columns
from hazfence.sets import Sets
from hazfence.settings import EngineSettings
from hazfence.stays import EDGES, NO_DISTRICT, NO_GATE, STAY, STEP, Stays
from hazfence.vehicles import FOREVER_US, NEVER_US
from hazfence_fences import Fence, FenceKind, FenceSet, Metric

__all__ = ["Plain", "Taken"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.void]
_T = TypeVar("_T", bound=np.generic)

#: More checkpoints than this are a case for the judge.
_MOST_GATES = 256
_FIRST_FIX, _CROSSING, _GAP = (EDGES.index(e) for e in (Edge.FIRST_FIX, Edge.CROSSING, Edge.GAP))


class Taken(NamedTuple):
    """What was worked out in columns.

    Attributes:
        groups: bool, a vehicle's group of the columns each: it is done.
        group: int64, shape (k,), the group of each step, sorted.
        steps: shape (k,), visits opened and closed, by vehicle and in the order in which they are told.
        codes, deadline_us: the vehicles done, and until when each may be silent now.
        motion: whether each stands or moves, as in ``Fleet``; None when no rule asks.
        noted: the vehicle (code) of each entry.
        entries: what was remembered before each fix judged, by vehicle and time.
    """

    groups: _Bools
    group: _Ints
    steps: _Rows
    codes: npt.NDArray[np.int32]
    deadline_us: _Ints
    motion: npt.NDArray[np.int8] | None
    noted: npt.NDArray[np.int32]
    entries: _Rows


class _Due(NamedTuple):
    """Due fixes of some vehicles, with the fix before each; columns of shape (n,)."""

    at: _Ints  #: the row of the columns
    group: _Ints
    codes: npt.NDArray[np.int32]
    first: _Bools  #: the vehicle's first due fix of the batch
    prev_us: _Ints
    prev_lon: _Floats
    prev_lat: _Floats
    prev_kmh: npt.NDArray[np.float32]
    prev_alarm: npt.NDArray[np.uint32]
    fix_us: _Ints
    lon: _Floats
    lat: _Floats
    key_before: npt.NDArray[np.uint64]
    key: npt.NDArray[np.uint64]
    kmh: npt.NDArray[np.float32]


class _Changes(NamedTuple):
    """Visits that open or close; columns of shape (k,)."""

    row: _Ints  #: of the due fixes
    fence: _Ints
    opens: _Bools
    part: _Floats  #: where on the segment
    by_fix: _Bools


class Plain:
    """Works under one set of fences and settings; keeps no state of its own.

    Attributes:
        on: whether there is anything that it can do under these rules.
        noting: works out what rules with a memory remember; None when none is on.
        entry: bool, a fence each: its visits are restricted entries too.
        gates: the checkpoints, by id.
        tolerance_m: per fence, how near to a checkpoint a crossing of its border counts as made through
            it; ``bypass_on`` whether one made elsewhere is a breach, ``top_kmh`` how fast a vehicle can be.
    """

    def __init__(self, fences: FenceSet, settings: EngineSettings, judge: Judge) -> None:
        n = len(fences)
        self.fences = fences
        self.gates = sorted(judge.checkpoints, key=lambda fence: fence.id)
        self.noting = Noting(fences, settings, judge) if judge.remembers else None
        self.on = len(self.gates) <= _MOST_GATES and (self.noting is None or self.noting.able)
        self._max_gap_us = round(settings.max_gap_s * 1e6)
        self._settle_m = settings.settle_m
        self._settles = np.array([not (f.thin or f.timed) for f in fences.fences], np.bool_)
        self.fine = np.ones(n, np.bool_)
        self.entry, self.bypass_on = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.district, self.tolerance_m = np.zeros(n, np.bool_), np.full(n, settings.gate_tolerance_m)
        self.top_kmh = np.full(n, settings.top_speed_kmh)
        self._limit_us = np.full(n, FOREVER_US, np.int64)
        round_gates = all(gate.metric is not None for gate in self.gates)
        for i, fence in enumerate(fences.fences if self.on else ()):
            self.fine[i] = not fence.timed and fence.id not in judge.filed and self._ask(i, fence, judge)
            if fence.kind is FenceKind.DISTRICT:
                self.fine[i] &= round_gates
        self._gate_of = np.full(n, -1, np.int64)
        for i, gate in enumerate(self.gates):
            self._gate_of[fences.index_of(gate.id)] = i
        self._all_fine = bool(self.fine.all())
        self._any_limit = bool((self._limit_us != FOREVER_US).any())
        self._any_district = bool(self.district.any())
        round_gates_only = self.gates if self.on and round_gates else []
        columns = [[getattr(g.metric, name) for g in round_gates_only] for name in Metric.__slots__]
        self._gate_metric = Metric(*(np.array(column) for column in columns))  # type: ignore[arg-type]
        self._gate_radius_m = np.array([g.radius_m for g in round_gates_only])

    def _ask(self, i: int, fence: Fence, judge: Judge) -> bool:
        """Note a fence's parameters; False when they depend on the vehicle or the hour."""
        book = judge.book
        if not book.constant(Kind.OVERSTAY, fence) or not book.constant(Kind.CURFEW, fence):
            return False
        curfew = book.lookup(Kind.CURFEW, fence)
        if curfew is not None and curfew["hours"] is not None:
            return False
        stay = book.lookup(Kind.OVERSTAY, fence)
        if stay is not None and stay["max_min"] is not None:
            self._limit_us[i] = round(stay["max_min"] * 60e6)
        if fence.kind is FenceKind.RESTRICTED:
            self.entry[i] = book.lookup(Kind.RESTRICTED_ENTRY, fence) is not None
            # Passed through between two fixes, it is a question of the ways around it.
            return book.constant(Kind.RESTRICTED_ENTRY, fence) and not fence.thin
        if fence.kind is FenceKind.DISTRICT:
            self.district[i] = True
            params = book.lookup(Kind.GATE_BYPASS, fence)
            self.bypass_on[i] = params is not None
            if params is not None:
                self.tolerance_m[i] = params["tolerance_m"]
                self.top_kmh[i] = params["top_speed_kmh"]
            return book.constant(Kind.GATE_BYPASS, fence)
        return True

    def take(
        self, c: Columns, before: Before, groups: _Bools, stays: Stays, notes: Notes, sets: Sets
    ) -> Taken:
        """Work out what follows for vehicles of which only the set of fences changed.

        Args:
            c: the columns; of the groups in question, every fix due has another set than the one before, or
                the segment to it touches a thin circle, or the vehicle stops or moves off.
            before: the state of each group's vehicle before.
            groups: bool, the groups in question; none has a deadline that passes, or is judged apart.
            stays, notes: what is open and remembered, changed for the groups that are done.
            sets: knows every key in ``c`` and ``before``.
        """
        due = self._due(c, before, groups)
        failed = np.zeros(len(c.starts), np.bool_)
        first_ever = due.prev_us == NEVER_US
        failed[due.group[(np.abs(due.lon - due.prev_lon) > 180.0) & ~first_ever]] = True
        hits = self._hits(c, due, failed)
        row, fence, opens, part, by_fix = self._changes(due, sets, hits, failed)

        prev_us, fix_us = due.prev_us[row], due.fix_us[row]
        known = np.flatnonzero(~first_ever[row])
        at_us, lon, lat = fix_us.copy(), due.lon[row], due.lat[row]
        r = row[known]
        at_us[known] = prev_us[known] + np.rint(part[known] * (fix_us[known] - prev_us[known])).astype(
            np.int64
        )
        moments = at_us[known], prev_us[known], fix_us[known]
        lon[known], lat[known] = places(*moments, due.prev_lon[r], due.prev_lat[r], due.lon[r], due.lat[r])

        # In a step what happened first is told first; what happened at one moment in the order of fences.
        order = np.lexsort((fence, at_us, row))
        row, fence, opens, by_fix = row[order], fence[order], opens[order], by_fix[order]
        at_us, lon, lat = at_us[order], lon[order], lat[order]
        steps = np.zeros(len(row), STEP)
        steps["at_us"], steps["lon"], steps["lat"], steps["opens"] = at_us, lon, lat, opens
        steps["prev_us"], steps["fix_us"] = due.prev_us[row], due.fix_us[row]
        steps["prev_lon"], steps["prev_lat"] = due.prev_lon[row], due.prev_lat[row]
        steps["prev_kmh"], steps["prev_alarm"] = due.prev_kmh[row], due.prev_alarm[row]
        steps["prev_key"] = due.key_before[row]
        # Rules with a memory take notice of every fix that is due.
        since_us, judged_us = _judged(due, row if self.noting is None else np.arange(len(due.at)), stays)
        steps["since_us"] = since_us[row]
        witnessed = due.fix_us - due.prev_us <= self._max_gap_us
        how = np.where(first_ever, _FIRST_FIX, np.where(witnessed, _CROSSING, _GAP))
        steps["how"] = how[row]
        self._gate(steps, row, fence, hits, sets, due)
        at = np.flatnonzero(steps["bypass"])
        if len(at):
            unsure = at[~self._surely_missed(steps, at, row[at], fence[at], due)]
            failed[due.group[row[unsure]]] = True
        opening = _opening(steps, due.codes[row], fence, by_fix)

        done_at = np.flatnonzero(due.first)
        codes, groups_here = due.codes[done_at], due.group[done_at]
        found = stays.expand(codes)
        open_rows = stays.rows(found[1])
        closer = _pair(steps, opening, open_rows, due.codes[row], fence, opens, failed, due.group[row])
        limit_us = self._limit_us[fence]
        if self._any_limit:
            late = opens & (limit_us != FOREVER_US)
            late[late] = at_us[late] + limit_us[late] < c.track.time_us[c.ends[due.group[row[late]]] - 1]
            failed[due.group[row[late]]] = True

        entries, noted = np.zeros(0, ENTRY), None
        if self.noting is not None:
            crossed = Crossed(row, fence, opens, at_us)
            inside = found[0], open_rows["fence"].astype(np.int64)
            noted = self.noting.work(codes, _fixes(c, due), crossed, inside, notes)
            failed[groups_here[noted.failed]] = True
            entries = _entries(due, since_us, noted, np.bincount(row, minlength=len(due.at)))

        good = ~failed[due.group[row]]
        kept = ~failed[groups_here]
        done = np.zeros(len(failed), np.bool_)
        done[groups_here[kept]] = True
        # The visits that go on: those that were open and are not closed, those opened and not closed.
        goes_on = np.ones(len(found[1]), np.bool_)
        goes_on[closer[closer >= 0]] = False
        still = np.flatnonzero(opening & good)
        position = np.cumsum(kept) - 1
        where = kept[found[0]]
        new_owner = position[np.searchsorted(codes, due.codes[row[still]])]
        owner, rows = stays.change(
            codes[kept],
            judged_us[kept],
            (position[found[0][where]], found[1][where]),
            goes_on[where],
            new_owner,
            steps["stay"][still],
        )
        motion = None
        deadline_us = np.full(int(kept.sum()), FOREVER_US, np.int64)
        if noted is not None:
            deadline_us = noted.deadline_us[kept]
            motion = noted.rows["motion"][kept]
            notes.put(codes[kept], noted.rows[kept])
            for vehicle in noted.pasts:
                if kept[vehicle]:
                    for changed_us, past in noted.pasts[vehicle]:
                        notes.set_past(int(codes[vehicle]), past, changed_us)
        if self._any_limit and len(owner):
            limit_us = self._limit_us[rows["fence"]]
            due_us = np.where(limit_us == FOREVER_US, FOREVER_US, rows["start_us"] + limit_us)
            np.minimum.at(deadline_us, owner, due_us)
        told = ~failed[due.group] if noted is not None else np.zeros(len(due.at), np.bool_)
        return Taken(
            done,
            due.group[row[good]],
            steps[good],
            codes[kept],
            deadline_us,
            motion,
            due.codes[told],
            entries[told] if noted is not None else entries,
        )

    def _due(self, c: Columns, before: Before, groups: _Bools) -> _Due:
        rows = np.flatnonzero(c.due)
        group = np.searchsorted(c.starts, rows, side="right") - 1
        mine = groups[group]
        rows, group = rows[mine], group[mine]
        t, begins = c.track, rows == c.starts[group]
        above = np.maximum(rows - 1, 0)

        def prev(column: npt.NDArray[_T], first: npt.NDArray[_T]) -> npt.NDArray[_T]:
            return np.where(begins, first[group], column[above])

        return _Due(
            rows,
            group,
            c.codes[rows],
            np.append(True, group[1:] != group[:-1]) if len(group) else np.zeros(0, np.bool_),
            prev(t.time_us, before.time_us),
            prev(t.lon, before.lon),
            prev(t.lat, before.lat),
            prev(t.speed_kmh, before.speed_kmh),
            prev(t.alarm, before.alarm),
            t.time_us[rows],
            t.lon[rows],
            t.lat[rows],
            prev(t.key, before.key),
            t.key[rows],
            t.speed_kmh[rows],
        )

    def _hits(self, c: Columns, due: _Due, failed: _Bools) -> tuple[_Ints, _Ints]:
        """The thin circles that the segments to due fixes touch: (row of the due fixes, fence)."""
        if not len(c.hit_rows):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        row = np.searchsorted(due.at, c.hit_rows)
        here = np.flatnonzero(due.at.take(row, mode="clip") == c.hit_rows) if len(due.at) else row[:0]
        row, fence = row[here], c.hit_fences[here].astype(np.int64)
        failed[due.group[row[~self.fine[fence]]]] = True
        return row, fence

    def _changes(self, due: _Due, sets: Sets, hits: tuple[_Ints, _Ints], failed: _Bools) -> _Changes:
        """Visits left and entered with each due fix, and circles passed through on the way to it."""
        pairs = []
        for opens, key in enumerate((due.key_before, due.key)):
            row, member = sets.members(key)
            if not self._all_fine:
                failed[due.group[row[~self.fine[member]]]] = True
            pairs.append((row << 33) | (member.astype(np.int64) << 1) | opens)
        both = np.concatenate(pairs)
        both.sort()
        twice = (both[1:] >> 1) == (both[:-1] >> 1)
        alone = both[~(np.append(twice, False) | np.append(False, twice))] if len(both) else both
        row, fence = alone >> 33, (alone >> 1) & 0xFFFF_FFFF
        opening = (alone & 1).astype(np.bool_)
        part = np.ones(len(row))
        known = np.flatnonzero(due.prev_us[row] != NEVER_US)
        r = row[known]
        ends = due.prev_lon[r], due.prev_lat[r], due.lon[r], due.lat[r]
        if self._settle_m:
            # Where a fix lies too near to a border, nothing is certain yet: see ``settle.py``.
            at = known[self._settles[fence[known]]]
            places = due.lon[row[at]], due.lat[row[at]]
            near = self.fences.near_border(fence[at].astype(np.int32), *places, self._settle_m)
            failed[due.group[row[at[near]]]] = True
            at = np.flatnonzero((due.prev_us[row] == NEVER_US) & self.entry[fence])
            if len(at):
                # Seen first inside a restricted zone: certain only if the fix lies well inside.
                places = due.lon[row[at]], due.lat[row[at]]
                near = self.fences.near_border(fence[at].astype(np.int32), *places, self._settle_m)
                failed[due.group[row[at[near]]]] = True
        found = self.fences.crossings(fence[known].astype(np.int32), ~opening[known], *ends)
        failed[due.group[r[found != found]]] = True
        part[known] = np.nan_to_num(found)
        by_fix = np.ones(len(row), np.bool_)
        if not len(hits[0]):
            return _Changes(row, fence, opening, part, by_fix)
        # A circle touched that holds neither fix was passed through, unless it was but touched.
        passed = np.flatnonzero(~np.isin((hits[0] << 32) | hits[1], both >> 1))
        r, f = hits[0][passed], hits[1][passed]
        ends = due.prev_lon[r], due.prev_lat[r], due.lon[r], due.lat[r]
        begin, end = self.fences.passages(f.astype(np.int32), *ends)
        length_us = due.fix_us[r] - due.prev_us[r]
        lasting = np.flatnonzero(np.rint(begin * length_us) < np.rint(end * length_us))
        r, f, begin, end = r[lasting], f[lasting], begin[lasting], end[lasting]
        return _Changes(
            np.concatenate((row, r, r)),
            np.concatenate((fence, f, f)),
            np.concatenate((opening, np.ones(len(r), np.bool_), np.zeros(len(r), np.bool_))),
            np.concatenate((part, begin, end)),
            np.append(by_fix, np.zeros(2 * len(r), np.bool_)),
        )

    def _gate(
        self, steps: _Rows, row: _Ints, fence: _Ints, hits: tuple[_Ints, _Ints], sets: Sets, due: _Due
    ) -> None:
        """For crossings of a district's border: the checkpoint, or the bypass; see ``rules.gates``."""
        steps["gate"], steps["near"] = NO_DISTRICT, NO_GATE
        if not self._any_district:
            return
        border = self.district[fence]
        steps["gate"][border] = NO_GATE
        at = np.flatnonzero(border & (steps["how"] == _CROSSING))
        if not len(at):
            return
        on_way = self._on_way(row[at], hits, sets, due)
        lon, lat = steps["lon"][at], steps["lat"][at]
        near_m, touched_m = np.full(len(at), np.inf), np.full(len(at), np.inf)
        near, used = np.full(len(at), NO_GATE, np.int16), np.full(len(at), NO_GATE, np.int16)
        for i, gate in enumerate(self.gates):
            assert gate.metric is not None
            assert gate.radius_m is not None
            away_m = np.maximum(np.sqrt(gate.metric.distance2_m2(lon, lat)) - gate.radius_m, 0.0)
            nearer = away_m < near_m
            near[nearer], near_m[nearer] = i, away_m[nearer]
            nearer = on_way[:, i] & (away_m < touched_m)
            used[nearer], touched_m[nearer] = i, away_m[nearer]
        by = (used == NO_GATE) & (near >= 0) & (near_m <= self.tolerance_m[fence[at]])
        used[by] = near[by]
        steps["near"][at], steps["near_m"][at] = near, near_m
        steps["gate"][at] = used
        steps["bypass"][at] = (used == NO_GATE) & self.bypass_on[fence[at]]

    def _surely_missed(self, steps: _Rows, at: _Ints, row: _Ints, fence: _Ints, due: _Due) -> _Bools:
        """Of which crossings made at no checkpoint that is certain; see ``rules.prism``."""
        kmh = np.fmax(due.prev_kmh[row], due.kmh[row]).astype(np.float64)
        return surely_missed(
            (due.prev_lon[row], due.prev_lat[row], due.lon[row], due.lat[row]),
            (due.fix_us[row] - due.prev_us[row]) / 1e6,
            np.fmax(kmh, self.top_kmh[fence]),
            np.where(steps["near"][at] >= 0, steps["near_m"][at], np.inf),
            (self._gate_metric, self._gate_radius_m),
            self._settle_m,
        )

    def _on_way(self, row: _Ints, hits: tuple[_Ints, _Ints], sets: Sets, due: _Due) -> _Bools:
        """Which checkpoints each of some due fixes has to do with: bool, shape (n, gates)."""
        rows, which = np.unique(row, return_inverse=True)
        found = np.zeros((len(rows), len(self.gates)), np.bool_)
        pairs = [hits]
        for key in (due.key_before, due.key):
            own, member = sets.members(key[rows])
            pairs.append((rows[own], member.astype(np.int64)))
        for r, f in pairs:
            gate = self._gate_of[f]
            at = np.searchsorted(rows, r)
            mine = np.flatnonzero((gate >= 0) & (rows.take(at, mode="clip") == r))
            found[at[mine], gate[mine]] = True
        return found[which]


def _fixes(c: Columns, due: _Due) -> Fixes:
    """The due fixes as ``noting.py`` asks for them."""
    following = np.append(due.first[1:], True)
    next_us = np.append(due.fix_us[1:], 0)
    next_us[following] = c.track.time_us[c.ends[due.group[following]] - 1]
    vehicle = np.cumsum(due.first) - 1
    before = due.prev_us, due.prev_lon, due.prev_lat
    return Fixes(vehicle, *before, due.fix_us, due.lon, due.lat, due.kmh, next_us)


def _entries(due: _Due, since_us: _Ints, noted: Noted, steps: _Ints) -> _Rows:
    """What was remembered before each due fix, for the log."""
    entries = np.zeros(len(due.at), ENTRY)
    entries["note"], entries["since_us"], entries["steps"] = noted.before, since_us, steps
    entries["prev_us"], entries["fix_us"] = due.prev_us, due.fix_us
    entries["prev_lon"], entries["prev_lat"] = due.prev_lon, due.prev_lat
    entries["prev_kmh"], entries["prev_alarm"] = due.prev_kmh, due.prev_alarm
    entries["prev_key"] = due.key_before
    return entries


def _opening(steps: _Rows, codes: npt.NDArray[np.int32], fence: _Ints, by_fix: _Bools) -> _Bools:
    """Write down the visits that open; which steps they are."""
    opens = steps["opens"].copy()
    stay = np.zeros(len(steps), STAY)
    stay["code"], stay["fence"] = codes, fence
    stay["start_us"], stay["lon"], stay["lat"] = steps["at_us"], steps["lon"], steps["lat"]
    stay["prev_us"], stay["fix_us"] = steps["prev_us"], steps["fix_us"]
    stay["gate"], stay["begins"], stay["next"] = steps["gate"], steps["how"], -1
    stay["by_fix"] = by_fix
    steps["stay"] = stay
    return opens


def _pair(
    steps: _Rows,
    opening: _Bools,
    open_rows: _Rows,
    codes: npt.NDArray[np.int32],
    fence: _Ints,
    opens: _Bools,
    failed: _Bools,
    group: _Ints,
) -> _Ints:
    """Give every step that closes a visit the visit it closes.

    Args:
        opening: cleared for steps whose visit is closed again among the steps.
        open_rows: what was open before.
        failed: set for groups of which some visit is not open.

    Returns:
        for each step the place in ``open_rows`` of the visit it closes, -1 for none.
    """
    name = (codes.astype(np.int64) << 32) | fence
    order = np.argsort(name, kind="stable")  # the steps of one vehicle and fence in the order of time
    same = np.append(False, name[order[1:]] == name[order[:-1]]) if len(order) else np.zeros(0, np.bool_)
    closes = np.flatnonzero(~opens[order])
    within = closes[same[closes]]
    opener, closer = order[within - 1], order[within]
    steps["stay"][closer] = steps["stay"][opener]
    opening[opener] = False
    place = np.full(len(steps), -1, np.int64)
    rest = order[closes[~same[closes]]]
    if len(rest):
        known = (open_rows["code"].astype(np.int64) << 32) | open_rows["fence"]
        sorted_ = np.argsort(known)
        at = np.searchsorted(known, name[rest], sorter=sorted_)
        missing = np.ones(len(rest), np.bool_)
        inside = at < len(known)
        missing[inside] = known[sorted_[at[inside]]] != name[rest[inside]]
        failed[group[rest[missing]]] = True
        found, rest = sorted_[at[~missing]], rest[~missing]
        place[rest] = found
        steps["stay"][rest] = open_rows[found]
    return place


def _judged(due: _Due, row: _Ints, stays: Stays) -> tuple[_Ints, _Ints]:
    """Since when each vehicle's state before a due fix has held, and when each was last judged.

    A fix that only touched a circle changed nothing, and counts as not judged.

    Args:
        due: the fixes.
        row: of the fixes at which something opens or closes.

    Returns:
        int64, a due fix each (of meaning only for those at which something happens); int64, a vehicle each.
    """
    vehicle = np.cumsum(due.first) - 1
    last_us = stays.judged_at(due.codes[due.first])
    since_us = last_us[vehicle]
    some = np.unique(row)
    again = some[1:][vehicle[some[1:]] == vehicle[some[:-1]]]
    before = some[:-1][vehicle[some[1:]] == vehicle[some[:-1]]]
    since_us[again] = due.fix_us[before]
    np.maximum.at(last_us, vehicle[some], due.fix_us[some])
    return since_us, last_us
