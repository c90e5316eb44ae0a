"""A week in an invented district in which every rule is broken, and nearly broken, on purpose.

You are in the simulator, beside the roads and trips of ``day.py``, but apart from them: here the
district is drawn for the rules, a square with straight corridors, a park, a plant and a town, so that
every way is a few straight lines and the truth can be worked out by hand from distance and speed. Each
truck makes one trip a day, and most trips hold one :class:`Case`. :func:`simulate_week` gives the
fixes, the file of vehicles and waybills, and what an engine with :func:`week_rules` must find: just
that. ``hazfence_replay.compare`` does the comparing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from hazfence.fixes import FixBatch
from hazfence.reference import Filed, ReferenceData, Waybill
from hazfence.rules import Rulebook
from hazfence.rules.plates import PlateRead
from hazfence_fences import FenceSet, parse_fences
from hazfence_replay.simulator.case_trips import (
    CASES,
    Trip,
    bay_pair,
    doubtful_bypass,
    doubtful_entry,
    finished,
    trip_of,
    yard_crowd,
)
from hazfence_replay.simulator.day import Planted
from hazfence_replay.simulator.plane import Plane

__all__ = [
    "GROUND_RULES",
    "SimulatedWeek",
    "ground_geojson",
    "simulate_week",
    "week_fences",
    "week_geojson",
    "week_rules",
]

F64 = npt.NDArray[np.float64]

GATES = {
    "gate-west": (-10.0, 0.0),
    "gate-east": (10.0, 0.0),
    "gate-north": (0.0, 10.0),
    "gate-south": (0.0, -10.0),
}
#: Out at sea, so that nobody takes it for a place.
_PLANE = Plane(123.6, 30.0)
_TZ = "Asia/Shanghai"
_DAY_US = 86_400_000_000
_NOISE_M, _MOST_M = 3.0, 12.0
_CLOSED = {"tz": _TZ, "windows": [{"days": "mon-sun", "from": "11:00", "to": "13:00"}]}


@dataclass(frozen=True, slots=True)
class SimulatedWeek:
    """What :func:`simulate_week` made.

    Attributes:
        fixes: by time.
        truth: what must be found, by time.
        reference: the file of vehicles and waybills.
        reads: what the cameras at the gates read, by time.
        near: (case, vehicle, day) of every trip that nearly breaks a rule.
        start_us, end_us: microseconds UTC.
    """

    fixes: FixBatch
    truth: tuple[Planted, ...]
    reference: ReferenceData
    reads: tuple[PlateRead, ...]
    near: tuple[tuple[str, str, int], ...]
    start_us: int
    end_us: int


def week_fences() -> FenceSet:
    """The invented district: 20 km square, four gates, corridors, a park, a plant, a town."""
    return FenceSet(parse_fences(week_geojson(), source="week"))


def week_geojson() -> dict[str, Any]:
    """The same as GeoJSON, for whoever wants it in a file."""
    segment = {"segment_overtime": {"to": {"*": {"max_min": 90}}}}
    features = [
        _box("district", (-10, -10, 10, 10), kind="district"),
        *(_disc(gate, at, kind="checkpoint", rules=segment) for gate, at in GATES.items()),
        _line("main", [(-11, 0), (11, 0)]),
        _line("cross", [(0, -11), (0, 11)]),
        _line("plant-lane", [(-3, 0), (-3, 3)]),
        _line("park-lane", [(3, 0), (3, 3)]),
        _line("side-lane", [(-11, 6), (-3, 6), (-3, 3)]),
        _line("depot-lane", [(-6, 0), (-6, 3)]),
        _line("yard-lane", [(-6, 0), (-6, -3)]),
        _line("bay-lane", [(6, 0), (6, 3)]),
        _line("sluice-lane", [(-8, 0), (-8, -3)]),
        _box("sluice", (-8.1, -1.6, -7.9, -1.4), kind="restricted", thin=True),
        _box("depot", (-6.3, 2.7, -5.7, 3.3), kind="restricted"),
        _box("yard", (-6.3, -3.3, -5.7, -2.7), kind="zone", rules={**_PLANT, "zone_capacity": {"most": 3}}),
        _box("bays", (5.7, 2.7, 6.3, 3.3), kind="zone", rules=_PLANT),
        _box("plant", (-3.3, 2.7, -2.7, 3.3), kind="zone", rules=_PLANT),
        _box("park", (2.7, 2.7, 3.3, 3.3), kind="parking"),
        _box(
            "town",
            (-0.5, 4, 0.5, 6),
            kind="zone",
            rules={"curfew": {"hours": _CLOSED}, "cargo_forbidden": {"un_classes": ["1", "2.3"]}},
        ),
    ]
    return {"type": "FeatureCollection", "features": features}


_PLANT = {"corridor_departure": {"on_route": True}, "overpark": {"allowed": True}}


def ground_geojson() -> dict[str, Any]:
    """The same district with its rules switched on by its own fences, to lie beside others.

    With :data:`GROUND_RULES` as general book the truth of the week is what holds here, while fences
    elsewhere keep the four rules that are on by default.
    """
    found = week_geojson()
    for feature in found["features"]:
        properties = feature["properties"]
        own = (
            _DISTRICT
            if properties["kind"] == "district"
            else _GATE
            if properties["kind"] == "checkpoint"
            else {}
        )
        properties["rules"] = {**own, **properties.get("rules", {})}
    return found


_DISTRICT = {
    **dict.fromkeys(
        ("corridor_departure", "unregistered", "no_waybill", "overpark", "silent", "coverage_gap"), True
    ),
    "overspeed": {"general_kmh": 60.0},
}
_GATE = {"plate_without_gps": True, "gps_without_plate": True}
#: The general book beside :func:`ground_geojson`: what is about vehicles, goods and papers, not about places.
GROUND_RULES: dict[str, Any] = {
    **dict.fromkeys(
        ("gnss_suspect", "separation", "paper_expiring", "emergency", "collision", "rollover"), True
    ),
    # Rest is asked of tank trucks on file only: those are the ground's.
    "overdrive": {
        "continuous_h": None,
        "daily_h": None,
        "when": [{"classes": ["tank"], "set": {"continuous_h": 4, "daily_h": 8}}],
    },
}


def week_rules() -> Rulebook:
    """The book by which the truth of the week is worked out: every rule on, with its defaults."""
    return Rulebook.all_on()


@dataclass
class _Growing:
    columns: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)
    truth: list[Planted] = field(default_factory=list)
    filed: list[Filed] = field(default_factory=list)
    bills: list[Waybill] = field(default_factory=list)
    reads: list[PlateRead] = field(default_factory=list)
    near: list[tuple[str, str, int]] = field(default_factory=list)


def simulate_week(
    *,
    seed: int,
    vehicles: int = 1000,
    days: int = 7,
    date: dt.date | str = "2026-03-02",
    plates: str = "浙B",
) -> SimulatedWeek:
    """Simulate trucks that break every rule.

    Args:
        seed: of everything random.
        vehicles: how many; every case is planted once there are some dozens.
        days: how many, each with one trip a truck.
        date: the first day, from 00:00 in Shanghai.
        plates: what the number plates begin with.

    Example:
        >>> week = simulate_week(seed=1, vehicles=20, days=1)
        >>> engine = Engine(week_fences(), EngineSettings(rules=week_rules()), week.reference)
    """
    first = dt.date.fromisoformat(date) if isinstance(date, str) else date
    start_us = int(dt.datetime.combine(first, dt.time(), ZoneInfo(_TZ)).timestamp()) * 1_000_000
    names = tuple(f"{plates}{v:05d}" for v in range(vehicles))
    made = _Growing()
    together = [_together(made, seed, names, start_us + day * _DAY_US) for day in range(days)]
    for v, name in enumerate(names):
        rng = np.random.default_rng([seed, v])
        kept = v % 40 != 39  # one in forty is on no file
        if kept:
            papers = _papers(made, name, start_us, days, rng)
            made.filed.append(
                Filed("vehicle", name, "approved", start_us - 60 * _DAY_US, category="tank", papers=papers)
            )
        case = ""
        for day in range(days):
            tired = case.endswith("tired")
            case = CASES[int(rng.integers(len(CASES)))] if rng.random() < 0.7 else "ordinary"
            if tired and case.endswith("tired"):
                case = "ordinary"  # two long days within 24 hours are a breach of their own
            trip = trip_of(case, rng)
            if v in together[day]:
                case, trip = together[day][v]
            _add(made, trip, v, name, start_us + day * _DAY_US, rng)
            _read(made, trip, name, start_us + day * _DAY_US, rng)
            if not kept:
                inside = next(t for t in trip.truth if t.kind == "stay")
                _plant(
                    made,
                    "unregistered",
                    name,
                    "district",
                    start_us + day * _DAY_US,
                    inside.at_s,
                    inside.until_s,
                )
            if trip.near:
                made.near.append((case, name, day))
    columns = {k: np.concatenate(parts) for k, parts in made.columns.items()}
    order = np.argsort(columns["time_us"], kind="stable")
    fixes = FixBatch.of(
        columns.pop("vehicle")[order], vehicles=names, **{k: c[order] for k, c in columns.items()}
    )
    return SimulatedWeek(
        fixes,
        tuple(sorted(made.truth, key=lambda p: (p.at_us, p.vehicle, p.kind))),
        ReferenceData(made.filed, made.bills),
        tuple(sorted(made.reads, key=lambda read: (read.time_us, read.plate))),
        tuple(made.near),
        start_us,
        start_us + days * _DAY_US,
    )


def _papers(made: _Growing, name: str, start_us: int, days: int, rng: np.random.Generator) -> dict[str, int]:
    """A permit of every eighth truck is warned of in the week; one of another eighth just is not."""
    chance = rng.random()
    if chance > 0.25:
        return {}
    ahead = int(rng.choice([0, 7, 30])) if chance < 0.125 else 45 + days
    expires_us = start_us + (int(rng.integers(days)) + ahead) * _DAY_US + round(rng.uniform(8, 20) * 3.6e9)
    for left in (30, 7, 0):
        at_us = expires_us - left * _DAY_US
        if start_us <= at_us < start_us + days * _DAY_US:
            _plant(made, "paper_expiring", name, "", at_us, 0.0, 0.0)
    return {"transport permit": expires_us}


def _together(made: _Growing, seed: int, names: tuple[str, ...], day_us: int) -> dict[int, tuple[str, Trip]]:
    """What several trucks do at once on a day: crowd the yard, stand side by side in the bays; or nearly."""
    rng = np.random.default_rng([seed, day_us // _DAY_US, 7])
    trucks = iter(rng.permutation(len(names)).tolist())
    found: dict[int, tuple[str, Trip]] = {}
    n = len(names)
    for at_h, size in zip(
        (8.0, 9.5, 11.0, 12.5, 14.0), _CROWDS if n >= 200 else _CROWDS[: n // 12], strict=False
    ):
        trips = yard_crowd(at_h * 3600.0, size)
        for trip in trips:
            trip.near = size <= 3
            found[next(trucks)] = ("yard" if size > 3 else "near_yard", finished(trip))
        if size > 3:
            begins, ends = trips[3].crossing(1, -2.7), trips[size - 4].crossing(1, -2.7, 1)
            _plant(made, "zone_capacity", "", "yard", day_us, begins, ends)
    for bay in range(min(16, n // 12)):
        one, other, (beside, apart) = bay_pair(float(rng.uniform(7.0, 16.0)) * 3600.0, bay, near=bay % 2 == 1)
        a, b = next(trucks), next(trucks)
        case = "near_bays" if bay % 2 else "bays"
        found[a], found[b] = (case, finished(one)), (case, finished(other))
        if case == "bays":
            since = -(-(day_us + round(beside * 1e6)) // _STEP_US) * _STEP_US - day_us
            _plant(made, "separation", min(names[a], names[b]), "bays", day_us, since / 1e6 + 600.0, apart)
    for _ in range(n // 100):
        for case, plan in (("doubtful_bypass", doubtful_bypass), ("doubtful_entry", doubtful_entry)):
            found[next(trucks)] = case, finished(plan(rng))
    return found


#: How many trucks come to the yard at once; it holds three.
_CROWDS = (5, 3, 4, 3, 6)
_STEP_US = 30_000_000


def _add(made: _Growing, trip: Trip, v: int, name: str, day_us: int, rng: np.random.Generator) -> None:
    """Report a trip, and write down its truth and its waybill."""
    t, xy, kmh, alarm = trip.reports(int(rng.choice([5, 10, 15, 30])), rng)
    noise = rng.normal(0.0, _NOISE_M / np.sqrt(2.0), xy.shape)
    noise *= np.minimum(1.0, _MOST_M / np.maximum(np.hypot(*noise.T), 1e-9))[:, None]
    lonlat = np.round(_PLANE.degrees(xy * 1000.0 + noise), 6)
    for first, last in trip.frozen(t):
        lonlat[first : last + 1] = lonlat[first]
    n = len(t)
    columns: dict[str, npt.NDArray[Any]] = {
        "vehicle": np.full(n, v, np.int32),
        "time_us": day_us + t * 1_000_000,
        "lon": lonlat[:, 0],
        "lat": lonlat[:, 1],
        "speed_kmh": kmh,
        "status": np.full(n, 3, np.uint32),
        "alarm": alarm.astype(np.uint32),
    }
    for key, column in columns.items():
        made.columns.setdefault(key, []).append(column)
    for breach in trip.truth:
        if breach.kind != "stay":
            _plant(made, breach.kind, name, breach.fence_id, day_us, breach.at_s, breach.until_s)
    if trip.waybill is not None:
        from_s, to_s = trip.waybill
        made.bills.append(
            Waybill(
                f"W-{v}-{day_us // _DAY_US}",
                name,
                *trip.cargo,
                day_us + round(from_s * 1e6),
                day_us + round(to_s * 1e6),
                approved_us=day_us,
            )
        )


def _read(made: _Growing, trip: Trip, name: str, day_us: int, rng: np.random.Generator) -> None:
    """What the gates' cameras read of a trip; a few miss it, and a few read it when it is not there."""
    for gate, place in GATES.items():
        for entered, left in trip.near_place(place, 0.15):
            if rng.random() < 0.02:
                _plant(made, "gps_without_plate", name, gate, day_us, entered, left)
            else:
                seen_s = rng.uniform(entered, left) + rng.uniform(-20.0, 20.0)
                made.reads.append(PlateRead(name, gate, day_us + round(seen_s * 1e6)))
    if rng.random() < 0.02:
        # Somebody else with the same plate, at an hour at which the truck is at home.
        at_s = round(float(rng.uniform(1.0, 4.0)) * 3600.0)
        gate = list(GATES)[int(rng.integers(len(GATES)))]
        made.reads.append(PlateRead(f"{name[:2]}·{name[2:]}", gate, day_us + at_s * 1_000_000))
        _plant(made, "plate_without_gps", name, gate, day_us, at_s, at_s)


