"""Borders settled in columns: to the last byte what the judge finds fix by fix, whatever happens near them.

Vehicles drift along borders that meet checkpoints, zones and limits; fixes come in any number a batch, some
late, some after long gaps; fences change and engines are restored in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hazfence import Engine, EngineSettings, FixBatch
from hazfence.columns import Columns
from hazfence.screen import Screen
from hazfence_fences import FenceKind, FenceSet, circle

from .test_plain import fix_by_fix
from .world import HOURS, START_US, Track, at, batch_of, box, disc, fence_set

_GAPS_S = [1, 5, 10, 10, 10, 10, 10, 30, 60, 60, 310, 700]
#: In steps of 193 m east of the border that most of the fences share.
_EDGES = [-0.2, -0.08, -0.079, 0.0, 0.02, 0.079, 0.08, 0.2, 0.5]


def border(rng: np.random.Generator) -> FenceSet:
    """Fences along one border, some with limits, some that the judge alone can judge."""
    limit = {"max_stay_min": 3} if rng.random() < 0.2 else {}
    return fence_set(
        box("district", 2, 2, 10, 10, kind="district", max_stay_min=int(rng.choice([5, 1000]))),
        disc("gate-west", 2, 6, 150, kind="checkpoint"),
        disc("gate-near", 2, 7, 150, kind="checkpoint"),
        disc("gate-south", 6, 2, 150, kind="checkpoint"),
        box("tank-farm", 2, 2, 6, 6, kind="restricted"),
        box("park", 2.02, 2, 6, 10.03, kind="zone", **limit),
        disc("round", 2, 4, 300, kind="zone"),
        disc("works", 2.3, 8, 200, kind="restricted"),
        *([box("weir", 1.9, 5, 2.4, 5.5, kind="restricted", thin=True)] if rng.random() < 0.2 else []),
        *([box("hours", 1.5, 8, 4, 9, kind="zone", schedule=HOURS)] if rng.random() < 0.2 else []),
    )


@dataclass
class Drift:
    """Vehicles that drift along the border."""

    rng: np.random.Generator
    vehicles: int
    said: float = 0.0  # the share of fixes that say how good they are
    places: dict[int, tuple[float, float]] = field(default_factory=dict)
    clock: dict[int, int] = field(default_factory=dict)

    def track(self, most: int) -> Track:
        """So many fixes of each vehicle at most."""
        rows, rng = [], self.rng
        for v in range(self.vehicles):
            time_us = self.clock.get(v, START_US + int(rng.integers(0, 10**6)))
            _, j = self.places.get(v, (2.0, float(rng.uniform(2, 10))))
            for _ in range(int(rng.integers(0, most + 1))):
                time_us += int(rng.choice(_GAPS_S)) * 1_000_000 + int(rng.integers(0, 3))
                kind = rng.random()
                i = self.places.get(v, (2.0, 0.0))[0] if kind < 0.1 else 2 + float(rng.normal(0, 0.05))
                i = i if kind < 0.6 else 2 + float(rng.choice(_EDGES))
                i = float(rng.uniform(1.5, 3)) if kind > 0.85 else i
                j = j + float(rng.normal(0, 0.2)) if rng.random() < 0.9 else float(rng.uniform(2, 10))
                j = min(max(j, 1.5), 10.5)
                self.places[v] = (i, j)
                kmh = float(rng.choice([0.0, 20.0]))
                error_m = float(rng.choice([8.0, 25.0, 60.0, 500.0])) if rng.random() < self.said else np.nan
                rows.append((f"V{v}", time_us, *at(i, j), kmh, error_m))
            self.clock[v] = time_us
        return rows


class Sleepless(Screen):
    """Lets nothing pass."""

    def look(self, *args: Any, **kwargs: Any) -> Columns:
        c = super().look(*args, **kwargs)
        everything = np.arange(len(c.starts), dtype=np.int64)
        return c._replace(due=np.ones_like(c.due), light=np.zeros_like(c.light), active=everything)


def every_fix(engine: Engine) -> Engine:
    """The same engine, made to judge every fix by itself."""
    engine._screen.__class__ = Sleepless
    return fix_by_fix(engine)


@pytest.mark.parametrize("seed", range(24))
def test_drifting_along_borders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fences = border(rng)
    settings = EngineSettings(
        recent_s=float(rng.choice([60.0, 600.0, 1e6])),
        settle_s=float(rng.choice([0.0, 20.0, 100.0, 600.0])),
        settle_m=float(rng.choice([5.0, 15.0, 15.0, 40.0])),
        gate_tolerance_m=float(rng.choice([0.0, 50.0, 200.0])),
        max_accuracy_m=0.0,
    )
    engine, other = Engine(fences, settings), fix_by_fix(Engine(fences, settings))
    sleepless = every_fix(Engine(fences, settings))
    drift, most = Drift(rng, int(rng.choice([1, 3, 12]))), int(rng.choice([1, 3, 8]))
    drift.said = (0.0, 0.05, 0.5)[seed % 3]
    for _ in range(10):
        track = drift.track(most)
        late = rng.random(len(track)) < (0.1 if rng.random() < 0.5 else 0.0)
        for of in (False, True):
            part = batch_of([row for row, x in zip(track, late.tolist(), strict=True) if x is of])
            one, two = engine.process(part), other.process(part)
            assert len(one) == len(two)  # before an event is made
            assert list(one) == list(two) == list(sleepless.process(part))
            assert one.reason.tolist() == two.reason.tolist()
        if track and rng.random() < 0.3:
            now_us = max(drift.clock.values()) + int(rng.choice([0, 10, 400, 2000])) * 1_000_000
            assert engine.advance(now_us) == other.advance(now_us) == sleepless.advance(now_us)
        assert engine.open_events() == other.open_events()
        snapshot = engine.snapshot()
        assert snapshot == other.snapshot()
        if rng.random() < 0.15:
            engine = Engine.restore(snapshot, fences, settings)
            other = fix_by_fix(Engine.restore(snapshot, fences, settings))
        if rng.random() < 0.1:
            farm = circle("tank-farm", FenceKind.ZONE, *at(2, 4), 500.0)
            fences = fences.without("tank-farm") if "tank-farm" in fences else fences.with_fence(farm)
            engine.use_fences(fences)
            other.use_fences(fences)
            sleepless.use_fences(fences)
            fix_by_fix(other)
            every_fix(sleepless)


def test_a_vehicle_that_wavers_is_not_set_apart() -> None:
    fences = fence_set(box("district", 2, 2, 10, 10, kind="district"))
    engine = Engine(fences)
    names = tuple(f"V{i}" for i in range(200))
    rng = np.random.default_rng(1)
    north, (lon, lat) = rng.uniform(3, 9, 200), at(0, 0)
    for step in range(40):
        east = 2 + rng.normal(0, 0.03, 200)
        engine.process(
            FixBatch.of(
                np.arange(200, dtype=np.int32),
                vehicles=names,
                time_us=START_US + step * 10_000_000,
                lon=lon + east * 0.002,
                lat=lat + north * 0.002,
            )
        )
    assert engine._books.records == {}
    assert engine._books.stories == {}
    assert engine._books.fleet.watch[:200].sum() > 20
