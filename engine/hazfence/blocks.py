"""Fixes remembered vehicle by vehicle, in chains of blocks: quick to add to, quick to look up in.

You are in the core, below ``recent.py``, which decides what has to be remembered here. A fix goes behind
its vehicle's last one; what is too old gives its place to what is new. Next room: ``places.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.places import BEGINNING_US, END_US, Around, Places, blocks_around, sorted_places
from hazfence.track import Track, merge_tracks, same_fixes
from hazfence_fences.index.raster import spread

__all__ = ["Blocks"]


class _Chunk(NamedTuple):
    """Fixes sorted by vehicle and time."""

    codes: npt.NDArray[np.int32]
    fixes: Track


#: Fixes in a block, a power of two.
_SHIFT = 3
_SLOTS = 1 << _SHIFT
_NONE = -1
#: Of so many vehicles stories may be held ready; chains of fewer than a tenth of it are walked one by one.
_FEW = 40
#: So many stories are held ready, of vehicles asked for once more among the last so many: who sends what was
#: kept during an outage sends late again and again, and days may be remembered of him.
_STORIES, _ASKED = 64, 256
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
#: Those of its fields that are columns of a track; ``error_m`` lies beside them, when there is any.
_NAMES = Track._fields[:-1]
#: The same for numpy to copy as a whole.
_WHOLE = np.dtype((np.void, _FIX.itemsize))


class Blocks:
    """Fixes of all vehicles (50 bytes each; 54 once one has come that is not accurate, see ``Track``).

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
        self._error_m: npt.NDArray[np.float32] | None = None  # of each, from the first one that says so
        self._newer = np.full(64, _NONE, np.int32)  # the next block of the same vehicle
        self._used = self._untidy = 0
        self._free = np.zeros(0, np.int32)
        self._oldest = np.full(64, _NONE, np.int32)  # by vehicle
        self._newest = np.full(64, _NONE, np.int32)
        self._fill = np.full(64, _SLOTS, np.int8)  # of its newest block; full when it has none
        # Of each block the earliest and the latest moment: most need not be opened to find a neighbour.
        self._earliest_us = np.full(64, END_US, np.int64)
        self._latest_us = np.full(64, BEGINNING_US, np.int64)
        # Of vehicles asked for lately, the one used last at the end: what is remembered in time order, and
        # what came since.
        self._stories: dict[int, list[Track]] = {}
        self._asked: dict[int, None] = {}  # those asked for lately, the last one at the end
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
        for name, column in zip(_NAMES, fixes, strict=False):
            rows[name] = column
        rows["code"] = codes
        slots = block * _SLOTS + (place & (_SLOTS - 1))
        self._fixes.view(_WHOLE)[slots] = rows.view(_WHOLE)
        if fixes.error_m is not None and self._error_m is None:
            self._error_m = np.zeros(len(self._fixes), np.float32)
        if self._error_m is not None:
            self._error_m[slots] = 0.0 if fixes.error_m is None else fixes.error_m
        if own is codes:
            self._earliest_us[block] = np.minimum(self._earliest_us[block], fixes.time_us)
            self._latest_us[block] = np.maximum(self._latest_us[block], fixes.time_us)
        else:
            np.minimum.at(self._earliest_us, block, fixes.time_us)
            np.maximum.at(self._latest_us, block, fixes.time_us)
        if self._stories:
            some = np.flatnonzero(self._has_story[own])
            ends = np.append(starts[1:], len(codes))
            for code, lo, hi in zip(
                own[some].tolist(), starts[some].tolist(), ends[some].tolist(), strict=True
            ):
                self._stories[code].append(fixes.cut(slice(lo, hi)).copy())

    def _lengthen(self, codes: npt.NDArray[np.int32], more: npt.NDArray[np.int64]) -> None:
        """Give each of the vehicles (distinct) so many more blocks at the new end of its chain."""
        some = np.flatnonzero(more)
        codes, more = codes[some], more[some]
        shorter = codes
        while len(shorter):  # more than one when a busy hour is over
            shorter = self._give_up(shorter)
        count = int(more.sum())
        self._untidy += count
        if count > len(self._free) and self._untidy > len(self._newer) // 8:
            self._clear_out()
        blocks = self._allot(count)
        self._earliest_us[blocks], self._latest_us[blocks] = END_US, BEGINNING_US
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
        # Where fixes came late, the block before need not be the older one. Of one moment either may stand.
        latest_us = self._latest_us[second]
        old = (latest_us <= self._limit_us(codes)) & (self._latest_us[oldest] < latest_us)
        self._oldest[codes[old]] = second[old]
        self._free = np.append(self._free, oldest[old])
        return codes[old]

    def _clear_out(self) -> None:
        """Free what is old of every vehicle: of one that gets nothing any more, nobody else would."""
        codes = np.flatnonzero(self._oldest != _NONE).astype(np.int32)
        while len(codes):
            codes = self._give_up(codes)
        self._untidy = 0

    def _allot(self, count: int) -> npt.NDArray[np.int32]:
        """Blocks not in use."""
        reused = self._free[max(len(self._free) - count, 0) :]
        self._free = self._free[: len(self._free) - len(reused)]
        end = self._used + count - len(reused)
        if end >= len(self._newer):  # the last entry is nobody's
            size = max(end + 1, len(self._newer) * 3 // 2)
            more = size - len(self._newer)
            self._newer = np.append(self._newer, np.full(more, _NONE, np.int32))
            self._earliest_us = np.append(self._earliest_us, np.full(more, END_US, np.int64))
            self._latest_us = np.append(self._latest_us, np.full(more, BEGINNING_US, np.int64))
            # In place: the system moves pages, where a copy would touch every byte. Nobody holds a view.
            self._fixes.resize(size * _SLOTS, refcheck=False)
            if self._error_m is not None:
                self._error_m.resize(size * _SLOTS, refcheck=False)
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
        self._stories.pop(code, None)
        self._has_story[code] = False

    def between(self, code: int, from_us: int, to_us: int) -> bool:
        """Whether a fix of a vehicle between two moments, or at one of them, lies here."""
        if code >= len(self._oldest):
            return False
        times = self._fixes["time_us"]
        block = self._oldest.item(code)
        while block != _NONE:
            near = self._earliest_us.item(block) <= to_us and self._latest_us.item(block) >= from_us
            if near and any(from_us <= times.item(slot) <= to_us for slot in self._slots(code, block)):
                return True
            block = self._newer.item(block)
        return False

    def _slots(self, code: int, block: int) -> range:
        """The slots in use of a vehicle's block."""
        first = block << _SHIFT
        return range(first, first + (self._fill.item(code) if block == self._newest.item(code) else _SLOTS))

    def within(
        self, codes: npt.NDArray[np.int32], from_us: npt.NDArray[np.int64], to_us: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Of each vehicle, whether a fix between two moments, or at one of them, may lie here."""
        found = np.zeros(len(codes), np.bool_)
        if not len(self):
            return found
        mine = np.flatnonzero(codes < len(self._oldest))
        blocks, counts = self._chains(codes[mine])
        row = np.repeat(mine, counts)
        some = (self._earliest_us[blocks] <= to_us[row]) & (self._latest_us[blocks] >= from_us[row])
        row, blocks = row[some], blocks[some]
        # What a block has beyond its last fix is of a fix forgotten, and at worst looked at in vain.
        time_us = self._fixes["time_us"].reshape(-1, _SLOTS)[blocks]
        inside = (time_us >= from_us[row, None]) & (time_us <= to_us[row, None])
        found[row[inside.any(axis=1)]] = True
        return found

    def around(self, codes: npt.NDArray[np.int32], fixes: Track) -> Around:
        """The fixes here next to others.

        Args:
            codes: vehicles, shape (n,).
            fixes: theirs, shape (n,).

        Returns:
            the fix before and the fix after each, where ``has_before`` and ``has_after`` say that there are
            such, and none at the moment itself (elsewhere the two mean nothing); ``same``: how many fixes
            of the moment itself lie here; ``known``: True where that is one, and the very same fix;
            ``several``: True where there is another one of the moment before or after, so that the one given
            need not be the one that stands.
        """
        n = len(codes)
        if n <= _FEW // 10:
            return self._around_few(codes, fixes)
        own, which = np.unique(codes, return_inverse=True)
        blocks, counts = self._chains(own[own < len(self._oldest)])
        counts = np.append(counts, np.zeros(len(own) - len(counts), np.int64))
        row, place = spread((np.cumsum(counts) - counts)[which], counts[which])
        if not len(row):
            none = np.zeros(n, np.bool_)
            return Around(_blank(n), _blank(n), none, none, np.zeros(n, np.int64), none, none)
        rows, blocks = blocks_around(row, blocks[place], fixes.time_us, self._earliest_us, self._latest_us)
        held = self._opened(rows, codes[rows], blocks)
        last = len(held.codes) - 1
        rows = np.arange(n, dtype=np.int32)
        at, end = held.first(rows, fixes.time_us)
        before, after = np.maximum(at - 1, 0), np.minimum(at, last)
        has_before = (at > 0) & (held.codes[before] == rows)
        has_after = (at <= last) & (held.codes[after] == rows)
        known = end - at == 1
        one = np.flatnonzero(known)
        known[one] = same_fixes(self._track(held.slots[at[one]]), fixes.cut(one))
        found = self._track(held.slots[np.concatenate((before, after))])
        ways = found.cut(slice(0, n)), found.cut(slice(n, None))
        again = np.zeros(last + 2, np.bool_)  # whether each is of the same moment as the one before it
        again[1:-1] = (held.codes[1:] == held.codes[:-1]) & (held.time_us[1:] == held.time_us[:-1])
        several = again[before] | again[after + 1]
        return Around(*ways, has_before, has_after, end - at, known, several)

    def _around_few(self, codes: npt.NDArray[np.int32], fixes: Track) -> Around:
        """The same one after the other: for few that is sooner done than in columns."""
        n = len(codes)
        slots, twins = np.zeros((2, n), np.int64), np.zeros(n, np.int64)
        several, same = np.zeros(n, np.bool_), np.zeros(n, np.int64)
        found = np.zeros((2, n), np.bool_)
        times = self._fixes["time_us"]
        for i, (code, moment_us) in enumerate(zip(codes.tolist(), fixes.time_us.tolist(), strict=True)):
            near = [(BEGINNING_US, _NONE), (END_US, _NONE)]
            again = [False, False]  # whether there is another one of that moment
            for slot in self._slots_near(code, moment_us):
                time_us = times.item(slot)
                if time_us == moment_us:
                    same[i] += 1
                    twins[i] = slot
                    continue
                side = int(time_us > moment_us)
                if time_us == near[side][0]:
                    again[side] = True
                elif (time_us > near[side][0]) is not (side == 1):
                    near[side], again[side] = (time_us, slot), False
            for side, (_, slot) in enumerate(near):
                if slot != _NONE:
                    found[side, i], slots[side, i] = True, slot
            several[i] = any(again)
        both, known = self._track(slots.ravel()), same == 1
        if known.any():
            known[known] = same_fixes(self._track(twins[known]), fixes.cut(known))
        ways = both.cut(slice(0, n)), both.cut(slice(n, None))
        return Around(*ways, found[0], found[1], same, known, several)

    def _slots_near(self, code: int, moment_us: int) -> list[int]:
        """The slots of the blocks that hold a moment, or the fix next to it on either side."""
        if code >= len(self._oldest):
            return []
        last_us, next_us = BEGINNING_US, END_US
        inside: list[int] = []
        before: list[int] = []
        after: list[int] = []
        block = self._oldest.item(code)
        while block != _NONE:
            first, last = self._earliest_us.item(block), self._latest_us.item(block)
            if last < moment_us:
                if last >= last_us:
                    before = [block] if last > last_us else [*before, block]
                    last_us = last
            elif first > moment_us:
                if first <= next_us:
                    after = [block] if first < next_us else [*after, block]
                    next_us = first
            else:
                inside.append(block)
            block = self._newer.item(block)
        return [slot for block in (*inside, *before, *after) for slot in self._slots(code, block)]

    def each(self, codes: npt.NDArray[np.int32]) -> list[Track]:
        """What is remembered of some vehicles (distinct, ascending), each in time order, one fix a moment."""
        if len(codes) > _FEW:
            return self._told_apart(codes)
        known = self._known(codes)
        found = dict(zip(codes[~known].tolist(), self._told_apart(codes[~known]), strict=True))
        for code, track in found.items():
            if code in self._asked:
                self._stories[code] = [track]
                self._has_story[code] = True
            elif code < len(self._has_story):
                self._asked[code] = None
        found |= {code: self._story(code) for code in codes[known].tolist()}
        for codes_held, most in ((self._stories, _STORIES), (self._asked, _ASKED)):
            for code in list(codes_held)[: max(len(codes_held) - most, 0)]:
                del codes_held[code]
                self._has_story[code] &= codes_held is not self._stories
        return [found[code] for code in codes.tolist()]

    def _known(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): of which vehicles a story is held ready."""
        known = codes < len(self._has_story)
        known[known] = self._has_story[codes[known]]
        return known

    def _story(self, code: int) -> Track:
        """A vehicle's story, with what came since it was asked for last."""
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

    def _told(self, code: int) -> Track:
        """The same of one vehicle, for which it is sooner done like this."""
        times, slots = self._fixes["time_us"], list[int]()
        for block in self._chains(np.array([code], np.int32))[0].tolist():
            slots += self._slots(code, block)
        moments = {slot: times.item(slot) for slot in slots}
        slots.sort(key=moments.__getitem__)
        track = self._track(np.array(slots, np.int64))
        return merge_tracks(track) if len(set(moments.values())) < len(slots) else track

    def _told_apart(self, codes: npt.NDArray[np.int32]) -> list[Track]:
        if not len(codes):
            return []
        if len(codes) == 1 and codes[0] < len(self._oldest):
            return [self._told(int(codes[0]))]
        chunk = self._gathered(codes)
        ends = np.searchsorted(chunk.codes, codes, side="right").tolist()
        tracks = [chunk.fixes.cut(slice(lo, hi)) for lo, hi in zip([0, *ends[:-1]], ends, strict=True)]
        again = (chunk.codes[1:] == chunk.codes[:-1]) & (chunk.fixes.time_us[1:] == chunk.fixes.time_us[:-1])
        for place in np.unique(np.searchsorted(codes, chunk.codes[1:][again])).tolist():
            tracks[place] = merge_tracks(tracks[place])
        return tracks

    def all(self) -> tuple[npt.NDArray[np.int32], Track]:
        """Everything that lies here, sorted by vehicle and time; what is not needed any more with it."""
        return self._gathered(np.arange(len(self._oldest), dtype=np.int32))

    def _gathered(self, codes: npt.NDArray[np.int32]) -> _Chunk:
        """What is remembered of some vehicles (distinct), sorted by vehicle and time."""
        held = self._places(codes)
        return _Chunk(held.codes, self._track(held.slots))

    def _track(self, slots: npt.NDArray[np.int64]) -> Track:
        """The fixes in some slots."""
        rows = self._fixes.view(_WHOLE).take(slots).view(_FIX)
        error_m = None if self._error_m is None else self._error_m.take(slots)
        if error_m is not None and not error_m.any():
            error_m = None
        return Track(**{name: np.ascontiguousarray(rows[name]) for name in _NAMES}, error_m=error_m)

    def _places(self, codes: npt.NDArray[np.int32]) -> Places:
        """Where the fixes of some vehicles (distinct) lie, by vehicle and time; of a moment as they came."""
        codes = codes[codes < len(self._oldest)]
        blocks, counts = self._chains(codes)
        codes = np.repeat(codes, counts)
        return self._opened(codes, codes, blocks)

    def _opened(
        self, owner: npt.NDArray[np.int32], codes: npt.NDArray[np.int32], blocks: npt.NDArray[np.int32]
    ) -> Places:
        """Where the fixes of some blocks lie, by owner and time; ``codes`` are the blocks' vehicles."""
        fill = np.where(blocks == self._newest[codes], self._fill[codes], _SLOTS)
        slots = ((blocks.astype(np.int64) << _SHIFT)[:, None] + np.arange(_SLOTS)).ravel()
        if (fill < _SLOTS).any():
            slots = slots[(np.arange(_SLOTS) < fill[:, None]).ravel()]
        return sorted_places(np.repeat(owner, fill), self._fixes["time_us"][slots], slots)

    def _chains(self, codes: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The blocks of some vehicles, the oldest first, a vehicle's together; of each how many."""
        newer = self._newer
        if len(codes) <= _FEW // 10:
            found: list[int] = []
            counts: list[int] = []
            for block in self._oldest[codes].tolist():
                before = len(found)
                while block != _NONE:
                    found.append(block)
                    block = newer.item(block)
                counts.append(len(found) - before)
            return np.array(found, np.int32), np.array(counts, np.int64)
        here = self._oldest[codes]
        chains: list[npt.NDArray[np.int32]] = []
        # Walk the chains together, the ends of the shorter ones included: few and plain steps. What
        # comes after the end is the last entry, which no block has: the end again.
        while len(chains) % (2 if len(chains) < 8 else 8) or (here != _NONE).any():
            chains.append(here)
            here = newer.take(here, mode="wrap")
        if not chains:
            return here[:0], np.zeros(len(here), np.int64)
        blocks = np.stack(chains, axis=1)
        real = blocks != _NONE
        return blocks[real], np.count_nonzero(real, axis=1)


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
