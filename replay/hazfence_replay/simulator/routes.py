"""Smooth roads through a list of junctions, with everything a driver meets along them.

You are in the simulator, above ``graph.py``. A :class:`Route` is a path of points 10 m apart:
corners rounded, on the right-hand lane, with the fences that cover each point and the speed that
bends and limits allow there. Routes are cached, since three hundred trucks share a few hundred of
them. Next room: ``motion.py``, which drives along one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from hazfence_fences import FenceSet
from hazfence_replay.simulator.graph import Network, Place

__all__ = ["STEP_M", "Route", "Routes"]

F64 = npt.NDArray[np.float64]
BOOL = npt.NDArray[np.bool_]

#: Distance between two points of a route, metres.
STEP_M = 10.0
#: Corners are rounded with a Gaussian of this width; tighter on corridors, which are narrow.
_ROUND_M = 110.0
_ROUND_CORRIDOR_M = 45.0
_LANE_M = 4.0
#: A limit is obeyed this far before and behind its fence.
_LIMIT_AHEAD_M = 70.0
#: Comfortable sideways acceleration of a tank truck in a bend, m/s2.
_SIDEWAYS_MPS2 = 1.6


@dataclass(frozen=True, slots=True)
class Route:
    """A drivable path of n points.

    Attributes:
        lonlat: float64[n, 2] degrees.
        s_m: float64[n], distance from its start, metres.
        heading_deg: float64[n], clockwise from north.
        member: bool[n, fences], which fences of the set cover each point (shape alone).
        limit_kmh: float64[n], the lowest speed limit at and near the point; inf where there is none.
        bend_mps: float64[n], the speed that the bends allow.
        crossings: indexes of the points just behind a crossing of the district's border.
    """

    lonlat: F64
    s_m: F64
    heading_deg: F64
    member: BOOL
    limit_kmh: F64
    bend_mps: F64
    crossings: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.s_m)


class Routes:
    """Makes routes on a network.

    Args:
        network: the roads.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.country = network.country
        self.fences: FenceSet = self.country.fences
        self._limited = [i for i, f in enumerate(self.fences) if f.speed_limit_kmh is not None]
        self._limits = np.array([self.fences[i].speed_limit_kmh for i in self._limited], dtype=np.float64)
        self._district = self.fences.index_of(self.country.district_fence.id)
        self._known: dict[tuple[object, ...], Route] = {}
        axes = [axis for _, axis in self.country.corridors]
        self._axes = shapely.union_all(axes) if axes else None
        if self._axes is not None:
            shapely.prepare(self._axes)
        self._boxes = np.array([f.bounds for f in self.fences])

    def along(
        self,
        legs: Sequence[Sequence[int]],
        *,
        start: tuple[Place, int] | None = None,
        end: tuple[Place, int] | None = None,
        before: F64 | None = None,
        after: F64 | None = None,
    ) -> Route:
        """The route through the nodes of ``legs`` one after the other.

        Args:
            legs: lists of nodes; a node that ends one and starts the next is taken once.
            start, end: place and number of the stall to leave from and to arrive at.
            before, after: float64[2] metres, a place off the network to come from, or to drive to.

        Returns:
            The route; the same object for the same question.
        """
        nodes: list[int] = []
        for leg in legs:
            nodes.extend(leg[1:] if nodes and nodes[-1] == leg[0] else leg)
        key = (
            tuple(nodes),
            None if start is None else (start[0].name, start[1]),
            None if end is None else (end[0].name, end[1]),
            None if before is None else before.tobytes(),
            None if after is None else after.tobytes(),
        )
        known = self._known.get(key)
        if known is None:
            corners = self.network.xy[nodes].copy()
            if start is not None:
                corners[0] += start[0].stalls[start[1]]
            if end is not None:
                corners[-1] += end[0].stalls[end[1]]
            if before is not None:
                corners = np.concatenate([before[None, :], corners])
            if after is not None:
                corners = np.concatenate([corners, after[None, :]])
            known = self._known[key] = self._build(corners)
        return known

    def _build(self, corners: F64) -> Route:
        xy = _right_lane(self._rounded(_resampled(corners)))
        step = np.hypot(*np.diff(xy, axis=0).T)
        keep = np.concatenate([[True], step > 0.05])
        xy = xy[keep]
        step = np.hypot(*np.diff(xy, axis=0).T)
        s_m = np.concatenate([[0.0], np.cumsum(step)])
        tangent = np.gradient(xy, s_m, axis=0)
        lonlat = self.country.plane.degrees(xy)
        member = self._member(lonlat)
        inside = member[:, self._district]
        return Route(
            lonlat=lonlat,
            s_m=s_m,
            heading_deg=np.rad2deg(np.arctan2(tangent[:, 0], tangent[:, 1])) % 360.0,
            member=member,
            limit_kmh=self._limit(member),
            bend_mps=_bend_speed(tangent, s_m),
            crossings=tuple((np.flatnonzero(inside[1:] != inside[:-1]) + 1).tolist()),
        )

    def _rounded(self, xy: F64) -> F64:
        wide = _smooth(xy, _ROUND_M)
        if self._axes is None:
            return wide
        coarse = np.arange(0, len(xy), 4)
        on = shapely.dwithin(shapely.points(xy[coarse]), self._axes, 25.0)
        if not on.any():
            return wide
        tight = _smooth(xy, _ROUND_CORRIDOR_M)
        # The weight changes slowly, so that the two curves flow into one another.
        weight = _smooth(np.interp(np.arange(len(xy)), coarse, on.astype(np.float64))[:, None], 80.0)
        return weight * tight + (1.0 - weight) * wide

    def _member(self, lonlat: F64) -> BOOL:
        lon, lat = np.ascontiguousarray(lonlat[:, 0]), np.ascontiguousarray(lonlat[:, 1])
        member = np.zeros((len(lon), len(self.fences)), dtype=np.bool_)
        for i, fence in enumerate(self.fences):
            west, south, east, north = self._boxes[i]
            near = np.flatnonzero((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north))
            if len(near):
                member[near, i] = fence.covers_many(lon[near], lat[near])
        return member

    def _limit(self, member: BOOL) -> F64:
        here = np.where(member[:, self._limited], self._limits, np.inf).min(axis=1, initial=np.inf)
        reach = round(_LIMIT_AHEAD_M / STEP_M)
        padded = np.pad(here, reach, constant_values=np.inf)
        nearby: F64 = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
        return nearby


