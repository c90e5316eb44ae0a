"""The report as an XLSX workbook: a sheet a dimension, with a chart, and one of the facts themselves.

You are in the report room. Texts are written as texts, never as formulas or links, whatever they begin
with. Sheets have a fixed head and filters, so that an inspector can go on in a spreadsheet.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import xlsxwriter

from hazfence_replay.report.columns import Report, cells, columns

__all__ = ["MOST_FACTS", "write_xlsx"]

#: A sheet could hold a million rows; with so many a spreadsheet is still of use, and memory stays small.
MOST_FACTS = 200_000
_FACT_HEAD = (
    "event",
    "kind",
    "severity",
    "phase",
    "vehicle",
    "company id",
    "company",
    "fence id",
    "fence",
    "checkpoint",
    "from",
    "to",
    "lasted, s",
)


def write_xlsx(path: str | os.PathLike[str], report: Report) -> None:
    """Write the workbook.

    Raises:
        OSError: the file cannot be written.
    """
    zone = ZoneInfo(report.time_zone)
    # Row by row onto disk: a workbook of many rows does not fill the memory.
    safe = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    book = xlsxwriter.Workbook(os.fspath(path), {**safe, "default_date_format": "yyyy-mm-dd hh:mm:ss"})
    try:
        about = book.add_worksheet("About")
        for i, line in enumerate(
            (
                report.title,
                report.span,
                "Facts are counted where they begin; retracted ones in no other number.",
            )
        ):
            about.write_string(i, 0, line)
        for section in report.sections:
            rows = [cells(row, zone, section.by) for row in section.rows]
            head = columns(section.by)
            sheet = book.add_worksheet(section.title)
            _fill(book, sheet, head, rows)
            if rows:
                _chart(book, sheet, section.title, head, min(len(rows), 60))
        if report.facts:
            _fill(
                book,
                book.add_worksheet("Visits and breaches"),
                _FACT_HEAD,
                (
                    (
                        f.event_id,
                        f.kind,
                        f.severity,
                        f.phase,
                        f.vehicle,
                        f.company_id,
                        f.company,
                        f.fence_id,
                        f.fence,
                        f.checkpoint_id,
                        f.started,
                        f.ended,
                        f.lasted_s,
                    )
                    for f in report.facts
                ),
            )
    finally:
        try:
            book.close()
        except xlsxwriter.exceptions.FileCreateError as error:
            raise OSError(f"{os.fspath(path)}: cannot be written: {error}") from None


def _fill(book: Any, sheet: Any, head: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    bold = book.add_format({"bold": True, "bottom": 1})
    widths = [len(name) for name in head]
    for column, name in enumerate(head):
        sheet.write_string(0, column, name, bold)
    count = 0
    for count, row in enumerate(rows, start=1):
        for column, cell in enumerate(row):
            if cell is None:
                continue
            if isinstance(cell, str):
                sheet.write_string(count, column, cell)
            elif isinstance(cell, datetime):
                sheet.write_datetime(count, column, cell.replace(microsecond=0))
            else:
                sheet.write_number(count, column, cell)
            widths[column] = max(
                widths[column], 19 if isinstance(cell, datetime) else min(len(str(cell)), 40)
            )
    for column, width in enumerate(widths):
        sheet.set_column(column, column, width + 2)
    sheet.freeze_panes(1, 0)
    if count:
        sheet.autofilter(0, 0, count, len(head) - 1)


def _chart(book: Any, sheet: Any, title: str, head: Sequence[str], rows: int) -> None:
    chart = book.add_chart({"type": "column", "subtype": "stacked"})
    for name in ("breaches", "warnings"):
        column = head.index(name)
        chart.add_series(
            {
                "name": [sheet.get_name(), 0, column],
                "categories": [sheet.get_name(), 1, 0, rows, 0],
                "values": [sheet.get_name(), 1, column, rows, column],
            }
        )
    chart.set_title({"name": title})
    sheet.insert_chart(1, len(head) + 1, chart)
