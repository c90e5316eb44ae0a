"""Looking into a day that is over, as a person does on the command line: reports, explanations, evidence."""

from __future__ import annotations

import csv
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from hazfence.cli import main
from hazfence.services import fresh_database
from hazfence_fences import load_fences
from hazfence_replay.explain import read_bundle, write_bundle
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


def one_of(url: str, kind: str) -> str:
    with psycopg.connect(url) as connection:
        query = "SELECT event_id FROM hazfence.fact WHERE kind = %s ORDER BY started_at LIMIT 1"
        [(found,)] = connection.execute(query, [kind]).fetchall()
    return str(found.hex)


def test_explain_tells_the_steps_and_draws_the_place(lived: str, hazfence: Ask, tmp_path: Path) -> None:
    bypass = one_of(lived, "gate_bypass")
    page, picture = tmp_path / "bypass.html", tmp_path / "bypass.png"
    done = hazfence("explain", bypass, "--html", page, "--png", picture)
    assert done.code == 0, done.err
    assert "It stands: judged again from the stored fixes, it comes out the same." in done.out
    assert "So the border was crossed away from every checkpoint." in done.out
    assert "tolerance_m = 200 m" in done.out
    assert page.read_text().count("<circle") > 5
    assert picture.read_bytes().startswith(b"\x89PNG")
    zh = hazfence("explain", bypass, "--language", "zh", "--json")
    told = json.loads(zh.out)
    assert told["verdict"] == "stands"
    assert "认定为绕卡" in "".join(told["steps"])


@pytest.mark.parametrize("name", ["evidence.zip", "evidence.json"])
def test_evidence_is_one_file_that_tells_what_was_altered(
    lived: str, hazfence: Ask, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    written = hazfence("explain", one_of(lived, "overspeed"), "--out", path)
    assert written.code == 0, written.err
    seal = written.err.split("seal: ")[1].split()[0]
    checked = hazfence("explain", "--verify", path, "--seal", seal, "--database-url", "")
    assert checked.code == 0, checked.err
    assert "as they were written" in checked.err
    assert "It stands" in checked.out  # judged again from the file alone
    bundle = read_bundle(path)
    fixes = json.loads(bundle.parts["fixes.json"])
    fixes["speed_kmh"] = [30.0 for _ in fixes["speed_kmh"]]
    forged = {**bundle.parts, "fixes.json": json.dumps(fixes).encode()}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            forged["chain.json"] = archive.read("chain.json")
        with zipfile.ZipFile(path, "w") as archive:
            for part, data in forged.items():
                archive.writestr(part, data)
    else:
        whole = json.loads(path.read_text())
        whole["contents"]["fixes.json"] = {"text": forged["fixes.json"].decode()}
        path.write_text(json.dumps(whole))
    done = hazfence("explain", "--verify", path)
    assert done.code == 1
    assert "part fixes.json was altered" in done.err
    assert "NOT as it was written" in done.err
    # Written anew as a whole, only the seal tells; and what it says now is that the breach falls.
    forged.pop("chain.json", None)
    write_bundle(path, forged)
    assert "the whole file was written anew" in hazfence("explain", "--verify", path, "--seal", seal).err
    assert "It does not stand" in hazfence("explain", "--verify", path).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("explain",), "give the id of an event, or --verify"),
        (("explain", "12"), "'12' is no event id: it has 32 hex digits"),
        (("explain", "0" * 32), "there is no event 00000000000000000000000000000000 in this database"),
        (("explain", "0" * 32, "--language", "fr"), "--language 'fr': write en or zh"),
        (("explain", "0" * 32, "--engine", "{"), "--engine '{' is no JSON"),
        (("explain", "0" * 32, "--engine", '{"speed": 1}'), "unknown engine setting 'speed'"),
        (("explain", "0" * 32, "--seal", "x"), "--seal belongs to --verify"),
        (("explain", "--verify", "README.md"), "README.md: is neither a zip nor JSON of evidence"),
        (("explain", "--verify", "no-such.zip"), "no-such.zip"),
        (("report", "--by", "moon"), "no report by 'moon': by kind, vehicle, company"),
        (("report", "--from", "2026-02-30"), "--from '2026-02-30' is no date or moment"),
        (("report", "--from", "2026-03-03", "--to", "2026-03-01"), "is not before --to"),
        (("report", "--from", "2030-01-01"), "the database has some from 2026-03-0"),
        (("report", "--kind", "speeding"), "no such kind"),
        (("report", "--time-zone", "Mars"), "no time zone 'Mars'"),
        (("report", "--database-url", "postgresql://127.0.0.1:1/none"), "127.0.0.1"),
        (("report", "--database-url", "secret word"), "the database URL cannot be read: write e.g."),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_line(
    hazfence: Ask, arguments: tuple[object, ...], says: str
) -> None:
    done = hazfence(*arguments)
    assert done.code == 1, done.err
    assert says in " ".join(done.err.split())
    assert "Traceback" not in done.err
