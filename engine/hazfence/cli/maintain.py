"""``hazfence maintain``: days of fixes made ahead, closed, and taken away; old breaches and letters too.

You are on the top floor; the work is done in ``hazfence.postgis.upkeep``. Run it once a day with the user
that migrated, e.g. by ``deploy/systemd/hazfence-maintain.timer``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hazfence.cli import show

__all__ = ["maintain"]

#: What the law asks to keep, in days.
_FIXES_BY_LAW, _BREACHES_BY_LAW = 184, 1096


class _Index(StrEnum):
    AT_ONCE = "at_once"
    WHEN_CLOSED = "when_closed"


def maintain(
    database_url: Annotated[
        str,
        typer.Option(
            "--database-url", help="PostgreSQL URL of the schema's owner.", envvar="HAZFENCE_DATABASE_URL"
        ),
    ],
    fixes_kept_days: Annotated[
        int, typer.Option(min=0, envvar="HAZFENCE_FIXES_KEPT_DAYS", help="Days of fixes; 0 for ever.")
    ] = _FIXES_BY_LAW,
    breaches_kept_days: Annotated[
        int,
        typer.Option(min=0, envvar="HAZFENCE_BREACHES_KEPT_DAYS", help="Of breaches and visits; 0 for ever."),
    ] = _BREACHES_BY_LAW,
    letters_kept_days: Annotated[
        int, typer.Option(min=0, envvar="HAZFENCE_LETTERS_KEPT_DAYS", help="Of dead letters; 0 for ever.")
    ] = 184,
    days_ahead: Annotated[
        int,
        typer.Option(min=0, max=366, envvar="HAZFENCE_DAYS_AHEAD", help="Days made before their first fix."),
    ] = 7,
    close_after_h: Annotated[
        float,
        typer.Option(min=0, envvar="HAZFENCE_CLOSE_AFTER_H", help="A day is closed so long after its end."),
    ] = 24.0,
    fix_index: Annotated[
        _Index, typer.Option(envvar="HAZFENCE_FIX_INDEX", help="As the workers have it.")
    ] = _Index.AT_ONCE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a step.")] = False,
) -> None:
    """Make days of fixes ahead, close days that are over, take away what is old; safe beside workers."""
    from hazfence.postgis.upkeep import Upkeep, carry_out, plan

    upkeep = Upkeep(
        fixes_kept_days=fixes_kept_days,
        breaches_kept_days=breaches_kept_days,
        letters_kept_days=letters_kept_days,
        days_ahead=days_ahead,
        close_after_h=close_after_h,
        index_at_once=fix_index is _Index.AT_ONCE,
    )
    for name, days, law in (
        ("fixes", fixes_kept_days, _FIXES_BY_LAW),
        ("breaches", breaches_kept_days, _BREACHES_BY_LAW),
    ):
        if 0 < days < law:
            show.talk.print(f"note: {name} are kept {days} days; the law of China asks for {law}")
    steps = plan(database_url, upkeep)
    for step in steps if dry_run else carry_out(database_url, steps, upkeep):
        if as_json:
            show.json_lines([{**step.to_json(), "done": not dry_run}])
            continue
        what = "" if step.day is None else f" {step.day}"
        rows = f", about {step.count:,} rows, {step.bytes / (1 << 20):,.0f} MB" if step.bytes else ""
        older = (
            "" if step.before is None else f": {step.count:,} from before {step.before:%Y-%m-%d %H:%M} UTC"
        )
        show.out.print(f"{'would ' if dry_run else ''}{step.action}{what}{rows}{older}", markup=False)
    show.talk.print(f"{len(steps)} steps {'to do' if dry_run else 'done'}")
