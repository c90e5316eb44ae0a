"""Visits in doubt in columns: to the last byte what the judge finds fix by fix.

New vehicles appear all the time beside the borders of restricted zones, creep in and out of them, and some of
their fixes come late.
"""

from __future__ import annotations

import numpy as np
import pytest

from hazfence import Engine, EngineSettings
from hazfence.rows import last_rows
from hazfence.rules import Rulebook
from hazfence_fences import FenceSet

from .test_plain import fix_by_fix
from .test_wavers import every_fix
from .world import START_US, Track, at, batch_of, box, disc, fence_set

#: In steps of 193 m; 15 m, as far as a position may be wrong, are .078 of them.
_DEEP = [-0.3, -0.07, -0.03, 0.01, 0.03, 0.05, 0.07, 0.077, 0.079, 0.3, 1.0]


def zones() -> FenceSet:
    """Restricted zones that begin at one line, one within another, and what else may lie there."""
    return fence_set(
        box("depot", 2, 2, 6, 10, kind="restricted"),
        box("tanks", 2, 2, 4, 6, kind="restricted"),
        disc("round", 2.06, 4, 60, kind="restricted"),
        box("park", 2.05, 2, 8, 10, kind="zone", max_stay_min=4),
        box("district", 2, 2, 10, 10, kind="district"),
    )


@pytest.mark.parametrize("seed", range(12))
def test_first_seen_beside_a_border(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fences = zones() if seed % 3 else zones().without("park").without("district")
    settings = EngineSettings(
        recent_s=float(rng.choice([30.0, 100.0, 1e6])),
        settle_s=float(rng.choice([20.0, 100.0, 600.0])),
        rules=Rulebook({"possible_entry": seed % 4 > 0}),
        max_accuracy_m=0.0,
    )
    said_m = [8.0, 25.0, 60.0, 500.0]
    engine, other = Engine(fences, settings), fix_by_fix(Engine(fences, settings))
    sleepless = every_fix(Engine(fences, settings))
    clock, said = START_US, 0
    for step in range(8):
        track: Track = []
        most = int(rng.choice([1, 4]))
        for v in range(6 * step + 6):
            north = float(rng.uniform(2.5, 5.5))
            for k in range(int(rng.integers(0, most + 1))):
                moment = clock + k * 10_000_000 + int(rng.integers(0, 10**6))
                error_m = float(rng.choice(said_m)) if rng.random() < (0.0, 0.1, 0.5)[seed % 3] else np.nan
                track.append((f"V{v}", moment, *at(2 + float(rng.choice(_DEEP)), north), 10.0, error_m))
        clock += 10_000_000 * (most + int(rng.choice([0, 0, 5, 40])))
        late = rng.random(len(track)) < (0.1 if seed % 2 else 0.0)
        for of in (False, True):
            part = batch_of([row for row, x in zip(track, late.tolist(), strict=True) if x is of])
            one, two = engine.process(part), other.process(part)
            assert sorted(one.rows()) == sorted(last_rows(two))
            assert len(one) == len(two)
            assert list(one) == list(two) == list(sleepless.process(part))
            said += sum(event.detail.get("exit") == "confirmed" for event in one)
        assert engine.open_events() == other.open_events()
        snapshot = engine.snapshot()
        assert snapshot == other.snapshot()
        if rng.random() < 0.2:
            engine = Engine.restore(snapshot, fences, settings)
            other = fix_by_fix(Engine.restore(snapshot, fences, settings))
        if rng.random() < 0.2:
            assert engine.advance(clock) == other.advance(clock) == sleepless.advance(clock)
    assert bool(said) is (seed % 4 > 0)


def test_a_vehicle_in_doubt_is_not_set_apart() -> None:
    engine = Engine(zones())
    rows: Track = [(f"V{v}", START_US, *at(2.02, 2.5 + v / 100), 0.0) for v in range(100)]
    assert len(engine.process(batch_of(rows))) > 200
    for step in range(1, 5):
        assert (
            list(engine.process(batch_of([(v, us + step * 10_000_000, *where) for v, us, *where in rows])))
            == []
        )
    assert engine._books.fleet.unsure[:100].all()
    assert engine._books.records == {}
    assert engine._books.stories == {}
    deep = [(v, START_US + 60_000_000, *at(2.5, 2.5 + i / 100), 0.0) for i, (v, *_) in enumerate(rows)]
    assert {str(e.kind) for e in engine.process(batch_of(deep))} >= {"restricted_entry", "possible_entry"}
    assert not engine._books.fleet.unsure.any()
    assert engine._books.records == {}
