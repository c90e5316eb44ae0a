"""What follows from how good positions are: borders settle later, and less is certain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hazfence import Engine, EngineSettings, Event, Kind, Phase
from hazfence_fences import FenceSet

from ..property.world import START_US, at, batch_of, box, disc, fence_set
from .test_core_rules import SECOND, said

pytestmark = pytest.mark.usefixtures("judged")

NAN = math.nan
STEP_M = 193.0
DISTRICT = box("district", 2, 2, 10, 10, kind="district")
GATE = disc("gate", 2, 6, 150, kind="checkpoint")
ZONE = box("zone", 4, 4, 6, 6, kind="restricted")
#: Seconds, metres east (inside) of the border, how far it may be wrong.
Place = tuple[float, float, float]


def rows(
    *places: Place, border: float = 2.0, north: float = 9.0, kmh: float = 60.0
) -> list[tuple[object, ...]]:
    return [
        ("A", START_US + round(s * SECOND), *at(border + metres / STEP_M, north), kmh, error_m)
        for s, metres, error_m in places
    ]


def mirrored(fixes: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same on the other side of the border."""
    border = at(2.0, 0.0)[0]
    return [(name, us, border - (lon - border), *more) for name, us, lon, *more in fixes]


def tell(*places: Place, fences: FenceSet | None = None, **more: float) -> list[Event]:
    core = EngineSettings(max_accuracy_m=0.0, **{k: v for k, v in more.items() if k == "settle_m"})
    where = {k: v for k, v in more.items() if k != "settle_m"}
    return list(Engine(fences or fence_set(DISTRICT), core).process(batch_of(rows(*places, **where))))


def test_a_fix_settles_a_border_only_when_it_is_farther_away_than_it_may_be_wrong() -> None:
    way = [(0.0, -300.0, NAN), (30.0, 100.0, 150.0), (60.0, 110.0, 105.0), (90.0, 120.0, NAN)]
    assert said(tell(*way[:2]), "visit") == []
    # It counts with the next fix that can tell, at the time and place of the true crossing: 300 of 400 m.
    [visit] = [e for e in tell(*way[:3]) if e.kind is Kind.VISIT]
    assert (visit.started_us - START_US) / SECOND == pytest.approx(22.5, abs=0.01)
    assert visit.lon == pytest.approx(121.504, abs=1e-7)
    assert tell(way[0], (30.0, 100.0, NAN), *way[2:])[0].started_us == visit.started_us
    # One that is worse once more takes nothing back, and one on the first side does.
    assert said(tell(*way[:2], (60.0, 20.0, 90.0)), "visit") == []
    assert said(tell(*way[:2], (60.0, -300.0, NAN)), "visit") == []


def test_what_is_better_than_most_settles_no_sooner() -> None:
    assert tell((0.0, -300.0, 3.0), (30.0, 12.0, 3.0)) == tell((0.0, -300.0, NAN), (30.0, 12.0, NAN)) == []


def test_it_counts_by_its_seconds_too() -> None:
    places = [(0.0, -300.0, NAN), *((30.0 * k, 30.0, 80.0) for k in range(1, 30))]
    events = tell(*places)
    assert len(said(events, "visit")) == 1
    assert {e.detail.get("certainty") for e in events if e.kind is Kind.POSSIBLE_BYPASS} == {"probable"}
    assert not said(events, "gate_bypass")


@pytest.mark.parametrize("seed", range(3))
def test_an_hour_of_worse_noise_is_one_visit_if_it_is_said_how_bad_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = np.clip(rng.normal(0.0, 25.0, 360), -59.0, 59.0).tolist()
    places = [(10.0 * k, metres) for k, metres in enumerate(noise)]

    def hour(error_m: float) -> list[Event]:
        beside = [(t, metres, error_m) for t, metres in places]
        return tell(
            (-60.0, -300.0, NAN), (-30.0, 300.0, NAN), *beside, (3700.0, 300.0, NAN), (3760.0, -300.0, NAN)
        )

    visits = [e for e in hour(60.0) if e.kind is Kind.VISIT]
    assert [(str(e.phase), e.started_us) for e in visits] == [
        ("opened", visits[0].started_us),
        ("closed", visits[0].started_us),
    ]
    assert (visits[0].started_us - START_US) / SECOND == pytest.approx(-45.0, abs=0.01)
    assert (visits[1].ended_us - START_US) / SECOND == pytest.approx(3730.0, abs=0.01)  # type: ignore[operator]
    assert len(said(hour(60.0), "gate_bypass", "possible_bypass")) == 2
    assert len(said(hour(NAN), "visit")) > 20  # where nobody says so, nobody knows


