"""The tree of commands; each branch is a room of its own.

You are on the top floor. Options that many commands share are declared here once, with the
environment variable that sets them. Commands import what they need when they run, so that
``hazfence --help`` is quick and works with few extras installed. Next rooms: ``replay.py``,
``tracks.py`` (simulate), ``fences.py``, ``report.py``, ``service.py`` (migrate, serve, up, down),
``doctor.py``, ``explain.py``, ``maintain.py``, ``rehearse.py``, ``demo.py``, ``bench.py``.
"""

from __future__ import annotations

from typing import Annotated

import typer

from hazfence import __version__
from hazfence.cli import (
    bench,
    demo,
    doctor,
    explain,
    fences,
    maintain,
    rehearse,
    replay,
    report,
    service,
    tracks,
)

__all__ = ["app"]

app = typer.Typer(
    name="hazfence",
    help="A streaming GPS geofence engine with a spatial database, for hazardous-goods roads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hazfence {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.command("replay")(replay.replay)
app.command("simulate")(tracks.simulate)
app.command("explain")(explain.explain)
app.command("rehearse")(rehearse.rehearse)
app.command("report")(report.report)
app.command("migrate")(service.migrate)
app.command("serve")(service.serve)
app.command("up")(service.up)
app.command("down")(service.down)
app.command("doctor")(doctor.doctor)
app.command("maintain")(maintain.maintain)
app.add_typer(fences.app, name="fences")
app.add_typer(bench.app, name="bench")
