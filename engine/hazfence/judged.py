"""What came of vehicles in columns, and what is kept for a late fix that asks what was known before.

You are in the core, below ``plain.py``. The judge leaves a mark before every fix it judges; here the same is
written down as rows: the visits opened and closed, what wavered and what rules remembered before. ``news.py``
makes marks of them when one is asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.carried import Noted
from hazfence.chains import lump
from hazfence.columns import Columns
from hazfence.crossed import Due
from hazfence.events import Event
from hazfence.notes import ENTRY, Notes
from hazfence.noticed import Fixes
from hazfence.ordered import among, distinct
from hazfence.stays import JUDGED, STEP, WAVERED, Stays, in_order
from hazfence.wavers import Settling

__all__ = ["Said", "Taken", "entries_of", "fixes_of", "judged", "keep_notes", "logged", "note_fix", "said_of"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Rows = npt.NDArray[np.void]
#: What rules with a memory say: the group, the moment of the fix, and the events.
Said = tuple[int, int, list[Event]]


class Taken(NamedTuple):
    """What was worked out in columns.

    Attributes:
        groups: bool, a vehicle's group of the columns each: it is done.
        group: int64, shape (k,), the group of each step, sorted.
        steps: shape (k,), visits opened and closed, by vehicle and in the order in which they are told.
        logged: those, and whatever else was judged: parts of (vehicle of each, rows), as ``stays.Log``
            takes them.
        codes, watch, unsure, deadline_us: the vehicles done, whether every fix of each must be judged now,
            whether one well inside a restricted zone must, and until when each may be silent.
        said: (group, moment of the fix, events): what rules with a memory say of a fix.
        motion: whether each stands or moves, as in ``Fleet``; None when no rule asks.
        overdriven: whether each drives for too long, as there.
        noted: the vehicle (code) of each entry.
        entries: what was remembered before each fix judged, by vehicle and time.
    """

    groups: _Bools
    group: _Ints
    steps: _Rows
    logged: list[tuple[npt.NDArray[np.int32], _Rows]]
    codes: npt.NDArray[np.int32]
    watch: _Bools
    unsure: _Bools
    deadline_us: _Ints
    said: list[Said]
    motion: npt.NDArray[np.int8] | None
    overdriven: _Bools
    noted: npt.NDArray[np.int32]
    entries: _Rows


def judged(due: Due, row: _Ints, stays: Stays, settling: Settling | None) -> tuple[_Ints, _Ints]:
    """Since when each vehicle's state before a due fix has held, and when each was last judged.

    A fix that only touched a circle changed nothing, and counts as not judged.

    Args:
        due: the fixes.
        row: of the fixes at which something opens or closes.
        settling: of the borders.

    Returns:
        int64, a due fix each (of meaning only for those that are judged); int64, a vehicle each.
    """
    seen = np.zeros(len(due.at), np.bool_)
    seen[row] = True
    if settling is not None:
        seen[due.at.searchsorted(settling.rows)] = True
    last_us = stays.judged_at(due.codes[due.first])
    some = seen.nonzero()[0]
    if len(last_us) == len(seen):  # one due fix a vehicle
        since_us = last_us.copy()
        last_us[some] = np.maximum(last_us[some], due.fix_us[some])
        return since_us, last_us
    vehicle = due.first.cumsum() - 1
    since_us = last_us[vehicle]
    same = (vehicle[some[1:]] == vehicle[some[:-1]]).nonzero()[0]
    since_us[some[same + 1]] = due.fix_us[some[same]]
    np.maximum.at(last_us, vehicle[some], due.fix_us[some])
    return since_us, last_us


def note_fix(rows: _Rows, at: _Ints | slice, due: Due, since_us: _Ints) -> _Rows:
    """Write down at which due fixes steps or entries were made."""
    rows["prev_us"], rows["fix_us"], rows["since_us"] = due.prev_us[at], due.fix_us[at], since_us[at]
    rows["prev_lon"], rows["prev_lat"] = due.prev_lon[at], due.prev_lat[at]
    rows["prev_kmh"], rows["prev_alarm"] = due.prev_kmh[at], due.prev_alarm[at]
    rows["prev_key"] = due.key_before[at]
    if due.errors_m is not None:
        rows["prev_error_m"] = due.errors_m[0][at]
    return rows


def logged(
    told: _Rows, row: _Ints, settling: Settling | None, due: Due, since_us: _Ints, done: _Bools, *, bare: bool
) -> list[tuple[_Ints, _Rows]]:
    """What a late fix may ask for: the steps, and what wavered before them; parts of (due fixes, rows).

    Each part is sorted by vehicle and time, and what is in a later one is not before what is in an earlier
    one. ``bare`` tells that fixes judged without anything to say must be noted too.
    """
    if settling is None:
        return [(row, told)]
    at = due.at.searchsorted(settling.before_row)
    wavered = np.zeros(len(at), STEP)
    lump(wavered["stay"])[:], wavered["what"] = lump(settling.before), WAVERED
    more = [wavered]
    if bare:
        bare_row = due.at.searchsorted(settling.rows)
        bare_row = bare_row[~among(bare_row, distinct(at, row))]
        only = np.zeros(len(bare_row), STEP)
        only["what"] = JUDGED
        more, at = [wavered, only], np.concatenate((at, bare_row))
    for rows, place in zip(more, (at[: len(wavered)], at[len(wavered) :]), strict=False):
        note_fix(rows, place, due, since_us)
    good = done[due.group[at]]
    if due.first.all():  # of a vehicle all of it is about one fix: most of the rows need not be copied
        order = at.argsort(kind="stable")
        order = order if good.all() else order[good[order]]
        return [(row, told), (at[order], in_order(more, order))]
    at = np.concatenate((row, at))
    order = at.argsort(kind="stable")
    if not good.all():
        order = order[np.append(np.ones(len(row), np.bool_), good)[order]]
    return [(at[order], in_order([told, *more], order))]


def keep_notes(codes: npt.NDArray[np.int32], kept: _Bools, noted: Noted, notes: Notes) -> None:
    """Keep what rules remember of the vehicles done."""
    notes.put(codes, noted.rows.compress(kept))
    place = kept.cumsum() - 1
    for vehicle in noted.pasts:
        if kept[vehicle]:
            for at, past in noted.pasts[vehicle]:
                notes.set_past(int(codes[place[vehicle]]), past, at)
    for vehicle in noted.held:
        if kept[vehicle]:
            for at, held in noted.held[vehicle]:
                notes.set_held(int(codes[place[vehicle]]), held, at)


def entries_of(
    due: Due, since_us: _Ints, noted: Noted | None, log: list[tuple[_Ints, _Rows]], done: _Bools
) -> tuple[npt.NDArray[np.int32], _Rows]:
    """What was remembered before each due fix, for the log: (vehicles' codes, entries).

    ``log`` is what there is of steps, as :func:`logged` gives it.
    """
    if noted is None:
        return np.zeros(0, np.int32), np.zeros(0, ENTRY)
    steps = np.bincount(np.concatenate([at for at, _ in log]), minlength=len(due.at))
    entries = note_fix(np.zeros(len(due.at), ENTRY), slice(None), due, since_us)
    lump(entries["note"])[:], entries["steps"] = lump(noted.before), steps
    good = done[due.group]
    return due.codes[good], entries.compress(good)


def said_of(noted: Noted, kept: _Bools, groups: _Ints) -> list[Said]:
    """What rules with a memory say of the vehicles done."""
    return [
        (int(groups[vehicle]), fix_us, events)
        for vehicle, told in noted.said.items()
        if kept[vehicle]
        for fix_us, events in told
    ]


def fixes_of(c: Columns, due: Due) -> Fixes:
    """The due fixes as ``noting.py`` asks for them."""
    count = len(due.first)  # none, when it is only a look into silence that a fix came after
    following = np.append(due.first[1:], True)[:count]
    until_us = np.append(due.prev_us[1:], 0)[:count]
    until_us[following] = c.track.time_us[c.ends[due.group[following]] - 1]
    vehicle = due.first.cumsum() - 1
    before = due.prev_us, due.prev_lon, due.prev_lat
    return Fixes(vehicle, *before, due.fix_us, due.lon, due.lat, due.kmh, until_us)
