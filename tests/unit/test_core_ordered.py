"""Numbers in order: the same answers as numpy's own, slower ways."""

from __future__ import annotations

import numpy as np

from hazfence.ordered import among, distinct


def test_as_numpy_has_it() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        a, b = (rng.integers(-4, 9, int(rng.integers(0, 9))) << 40 for _ in range(2))
        assert among(a, np.sort(b)).tolist() == np.isin(a, b).tolist()
        assert distinct(a, b).tolist() == np.union1d(a, b).tolist()
