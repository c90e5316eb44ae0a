"""What figures were measured on: the machine, the versions that matter, and how busy others kept it.

`describe` goes into every result. Next room: ``yardstick.py``, what that machine can do at best.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import rtree
import shapely

__all__ = ["busy_share", "describe", "same_machine", "versions"]

#: Packages whose version can change a figure; those not installed are left out.
_PACKAGES = ("numpy", "shapely", "rtree", "pyproj", "faust-streaming", "aiokafka", "psycopg", "redis",
             "geopandas", "duckdb", "h3", "pymeos")  # fmt: skip


def describe() -> dict[str, Any]:
    """Processor, cores, memory, system, versions, and ``others_busy``: the share of all cores others use.

    Takes a third of a second, in which this process sleeps: what is busy then is not this one.
    """
    memory_b = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_b / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "others_busy": busy_share(),
        **versions(),
    }


def versions() -> dict[str, str]:
    """Python, GEOS and the packages that matter."""
    out = {"python": platform.python_version(), "geos": ".".join(map(str, shapely.geos_version))}
    for package in _PACKAGES:
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    # What runs counts, not what is on file.
    return out | {"numpy": np.__version__, "shapely": shapely.__version__, "rtree": rtree.__version__}


def busy_share(seconds: float = 0.3) -> float:
    """Share of all cores that is busy while this process sleeps; 0 where the system does not tell."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None or after[1] <= before[1]:
        return 0.0
    return round((after[0] - before[0]) / (after[1] - before[1]), 2)


def same_machine(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two descriptions are of machines of one kind, so that their times can be compared."""
    return all(a.get(key) == b.get(key) for key in ("cpu", "cores"))


def _ticks() -> tuple[int, int] | None:
    """(busy, all) clock ticks of all cores since the system began."""
    if sys.platform != "linux":
        return None
    numbers = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(numbers) - numbers[3] - numbers[4], sum(numbers)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
