"""Recent fixes, remembered in bounded memory, so that a late one finds its neighbours.

You are in the core, below ``engine.py``. Accepted fixes are kept as the sorted columns the screen
made of them, one chunk a batch; chunks are merged as they gather, and what is too old is dropped
then. How late a fix may be is no matter of what happens to be remembered: ``late.py`` goes by
``EngineSettings.recent_s``, so it is the same however the input was cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Neighbours", "Recent", "Track", "merge_tracks", "rank"]


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


class Neighbours(NamedTuple):
    """What is remembered around given moments; see :meth:`Recent.neighbours`."""

    before: Track
    after: Track
    between: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


class Recent:
    """Recent accepted fixes of all vehicles (about 48 bytes each).

    Args:
        limit_us: gives, for vehicle codes, the moments before which fixes need not be kept. The last
            fix before that moment is kept too, so every moment after it has a neighbour.
    """

    def __init__(self, limit_us: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.int64]]) -> None:
        self._limit_us = limit_us
        self._chunks: list[_Chunk] = []

    def __len__(self) -> int:
        return sum(len(chunk.codes) for chunk in self._chunks)

    def add(self, codes: npt.NDArray[np.int32], fixes: Track) -> None:
        """Remember fixes of any vehicles, in any order."""
        if not len(codes):
            return
        self._chunks.append(_sorted(codes, fixes))
        # Merge like a binary counter: each fix is copied a logarithmic number of times, and a
        # look-up has few chunks to search.
        while len(self._chunks) > 1 and len(self._chunks[-2].codes) < 2 * len(self._chunks[-1].codes):
            newer, older = self._chunks.pop(), self._chunks.pop()
            self._chunks.append(self._merged(older, newer))

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
        rivals, twins = np.zeros(n, np.int64), np.zeros(n, np.int64)
        before, after = _blank(n, _EARLIEST_US), _blank(n, _LATEST_US)
        for chunk in self._chunks:
            at = _search(chunk, codes, fixes.time_us)
            for step, found in ((-1, before), (0, after)):
                place = at + step
                here = (place >= 0) & (place < len(chunk.codes))
                place = np.where(here, place, 0)
                here &= chunk.codes[place] == codes
                at_us = chunk.fixes.time_us[place]
                rival = here & (at_us == fixes.time_us)
                rivals += rival
                twins += rival & _same(chunk.fixes.cut(place), fixes)
                here &= (at_us > found.time_us) if step else (at_us < found.time_us)
                found.put(here, chunk.fixes.cut(place[here]))
        between = (rivals == 0) & (before.time_us != _EARLIEST_US) & (after.time_us != _LATEST_US)
        return Neighbours(before, after, between, (rivals == 1) & (twins == 1))

    def of(self, code: int) -> Track:
        """What is remembered of a vehicle, in time order, one fix a moment."""
        found = []
        for codes, fixes in self._chunks:
            lo, hi = np.searchsorted(codes, (code, code + 1))
            if lo < hi:
                found.append(fixes.cut(slice(lo, hi)))
        return merge_tracks(*found) if found else _blank(0, 0)

    def all(self) -> tuple[npt.NDArray[np.int32], Track]:
        """Everything remembered, sorted by vehicle and time."""
        chunk = _Chunk(np.zeros(0, np.int32), _blank(0, 0))
        for newer in reversed(self._chunks):
            chunk = self._merged(newer, chunk)
        self._chunks = [chunk] if len(chunk.codes) else []
        return chunk.codes, chunk.fixes

    def replace(self, code: int, fixes: Track) -> None:
        """Remember these fixes of a vehicle and no others."""
        chunks = []
        for codes, known in self._chunks:
            lo, hi = np.searchsorted(codes, (code, code + 1))
            if lo < hi:
                others = np.r_[0:lo, hi : len(codes)]
                codes, known = codes[others], known.cut(others)
            if len(codes):
                chunks.append(_Chunk(codes, known))
        self._chunks = chunks
        self.add(np.full(len(fixes.time_us), code, np.int32), fixes)

    def clear(self) -> None:
        """Forget everything."""
        self._chunks = []

    def _merged(self, older: _Chunk, newer: _Chunk) -> _Chunk:
        codes = np.concatenate((older.codes, newer.codes))
        codes, fixes = _sorted(codes, Track.join((older.fixes, newer.fixes)))
        # Not needed: what is followed by another fix that is itself old enough to be forgotten.
        old = fixes.time_us <= self._limit_us(codes)
        needless = np.zeros(len(codes), np.bool_)
        needless[:-1] = (codes[:-1] == codes[1:]) & old[1:]
        return _Chunk(codes[~needless], fixes.cut(~needless)) if needless.any() else _Chunk(codes, fixes)


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
