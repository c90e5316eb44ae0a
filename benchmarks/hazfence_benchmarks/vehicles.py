"""How the whole core grows with the vehicles: 1,000 to a million, beside what keeps state elsewhere.

``hazfence bench vehicles``: trucks of which half drive and half stand report every ten seconds around the
district and its checkpoints; batches of at most 100,000 fixes go through cleaning, order, matching,
segments, transitions and rules. The peers tell entries and exits only, and are asked up to 10,000 vehicles:
written by hand, a PostGIS trigger a row, Tile38. All must agree on where every vehicle is in the end.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hazfence import Engine, EngineSettings, FixBatch
from hazfence_benchmarks.core import truck_traffic
from hazfence_benchmarks.exactness import reference_pairs
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.peers.base import Missing
from hazfence_benchmarks.peers.tellers import TELLERS, Teller
from hazfence_benchmarks.plan import BadOption, Plan, Took, rates, timed
from hazfence_benchmarks.workloads import set_a
from hazfence_fences import FenceSet

__all__ = ["differ", "options", "run", "where_exactly"]

_BATCH = 100_000
_PEERS_UP_TO = 10_000


def options(parser: argparse.ArgumentParser) -> None:
    """How many vehicles."""
    parser.add_argument("--counts", help="numbers of vehicles, by commas, instead of those of the size")


def run(plan: Plan, *, counts: str | None = None) -> Iterator[Figure]:
    """Measure each number of vehicles.

    Args:
        plan: its size says which numbers, where they are not given.
        counts: numbers of vehicles by commas.

    Raises:
        BadOption: a number that is none.
    """
    try:
        chosen = [int(part) for part in counts.split(",")] if counts else []
    except ValueError as error:
        raise BadOption(f"--counts: numbers by commas, such as 1000,10000, not {counts!r}") from error
    if any(number < 1 for number in chosen):
        raise BadOption("--counts: every number must be at least 1")
    fences = set_a()
    for count in chosen or plan.pick([100], [1000, 10_000, 100_000], [1000, 10_000, 100_000, 1_000_000]):
        yield from _measure(plan, fences, count, with_peers=count <= _PEERS_UP_TO)


def _measure(plan: Plan, fences: FenceSet, count: int, *, with_peers: bool) -> Iterator[Figure]:
    """One number of vehicles: every way gets the same steps, in turn."""
    steps = plan.pick(3, 6, 9)
    lots = _traffic(fences, count, steps, plan.seed)
    # The peers count every border at once, so do we here; suite core tells what settling costs.
    engine, took = Engine(fences, EngineSettings(settle_m=0.0)), defaultdict[str, list[Took]](list)
    about: dict[str, Any] = {"suite": "vehicles", "workload": "A, trucks", "what": "process"}
    about |= {"unit": "fixes/s", "x": float(count), "x_name": "vehicles"}
    with contextlib.ExitStack() as stack:
        peers: list[Teller] = []
        for kind in TELLERS if with_peers else ():
            if plan.wants(kind.name):
                try:
                    peers.append(kind(fences, plan))
                    stack.callback(peers[-1].close)
                except Missing as missing:
                    yield Figure(**about, way=kind.name, skipped=str(missing))
        for step in range(steps):
            # The first step, in which every vehicle is new, is not counted.
            for batch in (lot[step] for lot in lots):
                one = timed(lambda batch=batch: engine.process(batch))  # type: ignore[misc]
                if step:
                    took[OURS].append(one)
                for peer in peers:
                    one = timed(lambda batch=batch, peer=peer: peer.tell(batch))  # type: ignore[misc]
                    if step:
                        took[peer.name].append(one)
        where = {name: set(engine.inside(name)) for lot in lots for name in lot[-1].names()}
        truth = where_exactly(fences, [lot[-1] for lot in lots])
        size = len(lots[0][0])
        wall = rates(size, took[OURS], "wall")
        yield Figure(**about, way=OURS, values=rates(size, took[OURS]), n=size, clock="cpu", wall=wall,
                     checked=count, wrong=differ(where, truth))  # fmt: skip
        for peer in peers:
            yield Figure(**about, way=peer.name, values=rates(size, took[peer.name], peer.clock), n=size,
                         clock=peer.clock, checked=count, wrong=differ(peer.inside(), truth))  # fmt: skip


def _traffic(fences: FenceSet, count: int, steps: int, seed: int) -> list[list[FixBatch]]:
    """Lots of at most 100,000 vehicles, equal in size, each a batch a step."""
    parts = -(-count // _BATCH)
    size = count // parts
    return [
        truck_traffic(fences, vehicles=size, steps=steps, seed=seed * 1000 + part, first=part * size)
        for part in range(parts)
    ]


def where_exactly(fences: FenceSet, batches: list[FixBatch]) -> dict[str, set[str]]:
    """The exact fences of each vehicle's last fix."""
    out: dict[str, set[str]] = {}
    for batch in batches:
        point, fence = reference_pairs(fences, np.asarray(batch.lon), np.asarray(batch.lat))
        names = batch.names()
        out |= {name: set() for name in names}
        for i, j in zip(point.tolist(), fence.tolist(), strict=True):
            out[names[i]].add(fences[j].id)
    return out


def differ(got: Mapping[str, set[str]], want: Mapping[str, set[str]]) -> int:
    """How many vehicles are elsewhere than said."""
    return sum(got.get(name, set()) != held for name, held in want.items())
