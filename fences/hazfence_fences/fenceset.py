"""Many fences at once: which of them cover each point, and which thin ones a segment touches.

`FenceSet` is immutable; `with_fence` and `without` give a new set and leave readers of the old one
undisturbed. Answers are exact: `locate` equals shapely's `covers` for polygons, boundary points included, and
the true circle for circles. Fences are kept in an R-tree (`registry`), out of which points are answered by a
cell table compiled at the first question (`index`), and segments by `thin`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hazfence_fences.around import Around, keys_around
from hazfence_fences.errors import FenceError
from hazfence_fences.index.build import build_table
from hazfence_fences.index.lookup import locate_keys, refuse_infinite
from hazfence_fences.index.members import locate_members
from hazfence_fences.index.patch import patch_table
from hazfence_fences.index.scalar import ScalarReader
from hazfence_fences.index.table import CellTable
from hazfence_fences.located import Located
from hazfence_fences.metric import Metric
from hazfence_fences.model import Fence
from hazfence_fences.points import finite_points, points
from hazfence_fences.registry import Registry
from hazfence_fences.thin import ThinFences

__all__ = ["FenceSet"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

_ALL_BITS = (1 << 64) - 1
_DIGEST = 1 << 128
# A set this small is compiled anew in less time than it takes to say why not.
_PATCH_FROM = 32
# So few points are answered faster one by one than as arrays.
_ONE_BY_ONE = 24


class FenceSet:
    """An immutable, indexed set of fences with distinct ids. The index is built at the first question.

    Example:
        >>> from hazfence_fences import FenceKind, circle
        >>> fences = FenceSet([circle("cp-1", FenceKind.CHECKPOINT, 121.6, 29.9, 150.0)])
        >>> fences.locate([121.6, 121.7], [29.9, 29.9]).members(0)
        ('cp-1',)
    """

    def __init__(self, fences: Iterable[Fence] = ()) -> None:
        fences = tuple(fences)
        if len({fence.id for fence in fences}) != len(fences):
            twice = Counter(fence.id for fence in fences).most_common(1)[0][0]
            raise FenceError(
                "id is used twice in one set", fence_id=twice, mend="give every fence its own id"
            )
        order = np.arange(len(fences), dtype=np.int32)
        self._begin(Registry(fences), order, order)
        self.__dict__["fences"] = fences

    def _begin(self, registry: Registry, order: I32, place: I32) -> None:
        self._registry = registry
        self._order = order  # slot by index
        self._place = place  # index by slot, -1 for slots of other sets
        self._table: CellTable | None = None
        self._thin: ThinFences | None = None
        self._digest: int | None = None

    @cached_property
    def fences(self) -> tuple[Fence, ...]:
        """The fences in their order."""
        return tuple(map(self._registry.fences.__getitem__, self._order.tolist()))

    @cached_property
    def timed(self) -> tuple[int, ...]:
        """Indexes of the fences with a schedule or a validity."""
        return tuple(self._registry.timed.array[self._order].nonzero()[0].tolist())

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Fence]:
        return iter(self.fences)

    def __contains__(self, fence_id: object) -> bool:
        return isinstance(fence_id, str) and self._slot_of(fence_id) is not None

    def __getitem__(self, which: int | str) -> Fence:
        index = self.index_of(which) if isinstance(which, str) else which
        return self._registry.fences[self._order.item(index)]

    def _slot_of(self, fence_id: str) -> int | None:
        place = self._place
        for slot in self._registry.slots_of(fence_id):
            if slot < len(place) and place[slot] >= 0:
                return slot
        return None

    def index_of(self, fence_id: str) -> int:
        """The index of a fence in `fences`.

        Raises:
            KeyError: no such fence.
        """
        slot = self._slot_of(fence_id)
        if slot is None:
            raise KeyError(fence_id)
        return int(self._place[slot])

    def __repr__(self) -> str:
        kinds = Counter(str(fence.kind) for fence in self)
        told = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        return f"<FenceSet {len(self)} fences{': ' + told if told else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return FenceSet, (self.fences,)

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the fences' ids, versions, places, limits and hours, whatever their order."""
        if self._digest is None:
            self._digest = sum(int.from_bytes(fence.digest, "little") for fence in self) % _DIGEST
        return f"{self._digest:032x}"

    @property
    def table(self) -> CellTable:
        """The compiled cell table, built now if nobody asked before."""
        table = self._table
        if table is None:
            with self._registry.lock:
                if self._table is None:
                    known = self._registry.by_place()
                    known = known[known < len(self._place)]
                    slots = known[self._place[known] >= 0].astype(np.int32)
                    fences = [self._registry.fences[slot] for slot in slots.tolist()]
                    self._table = build_table(fences, slots, self._registry.keys.array)
                table = self._table
        return table

    def with_fence(self, fence: Fence) -> FenceSet:
        """A new set with this fence added at the end, or put in the place of the one with its id.

        With the index built, only the cells the fence touches are written: a millisecond or so among 100,000.
        """
        with self._registry.lock:
            if self._is_stale():
                fences = list(self.fences)
                if fence.id in self:
                    fences[self.index_of(fence.id)] = fence
                else:
                    fences.append(fence)
                return self._fresh(fences)
            old = self._slot_of(fence.id)
            slot = self._registry.add(fence)
            place = np.append(self._place, np.full(slot + 1 - len(self._place), -1, np.int32))
            if old is None:
                order = np.append(self._order, np.int32(slot))
                place[slot] = len(order) - 1
            else:
                order = self._order.copy()
                place[slot], place[old] = place[old], -1
                order[place[slot]] = slot
            return self._patched(order, place, old, slot)

    def without(self, fence_id: str) -> FenceSet:
        """A new set without that fence; the others keep their order.

        Raises:
            KeyError: no such fence.
        """
        index = self.index_of(fence_id)
        with self._registry.lock:
            if self._is_stale():
                return self._fresh(self.fences[:index] + self.fences[index + 1 :])
            old = self._order.item(index)
            place = self._place - (self._place > index).astype(np.int32)
            place[old] = -1
            return self._patched(np.delete(self._order, index), place, old, None)

    def _fresh(self, fences: Iterable[Fence]) -> FenceSet:
        """A set of its own; with its index, if this one has one: the next reader should not wait for it."""
        out = FenceSet(fences)
        if self._table is not None:
            out.table  # noqa: B018
        return out

    def _is_stale(self) -> bool:
        """Whether a fresh set is the better successor: it is small, or its pools are mostly leftovers."""
        dead = len(self._registry.fences) - len(self)
        if len(self) < _PATCH_FROM or dead > len(self) + 1000:
            return True
        pools = None if self._table is None else self._table.pools
        return pools is not None and pools.wasted > pools.fine.used // 2 + 1_000_000

    def _patched(self, order: I32, place: I32, old: int | None, new: int | None) -> FenceSet:
        """The set over the same registry with the fence of slot `old` gone and that of slot `new` come."""
        fences = self._registry.fences
        out = FenceSet.__new__(FenceSet)
        out._begin(self._registry, order, place)
        if self._table is not None:
            gone, come = (None if slot is None else (fences[slot], slot) for slot in (old, new))
            out._table = patch_table(self._table, gone, come, self._registry.keys.array)
        if self._thin is not None:
            out._thin = self._thin.patched(old, new)
        if self._digest is not None:
            change = (0 if new is None else 1, new), (0 if old is None else -1, old)
            digests = (n * int.from_bytes(fences[s].digest, "little") for n, s in change if s is not None)
            out._digest = (self._digest + sum(digests)) % _DIGEST
        return out

    def around(self, edges: F64, within_m: float) -> Around | None:
        """Have `locate` name the points that may be near some edges, at no cost for the others.

        Args:
            edges: float64[n, 4], lon0, lat0, lon1, lat1 degrees WGS-84, n > 0.
            within_m: how near.

        Returns:
            what to give to `locate` of this set; None where its cells are too small for that.
        """
        return keys_around(self.table, edges, within_m)

    def locate(
        self,
        lon: ArrayLike,
        lat: ArrayLike,
        around: Around | None = None,
        *,
        sound: bool = False,
        bounds: tuple[float, float, float, float] | None = None,
    ) -> Located:
        """Which fences cover each point, boundaries included.

        Args:
            lon, lat: float64[n] degrees WGS-84. Points outside -180..180, -90..90 are in no fence.
            around: from `around` of this set: points that may be near its edges are named besides.
            sound: they are known to be arrays of one length and finite numbers, and are not looked at.
            bounds: west, south, east and north of sound points, where they are known: it spares looking
                whether any lies far away. What lies beyond them is answered wrongly.

        Raises:
            ValueError: arrays of different length or not one-dimensional, not numbers, or not finite (the
                message names the first such row).
        """
        x, y = points(lon, lat, sound=sound)
        if len(x) <= _ONE_BY_ONE:
            refuse_infinite(x, y)
            keys, close = np.empty(len(x), np.uint64), np.arange(len(x))
            inner = close
        elif around is None:
            keys, close, inner = locate_keys(self.table, x, y, sound=sound, bounds=bounds)
        elif around.table is self.table:
            keys, close, inner = locate_keys(self.table, x, y, around.cell_key, sound=sound, bounds=bounds)
        else:
            raise ValueError("`around` belongs to another set of fences; ask this one for its own")
        if len(close) > _ONE_BY_ONE:
            row, slot = locate_members(self.table, x.take(close), y.take(close), self._registry.covers)
            keys[close] = 0
            np.add.at(keys, close.take(row), self._registry.keys.array.take(slot))
        else:
            for at in close.tolist():
                keys[at] = self.key_of(self.locate_one(x.item(at), y.item(at)))
        return Located(self, x, y, keys, None if around is None else inner)

    @cached_property
    def locate_one(self) -> Callable[[float, float], tuple[int, ...]]:
        """``locate_one(lon, lat)``: indexes, ascending, of the fences covering one finite point: for one fix.

        Same verdicts as `locate`, at about a microsecond a call.
        """
        return ScalarReader(self.table, self._registry.fences.__getitem__, self._place).indexes

    def members(self, lon: ArrayLike, lat: ArrayLike) -> tuple[I64, I32]:
        """Which fences cover each point, fence by fence: the sets whose keys `locate` gives.

        Args:
            lon, lat: float64[n] degrees WGS-84.

        Returns:
            (rows int64[k], fence indexes int32[k]), sorted by row, then fence.

        Raises:
            ValueError: as for `locate`.
        """
        x, y = finite_points(lon, lat)
        if len(x) <= _ONE_BY_ONE:
            held = [self.locate_one(*point) for point in zip(x.tolist(), y.tolist(), strict=True)]
            rows = np.repeat(np.arange(len(x)), [len(indexes) for indexes in held])
            return rows, np.array([i for indexes in held for i in indexes], np.int32)
        rows, slots = locate_members(self.table, x, y, self._registry.covers)
        pair = (rows << 32) | self._place[slots]
        pair.sort(kind="stable")  # nearly in order
        return pair >> 32, (pair & 0xFFFF_FFFF).astype(np.int32)

    def keys(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.uint64]:
        """uint64[n], the key of the set of fences that cover each point; see `locate`."""
        return self.locate(lon, lat).keys

    def key_of(self, indexes: Iterable[int]) -> int:
        """The key of the set of these fences (indexes into `fences`)."""
        return sum(self[i].key for i in indexes) & _ALL_BITS

    def near(self, lon: float, lat: float, distance_m: float) -> list[tuple[int, float]]:
        """Fences within a distance of a place (degrees), nearest first: (index, metres), 0 m inside.

        Does not look across the antimeridian.
        """
        half = distance_m / 110_500 / max(np.cos(np.radians(min(abs(lat) + 1, 89.9))), 1e-3)
        slots = self._registry.within(lon - half, lat - half, lon + half, lat + half)
        found = []
        for slot in slots:
            index = self._place.item(slot) if slot < len(self._place) else -1
            if index >= 0:
                away_m = self._registry.fences[slot].distance_m(lon, lat)
                if away_m <= distance_m:
                    found.append((index, away_m))
        return sorted(found, key=lambda pair: (pair[1], pair[0]))

    def segment_hits(
        self, lon0: ArrayLike, lat0: ArrayLike, lon1: ArrayLike, lat1: ArrayLike
    ) -> tuple[I64, I32]:
        """Every (segment, thin fence) pair that touch.

        Args:
            lon0, lat0, lon1, lat1: float64[n] degrees WGS-84, the ends of segments straight in lon/lat.

        Returns:
            (rows int64[k], fence indexes int32[k]), sorted by row, then fence.

        Raises:
            ValueError: as for `locate`.
        """
        ax, ay = points(lon0, lat0)
        bx, by = points(lon1, lat1)  # whether they are finite is seen on the way
        if len(ax) != len(bx):
            refuse_infinite(ax, ay)
            refuse_infinite(bx, by)
            raise ValueError(f"{len(ax)} segment starts but {len(bx)} ends; give arrays of one length")
        thin = self._thin
        if thin is None:
            thin = self._thin = ThinFences(self._registry.fences, self._order[self._thin_indexes()])
        row, slot = thin.hits(ax, ay, bx, by)
        index = self._place[slot]
        order = np.lexsort((index, row))
        return row[order], index[order]

    def crossings(
        self,
        fence_index: I32,
        leaving: NDArray[np.bool_],
        lon0: ArrayLike,
        lat0: ArrayLike,
        lon1: ArrayLike,
        lat1: ArrayLike,
        *,
        sound: bool = False,
    ) -> F64:
        """Where each of n segments leaves, or enters, the fence beside it.

        Args:
            fence_index: int32[n], indexes into `fences`.
            leaving: bool[n], True for a segment that begins inside and ends outside: where does the stay end
                that holds its first end? False for one that begins outside and ends inside: where does the
                stay begin that holds its second end?
            lon0, lat0, lon1, lat1: float64[n] degrees WGS-84, the ends of the segments.
            sound: they are known to be arrays of one length and finite numbers, and are not looked at.

        Returns:
            float64[n], fractions of the segments, to the last bit those `Fence.intervals` gives; NaN where
            the segment does not do that, or rounding could hide the answer: then ask `intervals`.

        Raises:
            ValueError: as for `locate`.
        """
        ax, ay = finite_points(lon0, lat0, sound=sound)
        bx, by = finite_points(lon1, lat1, sound=sound)
        if not len(ax) == len(bx) == len(fence_index) == len(leaving):
            raise ValueError(
                f"{len(fence_index)} fences, {len(leaving)} ways, {len(ax)} segment starts, {len(bx)} ends; "
                "give arrays of one length"
            )
        slots = self._order.take(fence_index)
        return self._registry.read_borders().crossings(slots, leaving, ax, ay, bx, by)[0]

    def crossings_near(
        self,
        fence_index: I32,
        leaving: NDArray[np.bool_],
        ends: tuple[F64, F64, F64, F64],
        within_m: float | F64,
    ) -> tuple[F64, NDArray[np.bool_]]:
        """What `crossings` says of segments with sound `ends`, and `near_border` of their second ends.

        Sooner than one after the other, as each border is looked up once.
        """
        slots = self._order.take(fence_index)
        return self._registry.read_borders().crossings(slots, leaving, *ends, within_m)

    def passages(
        self,
        fence_index: I32,
        lon0: ArrayLike,
        lat0: ArrayLike,
        lon1: ArrayLike,
        lat1: ArrayLike,
        *,
        sound: bool = False,
    ) -> tuple[F64, F64]:
        """Where each of n segments passes through the circle beside it, both its ends being outside.

        Args:
            fence_index: int32[n], indexes into `fences`.
            lon0, lat0, lon1, lat1: float64[n] degrees WGS-84, the ends of the segments.
            sound: as for `crossings`.

        Returns:
            float64[n] begins and float64[n] ends of the stays, fractions of the segments, to the last bit
            those `Fence.intervals` gives; NaN where a segment does not touch the circle, has an end in it,
            or the fence is no circle.

        Raises:
            ValueError: as for `locate`.
        """
        ax, ay = finite_points(lon0, lat0, sound=sound)
        bx, by = finite_points(lon1, lat1, sound=sound)
        if not len(ax) == len(bx) == len(fence_index):
            raise ValueError(
                f"{len(fence_index)} fences, {len(ax)} segment starts, {len(bx)} ends; "
                "give arrays of one length"
            )
        return self._registry.read_borders().passages(self._order.take(fence_index), ax, ay, bx, by)

    def circles(self, fence_index: I32) -> tuple[Metric, F64]:
        """The metrics and radii (metres) of n circles, as columns; without meaning for other fences.

        Args:
            fence_index: int32[n], indexes into `fences`.
        """
        return self._registry.read_borders().circles(self._order.take(fence_index))

    def near_border(
        self, fence_index: I32, lon: ArrayLike, lat: ArrayLike, within_m: float | F64, *, sound: bool = False
    ) -> NDArray[np.bool_]:
        """Whether each of n places lies nearer to the border of the fence beside it than a distance.

        Args:
            fence_index: int32[n], indexes into `fences`.
            lon, lat: float64[n] degrees WGS-84.
            within_m: metres, the same for all or float64[n]; meant for small ones, such as the error of a
                position. On either side of the border; within a part in a thousand for fences up to a few
                degrees.
            sound: as for `crossings`.

        Raises:
            ValueError: as for `locate`.
        """
        x, y = finite_points(lon, lat, sound=sound)
        if len(x) != len(fence_index):
            raise ValueError(f"{len(fence_index)} fences, {len(x)} places; give arrays of one length")
        return self._registry.read_borders().near(self._order.take(fence_index), x, y, within_m)

    def near_border_one(self, fence_index: int, lon: float, lat: float, within_m: float) -> bool:
        """What `near_border` says of a single place (finite degrees), sooner."""
        return self._registry.read_borders().near_one(self._order.item(fence_index), lon, lat, within_m)

    def _thin_indexes(self) -> I64:
        return np.array([i for i, fence in enumerate(self) if fence.thin], dtype=np.int64)
