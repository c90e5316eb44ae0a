"""The screen: which fixes could change anything at all, in columns.

You are in the core, between ``engine.py`` and the index (``FenceSet.locate``). A fix is due for
the judge when the set of fences covering it differs from that of the vehicle's last fix, when
the segment to it touches a thin fence, or when its speed is over the lowest limit of its set.
Deadlines and running things are the engine's to watch. The screen may call a harmless fix due,
never the other way round: it ignores schedules, for instance, which only make fences do less.
A set of fences is a 64-bit key (the sum of its fences' keys, see ``hazfence_fences``), so
comparing sets is comparing integers; what a key stands for is looked up once and remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hazfence.clean import Reason
from hazfence.fixes import FixBatch
from hazfence.settings import EngineSettings
from hazfence.vehicles import NEVER_US, Fleet
from hazfence_fences import Fence, FenceSet

__all__ = ["Columns", "Screen", "in_order"]

_Ints = npt.NDArray[np.int64]
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Columns:
    """Accepted fixes sorted by vehicle and time, with what the screen found; all of shape (n,).

    Attributes:
        codes: int32, engine's vehicle codes, in groups.
        starts, ends: int64, shape (g,), the rows of each vehicle's group.
        key: uint64, set of fences covering the fix.
        due: bool, True where the fix must be judged.
        active: int64, indexes of the groups in which something must be judged.
        hit_rows, hit_fences: pairs of row and fence index where a segment touches a thin fence,
            sorted by row.
    """

    codes: npt.NDArray[np.int32]
    starts: _Ints
    ends: _Ints
    time_us: _Ints
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    speed_kmh: npt.NDArray[np.float32]
    heading_deg: npt.NDArray[np.float32]
    key: npt.NDArray[np.uint64]
    due: npt.NDArray[np.bool_]
    active: _Ints
    hit_rows: _Ints
    hit_fences: npt.NDArray[np.int32]


def group_starts(codes: npt.NDArray[np.int32]) -> _Ints:
    """The rows at which a new vehicle begins in columns sorted by vehicle."""
    return np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))


def in_order(
    fleet: Fleet, codes: npt.NDArray[np.int32], batch: FixBatch, rows: _Ints
) -> npt.NDArray[np.uint8] | None:
    """Which fixes are news for their vehicle: later than every accepted one before.

    Args:
        codes: engine's vehicle codes, sorted; within a vehicle in order of arrival.
        rows: the fixes' rows in ``batch``.

    Returns:
        None when all are, else a ``Reason`` for each (0, ``DUPLICATE`` or ``LATE``).
    """
    time_us = batch.time_us[rows]
    starts = group_starts(codes)
    before = np.empty_like(time_us)
    before[1:] = time_us[:-1]
    before[starts] = fleet.time_us[codes[starts]]
    stale = time_us <= before
    if not stale.any():
        return None
    reason = np.zeros(len(rows), np.uint8)
    ends = np.append(starts[1:], len(rows))
    # Few vehicles have disorder; those are walked fix by fix, the rest keep their zeros.
    for group in np.flatnonzero(np.logical_or.reduceat(stale, starts)).tolist():
        code = int(codes[starts[group]])
        last = (int(fleet.time_us[code]), float(fleet.lon[code]), float(fleet.lat[code]))
        for i in range(int(starts[group]), int(ends[group])):
            fix = (int(time_us[i]), float(batch.lon[rows[i]]), float(batch.lat[rows[i]]))
            if fix[0] > last[0]:
                last = fix
            else:
                reason[i] = Reason.DUPLICATE if fix == last else Reason.LATE
    return reason


class Screen:
    """Looks at accepted fixes in columns, under one set of fences.

    Args:
        fences: the fences in force.
        settings: thresholds.
        sets: fence ids by set key, as another screen knew them (:meth:`set_ids`); fences that are
            gone are left out, see :meth:`rekeyed`.
    """

    def __init__(
        self, fences: FenceSet, settings: EngineSettings, sets: Mapping[int, tuple[str, ...]] | None = None
    ) -> None:
        self._fences = fences
        self._margin_kmh = settings.overspeed_margin_kmh
        self._max_gap_us = round(settings.max_gap_s * 1e6)
        self._sets: dict[int, tuple[Fence, ...]] = {0: ()}
        self._limits: dict[int, float] = {0: np.inf}
        self._rekeyed: dict[int, int] = {}
        for key, ids in (sets or {}).items():
            members = tuple(fences[i] for i in ids if i in fences)
            new_key = sum(f.key for f in members) % 2**64
            if new_key != key:
                self._rekeyed[key] = new_key
            self._learn(new_key, members)

    def set_ids(self) -> dict[int, tuple[str, ...]]:
        """The fence ids behind every set key met so far."""
        return {key: tuple(f.id for f in members) for key, members in self._sets.items()}

    def rekeyed(self) -> dict[int, int]:
        """Keys of the given ``sets`` that stand for other keys now, because fences are gone."""
        return self._rekeyed

    def fences_of(self, key: int) -> tuple[Fence, ...]:
        """The fences of a set that was met before."""
        return self._sets[key]

    def hits(self, c: Columns, row: int) -> list[Fence]:
        """The thin fences that the segment to the fix at ``row`` touches."""
        lo, hi = np.searchsorted(c.hit_rows, (row, row + 1))
        return [self._fences[int(i)] for i in c.hit_fences[lo:hi]]

    def look(self, fleet: Fleet, codes: npt.NDArray[np.int32], batch: FixBatch, rows: _Ints) -> Columns:
        """Locate every fix and say which ones are due.

        Args:
            fleet: the last fix of every vehicle.
            codes: engine's vehicle codes of the fixes, sorted, in time order within a vehicle.
            batch: where the fixes lie.
            rows: their rows in ``batch``.
        """
        time_us, lon, lat = batch.time_us[rows], batch.lon[rows], batch.lat[rows]
        speed_kmh = batch.speed_kmh[rows]
        starts = group_starts(codes)
        ends = np.append(starts[1:], len(rows))
        first = codes[starts]

        key = self._locate(lon, lat)
        key_before = _shifted(key, starts, fleet.key[first])
        due = key != key_before

        hit_rows, hit_fences = self._touched(fleet, first, starts, time_us, lon, lat)
        due[self._telling(hit_rows, hit_fences, key, key_before)] = True
        with np.errstate(invalid="ignore"):
            due |= speed_kmh > self._limit_of(key) + self._margin_kmh

        active = np.logical_or.reduceat(due, starts)
        active |= fleet.watch[first] | (fleet.deadline_us[first] < time_us[ends - 1])
        return Columns(
            codes=codes,
            starts=starts,
            ends=ends,
            time_us=time_us,
            lon=lon,
            lat=lat,
            speed_kmh=speed_kmh,
            heading_deg=batch.heading_deg[rows],
            key=key,
            due=due,
            active=np.flatnonzero(active),
            hit_rows=hit_rows,
            hit_fences=hit_fences,
        )

    def _learn(self, key: int, members: tuple[Fence, ...]) -> None:
        self._sets[key] = members
        limits = [f.speed_limit_kmh for f in members if f.speed_limit_kmh is not None]
        self._limits[key] = min(limits, default=np.inf)

    def _locate(self, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
        """The set key of every fix; sets never met before are looked up and remembered."""
        located = self._fences.locate(lon, lat)
        key = located.keys
        # A vehicle's neighbouring fixes mostly share their set, so runs are far fewer than fixes.
        heads = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        for value, at in zip(*np.unique(key[heads], return_index=True), strict=True):
            if int(value) not in self._sets:
                members = located.member_indexes(int(heads[at]))
                self._learn(int(value), tuple(self._fences[i] for i in members))
        return key

    def _limit_of(self, key: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
        """The lowest speed limit (km/h) of every fix's set, whatever the hour."""
        heads = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        limits = np.array([self._limits[k] for k in key[heads].tolist()])
        return np.repeat(limits, np.diff(np.append(heads, len(key))))

    def _touched(
        self,
        fleet: Fleet,
        first: npt.NDArray[np.int32],
        starts: _Ints,
        time_us: _Ints,
        lon: npt.NDArray[np.float64],
        lat: npt.NDArray[np.float64],
    ) -> tuple[_Ints, npt.NDArray[np.int32]]:
        """Pairs of (row, thin fence) for segments that two fixes near enough in time witness."""
        time_before = _shifted(time_us, starts, fleet.time_us[first])
        lon_before = _shifted(lon, starts, fleet.lon[first])
        lat_before = _shifted(lat, starts, fleet.lat[first])
        with np.errstate(invalid="ignore"):
            witnessed = (time_before != NEVER_US) & (time_before >= time_us - self._max_gap_us)
            witnessed &= np.abs(lon - lon_before) <= 180.0
        at = np.flatnonzero(witnessed)
        if len(at) == len(lon):
            return self._fences.segment_hits(lon_before, lat_before, lon, lat)
        rows, fences = self._fences.segment_hits(lon_before[at], lat_before[at], lon[at], lat[at])
        return at[rows], fences

    def _telling(
        self,
        hit_rows: _Ints,
        hit_fences: npt.NDArray[np.int32],
        key: npt.NDArray[np.uint64],
        key_before: npt.NDArray[np.uint64],
    ) -> _Ints:
        """Rows of the hits that can change something.

        Standing or driving within a circle touches it with every segment; a circle is convex, so
        such a segment never leaves it and tells nothing.
        """
        if not len(hit_rows):
            return hit_rows
        telling = np.ones(len(hit_rows), np.bool_)
        keys = key[hit_rows]
        for value in np.unique(keys[keys == key_before[hit_rows]]).tolist():
            for fence in self._sets[value]:
                if fence.thin and fence.shape == "circle":
                    index = self._fences.index_of(fence.id)
                    same = (keys == value) & (key_before[hit_rows] == value)
                    telling[same & (hit_fences == index)] = False
        return hit_rows[telling]


def _shifted(column: npt.NDArray[_T], starts: _Ints, first: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """Each vehicle's value before: the row above, or ``first`` where its group begins."""
    before = np.empty_like(column)
    before[1:] = column[:-1]
    before[starts] = first
    return before
