"""Off the dedicated routes (专线): ``corridor_departure``.

You are in ``hazfence.rules``. A hazmat vehicle in the district keeps to the corridors; the union
of all of them counts, together with parks, checkpoints and every fence marked ``on_route`` (plants,
depots). Source: platform of Zhenhai district; GB/T 35658 6.1.2 (the platform raises route alarms).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hazfence.events import Kind, iso
from hazfence.rules.driving import apart2_m2
from hazfence.rules.step import Ask, Step, minus, runs
from hazfence.states import OffRoute
from hazfence.vehicles import Record
from hazfence_fences import Fence, FenceKind

__all__ = ["corridor_departure", "corridor_departure_deadline_us", "on_route"]

_ROUTES = (FenceKind.CORRIDOR, FenceKind.PARKING, FenceKind.CHECKPOINT)


def on_route(fence: Fence, ask: Ask, at_us: int) -> bool:
    """Whether being in the fence is being on a route: by its kind, unless it says otherwise.

    A fence that switches the rule off lets everything be on route. This is asked once, of the fence as
    such: it cannot differ by vehicle class or hours.
    """
    if fence.kind is FenceKind.DISTRICT:
        return False
    params = ask(Kind.CORRIDOR_DEPARTURE, fence, at_us)
    if params is None and ask(Kind.CORRIDOR_DEPARTURE, None, at_us) is not None:
        return True  # on in general, switched off in this fence
    told = None if params is None else params["on_route"]
    return fence.kind in _ROUTES if told is None else bool(told)


def corridor_departure(step: Step, routes: Mapping[str, Fence]) -> None:
    """偏离专线: off every route for longer than ``for_s``, or farther than ``farther_m``.

    Args:
        routes: every fence that counts as one, by id.
    """
    state = step.states.get(OffRoute.name)
    assert state is None or isinstance(state, OffRoute)
    if step.steady and (state is None or state.said):
        return  # on or off the routes as before
    step.states.pop(OffRoute.name, None)
    districts = step.met(FenceKind.DISTRICT)
    allowed = [f for f in step.met() if f.id in routes]
    off = minus(step.presence(districts), step.presence(allowed))
    goes_on = step.present(districts) and not step.present(allowed)
    since = None if state is None else state.since_us
    for begin_us, end_us in runs(since, off, step.t0, step.t1, goes_on=goes_on):
        if state is not None and begin_us == state.since_us:
            run = state
        else:
            run = OffRoute(begin_us, *step.place(begin_us), districts[0].id)
        run = _judged(step, run, end_us, routes, districts)
        if end_us is None:
            step.states[OffRoute.name] = run
        else:
            step.close(
                Kind.CORRIDOR_DEPARTURE, run.fence_id, end_us, step.place(end_us), {"back_at": iso(end_us)}
            )


def corridor_departure_deadline_us(record: Record, ask: Ask, districts: dict[str, Fence]) -> int | None:
    """The last moment at which it is not yet off the routes for too long."""
    state = record.states.get(OffRoute.name)
    if not isinstance(state, OffRoute) or state.said or state.fence_id not in districts:
        return None
    params = ask(Kind.CORRIDOR_DEPARTURE, districts[state.fence_id], state.since_us)
    return None if params is None else state.since_us + round(params["for_s"] * 1e6)


def _judged(
    step: Step, run: OffRoute, end_us: int | None, routes: Mapping[str, Fence], districts: Sequence[Fence]
) -> OffRoute:
    """Open the event when the run is too long or too far; a run is judged until it was said."""
    district = next((f for f in districts if f.id == run.fence_id), None)
    params = None if district is None else step.ask(Kind.CORRIDOR_DEPARTURE, district, run.since_us)
    if run.said or params is None:
        return run
    until_us = step.t1 if end_us is None else end_us
    deadline_us = run.since_us + round(params["for_s"] * 1e6)
    detail = {
        "left_at": iso(run.since_us),
        "for_s": params["for_s"],
        "farther_m": params["farther_m"],
    }
    if until_us > deadline_us:
        at_us = deadline_us
        detail["last_fix"] = iso(max(step.t0, run.since_us))
    elif end_us is None and not step.silent and params["farther_m"] is not None:
        lon, lat = step.fix.lon, step.fix.lat
        if (
            run.since_us > step.t0
            and apart2_m2(run.lon, run.lat, lon, lat) < (0.9 * params["farther_m"]) ** 2
        ):
            return run  # it left a route in this step, and is near the place where it did
        if any(f.distance_m(lon, lat) <= params["farther_m"] for f in routes.values()):
            return run
        at_us = step.t1
        detail["away_m"] = round(min(f.distance_m(lon, lat) for f in routes.values()), 1)
    else:
        return run
    step.open(Kind.CORRIDOR_DEPARTURE, district, at_us, (run.lon, run.lat), detail)
    return OffRoute(run.since_us, run.lon, run.lat, run.fence_id, said=True)
