"""The register of suites: a line here is all that ``hazfence bench NAME`` and ``bench all`` need.

To add a suite: write a module with ``run(plan, ...) -> Iterable[Figure]`` (see ``plan.py``, ``form.py``)
and add one `Suite` line below. If it has options of its own, the module also has ``options(parser)``, which
adds them to an argparse parser; they reach ``run`` as keyword arguments with the same defaults as ``run``.
``--json``, ``--save``, ``--quick``, ``--seed``, ``--repeats`` and ``--peers`` come by themselves, and so do
the table, the yardstick and the machine's description. A `Figure` whose ``x`` is set becomes a point of a
growth curve in the report; a peer's figure with the same workload, what and x as ours is set beside it.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hazfence_benchmarks.form import Figure

__all__ = ["SUITES", "Suite"]


@dataclass(frozen=True, slots=True)
class Suite:
    """A name, a line that says what is measured, and the module that does it.

    Attributes:
        name: as typed behind ``hazfence bench``.
        about: one line.
        in_all: whether ``bench all`` runs it.
        services: whether it starts PostgreSQL, a broker or Redis.
    """

    name: str
    about: str
    in_all: bool = True
    services: bool = False

    def _module(self) -> Any:
        return importlib.import_module(f"hazfence_benchmarks.{self.name}")

    def run(self) -> Callable[..., Iterable[Figure]]:
        """The suite's ``run``."""
        found: Callable[..., Iterable[Figure]] = self._module().run
        return found

    def options(self, parser: argparse.ArgumentParser) -> None:
        """Add the suite's own options."""
        add = getattr(self._module(), "options", None)
        if add is not None:
            add(parser)

    def describe(self) -> str:
        """The first paragraph of the module: what is measured, beside what."""
        return (self._module().__doc__ or self.about).split("\n\n")[0]


SUITES = {
    suite.name: suite
    for suite in (
        Suite("match", "Points and segments against fences, beside what one would use instead."),
        Suite("core", "Fixes through the whole core on four fence sets, beside the same written by hand."),
        Suite("budget", "What each step of the core costs a fix, by batch size.", in_all=False),
        Suite("rules", "Every rule on, beside visits only, on the traffic of a district."),
        Suite("late", "Fixes on time, 1 % of them late, and hours of history recalled.", services=True),
        Suite("fences", "Matching as fences grow from 7 to 100,000, beside the peers."),
        Suite("vehicles", "The core as vehicles grow to a million, beside PostGIS triggers and Tile38."),
        Suite("memory", "Bytes of a fence, a vehicle, a remembered fix and a snapshot."),
        Suite("exactness", "Differences of the index from shapely's covers: there should be none."),
        Suite("wire", "The wire formats, beside Arrow and msgpack."),
        Suite("replay", "History from Parquet and CSV through readers, engine and journal; memory; a year."),
        Suite("store", "Fixes and events into PostGIS.", services=True),
        Suite("stream", "Fixes through broker, worker and PostGIS.", services=True),
        Suite("latency", "From a fix produced to its event committed, at several loads.", services=True),
    )
}
