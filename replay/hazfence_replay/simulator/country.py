"""The district as a road builder sees it: where a road may run, and where it may cross the border.

You are in the simulator, above ``plane.py``. From the fences alone (nothing about any one
district is written down here) this room works out, in metres: the district and its border, the
gates (one straight stretch of road through the middle of each checkpoint), the side crossings
(places far from every checkpoint where a road could cross the border, for planted bypasses), the
restricted zones to keep away from, the corridors to drive along and the parks to rest in.
Next room: ``graph.py``, which lays roads through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from hazfence_fences import Fence, FenceKind, FenceSet
from hazfence_replay.simulator.plane import Plane

__all__ = ["BYPASS_CLEAR_M", "Country", "Crossing", "SimulationError"]

F64 = npt.NDArray[np.float64]

#: A planted bypass crosses the border at least this far from the edge of every checkpoint.
BYPASS_CLEAR_M = 800.0
#: Side crossings are looked for up to this far from a checkpoint, so that they join its roads.
_SIDE_REACH_M = 4000.0
#: Half lengths tried for the straight road over the border, longest first.
_GATE_HALF_LENGTHS_M = (900.0, 750.0, 600.0, 500.0)
_SIDE_HALF_LENGTH_M = 500.0
#: A road over the border must get away from it at least this fast: metres off per metre on.
_LEAST_SLOPE = 0.35


class SimulationError(ValueError):
    """The fences do not allow what the simulation was asked for; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A straight stretch of road over the district's border.

    Attributes:
        fence: the checkpoint it runs through; None for a side crossing.
        at: float64[2] metres, where it crosses the border.
        inward: float64[2], unit vector into the district.
        half_m: metres to each of its ends.
    """

    fence: Fence | None
    at: F64
    inward: F64
    half_m: float

    @property
    def outer(self) -> F64:
        """float64[2] metres, its end outside the district."""
        return self.at - self.inward * self.half_m

    @property
    def inner(self) -> F64:
        """float64[2] metres, its end inside the district."""
        return self.at + self.inward * self.half_m

    @property
    def line(self) -> Any:
        """Its LineString, from outside to inside, metres."""
        return shapely.linestrings([self.outer, self.inner])


class Country:
    """What the roads have to respect.

    Args:
        fences: one district and at least one checkpoint on its border; anything else may be missing.

    Attributes:
        plane: degrees to metres and back.
        district: Polygon or MultiPolygon, metres; ``border`` its boundary.
        gates: a :class:`Crossing` for every checkpoint.
        sides: crossings at least ``BYPASS_CLEAR_M`` from every checkpoint.
        restricted, parks, corridors: (fence, geometry in metres); of a corridor the axis.

    Raises:
        SimulationError: no district, no checkpoint, or a checkpoint without a possible road.
    """

    def __init__(self, fences: FenceSet) -> None:
        by_kind: dict[FenceKind, list[Fence]] = {}
        for fence in fences:
            by_kind.setdefault(fence.kind, []).append(fence)
        districts = by_kind.get(FenceKind.DISTRICT, [])
        checkpoints = by_kind.get(FenceKind.CHECKPOINT, [])
        if len(districts) != 1 or not checkpoints:
            raise SimulationError(
                f"the simulator needs exactly one fence of kind district and at least one checkpoint; "
                f"these fences have {len(districts)} and {len(checkpoints)}"
            )
        self.fences = fences
        self.district_fence = districts[0]
        middle = self.district_fence.geometry.centroid
        self.plane = Plane(middle.x, middle.y)
        self.district = self.plane.geometry(self.district_fence.geometry)
        self.border = self.district.boundary
        shapely.prepare(self.district)
        shapely.prepare(self.border)
        metres = self.plane.geometry
        self.restricted = [(f, metres(f.geometry)) for f in by_kind.get(FenceKind.RESTRICTED, [])]
        self.parks = [(f, metres(f.geometry)) for f in by_kind.get(FenceKind.PARKING, [])]
        self.corridors = [
            (f, metres(f.axis)) for f in by_kind.get(FenceKind.CORRIDOR, []) if f.axis is not None
        ]
        self._checkpoints = [(f, metres(f.geometry)) for f in checkpoints]
        self.forbidden = shapely.union_all([g for _, g in self.restricted])
        self.gates = [self._gate(f, g) for f, g in self._checkpoints]
        self.sides = self._side_crossings()

    def _gate(self, fence: Fence, area: Any) -> Crossing:
        at = shapely.get_coordinates(shapely.shortest_line(self.border, area.centroid))[0]
        if not area.covers(shapely.Point(at)):
            raise SimulationError(
                f"checkpoint {fence.id!r} does not lie on the border of {self.district_fence.id!r}: "
                "move it, or enlarge it"
            )
        wanted = self._corridor_heading(area)
        for half_m in _GATE_HALF_LENGTHS_M:
            found = self._best_heading(at, half_m, wanted)
            if found is not None:
                return Crossing(fence, at, found, half_m)
        raise SimulationError(
            f"no straight road through checkpoint {fence.id!r} crosses the border just once"
        )

    def _corridor_heading(self, area: Any) -> F64 | None:
        """Direction of the corridor that runs through a checkpoint, if one does."""
        for _, axis in self.corridors:
            part = axis.intersection(area.buffer(150.0))
            if part.length > 100.0 and part.geom_type == "LineString":
                ends = shapely.get_coordinates(part)[[0, -1]]
                along: F64 = ends[1] - ends[0]
                return along / float(np.hypot(*along))
        return None

    def _best_heading(self, at: F64, half_m: float, wanted: F64 | None, step_deg: float = 5.0) -> F64 | None:
        """The direction in which a straight road through ``at`` gets away from the border fastest."""
        angles = np.deg2rad(np.arange(0.0, 360.0, step_deg))
        units = np.column_stack([np.cos(angles), np.sin(angles)])
        along = np.concatenate([np.arange(-half_m, -39.0, 20.0), np.arange(40.0, half_m + 1.0, 20.0)])
        points = at + along[None, :, None] * units[:, None, :]
        flat = points.reshape(-1, 2)
        inside = shapely.contains_xy(self.district, flat[:, 0], flat[:, 1]).reshape(len(units), -1)
        right = (inside == (along > 0)).all(axis=1)
        if not right.any():
            return None
        away = shapely.distance(shapely.points(points[right]), self.border)
        slope = (away / np.minimum(np.abs(along), 400.0)).min(axis=1)
        if not self.forbidden.is_empty:
            near = shapely.distance(shapely.linestrings(points[right][:, [0, -1]]), self.forbidden) < 250.0
            slope = np.where(near, 0.0, slope)
        score = slope.copy()
        if wanted is not None:
            # A road that carries a corridor keeps its direction as long as the border allows it.
            score += 0.5 * np.abs(units[right] @ wanted)
            score[slope < _LEAST_SLOPE] = 0.0
        best = int(np.argmax(score))
        return units[right][best] if slope[best] >= _LEAST_SLOPE else None

    def _side_crossings(self) -> list[Crossing]:
        gates = shapely.union_all([g for _, g in self._checkpoints])
        found: list[Crossing] = []
        for ring in shapely.get_parts(shapely.extract_unique_points(self.border.segmentize(150.0))):
            away = ring.distance(gates)
            if not BYPASS_CLEAR_M < away < _SIDE_REACH_M:
                continue
            at = np.array(ring.coords[0])
            # Far enough apart that every one is a place of its own.
            if any(np.hypot(*(at - c.at)) < 600.0 for c in found):
                continue
            heading = self._best_heading(at, _SIDE_HALF_LENGTH_M, None, step_deg=15.0)
            if heading is not None:
                found.append(Crossing(None, at, heading, _SIDE_HALF_LENGTH_M))
        return found
