"""The physical yardstick: what this machine can do at best, so that "near the limit" is a number.

`measure` goes into every result. ``copy`` is the speed of the memory, ``least`` the least loop that any
matcher in numpy must do: read both coordinates, work out a cell, look its number up in a table, write it.
Nothing exact is decided in it, so no exact matcher with such a table can be quicker; the share of it that
a matcher reaches says how much is left to win. Next room: ``plan.py``.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST", "Least", "limit_share", "measure"]

#: Name of the least loop where it stands beside the ways of a suite.
LEAST = "least numpy loop (limit)"
_LIMITED = ("points/s", "fixes/s", "segments/s")  # units of which the least loop is the limit


class Least:
    """The least loop for batches of ``n`` points on a table of ``side`` x ``side`` cells.

    Example:
        >>> least = Least(1000)
        >>> lon, lat = np.random.default_rng(1).random((2, 1000))
        >>> least(lon, lat).shape
        (1000,)
    """

    def __init__(self, n: int, side: int = 256) -> None:
        self._table = np.arange(side * side, dtype=np.uint64)
        self._side = side
        self._x, self._y = np.empty(n), np.empty(n)
        self._cell, self._out = np.empty(n, np.int64), np.empty(n, np.uint64)
        self._bounds: tuple[float, float, float, float] | None = None

    def __call__(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.uint64]:
        """Numbers of the cells, uint64 of the points' shape; the box is that of the first batch."""
        if self._bounds is None:
            west, south = float(lon.min()), float(lat.min())
            self._bounds = west, south, self._scale(lon, west), self._scale(lat, south)
        west, south, sx, sy = self._bounds
        np.subtract(lon, west, out=self._x)
        np.multiply(self._x, sx, out=self._x)
        np.subtract(lat, south, out=self._y)
        np.multiply(self._y, sy, out=self._y)
        np.floor(self._y, out=self._y)
        np.multiply(self._y, self._side, out=self._y)
        np.add(self._x, self._y, out=self._x)
        np.copyto(self._cell, self._x, casting="unsafe")
        return np.take(self._table, self._cell, out=self._out, mode="clip")

    def _scale(self, values: NDArray[np.float64], low: float) -> float:
        return (self._side - 1) / max(float(values.max()) - low, 1e-9)


def measure(seconds: float = 0.6) -> dict[str, float]:
    """Measure the machine.

    Args:
        seconds: about how long to take.

    Returns:
        ``copy_gb_per_s`` (bytes read and written a second, 64 MB at a time), ``copy_cache_gb_per_s`` (the
        same within 256 kB), ``least_mpoints_per_s`` (the least loop, batches of 100,000),
        ``python_mcalls_per_s`` (calls of an empty Python function), ``fsync_ms`` (4 kB to a temporary file
        and onto the disk), all by the wall clock, the best of several tries.
    """
    share_s = seconds / 5
    big, small = np.zeros(8_000_000), np.zeros(16_000)
    big_to, small_to = np.zeros_like(big), np.zeros_like(small)
    # Different batches in turn, as a matcher meets them: one over and over would sit in the cache.
    lots = itertools.cycle(np.random.default_rng(1).random((8, 2, 100_000)))
    least = Least(100_000)
    return {
        "copy_gb_per_s": round(2 * big.nbytes / _best_s(lambda: np.copyto(big_to, big), share_s) / 1e9, 1),
        "copy_cache_gb_per_s": round(
            2 * small.nbytes / _best_s(lambda: np.copyto(small_to, small), share_s) / 1e9, 1
        ),
        "least_mpoints_per_s": round(0.1 / _best_s(lambda: least(*next(lots)), share_s), 1),
        "python_mcalls_per_s": round(0.01 / _best_s(_ten_thousand_calls, share_s), 1),
        "fsync_ms": round(_fsync_ms(share_s), 2),
    }


def limit_share(unit: str, median: float, yardstick: dict[str, float]) -> float | None:
    """Share of the least loop's speed, where the least loop is the limit; else None."""
    least = yardstick.get("least_mpoints_per_s")
    return median / (least * 1e6) if least and unit in _LIMITED else None


def _best_s(work: Callable[[], Any], seconds: float) -> float:
    work()
    best, end_s = float("inf"), time.perf_counter() + seconds
    while (began := time.perf_counter()) < end_s:
        work()
        best = min(best, time.perf_counter() - began)
    return best


def _ten_thousand_calls() -> None:
    def nothing() -> None: ...

    for _ in range(10_000):
        nothing()


def _fsync_ms(seconds: float) -> float:
    with tempfile.TemporaryFile(buffering=0) as file:

        def work() -> None:
            file.write(bytes(4096))
            os.fsync(file.fileno())

        return _best_s(work, seconds) * 1e3
