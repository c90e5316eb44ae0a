"""An invented road network that keeps the rules of the country it lies in.

You are in the simulator, above ``country.py``. Junctions are a jittered lattice joined by a
Delaunay triangulation; an edge stays only if it keeps its distance from border, restricted zones
and parks, so every path is legal by construction and the tests can check it independently. The
border is crossed only by the straight roads of ``country.py``, which are no edges: a planner asks
for them by name. Routes prefer edges that other routes already use, so they merge into trunk
roads as real ones do. The network belongs to the fences, not to the day's seed: two seeds drive
on the same roads. Next room: ``routes.py``, which makes smooth curves of junctions.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely

from hazfence_replay.simulator.country import Country, Crossing, SimulationError

__all__ = ["Network", "Place"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_SPACING_M = 520.0
_BORDER_CLEAR_M = 240.0
_RESTRICTED_CLEAR_M = 220.0
_PARK_CLEAR_M = 130.0
_CORRIDOR_STEP_M = 250.0
_CORRIDOR_CLEAR_M = 180.0
_OUTSIDE_REACH_M = 6500.0
_LONGEST_EDGE_M = 1500.0
_SITES = 10
#: Places to stand at a plant; few, so that trucks share routes.
_STALLS = 3
#: What an edge costs, a metre, when a route already uses it, or when it lies on a corridor.
_USED_COST = 0.45
_CORRIDOR_COST = 0.5
_OFF_CORRIDOR_COST = 6.0


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere a truck starts, stops or turns: a node of the network with a name.

    Attributes:
        name: unique, e.g. ``site-3`` or ``park-1``.
        node: index into :attr:`Network.xy`.
        stalls: float64[k, 2], metres to add to the node's place for the parking places in it.
    """

    name: str
    node: int
    stalls: F64


