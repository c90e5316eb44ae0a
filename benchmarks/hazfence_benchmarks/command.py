"""Run suites and tell what they found: the common options, the result, the table, ``--json`` and ``--save``.

``hazfence bench NAME`` and ``bench all`` end here. A suite that cannot run for want of a service or a
package, or that breaks, becomes a skipped figure that says why; the others go on. Next rooms:
``register.py`` names the suites, ``table.py`` draws the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from hazfence import __version__
from hazfence.services import ServiceError
from hazfence_benchmarks import machine, yardstick
from hazfence_benchmarks.form import OURS, Figure, Result
from hazfence_benchmarks.plan import BadOption, Plan
from hazfence_benchmarks.register import SUITES, Suite
from hazfence_benchmarks.report import write
from hazfence_benchmarks.stage import shared
from hazfence_benchmarks.table import show

__all__ = ["add_common", "all_main", "plan_of", "run", "suite_main", "tell"]

#: How the reason begins where a suite was not skipped but broke.
BROKE = "broke: "
_COMMON = ("size", "seed", "repeats", "peers", "tile38", "json", "save")


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options of every suite."""
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", dest="size", action="store_const", const="quick", default="full",
                       help="fewer repeats and smaller workloads")  # fmt: skip
    sizes.add_argument("--tiny", dest="size", action="store_const", const="tiny",
                       help="only prove that it runs")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of everything random")
    parser.add_argument("--repeats", type=int, help="rounds in which the ways take turns")
    parser.add_argument("--peers", help="names of the peers wanted, by commas; 'none' for none; else all")
    parser.add_argument("--tile38", default=os.environ.get("HAZFENCE_TILE38_SERVER"), metavar="FILE",
                        help="a tile38-server, or HOST:PORT of one (or HAZFENCE_TILE38_SERVER)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--save", metavar="FILE", help="keep the result for report, compare and size")


def plan_of(given: argparse.Namespace) -> Plan:
    """The plan that the common options ask for.

    Raises:
        BadOption: repeats below 1.
    """
    if given.repeats is not None and given.repeats < 1:
        raise BadOption("--repeats must be at least 1")
    peers = None if given.peers is None else frozenset(given.peers.split(",")) - {"none", ""}
    return Plan(given.size, given.seed, given.repeats, peers, given.tile38)


def run(
    suites: Sequence[Suite],
    plan: Plan,
    own: Mapping[str, Any] | None = None,
    *,
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Run suites, one behind the other.

    Args:
        suites: out of the register.
        plan: what was asked for.
        own: the suite's own options.
        command: what was typed, for the result.
        say: gets a line a suite, before it runs and when it is skipped.
    """
    began, start_s = datetime.now(UTC), time.perf_counter()
    about, stick = machine.describe(), yardstick.measure()
    figures: list[Figure] = []
    suites_s: dict[str, float] = {}
    with shared():  # what servers one suite starts, the next ones use
        for suite in suites:
            say(f"{suite.name}: {suite.about}")
            from_s, from_cpu_s = time.perf_counter(), _cpu_s()
            figures += _figures(suite, plan, own or {}, say, lonely=len(suites) == 1)
            suites_s[suite.name] = round(time.perf_counter() - from_s, 1)
            say(f"  took {suites_s[suite.name]:.1f} s, {_cpu_s() - from_cpu_s:.1f} s of processor time")
    about["others_busy_after"] = machine.busy_share()
    took_s = round(time.perf_counter() - start_s, 1)
    return Result(
        tuple(figures), about, stick, __version__, began.isoformat(timespec="seconds"), took_s,
        plan.size, plan.seed, command, suites_s,
    )  # fmt: skip


def _figures(
    suite: Suite, plan: Plan, own: Mapping[str, Any], say: Callable[[str], None], *, lonely: bool
) -> list[Figure]:
    """What a suite measured; where it could not, a figure that says why. Alone, it may fail."""
    figures: list[Figure] = []
    try:
        with _quiet_logs():
            for figure in suite.run()(plan, **own):
                figures.append(figure)
                if figure.skipped:
                    say(f"  skipped {figure.what} by {figure.way}: {figure.skipped}")
    except Exception as error:  # what was measured before, and what comes after, is not lost
        if lonely:
            raise
        known = isinstance(error, ServiceError | ModuleNotFoundError | BadOption)
        why = _line(error) if known else f"{BROKE}{type(error).__name__}: {_line(error)}"
        figures.append(Figure(suite.name, "all", "everything", OURS, "", skipped=why))
        say(f"  skipped: {why}")
    return figures


def tell(result: Result, *, as_json: bool, save: str | None) -> int:
    """Print and keep a result; the exit code is 1 where one of our answers was wrong or a suite broke."""
    if save:
        result.save(save)
    if as_json:
        sys.stdout.write(json.dumps(result.to_json(), ensure_ascii=False) + "\n")
    else:
        show(result)
        if save:
            sys.stdout.write(f"kept in {save}\n")
    return int(any(f.wrong or f.skipped.startswith(BROKE) for f in result.figures if f.way == OURS))


def suite_main(name: str, argv: Sequence[str] | None = None) -> int:
    """``hazfence bench NAME``: the exit code."""
    suite = SUITES[name]
    parser = argparse.ArgumentParser(
        prog=f"hazfence bench {name}",
        description=suite.describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    suite.options(parser)
    add_common(parser)
    given = parser.parse_args(argv)
    own = {key: value for key, value in vars(given).items() if key not in _COMMON}
    command = " ".join(["hazfence bench", name, *(sys.argv[1:] if argv is None else argv)])
    try:
        result = run([suite], plan_of(given), own, command=command, say=_say)
    except BadOption as error:
        parser.error(str(error))
    return tell(result, as_json=given.json, save=given.save)


def all_main(argv: Sequence[str] | None = None) -> int:
    """``hazfence bench all``: every suite of the register, or those named."""
    able = [suite.name for suite in SUITES.values() if suite.in_all]
    parser = argparse.ArgumentParser(
        prog="hazfence bench all",
        description="Run every suite, one behind the other, into one result.",
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"only these, of {', '.join(able)}")
    parser.add_argument("--without-services", action="store_true", help="only what needs no server")
    parser.add_argument("--html", metavar="FILE", help="write the report page")
    add_common(parser)
    given = parser.parse_args(argv)
    unknown = sorted(set(given.suites) - set(SUITES))
    if unknown:
        parser.error(f"unknown suite {unknown[0]!r}; choose from {', '.join(SUITES)}")
    wanted = [SUITES[name] for name in given.suites or able]
    if given.without_services:
        wanted = [suite for suite in wanted if not suite.services]
    command = " ".join(["hazfence bench all", *(sys.argv[1:] if argv is None else argv)])
    try:
        result = run(wanted, plan_of(given), command=command, say=_say)
    except BadOption as error:
        parser.error(str(error))
    if given.html:
        write(result, page=given.html)
        _say(f"written: {given.html}")
    return tell(result, as_json=given.json, save=given.save)


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Warnings and worse of what is measured go to stderr: stdout is the table's, or the JSON's."""
    before, quiet = structlog.get_config(), structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        yield
    finally:
        structlog.configure(**before)


def _cpu_s() -> float:
    """Processor time of this process and of those it started that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
