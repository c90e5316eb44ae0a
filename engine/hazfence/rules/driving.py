"""Standing and driving: ``overpark`` and ``overdrive``, two of the four kinds of 超时.

You are in ``hazfence.rules``. Both rest on one question, asked of every fix: does the vehicle stand
or move? It moves at more than ``STAND_KMH``; where the speed is unknown, it moved when it is
farther than ``STAND_M`` from its fix before. ``screen.py`` asks the same of whole columns, with the
same arithmetic to the last bit, so that only a change of the answer is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hazfence.events import Kind, iso
from hazfence.presence import Fix
from hazfence.rules.book import Params
from hazfence.rules.step import Ask, Span, Step, both, minus, runs
from hazfence.states import Drive, Motion, Parked
from hazfence.vehicles import Record
from hazfence_fences import Fence, FenceKind, Schedule

__all__ = [
    "PARTS",
    "STAND_KMH",
    "STAND_M",
    "apart2_m2",
    "drive_on",
    "in_hours_us",
    "limits",
    "may_stand",
    "motion",
    "overdrive",
    "overdrive_deadline_us",
    "overpark",
    "overpark_deadline_us",
    "rested",
    "stand",
    "within_day",
]

#: At most this fast is standing: GPS noise of a parked vehicle stays below, a crawling one too.
STAND_KMH = 5.0
#: Farther than this from the fix before is moved: four times the error of a terminal.
STAND_M = 60.0
_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
_MINUTE_US = 60_000_000
#: The parts of overdrive, in the order of their limits.
PARTS = ("continuous", "night", "daily")


def apart2_m2(lon0: Any, lat0: Any, lon1: Any, lat1: Any) -> Any:
    """Squared distance in square metres, good to .5 %; floats and arrays agree to the last bit.

    The cosine is a polynomial of plain products, because ``math.cos`` and ``numpy.cos`` may differ in
    the last digit, and a fix must not stand for one and move for the other.
    """
    x = (lat0 + lat1) * 0.008726646259971648  # half the sum, in radians
    x = x * x
    cosine = 1.0 - x * (0.5 - x * (0.041666666 - x * (0.001388888 - x * 0.0000248)))
    east = (lon1 - lon0) * cosine
    north = lat1 - lat0
    return (east * east + north * north) * 12391280000.0


def motion(step: Step) -> tuple[Motion | None, Motion | None, bool]:
    """What was known of its motion, what is now, and whether it turned up elsewhere meanwhile."""
    old = step.states.get(Motion.name)
    assert old is None or isinstance(old, Motion)
    if step.silent:
        return old, old, False
    displaced = step.prev is not None and _apart(step.prev, step.fix)
    speed = step.fix.speed_kmh
    moving = displaced if speed != speed else speed > STAND_KMH
    if old is None or old.moving != moving or (displaced and not moving):
        new = Motion(moving, step.t1, step.fix.lon, step.fix.lat)
        step.states[Motion.name] = new
        return old, new, displaced
    return old, old, displaced


def overpark(step: Step, old: Motion | None, new: Motion | None, displaced: bool) -> None:
    """违规停车: standing for longer than ``max_min`` in the district, outside parks.

    Standing holds until the next fix; one that turned up elsewhere stood until its fix before.
    """
    state = step.states.get(Parked.name)
    assert state is None or isinstance(state, Parked)
    if state is None and new is not None and new.moving and (old is None or old.moving):
        return
    step.states.pop(Parked.name, None)
    districts = step.met(FenceKind.DISTRICT)
    if not districts and state is None:
        return
    if step.steady:
        _overpark_steady(step, state, old, new, displaced, districts)
        return
    allowed = [f for f in step.met() if may_stand(f, step.ask, step.t1)]
    standing: list[Span] = []
    if old is not None and not old.moving and step.prev is not None and not displaced:
        standing.append((step.t0, step.t1))
    stood = both(standing, minus(step.presence(districts), step.presence(allowed)))
    goes_on = new is not None and not new.moving and step.present(districts) and not step.present(allowed)
    since = None if state is None else state.since_us
    for begin_us, end_us in runs(since, stood, step.t0, step.t1, goes_on=goes_on):
        if state is not None and begin_us == state.since_us:
            run = state
        else:
            run = Parked(begin_us, *step.last_known(begin_us), districts[0].id)
        if end_us is None:
            step.states[Parked.name] = run
        stand(step, run, end_us, districts)


def _overpark_steady(
    step: Step,
    state: Parked | None,
    old: Motion | None,
    new: Motion | None,
    displaced: bool,
    districts: list[Fence],
) -> None:
    """The same where no border was met: a stand that began goes on, ends, or begins with the fix."""
    ends = new is None or new.moving or displaced
    if state is not None and not ends:
        step.states[Parked.name] = state
        stand(step, state, None, districts)
        return
    if state is not None:
        stand(step, state, step.t0 if displaced else step.t1, districts)
    if new is None or new.moving or any(may_stand(f, step.ask, step.t1) for f in step.fix.fences):
        return
    begin_us = step.t1 if old is None or old.moving or displaced else step.t0
    run = Parked(begin_us, *step.last_known(begin_us), districts[0].id)
    step.states[Parked.name] = run
    stand(step, run, None, districts)


def overpark_deadline_us(record: Record, ask: Ask, districts: dict[str, Fence]) -> int | None:
    """The last moment at which it does not yet stand too long."""
    state = record.states.get(Parked.name)
    if not isinstance(state, Parked) or state.fence_id not in districts:
        return None
    if (Kind.OVERPARK, state.fence_id) in record.open:
        return None
    params = ask(Kind.OVERPARK, districts[state.fence_id], state.since_us)
    return None if params is None else state.since_us + round(params["max_min"] * _MINUTE_US)


def may_stand(fence: Fence, ask: Ask, at_us: int) -> bool:
    """Whether standing in the fence is allowed: by its kind, unless it says otherwise."""
    if fence.kind is FenceKind.DISTRICT:
        return False
    params = ask(Kind.OVERPARK, fence, at_us)
    if params is None and ask(Kind.OVERPARK, None, at_us) is not None:
        return True  # on in general, switched off in this fence
    told = None if params is None else params["allowed"]
    return fence.kind is FenceKind.PARKING if told is None else bool(told)


def stand(step: Step, run: Parked, end_us: int | None, districts: list[Fence]) -> None:
    """Say of a stand until where the step ends (or until it does) that it is too long, and that it ends."""
    district = next((f for f in districts if f.id == run.fence_id), None)
    params = None if district is None else step.ask(Kind.OVERPARK, district, run.since_us)
    if params is not None and not step.is_open(Kind.OVERPARK, run.fence_id):
        deadline_us = run.since_us + round(params["max_min"] * _MINUTE_US)
        if (step.t1 if end_us is None else end_us) > deadline_us:
            detail = {"stands_since": iso(run.since_us), "max_min": params["max_min"]}
            step.open(Kind.OVERPARK, district, deadline_us, (run.lon, run.lat), detail)
    if end_us is not None:
        step.close(Kind.OVERPARK, run.fence_id, end_us, step.last_known(end_us), {})


def overdrive(step: Step, old: Motion | None, new: Motion | None, displaced: bool, gap_us: int) -> None:
    """疲劳驾驶: driving on without a rest, by night, or too long in any 24 h.

    A stretch of driving begins with the first moving fix after a rest and lasts until the next
    rest; stops shorter than ``rest_min`` belong to it. A moving fix vouches for ``gap_us``: what
    comes after that without a fix may have been a rest, so it counts as one when long enough.

    Args:
        gap_us: how long a moving fix vouches for driving on.
    """
    state = step.states.get(Drive.name, Drive(None, None))
    assert isinstance(state, Drive)
    t0, t1 = step.t0, step.t1
    since, rest, past, reached = state.since_us, state.rest_us, state.past, state.limits
    params = None if since is None else step.ask(Kind.OVERDRIVE, None, since)
    if since is not None and params is not None:
        if rest is None and old is not None and old.moving:
            until_us = min(t1, t0 + gap_us)
            drive_on(step, state, params, (t0, until_us))
            if until_us < t1:
                rest = until_us
        if displaced and rest is not None and new is not None and not new.moving:
            rest = t1 if t1 - rest < params["rest_min"] * _MINUTE_US else rest
        if rest is not None and t1 - rest >= params["rest_min"] * _MINUTE_US:
            rested(step, rest)
            past, since, reached = (*past, (since, rest)), None, ()
    if not step.silent and new is not None:
        if new.moving:
            if since is None:
                since = t1
                past = within_day(past, t1)
                reached = limits(step.ask(Kind.OVERDRIVE, None, t1), past, t1)
            rest = None
        elif rest is None:
            rest = t1
    if since is None and rest is not None:
        rest = None  # rested: nothing to wait for until it drives again
    if since is not None or past:
        step.states[Drive.name] = Drive(since, rest, past, reached)
    else:
        step.states.pop(Drive.name, None)


def overdrive_deadline_us(
    record: Record, ask: Ask, last: Fix, judged_us: int, gap_us: int, *, in_doubt: bool
) -> list[int]:
    """The moments at which something about the driving may have to be said.

    A limit that passed during a stop becomes due with the first fix that drives on. That a vehicle driving
    on too long falls silent, which is a rest in the end, is no deadline: with every fix it would be another.
    The columns know (``Fleet.overdriven``), unless the last fix is ``in_doubt``: then silence began before.
    """
    state = record.states.get(Drive.name)
    if not isinstance(state, Drive) or state.since_us is None:
        return []
    params = ask(Kind.OVERDRIVE, None, state.since_us)
    if params is None:
        return []
    found = []
    if state.rest_us is None:
        for part, reached_us in state.limits:
            if (Kind.OVERDRIVE, part) not in record.open:
                found.append(max(reached_us, last.time_us) if judged_us == last.time_us else reached_us)
    rest_us = state.rest_us
    if rest_us is None and in_doubt:
        rest_us = last.time_us + gap_us
    if rest_us is not None and any((Kind.OVERDRIVE, part) in record.open for part in PARTS):
        found.append(rest_us + round(params["rest_min"] * _MINUTE_US) - 1)
    return found


def drive_on(step: Step, state: Drive, params: Params, driven: Span) -> None:
    """Open what was reached while driving over ``driven``."""
    for part, reached_us in state.limits:
        if reached_us >= driven[1] or step.is_open(Kind.OVERDRIVE, part):
            continue
        at_us = max(reached_us, driven[0])
        assert state.since_us is not None
        detail = {
            "drives_since": iso(state.since_us),
            f"{part}_h": params[f"{part}_h"],
            "rest_min": params["rest_min"],
        }
        step.open(Kind.OVERDRIVE, None, at_us, step.last_known(at_us), detail, part)


def rested(step: Step, rest_us: int) -> None:
    """Say that a rest has ended what was too long."""
    for part in PARTS:
        step.close(Kind.OVERDRIVE, part, rest_us, step.last_known(rest_us), {"rests_since": iso(rest_us)})


def within_day(past: tuple[Span, ...], at_us: int) -> tuple[Span, ...]:
    """Of stretches of driving those that reach into the last 24 h."""
    return tuple(span for span in past if span[1] > at_us - _DAY_US)


def limits(
    params: Params | None,
    past: tuple[Span, ...],
    since: int,
    night_us: Callable[[Schedule, int, int], int | None] | None = None,
) -> tuple[tuple[str, int], ...]:
    """When each limit is reached if it drives on from ``since`` without a rest.

    ``night_us`` answers in the place of :func:`in_hours_us`, for many vehicles sooner.
    """
    if params is None:
        return ()
    found: list[tuple[str, int]] = []
    for part in PARTS:
        limit_h = params[f"{part}_h"]
        if limit_h is None:
            continue
        limit_us: int = round(limit_h * _HOUR_US)
        reached: int | None = since + limit_us
        if part == "night":
            reached = (night_us or in_hours_us)(params["night_hours"], since, limit_us)
        elif part == "daily":
            reached = _daily_us(past, since, limit_us)
        if reached is not None:
            found.append((part, reached))
    return tuple(found)


def in_hours_us(hours: Schedule, since: int, limit_us: int) -> int | None:
    """When driving on from ``since`` has spent ``limit_us`` within the hours; at most two days on."""
    at_us, left = since, limit_us
    while at_us < since + 2 * _DAY_US:
        change = hours.next_change(at_us)
        if bool(hours.in_force(np.array([at_us], np.int64))[0]):
            if change is None or change - at_us >= left:
                return at_us + left
            left -= change - at_us
        if change is None:
            return None
        at_us = change
    return None


def _daily_us(past: tuple[Span, ...], since: int, limit_us: int) -> int | None:
    """When driving on from ``since`` makes more than ``limit_us`` in the 24 h before."""
    edges = sorted(
        {since, since + _DAY_US, *(t + _DAY_US for span in past for t in span if t + _DAY_US > since)}
    )
    for at_us, until_us in zip(edges, [*edges[1:], edges[-1] + _DAY_US], strict=True):
        sum_us = _in_day(past, at_us) + min(at_us - since, _DAY_US)
        if sum_us >= limit_us:
            return at_us
        after_us = _in_day(past, until_us) + min(until_us - since, _DAY_US)
        if after_us > limit_us:
            # Between edges the sum grows at one rate, 1 or 0; it can only be 1 here.
            return at_us + limit_us - sum_us
    return None


def _in_day(past: tuple[Span, ...], at_us: int) -> int:
    return sum(max(0, min(end, at_us) - max(start, at_us - _DAY_US)) for start, end in past)


def _apart(a: Fix, b: Fix) -> bool:
    return bool(apart2_m2(a.lon, a.lat, b.lon, b.lat) > STAND_M * STAND_M)
