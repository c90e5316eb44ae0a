"""``hazfence report``: visits and breaches counted, for people, spreadsheets and browsers.

You are on the top floor; the counting is done in the database, the forms are in ``hazfence_replay.report``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hazfence.cli import show

if TYPE_CHECKING:
    from hazfence.postgis.history import History, Only

__all__ = ["report"]


def report(
    database_url: Annotated[
        str, typer.Option("--database-url", help="PostgreSQL URL.", envvar="HAZFENCE_DATABASE_URL")
    ],
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            help="kind, vehicle, company, fence, checkpoint, hour, day, month, year; twice: both.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Date or moment; facts that begin from then on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Date (that day included) or moment (not included).")
    ] = None,
    vehicle: Annotated[list[str] | None, typer.Option(help="Only this vehicle; may be given again.")] = None,
    company: Annotated[list[str] | None, typer.Option(help="Only this company's id.")] = None,
    fence: Annotated[list[str] | None, typer.Option(help="Only this fence's id.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind, e.g. overspeed.")] = None,
    time_zone: Annotated[
        str, typer.Option("--time-zone", help="For days and times.", envvar="HAZFENCE_TIME_ZONE")
    ] = "Asia/Shanghai",
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as lines of JSON.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the table as CSV; - for the terminal.")] = None,
    xlsx: Annotated[Path | None, typer.Option(help="Write everything as a workbook.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write everything as one page with charts.")] = None,
) -> None:
    """Count visits and breaches by vehicle, company, fence, checkpoint, kind or time."""
    from hazfence.cli.moments import span
    from hazfence.postgis.history import History, Only
    from hazfence.rules.catalogue import rule_of
    from hazfence_replay.report.columns import MEASURES, cells, columns, write_csv
    from hazfence_replay.report.page import shown

    dimensions = by or ["kind"]
    if len(dimensions) > 2:
        raise ValueError(f"--by was given {len(dimensions)} times: one within another is the most")
    for name in kind or ():
        if name != "visit" and rule_of(name) is None:
            raise ValueError(f"--kind {name!r}: there is no such kind; see docs/rules.md")
    first, second = dimensions[0], dimensions[1] if len(dimensions) == 2 else None
    with History(database_url, time_zone=time_zone) as history:
        only = Only(*span(since, until, history.zone), *map(_names, (kind, vehicle, company, fence)))
        rows = history.report(first, second, only)
        if not rows and first != "checkpoint":
            raise ValueError(_nothing(history, only))
        if as_json:
            show.json_lines({"by": dimensions, **row} for row in map(_plain, rows))
        elif csv is not None:
            table = [cells(row, history.zone, first, second) for row in rows]
            write_csv(sys.stdout if str(csv) == "-" else csv, columns(first, second), table)
        else:
            heads = columns(first, second)[:-2]
            numbers = heads[-len(MEASURES) :]
            show.table(
                f"Visits and breaches by {' and '.join(dimensions)}",
                [f"{head} #" if head in numbers else head for head in heads],
                ([shown(cell) for cell in cells(row, history.zone, first, second)[:-2]] for row in rows),
            )
        _totals(history, only)
        _files(history, only, xlsx, html)


def _files(history: History, only: Only, xlsx: Path | None, html: Path | None) -> None:
    if html is not None:
        from hazfence_replay.report import collect, write_html

        write_html(html, collect(history, only))
        show.talk.print(f"page: {html}", markup=False)
    if xlsx is not None:
        from hazfence_replay.report import collect, write_xlsx
        from hazfence_replay.report.workbook import MOST_FACTS

        found = collect(history, only, max_facts=MOST_FACTS)
        write_xlsx(xlsx, found)
        if len(found.facts) == MOST_FACTS:
            show.talk.print(
                f"the workbook lists the first {MOST_FACTS:,} visits and breaches; its counts are of all",
                soft_wrap=True,
            )
        show.talk.print(f"workbook: {xlsx}", markup=False)


def _totals(history: History, only: Only) -> None:
    for total in history.report("all", only=only):
        show.talk.print(
            f"{total.visits:,} visits, {total.breaches:,} breaches, {total.warnings:,} warnings of "
            f"{total.vehicles:,} vehicles; {total.retracted:,} retracted, which are in no other number",
            soft_wrap=True,
        )


def _nothing(history: History, only: Only) -> str:
    whole = history.span()
    if whole is None:
        return "the database holds no visit and no breach yet"
    since = history.local(only.since_us) or "the beginning"
    until = history.local(only.until_us) or "now"
    return (
        f"no visit or breach of those asked for begins between {since} and {until} ({history.time_zone}); "
        f"the database has some from {history.local(whole[0])} to {history.local(whole[1])}"
    )


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    return tuple(given) if given else None


def _plain(row: object) -> dict[str, object]:
    from dataclasses import asdict

    return json.loads(json.dumps(asdict(row), default=lambda m: m.isoformat()))  # type: ignore[call-overload, no-any-return]
