"""Audit the pinned packages for known vulnerabilities with pip-audit; ``make audit`` and CI run it.

Exit code 0: none known, or no registry of advisories could be asked, which is said aloud; 1: some are known,
each with the release that mends it; 2: pip-audit is not there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Registries that pip-audit knows, in the order they are asked.
REGISTRIES = ("pypi", "osv")
TIMEOUT_S = 300


def asked(program: str, registry: str, constraints: Path) -> tuple[list[dict[str, Any]], str]:
    """The packages a registry knew something of (perhaps nothing bad), and why there are none."""
    command = [
        program, "--requirement", str(constraints), "--no-deps", "--disable-pip", "--format", "json",
        "--progress-spinner", "off", "--vulnerability-service", registry, "--timeout", "15",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return [], f"no answer within {TIMEOUT_S} s"
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = done.stderr.strip().splitlines() or ["no answer"]
        return [], lines[-1]
    known = [package for package in packages if "skip_reason" not in package]
    reasons = [package["skip_reason"] for package in packages if "skip_reason" in package]
    return known, reasons[0] if reasons else "it knew no package"


def main() -> int:
    """Ask, and print what was found."""
    program = shutil.which("pip-audit", path=str(Path(sys.executable).parent)) or shutil.which("pip-audit")
    if program is None:
        print("audit: pip-audit is not installed: pip install pip-audit", file=sys.stderr)
        return 2
    constraints = ROOT / "constraints.txt"
    pinned = sum("==" in line for line in constraints.read_text(encoding="utf-8").splitlines())
    for registry in REGISTRIES:
        known, why = asked(program, registry, constraints)
        if not known:
            print(f"audit: registry {registry} could not be asked: {why}", file=sys.stderr)
            continue
        bad = [(p["name"], p["version"], v) for p in known for v in p["vulns"]]
        for name, version, found in bad:
            mended = ", ".join(found["fix_versions"]) or "no release yet"
            print(f"audit: {name} {version}: {found['id']}, mended in {mended}")
        missing = f", {pinned - len(known)} unknown to it" if len(known) < pinned else ""
        print(f"audit: {len(known)} of {pinned} packages asked of {registry}{missing}; {len(bad)} advisories")
        return 1 if bad else 0
    print("audit: SKIPPED, no registry of advisories can be reached from here; nothing was checked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
