"""How a suite measures: what was asked for (`Plan`), and rounds in which the ways take turns (`interleave`).

A suite is a function ``run(plan, ...) -> Iterable[Figure]``. It builds its workload from ``plan.seed``,
checks that all ways give the same answers, lets `interleave` time them, and gives a `Figure` each. Next
room: ``register.py``, where it says its name.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

__all__ = ["BadOption", "Plan", "Took", "interleave", "rates", "timed"]

T = TypeVar("T")


class BadOption(ValueError):
    """An option of a suite is out of range; the text names it and what it may be."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for.

    Attributes:
        size: ``tiny`` proves that a suite runs, ``quick`` is good for a table within minutes, ``full``
            for figures to publish.
        seed: of everything random.
        repeats: rounds, where given; else a suite takes its own number.
        peers: names of the peers wanted; None for all that are installed.
        tile38: path of a tile38-server, or ``HOST:PORT`` of a running one, where given.
    """

    size: Literal["tiny", "quick", "full"] = "full"
    seed: int = 1
    repeats: int | None = None
    peers: frozenset[str] | None = None
    tile38: str | None = None

    def pick(self, tiny: T, quick: T, full: T) -> T:
        """The one of three that fits the size."""
        return {"tiny": tiny, "quick": quick, "full": full}[self.size]

    def rounds(self, tiny: int = 2, quick: int = 5, full: int = 15) -> int:
        """How often to repeat."""
        return self.repeats or self.pick(tiny, quick, full)

    def wants(self, peer: str) -> bool:
        """Whether a peer is to be measured, if it is installed."""
        return self.peers is None or peer in self.peers


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one call: by the clock, and of processor time of this process."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], Any]) -> Took:
    """What a call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def interleave(ways: Mapping[str, Callable[[int], Any]], rounds: int) -> dict[str, list[Took]]:
    """Time each way once a round, in turn; who begins changes from round to round.

    What disturbs the machine for a second so disturbs all ways alike, and no way always runs behind the
    same one. The collector of Python's memory rests while a way is timed.

    Args:
        ways: each a call that gets the number of the round; one call before the rounds is not counted.
        rounds: how many.

    Example:
        >>> took = interleave({"a": lambda n: sum(range(1000)), "b": lambda n: None}, 3)
        >>> {way: len(each) for way, each in took.items()}
        {'a': 3, 'b': 3}
    """
    took: dict[str, list[Took]] = {way: [] for way in ways}
    for call in ways.values():
        call(0)
    collects = gc.isenabled()
    order = list(ways)
    for n in range(rounds):
        first = n % max(len(order), 1)
        for way in order[first:] + order[:first]:
            gc.collect(0)
            gc.disable()
            try:
                took[way].append(timed(lambda way=way, n=n: ways[way](n)))  # type: ignore[misc]
            finally:
                if collects:
                    gc.enable()
    return took


def rates(items: int, took: list[Took], clock: Literal["cpu", "wall"] = "cpu") -> tuple[float, ...]:
    """Items a second of each repeat, by one of the clocks; what was too short to time took a microsecond."""
    return tuple(items / max(t.cpu_s if clock == "cpu" else t.wall_s, 1e-6) for t in took)
