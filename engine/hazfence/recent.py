"""Recent fixes, remembered in bounded memory, so that a late one finds its neighbours.

You are in the core, below ``engine.py``. Accepted fixes that came in order lie as they came
(``arrivals.py``); late ones, and those that a busy memory dropped though somebody who is silent may need them
still, lie vehicle by vehicle (``blocks.py``). What is asked here is asked of both. How late a fix may be is
no matter of what happens to be remembered: ``late.py`` goes by ``EngineSettings.recent_s``, so it is the same
however the input was cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.arrivals import Arrivals, KeysOf, Spot, picked
from hazfence.blocks import Blocks
from hazfence.track import Track, merge_tracks, ranks, same_fixes
from hazfence.vehicles import FOREVER_US, NEVER_US

__all__ = ["Neighbours", "Recent"]

_Codes = npt.NDArray[np.int32]
_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]

#: So many fixes are brought into blocks at once: a few cost as much as many.
_MANY = 512


class Neighbours(NamedTuple):
    """What is remembered around given moments; see :meth:`Recent.neighbours`."""

    before: Track
    after: Track
    between: _Bools
    known: _Bools


class Recent:
    """Recent accepted fixes of all vehicles (about 40 bytes each).

    Args:
        limit_us: gives, for vehicle codes, the moments before which fixes need not be kept. The last
            fix before that moment is kept too, so every moment after it has a neighbour.
        recent_us: how long before its vehicle's last fix that is.
        keys: says what covers a place; asked of fixes that came in order when they are looked up.
    """

    def __init__(self, limit_us: Callable[[_Codes], _Ints], recent_us: int, keys: KeysOf) -> None:
        self._limit_us = limit_us
        self._blocks = Blocks(limit_us)
        self._arrivals = Arrivals(limit_us, recent_us, keys)
        # The latest late ones, which the blocks do not have yet, and the moments of each vehicle among them.
        self._fresh: list[tuple[_Codes, Track]] = []
        self._fresh_us: dict[int, list[int]] = {}

    def clear(self, keys: KeysOf | None = None) -> None:
        """Forget everything; ``keys`` says from now on what covers a place, if anything else does."""
        self._arrivals.keys = keys or self._arrivals.keys
        self._fresh, self._fresh_us = [], {}
        self._blocks.clear()
        self._arrivals.clear()

    def __len__(self) -> int:
        """How many fixes there is room for in what is in use."""
        return len(self._blocks) + len(self._arrivals) + sum(len(codes) for codes, _ in self._fresh)

    def add(self, codes: _Codes, fixes: Track) -> None:
        """Remember fixes of any vehicles, in any order; of few, the columns are kept as they are."""
        self._fresh.append((codes, fixes))
        for code, time_us in zip(codes.tolist(), fixes.time_us.tolist(), strict=True):
            self._fresh_us.setdefault(code, []).append(time_us)
        if sum(len(some) for some, _ in self._fresh) >= _MANY:
            self._put_away()

    def _put_away(self) -> None:
        """Bring the latest ones where the others are."""
        fresh, self._fresh, self._fresh_us = self._fresh, [], {}
        if fresh:
            self._blocks.add(np.concatenate([c for c, _ in fresh]), Track.join([t for _, t in fresh]))

    def _look_up(self, codes: _Codes) -> Blocks:
        """The blocks, with all that there is of some vehicles."""
        if self._fresh_us and not self._fresh_us.keys().isdisjoint(codes.tolist()):
            self._put_away()
        return self._blocks

    def note_gaps(self, codes: _Codes, fixes: Track, before_us: _Ints) -> None:
        """Take note of silence of more than ``GAP_US`` before fixes that are to be remembered in order.

        Args:
            codes, fixes: as for :meth:`add_in_order`.
            before_us: the time of each one's fix before; ``NEVER_US`` for none.
        """
        if len(codes):
            self._arrivals.note_gaps(codes, fixes.time_us, before_us)

    def add_in_order(self, codes: _Codes, fixes: Track, span_us: tuple[int, int] | None = None) -> None:
        """Remember fixes each of which comes after all that is known of its vehicle.

        Args:
            codes: vehicles, shape (n,), sorted.
            fixes: theirs, in the order of time. Columns that own their memory are kept as they are, and
                become read-only; views are copied, as they may be small parts of what they would keep alive.
            span_us: the first and the last moment of them, where they are known.
        """
        if len(codes):
            for needed in self._arrivals.add(codes, fixes, span_us):
                self._blocks.add(*needed)

    def replace(self, code: int, fixes: Track) -> None:
        """Remember these fixes of a vehicle, among which is its last one, and no others."""
        self._put_away()
        self._blocks.forget(code)
        self._blocks.add(np.full(len(fixes.time_us), code, np.int32), fixes)
        if len(fixes.time_us):
            self._arrivals.give(code, int(fixes.time_us[-1]))

    def neighbours(self, codes: _Codes, fixes: Track) -> Neighbours:
        """The remembered fixes next to others.

        Args:
            codes: vehicles, shape (n,).
            fixes: theirs, shape (n,).

        Returns:
            the fix before and the fix after each; ``between``: True where there are both, and none
            at the moment itself (elsewhere the two mean nothing); ``known``: True where the very same
            fix is remembered, and no other of that moment.
        """
        before, same, after = self._arrivals.around(codes, fixes.time_us)
        has_before, has_after = _there(before), _there(after)
        count = _there(same).astype(np.int64)
        known = np.zeros(len(codes), np.bool_)
        one = np.flatnonzero(count)
        if len(one):
            spots = [spot for spot in same if spot is not None]
            known[one] = same_fixes(picked(spots), fixes.cut(one))
        # Where nothing lies there, the track means nothing: any fix does.
        ways = _ways(before, after, fixes, self._arrivals.keys)
        from_us = np.where(has_before, ways[0].time_us, NEVER_US)
        to_us = np.where(has_after, ways[1].time_us, FOREVER_US)
        # Of few moments the others know more.
        if self._fresh_us:
            of_each = map(self._fresh_us.get, codes.tolist())
            sides = zip(of_each, from_us.tolist(), to_us.tolist(), strict=True)
            if any(fresh and any(lo <= us <= hi for us in fresh) for fresh, lo, hi in sides):
                self._put_away()
        at = np.flatnonzero(self._blocks.within(codes, from_us, to_us))
        if len(at):
            near = self._blocks.around(codes[at], fixes.cut(at))
            several = near.several
            several |= has_before[at] & near.has_before & (near.before.time_us == from_us[at])
            several |= has_after[at] & near.has_after & (near.after.time_us == to_us[at])
            nearer = near.has_before & (near.before.time_us >= from_us[at])
            ways[0] = _put(ways[0], at[nearer], near.before.cut(nearer))
            nearer = near.has_after & (near.after.time_us <= to_us[at])
            ways[1] = _put(ways[1], at[nearer], near.after.cut(nearer))
            has_before[at] |= near.has_before
            has_after[at] |= near.has_after
            known[at] = np.where(count[at] == 0, near.known, known[at] & (near.same == 0))
            count[at] += near.same
            for i in at[several].tolist():  # which of them stands is seen where all are
                story, own = self.of(int(codes[i])), np.array([i])
                place = int(np.searchsorted(story.time_us, fixes.time_us[i]))
                if has_before[i]:
                    ways[0] = _put(ways[0], own, story.cut(slice(place - 1, place)))
                if has_after[i] and not count[i]:
                    ways[1] = _put(ways[1], own, story.cut(slice(place, place + 1)))
        return Neighbours(ways[0], ways[1], has_before & has_after & (count == 0), known)

    def of(self, code: int) -> Track:
        """What is remembered of a vehicle, in time order, one fix a moment."""
        own = np.array([code], np.int32)
        return _both(self._arrivals.since(code)[0], self._look_up(own).each(own)[0])

    def each(self, codes: _Codes) -> list[Track]:
        """The same of each of some vehicles (distinct, ascending)."""
        late = self._look_up(codes).each(codes)
        return [_both(self._arrivals.since(c)[0], t) for c, t in zip(codes.tolist(), late, strict=True)]

    def around(self, codes: _Codes, time_us: _Ints, count: int) -> list[tuple[Track, bool]]:
        """The same around a moment of each of some vehicles: what may matter when something is new there.

        Args:
            codes: the vehicles (distinct, ascending).
            time_us: a moment of each.
            count: so many fixes after it are enough.

        Returns:
            of each all fixes from the last one before the moment on, until there are enough (earlier ones
            may be missing, and more may be there), and whether those are all up to its last one.
        """
        found = []
        blocks = self._look_up(codes)
        for i, (code, moment_us) in enumerate(zip(codes.tolist(), time_us.tolist(), strict=True)):
            arrived, whole = self._arrivals.since(code, moment_us, count)
            # Beyond the ends of what is there, the others alone tell nothing.
            begin_us, end_us = NEVER_US, FOREVER_US
            if len(arrived.time_us) and arrived.time_us[0] < moment_us:
                begin_us = int(arrived.time_us[0])
            if not whole:
                end_us = int(arrived.time_us[-1])
            if blocks.between(code, begin_us, end_us):
                track = blocks.each(codes[i : i + 1])[0]
                lo = track.time_us.searchsorted(begin_us)
                hi = track.time_us.searchsorted(end_us, side="right")
                arrived = _both(arrived, track.cut(slice(int(lo), int(hi))))
            found.append((arrived, whole))
        return found

    def all(self) -> tuple[_Codes, Track]:
        """All that has to be remembered, sorted by vehicle and time; of a moment the last one stands."""
        self._put_away()
        codes, fixes = self._blocks.all()
        arrived = self._arrivals.all()
        if arrived is not None:
            codes, fixes = np.append(arrived[0], codes), Track.join([arrived[1], fixes])
        order = np.lexsort((fixes.time_us, codes))
        codes, fixes = codes[order], fixes.cut(order)
        if ((codes[1:] == codes[:-1]) & (fixes.time_us[1:] == fixes.time_us[:-1])).any():
            order = np.lexsort((*ranks(fixes), fixes.time_us, codes))
            codes, fixes = codes[order], fixes.cut(order)
        # Not needed: what is followed by another fix that is itself old enough to be forgotten.
        old = fixes.time_us <= self._limit_us(codes)
        needed = np.ones(len(codes), np.bool_)
        needed[:-1] = (codes[:-1] != codes[1:]) | ~old[1:]
        return codes[needed], fixes.cut(needed)


def _both(arrived: Track, late: Track) -> Track:
    """A vehicle's fixes of either kind, in time order, one a moment."""
    if not len(late.time_us):
        return arrived
    return merge_tracks(arrived, late) if len(arrived.time_us) else late


def _there(spots: list[Spot | None]) -> _Bools:
    return np.array([spot is not None for spot in spots], np.bool_)


def _ways(before: list[Spot | None], after: list[Spot | None], fixes: Track, keys: KeysOf) -> list[Track]:
    """The fixes at spots, in columns that may be written to; any fix where there is none."""
    spots, n = [*before, *after], len(before)
    some = [spot for spot in spots if spot is not None]
    found = picked(some, keys)
    if len(some) < len(spots):
        found = _put(Track.join([fixes, fixes]), np.flatnonzero(_there(spots)), found)
    return [found.cut(slice(0, n)), found.cut(slice(n, None))]


def _put(track: Track, at: npt.NDArray[np.intp], fixes: Track) -> Track:
    """A track with other fixes at some rows; its columns are written to."""
    if track.error_m is None and fixes.error_m is not None:
        track = track._replace(error_m=track.errors_m())
    for name in Track._fields[:-1]:
        getattr(track, name)[at] = getattr(fixes, name)
    if track.error_m is not None:
        track.error_m[at] = fixes.errors_m()
    return track
