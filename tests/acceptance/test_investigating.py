"""Looking into a day that is over: reports, as a person asks for them on the command line."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hazfence.cli import main
from hazfence.services import fresh_database
from hazfence_fences import load_fences
from hazfence_replay.simulator import simulate
from tests.acceptance.test_cli import ZHENHAI
from tests.integration.live_day import live, publish


class Said(NamedTuple):
    code: int
    out: str
    err: str


Ask = Callable[..., Said]


@pytest.fixture
def hazfence(lived: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """The command line in this process, which is much sooner there than a new one."""
    monkeypatch.setenv("HAZFENCE_DATABASE_URL", lived)

    def ask(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["hazfence", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        err = told.err
        code = left.value.code
        if isinstance(code, str):  # what the interpreter would print on its way out
            code, err = 1, err + code
        return Said(code or 0, told.out, err)

    return ask


@pytest.fixture(scope="module")
def lived(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """URL of a database with a day of 30 trucks, as a worker left it."""
    fences = load_fences(ZHENHAI)
    with fresh_database(postgres_server, template=migrated_template) as url:
        publish(url, fences)
        live(url, simulate(fences, seed=7, trucks=30).batches(2000))
        yield url


def test_report_prints_tables_and_writes_files(hazfence: Ask, tmp_path: Path) -> None:
    page, book = tmp_path / "report.html", tmp_path / "report.xlsx"
    done = hazfence("report", "--by", "checkpoint", "--html", page, "--xlsx", book)
    assert done.code == 0, done.err
    assert sum(line.startswith(" cp-") for line in done.out.splitlines()) == 6
    assert " vehicles; 0 retracted" in done.err
    assert page.read_text().startswith("<!doctype html>")
    assert book.read_bytes().startswith(b"PK")
    shown = hazfence("report", "--by", "day", "--by", "kind", "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(shown.out)))
    lines = hazfence("report", "--by", "kind", "--json").out.splitlines()
    whole = {row["key"]: row["visits"] + row["breaches"] + row["warnings"] for row in map(json.loads, lines)}
    assert whole == {r["kind"]: int(r["visits"]) + int(r["breaches"]) + int(r["warnings"]) for r in rows}
    assert whole["visit"] > 100


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("report", "--by", "moon"), "no report by 'moon': by kind, vehicle, company"),
        (("report", "--from", "2026-02-30"), "--from '2026-02-30' is no date or moment"),
        (("report", "--from", "2026-03-03", "--to", "2026-03-01"), "is not before --to"),
        (("report", "--from", "2030-01-01"), "the database has some from 2026-03-0"),
        (("report", "--kind", "speeding"), "no such kind"),
        (("report", "--time-zone", "Mars"), "no time zone 'Mars'"),
        (("report", "--database-url", "postgresql://127.0.0.1:1/none"), "127.0.0.1"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_line(
    hazfence: Ask, arguments: tuple[object, ...], says: str
) -> None:
    done = hazfence(*arguments)
    assert done.code == 1, done.err
    assert says in " ".join(done.err.split())
    assert "Traceback" not in done.err
