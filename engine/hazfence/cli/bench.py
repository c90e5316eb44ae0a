"""``hazfence bench``: run the measurements of ``hazfence_benchmarks``.

You are on the top floor. The suites are those of the register in ``hazfence_benchmarks.register``; each
reads its own options, so ``hazfence bench match --help`` shows those of ``match``. ``all`` runs them one
behind the other into one result; ``report``, ``compare`` and ``size`` read saved results.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import typer

from hazfence_benchmarks.register import SUITES

__all__ = ["app"]

app = typer.Typer(help="Measure on this machine; every suite takes --json.", no_args_is_help=True)
_FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _add(name: str, about: str, main: Callable[[Sequence[str]], int]) -> None:
    def run(context: typer.Context) -> None:
        try:
            raise typer.Exit(main(context.args))
        except ModuleNotFoundError as missing:
            if (missing.name or "").startswith("hazfence"):
                raise
            raise ValueError(f"this needs {missing.name}: pip install 'hazfence[bench]'") from missing

    app.command(name, help=about, context_settings=dict(_FORWARD))(run)


def _suite(name: str) -> Callable[[Sequence[str]], int]:
    def main(argv: Sequence[str]) -> int:
        from hazfence_benchmarks.command import suite_main

        return suite_main(name, argv)

    return main


def _of(module: str, main: str = "main") -> Callable[[Sequence[str]], int]:
    """A command of another module, imported when it runs."""
    return lambda argv: int(getattr(importlib.import_module(f"hazfence_benchmarks.{module}"), main)(argv))


for _name, _suite_of in SUITES.items():
    _add(_name, _suite_of.about, _suite(_name))
_add("all", "Every suite, one behind the other, into one result.", _of("command", "all_main"))
_add("report", "A saved result as a page with pictures.", _of("report"))
_add("compare", "Two saved results: what got better or worse, beyond the noise.", _of("compare"))
_add("size", "Plan workers, partitions, database and disk for a load.", _of("size"))
