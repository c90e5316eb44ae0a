"""A draft zone is rehearsed on a day that is over, and published: the next day is as rehearsed."""

from __future__ import annotations

import dataclasses
import json
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import psycopg
import pytest
from psycopg import sql

from hazfence.cli import main
from hazfence.events import Event, Phase, iso
from hazfence.fixes import FixBatch
from hazfence.postgis.history import History
from hazfence.services import fresh_database
from hazfence_fences import FenceSet, load_fences
from hazfence_replay.simulator import simulate
from tests.integration.live_day import live, publish

DAY_US = 86_400_000_000
START_US = 1_772_380_800_000_000  # 2026-03-02 in Shanghai
ZONE = {
    "type": "Feature",
    "properties": {"id": "restricted-3", "kind": "restricted", "name": "School road"},
    "geometry": {
        "type": "Polygon",
        "coordinates": [
            [[121.600, 29.955], [121.612, 29.955], [121.612, 29.963], [121.600, 29.963], [121.600, 29.955]]
        ],
    },
}


@pytest.fixture(scope="module")
def fences() -> FenceSet:
    return load_fences("fences/zhenhai")


@pytest.fixture(scope="module")
def day(fences: FenceSet) -> FixBatch:
    """A simulated day of 30 trucks."""
    fixes = simulate(fences, seed=11, trucks=30).fixes
    return fixes.take(np.argsort(fixes.time_us, kind="stable"))


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("draft")
    (folder / "school.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [ZONE]}))
    return folder


@pytest.fixture
def url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    with fresh_database(postgres_server, template=migrated_template) as found:
        yield found


@pytest.fixture
def reader_url(url: str) -> Iterator[str]:
    """The same database for a user who has nothing but hazfence_read; skipped where there is no such role."""
    name, word = f"hazfence_test_{secrets.token_hex(6)}", secrets.token_hex(12)
    with psycopg.connect(url, autocommit=True) as connection:
        may = "SELECT has_schema_privilege(rolname, 'hazfence', 'USAGE') FROM pg_roles WHERE rolname = %s"
        if connection.execute(may, ["hazfence_read"]).fetchall() != [(True,)]:
            pytest.skip("there is no role hazfence_read on this server")
        make = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE hazfence_read")
        connection.execute(make.format(sql.Identifier(name), sql.Literal(word)))
        parts = urlsplit(url)
        place = parts.netloc.rsplit("@", 1)[-1]
        try:
            yield urlunsplit(parts._replace(netloc=f"{name}:{word}@{place}"))
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def hazfence(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("HAZFENCE_DATABASE_URL", url)
    monkeypatch.setenv("HAZFENCE_CLOCK", "event")

    def ask(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["hazfence", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        told, code = capsys.readouterr(), left.value.code
        return (1, told.out, told.err + code) if isinstance(code, str) else (code or 0, told.out, told.err)

    return ask


def cut(batch: FixBatch, at: int = 2000) -> list[FixBatch]:
    return [batch.take(slice(i, i + at)) for i in range(0, len(batch), at)]


def moved(batch: FixBatch, by_us: int) -> FixBatch:
    return dataclasses.replace(batch, time_us=batch.time_us + by_us)


def standing(url: str, since_us: int, *, visits: bool = False) -> list[Event]:
    with History(url) as history:
        found = history.beginning(since_us, since_us + DAY_US, visits=visits)
    return [event for event in found if event.phase is not Phase.RETRACTED]


def fact(event: dict[str, object]) -> tuple[object, ...]:
    """What a breach is, whatever day it is on."""
    return (event["kind"], event["vehicle"], event["fence_id"], event["started_at"], event["ended_at"])


def everything(url: str) -> dict[str, object]:
    """How many rows every table has, and a hash of them all."""
    tables = (
        "SELECT relname FROM pg_class WHERE relnamespace = 'hazfence'::regnamespace AND relkind IN ('r', 'p')"
    )
    rows = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {} AS t"
    with psycopg.connect(url) as connection:
        return {
            name: connection.execute(sql.SQL(rows).format(sql.Identifier("hazfence", name))).fetchone()
            for (name,) in connection.execute(tables).fetchall()
        }


def test_the_next_days_breaches_are_those_rehearsed(
    url: str,
    hazfence: Callable[..., tuple[int, str, str]],
    fences: FenceSet,
    day: FixBatch,
    draft: Path,
    tmp_path: Path,
) -> None:
    publish(url, fences, saved_at=iso(START_US - DAY_US))
    live(url, cut(day))
    before = everything(url)
    page = tmp_path / "map.html"
    rehearsal = ("rehearse", "--draft", draft, "--from", "2026-03-02", "--to", "2026-03-02")
    code, out, err = hazfence(*rehearsal, "--json", "--html", page)
    assert code == 0, err
    assert "today's side equals what was said live" in err
    assert page.read_text().startswith("<!doctype html>")
    assert everything(url) == before
    told = json.loads(out)
    gained = [c["draft"] for c in told["changes"] if c["what"] == "gained"]
    assert len(gained) == len(told["changes"]) >= 10
    assert {c["fence_id"] for c in gained} == {"restricted-3"}
    yesterday = standing(url, START_US)
    rehearsed = [e.to_json() for e in yesterday] + gained

    assert hazfence("fences", "load", draft)[0] == 0
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE hazfence.fence SET saved_at = %s WHERE id = 'restricted-3'", [iso(START_US + DAY_US)]
        )
    live(url, cut(moved(day, DAY_US)))
    today = [
        dataclasses.replace(
            e, started_us=e.started_us - DAY_US, ended_us=None if e.ended_us is None else e.ended_us - DAY_US
        ).to_json()
        for e in standing(url, START_US + DAY_US)
    ]
    assert sorted(map(repr, map(fact, today))) == sorted(map(repr, map(fact, rehearsed)))
    assert {e["fence_version"] for e in today if e["fence_id"] == "restricted-3"} == {1}
    # Rehearsed again without a draft, either day is what was said live, each by the fences of its time.
    for date in ("2026-03-02", "2026-03-03"):
        code, _, err = hazfence("rehearse", "--from", date, "--to", date, "--visits")
        assert code == 0
        assert "today's side equals what was said live" in err, err


def test_without_a_draft_it_is_live_row_for_row(
    url: str,
    hazfence: Callable[..., tuple[int, str, str]],
    fences: FenceSet,
    day: FixBatch,
) -> None:
    publish(url, fences)
    live(url, cut(day))
    code, out, err = hazfence("rehearse", "--from", "2026-03-02", "--to", "2026-03-02", "--visits", "--json")
    assert code == 0, err
    told = json.loads(out)
    rows = standing(url, START_US, visits=True)
    assert told["live"] == {"same": len(rows), "other": []}
    assert len(rows) > 300
    assert told["changes"] == []
    assert "judged by the fences in force now" in err  # saved long after the day that was simulated
    # Tampered with, a live row is found out.
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE hazfence.event SET started_at = started_at + interval '1 second'")
    _, _, err = hazfence("rehearse", "--from", "2026-03-02", "--to", "2026-03-02")
    assert "does NOT equal what was said live" in err


def test_a_user_who_may_only_read_can_rehearse_and_cannot_write(
    url: str,
    reader_url: str,
    hazfence: Callable[..., tuple[int, str, str]],
    fences: FenceSet,
    day: FixBatch,
    draft: Path,
) -> None:
    publish(url, fences)
    live(url, cut(day)[:6])
    when = ("--from", "2026-03-02", "--to", "2026-03-02")
    code, _, err = hazfence("rehearse", "--draft", draft, *when, "--database-url", reader_url)
    assert code == 0, err
    assert "today's side equals what was said live" in err
    with psycopg.connect(reader_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM hazfence.event")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from", "2026-03-02"), "--to"),
        (("--from", "2026-03-03", "--to", "2026-03-01"), "is not before --to"),
        (("--from", "2026-03-02", "--to", "2026-03-02"), "the database holds no fence"),
        (
            ("--from", "2026-03-02", "--to", "2026-03-02", "--fences", "fences/zhenhai"),
            "the database holds no fixes",
        ),
        (
            (
                "--from",
                "2026-03-02",
                "--to",
                "2026-03-02",
                "--fences",
                "fences/zhenhai",
                "--draft",
                "README.md",
            ),
            "README.md",
        ),
        (
            ("--from", "2026-03-02", "--to", "2026-03-02", "--fences", "fences/zhenhai", "--without", "moon"),
            "--without moon: no such fence is in force",
        ),
        (
            ("--from", "2026-03-02", "--to", "2026-03-02", "--draft-engine", "{"),
            "--draft-engine '{' is no JSON",
        ),
        (
            ("--from", "2026-03-02", "--to", "2026-03-02", "--clock", "sun"),
            "--clock 'sun': write wall or event",
        ),
    ],
)
def test_what_cannot_be_rehearsed_is_said_in_a_line(
    hazfence: Callable[..., tuple[int, str, str]], arguments: tuple[object, ...], says: str
) -> None:
    code, _, err = hazfence("rehearse", *arguments)
    assert code in (1, 2), err
    assert says in " ".join(err.split())
    assert "Traceback" not in err
