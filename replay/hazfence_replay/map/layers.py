"""What a map shows, made small enough to carry: tracks thinned out, coordinates to a metre.

You are in the map room. A day of three hundred trucks is half a million fixes; a map needs a
tenth of them. Tracks are simplified (Douglas and Peucker's rule, with the time carried along as a
third coordinate), but the ends of every longer stand are kept, so that trucks played back on the
map stand where they stood. Next rooms: ``page.py`` and ``png.py``, which draw a :class:`Layers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence_fences import Fence, FenceKind, FenceSet
from hazfence_replay.compare import Comparison
from hazfence_replay.ledger import BreachRow, breach_rows, latest

__all__ = ["Layers", "Track", "build_layers", "thinned"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: A pause in reporting longer than this breaks the drawn line, seconds.
_GAP_S = 300.0
#: A stand at least this long keeps its two ends, seconds.
_STAND_S = 90.0
_METRES_A_DEGREE = 111_320.0
#: Tried one after the other, until the vertices are few enough; metres.
_TOLERANCES_M = (1.0, 3.0, 6.0, 10.0, 16.0, 25.0, 40.0, 65.0, 100.0, 200.0, 500.0)


@dataclass(frozen=True, slots=True)
class Track:
    """An unbroken piece of one vehicle's way.

    Attributes:
        vehicle: index into :attr:`Layers.vehicles`.
        lon, lat: float64[n] degrees.
        time_s: float64[n], seconds UTC since 1970.
    """

    vehicle: int
    lon: F64
    lat: F64
    time_s: F64


@dataclass(frozen=True, slots=True)
class Layers:
    """Everything that a map draws.

    Attributes:
        fences: in drawing order, largest first.
        vehicles: names.
        tracks: pieces of ways, by vehicle and time.
        breaches: by time.
        visits: number of visits by fence id.
        roads: lines for the background, each float64[n, 2] degrees.
        comparison: planted against found, where the day was simulated.
        fixes: how many fixes the tracks stand for.
        tolerance_m: by how much a drawn track may be off its fixes.
        start_s, end_s: the time span, seconds UTC; equal when there is neither track nor breach.
        view: west, south, east, north of what is looked at, degrees; None for everything.
    """

    fences: tuple[Fence, ...]
    vehicles: tuple[str, ...]
    tracks: tuple[Track, ...]
    breaches: tuple[BreachRow, ...]
    visits: dict[str, int]
    roads: tuple[F64, ...]
    comparison: Comparison | None
    fixes: int
    tolerance_m: float
    start_s: float
    end_s: float
    view: tuple[float, float, float, float] | None = None

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of what is looked at, degrees: of all that is drawn, but for roads."""
        if self.view is not None:
            return self.view
        boxes = [f.bounds for f in self.fences]
        # Tracks may lead far out of a district, which is then what the map is about.
        if not any(f.kind is FenceKind.DISTRICT for f in self.fences):
            boxes += [(t.lon.min(), t.lat.min(), t.lon.max(), t.lat.max()) for t in self.tracks]
        boxes += [(b.lon, b.lat, b.lon, b.lat) for b in self.breaches]
        if not boxes:
            return 121.4, 29.85, 121.85, 30.1
        low, high = np.min(boxes, axis=0), np.max(boxes, axis=0)
        return float(low[0]), float(low[1]), float(high[2]), float(high[3])


def build_layers(
    fences: FenceSet | Iterable[Fence],
    tracks: FixBatch | Iterable[FixBatch] = (),
    events: Iterable[Event] | Sequence[BreachRow] = (),
    *,
    roads: Iterable[F64] = (),
    comparison: Comparison | None = None,
    max_vertices: int = 180_000,
    view: tuple[float, float, float, float] | None = None,
) -> Layers:
    """Gather and thin out what a map draws.

    Args:
        fences: what to draw below the tracks.
        tracks: one batch, or many; order does not matter.
        events: visits and breaches as an engine said them, or breach rows.
        roads: background lines, float64[n, 2] degrees.
        comparison: from ``hazfence_replay.compare``; the page then tells planted and found apart.
        max_vertices: the most track vertices to keep.
        view: west, south, east, north of what to look at, degrees; everything by default.
    """
    fixes = tracks if isinstance(tracks, FixBatch) else FixBatch.concat(tracks)
    items = list(events)
    said = latest(e for e in items if isinstance(e, Event))
    breaches = [b for b in items if isinstance(b, BreachRow)] + breach_rows(said)
    breaches.sort(key=lambda b: (b.started_us, b.vehicle, b.kind))
    pieces, tolerance_m = thinned(fixes, max_vertices)
    times = [t.time_s[[0, -1]] for t in pieces]
    times += [np.array([b.started_us, b.started_us]) / 1e6 for b in breaches]
    span = np.concatenate(times) if times else np.zeros(2)
    return Layers(
        fences=tuple(sorted(fences, key=lambda f: -f.geometry.area)),
        vehicles=fixes.vehicles,
        tracks=tuple(pieces),
        breaches=tuple(breaches),
        visits=dict(Counter(e.fence_id or "" for e in said if e.is_visit)),
        roads=tuple(roads),
        comparison=comparison,
        fixes=len(fixes),
        tolerance_m=tolerance_m,
        start_s=float(span.min()),
        end_s=float(span.max()),
        view=view,
    )


