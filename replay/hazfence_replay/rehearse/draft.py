"""A draft over the fences in force, as ``hazfence fences load`` would publish it.

You are in the rehearsal's room, at its beginning. A draft names only what it changes: a fence of a known id
takes that one's place with the next version, a new id comes in addition, and fences can be taken out.
Thresholds may be drafted too. Next room: ``run.py``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hazfence.settings import EngineSettings
from hazfence_fences import Fence, FenceSet, load_fences, to_feature

__all__ = ["Draft", "read_draft"]


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be changed.

    Attributes:
        fences: new ones, and others in place of those of the same id.
        without: ids of those taken out of force.
        settings: of the engine, where they differ from today's; keys of ``EngineSettings``.
        versions: the latest version of every fence ever saved, for the numbers of the new ones.
    """

    fences: tuple[Fence, ...] = ()
    without: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether it changes nothing: the rehearsal then shows what a replay gives beside the live rows."""
        return not (self.fences or self.without or self.settings)

    def over(self, today: FenceSet) -> FenceSet:
        """The fences that are in force when the draft is published over ``today``."""
        there = {fence.id: fence for fence in today if fence.id not in self.without}
        for fence in self.fences:
            known = there.get(fence.id)
            if known is not None and _definition(known) == _definition(fence):
                continue  # unchanged: it keeps its version
            before = max(self.versions.get(fence.id, 0), 0 if known is None else known.version)
            there[fence.id] = dataclasses.replace(fence, version=max(fence.version, before + 1))
        return FenceSet(there.values())

    def settings_over(self, today: EngineSettings) -> EngineSettings:
        """The thresholds when the draft's are laid over today's.

        Raises:
            ValueError: an unknown setting, or a value out of its range.
        """
        given = {**today.to_json(), **self.settings}
        if "rules" in self.settings:
            given["rules"] = {**today.rules.to_json(), **self.settings["rules"]}
        return EngineSettings.from_json(given) if self.settings else today


def read_draft(
    path: str | os.PathLike[str] | None,
    *,
    today: FenceSet,
    without: Iterable[str] = (),
    settings: Mapping[str, Any] | None = None,
    versions: Mapping[str, int] | None = None,
) -> Draft:
    """Read a draft.

    Args:
        path: GeoJSON file or folder of the fences that change; None for none.
        today: the fences in force; those of ``without`` must be among them.

    Raises:
        FenceError: a file cannot be used; names file, feature and mend.
        ValueError: a fence to be taken out is not in force, or is drafted as well.
    """
    fences = () if path is None else load_fences(path).fences
    gone = frozenset(without)
    for fence_id in sorted(gone):
        if fence_id not in today:
            known = ", ".join(sorted(f.id for f in today)) or "none"
            raise ValueError(f"--without {fence_id}: no such fence is in force; there are {known}")
        if any(fence.id == fence_id for fence in fences):
            raise ValueError(f"--without {fence_id}: the draft holds it too; leave it out of one of them")
    return Draft(fences, gone, dict(settings or {}), dict(versions or {}))


def _definition(fence: Fence) -> dict[str, Any]:
    feature = to_feature(fence)
    feature["properties"].pop("version", None)
    return feature
