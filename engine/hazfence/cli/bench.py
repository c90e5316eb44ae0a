"""``hazfence bench``: run the measurements of ``hazfence_benchmarks``.

You are on the top floor. The suites are those of the register in ``hazfence_benchmarks.register``; each
reads its own options, so ``hazfence bench match --help`` shows those of ``match``. ``all`` runs them one
behind the other into one result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import typer

from hazfence_benchmarks.register import SUITES

__all__ = ["app"]

app = typer.Typer(help="Measure on this machine; every suite takes --json.", no_args_is_help=True)
_FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _add(name: str, about: str, main: Callable[[Sequence[str]], int]) -> None:
    def run(context: typer.Context) -> None:
        raise typer.Exit(main(context.args))

    app.command(name, help=about, context_settings=dict(_FORWARD))(run)


def _suite(name: str) -> Callable[[Sequence[str]], int]:
    def main(argv: Sequence[str]) -> int:
        from hazfence_benchmarks.command import suite_main

        return suite_main(name, argv)

    return main


def _all(argv: Sequence[str]) -> int:
    from hazfence_benchmarks.command import all_main

    return all_main(argv)


for _name, _of in SUITES.items():
    _add(_name, _of.about, _suite(_name))
_add("all", "Every suite, one behind the other, into one result.", _all)
