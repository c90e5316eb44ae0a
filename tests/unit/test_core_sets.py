"""Sets of fences by their keys: what was met is found, whatever else lies where it belongs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hazfence.sets import Sets
from hazfence_fences import FenceKind, FenceSet, circle

_Keys = npt.NDArray[np.uint64]


class _Places:
    """Stands for fences: a place's longitude names the first of as many members as its latitude says."""

    fences = ()

    def members(
        self, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        count = lat.astype(np.int64)
        row = np.arange(len(lon)).repeat(count)
        within = np.arange(len(row)) - (count.cumsum() - count).repeat(count)
        return row, (lon.astype(np.int64)[row] + within).astype(np.int32)


def _random(rng: np.random.Generator, n: int) -> _Keys:
    return rng.integers(1, 2**64, n, dtype=np.uint64)


def _crowded(rng: np.random.Generator, n: int) -> _Keys:
    """Keys that all belong to a few slots, the last one of the table among them."""
    upper = rng.choice(np.array([0, 1, 2**20 - 1], np.uint64), n)
    return (upper << np.uint64(44)) | rng.integers(1, 2**30, n, dtype=np.uint64)


@pytest.mark.parametrize("make", [_random, _crowded])
def test_sets_met_are_found_and_no_others(make):
    rng = np.random.default_rng(5)
    sets = Sets(_Places())  # type: ignore[arg-type]
    known: dict[int, list[int]] = {0: []}
    for n in (1, 0, 3, 400, 50, 3000, 7):
        key = make(rng, n)
        key = np.concatenate((key, key[: n // 3], rng.choice(np.array(list(known), np.uint64), n)))
        # The same set has the same members wherever it is met.
        first = (key % np.uint64(1000)).astype(np.float64)
        count = (key % np.uint64(5)).astype(np.float64)
        known |= {
            k: list(range(int(f), int(f) + int(c)))
            for k, f, c in zip(key.tolist(), first.tolist(), count.tolist(), strict=True)
            if k not in known
        }
        sets.meet(key, first, count)
        assert len(sets) == len(known)
        asked = np.array(list(known), np.uint64)
        rng.shuffle(asked)
        row, member = sets.members(asked)
        assert np.array_equal(row, np.arange(len(asked)).repeat([len(known[k]) for k in asked.tolist()]))
        assert member.tolist() == [i for k in asked.tolist() for i in known[k]]
        assert np.array_equal(sets.keys[sets.places(asked)], asked)
    strange = np.setdiff1d(make(rng, 2000), np.array(list(known), np.uint64))
    before = len(sets)
    sets.meet(strange, np.zeros(len(strange)), np.zeros(len(strange)))
    assert len(sets) == before + len(strange)


def test_sets_of_old_are_known_without_the_fences_that_are_gone():
    a, b = (circle(name, FenceKind.ZONE, 121.0, 30.0, 100.0) for name in "ab")
    old = FenceSet([a, b])
    both = old.key_of([0, 1])
    sets = Sets(FenceSet([a]), {both: ("a", "b"), b.key: ("b",)})
    assert sets.rekeyed == {both: a.key, b.key: 0}
    assert sets.ids(a.key) == ("a",) == tuple(f.id for f in sets.fences_of_old(both))
    assert sets.fences_of_old(b.key) == ()
