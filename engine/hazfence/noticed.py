"""What the rules with a memory take notice of at each due fix: where the vehicle is, and what it crosses.

You are in the core, below ``noting.py``. Rules about standing and about routes ask of a fix only in how many
fences of a sort the vehicle is, and which borders it met on the way; :func:`zones_of` counts that for all
due fixes of a batch at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Fixes", "Moved", "Sorts", "Zones", "first_rows", "zones_of"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]


class Fixes(NamedTuple):
    """Due fixes, by vehicle and time, with the fix before each; columns of shape (n,).

    ``vehicle`` numbers the vehicles from 0; ``until_us`` is the time of the last fix before the
    vehicle's next due one, or of its last fix in the batch: up to there nothing but time passes.
    """

    vehicle: _Ints
    prev_us: _Ints
    prev_lon: _Floats
    prev_lat: _Floats
    fix_us: _Ints
    lon: _Floats
    lat: _Floats
    kmh: npt.NDArray[np.float32]
    until_us: _Ints


class Moved(NamedTuple):
    """Visits that open or close; columns of shape (k,), by fix and, within one, by time."""

    row: _Ints  #: of the fixes
    fence: _Ints
    opens: _Bools
    at_us: _Ints


class Sorts(NamedTuple):
    """Which fences are of a sort; bool, one a fence. ``gate`` is None when nobody asks for checkpoints."""

    district: _Bools
    route: _Bools
    stand: _Bools  #: where standing is allowed
    gate: _Bools | None


class Zones(NamedTuple):
    """Where vehicles are before each fix and at it, in numbers of fences, and which borders they meet."""

    district: tuple[_Ints, _Ints]
    route: tuple[_Ints, _Ints]
    stand: tuple[_Ints, _Ints]
    met_route: _Bools  #: a border of the district or of a route
    met_stand: _Bools  #: a border of the district or of a fence where standing is allowed
    at_us: _Ints  #: of each crossing
    of_district: _Ints  #: what each crossing adds to the number of districts, and so on
    of_route: _Ints
    of_stand: _Ints
    starts: _Ints  #: of the crossings of each fix
    gate: _Bools  #: a checkpoint is met


def first_rows(fixes: Fixes) -> _Ints:
    """The row at which each vehicle begins."""
    changes = fixes.vehicle[1:] != fixes.vehicle[:-1]
    return np.append(0, np.flatnonzero(changes) + 1) if len(fixes.vehicle) else np.zeros(0, np.int64)


def zones_of(
    fixes: Fixes, begins: _Ints, crossed: Moved, inside: tuple[_Ints, _Ints], vehicles: int, sorts: Sorts
) -> Zones:
    """In how many fences of each sort a vehicle is before each fix, and at the fix.

    Args:
        fixes: the due fixes; ``begins`` the row at which each vehicle begins.
        crossed: what opens and closes with them.
        inside: (number of the vehicle, fence) of the visits that went on before.
        vehicles: how many there are.
        sorts: of the fences.
    """
    n, counts = len(fixes.vehicle), list[tuple[_Ints, _Ints]]()
    step = np.where(crossed.opens, 1, -1)
    adds = [step * sort[crossed.fence] for sort in sorts[:3]]
    for sort, add in zip(sorts[:3], adds, strict=True):
        here = np.bincount(crossed.row, add, n).astype(np.int64)
        total = np.cumsum(here)
        base = np.bincount(inside[0], sort[inside[1]], vehicles).astype(np.int64)
        after = total + (base - (total - here)[begins])[fixes.vehicle]
        counts.append((after - here, after))
    met_route, met_stand = (
        np.bincount(crossed.row, (sorts.district | other)[crossed.fence], n) > 0
        for other in (sorts.route, sorts.stand)
    )
    at_us = np.clip(crossed.at_us, fixes.prev_us[crossed.row], fixes.fix_us[crossed.row])
    starts = np.searchsorted(crossed.row, np.arange(n + 1))
    gates = crossed.row[sorts.gate[crossed.fence]] if sorts.gate is not None else np.zeros(0, np.int64)
    gate = np.bincount(gates, minlength=n) > 0
    district, route, stand = counts
    of_district, of_route, of_stand = adds
    return Zones(
        district, route, stand, met_route, met_stand, at_us, of_district, of_route, of_stand, starts, gate
    )
