"""The screen: which fixes could change anything at all, in columns.

You are in the core, between ``engine.py`` and the index (``FenceSet.locate``). A fix is due for
the judge when the set of fences covering it differs from that of the vehicle's last fix, when
the segment to it touches a thin fence, or when its speed is over the lowest limit of its set.
Rules that are switched on add their own conditions: standing turned to moving or back, a gap in
time, a jump, an alarm bit. Deadlines and running things are the engine's to watch. The screen may call a harmless fix due,
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
from hazfence.rules.driving import STAND_KMH, STAND_M, apart2_m2
from hazfence.rules.terminal import BITS
from hazfence.settings import EngineSettings
from hazfence.vehicles import NEVER_US, Fleet
from hazfence_fences import Fence, FenceKind, FenceSet

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
        alarm: uint32, alarm bits as sent.
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
    alarm: npt.NDArray[np.uint32]
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
        self._book = settings.rules.for_fences(fences.fences, settings.rule_defaults())
        self._margin_kmh = min(
            (
                margin
                for fence in (None, *fences)
                for margin in self._book.possible("overspeed", fence, "margin_kmh")
            ),
            default=0.0,
        )
        self._motion = self._book.ever("overpark") or self._book.ever("overdrive")
        self._gap_us = self._shortest_gap_us(settings)
        self._silent_us = self._least_us("silent", "max_min", 60e6)
        self._doubts = self._doubt_limits()
        self._alarm_bits = sum(bit for kind, bit in BITS.items() if self._book.ever(kind))
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
        alarm = batch.alarm[rows]
        if self._alarm_bits:
            due |= (alarm & np.uint32(self._alarm_bits)) != 0
        if self._motion or self._doubts is not None or self._gap_us is not None:
            due |= self._stirring(fleet, first, starts, time_us, lon, lat, speed_kmh)

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
            alarm=alarm,
            key=key,
            due=due,
            active=np.flatnonzero(active),
            hit_rows=hit_rows,
            hit_fences=hit_fences,
        )

    def _learn(self, key: int, members: tuple[Fence, ...]) -> None:
        self._sets[key] = members
        self._limits[key] = min((self._lowest_limit(f) for f in members), default=np.inf)

    def _lowest_limit(self, fence: Fence) -> float:
        """The lowest speed limit (km/h) that the fence can set, for whomever and whenever."""
        names = ["limit_kmh"]
        if fence.kind is FenceKind.DISTRICT:
            names += ["general_kmh", "motorway_kmh"]
        told = [v for name in names for v in self._book.possible("overspeed", fence, name) if v is not None]
        if fence.kind is FenceKind.DISTRICT and not any(
            self._book.possible("overspeed", fence, "general_kmh")
        ):
            told = [v for v in self._book.possible("overspeed", fence, "limit_kmh") if v is not None]
        factors = self._book.possible("overspeed", fence, "night_factor")
        return min(told, default=np.inf) * min(factors, default=1.0)

    def unheard(self, fleet: Fleet, now_us: int) -> _Ints:
        """Codes of the vehicles that may have been silent for too long, and of whom it was not said."""
        if self._silent_us is None:
            return np.empty(0, np.int64)
        n = len(fleet)
        # No time of day is as low as NEVER_US, and nothing is subtracted from it.
        old = (fleet.time_us[:n] < now_us - self._silent_us) & (fleet.time_us[:n] != NEVER_US)
        at = np.flatnonzero(old & ~fleet.hushed[:n])
        if not len(at):
            return at
        keys, where = np.unique(fleet.key[at], return_inverse=True)
        inside = np.array([any(f.kind is FenceKind.DISTRICT for f in self._sets[k]) for k in keys.tolist()])
        # A fix in doubt may lie outside while the one that is held lies inside.
        return at[inside[where] | fleet.watch[at]]

    def _stirring(
        self,
        fleet: Fleet,
        first: npt.NDArray[np.int32],
        starts: _Ints,
        time_us: _Ints,
        lon: npt.NDArray[np.float64],
        lat: npt.NDArray[np.float64],
        speed_kmh: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.bool_]:
        """Fixes that stand after moving or move after standing, come late, or cannot be true."""
        time_before = _shifted(time_us, starts, fleet.time_us[first])
        known = time_before != NEVER_US
        due = np.zeros(len(lon), np.bool_)
        if self._gap_us is not None:
            due |= known & (time_before < time_us - self._gap_us)
        if not self._motion and self._doubts is None:
            return due
        lon_before = _shifted(lon, starts, fleet.lon[first])
        lat_before = _shifted(lat, starts, fleet.lat[first])
        with np.errstate(invalid="ignore", over="ignore"):
            apart2 = apart2_m2(lon_before, lat_before, lon, lat)
            if self._motion:
                displaced = apart2 > STAND_M * STAND_M
                moving = np.where(np.isnan(speed_kmh), displaced, speed_kmh > STAND_KMH)
                state = moving.astype(np.int8) + np.int8(1)
                due |= state != _shifted(state, starts, fleet.motion[first])
                due |= displaced & ~moving
            if self._doubts is not None:
                max_mps, slack_m, over_mps, frozen_kmh = self._doubts
                seconds = (time_us - time_before) / 1e6
                speed_before = _shifted(speed_kmh, starts, fleet.speed_kmh[first])
                fastest = np.maximum(speed_before, speed_kmh) * (1.5 / 3.6) + over_mps
                # A hair less than the rule itself asks for: the rule decides.
                reach = np.minimum(np.where(np.isnan(fastest), np.inf, fastest), max_mps)
                # Beyond SPOOF_WITHIN_S this calls more due than need be: gaps, which are few.
                reach = (reach * seconds + slack_m) * 0.9999
                due |= known & (apart2 > reach * reach)
                due |= known & (lon == lon_before) & (lat == lat_before) & (speed_kmh > frozen_kmh)
        return due

    def _doubt_limits(self) -> tuple[float, float, float, float] | None:
        """The strictest numbers of ``gnss_suspect``, in m/s, m, m/s and km/h; None when it is off."""
        if not self._book.ever("gnss_suspect"):
            return None

        def least(name: str) -> float:
            return float(min(self._book.possible("gnss_suspect", None, name)))

        return least("max_kmh") / 3.6, least("slack_m"), least("over_kmh") / 3.6, least("frozen_kmh")

    def _shortest_gap_us(self, settings: EngineSettings) -> int | None:
        """The shortest time between two fixes that a rule wants to see; None when none does."""
        gaps = [self._least_us("silent", "max_min", 60e6), self._least_us("coverage_gap", "longer_s", 1e6)]
        if self._motion:
            gaps.append(round(settings.max_gap_s * 1e6))
        return min((gap for gap in gaps if gap is not None), default=None)

    def _least_us(self, rule: str, parameter: str, unit_us: float) -> int | None:
        values = [v for f in (None, *self._fences) for v in self._book.possible(rule, f, parameter)]
        return round(min(values) * unit_us) if values else None

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
