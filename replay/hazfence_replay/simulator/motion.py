"""Drive along a route: a speed for every point, and from it a time for every point.

You are in the simulator, above ``routes.py``. A truck keeps below what limits and bends allow and
below the pace of the traffic, stops where it must, and speeds up and brakes as a loaded tank
truck does. Speed against distance under constant acceleration a is v2 = v0^2 + 2 a s, so both
passes (speeding up forwards, braking backwards) are running minima of v2 - 2 a s, without a loop.
Planted overspeeds and near misses are windows in which another speed is wanted. Next room:
``timeline.py``, which joins drives and stops into a trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hazfence_replay.simulator.routes import Route

__all__ = ["Motion", "SpeedWindow", "Stop", "drive"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_SPEED_UP_MPS2 = 0.55
_BRAKE_MPS2 = 0.8
_KMH = 3.6
#: A careful driver stays this far below every limit, so that noise in the report never passes it.
_BELOW_LIMIT = (0.82, 0.93)
_FREE_PACE_KMH = (52.0, 75.0)
_TRAFFIC = (0.74, 1.0)
_TRAFFIC_CHANGES_M = 1800.0


@dataclass(frozen=True, slots=True)
class Stop:
    """Stand still at a point of the route.

    Attributes:
        index: the point.
        for_s: how long, seconds.
    """

    index: int
    for_s: float


@dataclass(frozen=True, slots=True)
class SpeedWindow:
    """Drive at a wanted speed, whatever the limit, from one point up to another.

    Attributes:
        first, last: points of the route.
        speed_kmh: km/h.
    """

    first: int
    last: int
    speed_kmh: float


@dataclass(frozen=True, slots=True)
class Motion:
    """A drive: m moments, more than the route has points where it stops on the way.

    Attributes:
        route: where.
        index: int64[m], the point of the route at each moment.
        t_s: float64[m], seconds since the start.
        speed_mps: float64[m].
    """

    route: Route
    index: I64
    t_s: F64
    speed_mps: F64


def drive(
    route: Route,
    rng: np.random.Generator,
    *,
    stops: Sequence[Stop] = (),
    windows: Sequence[SpeedWindow] = (),
) -> Motion:
    """Drive a route from standstill to standstill.

    Args:
        route: where.
        rng: for the driver's pace and the traffic.
        stops: where to stand still on the way.
        windows: where to drive at a wanted speed; later ones win.
    """
    s = route.s_m
    knots = np.arange(0.0, s[-1] + _TRAFFIC_CHANGES_M, _TRAFFIC_CHANGES_M)
    traffic = np.interp(s, knots, rng.uniform(*_TRAFFIC, len(knots)))
    pace = rng.uniform(*_FREE_PACE_KMH) * traffic
    v = np.minimum(np.minimum(pace, route.limit_kmh * rng.uniform(*_BELOW_LIMIT)) / _KMH, route.bend_mps)
    for window in windows:
        v[window.first : window.last + 1] = window.speed_kmh / _KMH
    v[[0, -1]] = 0.0
    for stop in stops:
        v[stop.index] = 0.0
    v2 = v * v
    v2 = np.minimum.accumulate(v2 - 2 * _SPEED_UP_MPS2 * s) + 2 * _SPEED_UP_MPS2 * s
    v2 = (np.minimum.accumulate((v2 + 2 * _BRAKE_MPS2 * s)[::-1]))[::-1] - 2 * _BRAKE_MPS2 * s
    v = np.sqrt(np.maximum(v2, 0.0))
    # Two stops on neighbouring points would divide by nothing: crawl between them.
    dt = np.diff(s) / np.maximum((v[1:] + v[:-1]) / 2, 0.5)
    t = np.concatenate([[0.0], np.cumsum(dt)])
    index = np.arange(len(s))
    for stop in sorted(stops, key=lambda one: -one.index):
        # The point twice: once on arriving, once on leaving.
        t[stop.index + 1 :] += stop.for_s
    standing = np.zeros(len(s))
    for stop in stops:
        standing[stop.index] += stop.for_s
    twice = 1 + (standing > 0)
    index = np.repeat(index, twice)
    t = np.repeat(t, twice)
    leaving = np.cumsum(twice)[standing > 0] - 1
    t[leaving] += standing[standing > 0]
    return Motion(route, index, t, np.repeat(v, twice))
