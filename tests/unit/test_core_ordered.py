"""Numbers in order: the same answers as numpy's own, slower ways."""

from __future__ import annotations

import numpy as np
import pytest

from hazfence.ordered import among, begins, distinct, in_turn


def test_as_numpy_has_it() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        a, b = (rng.integers(-4, 9, int(rng.integers(0, 9))) << 40 for _ in range(2))
        assert among(a, np.sort(b)).tolist() == np.isin(a, b).tolist()
        assert distinct(a, b).tolist() == np.union1d(a, b).tolist()
        assert begins(a).tolist() == [i == 0 or a[i] != a[i - 1] for i in range(len(a))]


@pytest.mark.parametrize("longest_us", [0, 3, 10**9, 2**62])
def test_in_turn_is_the_order_of_three_keys(longest_us: int) -> None:
    rng = np.random.default_rng(longest_us % 1000)
    for n in (0, 1, 2, 300):
        row = np.sort(rng.integers(0, 40, n))
        row = np.where(rng.random(n) < 0.2, rng.integers(0, 40, n), row)
        at_us = rng.integers(-longest_us, longest_us + 1, n)
        fence = rng.integers(0, 4, n)
        assert np.array_equal(in_turn(row, at_us, fence), np.lexsort((fence, at_us, row)))
