"""A result as a page: HTML in one file that opens without internet, Markdown for the docs, PNG.

``hazfence bench report RESULT.json --html page.html``. The page tells the machine, the yardstick, growth
curves on log-log axes, ratios to the peers, every figure with its spread, and the command that makes it
again. Nothing is in it that is not in the JSON.
"""

from __future__ import annotations

import argparse
import base64
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hazfence_benchmarks import picture
from hazfence_benchmarks.form import OURS, Result
from hazfence_benchmarks.register import SUITES
from hazfence_benchmarks.table import HEADS, machine_line, row_of, took_line, yardstick_line

__all__ = ["html", "main", "markdown", "write"]


def html(result: Result) -> str:
    """The page, with its pictures in it."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(loader=loader, autoescape=True).get_template("report.html.j2")
    images = [("Growth", picture.growth(result)), ("Beside the peers", picture.ratios(result))]
    return page.render(
        result=result,
        machine=machine_line(result.machine),
        yardstick=yardstick_line(result.yardstick),
        versions={k: v for k, v in result.machine.items() if k not in _ABOUT},
        images=[(title, base64.b64encode(png).decode()) for title, png in images if png],
        heads=HEADS,
        suites=[(suite, _about(suite), _rows(result, suite)) for suite in result.suites()],
        notes=_notes(result),
    )


def markdown(result: Result, images: Sequence[str] = ()) -> str:
    """The page as Markdown; ``images`` are file names beside it."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `hazfence bench report` from a real run; do not edit. The run:",
        "",
        "```sh",
        result.told_command,
        "```",
        "",
        f"Version {result.version}, {result.began}, seed {result.seed}, size "
        f"{result.size}. {machine_line(result.machine)}.",
        "",
        f"The run {took_line(result)}.",
        "",
        f"{yardstick_line(result.yardstick)}.",
        "",
        *_HOW_TO_READ,
    ]
    for name in images:
        title = "Growth with fences and vehicles, log-log" if "growth" in name else "Times better than peers"
        lines += ["", f"![{title}]({name})"]
    for suite in result.suites():
        lines += ["", f"## {suite}", "", _about(suite), "", "| " + " | ".join(HEADS) + " |"]
        lines.append("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
        lines += ["| " + " | ".join(_cell(c) for c in row) + " |" for _, row in _rows(result, suite)]
    notes = _notes(result)
    if notes:
        lines += ["", "Notes:", "", *(f"* {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def write(
    result: Result, *, page: str | None = None, md: str | None = None, png: str | None = None
) -> list[str]:
    """Write what has a file name; the names of the files written.

    Args:
        result: what was measured.
        page: HTML file.
        md: Markdown file; its pictures come beside it.
        png: PNG file of the growth curves; the ratios come beside it.
    """
    written = []
    if page:
        Path(page).write_text(html(result), encoding="utf-8")
        written.append(page)
    stem = Path(png or md or "")
    images = []
    if png or md:
        for kind, data in (("growth", picture.growth(result)), ("ratios", picture.ratios(result))):
            if data:
                file = stem.with_name(f"{stem.stem}_{kind}.png")
                file.write_bytes(data)
                images.append(file.name)
                written.append(str(file))
    if md:
        Path(md).write_text(markdown(result, images), encoding="utf-8")
        written.append(md)
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """``hazfence bench report RESULT.json``."""
    parser = argparse.ArgumentParser(
        prog="hazfence bench report", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("results", nargs="+", metavar="RESULT.json", help="what --save kept; more are joined")
    parser.add_argument("--html", metavar="FILE", help="a page in one file (benchmarks.html without options)")
    parser.add_argument("--markdown", metavar="FILE", help="a page for the docs, pictures beside it")
    parser.add_argument("--png", metavar="STEM.png", help="the pictures: STEM_growth.png, STEM_ratios.png")
    given = parser.parse_args(argv)
    page = given.html or ("benchmarks.html" if not (given.markdown or given.png) else None)
    results = [Result.load(path) for path in given.results]
    result = functools.reduce(Result.joined, results)
    for name in write(result, page=page, md=given.markdown, png=given.png):
        sys.stdout.write(f"written: {name}\n")
    return 0


_ABOUT = ("cpu", "cores", "memory_gb", "system", "others_busy", "others_busy_after")
_HOW_TO_READ = (
    "How to read it: medians of repeats in which the ways took turns (those of the core go one after the",
    "other, each alone over all batches); times are processor time unless",
    "marked `(wall)`; *spread* is half the distance of the quartiles, with the number of repeats; *of",
    "limit* the share of the least numpy loop, which only reads coordinates, works out a cell and looks it",
    "up; *ours is* how many times better hazfence is, paired by round; *wrong* the answers that differ from",
    "shapely's `covers` and from the distance to a circle's centre, of those compared before measuring.",
)


def _about(suite: str) -> str:
    return SUITES[suite].about if suite in SUITES else ""


def _rows(result: Result, suite: str) -> list[tuple[bool, tuple[str, ...]]]:
    return [(figure.way == OURS, row_of(result, figure)) for figure in result.of_suite(suite)]


def _notes(result: Result) -> list[str]:
    return list(dict.fromkeys(figure.note for figure in result.figures if figure.note))


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
