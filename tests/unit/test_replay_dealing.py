"""Paces dealt out through shared memory: all shares together are the pace, to the last bit."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazfence import FixBatch
from hazfence.fixes import COLUMNS, OPTIONAL
from hazfence_replay import dealing
from hazfence_replay.dealing import Dealer, Names, Share, memory_bytes, shard_of
from hazfence_replay.player import Pace

SLOTS = 2
_NAMES = st.lists(st.text("AB浙\ud800 ", max_size=3), min_size=1, max_size=12, unique=True)


@st.composite
def batches(draw: st.DrawFn) -> FixBatch:
    """Any few fixes; columns are the same throughout now and then, and hold odd values."""
    names = tuple(draw(_NAMES))
    n = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    columns = {}
    for name, dtype in (COLUMNS | OPTIONAL).items():
        odd = [0, 1, 7] if dtype.kind in "iu" else [np.nan, -0.0, 0.0, np.inf, 1.5]
        one = draw(st.booleans())
        columns[name] = np.repeat(rng.choice(odd, 1), n) if one else rng.choice(odd, n)
    if draw(st.booleans()):
        del columns["accuracy_m"]
    codes = rng.integers(0, 1 if draw(st.booleans()) else len(names), n)
    return FixBatch.of(codes, vehicles=names, **{k: v for k, v in columns.items() if k != "vehicle"})


def shares(of: int) -> tuple[Dealer, list[Share]]:
    memory: npt.NDArray[np.uint8] = np.full(memory_bytes(SLOTS), 255, np.uint8)
    return Dealer(memory, SLOTS, Names()), [Share(memory, number, of) for number in range(of)]


def bits(batch: FixBatch) -> list[tuple[object, ...]]:
    """Every fix with its vehicle's name, to the last bit, so that NaN and -0.0 are told."""
    columns = [getattr(batch, name) for name in COLUMNS if name != "vehicle"]
    if batch.accuracy_m is not None:
        columns.append(batch.accuracy_m)
    raw = (column.view(f"u{column.itemsize}").tolist() for column in columns)
    return list(zip(batch.names(), *raw, strict=True))


def dealt(paces: Iterable[Pace], of: int) -> None:
    dealer, each = shares(of)
    for pace in paces:
        told = dealer.deal(pace)
        parts = [share.take(told) for share in each]
        whole = bits(pace.batch)
        for number, part in enumerate(parts):
            assert bits(part.batch) == [fix for fix in whole if shard_of(str(fix[0]), of) == number]
            assert part.now_us == pace.now_us
            assert (part.batch.accuracy_m is None) == (pace.batch.accuracy_m is None)
            assert all(shard_of(name, of) == number for name in part.batch.vehicles)
            for name in COLUMNS:
                assert getattr(part.batch, name).flags.owndata


@given(st.lists(batches(), max_size=6), st.integers(1, 4))
def test_the_shares_of_a_pace_are_the_pace(given: list[FixBatch], of: int) -> None:
    dealt([Pace(batch, i or None) for i, batch in enumerate(given)], of)


@given(st.lists(batches(), max_size=4))
def test_so_are_those_of_a_pace_too_long_for_the_memory(given: list[FixBatch]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dealing, "MOST_FIXES", 3)
        dealt([Pace(batch, None) for batch in given], 2)


def test_names_go_over_once_and_stay_in_one_tuple() -> None:
    dealer, (share,) = shares(1)
    first = FixBatch.of(["A", "B"], time_us=[1, 2], lon=0.0, lat=0.0)
    grown = FixBatch.of([2, 0], vehicles=(*first.vehicles, "C"), time_us=[3, 4], lon=0.0, lat=0.0)
    other = FixBatch.of(["C", "D", "A"], time_us=[5, 6, 7], lon=0.0, lat=0.0)
    told = [dealer.deal(Pace(batch, None)) for batch in (first, first)]
    assert [one.names for one in told] == [("A", "B"), ()]
    a, b = (share.take(one).batch for one in told)
    assert a.vehicles is b.vehicles
    third = dealer.deal(Pace(grown, None))
    assert third.names == ("C",)
    assert share.take(third).batch == grown
    fourth = dealer.deal(Pace(other, None))
    assert fourth.names == ("D",)
    assert share.take(fourth).batch == other


def test_columns_that_say_nothing_are_not_laid_down() -> None:
    dealer, _ = shares(1)
    batch = FixBatch.of(["A", "B"], time_us=[1, 2], lon=[0.0, 1.0], lat=[0.0, -0.0])
    told = dealer.deal(Pace(batch, None))
    assert set(told.standing) == {"vehicle", "time_us", "lon", "lat"}
    assert set(told.same) == COLUMNS.keys() - set(told.standing)


def test_a_pace_stands_until_as_many_more_have_been_dealt_as_there_are_slots() -> None:
    dealer, (share,) = shares(1)
    given = [FixBatch.of(["A", "A"], time_us=[i, i + 1], lon=[1.0, 2.0], lat=0.0) for i in range(SLOTS + 1)]
    told = [dealer.deal(Pace(batch, None)) for batch in given[:SLOTS]]
    assert [share.take(one).batch for one in told] == given[:SLOTS]
    dealer.deal(Pace(given[SLOTS], None))
    assert share.take(told[0]).batch == given[SLOTS]
