"""Crossings and their times as MEOS has them, on more trips than anybody would draw."""

from __future__ import annotations

import pytest

from hazfence_benchmarks.crossings import TOLERANCE_US, compare


def test_ten_thousand_trips_cross_where_and_when_meos_says() -> None:
    pytest.importorskip("pymeos", reason="crossings are not compared with MEOS: pip install pymeos")
    found = compare(10_000)
    assert found.stretches > 25_000
    assert found.wrong == 0
    assert found.apart_us <= TOLERANCE_US
    # Not the other way round: where they disagree, it is seldom, and exact arithmetic is with us.
    assert found.theirs_wrong < 10
