"""Moments as PostgreSQL gives them, and microseconds as the engine counts them.

You are in the PostGIS adapter, below `history.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["moment_at", "us_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def moment_at(time_us: int) -> datetime:
    """Microseconds UTC as a moment.

    Example:
        >>> moment_at(1).isoformat()
        '1970-01-01T00:00:00.000001+00:00'
    """
    return _EPOCH + timedelta(microseconds=time_us)


def us_of(moment: datetime) -> int:
    """A moment as microseconds UTC."""
    return (moment - _EPOCH) // _MICROSECOND