class Network:
    """Junctions, edges and named places, in the metres of ``country.plane``.

    Args:
        country: what the roads respect.
        seed: of the invented lattice; the same for every day unless asked otherwise.

    Attributes:
        xy: float64[n, 2] junctions.
        origins: per gate, the places outside from which trucks come to it.
        sites: plants inside the district.
        parks: one place for each park of the country.
    """

    def __init__(self, country: Country, *, seed: int = 7) -> None:
        self.country = country
        rng = np.random.default_rng(seed)
        self.xy, self._inside, self._special = self._junctions(rng)
        self._edges, self._on_corridor = self._lay_edges()
        lengths = np.hypot(*(self.xy[self._edges[:, 0]] - self.xy[self._edges[:, 1]]).T)
        self._length = lengths
        self._meander = rng.uniform(1.0, 1.5, len(lengths))
        self._used = np.zeros(len(lengths), dtype=np.bool_)
        self._neighbours: list[list[tuple[int, int]]] = [[] for _ in self.xy]
        for e, (a, b) in enumerate(self._edges.tolist()):
            self._neighbours[a].append((b, e))
            self._neighbours[b].append((a, e))
        self._trees: dict[tuple[int, bool], tuple[list[float], list[int]]] = {}
        no_stalls = np.zeros((1, 2))
        self.origins = [
            [
                Place(f"origin-{i + 1}{'ab'[k]}", node, no_stalls)
                for k, node in enumerate(self._origins_of(gate))
            ]
            for i, gate in enumerate(country.gates)
        ]
        self.sites = self._choose_sites()
        self.parks = [
            Place(f.id, self._special["park", i], self._stalls(i)) for i, (f, _) in enumerate(country.parks)
        ]
        self._merge_trunks()

    # -- junctions and edges --------------------------------------------------------------------

    def _junctions(
        self, rng: np.random.Generator
    ) -> tuple[F64, npt.NDArray[np.bool_], dict[tuple[str, int], int]]:
        country = self.country
        west, south, east, north = country.district.bounds
        reach = _OUTSIDE_REACH_M
        xs = np.arange(west - reach, east + reach, _SPACING_M)
        ys = np.arange(south - reach, north + reach, _SPACING_M * 0.866)
        grid = np.stack(np.meshgrid(xs, ys), axis=-1)
        grid[1::2, :, 0] += _SPACING_M / 2
        lattice = grid.reshape(-1, 2) + rng.uniform(-0.33, 0.33, (grid.size // 2, 2)) * _SPACING_M
        inside = shapely.contains_xy(country.district, lattice[:, 0], lattice[:, 1])
        points = shapely.points(lattice)
        crossings = shapely.union_all([c.line for c in (*country.gates, *country.sides)])
        gates = shapely.multipoints([c.at for c in country.gates])
        keep = ~shapely.dwithin(points, country.border, _BORDER_CLEAR_M)
        keep &= inside | shapely.dwithin(points, gates, reach)
        keep &= ~shapely.dwithin(points, crossings, 230.0)
        if country.restricted:
            keep &= ~shapely.dwithin(points, country.forbidden, _RESTRICTED_CLEAR_M)
        for _, area in country.parks:
            keep &= ~shapely.dwithin(points, area, _PARK_CLEAR_M + 60.0)
        for fence, axis in country.corridors:
            clear = max(_CORRIDOR_CLEAR_M, (fence.width_m or 0.0) / 2 + 120.0)
            keep &= ~shapely.dwithin(points, axis, clear)
        nodes, sides = [lattice[keep]], [inside[keep]]
        count = int(keep.sum())
        special: dict[tuple[str, int], int] = {}

        def add(kind: str, number: int, xy: F64, within: bool) -> None:
            nonlocal count
            special[kind, number] = count
            nodes.append(xy.reshape(1, 2))
            sides.append(np.array([within]))
            count += 1

        for i, crossing in enumerate((*country.gates, *country.sides)):
            add("outer", i, crossing.outer, False)
            add("inner", i, crossing.inner, True)
        for i, (_, area) in enumerate(country.parks):
            add("park", i, shapely.get_coordinates(area.representative_point())[0], True)
        number = 0
        self._chains: list[list[int]] = []
        for _, axis in country.corridors:
            chain: list[int] = []
            for xy in shapely.get_coordinates(axis.segmentize(_CORRIDOR_STEP_M)):
                point = shapely.Point(xy)
                if not country.district.contains(point) or point.dwithin(country.border, _BORDER_CLEAR_M):
                    continue
                if point.dwithin(crossings, 60.0):
                    continue
                add("corridor", number, xy, True)
                chain.append(count - 1)
                number += 1
            self._chains.append(chain)
        return np.concatenate(nodes), np.concatenate(sides), special

    def _lay_edges(self) -> tuple[I64, npt.NDArray[np.bool_]]:
        country, xy = self.country, self.xy
        web = shapely.delaunay_triangles(shapely.multipoints(xy), only_edges=True)
        ends = shapely.get_coordinates(shapely.get_parts(web)).reshape(-1, 2, 2)
        index = {(x, y): i for i, (x, y) in enumerate(xy.tolist())}
        pairs = np.array([[index[tuple(a)], index[tuple(b)]] for a, b in ends.tolist()], dtype=np.int64)
        chained = [[a, b] for chain in self._chains for a, b in pairwise(chain)]
        parks = {node for (kind, _), node in self._special.items() if kind == "park"}
        pairs = np.concatenate([pairs, np.array(chained, dtype=np.int64).reshape(-1, 2)])
        pairs = np.unique(np.sort(pairs, axis=1), axis=0)
        a, b = pairs.T
        lines = shapely.linestrings(xy[pairs])
        to_park = np.isin(pairs, list(parks)).any(axis=1) if parks else np.zeros(len(pairs), np.bool_)
        ok = (self._inside[a] == self._inside[b]) & (shapely.length(lines) < _LONGEST_EDGE_M)
        # Ends of the roads over the border may lie nearer to it than other junctions do.
        at_border = np.isin(pairs, [n for (k, _), n in self._special.items() if k in ("outer", "inner")]).any(
            axis=1
        )
        ok &= ~shapely.dwithin(lines, country.border, np.where(at_border, 200.0, _BORDER_CLEAR_M))
        if country.restricted:
            ok &= ~shapely.dwithin(lines, country.forbidden, _RESTRICTED_CLEAR_M)
        for _, area in country.parks:
            ok &= to_park | ~shapely.dwithin(lines, area, _PARK_CLEAR_M)
        guarded = [c.line for c in (*country.gates, *country.sides)] + [axis for _, axis in country.corridors]
        chain_set = {tuple(sorted(p)) for p in chained}
        on_corridor = np.array([tuple(p) in chain_set for p in pairs.tolist()], dtype=np.bool_)
        crosses = np.zeros(len(pairs), dtype=np.bool_)
        tree = shapely.STRtree(lines)
        for line in guarded:
            crosses[tree.query(line, predicate="crosses")] = True
        # A corridor's own edges lie on its axis; rounding must not make them cross it.
        ok &= ~crosses | on_corridor
        return pairs[ok], on_corridor[ok]

    # -- paths ----------------------------------------------------------------------------------

    def _tree(self, source: int, off_corridor: bool) -> tuple[list[float], list[int]]:
        """Dijkstra's shortest path tree: distance and predecessor of every node."""
        known = self._trees.get((source, off_corridor))
        if known is not None:
            return known
        factor = self._meander * np.where(self._used, _USED_COST, 1.0)
        on = self._on_corridor
        factor[on] = _OFF_CORRIDOR_COST if off_corridor else np.minimum(factor[on], _CORRIDOR_COST)
        cost = (self._length * factor).tolist()
        far = [np.inf] * len(self.xy)
        back = [-1] * len(self.xy)
        far[source] = 0.0
        heap = [(0.0, source)]
        parks = {p.node for p in getattr(self, "parks", [])} - {source}
        while heap:
            d, node = heapq.heappop(heap)
            # A park is somewhere to go, not to drive through.
            if d > far[node] or node in parks:
                continue
            for other, e in self._neighbours[node]:
                through = d + cost[e]
                if through < far[other]:
                    far[other] = through
                    back[other] = node
                    heapq.heappush(heap, (through, other))
        self._trees[source, off_corridor] = far, back
        return far, back

    def path(self, start: int, end: int, *, off_corridor: bool = False) -> list[int]:
        """Nodes of the cheapest path on one side of the border.

        Raises:
            SimulationError: there is none.
        """
        far, back = self._tree(start, off_corridor)
        if not np.isfinite(far[end]):
            lon, lat = self.country.plane.degrees(self.xy[[end]])[0]
            raise SimulationError(
                f"no road can be laid to the place at {lon:.5f}, {lat:.5f}: restricted zones, border and "
                "parks leave no way; widen it, or move a checkpoint or zone"
            )
        nodes = [end]
        while nodes[-1] != start:
            nodes.append(back[nodes[-1]])
        return nodes[::-1]

    def outer(self, crossing: Crossing) -> int:
        """Node of a crossing's end outside the district."""
        return self._special["outer", self._number(crossing)]

    def inner(self, crossing: Crossing) -> int:
        """Node of a crossing's end inside the district."""
        return self._special["inner", self._number(crossing)]

    def _number(self, crossing: Crossing) -> int:
        every = (*self.country.gates, *self.country.sides)
        return next(i for i, c in enumerate(every) if c is crossing)

    def reaches(self, start: int, end: int) -> bool:
        """True when there is a path between two nodes."""
        return bool(np.isfinite(self._tree(start, False)[0][end]))

    def trunk_lines(self) -> list[F64]:
        """The edges that routes prefer, each float64[2, 2] metres: the backbone of the network."""
        return list(self.xy[self._edges[self._used | self._on_corridor]])

    # -- places ---------------------------------------------------------------------------------

    def _origins_of(self, gate: Crossing) -> list[int]:
        far = np.array(self._tree(self.outer(gate), False)[0])
        crow = np.hypot(*(self.xy - gate.at).T)
        away = shapely.distance(shapely.points(self.xy), self.country.border)
        fit = np.flatnonzero(~self._inside & np.isfinite(far) & (crow > 2500.0) & (crow < 6000.0))
        if not len(fit):
            name = gate.fence.id if gate.fence is not None else "a side crossing"
            raise SimulationError(f"no road can be laid from outside to {name!r}")
        first = int(fit[np.argmax(away[fit] - 0.3 * crow[fit])])
        apart = np.hypot(*(self.xy[fit] - self.xy[first]).T)
        second = int(fit[np.argmax(np.minimum(apart, 3000.0) + 0.5 * away[fit])])
        return [first] if second == first else [first, second]

    def _choose_sites(self) -> list[Place]:
        country = self.country
        points = shapely.points(self.xy)
        start = self.inner(country.gates[0])
        far = np.array(self._tree(start, False)[0])
        fit = self._inside & np.isfinite(far) & ~shapely.dwithin(points, country.border, 700.0)
        if country.restricted:
            fit &= ~shapely.dwithin(points, country.forbidden, 450.0)
        for _, area in (*country.corridors, *country.parks):
            fit &= ~shapely.dwithin(points, area, 420.0)
        fit[list(self._special.values())] = False
        candidates = np.flatnonzero(fit)
        if not len(candidates):
            raise SimulationError(
                "the district has no room for a plant away from border, zones and corridors"
            )
        gates = np.array([c.at for c in country.gates])
        apart = np.min(np.hypot(*(self.xy[candidates][:, None] - gates).transpose(2, 0, 1)), axis=1)
        chosen: list[int] = []
        # Farthest point sampling: each plant as far as can be from gates and from the others.
        for _ in range(min(_SITES, len(candidates))):
            best = int(np.argmax(apart))
            chosen.append(int(candidates[best]))
            apart = np.minimum(apart, np.hypot(*(self.xy[candidates] - self.xy[candidates[best]]).T))
        angle = np.arange(_STALLS) * (2.0 * np.pi / _STALLS)
        stalls = 35.0 * np.column_stack([np.cos(angle), np.sin(angle)])
        return [Place(f"site-{i + 1}", node, stalls) for i, node in enumerate(chosen)]

    def _stalls(self, park: int) -> F64:
        """Parking places well inside a park, so that noise never leaves it."""
        _, area = self.country.parks[park]
        node = self.xy[self._special["park", park]]
        inner = area.buffer(-60.0)
        if inner.is_empty:
            raise SimulationError(
                f"park {self.country.parks[park][0].id!r} is too narrow: a truck needs 60 m to its edge"
            )
        west, south, east, north = inner.bounds
        grid = np.stack(
            np.meshgrid(np.arange(west, east, 40.0), np.arange(south, north, 25.0)), axis=-1
        ).reshape(-1, 2)
        grid = grid[shapely.contains_xy(inner, grid[:, 0], grid[:, 1])]
        near = grid[np.hypot(*(grid - node).T) < 200.0]
        if not len(near):
            return np.zeros((1, 2))
        few: F64 = near[:: max(1, len(near) // (4 * _STALLS))] - node
        return few

    def _merge_trunks(self) -> None:
        """Lay one route after the other, each cheaper where earlier ones run."""
        country = self.country
        edge_of = {tuple(pair): e for e, pair in enumerate(self._edges.tolist())}
        ends = [p.node for p in (*self.sites, *self.parks)]
        for gate in country.gates:
            self._trees.clear()
            for end in ends:
                self._use(self.path(self.inner(gate), end), edge_of)
        for gate, origins in zip(country.gates, self.origins, strict=True):
            self._trees.clear()
            for origin in origins:
                self._use(self.path(self.outer(gate), origin.node), edge_of)
        self._trees.clear()

    def _use(self, nodes: list[int], edge_of: dict[tuple[int, ...], int]) -> None:
        for a, b in pairwise(nodes):
            self._used[edge_of[min(a, b), max(a, b)]] = True
