"""What a trip does wrong, worked out from its exact path: the truth that the engine must find.

You are in the simulator, beside the planner, which plants breaches by choosing roads, speeds and
waits. This room does not believe the planner: it looks at the noise-free path alone, names every
breach on it, and calls a trip ambiguous when GPS noise could tip a verdict (an overspeed of 40 s,
a stay that ends within a minute of its limit, a border crossed beside a checkpoint). The planner
keeps only trips that do exactly what was planned, and nothing ambiguous. It shares no code with
the engine's rules, so that a mistake in one is not repeated in the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hazfence_fences import Fence, FenceKind, FenceSet
from hazfence_replay.simulator.timeline import Trip

__all__ = ["Ambiguous", "Breach", "breaches_of", "overstays", "stays"]

I64 = npt.NDArray[np.int64]

#: An overspeed shorter than the first is none, longer than the second is one; seconds.
_OVERSPEED_NONE_S, _OVERSPEED_SURE_S = 16.0, 75.0
#: A stay this near to its limit could fall on either side; seconds.
_STAY_MARGIN_S = 75.0
#: A bypass crosses at least this far from every checkpoint, and keeps as far from it for so long before and
#: after: between two reports there is no time to pass one, at 120 km/h; metres, seconds.
_BYPASS_SURE_M, _BYPASS_AROUND_S = 600.0, 31.0
#: A visit to a restricted zone shorter than this may fall between two fixes; seconds.
_RESTRICTED_SURE_S = 100.0


class Ambiguous(Exception):
    """The trip does something that noise could turn into its opposite; plan it anew."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One thing done wrong.

    Attributes:
        kind: as ``hazfence.events.Kind`` spells it.
        fence_id: the fence it is about.
        at_s: when it began, seconds since the simulation's start: the crossing, the first moment
            over the limit, the moment at which the stay became too long.
        until_s: when it ended; equal to ``at_s`` where it has no duration.
        lon, lat: where it began, degrees.
    """

    kind: str
    fence_id: str
    at_s: float
    until_s: float
    lon: float
    lat: float


def breaches_of(trip: Trip, fences: FenceSet, start_us: int) -> list[Breach]:
    """Everything a trip does wrong, by time.

    Args:
        trip: its exact path.
        fences: the fences, in the order of ``trip.member``.
        start_us: the simulation's start, microseconds UTC, for fences with hours.

    Raises:
        Ambiguous: noise could tip a verdict.
    """
    member = trip.member
    if fences.timed:
        member = member.copy()
        time_us = start_us + np.round(trip.t_s * 1e6).astype(np.int64)
        for i in fences.timed:
            member[:, i] &= fences[i].in_force(time_us)
    found = [
        *_bypasses(trip, fences),
        *_restricted(trip, fences, member),
        *_overspeeds(trip, fences, member),
    ]
    for i, fence in enumerate(fences):
        if fence.max_stay_min is not None:
            found.extend(overstays(trip, fence, member[:, i]))
    return sorted(found, key=lambda b: (b.at_s, b.kind, b.fence_id))


def stays(trip: Trip, inside: npt.NDArray[np.bool_]) -> Iterator[tuple[float, float, int]]:
    """(entered, left, index of the first point inside) of every stay, seconds since the start."""
    for first, last in _runs(inside):
        t = trip.t_s
        entered = t[first] if first == 0 else (t[first - 1] + t[first]) / 2
        left = t[last] if last == len(t) - 1 else (t[last] + t[last + 1]) / 2
        yield float(entered), float(left), first


def overstays(trip: Trip, fence: Fence, inside: npt.NDArray[np.bool_]) -> list[Breach]:
    """The stays that last longer than the fence allows.

    Raises:
        Ambiguous: a stay ends too near to its limit.
    """
    assert fence.max_stay_min is not None
    found = []
    for entered, left, first in stays(trip, inside):
        deadline = entered + fence.max_stay_min * 60.0
        if abs(left - deadline) < _STAY_MARGIN_S:
            raise Ambiguous(f"{fence.id}: stay ends {left - deadline:.0f} s after its limit")
        if left > deadline:
            at = max(first, int(np.searchsorted(trip.t_s, deadline, side="right")) - 1)
            found.append(Breach("overstay", fence.id, deadline, left, *trip.lonlat[at].tolist()))
    return found


def _bypasses(trip: Trip, fences: FenceSet) -> Iterator[Breach]:
    gates = [f for f in fences if f.kind is FenceKind.CHECKPOINT]
    for i, fence in enumerate(fences):
        if fence.kind is not FenceKind.DISTRICT:
            continue
        inside = trip.member[:, i]
        for k in (np.flatnonzero(inside[1:] != inside[:-1]) + 1).tolist():
            lon, lat = ((trip.lonlat[k - 1] + trip.lonlat[k]) / 2).tolist()
            nearest = min(g.distance_m(lon, lat) for g in gates)
            if nearest == 0.0:
                continue
            at = float((trip.t_s[k - 1] + trip.t_s[k]) / 2)
            lo, hi = np.searchsorted(trip.t_s, (at - _BYPASS_AROUND_S, at + _BYPASS_AROUND_S))
            around = trip.lonlat[max(lo - 1, 0) : hi + 1].tolist()
            nearest = min(nearest, *(g.distance_m(*place) for g in gates for place in around))
            if nearest < _BYPASS_SURE_M:
                raise Ambiguous(f"border crossed {nearest:.0f} m from a checkpoint")
            yield Breach("gate_bypass", fence.id, at, at, lon, lat)


def _restricted(trip: Trip, fences: FenceSet, member: npt.NDArray[np.bool_]) -> Iterator[Breach]:
    for i, fence in enumerate(fences):
        if fence.kind is not FenceKind.RESTRICTED:
            continue
        for entered, left, first in stays(trip, member[:, i]):
            if left - entered < _RESTRICTED_SURE_S:
                raise Ambiguous(f"{fence.id} entered for {left - entered:.0f} s only")
            yield Breach("restricted_entry", fence.id, entered, left, *trip.lonlat[first].tolist())


def _overspeeds(trip: Trip, fences: FenceSet, member: npt.NDArray[np.bool_]) -> Iterator[Breach]:
    limited = [i for i, f in enumerate(fences) if f.speed_limit_kmh is not None]
    if not limited:
        return
    limits = np.array([fences[i].speed_limit_kmh for i in limited], dtype=np.float64)
    here = np.where(member[:, limited], limits, np.inf)
    lowest = here.min(axis=1)
    by = np.array(limited)[here.argmin(axis=1)]
    for first, last in _runs(trip.speed_mps * 3.6 > lowest):
        t = trip.t_s
        at, until = float(t[first]), float(t[last])
        if until - at <= _OVERSPEED_NONE_S:
            continue
        if until - at < _OVERSPEED_SURE_S or len(np.unique(by[first : last + 1])) > 1:
            raise Ambiguous(f"overspeed for {until - at:.0f} s under more than one limit or too short")
        yield Breach("overspeed", fences[int(by[first])].id, at, until, *trip.lonlat[first].tolist())


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edge = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return list(
        zip(np.flatnonzero(edge == 1).tolist(), (np.flatnonzero(edge == -1) - 1).tolist(), strict=True)
    )
