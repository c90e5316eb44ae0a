"""A little of the fuzz in every test run; what was ever found is tried again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import FOUND, TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
@given(case=st.binary(max_size=120))
def test_whatever_comes_in(name: str, case: bytes) -> None:
    TARGETS[name].throw(case)


def test_what_was_found_once() -> None:
    for name, cases in json.loads(FOUND.read_text()).items():
        for case in cases:
            TARGETS[name].throw(bytes.fromhex(case))


def test_the_fuzzer_counts_and_finds(tmp_path: Path) -> None:
    """It runs, and a target that breaks is found and told; otherwise it would prove nothing."""
    root = Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--cases",
        "300",
        "--engine",
        "chance",
        "--seed",
        "1",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["cases"] == sum(one["cases"] for one in told["targets"].values()) >= 299
    assert set(told["targets"]) == set(TARGETS)
    assert sum(one["taken"] for one in told["targets"].values()) > 0
    broken = (
        "import sys; from tests.fuzz import targets, __main__ as run\n"
        f"import pathlib; run.FOUND = pathlib.Path(r'{tmp_path}/found.json')\n"
        "def bad(case):\n    assert len(case) < 50, 'too long'\n    return True\n"
        "targets.TARGETS['wire'] = targets.Target(bad, 1.0)\n"
        "sys.argv = ['fuzz', '--target', 'wire', '--cases', '500', '--engine', 'chance', '--seed', '1']\n"
        "sys.exit(run.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 1
    assert "BROKEN" in done.stdout
    assert "too long" in done.stdout
    (case,) = json.loads((tmp_path / "found.json").read_text())["wire"]
    assert len(bytes.fromhex(case)) >= 50
