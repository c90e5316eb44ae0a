"""Fixes remembered as they came: those that came after all that was known of their vehicle.

You are in the core, below ``recent.py``. What comes in order is most of what comes, and all of it must be
remembered for the few fixes that do not. So nothing is done with it: a batch stays as it is, a stretch of the
log, and what has become too old is dropped, but for the few fixes that are still needed. Once somebody looks
something up, small stretches that follow each other are made one, sorted by vehicle, so that there are never
many. A vehicle's fixes ascend along the log, so its neighbours of a moment lie in the stretch of that moment
or in the next one that has the vehicle. Next room: ``blocks.py``, for fixes that came in any order.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hazfence.track import Track, no_keys
from hazfence.vehicles import NEVER_US

__all__ = ["GAP_US", "Arrivals", "KeysOf", "Spot", "Stretch", "picked"]

_T = TypeVar("_T", bound=np.generic)
_Codes = npt.NDArray[np.int32]
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
#: Gives for longitudes and latitudes the keys of the sets of fences there.
KeysOf = Callable[[_Floats, _Floats], npt.NDArray[np.uint64]]

#: Fixes of one vehicle farther apart than this are noted, so that the earlier one is not dropped too soon.
GAP_US = 120_000_000
#: So many stretches of a kind become one, of not more fixes than the second number (a millisecond or two of
#: work), and of not more than this part of the time for which fixes are remembered, so that all of it can go.
_TOGETHER, _MOST, _PARTS = 8, 1 << 16, 16
#: Memory of so many stretches is kept, in multiples of so many rows.
_SPARE, _ROUND = 4, 1 << 12


#: A fix as a row, its fields in the order of a track's columns but the key: who looks at one field needs the
#: others too. What covers it is asked of the index again when it matters, as of most fixes it never does.
_ROW = np.dtype(
    [
        ("time_us", "i8"),
        ("lon", "f8"),
        ("lat", "f8"),
        ("speed_kmh", "f4"),
        ("heading_deg", "f4"),
        ("alarm", "u4"),
        ("error_m", "f4"),
    ]
)
_SIZE, _FIELDS = _ROW.itemsize, _ROW.names or ()
#: The same for numpy to copy as a whole, and for one that lies in columns.
_WHOLE, _PACK = np.dtype((np.void, _SIZE)), struct.Struct("=qddffIf").pack
#: A remembered fix: the bytes of its row.
Spot = bytes | memoryview


class Stretch(NamedTuple):
    """Fixes that came one after the other, sorted by vehicle and time.

    Attributes:
        codes: the vehicles.
        fixes: their fixes, as they came; or
        rows: the same as rows of ``_ROW``, of stretches put together.
        packed: their bytes.
        time_us: the moments of either; ``moments``, the same for who looks at few of them.
        earliest_us, latest_us: the earliest and the latest moment among them.
        known_us: the latest moment of all fixes that had come by then.
        level: how often they were put together.
        once: whether every vehicle is there once.
        first: the first row of each vehicle, and one more; None where most vehicles are missing.
    """

    codes: _Codes
    fixes: Track | None
    rows: npt.NDArray[np.void] | None
    packed: memoryview | None
    time_us: _Ints
    moments: memoryview
    earliest_us: int
    latest_us: int
    known_us: int
    level: int
    once: bool
    first: _Ints | None = None

    def cut(self, index: npt.NDArray[np.bool_] | slice) -> Track:
        """The fixes at ``index``, not located."""
        if self.rows is None:
            assert self.fixes is not None
            return self.fixes.cut(index)
        return _track(self.rows[index])

    def part(self, begin: int, end: int) -> npt.NDArray[np.void]:
        """Some fixes that follow each other, as rows."""
        if self.rows is not None:
            return self.rows[begin:end]
        rows = np.empty(end - begin, _ROW)
        for name, column in self._columns():
            rows[name] = 0 if column is None else column[begin:end]
        return rows

    def copy_to(self, rows: npt.NDArray[np.void]) -> None:
        """Write all of it there."""
        if self.rows is not None:
            rows.view(_WHOLE)[:] = self.rows.view(_WHOLE)
            return
        for name, column in self._columns():
            rows[name] = 0 if column is None else column

    def _columns(self) -> list[tuple[str, npt.NDArray[Any] | None]]:
        """The columns of fixes as they came, by the fields of a row."""
        return [(name, getattr(self.fixes, name)) for name in _FIELDS]

    def raw(self, begin: int, end: int) -> Spot:
        """The bytes of their rows."""
        if self.packed is not None:
            return self.packed[begin * _SIZE : end * _SIZE]
        if end - begin > 1:
            return self.part(begin, end).tobytes()
        return _PACK(*[0.0 if column is None else column.item(begin) for _, column in self._columns()])


class Arrivals:
    """The log of fixes that came in order.

    Args:
        limit_us: gives, for vehicle codes, the moments before which fixes need not be kept. The last
            fix before that moment is kept too, so every moment after it has a neighbour.
        recent_us: how long before its vehicle's last fix that is.
        keys: says what covers fixes that are looked up.

    Attributes:
        keys: the same; to be changed only when all is forgotten.
    """

    def __init__(self, limit_us: Callable[[_Codes], _Ints], recent_us: int, keys: KeysOf) -> None:
        self._limit_us = limit_us
        self._recent_us = recent_us
        self.keys = keys
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._tidy: list[Stretch] = []
        self._waiting: deque[Stretch] = deque()  # what came since somebody looked something up
        self._latest_us = 0
        self._unsorted = np.empty(0, _ROW)  # where stretches are put together
        # Memory of stretches dropped, for the next ones: to get as much from the system takes ten times as
        # long as to fill it.
        self._spare: list[npt.NDArray[np.void]] = []
        # (vehicle, time) of fixes after which there was a gap.
        self._gaps: list[tuple[_Codes, _Ints]] = []
        # Up to when the fixes of a vehicle are somebody else's to keep, by its code.
        self._taken: dict[int, int] = {}

    def __len__(self) -> int:
        """How many fixes lie here."""
        return sum(len(s.codes) for s in self._log())

    def note_gaps(self, codes: _Codes, time_us: _Ints, before_us: _Ints) -> None:
        """Take note of the gaps before fixes that are to be remembered; there are none if all are short.

        Args:
            codes: vehicles, shape (n,), at least one.
            time_us: of their fixes.
            before_us: of each one's fix before; ``NEVER_US`` for none.
        """
        gap = np.flatnonzero(before_us < time_us - GAP_US)
        gap = gap[before_us[gap] != NEVER_US]
        if len(gap):
            self._gaps.append((codes[gap], before_us[gap]))

    def add(
        self, codes: _Codes, fixes: Track, span_us: tuple[int, int] | None = None
    ) -> list[tuple[_Codes, Track]]:
        """Remember fixes each of which comes after all that is known of its vehicle.

        Args:
            codes: vehicles, shape (n,), sorted, at least one.
            fixes: theirs, in the order of time. Columns that own their memory are kept as they are, and
                become read-only; views are copied, as they may be small parts of what they would keep alive.
            span_us: the first and the last moment of them, where they are known.

        Returns:
            fixes that have become too old to lie here, but are needed still.
        """
        earliest_us, latest_us = span_us or (int(fixes.time_us.min()), int(fixes.time_us.max()))
        some: Any = {name: column for name in _FIELDS if (column := getattr(fixes, name)) is not None}
        kept = Track(**{name: _kept(column) for name, column in some.items()}, key=no_keys(len(codes)))
        moments = _whole_numbers(kept.time_us)
        self._latest_us = max(self._latest_us, latest_us)
        new = Stretch(
            _kept(codes), kept, None, None, kept.time_us, moments, earliest_us, latest_us,
            self._latest_us, 0, once=False,
        )  # fmt: skip
        self._waiting.append(new)
        old_us = self._latest_us - self._recent_us - 2 * GAP_US
        needed: list[tuple[_Codes, Track]] = []
        while (first := self._first()) is not None and first.latest_us < old_us:
            if self._tidy:
                del self._tidy[0]
            else:
                self._waiting.popleft()
            still = self._needed(first)
            if still.any():
                needed.append((first.codes[still], self._located(first.cut(still))))
            room = None if first.rows is None else first.rows.base
            if isinstance(room, np.ndarray) and len(self._spare) < _SPARE:
                self._spare.append(room)  # all that was ever taken from it was copied
        return needed

    def _first(self) -> Stretch | None:
        """The oldest stretch."""
        return self._tidy[0] if self._tidy else self._waiting[0] if self._waiting else None

    def _needed(self, old: Stretch) -> npt.NDArray[np.bool_]:
        """Which fixes of a stretch that is dropped are still needed.

        A fix is needed when it is after its vehicle's limit, or the last one before it. A fix farther
        than a gap before the limit is neither, unless a gap followed: the next fix is before the limit too.
        """
        codes, time_us = old.codes, old.time_us
        needed: npt.NDArray[np.bool_] = time_us > self._limit_us(codes) - GAP_US
        if self._gaps:
            # Of one vehicle and moment there are but few: compare one by one where the vehicle is the same.
            gap_codes = np.concatenate([c for c, _ in self._gaps])
            gap_us = np.concatenate([t for _, t in self._gaps])
            order = np.lexsort((gap_us, gap_codes))
            gap_codes, gap_us = gap_codes[order], gap_us[order]
            at = np.searchsorted(gap_codes, codes)
            while True:
                inside = at < len(gap_codes)
                same = np.zeros(len(codes), np.bool_)
                same[inside] = gap_codes[at[inside]] == codes[inside]
                if not same.any():
                    break
                hit = same.copy()
                hit[same] = gap_us[at[same]] == time_us[same]
                needed |= hit
                at[same] += 1
                at[~same] = len(gap_codes)
            # Gaps that followed a fix dropped before are of no use any more. What came later may be older.
            oldest_us = min((s.earliest_us for s in self._log()), default=self._latest_us)
            keep = gap_us >= oldest_us
            self._gaps = [(gap_codes[keep], gap_us[keep])] if keep.any() else []
        return needed & self._ours(codes, time_us)

    def _ours(self, codes: _Codes, time_us: _Ints) -> npt.NDArray[np.bool_]:
        """Which fixes here nobody else keeps."""
        ours = np.ones(len(codes), np.bool_)
        for code, until_us in self._taken.items():
            lo, hi = np.searchsorted(codes, code), np.searchsorted(codes, code, side="right")
            ours[lo:hi] = time_us[lo:hi] > until_us
        return ours

    def give(self, code: int, until_us: int) -> None:
        """What is here of a vehicle up to a moment is somebody else's to keep from now on."""
        self._taken[code] = until_us
        first = self._first()
        # Of most of those given long ago nothing is left here.
        if len(self._taken) > _TOGETHER and first is not None:
            oldest_us = min(s.earliest_us for s in self._log())
            self._taken = {c: t for c, t in self._taken.items() if t >= oldest_us}

    def around(
        self, codes: _Codes, time_us: _Ints
    ) -> tuple[list[Spot | None], list[Spot | None], list[Spot | None]]:
        """The fixes next to moments.

        Args:
            codes: vehicles, shape (n,).
            time_us: a moment of each, shape (n,).

        Returns:
            of each the last fix before, the one at the moment itself, and, unless there is such a one, the
            first fix after it.
        """
        stretches = self._stretches()
        known_us = np.array([s.known_us for s in stretches], np.int64)
        begins = known_us.searchsorted(time_us).tolist()
        before: list[Spot | None] = []
        same: list[Spot | None] = []
        after: list[Spot | None] = []
        # All before the stretch that each begins with is before its moment.
        for begin, code, moment_us in zip(begins, codes.tolist(), time_us.tolist(), strict=True):
            last = here = None
            hit = False
            for i in range(begin, len(stretches)):
                one = stretches[i]
                lo, hi = _rows(one, code)
                if lo == hi:
                    continue
                at = bisect_left(one.moments, moment_us, lo, hi)
                if at > lo:
                    last = one.raw(at - 1, at)
                if at < hi:
                    hit, here = one.moments[at] == moment_us, one.raw(at, at + 1)
                    break
            if last is None:
                last = _last(stretches, begin, code)
            if hit and moment_us <= self._taken.get(code, NEVER_US):
                here = None  # whoever keeps it knows
            before.append(last)
            same.append(here if hit else None)
            after.append(None if hit else here)
        return before, same, after

    def since(self, code: int, from_us: int | None = None, count: int | None = None) -> tuple[Track, bool]:
        """What is here of a vehicle, in the order of time.

        Args:
            code: of the vehicle.
            from_us: what is before the last fix before this moment may be left out; and
            count: what comes after so many fixes that are not before it.

        Returns:
            the fixes, and whether none was left out at the end.
        """
        stretches = self._stretches()
        begin = 0
        if from_us is not None:
            begin = bisect_left(stretches, from_us, key=lambda s: s.known_us)
        found: list[Spot] = []
        left, whole, first_us = count, True, None
        for i in range(begin, len(stretches)):
            one = stretches[i]
            lo, hi = _rows(one, code)
            if lo == hi:
                continue
            if left is not None and left <= 0:
                whole = False
                break
            if first_us is None:
                first_us = one.moments[lo]
            if left is not None and from_us is not None:
                left -= hi - bisect_left(one.moments, from_us, lo, hi)
            found.append(one.raw(lo, hi))
        if from_us is not None and begin and (first_us is None or first_us >= from_us):
            last = _last(stretches, begin, code)
            if last is not None:
                found.insert(0, last)
        return picked(found, self.keys), whole

    def all(self) -> tuple[_Codes, Track] | None:
        """Everything that lies here and that nobody else keeps, oldest first; None for nothing."""
        log = self._log()
        if not log:
            return None
        ours = [self._ours(s.codes, s.time_us) for s in log]
        codes = np.concatenate([s.codes[mine] for s, mine in zip(log, ours, strict=True)])
        return codes, self._located(Track.join([s.cut(mine) for s, mine in zip(log, ours, strict=True)]))

    def _located(self, fixes: Track) -> Track:
        """The same with their keys."""
        return fixes._replace(key=self.keys(fixes.lon, fixes.lat))

    def _log(self) -> list[Stretch]:
        """The log as it lies, oldest first."""
        return [*self._tidy, *self._waiting]

    def _stretches(self) -> list[Stretch]:
        """The log, oldest first, small stretches put together; of many that wait, some at a time."""
        tidy, left = self._tidy, 2 * _MOST
        while self._waiting and left > 0:
            one = self._waiting.popleft()
            tidy.append(one._replace(once=bool((one.codes[1:] != one.codes[:-1]).all())))
            left -= 1 << 9  # as much work as so many fixes put together
            while many := self._ready(tidy):
                tidy[-many:] = [self._together(tidy[-many:])]
                left -= len(tidy[-1].codes)
        return self._log() if self._waiting else tidy

    def _ready(self, tidy: list[Stretch]) -> int:
        """How many of the last stretches are to be made one; 0 for none."""
        last, count, many, span_us = tidy[-1], 0, 0, 0
        longest_us = self._recent_us // _PARTS
        for one in reversed(tidy[-_TOGETHER:]):
            if one.level != last.level or last.known_us - one.known_us > longest_us:
                break
            if many and count + len(one.codes) > _MOST:
                break
            count, many, span_us = count + len(one.codes), many + 1, last.known_us - one.known_us
        if many == _TOGETHER:
            return many
        if last.level or count < _ROUND:
            return 0
        # Will one more fit? Even a single large one is sooner looked up in when it has an index.
        full = count + len(last.codes) > _MOST
        full |= many > 1 and span_us + span_us // (many - 1) > longest_us
        return many if full else 0

    def _together(self, parts: Sequence[Stretch]) -> Stretch:
        """Stretches that follow each other as one."""
        level, last, count = parts[-1].level, parts[-1], sum(len(s.codes) for s in parts)
        if count > len(self._unsorted):
            self._unsorted = np.empty(max(min(2 * count, _MOST), count), _ROW)
        codes = np.concatenate([s.codes for s in parts])
        order = np.argsort(codes, kind="stable")  # earlier fixes of a vehicle come first, as they are
        rows, begin = self._unsorted[: len(codes)], 0
        for part in parts:
            end = begin + len(part.codes)
            part.copy_to(rows[begin:end])
            begin = end
        found = self._room(count)
        rows.view(_WHOLE).take(order, out=found.view(_WHOLE), mode="clip")
        earliest_us, latest_us = min(s.earliest_us for s in parts), max(s.latest_us for s in parts)
        first = None
        if codes.max() < count:
            first = np.append(0, np.cumsum(np.bincount(codes)))
        return Stretch(
            codes[order], None, found, found.view(np.uint8).data, found["time_us"],
            _whole_numbers(found["time_us"]), earliest_us, latest_us, last.known_us, level + 1,
            once=False, first=first,
        )  # fmt: skip

    def _room(self, count: int) -> npt.NDArray[np.void]:
        """Memory for so many rows."""
        for i, old in enumerate(self._spare):
            if count <= len(old) <= 2 * count:
                del self._spare[i]
                return old[:count]
        size = count if count < _ROUND else -(-count // _ROUND) * _ROUND
        return np.empty(size, _ROW)[:count]


def picked(spots: Sequence[Spot], keys: KeysOf | None = None) -> Track:
    """The fixes at some spots, or of some stretches of them, as columns of their own; located by ``keys``."""
    found = _track(np.frombuffer(b"".join(spots), _ROW))
    return found if keys is None else found._replace(key=keys(found.lon, found.lat))


def _whole_numbers(column: _Ints) -> memoryview:
    """A column for who looks at few of it; one that came over the wire may spell its type differently."""
    return column.astype(np.int64, copy=False).view(np.int64).data


def _track(rows: npt.NDArray[np.void]) -> Track:
    """Rows as columns of their own, not located."""
    found = Track(**{name: rows[name].copy() for name in _FIELDS}, key=no_keys(len(rows)))
    assert found.error_m is not None
    return found if found.error_m.any() else found._replace(error_m=None)


def _rows(one: Stretch, code: int) -> tuple[int, int]:
    """The rows of a vehicle in a stretch."""
    first = one.first
    if first is not None:
        return (first.item(code), first.item(code + 1)) if code + 1 < len(first) else (0, 0)
    own, codes = np.int32(code), one.codes  # numbers of another type would have all the codes converted
    lo = int(codes.searchsorted(own))
    if lo == len(codes) or codes.item(lo) != code:
        return lo, lo
    return lo, lo + 1 if one.once else int(codes.searchsorted(own, side="right"))


def _last(stretches: list[Stretch], end: int, code: int) -> Spot | None:
    """The last fix of a vehicle in the stretches before one."""
    for i in range(end - 1, -1, -1):
        lo, hi = _rows(stretches[i], code)
        if lo < hi:
            return stretches[i].raw(hi - 1, hi)
    return None


def _kept(column: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """A column that nobody will write to."""
    column = column if column.flags.owndata else column.copy()
    column.flags.writeable = False
    return column
