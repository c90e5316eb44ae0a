"""Far from every dedicated route: ``corridor_departure``'s distance for whole columns of fixes.

You are in ``hazfence.rules``, beside ``routes.py``, which decides. :class:`Astray` answers for
``hazfence.screen`` which fixes may be farther from all routes than allowed: the routes, widened by a
little less than that, are one area, and what lies in it is near.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from hazfence.events import Kind
from hazfence.rules.book import Params, Rulebook
from hazfence.rules.routes import on_route
from hazfence_fences import Fence, FenceKind, FenceSet, Metric

__all__ = ["Astray"]

#: The area is drawn this much too small: what a buffer and a flat metric may be wrong by.
_CAUTION = 0.95


class Astray:
    """See the module's text; made by :meth:`of`."""

    def __init__(self, metric: Metric, near: Any, routes: frozenset[str], judged: frozenset[str]) -> None:
        self._metric = metric
        self._near = near
        self._routes = routes
        self._judged = judged
        shapely.prepare(near)

    @classmethod
    def of(cls, fences: FenceSet, book: Rulebook) -> Astray | None:
        """For these fences; None when no distance is asked for, or there is no corridor."""
        if not any(f.kind is FenceKind.CORRIDOR for f in fences) or not book.ever(Kind.CORRIDOR_DEPARTURE):
            return None
        told = {v for f in (None, *fences) for v in book.possible(Kind.CORRIDOR_DEPARTURE, f, "farther_m")}
        told -= {None}
        if not told:
            return None

        def ask(rule: str, fence: Fence | None, at_us: int) -> Params | None:
            return book.lookup(rule, fence, frozenset, at_us)

        routes = [f for f in fences if on_route(f, ask, 0)]
        boxes = np.array([f.bounds for f in routes])
        metric = Metric.at(float(boxes[:, [0, 2]].mean()), float(boxes[:, [1, 3]].mean()))
        flat = [
            shapely.transform(f.geometry, lambda xy: np.column_stack(metric.east_north_m(*xy.T)))
            for f in routes
        ]
        near = shapely.union_all([shapely.buffer(g, min(told) * _CAUTION) for g in flat])
        judged = frozenset(
            f.id
            for f in fences
            if f.kind is FenceKind.DISTRICT
            and book.possible(Kind.CORRIDOR_DEPARTURE, f, "farther_m") - {None}
        )
        return cls(metric, near, frozenset(f.id for f in routes), judged)

    def off_route(self, members: Iterable[Fence]) -> bool:
        """Whether being in just these fences is being off the routes, in a district that asks for them."""
        ids = {f.id for f in members}
        return bool(ids & self._judged) and not ids & self._routes

    def far(
        self, asked: npt.NDArray[np.bool_], lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): those of the fixes ``asked`` for that may be too far from every route."""
        far = asked.copy()
        at = np.flatnonzero(asked)
        if len(at):
            far[at] = ~shapely.intersects_xy(self._near, *self._metric.east_north_m(lon[at], lat[at]))
        return far
