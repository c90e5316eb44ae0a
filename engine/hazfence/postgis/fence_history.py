"""Every version of every fence, and which were in force at a moment.

You are in the PostGIS adapter, beside `fences.py`, which saves the versions. A changed definition is a new
row there and the former one stays, so that a verdict of last year can be looked at on the fences of last
year. "In force" is by the clock of the database: from when a version was saved until another took its
place, or it was taken out of force. Who asks: `hazfence_replay.explain` and `hazfence_replay.rehearse`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hazfence.postgis.moments import us_of
from hazfence_fences import Fence, FenceSet, parse_fences

__all__ = ["FenceHistory", "FenceVersion"]


class FenceVersion(NamedTuple):
    """One version, and when it was in force: [saved_us, retired_us), microseconds UTC, None: still is."""

    fence: Fence
    saved_us: int
    retired_us: int | None


class FenceHistory:
    """All versions there are.

    Args:
        versions: in the order in which their fences were first saved.

    Example:
        >>> from hazfence_fences import FenceKind, circle
        >>> park = circle("park", FenceKind.PARKING, 121.6, 29.98, 100.0)
        >>> history = FenceHistory([FenceVersion(park, 10, 20)])
        >>> [f.id for f in history.at(10)], [f.id for f in history.at(20)]
        (['park'], [])
    """

    def __init__(self, versions: Iterable[FenceVersion]) -> None:
        self.versions = tuple(versions)

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[Any, ...]]) -> FenceHistory:
        """From the rows of ``fence_history.sql``."""
        kept = list(rows)
        features = [definition for definition, *_ in kept]
        # One by one: in a collection an id may be there only once, and here each is once a version.
        fences = [
            parse_fences({"type": "FeatureCollection", "features": [f]}, source="table hazfence.fence")[0]
            for f in features
        ]
        return cls(
            FenceVersion(
                dataclasses.replace(fence, version=version),
                us_of(saved),
                None if retired is None else us_of(retired),
            )
            for fence, (_, version, saved, retired) in zip(fences, kept, strict=True)
        )

    @property
    def first_us(self) -> int | None:
        """When the first of all versions was saved; None when there is none."""
        return min((v.saved_us for v in self.versions), default=None)

    def at(self, moment_us: int, pinned: Mapping[str, int] | None = None) -> FenceSet:
        """The fences in force at a moment.

        Args:
            pinned: versions by fence id that are taken whatever the moment, e.g. the one that an event names.
        """
        pinned = pinned or {}
        found: dict[str, Fence] = {}
        for version in self.versions:
            fence = version.fence
            if fence.id in pinned:
                right = fence.version == pinned[fence.id]
            else:
                right = version.saved_us <= moment_us and (
                    version.retired_us is None or moment_us < version.retired_us
                )
            if right:
                found[fence.id] = fence
        return FenceSet(found.values())

    def now(self) -> FenceSet:
        """The fences in force now."""
        return FenceSet(v.fence for v in self.versions if v.retired_us is None)

    def version(self, fence_id: str, version: int) -> FenceVersion | None:
        """One version; None when it was never saved."""
        return next((v for v in self.versions if v.fence.id == fence_id and v.fence.version == version), None)

    def latest(self, fence_id: str) -> FenceVersion | None:
        """The latest version of a fence, in force or not; None when it was never saved."""
        found = [v for v in self.versions if v.fence.id == fence_id]
        return max(found, key=lambda v: v.fence.version, default=None)

    def changes(self, since_us: int, until_us: int) -> list[int]:
        """The moments in (since_us, until_us) at which other fences came into force."""
        moments = {v.saved_us for v in self.versions} | {v.retired_us for v in self.versions if v.retired_us}
        return sorted(m for m in moments if since_us < m < until_us)
