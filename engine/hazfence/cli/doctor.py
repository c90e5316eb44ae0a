"""``hazfence doctor``: is everything there that a worker needs, and as it should be?

You are on the top floor; the looking is done in ``hazfence.doctor``. Exit code 0 when workers can work, 1
when something fails (with ``--strict`` also when something could be better).
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Annotated

import typer

from hazfence.cli import show

__all__ = ["doctor"]

_STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a finding.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for warnings too.")] = False,
) -> None:
    """Look at database, broker, Redis and fences as a worker would use them; change nothing."""
    from hazfence.doctor import Finding, Status, examine
    from hazfence.worker.config import SettingsError, WorkerSettings

    try:
        findings = examine(WorkerSettings.load())
    except SettingsError as error:
        mend = "see docs/worker.md, Settings"
        findings = [Finding("settings", "valid", Status.FAIL, line, mend) for line in str(error).splitlines()]
    if as_json:
        show.json_lines(finding.to_json() for finding in findings)
    else:
        for finding in findings:
            place = f"{finding.part}, {finding.check}"
            show.out.print(f"{finding.status:<5}", style=_STYLE[finding.status], end="")
            show.out.print(f"{place:<28} {finding.said}", markup=False)
            if finding.mend:
                show.out.print(f"{'':<5}{'':<28} mend: {finding.mend}", markup=False)
    count = Counter(finding.status for finding in findings)
    show.talk.print(f"{count[Status.OK]} ok, {count[Status.WARN]} to look at, {count[Status.FAIL]} failed")
    if count[Status.FAIL] or (strict and count[Status.WARN]):
        sys.exit(1)
