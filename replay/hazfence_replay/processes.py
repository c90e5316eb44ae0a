"""How many processes a replay takes: as many as pay, which is known from what a fix costs where.

You are beside ``shards.py``. A further process judges on a core of its own, but takes half a second to start,
and none of them is faster than the one that reads. So a small source is judged by one; a long Parquet file
through visits alone, which costs as much to read as to judge, by two; every rule by as many cores as keep up.
:func:`processes_for` works that out from the size of the source and what is judged; nothing but time hangs on
it, since the rows are the same. ``hazfence bench replay`` measures the costs that stand here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from hazfence.rules import RULES
from hazfence.settings import EngineSettings
from hazfence_replay.readers.files import Item

__all__ = ["Load", "cores", "load_of", "processes_for"]

#: Processor seconds until a process has started.
_START_S = 0.5
#: What several must come down to, of what one alone takes; and how near to the best the fewest may stay.
_WORTH, _NEAR = 0.8, 1.05
#: Of a format: bytes of a fix, and microseconds to read it.
_FORMS = {
    ".parquet": (18.0, 0.10),
    ".feather": (31.0, 0.10),
    ".arrow": (45.0, 0.10),
    ".arrows": (45.0, 0.10),
    ".csv": (75.0, 0.35),
    ".tsv": (75.0, 0.35),
    ".txt": (45.0, 0.35),
    ".plt": (65.0, 0.35),
    ".gpx": (100.0, 5.0),
}
_JSON = (120.0, 9.0)
#: Packed text is so much smaller.
_PACKED = 5.0
#: A table or a topic, of which nobody knows the length without asking: taken for a long one.
_UNKNOWN = (10_000_000, 0.5)
#: Microseconds of a fix: to cut paces and keep rows; to deal them out and to collect rows, and to pick out
#: one's own; to judge, however many share that; and what they share: for visits alone, for the rules that
#: come switched on, and for more.
_KEEP_US, _DEAL_US, _PICK_US, _PACE_US = 0.04, 0.03, 0.015, 0.045
# The last one is .35 where trucks drive on or stand, and 2 where they stop and go and break every limit.
_JUDGE_US = (0.11, 0.21, 1.05)


class Load(NamedTuple):
    """What a source asks for.

    Attributes:
        fixes: about how many.
        read_us: microseconds to read one.
        vehicles: how many at the most, where that is known.
    """

    fixes: float
    read_us: float
    vehicles: int | None = None


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_of(items: Iterable[Item] | None, vehicles: int | None = None) -> Load:
    """About how much there is to do.

    Args:
        items: the files of the source; None for a table or a topic.
        vehicles: how many at the most are wanted; None: nobody knows.
    """
    if items is None:
        return Load(*_UNKNOWN, vehicles)
    fixes = took_us = 0.0
    for item in items:
        size, read_us = _FORMS.get(item.suffix, _JSON)
        # In an archive the size is that of the file unpacked.
        more = item.size / size * (_PACKED if item.packing else 1.0)
        fixes, took_us = fixes + more, took_us + more * read_us
    return Load(fixes, took_us / max(fixes, 1.0), vehicles)


def processes_for(load: Load, settings: EngineSettings, most: int | None = None) -> int:
    """The number of processes that is expected to be the fastest; one, unless more are clearly faster.

    Args:
        load: what is to be done.
        settings: which rules are on.
        most: cores there are; all by default.

    Example:
        >>> processes_for(Load(1e6, 0.1), EngineSettings(), 2)
        1
        >>> processes_for(Load(1e8, 0.1), EngineSettings(), 2)
        2
    """
    most = cores() if most is None else most
    many = most if load.vehicles is None else max(1, min(most, load.vehicles))
    judge_us = _JUDGE_US[_rules(settings)]
    took = {p: _seconds(load, judge_us, p, most) for p in range(1, many + 1)}
    best_s = min(took.values())
    if best_s > _WORTH * took[1]:
        return 1
    return next(p for p in took if took[p] <= _NEAR * best_s)


def _seconds(load: Load, judge_us: float, processes: int, most: int) -> float:
    """About how long it will take."""
    keep_s = load.fixes * (load.read_us + _KEEP_US) / 1e6
    each_s = load.fixes * (_PACE_US + judge_us / processes) / 1e6
    if processes == 1:
        return keep_s + each_s
    keep_s += load.fixes * _DEAL_US / 1e6
    each_s += load.fixes * _PICK_US / 1e6 + _START_S
    # The slowest of all bounds it, and so do the cores, which are fewer than who wants one.
    return max(keep_s, each_s, (keep_s + processes * each_s) / most)


def _rules(settings: EngineSettings) -> int:
    """0 when no rule is on, 1 with no more than come switched on, 2 with more."""
    on = {str(rule.kind) for rule in RULES if settings.rules.lookup(str(rule.kind), None) is not None}
    return 0 if not on else 1 if on <= {str(rule.kind) for rule in RULES if rule.on} else 2
