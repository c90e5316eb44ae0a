"""The judge: one vehicle, one fix (or one silence), and what has to be said about it.

You are in the core, above ``presence.py`` (when was it inside) and ``rules/`` (is that a
breach). ``engine.py`` calls :meth:`Judge.fix` for the few fixes that its screen could not prove
harmless, in time order a vehicle, and :meth:`Judge.silence` when a deadline passed without a fix.
What was said before and has to be corrected is not its business, see ``story.py``. The way of a
fix, in order:

1. can it be true at all; a suspect fix makes no verdict,
2. which borders are crossed for certain,
3. presence pieces of every fence concerned: visits close and open,
4. each visit against stay limits, closed hours and restricted zones,
5. each crossing of a district's border against the checkpoints,
6. speed against the lowest limit in force,
7. the rules with a memory: routes, standing, driving, segments, silence, alarms.

What there is to judge is in ``remit.py``, until when silence means nothing in ``deadlines.py``.
Everything that goes on is in ``record.open`` as the last revision said; to end it is to replace
that revision. Clarity is meant to live here: add a rule in ``rules/``, call it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hazfence.deadlines import deadline_us
from hazfence.events import Event, Kind, iso
from hazfence.presence import Edge, Fix, Piece, pieces
from hazfence.reference import ReferenceData
from hazfence.remit import Remit
from hazfence.rules.driving import motion, overdrive, overpark
from hazfence.rules.gates import Crossing, Gate, bypass, gate_of, guarded
from hazfence.rules.health import coverage_gap, silent
from hazfence.rules.papers import WAYBILL, papers
from hazfence.rules.prism import Certainty, Way, bypass_certainty, entry_certainty
from hazfence.rules.routes import corridor_departure
from hazfence.rules.segments import segment_overtime
from hazfence.rules.speed import speeding
from hazfence.rules.stays import overstay
from hazfence.rules.step import Step
from hazfence.rules.terminal import alarms
from hazfence.rules.trust import held, weigh
from hazfence.rules.zones import closed_hours, entry
from hazfence.settings import EngineSettings
from hazfence.settle import Settled, Settler
from hazfence.states import Unsure, Waver
from hazfence.vehicles import Record, open_key
from hazfence.visits import BORDER, closed, entered_by, exit_detail, opened
from hazfence_fences import Fence, FenceKind, FenceSet

__all__ = ["Judge", "in_time_order"]

#: What lasts as long as the visit it belongs to, and ends with it.
_BOUND_TO_VISIT = (
    Kind.OVERSTAY,
    Kind.CURFEW,
    Kind.RESTRICTED_ENTRY,
    Kind.POSSIBLE_ENTRY,
    Kind.UNREGISTERED,
    Kind.NO_WAYBILL,
    Kind.CARGO_FORBIDDEN,
    Kind.VISIT,
)


class Judge:
    """Judges fixes and silences under one set of fences and settings; keeps no state of its own.

    Attributes:
        remit: what there is to judge.
    """

    def __init__(
        self, fences: FenceSet, settings: EngineSettings, reference: ReferenceData | None = None
    ) -> None:
        self._settings = settings
        self._set = fences
        self.remit = Remit(fences, settings, reference)
        guards = guarded(fences.fences, self.remit.book)
        self._settler = Settler(fences, settings.settle_m, settings.settle_s, guards, self._missed_gates)

    def fix(
        self, vehicle: str, record: Record, prev: Fix | None, fix: Fix, hits: Iterable[Fence]
    ) -> list[Event]:
        """Judge the fix after ``prev``.

        Args:
            vehicle: its name.
            record: its state, changed in place.
            prev: its last fix before, None when there is none.
            fix: the fix to judge.
            hits: thin fences that the segment touches.

        Returns:
            new revisions, in the order of event time.
        """
        step = self._step(vehicle, record, prev, fix)
        hits, suspect = self._weighed(step, tuple(hits))
        if suspect:
            # Silence going on, but for what hearing of the vehicle settles.
            step.was_in = self._was_in(record, step.prev)
            self._heard(step)
        else:
            self._judge(step, hits)
        return in_time_order(step.out)

    def move(self, vehicle: str, record: Record, prev: Fix, fix: Fix) -> list[Event]:
        """Judge a fix of which the screen knows that only standing or moving can have changed.

        Returns what :meth:`fix` would, sooner. No deadline may have passed before the fix, and the
        record must not ask for every fix.
        """
        step = self._step(vehicle, record, prev, fix)
        step.steady = True
        self._motion(step)
        return in_time_order(step.out) if step.out else step.out

    def silence(self, vehicle: str, record: Record, last: Fix, now_us: int) -> list[Event]:
        """Judge that nothing came since ``last`` until ``now_us``: the vehicle stands where it was.

        Args and returns as for :meth:`fix`. What is found may be contradicted by the next fix: the
        caller keeps the record from before.
        """
        trusted = held(record, last, self.remit.fences)
        step = self._step(vehicle, record, last, trusted._replace(time_us=now_us, silent=True))
        step.prev = trusted
        self._judge(step, ())
        return in_time_order(step.out)

    def in_doubt(self, record: Record, last: Fix) -> bool:
        """Whether the vehicle's last fix was suspect, so that it is still silence that is judged."""
        return held(record, last, self.remit.fences) is not last

    def deadline_us(self, record: Record, last: Fix, judged_us: int, vehicle: str) -> int:
        """The last moment up to which the vehicle may be silent without being judged.

        Args:
            record: its state.
            last: its last fix.
            judged_us: the moment up to which it has been judged.
            vehicle: its name.
        """
        trusted = held(record, last, self.remit.fences)
        if trusted is not last and judged_us == last.time_us:
            judged_us = trusted.time_us  # a suspect fix judged nothing
        in_doubt = trusted is not last
        return deadline_us(self.remit, self._settler, record, trusted, judged_us, vehicle, in_doubt=in_doubt)

    def _step(self, vehicle: str, record: Record, prev: Fix | None, fix: Fix) -> Step:
        heard_us = None if prev is None else prev.time_us
        return Step(vehicle, record, prev, fix, heard_us, True, self.remit.ask_of(vehicle), [], {})

    def _weighed(self, step: Step, hits: tuple[Fence, ...]) -> tuple[tuple[Fence, ...], bool]:
        """Ask whether the fix can be true; from which fix, and past which thin fences, it is judged."""
        params = step.ask(Kind.GNSS_SUSPECT, None, step.t1) if self.remit.doubts else None
        if params is None:
            return hits, False
        weighed = weigh(step, params, self.remit.fences)
        if weighed.prev is not step.prev:
            hits = self._hits(weighed.prev, step.fix)
        step.prev, step.witnessed = weighed.prev, weighed.witnessed
        return hits, weighed.suspect

    def _judge(self, step: Step, hits: tuple[Fence, ...]) -> None:
        """Judge one step, to a fix or through silence, from the record as it was at ``prev``."""
        step.witnessed = step.witnessed and step.prev is not None and self._witnessed(step.prev, step.fix)
        settled = self._settler.settle(step, hits)
        step.was_in = self._was_in(step.record, step.prev)
        self._presence(step, hits, settled)
        if not step.silent:
            speeding(step, self.remit.fences, self.remit.slow_kmh, self.remit.max_gap_us)
        self._remembering(step)
        self._heard(step)

    def _was_in(self, record: Record, prev: Fix | None) -> tuple[Fence, ...]:
        return tuple(
            f
            for f in (prev.fences if prev else ())
            if f.id in self.remit.districts and (Kind.VISIT, f.id) in record.open
        )

    def _hits(self, prev: Fix | None, fix: Fix) -> tuple[Fence, ...]:
        """The thin fences on a way that the screen has not seen, because the fix before was in doubt."""
        if prev is None or not self._witnessed(prev, fix):
            return ()
        ends = (np.array([v]) for v in (prev.lon, prev.lat, fix.lon, fix.lat))
        return tuple(self._set[int(i)] for i in self._set.segment_hits(*ends)[1])

    def _heard(self, step: Step) -> None:
        """What follows from having heard of the vehicle, or not, wherever it is."""
        if self.remit.silences:
            silent(step)
        if self.remit.cries:
            alarms(step)

    def _remembering(self, step: Step) -> None:
        """The rules with a memory."""
        if self.remit.leaves_routes:
            corridor_departure(step, self.remit.routes)
        if self.remit.parks or self.remit.drives:
            self._motion(step)
        if self.remit.segments:
            segment_overtime(step, self.remit.gates)
        if self.remit.gaps:
            coverage_gap(step)

    def _motion(self, step: Step) -> None:
        """The rules about standing and driving."""
        old, new, displaced = motion(step)
        if self.remit.parks:
            overpark(step, old, new, displaced)
        if self.remit.drives:
            overdrive(step, old, new, displaced, self.remit.max_gap_us)

    def _presence(self, step: Step, hits: tuple[Fence, ...], settled: Settled) -> None:
        """Visits, and what is judged of each visit and each crossing."""
        record, prev, fix, out = step.record, step.prev, step.fix, step.out
        if prev is not None and self._steady(record, prev, fix, hits):
            step.steady = True
            for fence in fix.fences:
                if fence.id in self.remit.timed_visits or fence.id in _unsure(record):
                    self._piece(step, fence, _goes_on(prev, fix, settled.wavering.get(fence.id)), frozenset())
            return
        concerned = {f.id: f for f in (*(prev.fences if prev else ()), *fix.fences, *hits)}
        for kind, fence_id in [open_key(event) for event in record.standing()]:
            if kind is Kind.VISIT and fence_id not in concerned:
                at = prev or fix
                gone = Edge.FENCE_CHANGED if fence_id in self.remit.fences else Edge.FENCE_REMOVED
                self._leave(record, fence_id, (at.time_us, at.lon, at.lat), gone, None, out)
        touched = frozenset(f.id for f in concerned.values() if f.kind is FenceKind.CHECKPOINT)
        stayed = {f.id for f in fix.fences if prev is not None and f in prev.fences} - self.remit.timed
        for fence in sorted(concerned.values(), key=lambda f: self.remit.order.get(f.id, -1)):
            if fence.id in settled.late:
                self._crossed_before(step, fence, settled.late[fence.id], touched)
                continue
            same = fence.id in stayed and (not fence.thin or fence.shape == "circle")
            if same and prev is not None and (Kind.VISIT, fence.id) in record.open:
                # Nothing happened but time.
                found = [_goes_on(prev, fix, settled.wavering.get(fence.id))]
                step.pieces[fence.id] = (fence, found)
                if fence.id in self.remit.timed_visits or fence.id in _unsure(record):
                    self._piece(step, fence, found[0], touched)
                continue
            found = pieces(fence, prev, fix, witnessed=step.witnessed)
            step.pieces[fence.id] = (fence, found)
            if (Kind.VISIT, fence.id) in record.open and (not found or found[0].begins is not Edge.GOES_ON):
                # Inside at prev by the books, but no longer in force there: the fence was edited.
                at = prev or fix
                self._leave(record, fence.id, (at.time_us, at.lon, at.lat), Edge.FENCE_CHANGED, None, out)
            for piece in found:
                self._piece(step, fence, piece, touched)

    def _crossed_before(self, step: Step, fence: Fence, waver: Waver, touched: frozenset[str]) -> None:
        """Open or close a visit at a crossing before this step, of which only now it is certain."""
        how, touched = Edge(waver.edge), touched.union(waver.touched)
        if waver.inside:
            step.pieces[fence.id] = (fence, [])
            step.left_before += ((waver.at_us, fence),)
            piece = Piece(waver.at_us, waver.at_us, Edge.GOES_ON, how, True)
        else:
            here = Piece(step.t0, step.t1, Edge.GOES_ON, Edge.GOES_ON, True)
            step.pieces[fence.id] = (fence, [here])
            piece = Piece(waver.at_us, step.t1, how, Edge.GOES_ON, True)
        self._piece(step, fence, piece, touched, waver)

    def _witnessed(self, prev: Fix, fix: Fix) -> bool:
        return fix.time_us - prev.time_us <= self.remit.max_gap_us and abs(fix.lon - prev.lon) <= 180.0

    def _steady(self, record: Record, prev: Fix, fix: Fix, hits: tuple[Fence, ...]) -> bool:
        """Whether it stayed in the fences it was in, none of which ever is out of force."""
        if prev.fences != fix.fences or any(f not in fix.fences for f in hits):
            return False
        if any(f.id in self.remit.timed or (f.thin and f.shape != "circle") for f in fix.fences):
            return False
        visiting = [fence_id for kind, fence_id in record.open if kind is Kind.VISIT]
        return len(visiting) == len(fix.fences) and all(f.id in visiting for f in fix.fences)

    def _piece(
        self, step: Step, fence: Fence, piece: Piece, touched: frozenset[str], waver: Waver | None = None
    ) -> None:
        """Open, carry on and close the visit that a piece of presence belongs to.

        ``waver`` is the crossing that it begins or ends with, when that lies before the step.
        """
        record, prev, fix, out = step.record, step.prev, step.fix, step.out
        key = (Kind.VISIT, fence.id)
        visit = record.open.get(key)
        crosses = fence.kind is FenceKind.DISTRICT and prev is not None
        if visit is None:
            begins = piece.begins
            if begins is Edge.GOES_ON:  # inside before, but the fence is new in this place
                begins = Edge.FENCE_CHANGED
            place = _place(step, piece.start_us, begins) if waver is None else (waver.lon, waver.lat)
            fixes_us = _around(prev, fix, waver)
            sure = None if piece.by_fix else self._passed(step, fence, piece)
            visit = opened(step.vehicle, fence, piece.start_us, place, begins, fixes_us, sure=sure)
            breach = None
            if fence.kind is FenceKind.DISTRICT:
                gate = None
                if crosses and begins is Edge.CROSSING:
                    gate, breach = self._border(
                        step, fence, "in", (piece.start_us, *place), touched, {}, waver
                    )
                visit = replace(visit, detail={**visit.detail, "entry_gate": gate})
            record.open[key] = visit
            out.append(visit)
            if breach is not None:
                out.append(breach)
            if fence.kind is FenceKind.RESTRICTED:
                self._entry(step, fence, piece, visit, new=True)
        elif fence.id in _unsure(record):
            self._entry(step, fence, piece, visit, new=False)
        if (Kind.OVERSTAY, fence.id) not in record.open:
            # The last known place at the deadline: prev, unless the visit began after it.
            at = prev if prev is not None and prev.time_us >= visit.started_us else visit
            params = step.ask(Kind.OVERSTAY, fence, visit.started_us)
            breach = overstay(visit, fence, params, piece.end_us, at.lon, at.lat, step.evidence)
            if breach is not None:
                record.open[breach.kind, fence.id] = breach
                out.append(breach)
        if self.remit.curfews and (piece.by_fix or visit.detail["witness"] == "fix"):
            self._curfew(step, fence, piece, visit)
        if fence.id in self.remit.filed and (piece.by_fix or visit.detail["witness"] == "fix"):
            assert self.remit.reference is not None
            stay, goes_on = (piece.start_us, piece.end_us), piece.ends is Edge.GOES_ON
            papers(step, fence, stay, goes_on, visit, self.remit.reference, fence.id in self.remit.districts)
        if piece.ends is not Edge.GOES_ON:
            place = _place(step, piece.end_us, piece.ends) if waver is None else (waver.lon, waver.lat)
            fixes_us = _around(prev, fix, waver) if piece.ends in BORDER else None
            more: dict[str, Any] = {}
            breach = None
            if fence.kind is FenceKind.DISTRICT:
                more["exit_gate"] = None
                if crosses and piece.ends is Edge.CROSSING:
                    came = {"entered_at": iso(visit.started_us), "entry_gate": visit.detail.get("entry_gate")}
                    gate, breach = self._border(
                        step, fence, "out", (piece.end_us, *place), touched, came, waver
                    )
                    more["exit_gate"] = gate
            self._leave(record, fence.id, (piece.end_us, *place), piece.ends, fixes_us, out, more)
            if breach is not None:
                out.append(breach)

    def _passed(self, step: Step, fence: Fence, piece: Piece) -> Certainty:
        """How certain a stay is that no fix lies in."""
        top_kmh, error_m = self._settings.top_speed_kmh, self._settings.settle_m
        return entry_certainty(fence, piece, step.prev, step.fix, top_kmh, error_m, self._near_border)

    def _entry(self, step: Step, fence: Fence, piece: Piece, visit: Event, *, new: bool) -> None:
        """Judge a visit to a restricted zone that begins, or of which it was not certain so far."""
        params = step.ask(Kind.RESTRICTED_ENTRY, fence, visit.started_us)
        if params is None or (not new and step.silent):
            return
        error_m = self._settings.settle_m
        sure = entry_certainty(
            fence, piece, step.prev, step.fix, params["top_speed_kmh"], error_m, self._near_border
        )
        if sure is Certainty.CERTAIN:
            if not new:
                _doubt(step.record, fence.id, unsure=False)
                at = min(piece.end_us, step.t1)
                step.close(Kind.POSSIBLE_ENTRY, fence.id, at, step.place(at), {"exit": "confirmed"})
        elif not new:
            return
        else:
            _doubt(step.record, fence.id, unsure=True)
            if step.ask(Kind.POSSIBLE_ENTRY, fence, visit.started_us) is None:
                return
        # It rests on how it came in, or was there before; made certain later, on that fix too.
        seen = [iso(step.t1)] if not new else step.evidence(visit.started_us)
        breach = entry(visit, fence, sure, [] if new and entered_by(visit) else seen)
        step.record.open[breach.kind, fence.id] = breach
        step.out.append(breach)

    def _near_border(self, fence: Fence, fix: Fix, within_m: float) -> bool:
        if within_m > max(self._settings.settle_m, fix.error_m):
            return fence.boundary_distance_m(fix.lon, fix.lat) < within_m
        return self._settler.near(fence, fix)

    def _sure(self, step: Step, district: Fence, at_us: int) -> Certainty:
        """How certain a bypass is on this step, of a crossing that counts at once."""
        if district.id in step.sure:
            return Certainty(step.sure[district.id])
        sure = self._missed_gates(step, district, at_us)
        # The border does not settle: on which side of it was the vehicle?
        near = any(fix is not None and self._settler.near(district, fix) for fix in (step.prev, step.fix))
        return sure.and_(Certainty.PROBABLE) if near else sure

    def _missed_gates(self, step: Step, district: Fence, at_us: int) -> Certainty:
        """How certain it is that no checkpoint was passed on the step's way."""
        params = step.ask(Kind.GATE_BYPASS, district, at_us)
        if params is None or step.prev is None or step.silent:
            return Certainty.CERTAIN  # nobody asks, or nothing was driven
        way = Way.between(step.prev, step.fix, params["top_speed_kmh"], self._settings.settle_m)
        return bypass_certainty(way, self.remit.checkpoints)

    def _curfew(self, step: Step, fence: Fence, piece: Piece, visit: Event) -> None:
        """Open and close the curfew for as long as the piece and the closed hours overlap."""
        params = step.ask(Kind.CURFEW, fence, visit.started_us)
        if params is None or params["hours"] is None:
            return
        for (start_us, end_us), over in closed_hours(params["hours"], piece.start_us, piece.end_us):
            if not step.is_open(Kind.CURFEW, fence.id):
                if start_us == end_us and piece.ends is not Edge.GOES_ON:
                    continue  # it closes in the moment of leaving
                entered = start_us == visit.started_us
                place = (visit.lon, visit.lat) if entered else step.last_known(start_us)
                detail = {"entered_at": iso(visit.started_us), "entry": visit.detail["entry"]}
                step.open(Kind.CURFEW, fence, start_us, place, detail)
            if over:
                at = step.last_known(end_us)
                step.close(Kind.CURFEW, fence.id, end_us, at, {"exit": str(Edge.SCHEDULE)})

    def _leave(
        self,
        record: Record,
        fence_id: str,
        at: tuple[int, float, float],
        how: Edge,
        fixes_us: tuple[int, int] | None,
        out: list[Event],
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Close the visit to a fence and everything that lasts as long as the visit."""
        past_waybill = record.open.get((Kind.OVERSTAY, WAYBILL))
        keys = [(kind, fence_id) for kind in _BOUND_TO_VISIT]
        if past_waybill is not None and past_waybill.fence_id == fence_id:
            keys.insert(0, (Kind.OVERSTAY, WAYBILL))
        _doubt(record, fence_id, unsure=False)
        for kind, key in keys:
            event = record.open.pop((kind, key), None)
            if event is None:
                continue
            out.append(closed(event, at[0], at[1:], exit_detail(event, how, fixes_us, more or {})))

    def _border(
        self,
        step: Step,
        district: Fence,
        direction: str,
        at: tuple[int, float, float],
        touched: frozenset[str],
        stay: Mapping[str, Any],
        waver: Waver | None,
    ) -> tuple[str | None, Event | None]:
        """Judge a crossing of a district's border: the checkpoint it was made through, or the breach."""
        fixes_us = _around(step.prev, step.fix, waver)
        assert fixes_us is not None
        params = step.ask(Kind.GATE_BYPASS, district, at[0])
        tolerance_m = self._settings.gate_tolerance_m if params is None else params["tolerance_m"]
        crossing = Crossing(*at, direction, *fixes_us)
        gate: Gate = gate_of(crossing, self.remit.checkpoints, touched, tolerance_m)
        if params is None or gate.used is not None:
            return gate.used, None
        sure = self._sure(step, district, at[0]) if waver is None else Certainty(waver.sure)
        if sure is not Certainty.CERTAIN and step.ask(Kind.POSSIBLE_BYPASS, district, at[0]) is None:
            return None, None
        return None, bypass(step.vehicle, district, crossing, gate, params, stay, sure)


def _unsure(record: Record) -> tuple[str, ...]:
    """The restricted zones of which it is not certain that they were entered, by id."""
    state = record.states.get(Unsure.name)
    return state.fences if isinstance(state, Unsure) else ()


def _doubt(record: Record, fence_id: str, *, unsure: bool) -> None:
    """Remember that it is not certain that a restricted zone was entered, or that it is over."""
    known = _unsure(record)
    if (fence_id in known) is unsure:
        return
    left = tuple(sorted({*known, fence_id} if unsure else {*known} - {fence_id}))
    if left:
        record.states[Unsure.name] = Unsure(left)
    else:
        del record.states[Unsure.name]


def _goes_on(prev: Fix, fix: Fix, waver: Waver | None) -> Piece:
    """Presence all the way; while it is not certain that it ended, up to where it may have."""
    end_us = fix.time_us if waver is None else waver.at_us
    return Piece(min(prev.time_us, end_us), end_us, Edge.GOES_ON, Edge.GOES_ON, True)


def _around(prev: Fix | None, fix: Fix, waver: Waver | None) -> tuple[int, int] | None:
    """The times of the two fixes around a crossing."""
    if waver is not None:
        return waver.prev_us, waver.fix_us
    return None if prev is None else (prev.time_us, fix.time_us)


def _place(step: Step, at_us: int, how: Edge) -> tuple[float, float]:
    """Where the vehicle was: on the segment for a crossing, else at the last fix not after then."""
    return step.place(at_us) if how in BORDER else step.last_known(at_us)


def in_time_order(events: list[Event]) -> list[Event]:
    """Events of one fix by the time they speak of; the order found where that is the same."""
    return sorted(events, key=lambda e: e.started_us if e.ended_us is None else e.ended_us)
