"""What a report holds, and its columns, whatever it is written as.

You are in the report room. :func:`collect` asks the history for everything a page or workbook shows;
:func:`cells` turns one row into values, once for all forms. Next rooms: ``page.py``, ``workbook.py``.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hazfence.rules.catalogue import rule_of

if TYPE_CHECKING:
    from hazfence.postgis.history import Fact, History, Only, ReportRow

__all__ = [
    "MEASURES",
    "Report",
    "Section",
    "cells",
    "collect",
    "columns",
    "kind_name",
    "safe_text",
    "write_csv",
]

#: Columns that every report has, behind those of its keys.
MEASURES = (
    "visits",
    "hours in",
    "mean, min",
    "vehicles",
    "breaches",
    "warnings",
    "notes",
    "going on",
    "retracted",
)

#: The sections of a page or workbook, each by one dimension, and how it is called.
SECTIONS = {
    "kind": "By kind",
    "company": "By company",
    "vehicle": "By vehicle",
    "fence": "By fence",
    "checkpoint": "By checkpoint",
    "day": "By day",
    "month": "By month",
    "year": "By year",
}
_FEW_DAYS = timedelta(days=3)
_LABELLED = ("kind", "company", "fence", "checkpoint")


@dataclass(frozen=True, slots=True)
class Section:
    """One table: by what, and its rows."""

    by: str
    title: str
    rows: tuple[ReportRow, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a page or workbook shows.

    Attributes:
        title: of the whole.
        time_zone: of all times and days.
        span: from when to when, in words.
        total: all facts together; None when there are none.
        sections: one for each dimension.
        by_time_and_kind: for the charts over time: by hour when it is about a few days, else by day.
        facts: one row a visit or breach, as far as asked for.
    """

    title: str
    time_zone: str
    span: str
    total: ReportRow | None
    sections: tuple[Section, ...]
    by_time_and_kind: tuple[ReportRow, ...]
    facts: tuple[Fact, ...] = ()


def collect(
    history: History, only: Only, *, title: str = "Visits and breaches", max_facts: int = 0
) -> Report:
    """Ask for all sections of a report.

    Args:
        only: which facts count.
        max_facts: how many single facts come with it.
    """
    totals = history.report("all", only=only)
    first, last = (totals[0].first_at, totals[0].last_at) if totals else (None, None)
    short = first is not None and last is not None and last - first <= _FEW_DAYS
    since = history.local(only.since_us) or "the beginning"
    until = history.local(only.until_us) or "now"
    return Report(
        title,
        history.time_zone,
        f"{since} to {until}, {history.time_zone}",
        totals[0] if totals else None,
        tuple(Section(by, name, tuple(history.report(by, only=only))) for by, name in SECTIONS.items()),
        tuple(history.report("hour" if short else "day", "kind", only)),
        tuple(history.facts(only, limit=max_facts)) if max_facts else (),
    )


def columns(by: str, by_2: str | None = None) -> tuple[str, ...]:
    """The heads of the columns; the last two are moments."""
    keys = [by, *(["name"] if by in _LABELLED else []), *([by_2] if by_2 else [])]
    return (*keys, *MEASURES, "first", "last")


def cells(row: ReportRow, history_zone: Any, by: str, by_2: str | None = None) -> tuple[Any, ...]:
    """The values of a row, in the order of :func:`columns`; times local, without offset."""
    key: list[Any] = [row.key or "(none)"]
    if by in _LABELLED:
        key.append(chinese(row.key) if by == "kind" else row.label or "")
    if by_2:
        key.append(row.key_2 or "(none)")
    mean = None if row.mean_stay_s is None else round(row.mean_stay_s / 60, 1)
    ends = (_local(moment, history_zone) for moment in (row.first_at, row.last_at))
    return (
        *key,
        row.visits,
        round(row.inside_s / 3600, 2),
        mean,
        row.vehicles,
        row.breaches,
        row.warnings,
        row.notes,
        row.going_on,
        row.retracted,
        *ends,
    )


def kind_name(kind: str) -> str:
    """What people call a kind: ``overspeed 超速``."""
    return f"{kind.replace('_', ' ')} {chinese(kind)}".strip()


def chinese(kind: str) -> str:
    """The Chinese name of a kind; empty for one that this release does not know."""
    rule = rule_of(kind)
    return "停留" if kind == "visit" else rule.chinese if rule is not None else ""


def safe_text(text: str) -> str:
    """A text that no spreadsheet takes for a formula: plates and names come from outside."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_csv(
    where: str | os.PathLike[str] | TextIO, head: Iterable[str], rows: Iterable[Iterable[Any]]
) -> None:
    """Write rows as CSV; a file gets a mark (BOM), by which spreadsheets see that it is UTF-8.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    if isinstance(where, str | os.PathLike):
        with Path(where).open("w", encoding="utf-8-sig", newline="") as stream:
            write_csv(stream, head, rows)
        return
    writer = csv.writer(where, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([safe_text(cell) if isinstance(cell, str) else _plain(cell) for cell in row])


def _plain(cell: Any) -> Any:
    if cell is None:
        return ""
    return f"{cell:%Y-%m-%d %H:%M:%S}" if isinstance(cell, datetime) else cell


def _local(moment: datetime | None, zone: Any) -> datetime | None:
    return None if moment is None else moment.astimezone(zone).replace(tzinfo=None, microsecond=0)
