"""When was a vehicle inside a fence between two fixes: pieces of presence with exact ends.

You are in the core, called by ``judge.py`` for the few fixes that may change something. A
vehicle is taken to move straight (in longitude and latitude, as GeoJSON edges run) and evenly
from one fix to the next. Presence in a fence is being within its closed shape while the fence is
in force. Ordinary fences are asked only when the fixes disagree: the piece that holds a fix
counts, so a corner cut between two outside fixes is no visit. Thin fences (the checkpoints) are
asked for every segment, and each stretch inside counts, so a passage between two sparse fixes
is seen. Whether a fix is inside is never computed here: ``FenceSet.locate`` said so, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from hazfence_fences import Fence

__all__ = ["Edge", "Fix", "Piece", "Presence", "pieces"]


class Fix(NamedTuple):
    """One accepted fix of one vehicle, with the fences whose shapes cover it.

    ``alarm`` holds the alarm bits as sent; ``silent`` tells that there was no fix at all, only that
    time passed while the vehicle is taken to stand where it was. ``error_m`` is by how much the position may
    be wrong, where that is more than what is taken of all (``accuracy.py``), else 0.
    """

    time_us: int
    lon: float
    lat: float
    speed_kmh: float
    fences: tuple[Fence, ...]
    alarm: int = 0
    silent: bool = False
    error_m: float = 0.0


class Presence(StrEnum):
    """Whether a vehicle is in a fence, as far as anybody can know."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"  #: never heard, or not for longer than ``max_gap_s``


class Edge(StrEnum):
    """How a piece of presence begins or ends."""

    CROSSING = "crossing"  #: the border was crossed between two fixes, time and place interpolated
    GAP = "gap"  #: the same, but the fixes are too far apart to witness the crossing
    SCHEDULE = "schedule"  #: the fence came into force, or went out of it, with the vehicle inside
    FIRST_FIX = "first_fix"  #: the vehicle's first fix ever was inside
    FENCE_CHANGED = "fence_changed"  #: the fence was redrawn or removed around the vehicle
    FENCE_REMOVED = "fence_removed"
    GOES_ON = "goes_on"  #: no end within this segment


@dataclass(frozen=True, slots=True)
class Piece:
    """Presence from ``start_us`` to ``end_us``; ``GOES_ON`` where it reaches over the segment's end.

    ``by_fix`` tells that one of the two fixes lies in this stretch of the fence's shape, so that
    the presence does not rest on the segment alone.
    """

    start_us: int
    end_us: int
    begins: Edge
    ends: Edge
    by_fix: bool


def pieces(fence: Fence, prev: Fix | None, fix: Fix, *, witnessed: bool) -> list[Piece]:
    """The pieces of presence in ``fence`` on the way from ``prev`` to ``fix``.

    Args:
        fence: the fence asked for.
        prev: the vehicle's fix before; None when there is none.
        fix: the fix that just came.
        witnessed: False when the two are too far apart to conclude what happened between.

    Returns:
        pieces in time order; one that begins before or at ``prev`` has ``begins`` ``GOES_ON``, one
        that goes on after ``fix`` has ``ends`` ``GOES_ON``.
    """
    inside = fence in fix.fences
    if prev is None:
        spans = [(fix.time_us, fix.time_us, Edge.FIRST_FIX, Edge.GOES_ON)] if inside else []
    else:
        spans = _spans(fence, prev, fix, fence in prev.fences, inside, witnessed)
    if not spans or _always(fence):
        return [Piece(*span, _holds_fix(span)) for span in spans]
    return _in_force(fence, spans)


_Span = tuple[int, int, Edge, Edge]


def _always(fence: Fence) -> bool:
    return fence.schedule is None and fence.valid_from_us is None and fence.valid_to_us is None


def _holds_fix(span: _Span) -> bool:
    return span[2] in (Edge.GOES_ON, Edge.FIRST_FIX) or span[3] is Edge.GOES_ON


