"""How the command line shows things: tables, bars, and rows for other programs.

You are on the top floor, used by every command. Results go to stdout, talk (progress, notes) to
stderr, so that ``hazfence replay ... --json | jq`` works.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

__all__ = ["json_lines", "out", "progress", "share_progress", "table", "talk"]

out = Console(highlight=False, soft_wrap=True)
talk = Console(stderr=True, highlight=False)


class _Rate(ProgressColumn):
    """Things a second, in thousands."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed / 1000:,.0f} k/s" if task.speed else "", style="cyan")


def progress(console: Console = talk) -> Progress:
    """Progress bars with count, rate, time gone and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=False,
    )


class _Fixes(ProgressColumn):
    """Fixes so far and fixes a second, whatever the bar counts."""

    def render(self, task: Task) -> Text:
        fixes, rate = task.fields.get("fixes", 0), task.fields.get("rate", 0.0)
        return Text(f"{fixes / 1e6:,.2f} M fixes, {rate / 1e3:,.0f} k/s", style="cyan")


def share_progress(console: Console = talk) -> Progress:
    """A progress bar over a share of 0 to 1, with fixes, rate, time gone and time left.

    The task's fields are ``fixes``, ``rate`` (fixes a second) and ``at`` (text).
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Fixes(),
        TextColumn("{task.fields[at]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        refresh_per_second=4,
    )


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; cells are text, never markup, whatever characters a plate or a name holds.

    Args:
        columns: their heads; one that ends in `` #`` holds numbers, which are never cut short.
    """
    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    cells = [[Text("" if cell is None else str(cell)) for cell in row] for row in rows]
    for i, column in enumerate(columns):
        head = column.removesuffix(" #")
        widest = max((row[i].cell_len for row in cells), default=0)
        number = head != column
        least = max(widest, len(head)) if number else min(widest, 14)
        grid.add_column(head, justify="right" if number else "left", no_wrap=True, min_width=least)
    for row in cells:
        grid.add_row(*row)
    out.print(grid)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print each row as one line of JSON."""
    lines(json.dumps(row, ensure_ascii=False) for row in rows)


def lines(texts: Iterable[str]) -> None:
    """Print texts as they are, a line each."""
    for text in texts:
        out.file.write(f"{text}\n")
