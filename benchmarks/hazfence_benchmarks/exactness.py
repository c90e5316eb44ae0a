"""Is the index exact? Millions of points, random and adversarial, against shapely's own `covers`.

    hazfence bench exactness [--random 10000000] [--adversarial 1000000] [--json] [SET ...]

`check_points` compares `FenceSet.locate` with the slow reference, `check_segments` compares `segment_hits`
with shapely's `intersects`, `check_patches` compares a set after thousands of random edits with one built
afresh. Each returns a JSON-able dict whose `differences` must be 0.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from hazfence_benchmarks import workloads
from hazfence_benchmarks.crossings import compare
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.plan import BadOption, Plan
from hazfence_benchmarks.workloads import points_around, set_a, small_fence, torture
from hazfence_fences import Fence, FenceKind, FenceSet, Metric

__all__ = [
    "SETS",
    "adversarial_points",
    "check_patches",
    "check_points",
    "check_segments",
    "reference_keys",
    "reference_pairs",
]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

SETS: dict[str, Callable[[], FenceSet]] = workloads.SETS | {"torture": torture}
_CHUNK = 500_000


def reference_pairs(fences: FenceSet, lon: F64, lat: F64) -> tuple[I64, I64]:
    """All (point, fence) pairs, by shapely's `covers` for polygons and by metric distance for circles."""
    flat = np.array([i for i, f in enumerate(fences) if f.metric is None], dtype=np.int64)
    areas = np.array([fences[i].geometry for i in flat.tolist()], dtype=object)
    points = shapely.points(lon, lat)
    found = []
    if len(flat) <= 64:
        for i, area in zip(flat.tolist(), areas, strict=True):
            inside = np.flatnonzero(shapely.covers(area, points))
            found.append((inside, np.full(len(inside), i)))
    else:
        point, area_at = shapely.STRtree(areas).query(points)
        held = shapely.covers(areas[area_at], points[point])
        found.append((point[held], flat[area_at[held]]))
    found += _in_circles(fences, lon, lat)
    point, fence = (np.concatenate([f[n] for f in found]) for n in (0, 1))
    order = np.lexsort((fence, point))
    return point[order], fence[order]