def _resampled(corners: F64) -> F64:
    lengths = np.hypot(*np.diff(corners, axis=0).T)
    corners = corners[np.concatenate([[True], lengths > 1.0])]
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    s = np.linspace(0.0, at[-1], max(3, round(at[-1] / STEP_M) + 1))
    return np.column_stack([np.interp(s, at, corners[:, k]) for k in (0, 1)])


def _smooth(xy: F64, width_m: float) -> F64:
    """Gaussian smoothing along the path; both ends stay where they are."""
    reach = min(round(3 * width_m / STEP_M), len(xy) - 1)
    k = np.arange(-reach, reach + 1) * STEP_M / width_m
    kernel = np.exp(-0.5 * k * k)
    kernel /= kernel.sum()
    # Odd reflection about the ends keeps them in place and their directions as they are.
    head = 2 * xy[0] - xy[reach:0:-1]
    tail = 2 * xy[-1] - xy[-2 : -reach - 2 : -1]
    long = np.concatenate([head, xy, tail])
    return np.column_stack([np.convolve(column, kernel, mode="valid") for column in long.T])


def _right_lane(xy: F64) -> F64:
    tangent = np.gradient(xy, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    return xy + _LANE_M * np.column_stack([tangent[:, 1], -tangent[:, 0]])


def _bend_speed(tangent: F64, s_m: F64) -> F64:
    angle = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    curvature = np.abs(np.gradient(angle, s_m))
    speed: F64 = np.sqrt(_SIDEWAYS_MPS2 / np.maximum(curvature, 1e-4))
    return speed
