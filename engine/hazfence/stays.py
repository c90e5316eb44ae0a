"""Plain visits that go on, as columns: what most vehicles have open, without a Python object each.

You are in the core, below ``books.py``. A visit is plain when nothing goes on but the visit itself
(and, in a restricted zone, the entry) and borders that it may or may not have crossed: no rule remembers
anything else, nothing was corrected. Such visits and wavers are rows here, chained by vehicle, and each step
that changed some is kept in a log for as long as a late fix may ask what was known before it. ``plain.py``
makes the steps and tells them as events; a vehicle that needs more than that is set apart, and judged by
``judge.py`` fix by fix.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hazfence.chains import Chains, lump
from hazfence.presence import Edge
from hazfence.vehicles import FOREVER_US, NEVER_US
from hazfence_fences.index.raster import spread

__all__ = [
    "CLEARED",
    "CONFIRMED",
    "CROSSED",
    "EDGES",
    "EDGE_BITS",
    "IN_DOUBT",
    "JUDGED",
    "LEANS",
    "NO_DISTRICT",
    "NO_GATE",
    "STAY",
    "STEP",
    "SURE",
    "SURE_AT",
    "WAVER",
    "WAVERED",
    "Log",
    "Stays",
    "in_order",
    "joined",
]

_Ints = npt.NDArray[np.int64]
_Rows = npt.NDArray[np.void]

#: Edges by their number in ``begins`` and ``how``.
EDGES = tuple(Edge)
#: Gates that are none: a district's border crossed elsewhere, or no border of a district.
NO_GATE, NO_DISTRICT = -1, -2

#: A visit that goes on: vehicle's code, fence's index, start, the two fixes around it (the same for a
#: first fix), the fix that made certain that it is one (``SURE`` from the start, ``IN_DOUBT``: none so far),
#: the next visit of the same vehicle, the gate it began at, how it began, and how it was seen: 0, a fix lies
#: in it; else only a segment passed through, and 1, 2, 3 tell how certain that is.
STAY = np.dtype(
    [
        ("start_us", "i8"),
        ("lon", "f8"),
        ("lat", "f8"),
        ("prev_us", "i8"),
        ("fix_us", "i8"),
        ("sure_us", "i8"),
        ("code", "i4"),
        ("fence", "i4"),
        ("next", "i4"),
        ("gate", "i2"),
        ("begins", "u1"),
        ("seen", "u1"),
    ]
)
#: A border crossed that does not count yet (``settle.py``): the crossing, its place, the two fixes around it,
#: the vehicle's code, the fence's index, the next one of the same vehicle, the checkpoints that it had to do
#: with since (a number that ``wavers.py`` gives), how (the lower bits of ``edge``) and how certain it is that
#: there were no others (the upper ones), and whether the vehicle still counts as inside. As long as a visit
#: (hence ``none_us``), so that a step can hold either.
WAVER = np.dtype(
    [
        ("at_us", "i8"),
        ("lon", "f8"),
        ("lat", "f8"),
        ("prev_us", "i8"),
        ("fix_us", "i8"),
        ("none_us", "i8"),
        ("code", "i4"),
        ("fence", "i4"),
        ("next", "i4"),
        ("touched", "i2"),
        ("edge", "u1"),
        ("inside", "?"),
    ]
)
#: Of ``edge`` of a waver: the bits that tell how, and where those begin that tell how certain.
EDGE_BITS, SURE_AT = 15, 4
#: ``edge`` of a row that is no crossing but a vehicle beside a border, see ``leans.py``: no edge's number.
LEANS = EDGE_BITS
#: ``sure_us`` of visits that never were in doubt, and of those that are; see ``doubts.py``.
SURE, IN_DOUBT = NEVER_US, FOREVER_US
#: What a step is: a visit opened or closed; a border near which the vehicle wavered before the fix; nothing
#: but that the fix was judged; a visit in doubt that became certain, and the end of the doubt.
CROSSED, WAVERED, JUDGED, CONFIRMED, CLEARED = range(5)
#: One visit opened or closed by a fix: the visit (or the waver), the moment and place, the two fixes around
#: that, the moments of the fix before, of this one and of the judgement before, the fix before itself, the
#: gate, how, whether it is a gate bypass (0 none; 1, 2, 3 tell how certain one is), and how near which
#: checkpoint (an index among the checkpoints) was.
STEP = np.dtype(
    [
        ("stay", STAY),
        ("at_us", "i8"),
        ("lon", "f8"),
        ("lat", "f8"),
        ("from_us", "i8"),
        ("to_us", "i8"),
        ("prev_us", "i8"),
        ("fix_us", "i8"),
        ("since_us", "i8"),
        ("prev_lon", "f8"),
        ("prev_lat", "f8"),
        ("prev_key", "u8"),
        ("prev_kmh", "f4"),
        ("prev_alarm", "u4"),
        ("prev_error_m", "f4"),
        ("near_m", "f8"),
        ("gate", "i2"),
        ("near", "i2"),
        ("what", "u1"),
        ("how", "u1"),
        ("opens", "?"),
        ("bypass", "u1"),
    ]
)

_APART = -2
#: So many chunks of like size are merged into one, unless they are this large: those wait until many of their
#: steps can be given up.
_TOGETHER, _LARGE = 8, 1 << 13
#: Bytes of rows that are put in order by way of one more copy.
_LITTLE = 1 << 17
_Chunk = tuple[npt.NDArray[np.int32], _Rows]


class Stays:
    """The plain visits of all vehicles, and the borders near which they waver.

    Args:
        limit_us: gives, for vehicle codes, the moments before which no late fix is judged.

    Attributes:
        visits: rows of :data:`STAY`.
        wavers: rows of :data:`WAVER`.
        log: the latest steps.
    """

    def __init__(self, limit_us: Callable[[npt.NDArray[np.int32]], _Ints]) -> None:
        self.visits, self.wavers = Chains(STAY), Chains(WAVER)
        self._judged_us = np.full(64, NEVER_US, np.int64)
        self.log = Log(limit_us)

    def grow(self, vehicles: int) -> None:
        """Have room for that many vehicles."""
        self.visits.grow(vehicles)
        self.wavers.grow(vehicles)
        more = len(self.visits.head) - len(self._judged_us)
        if more:
            self._judged_us = np.append(self._judged_us, np.full(more, NEVER_US, np.int64))

    def apart(self, code: int) -> bool:
        """Whether the vehicle is judged fix by fix, its visits being elsewhere."""
        return bool(self.visits.head[code] == _APART)

    def ours(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Which vehicles are not set apart."""
        return np.asarray(self.visits.head[codes] != _APART)

    def together(self) -> list[int]:
        """Codes of the vehicles that have something here, or were judged here."""
        head = self.visits.head
        here = (head >= 0) | ((self._judged_us != NEVER_US) & (head != _APART))
        return np.flatnonzero(here).tolist()

    def doubted(self, codes: npt.NDArray[np.int32]) -> tuple[_Ints, npt.NDArray[np.int32]]:
        """The fences of visits in doubt: (places among the vehicles, fences)."""
        owner, places = self.visits.expand(codes)
        rows = self.visits.rows(places)
        at = np.flatnonzero(rows["sure_us"] == IN_DOUBT)
        return owner[at], rows["fence"][at]

    def judged_us(self, code: int) -> int:
        """When the vehicle was last judged here."""
        return int(self._judged_us[code])

    def judged_at(self, codes: npt.NDArray[np.int32]) -> _Ints:
        """When each of the vehicles was last judged here."""
        return self._judged_us[codes]

    def note(self, codes: npt.NDArray[np.int32], judged_us: _Ints) -> None:
        """Up to which moment each of the vehicles is judged now."""
        self._judged_us[codes] = judged_us

    def set_apart(self, code: int) -> None:
        """Give a vehicle's rows up: from now on it is judged fix by fix."""
        self.visits.put(code, np.zeros(0, STAY), _APART)
        self.wavers.put(code, np.zeros(0, WAVER))

    def take_in(self, code: int, judged_us: int, stays: _Rows, wavers: _Rows) -> None:
        """Take a vehicle in that was set apart."""
        self.visits.put(code, stays)
        self.wavers.put(code, wavers)
        self._judged_us[code] = judged_us


