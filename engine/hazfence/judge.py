"""The judge: one vehicle, one fix (or one silence), and what has to be said about it.

You are in the core, above ``presence.py`` (when was it inside) and ``rules.py`` (is that a
breach). ``engine.py`` calls :meth:`Judge.fix` for the few fixes that its screen could not prove
harmless, in time order a vehicle, and :meth:`Judge.silence` when a deadline passed without a fix.
What was said before and has to be corrected is not its business, see ``story.py``. The way of a
fix, in order:

1. presence pieces of every fence concerned: visits close and open,
2. each visit against the fence's stay limit, each entry against restricted zones,
3. each crossing of a district's border against the checkpoints,
4. speed against the lowest limit in force.

Everything that goes on is in ``record.open`` as the last revision said; to end it is to replace
that revision. Clarity is meant to live here: add a rule in ``rules.py``, call it here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hazfence.events import Event, Kind, Phase, event_id, iso
from hazfence.presence import Edge, Fix, Piece, pieces
from hazfence.rules import (
    Crossing,
    gate_bypass,
    governing_limit,
    overspeed,
    overstay,
    overstay_deadline_us,
    restricted_entry,
)
from hazfence.settings import EngineSettings
from hazfence.vehicles import FOREVER_US, Record, SpeedRun
from hazfence_fences import Fence, FenceKind, FenceSet

__all__ = ["Judge"]

_BORDER = (Edge.CROSSING, Edge.GAP)
#: What lasts as long as the visit it belongs to, and ends with it.
_BOUND_TO_VISIT = (Kind.OVERSTAY, Kind.RESTRICTED_ENTRY, Kind.VISIT)


class Judge:
    """Judges fixes and silences under one set of fences and settings; keeps no state of its own."""

    def __init__(self, fences: FenceSet, settings: EngineSettings) -> None:
        self._settings = settings
        self._order = {fence.id: i for i, fence in enumerate(fences.fences)}
        self._fences = {fence.id: fence for fence in fences.fences}
        self._checkpoints = tuple(f for f in fences.fences if f.kind is FenceKind.CHECKPOINT)
        self._timed = frozenset(fences[i].id for i in fences.timed)
        self._max_gap_us = round(settings.max_gap_s * 1e6)

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
        found = self._judge(vehicle, record, prev, fix, tuple(hits))
        self._speed(vehicle, record, prev, fix, found)
        return _in_time_order(found)

    def silence(self, vehicle: str, record: Record, last: Fix, now_us: int) -> list[Event]:
        """Judge that nothing came since ``last`` until ``now_us``: the vehicle stands where it was.

        Args and returns as for :meth:`fix`. What is found may be contradicted by the next fix: the
        caller keeps the record from before.
        """
        still = last._replace(time_us=now_us)
        return _in_time_order(self._judge(vehicle, record, last, still, ()))

    def deadline_us(self, record: Record, last: Fix, judged_us: int) -> int:
        """The last moment up to which the vehicle may be silent without being judged.

        Args:
            record: its state.
            last: its last fix.
            judged_us: the moment up to which it has been judged.
        """
        due = FOREVER_US
        for (kind, fence_id), event in record.open.items():
            if kind is not Kind.VISIT:
                continue
            fence = self._fences.get(fence_id)
            if fence is None:
                return judged_us  # its fence was removed: judge at the next occasion
            if (Kind.OVERSTAY, fence_id) not in record.open:
                due = min(due, overstay_deadline_us(event, fence) or FOREVER_US)
        for fence in last.fences if self._timed else ():
            change_us = fence.next_change(judged_us) if fence.id in self._timed else None
            if change_us is not None:
                due = min(due, change_us - 1)  # the change itself is already the other state
        return due

    def _judge(
        self, vehicle: str, record: Record, prev: Fix | None, fix: Fix, hits: tuple[Fence, ...]
    ) -> list[Event]:
        out: list[Event] = []
        concerned = {f.id: f for f in (*(prev.fences if prev else ()), *fix.fences, *hits)}
        for kind, fence_id in tuple(record.open):
            if kind is Kind.VISIT and fence_id not in concerned:
                at = prev or fix
                gone = Edge.FENCE_CHANGED if fence_id in self._fences else Edge.FENCE_REMOVED
                self._leave(record, fence_id, (at.time_us, at.lon, at.lat), gone, None, out)
        witnessed = prev is not None and self._witnessed(prev, fix)
        touched = frozenset(f.id for f in concerned.values() if f.kind is FenceKind.CHECKPOINT)
        stayed = {f.id for f in fix.fences if prev is not None and f in prev.fences} - self._timed
        for fence in sorted(concerned.values(), key=lambda f: self._order.get(f.id, -1)):
            if fence.id in stayed and (not fence.thin or fence.shape == "circle"):
                visit = record.open.get((Kind.VISIT, fence.id))
                if visit is not None:  # nothing happened but time
                    self._overstay(record, fence, visit, fix.time_us, prev, out)
                    continue
            found = pieces(fence, prev, fix, witnessed=witnessed)
            if (Kind.VISIT, fence.id) in record.open and (not found or found[0].begins is not Edge.GOES_ON):
                # Inside at prev by the books, but no longer in force there: the fence was edited.
                at = prev or fix
                self._leave(record, fence.id, (at.time_us, at.lon, at.lat), Edge.FENCE_CHANGED, None, out)
            for piece in found:
                self._piece(vehicle, record, fence, piece, prev, fix, out)
                if fence.kind is FenceKind.DISTRICT and prev is not None:
                    self._border(vehicle, fence, piece, prev, fix, touched, out)
        return out

    def _witnessed(self, prev: Fix, fix: Fix) -> bool:
        return fix.time_us - prev.time_us <= self._max_gap_us and abs(fix.lon - prev.lon) <= 180.0

    def _piece(
        self,
        vehicle: str,
        record: Record,
        fence: Fence,
        piece: Piece,
        prev: Fix | None,
        fix: Fix,
        out: list[Event],
    ) -> None:
        """Open, carry on and close the visit that a piece of presence belongs to."""
        key = (Kind.VISIT, fence.id)
        visit = record.open.get(key)
        if visit is None:
            begins = piece.begins
            if begins is Edge.GOES_ON:  # inside before, but the fence is new in this place
                begins = Edge.FENCE_CHANGED
            visit = _visit(vehicle, fence, piece, begins, prev, fix)
            record.open[key] = visit
            out.append(visit)
            entry = restricted_entry(visit, fence)
            if entry is not None:
                record.open[entry.kind, fence.id] = entry
                out.append(entry)
        self._overstay(record, fence, visit, piece.end_us, prev, out)
        if piece.ends is not Edge.GOES_ON:
            place = _place(piece.end_us, piece.ends, prev, fix)
            between = (prev, fix) if prev is not None and piece.ends in _BORDER else None
            self._leave(record, fence.id, (piece.end_us, *place), piece.ends, between, out)

    def _overstay(
        self, record: Record, fence: Fence, visit: Event, until_us: int, prev: Fix | None, out: list[Event]
    ) -> None:
        """Open the overstay of a visit that lasts until ``until_us`` at the least, if it is one."""
        if fence.max_stay_min is None or (Kind.OVERSTAY, fence.id) in record.open:
            return
        # The last known place at the deadline: prev, unless the visit began after it.
        at = prev if prev is not None and prev.time_us >= visit.started_us else visit
        breach = overstay(visit, fence, until_us, at.lon, at.lat)
        if breach is not None:
            record.open[breach.kind, fence.id] = breach
            out.append(breach)

    def _leave(
        self,
        record: Record,
        fence_id: str,
        at: tuple[int, float, float],
        how: Edge,
        between: tuple[Fix, Fix] | None,
        out: list[Event],
    ) -> None:
        """Close the visit to a fence and everything that lasts as long as the visit."""
        for kind in _BOUND_TO_VISIT:
            event = record.open.pop((kind, fence_id), None)
            if event is None:
                continue
            detail: dict[str, Any] = {**event.detail, "exit": str(how)}
            if kind is Kind.VISIT:
                detail["exit_between"] = _between(between)
            out.append(_closed(event, at, detail))

    def _border(
        self,
        vehicle: str,
        district: Fence,
        piece: Piece,
        prev: Fix,
        fix: Fix,
        touched: frozenset[str],
        out: list[Event],
    ) -> None:
        """Judge the crossings at the ends of a piece of presence in a district."""
        sides = (("in", piece.begins, piece.start_us), ("out", piece.ends, piece.end_us))
        for direction, how, at_us in sides:
            if how is Edge.CROSSING:
                crossing = Crossing(at_us, *_place(at_us, how, prev, fix), direction, prev, fix)
                breach = gate_bypass(vehicle, district, crossing, self._checkpoints, touched, self._settings)
                if breach is not None:
                    out.append(breach)

    def _speed(self, vehicle: str, record: Record, prev: Fix | None, fix: Fix, out: list[Event]) -> None:
        """Start, carry on or end the run of fixes over the limit."""
        run = record.run
        if run is not None and fix.time_us - run.last_us > self._max_gap_us:
            self._end_run(record, run, out)
            run = None
        if fix.speed_kmh != fix.speed_kmh:  # NaN: unknown, which neither proves nor ends anything
            return
        limit = governing_limit(fix)
        if limit is None or fix.speed_kmh <= limit[0] + self._settings.overspeed_margin_kmh:
            if run is not None:
                self._end_run(record, run, out)
            return
        if run is None:
            at = (fix.time_us, fix.time_us, fix.lon, fix.lat, fix.lon, fix.lat)
            record.run = SpeedRun(*at, limit[1].id, limit[1].version, limit[0], fix.speed_kmh)
            return
        run.last_us, run.last_lon, run.last_lat = fix.time_us, fix.lon, fix.lat
        run.max_kmh = max(run.max_kmh, fix.speed_kmh)
        if (Kind.OVERSPEED, run.fence_id) not in record.open:
            breach = overspeed(vehicle, run, self._settings)
            if breach is not None:
                record.open[breach.kind, run.fence_id] = breach
                out.append(breach)

    def _end_run(self, record: Record, run: SpeedRun, out: list[Event]) -> None:
        record.run = None
        event = record.open.pop((Kind.OVERSPEED, run.fence_id), None)
        if event is not None:
            detail = {**event.detail, "max_kmh": round(run.max_kmh, 1)}
            out.append(_closed(event, (run.last_us, run.last_lon, run.last_lat), detail))


def _visit(vehicle: str, fence: Fence, piece: Piece, begins: Edge, prev: Fix | None, fix: Fix) -> Event:
    lon, lat = _place(piece.start_us, begins, prev, fix)
    between = (prev, fix) if prev is not None and begins in _BORDER else None
    return Event(
        id=event_id(Kind.VISIT, vehicle, fence.id, piece.start_us),
        kind=Kind.VISIT,
        vehicle=vehicle,
        fence_id=fence.id,
        fence_version=fence.version,
        revision=1,
        phase=Phase.OPENED,
        started_us=piece.start_us,
        ended_us=None,
        lon=lon,
        lat=lat,
        detail={
            "fence_kind": str(fence.kind),
            "entry": str(begins),
            "entry_between": _between(between),
            "witness": "fix" if piece.by_fix else "segment",
        },
    )


def _closed(event: Event, at: tuple[int, float, float], detail: dict[str, Any]) -> Event:
    ended_us, lon, lat = at
    return replace(
        event,
        revision=event.revision + 1,
        phase=Phase.CLOSED,
        ended_us=ended_us,
        end_lon=lon,
        end_lat=lat,
        detail=detail,
    )


def _place(at_us: int, how: Edge, prev: Fix | None, fix: Fix) -> tuple[float, float]:
    """Where the vehicle was: on the segment for a crossing, else at the last fix not after then."""
    if prev is None or at_us >= fix.time_us:
        return fix.lon, fix.lat
    if how not in _BORDER or at_us <= prev.time_us:
        return prev.lon, prev.lat
    part = (at_us - prev.time_us) / (fix.time_us - prev.time_us)
    return prev.lon + part * (fix.lon - prev.lon), prev.lat + part * (fix.lat - prev.lat)


def _between(fixes: tuple[Fix, Fix] | None) -> list[str] | None:
    return None if fixes is None else [iso(fixes[0].time_us), iso(fixes[1].time_us)]


def _in_time_order(events: list[Event]) -> list[Event]:
    """Events of one fix by the time they speak of; the order found where that is the same."""
    return sorted(events, key=lambda e: e.started_us if e.ended_us is None else e.ended_us)
