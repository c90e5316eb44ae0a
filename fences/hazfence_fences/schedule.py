"""When a fence is in force: weekly windows, single dates and excepted dates, in the fence's own time zone.

A window belongs to the date it *starts* on: ``22:00-06:00`` on a Saturday runs into Sunday morning, and
excepting that Saturday drops the whole night, excepting that Sunday does not. Windows are closed at the start
and open at the end. Where clocks change, a start or end inside the skipped hour moves on by the skip, and in
the repeated hour a window starts at the first and ends at the second occurrence, so it never loses time.

Evaluation is vectorised: the wall clock is turned once into UTC edges for a block of 32 days, and a batch of
event times is then one binary search in those edges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

__all__ = ["DateWindow", "Schedule", "WeekWindow"]

I64 = NDArray[np.int64]

_DAY_S = 86_400
_DAY_US = _DAY_S * 1_000_000
_BLOCK_DAYS = 32
_BLOCK_US = _BLOCK_DAYS * _DAY_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"(\d{2}):(\d{2})(?::(\d{2}))?")
# Outside these years there is no calendar to speak of, and the engine sets such fixes aside long before.
_FIRST_US = int((datetime(1900, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 1_000_000
_LAST_US = int((datetime(2200, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 1_000_000


@dataclass(frozen=True, slots=True)
class WeekWindow:
    """A window on days of the week (0 = Monday), in seconds after midnight; `to_s` may pass 86400."""

    days: tuple[int, ...]
    from_s: int
    to_s: int


@dataclass(frozen=True, slots=True)
class DateWindow:
    """A window on one date, in seconds after local midnight; `to_s` may pass 86400."""

    date: date
    from_s: int
    to_s: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The hours a fence is in force; see the module's text for the meaning of its parts.

    Example:
        >>> rush = Schedule.parse({"tz": "Asia/Shanghai",
        ...                        "windows": [{"days": "mon-fri", "from": "07:00", "to": "09:00"}]})
        >>> monday_8h = 1772409600_000000   # 2026-03-02T08:00+08:00
        >>> rush.in_force(np.array([monday_8h, monday_8h + 3600_000000])).tolist()
        [True, False]
    """

    tz: str
    windows: tuple[WeekWindow, ...] = ()
    dates: tuple[DateWindow, ...] = ()
    excepted: frozenset[date] = frozenset()
    _blocks: dict[int, I64] = field(default_factory=dict, init=False, repr=False, compare=False, hash=False)

    @classmethod
    def parse(cls, obj: Any) -> Schedule:
        """Read the GeoJSON `schedule` property.

        Args:
            obj: ``{"tz": "Asia/Shanghai", "windows": [{"days": "mon-fri", "from": "07:00", "to": "09:00"}],
                "dates": [{"date": "2026-10-01", "from": "00:00", "to": "24:00"}], "except":
                ["2026-10-02"]}``. `tz` is required. Without `windows` and `dates` it is in force all the time
                but on the excepted dates.

        Raises:
            ValueError: naming the part and the mend.
        """
        if not isinstance(obj, Mapping):
            raise ValueError(f"schedule is {type(obj).__name__}, not an object with 'tz' and 'windows'")
        unknown = sorted(set(obj) - {"tz", "windows", "dates", "except"})
        if unknown:
            raise ValueError(f"schedule has unknown key {unknown[0]!r}; known are tz, windows, dates, except")
        tz = obj.get("tz")
        if not isinstance(tz, str):
            raise ValueError("schedule needs 'tz', an IANA time zone such as 'Asia/Shanghai'")
        try:
            ZoneInfo(tz)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"schedule tz {tz!r} is no time zone known here; use an IANA name such as 'Asia/Shanghai'"
            ) from None
        windows = [
            WeekWindow(_days(w, f"windows[{i}]"), *_span(w, f"windows[{i}]"))
            for i, w in enumerate(_list(obj, "windows"))
        ]
        dates = [
            DateWindow(_date(w.get("date"), f"dates[{i}].date"), *_span(w, f"dates[{i}]"))
            for i, w in enumerate(_list(obj, "dates"))
        ]
        excepted = frozenset(_date(d, f"except[{i}]") for i, d in enumerate(_list(obj, "except", str)))
        if not windows and not dates:
            windows = [WeekWindow(tuple(range(7)), 0, _DAY_S)]
        return cls(tz, tuple(windows), tuple(dates), excepted)

    def to_json(self) -> dict[str, Any]:
        """The GeoJSON property that `parse` reads back as this schedule."""
        out: dict[str, Any] = {"tz": self.tz}
        out["windows"] = [
            {"days": ",".join(_DAYS[d] for d in w.days), "from": _clock(w.from_s), "to": _clock_end(w)}
            for w in self.windows
        ]
        out["dates"] = [
            {"date": w.date.isoformat(), "from": _clock(w.from_s), "to": _clock_end(w)} for w in self.dates
        ]
        out["except"] = sorted(d.isoformat() for d in self.excepted)
        return {key: value for key, value in out.items() if value}

    def in_force(self, time_us: I64) -> NDArray[np.bool_]:
        """Whether the fence is in force at each moment.

        Args:
            time_us: int64[n], microseconds UTC.

        Returns:
            bool[n]; outside the years 1900-2200 always False.
        """
        time_us = np.asarray(time_us, dtype=np.int64)
        if time_us.size == 0:
            return np.zeros(0, dtype=bool)
        first, last = int(time_us.min()), int(time_us.max())
        if first < _FIRST_US or last >= _LAST_US:
            usable = (time_us >= _FIRST_US) & (time_us < _LAST_US)
            out = np.zeros(time_us.shape, dtype=bool)
            out[usable] = self.in_force(time_us[usable])
            return out
        if first // _BLOCK_US == last // _BLOCK_US:
            return self._in_block(first // _BLOCK_US, time_us)
        out = np.empty(time_us.shape, dtype=bool)
        blocks = time_us // _BLOCK_US
        for block in np.unique(blocks).tolist():
            rows = blocks == block
            out[rows] = self._in_block(block, time_us[rows])
        return out

    def next_change(self, time_us: int) -> int | None:
        """The first moment after `time_us` (us UTC) at which `in_force` flips, or None if it never does."""
        if time_us >= _LAST_US:
            return None
        now = max(time_us, _FIRST_US - 1)
        here = now // _BLOCK_US
        # Weekly windows flip within a week or never; only named dates can make a change further away.
        named = {w.date for w in self.dates} | self.excepted
        blocks = {here, here + 1}
        for day in named:
            about = (day - _EPOCH.date()).days // _BLOCK_DAYS
            blocks |= {about - 1, about, about + 1}
        for block in sorted(b for b in blocks if b >= here):
            edges = self._edges(block)
            own = edges[(edges > now) & (edges >= block * _BLOCK_US) & (edges < (block + 1) * _BLOCK_US)]
            if own.size:
                return int(own[0])
        return None

    def _in_block(self, block: int, time_us: I64) -> NDArray[np.bool_]:
        """An odd number of edges at or before a moment means: inside a window."""
        passed = np.searchsorted(self._edges(block), time_us, side="right")
        return (passed & 1).astype(bool)

    def _edges(self, block: int) -> I64:
        """Sorted starts and ends (alternating) of the merged windows around a block, in microseconds UTC.

        Windows of two days more on each side are in, so that edges inside the block are final.
        """
        known = self._blocks.get(block)
        if known is not None:
            return known
        zone = ZoneInfo(self.tz)
        first = (_EPOCH + timedelta(days=block * _BLOCK_DAYS - 2)).date()
        spans: list[tuple[int, int]] = []
        for n in range(_BLOCK_DAYS + 4):
            day = first + timedelta(days=n)
            if day not in self.excepted:
                spans += [
                    _utc_us(zone, day, w.from_s, w.to_s) for w in self.windows if day.weekday() in w.days
                ]
            spans += [_utc_us(zone, day, w.from_s, w.to_s) for w in self.dates if w.date == day]
        merged: list[list[int]] = []
        for start, end in sorted(s for s in spans if s[0] < s[1]):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        edges = np.array(merged, dtype=np.int64).reshape(-1)
        self._blocks[block] = edges
        return edges


def _utc_us(zone: ZoneInfo, day: date, from_s: int, to_s: int) -> tuple[int, int]:
    midnight = datetime(day.year, day.month, day.day)
    start = (midnight + timedelta(seconds=from_s)).replace(tzinfo=zone, fold=0)
    end = (midnight + timedelta(seconds=to_s)).replace(tzinfo=zone, fold=1)
    if end.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != end.replace(tzinfo=None):
        end = end.replace(fold=0)  # inside the skipped hour: fold 1 would move back, losing time
    return _us(start), _us(end)


def _us(moment: datetime) -> int:
    since = moment.astimezone(UTC) - _EPOCH
    return (since.days * _DAY_S + since.seconds) * 1_000_000


def _list(obj: Mapping[str, Any], key: str, item: type = Mapping) -> list[Any]:
    value = obj.get(key, [])
    if not isinstance(value, list):
        raise ValueError(f"schedule {key!r} is {type(value).__name__}, not a list")
    for i, entry in enumerate(value):
        if not isinstance(entry, item):
            wanted = "an object" if item is Mapping else "a date such as '2026-10-02'"
            raise ValueError(f"schedule {key}[{i}] is {entry!r}, not {wanted}")
    return value


def _days(window: Mapping[str, Any], where: str) -> tuple[int, ...]:
    text = window.get("days", "mon-sun")
    if not isinstance(text, str):
        raise ValueError(f"schedule {where}.days is {text!r}; write 'mon-fri' or 'sat,sun'")
    days: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise ValueError(
                f"schedule {where}.days {text!r} is unclear at {part!r}; write 'mon-fri' or 'sat,sun'"
            )
        a, b = _DAYS.index(first), _DAYS.index(last if dash else first)
        days |= {d % 7 for d in range(a, b + 1 if b >= a else b + 8)}
    return tuple(sorted(days))


def _span(window: Mapping[str, Any], where: str) -> tuple[int, int]:
    unknown = sorted(set(window) - {"days", "date", "from", "to"})
    if unknown:
        raise ValueError(f"schedule {where} has unknown key {unknown[0]!r}; known are days or date, from, to")
    start, end = (
        _seconds(window.get("from", "00:00"), f"{where}.from"),
        _seconds(window.get("to", "24:00"), f"{where}.to"),
    )
    if start == end:
        raise ValueError(
            f"schedule {where} starts when it ends; for a whole day write from '00:00' to '24:00'"
        )
    return start, end if end > start else end + _DAY_S


def _seconds(text: Any, where: str) -> int:
    match = _CLOCK.fullmatch(text) if isinstance(text, str) else None
    if match:
        hour, minute, second = (int(part or 0) for part in match.groups())
        total = hour * 3600 + minute * 60 + second
        if minute < 60 and second < 60 and total <= _DAY_S:
            return total
    raise ValueError(f"schedule {where} is {text!r}; write a time of day 'HH:MM' from '00:00' to '24:00'")


def _date(text: Any, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f"schedule {where} is {text!r}; write a date such as '2026-10-01'") from None


def _clock(seconds: int) -> str:
    hour, rest = divmod(seconds, 3600)
    minute, second = divmod(rest, 60)
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _clock_end(window: WeekWindow | DateWindow) -> str:
    return _clock(window.to_s if window.to_s <= _DAY_S else window.to_s - _DAY_S)
