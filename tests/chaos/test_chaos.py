"""The short chaos run: twenty processes killed, all else harmed once at least, and no row different."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SEED = 20_261
TREE = Path(__file__).parents[2]


def test_twenty_kills_change_no_row(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "tests.chaos", "--kills", "20", "--seed", str(SEED), "--pace", "0.25", "--json",
        "--folder", str(tmp_path),
    ]  # fmt: skip
    # A process of its own: its file systems, services and workers end with it, whatever happens.
    done = subprocess.run(
        command, cwd=TREE, env=os.environ, capture_output=True, text=True, timeout=300, check=False
    )
    said = f"seed {SEED}, exit {done.returncode}\n{done.stdout}\n{done.stderr[-8000:]}"
    assert done.returncode == 0, said
    report = json.loads(done.stdout)
    assert report["faults"] == [], said
    assert report["kills"] >= 20
    assert report["differences"] == 0
    rows = {one["table"]: one["rows"] for one in report["compared"]}
    assert (
        min(rows[table] for table in ("fix", "visit", "event", "event_revision", "dead_letter", "board")) > 10
    )
    accounts = report["accounts"]
    assert accounts["accepted"] > 1000
    assert min(accounts[kind] for kind in ("set aside", "repeated", "dead")) > 0
    assert sum(report["died_at"].values()) >= 1  # in themselves, at a commit point
    assert min(report["harms"].values()) >= 1
    assert len(report["harms"]) >= 14
