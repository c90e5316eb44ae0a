"""The report page: everything from the JSON, escaped, without internet; pictures of curves and ratios."""

import re

import pytest

from hazfence_benchmarks import picture
from hazfence_benchmarks.form import OURS, Figure, Result
from hazfence_benchmarks.report import html, main, markdown
from hazfence_benchmarks.yardstick import LEAST


def at(x, way, level, **more):
    values = tuple(level * f for f in (0.9, 1.0, 1.1))
    return Figure("fences", "small", "locate", way, "points/s", values, x=x, x_name="fences", **more)


@pytest.fixture
def result():
    figures = [
        *(at(x, OURS, 5e7 / x**0.3, clock="cpu", checked=100) for x in (7.0, 100.0, 1000.0)),
        *(at(x, "peer <b>", 1e6 / x**0.5, clock="cpu", checked=100, wrong=4) for x in (7.0, 100.0, 1000.0)),
        *(at(x, LEAST, 1e8, clock="cpu") for x in (7.0, 100.0, 1000.0)),
        Figure("fences", "small", "locate", "gone", "points/s", skipped="pip install gone"),
        Figure("store", "durable", "write one event", OURS, "ms", (1.0, 2.0), better="less", note="a | note"),
    ]
    machine = {"cpu": "Test CPU", "cores": 2, "numpy": "2.0", "others_busy": 0.5}
    stick = {"copy_gb_per_s": 40.0, "least_mpoints_per_s": 200.0}
    return Result(tuple(figures), machine, stick, "9.9", "2026-03-02T00:00:00+00:00", 12.0, "quick", 7,
                  "hazfence bench all --quick")  # fmt: skip


def test_the_page_tells_everything_and_needs_no_internet(result):
    page = html(result)
    for text in (
        "Test CPU",
        "MACHINE SHARED",
        "hazfence bench all --quick",
        "seed 7",
        "pip install gone",
        "4 of 100",
    ):
        assert text in page
    assert "peer &lt;b&gt;" in page
    assert "peer <b>" not in page
    assert page.count('src="data:image/png;base64,') == 2
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_markdown_has_a_row_a_figure_and_the_command(result):
    text = markdown(result, ["b_growth.png"])
    rows = [line for line in text.splitlines() if line.startswith(("| small", "| durable"))]
    assert len(rows) == len(result.figures)
    assert "```sh\nhazfence bench all --quick  # 12 s\n```" in text
    assert "](b_growth.png)" in text
    assert "* a | note" in text


def test_curves_are_of_our_figures_with_more_than_one_size(result):
    ((key, ways),) = picture.curves(result).items()
    assert key == ("fences", "small", "locate", "points/s", "fences")
    assert [figure.x for figure in ways[OURS]] == [7.0, 100.0, 1000.0]
    assert set(ways) == {OURS, "peer <b>", LEAST}


def test_bars_leave_limits_out(result):
    bars = picture.bars(result)
    assert set(bars["fences"]) == {"peer <b>"}
    assert bars["fences"]["peer <b>"][0] == pytest.approx(50 * 7**0.2)


def test_pictures_are_png_or_none(result):
    assert picture.growth(result)[:4] == picture.ratios(result)[:4] == b"\x89PNG"
    empty = Result((), {})
    assert picture.growth(empty) is None
    assert picture.ratios(empty) is None


def test_the_command_writes_what_it_says(result, tmp_path, capsys):
    saved = tmp_path / "r.json"
    result.save(saved)
    assert main([str(saved), "--html", str(tmp_path / "p.html"), "--markdown", str(tmp_path / "p.md")]) == 0
    written = [line.removeprefix("written: ") for line in capsys.readouterr().out.splitlines()]
    names = {"p.html", "p.md", "p_growth.png", "p_ratios.png"}
    assert {path.rpartition("/")[2] for path in written} == names
    assert names < {path.name for path in tmp_path.iterdir()}
