"""Fuzz for as many cases as wanted and count: ``python -m tests.fuzz --cases 1000000``.

With atheris (``pip install 'hazfence[fuzz]'``) libFuzzer steers the cases by the code they reach, each target
in a process of its own; without it they are chance, and that is said. A case that breaks something is kept in
``tests/fuzz/found.json``, which every test run tries, and ends its target.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from .targets import FOUND, TARGETS

#: Bytes of a case.
LENGTH = 160


def keep(target: str, case: bytes) -> None:
    """Remember a case that broke something."""
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    cases = found.setdefault(target, [])
    if case.hex() not in cases:
        cases.append(case.hex())
        FOUND.write_text(json.dumps(found, indent=1) + "\n")


def by_chance(name: str, cases: int, seed: int) -> dict[str, Any]:
    """Throw random bytes."""
    chance, throw, taken = random.Random(seed), TARGETS[name].throw, 0
    for number in range(cases):
        case = chance.randbytes(chance.randrange(LENGTH))
        try:
            taken += throw(case)
        except Exception:
            keep(name, case)
            return {"cases": number + 1, "taken": taken, "broken": traceback.format_exc(limit=-3)}
    return {"cases": cases, "taken": taken, "broken": ""}


def guided(name: str, cases: int, seed: int) -> dict[str, Any]:
    """Let libFuzzer throw, in a child: it ends the process when it is done."""
    with tempfile.TemporaryDirectory(prefix="hazfence-fuzz-") as folder:
        told = Path(folder) / "told.json"
        command = [sys.executable, "-m", "tests.fuzz", "--child", name, str(told), str(cases), str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        found: dict[str, Any] = json.loads(told.read_text()) if told.exists() else {"cases": 0, "taken": 0}
        if done.returncode != 0:
            for crash in Path(folder).glob("crash-*"):
                keep(name, crash.read_bytes())
            lines = [line for line in done.stderr.splitlines() if not line.startswith(("INFO", "#", "=="))]
            found["broken"] = "\n".join(lines[:12]) or f"ended with code {done.returncode}"
        else:
            found["broken"] = ""
        return found


def child(name: str, told: str, cases: str, seed: str) -> None:
    """The child of `guided`: libFuzzer's main loop."""
    import atheris

    taken = thrown = 0
    report = os.open(told, os.O_WRONLY | os.O_CREAT)

    def tell() -> None:
        # After each case, in place: libFuzzer ends the process without another word.
        os.pwrite(report, b'{"cases": %-12d, "taken": %-12d}' % (thrown, taken), 0)

    def throw(case: bytes) -> None:
        nonlocal taken, thrown
        thrown += 1
        taken += target(case)
        tell()

    target = TARGETS[name].throw
    # Instrumented after the import, by function: numpy, shapely and pydantic stay as fast as they are.
    for module in [m for n, m in sys.modules.items() if n.split(".")[0] in ("hazfence", "hazfence_fences")]:
        for value in list(vars(module).values()):
            if type(value).__name__ == "function" and value.__module__ == module.__name__:
                atheris.instrument_func(value)
            elif isinstance(value, type) and value.__module__ == module.__name__:
                for inner in vars(value).values():
                    if type(inner).__name__ == "function":
                        atheris.instrument_func(inner)
    where = f"-artifact_prefix={Path(told).parent}/"
    options = [f"-runs={cases}", f"-seed={int(seed) + 1}", f"-max_len={LENGTH}", "-rss_limit_mb=4096", where]
    atheris.Setup([sys.argv[0], *options], throw)
    tell()
    atheris.Fuzz()


def main() -> int:
    """Run the targets and print what they took; 1 when something broke."""
    if sys.argv[1:2] == ["--child"]:
        warnings.simplefilter("error")
        child(*sys.argv[2:6])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=1_000_000, help="in all, shared out among the targets")
    parser.add_argument("--target", choices=sorted(TARGETS), help="this one alone")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of chance and of libFuzzer")
    parser.add_argument("--engine", choices=("atheris", "chance"), help="atheris where it is installed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    there = importlib.util.find_spec("atheris") is not None
    engine = given.engine or ("atheris" if there else "chance")
    if engine == "atheris" and not there:
        parser.error("atheris is not installed: pip install 'hazfence[fuzz]'")
    if engine == "chance" and given.engine is None:
        print("atheris is not installed: cases are chance, not guided by coverage", file=sys.stderr)
    warnings.simplefilter("error")
    names = [given.target] if given.target else list(TARGETS)
    whole = sum(TARGETS[name].share for name in names)
    table: dict[str, Any] = {"engine": engine, "seed": given.seed, "targets": {}}
    for name in names:
        count = math.ceil(given.cases * TARGETS[name].share / whole)
        started_s = time.perf_counter()
        found = (guided if engine == "atheris" else by_chance)(name, count, given.seed)
        found["seconds"] = round(time.perf_counter() - started_s, 1)
        table["targets"][name] = found
        if not given.json:
            said = "BROKEN" if found["broken"] else "ok"
            print(f"{name:<16} {found['cases']:>9,} cases  {found['taken']:>9,} taken  "
                  f"{found['seconds']:>7.1f} s  {said}", flush=True)  # fmt: skip
            if found["broken"]:
                print(found["broken"], flush=True)
    table["cases"] = sum(found["cases"] for found in table["targets"].values())
    table["broken"] = sum(bool(found["broken"]) for found in table["targets"].values())
    if given.json:
        print(json.dumps(table))
    else:
        print(f"{table['cases']:,} cases by {engine}, seed {given.seed}: {table['broken']} targets broken")
    return 1 if table["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
