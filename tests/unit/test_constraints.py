"""The constraints name every package that an installation of everything brings, at its tested version."""

from __future__ import annotations

import importlib.util
import json
import re
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"(?m)^([A-Za-z0-9._-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8")
    )
}
#: Asked for, not brought along: what `make setup` does not install.
ON_REQUEST = {"atheris"}


def needed() -> set[str]:
    """Every package that ``hazfence[dev]`` needs on this machine, down to the last."""
    found: set[str] = set()
    todo = [("hazfence", frozenset({"dev"}))]
    done = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if requirement.marker and not any(requirement.marker.evaluate(e) for e in environments):
                continue
            inner = canonicalize_name(requirement.name)
            if inner != "hazfence":
                found.add(inner)
            todo.append((inner, frozenset(requirement.extras)))
    return found


def test_everything_is_pinned_at_the_version_that_is_here() -> None:
    packages = needed()
    assert len(packages) > 50
    assert sorted(packages - set(PINS)) == []
    here = {name: metadata.version(name) for name in packages}
    assert {name: (version, PINS[name]) for name, version in here.items() if version != PINS[name]} == {}


def test_constraints_are_sorted_and_named_once() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = [canonicalize_name(line.split("==")[0]) for line in lines if "==" in line]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"#.*|[A-Za-z0-9._-]+==\S+", line) for line in lines)


@pytest.mark.parametrize(
    ("answers", "code", "says"),
    [
        (
            {"pypi": [{"name": "a", "version": "1", "vulns": []}]},
            0,
            "1 of 1 packages asked of pypi; 0 advisories",
        ),
        (
            {"pypi": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]},
            1,
            "a 1: CVE-1, mended in 2",
        ),
        (
            {
                "pypi": [{"name": "a", "skip_reason": "away"}],
                "osv": [{"name": "a", "version": "1", "vulns": []}],
            },
            0,
            "asked of osv",
        ),
        ({"pypi": [{"name": "a", "skip_reason": "away"}]}, 0, "SKIPPED"),
    ],
)
def test_the_audit_says_what_it_found_and_when_it_could_not_ask(
    tmp_path: Path, answers: dict[str, object], code: int, says: str
) -> None:
    """pip-audit's answers are stood in for: what its registry says of today is not ours to test."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "audit.py").write_text((ROOT / "scripts" / "audit.py").read_text(encoding="utf-8"))
    (tmp_path / "constraints.txt").write_text("a==1\n")
    program = tmp_path / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\nanswers = json.loads({json.dumps(json.dumps(answers))})\n"
        "registry = sys.argv[sys.argv.index('--vulnerability-service') + 1]\n"
        "if registry not in answers: sys.exit('cannot connect')\n"
        "print(json.dumps({'dependencies': answers[registry]}))\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    copy = scripts / "run.py"
    copy.write_text(
        f"import runpy, shutil\nshutil.which = lambda *_, **__: {str(program)!r}\n"
        f"runpy.run_path({str(scripts / 'audit.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, says in done.stdout) == (code, True), done.stdout + done.stderr


def test_the_fuzzer_is_pinned_too() -> None:
    assert set(PINS) >= ON_REQUEST
    if importlib.util.find_spec("atheris") is not None:
        assert metadata.version("atheris") == PINS["atheris"]
