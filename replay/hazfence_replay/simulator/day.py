"""A simulated day: fixes of many trucks in time order, and the truth about them.

You are at the top of the simulator. :func:`simulate` turns fences and a seed into a
:class:`SimulatedDay`; the same fences, seed and arguments give the same bytes again (on another
processor, whose sines and sums may round otherwise, at most a coordinate's last digit differs).
Everything about it is invented: roads, plants, plates, breaches. Next rooms: ``write.py`` (files),
``hazfence_replay.compare`` (what an engine made of it).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from hazfence.fixes import FixBatch
from hazfence_fences import Fence, FenceSet
from hazfence_replay.simulator.country import Country, SimulationError
from hazfence_replay.simulator.graph import Network
from hazfence_replay.simulator.intents import Intent
from hazfence_replay.simulator.plan import Plants, plan_truck, share_out
from hazfence_replay.simulator.reports import Fixes, intervals_s, report
from hazfence_replay.simulator.routes import Routes
from hazfence_replay.simulator.ways import Ways

__all__ = ["NearMiss", "Planted", "SimulatedDay", "simulate"]


#: Reports farther apart than this are a gap; seconds.
_GAP_S = 300


@dataclass(frozen=True, slots=True)
class Planted:
    """A breach that was planted, and that an engine must find.

    Attributes:
        kind: ``gate_bypass``, ``restricted_entry``, ``overspeed`` or ``overstay``; ``coverage_gap``, which
            follows from the silent trucks and is no breach.
        vehicle: name.
        fence_id: the fence it is about.
        at_us: when it begins, microseconds UTC: the crossing of the border, the first moment over
            the limit, the moment at which the stay becomes too long.
        until_us: when it ends, equal to ``at_us`` where it has no duration, None when it goes on
            after the simulation's end.
        lon, lat: degrees WGS-84, where it begins.
        note: what was planned, in words.
    """

    kind: str
    vehicle: str
    fence_id: str
    at_us: int
    until_us: int | None
    lon: float
    lat: float
    note: str


@dataclass(frozen=True, slots=True)
class NearMiss:
    """Something that is nearly a breach, and that an engine must not call one.

    Attributes:
        intent: ``near_speed``, ``near_burst`` or ``near_stay``.
        vehicle: name.
        note: what was planned, in words.
    """

    intent: str
    vehicle: str
    note: str


@dataclass(frozen=True, slots=True)
class SimulatedDay:
    """What :func:`simulate` made.

    Attributes:
        fixes: every fix, by time; vehicles report independently, so their times interleave.
        truth: every planted breach, by time.
        near_misses: what must not fire.
        start_us, end_us: microseconds UTC; no fix is outside.
        roads: the invented roads, each float64[n, 2] degrees, for drawing.
        seed: that made it.
    """

    fixes: FixBatch
    truth: tuple[Planted, ...]
    near_misses: tuple[NearMiss, ...]
    start_us: int
    end_us: int
    roads: tuple[npt.NDArray[np.float64], ...]
    seed: int

    def batches(self, max_fixes: int = 20_000) -> Iterator[FixBatch]:
        """The fixes in order, at most ``max_fixes`` at a time."""
        for start in range(0, len(self.fixes), max_fixes):
            yield self.fixes.take(slice(start, start + max_fixes))

    def __len__(self) -> int:
        return len(self.fixes)

    def __repr__(self) -> str:
        trucks = len(self.fixes.vehicles)
        return f"<SimulatedDay {len(self)} fixes of {trucks} trucks, {len(self.truth)} breaches>"


def simulate(
    fences: FenceSet,
    *,
    seed: int,
    trucks: int = 300,
    date: dt.date | str = "2026-03-02",
    hours: float = 24.0,
    plants: Plants | None = None,
    timezone: str = "Asia/Shanghai",
) -> SimulatedDay:
    """Simulate trucks on invented roads through a district.

    Args:
        fences: one district with checkpoints on its border; corridors, parks and restricted zones
            are used where there are any.
        seed: of everything random; same seed, same bytes.
        trucks: how many.
        date: the day that the simulation starts with, at 00:00 local time.
        hours: its length; more than 24 for several days.
        plants: how many breaches and near misses; None scales the defaults with the trucks.
        timezone: IANA name of the local time.

    Raises:
        SimulationError: the fences, the time or the number of trucks do not allow what was asked.

    Example:
        >>> day = simulate(load_fences("fences/zhenhai"), seed=1, trucks=20, plants=Plants(1, 1, 1, 1, 1))
        >>> len(day.truth) >= 4
        True
    """
    if trucks < 1 or not hours > 0:
        raise SimulationError(f"trucks must be at least 1 and hours above 0, not {trucks} and {hours}")
    first_day = dt.date.fromisoformat(date) if isinstance(date, str) else date
    midnight = dt.datetime.combine(first_day, dt.time(), ZoneInfo(timezone))
    start_us = int(midnight.timestamp()) * 1_000_000
    end_s = float(round(hours * 3600.0))
    rng = np.random.default_rng(seed)
    wanted = share_out(plants if plants is not None else Plants.for_trucks(trucks), trucks, rng)
    names = _plates(rng, trucks)
    every_s = intervals_s(rng, trucks)
    for truck, (intent, _) in wanted.items():
        if intent is Intent.NEAR_BURST:
            # A burst of a few seconds must be seen by the terminal, or it tries nothing.
            every_s[truck] = 5
    country = Country(fences)
    network = Network(country)
    ways = Ways(Routes(network))
    columns: list[Fixes] = []
    truth: list[Planted] = []
    near: list[NearMiss] = []
    for truck, name in enumerate(names):
        plan = plan_truck(ways, (seed, truck), wanted.get(truck), start_us, end_s)
        noise = np.random.default_rng([seed, truck, 1_000_000])
        columns.append(report(plan.trips, int(every_s[truck]), country.plane, noise, end_s))
        for breach, note in plan.breaches:
            until = None if breach.until_s >= end_s else start_us + round(breach.until_s * 1e6)
            at_us = start_us + round(breach.at_s * 1e6)
            truth.append(
                Planted(breach.kind, name, breach.fence_id, at_us, until, breach.lon, breach.lat, note)
            )
        truth += _gaps(columns[-1], country.district_fence, name, start_us)
        near += [NearMiss(str(intent), name, note) for intent, note in plan.near]
    return SimulatedDay(
        fixes=_in_order(columns, names, start_us),
        truth=tuple(sorted(truth, key=lambda p: (p.at_us, p.vehicle, p.kind))),
        near_misses=tuple(near),
        start_us=start_us,
        end_us=start_us + round(end_s * 1e6),
        roads=tuple(country.plane.degrees(line) for line in network.trunk_lines()),
        seed=seed,
    )


def _gaps(fixes: Fixes, district: Fence, name: str, start_us: int) -> list[Planted]:
    """The coverage gaps: reports more than five minutes apart, one of them in the district."""
    inside = district.covers_many(fixes.lon, fixes.lat)
    apart = np.flatnonzero((np.diff(fixes.t_s) > _GAP_S) & (inside[:-1] | inside[1:]))
    note = "the terminal is silent"
    return [
        Planted(
            "coverage_gap",
            name,
            district.id,
            start_us + int(fixes.t_s[i]) * 1_000_000,
            start_us + int(fixes.t_s[i + 1]) * 1_000_000,
            float(fixes.lon[i]),
            float(fixes.lat[i]),
            note,
        )
        for i in apart.tolist()
    ]


def _in_order(columns: list[Fixes], names: tuple[str, ...], start_us: int) -> FixBatch:
    vehicle = np.repeat(np.arange(len(columns), dtype=np.int32), [len(c.t_s) for c in columns])
    t = np.concatenate([c.t_s for c in columns])
    order = np.lexsort((vehicle, t))
    return FixBatch.of(
        vehicle[order],
        vehicles=names,
        time_us=start_us + t[order] * 1_000_000,
        lon=np.concatenate([c.lon for c in columns])[order],
        lat=np.concatenate([c.lat for c in columns])[order],
        speed_kmh=np.concatenate([c.speed_kmh for c in columns])[order],
        heading_deg=np.concatenate([c.heading_deg for c in columns])[order],
        status=np.concatenate([c.status for c in columns])[order],
        offset=np.arange(len(order)),
    )


def _plates(rng: np.random.Generator, trucks: int) -> tuple[str, ...]:
    """Made-up number plates, all different."""
    heads = ("浙B", "浙B", "浙B", "浙B", "浙A", "浙D", "沪D", "苏E", "皖A")
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    found: dict[str, None] = {}
    while len(found) < trucks:
        head = heads[int(rng.integers(len(heads)))]
        digits = f"{int(rng.integers(100_000)):05d}"
        if rng.random() < 0.4:
            digits = letters[int(rng.integers(len(letters)))] + digits[1:]
        found.setdefault(head + digits)
    return tuple(found)
