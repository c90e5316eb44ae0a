"""A result as a table for a terminal: a line a figure, peers under ours, with ratios and shares of the limit.

`show` prints; `number` and `times` are the ways in which figures are written everywhere, here and in the
report. Next rooms: ``form.py`` and ``report.py``.
"""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from hazfence_benchmarks.form import OURS, Figure, Result
from hazfence_benchmarks.yardstick import limit_share

__all__ = ["machine_line", "number", "row_of", "show", "spread", "times", "took_line", "yardstick_line"]

#: Heads of the columns that `row_of` fills.
HEADS = ("workload", "what", "way", "median", "spread", "of limit", "ours is", "wrong")


def show(result: Result, console: Console | None = None) -> None:
    """Print the machine, the yardstick and a table a suite."""
    console = console or Console(width=None if Console().is_terminal else 140, highlight=False)
    console.print(machine_line(result.machine), markup=False)
    if result.yardstick:
        console.print(yardstick_line(result.yardstick), markup=False)
    for suite in result.suites():
        table = Table(title=suite, title_justify="left", box=None, pad_edge=False)
        for head in HEADS:
            table.add_column(head, justify="left" if head in HEADS[:3] else "right")
        for figure in result.of_suite(suite):
            table.add_row(*row_of(result, figure), style="bold" if figure.way == OURS else "")
        console.print()
        console.print(table)
    notes = dict.fromkeys(f.note for f in result.figures if f.note)
    for note in notes:
        console.print(f"  {note}", markup=False)
    console.print(took_line(result), markup=False)


def row_of(result: Result, figure: Figure) -> tuple[str, ...]:
    """The cells of a figure, for the columns ``HEADS``."""
    what = figure.what if figure.x is None else f"{figure.what} @ {number(figure.x)} {figure.x_name}"
    if figure.skipped:
        return (figure.workload, what, figure.way, f"skipped: {figure.skipped}", "", "", "", "")
    share, ratio = limit_share(figure.unit, figure.median, result.yardstick), result.ratio(figure)
    wrong = ""
    if figure.checked:
        wrong = f"{figure.wrong} of {figure.checked:,}"
        wrong += f" ({figure.wrong / figure.checked:.1%})" if figure.wrong else ""
    return (
        figure.workload,
        what,
        figure.way,
        f"{number(figure.median)} {figure.unit}{' (wall)' if figure.clock == 'wall' else ''}".strip(),
        spread(figure),
        "" if share is None else f"{share:.1%}" if share < 0.1 else f"{share:.0%}",
        "" if ratio is None or math.isnan(ratio) else times(ratio),
        wrong,
    )


def number(value: float) -> str:
    """Three figures that count, with k, M, G above a thousand.

    Example:
        >>> number(123456.0), number(0.01234), number(7)
        ('123 k', '0.0123', '7')
    """
    for limit, sign in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= limit * 0.9995:
            return f"{_three(value / limit)}{sign}"
    return _three(value)


def times(ratio: float) -> str:
    """How much better: ``12 x``; below 1 we are the worse.

    Example:
        >>> times(12.3), times(0.5)
        ('12.3 x', '0.5 x')
    """
    return f"{_three(ratio)} x"


def spread(figure: Figure) -> str:
    """Half the distance of the quartiles in per cent of the median, and how many repeats."""
    if len(figure.values) < 2 or figure.median == 0:
        return ""
    q1, q3 = figure.quartiles
    return f"±{(q3 - q1) / 2 / abs(figure.median):.1%} ({len(figure.values)})"


def machine_line(about: dict[str, Any]) -> str:
    """The machine in a line, with a word when others used it."""
    busy = max(about.get("others_busy", 0.0), about.get("others_busy_after", 0.0))
    line = (
        f"{about.get('cpu')}, {about.get('cores')} cores, {about.get('memory_gb')} GB, "
        f"{about.get('system')}; "
        f"Python {about.get('python')}, numpy {about.get('numpy')}, shapely {about.get('shapely')}"
    )
    return line + (f"; MACHINE SHARED: others used {busy:.0%} of it" if busy > 0.1 else "")


def yardstick_line(stick: dict[str, float]) -> str:
    """The yardstick in a line."""
    return (
        f"yardstick: memory copy {stick.get('copy_gb_per_s')} GB/s "
        f"(in cache {stick.get('copy_cache_gb_per_s')}), least numpy loop "
        f"{stick.get('least_mpoints_per_s')} M points/s, "
        f"Python {stick.get('python_mcalls_per_s')} M calls/s, "
        f"fsync {stick.get('fsync_ms')} ms"
    )


def took_line(result: Result) -> str:
    """How long the run took, and each suite in it."""
    each = ", ".join(f"{suite} {took_s:.0f}" for suite, took_s in result.suites_s.items())
    return f"took {result.took_s:.0f} s" + (f": {each}" if each else "")


def _three(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return (
        f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}".rstrip("0").rstrip(".")
        if (abs(value) < 100)
        else f"{value:.0f}"
    )
