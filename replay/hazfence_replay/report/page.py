"""The report as one HTML page with charts, which loads nothing and runs no script.

You are in the report room. Jinja2 escapes every text that comes from outside, and a content security
policy lets the browser use this page's style and nothing else. Next room: ``workbook.py``.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from hazfence.postgis.history import ReportRow
from hazfence_replay.report.charts import Bar, longest, stacks_by_time
from hazfence_replay.report.columns import Report, cells, columns

__all__ = ["shown", "template_of", "write_html"]

#: Rows of one table of the page; a page with a fleet of thousands stays one that a browser likes.
_MOST_ROWS = 500


def write_html(path: str | os.PathLike[str], report: Report) -> int:
    """Write the page; returns its size in bytes."""
    zone = ZoneInfo(report.time_zone)
    template, style = template_of("hazfence_replay.report")
    text = template.render(
        report=report,
        **style,
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
    raw = text.encode("utf-8", "replace")
    Path(path).write_bytes(raw)
    return len(raw)


@functools.cache
def template_of(package: str) -> tuple[Template, dict[str, Any]]:
    """The ``page.html.j2`` of a package, and its ``page.css`` as the template wants it.

    The template escapes everything that is put into it and refuses a name it does not know; the style
    comes with the hash by which the page's policy lets it in.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = shown
    parts = resources.files(package)
    style = parts.joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = environment.from_string(parts.joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template, {"style": Markup(style), "style_hash": f"sha256-{digest}"}


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
