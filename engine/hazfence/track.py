"""Fixes as columns, and which of two fixes at one moment stands.

You are in the core, at the bottom: batches, the memory of recent fixes and snapshots all speak in tracks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Track", "merge_tracks", "no_keys", "rank", "ranks", "same_fixes"]


class Track(NamedTuple):
    """Fixes of one vehicle (or of many, sorted by vehicle, in a chunk) as columns of shape (n,).

    ``time_us`` int64, ``lon``, ``lat`` float64, ``speed_kmh``, ``heading_deg`` float32, ``key``
    uint64 (the set of fences covering the fix), ``alarm`` uint32 (alarm bits as sent), ``error_m`` float32
    (by how much a position may be wrong, where that is more than ``EngineSettings.settle_m``, else 0;
    ``accuracy.py``). None for the last one is the same as 0 throughout, and costs nothing.
    """

    time_us: npt.NDArray[np.int64]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    speed_kmh: npt.NDArray[np.float32]
    heading_deg: npt.NDArray[np.float32]
    key: npt.NDArray[np.uint64]
    alarm: npt.NDArray[np.uint32]
    error_m: npt.NDArray[np.float32] | None = None

    def cut(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Track:
        """The fixes at ``index``."""
        return Track(
            self.time_us[index],
            self.lon[index],
            self.lat[index],
            self.speed_kmh[index],
            self.heading_deg[index],
            self.key[index],
            self.alarm[index],
            None if self.error_m is None else self.error_m[index],
        )

    def copy(self) -> Track:
        """The same fixes in memory of their own."""
        return Track(
            self.time_us.copy(),
            self.lon.copy(),
            self.lat.copy(),
            self.speed_kmh.copy(),
            self.heading_deg.copy(),
            self.key.copy(),
            self.alarm.copy(),
            None if self.error_m is None else self.error_m.copy(),
        )

    @classmethod
    def join(cls, tracks: Sequence[Track]) -> Track:
        """Tracks one behind the other."""
        inexact = any(t.error_m is not None for t in tracks)
        return cls(
            np.concatenate([t.time_us for t in tracks]),
            np.concatenate([t.lon for t in tracks]),
            np.concatenate([t.lat for t in tracks]),
            np.concatenate([t.speed_kmh for t in tracks]),
            np.concatenate([t.heading_deg for t in tracks]),
            np.concatenate([t.key for t in tracks]),
            np.concatenate([t.alarm for t in tracks]),
            np.concatenate([t.errors_m() for t in tracks]) if inexact else None,
        )

    def errors_m(self) -> npt.NDArray[np.float32]:
        """The column ``error_m``, 0 for each fix where there is none."""
        return np.zeros(len(self.time_us), np.float32) if self.error_m is None else self.error_m

    def error_at(self, at: int) -> float:
        """``error_m`` of one fix."""
        return 0.0 if self.error_m is None else float(self.error_m[at])


def rank(track: Track, at: int) -> tuple[float, float, float, float, float, float]:
    """What decides between fixes of one vehicle and moment: the greatest stands.

    Of two that differ in nothing but their accuracy it is the less accurate one.
    """
    lon, lat, speed_kmh, heading_deg = (
        float(column[at]) for column in (track.lon, track.lat, track.speed_kmh, track.heading_deg)
    )
    unknown = -math.inf
    return (
        lon,
        lat,
        unknown if math.isnan(speed_kmh) else speed_kmh,
        unknown if math.isnan(heading_deg) else heading_deg,
        float(track.alarm[at]),
        track.error_at(at),
    )


def ranks(track: Track) -> tuple[npt.NDArray[Any], ...]:
    """The columns of :func:`rank`, the least important first, as ``numpy.lexsort`` takes them."""
    speed, heading = (
        np.where(np.isnan(column), -np.inf, column) for column in (track.speed_kmh, track.heading_deg)
    )
    least = track.alarm, heading, speed, track.lat, track.lon
    return least if track.error_m is None else (track.error_m, *least)


def no_keys(n: int) -> npt.NDArray[np.uint64]:
    """The column ``key`` of fixes not located: zeros, one seen over and over, not to be written to."""
    return np.ndarray((n,), np.uint64, bytes(8), strides=(0,))


def merge_tracks(*tracks: Track) -> Track:
    """One vehicle's fixes in time order, one a moment.

    Of several fixes at one moment the one of the greatest :func:`rank` stands, whichever came
    first, so the result depends on the set of fixes alone.
    """
    all_fixes = Track.join(tracks)
    order = np.lexsort((*ranks(all_fixes), all_fixes.time_us))
    time_us = all_fixes.time_us[order]
    stands = np.append(time_us[1:] != time_us[:-1], True) if len(time_us) else np.zeros(0, np.bool_)
    return all_fixes.cut(order[stands])


def same_fixes(a: Track, b: Track) -> npt.NDArray[np.bool_]:
    """bool, shape (n,): the same place, speed, heading, alarm bits and error; NaN equals NaN."""
    same: npt.NDArray[np.bool_] = (a.lon == b.lon) & (a.lat == b.lat) & (a.alarm == b.alarm)
    for x, y in ((a.speed_kmh, b.speed_kmh), (a.heading_deg, b.heading_deg)):
        same &= (x == y) | (np.isnan(x) & np.isnan(y))
    if a.error_m is not None or b.error_m is not None:
        same &= a.errors_m() == b.errors_m()
    return same
