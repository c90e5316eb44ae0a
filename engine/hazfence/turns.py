"""The order in which fixes of a batch are taken in when some of them come late.

You are in the core, below ``engine.py``. Fixes on time go together, whatever their number; a late one is
judged alone, as if nothing had come after it yet. Next room: ``late.py``, which judges it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.columns import Numbers, newest_before
from hazfence_fences.index.raster import spread

__all__ = ["Turns", "in_turns"]

_Ints = npt.NDArray[np.int64]
_Codes = npt.NDArray[np.int32]


class Turns(NamedTuple):
    """Fixes of a batch, those on time and those late apart; within a vehicle in order of arrival.

    Attributes:
        on_time: int64, shape (n,), the rows of fixes after all that was known of their vehicle, by vehicle.
        codes: int32, shape (n,), their vehicles.
        late: int64, shape (m,), the rows of the others, by vehicle; none when all are on time.
        late_codes: int32, shape (m,), their vehicles.
        newest_us: int64, shape (m,), the latest moment the vehicle of each was seen before it arrived.
        followed: bool, shape (m,), whether one on time of the same vehicle came after it.
    """

    on_time: _Ints
    codes: _Codes
    late: _Ints
    late_codes: _Codes
    newest_us: _Ints
    followed: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, codes: _Codes, time_us: _Ints, heard_us: _Ints) -> Turns:
        """Tell fixes on time from late ones.

        Args:
            codes: of their vehicles, shape (n,), in order of arrival.
            time_us: of the fixes.
            heard_us: when the vehicle of each was last seen before all of them.
        """
        late = time_us <= heard_us  # what is seen meanwhile makes none of these come in time
        on_time, late_rows = (~late).nonzero()[0], late.nonzero()[0]
        own = codes[on_time]
        if (own[1:] < own[:-1]).any():
            order = own.argsort(kind="stable")
            on_time, own = on_time[order], own[order]
        once = bool((own[1:] > own[:-1]).all())
        if not once:
            groups = Numbers().groups(own)
            newest_us = newest_before(time_us[on_time], groups, heard_us[on_time[groups[0]]])
            if newest_us is not None:
                more = time_us[on_time] <= newest_us
                late_rows = np.sort(np.append(late_rows, on_time[more]))
                on_time, own = on_time[~more], own[~more]
        late_rows = late_rows[codes[late_rows].argsort(kind="stable")]
        late_codes, newest_us = codes[late_rows], heard_us[late_rows]
        # Those on time each make their vehicle newer.
        if once:
            at = own.searchsorted(late_codes)
            theirs = _same(own, at, late_codes)
            met = theirs & (on_time.take(at, mode="clip") < late_rows) if len(own) else theirs
            followed = theirs & ~met
        else:
            at = _names(own, on_time).searchsorted(_names(late_codes, late_rows))
            met, followed = (_same(own, places, late_codes) for places in (at - 1, at))
            at -= 1
        newest_us[met] = time_us[on_time[at[met]]]
        return cls(on_time, own, late_rows, late_codes, newest_us, followed)


def in_turns(turns: Turns, in_turn: npt.NDArray[np.bool_]) -> Iterator[tuple[_Ints | slice, _Ints]]:
    """The order in which fixes are taken in, some of which are late: as if each late one had come alone.

    So the revisions are the same however the input is cut, which a second run after a crash relies on.
    Vehicles have nothing to do with each other: what all have before their first late fix goes together,
    then the first late fix of each, then what each has up to its second one, and so on.

    Args:
        turns: the fixes.
        in_turn: which of the late ones are not done with yet.

    Yields:
        places in ``turns.on_time``, sorted by vehicle and in order, there may be none; then in
        ``turns.late``, one a vehicle.
    """
    lone = in_turn.nonzero()[0]
    codes = turns.late_codes[lone]
    turn = np.arange(len(lone)) - codes.searchsorted(codes)  # how many of its vehicle came late before each
    waits = np.zeros(0, np.int64)
    if turns.followed[lone].any():
        # The same for those on time: 0 for most, as few vehicles have late ones at all.
        waits = np.zeros(len(turns.on_time), np.int64)
        own = np.unique(codes)
        begin = turns.codes.searchsorted(own)
        row, at = spread(begin, turns.codes.searchsorted(own, side="right") - begin)
        before = _names(codes, turns.late[lone]).searchsorted(_names(turns.codes[at], turns.on_time[at]))
        waits[at] = before - codes.searchsorted(own[row])
    last = max(int(turn.max(initial=0)), int(waits.max(initial=0)))
    for i in range(last + 1):
        here = slice(None) if i == 0 and not len(waits) else (waits == i).nonzero()[0]
        yield here, lone if last == 0 else lone[turn == i]


def _same(codes: _Codes, places: _Ints, wanted: _Codes) -> npt.NDArray[np.bool_]:
    """bool, shape (m,): whether there is such a place, and the vehicle there is the one wanted."""
    if not len(codes):
        return np.zeros(len(places), np.bool_)
    found: npt.NDArray[np.bool_] = codes.take(places, mode="clip") == wanted
    return found & (places >= 0) & (places < len(codes))


def _names(codes: _Codes, rows: _Ints) -> _Ints:
    """Vehicle and row in one integer: ascending where fixes are sorted by vehicle and arrival."""
    return (codes.astype(np.int64) << 32) | rows
