"""The one error of this package: a fence that cannot be used, said so that its author can mend it.

Raised while reading (`geojson`), while building a `Fence` by hand (`model`) and while making a set
(`fenceset`).
"""

from __future__ import annotations

__all__ = ["FenceError"]


class FenceError(ValueError):
    """A fence that cannot be used.

    The message names file, feature, place and mend, as far as they are known:
    ``zones.geojson: feature 3 (id 'depot-2'): ring has 3 points at (121.6, 29.9); a ring needs ...``

    Attributes:
        source: file name (or whatever the caller of `parse_fences` named the input), or None.
        feature: 0-based place of the feature in its file, or None.
        fence_id: the fence's id, or None when it has none.
        place: (lon, lat) in degrees, in the datum of the file, or None.
        mend: what to do about it, or None.
    """

    def __init__(
        self,
        what: str,
        *,
        source: str | None = None,
        feature: int | None = None,
        fence_id: str | None = None,
        place: tuple[float, float] | None = None,
        mend: str | None = None,
    ) -> None:
        self.what = what
        self.source = source
        self.feature = feature
        self.fence_id = fence_id
        self.place = place
        self.mend = mend
        super().__init__(str(self))

    def __str__(self) -> str:
        head = "" if self.source is None else f"{self.source}: "
        name = "" if self.fence_id is None else f"id {self.fence_id!r}"
        if self.feature is not None:
            head += f"feature {self.feature}" + (f" ({name})" if name else "") + ": "
        elif name:
            head += f"fence {name}: "
        at = "" if self.place is None else f" at ({self.place[0]:.9g}, {self.place[1]:.9g})"
        return head + self.what + at + ("" if self.mend is None else f"; {self.mend}")

    def located(self, *, source: str, feature: int | None, fence_id: str | None) -> FenceError:
        """The same error, with the file and feature filled in where they were unknown."""
        return FenceError(
            self.what,
            source=self.source or source,
            feature=self.feature if self.feature is not None else feature,
            fence_id=self.fence_id if self.fence_id is not None else fence_id,
            place=self.place,
            mend=self.mend,
        )
