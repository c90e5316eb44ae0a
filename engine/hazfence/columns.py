"""Columns of a batch: fixes in groups of one vehicle each, and the state of those vehicles before them.

You are in the core, below ``screen.py``, which fills :class:`Columns`. Most batches hold each vehicle once,
and often all of them side by side: then every row is a group, what was before is a slice of the fleet, and
the functions here neither sort nor copy. Next room: ``plain.py``, which works in these columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hazfence.accuracy import beyond_m
from hazfence.fixes import FixBatch
from hazfence.presence import Fix
from hazfence.stays import Stays
from hazfence.track import Track, no_keys
from hazfence.vehicles import NEVER_US, Fleet, Record, side_by_side
from hazfence_fences import FenceSet

__all__ = ["Before", "Columns", "Numbers", "any_of", "newest_before", "shifted", "track_of"]

_Ints = npt.NDArray[np.int64]
_T = TypeVar("_T", bound=np.generic)


class Before:
    """The state of each vehicle before a batch, one row a vehicle: last fix, and what it waits for.

    Columns are looked up when they are asked for: most rules need few of them. They hold until the fleet is
    changed.

    Args:
        source: has columns of these names, by vehicle.
        codes: the vehicles.
        stays: knows of those that are not set apart in which visits it is not certain that they are.
    """

    def __init__(
        self, source: Fleet | _Few, codes: npt.NDArray[np.int32], stays: Stays | None = None
    ) -> None:
        self._source, self._codes, self._stays = source, codes, stays
        # Where the vehicles lie side by side, as all of them do, columns need no copy.
        self._at = side_by_side(codes)

    @cached_property
    def time_us(self) -> _Ints:
        """Of the last fix; ``NEVER_US`` for none."""
        return self._source.time_us[self._at]

    @cached_property
    def lon(self) -> npt.NDArray[np.float64]:
        """Degrees."""
        return self._source.lon[self._at]

    @cached_property
    def lat(self) -> npt.NDArray[np.float64]:
        """Degrees."""
        return self._source.lat[self._at]

    @cached_property
    def key(self) -> npt.NDArray[np.uint64]:
        """The set of fences."""
        return self._source.key[self._at]

    @cached_property
    def deadline_us(self) -> _Ints:
        """Until when it may be silent."""
        return self._source.deadline_us[self._at]

    @cached_property
    def watch(self) -> npt.NDArray[np.bool_]:
        """Whether every fix has to be judged."""
        return self._source.watch[self._at]

    @cached_property
    def beside(self) -> npt.NDArray[np.bool_]:
        """Whether the last fix may lie beside a guarded border."""
        return self._source.beside[self._at]

    @cached_property
    def unsure(self) -> npt.NDArray[np.bool_]:
        """Whether a fix well inside a restricted zone has to be judged."""
        return self._source.unsure[self._at]

    @property
    def error_m(self) -> npt.NDArray[np.float32] | None:
        """Of the last fix, see ``Track``; None when it is 0 of every vehicle there is."""
        source = self._source
        return source.error_m[self._at] if isinstance(source, Fleet) and source.inexact else None

    @property
    def errors_m(self) -> npt.NDArray[np.float32]:
        """The same, whether any is more or not."""
        found = self.error_m
        return np.zeros(len(self._codes), np.float32) if found is None else found

    def doubted(self, fences: FenceSet, which: npt.NDArray[np.bool_] | None = None) -> tuple[_Ints, _Ints]:
        """The restricted zones in which it is not certain that vehicles are: (group, fence), by group.

        ``which`` are the groups in question; None for all.
        """
        groups = np.flatnonzero(self.unsure if which is None else self.unsure & which)
        codes = self._codes[groups]
        apart = np.ones(len(groups), np.bool_) if self._stays is None else ~self._stays.ours(codes)
        pairs = [
            (group, fences.index_of(fence_id))
            for group, code in zip(groups[apart].tolist(), codes[apart].tolist(), strict=True)
            for fence_id in self._source.doubted.get(code, ())
            if fence_id in fences
        ]
        found = np.array(pairs, np.int64).reshape(-1, 2)
        if self._stays is None or apart.all():
            return found[:, 0], found[:, 1]
        owner, zone = self._stays.doubted(codes[~apart])
        group, zones = np.append(found[:, 0], groups[~apart][owner]), np.append(found[:, 1], zone)
        order = np.argsort(group, kind="stable")
        return group[order], zones[order].astype(np.int64)

    @cached_property
    def speed_kmh(self) -> npt.NDArray[np.float32]:
        """Of the last fix."""
        return self._source.speed_kmh[self._at]

    @cached_property
    def alarm(self) -> npt.NDArray[np.uint32]:
        """Bits of the last fix."""
        return self._source.alarm[self._at]

    @cached_property
    def motion(self) -> npt.NDArray[np.int8]:
        """Whether it stands or moves, see ``Fleet``."""
        return self._source.motion[self._at]

    @cached_property
    def departed(self) -> npt.NDArray[np.bool_]:
        """Whether it is off the routes, and that was said."""
        return self._source.departed[self._at]

    @classmethod
    def of(cls, states: Sequence[tuple[Fix | None, Record, int]]) -> Before:
        """States one by one: the last fix, the record, and the deadline of each."""
        fixes = [prev for prev, _, _ in states]
        records = [record for _, record, _ in states]
        lon, lat = ([np.nan if f is None else f[i] for f in fixes] for i in (1, 2))
        one = _Few(
            np.array([NEVER_US if f is None else f.time_us for f in fixes], np.int64),
            np.array(lon, np.float64),
            np.array(lat, np.float64),
            np.array([0 if f is None else sum(x.key for x in f.fences) % 2**64 for f in fixes], np.uint64),
            np.array([deadline_us for _, _, deadline_us in states], np.int64),
            np.array([record.watch for record in records]),
            np.array([record.unsure for record in records]),
            np.array([np.nan if f is None else f.speed_kmh for f in fixes], np.float32),
            np.array([0 if f is None else f.alarm for f in fixes], np.uint32),
            np.array([record.motion for record in records], np.int8),
            np.array([record.departed for record in records]),
            np.ones(len(states), np.bool_),
            {i: record.doubted for i, record in enumerate(records)},
        )
        return cls(one, np.arange(len(states), dtype=np.int32))


class _Few(NamedTuple):
    """Columns of a few states."""

    time_us: _Ints
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    key: npt.NDArray[np.uint64]
    deadline_us: _Ints
    watch: npt.NDArray[np.bool_]
    unsure: npt.NDArray[np.bool_]
    speed_kmh: npt.NDArray[np.float32]
    alarm: npt.NDArray[np.uint32]
    motion: npt.NDArray[np.int8]
    departed: npt.NDArray[np.bool_]
    beside: npt.NDArray[np.bool_]
    doubted: dict[int, tuple[str, ...]]


class Columns(NamedTuple):
    """Accepted fixes sorted by vehicle and time, with what the screen found.

    Attributes:
        codes: int32, shape (n,), engine's vehicle codes, in groups.
        starts, ends: int64, shape (g,), the rows of each vehicle's group.
        track: the fixes, columns of shape (n,).
        due: bool, shape (n,), True where the fix must be judged.
        light: bool, shape (n,), True where it is due only because the vehicle stops or moves off.
        active: int64, indexes of the groups in which something must be judged.
        plain: bool, shape (g,), groups that are active only because sets of fences changed, thin circles
            were touched, the vehicle stops or moves off, a deadline passes, or every fix of it has to be
            judged (but not both of these).
        over: int64, indexes of the groups in which a deadline passes.
        hit_rows, hit_fences: pairs of row and fence index where a segment touches a thin fence,
            sorted by row.
        changed: int64, rows whose set of fences is another than that of the fix before, ascending.
        gap_us: the longest time, and perhaps more, from a fix before to the one here.
        latest_us: the latest moment of all, or a later one.
        beside: int64, row << 32 | fence index where a fix lies beside a guarded border (``beside.py``),
            ascending.
    """

    codes: npt.NDArray[np.int32]
    starts: _Ints
    ends: _Ints
    track: Track
    due: npt.NDArray[np.bool_]
    light: npt.NDArray[np.bool_]
    active: _Ints
    plain: npt.NDArray[np.bool_]
    over: _Ints
    hit_rows: _Ints
    hit_fences: npt.NDArray[np.int32]
    changed: _Ints
    gap_us: int
    latest_us: int
    beside: _Ints

    @property
    def once(self) -> bool:
        """Whether every vehicle is there once: each row is a group."""
        return len(self.starts) == len(self.codes)

    def last_beside(self) -> npt.NDArray[np.bool_]:
        """Whether the last fix of each group lies beside a guarded border."""
        found, rows = np.zeros(len(self.starts), np.bool_), self.beside >> 32
        groups = self.group_of(rows)
        found[groups[rows == self.ends[groups] - 1]] = True
        return found

    def group_of(self, rows: _Ints) -> _Ints:
        """The groups that rows are in."""
        return rows if self.once else np.searchsorted(self.starts, rows, side="right") - 1


class Numbers:
    """0, 1, 2, ...: counted once, not for every batch that has each vehicle once."""

    def __init__(self) -> None:
        self._all = np.arange(0)

    def below(self, n: int) -> _Ints:
        """The first n of them; not to be written to."""
        if n > len(self._all):
            self._all = np.arange(n)
            self._all.flags.writeable = False
        return self._all[:n]

    def groups(self, codes: npt.NDArray[np.int32], *, once: bool = False) -> tuple[_Ints, _Ints]:
        """The rows at which each vehicle begins and ends in columns sorted by vehicle.

        ``once`` tells that every vehicle is known to be there once.
        """
        changes = None if once else codes[1:] != codes[:-1]
        if changes is None or changes.all():
            numbers = self.below(len(codes) + 1)
            return numbers[: len(codes)], numbers[1:]
        ends = np.append(np.flatnonzero(changes) + 1, len(codes))
        return np.append(0, ends[:-1]), ends


#: Vehicles with at most so many fixes out of order are walked side by side.
_TOGETHER = 8


def newest_before(time_us: _Ints, groups: tuple[_Ints, _Ints], last_us: _Ints) -> _Ints | None:
    """For each fix, the latest moment its vehicle was seen before it arrived.

    Args:
        time_us: of the fixes, sorted by vehicle; within a vehicle in order of arrival.
        groups: the rows at which each vehicle begins and ends.
        last_us: of each vehicle's last accepted fix; may be given back.

    Returns:
        int64, shape (n,): a fix that is not after it is late. None when no fix is.
    """
    starts, ends = groups
    before = shifted(time_us, starts, last_us)
    if (time_us > before).all():
        return None
    if len(starts) == len(time_us):
        return before
    # Only vehicles with disorder have to be walked, those of few fixes together; the others' fix before is
    # their newest.
    uneven = np.flatnonzero(np.logical_or.reduceat(time_us <= before, starts))
    first, count = starts[uneven], (ends - starts)[uneven]
    for place in range(1, min(_TOGETHER, int(count.max()))):
        at = first[count > place] + place
        before[at] = np.maximum(before[at - 1], time_us[at - 1])
    for lo, n in zip(first[count > _TOGETHER].tolist(), count[count > _TOGETHER].tolist(), strict=True):
        before[lo : lo + n] = np.maximum.accumulate(np.append(before[lo], time_us[lo : lo + n - 1]))
    return before


def any_of(where: npt.NDArray[np.bool_], starts: _Ints) -> npt.NDArray[np.bool_]:
    """Whether any row of each group is True; ``where`` itself where each row is a group."""
    return where if len(starts) == len(where) else np.logical_or.reduceat(where, starts)


def shifted(column: npt.NDArray[_T], starts: _Ints, first: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """Each vehicle's value before: the row above, or ``first`` where its group begins."""
    if len(starts) == len(column):
        return first
    before = np.empty_like(column)
    before[1:] = column[:-1]
    before[starts] = first
    return before


def track_of(batch: FixBatch, rows: _Ints | slice | None, settle_m: float) -> Track:
    """Fixes of a batch (None: all, not copied, nor those of a slice); where they lie is not known yet.

    What they say of their accuracy is noted where it is worse than ``EngineSettings.settle_m``.
    """
    b = batch
    if rows is None:
        key = no_keys(len(batch))
        error_m = beyond_m(b.accuracy_m, settle_m)
        return Track(b.time_us, b.lon, b.lat, b.speed_kmh, b.heading_deg, key, b.alarm, error_m)
    time_us, lon, lat, alarm = b.time_us[rows], b.lon[rows], b.lat[rows], b.alarm[rows]
    key = no_keys(len(time_us))
    error_m = None if b.accuracy_m is None else beyond_m(b.accuracy_m[rows], settle_m)
    return Track(time_us, lon, lat, b.speed_kmh[rows], b.heading_deg[rows], key, alarm, error_m)
