"""Every suite of ``hazfence bench`` runs for real on a tiny workload, and the tools read what they leave."""

import json
from pathlib import Path

import pytest

from hazfence.services import Services
from hazfence_benchmarks.form import OURS, Result
from hazfence_benchmarks.register import SUITES
from tests.acceptance.test_cli import hazfence


@pytest.fixture(scope="module")
def saved(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "result.json"
    # No database: suite latency wants one with settings of its own.
    given = {"HAZFENCE_KAFKA": services.kafka, "HAZFENCE_REDIS_URL": services.redis_url}
    done = hazfence("bench", "all", "--tiny", "--json", "--save", path, timeout_s=600, **given)
    assert done.returncode == 0, done.stderr
    # One JSON object on stdout and nothing else, the same as the file.
    assert Result.from_json(json.loads(done.stdout)) == Result.load(path)
    return path


@pytest.mark.parametrize("suite", [suite.name for suite in SUITES.values() if suite.in_all])
def test_a_suite_measures_and_its_answers_are_right(suite: str, saved: Path) -> None:
    figures = Result.load(saved).of_suite(suite)
    ours = [figure for figure in figures if figure.way == OURS]
    assert [figure.skipped for figure in ours if figure.skipped] == []
    assert ours
    assert sum(figure.wrong for figure in ours) == 0


def test_peers_were_measured_beside_and_checked(saved: Path) -> None:
    result = Result.load(saved)
    for suite in ("match", "fences", "vehicles"):
        peers = [f for f in result.of_suite(suite) if f.way != OURS and f.values and "limit" not in f.way]
        assert len({figure.way for figure in peers}) >= 2
        assert all(figure.checked for figure in peers)
        assert all(result.ratio(figure) is not None for figure in peers)


def test_report_compare_and_size_read_it(saved: Path, tmp_path: Path) -> None:
    done = hazfence("bench", "report", saved, "--html", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert "hazfence bench all --tiny" in (tmp_path / "page.html").read_text(encoding="utf-8")
    done = hazfence("bench", "compare", saved, saved, "--fail")
    assert (done.returncode, "0 worse" in done.stdout) == (0, True), done.stderr
    load = ("--vehicles", 50_000, "--interval-s", 10, "--fences", 2000)
    done = hazfence("bench", "size", *load, "--from", saved)
    assert done.returncode == 0, done.stderr
    assert "5,000 fixes/s" in done.stdout
    done = hazfence("bench", "compare", saved, tmp_path / "none.json")
    assert done.returncode == 1
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
