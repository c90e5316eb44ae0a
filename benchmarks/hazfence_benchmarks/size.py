"""Plan a deployment for a load from what was measured here, with the arithmetic shown.

    hazfence bench size --vehicles 50000 --interval-s 10 --fences 2000

The figures come from a saved result (``--from``) or from a quick run of the suites `NEEDS`. `plan_for` does
the arithmetic, each step a line that can be checked by hand: fixes a second, processor time a fix with so
many fences, workers, partitions, memory, the database's rate and disk, the topic's disk, and how fast an
outage is caught up. Not measured and so not planned: network, copies of the database, Redis.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hazfence_benchmarks.command import run
from hazfence_benchmarks.form import OURS, BadResult, Figure, Result
from hazfence_benchmarks.plan import BadOption, Plan
from hazfence_benchmarks.register import SUITES
from hazfence_benchmarks.table import machine_line

__all__ = ["NEEDS", "Line", "Load", "main", "plan_for"]

#: The suites whose figures are needed.
NEEDS = ("fences", "memory", "wire", "store", "stream")

_DAY_S = 86_400
_REMEMBERED_S = 600.0  # the engine's default: how far back late fixes are judged
_FEWEST_PARTITIONS = 24  # as docs/worker.md advises


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be carried.

    Attributes:
        vehicles: that report.
        interval_s: seconds between two fixes of a vehicle.
        fences: in force.
        use: share of what a worker carries to plan with; the rest is for peaks and for catching up.
        growth: how many times more workers the topic's partitions must allow for later.
        days: that fixes and events are kept in the database.
        keep_fixes: whether every fix is stored.
        topic_days: that the topic keeps messages.
        replication: copies of the topic.
        packed: fixes come in packed messages, not as one JSON each.

    Raises:
        BadOption: a number that makes no sense.
    """

    vehicles: int
    interval_s: float
    fences: int
    use: float = 0.5
    growth: int = 2
    days: float = 180.0
    keep_fixes: bool = True
    topic_days: float = 7.0
    replication: int = 3
    packed: bool = True

    def __post_init__(self) -> None:
        for name in ("vehicles", "interval_s", "fences", "growth", "days", "topic_days", "replication"):
            if not getattr(self, name) > 0:
                raise BadOption(f"--{name.replace('_', '-')} must be above 0")
        if not 0 < self.use <= 1:
            raise BadOption("--use must be above 0 and at most 100 (per cent of a worker)")


@dataclass(frozen=True, slots=True)
class Line:
    """A step of the plan: what it is, its value, and how it came about."""

    what: str
    value: float
    unit: str
    how: str


def plan_for(load: Load, measured: Result) -> list[Line]:
    """The plan, step by step.

    Args:
        load: what is to be carried.
        measured: a result with the suites `NEEDS`.

    Raises:
        BadResult: a figure is missing; says which suite measures it.
    """
    need = _Needs(measured)
    lines: list[Line] = []

    def add(what: str, value: float, unit: str, how: str) -> float:
        lines.append(Line(what, value, unit, how))
        return value

    rate = add("fixes", load.vehicles / load.interval_s, "fixes/s",
               f"{load.vehicles:,} vehicles / {load.interval_s:g} s")  # fmt: skip
    cpu_us = _cpu_us(load, need, add)
    add(
        "processor time",
        rate * cpu_us / 1e6,
        "cores",
        f"{rate:,.0f} fixes/s x {cpu_us:.2f} us, in all workers",
    )
    one = _capacity(load, need, lines, add)
    workers = add("workers", math.ceil(rate / (one * load.use)), "processes",
                  f"{rate:,.0f} / ({one:,.0f} fixes/s x {load.use:.0%} busy), rounded up")  # fmt: skip
    partitions = max(_FEWEST_PARTITIONS, int(2 * load.growth * workers))
    add("partitions", partitions, "partitions",
        f"2 x {load.growth} (growth) x {workers:.0f} workers, at least {_FEWEST_PARTITIONS}: "
        "a topic's partitions are never added to")  # fmt: skip
    spare = workers * one - rate
    add("catching up an hour", 3600 * rate / spare / 60 if spare > 0 else math.inf, "minutes",
        f"{rate:,.0f} fixes/s x 3600 s / ({workers:.0f} x {one:,.0f} - {rate:,.0f} fixes/s)")  # fmt: skip
    _memory(load, need, workers, add)
    _database(load, need, rate, add)
    _topic(load, need, rate, add)
    return lines


