"""The rules about more than one vehicle, over a history: capacity, separation, papers.

You are in the replay's house, beside ``player.py``: an engine judges each vehicle by itself, and what a
worker's joint processor adds to that live, :class:`Joint` adds to a replay. Rules about plate reads are not
here: a history has no reads but those that events name (``explain/reads.py``). Who uses it: ``run.py``,
rehearsing and explaining.
"""

from __future__ import annotations

from collections.abc import Iterable

from hazfence.events import Event, Kind
from hazfence.fixes import FixBatch
from hazfence.reference import ReferenceData
from hazfence.rules.capacity import CapacityWatch
from hazfence.rules.papers import paper_warnings
from hazfence.rules.separation import SeparationWatch
from hazfence.settings import EngineSettings
from hazfence_fences import FenceSet

__all__ = ["Joint"]


class Joint:
    """Takes what an engine takes and says, in the order of time.

    Args:
        fences, settings, reference: as for the engine.
    """

    def __init__(
        self, fences: FenceSet, settings: EngineSettings, reference: ReferenceData | None = None
    ) -> None:
        self._fences, self._settings, self._reference = fences, settings, reference
        self._rules = settings.rules
        self._on = self._rules.for_fences(fences.fences, {}).joint
        self._capacity = CapacityWatch(fences, self._rules)
        self._separation = SeparationWatch(fences, self._rules, reference, max_gap_s=settings.max_gap_s)

    @property
    def wants_fixes(self) -> bool:
        """Whether any rule that is on looks at fixes."""
        return Kind.SEPARATION in self._on

    @property
    def crowded(self) -> tuple[str, ...]:
        """Ids of the fences whose visits are counted."""
        return self._capacity.fence_ids

    def take(self, fixes: FixBatch, events: Iterable[Event]) -> tuple[Event, ...]:
        """Take fixes, and what the engine said of them; returns what follows at once."""
        if Kind.SEPARATION in self._on:
            self._separation.take(fixes)
        return self._capacity.take(events)

    def advance(self, now_us: int) -> tuple[Event, ...]:
        """Let time pass."""
        self._capacity.forget(now_us)
        return self._separation.advance(now_us) if Kind.SEPARATION in self._on else ()

    def papers(self, since_us: int, until_us: int) -> tuple[Event, ...]:
        """Warnings of papers that fall into [since, until)."""
        if Kind.PAPER_EXPIRING not in self._on or self._reference is None:
            return ()
        return paper_warnings(self._reference, since_us, until_us)

    def snapshot(self) -> bytes:
        """What was learnt from fixes, for :meth:`go_on`; empty when there is nothing to know."""
        return self._separation.snapshot() if Kind.SEPARATION in self._on else b""

    def go_on(self, snapshot: bytes) -> None:
        """Take over what another, of the same fences and settings, had learnt from fixes."""
        if snapshot:
            self._separation = SeparationWatch.restore(
                snapshot, self._fences, self._rules, self._reference, max_gap_s=self._settings.max_gap_s
            )

    def use_fences(self, fences: FenceSet) -> None:
        """Go on with other fences."""
        self._fences = fences
        self._on = self._rules.for_fences(fences.fences, {}).joint
        self._capacity = CapacityWatch.restore(self._capacity.snapshot(), fences, self._rules)
        self._separation = SeparationWatch.restore(
            self._separation.snapshot(),
            fences,
            self._rules,
            self._reference,
            max_gap_s=self._settings.max_gap_s,
        )