class Log:
    """The latest steps of all vehicles, for as long as a late fix may ask what was before them.

    Args:
        limit_us: as for :class:`Stays`. The last step before that moment is kept too.
        dtype: of the steps; has ``prev_us``, ``fix_us`` and ``since_us``.
    """

    def __init__(
        self, limit_us: Callable[[npt.NDArray[np.int32]], _Ints], dtype: np.dtype[np.void] = STEP
    ) -> None:
        self._limit_us = limit_us
        self._dtype = dtype
        self._look_at = _LARGE
        self.clear()

    def __len__(self) -> int:
        return self._count

    def add(self, code: npt.NDArray[np.int32], steps: _Rows) -> None:
        """Keep steps, sorted by vehicle and time."""
        if not len(code):
            return
        chunks = self._chunks
        chunks.append((code, steps))
        self._count += len(code)
        while len(chunks[-1][0]) < _LARGE:
            alike, size = 0, _size(chunks[-1])
            while alike < len(chunks) and _size(chunks[-1 - alike]) <= size:
                alike += 1
            if alike < _TOGETHER:
                break
            self._merge(len(chunks) - alike)
        if self._count > self._look_at:
            # To copy all of it when little can be given up is of no use.
            code, steps = chunks[0]
            if 2 * np.count_nonzero(steps["fix_us"] < self._limit_us(code)) >= len(code):
                self._merge(0)
                self._look_at = 2 * self._count + _LARGE
            else:
                self._look_at = self._count * 5 // 4 + _LARGE

    def _merge(self, first: int) -> None:
        """Make one chunk of those from some one on, without what nobody asks for any more."""
        chunks = self._chunks[first:]
        code = np.concatenate([codes for codes, _ in chunks])
        order = np.argsort(code, kind="stable")  # older steps of a vehicle come first, as they are
        code = code[order]
        fix_us, prev_us = (
            np.concatenate([steps[name] for _, steps in chunks])[order] for name in ("fix_us", "prev_us")
        )
        # Not needed: what is followed by a step that is itself old enough to be forgotten.
        old = prev_us < self._limit_us(code)
        begins = np.append(True, (code[1:] != code[:-1]) | (fix_us[1:] != fix_us[:-1]))
        following = np.append(np.flatnonzero(begins), len(code))[np.cumsum(begins)]
        inside = np.minimum(following, len(code) - 1)
        needless = (following < len(code)) & (code[inside] == code) & old[inside]
        if needless.any():
            kept = np.flatnonzero(~needless)
            code, order = code[kept], order[kept]
        del self._span[first:]
        self._chunks[first:] = [(code, in_order([steps for _, steps in chunks], order))]
        self._count += len(code) - len(old)

    def of(self, code: int, after_us: int, *, every: bool = True) -> _Rows:
        """The steps of a vehicle after a moment, oldest first.

        Args:
            every: whether every judgement of the vehicle left a step here.
        """
        found, own = [], np.int32(code)  # numbers of another type would have all the codes converted
        for codes, steps in self._chunks:
            lo = int(codes.searchsorted(own))
            if lo < len(codes) and codes.item(lo) == code:
                found.append(steps[lo : codes.searchsorted(own, side="right")])
        if not found:
            return np.zeros(0, self._dtype)
        steps = joined(found)
        steps = steps.take(np.flatnonzero(steps["fix_us"] > after_us))
        if not every:
            return steps
        # Where one was given up, those before it are leftovers of older chunks.
        fix_us = steps["fix_us"]
        gap = (fix_us[1:] != fix_us[:-1]) & (steps["since_us"][1:] != fix_us[:-1])
        return steps[int(np.flatnonzero(gap)[-1]) + 1 :] if gap.any() else steps

    def steps_from(
        self, codes: npt.NDArray[np.int32], prev_us: _Ints, after_us: _Ints
    ) -> npt.NDArray[np.bool_]:
        """Of each vehicle, whether a step after a moment was made from its known fix of ``prev_us``."""
        found = np.zeros(len(codes), np.bool_)
        if not len(codes):
            return found
        order = prev_us.argsort()
        codes, prev_us, after_us = codes[order], prev_us[order], after_us[order]
        begin, end = prev_us.searchsorted(self._spans()).tolist()
        for (known, steps), lo, hi in zip(self._chunks, begin, end, strict=True):
            if lo == hi:  # most steps were made long before, or after
                continue
            row, at = _theirs(known, codes[lo:hi])
            row += lo
            from_it = (steps["prev_us"][at] == prev_us[row]) & (steps["fix_us"][at] > after_us[row])
            found[order[row[from_it]]] = True
        return found

    def _spans(self) -> _Ints:
        """Of each chunk the first moment from which a step was made, and one after the last: (2, chunks)."""
        for _, steps in self._chunks[len(self._span) :]:
            from_us = steps["prev_us"]
            from_us = from_us[from_us != NEVER_US]
            lo, hi = (int(from_us.min()), int(from_us.max()) + 1) if len(from_us) else (0, 0)
            self._span.append((lo, hi))
        return np.array(self._span, np.int64).reshape(-1, 2).T

    def doubted(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Of each vehicle, whether a visit in doubt is among the steps."""
        found = np.zeros(len(codes), np.bool_)
        for known, steps in self._chunks:
            owner, at = _theirs(known, codes)
            # Of a waver, the field says nothing.
            found[owner[steps["stay"]["sure_us"][at] == IN_DOUBT]] = True
        return found

    def clear(self) -> None:
        """Forget every step."""
        self._chunks: list[_Chunk] = []
        self._span: list[tuple[int, int]] = []  # of chunks looked into so far, from which moment to which
        self._count, self._look_at = 0, _LARGE


def _theirs(known: npt.NDArray[np.int32], codes: npt.NDArray[np.int32]) -> tuple[_Ints, _Ints]:
    """Where some vehicles are among sorted ones: (places among the vehicles, rows)."""
    lo = known.searchsorted(codes)
    # Not many vehicles have anything in a small chunk.
    some = (known.take(lo, mode="clip") == codes).nonzero()[0]
    row, at = spread(lo[some], known.searchsorted(codes[some], side="right") - lo[some])
    return some[row], at


def _size(chunk: _Chunk) -> int:
    """Chunks of one size differ less than fourfold in length."""
    return len(chunk[0]).bit_length() // 2


def in_order(parts: list[_Rows], order: _Ints) -> _Rows:
    """Rows one behind the other, put in an order (of which some may be missing)."""
    if len(order) * parts[0].dtype.itemsize <= _LITTLE:
        return np.concatenate([lump(rows) for rows in parts]).take(order).view(parts[0].dtype)
    # Of many each is copied but once: memory for all of them costs more than finding out where each goes.
    place = np.full(sum(map(len, parts)), -1)
    place[order] = np.arange(len(order))
    found: _Rows = np.empty(len(order), parts[0].dtype)
    end = 0
    for rows in parts:
        begin, end = end, end + len(rows)
        here = place[begin:end]
        if len(order) < len(place):
            kept = np.flatnonzero(here >= 0)
            here, rows = here[kept], rows.take(kept)
        lump(found)[here] = lump(rows)
    return found


def joined(rows: list[_Rows]) -> _Rows:
    """Rows one behind the other; numpy copies the fields of such rows one by one if it knows them."""
    plain = np.dtype((np.void, rows[0].dtype.itemsize))
    return np.concatenate([np.ascontiguousarray(r).view(plain) for r in rows]).view(rows[0].dtype)
