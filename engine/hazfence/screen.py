"""The screen: which fixes could change anything at all, in columns.

You are in the core, between ``engine.py`` and the index (``FenceSet.locate``). A fix is due for
the judge when the set of fences covering it differs from that of the vehicle's last fix, when
the segment to it touches a thin fence, when it lies beside the border of a district, or when its speed is
over the lowest limit of its set.
Rules that are switched on add their own conditions: standing turned to moving or back, a gap in
time, a jump, an alarm bit. Deadlines and running things are the engine's to watch. The screen may
call a harmless fix due, never the other way round: it ignores schedules, for instance, which only
make fences do less.
A set of fences is a 64-bit key (the sum of its fences' keys, see ``hazfence_fences``), so
comparing sets is comparing integers; what a key stands for is looked up once and remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from hazfence.beside import Beside
from hazfence.clean import Extent
from hazfence.columns import Before, Columns, Numbers, any_of, shifted
from hazfence.rules.astray import Astray
from hazfence.rules.driving import STAND_KMH, STAND_M, apart2_m2
from hazfence.rules.gates import guarded
from hazfence.rules.speed import lowest_limit
from hazfence.rules.terminal import BITS
from hazfence.sets import Sets
from hazfence.settings import EngineSettings
from hazfence.track import Track
from hazfence.vehicles import NEVER_US, Fleet
from hazfence_fences import Fence, FenceKind, FenceSet
from hazfence_fences.index.raster import spread

__all__ = ["Screen"]

_Ints = npt.NDArray[np.int64]


class Screen:
    """Looks at accepted fixes in columns, under one set of fences.

    Args:
        fences: the fences in force.
        settings: thresholds.
        sets: fence ids by set key, as another screen knew them; see :class:`~hazfence.sets.Sets`.

    Attributes:
        sets: the sets of fences met so far.
        beside: knows which fixes lie beside guarded borders.
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
        self._rest_us = self._least_us("overdrive", "rest_min", 60e6)
        self._doubts = self._doubt_limits()
        self._alarm_bits = sum(bit for kind, bit in BITS.items() if self._book.ever(kind))
        self._max_gap_us = round(settings.max_gap_s * 1e6)
        #: Where every segment is witnessed there is no gap either.
        self._gap_is_long = self._gap_us is not None and self._gap_us >= self._max_gap_us
        self._limit_kmh = np.array([lowest_limit(f, self._book) for f in fences.fences] or [np.inf])
        self._slow_kmh = float(self._limit_kmh.min())
        self._round = np.array([f.thin and f.shape == "circle" for f in fences.fences], np.bool_)
        self._restricted = np.array([f.kind is FenceKind.RESTRICTED for f in fences.fences], np.bool_)
        self._settle_m = settings.settle_m
        self._any_thin = any(f.thin for f in fences.fences)
        self._astray = Astray.of(fences, self._book)
        self._off: dict[int, bool] = {}
        self._off_places = np.zeros(0, np.bool_)  # the same by place in ``sets.keys``
        self._numbers = Numbers()
        self.beside = Beside(fences, guarded(fences, self._book), settings.settle_m)
        self.sets = Sets(fences, sets)

    def hits(self, c: Columns, row: int) -> list[Fence]:
        """The thin fences that the segment to the fix at ``row`` touches."""
        if not len(c.hit_rows):
            return []
        lo, hi = np.searchsorted(c.hit_rows, (row, row + 1))
        return [self._fences[int(i)] for i in c.hit_fences[lo:hi]]

    def groups(self, codes: npt.NDArray[np.int32], *, once: bool = False) -> tuple[_Ints, _Ints]:
        """The rows at which each vehicle begins and ends in columns sorted by vehicle.

        ``once`` tells that every vehicle is known to be there once.
        """
        return self._numbers.groups(codes, once=once)

    def look(
        self,
        codes: npt.NDArray[np.int32],
        track: Track,
        before: Before,
        groups: tuple[_Ints, _Ints] | None = None,
        *,
        located: bool = False,
        extent: Extent | None = None,
    ) -> Columns:
        """Locate every fix and say which ones are due.

        Args:
            codes: engine's vehicle codes of the fixes, sorted, in time order within a vehicle.
            track: the fixes; the column ``key`` is computed here unless ``located``.
            before: each vehicle's state before its first fix here, one row a group of ``codes``.
            groups: as :meth:`groups` gives them, where they are known.
            located: True when ``track.key`` holds already what these fences say.
            extent: of the fixes, where it is known.
        """
        starts, ends = groups or self.groups(codes)
        maybe_beside = None
        if not located:
            bounds = None if extent is None else extent.bounds
            found = self._fences.locate(track.lon, track.lat, self.beside.around, sound=True, bounds=bounds)
            track, maybe_beside = track._replace(key=found.keys), found.around
        key_before = shifted(track.key, starts, before.key)
        due = track.key != key_before
        changed = due.nonzero()[0]  # a set never met before is a set that changed
        self.sets.meet(track.key.take(changed), track.lon.take(changed), track.lat.take(changed))

        before_us = shifted(track.time_us, starts, before.time_us)
        latest_us = int(track.time_us.max()) if extent is None else extent.latest_us
        gap_us = latest_us - int(before_us.min())
        every, witnessed = gap_us <= self._max_gap_us, None
        if not every:  # NEVER_US is before anything
            witnessed = before_us >= track.time_us - self._max_gap_us
            every = bool(witnessed.all())
        hit_rows, hit_fences = self._touched(track, starts, before, None if every else witnessed)
        telling = self._telling(hit_rows, hit_fences, track.key, key_before)
        due[hit_rows[telling]] = True
        beside = self.beside.find(track.lon, track.lat, track.error_m, maybe_beside)
        due[beside >> 32] = True
        if before.unsure.any():
            # Of a vehicle that is there once and due already nothing has to be found out.
            group, zone = before.doubted(self._fences, ~due if len(starts) == len(due) else None)
            due[self.first_well_inside(track, zone, starts[group], ends[group])] = True
        rough = [self._fast(track), hit_rows[telling & ~self._round[hit_fences]]]
        if self._alarm_bits and int(np.bitwise_or.reduce(track.alarm)) & self._alarm_bits:
            rough.append(np.flatnonzero(track.alarm & np.uint32(self._alarm_bits)))
        if self._doubts is not None or (self._gap_us is not None and not (every and self._gap_is_long)):
            rough.append(np.flatnonzero(self._stirring(track, starts, before, before_us)))
        if self._astray is not None:
            unsaid = np.repeat(~before.departed, ends - starts)
            rough.append(
                np.flatnonzero(self._astray.far(self._off_route(track.key) & unsaid, track.lon, track.lat))
            )
        for rows in rough:
            due[rows] = True
        light = np.zeros(len(due), np.bool_)
        if self._motion:
            light = self._flips(track, starts, before) & ~due
            due |= light
        c = Columns(
            codes,
            starts,
            ends,
            track,
            due,
            light,
            changed,
            due,
            changed,
            hit_rows,
            hit_fences,
            changed,
            gap_us,
            latest_us,
            beside,
        )
        active = any_of(due, starts) | before.watch
        plain = active
        # Most deadlines are far, and the nearest one says so of all.
        over = np.zeros(0, np.int64)
        if int(before.deadline_us.min()) < latest_us:
            passed = before.deadline_us < (track.time_us if c.once else track.time_us[ends - 1])
            active = active | passed
            plain = active & ~(passed & before.watch)
            over = np.flatnonzero(passed)
        if any(map(len, rough)):
            plain = plain.copy()
            for rows in rough:
                plain[c.group_of(rows)] = False
        return c._replace(active=active.nonzero()[0], plain=plain, over=over)

    def too_fast(self, track: Track) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): fixes over the lowest limit of their set, whatever the hour."""
        found = np.zeros(len(track.time_us), np.bool_)
        found[self._fast(track)] = True
        return found

    def _fast(self, track: Track) -> _Ints:
        """The rows of these."""
        lowest_kmh = self._slow_kmh + self._margin_kmh
        if len(track.speed_kmh) and track.speed_kmh.max() <= lowest_kmh:  # not where one is unknown
            return np.zeros(0, np.int64)
        with np.errstate(invalid="ignore"):
            at = (track.speed_kmh > lowest_kmh).nonzero()[0]
            if len(at):
                at = at[track.speed_kmh[at] > self._limit_of(track.key[at]) + self._margin_kmh]
        return at

    def well_inside(self, fixes: Track) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): fixes farther inside a restricted zone than a position may be wrong."""
        row, member = self.sets.members(fixes.key)
        at = np.flatnonzero(self._restricted[member])
        row, member = row[at], member[at]
        found = np.zeros(len(fixes.time_us), np.bool_)
        if not len(row):
            return found
        found[row[~self._near(member, fixes, row)]] = True
        return found

    def first_well_inside(self, track: Track, zone: _Ints, begin: _Ints, end: _Ints) -> _Ints:
        """The first fix of each stretch, if there is one, so far inside a zone.

        Args:
            track: fixes of any vehicles.
            zone: int64, shape (k,), a fence for each stretch.
            begin, end: rows of ``track``, the last one not included.

        Returns:
            rows of ``track``.
        """
        owner, row = spread(begin, end - begin)
        at, member = self.sets.members(track.key[row])
        here = at[member == zone[owner[at]]]
        owner, row = owner[here], row[here]
        near = self._near(zone[owner].astype(np.int32), track, row)
        owner, row = owner[~near], row[~near]
        _, first = np.unique(owner, return_index=True)
        found: _Ints = row[first]
        return found

    def _near(self, fence: npt.NDArray[np.int32], fixes: Track, rows: _Ints) -> npt.NDArray[np.bool_]:
        """Which fixes are nearer to a fence's border than they may be wrong."""
        within_m: float | npt.NDArray[np.float64] = self._settle_m
        if fixes.error_m is not None:
            within_m = np.maximum(fixes.error_m[rows].astype(np.float64), self._settle_m)
        return self._fences.near_border(fence, fixes.lon[rows], fixes.lat[rows], within_m, sound=True)

    def first_inside(self, track: Track, zones: Iterable[str], rows: tuple[int, int]) -> list[int]:
        """The first of some rows, the last one not included, that is so far inside each zone."""
        zone = np.array([self._fences.index_of(i) for i in zones if i in self._fences], np.int64)
        begin, end = (np.full(len(zone), row) for row in rows)
        found: list[int] = self.first_well_inside(track, zone, begin, end).tolist()
        return found

    def lies_beside(self, fixes: Track) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): fixes beside a guarded border, so that much may rest on them."""
        found = np.zeros(len(fixes.time_us), np.bool_)
        found[self.beside.find(fixes.lon, fixes.lat, fixes.error_m) >> 32] = True
        return found

    def touches_between(self, a: Track, fix: Track, b: Track) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): fixes between those of ``a`` and ``b`` to or from which a segment may tell."""
        n = len(fix.time_us)
        found = np.zeros(2 * n, np.bool_)
        lon, lat = np.concatenate((a.lon, fix.lon, b.lon)), np.concatenate((a.lat, fix.lat, b.lat))
        key = np.concatenate((a.key, fix.key, b.key))
        rows, fences = self._fences.segment_hits(lon[: 2 * n], lat[: 2 * n], lon[n:], lat[n:])
        found[rows[self._telling(rows, fences, key[n:], key[: 2 * n])]] = True
        return found[:n] | found[n:]

    def unheard(self, fleet: Fleet, now_us: int) -> _Ints:
        """Codes of the vehicles of which something may have to be said because they are silent for long.

        Those of which it was not said yet that they are silent, and those that had driven for too long and
        may rest by now.
        """
        n = len(fleet)
        rest = np.flatnonzero(fleet.overdriven[:n]) if self._rest_us is not None else np.empty(0, np.int64)
        rest = rest[fleet.time_us[rest] <= now_us - self._max_gap_us - (self._rest_us or 0)]
        if self._silent_us is None:
            return rest
        # No time of day is as low as NEVER_US, and nothing is subtracted from it.
        old = (fleet.time_us[:n] < now_us - self._silent_us) & (fleet.time_us[:n] != NEVER_US)
        at = np.flatnonzero(old & ~fleet.hushed[:n])
        if not len(at):
            return rest
        keys, where = np.unique(fleet.key[at], return_inverse=True)
        inside = np.array(
            [any(f.kind is FenceKind.DISTRICT for f in self.sets.fences_of(k)) for k in keys.tolist()]
        )
        # A fix in doubt may lie outside while the one that is held lies inside.
        return np.append(at[inside[where] | fleet.watch[at]], rest)

    def _stirring(
        self, track: Track, starts: _Ints, before: Before, time_before: _Ints
    ) -> npt.NDArray[np.bool_]:
        """Fixes that come after a gap in time, or cannot be true."""
        known = time_before != NEVER_US
        due = np.zeros(len(known), np.bool_)
        if self._gap_us is not None:
            due |= known & (time_before < track.time_us - self._gap_us)
        if self._doubts is None:
            return due
        lon_before = shifted(track.lon, starts, before.lon)
        lat_before = shifted(track.lat, starts, before.lat)
        with np.errstate(invalid="ignore", over="ignore"):
            apart2 = apart2_m2(lon_before, lat_before, track.lon, track.lat)
            speed_before = shifted(track.speed_kmh, starts, before.speed_kmh)
            seconds = (track.time_us - time_before) / 1e6
            due |= known & self._doubtful(track, apart2, seconds, speed_before)
            frozen = (track.lon == lon_before) & (track.lat == lat_before)
            due |= known & frozen & (track.speed_kmh > self._doubts[3])
        return due

    def _flips(self, track: Track, starts: _Ints, before: Before) -> npt.NDArray[np.bool_]:
        """Fixes that stand after moving, move after standing, or stand elsewhere than the one before."""
        lon_before = shifted(track.lon, starts, before.lon)
        lat_before = shifted(track.lat, starts, before.lat)
        with np.errstate(invalid="ignore", over="ignore"):
            moving, displaced = self._moving(track, apart2_m2(lon_before, lat_before, track.lon, track.lat))
        state = moving.astype(np.int8) + np.int8(1)
        flips: npt.NDArray[np.bool_] = state != shifted(state, starts, before.motion)
        return flips | (displaced & ~moving)

    def stirs_between(self, a: Track, fix: Track, b: Track) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): fixes between those of ``a`` and ``b`` that rules may have to see."""
        found: npt.NDArray[np.bool_] = (fix.alarm & np.uint32(self._alarm_bits)) != 0
        if self._astray is not None:
            found |= self._astray.far(self._off_route(fix.key), fix.lon, fix.lat)
        if not self._motion and self._doubts is None:
            return found
        with np.errstate(invalid="ignore", over="ignore"):
            for one, other in ((a, fix), (fix, b)):
                apart2 = apart2_m2(one.lon, one.lat, other.lon, other.lat)
                if self._motion:
                    moving, displaced = self._moving(other, apart2)
                    # Where a speed is unknown, what it was before depends on more than these fixes.
                    found |= np.isnan(one.speed_kmh) | np.isnan(other.speed_kmh)
                    found |= (moving != (one.speed_kmh > STAND_KMH)) | (displaced & ~moving)
                if self._doubts is not None:
                    seconds = (other.time_us - one.time_us) / 1e6
                    found |= self._doubtful(other, apart2, seconds, one.speed_kmh)
                    frozen = (other.lon == one.lon) & (other.lat == one.lat)
                    found |= frozen & (other.speed_kmh > self._doubts[3])
        return found

    @staticmethod
    def _moving(
        track: Track, apart2: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Whether each fix moves, and whether it is elsewhere than the fix before; see ``rules.driving``."""
        displaced = apart2 > STAND_M * STAND_M
        return np.where(np.isnan(track.speed_kmh), displaced, track.speed_kmh > STAND_KMH), displaced

    def _doubtful(
        self,
        track: Track,
        apart2: npt.NDArray[np.float64],
        seconds: npt.NDArray[np.float64],
        speed_before: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.bool_]:
        """Fixes that may be too far from the one before; see ``rules.trust``."""
        assert self._doubts is not None
        max_mps, slack_m, over_mps, _ = self._doubts
        fastest = np.maximum(speed_before, track.speed_kmh) * (1.5 / 3.6) + over_mps
        # A hair less than the rule itself asks for: the rule decides. Where speeds tell nothing any
        # more, after a minute, this calls more due than need be; such gaps are few.
        reach = np.minimum(np.where(np.isnan(fastest), np.inf, fastest), max_mps)
        reach = (reach * seconds + slack_m) * 0.9999
        return np.asarray(apart2 > reach * reach)

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

    def keys(self, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
        """The set key of every fix, whether the set was met before or not."""
        return self._fences.keys(lon, lat)

    def locate(self, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
        """The set key of every fix; sets never met before are looked up and remembered."""
        key = self.keys(lon, lat)
        # A vehicle's neighbouring fixes mostly share their set, so runs are far fewer than fixes.
        heads = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        self.sets.meet(key[heads], lon[heads], lat[heads])
        return key

    def _off_route(self, key: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Whether every fix's set is in a district and on no route."""
        assert self._astray is not None
        keys = self.sets.keys
        if len(self._off_places) != len(keys):
            for one in keys.tolist():
                if one not in self._off:
                    self._off[one] = self._astray.off_route(self.sets.fences_of(one))
            self._off_places = np.array([self._off[one] for one in keys.tolist()], np.bool_)
        return self._off_places[self.sets.places(key)]

    def _limit_of(self, key: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
        """The lowest speed limit (km/h) of every fix's set, whatever the hour."""
        row, member = self.sets.members(key)
        limit = np.full(len(key), np.inf)
        np.minimum.at(limit, row, self._limit_kmh[member])
        return limit

    def _touched(
        self, track: Track, starts: _Ints, before: Before, witnessed: npt.NDArray[np.bool_] | None
    ) -> tuple[_Ints, npt.NDArray[np.int32]]:
        """Pairs of (row, thin fence) for segments that two fixes near enough in time witness (None: all)."""
        if not self._any_thin:
            return np.zeros(0, np.int64), np.zeros(0, np.int32)
        lon, lat = track.lon, track.lat
        lon_before = shifted(lon, starts, before.lon)
        lat_before = shifted(lat, starts, before.lat)
        if witnessed is None:
            rows, fences = self._fences.segment_hits(lon_before, lat_before, lon, lat)
        else:
            at = witnessed.nonzero()[0]
            rows, fences = self._fences.segment_hits(lon_before[at], lat_before[at], lon[at], lat[at])
            rows = at[rows]
        around = np.abs(lon[rows] - lon_before[rows]) > 180.0
        return (rows[~around], fences[~around]) if around.any() else (rows, fences)

    def _telling(
        self,
        hit_rows: _Ints,
        hit_fences: npt.NDArray[np.int32],
        key: npt.NDArray[np.uint64],
        key_before: npt.NDArray[np.uint64],
    ) -> npt.NDArray[np.bool_]:
        """Which of the hits can change something.

        Standing or driving within a circle touches it with every segment; a circle is convex, so
        such a segment never leaves it and tells nothing.
        """
        telling = np.ones(len(hit_rows), np.bool_)
        if not len(hit_rows):
            return telling
        keys = key[hit_rows]
        for value in np.unique(keys[keys == key_before[hit_rows]]).tolist():
            for fence in self.sets.fences_of(value):
                index = self._fences.index_of(fence.id)
                if self._round[index]:
                    same = (keys == value) & (key_before[hit_rows] == value)
                    telling[same & (hit_fences == index)] = False
        return telling
