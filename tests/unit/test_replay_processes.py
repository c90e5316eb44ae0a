"""How many processes a replay takes: one where a further one could not pay, all where it does."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from hazfence import EngineSettings
from hazfence.cli import replay as command
from hazfence.rules import RULES, Rulebook
from hazfence_replay import processes
from hazfence_replay.processes import Load, cores, load_of, processes_for
from hazfence_replay.readers import READERS, Wanted
from hazfence_replay.readers.files import find

VISITS = EngineSettings(rules=Rulebook({str(rule.kind): False for rule in RULES}))
EVERY = EngineSettings(rules=Rulebook.all_on())
PARQUET_US, CSV_US, GPX_US = 0.1, 0.35, 5.0


@pytest.mark.parametrize(
    ("fixes", "read_us", "settings", "most", "found"),
    [
        # What takes but a second or two is over before others have started,
        (1e6, PARQUET_US, VISITS, 2, 1),
        (9e6, PARQUET_US, VISITS, 2, 1),
        (1e8, PARQUET_US, VISITS, 2, 2),
        # the sooner the more there is to judge.
        (3e6, PARQUET_US, EVERY, 2, 2),
        (3e5, PARQUET_US, EVERY, 2, 1),
        (1.2e7, PARQUET_US, EngineSettings(), 2, 2),
        (1e7, CSV_US, VISITS, 2, 2),
        # A file that takes far longer to read than to judge keeps nobody else busy,
        (1e8, GPX_US, VISITS, 64, 1),
        # and a few keep up with the reader.
        (1e8, PARQUET_US, VISITS, 64, 2),
        (1e8, PARQUET_US, EVERY, 4, 4),
        (1e8, PARQUET_US, EVERY, 1, 1),
    ],
)
def test_as_many_as_pay(
    fixes: float, read_us: float, settings: EngineSettings, most: int, found: int
) -> None:
    assert processes_for(Load(fixes, read_us), settings, most) == found


def test_no_more_than_vehicles() -> None:
    assert processes_for(Load(1e8, PARQUET_US, 1), EVERY, 8) == 1
    assert processes_for(Load(1e8, PARQUET_US, 3), EVERY, 8) == 3
    assert cores() >= 1


def test_what_a_source_asks_for_is_told_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x" * 75_000)
    (tmp_path / "b.gpx").write_bytes(b"x" * 100_000)
    assert load_of(find(tmp_path / "a.csv", READERS)) == Load(1_000.0, CSV_US)
    fixes, read_us, vehicles = load_of(find(tmp_path, READERS), 2)
    assert (fixes, read_us, vehicles) == (2_000.0, pytest.approx((CSV_US + GPX_US) / 2), 2)
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(bytes(75_000), 0))
    assert load_of(find(tmp_path / "c.csv.gz", READERS)).fixes == pytest.approx(5_000, rel=0.01)
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.csv", "a.csv")
    assert load_of(find(tmp_path / "d.zip", READERS)).fixes == 1_000.0
    (tmp_path / "e.geojson").write_bytes(b"x" * 1_200)
    assert load_of(find(tmp_path / "e.geojson", READERS)).read_us > GPX_US
    (tmp_path / "empty.csv").touch()
    assert load_of(find(tmp_path / "empty.csv", READERS)).fixes == 0.0
    assert load_of(None).fixes > 1e6


def test_the_command_asks_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 2)
    path = tmp_path / "long.parquet"
    with path.open("wb") as file:
        file.truncate(2_000_000_000)
    two = frozenset({"A", "B"})
    for wanted, name, found in [
        (Wanted(), None, 2),
        (Wanted(vehicles=two), None, 2),
        (Wanted(vehicles=frozenset({"A"})), None, 1),
        (Wanted(), "car", 1),
    ]:
        assert command._processes(str(path), VISITS, wanted, name) == found
    assert command._processes("kafka://localhost:9092/t", EVERY, Wanted(), None) == 2
    with path.open("wb") as file:
        file.truncate(2_000_000)
    assert command._processes(str(path), EVERY, Wanted(), None) == 1