def test_where_every_border_counts_at_once_so_it_does_for_bad_fixes() -> None:
    assert said(tell((0.0, -300.0, 90.0), (30.0, 5.0, 90.0), settle_m=0.0), "visit")


def test_it_is_in_a_restricted_zone_for_certain_only_when_no_error_puts_it_outside() -> None:
    zone = fence_set(ZONE)
    more = {"border": 4.0, "north": 5.0}
    events = tell((0.0, 40.0, 60.0), (30.0, 70.0, 80.0), fences=zone, **more)
    assert said(events) == [("visit", "opened", 0.0, None), ("possible_entry", "opened", 0.0, None)]
    events = tell((0.0, 40.0, 60.0), (30.0, 40.0, 30.0), fences=zone, **more)
    assert said(events)[2:] == [
        ("restricted_entry", "opened", 0.0, None),
        ("possible_entry", "closed", 0.0, 30.0),
    ]
    assert said(tell((0.0, 90.0, 60.0), fences=zone, **more))[1:] == [
        ("restricted_entry", "opened", 0.0, None)
    ]


@pytest.mark.parametrize(
    ("one_m", "other_m", "kind"),
    [
        # 386 m in 30 s; over the gate it is 1,101 m, at 120 km/h it gets 1,000 m far.
        (NAN, NAN, "gate_bypass"),
        (9.0, 9.0, "gate_bypass"),
        (80.0, NAN, "gate_bypass"),  # 1,000 + 80 + 15
        (NAN, 90.0, "possible_bypass"),  # 1,000 + 15 + 90
        (60.0, 60.0, "possible_bypass"),
        (50.0, 50.0, "gate_bypass"),
    ],
)
def test_a_bypass_is_certain_when_no_error_of_either_fix_leaves_time_for_a_gate(
    one_m: float, other_m: float, kind: str
) -> None:
    for sign in (1.0, -1.0):
        events = tell(
            (0.0, -sign * STEP_M, one_m), (30.0, sign * STEP_M, other_m), fences=fence_set(DISTRICT, GATE)
        )
        assert [str(e.kind) for e in events if "bypass" in e.kind] == [kind]
        if kind == "possible_bypass":
            assert [e.detail["certainty"] for e in events if "bypass" in e.kind] == ["probable"]


def test_a_fix_that_may_lie_across_the_border_already_makes_no_crossing_certain() -> None:
    fences = fence_set(DISTRICT, GATE)
    # From beside the gate to 40 m before the border, then in: no time for a gate on the last step.
    way = [("A", START_US, *at(1.0, 6.0), 60.0, NAN)]
    core = EngineSettings(max_accuracy_m=0.0)
    for metres, error_m, kind in (
        (40.0, 30.0, "gate_bypass"),
        (40.0, 45.0, "possible_bypass"),
        (16.0, NAN, "gate_bypass"),
        (14.0, NAN, "possible_bypass"),
        (14.0, 3.0, "possible_bypass"),
    ):
        middle = ("A", START_US + 60 * SECOND, *at(2 - metres / STEP_M, 9.5), 60.0, error_m)
        end = ("A", START_US + 75 * SECOND, *at(3.0, 9.5), 60.0, NAN)
        events = list(Engine(fences, core).process(batch_of([*way, middle, end])))
        assert [str(e.kind) for e in events if "bypass" in e.kind] == [kind]
        # And the same on the way out, where it is the first fix that may lie outside already.
        events = list(Engine(fences, core).process(batch_of(mirrored([middle, end]))))
        assert [str(e.kind) for e in events if "bypass" in e.kind] == [kind]


@pytest.mark.parametrize(("error_m", "visits"), [(150.0, 0), (NAN, 1)])
def test_a_late_fix_is_as_bad_as_if_it_had_come_in_time(error_m: float, visits: int) -> None:
    way = rows((0.0, -300.0, NAN), (30.0, 100.0, error_m), (60.0, -200.0, 20.0), (90.0, -300.0, NAN))
    for order in ((0, 1, 2, 3), (0, 3, 2, 1), (3, 2, 0, 1), (1, 3, 0, 2)):
        engine = Engine(fence_set(DISTRICT), EngineSettings(max_accuracy_m=0.0))
        last = {e.id: e for i in order for e in engine.process(batch_of([way[i]]))}
        assert sum(e.kind is Kind.VISIT and e.phase is not Phase.RETRACTED for e in last.values()) == visits
