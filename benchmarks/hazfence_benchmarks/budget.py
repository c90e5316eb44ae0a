"""Where a batch's time goes: what each step of the core costs a fix or an event, by batch size.

``hazfence bench budget A --vehicles 10000 100000``, and where fences lie so thick that every fix meets
borders, ``hazfence bench budget C100k --an-event``. The traffic is that of ``hazfence bench core``. A step is
a function of the core, timed by this thread's processor time; others that it calls are steps of their own, so
the steps of a batch add up to it. A clock is read some forty times a batch, which is about ten microseconds.
A step that costs as much a batch of 10,000 as one of 100,000 is a fixed cost. Next room: ``core.py``, the
same traffic as a rate.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hazfence import Engine
from hazfence_benchmarks.core import truck_steps
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.plan import BadOption, Plan
from hazfence_benchmarks.workloads import SETS
from hazfence_fences import FenceSet

__all__ = ["STEPS", "options", "run"]

#: Steps by name, in the order of a batch's way: module and function of each.
STEPS = {
    "clean": (("hazfence.engine", "extent_of"), ("hazfence.engine", "screen_values")),
    "vehicles and order": (
        ("hazfence.vehicles", "Fleet.codes_of"),
        ("hazfence.columns", "Numbers.groups"),
        ("hazfence.engine", "newest_before"),
    ),
    "locate": (("hazfence_fences", "FenceSet.locate"),),
    "sets of fences met first": (("hazfence.sets", "Sets.meet"),),
    "segments beside thin fences": (("hazfence_fences", "FenceSet.segment_hits"),),
    "beside a district's border": (
        ("hazfence.beside", "Beside.find"),
        ("hazfence.bypasses", "Bypasses.sides"),
    ),
    "what is due": (("hazfence.screen", "Screen.look"),),
    "crossings found": (
        ("hazfence.crossed", "Crossed.raw"),
        ("hazfence.crossed", "Crossed.passed"),
    ),
    "borders settled": (("hazfence.wavers", "Wavers.settle"),),
    "checkpoints and doubts": (
        ("hazfence.plain", "Plain._gate"),
        ("hazfence.plain", "Plain._doubts"),
        ("hazfence.bypasses", "Bypasses.judge"),
    ),
    "visits opened and closed": (("hazfence.plain", "Plain._take"),),
    "judge": (("hazfence.engine", "Engine._judge_vehicle"),),
    "last fixes": (("hazfence.vehicles", "Fleet.move"),),
    "recent fixes": (("hazfence.recent", "Recent.add_in_order"),),
    "log of steps": (("hazfence.plain", "logged"), ("hazfence.stays", "Log.add")),
    "events counted": (("hazfence.news", "Telling.count"),),
    "the rest": (("hazfence.engine", "Engine.process"),),
}


class _Watch:
    """Seconds by step, each without those of the steps that it calls."""

    def __init__(self) -> None:
        self.spent: dict[str, int] = defaultdict(int)
        self._inner: list[int] = []

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0)
            begin = time.thread_time_ns()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.thread_time_ns() - begin
                self.spent[step] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return watched

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the steps for as long as the block lasts."""
        with contextlib.ExitStack() as stack:
            for step, functions in STEPS.items():
                for module, path in functions:
                    owner: Any = importlib.import_module(module)
                    *parents, name = path.split(".")
                    for parent in parents:
                        owner = getattr(owner, parent)
                    function = getattr(owner, name)
                    setattr(owner, name, self.timed(step, function))
                    stack.callback(setattr, owner, name, function)
            yield


def options(parser: argparse.ArgumentParser) -> None:
    """Sets, batch sizes, steps."""
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; A and B without names")
    parser.add_argument("--vehicles", type=int, nargs="+", help="fixes a batch, one size or more")
    parser.add_argument("--steps", type=int, help="batches; the first two, where all is new, do not count")
    parser.add_argument("--no-thin", action="store_true", help="without thin fences, so without segments")
    parser.add_argument("--an-event", action="store_true", help="nanoseconds an event, not a fix")


def run(
    plan: Plan,
    sets: Sequence[str] = (),
    *,
    vehicles: Sequence[int] | None = None,
    steps: int | None = None,
    no_thin: bool = False,
    an_event: bool = False,
) -> Iterator[Figure]:
    """Measure the named sets.

    Args:
        plan: its size says how much, where it is not given.
        sets: names out of ``workloads.SETS``.
        vehicles: fixes a batch, one size or more.
        steps: batches; the first two do not count.
        no_thin: leave thin fences out, so no segment is asked for.
        an_event: tell what a step costs an event, not a fix.

    Raises:
        BadOption: an unknown set, or numbers out of range.
    """
    sizes = list(vehicles or plan.pick([200], [10_000, 100_000], [10_000, 30_000, 100_000]))
    batches = plan.rounds(2, 8, 20) + 2 if steps is None else steps
    chosen = list(sets) or plan.pick(["A"], ["A"], ["A", "B"])
    unknown = sorted(set(chosen) - set(SETS))
    if unknown:
        raise BadOption(f"unknown set {unknown[0]!r}; choose from {', '.join(SETS)}")
    if min(sizes) < 1 or batches < 3:
        raise BadOption("--vehicles must be at least 1 and --steps at least 3")
    for name in chosen:
        fences = SETS[name]()
        kept = FenceSet([f for f in fences if not f.thin]) if no_thin else fences
        for size in sizes:
            label = name + (" without thin fences" if no_thin else "")
            yield from _measure(label, fences, kept, size, batches, plan, an_event=an_event)


def _measure(
    name: str, bounds: FenceSet, fences: FenceSet, size: int, steps: int, plan: Plan, *, an_event: bool
) -> Iterator[Figure]:
    engine, watch = Engine(fences), _Watch()
    spent: list[dict[str, int]] = []
    events: list[int] = []
    with watch.watching():
        for step, batch in enumerate(truck_steps(bounds, vehicles=size, steps=steps, seed=plan.seed)):
            watch.spent.clear()
            count = len(engine.process(batch))
            if step > 1:
                spent.append(dict(watch.spent))
                events.append(count)
    about: dict[str, Any] = {
        "suite": "budget",
        "workload": f"{name}, batches of {size}",
        "unit": "ns/event" if an_event else "ns/fix",
    }
    about |= {"way": OURS, "n": size, "better": "less", "clock": "cpu"}
    shares = [max(count, 1) if an_event else size for count in events]
    each = list(zip(spent, shares, strict=True))
    for label in STEPS:
        yield Figure(**about, what=label, values=tuple(one.get(label, 0) / share for one, share in each))
    note = f"{name}, batches of {size}: {sum(events) / (size * len(events)):.4f} events a fix"
    yield Figure(
        **about, what="all of it", values=tuple(sum(one.values()) / share for one, share in each), note=note
    )
