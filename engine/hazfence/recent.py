"""Recent fixes, remembered in bounded memory, so that a late one finds its neighbours.

You are in the core, below ``engine.py``. Accepted fixes are kept as the sorted columns the screen
made of them, one chunk a batch; small chunks are merged as they gather, and the oldest are dropped
when there are more than ``capacity`` fixes. :meth:`Recent.of` gives all that is remembered of one
vehicle. What is dropped is noted by its owner (``Fleet.forgotten_us``): behind that moment a
vehicle's story can no longer be told again from memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Recent", "Track", "merge_tracks", "rank"]


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

    def put(self, where: npt.NDArray[np.bool_], fixes: Track) -> None:
        """Write ``fixes`` over those at ``where``."""
        self.time_us[where] = fixes.time_us
        self.lon[where] = fixes.lon
        self.lat[where] = fixes.lat
        self.speed_kmh[where] = fixes.speed_kmh
        self.heading_deg[where] = fixes.heading_deg
        self.key[where] = fixes.key
        self.alarm[where] = fixes.alarm

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
    codes: npt.NDArray[np.int32]
    fixes: Track


class Recent:
    """Accepted fixes of all vehicles, the newest ``capacity`` of them (about 48 bytes each).

    Args:
        capacity: how many fixes at the least are kept before any is dropped.
        forget: called with vehicle codes and times when fixes are dropped.
    """

    def __init__(
        self,
        capacity: int,
        forget: Callable[[npt.NDArray[np.int32], npt.NDArray[np.int64]], None],
    ) -> None:
        self._capacity = capacity
        self._forget = forget
        self._chunks: list[_Chunk] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, codes: npt.NDArray[np.int32], fixes: Track) -> None:
        """Remember fixes of any vehicles, in any order."""
        if not self._capacity:
            self._forget(codes, fixes.time_us)
            return
        if not len(codes):
            return
        self._chunks.append(_sorted(codes, fixes))
        self._count += len(codes)
        # Merge like a binary counter: each fix is copied a logarithmic number of times, and a
        # look-up has few chunks to search.
        while len(self._chunks) > 1 and len(self._chunks[-2].codes) < 2 * len(self._chunks[-1].codes):
            if len(self._chunks[-1].codes) > self._capacity // 8:
                break  # big chunks stay apart, so that memory can be given back piece by piece
            newer, older = self._chunks.pop(), self._chunks.pop()
            self._chunks.append(_merged(older, newer))
        while self._count - len(self._chunks[0].codes) >= self._capacity:
            dropped = self._chunks.pop(0)
            self._count -= len(dropped.codes)
            self._forget(dropped.codes, dropped.fixes.time_us)

    def neighbours(
        self, codes: npt.NDArray[np.int32], time_us: npt.NDArray[np.int64]
    ) -> tuple[Track, Track, npt.NDArray[np.bool_]]:
        """The remembered fixes next to given moments.

        Args:
            codes, time_us: vehicles and moments, shape (n,).

        Returns:
            the fix before and the fix after each moment, and bool, shape (n,): True where there are
            both and none at the moment itself (elsewhere the fixes mean nothing).
        """
        n = len(codes)
        alone = np.ones(n, np.bool_)
        before, after = _blank(n, _EARLIEST_US), _blank(n, _LATEST_US)
        for chunk in self._chunks:
            at = _search(chunk, codes, time_us)
            for step, found in ((-1, before), (0, after)):
                place = at + step
                here = (place >= 0) & (place < len(chunk.codes))
                place = np.where(here, place, 0)
                here &= chunk.codes[place] == codes
                at_us = chunk.fixes.time_us[place]
                alone &= ~(here & (at_us == time_us))
                here &= (at_us > found.time_us) if step else (at_us < found.time_us)
                found.put(here, chunk.fixes.cut(place[here]))
        alone &= (before.time_us != _EARLIEST_US) & (after.time_us != _LATEST_US)
        return before, after, alone

    def of(self, code: int, after_us: int) -> Track:
        """What is remembered of a vehicle after a moment, in time order, one fix a moment."""
        found = []
        for codes, fixes in self._chunks:
            lo, hi = np.searchsorted(codes, (code, code + 1))
            if lo < hi:
                part = fixes.cut(slice(lo, hi))
                found.append(part.cut(part.time_us > after_us))
        return merge_tracks(*found) if found else _NOTHING

    def clear(self) -> None:
        """Forget everything; the owner notes that itself."""
        self._chunks, self._count = [], 0


def _blank(n: int, time_us: int) -> Track:
    return Track(
        np.full(n, time_us, np.int64),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n, np.float32),
        np.zeros(n, np.float32),
        np.zeros(n, np.uint64),
        np.zeros(n, np.uint32),
    )


_EARLIEST_US, _LATEST_US = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_NOTHING = _blank(0, 0)


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


def _merged(older: _Chunk, newer: _Chunk) -> _Chunk:
    return _sorted(np.concatenate((older.codes, newer.codes)), Track.join((older.fixes, newer.fixes)))


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
