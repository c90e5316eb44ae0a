"""The district's border and its gates: ``gate_bypass``, ``possible_bypass``, and the gate that was used.

You are in ``hazfence.rules``. The six checkpoints (登记点) are the only legal ways in and out
(platform of Zhenhai district). Entry and exit of a stay in the district are paired: the visit tells
by which gate it began and ended, and a bypass on the way out tells how the vehicle came in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hazfence.events import Event, Kind, Phase, Severity, event_id, iso
from hazfence.rules.book import Params, Rulebook
from hazfence.rules.prism import Certainty
from hazfence_fences import Fence, FenceKind

__all__ = ["Crossing", "Gate", "bypass", "gate_of", "guarded"]


class Crossing(NamedTuple):
    """A border crossed: when, where, ``in`` or ``out``, and the times of the two fixes around it."""

    at_us: int
    lon: float
    lat: float
    direction: str
    prev_us: int
    fix_us: int


class Gate(NamedTuple):
    """What a crossing has to do with checkpoints.

    Attributes:
        used: id of the checkpoint it was made through; None for none.
        nearest: id of the nearest one; None when there is none at all.
        nearest_m: metres to it; infinite when there is none.
    """

    used: str | None
    nearest: str | None
    nearest_m: float


def guarded(fences: Iterable[Fence], book: Rulebook) -> list[Fence]:
    """The districts of which it matters where their border is crossed, and that settle (``settle.py``).

    Args:
        fences: any fences.
        book: the rules, with what the fences say.
    """
    return [
        f
        for f in fences
        if f.kind is FenceKind.DISTRICT
        and not (f.thin or f.timed)
        and book.possible(Kind.GATE_BYPASS, f, "tolerance_m")
    ]


def gate_of(
    crossing: Crossing, checkpoints: Iterable[Fence], touched: frozenset[str], tolerance_m: float
) -> Gate:
    """The checkpoint that a crossing of the district's border was made through.

    A crossing is made through a checkpoint when the way between the two fixes touches it, or when the
    crossing lies within ``tolerance_m`` of it; of several, through the nearest.

    Args:
        checkpoints: every checkpoint there is.
        touched: ids of the checkpoints that the segment touches.
    """
    near = sorted((gate.distance_m(crossing.lon, crossing.lat), gate.id) for gate in checkpoints)
    used = next((gate for away, gate in near if gate in touched), None)
    if used is None and near and near[0][0] <= tolerance_m:
        used = near[0][1]
    return Gate(used, near[0][1], near[0][0]) if near else Gate(None, None, math.inf)


def bypass(
    vehicle: str,
    district: Fence,
    crossing: Crossing,
    gate: Gate,
    params: Params,
    stay: Mapping[str, Any],
    sure: Certainty,
) -> Event:
    """绕卡: the district's border crossed away from every checkpoint; 疑似绕卡 unless that is certain.

    Only a crossing witnessed by two fixes not farther apart than ``max_gap_s`` is judged; the caller
    sees to that.

    Args:
        gate: what it had to do with checkpoints; used is none.
        params: of ``gate_bypass``.
        stay: what is known of the stay that the crossing begins or ends, for the detail.
        sure: whether a checkpoint can have been passed between the two fixes after all.
    """
    at_us, lon, lat = crossing[:3]
    certain = sure is Certainty.CERTAIN
    kind = Kind.GATE_BYPASS if certain else Kind.POSSIBLE_BYPASS
    around = [iso(crossing.prev_us), iso(crossing.fix_us)]
    return Event(
        # In and out may fall on one moment, at a fix on the border itself: two facts, two names.
        id=event_id(f"{kind}:{crossing.direction}", vehicle, district.id, at_us),
        kind=kind,
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
        severity=Severity.BREACH if certain else Severity.WARNING,
        detail={
            "direction": crossing.direction,
            "between": around,
            "fixes": around,
            "nearest_checkpoint": gate.nearest,
            "nearest_checkpoint_m": None if math.isinf(gate.nearest_m) else round(gate.nearest_m, 1),
            "gate_tolerance_m": params["tolerance_m"],
            "certainty": str(sure),
            "top_speed_kmh": params["top_speed_kmh"],
            **stay,
        },
    )
