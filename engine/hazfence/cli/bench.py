"""``hazfence bench``: run the measurements of ``hazfence_benchmarks``.

You are on the top floor; each suite reads its own options, so ``hazfence bench match --help`` shows
those of ``match``.
"""

from __future__ import annotations

import importlib
import sys

import typer

__all__ = ["app"]

#: What can be measured, and the line that says so.
SUITES = {
    "match": "Points and segments against fences, beside rtree + shapely by hand and STRtree.",
    "core": "Fixes through the whole core on four fence sets, beside the same written by hand.",
    "rules": "Every rule on, beside visits only, on the traffic of a district.",
    "exactness": "Differences of the index from shapely's covers: there should be none.",
    "wire": "The wire formats, beside Arrow and msgpack.",
    "store": "Fixes and events into PostGIS.",
    "stream": "Fixes through broker, worker and PostGIS.",
}

app = typer.Typer(help="Measure on this machine; every suite takes --json.", no_args_is_help=True)
_FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _suite(name: str) -> None:
    def run(context: typer.Context) -> None:
        module = importlib.import_module(f"hazfence_benchmarks.{name}")
        sys.argv = [f"hazfence bench {name}", *context.args]
        raise typer.Exit(module.main() or 0)

    app.command(name, help=SUITES[name], context_settings=dict(_FORWARD))(run)


for _name in SUITES:
    _suite(_name)
