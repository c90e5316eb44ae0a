"""Between two checkpoints: ``segment_overtime``, too long or too short.

You are in ``hazfence.rules``. A checkpoint's fence says how long the way to the next one may take::

    "rules": {"segment_overtime": {"to": {"cp-2": {"min_min": 5, "max_min": 40}, "*": {"max_min": 90}}}}

The way begins when the vehicle leaves the checkpoint into the district and ends at the next one. As
long as nobody knows where it is heading, only the longest of the times counts: that is the deadline
in silence. Too short a way is a sign of speed or of a plate in two places. Source: 超时 as segment
time on the platform; JT/T 808 alarm bit 22.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hazfence.events import Kind, iso
from hazfence.presence import Edge
from hazfence.rules.book import Params, Segments
from hazfence.rules.step import Ask, Step, union
from hazfence.states import Segment, Wavering
from hazfence.vehicles import Record
from hazfence_fences import Fence, FenceKind

__all__ = ["segment_deadline_us", "segment_overtime"]

_MINUTE_US = 60_000_000


class _Happened(NamedTuple):
    """Something on the way, in the order of time; at one moment in the order of ``rank``."""

    at_us: int
    rank: int  # 0 reached a checkpoint, 1 left the district, 2 left a checkpoint
    fence: Fence


def segment_overtime(step: Step, checkpoints: dict[str, Fence]) -> None:
    """路段超时: over the longest time to the next checkpoint, or under the shortest.

    Args:
        checkpoints: every checkpoint there is, by id.
    """
    state = step.states.get(Segment.name)
    assert state is None or isinstance(state, Segment)
    if step.steady and state is None:
        return
    step.states.pop(Segment.name, None)
    for happened in () if step.steady else _way(step):
        if state is not None:
            _late(step, state, checkpoints, happened.at_us)
        if happened.rank == 0:
            if state is not None:
                _reached(step, state, checkpoints, happened)
            state = None
        elif happened.rank == 1:
            if state is not None:
                at = step.place(happened.at_us)
                step.close(Kind.SEGMENT_OVERTIME, state.fence_id, happened.at_us, at, {"to": None})
            state = None
        elif _inside(step, happened.at_us) and _limits(step.ask, happened.fence, happened.at_us):
            state = Segment(happened.fence.id, happened.at_us, *step.place(happened.at_us))
    if state is not None and state.fence_id not in checkpoints:
        step.close(Kind.SEGMENT_OVERTIME, state.fence_id, step.t0, step.last_known(step.t0), {"to": None})
        state = None
    if state is not None:
        _late(step, state, checkpoints, _certain_until(step))
        step.states[Segment.name] = state


def segment_deadline_us(record: Record, ask: Ask, checkpoints: dict[str, Fence]) -> int | None:
    """The last moment at which it may still be on its way to any next checkpoint."""
    state = record.states.get(Segment.name)
    if not isinstance(state, Segment) or (Kind.SEGMENT_OVERTIME, state.fence_id) in record.open:
        return None
    fence = checkpoints.get(state.fence_id)
    return None if fence is None else _deadline_us(state, _limits(ask, fence, state.left_us))


def _way(step: Step) -> list[_Happened]:
    found = []
    for fence, pieces in step.pieces.values():
        for piece in pieces:
            if fence.kind is FenceKind.CHECKPOINT and piece.begins is not Edge.GOES_ON:
                found.append(_Happened(piece.start_us, 0, fence))
            if fence.kind is FenceKind.CHECKPOINT and piece.ends is not Edge.GOES_ON:
                found.append(_Happened(piece.end_us, 2, fence))
            if fence.kind is FenceKind.DISTRICT and piece.ends is not Edge.GOES_ON:
                found.append(_Happened(piece.end_us, 1, fence))
    found += [_Happened(at_us, 1, f) for at_us, f in step.left_before if f.kind is FenceKind.DISTRICT]
    return sorted(found, key=lambda h: (h.at_us, h.rank, h.fence.id))


def _certain_until(step: Step) -> int:
    """Up to when it is certain that the way goes on: while it may have left the district, up to there."""
    wavering = step.states.get(Wavering.name)
    borders = wavering.borders if isinstance(wavering, Wavering) else ()
    districts = {fence.id for fence in step.met(FenceKind.DISTRICT)}
    leaving = [w.at_us for w in borders if w.inside and w.fence_id in districts]
    return min([step.t1, *leaving])


def _inside(step: Step, at_us: int) -> bool:
    """Whether it is in the district at that moment of the step, and goes on to be."""
    spans = union(
        (p.start_us, p.end_us if p.ends is not Edge.GOES_ON else p.end_us + 1)
        for fence, pieces in step.pieces.values()
        if fence.kind is FenceKind.DISTRICT
        for p in pieces
    )
    return any(start <= at_us < end for start, end in spans)


def _limits(ask: Ask, fence: Fence, at_us: int) -> Segments:
    params: Params | None = ask(Kind.SEGMENT_OVERTIME, fence, at_us)
    return () if params is None or params["to"] is None else params["to"]


def _deadline_us(state: Segment, limits: Segments) -> int | None:
    longest = [high for _, _, high in limits]
    if not longest or any(high is None for high in longest):
        return None
    return state.left_us + round(max(h for h in longest if h is not None) * _MINUTE_US)


def _late(step: Step, state: Segment, checkpoints: dict[str, Fence], until_us: int) -> None:
    """Open the event when the longest time of all is over."""
    fence = checkpoints.get(state.fence_id)
    if fence is None or step.is_open(Kind.SEGMENT_OVERTIME, state.fence_id):
        return
    deadline_us = _deadline_us(state, _limits(step.ask, fence, state.left_us))
    if deadline_us is not None and until_us > deadline_us:
        detail = {**_detail(state), "max_min": (deadline_us - state.left_us) / _MINUTE_US}
        step.open(Kind.SEGMENT_OVERTIME, fence, deadline_us, step.last_known(deadline_us), detail)


def _reached(step: Step, state: Segment, checkpoints: dict[str, Fence], at: _Happened) -> None:
    """Judge the way that ended at a checkpoint."""
    place = step.place(at.at_us)
    took = {"to": at.fence.id, "took_min": round((at.at_us - state.left_us) / _MINUTE_US, 2)}
    fence = checkpoints.get(state.fence_id)
    if step.is_open(Kind.SEGMENT_OVERTIME, state.fence_id) or fence is None:
        step.close(Kind.SEGMENT_OVERTIME, state.fence_id, at.at_us, place, took)
        return
    limits = {to: (low, high) for to, low, high in _limits(step.ask, fence, state.left_us)}
    low, high = limits.get(at.fence.id) or limits.get("*") or (None, None)
    if high is not None and at.at_us - state.left_us > high * _MINUTE_US:
        began_us = state.left_us + round(high * _MINUTE_US)
        detail = {**_detail(state), "max_min": high, **took}
        step.say(Kind.SEGMENT_OVERTIME, fence, (began_us, at.at_us), step.last_known(began_us), place, detail)
    elif low is not None and at.at_us - state.left_us < low * _MINUTE_US:
        detail = {**_detail(state), "min_min": low, **took}
        step.say(Kind.SEGMENT_OVERTIME, fence, (at.at_us, at.at_us), place, place, detail, "short")


def _detail(state: Segment) -> dict[str, Any]:
    return {"from": state.fence_id, "left_at": iso(state.left_us)}