def thinned(fixes: FixBatch, max_vertices: int) -> tuple[list[Track], float]:
    """Ways of every vehicle with at most ``max_vertices`` vertices in all.

    Returns:
        the pieces, and the tolerance (metres) with which they were thinned. Only a day that has
        too many stands for any tolerance stays above ``max_vertices``.
    """
    usable = np.flatnonzero(np.isfinite(fixes.lon) & np.isfinite(fixes.lat))
    order = usable[np.lexsort((fixes.time_us[usable], fixes.vehicle[usable]))]
    if not len(order):
        return [], _TOLERANCES_M[0]
    vehicle, time_s = fixes.vehicle[order], fixes.time_us[order] / 1e6
    lon, lat = fixes.lon[order], fixes.lat[order]
    first, last = _pieces(vehicle, time_s, fixes.speed_kmh[order])
    if not len(first):
        return [], _TOLERANCES_M[0]
    # Neighbouring pieces of one way share the vertex between them.
    joined = np.concatenate([[False], first[1:] == last[:-1]])
    starts, size = first, last - first + 1
    offset = np.repeat(starts - np.concatenate([[0], np.cumsum(size)[:-1]]), size)
    at = np.arange(int(size.sum())) + offset
    squeeze = float(np.cos(np.deg2rad(np.median(lat))))
    # Longitudes squeezed to the scale of latitudes, so that one tolerance serves both.
    coordinates = np.column_stack([lon[at] * squeeze, lat[at], time_s[at]])
    lines = shapely.linestrings(coordinates, indices=np.repeat(np.arange(len(size)), size))
    thin, tolerance_m = lines, 0.0
    for tolerance_m in _TOLERANCES_M:
        thin = shapely.simplify(lines, tolerance_m / _METRES_A_DEGREE, preserve_topology=False)
        if shapely.get_num_coordinates(thin).sum() <= max_vertices:
            break
    points, piece = shapely.get_coordinates(thin, include_z=True, return_index=True)
    tracks: list[Track] = []
    bounds = np.searchsorted(piece, np.arange(len(size) + 1))
    # Pieces that were cut only to keep a stand are one track again.
    heads = np.flatnonzero(~joined)
    for head, end in zip(heads.tolist(), [*heads[1:].tolist(), len(size)], strict=True):
        part = points[bounds[head] : bounds[end]]
        part = part[np.concatenate([[True], np.diff(part[:, 2]) > 0])]
        tracks.append(Track(int(vehicle[starts[head]]), part[:, 0] / squeeze, part[:, 1], part[:, 2]))
    return tracks, tolerance_m


def _pieces(
    vehicle: npt.NDArray[np.int32], time_s: F64, speed_kmh: npt.NDArray[np.float32]
) -> tuple[I64, I64]:
    """First and last index of every piece: between two gaps, and between the ends of longer stands."""
    broken = (np.diff(vehicle) != 0) | (np.diff(time_s) > _GAP_S)
    begins = np.concatenate([[0], np.flatnonzero(broken) + 1])
    ends = np.concatenate([np.flatnonzero(broken), [len(vehicle) - 1]])
    standing = np.nan_to_num(speed_kmh, nan=99.0) < 1.0
    change = np.flatnonzero((standing[1:] != standing[:-1]) | broken) + 1
    since, until = np.concatenate([[0], change]), np.concatenate([change, [len(vehicle)]]) - 1
    long = standing[since] & (time_s[until] - time_s[since] >= _STAND_S)
    kept = np.unique(np.concatenate([begins, ends, since[long], until[long]]))
    # Between the end of a way and the beginning of the next there is no piece.
    whole = ~np.isin(kept[1:], begins)
    return kept[:-1][whole], kept[1:][whole]
