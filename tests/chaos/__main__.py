"""``python -m tests.chaos``: run it and print the table; 0 when nothing was found wrong, 1 otherwise."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from hazfence.worker.log import set_up

from .run import in_own_mounts, run, table

_INSIDE = "HAZFENCE_CHAOS_INSIDE"


def main(
    kills: Annotated[int, typer.Option(min=1, help="Processes to kill, at least.")] = 500,
    seed: Annotated[int | None, typer.Option(help="Of feed and harm; a random one when left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    pace: Annotated[float, typer.Option(min=0.05, help="Below 1: shorter harms and pauses.")] = 1.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not tell what happens.")] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Where the logs of workers and services are kept.")
    ] = None,
) -> None:
    """Kill, freeze, cut off and fill up everything the worker stands on, and compare its rows with peace."""
    if os.environ.pop(_INSIDE, None) is None:
        os.environ[_INSIDE] = "1"
        code = in_own_mounts(sys.argv[1:])
        if code is not None:
            raise SystemExit(code)
        del os.environ[_INSIDE]
    set_up(level="error")
    logging.disable(logging.CRITICAL)  # the feed's own troubles with the broker
    where = folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    where.mkdir(parents=True, exist_ok=True)
    say = (lambda _: None) if quiet else (lambda what: print(what, file=sys.stderr, flush=True))
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    try:
        report = run(seed, kills, where, say, pace=pace)
    except BaseException:
        print(f"broken off; the logs of workers and services are in {where}", file=sys.stderr)
        raise
    print(json.dumps(report.to_json(), indent=1) if as_json else table(report))
    if report.faults:
        print(f"the logs of workers and services are in {where}", file=sys.stderr)
    raise SystemExit(1 if report.faults else 0)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
