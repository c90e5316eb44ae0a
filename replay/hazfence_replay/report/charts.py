"""Bars for the report's page: sizes and places, worked out here, drawn as SVG by ``page.html.j2``.

You are in the report room. A chart is plain numbers and texts, so that the template alone writes markup
and escapes every text. Next room: ``page.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from hazfence.postgis.history import ReportRow
from hazfence_replay.report.columns import kind_name

__all__ = ["Bar", "Part", "Stacks", "longest", "stacks_by_time"]

#: Colours of stacked kinds, told apart by people who see red and green alike.
_COLOURS = ("#c44536", "#2a6f97", "#e09f3e", "#6a4c93", "#3a7d44", "#8d6b4f", "#d67ab1", "#5c677d")
_MOST_DAYS = 93
_WIDTH, _HEIGHT = 900.0, 180.0


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a chart, in its units, and what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    says: str


@dataclass(frozen=True, slots=True)
class Stacks:
    """Stacked columns over time.

    Attributes:
        width, height: of the drawing.
        top: the highest column's number.
        parts: its rectangles.
        ticks: (place along the axis, text).
        legend: (colour, text).
    """

    width: float
    height: float
    top: int
    parts: tuple[Part, ...]
    ticks: tuple[tuple[float, str], ...]
    legend: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A horizontal bar: its text, its number, and its length in per cent of the longest."""

    text: str
    number: int
    percent: float


def stacks_by_time(rows: Iterable[ReportRow], count: Callable[[ReportRow], int]) -> Stacks | None:
    """Columns by hour or by day, as the rows are, or by month when there are more than 93 days.

    Args:
        rows: by hour or day, and kind.
        count: what is counted of a row.

    Returns:
        None when there is nothing to draw.
    """
    by: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    counted = [(row.key, row.key_2 or "", n) for row in rows if (n := count(row))]
    if not counted:
        return None
    axis = _axis(min(c[0] for c in counted), max(c[0] for c in counted))
    for key, kind, n in counted:
        by[key[: len(axis[0])]][kind] += n
    kinds = sorted({kind for _, kind, _ in counted}, key=lambda k: (-sum(by[t][k] for t in axis), k))
    colour = {kind: _COLOURS[i % len(_COLOURS)] for i, kind in enumerate(kinds)}
    top = max(sum(by[t].values()) for t in axis)
    step = _WIDTH / len(axis)
    wide = min(step * 0.8, 40.0)
    parts = []
    for i, t in enumerate(axis):
        below = _HEIGHT
        for kind in kinds:
            n = by[t][kind]
            if n:
                high = _HEIGHT * n / top
                below -= high
                says = f"{t}: {n} {kind_name(kind)}"
                parts.append(
                    Part(
                        round((i + 0.5) * step - wide / 2, 2),
                        round(below, 2),
                        round(wide, 2),
                        round(high, 2),
                        colour[kind],
                        says,
                    )
                )
    every = max(1, -(-len(axis) // 8))
    ticks = tuple((round((i + 0.5) * step, 2), t) for i, t in enumerate(axis) if i % every == 0)
    return Stacks(_WIDTH, _HEIGHT, top, tuple(parts), ticks, tuple((colour[k], kind_name(k)) for k in kinds))


def longest(
    rows: Sequence[ReportRow],
    count: Callable[[ReportRow], int],
    name: Callable[[ReportRow], str],
    most: int = 10,
) -> tuple[Bar, ...]:
    """The rows with the highest numbers as bars; none with 0."""
    best = sorted((row for row in rows if count(row)), key=lambda row: (-count(row), row.key))[:most]
    whole = max((count(row) for row in best), default=1)
    return tuple(Bar(name(row), count(row), round(100 * count(row) / whole, 1)) for row in best)


def _axis(first: str, last: str) -> list[str]:
    """Every key from one to another, also those that have nothing: hours, days or months."""
    if len(first) > len("2026-03-02"):
        hour, end = (datetime.strptime(key, "%Y-%m-%d %H") for key in (first, last))
        hours = int((end - hour).total_seconds()) // 3600
        return [f"{hour + timedelta(hours=i):%Y-%m-%d %H}" for i in range(hours + 1)]
    day, until = date.fromisoformat(first), date.fromisoformat(last)
    if (until - day).days < _MOST_DAYS:
        return [(day + timedelta(days=i)).isoformat() for i in range((until - day).days + 1)]
    months, year, month = [], day.year, day.month
    while (year, month) <= (until.year, until.month):
        months.append(f"{year:04}-{month:02}")
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return months
