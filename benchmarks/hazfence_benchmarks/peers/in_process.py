"""Peers that are Python packages: an R-tree by hand, STRtree, geopandas, pymeos; all exact on polygons.

Next room: ``approximate.py``, where answers are given up for speed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

import numpy as np
import rtree
import shapely
from shapely.geometry import Point
from shapely.prepared import prep

from hazfence_benchmarks.peers.base import F64, I64, Missing, areas
from hazfence_fences import FenceSet, Metric

__all__ = ["ByHand", "Geopandas", "Meos", "StrTree"]


class ByHand:
    """What one writes first: candidates from an R-tree, then the prepared geometry, point by point."""

    name: ClassVar[str] = "rtree + prepared shapely"
    clock: ClassVar[Literal["cpu", "wall"]] = "cpu"
    points: ClassVar[int] = 1000

    def __init__(self, fences: FenceSet) -> None:
        self._tests = [prep(f.geometry).covers if f.metric is None else None for f in fences]
        self._fences = fences.fences
        self._tree = rtree.index.Index((i, f.bounds, None) for i, f in enumerate(fences))

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """Point by point; circles by their metres."""
        points, found = [], []
        for n, (x, y) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)):
            point = Point(x, y)
            for i in self._tree.intersection((x, y, x, y)):
                test = self._tests[i]
                if self._fences[i].covers(x, y) if test is None else test(point):
                    points.append(n)
                    found.append(i)
        return np.array(points, dtype=np.int64), np.array(found, dtype=np.int64)

    def close(self) -> None:
        """Nothing to give back."""


class StrTree:
    """Shapely's STRtree and vectorised ``covers``, in bulk; circles by their metres, vectorised too."""

    name: ClassVar[str] = "shapely STRtree bulk"
    clock: ClassVar[Literal["cpu", "wall"]] = "cpu"
    points: ClassVar[int] = 10_000

    def __init__(self, fences: FenceSet) -> None:
        flat = [i for i, f in enumerate(fences) if f.metric is None]
        round_ = [i for i, f in enumerate(fences) if f.metric is not None]
        self._flat, self._round = np.array(flat, np.int64), np.array(round_, np.int64)
        self._areas = areas(fences)[self._flat]
        self._area_tree = shapely.STRtree(self._areas)
        boxes = [shapely.box(*fences[i].bounds) for i in round_]
        self._disc_tree = shapely.STRtree(boxes)
        self._metric = {
            name: np.array([getattr(fences[i].metric, name) for i in round_])
            for name in ("lon", "lat", "kx0", "kx1", "ky0", "ky1")
        }
        self._radius2 = np.array([float(fences[i].radius_m or 0) ** 2 for i in round_])

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """Candidates of all points at once, then all of them decided at once."""
        points = shapely.points(lon, lat)
        point, area = self._area_tree.query(points)
        held = shapely.covers(self._areas[area], points[point])
        near, disc = self._disc_tree.query(points)
        metric = Metric(**{name: of[disc] for name, of in self._metric.items()})
        within = metric.distance2_m2(lon[near], lat[near]) <= self._radius2[disc]
        return (
            np.concatenate([point[held], near[within]]),
            np.concatenate([self._flat[area[held]], self._round[disc[within]]]),
        )

    def close(self) -> None:
        """Nothing to give back."""


class Geopandas:
    """``geopandas.sjoin`` of a frame of points with a frame of fences; circles as polygons."""

    name: ClassVar[str] = "geopandas.sjoin"
    clock: ClassVar[Literal["cpu", "wall"]] = "cpu"
    points: ClassVar[int] = 10_000

    def __init__(self, fences: FenceSet) -> None:
        try:
            import geopandas
        except ModuleNotFoundError as missing:
            raise Missing("pip install geopandas") from missing
        self._geopandas = geopandas
        self._fences = geopandas.GeoDataFrame(geometry=areas(fences), crs="EPSG:4326")

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """``intersects`` of a point and a polygon is ``covers``: the boundary counts."""
        frame = self._geopandas.GeoDataFrame(
            geometry=self._geopandas.points_from_xy(lon, lat), crs="EPSG:4326"
        )
        joined = self._geopandas.sjoin(frame, self._fences, how="inner", predicate="intersects")
        return joined.index.to_numpy(), joined["index_right"].to_numpy()

    def close(self) -> None:
        """Nothing to give back."""


class Meos:
    """MEOS by pymeos: the points as a sequence of instants, restricted to each fence whose box it meets."""

    name: ClassVar[str] = "pymeos"
    clock: ClassVar[Literal["cpu", "wall"]] = "cpu"
    points: ClassVar[int] = 1000
    _MANY = 64
    _BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

    def __init__(self, fences: FenceSet) -> None:
        if len(fences) > self._MANY:
            raise Missing(f"asks a fence at a time: not measured beyond {self._MANY} fences")
        try:
            import pymeos
        except ModuleNotFoundError as missing:
            raise Missing("pip install pymeos") from missing
        pymeos.pymeos_initialize("UTC")
        self._sequence: Any = pymeos.TGeomPointSeq
        self._areas = areas(fences)

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """The sequence is built from text, an instant a second, and told apart again by its times."""
        instants = (
            f"Point({x!r} {y!r})@{self._BEGAN + timedelta(seconds=i):%Y-%m-%d %H:%M:%S+00}"
            for i, (x, y) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True))
        )
        sequence = self._sequence(string="{" + ", ".join(instants) + "}")
        points: list[int] = []
        found: list[int] = []
        for i, area in enumerate(self._areas):
            inside = sequence.at(area)
            if inside is not None:
                at = [round((t - self._BEGAN).total_seconds()) for t in inside.timestamps()]
                points += at
                found += [i] * len(at)
        return np.array(points, dtype=np.int64), np.array(found, dtype=np.int64)

    def close(self) -> None:
        """Nothing: the library stays initialised for the next fence set."""
