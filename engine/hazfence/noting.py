"""The rules with a memory for many vehicles at once: standing, driving, off the routes, between checkpoints.

You are in the core, between ``plain.py``, which knows what visits open and close with every due fix, and
``notes.py``, which keeps what is remembered. :class:`Noting` carries the notes of all vehicles of a batch
from fix to fix as ``rules/driving.py``, ``routes.py`` and ``segments.py`` would, to the last bit, the first
due fix of every vehicle in one go, then the second, and so on. Where a stand or a drive is too long, or one
that was ends, the rule itself says so of that vehicle (``carried.py``). Where another event may begin or end,
and where it is not sure, it leaves the vehicle to ``judge.py``. It holds under one set of fences and
settings, and gives a vehicle's notes as the states that the judge knows, and takes them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from hazfence.carried import Hours, Noted, Work
from hazfence.crossed import places
from hazfence.events import Event, Kind
from hazfence.judge import Judge
from hazfence.notes import DRIVE_SAID, OFF_SAID, PARK_SAID, Notes, Past, blank
from hazfence.noticed import Fixes, Moved, Sorts, Zones, first_rows, zones_of
from hazfence.rules.book import Params
from hazfence.rules.driving import (
    PARTS,
    STAND_KMH,
    STAND_M,
    apart2_m2,
    drive_on,
    limits,
    may_stand,
    rested,
    stand,
    within_day,
)
from hazfence.settings import EngineSettings
from hazfence.states import Drive, Motion, OffRoute, Parked, Segment, State
from hazfence.vehicles import FOREVER_US, NEVER_US, Record
from hazfence_fences import Fence, FenceKind, FenceSet

__all__ = ["Noted", "Noting"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.void]

_STANDS, _MOVES = 1, 2
_MEMORY = (Kind.OVERPARK, Kind.OVERDRIVE, Kind.CORRIDOR_DEPARTURE, Kind.SEGMENT_OVERTIME)
#: All bits of ``said``.
_ALL_SAID = 255


class Noting:
    """See the module's text.

    Args:
        fences, settings: in force.
        judge: the same, fix by fix.

    Attributes:
        able: False when the rules are more than columns can tell: they differ by vehicle or hour, or there is
            more than one district.
    """

    def __init__(self, fences: FenceSet, settings: EngineSettings, judge: Judge) -> None:
        self._book = book = judge.remit.book
        self._fences = fences
        self._gap_us = round(settings.max_gap_s * 1e6)
        on = {kind: book.ever(kind) for kind in _MEMORY}
        self._parks, self._drives = on[Kind.OVERPARK], on[Kind.OVERDRIVE]
        self._routes, self._segments = judge.remit.leaves_routes, False
        kinds = [f.kind for f in fences.fences]
        district = np.array([kind is FenceKind.DISTRICT for kind in kinds], np.bool_)
        route = np.array([f.id in judge.remit.routes for f in fences.fences], np.bool_)
        constant = all(book.constant(kind, f) for kind in _MEMORY if on[kind] for f in (None, *fences.fences))
        self.able = constant and int(district.sum()) <= 1
        self._sorts = Sorts(district, route, np.zeros(len(kinds), np.bool_), None)
        self._home = next((f for f in fences.fences if f.kind is FenceKind.DISTRICT), None)
        self._homes, self._home_id = ([], "") if self._home is None else ([self._home], self._home.id)
        self._most_us = self._for_us = FOREVER_US
        self._rest_us, self._hours = 0, Hours()
        if not self.able:
            return

        def ask(rule: str, fence: Fence | None, at_us: int) -> Params | None:
            return book.lookup(rule, fence)

        if self._parks:
            stand = np.array([may_stand(f, ask, 0) for f in fences.fences], np.bool_)
            self._sorts = self._sorts._replace(stand=stand)
        if self._home is not None:
            params = book.lookup(Kind.OVERPARK, self._home) if self._parks else None
            self._most_us = FOREVER_US if params is None else round(params["max_min"] * 60e6)
            params = book.lookup(Kind.CORRIDOR_DEPARTURE, self._home) if self._routes else None
            self._for_us = FOREVER_US if params is None else round(params["for_s"] * 1e6)
        if self._drives:
            self._driving = book.lookup(Kind.OVERDRIVE, None)
            self.able = self._driving is not None
            if self._driving is not None:
                self._rest_us = round(self._driving["rest_min"] * 60e6)
        if on[Kind.SEGMENT_OVERTIME]:
            told = (book.lookup(Kind.SEGMENT_OVERTIME, f) for f in judge.remit.checkpoints)
            self._segments = any(params is not None and params["to"] for params in told)
        if self._segments:
            gate = np.array([kind is FenceKind.CHECKPOINT for kind in kinds], np.bool_)
            self._sorts = self._sorts._replace(gate=gate)

    def work(
        self,
        codes: npt.NDArray[np.int32],
        fixes: Fixes,
        crossed: Moved,
        inside: tuple[_Ints, _Ints],
        notes: Notes,
    ) -> Noted:
        """Carry the notes of vehicles over their due fixes.

        Args:
            codes: the vehicles.
            fixes: all their due fixes.
            crossed: what opens and closes with them; what counts only now though it lies before the fix
                before, counts from there.
            inside: (number of the vehicle, fence) of the visits that went on before.
            notes: as they were; nothing is changed.
        """
        begins = first_rows(fixes)
        zones = zones_of(fixes, begins, crossed, inside, len(codes), self._sorts)
        work = Work(zones, fixes, codes, notes, self._ask)
        turn = np.arange(len(fixes.vehicle)) - begins[fixes.vehicle]
        for k in range(int(turn.max(initial=-1)) + 1):
            rows = np.flatnonzero(turn == k)
            rows = rows[~work.failed[fixes.vehicle[rows]]]
            if len(rows):
                self._round(work, rows)
                work.over()
        return work.noted()

    def _ask(self, rule: str, fence: Fence | None, at_us: int) -> Params | None:
        return self._book.lookup(rule, fence)

    def _round(self, w: Work, r: _Ints) -> None:
        """One due fix of some vehicles."""
        f, v = w.fixes, w.fixes.vehicle[r]
        w.before[r] = w.rows[v]
        known = f.prev_us[r] != NEVER_US
        t1 = f.fix_us[r]
        t0 = np.where(known, f.prev_us[r], t1)
        bad = np.zeros(len(r), np.bool_)
        if self._parks or self._drives:
            old, new, displaced = self._motion(w, r, v, known)
            if self._parks:
                bad |= self._parking(w, r, v, (t0, t1), old, new, displaced, known)
            if self._drives:
                self._drive(w, r, v, (t0, t1), old, new, displaced)
        if self._routes:
            bad |= self._stray(w, r, v, (t0, t1), known)
        if self._segments:
            bad |= w.zones.gate[r] | (w.rows["left_us"][v] != NEVER_US)
        deadline_us = self._deadline_us(w.rows[v], t1)
        passes = ~bad & (deadline_us < f.until_us[r])
        w.passed_us[v[passes]] = deadline_us[passes]
        w.deadline_us[v] = deadline_us
        w.failed[v[bad | passes]] = True

    def _motion(self, w: Work, r: _Ints, v: _Ints, known: _Bools) -> tuple[_Ints, _Ints, _Bools]:
        """As :func:`hazfence.rules.driving.motion`."""
        f, rows = w.fixes, w.rows
        with np.errstate(invalid="ignore", over="ignore"):
            apart2 = apart2_m2(f.prev_lon[r], f.prev_lat[r], f.lon[r], f.lat[r])
            displaced = known & (apart2 > STAND_M * STAND_M)
            moving = np.where(np.isnan(f.kmh[r]), displaced, f.kmh[r] > STAND_KMH)
        old, new = rows["motion"][v].astype(np.int64), np.where(moving, _MOVES, _STANDS)
        turned = (old != new) | (displaced & ~moving)
        at, which = v[turned], r[turned]
        rows["turned_us"][at] = f.fix_us[which]
        rows["turned_lon"][at], rows["turned_lat"][at] = f.lon[which], f.lat[which]
        rows["motion"][v] = new
        return old, new, displaced

    def _parking(
        self,
        w: Work,
        r: _Ints,
        v: _Ints,
        span: tuple[_Ints, _Ints],
        old: _Ints,
        new: _Ints,
        displaced: _Bools,
        known: _Bools,
    ) -> _Bools:
        """As :func:`hazfence.rules.driving.overpark`; what is true of the result is a case for the judge.

        Stands that are too long, or were and end, are told here where no border was met.
        """
        (t0, t1), f, zones = span, w.fixes, w.zones
        since_us = w.rows["parked_us"][v]
        parked, stands = since_us != NEVER_US, new == _STANDS
        stood = (old == _STANDS) & ~displaced & known
        (d0, d1), (s0, s1) = zones.district, zones.stand
        before, after = (d0[r] > 0) & (s0[r] == 0), (d1[r] > 0) & (s1[r] == 0)
        met = zones.met_stand[r]
        # Where no border was met, what stood where it may not is parked, and nothing else.
        bad = ~met & ((parked & ~before) | (~parked & before & stood))
        said = (w.rows["said"][v] & PARK_SAID) != 0
        long = parked & ~said & (_later(since_us, self._most_us) < np.where(displaced, t0, t1))
        bad |= met & long
        ends = parked & ~met & (~stands | displaced)
        for i in np.flatnonzero(~met & ~bad & (long | (said & ends))).tolist():
            row = w.rows[v[i]]
            place = float(row["parked_lon"]), float(row["parked_lat"])
            end_us = (int(t0[i]) if displaced[i] else int(t1[i])) if ends[i] else None
            stand(w.step(int(r[i])), Parked(int(since_us[i]), *place, self._home_id), end_us, self._homes)
        w.rows["said"][v[long & ~met]] |= PARK_SAID
        w.rows["said"][v[ends]] &= _ALL_SAID - PARK_SAID
        begin_us = np.where(parked & stands & ~displaced & ~met, since_us, NEVER_US)
        begin_us = np.where(stands & after & (begin_us == NEVER_US), t1, begin_us)
        at = np.flatnonzero(met & stood)
        if len(at):  # it stood all the time while it met a border: it creeps, or its place wavers
            run, late = self._way(zones, r[at], (t0[at], t1[at]), since_us[at], zones.stand, zones.of_stand,
                                  self._most_us)  # fmt: skip
            bad[at] |= late & ~said[at]
            begin_us[at] = np.where(stands[at], run, NEVER_US)
        bad |= said & (begin_us != since_us) & met  # its event ends
        new = (begin_us != NEVER_US) & (begin_us != since_us)
        here = begin_us >= t1
        w.rows["parked_us"][v] = begin_us
        w.rows["parked_lon"][v[new]] = np.where(here, f.lon[r], f.prev_lon[r])[new]
        w.rows["parked_lat"][v[new]] = np.where(here, f.lat[r], f.prev_lat[r])[new]
        return np.asarray(bad)

    def _drive(
        self,
        w: Work,
        r: _Ints,
        v: _Ints,
        span: tuple[_Ints, _Ints],
        old: _Ints,
        new: _Ints,
        displaced: _Bools,
    ) -> None:
        """As :func:`hazfence.rules.driving.overdrive`."""
        (t0, t1), rows = span, w.rows
        since, rest, reached = rows["drives_us"][v], rows["rests_us"][v], rows["reached_us"][v]
        on = since != NEVER_US
        driven = on & (rest == NEVER_US) & (old == _MOVES)
        until = np.minimum(t1, t0 + self._gap_us)
        late = driven & (_unsaid(reached, rows["said"][v]).min(axis=1) < until)
        for i in np.flatnonzero(late).tolist():
            limits_us = dict(zip(PARTS, reached[i].tolist(), strict=True))
            told = tuple((part, at_us) for part, at_us in limits_us.items() if at_us != FOREVER_US)
            step, driven_us = w.step(int(r[i])), (int(t0[i]), int(until[i]))
            assert self._driving is not None
            drive_on(step, Drive(int(since[i]), None, (), told), self._driving, driven_us)
            open_now = [step.is_open(Kind.OVERDRIVE, part) for part in PARTS]
            rows["said"][v[i]] |= sum(DRIVE_SAID << k for k, is_open in enumerate(open_now) if is_open)
        said = rows["said"][v]
        rest = np.where(driven & (until < t1), until, rest)
        stops = on & (rest != NEVER_US)
        long = stops & (t1 - np.where(stops, rest, t1) >= self._rest_us)
        moved = stops & displaced & (new == _STANDS) & ~long
        rest = np.where(moved, t1, rest)
        rests = stops & (t1 - np.where(stops, rest, t1) >= self._rest_us)
        for i in np.flatnonzero(rests & (said >= DRIVE_SAID)).tolist():
            rested(w.step(int(r[i])), int(rest[i]))
        rows["said"][v[rests]] &= DRIVE_SAID - 1
        for i in np.flatnonzero(rests).tolist():
            past = w.past(int(v[i]))
            w.set_past(int(v[i]), int(t1[i]), (*past, (int(since[i]), int(rest[i]))))
        since = np.where(rests, NEVER_US, since)
        reached[rests] = FOREVER_US
        moves = new == _MOVES
        for i in np.flatnonzero(moves & (since == NEVER_US)).tolist():
            begin_us, past = int(t1[i]), w.past(int(v[i]))
            recent = within_day(past, begin_us)
            if recent != past:
                w.set_past(int(v[i]), begin_us, recent)
            reached[i] = FOREVER_US
            for part, reached_us in limits(self._driving, recent, begin_us, self._hours.spent_us):
                reached[i, PARTS.index(part)] = reached_us
            since[i] = begin_us
        rest = np.where(moves, NEVER_US, np.where(rest == NEVER_US, t1, rest))
        rows["drives_us"][v], rows["reached_us"][v] = since, reached
        rows["rests_us"][v] = np.where(since == NEVER_US, NEVER_US, rest)

    def _stray(self, w: Work, r: _Ints, v: _Ints, span: tuple[_Ints, _Ints], known: _Bools) -> _Bools:
        """As :func:`hazfence.rules.routes.corridor_departure`."""
        (t0, t1), f, zones = span, w.fixes, w.zones
        since_us = w.rows["off_us"][v]
        off = (zones.district[0][r] > 0) & (zones.route[0][r] == 0)
        # Where no border was met, it is off the routes as before.
        bad = ~zones.met_route[r] & (off != (since_us != NEVER_US)) & known
        run, late = self._way(zones, r, (t0, t1), since_us, zones.route, zones.of_route, self._for_us)
        said = (w.rows["said"][v] & OFF_SAID) != 0
        bad |= np.where(said, run != since_us, late)
        runs = run != NEVER_US
        new = runs & (run != since_us)
        lon, lat = places(run[new], t0[new], t1[new], f.prev_lon[r[new]], f.prev_lat[r[new]],
                          f.lon[r[new]], f.lat[r[new]])  # fmt: skip
        w.rows["off_us"][v] = run
        w.rows["off_lon"][v[new]], w.rows["off_lat"][v[new]] = lon, lat
        return np.asarray(bad)

    @staticmethod
    def _way(
        zones: Zones,
        r: _Ints,
        span: tuple[_Ints, _Ints],
        since_us: _Ints,
        spared: tuple[_Ints, _Ints],
        of_spared: _Ints,
        most_us: int,
    ) -> tuple[_Ints, _Bools]:
        """How long it has been in the district and in no fence that is spared, where each fix is.

        Args:
            zones, r: the fixes.
            span: from the fix before to this one.
            since_us: since when it has been there at the fix before, ``NEVER_US`` where it has not.
            spared, of_spared: in how many such fences, and what each crossing adds.
            most_us: longer than this is a case for the judge.

        Returns:
            since when it has been there at the fix; bool, where it was there for too long.
        """
        (t0, t1), late = span, np.zeros(len(r), np.bool_)
        inside, safe = zones.district[0][r].copy(), spared[0][r].copy()
        run, here = since_us.copy(), t0.copy()
        starts, counts = zones.starts[r], zones.starts[r + 1] - zones.starts[r]

        def go_on(which: _Ints, until: _Ints | None) -> None:
            """The way to the next border, or to the end."""
            there = (inside[which] > 0) & (safe[which] == 0)
            runs = run[which] != NEVER_US
            lasts = np.ones(len(which), np.bool_) if until is None else until > here[which]
            over, begun = which[lasts & ~there & runs], which[lasts & there & ~runs]
            late[over] |= _later(run[over], most_us) < here[over]
            run[over] = NEVER_US
            run[begun] = here[begun]

        for k in range(int(counts.max(initial=0))):
            which = np.flatnonzero(counts > k)
            at = starts[which] + k
            go_on(which, zones.at_us[at])
            here[which] = zones.at_us[at]
            inside[which] += zones.of_district[at]
            safe[which] += of_spared[at]
        go_on(np.arange(len(r)), None)
        return run, late | ((run != NEVER_US) & (_later(run, most_us) < t1))

    def _deadline_us(self, rows: _Rows, t1: _Ints) -> _Ints:
        """As :meth:`hazfence.judge.Judge.deadline_us`, for the notes alone."""
        moments = []
        if self._routes:
            waits = (rows["said"] & OFF_SAID) == 0
            moments.append(np.where(waits, _later(rows["off_us"], self._for_us), FOREVER_US))
        if self._parks:
            waits = (rows["said"] & PARK_SAID) == 0
            moments.append(np.where(waits, _later(rows["parked_us"], self._most_us), FOREVER_US))
        if self._drives:
            on, rest_us = rows["drives_us"] != NEVER_US, rows["rests_us"]
            reached_us = _unsaid(rows["reached_us"], rows["said"]).min(axis=1)
            moments.append(np.where(on & (rest_us == NEVER_US), np.maximum(reached_us, t1), FOREVER_US))
            stops = on & (rest_us != NEVER_US) & (rows["said"] >= DRIVE_SAID)
            moments.append(np.where(stops, rest_us + (self._rest_us - 1), FOREVER_US))
        due = np.full(len(rows), FOREVER_US, np.int64)
        for moment in moments:
            due = np.where(moment >= t1, np.minimum(due, moment), due)
        return due

    @staticmethod
    def overdriven(rows: _Rows) -> _Bools:
        """As :attr:`hazfence.vehicles.Record.overdriven`, of notes."""
        on = (rows["drives_us"] != NEVER_US) & (rows["rests_us"] == NEVER_US)
        return np.asarray(on & (rows["said"] >= DRIVE_SAID))

    def states(self, row: np.void, past: Past) -> dict[str, State]:
        """A note as the judge knows it."""
        found: dict[str, State] = {}
        place = {name: (float(row[f"{name}_lon"]), float(row[f"{name}_lat"])) for name in _PLACES}
        home = self._home_id
        if row["motion"]:
            moves = bool(row["motion"] == _MOVES)
            found[Motion.name] = Motion(moves, int(row["turned_us"]), *place["turned"])
        if row["parked_us"] != NEVER_US:
            found[Parked.name] = Parked(int(row["parked_us"]), *place["parked"], home)
        if row["drives_us"] != NEVER_US or past:
            since, rest = (None if t == NEVER_US else int(t) for t in (row["drives_us"], row["rests_us"]))
            reached = zip(PARTS, row["reached_us"].tolist(), strict=True)
            told = tuple((part, at_us) for part, at_us in reached if at_us != FOREVER_US)
            found[Drive.name] = Drive(since, rest, past, told)
        if row["off_us"] != NEVER_US:
            said = bool(row["said"] & OFF_SAID)
            found[OffRoute.name] = OffRoute(int(row["off_us"]), *place["off"], home, said)
        if row["left_us"] != NEVER_US:
            gate = self._fences[int(row["gate"])].id
            found[Segment.name] = Segment(gate, int(row["left_us"]), *place["left"])
        return found

    def held(self, record: Record) -> tuple[Event, ...]:
        """The events of rules with a memory that go on in a record."""
        return tuple(event for (kind, _), event in record.open.items() if kind in _MEMORY)

    def note(
        self, states: Mapping[str, State], going_on: Iterable[tuple[Kind, str]]
    ) -> tuple[_Rows, Past] | None:
        """States, and the keys of events that go on, as a note of one; None when a note cannot hold them."""
        rows, past = blank(1), Past()
        row = rows[0]
        home = None if self._home is None else self._home.id
        for state in states.values():
            match state:
                case Motion(moving, since_us, lon, lat):
                    row["motion"] = _MOVES if moving else _STANDS
                    row["turned_us"], row["turned_lon"], row["turned_lat"] = since_us, lon, lat
                case Parked(since_us, lon, lat, fence_id) if fence_id == home:
                    row["parked_us"], row["parked_lon"], row["parked_lat"] = since_us, lon, lat
                case Drive(since, rest, past, told):
                    row["drives_us"] = NEVER_US if since is None else since
                    row["rests_us"] = NEVER_US if rest is None else rest
                    for part, at_us in told:
                        row["reached_us"][PARTS.index(part)] = at_us
                case OffRoute(since_us, lon, lat, fence_id, said) if fence_id == home:
                    row["off_us"], row["off_lon"], row["off_lat"] = since_us, lon, lat
                    row["said"] |= OFF_SAID if said else 0
                case Segment(fence_id, left_us, lon, lat) if self._segments and fence_id in self._fences:
                    row["left_us"], row["left_lon"], row["left_lat"] = left_us, lon, lat
                    row["gate"] = self._fences.index_of(fence_id)
                case _:
                    return None
        for kind, part in going_on:
            if kind not in _MEMORY:
                continue
            if kind is Kind.CORRIDOR_DEPARTURE and part == home and row["said"] & OFF_SAID:
                continue
            if kind is Kind.OVERPARK and part == home and row["parked_us"] != NEVER_US:
                row["said"] |= PARK_SAID
            elif kind is Kind.OVERDRIVE and part in PARTS and row["drives_us"] != NEVER_US:
                row["said"] |= DRIVE_SAID << PARTS.index(part)
            else:
                return None
        return rows, past


_PLACES = ("turned", "parked", "off", "left")


def _unsaid(reached_us: _Ints, said: npt.NDArray[np.uint8]) -> _Ints:
    """The limits of overdrive that are no event yet."""
    bits = DRIVE_SAID << np.arange(len(PARTS))
    return np.where((said[:, None] & bits) != 0, FOREVER_US, reached_us)


def _later(moment_us: _Ints, by_us: int) -> _Ints:
    """Moments so much later; ``FOREVER_US`` for those that are none."""
    if by_us == FOREVER_US:
        return np.full(len(moment_us), FOREVER_US, np.int64)
    none = moment_us == NEVER_US
    return np.where(none, FOREVER_US, np.where(none, 0, moment_us) + by_us)
