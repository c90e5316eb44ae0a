"""The ways that trucks take: in through a gate, from a plant to a park, out again.

You are in the simulator, above ``routes.py``. :class:`Ways` knows the network's places and turns
"from this origin through that gate to this plant" into a route, chooses places, and says where on
a route a truck stops for inspection or traffic. Next room: ``trips.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from hazfence_replay.simulator.country import Crossing
from hazfence_replay.simulator.graph import Network, Place
from hazfence_replay.simulator.motion import Stop
from hazfence_replay.simulator.routes import Route, Routes

__all__ = ["Spot", "Ways"]

F64 = npt.NDArray[np.float64]

_INSPECTED = 0.5
_INSPECTION_S = (50.0, 260.0)
#: The inspection is inside the district, this share of the checkpoint's radius past the border.
_INSPECTION_AT = (0.4, 0.65)
_KM_A_TRAFFIC_STOP = 9.0
_TRAFFIC_STOP_S = (12.0, 70.0)
_ZONE_WAY_M = 2600.0


@dataclass(frozen=True, slots=True)
class Spot:
    """A place and the stall in it."""

    place: Place
    stall: int = 0

    @property
    def node(self) -> int:
        """The place's node in the network."""
        return self.place.node


class Ways:
    """Routes between places.

    Args:
        routes: the roads.

    Attributes:
        sides: (side crossing, number of the gate whose surroundings it belongs to), for every
            side crossing that roads reach on both sides.
        zone_ways: for each restricted zone the (node, place in the zone in metres) from which a
            straight drive into it is possible.
    """

    def __init__(self, routes: Routes) -> None:
        self.routes = routes
        self.network: Network = routes.network
        self.country = self.network.country
        self._district = self.country.fences.index_of(self.country.district_fence.id)
        self.sides = self._reachable_sides()
        self.zone_ways = [self._into_zone(i) for i in range(len(self.country.restricted))]

    # -- choosing -------------------------------------------------------------------------------

    def a_site(self, rng: np.random.Generator) -> Spot:
        """A plant and a stall in it."""
        return self._spot(rng, self.network.sites[int(rng.integers(len(self.network.sites)))])

    def a_park(self, rng: np.random.Generator) -> Spot:
        """A park and a stall in it; a plant where the fences have no park."""
        if not self.network.parks:
            return self.a_site(rng)
        return self._spot(rng, self.network.parks[int(rng.integers(len(self.network.parks)))])

    def in_park(self, rng: np.random.Generator, fence_id: str) -> Spot | None:
        """A stall in the park of that fence; None when the fence is no park."""
        park = next((p for p in self.network.parks if p.name == fence_id), None)
        return None if park is None else self._spot(rng, park)

    def an_origin(self, rng: np.random.Generator, gate: int | None = None) -> tuple[int, Spot]:
        """A gate's number and a place outside it."""
        number = int(rng.integers(len(self.country.gates))) if gate is None else gate
        origins = self.network.origins[number]
        return number, Spot(origins[int(rng.integers(len(origins)))])

    def a_side(self, rng: np.random.Generator, gate: int | None = None) -> tuple[Crossing, int]:
        """A side crossing (of one gate's surroundings, where it has any) and its gate's number."""
        fit = [s for s in self.sides if gate is None or s[1] == gate] or self.sides
        return fit[int(rng.integers(len(fit)))]

    @staticmethod
    def _spot(rng: np.random.Generator, place: Place) -> Spot:
        return Spot(place, int(rng.integers(len(place.stalls))))

    # -- routes ---------------------------------------------------------------------------------

    def into(self, origin: Spot, crossing: Crossing, to: Spot, *, off_corridor: bool = False) -> Route:
        """From outside over a crossing to a place inside."""
        net = self.network
        outer, inner = net.outer(crossing), net.inner(crossing)
        inside = net.path(inner, to.node, off_corridor=off_corridor)
        return self.routes.along(
            [net.path(origin.node, outer), [outer, inner], inside], end=(to.place, to.stall)
        )

    def out_of(self, start: Spot, crossing: Crossing, origin: Spot) -> Route:
        """From a place inside over a crossing to one outside."""
        return self.routes.along(
            self._out_legs(start.node, crossing, origin), start=(start.place, start.stall)
        )

    def within(self, start: Spot, to: Spot) -> Route:
        """From one place inside to another."""
        path = self.network.path(start.node, to.node)
        return self.routes.along([path], start=(start.place, start.stall), end=(to.place, to.stall))

    def to_zone(self, start: Spot, way: tuple[int, F64]) -> Route:
        """From a place inside into a restricted zone."""
        node, target = way
        path = self.network.path(start.node, node)
        return self.routes.along([path], start=(start.place, start.stall), after=target)

    def from_zone(self, way: tuple[int, F64], crossing: Crossing, origin: Spot) -> Route:
        """From a restricted zone over a crossing to a place outside."""
        node, target = way
        return self.routes.along(self._out_legs(node, crossing, origin), before=target)

    def _out_legs(self, node: int, crossing: Crossing, origin: Spot) -> list[list[int]]:
        net = self.network
        outer, inner = net.outer(crossing), net.inner(crossing)
        return [net.path(node, inner), [inner, outer], net.path(outer, origin.node)]

    # -- stops ----------------------------------------------------------------------------------

    def stops(self, route: Route, crossing: Crossing | None, rng: np.random.Generator) -> list[Stop]:
        """Where a truck stops on a route: for inspection behind the border, and for traffic.

        Args:
            route: the route.
            crossing: the crossing it takes; no inspection at side crossings, nor without one.
            rng: random.
        """
        found: list[Stop] = []
        s = route.s_m
        at = [float(s[k]) for k in route.crossings]
        if crossing is not None and crossing.fence is not None and at and rng.random() < _INSPECTED:
            radius = crossing.fence.radius_m or 150.0
            inward = 1.0 if route.member[route.crossings[0], self._district] else -1.0
            place = at[0] + inward * float(rng.uniform(*_INSPECTION_AT)) * radius
            found.append(Stop(int(np.searchsorted(s, place)), float(rng.uniform(*_INSPECTION_S))))
        if s[-1] < 800.0:
            return found
        places = rng.uniform(250.0, s[-1] - 250.0, rng.poisson(s[-1] / 1000.0 / _KM_A_TRAFFIC_STOP))
        # Never beside the border, where a standing truck's noise would cross it again and again.
        found.extend(
            Stop(int(np.searchsorted(s, place)), float(rng.uniform(*_TRAFFIC_STOP_S)))
            for place in places.tolist()
            if all(abs(place - one) > 500.0 for one in at)
        )
        return found

    # -- prepared -------------------------------------------------------------------------------

    def _reachable_sides(self) -> list[tuple[Crossing, int]]:
        net, gates = self.network, self.country.gates
        inner = net.inner(gates[0])
        found = []
        for side in self.country.sides:
            if not net.reaches(inner, net.inner(side)):
                continue
            near = [g for g, gate in enumerate(gates) if net.reaches(net.outer(gate), net.outer(side))]
            if near:
                found.append((side, min(near, key=lambda g: float(np.hypot(*(gates[g].at - side.at))))))
        return found

    def _into_zone(self, number: int) -> list[tuple[int, F64]]:
        country, net = self.country, self.network
        _, area = country.restricted[number]
        target = shapely.get_coordinates(area.representative_point())[0]
        crow = np.hypot(*(net.xy - target).T)
        near = np.flatnonzero(crow < _ZONE_WAY_M)
        lines = shapely.linestrings(np.stack([net.xy[near], np.broadcast_to(target, (len(near), 2))], axis=1))
        ok = ~shapely.dwithin(lines, country.border, 240.0)
        for i, (_, other) in enumerate(country.restricted):
            if i != number:
                ok &= ~shapely.dwithin(lines, other, 220.0)
        for _, park in country.parks:
            ok &= ~shapely.dwithin(lines, park, 130.0)
        inner = net.inner(country.gates[0])
        near = near[ok]
        near = near[[net.reaches(inner, int(n)) for n in near]] if len(near) else near
        ways: list[tuple[int, F64]] = []
        for node in near[np.argsort(crow[near])].tolist():
            # From different sides, so that trucks need not leave as they came.
            if all(np.hypot(*(net.xy[node] - net.xy[other])) > 700.0 for other, _ in ways):
                ways.append((node, target))
        return ways[:4]
