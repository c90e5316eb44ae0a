"""The report as one HTML page with charts, which loads nothing and runs no script.

You are in the report room. Jinja2 escapes every text that comes from outside, and a content security
policy lets the browser use this page's style and nothing else. Next room: ``workbook.py``.
"""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hazfence.postgis.history import ReportRow
from hazfence_replay.report.charts import Bar, longest, stacks_by_time
from hazfence_replay.report.columns import Report, cells, columns

__all__ = ["page_environment", "shown", "style_of", "write_html"]

#: Rows of one table of the page; a page with a fleet of thousands stays one that a browser likes.
_MOST_ROWS = 500


def write_html(path: str | os.PathLike[str], report: Report) -> int:
    """Write the page; returns its size in bytes."""
    zone = ZoneInfo(report.time_zone)
    style = resources.files("hazfence_replay.report").joinpath("page.css").read_text(encoding="utf-8")
    source = resources.files("hazfence_replay.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    text = (
        page_environment()
        .from_string(source)
        .render(
            report=report,
            **style_of(style),
            figures=_figures(report.total),
            found=stacks_by_time(report.by_time_and_kind, _found),
            visits=stacks_by_time(report.by_time_and_kind, lambda row: row.visits),
            tops=_tops(report),
            sections=[
                {
                    "by": section.by,
                    "title": section.title,
                    "head": columns(section.by),
                    "rows": [cells(row, zone, section.by) for row in section.rows[:_MOST_ROWS]],
                    "left_out": max(0, len(section.rows) - _MOST_ROWS),
                }
                for section in report.sections
            ],
        )
    )
    raw = text.encode("utf-8", "replace")
    Path(path).write_bytes(raw)
    return len(raw)


def page_environment() -> Environment:
    """Templates that escape everything and refuse a name they do not know."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = shown
    return environment


def style_of(style: str) -> dict[str, Any]:
    """A page's own style and the hash by which its policy lets it in."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {"style": Markup(style), "style_hash": f"sha256-{digest}"}


def shown(cell: Any) -> str:
    """A value as people read it."""
    match cell:
        case None:
            return ""
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M:%S}"
        case float():
            return f"{cell:,.1f}"
        case int():
            return f"{cell:,}"
        case _:
            return str(cell)


def _found(row: ReportRow) -> int:
    return row.breaches + row.warnings


def _figures(total: ReportRow | None) -> list[tuple[str, str]]:
    if total is None:
        return []
    numbers = {
        "visits": total.visits,
        "hours inside": round(total.inside_s / 3600),
        "vehicles": total.vehicles,
        "breaches": total.breaches,
        "warnings": total.warnings,
        "notes": total.notes,
        "going on": total.going_on,
        "retracted": total.retracted,
    }
    return [(name, f"{number:,}") for name, number in numbers.items()]


def _tops(report: Report) -> list[tuple[str, tuple[Bar, ...]]]:
    def name(row: ReportRow) -> str:
        return " ".join(filter(None, (row.key or "(none)", row.label)))

    rows = {section.by: section.rows for section in report.sections}
    return [
        (f"Most breaches and warnings: {by}", longest(rows[by], _found, name))
        for by in ("vehicle", "company", "fence", "checkpoint")
    ]
