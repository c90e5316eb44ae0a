"""The replay's clock: where a stream is cut, whatever batches it comes in; and parts of a source."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hazfence import FixBatch
from hazfence_replay.player import paces
from hazfence_replay.readers import Wanted, open_source

DRIVE = Path(__file__).parent.parent / "data" / "car_track_visnjan.gpx"
START_US = 1_772_400_000_000_000
STEP_US = 600_000_000


def stream(fixes: int, vehicles: int, every_s: float) -> FixBatch:
    """All vehicles report together, every so many seconds."""
    at = np.arange(fixes) // vehicles
    return FixBatch.of(
        (np.arange(fixes) % vehicles).astype(np.int32),
        vehicles=tuple(f"v{i}" for i in range(vehicles)),
        time_us=START_US + (at * every_s * 1e6).astype(np.int64),
        lon=121.5,
        lat=29.9,
    )


def test_paces_are_the_same_however_the_stream_is_cut() -> None:
    whole = stream(200_000, 700, 20.0)
    reference = list(paces([whole]))
    assert FixBatch.concat(p.batch for p in reference) == whole
    dice = random.Random(1)
    for _ in range(5):
        cuts = [0, *sorted(dice.sample(range(len(whole)), 40)), len(whole)]
        parts = [whole.take(slice(a, b)) for a, b in pairwise(cuts)]
        again = list(paces([FixBatch.empty(), *parts]))
        assert [p.now_us for p in again] == [p.now_us for p in reference]
        assert [len(p.batch) for p in again] == [len(p.batch) for p in reference]
    assert len(reference) == 3
    assert max(len(p.batch) for p in reference) <= 131_072
    for pace in reference[:-1]:
        assert pace.now_us is not None
        assert pace.now_us % STEP_US == 0
        assert len(pace.batch) >= 65_536
        assert int(pace.batch.time_us.max()) < pace.now_us
    assert reference[-1].now_us == int(whole.time_us[-1])


def test_many_fixes_of_one_moment_are_cut_by_number_and_time_stands() -> None:
    found = [(len(p.batch), p.now_us) for p in paces([stream(200_000, 200_000, 1.0)])]
    assert found == [(131_072, None), (68_928, START_US)]


def test_a_broken_clock_moves_no_time_and_an_empty_stream_moves_it_to_the_end() -> None:
    odd = FixBatch.of(["A", "A"], time_us=[START_US, 4_102_444_800_000_000], lon=[1.0, 1.0], lat=[2.0, 2.0])
    (pace,) = paces([odd])
    assert (len(pace.batch), pace.now_us) == (2, START_US)
    assert [(len(p.batch), p.now_us) for p in paces([], until=5)] == [(0, 5)]
    assert list(paces([])) == []


def test_a_part_of_a_track_by_time_and_vehicle() -> None:
    whole = FixBatch.concat(open_source(DRIVE, vehicle="car"))
    since, until = int(whole.time_us[10]), int(whole.time_us[20])
    reader = open_source(DRIVE, wanted=Wanted(since, until), vehicle="car")
    assert reader.share == 0.0
    assert FixBatch.concat(reader).time_us.tolist() == whole.time_us[10:20].tolist()
    assert reader.share == 1.0
    nobody = open_source(DRIVE, wanted=Wanted(vehicles=frozenset({"truck"})), vehicle="car")
    assert list(nobody) == []
    with pytest.raises(ValueError, match="--from must be before --to"):
        Wanted(5, 5)
