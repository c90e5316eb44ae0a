"""The command line as a person meets it: what works, and one clear line where something does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hazfence import __version__

ROOT = Path(__file__).parents[2]
TRACK = ROOT / "tests" / "data" / "car_track_visnjan.gpx"
ZHENHAI = ROOT / "fences" / "zhenhai"

#: A box around part of the recorded drive.
FENCE = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"id": "village", "kind": "zone", "name": "west of the church"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [
                    [[13.715, 45.275], [13.718, 45.275], [13.718, 45.282], [13.715, 45.282], [13.715, 45.275]]
                ],
            },
        }
    ],
}


def hazfence(*arguments: object, timeout_s: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HAZFENCE_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "hazfence.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**clean, "COLUMNS": "200", **env},
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def fence_file(tmp_path: Path) -> Path:
    path = tmp_path / "village.geojson"
    path.write_text(json.dumps(FENCE))
    return path


def test_version_and_help() -> None:
    assert hazfence("--version").stdout == f"hazfence {__version__}\n"
    shown = hazfence("--help")
    for command in ("demo", "replay", "simulate", "migrate", "serve", "up", "down", "fences"):
        assert command in shown.stdout


def test_replay_of_a_recorded_drive_prints_its_visits(fence_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    done = hazfence("replay", TRACK, "--fences", fence_file, "--vehicle", "car", "--html", page)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "village" in line]
    # By hand: in between 06:17:48 and :59 at .4105 of the way, out between 06:18:07 and :14 at .1945.
    [[vehicle, fence, entered, left, stay]] = rows
    assert (vehicle, fence, stay) == ("car", "village", "0:00:16")
    assert (entered[:19], left[:19]) == ("2020-12-18T06:17:52", "2020-12-18T06:18:08")
    assert "104 fixes" in done.stderr
    assert page.read_text().startswith("<!doctype html>")


def test_replay_as_json_is_rows_for_other_programs(fence_file: Path) -> None:
    done = hazfence("replay", TRACK, "--fences", fence_file, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["visit"]
    assert all(row["phase"] == "closed" for row in rows)


def test_fences_check_names_what_was_repaired() -> None:
    done = hazfence("fences", "check", ZHENHAI)
    assert done.returncode == 0
    assert sum(" checkpoint " in line for line in done.stdout.splitlines()) == 6
    assert "repaired" in done.stderr.lower()


def test_simulate_writes_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        done = hazfence(
            "simulate", "--fences", ZHENHAI, "--trucks", 5, "--hours", 24, "--to", tmp_path / name
        )
        assert done.returncode == 0, done.stderr
    for name in ("fixes.jsonl", "truth.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() != b""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("replay", "no-such.gpx", "--fences", ZHENHAI), "no-such.gpx: no such file or folder"),
        (("replay", TRACK, "--fences", "no-such-folder"), "no-such-folder"),
        (("fences", "check", ROOT / "README.md"), "README.md"),
        (("simulate", "--date", "2026-13-01"), "--date '2026-13-01' is no date"),
        (("simulate", "--send", "--fences", ZHENHAI), "--send needs a broker"),
        (("migrate", "--database-url", "postgresql://127.0.0.1:1/none"), "127.0.0.1"),
        (("serve",), "HAZFENCE_DATABASE_URL: is not set"),
        (("replay", TRACK), "--fences"),
        (("nonsense",), "nonsense"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line_without_a_traceback(
    arguments: tuple[object, ...], says: str
) -> None:
    done = hazfence(*arguments)
    assert done.returncode not in (0, 70), done.stderr
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_down_with_nothing_up(tmp_path: Path) -> None:
    done = hazfence("down", "--folder", tmp_path)
    assert (done.returncode, "nothing is up" in done.stderr) == (0, True)


def test_bench_core_agrees_with_the_hand_written_way_and_tells_its_figures() -> None:
    done = hazfence("bench", "core", "A", "--vehicles", 300, "--steps", 4, "--json")
    assert done.returncode == 0, done.stderr
    ours, by_hand = json.loads(done.stdout)["figures"]
    assert (ours["way"], ours["checked"], ours["wrong"]) == ("hazfence", 300, 0)
    assert by_hand["ours_times_better"] == pytest.approx(ours["median"] / by_hand["median"], rel=1)
    assert hazfence("bench", "core", "Z").returncode == 2
