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
    for command in (
        "demo",
        "replay",
        "simulate",
        "migrate",
        "serve",
        "up",
        "down",
        "fences",
        "report",
        "explain",
        "rehearse",
    ):
        assert command in shown.stdout


def test_replay_of_a_recorded_drive_prints_its_visits(fence_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    done = hazfence("replay", TRACK, "--fences", fence_file, "--as", "car", "--html", page)
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


def test_replay_of_a_part_into_files_with_what_could_not_be_read(fence_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tracks"
    folder.mkdir()
    rows = ["车牌号,时间,经度,纬度"]
    for minute in range(30):
        for plate, lon in (("浙B1", 13.716), ("浙B2", 13.719)):
            rows.append(f"{plate},2026-03-02 08:{minute:02d}:00,{lon if minute % 10 else 13.70},45.28")
    rows.insert(5, "浙B1,nonsense,13.716,45.28")
    (folder / "day.csv").write_bytes("\n".join(rows).encode("gbk"))
    out = tmp_path / "rows.jsonl"
    command = [
        *(
            "replay",
            folder,
            "--fences",
            fence_file,
            "--tz",
            "Asia/Shanghai",
            "--out",
            out,
            "--vehicle",
            "浙B1",
        ),
        *("--out", tmp_path / "rows.csv", "--out", tmp_path / "map.html", "--from", "2026-03-02T08:05"),
        *("--settings", '{"max_gap_s": 120}'),
    ]
    done = hazfence(*command, "--to", "2026-03-02T08:25:00+08:00")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["vehicle"] for row in found} == {"浙B1"}
    assert [row["started_at"][11:19] for row in found] == ["00:05:00", "00:10:56", "00:20:56"]
    assert "20 fixes of 1 vehicles from 2026-03-02T00:05:00Z to 2026-03-02T00:24:00Z" in done.stderr
    assert "1 row set aside: 1 bad_time" in done.stderr
    kept = json.loads((tmp_path / "rows.jsonl.rejects.jsonl").read_text())
    assert (kept["line"], kept["reason"]) == (6, "bad_time")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("map.html", "rows.csv", "rows.jsonl", "rows.jsonl.rejects.jsonl", "tracks", "village.geojson"),
    ]


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
        (("replay", TRACK, "--fences", ZHENHAI, "--out", "rows.xls"), "--out rows.xls: rows go to a file"),
        (("replay", TRACK, "--fences", ZHENHAI, "--out", "no/rows.csv"), "there is no folder"),
        (("replay", TRACK, "--fences", ZHENHAI, "--from", "soon"), "--from 'soon' is no date or moment"),
        (("replay", TRACK, "--fences", ZHENHAI, "--settings", "{"), "is no JSON"),
        (("replay", TRACK, "--fences", ZHENHAI, "--column", "lon"), "write FIELD=NAME"),
        (("replay", TRACK, "--fences", ZHENHAI, "--datum", "moon"), "unknown datum 'moon'"),
        (("replay", "db", "--fences", ZHENHAI), "HAZFENCE_DATABASE_URL, which is not set"),
        (("replay", TRACK, "--out", "kafka://x"), "kafka://HOST:PORT/TOPIC"),
        (("replay", TRACK, "--out", "kafka://127.0.0.1:1/t"), "127.0.0.1:1"),
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
    figures = {figure["way"]: figure for figure in json.loads(done.stdout)["figures"]}
    ours, by_hand = figures["hazfence"], figures["by hand"]
    at_once = figures["hazfence, borders at once"]
    assert (at_once["checked"], at_once["wrong"]) == (300, 0)
    assert figures["hazfence, without segments"]["median"] > 0
    assert by_hand["ours_times_better"] == pytest.approx(ours["median"] / by_hand["median"], rel=1)
    assert hazfence("bench", "core", "Z").returncode == 2
