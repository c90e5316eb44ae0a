"""The rules: pure functions from what is known to a verdict.

You are in the core. Each function looks at one fact (a visit, a crossing, a fix) and the limits
that apply, and answers with what has to be said, or None. None of them keeps state, reads a
clock or knows a fence beside the one it is given. ``judge.py`` calls them in order and keeps the
books. Where a rule comes from stands in its docstring; thresholds are fence properties or
:class:`~hazfence.settings.EngineSettings`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hazfence.events import Event, Kind, Phase, Severity, event_id, iso
from hazfence.presence import Fix
from hazfence.settings import EngineSettings
from hazfence.vehicles import SpeedRun
from hazfence_fences import Fence, FenceKind

__all__ = [
    "Crossing",
    "gate_bypass",
    "governing_limit",
    "overspeed",
    "overstay",
    "overstay_deadline_us",
    "restricted_entry",
]


class Crossing(NamedTuple):
    """A border crossed: when, where, ``in`` or ``out``, and the two fixes that witness it."""

    at_us: int
    lon: float
    lat: float
    direction: str
    prev: Fix
    fix: Fix


def gate_bypass(
    vehicle: str,
    district: Fence,
    crossing: Crossing,
    checkpoints: Iterable[Fence],
    touched: frozenset[str],
    settings: EngineSettings,
) -> Event | None:
    """绕卡: the district's border crossed away from every checkpoint.

    The six checkpoints (登记点) are the only legal ways in and out (platform of Zhenhai district).
    A crossing is legal when the way between the two fixes touches a checkpoint, or when the
    crossing lies within ``gate_tolerance_m`` of one. Only a crossing witnessed by two fixes not
    farther apart than ``max_gap_s`` is judged; the caller sees to that.

    Args:
        crossing: of the district's border.
        checkpoints: every checkpoint there is.
        touched: ids of the checkpoints that the segment touches.
    """
    if touched:
        return None
    at_us, lon, lat = crossing[:3]
    nearest = min(((gate.distance_m(lon, lat), gate.id) for gate in checkpoints), default=(math.inf, None))
    if nearest[0] <= settings.gate_tolerance_m:
        return None
    return Event(
        # In and out may fall on one moment, at a fix on the border itself: two facts, two names.
        id=event_id(f"{Kind.GATE_BYPASS}:{crossing.direction}", vehicle, district.id, at_us),
        kind=Kind.GATE_BYPASS,
        vehicle=vehicle,
        fence_id=district.id,
        fence_version=district.version,
        revision=1,
        phase=Phase.CLOSED,
        started_us=at_us,
        ended_us=at_us,
        lon=lon,
        lat=lat,
        end_lon=lon,
        end_lat=lat,
        severity=Severity.BREACH,
        detail={
            "direction": crossing.direction,
            "between": [iso(crossing.prev.time_us), iso(crossing.fix.time_us)],
            "nearest_checkpoint": nearest[1],
            "nearest_checkpoint_m": None if math.isinf(nearest[0]) else round(nearest[0], 1),
            "gate_tolerance_m": settings.gate_tolerance_m,
        },
    )


def restricted_entry(visit: Event, fence: Fence) -> Event | None:
    """闯禁: a visit to a restricted zone (GB/T 35658 6.1.2: the platform raises area alarms).

    A passage that no fix witnessed is no breach: the vehicle may have taken another way.
    """
    if fence.kind is not FenceKind.RESTRICTED or visit.detail["witness"] != "fix":
        return None
    return Event(
        id=event_id(Kind.RESTRICTED_ENTRY, visit.vehicle, fence.id, visit.started_us),
        kind=Kind.RESTRICTED_ENTRY,
        vehicle=visit.vehicle,
        fence_id=fence.id,
        fence_version=fence.version,
        revision=1,
        phase=Phase.OPENED,
        started_us=visit.started_us,
        ended_us=None,
        lon=visit.lon,
        lat=visit.lat,
        severity=Severity.BREACH,
        detail={"entry": visit.detail["entry"], "entry_between": visit.detail["entry_between"]},
    )


def overstay_deadline_us(visit: Event, fence: Fence) -> int | None:
    """The last moment at which the visit is not yet too long; None when the fence sets no limit."""
    if fence.max_stay_min is None:
        return None
    return visit.started_us + round(fence.max_stay_min * 60e6)


def overstay(visit: Event, fence: Fence, until_us: int, lon: float, lat: float) -> Event | None:
    """超时滞留: a visit longer than the fence's ``max_stay_min``.

    Begins at the deadline, whenever it is noticed: by the next fix, or in silence.

    Args:
        until_us: up to when the vehicle is known (or, in silence, taken) to have stayed.
        lon, lat: the vehicle's last known place at the deadline.
    """
    deadline_us = overstay_deadline_us(visit, fence)
    if deadline_us is None or until_us <= deadline_us:
        return None
    return Event(
        id=event_id(Kind.OVERSTAY, visit.vehicle, fence.id, deadline_us),
        kind=Kind.OVERSTAY,
        vehicle=visit.vehicle,
        fence_id=fence.id,
        fence_version=fence.version,
        revision=1,
        phase=Phase.OPENED,
        started_us=deadline_us,
        ended_us=None,
        lon=lon,
        lat=lat,
        severity=Severity.BREACH,
        detail={"entered_at": iso(visit.started_us), "max_stay_min": fence.max_stay_min},
    )


def governing_limit(fix: Fix) -> tuple[float, Fence] | None:
    """The speed limit (km/h) that holds at a fix and the fence that sets it: the lowest wins.

    危险货物道路运输安全管理办法 (2019 No. 29) Art. 46: a lower sign wins.
    """
    best: tuple[float, Fence] | None = None
    for fence in fix.fences:
        limit = fence.speed_limit_kmh
        if limit is None or (best is not None and limit >= best[0]):
            continue
        if bool(fence.in_force(np.array([fix.time_us], np.int64))[0]):
            best = (limit, fence)
    return best


def overspeed(vehicle: str, run: SpeedRun, settings: EngineSettings) -> Event | None:
    """超速: every fix over the limit for longer than ``overspeed_for_s``.

    The first and the last fix over the limit bound the time; nothing is guessed between fixes.
    A lone fast fix is therefore no breach.
    """
    if run.last_us - run.started_us <= settings.overspeed_for_s * 1e6:
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
            "margin_kmh": settings.overspeed_margin_kmh,
            "max_kmh": round(run.max_kmh, 1),
            "overspeed_for_s": settings.overspeed_for_s,
        },
    )
