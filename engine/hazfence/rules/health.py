"""Is anything known of the vehicle at all: ``silent`` and ``coverage_gap``.

You are in ``hazfence.rules``. ``silent`` is for now: a vehicle in the district has not been heard for
too long (terminals report at least every 60 s, a platform link is dead after 3 min; weak sources,
JT/T 809). ``coverage_gap`` is for the record: between two fixes nothing is known, so nothing was
concluded from the segment. Neither is a breach.
"""

from __future__ import annotations

from hazfence.events import Kind
from hazfence.rules.driving import apart2_m2
from hazfence.rules.step import Step
from hazfence_fences import FenceKind

__all__ = ["coverage_gap", "silent"]


def silent(step: Step) -> None:
    """离线: not heard for longer than ``max_min`` while in the district; ends with the next fix."""
    if step.heard_us is None:
        return
    if step.was_in:
        district = step.was_in[0]
        params = step.ask(Kind.SILENT, district, step.heard_us)
        if params is not None and not step.is_open(Kind.SILENT, district.id):
            deadline_us = step.heard_us + round(params["max_min"] * 60e6)
            if step.t1 > deadline_us:
                detail = {"last_fix": step.last_fix(), "max_min": params["max_min"]}
                step.open(Kind.SILENT, district, deadline_us, step.last_known(step.t0), detail)
    if not step.silent:
        for kind, fence_id in tuple(step.record.open):
            if kind is Kind.SILENT:
                step.close(kind, fence_id, step.t1, (step.fix.lon, step.fix.lat), {})


def coverage_gap(step: Step) -> None:
    """轨迹中断: two fixes farther apart in time than ``longer_s``, one of them in the district."""
    if step.silent or step.prev is None:
        return
    districts = step.met(FenceKind.DISTRICT)
    inside = next((f for f in (*step.was_in, *districts) if f in step.was_in or step.present([f])), None)
    params = None if inside is None else step.ask(Kind.COVERAGE_GAP, inside, step.t0)
    if params is None or step.t1 - step.t0 <= params["longer_s"] * 1e6:
        return
    prev, fix = step.prev, step.fix
    away_m = float(apart2_m2(prev.lon, prev.lat, fix.lon, fix.lat)) ** 0.5
    detail = {"longer_s": params["longer_s"], "moved_m": round(away_m, 1)}
    span = (step.t0, step.t1)
    step.say(Kind.COVERAGE_GAP, inside, span, (prev.lon, prev.lat), (fix.lon, fix.lat), detail)
