"""What a peer is: another way to find the fences that cover points, asked through `PointPeer.pairs`.

`opened` builds the peers that are wanted and installed; `check` compares one with the exact answers before
anybody times it, and counts what it gets wrong. Polygons are the fences' own. A circle is exact only for
peers that take metres; the others get the fine polygon that stands for it in the database, and what that
gets wrong counts like any wrong answer. Next rooms: ``in_process.py``, ``approximate.py``, ``databases.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hazfence.services import ServiceError
from hazfence_benchmarks.exactness import reference_keys
from hazfence_benchmarks.plan import Plan
from hazfence_fences import FenceSet

__all__ = ["F64", "I64", "Missing", "PointPeer", "areas", "check", "keys_of", "opened"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


class Missing(ServiceError):
    """A peer is not installed or cannot do this here; the text says what is missing and how to get it."""


class PointPeer(Protocol):
    """Another way to locate points; built from a fence set, closed at the end.

    Attributes:
        name: as in the table.
        clock: ``cpu`` where all is done in this process, else ``wall``.
        points: how many to ask in a call, so that a call takes some tens of milliseconds.
    """

    name: ClassVar[str]
    clock: ClassVar[Literal["cpu", "wall"]]
    points: ClassVar[int]

    def __init__(self, fences: FenceSet) -> None: ...

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """(point, fence) indexes of all pairs in which the fence covers the point, in any order."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def areas(fences: FenceSet) -> NDArray[np.object_]:
    """The polygons of the fences, object[n]: a circle's is a fine polygon."""
    out = np.empty(len(fences), dtype=object)
    out[:] = [f.geometry for f in fences]
    return out


def keys_of(fences: FenceSet, points: int, pairs: tuple[I64, I64]) -> U64:
    """The key of each point's set, as `FenceSet.locate` gives it: uint64[points]."""
    point, fence = pairs
    keys = np.array([f.key for f in fences], dtype=np.uint64)
    out = np.zeros(points, dtype=np.uint64)
    np.add.at(out, point, keys[fence])
    return out


def check(fences: FenceSet, peer: PointPeer, lon: F64, lat: F64) -> int:
    """At how many points the peer's answer differs from the exact one."""
    got = keys_of(fences, len(lon), peer.pairs(lon, lat))
    return int(np.count_nonzero(got != reference_keys(fences, lon, lat)))


@contextlib.contextmanager
def opened(
    kinds: tuple[type[PointPeer], ...], plan: Plan, fences: FenceSet
) -> Iterator[tuple[list[PointPeer], dict[str, str]]]:
    """The peers that are wanted and can be had, and why the others cannot; closed at the end."""
    peers: list[PointPeer] = []
    skipped: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            if not plan.wants(kind.name):
                continue
            try:
                peer = kind(fences)
            except Missing as missing:
                skipped[kind.name] = str(missing)
                continue
            stack.callback(peer.close)
            peers.append(peer)
        yield peers, skipped
