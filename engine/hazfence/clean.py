"""Which fixes may be used at all: the first look at every value, vectorised.

You are in the core, between ``fixes.py`` and ``engine.py``. :func:`screen_values` looks at each
fix alone, and :func:`extent_of` at the least and the greatest values first, which say of most
batches that nothing is wrong with them; whether a fix is new or old news for its vehicle is decided
in ``engine.py``, which knows the vehicle's last fix. A fix that is set aside is never lost: its
:class:`Reason` is reported in the outcome, and the worker keeps it. NaN must never reach the index,
so nothing behind this room has to think about it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.fixes import FixBatch
from hazfence.settings import EngineSettings

__all__ = ["Extent", "Reason", "extent_of", "screen_values"]

#: Status bit 1 of JT/T 808 0x0200: the receiver had a fix (定位).
STATUS_FIX_VALID = 0x2


class Reason(IntEnum):
    """Why a fix was set aside; 0 means that it was accepted."""

    OK = 0
    NOT_FINITE = 1  #: longitude or latitude is NaN or infinite
    OUT_OF_RANGE = 2  #: longitude outside +-180 or latitude outside +-90 degrees
    NULL_ISLAND = 3  #: exactly (0, 0): the receiver's way of saying nothing
    TIME_TOO_OLD = 4  #: before ``earliest_us``: a clock that was reset
    TIME_FUTURE = 5  #: after ``latest_us``, or more than ``max_ahead_s`` ahead of its message
    FIX_INVALID = 6  #: status was sent and its bit 1 says that there was no fix
    DUPLICATE = 7  #: the same fix once more
    LATE = 8  #: before fixes that are not remembered any more, so that it could not be judged
    SAME_TIME = 9  #: another fix of the same vehicle and moment stands; a clock that stands still, too
    TIME_BEHIND = 10  #: more than ``max_behind_h`` before its message: a clock that was reset
    INACCURATE = 11  #: may be wrong by more than ``max_accuracy_m``, as the receiver itself says

    @property
    def label(self) -> str:
        """The reason as it is counted and stored, e.g. ``null_island``."""
        return self.name.lower()


class Extent(NamedTuple):
    """The least and the greatest values of fixes, all of which may be used: degrees, microseconds UTC."""

    west: float
    south: float
    east: float
    north: float
    earliest_us: int
    latest_us: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Degrees."""
        return self[:4]

    @property
    def span_us(self) -> tuple[int, int]:
        """From when to when."""
        return self[4:]


def screen_values(batch: FixBatch, settings: EngineSettings) -> npt.NDArray[np.uint8]:
    """A :class:`Reason` for every fix, judged by its own values alone.

    Args:
        batch: n fixes.
        settings: for the bounds of time.

    Returns:
        uint8, shape (n,). Where several reasons apply, the first of the rows below is given: they look at
        the fix and its message alone, so they are the same in any order of arrival.
    """
    lon, lat, time_us = batch.lon, batch.lat, batch.time_us
    reason = np.zeros(len(batch), np.uint8)
    if not len(batch) or extent_of(batch, settings) is not None:
        return reason

    def mark(where: npt.NDArray[np.bool_], why: Reason) -> None:
        if where.any():
            reason[where & (reason == 0)] = why

    with np.errstate(invalid="ignore"):
        mark(~(np.isfinite(lon) & np.isfinite(lat)), Reason.NOT_FINITE)
        mark((np.abs(lon) > 180.0) | (np.abs(lat) > 90.0), Reason.OUT_OF_RANGE)
    mark((lon == 0.0) & (lat == 0.0), Reason.NULL_ISLAND)
    mark(time_us < settings.earliest_us, Reason.TIME_TOO_OLD)
    mark(time_us > settings.latest_us, Reason.TIME_FUTURE)
    ahead_us = int(settings.max_ahead_s * 1e6)
    # received_us is 0 where nobody noted it; only a noted moment can prove a fix to be ahead of it.
    mark((batch.received_us > 0) & (time_us - batch.received_us > ahead_us), Reason.TIME_FUTURE)
    if settings.max_behind_h:
        behind_us = int(settings.max_behind_h * 3.6e9)
        mark((batch.received_us > 0) & (batch.received_us - time_us > behind_us), Reason.TIME_BEHIND)
    mark((batch.status != 0) & (batch.status & STATUS_FIX_VALID == 0), Reason.FIX_INVALID)
    if batch.accuracy_m is not None and settings.max_accuracy_m:
        mark(batch.accuracy_m > settings.max_accuracy_m, Reason.INACCURATE)  # never NaN, which is unknown
    return reason


def extent_of(batch: FixBatch, settings: EngineSettings) -> Extent | None:
    """The extremes of a batch of at least one fix, where they prove that every fix may be used.

    They do of most batches, and to ask for them is a fifth of what it costs to look at every fix. None
    where they do not; then :func:`screen_values` says which may.
    """
    lon, lat, time_us = batch.lon, batch.lat, batch.time_us
    west, east, south, north = (float(v) for v in (lon.min(), lon.max(), lat.min(), lat.max()))
    if not (west >= -180.0 and east <= 180.0 and south >= -90.0 and north <= 90.0):  # NaN is among both
        return None
    if west <= 0.0 <= east and south <= 0.0 <= north:
        return None
    earliest_us, latest_us = int(time_us.min()), int(time_us.max())
    if earliest_us < settings.earliest_us or latest_us > settings.latest_us:
        return None
    last_us = int(batch.received_us.max())
    if last_us > 0:
        first_us = int(batch.received_us.min())
        if first_us <= 0 or latest_us - first_us > int(settings.max_ahead_s * 1e6):
            return None
        if settings.max_behind_h and last_us - earliest_us > int(settings.max_behind_h * 3.6e9):
            return None
    most_m = settings.max_accuracy_m
    if batch.accuracy_m is not None and most_m and np.fmax.reduce(batch.accuracy_m) > most_m:
        return None
    if not int(np.bitwise_and.reduce(batch.status)) & STATUS_FIX_VALID and int(batch.status.max()):
        return None
    return Extent(west, south, east, north, earliest_us, latest_us)
