"""The latencies of ``hazfence bench latency``: every crossing counts, also one that nobody saw."""

from __future__ import annotations

import numpy as np
import pytest

from hazfence_benchmarks import latency


def test_a_crossing_that_was_not_seen_is_missed_and_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_772_380_800.0
    monkeypatch.setattr(latency.time, "time", lambda: now_s)
    monkeypatch.setattr(latency.time, "time_ns", lambda: int(now_s * 1e9))
    feed = latency._Feed(1000, (121.5, 29.9), 150.0)
    now_s += 5.0
    feed.due()
    before = [times[0] for times in feed._times]
    now_s += 0.1
    feed.begin()
    now_s += 5.0
    crossing = [name for name in feed.due().names() if name.startswith("X")]
    assert len(crossing) == 50
    made_us = int(now_s * 1e6)
    seen = [latency._Seen(name, made_us - 1_000_000, now_s + 0.08) for name in crossing]
    seen += [latency._Seen(name, us - 1_000_000, now_s) for name, us in zip(crossing, before, strict=True)]
    found, missing = feed.latencies(seen)  # those from before it began do not count
    assert missing == 0
    assert np.allclose(found, 0.08)
    found, missing = feed.latencies(seen[1:])
    assert (len(found), missing) == (49, 1)
    # Due within the five seconds, made at the end of them.
    assert 0 <= feed.behind_s.min() < feed.behind_s.max() <= 5.1
