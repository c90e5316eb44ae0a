"""Fixes that are less accurate than most: remembered wherever a fix is, at no cost for all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hazfence import Engine, EngineSettings, FixBatch, Reason
from hazfence.accuracy import beyond_m
from hazfence.blocks import Blocks
from hazfence.story import Mark
from hazfence.track import Track, merge_tracks, rank, same_fixes
from hazfence.vehicles import NEVER_US, Record
from hazfence_fences import FenceSet

from ..property.world import START_US, WORLD, at, batch_of, box, fence_set

SETTINGS = EngineSettings(recent_s=1e6, max_accuracy_m=0.0)
NAN = float("nan")


def track(time_us: list[int], error_m: list[float] | None) -> Track:
    n = len(time_us)
    whole = batch_of([("A", t, 121.5, 29.9, 20.0) for t in time_us])
    column = None if error_m is None else np.array(error_m, np.float32)
    key = np.zeros(n, np.uint64)
    return Track(
        whole.time_us, whole.lon, whole.lat, whole.speed_kmh, whole.heading_deg, key, whole.alarm, column
    )


def fix(
    second: int, metres: float, *, place: tuple[float, float] = (5, 8), vehicle: str = "A"
) -> tuple[object, ...]:
    return (vehicle, START_US + second * 1_000_000, *at(*place), 20.0, metres)


def test_what_is_no_worse_than_what_is_taken_of_all_is_not_remembered() -> None:
    said = np.array([NAN, 0.0, 15.0, 15.5, np.inf], np.float32)
    found = beyond_m(said, 15.0)
    assert found is not None
    assert found.tolist() == [0.0, 0.0, 0.0, 15.5, 4.0e7]
    assert found.dtype == np.float32
    assert beyond_m(said[:3], 15.0) is None
    assert beyond_m(said, 0.0) is None  # every position is taken as it is
    assert beyond_m(None, 15.0) is None
    assert beyond_m(said[:0], 15.0) is None


def test_of_two_that_differ_in_nothing_else_the_less_accurate_one_stands_in_any_order() -> None:
    good, bad = track([0, 1, 2], None), track([0, 1, 3], [0.0, 40.0, 0.0])
    assert same_fixes(good, bad).tolist() == [True, False, True]
    assert rank(good, 0) == rank(bad, 0)
    assert rank(good, 1) < rank(bad, 1)
    for order in ((good, bad), (bad, good)):
        merged = merge_tracks(*order)
        assert merged.time_us.tolist() == [0, 1, 2, 3]
        assert merged.errors_m().tolist() == [0.0, 40.0, 0.0, 0.0]
    assert merge_tracks(good, good).error_m is None


@pytest.mark.parametrize("order", [(40.0, NAN), (NAN, 40.0), (9.0, NAN), (40.0, 40.0)])
@pytest.mark.parametrize("together", [True, False])
def test_the_engine_settles_them_alike(order: tuple[float, float], together: bool) -> None:
    engine = Engine(WORLD, SETTINGS)
    engine.process(batch_of([fix(0, NAN)]))
    rows = [fix(10, metres) for metres in order]
    batches = [batch_of(rows)] if together else [batch_of([row]) for row in rows]
    reason = [why for batch in batches for why in engine.process(batch).reason.tolist()]
    wanted = {(40.0, NAN): Reason.SAME_TIME, (NAN, 40.0): Reason.OK}.get(order, Reason.DUPLICATE)
    assert reason == [Reason.OK, wanted]
    last = max(0.0 if metres < 15.0 else metres for metres in order if metres == metres)
    assert engine._books.fleet.error_m[0] == last
    assert engine._books.recent.of(0).errors_m().tolist() == [0.0, last]


def test_blocks_keep_it_and_forget_it_with_the_fix() -> None:
    limit = np.full(2, np.iinfo(np.int64).min)
    blocks = Blocks(lambda codes: limit[codes])
    codes = np.zeros(20, np.int32)
    blocks.add(codes, track(list(range(20)), None))
    assert blocks._error_m is None  # nobody said anything: no memory
    blocks.add(codes, track(list(range(20, 40)), [0.0, 30.0] * 10))
    [known] = blocks.each(np.array([0], np.int32))
    assert known.errors_m().tolist() == [0.0] * 20 + [0.0, 30.0] * 10
    around = blocks.around(codes[:1], track([22], [0.0]))
    assert around.known.tolist() == [True]
    assert blocks.around(codes[:1], track([22], [30.0])).known.tolist() == [False]
    blocks.forget(0)
    # The places of old fixes are used again.
    blocks.add(codes, track(list(range(100, 120)), None))
    [known] = blocks.each(np.array([0], np.int32))
    assert known.error_m is None
    many = np.arange(1000, dtype=np.int32)
    blocks.add(many, track(list(range(200, 1200)), [50.0] * 1000))  # more room is needed
    assert all(one.errors_m()[-1] == 50.0 for one in blocks.each(many))


def test_of_whom_nobody_says_anything_a_snapshot_is_as_it_always_was() -> None:
    silent, good, bad = (Engine(WORLD, SETTINGS) for _ in range(3))
    for engine, metres in ((silent, NAN), (good, 12.0), (bad, 40.0)):
        engine.process(batch_of([fix(s, metres, place=(5 + s / 60, 8)) for s in range(0, 300, 30)]))
    assert silent.snapshot() == good.snapshot()
    assert bad.snapshot() != silent.snapshot()
    again = Engine.restore(bad.snapshot(), WORLD, SETTINGS)
    assert again.snapshot() == bad.snapshot()
    assert again._books.recent.of(0).errors_m().tolist() == [40.0] * 10
    assert again._books.fleet.inexact
    again.process(batch_of([fix(400, NAN)]))
    assert not again._books.fleet.inexact


def test_a_host_that_keeps_the_fixes_gives_it_back() -> None:
    rows = [fix(s, 40.0 if s % 60 else NAN) for s in range(0, 300, 30)]
    engine = Engine(WORLD, SETTINGS)
    engine.process(batch_of(rows))
    again = Engine.restore(engine.snapshot(with_recent=False), WORLD, SETTINGS)
    again.remember(batch_of(rows))
    assert again._books.recent.of(0).errors_m().tolist() == [0.0, 40.0] * 5
    assert again.snapshot() == engine.snapshot()


@pytest.mark.parametrize("metres", [0.0, 40.0])
def test_marks_and_milestones_know_how_good_their_fix_is(metres: float) -> None:
    from hazfence.snapshot import pack_mark, unpack_mark

    core = replace(SETTINGS, recent_s=60.0, recall_h=24.0)
    engine = Engine(WORLD, core)
    prev = None
    for s in range(0, 9000, 300):  # across the tank farm and back, fix by fix
        engine.process(batch_of([fix(s, metres, place=(5, 5) if s % 600 else (1, 1))]))
        prev = engine._last_fix(0)
    assert prev is not None
    assert prev.error_m == metres
    mark = Mark(prev, Record(), NEVER_US)
    packed = unpack_mark(pack_mark(mark), NEVER_US, WORLD)
    assert packed.prev is not None
    assert packed.prev == prev._replace(alarm=0)
    news = [one for some in engine.milestones() for one in some]
    stones = [stone for one in news for stone in one.stones if stone.time_us != NEVER_US]
    assert stones
    found = [unpack_mark(stone.state, stone.since_us, WORLD).prev for stone in stones]
    assert [one.error_m for one in found if one is not None] == [metres] * len(stones)


def test_infinite_is_a_number_like_any_other() -> None:
    engine = Engine(WORLD, SETTINGS)
    engine.process(batch_of([fix(s, float("inf"), place=(1 + s / 30, 5)) for s in range(0, 300, 30)]))
    again = Engine.restore(engine.snapshot(), WORLD, SETTINGS)
    assert again.snapshot() == engine.snapshot()
    assert again._last_fix(0).error_m == 4.0e7


def test_where_every_border_counts_at_once_nothing_is_remembered() -> None:
    engine = Engine(FenceSet([]), replace(SETTINGS, settle_m=0.0))
    engine.process(FixBatch.of(["A"], time_us=START_US, lon=[1.0], lat=[1.0], accuracy_m=[90.0]))
    assert not engine._books.fleet.inexact


def test_a_bad_fix_sets_no_vehicle_apart() -> None:
    engine = Engine(
        fence_set(box("district", 2, 2, 10, 10, kind="district")), EngineSettings(max_accuracy_m=0.0)
    )

    def hear(second: int, metres: float, bad_m: float) -> None:
        place = at(2 + metres / 193.0, 9.0)
        engine.process(
            batch_of([
                (f"V{v}", START_US + second * 1_000_000, *place, 20.0, bad_m if v == 7 else 9.0)
                for v in range(20)
            ])
        )  # fmt: skip

    hear(0, -300, NAN)
    hear(30, 10, NAN)  # all waver
    assert engine._books.stays.ours(np.arange(20, dtype=np.int32)).all()
    hear(60, -10, 40.0)
    assert engine._books.stories == {}
    hear(90, 100, NAN)
    hear(120, 100, NAN)
    assert engine._books.stays.ours(np.arange(20, dtype=np.int32)).all()
    assert set(engine.inside("V7")) == set(engine.inside("V8")) == {"district"}
