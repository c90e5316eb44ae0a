"""Moments and spans of time as people write them on the command line.

You are on the top floor, used by every command with ``--from`` and ``--to``. A plain date is a day of the
local zone, and as an end it is that whole day; a moment without offset is local too.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hazfence.postgis.moments import us_of

__all__ = ["moment", "span"]


def moment(text: str, zone: ZoneInfo, option: str, *, end: bool = False) -> int:
    """What a person wrote, as microseconds UTC.

    Args:
        zone: of what is written without offset.
        option: for the message, e.g. ``--from``.
        end: a plain date then means the end of that day.

    Raises:
        ValueError: it is neither date nor moment.

    Example:
        >>> moment("1970-01-02", ZoneInfo("UTC"), "--from")
        86400000000
        >>> moment("1970-01-01", ZoneInfo("UTC"), "--to", end=True)
        86400000000
    """
    try:
        if len(text) == 10:
            day = date.fromisoformat(text) + timedelta(days=1 if end else 0)
            return us_of(datetime.combine(day, time(), zone))
        when = datetime.fromisoformat(text)
        return us_of(when if when.tzinfo is not None else when.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{option} {text!r} is no date or moment: write e.g. 2026-03-02 or 2026-03-02T08:30:00+08:00"
        ) from None


def span(since: str | None, until: str | None, zone: ZoneInfo) -> tuple[int | None, int | None]:
    """``--from`` and ``--to`` as [since, until), microseconds UTC; None where nothing was said.

    Raises:
        ValueError: one cannot be read, or the span is empty.
    """
    since_us = None if since is None else moment(since, zone, "--from")
    until_us = None if until is None else moment(until, zone, "--to", end=True)
    if since_us is not None and until_us is not None and since_us >= until_us:
        raise ValueError(f"--from {since} is not before --to {until}: swap or correct them")
    return since_us, until_us