def _plant(
    made: _Growing, kind: str, name: str, fence_id: str, day_us: int, at_s: float, until_s: float
) -> None:
    at_us, until_us = day_us + round(at_s * 1e6), day_us + round(until_s * 1e6)
    made.truth.append(Planted(kind, name, fence_id, at_us, until_us, 0.0, 0.0, kind))


def _degrees(xy: list[tuple[float, float]]) -> list[list[float]]:
    lonlat: list[list[float]] = _PLANE.degrees(np.array(xy, np.float64) * 1000.0).tolist()
    return lonlat


def _feature(fence_id: str, geometry: dict[str, Any], **properties: Any) -> dict[str, Any]:
    properties = {"id": fence_id, "invented": True, **properties}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _box(fence_id: str, sides: tuple[float, float, float, float], **properties: Any) -> dict[str, Any]:
    """Kilometres: west, south, east, north."""
    w, s, e, n = sides
    ring = _degrees([(w, s), (e, s), (e, n), (w, n), (w, s)])
    return _feature(fence_id, {"type": "Polygon", "coordinates": [ring]}, **properties)


def _disc(fence_id: str, at: tuple[float, float], **properties: Any) -> dict[str, Any]:
    point = {"type": "Point", "coordinates": _degrees([at])[0]}
    return _feature(fence_id, point, radius_m=150, **properties)


def _line(fence_id: str, points: list[tuple[float, float]]) -> dict[str, Any]:
    line = {"type": "LineString", "coordinates": _degrees(points)}
    return _feature(fence_id, line, kind="corridor", width_m=120)
