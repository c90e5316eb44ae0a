"""The quick way to a crossing says what the slow way says, or nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazfence_fences import Fence, load_fences

from .world import WORLD, at

DISTRICT = load_fences("fences/zhenhai")["zhenhai"]


def check(fence: Fence, a: tuple[float, float], b: tuple[float, float]) -> bool:
    """True when the quick way answered; it must then agree to the last bit."""
    quick = fence.only_crossing(*a, *b)
    if quick is None:
        return False
    starts, ends = fence.covers(*a), fence.covers(*b)
    assert starts != ends
    expected = (0.0, quick) if starts else (quick, 1.0)
    assert fence.intervals(*a, *b) == [expected]
    return True


@given(ends=st.tuples(*[st.integers(0, 24)] * 4), fence=st.sampled_from(["district", "park", "weir"]))
def test_on_a_grid_with_corners_and_borders(ends: tuple[int, int, int, int], fence: str) -> None:
    i0, j0, i1, j1 = (n / 2 for n in ends)
    check(WORLD[fence], at(i0, j0), at(i1, j1))


@pytest.mark.parametrize("length_deg", [1e-6, 1e-4, 1e-3, 1e-2, 0.2])
def test_on_the_real_boundary(length_deg: float) -> None:
    rng = np.random.default_rng(7)
    edges = DISTRICT.edges()
    answered = 0
    for _ in range(2000):
        ax, ay, bx, by = edges[rng.integers(len(edges))]
        f = rng.random()
        x, y = ax + f * (bx - ax), ay + f * (by - ay)
        dx, dy = rng.normal(0, length_deg, 2)
        g = rng.random()
        answered += check(DISTRICT, (x - g * dx, y - g * dy), (x + (1 - g) * dx, y + (1 - g) * dy))
    assert answered > (1000 if length_deg <= 1e-3 else 100)


def test_ends_on_vertices_and_border_are_left_to_the_slow_way() -> None:
    for ax, ay, bx, by in DISTRICT.edges()[:300]:
        for end in ((ax, ay), ((ax + bx) / 2, (ay + by) / 2)):
            check(DISTRICT, end, (ax + 0.01, ay + 0.007))
            check(DISTRICT, (ax - 0.01, ay + 0.007), end)