def _spans(fence: Fence, prev: Fix, fix: Fix, before: bool, after: bool, witnessed: bool) -> list[_Span]:
    """Stretches within the fence's shape, whatever the hour."""
    every = fence.thin and witnessed
    if before and after and not every:
        return [(prev.time_us, fix.time_us, Edge.GOES_ON, Edge.GOES_ON)]
    if not before and not after and not every:
        return []
    length_us = fix.time_us - prev.time_us
    edge = Edge.CROSSING if witnessed else Edge.GAP
    found: list[_Span] = []
    if not every and (part := fence.only_crossing(prev.lon, prev.lat, fix.lon, fix.lat)) is not None:
        # The plain case, by far the most frequent: one border crossed once.
        at_us = prev.time_us + round(part * length_us)
        if before:
            return [(prev.time_us, at_us, Edge.GOES_ON, edge)]
        return [(at_us, fix.time_us, edge, Edge.GOES_ON)]
    if abs(fix.lon - prev.lon) <= 180.0:
        for a, b in fence.intervals(prev.lon, prev.lat, fix.lon, fix.lat):
            found.append(
                (prev.time_us + round(a * length_us), prev.time_us + round(b * length_us), edge, edge)
            )
    # locate() has the last word on the fixes themselves; rounding on the segment never overrules it.
    if before:
        if found and found[0][0] == prev.time_us:
            found[0] = (prev.time_us, found[0][1], Edge.GOES_ON, found[0][3])
        else:
            ends = edge if fence.covers(prev.lon, prev.lat) else Edge.FENCE_CHANGED
            found.insert(0, (prev.time_us, prev.time_us, Edge.GOES_ON, ends))
    elif found and found[0][0] == prev.time_us and fence.covers(prev.lon, prev.lat):
        # Drawn around a vehicle that stood here before: it counts from the first fix that sees it.
        found.pop(0)
        if after and not found:
            found.append((fix.time_us, fix.time_us, Edge.FENCE_CHANGED, Edge.GOES_ON))
    if after:
        if found and found[-1][1] == fix.time_us:
            found[-1] = (*found[-1][:3], Edge.GOES_ON)
        else:
            found.append((fix.time_us, fix.time_us, edge, Edge.GOES_ON))
    # A stretch without duration that holds no fix is a border touched, not a passage.
    found = [s for s in found if s[0] < s[1] or s[2] is Edge.GOES_ON or s[3] is Edge.GOES_ON]
    if every:
        return found
    return [s for s in found if s[2] is Edge.GOES_ON or s[3] is Edge.GOES_ON]


def _in_force(fence: Fence, spans: list[_Span]) -> list[Piece]:
    """Cut the stretches to the times at which the fence is in force."""
    found: list[Piece] = []
    for span in spans:
        start_us, end_us, begins, ends = span
        by_fix = _holds_fix(span)
        at_us, open_since = start_us, start_us
        active = bool(fence.in_force(np.array([start_us], np.int64))[0])
        how = begins
        while (change_us := fence.next_change(at_us)) is not None and change_us <= end_us:
            if active:
                found.append(Piece(open_since, change_us, how, Edge.SCHEDULE, by_fix))
            at_us, open_since, how = change_us, change_us, Edge.SCHEDULE
            active = bool(fence.in_force(np.array([change_us], np.int64))[0])
        if active and (open_since < end_us or ends is Edge.GOES_ON):
            found.append(Piece(open_since, end_us, how, ends, by_fix))
    # Neighbouring windows may meet (24:00 and 00:00): that is one presence, not two.
    joined: list[Piece] = []
    for piece in found:
        if joined and joined[-1].end_us == piece.start_us and joined[-1].ends is Edge.SCHEDULE:
            last = joined.pop()
            piece = Piece(last.start_us, piece.end_us, last.begins, piece.ends, last.by_fix or piece.by_fix)
        joined.append(piece)
    return joined
