"""Recent fixes: whatever is dropped, every moment after a vehicle's limit keeps its neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from hazfence.recent import Recent
from hazfence.track import Track

START_US = 1_772_380_800_000_000
RECENT_US = 600_000_000


def track(time_us: np.ndarray, seed: int = 0) -> Track:
    n = len(time_us)
    rng = np.random.default_rng(seed)
    lon, lat = rng.random(n), rng.random(n)
    none = np.zeros(n, np.float32)
    return Track(
        np.asarray(time_us, np.int64), lon, lat, none, none.copy(), keys(lon, lat), np.zeros(n, np.uint32)
    )


def keys(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """What covers a place: some number that tells it from others."""
    return (lon * 2.0**52).astype(np.uint64) ^ (lat * 2.0**51).astype(np.uint64)


class Memory:
    """A memory beside a list of everything."""

    def __init__(self, vehicles: int) -> None:
        self.last_us = np.full(vehicles, np.iinfo(np.int64).min)
        self.all: list[list[int]] = [[] for _ in range(vehicles)]
        self.recent = Recent(lambda codes: self.last_us[codes] - RECENT_US, RECENT_US, keys)

    def hear(self, codes: np.ndarray, time_us: np.ndarray) -> None:
        before_us = self.last_us[codes]
        self.last_us[codes] = time_us
        for code, at_us in zip(codes.tolist(), time_us.tolist(), strict=True):
            self.all[code].append(at_us)
        self.recent.note_gaps(codes.astype(np.int32), track(time_us), before_us)
        self.recent.add_in_order(codes.astype(np.int32), track(time_us))

    def needed(self, code: int) -> list[int]:
        known = self.all[code]
        limit_us = known[-1] - RECENT_US if known else 0
        return [t for i, t in enumerate(known) if i + 1 == len(known) or known[i + 1] > limit_us]

    def check(self) -> None:
        for code, known in enumerate(self.all):
            needed = self.needed(code)
            if not known:
                continue
            kept = self.recent.of(code).time_us.tolist()
            assert kept[len(kept) - len(needed) :] == needed
        codes, fixes = self.recent.all()
        for code in range(len(self.all)):
            assert fixes.time_us[codes == code].tolist() == self.needed(code)


@pytest.mark.parametrize("look_every", [0, 1, 7, 50])
def test_what_is_needed_is_kept(look_every: int) -> None:
    rng = np.random.default_rng(look_every)
    memory = Memory(40)
    # Some report every few seconds, some every few minutes, some fall silent for an hour and come back.
    every_s = rng.choice([5.0, 30.0, 70.0, 119.0, 121.0, 400.0, 3600.0], 40)
    due = START_US + rng.uniform(0, every_s * 1e6).astype(np.int64)
    for step in range(900):
        now_us = START_US + step * 10_000_000
        codes = np.flatnonzero(due <= now_us)
        if len(codes):
            memory.hear(codes, due[codes])
            silent = np.where(rng.random(len(codes)) < 0.005, 4000.0, 0.0)
            due[codes] += ((every_s[codes] * rng.uniform(0.8, 1.2, len(codes)) + silent) * 1e6).astype(
                np.int64
            )
        if look_every and step % look_every == 0:
            memory.check()
    memory.check()


def test_memory_is_bounded() -> None:
    memory = Memory(100)
    codes = np.arange(100)
    for step in range(1000):
        memory.hear(codes, np.full(100, START_US + step * 10_000_000))
        if step == 500:
            memory.recent.of(3)  # from here on some lie in chains
    assert len(memory.recent) <= 100 * 180
    for step in range(1000, 1200):
        memory.hear(codes, np.full(100, START_US + step * 10_000_000))
        memory.recent.of(3)
    assert len(memory.recent) <= 100 * 180
    memory.recent.clear()
    assert len(memory.recent) == 0


def test_a_gap_is_remembered_though_another_clock_is_ahead() -> None:
    # The first to come is not the oldest: dropping it must not forget what followed an older fix.
    memory, minute_us = Memory(2), 60_000_000
    for code, minutes in ((0, 60), (0, 62), (1, 10), (1, 300)):
        memory.hear(np.array([code]), np.array([START_US + minutes * minute_us]))
    memory.check()


def test_columns_of_their_own_are_kept_and_cannot_be_written_to_any_more() -> None:
    memory = Memory(1)
    fixes = track(np.array([START_US]))
    memory.last_us[0] = START_US
    memory.recent.add_in_order(np.zeros(1, np.int32), fixes)
    with pytest.raises(ValueError, match="read-only"):
        fixes.lon[0] = 99.0


def test_views_are_copied() -> None:
    memory = Memory(1)
    whole = track(START_US + np.arange(1000))
    fixes = whole.cut(slice(0, 1))
    memory.last_us[0] = START_US
    memory.recent.add_in_order(np.zeros(5, np.int32)[:1], fixes)
    whole.lon[0] = 99.0
    assert memory.recent.of(0).lon[0] != 99.0


def test_fixes_of_a_busy_hour_give_their_place_back() -> None:
    memory = Memory(1)
    at_us = START_US
    for step in range(3000):
        at_us += 200_000 if step < 2500 else 20_000_000
        memory.hear(np.zeros(1, np.intp), np.array([at_us]))
        memory.recent.of(0)
    assert len(memory.recent) <= 160
    memory.check()


@pytest.mark.parametrize("vehicles", [3, 200])  # few chains are walked one by one, many together
def test_neighbours_and_stories_are_those_of_a_plain_search(vehicles: int) -> None:
    rng = np.random.default_rng(vehicles)
    memory = Memory(vehicles)
    memory.last_us[:] = START_US
    known: dict[int, dict[int, float]] = {code: {} for code in range(vehicles)}
    for step in range(60):
        codes = np.sort(rng.integers(0, vehicles - 1, 40)).astype(np.int32)  # the last one is never heard
        time_us = START_US + rng.integers(0, 400, 40)
        fixes = track(time_us, step)
        memory.recent.add(codes, fixes)
        for code, at_us, lon in zip(codes.tolist(), time_us.tolist(), fixes.lon.tolist(), strict=True):
            known[code][at_us] = max(lon, known[code].get(at_us, -1.0))
        if step % 3 == 0:  # what is asked for between is held ready, and has to keep up
            few = np.unique(rng.integers(0, vehicles, 30)).astype(np.int32)
            for code, one in zip(few.tolist(), memory.recent.each(few), strict=True):
                assert dict(zip(one.time_us.tolist(), one.lon.tolist(), strict=True)) == known[code]
    some = np.unique(rng.integers(0, vehicles, vehicles)).astype(np.int32)
    for code, one in zip(some.tolist(), memory.recent.each(some), strict=True):
        assert dict(zip(one.time_us.tolist(), one.lon.tolist(), strict=True)) == known[code]
        assert (np.diff(one.time_us) > 0).all()
    codes = np.repeat(np.arange(vehicles, dtype=np.int32)[:: 1 if vehicles < 200 else 9], 50)
    check_neighbours(memory, known, codes, rng)
    check_neighbours(memory, known, np.repeat(np.arange(vehicles, dtype=np.int32), 50), rng)
    code = int(np.argmax([len(times) for times in known.values()]))
    one = memory.recent.of(code)
    again = memory.recent.neighbours(np.full(len(one.time_us), code, np.int32), one)
    assert np.isin(one.time_us, list(known[code])).all()
    assert again.known.any()
    assert not again.between.any()


def check_neighbours(
    memory: Memory, known: dict[int, dict[int, float]], codes: np.ndarray, rng: np.random.Generator
) -> None:
    asked = track(START_US + rng.integers(-5, 405, len(codes)))
    near = memory.recent.neighbours(codes, asked)
    assert not near.known.any()  # the same moment, but another place
    for i, (code, at_us) in enumerate(zip(codes.tolist(), asked.time_us.tolist(), strict=True)):
        earlier = [t for t in known[code] if t < at_us]
        later = [t for t in known[code] if t > at_us]
        assert near.between[i] == (bool(earlier) and bool(later) and at_us not in known[code])
        if near.between[i]:
            assert (near.before.time_us[i], near.after.time_us[i]) == (max(earlier), min(later))


@pytest.mark.parametrize("seed", range(6))
def test_the_neighbours_of_any_moment_are_those_of_all_that_came(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vehicles = 1 + seed
    recent = Recent(lambda codes: np.zeros(len(codes), np.int64), RECENT_US, keys)
    moments: list[list[int]] = [[] for _ in range(vehicles)]
    for _ in range(30):  # in no order at all, several of a vehicle at once
        codes = np.sort(rng.integers(0, vehicles, rng.integers(1, 12))).astype(np.int32)
        time_us = rng.permutation(10_000)[: len(codes)] * 10
        taken = [int(t) not in moments[c] for c, t in zip(codes.tolist(), time_us.tolist(), strict=True)]
        codes, time_us = codes[taken], time_us[taken]
        for code, moment_us in zip(codes.tolist(), time_us.tolist(), strict=True):
            moments[code].append(moment_us)
        recent.add(codes, track(time_us))
    asked = np.repeat(np.arange(vehicles + 1, dtype=np.int32), 40)  # the last one was never heard of
    asked_us = rng.integers(-20, 10_020, len(asked)) * 10
    asked_us[::4] = [moments[min(c, vehicles - 1)][0] for c in asked[::4].tolist()]
    near = recent.neighbours(asked, track(asked_us))
    for i, (code, moment_us) in enumerate(zip(asked.tolist(), asked_us.tolist(), strict=True)):
        known = moments[code] if code < vehicles else []
        before, after = [t for t in known if t < moment_us], [t for t in known if t > moment_us]
        between = bool(before and after) and moment_us not in known
        assert near.between[i] == between
        if between:
            assert (near.before.time_us[i], near.after.time_us[i]) == (max(before), min(after))


@pytest.mark.parametrize("seed", range(8))
def test_what_came_in_order_and_what_came_late_is_looked_up_as_one(seed: int) -> None:
    # Enough batches for stretches to be put together, several times over; some vehicles are heard rarely.
    rng = np.random.default_rng(seed)
    vehicles = (4, 30)[seed % 2]
    memory, known = Memory(vehicles), [dict[int, float]() for _ in range(vehicles)]
    memory.recent = Recent(lambda codes: np.full(len(codes), 0), 100_000_000_000, keys)
    rarely = rng.random(vehicles) < 0.3
    for step in range(400):
        now_us = START_US + step * 1_000_000
        some = np.flatnonzero(rng.random(vehicles) < np.where(rarely, 0.02, 0.7)).astype(np.int32)
        codes = np.sort(np.append(some, some[: len(some) // 3]))  # of some two at once
        again = np.append(False, codes[1:] == codes[:-1])
        fixes = track(now_us + codes.astype(np.int64) + again * 500_000, step)
        newest_us = np.array([max(known[code], default=np.iinfo(np.int64).min) for code in codes.tolist()])
        memory.recent.note_gaps(codes, fixes, newest_us)
        memory.recent.add_in_order(codes, fixes)
        for code, at_us, lon in zip(codes.tolist(), fixes.time_us.tolist(), fixes.lon.tolist(), strict=True):
            known[code][at_us] = lon
        if step < 5:
            continue
        late = np.unique(rng.integers(0, vehicles, 3)).astype(np.int32)
        late_us = np.minimum(
            START_US + rng.integers(0, step, len(late)) * 1_000_000 + late.astype(np.int64), now_us
        )
        asked = track(late_us + rng.integers(0, 2, len(late)), 1000 + step)
        check_around(memory.recent, known, late, asked)
        if step % 2:
            memory.recent.add(late, asked)
            found = zip(late.tolist(), asked.time_us.tolist(), asked.lon.tolist(), strict=True)
            for code, at_us, lon in found:
                known[code][at_us] = max(lon, known[code].get(at_us, -1.0))
        if step % 50 == 49:  # the host gives back what it has of one, as when history was recalled
            code = int(rng.integers(vehicles))
            if known[code]:
                memory.recent.replace(code, memory.recent.of(code))
    assert len(memory.recent._arrivals._stretches()) < 60
    codes, everything = memory.recent.all()
    assert np.array_equal(everything.key, keys(everything.lon, everything.lat))
    for code, fixes_of in enumerate(known):
        mine = everything.cut(codes == code)
        assert sorted(set(mine.time_us.tolist())) == sorted(fixes_of)
        of = memory.recent.of(code)
        assert dict(zip(of.time_us.tolist(), of.lon.tolist(), strict=True)) == fixes_of
        assert (np.diff(of.time_us) > 0).all()
        again = memory.recent.neighbours(np.full(len(of.time_us), code, np.int32), of)
        times, counts = np.unique(mine.time_us, return_counts=True)
        assert again.known.tolist() == [bool(counts[times == t][0] == 1) for t in of.time_us.tolist()]
        assert not again.between.any()


def check_around(recent: Recent, known: list[dict[int, float]], codes: np.ndarray, asked: Track) -> None:
    near = recent.neighbours(codes, asked)
    stretches = recent.around(codes, asked.time_us, 5)
    moments = zip(codes.tolist(), asked.time_us.tolist(), stretches, strict=True)
    for i, (code, at_us, (stretch, whole)) in enumerate(moments):
        before = [t for t in known[code] if t < at_us]
        after = sorted(t for t in known[code] if t > at_us)
        assert near.between[i] == (bool(before) and bool(after) and at_us not in known[code])
        if near.between[i]:
            for way in (near.before, near.after):
                assert way.key[i] == keys(way.lon[i : i + 1], way.lat[i : i + 1])[0]
            assert (near.before.time_us[i], near.after.time_us[i]) == (max(before), after[0])
            assert near.before.lon[i] == known[code][max(before)]
            assert near.after.lon[i] == known[code][after[0]]
        begin = max(before, default=at_us)
        wanted = {t: lon for t, lon in known[code].items() if t >= begin}
        found = {
            t: lon
            for t, lon in zip(stretch.time_us.tolist(), stretch.lon.tolist(), strict=True)
            if t >= begin
        }
        assert (np.diff(stretch.time_us) > 0).all()
        assert np.array_equal(stretch.key, keys(stretch.lon, stretch.lat))
        if whole:
            assert found == wanted
        else:
            last_us = max(found)
            assert len([t for t in found if t >= at_us]) >= 5
            assert found == {t: lon for t, lon in wanted.items() if t <= last_us}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_the_last_moment_before_memory_the_fix_that_stands_is_kept(order: tuple[int, ...]) -> None:
    """Whatever came first: an unknown speed is less than any, and the most eastern place is the greatest."""
    lon = np.array([1.0, 2.0, 2.0])
    speed_kmh = np.array([9.0, np.nan, 0.0], np.float32)
    last_us = START_US + 2 * RECENT_US
    memory = Recent(lambda codes: np.full(len(codes), last_us - RECENT_US), RECENT_US, keys)
    code = np.zeros(1, np.int32)
    memory.add_in_order(code, track(np.array([START_US - 1])))
    for i in order:
        fix = track(np.array([START_US]))._replace(lon=lon[i : i + 1], speed_kmh=speed_kmh[i : i + 1])
        memory.add(code, fix)
    memory.note_gaps(code, track(np.array([last_us])), np.array([START_US]))
    memory.add_in_order(code, track(np.array([last_us])))
    codes, kept = memory.all()
    assert codes.tolist() == [0, 0]
    assert kept.time_us.tolist() == [START_US, last_us]
    assert (kept.lon[0], kept.speed_kmh[0]) == (2.0, 0.0)


def test_memory_of_what_was_dropped_is_used_again_and_nothing_is_mixed_up() -> None:
    rng = np.random.default_rng(5)
    memory, vehicles = Memory(600), 600
    rooms, stretches, codes = set[int](), set[int](), np.arange(vehicles)
    kept: list[np.ndarray] = []  # keeps what was seen alive, so that no address is seen twice
    for step in range(520):
        memory.hear(codes, START_US + step * 4_000_000 + codes)
        if step < 20:
            continue
        first = max(step - 150, 0)
        asked = np.sort(rng.choice(vehicles, 12, replace=False)).astype(np.int32)
        at = rng.integers(first, step, len(asked))
        near = memory.recent.neighbours(asked, track(START_US + at * 4_000_000 + asked + 5, step))
        assert near.between.all()
        assert (near.before.time_us == START_US + at * 4_000_000 + asked).all()
        assert (near.after.time_us == START_US + (at + 1) * 4_000_000 + asked).all()
        for one in memory.recent._arrivals._tidy:
            if one.rows is not None and one.first is not None and id(one.first) not in stretches:
                stretches.add(id(one.first))
                rooms.add(one.rows.__array_interface__["data"][0])
                kept.append(one.first)
    assert len(stretches) > 50
    assert len(rooms) < 40
    memory.check()


@pytest.mark.parametrize("kind", ["<i8", "=i8"])
def test_columns_from_the_wire_are_looked_up_too(kind: str) -> None:
    memory, codes = Memory(3), np.arange(3, dtype=np.int32)
    for step in range(20):
        time_us = START_US + step * 10_000_000 + np.arange(3)
        column = np.empty(3, np.dtype(kind).newbyteorder(kind[0]))
        column[:] = time_us
        before_us, memory.last_us = memory.last_us, time_us
        fixes = track(time_us)._replace(time_us=column)
        memory.recent.note_gaps(codes, fixes, before_us)
        memory.recent.add_in_order(codes, fixes)
    near = memory.recent.neighbours(codes, track(START_US + 95_000_000 + np.arange(3)))
    assert near.before.time_us.tolist() == (START_US + 90_000_000 + np.arange(3)).tolist()
    assert near.after.time_us.tolist() == (START_US + 100_000_000 + np.arange(3)).tolist()
    assert memory.recent.of(1).time_us.tolist() == [START_US + s * 10_000_000 + 1 for s in range(20)]


@pytest.mark.parametrize(
    ("vehicles", "every_us"), [(9_000, 4_000_000), (70_000, 4_000_000), (1_500, 9_000_000)]
)
def test_large_batches_are_put_together_as_far_as_they_fit(vehicles: int, every_us: int) -> None:
    memory, codes = Memory(vehicles), np.arange(vehicles)
    rng = np.random.default_rng(vehicles)
    for step in range(40):
        memory.hear(codes, START_US + step * every_us + codes)
        if step < 20:
            continue
        asked = np.sort(rng.choice(vehicles, 5, replace=False)).astype(np.int32)
        at = rng.integers(0, step, 5)
        near = memory.recent.neighbours(asked, track(START_US + at * every_us + asked + 1, step))
        assert (near.before.time_us == START_US + at * every_us + asked).all()
        assert (near.after.time_us == START_US + (at + 1) * every_us + asked).all()
    code = vehicles // 2
    assert memory.recent.of(code).time_us.tolist() == [START_US + s * every_us + code for s in range(40)]
    stretches = memory.recent._arrivals._stretches()
    assert sum(one.first is not None for one in stretches) >= 5
    assert all(one.first is not None for one in stretches[:-7])
    assert max(one.known_us - one.earliest_us for one in stretches) <= RECENT_US // 16 + vehicles
