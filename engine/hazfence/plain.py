"""Plain visits in columns: opened and closed for many vehicles at once, told as events when asked for.

You are in the core, between ``screen.py`` (which fixes are due) and ``judge.py``. Of most fixes that are
due all that follows is that a visit opens or closes, with the entry into a restricted zone or the
crossing of a district's border that goes with it. :class:`Plain` works that out for all such vehicles
of a batch in columns, to the last bit as the judge would fix by fix, and leaves every vehicle to the judge
of which it is not sure: a segment along a border or through a corner of it, a fence with hours or with a
limit that depends on the vehicle, a deadline passed, a thin polygon touched. ``crossed.py`` finds the
crossings, ``wavers.py`` says which of them count; ``stays.py`` keeps what is open; ``news.py`` tells the
steps made here as events.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hazfence.beside import Beside
from hazfence.bypasses import Bypasses
from hazfence.chains import Found, lump
from hazfence.columns import Before, Columns
from hazfence.crossed import CROSSING, Changes, Crossed, Due
from hazfence.doubts import Doubts, as_told, confirmed, doubts_of, in_doubt
from hazfence.events import Kind
from hazfence.judge import Judge
from hazfence.judged import Taken, entries_of, fixes_of, judged, keep_notes, logged, note_fix, said_of
from hazfence.leans import leaning
from hazfence.notes import Notes
from hazfence.noticed import Moved
from hazfence.noting import Noting
from hazfence.ordered import among, ascending, begins, distinct
from hazfence.sets import Sets
from hazfence.settings import EngineSettings
from hazfence.stays import IN_DOUBT, NO_DISTRICT, NO_GATE, STAY, Stays
from hazfence.steps import counting, open_visits, pair, steps_of
from hazfence.vehicles import FOREVER_US, NEVER_US
from hazfence.wavers import Settling, Wavers
from hazfence_fences import Fence, FenceKind, FenceSet

__all__ = ["Plain"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.void]

#: More checkpoints than this are a case for the judge.
_MOST_GATES = 256
_NONE = np.zeros(0, np.int64)
#: Groups, and of each the row behind a deadline.
_Again = tuple[_Ints, _Ints]
#: Steps worked out at a time, as near as the last time tells, and vehicles at first and at most.
_STEPS, _FIRST, _MOST = 16_384, 8192, 16_384


class Plain:
    """Works under one set of fences and settings; keeps no state of its own.

    Attributes:
        on: whether there is anything that it can do under these rules.
        noting: works out what rules with a memory remember; None when none is on.
        entry, possible: bool, a fence each: its visits are restricted entries too; and possible ones are
            told while it is not certain.
        gates: the checkpoints, by id; ``gate_number`` is the way back.
        wavers: settles borders.
        bypasses: says how certain they are.
        tolerance_m: per fence, how near to a checkpoint a crossing of its border counts as made through it.
    """

    def __init__(self, fences: FenceSet, settings: EngineSettings, judge: Judge, beside: Beside) -> None:
        n = len(fences)
        self.fences = fences
        self.gates = sorted(judge.remit.checkpoints, key=lambda fence: fence.id)
        self.gate_number = {gate.id: i for i, gate in enumerate(self.gates)}
        self.noting = Noting(fences, settings, judge) if judge.remit.remembers else None
        self.on = len(self.gates) <= _MOST_GATES and (self.noting is None or self.noting.able)
        self._settle_m = settings.settle_m
        self.wavers = Wavers(fences, settings.settle_m, settings.settle_s, beside)
        self.fine = np.ones(n, np.bool_)
        self.entry, self.possible = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.bypasses = Bypasses(fences, settings, self.gates if self.on else (), self.wavers)
        self.district, self.tolerance_m = np.zeros(n, np.bool_), np.full(n, settings.gate_tolerance_m)
        self._limit_us = np.full(n, FOREVER_US, np.int64)
        round_gates = all(gate.metric is not None for gate in self.gates)
        for i, fence in enumerate(fences.fences if self.on else ()):
            self.fine[i] = (
                not fence.timed and fence.id not in judge.remit.filed and self._ask(i, fence, judge)
            )
            if fence.kind is FenceKind.DISTRICT:
                self.fine[i] &= round_gates
        self._crossed = Crossed(
            fences,
            self.fine,
            round(settings.max_gap_s * 1e6),
            settings.top_speed_kmh,
            settings.settle_m,
            self.wavers.guards if self.wavers.on else None,
        )
        self._gate_of = np.full(n, -1, np.int64)
        for i, gate in enumerate(self.gates):
            self._gate_of[fences.index_of(gate.id)] = i
        self._any_limit = bool((self._limit_us != FOREVER_US).any())
        self._any_district, self._any_entry = bool(self.district.any()), bool(self.entry.any())

    def _ask(self, i: int, fence: Fence, judge: Judge) -> bool:
        """Note a fence's parameters; False when they depend on the vehicle or the hour."""
        book = judge.remit.book
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
            self.possible[i] = book.lookup(Kind.POSSIBLE_ENTRY, fence) is not None
            constant = book.constant(Kind.RESTRICTED_ENTRY, fence) and book.constant(
                Kind.POSSIBLE_ENTRY, fence
            )
            # Passed through between two fixes, it is a question of the ways around it.
            return constant and not fence.thin
        if fence.kind is FenceKind.DISTRICT:
            self.district[i] = True
            params = book.lookup(Kind.GATE_BYPASS, fence)
            self.bypasses.ask(i, fence, book)
            if params is not None:
                self.tolerance_m[i] = params["tolerance_m"]
            return book.constant(Kind.GATE_BYPASS, fence) and book.constant(Kind.POSSIBLE_BYPASS, fence)
        return True

    def take(
        self, c: Columns, before: Before, groups: _Ints, stays: Stays, notes: Notes, sets: Sets
    ) -> Iterator[Taken]:
        """Work out what follows for vehicles of which only the set of fences changed, or that waver.

        So many vehicles at a time that what is worked out in between stays in a core's cache: fresh memory
        costs more than the arithmetic done in it.

        Args:
            c: the columns; of the groups in question, every fix due has another set than the one before, or
                the segment to it touches a thin circle, or the vehicle stops or moves off. Fixes behind a
                deadline are made due here.
            before: the state of each group's vehicle before.
            groups: the groups in question, ascending; none is judged apart.
            stays, notes: what is open and remembered, changed for the groups that are done.
            sets: knows every key in ``c`` and ``before``.

        Yields:
            some of the vehicles at a time; those of which a deadline passes on the way come last.
        """
        groups = self._with_deadlines(c, before, groups)
        rows, again = self._rows_due(c, groups), list[_Again]()
        begin, at_once = 0, _FIRST
        while begin < len(groups):
            end = begin + at_once
            some = groups[begin:] if end + at_once // 4 >= len(groups) else groups[begin:end]
            lo, hi = rows.searchsorted((c.starts[some[0]], c.ends[some[-1]]))
            taken = self._take(c, before, some, rows[lo:hi], stays, notes, sets, again)
            yield taken
            begin += len(some)
            at_once = min(_STEPS * len(some) // max(len(taken.steps), 1) + 1, _MOST)
        while sum(len(some) for some, _ in again):
            # With the fix behind the deadline due, what follows can be worked out, up to the next deadline.
            groups, at = (np.concatenate(column) for column in zip(*again, strict=True))
            c.due[at] = True
            again.clear()
            yield self._take(c, before, groups, self._rows_due(c, groups), stays, notes, sets, again)

    def _take(
        self,
        c: Columns,
        before: Before,
        groups: _Ints,
        due_at: _Ints,
        stays: Stays,
        notes: Notes,
        sets: Sets,
        again: list[_Again],
    ) -> Taken:
        """The same for so many, with the rows that are due; ``again`` takes those to be due too."""
        begin = c.starts[groups]
        all_codes = c.codes[begin]
        owner, places = stays.wavers.expand(all_codes)
        near_borders = groups[owner], stays.wavers.rows(places)
        failed = np.zeros(len(c.starts), np.bool_)
        beside = self.bypasses.beside(c, groups)
        failed[c.group_of(beside[0][~self.fine[beside[1]]])] = True
        # Of a vehicle that wavers or leans the next row is looked at, due or not.
        if len(near_borders[0]) or len(beside[0]):
            following = beside[0][beside[0] + 1 < c.ends[c.group_of(beside[0])]] + 1
            due_at = distinct(due_at, c.starts[near_borders[0]], following)
        crossed = ~leaning(near_borders[1])
        known = near_borders[0][crossed], near_borders[1].compress(crossed)
        due = Due(c, before, due_at)
        raw, by_key = self._crossed.raw(c, due, sets, failed)
        settling = None
        if self.wavers.on:
            first_ever = due.prev_us[raw.row] == NEVER_US
            asked = raw._replace(row=due.at[raw.row])

            def met(rows: _Ints) -> tuple[_Ints, _Ints]:
                some = Due(c, before, rows)
                return self._met(some.at, some.key_before, some.key, c, sets)

            settling = self.wavers.settle(c, asked, first_ever, known, met)
            if settling is not None:
                failed[settling.lost] = True
        if settling is not None and not among(settling.rows, due.at).all():
            old, due = due.at, Due(c, before, distinct(due.at, settling.rows))
            raw = raw._replace(row=due.at.searchsorted(old)[raw.row])
        sides, settling = self.bypasses.sides(c, due, raw, beside, settling, near_borders)
        changes = self._crossed.passed(counting(raw, settling, due), c, due, by_key, failed)
        done_at = due.first.nonzero()[0]
        codes, groups_here = due.codes[done_at], due.group[done_at]
        found = stays.visits.expand(codes)
        open_rows = stays.visits.rows(found[1])
        doubts = self._doubts(c, due, changes, (groups_here[found[0]], open_rows))
        if doubts is not None and not among(doubts.row, due.at).all():
            old, due = due.at, Due(c, before, distinct(due.at, doubts.row))
            changes = changes._replace(row=due.at.searchsorted(old)[changes.row])
        steps = steps_of(changes)
        row, fence = changes.row, changes.fence
        self._gate(steps, changes, c, sets, due)
        self.bypasses.judge(steps, changes, c, due, settling, sides)
        # Rules with a memory take notice of every fix that is due.
        sure_row = _NONE if doubts is None else due.at.searchsorted(doubts.row)
        noticed = np.concatenate((row, sure_row)) if self.noting is None else np.arange(len(due.at))
        since_us, judged_us = judged(due, noticed, stays, settling)
        note_fix(steps, row, due, since_us)
        opening = open_visits(steps, due.codes[row], fence, changes.seen)

        owners = due.codes[row], due.group[row]
        if doubts is not None:
            steps["stay"]["sure_us"][doubts.opens] = IN_DOUBT
        closer = pair(steps, opening, open_rows, owners, fence, failed)
        if self._any_limit:
            opens = changes.opens.nonzero()[0]
            here = np.concatenate((due.group[row[opens]], groups_here[found[0]]))
            of = np.concatenate((fence[opens], open_rows["fence"]))
            start_us = np.concatenate((changes.at_us[opens], open_rows["start_us"]))
            limit_us = self._limit_us[of]
            limit_us += np.where(limit_us == FOREVER_US, 0, start_us)
            # A visit whose limit passes on the way is a case for the judge.
            late = (limit_us < c.latest_us).nonzero()[0]
            failed[here[late[limit_us[late] < c.track.time_us[c.ends[here[late]] - 1]]]] = True

        noted = None
        if self.noting is not None:
            moved = Moved(row, fence, changes.opens, changes.at_us)
            inside = found[0], open_rows["fence"].astype(np.int64)
            noted = self.noting.work(codes, fixes_of(c, due), moved, inside, notes)
            passed = ((noted.passed_us != FOREVER_US) & ~failed[groups_here]).nonzero()[0]
            if len(passed):
                some = groups_here[passed]
                behind = _behind(c, some, noted.passed_us[passed])
                fresh = ~c.due[behind]  # as they all are: what is due was looked at
                again.append((some[fresh], behind[fresh]))
            failed[groups_here[noted.failed]] = True

        good = ~failed[due.group[row]]
        kept = ~failed[groups_here]
        done = np.zeros(len(failed), np.bool_)
        done[groups_here[kept]] = True
        # The visits that go on: those that were open and are not closed, those opened and not closed.
        goes_on = np.ones(len(found[1]), np.bool_)
        goes_on[closer[closer >= 0]] = False
        still = (opening & good).nonzero()[0]
        position = kept.cumsum() - 1
        begun, more = lump(steps["stay"])[still].view(STAY), None
        if doubts is not None:
            over = done[due.group[sure_row]].nonzero()[0]
            doubts, sure_row = doubts.of(over), sure_row[over]
            was = doubts.settle(steps, open_rows, due.fix_us[sure_row], still, begun)
            known_before = doubts.old >= 0
            stays.visits.write(
                found[1][doubts.old[known_before]], "sure_us", due.fix_us[sure_row[known_before]]
            )
            more = confirmed(was, sure_row, due, self.possible)
        told_row, told = (row, steps) if good.all() else (row[good], steps.compress(good))
        if more is not None and len(more[0]):
            note_fix(more[1], more[0], due, since_us)
            told_row, told = as_told(told_row, told, more)
        where = kept[found[0]]
        new_owner = position[codes.searchsorted(due.codes[row[still]])]
        all_here, codes, groups_here = groups_here, codes[kept], groups_here[kept]
        owner, rows = stays.visits.change(
            codes,
            (position[found[0][where]], found[1][where]),
            goes_on[where],
            new_owner,
            begun,
        )
        stays.note(codes, judged_us[kept])
        watch, deadline_us, leaving = self._waver_on(
            codes, groups_here, (near_borders[0], places), settling, stays
        )
        if noted is not None:
            deadline_us = np.minimum(deadline_us, noted.deadline_us[kept])
            keep_notes(codes, kept, noted, notes)
        if self._any_limit and len(owner):
            limit_us = self._limit_us[rows["fence"]]
            due_us = np.where(limit_us == FOREVER_US, FOREVER_US, rows["start_us"] + limit_us)
            if len(leaving):
                # A visit that may have ended waits for nothing until that is settled.
                due_us[among(owner << 32 | rows["fence"], ascending(leaving))] = FOREVER_US
            np.minimum.at(deadline_us, owner, due_us)
        log = logged(told, told_row, settling, due, since_us, done, bare=noted is None)
        return Taken(
            done,
            due.group[told_row],
            told,
            [(due.codes[at], rows) for at, rows in log],
            codes,
            watch,
            np.bincount(owner, in_doubt(rows), len(codes)) > 0,
            deadline_us,
            [] if noted is None else said_of(noted, kept, all_here),
            None if noted is None else noted.rows["motion"][kept],
            np.zeros(len(codes), np.bool_) if noted is None else Noting.overdriven(noted.rows)[kept],
            *entries_of(due, since_us, noted, log, done),
        )

    def _with_deadlines(self, c: Columns, before: Before, groups: _Ints) -> _Ints:
        """The groups that can be worked out though deadlines pass, with the first fix behind one due."""
        at = among(groups, c.over).nonzero()[0]
        if not len(at):
            return groups
        if self.noting is None:  # it is a visit that is too long
            return np.delete(groups, at)
        rows = _behind(c, groups[at], before.deadline_us[groups[at]])
        for lo, row in zip(c.starts[groups[at]].tolist(), rows.tolist(), strict=True):
            if not c.due[lo:row].any():  # else that may put it off
                c.due[row] = True
        return groups

    def _rows_due(self, c: Columns, groups: _Ints) -> _Ints:
        """The rows of some groups that are due."""
        if c.once:
            return groups.compress(c.due.take(groups))
        rows = c.due.nonzero()[0]
        mine = np.zeros(len(c.starts), np.bool_)
        mine[groups] = True
        return rows[mine[c.group_of(rows)]]

    def _waver_on(
        self,
        codes: npt.NDArray[np.int32],
        groups: _Ints,
        known: Found,
        settling: Settling | None,
        stays: Stays,
    ) -> tuple[_Bools, _Ints, _Ints]:
        """Keep what wavers of vehicles done.

        Args:
            codes, groups: of those vehicles.
            known: (groups, places) of what wavered before, of these and of others.

        Returns:
            which of them waver; until when each may be silent; (vehicle << 32 | fence) of the visits that may
            have ended, a vehicle being its place among them.
        """
        watch, deadline_us = np.zeros(len(codes), np.bool_), np.full(len(codes), FOREVER_US, np.int64)
        if settling is None:
            return watch, deadline_us, _NONE
        before = among(known[0], groups).nonzero()[0]
        after = among(settling.after_group, groups).nonzero()[0]
        was, now, rows = known[0][before], settling.after_group[after], settling.after.take(after)
        some = distinct(was, now)
        found = some.searchsorted(was), known[1][before]
        none = np.zeros(len(before), np.bool_)
        stays.wavers.change(codes[groups.searchsorted(some)], found, none, some.searchsorted(now), rows)
        owner = groups.searchsorted(now)
        watch[owner] = True
        waits = (~leaning(rows)).nonzero()[0]
        np.minimum.at(deadline_us, owner[waits], rows["at_us"][waits] + (self.wavers.settle_us - 1))
        return watch, deadline_us, (owner << 32 | rows["fence"])[rows["inside"]]

    def _doubts(self, c: Columns, due: Due, changes: Changes, known: tuple[_Ints, _Rows]) -> Doubts | None:
        """The visits to restricted zones that begin in doubt, and the doubts that end.

        ``known`` are the visits from before: (group, rows).
        """
        group, rows = known
        at = in_doubt(rows).nonzero()[0]
        if not self._settle_m or not (self._any_entry or len(at)):
            return None
        old = at, group[at], rows["fence"][at].astype(np.int64)
        return doubts_of(c, due, changes, self.entry, old, self.wavers.near)

    def _gate(self, steps: _Rows, changes: Changes, c: Columns, sets: Sets, due: Due) -> None:
        """For crossings of a district's border: the checkpoint, or the bypass; see ``rules.gates``."""
        steps["gate"], steps["near"] = NO_DISTRICT, NO_GATE
        if not self._any_district:
            return
        border = self.district[changes.fence]
        steps["gate"][border] = NO_GATE
        at = (border & (changes.how == CROSSING)).nonzero()[0]
        if not self.gates:
            steps["bypass"][at] = self.bypasses.on[changes.fence[at]]
        if not len(at) or not self.gates:
            return
        on_way = self._on_way(changes.row[at], c, sets, due)
        touched = changes.touched[at]
        for i in touched.nonzero()[0].tolist():  # few: crossings that wavered beside a checkpoint
            on_way[i, list(self.wavers.sets[touched[i]])] = True
        lon, lat = changes.lon[at], changes.lat[at]
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
        by = (used == NO_GATE) & (near >= 0) & (near_m <= self.tolerance_m[changes.fence[at]])
        used[by] = near[by]
        steps["near"][at], steps["near_m"][at] = near, near_m
        steps["gate"][at] = used
        steps["bypass"][at] = (used == NO_GATE) & self.bypasses.on[changes.fence[at]]

    def _on_way(self, row: _Ints, c: Columns, sets: Sets, due: Due) -> _Bools:
        """Which checkpoints each of some due fixes, ascending, has to do with: bool, shape (n, gates)."""
        first = begins(row)
        rows = row[first]
        which: _Ints = first.cumsum() - 1
        found = np.zeros((len(rows), len(self.gates)), np.bool_)
        found[self._met(due.at[rows], due.key_before[rows], due.key[rows], c, sets)] = True
        return found[which]

    def _met(
        self,
        at: _Ints,
        key_before: npt.NDArray[np.uint64],
        key: npt.NDArray[np.uint64],
        c: Columns,
        sets: Sets,
    ) -> tuple[_Ints, _Ints]:
        """The checkpoints that some rows have to do with: (place among the rows, number of it)."""
        if not self.gates:
            return _NONE, _NONE
        pairs = [self._crossed.hits(c, at)]
        for keys in (key_before, key):
            own, member = sets.members(keys)
            pairs.append((own, member.astype(np.int64)))
        place = np.concatenate([pair[0] for pair in pairs])
        gate = self._gate_of[np.concatenate([pair[1] for pair in pairs])]
        mine = (gate >= 0).nonzero()[0]
        return place[mine], gate[mine]


def _behind(c: Columns, groups: _Ints, deadline_us: _Ints) -> _Ints:
    """The first row of each group behind a moment."""
    spans = zip(c.starts[groups].tolist(), c.ends[groups].tolist(), deadline_us.tolist(), strict=True)
    rows = [lo + int(c.track.time_us[lo:hi].searchsorted(us, side="right")) for lo, hi, us in spans]
    return np.array(rows, np.int64)
