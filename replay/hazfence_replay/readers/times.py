"""Times as track files write them: ISO 8601, other calendars' habits, seconds and milliseconds.

You are beside the readers of tables. :func:`guess` looks at the first time of a file and names its form;
a whole column of that form is then converted at once by the table's reader, and what does not fit goes one
by one through :class:`TimeReader`. A time without an offset needs a zone: eight hours of difference
between Beijing and UTC move every crossing, so it is never guessed.
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["NoZone", "TimeForm", "TimeReader", "guess", "scale_us"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR_US = 3_600_000_000
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$")
_COMPACT = re.compile(r"(19|20)\d{12}$")
_OFFSET = re.compile(r"(Z|z|[+-]\d{2}:?\d{2}|[+-]\d{2})$")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?")
#: Forms without an offset that are tried in this order; the day before the month is never guessed.
PATTERNS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y-%m-%d %H:%M",
    "%Y%m%d%H%M%S",
    "%Y%m%d %H%M%S",
    "%Y%m%d %H:%M:%S",
    "%Y年%m月%d日 %H:%M:%S",
    "%Y年%m月%d日 %H时%M分%S秒",
    "%Y年%m月%d日%H时%M分%S秒",
    "%Y.%m.%d %H:%M:%S",
)


class NoZone(ValueError):
    """A time without an offset, and no zone was given."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"time {text!r} has no offset from UTC: say what it is in, e.g. --tz Asia/Shanghai or --tz UTC"
        )


@dataclass(frozen=True, slots=True)
class TimeForm:
    """How the times of a column are written.

    Attributes:
        kind: ``epoch`` (a number), ``offset`` (ISO 8601 with offset), ``local`` (ISO 8601 without),
            ``pattern`` (strptime), ``odd`` (none of these: one by one).
        pattern: for strptime.
    """

    kind: Literal["epoch", "offset", "local", "pattern", "odd"]
    pattern: str = ""


def scale_us(number: float) -> float:
    """Microseconds in a unit of an epoch time, told from its size: s, ms, us or ns.

    A time in seconds is below 1e11 until the year 5138, one in milliseconds above it since 1973.

    Example:
        >>> scale_us(1772409600), scale_us(1772409600000)
        (1000000.0, 1000.0)
    """
    size = abs(number)
    return 1e6 if size < 1e11 else 1e3 if size < 1e14 else 1.0 if size < 1e17 else 1e-3


def guess(text: str, pattern: str | None = None) -> TimeForm:
    """The form of a time.

    Example:
        >>> guess("2026-03-02T08:00:00+08:00").kind, guess("2026/3/2 8:00:00").pattern
        ('offset', '%Y/%m/%d %H:%M:%S')
    """
    text = text.strip()
    if pattern is not None:
        return (
            TimeForm("pattern", pattern) if "%f" not in pattern and "%z" not in pattern else TimeForm("odd")
        )
    if _COMPACT.match(text):
        return TimeForm("pattern", "%Y%m%d%H%M%S")
    if _NUMBER.match(text):
        return TimeForm("epoch")
    if found := _ISO.match(text):
        rest = text[found.end() :]
        if not rest:
            return TimeForm("local")
        if _OFFSET.fullmatch(rest):
            return TimeForm("offset")
    for form in PATTERNS:
        try:
            datetime.strptime(text, form)
        except ValueError:
            continue
        return TimeForm("pattern", form)
    return TimeForm("odd")


class TimeReader:
    """Turns one time after the other, or a column of local times, into microseconds UTC.

    Args:
        tz: IANA name of the zone of times without an offset; None refuses them.
        pattern: strptime pattern tried first.
    """

    def __init__(self, tz: str | None = None, pattern: str | None = None) -> None:
        self._zone = None if tz is None else zoneinfo.ZoneInfo(tz)
        self._pattern = pattern

    def read(self, text: str) -> int:
        """Microseconds UTC.

        Raises:
            NoZone: see above.
            ValueError: no time that is known here.
        """
        text = text.strip()
        moment = self._moment(text)
        if isinstance(moment, int):
            return moment
        if moment.tzinfo is None:
            if self._zone is None:
                raise NoZone(text)
            moment = moment.replace(tzinfo=self._zone)
        try:
            return (moment - _EPOCH) // _MICROSECOND
        except OverflowError:
            raise ValueError(f"{text!r} is outside the calendar") from None

    def _moment(self, text: str) -> datetime | int:
        if self._pattern is not None:
            return datetime.strptime(text, self._pattern)
        if not _COMPACT.match(text):
            if _NUMBER.match(text):
                return self.of_number(float(text) if "." in text or "e" in text.lower() else int(text))
            try:
                return datetime.fromisoformat(text)
            except ValueError:
                pass
        for form in PATTERNS:
            try:
                return datetime.strptime(text, form)
            except ValueError:
                continue
        raise ValueError(f"{text!r} is no time that is known here, such as 2026-03-02T08:00:00+08:00")

    def of_number(self, number: float) -> int:
        """Microseconds UTC of an epoch time in s, ms, us or ns.

        Raises:
            ValueError: no number that a calendar reaches.
        """
        if not abs(number) < 9e18:
            raise ValueError(f"{number} is no time")
        scale = scale_us(number)
        return int(number) * int(scale) if isinstance(number, int) and scale >= 1 else round(number * scale)

    def local(self, local_us: npt.NDArray[np.int64], sample: str) -> npt.NDArray[np.int64]:
        """Microseconds UTC of local times given as if they were UTC, int64, shape (n,).

        An hour that a clock change repeats is taken as its first pass.

        Raises:
            NoZone: see above.
        """
        if self._zone is None:
            raise NoZone(sample)
        if not len(local_us):
            return local_us
        hours = local_us // _HOUR_US
        known, which = np.unique(hours, return_inverse=True)
        offsets = [self._offset_us(hour) for hour in known.tolist()]
        return np.asarray(local_us - np.array(offsets, np.int64)[which])

    def _offset_us(self, hour: int) -> int:
        assert self._zone is not None
        try:
            moment = datetime(1970, 1, 1) + timedelta(hours=hour)
        except OverflowError:
            return 0
        offset = moment.replace(tzinfo=self._zone).utcoffset()
        return 0 if offset is None else offset // _MICROSECOND
