"""Driving too fast: ``overspeed``.

You are in ``hazfence.rules``. The lowest limit wins: of the fences around the fix, and of the general
one for hazmat vehicles (80 km/h on motorways, 60 elsewhere), which holds in the district where it is
configured. Source: 危险货物道路运输安全管理办法 (2019 No. 29) Art. 46, a lower sign wins; by night 80 % of
it where ruled (渝交规〔2023〕5号, a weak source).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hazfence.events import Event, Kind, Phase, Severity, event_id, iso
from hazfence.presence import Fix
from hazfence.rules.book import Params, Rulebook
from hazfence.rules.step import Ask, Step
from hazfence.vehicles import SpeedRun
from hazfence_fences import Fence, FenceKind

__all__ = ["Limit", "governing_limit", "lowest_limit", "overspeed", "speeding"]


class Limit(NamedTuple):
    """The limit at a fix, km/h, the fence that sets it, and the parameters there."""

    kmh: float
    fence: Fence
    params: Params


def governing_limit(fix: Fix, ask: Ask) -> Limit | None:
    """The speed limit that holds at a fix: the lowest of those in force; None when there is none."""
    at = np.array([fix.time_us], np.int64)
    best: Limit | None = None
    district: tuple[Fence, Params] | None = None
    motorway = False
    for fence in fix.fences:
        params = ask(Kind.OVERSPEED, fence, fix.time_us)
        if params is None or (fence.timed and not bool(fence.in_force(at)[0])):
            continue
        motorway = motorway or params["motorway"]
        if fence.kind is FenceKind.DISTRICT and district is None:
            district = fence, params
        if params["limit_kmh"] is not None:
            limit = params["limit_kmh"] * _factor(params, at)
            if best is None or limit < best.kmh:
                best = Limit(limit, fence, params)
    if district is not None:
        fence, params = district
        general = params["motorway_kmh"] if motorway else params["general_kmh"]
        if params["general_kmh"] is not None and general is not None:
            general *= _factor(params, at)
            if best is None or general < best.kmh:
                best = Limit(general, fence, params)
    return best


def lowest_limit(fence: Fence, book: Rulebook) -> float:
    """The lowest speed limit (km/h) that a fence can set, for whomever and whenever; inf for none."""
    told = book.possible(Kind.OVERSPEED, fence, "limit_kmh") - {None}
    general = book.possible(Kind.OVERSPEED, fence, "general_kmh") - {None}
    if fence.kind is FenceKind.DISTRICT and general:
        told |= general | (book.possible(Kind.OVERSPEED, fence, "motorway_kmh") - {None})
    factors = book.possible(Kind.OVERSPEED, fence, "night_factor")
    return float(min(told, default=math.inf) * min(factors, default=1.0))


def _factor(params: Params, at: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    hours = params["night_hours"]
    factor: float = params["night_factor"]
    return factor if hours is not None and factor != 1.0 and bool(hours.in_force(at)[0]) else 1.0


def overspeed(vehicle: str, run: SpeedRun, params: Params) -> Event | None:
    """超速: every fix over the limit for longer than ``for_s``.

    The first and the last fix over the limit bound the time; nothing is guessed between fixes.
    A lone fast fix is therefore no breach.
    """
    if run.last_us - run.started_us <= params["for_s"] * 1e6:
        return None
    return Event(
        id=event_id(Kind.OVERSPEED, vehicle, run.fence_id, run.started_us),
        kind=Kind.OVERSPEED,
        vehicle=vehicle,
        fence_id=run.fence_id,
        fence_version=run.fence_version,
        revision=1,
        phase=Phase.OPENED,
        started_us=run.started_us,
        ended_us=None,
        lon=run.lon,
        lat=run.lat,
        severity=Severity.BREACH,
        detail={
            "limit_kmh": run.limit_kmh,
            "margin_kmh": params["margin_kmh"],
            "max_kmh": round(run.max_kmh, 1),
            "overspeed_for_s": params["for_s"],
            "fixes": [iso(run.started_us), iso(run.last_us)],
        },
    )


def speeding(step: Step, fences: Mapping[str, Fence], slow_kmh: float, gap_us: int) -> None:
    """Start, carry on or end the run of fixes over the limit, and say when it is a breach.

    Args:
        step: to a fix, not through silence.
        fences: the fences by id.
        slow_kmh: no limit is lower than this.
        gap_us: a run does not go on over a gap longer than this, microseconds.
    """
    record, fix, ask = step.record, step.fix, step.ask
    run = record.run
    if run is not None and fix.time_us - run.last_us > gap_us:
        _end_run(step, run)
        run = None
    if fix.speed_kmh != fix.speed_kmh:  # NaN: unknown, which neither proves nor ends anything
        return
    if run is None and fix.speed_kmh <= slow_kmh:
        return
    limit = governing_limit(fix, ask)
    if limit is None or fix.speed_kmh <= limit.kmh + limit.params["margin_kmh"]:
        if run is not None:
            _end_run(step, run)
        return
    if run is None:
        at = (fix.time_us, fix.time_us, fix.lon, fix.lat, fix.lon, fix.lat)
        record.run = SpeedRun(*at, limit.fence.id, limit.fence.version, limit.kmh, fix.speed_kmh)
        return
    run.last_us, run.last_lon, run.last_lat = fix.time_us, fix.lon, fix.lat
    run.max_kmh = max(run.max_kmh, fix.speed_kmh)
    if not step.is_open(Kind.OVERSPEED, run.fence_id):
        params = ask(Kind.OVERSPEED, fences.get(run.fence_id), run.started_us)
        breach = None if params is None else overspeed(step.vehicle, run, params)
        if breach is not None:
            record.open[breach.kind, run.fence_id] = breach
            step.out.append(breach)


def _end_run(step: Step, run: SpeedRun) -> None:
    step.record.run = None
    most = {"max_kmh": round(run.max_kmh, 1)}
    step.close(Kind.OVERSPEED, run.fence_id, run.last_us, (run.last_lon, run.last_lat), most)
