"""The order in which fixes of a batch are taken in when some of them come late.

You are in the core, below ``engine.py``. Fixes on time go together, whatever their number; a late one is
judged alone, as if nothing had come after it yet. Next room: ``late.py``, which judges it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["in_turns"]

_Ints = npt.NDArray[np.int64]


def in_turns(
    groups: tuple[_Ints, _Ints], late: npt.NDArray[np.bool_], in_turn: npt.NDArray[np.bool_]
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """The order in which fixes are taken in, some of which are late: as if each late one had come alone.

    So the revisions are the same however the input is cut, which a second run after a crash relies on.
    Vehicles have nothing to do with each other: what all have before their first late fix goes together,
    then the first late fix of each, then what each has up to its second one, and so on.

    Args:
        groups: the rows at which each vehicle begins and ends; within a vehicle in order of arrival.
        late: which fixes are late.
        in_turn: which belong to vehicles with late fixes that are not done with yet.

    Yields:
        places of fixes on time, sorted by vehicle and in order; then of late ones, one a vehicle.
    """
    lone = late & in_turn
    if not lone.any():
        yield np.flatnonzero(~late), np.zeros(0, np.intp)
        return
    starts, ends = groups
    # How many of its vehicle came late before each.
    before = np.cumsum(lone, dtype=np.int64) - lone
    turn = 2 * (before - np.repeat(before[starts], ends - starts)) + lone
    at = np.flatnonzero(~late | lone)
    at = at[np.argsort(turn[at], kind="stable")]
    cuts = np.searchsorted(turn[at], np.arange(1, int(turn[at[-1]]) + 3)).tolist()
    for i in range(0, len(cuts) - 1, 2):
        yield at[cuts[i - 1] if i else 0 : cuts[i]], at[cuts[i] : cuts[i + 1]]