_Add = Callable[[str, float, str, str], float]


class _Needs:
    """Medians out of a result, by suite and what; a missing one names its suite."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def get(self, suite: str, what: str, **fits: Any) -> float:
        found = self._result.find(suite, what, **fits)
        if found is None:
            raise BadResult(
                f"the result has no '{what}' of suite {suite}: measure with hazfence bench all --quick "
                f"{' '.join(NEEDS)} --save RESULT.json"
            )
        return found.median

    def curve(self, suite: str, what: str) -> list[Figure]:
        found = [f for f in self._result.of_suite(suite) if f.what == what and f.way == OURS and f.values]
        if not found:
            self.get(suite, what)
        return sorted(found, key=lambda f: f.x or 0)


def _traffic(load: Load) -> tuple[str, str]:
    """Workload of suite stream, and whether fixes are stored in it."""
    workload = "250 fixes a message" if load.packed else "one JSON fix a message"
    return workload, "fixes stored" if load.keep_fixes or not load.packed else "no history"


def _capacity(load: Load, need: _Needs, lines: list[Line], add: _Add) -> float:
    """What a worker carries, broker and database included, with the matching that so many fences cost."""
    workload, kept = _traffic(load)
    alone = need.get("stream", f"end to end, {kept}", workload=workload)
    more_us = next(line.value for line in lines if line.what == "more fences")
    how = (
        f"1 / (1 / {alone:,.0f} fixes/s + {more_us:.3f} us): measured: stream, end to end, {workload}, {kept}"
    )
    return add("a worker carries", 1 / (1 / alone + more_us / 1e6), "fixes/s", f"{how}, all on this machine")


def _cpu_us(load: Load, need: _Needs, add: _Add) -> float:
    """Processor time of a worker a fix, with the matching that so many fences cost."""
    workload, kept = _traffic(load)
    worker_us = need.get("stream", f"worker's processor time a fix, {kept}", workload=workload)
    base = add("a fix in a worker", worker_us, "us", f"measured: stream, {workload}, {kept}, a dozen fences")
    curve = need.curve("fences", "locate")
    sizes, ns = [f.x or 1 for f in curve], [1e9 / f.median for f in curve]
    at = [float(np.exp(np.interp(np.log(n), np.log(sizes), np.log(ns)))) for n in (12, load.fences)]
    beyond = " (beyond what was measured: the last point is used)" if load.fences > sizes[-1] else ""
    how = f"matching takes {at[1]:.0f} ns a fix with {load.fences:,} fences, {at[0]:.0f} ns with a dozen"
    more = add("more fences", max(0.0, at[1] - at[0]) / 1e3, "us", f"{how}: measured: fences{beyond}")
    return add("a fix with these fences", base + more, "us", f"{base:.2f} us + {more:.3f} us")


def _memory(load: Load, need: _Needs, workers: float, add: _Add) -> None:
    process = need.get("memory", "process without vehicles") * 1e6
    first, remembered = need.get("memory", "a vehicle, one fix"), need.get("memory", "a remembered fix")
    fence = need.get("memory", "a fence, all")
    a_vehicle = first + remembered * max(1.0, _REMEMBERED_S / load.interval_s)
    share = math.ceil(load.vehicles / workers)
    total = process + share * a_vehicle + load.fences * fence
    held = f"({first:,.0f} + {_REMEMBERED_S / load.interval_s:.0f} remembered fixes x {remembered:.0f})"
    how = f"{process / 1e6:.0f} MB + {share:,} vehicles x {a_vehicle:,.0f} bytes {held}"
    how += f" + {load.fences:,} fences x {fence:,.0f} bytes: measured: memory"
    add("memory a worker", total / 1e6, "MB", how)


def _database(load: Load, need: _Needs, rate: float, add: _Add) -> None:
    events = need.get("stream", "events a fix")
    event_bytes, event_rate = need.get("store", "an event with its history"), need.get("store", "new events")
    traffic = f"{events:.5f} events a fix, as in the traffic of suite stream"
    told = add("events", rate * events, "rows/s", f"{rate:,.0f} fixes/s x {traffic}")
    disk = told * event_bytes * _DAY_S * load.days
    how = f"{told:,.1f} events/s x {event_bytes:,.0f} bytes"
    busy, of_time = told / event_rate, f"{told:,.1f} / {event_rate:,.0f} events/s"
    if load.keep_fixes:
        fix_bytes = need.get("store", "a fix with its indexes")
        fix_rate = need.get("store", "fixes in a checkpoint")
        busy += rate / fix_rate
        disk += rate * fix_bytes * _DAY_S * load.days
        how = f"({rate:,.0f} fixes/s x {fix_bytes:.0f} bytes + {how})"
        of_time = f"{rate:,.0f} / {fix_rate:,.0f} fixes/s + {of_time}"
    add("database", busy, "connections busy", f"{of_time}: measured: store, one connection")
    add("database disk", disk / 1e9, "GB", f"{how} x {_DAY_S:,} s x {load.days:g} days: measured: store")


def _topic(load: Load, need: _Needs, rate: float, add: _Add) -> None:
    workload = "message of 250 fixes" if load.packed else "one JSON fix a message"
    a_fix = need.get("wire", "bytes a fix", workload=workload)
    total = rate * a_fix * _DAY_S * load.topic_days * load.replication
    add("topic disk", total / 1e9, "GB",
        f"{rate:,.0f} fixes/s x {a_fix:.0f} bytes x {_DAY_S:,} s x {load.topic_days:g} days x "
        f"{load.replication} copies: measured: wire, before compression")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """``hazfence bench size --vehicles N --interval-s S --fences F``."""
    parser = argparse.ArgumentParser(
        prog="hazfence bench size",
        description=__doc__ or "",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--vehicles", type=int, required=True)
    parser.add_argument("--interval-s", type=float, required=True, help="between two fixes of a vehicle")
    parser.add_argument("--fences", type=int, required=True)
    parser.add_argument(
        "--use", type=float, default=50.0, help="per cent of a core a worker may be busy (50)"
    )
    parser.add_argument("--growth", type=int, default=2, help="times more workers later (2)")
    parser.add_argument("--days", type=float, default=180.0, help="kept in the database (180)")
    parser.add_argument("--no-history", action="store_true", help="fixes are not stored, only events")
    parser.add_argument("--topic-days", type=float, default=7.0, help="kept in the topic (7)")
    parser.add_argument("--replication", type=int, default=3, help="copies of the topic (3)")
    parser.add_argument("--json-fixes", action="store_true", help="one JSON fix a message, not packed")
    parser.add_argument(
        "--from", dest="source", metavar="RESULT.json", help="a saved result; else a quick run"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(argv)
    try:
        load = Load(
            given.vehicles, given.interval_s, given.fences, given.use / 100, given.growth, given.days,
            not given.no_history, given.topic_days, given.replication, not given.json_fixes,
        )  # fmt: skip
    except BadOption as error:
        parser.error(str(error))
    measured = Result.load(given.source) if given.source else _quick_run()
    lines = plan_for(load, measured)
    if given.json:
        found = {"load": asdict(load), "machine": measured.machine, "plan": [asdict(line) for line in lines]}
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
        return 0
    sys.stdout.write(f"measured {measured.began} on {machine_line(measured.machine)}\n\n")
    for line in lines:
        value = (
            f"{line.value:,.0f}"
            if line.value >= 100 or line.value == int(line.value)
            else f"{line.value:.3g}"
        )
        sys.stdout.write(f"{line.what:<24}{value:>9} {line.unit:<17} = {line.how}\n")
    return 0


def _quick_run() -> Result:
    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    say("no --from: measuring here first, a minute or two; keep a result with: hazfence bench all --save")
    return run(
        [SUITES[name] for name in NEEDS],
        Plan("quick", repeats=3, peers=frozenset()),
        say=say,
    )
