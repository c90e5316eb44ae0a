"""Can a fix be true: ``gnss_suspect``. A suspect fix makes no other verdict.

You are in ``hazfence.rules``, called before everything else about a fix. Three faults are known: a
jump that no truck makes (teleport), a jump that contradicts the speeds reported at both ends (spoof),
and a position that is the same to the last digit while the vehicle drives (frozen). The last fix that
could be trusted is held, and what comes next is judged from there: a lone outlier leaves no trace in
the verdicts. When ``confirm`` suspect fixes agree with one another, the vehicle is believed to be
there after all, but the way there witnesses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hazfence.events import Kind, iso
from hazfence.presence import Fix
from hazfence.rules.book import Params
from hazfence.rules.driving import apart2_m2
from hazfence.rules.step import Step
from hazfence.states import Trust
from hazfence.vehicles import Record
from hazfence_fences import Fence

__all__ = ["SPOOF_WITHIN_S", "Weighed", "doubt", "held", "weigh"]

#: Reported speeds tell where the next fix can be for about this long.
SPOOF_WITHIN_S = 60.0
_FROZEN = "frozen"


class Weighed(NamedTuple):
    """What is made of a fix.

    Attributes:
        prev: the fix to judge it from.
        suspect: True when it is not to be judged at all.
        witnessed: False when the way from ``prev`` tells nothing.
    """

    prev: Fix | None
    suspect: bool
    witnessed: bool


def held(record: Record, last: Fix, fences: Mapping[str, Fence]) -> Fix:
    """The last fix that could be trusted: the last one, unless that is in doubt."""
    state = record.states.get(Trust.name)
    if not isinstance(state, Trust) or state.hold is None:
        return last
    return _fix(state.hold, fences)


def doubt(prev: Fix, fix: Fix, params: Params) -> str | None:
    """Why a fix cannot follow another one; None when it can."""
    seconds = (fix.time_us - prev.time_us) / 1e6
    apart2 = apart2_m2(prev.lon, prev.lat, fix.lon, fix.lat)
    if apart2 > (params["max_kmh"] / 3.6 * seconds + params["slack_m"]) ** 2:
        return "teleport"
    fastest = max(prev.speed_kmh, fix.speed_kmh) if prev.speed_kmh == prev.speed_kmh else float("nan")
    if fastest == fastest and fix.speed_kmh == fix.speed_kmh and seconds <= SPOOF_WITHIN_S:
        reach_m = (1.5 * fastest + params["over_kmh"]) / 3.6 * seconds + params["slack_m"]
        if apart2 > reach_m**2:
            return "spoof"
    if prev.lon == fix.lon and prev.lat == fix.lat and fix.speed_kmh > params["frozen_kmh"]:
        return _FROZEN
    return None


def weigh(step: Step, params: Params, fences: Mapping[str, Fence]) -> Weighed:
    """定位异常: decide whether the step's fix can be trusted, and say what is wrong with it.

    Args:
        step: from the fix before, in doubt or not, to the new one.
        params: of the rule.
        fences: by id, for the fix held.
    """
    prev, fix = step.prev, step.fix
    state = step.states.pop(Trust.name, None)
    assert state is None or isinstance(state, Trust)
    if prev is None:
        return Weighed(None, False, True)
    if state is None or state.hold is None:
        why = doubt(prev, fix, params)
        if why is None:
            return Weighed(prev, False, True)
        state = Trust(_pack(prev), _pack(fix), fix.time_us, 1, why)
        _suspect(step, state, params)
        return Weighed(prev, True, False)
    hold, last = _fix(state.hold, fences), _fix(state.last, fences)
    why = doubt(hold, fix, params)
    agrees = doubt(last, fix, params) is None
    count = state.count + 1 if agrees else 1
    if why is None or (why != _FROZEN and count >= params["confirm"]):
        step.states[Trust.name] = Trust(None, state.last, state.since_us, count, state.why)
        step.close(Kind.GNSS_SUSPECT, "", last.time_us, (last.lon, last.lat), {"believed": why is not None})
        return Weighed(hold, False, state.why == _FROZEN or not agrees)
    _suspect(step, Trust(state.hold, _pack(fix), state.since_us, count, state.why), params)
    return Weighed(hold, True, False)


def _suspect(step: Step, state: Trust, params: Params) -> None:
    step.states[Trust.name] = state
    for_us = step.t1 - state.since_us
    said = step.is_open(Kind.GNSS_SUSPECT, "")
    if not said and (state.why != _FROZEN or for_us > params["frozen_s"] * 1e6):
        _, lon, lat, *_ = state.last
        assert state.hold is not None
        detail = {"why": state.why, "trusted_at": iso(state.hold[0]), "max_kmh": params["max_kmh"]}
        step.open(Kind.GNSS_SUSPECT, None, state.since_us, (lon, lat), detail)


def _pack(fix: Fix) -> tuple[object, ...]:
    packed = (fix.time_us, fix.lon, fix.lat, fix.speed_kmh, tuple(f.id for f in fix.fences))
    return (*packed, fix.error_m) if fix.error_m else packed


def _fix(packed: tuple[object, ...], fences: Mapping[str, Fence]) -> Fix:
    time_us, lon, lat, speed, ids, *rest = packed
    error_m = rest[0] if rest else 0.0
    assert isinstance(time_us, int) and isinstance(lon, float) and isinstance(lat, float)  # noqa: PT018
    assert isinstance(speed, float) and isinstance(ids, tuple) and isinstance(error_m, float)  # noqa: PT018
    return Fix(time_us, lon, lat, speed, tuple(fences[i] for i in ids if i in fences), error_m=error_m)
