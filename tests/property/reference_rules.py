"""The slow and obviously right way for rules about stays, silence and papers: intervals of whole tracks.

Beside ``reference.py``, and like it sharing nothing with the engine but the fences' definitions. A stay
is what :func:`reference.visits` says; each rule is interval arithmetic on finished lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from hazfence import EngineSettings, ReferenceData
from hazfence_fences import FenceSet

from .reference import At, Fact, inside, visits
from .world import START_US

Span = tuple[float, float]
MINUTE = 60e6
#: Old town is closed at these minutes of the first day (rule_world.CLOSED, neighbours joined).
CLOSED = [(3, 6), (20, 70)]
ROUTES = ("lane", "cross-lane", "park", "gate-west", "gate-south", "plant")
ALARMS = {"emergency": 1 << 0, "collision": 1 << 29, "rollover": 1 << 30}
FOREVER = 1e30


def facts(
    track: Iterable[tuple[Any, ...]],
    fences: FenceSet,
    settings: EngineSettings,
    data: ReferenceData,
    until_us: int,
    limits: dict[str, float],
) -> list[Fact]:
    """Everything about curfew, routes, silence, gaps, alarms and papers, when the time is ``until_us``."""
    rows = list(track)
    found: list[Fact] = []
    for vehicle in sorted({row[0] for row in rows}):
        mine = [row for row in rows if row[0] == vehicle]
        path = [At(*row[1:5]) for row in mine]

        def stays(fence_id: str, path: list[At] = path) -> list[tuple[float, float | None, bool]]:
            gap_us = settings.max_gap_s * 1e6
            return [(s, e, by_fix) for s, e, by_fix, *_ in visits(fences[fence_id], path, gap_us)]

        district = [(s, e) for s, e, _ in stays("district")]
        in_district = [(s, FOREVER if e is None else e) for s, e in district]

        def say(
            kind: str, fence_id: str, spans: Iterable[Span], vehicle: str = vehicle, found: list[Fact] = found
        ) -> None:
            for start, end in spans:
                if start <= until_us:
                    found.append(Fact(kind, vehicle, fence_id, start, None if end > until_us else end))

        # Closed hours.
        hours = [(START_US + a * MINUTE, START_US + b * MINUTE) for a, b in CLOSED]
        town = [(s, FOREVER if e is None else e) for s, e, by_fix in stays("old-town") if by_fix]
        say("curfew", "old-town", both(town, hours))

        # Off the routes for too long.
        routes = [(s, FOREVER if e is None else e) for fence_id in ROUTES for s, e, _ in stays(fence_id)]
        off = minus(in_district, routes)
        late = [
            (s + limits["off_s"] * 1e6, e) for s, e in off if min(e, until_us) - s > limits["off_s"] * 1e6
        ]
        say("corridor_departure", "district", late)

        # Silence and gaps.
        here = [inside(fences["district"], fix.lon, fix.lat) for fix in path]
        silent_us, gap_us = limits["silent_min"] * MINUTE, limits["gap_s"] * 1e6
        for i, fix in enumerate(path):
            heard = path[i + 1].t if i + 1 < len(path) else FOREVER
            if here[i] and min(heard, until_us) > fix.t + silent_us:
                say("silent", "district", [(fix.t + silent_us, heard)])
        for (i, a), (j, b) in pairwise(enumerate(path)):
            if (here[i] or here[j]) and b.t - a.t > gap_us:
                say("coverage_gap", "district", [(a.t, b.t)])

        # Alarm bits.
        for kind, bit in ALARMS.items():
            since = None
            for row in mine:
                if row[5] & bit and since is None:
                    since = row[1]
                elif not row[5] & bit and since is not None:
                    say(kind, "", [(since, row[1])])
                    since = None
            if since is not None:
                say(kind, "", [(since, FOREVER)])

        # Papers.
        say("unregistered", "district", minus(in_district, data.approved(vehicle)))
        bare = minus(in_district, data.covered(vehicle))
        starts = {s for s, _ in in_district}
        say("no_waybill", "district", [span for span in bare if span[0] in starts])
        say("overstay", "district", [span for span in bare if span[0] not in starts])
        say("cargo_forbidden", "old-town", both(town, data.carrying(vehicle, ["3"])))
    return found


def minus(spans: Iterable[Span], gone: Iterable[Span]) -> list[Span]:
    left = list(spans)
    for a, b in gone:
        left = [part for s, e in left for part in ((s, min(e, a)), (max(s, b), e)) if part[0] < part[1]]
    return sorted(left)


def both(one: Iterable[Span], other: Iterable[Span]) -> list[Span]:
    found = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return sorted((a, b) for a, b in found if a < b)
