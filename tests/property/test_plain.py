"""Visits opened and closed in columns are, to the last byte, those that the judge finds fix by fix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazfence import Engine, EngineSettings, FixBatch
from hazfence.rows import last_rows
from hazfence_benchmarks.core import truck_traffic
from hazfence_benchmarks.workloads import DISTRICT_BOX, set_a, set_c
from hazfence_fences import FenceKind, FenceSet, circle, load_fences

from .test_engine import SETTINGS
from .test_late import cut
from .world import WORLD, Track, batch_of, tracks


def fix_by_fix(engine: Engine) -> Engine:
    """The same engine, made to judge every due fix by itself."""
    engine._plain.on = False
    return engine


def both_say_the_same(engine: Engine, other: Engine, batch: FixBatch, data: st.DataObject) -> None:
    """Give two engines a batch, and after it perhaps a silence: every word must be the same."""
    one, two = engine.process(batch), other.process(batch)
    # Written from columns before an event is made of them.
    assert sorted(one.rows()) == sorted(last_rows(two))
    assert list(one) == list(two)
    assert len(one) == len(two)
    assert one.reason.tolist() == two.reason.tolist()
    wait_s = data.draw(st.sampled_from([None, 0, 400, 2000]))
    if wait_s is not None and len(batch):
        now_us = int(batch.time_us.max()) + wait_s * 1_000_000
        assert engine.advance(now_us) == other.advance(now_us)


@given(track=tracks(max_size=40), data=st.data())
def test_any_track_in_any_order(track: Track, data: st.DataObject) -> None:
    settings = replace(SETTINGS, recent_s=data.draw(st.sampled_from([0.0, 60.0, 1e6])))
    engine, other = Engine(WORLD, settings), fix_by_fix(Engine(WORLD, settings))
    order = data.draw(st.permutations(track)) if data.draw(st.booleans()) else track
    for part in cut(data, order):
        both_say_the_same(engine, other, batch_of(part), data)
        if data.draw(st.booleans()):
            engine = Engine.restore(engine.snapshot(), WORLD, settings)
            other = fix_by_fix(Engine.restore(other.snapshot(), WORLD, settings))
        assert engine.open_events() == other.open_events()


def gates() -> FenceSet:
    """Many checkpoints on the district's border, so that traffic meets them often."""
    district = load_fences("fences/zhenhai")["zhenhai"]
    corners = district.edges()[::40, :2].tolist()
    more = [circle(f"gate-{i}", FenceKind.CHECKPOINT, *c, 400.0) for i, c in enumerate(corners[:60])]
    inside = [
        circle(f"zone-{i}", FenceKind.ZONE, *c, 700.0, max_stay_min=2) for i, c in enumerate(corners[:9])
    ]
    return FenceSet([district, *more, *inside])


@pytest.mark.parametrize("make", [set_a, lambda: set_c(400), gates], ids=["district", "overlapping", "gates"])
def test_traffic_of_many_trucks(make) -> None:
    fences = make()
    batches = truck_traffic(fences, vehicles=2000, steps=40, seed=4)
    settings = EngineSettings(recent_s=100.0)
    engine, other = Engine(fences, settings), fix_by_fix(Engine(fences, settings))
    rng, told = np.random.default_rng(4), 0
    for i in range(0, len(batches), 4):
        batch = FixBatch.concat(batches[i : i + 4])
        late = rng.random(len(batch)) < 0.01
        bad = np.where(rng.random(len(batch)) < 0.02, rng.uniform(5, 90, len(batch)), np.nan)
        batch = replace(batch, accuracy_m=bad.astype(np.float32)) if i % 8 else batch
        # What is late comes with the next four, in any order.
        for part in (batch.take(~late), batch.take(late).take(rng.permutation(int(late.sum())))):
            one, two = engine.process(part), other.process(part)
            assert sorted(one.rows()) == sorted(last_rows(two))
            assert list(one) == list(two)
            assert one.reason.tolist() == two.reason.tolist()
            told += len(one)
        if i % 12 == 0:
            now_us = int(batch.time_us.max()) + 30_000_000
            assert engine.advance(now_us) == other.advance(now_us)
        assert engine.open_events() == other.open_events()
    assert told > 800
    assert engine.snapshot() == other.snapshot()


def test_fences_changed_under_the_traffic() -> None:
    fences = set_c(300)
    batches = truck_traffic(fences, vehicles=800, steps=12, seed=2)
    engine, other = Engine(fences), fix_by_fix(Engine(fences))
    for i, batch in enumerate(batches):
        assert list(engine.process(batch)) == list(other.process(batch))
        if i % 3 == 2:
            west, south, _, _ = DISTRICT_BOX
            fences = fences.without(fences[i].id)
            fences = fences.with_fence(circle(f"new-{i}", FenceKind.ZONE, west + 0.1, south + 0.1, 3000.0))
            engine.use_fences(fences)
            other.use_fences(fences)
            fix_by_fix(other)


def test_an_event_is_made_when_somebody_looks() -> None:
    fences = set_a()
    engine = Engine(fences)
    first, second = truck_traffic(fences, vehicles=500, steps=2)
    outcome = engine.process(first)
    expected = len(outcome)
    engine.process(second)
    engine.use_fences(fences.without("cp-1"))
    # Counted without making one, and made late they are what they were.
    assert len(outcome.events) == len(list(outcome)) == expected > 100
    assert outcome.events[0] is outcome.events[0]
