"""What the terminal reports of a trip: a fix every few seconds, a few metres off.

You are in the simulator, above ``timeline.py``. Sampling turns the exact path into fixes at whole
seconds (JT/T 808 has no finer ones) with positions rounded to 1e-6 degree and speeds to
0.1 km/h, as the protocol carries them. Position noise is a first-order autoregressive process
(GPS errors wander, they do not jump) of about 5 m, never beyond the 15 m that the standard
allows; it is made by convolving white noise with the process's decaying memory. Next room:
``day.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hazfence_replay.simulator.plane import Plane
from hazfence_replay.simulator.timeline import Report, Trip

__all__ = ["Fixes", "intervals_s", "report"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_INTERVALS_S = (5, 10, 15, 20, 30)
_SHARES = (0.14, 0.28, 0.22, 0.16, 0.2)
_IDLE_S, _ASLEEP_S = 30, 60
_WANDER_M, _WANDER_MEMORY_S = 4.7, 60.0
_JITTER_M = 1.4
_MOST_M = 15.0
_SPEED_NOISE_KMH, _MOST_SPEED_NOISE_KMH = 0.35, 1.0
_HEADING_NOISE_DEG = 2.0
#: JT/T 808 status bits: ACC on, position valid.
_ACC, _VALID = 1, 2


@dataclass(frozen=True, slots=True)
class Fixes:
    """The fixes of one truck, columns of shape (n,).

    Attributes:
        t_s: int64, whole seconds since the simulation's start.
        lon, lat: float64, degrees.
        speed_kmh, heading_deg: float64.
        status: int64, status bits of JT/T 808.
    """

    t_s: I64
    lon: F64
    lat: F64
    speed_kmh: F64
    heading_deg: F64
    status: I64


def intervals_s(rng: np.random.Generator, trucks: int) -> I64:
    """int64[trucks], how often each truck's terminal reports on the road."""
    return rng.choice(_INTERVALS_S, trucks, p=_SHARES).astype(np.int64)


def report(
    trips: Sequence[Trip], every_s: int, plane: Plane, rng: np.random.Generator, end_s: float
) -> Fixes:
    """Sample the trips of one truck.

    Args:
        trips: in time order.
        every_s: reporting interval on the road, seconds.
        plane: metres and degrees.
        rng: for noise.
        end_s: fixes from here on are left out.
    """
    t, acc = _moments(trips, every_s, rng, end_s)
    known = np.concatenate([trip.t_s for trip in trips])
    path = np.concatenate([trip.lonlat for trip in trips])
    speed = np.concatenate([trip.speed_mps for trip in trips])
    heading = np.concatenate([trip.heading_deg for trip in trips])
    lonlat = np.column_stack([np.interp(t, known, path[:, k]) for k in (0, 1)])
    lonlat = np.round(lonlat + _noise(rng, len(t), every_s) / plane.metres_a_degree, 6)
    kmh = np.interp(t, known, speed) * 3.6
    off = np.clip(rng.normal(0.0, _SPEED_NOISE_KMH, len(t)), -_MOST_SPEED_NOISE_KMH, _MOST_SPEED_NOISE_KMH)
    kmh = np.where(kmh < 1.0, 0.0, np.round(np.maximum(kmh + off, 0.0), 1))
    at = np.clip(np.searchsorted(known, t, side="right") - 1, 0, len(known) - 1)
    course = heading[at] + np.where(kmh > 0.0, rng.normal(0.0, _HEADING_NOISE_DEG, len(t)), 0.0)
    return Fixes(
        t_s=t.astype(np.int64),
        lon=lonlat[:, 0],
        lat=lonlat[:, 1],
        speed_kmh=kmh,
        heading_deg=np.round(course) % 360.0,
        status=_VALID + _ACC * acc.astype(np.int64),
    )


def _moments(
    trips: Sequence[Trip], every_s: int, rng: np.random.Generator, end_s: float
) -> tuple[F64, npt.NDArray[np.bool_]]:
    """When the terminal reports, and whether the engine is on."""
    moments: list[F64] = []
    acc: list[npt.NDArray[np.bool_]] = []
    last = -np.inf
    for trip in trips:
        # A terminal reports when it is switched on.
        due = np.ceil(trip.start_s)
        for start, stop, how in trip.windows:
            if how is Report.SILENT:
                due = np.ceil(stop)
                continue
            step = {Report.DRIVING: every_s, Report.IDLE: max(_IDLE_S, every_s)}.get(how, _ASLEEP_S)
            # Falling asleep does not hold back a report that is due, waking up asks for one at once.
            first = max(min(due, np.ceil(start) + step), np.ceil(start), last + 1.0)
            at = np.arange(first, stop, step)
            # Every terminal is a second late now and then.
            at[1:] += rng.random(max(len(at) - 1, 0)) < 0.12
            at = at[(at < stop) & (at < end_s)]
            if len(at):
                moments.append(at)
                acc.append(np.full(len(at), how is not Report.ASLEEP))
                last = float(at[-1])
                due = last + step
            else:
                due = first
    if not moments:
        return np.zeros(0), np.zeros(0, dtype=np.bool_)
    return np.concatenate(moments), np.concatenate(acc)


def _noise(rng: np.random.Generator, n: int, every_s: int) -> F64:
    """float64[n, 2] metres."""
    keep = np.exp(-every_s / _WANDER_MEMORY_S)
    memory = keep ** np.arange(int(np.ceil(7.0 * _WANDER_MEMORY_S / every_s)))
    memory *= _WANDER_M / np.sqrt((memory * memory).sum())
    white = rng.normal(size=(n + len(memory) - 1, 2))
    off = np.column_stack([np.convolve(white[:, k], memory, mode="valid")[:n] for k in (0, 1)])
    # 4.7 and 1.4 metres are root mean squares of the distance, so each axis has its share.
    off = (off + rng.normal(0.0, _JITTER_M, (n, 2))) / np.sqrt(2.0)
    size = np.hypot(off[:, 0], off[:, 1])
    capped: F64 = off * np.minimum(1.0, _MOST_M / np.maximum(size, 1e-9))[:, None]
    return capped
