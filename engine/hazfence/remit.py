"""What the judge has to look at, worked out once from fences, settings and reference data.

You are in the core, beside ``judge.py`` and ``deadlines.py``, which both ask here: which rules are on
anywhere, which fences have hours, in which a stay alone has to be watched, where papers are looked at.
All of it is fixed for as long as the fences and settings are, so no step works it out again. The
parameters of a rule at a place and time are the book's to say, see ``rules/book.py``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from hazfence.events import Kind
from hazfence.reference import ReferenceData
from hazfence.rules.book import Params
from hazfence.rules.catalogue import RULES
from hazfence.rules.routes import on_route
from hazfence.rules.speed import lowest_limit
from hazfence.rules.step import Ask
from hazfence.rules.terminal import BITS
from hazfence.settings import EngineSettings
from hazfence_fences import Fence, FenceKind, FenceSet

__all__ = ["Remit"]


class Remit:
    """What there is to judge under one set of fences and settings; nothing in it ever changes.

    Attributes:
        fences: the fences by id; ``order`` the place of each in the set.
        checkpoints: the checkpoints among them; ``gates`` the same by id.
        districts: the districts, by id.
        timed: ids of the fences that are not always in force.
        filed: ids of the fences in which papers are looked at.
        timed_visits: ids of the fences a stay in which has to be looked at even when no border is met.
        routes: the fences that count as dedicated routes, by id; ``leaves_routes`` whether leaving them
            is judged.
        parks, drives, segments, silences, gaps, cries, curfews, doubts: whether the rules about standing,
            driving time, segments, silence, coverage, alarms, closed hours and false positions are on.
        remembers: whether a rule is on that takes notice of every fix judged.
        slow_kmh: no speed limit is as low as this or lower than it.
        max_gap_us: between two fixes farther apart nothing is known.
        book: the rules, with what the fences say.
        reference: the registered vehicles and waybills, if there are any.
    """

    def __init__(self, fences: FenceSet, settings: EngineSettings, reference: ReferenceData | None) -> None:
        self.reference = reference
        self.max_gap_us = round(settings.max_gap_s * 1e6)
        self.order = {fence.id: i for i, fence in enumerate(fences.fences)}
        self.fences = {fence.id: fence for fence in fences.fences}
        self.checkpoints = tuple(f for f in fences.fences if f.kind is FenceKind.CHECKPOINT)
        self.gates = {f.id: f for f in self.checkpoints}
        self.districts = {f.id: f for f in fences.fences if f.kind is FenceKind.DISTRICT}
        self.timed = frozenset(fences[i].id for i in fences.timed)

        self.book = settings.rules.for_fences(fences.fences, settings.rule_defaults())
        on = {str(rule.kind): self.book.ever(rule.kind) for rule in RULES}
        self.doubts = on[Kind.GNSS_SUSPECT]
        self.routes = {f.id: f for f in fences.fences if on_route(f, self.ask, 0)}
        corridors = any(f.kind is FenceKind.CORRIDOR for f in fences.fences)
        self.leaves_routes = corridors and on[Kind.CORRIDOR_DEPARTURE]
        self.parks, self.drives = on[Kind.OVERPARK], on[Kind.OVERDRIVE]
        self.segments = on[Kind.SEGMENT_OVERTIME]
        self.silences, self.gaps = on[Kind.SILENT], on[Kind.COVERAGE_GAP]
        self.cries = any(on[kind] for kind in BITS)
        self.curfews = on[Kind.CURFEW]
        self.remembers = self.leaves_routes or self.parks or self.drives or self.segments
        self.slow_kmh = min((lowest_limit(f, self.book) for f in fences.fences), default=np.inf)

        papers = on[Kind.UNREGISTERED] or on[Kind.NO_WAYBILL]
        self.filed = frozenset(
            f.id
            for f in (fences.fences if reference is not None else ())
            if (papers and f.kind is FenceKind.DISTRICT) or self._may(Kind.CARGO_FORBIDDEN, f, "un_classes")
        )
        self.timed_visits = self.filed | {
            f.id
            for f in fences.fences
            if self._may(Kind.OVERSTAY, f, "max_min") or self._may(Kind.CURFEW, f, "hours")
        }

    def _may(self, kind: Kind, fence: Fence, name: str) -> bool:
        """Whether a parameter of a rule is ever given in a fence."""
        return bool(self.book.possible(kind, fence, name) - {None})

    def ask(self, rule: str, fence: Fence | None, at_us: int) -> Params | None:
        """The parameters of a rule for a vehicle of no class; None where it does not hold."""
        return self.book.lookup(rule, fence, frozenset, at_us)

    def ask_of(self, vehicle: str) -> Ask:
        """The parameters of rules for one vehicle, which may differ by its class on file."""
        reference = self.reference
        if reference is None:
            return self.ask

        def ask(rule: str, fence: Fence | None, at_us: int) -> Params | None:
            return self.book.lookup(rule, fence, partial(reference.classes, vehicle, at_us), at_us)

        return ask
