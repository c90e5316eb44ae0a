"""With every rule on: what is kept in columns is, to the last byte, what the judge keeps fix by fix."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazfence import Engine, EngineSettings, Event, FixBatch
from hazfence.columns import Columns
from hazfence.rows import last_rows
from hazfence.rules import Rulebook
from hazfence_benchmarks.core import truck_traffic
from hazfence_benchmarks.rules import traffic
from hazfence_benchmarks.workloads import set_a
from hazfence_fences import FenceSet, load_fences

from .rule_world import QUICK, RULE_WORLD, rule_batch, rule_settings, walks
from .test_late import cut
from .test_plain import both_say_the_same, fix_by_fix
from .world import START_US, at

Rows = list[tuple[Any, ...]]
#: Fences without hours, so that most vehicles can be kept in columns.
PLAIN_WORLD = FenceSet([f for f in RULE_WORLD.fences if "curfew" not in (f.properties.get("rules") or {})])
BOOKS = {
    "settled": rule_settings(),
    "at once": replace(rule_settings(), settle_m=0.0),
    "doubting": replace(rule_settings(gnss_suspect={"max_kmh": 120, "frozen_s": 20}), settle_m=0.0),
    "longer": replace(
        rule_settings(corridor_departure={"for_s": 900, "farther_m": 900}, overpark={"max_min": 25}),
        settle_m=0.0,
    ),
}


CALM = st.tuples(
    st.sampled_from(["A", "B"]),
    st.sampled_from([5, 10, 30, 60, 120, 150]),  # seconds since the vehicle's last fix
    st.sampled_from([-1, -0.25, 0, 0, 0, 0.1, 1]),
    st.sampled_from([-2, -1, -0.5, 0, 0, 0, 0.1, 1, 2]),
    st.sampled_from([0.0, 0.0, 15.0, 15.0, 15.0, float("nan")]),
)


@st.composite
def calm_walks(draw: st.DrawFn) -> Rows:
    """Fixes of two vehicles that keep the limits and are heard often: what columns are for."""
    clock = {"A": START_US, "B": START_US + 7_000_000}
    place = {"A": (6.0, 6.0), "B": (1.0, 6.0)}
    track: Rows = []
    for vehicle, wait_s, di, dj, speed in draw(st.lists(CALM, min_size=1, max_size=50)):
        clock[vehicle] += wait_s * 1_000_000
        i, j = place[vehicle]
        place[vehicle] = ((i + di) % 13, (j + dj) % 13)
        track.append((vehicle, clock[vehicle], *at(*place[vehicle]), speed, 0))
    return track


@given(track=calm_walks() | walks(), data=st.data())
def test_any_walk_in_any_order(track: Rows, data: st.DataObject) -> None:
    book = BOOKS[data.draw(st.sampled_from(sorted(BOOKS)))]
    settings = replace(book, recent_s=data.draw(st.sampled_from([0.0, 120.0, 1e6])))
    engine, other = Engine(PLAIN_WORLD, settings), fix_by_fix(Engine(PLAIN_WORLD, settings))
    assert engine._plain.on
    order = data.draw(st.permutations(track)) if data.draw(st.booleans()) else track
    for part in cut(data, order):
        both_say_the_same(engine, other, rule_batch(part), data)
        if settings.recent_s and data.draw(st.booleans()):
            assert engine.snapshot() == other.snapshot()
        if data.draw(st.booleans()):
            engine = Engine.restore(engine.snapshot(), PLAIN_WORLD, settings)
            other = fix_by_fix(Engine.restore(other.snapshot(), PLAIN_WORLD, settings))
        assert engine.open_events() == other.open_events()


def test_a_harmless_fix_after_a_look_into_silence_and_a_late_fix() -> None:
    engine, other = Engine(RULE_WORLD, rule_settings()), fix_by_fix(Engine(RULE_WORLD, rule_settings()))

    def fix(second: int, i: int, j: int, kmh: float) -> tuple[Any, ...]:
        return ("A", START_US + second * 1_000_000, *at(i, j), kmh, 0)

    # It stands about, out of order, and drives off; then nobody hears of it, nor is anything to be said.
    first = [(13, 4, 10, 0.0), (10, 6, 12, 0.0), (12, 8, 8, 0.0), (14, 2, 11, 15.0), (9, 5, 1, 0.0)]
    late, last = (1, 4, 4, 0.0), (15, 0, 9, 15.0)
    for fixes, wait_s in ((first, 2000), ([late], None), ([last], None)):
        batch = rule_batch([fix(*one) for one in fixes])
        assert list(engine.process(batch)) == list(other.process(batch))
        if wait_s is not None:
            now_us = START_US + wait_s * 1_000_000
            assert engine.advance(now_us) == other.advance(now_us)
    assert engine.snapshot() == other.snapshot()


def test_events_that_go_on_do_not_set_a_vehicle_apart() -> None:
    fences = load_fences("fences/zhenhai")
    book = {"corridor_departure": {"for_s": 60, "farther_m": None}, "overdrive": {"continuous_h": 0.1}}
    engine = Engine(fences, EngineSettings(settle_m=0.0, rules=Rulebook(book)))
    batches = traffic(fences, vehicles=200, minutes=12, seed=2)
    for batch in batches:
        shifted = replace(batch, lat=batch.lat + 0.004)  # 440 m beside the lanes
        engine.process(shifted)
    going_on = Counter(str(event.kind) for event in engine.open_events())
    assert going_on["corridor_departure"] > 10
    assert going_on["overdrive"] > 10
    apart = [code for code in range(200) if engine._books.stays.apart(code)]
    assert len(apart) < 20


def test_fences_changed_under_the_traffic() -> None:
    fences = load_fences("fences/zhenhai")
    settings = EngineSettings(recent_s=100.0, rules=Rulebook.all_on({"overpark": {"max_min": 4}}))
    engine, other = Engine(fences, settings), fix_by_fix(Engine(fences, settings))
    told = Counter[str]()
    for i, batch in enumerate(restless(traffic(fences, vehicles=150, minutes=8, seed=3), 3)):
        one, two = engine.process(batch), other.process(batch)
        assert list(one) == list(two)
        told.update(str(event.kind) for event in one)
        if i % 6 == 5:
            gone = ("park-1", "corridor-1", "cp-3")[i // 6 % 3]
            now = fences.without(gone)
            if i % 12 == 5:
                engine.use_fences(now)
                other.use_fences(now)
                fix_by_fix(other)
            else:
                engine = Engine.restore(engine.snapshot(), now, settings)
                other = fix_by_fix(Engine.restore(other.snapshot(), now, settings))
        assert engine.snapshot() == other.snapshot()
    assert told["visit"] > 50
    assert told["overpark"] + told["corridor_departure"] > 10


def restless(batches: list[FixBatch], seed: int) -> list[FixBatch]:
    """The same with trucks that stop and go: each for minutes at a time, and some for long."""
    rng = np.random.default_rng(seed)
    count = len(batches[0].vehicles)
    stands = rng.random(count) < 0.3
    held: dict[str, Any] = {}
    out = []
    for batch in batches:
        turns = rng.random(count) < np.where(np.arange(count) % 3 == 0, 0.01, 0.1)
        stands ^= turns
        still = stands[batch.vehicle]
        lon, lat = batch.lon.copy(), batch.lat.copy()
        if held:
            # Who stops stays where the last fix was; who goes on is soon where the way leads.
            lon = np.where(still, held["lon"][batch.vehicle], lon)
            lat = np.where(still, held["lat"][batch.vehicle], lat)
        speed = np.where(still, 0.0, np.maximum(batch.speed_kmh, 20.0)).astype(np.float32)
        speed[rng.random(len(batch)) < 0.01] = np.nan
        place = np.empty(count), np.empty(count)
        place[0][batch.vehicle], place[1][batch.vehicle] = lon, lat
        held = {"lon": place[0], "lat": place[1]}
        out.append(replace(batch, lon=lon, lat=lat, speed_kmh=speed))
    return out


#: Four hours at a stretch, three of them by night, seven a day.
DRIVING = {
    "daily_h": 7,
    "night_h": 3,
    "night_hours": {"tz": "Asia/Shanghai", "windows": [{"days": "mon-sun", "from": "22:00", "to": "06:00"}]},
}


def days_of_trucks(fences: FenceSet, *, vehicles: int, days: float, every_s: int, seed: int) -> FixBatch:
    """Trucks that drive for up to six hours, and stand for minutes or for a night; now and then unheard."""
    rng = np.random.default_rng(seed)
    west, south, east, north = next(f.bounds for f in fences if f.kind == "district")
    lon, lat = rng.uniform(west, east, vehicles), rng.uniform(south, north, vehicles)
    heading, kmh = rng.uniform(0, 2 * np.pi, vehicles), rng.uniform(20, 50, vehicles)
    drives, left_s = rng.random(vehicles) < 0.5, rng.uniform(0, 10_000, vehicles)
    names, parts = tuple(f"T{i}" for i in range(vehicles)), list[FixBatch]()
    for step in range(round(days * 86_400 / every_s)):
        turns = left_s <= 0
        drives ^= turns
        stands_s = np.where(
            rng.random(vehicles) < 0.6, *rng.uniform((120, 1200), (1500, 36_000), (vehicles, 2)).T
        )
        left_s = np.where(
            turns, np.where(drives, rng.uniform(600, 21_600, vehicles), stands_s), left_s - every_s
        )
        heading = np.where(rng.random(vehicles) < every_s / 900, rng.uniform(0, 2 * np.pi, vehicles), heading)
        away = np.where(drives, kmh, 0.0) / 3.6 * every_s / 111_195
        lon, lat = lon + away * np.cos(heading) / 0.87, lat + away * np.sin(heading)
        out = (lon < west - 0.02) | (lon > east + 0.02) | (lat < south - 0.02) | (lat > north + 0.02)
        heading = np.where(out, heading + np.pi, heading)
        speed = np.where(rng.random(vehicles) < 0.01, np.nan, np.where(drives, kmh, 0.0))
        heard = np.flatnonzero(rng.random(vehicles) < 0.97)
        at_us = START_US + step * every_s * 1_000_000 + rng.integers(0, 10**6, vehicles)
        of = {"time_us": at_us, "lon": lon, "lat": lat, "speed_kmh": speed}
        heard_of = {name: column[heard] for name, column in of.items()}
        parts.append(FixBatch.of(heard.astype(np.int32), vehicles=names, **heard_of))
    return FixBatch.concat(parts)


def test_who_drives_on_past_the_limit_is_not_judged_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    fences = load_fences("fences/zhenhai")
    engine = Engine(fences, EngineSettings(rules=Rulebook({"overdrive": {"continuous_h": 0.1}})))
    judged = list[int]()
    judge = Engine._judge_vehicle

    def counted(self: Engine, c: Columns, lo: int, hi: int) -> list[Event]:
        judged.append(int(c.codes[lo]))
        return judge(self, c, lo, hi)

    monkeypatch.setattr(Engine, "_judge_vehicle", counted)
    for hour in range(4):
        for minute in range(60):
            at_us = START_US + (hour * 60 + minute) * 60_000_000
            speeds = np.where(np.arange(50) < 40, 40.0, 0.0)  # far out at sea, where no fence is
            lon = 122.5 + 0.006 * (hour * 60 + minute) * (speeds > 0)
            engine.process(FixBatch.of([f"V{i}" for i in range(50)], time_us=np.full(50, at_us), lon=lon,
                                       lat=np.full(50, 30.5), speed_kmh=speeds))  # fmt: skip
    assert Counter(str(event.kind) for event in engine.open_events()) == {"overdrive": 40}
    assert not judged  # columns say that themselves


@pytest.mark.parametrize("settle_m", [0.0, 15.0])
@pytest.mark.parametrize("recent_s", [0.0, 3000.0])
def test_days_of_trucks_past_their_limits(settle_m: float, recent_s: float) -> None:
    fences = load_fences("fences/zhenhai")
    book = {"overpark": {"max_min": 20}, "corridor_departure": {"for_s": 7200}, "overdrive": DRIVING}
    settings = EngineSettings(recent_s=recent_s, settle_m=settle_m, rules=Rulebook.all_on(book))
    engine, other = Engine(fences, settings), fix_by_fix(Engine(fences, settings))
    track = days_of_trucks(fences, vehicles=20, days=2.5, every_s=90, seed=6)
    rng, told, begin = np.random.default_rng(6), Counter[tuple[str, str]](), 0
    while begin < len(track):
        size = int(rng.choice([20, 300, 900]))
        batch = track.take(slice(begin, begin + size))
        begin += size
        late = (rng.random(len(batch)) < 0.01) & (recent_s > 0)
        for part in (batch.take(~late), batch.take(late).take(rng.permutation(int(late.sum())))):
            one, two = engine.process(part), other.process(part)
            assert sorted(one.rows()) == sorted(last_rows(two))
            assert list(one) == list(two)
            told.update((str(event.kind), str(event.phase)) for event in one)
        if rng.random() < 0.5:
            now_us = int(batch.time_us.max()) + int(rng.choice([0, 100, 1500])) * 1_000_000
            assert engine.advance(now_us) == other.advance(now_us)
        if recent_s and rng.random() < 0.1:
            assert engine.snapshot() == other.snapshot()
        assert engine.open_events() == other.open_events()
    for kind, least in (("visit", 200), ("overdrive", 40), ("overpark", 10), ("corridor_departure", 10)):
        assert told[kind, "opened"] > least, told
        assert told[kind, "closed"] > least / 2, told


@pytest.mark.parametrize("make", ["trucks", "district"])
@pytest.mark.parametrize("settle_m", [0.0, 15.0])
def test_traffic_of_many_trucks(make: str, settle_m: float) -> None:
    fences = set_a() if make == "trucks" else load_fences("fences/zhenhai")
    if make == "trucks":
        batches = restless(truck_traffic(fences, vehicles=300, steps=60, seed=4), 4)
    else:
        batches = restless(traffic(fences, vehicles=300, minutes=10, seed=4), 4)
    drive = {**QUICK["overdrive"], "continuous_h": 0.12, "rest_min": 1, "daily_h": 0.13, "night_h": 0.1}
    book = {**QUICK, "corridor_departure": {"for_s": 300}, "overpark": {"max_min": 5}, "overdrive": drive}
    settings = EngineSettings(recent_s=100.0, settle_m=settle_m, rules=Rulebook.all_on(book))
    engine, other = Engine(fences, settings), fix_by_fix(Engine(fences, settings))
    rng, told = np.random.default_rng(4), Counter[str]()
    for i in range(0, len(batches), 3):
        batch = FixBatch.concat(batches[i : i + 3])
        late = rng.random(len(batch)) < 0.01
        for part in (batch.take(~late), batch.take(late).take(rng.permutation(int(late.sum())))):
            one, two = engine.process(part), other.process(part)
            assert list(one) == list(two)
            told.update(str(event.kind) for event in one)
        if i % 12 == 0:
            now_us = int(batch.time_us.max()) + 30_000_000
            assert engine.advance(now_us) == other.advance(now_us)
        assert engine.open_events() == other.open_events()
    assert engine.snapshot() == other.snapshot()
    assert told["visit"] > 50
    assert told["overpark"] > 10
    assert told["overdrive"] > 10