def _in_circles(fences: FenceSet, lon: F64, lat: F64) -> list[tuple[I64, I64]]:
    """(points, fences) of the circles, found through shapely's tree of their boxes."""
    at = [i for i, f in enumerate(fences) if f.metric is not None]
    if not at:
        return [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    boxes = shapely.box(*np.array([fences[i].bounds for i in at]).T)
    point, disc = shapely.STRtree(boxes).query(shapely.points(lon, lat))
    names = ("lon", "lat", "kx0", "kx1", "ky0", "ky1")
    constants = {name: np.array([getattr(fences[i].metric, name) for i in at])[disc] for name in names}
    radius = np.array([fences[i].radius_m for i in at])[disc]
    far = Metric(**constants).distance2_m2(lon[point], lat[point]) > radius * radius
    return [(point[~far], np.array(at)[disc[~far]])]


def reference_keys(fences: FenceSet, lon: F64, lat: F64) -> U64:
    """The key of each point's set, summed over `reference_pairs`."""
    keys = np.array([f.key for f in fences], dtype=np.uint64)
    out = np.zeros(len(lon), dtype=np.uint64)
    for a in range(0, len(lon), _CHUNK):
        point, fence = reference_pairs(fences, lon[a : a + _CHUNK], lat[a : a + _CHUNK])
        np.add.at(out, point + a, keys[fence])
    return out


def adversarial_points(fences: FenceSet, n: int, seed: int = 3) -> tuple[F64, F64]:
    """About n points meant to break the index.

    On vertices, on edges (as near as doubles come), on circles' rims, on the borders of coarse and fine
    cells, where edges cross those borders, at the corners of the world; each also one ulp and some ulps to
    every side.
    """
    rng = np.random.default_rng(seed)
    share = max(n // 14, 64)
    picks = rng.integers(0, len(fences), 4000)
    edges = np.concatenate([fences[i].edges() for i in np.unique(picks).tolist()])
    edge = edges[rng.integers(0, len(edges), share)]
    t = rng.choice([0.0, 0.5, 1 / 3, 0.25, -1.0], share)
    t = np.where(t < 0, rng.random(share), t)[:, None]
    on_edges = edge[:, :2] + t * (edge[:, 2:] - edge[:, :2])
    vertices = edges[rng.integers(0, len(edges), share), :2]
    rims = [_rim(fences[i], rng) for i in np.unique(picks).tolist() if fences[i].metric is not None]
    on_rims = np.concatenate(rims)[:share] if rims else np.zeros((0, 2))
    at = np.concatenate([vertices, on_edges, on_rims, _on_borders(fences, edges, share, rng), _world()])
    at = np.concatenate([at, _nudged(at, rng, 1), _nudged(at, rng, 3)])[: max(n, 1)]
    good = (np.abs(at[:, 0]) <= 180) & (np.abs(at[:, 1]) <= 90)
    return np.ascontiguousarray(at[good, 0]), np.ascontiguousarray(at[good, 1])


def _rim(fence: Fence, rng: np.random.Generator) -> F64:
    assert fence.metric is not None
    assert fence.radius_m is not None
    ring = fence.metric.ring(fence.radius_m, 64)
    return ring[rng.integers(0, 64, 64)]


def _on_borders(fences: FenceSet, edges: F64, n: int, rng: np.random.Generator) -> F64:
    """Points on grid lines, on their crossings, and where edges cross them."""
    g = fences.table.grid
    cut = rng.choice([1, 2, 4, 8, 16], n)
    col = rng.integers(0, g.nx, n) + rng.integers(0, 16, n) % cut / cut
    row = rng.integers(0, g.ny, n) + rng.integers(0, 16, n) % cut / cut
    line_x, line_y = g.x0 + col / g.sx, g.y0 + row / g.sy
    free_x, free_y = g.x0 + rng.random(n) * g.nx / g.sx, g.y0 + rng.random(n) * g.ny / g.sy
    edge = edges[rng.integers(0, len(edges), n)]
    # The grid line next to the edge's first end, and where the edge's line meets it.
    next_x = g.x0 + np.ceil((edge[:, 0] - g.x0) * g.sx * cut) / (g.sx * cut)
    run = edge[:, 2] - edge[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.clip(np.where(run == 0, 0.5, (next_x - edge[:, 0]) / run), 0, 1)
    meet_y = edge[:, 1] + t * (edge[:, 3] - edge[:, 1])
    pairs = [(line_x, free_y), (free_x, line_y), (line_x, line_y), (next_x, meet_y), (next_x, edge[:, 1])]
    return np.concatenate([np.column_stack(pair) for pair in pairs])


def _world() -> F64:
    ends = [
        (x, y) for x in (-180.0, -179.5, 0.0, 179.5, 180.0) for y in (-90.0, -89.0, 0.0, 60.0, 89.0, 90.0)
    ]
    return np.array(ends)


def _nudged(at: F64, rng: np.random.Generator, ulps: int) -> F64:
    """The points, each coordinate moved by -ulps, 0 or +ulps.

    Zero moves by 1e-200, not to a denormal number: with those GEOS' own products underflow, and it takes
    points for boundary points that are not.
    """
    out = at.copy()
    for column in (0, 1):
        way = rng.integers(-1, 2, len(at))
        moved = out[:, column]
        for _ in range(ulps):
            moved = np.nextafter(moved, np.where(way < 0, -np.inf, np.inf))
        moved = np.where(out[:, column] == 0, way * 1e-200, moved)
        out[:, column] = np.where(way == 0, out[:, column], moved)
    return out


def check_points(fences: FenceSet, random: int, adversarial: int, seed: int = 5) -> dict[str, Any]:
    """Compare `locate`, also as the core asks it, and `locate_one` on a sample, with the reference."""
    out: dict[str, Any] = {"fences": len(fences)}
    lines = [f.edges() for f in fences if f.kind is FenceKind.DISTRICT and f.metric is None]
    around = fences.around(np.concatenate(lines), 15.0) if lines else None
    differences, begun = 0, time.perf_counter()
    for kind, n in (("random", random), ("adversarial", adversarial)):
        bad = done = 0
        while done < n:
            step, seed = min(n - done, 1_000_000), seed + 1
            lon, lat = (
                points_around(fences, step, seed)
                if kind == "random"
                else adversarial_points(fences, step, seed)
            )
            located, want = fences.locate(lon, lat), reference_keys(fences, lon, lat)
            wrong = located.keys != want
            at = _in_grid(fences, lon, lat)
            x, y = lon[at], lat[at]
            if len(x):
                bounds = float(x.min()), float(y.min()), float(x.max()), float(y.max())
                wrong[at] |= fences.locate(x, y, around, sound=True, bounds=bounds).keys != want[at]
            bad += int(np.count_nonzero(wrong))
            for i in range(0, len(lon), 997):
                bad += fences.key_of(fences.locate_one(lon.item(i), lat.item(i))) != want.item(i)
            done += len(lon)
        out[f"{kind}_points"] = done
        out[f"{kind}_differences"] = bad
        differences += bad
    out["differences"] = differences
    out["seconds"] = round(time.perf_counter() - begun, 1)
    return out


def _in_grid(fences: FenceSet, lon: F64, lat: F64) -> I64:
    """The points in the index's grid, and so near to it that a batch of them is not put into it first."""
    g = fences.table.grid
    with np.errstate(over="ignore"):
        u, v = (lon - g.x0) * g.sx, (lat - g.y0) * g.sy
    return ((u > -1.0) & (u < g.nx) & (v > -1.0) & (v < g.ny)).nonzero()[0]


def check_segments(fences: FenceSet, n: int, seed: int = 7) -> dict[str, Any]:
    """Compare `segment_hits` with shapely's `intersects` for polygons and with `Fence.intervals` for circles.

    Half of the segments are random, half begin or end on vertices, edges or rims of the fences.
    """
    lon, lat = points_around(fences, n, seed)
    near_lon, near_lat = adversarial_points(fences, n // 2, seed)
    lon[: len(near_lon)], lat[: len(near_lat)] = near_lon[:n], near_lat[:n]
    rng = np.random.default_rng(seed)
    reach = np.where(rng.random(n) < 0.95, 0.02, 5.0)
    lon1, lat1 = lon + rng.uniform(-1, 1, n) * reach, lat + rng.uniform(-1, 1, n) * reach
    back = rng.random(n) < 0.1
    lon1[back], lat1[back] = lon[rng.permutation(n)][back], lat[rng.permutation(n)][back]
    row, fence = fences.segment_hits(lon, lat, lon1, lat1)
    got = row * len(fences) + fence
    lines = shapely.linestrings(
        np.stack([np.column_stack([lon, lat]), np.column_stack([lon1, lat1])], axis=1)
    )
    want = []
    for i, f in enumerate(fences):
        if f.thin:
            boxes = shapely.box(*f.bounds)
            rows = np.flatnonzero(shapely.intersects(lines, boxes))
            if f.metric is None:
                hit = shapely.intersects(f.geometry, lines[rows])
            else:
                ends = (lon[rows].tolist(), lat[rows].tolist(), lon1[rows].tolist(), lat1[rows].tolist())
                hit = np.array([bool(f.intervals(*s)) for s in zip(*ends, strict=True)], dtype=bool)
            want.append(rows[hit] * len(fences) + i)
    expected = np.sort(np.concatenate([*want, np.zeros(0, np.int64)]))
    return {
        "fences": len(fences),
        "segments": n,
        "hits": len(expected),
        "differences": len(np.setxor1d(got, expected)) + int((np.diff(got) <= 0).sum()),
    }


def check_patches(edits: int, fences: int = 300, points: int = 200_000, seed: int = 9) -> dict[str, Any]:
    """Compare a set after random edits with one built afresh from the same fences, several times on the way.

    Earlier sets are kept and asked again at the end: their answers must not have changed.
    """
    rng = np.random.default_rng(seed)
    live = FenceSet(small_fence(rng, f"f-{i}") for i in range(fences))
    lon, lat = points_around(live, points, seed)
    differences, kept = 0, []
    for n in range(edits):
        name = f"f-{rng.integers(0, fences * 5 // 4)}"
        live = (
            live.without(name)
            if name in live and rng.random() < 0.4
            else live.with_fence(small_fence(rng, name))
        )
        if n % max(edits // 10, 1) == 0:
            near_lon, near_lat = adversarial_points(live, 20_000, n)
            x, y = np.concatenate([lon, near_lon]), np.concatenate([lat, near_lat])
            keys = live.locate(x, y).keys
            differences += int(np.count_nonzero(keys != FenceSet(live.fences).locate(x, y).keys))
            kept.append((live, x, y, keys))
    differences += int(
        np.count_nonzero(live.locate(lon, lat).keys != FenceSet(live.fences).locate(lon, lat).keys)
    )
    differences += sum(int(np.count_nonzero(old.locate(x, y).keys != keys)) for old, x, y, keys in kept)
    return {"edits": edits, "fences": len(live), "points": len(lon), "differences": differences}


def options(parser: argparse.ArgumentParser) -> None:
    """Sets, and how many points and edits."""
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(_CHECKS)}; all without names")
    parser.add_argument("--random", type=int, help="random points a set")
    parser.add_argument("--adversarial", type=int, help="adversarial points a set")
    parser.add_argument("--edits", type=int, help="random edits of the patched set")


def run(
    plan: Plan,
    sets: Sequence[str] = (),
    *,
    random: int | None = None,
    adversarial: int | None = None,
    edits: int | None = None,
) -> Iterator[Figure]:
    """Check what is named; a figure a check, whose value is the number of differences.

    Args:
        plan: its size says how many points and edits, where they are not given.
        sets: names out of `SETS`, ``segments``, ``patches`` or ``crossings``.
        random, adversarial: points a set.
        edits: of the patched set.

    Raises:
        BadOption: an unknown set.
    """
    chosen = list(sets) or plan.pick(_CHECKS_TINY, _CHECKS_QUICK, _CHECKS)
    unknown = sorted(set(chosen) - set(_CHECKS))
    if unknown:
        raise BadOption(f"unknown set {unknown[0]!r}; choose from {', '.join(_CHECKS)}")
    if random is None:
        random = plan.pick(5_000, 200_000, 10_000_000)
    if adversarial is None:
        adversarial = plan.pick(5_000, 100_000, 1_000_000)
    for name in chosen:
        if name == "segments":
            n = plan.pick(2_000, 100_000, 1_000_000)
            yield _figure(name, "random and touching", check_segments(FenceSet([*set_a(), *torture()]), n), n)
        elif name == "patches":
            n = plan.pick(50, 300, 10_000) if edits is None else edits
            found = check_patches(n)
            yield _figure(name, f"{n} edits", found, found["points"])
        elif name == "crossings":
            yield _crossings(plan.pick(200, 2_000, 20_000))
        else:
            found = check_points(SETS[name](), random, adversarial)
            for kind in ("random", "adversarial"):
                part = {"differences": found[f"{kind}_differences"]}
                yield _figure(name, kind, part, found[f"{kind}_points"])


_CHECKS = [*SETS, "segments", "patches", "crossings"]
_CHECKS_QUICK = ["A", "C10k", "torture", "segments", "patches", "crossings"]
_CHECKS_TINY = ["A", "torture"]


def _figure(name: str, kind: str, found: dict[str, Any], checked: int) -> Figure:
    bad = int(found["differences"])
    return Figure("exactness", name, f"differences, {kind}", OURS, "", (float(bad),), checked, "less",
                  checked=checked, wrong=bad)  # fmt: skip


def _crossings(count: int) -> Figure:
    """Stretches of trips inside polygons, and their ends, beside MEOS; see ``crossings.py``."""
    what, workload = "differences, crossings and MEOS", f"{count} trips"
    try:
        found = compare(count)
    except ModuleNotFoundError:
        return Figure("exactness", workload, what, OURS, "", skipped="pip install pymeos")
    return Figure(
        "exactness", workload, what, OURS, "", (float(found.wrong),), found.stretches, "less",
        checked=found.stretches, wrong=found.wrong,
        note=f"ends at most {found.apart_us} us apart; MEOS itself was wrong {found.theirs_wrong} times",
    )  # fmt: skip
