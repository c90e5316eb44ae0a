"""Too many at once: ``zone_capacity``.

You are in ``hazfence.rules``. A fence may say how many hazmat vehicles it holds (a park, a plant's yard)::

    "rules": {"zone_capacity": {"most": 12}}

:class:`CapacityWatch` counts the visits to it. Presence comes from the engine's visits alone, so one that
sees the visits of all vehicles is exact, wherever they were found: an embedded engine's events, or the
revisions that all partitions have committed, in any order across vehicles. The crowd is an event of the
fence, without vehicle. What was counted without a late visit is amended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from hazfence.events import Event, Kind, Phase, event_id
from hazfence.rules.book import Rulebook
from hazfence.rules.catalogue import rule_of
from hazfence.rules.joint import Ledger
from hazfence_fences import Fence, FenceSet

__all__ = ["CapacityWatch"]


class _Stay(NamedTuple):
    vehicle: str
    start_us: int
    end_us: int | None
    revision: int


class CapacityWatch:
    """Counts vehicles in the fences that say how many they hold.

    Args:
        fences: those with ``zone_capacity`` in their ``rules`` are watched.
        rules: the general book.
        keep_s: how long a stay that is over is kept, so that a late one finds it.
    """

    def __init__(self, fences: FenceSet, rules: Rulebook, *, keep_s: float = 172_800.0) -> None:
        self._book = rules.for_fences(fences.fences, {})
        self._fences = {
            f.id: f for f in fences.fences if self._book.possible(Kind.ZONE_CAPACITY, f, "most") - {None}
        }
        self._keep_us = round(keep_s * 1e6)
        self._stays: dict[str, dict[str, _Stay]] = {fence_id: {} for fence_id in self._fences}
        self._ids: dict[str, set[str]] = {fence_id: set() for fence_id in self._fences}
        self._ledger = Ledger()

    @property
    def fence_ids(self) -> tuple[str, ...]:
        """Ids of the fences that it counts in."""
        return tuple(self._fences)

    def take(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """Take in visits as the engine says them; of each, the highest revision counts."""
        touched: dict[str, None] = {}
        for event in events:
            stays = self._stays.get(event.fence_id or "") if event.kind is Kind.VISIT else None
            if stays is None or event.fence_id is None:
                continue
            known = stays.get(event.id)
            if known is not None and known.revision >= event.revision:
                continue
            # A retracted visit stays as one without duration, so that an older revision cannot revive it.
            over = event.started_us if event.phase is Phase.RETRACTED else event.ended_us
            stays[event.id] = _Stay(event.vehicle, event.started_us, over, event.revision)
            touched[event.fence_id] = None
        return tuple(event for fence_id in touched for event in self._settle(self._fences[fence_id]))

    def forget(self, now_us: int) -> None:
        """Drop stays that were over ``keep_s`` ago, and what was said of that time.

        A stay is kept for as long as any that began before it goes on, so that a crowd that lasts is
        counted from its beginning.
        """
        for fence_id, stays in self._stays.items():
            going_on = [stay.start_us for stay in stays.values() if stay.end_us is None]
            old_us = min([now_us - self._keep_us, *going_on])
            for i, stay in list(stays.items()):
                if stay.end_us is not None and stay.end_us < old_us:
                    del stays[i]
            said = self._ledger.said_before(old_us)
            self._ids[fence_id] -= said

    def snapshot(self) -> bytes:
        """Everything it knows, as bytes that :meth:`restore` takes."""
        data = {
            "stays": self._stays,
            "ids": {k: sorted(v) for k, v in self._ids.items()},
            "said": self._ledger.to_json(),
        }
        return json.dumps(data, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def restore(
        cls, data: bytes, fences: FenceSet, rules: Rulebook, *, keep_s: float = 172_800.0
    ) -> CapacityWatch:
        """A watch that goes on where :meth:`snapshot` was taken."""
        watch, known = cls(fences, rules, keep_s=keep_s), json.loads(data)
        for fence_id, stays in known["stays"].items():
            if fence_id in watch._stays:
                watch._stays[fence_id] = {i: _Stay(*stay) for i, stay in stays.items()}
                watch._ids[fence_id] = set(known["ids"][fence_id])
        watch._ledger = Ledger.from_json(known["said"])
        return watch

    def _settle(self, fence: Fence) -> list[Event]:
        """Sweep over the stays in time; every stretch with more than allowed is an event."""
        steps: list[tuple[int, int]] = []
        for stay in self._stays[fence.id].values():
            if stay.end_us is None or stay.end_us > stay.start_us:
                steps.append((stay.start_us, 1))
                if stay.end_us is not None:
                    steps.append((stay.end_us, -1))
        steps.sort()  # who leaves makes room for who comes at the same moment
        wanted: dict[str, Event] = {}
        count, since, peak, limit = 0, None, 0, 0.0
        for at_us, change in steps:
            count += change
            if since is None and change > 0:
                params = self._book.lookup(Kind.ZONE_CAPACITY, fence, at_us=at_us)
                if params is not None and params["most"] is not None and count > params["most"]:
                    since, peak, limit = at_us, count, params["most"]
            elif since is not None:
                peak = max(peak, count)
                if count <= limit:
                    event = self._crowd(fence, since, at_us, peak, limit)
                    wanted[event.id] = event
                    since = None
        if since is not None:
            event = self._crowd(fence, since, None, peak, limit)
            wanted[event.id] = event
        among = self._ids[fence.id] | set(wanted)
        self._ids[fence.id] = among
        return self._ledger.settle(wanted, among)

    def _crowd(self, fence: Fence, start_us: int, end_us: int | None, peak: int, most: float) -> Event:
        rule = rule_of(Kind.ZONE_CAPACITY)
        assert rule is not None
        lon, lat = fence.centre or fence.geometry.representative_point().coords[0]
        over = end_us is not None
        return Event(
            id=event_id(Kind.ZONE_CAPACITY, "", fence.id, start_us),
            kind=Kind.ZONE_CAPACITY,
            vehicle="",
            fence_id=fence.id,
            fence_version=fence.version,
            revision=1,
            phase=Phase.CLOSED if over else Phase.OPENED,
            started_us=start_us,
            ended_us=end_us,
            lon=lon,
            lat=lat,
            end_lon=lon if over else None,
            end_lat=lat if over else None,
            severity=rule.severity,
            detail={"most": round(most), "peak": peak},
        )
