"""Fixes remembered vehicle by vehicle, in chains of blocks: quick to add to, quick to look up in.

You are in the core, below ``recent.py``, which decides what has to be remembered here. A fix goes behind
its vehicle's last one; what is too old gives its place to what is new.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence_fences.index.raster import spread

__all__ = ["Blocks", "Neighbours", "Track", "merge_tracks", "rank"]


class Track(NamedTuple):
    """Fixes of one vehicle (or of many, sorted by vehicle, in a chunk) as columns of shape (n,).

    ``time_us`` int64, ``lon``, ``lat`` float64, ``speed_kmh``, ``heading_deg`` float32, ``key``
    uint64 (the set of fences covering the fix), ``alarm`` uint32 (alarm bits as sent).
    """

    time_us: npt.NDArray[np.int64]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    speed_kmh: npt.NDArray[np.float32]
    heading_deg: npt.NDArray[np.float32]
    key: npt.NDArray[np.uint64]
    alarm: npt.NDArray[np.uint32]

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
        )

    @classmethod
    def join(cls, tracks: Sequence[Track]) -> Track:
        """Tracks one behind the other."""
        return cls(
            np.concatenate([t.time_us for t in tracks]),
            np.concatenate([t.lon for t in tracks]),
            np.concatenate([t.lat for t in tracks]),
            np.concatenate([t.speed_kmh for t in tracks]),
            np.concatenate([t.heading_deg for t in tracks]),
            np.concatenate([t.key for t in tracks]),
            np.concatenate([t.alarm for t in tracks]),
        )


def rank(track: Track, at: int) -> tuple[float, float, float, float, float]:
    """What decides between fixes of one vehicle and moment: the greatest stands."""
    lon, lat, speed_kmh, heading_deg = (float(column[at]) for column in track[1:5])
    unknown = -math.inf
    return (
        lon,
        lat,
        unknown if math.isnan(speed_kmh) else speed_kmh,
        unknown if math.isnan(heading_deg) else heading_deg,
        float(track.alarm[at]),
    )


def merge_tracks(*tracks: Track) -> Track:
    """One vehicle's fixes in time order, one a moment.

    Of several fixes at one moment the one of the greatest :func:`rank` stands, whichever came
    first, so the result depends on the set of fixes alone.
    """
    all_fixes = Track.join(tracks)
    speed = np.where(np.isnan(all_fixes.speed_kmh), -np.inf, all_fixes.speed_kmh)
    heading = np.where(np.isnan(all_fixes.heading_deg), -np.inf, all_fixes.heading_deg)
    order = np.lexsort((all_fixes.alarm, heading, speed, all_fixes.lat, all_fixes.lon, all_fixes.time_us))
    time_us = all_fixes.time_us[order]
    stands = np.append(time_us[1:] != time_us[:-1], True) if len(time_us) else np.zeros(0, np.bool_)
    return all_fixes.cut(order[stands])


class _Chunk(NamedTuple):
    """Fixes sorted by vehicle and time."""

    codes: npt.NDArray[np.int32]
    fixes: Track


class Neighbours(NamedTuple):
    """What is remembered around given moments; see :meth:`Recent.neighbours`."""

    before: Track
    after: Track
    between: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


#: Fixes in a block, a power of two.
_SHIFT = 3
_SLOTS = 1 << _SHIFT
_NONE = -1
#: Chains of so many vehicles are walked one by one: a step in Python is a fortieth of one in numpy.
_FEW = 40
#: So many stories are held ready: who sends late does so again, and days may be remembered of him.
_STORIES = 64
#: One remembered fix.
_FIX = np.dtype(
    [
        ("time_us", "i8"),
        ("lon", "f8"),
        ("lat", "f8"),
        ("key", "u8"),
        ("speed_kmh", "f4"),
        ("heading_deg", "f4"),
        ("alarm", "u4"),
        ("code", "i4"),
    ]
)
#: The same for numpy to copy as a whole.
_WHOLE = np.dtype((np.void, _FIX.itemsize))


class Blocks:
    """Fixes of all vehicles (48 bytes each).

    Every vehicle has a chain of blocks of eight fixes, in the order of arrival, so adding a fix costs the
    same however many are remembered. The oldest block is used again when the one after it is old.

    Args:
        limit_us: gives, for vehicle codes, the moments before which fixes need not be kept. The last
            fix before that moment is kept too, so every moment after it has a neighbour.
    """

    def __init__(self, limit_us: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.int64]]) -> None:
        self._limit_us = limit_us
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._fixes = np.zeros(64 * _SLOTS, _FIX)
        self._newer = np.full(64, _NONE, np.int32)  # the next block of the same vehicle
        self._used = 0
        self._free = np.zeros(0, np.int32)
        self._oldest = np.full(64, _NONE, np.int32)  # by vehicle
        self._newest = np.full(64, _NONE, np.int32)
        self._fill = np.full(64, _SLOTS, np.int8)  # of its newest block; full when it has none
        self._last_us = np.full(64, _EARLIEST_US, np.int64)
        self._uneven = np.zeros(64, np.bool_)  # whether some of its fixes came late
        # Of vehicles asked for lately, the one used last at the end: what is remembered in time order, and
        # what came since.
        self._stories: dict[int, list[Track]] = {}
        self._has_story = np.zeros(64, np.bool_)

    def __len__(self) -> int:
        """How many fixes there is room for in the blocks in use."""
        return (self._used - len(self._free)) * _SLOTS

    def add(self, codes: npt.NDArray[np.int32], fixes: Track) -> None:
        """Remember fixes of any vehicles, in any order."""
        if not len(codes):
            return
        if (codes[1:] < codes[:-1]).any():
            order = np.argsort(codes, kind="stable")
            codes, fixes = codes[order], fixes.cut(order)
        self._grow(int(codes[-1]) + 1)
        starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
        own = codes if len(starts) == len(codes) else codes[starts]
        self._note_order(codes, own, starts, fixes.time_us)
        fill = self._fill[own].astype(np.int64)
        if own is codes:
            place, filled = fill, fill + 1
        else:
            count = np.diff(np.append(starts, len(codes)))
            place, filled = np.arange(len(codes)) - np.repeat(starts - fill, count), fill + count
        block = self._newest[codes]
        more = (filled - 1) >> _SHIFT
        if more.any():
            self._lengthen(own, more)
            # Blocks behind the one that was the newest: walk there.
            for ahead in range(1, int(more.max()) + 1):
                at = np.flatnonzero(place >= ahead * _SLOTS)
                here = block[at]
                block[at] = np.where(here == _NONE, self._oldest[codes[at]], self._newer[here])
        self._fill[own] = ((filled - 1) & (_SLOTS - 1)) + 1
        rows = np.empty(len(codes), _FIX)
        for name, column in fixes._asdict().items():
            rows[name] = column
        rows["code"] = codes
        self._fixes.view(_WHOLE)[block * _SLOTS + (place & (_SLOTS - 1))] = rows.view(_WHOLE)
        if self._stories:
            some = np.flatnonzero(self._has_story[own])
            ends = np.append(starts[1:], len(codes))
            for code, lo, hi in zip(
                own[some].tolist(), starts[some].tolist(), ends[some].tolist(), strict=True
            ):
                self._stories[code].append(fixes.cut(slice(lo, hi)).copy())

    def _note_order(
        self,
        codes: npt.NDArray[np.int32],
        own: npt.NDArray[np.int32],
        starts: npt.NDArray[np.int64],
        time_us: npt.NDArray[np.int64],
    ) -> None:
        """Note the vehicles whose fixes do not come in the order of time, and the latest time of each."""
        known_us = self._last_us[own]
        late = time_us[starts] < known_us
        if own is not codes:
            late |= np.logical_or.reduceat(np.append(False, time_us[1:] < time_us[:-1]), starts)
            # (The first of a vehicle may be before the last of another: that says too much, no harm.)
            time_us = np.maximum.reduceat(time_us, starts)
        self._uneven[own[late]] = True
        self._last_us[own] = np.maximum(known_us, time_us)

    def _lengthen(self, codes: npt.NDArray[np.int32], more: npt.NDArray[np.int64]) -> None:
        """Give each of the vehicles (distinct) so many more blocks at the new end of its chain."""
        some = np.flatnonzero(more)
        codes, more = codes[some], more[some]
        shorter = codes
        while len(shorter):  # more than one when a busy hour is over
            shorter = self._give_up(shorter)
        blocks = self._allot(int(more.sum()))
        last = np.cumsum(more) - 1
        first = last - more + 1
        newer = np.append(blocks[1:], np.int32(_NONE))
        newer[last] = _NONE
        self._newer[blocks] = newer
        before = self._newest[codes]
        new = before == _NONE
        self._oldest[codes[new]] = blocks[first[new]]
        self._newer[before[~new]] = blocks[first[~new]]
        self._newest[codes] = blocks[last]

    def _give_up(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Free the oldest block of each vehicle whose second one is old too; which vehicles that were."""
        oldest = self._oldest[codes]
        some = np.flatnonzero(oldest != _NONE)
        codes, oldest = codes[some], oldest[some]
        second = self._newer[oldest]
        # The newest block is never given up, and never the reason to: it may not be full.
        some = np.flatnonzero((second != _NONE) & (second != self._newest[codes]))
        codes, oldest, second = codes[some], oldest[some], second[some]
        times = self._fixes["time_us"]
        old = times[second * _SLOTS + _SLOTS - 1] <= self._limit_us(codes)
        at = np.flatnonzero(old & self._uneven[codes])
        if len(at):  # then the last fix of a block need not be its latest
            slots = np.arange(_SLOTS)
            first_us, second_us = (
                times[blocks[at][:, None] * _SLOTS + slots].max(axis=1) for blocks in (oldest, second)
            )
            old[at] = (second_us <= self._limit_us(codes[at])) & (first_us <= second_us)
        self._oldest[codes[old]] = second[old]
        self._free = np.append(self._free, oldest[old])
        return codes[old]

    def _allot(self, count: int) -> npt.NDArray[np.int32]:
        """Blocks not in use."""
        reused = self._free[max(len(self._free) - count, 0) :]
        self._free = self._free[: len(self._free) - len(reused)]
        end = self._used + count - len(reused)
        if end > len(self._newer):
            size = max(end, len(self._newer) * 3 // 2)
            self._newer = np.append(self._newer, np.full(size - len(self._newer), _NONE, np.int32))
            # In place: the system moves pages, where a copy would touch every byte. Nobody holds a view.
            self._fixes.resize(size * _SLOTS, refcheck=False)
        fresh = np.arange(self._used, end, dtype=np.int32)
        self._used = end
        return np.append(reused, fresh)

    def _grow(self, vehicles: int) -> None:
        have = len(self._oldest)
        if vehicles > have:
            more = max(2 * have, vehicles) - have
            self._oldest = np.append(self._oldest, np.full(more, _NONE, np.int32))
            self._newest = np.append(self._newest, np.full(more, _NONE, np.int32))
            self._fill = np.append(self._fill, np.full(more, _SLOTS, np.int8))
            self._last_us = np.append(self._last_us, np.full(more, _EARLIEST_US, np.int64))
            self._uneven = np.append(self._uneven, np.zeros(more, np.bool_))
            self._has_story = np.append(self._has_story, np.zeros(more, np.bool_))

    def forget(self, code: int) -> None:
        """Forget a vehicle's fixes."""
        if code >= len(self._oldest):
            return
        blocks, here = [], int(self._oldest[code])
        while here != _NONE:
            blocks.append(here)
            here = int(self._newer[here])
        self._free = np.append(self._free, np.array(blocks, np.int32))
        self._oldest[code] = self._newest[code] = _NONE
        self._fill[code] = _SLOTS
        self._last_us[code], self._uneven[code] = _EARLIEST_US, False
        self._stories.pop(code, None)
        self._has_story[code] = False

    def neighbours(self, codes: npt.NDArray[np.int32], fixes: Track) -> Neighbours:
        """The remembered fixes next to others.

        Args:
            codes: vehicles, shape (n,).
            fixes: theirs, shape (n,).

        Returns:
            the fix before and the fix after each; ``between``: True where there are both, and none
            at the moment itself (elsewhere the two mean nothing); ``known``: True where the very same
            fix is remembered, and no other of that moment.
        """
        n = len(codes)
        chunk = self._around(codes, fixes.time_us)
        if not len(chunk.codes):
            return Neighbours(_blank(n), _blank(n), np.zeros(n, np.bool_), np.zeros(n, np.bool_))
        at, end = _search(chunk, codes, fixes.time_us), _search(chunk, codes, fixes.time_us + 1)
        before, after = np.maximum(at - 1, 0), np.minimum(at, len(chunk.codes) - 1)
        between = (at == end) & (at > 0) & (at < len(chunk.codes))
        between &= (chunk.codes[before] == codes) & (chunk.codes[after] == codes)
        row, place = spread(at, end - at)
        twins = np.bincount(row[_same(chunk.fixes.cut(place), fixes.cut(row))], minlength=n)
        known = (end - at == 1) & (twins == 1)
        return Neighbours(chunk.fixes.cut(before), chunk.fixes.cut(after), between, known)

    def each(self, codes: npt.NDArray[np.int32]) -> list[Track]:
        """What is remembered of some vehicles (distinct, ascending), each in time order, one fix a moment."""
        if len(codes) > _FEW:
            return self._told_apart(codes)
        new = codes[~self._known(codes)]
        for code, track in zip(new.tolist(), self._told_apart(new), strict=True):
            if code < len(self._has_story):
                self._stories[code] = [track]
                self._has_story[code] = True
        found = [self._story(code) for code in codes.tolist()]
        for code in list(self._stories)[: max(len(self._stories) - _STORIES, 0)]:
            del self._stories[code]
            self._has_story[code] = False
        return found

    def _known(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): of which vehicles a story is held ready."""
        known = codes < len(self._has_story)
        known[known] = self._has_story[codes[known]]
        return known

    def _story(self, code: int) -> Track:
        """A vehicle's story, with what came since it was asked for last."""
        if code not in self._stories:  # of a vehicle never heard of
            return _blank(0)
        parts = self._stories.pop(code)
        track = parts[0]
        if len(parts) > 1:
            track = Track.join(parts)
            if (track.time_us[1:] <= track.time_us[:-1]).any():
                track = merge_tracks(track)
            # What is too old goes when it is as much as what is not.
            old = int(np.searchsorted(track.time_us, self._limit_us(np.array([code]))[0], side="right")) - 1
            if old > len(track.time_us) // 2:
                track = track.cut(slice(old, None)).copy()
        self._stories[code] = [track]  # used last
        return track

    def _told_apart(self, codes: npt.NDArray[np.int32]) -> list[Track]:
        if not len(codes):
            return []
        chunk = self._gathered(codes)
        ends = np.searchsorted(chunk.codes, codes, side="right").tolist()
        tracks = [chunk.fixes.cut(slice(lo, hi)) for lo, hi in zip([0, *ends[:-1]], ends, strict=True)]
        again = (chunk.codes[1:] == chunk.codes[:-1]) & (chunk.fixes.time_us[1:] == chunk.fixes.time_us[:-1])
        for place in np.unique(np.searchsorted(codes, chunk.codes[1:][again])).tolist():
            tracks[place] = merge_tracks(tracks[place])
        return tracks

    def _around(self, codes: npt.NDArray[np.int32], time_us: npt.NDArray[np.int64]) -> _Chunk:
        """What is remembered around some moments, and the fix on either side of them, or more."""
        own = np.unique(codes)
        known = self._known(own)
        chunk = self._gathered(own[~known])
        if not known.any():
            return chunk
        parts = [chunk.fixes]
        for code in own[known].tolist():
            story, asked = self._story(code), time_us[codes == code]
            lo = max(int(np.searchsorted(story.time_us, asked.min())) - 1, 0)
            hi = int(np.searchsorted(story.time_us, asked.max(), side="right")) + 1
            parts.append(story.cut(slice(lo, hi)))
        sizes = [len(part.time_us) for part in parts[1:]]
        return _sorted(np.concatenate([chunk.codes, np.repeat(own[known], sizes)]), Track.join(parts))

    def all(self) -> tuple[npt.NDArray[np.int32], Track]:
        """Everything that has to be remembered, sorted by vehicle and time."""
        codes, fixes = self._gathered(np.arange(len(self._oldest), dtype=np.int32))
        # Not needed: what is followed by another fix that is itself old enough to be forgotten.
        old = fixes.time_us <= self._limit_us(codes)
        needed = np.ones(len(codes), np.bool_)
        needed[:-1] = (codes[:-1] != codes[1:]) | ~old[1:]
        return codes[needed], fixes.cut(needed)

    def _gathered(self, codes: npt.NDArray[np.int32]) -> _Chunk:
        """What is remembered of some vehicles (distinct), sorted by vehicle and time."""
        blocks = self._chains(codes[codes < len(self._oldest)])
        if not len(blocks):
            return _Chunk(np.zeros(0, np.int32), _blank(0))
        owner = self._fixes["code"][blocks.astype(np.int64) << _SHIFT]
        fill = np.where(blocks == self._newest[owner], self._fill[owner], _SLOTS)
        slots = (blocks.astype(np.int64)[:, None] << _SHIFT) + np.arange(_SLOTS)
        rows = self._fixes.view(_WHOLE).take(slots[np.arange(_SLOTS) < fill[:, None]]).view(_FIX)
        track = Track(*(np.ascontiguousarray(rows[name]) for name in Track._fields))
        return _sorted(np.ascontiguousarray(rows["code"]), track)

    def _chains(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The blocks of some vehicles, the oldest first, one vehicle's behind the other's."""
        if len(codes) <= _FEW:
            found, newer = [], self._newer.item
            for block in self._oldest[codes].tolist():
                while block != _NONE:
                    found.append(block)
                    block = newer(block)
            return np.array(found, np.int32)
        here = self._oldest[codes]
        chains = []
        # Walk the chains together, the ends of the shorter ones included: few and plain steps.
        while (here != _NONE).any():
            chains.append(here)
            here = np.where(here == _NONE, _NONE, self._newer[here])
        blocks = np.stack(chains, axis=1).ravel() if chains else here
        return np.compress(blocks != _NONE, blocks)


def _blank(n: int) -> Track:
    return Track(
        np.zeros(n, np.int64),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n, np.float32),
        np.zeros(n, np.float32),
        np.zeros(n, np.uint64),
        np.zeros(n, np.uint32),
    )


_EARLIEST_US = np.iinfo(np.int64).min


def _sorted(codes: npt.NDArray[np.int32], fixes: Track) -> _Chunk:
    """A chunk sorted by vehicle and time."""
    time_us = fixes.time_us
    step = codes[1:] > codes[:-1]
    step |= (codes[1:] == codes[:-1]) & (time_us[1:] >= time_us[:-1])
    if step.all():
        return _Chunk(codes, fixes)
    base_us = int(time_us.min())
    if int(time_us.max()) - base_us < 1 << 43:
        # Vehicle and time in one integer: two sorted runs, as a merge has them, sort in one pass.
        order = np.argsort((codes.astype(np.int64) << 43) | (time_us - base_us), kind="stable")
    else:
        order = np.lexsort((time_us, codes))
    return _Chunk(codes[order], fixes.cut(order))


def _same(a: Track, b: Track) -> npt.NDArray[np.bool_]:
    """bool, shape (n,): the same place, speed, heading and alarm bits; NaN equals NaN."""
    same: npt.NDArray[np.bool_] = (a.lon == b.lon) & (a.lat == b.lat) & (a.alarm == b.alarm)
    for x, y in ((a.speed_kmh, b.speed_kmh), (a.heading_deg, b.heading_deg)):
        same &= (x == y) | (np.isnan(x) & np.isnan(y))
    return same


def _search(
    chunk: _Chunk, codes: npt.NDArray[np.int32], time_us: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
    """The first place in the chunk that is not before (code, time), for each pair."""
    lo, hi = np.searchsorted(chunk.codes, codes), np.searchsorted(chunk.codes, codes, side="right")
    while (lo < hi).any():
        middle = (lo + hi) // 2
        less = chunk.fixes.time_us[np.minimum(middle, len(chunk.codes) - 1)] < time_us
        lo, hi = np.where((lo < hi) & less, middle + 1, lo), np.where((lo < hi) & ~less, middle, hi)
    return lo
