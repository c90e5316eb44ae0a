"""Borders are crossed for certain or not yet: hysteresis in metres and seconds.

You are in the core, between ``judge.py`` and ``presence.py``. A position is wrong by some metres, so a
truck that stands beside a border, or drives along it, is now on this side of it and now on the other.
A crossing counts once a fix lies farther from the border than it may be wrong, or once the
vehicle has been on the other side for longer than ``EngineSettings.settle_s``; until then it *wavers*, and
counts as where it was. A fix may be wrong by ``EngineSettings.settle_m``, or by what its receiver says of it
(``Fix.error_m``) where that is more: a fix that may as well lie on the other side must not decide on which
side it lies. One that is better than ``settle_m`` decides no sooner, as of a hundred positions some are
worse than their receivers say. When it counts, its time and place are those of the true crossing, the last
one before, however long it wavered. A crossing that is taken back never was. Thin fences (a passage is a
passage) and fences with hours are left as they are.

Where it matters which way a border was crossed, at a district's, a fix near it makes the vehicle *lean* even
when nothing wavers: the true crossing may lie before it. From the last fix surely on its side on it is
remembered how certain it is that no checkpoint was passed, and that goes into the crossing that counts.
``wavers.py`` and ``leans.py`` say the same of many vehicles at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from hazfence.presence import Edge, Fix, pieces
from hazfence.rules.prism import Certainty
from hazfence.rules.step import Step
from hazfence.states import Leaning, Waver, Wavering
from hazfence_fences import Fence, FenceKind, FenceSet

__all__ = ["Settled", "Settler"]


#: So many answers about places near borders are kept.
_ASKED = 256


class Settled(NamedTuple):
    """What a step is once it is settled.

    Attributes:
        late: the crossings before this step that count from now on, by fence id.
        wavering: those that do not count yet, by fence id.
    """

    late: dict[str, Waver]
    wavering: dict[str, Waver]


class Settler:
    """Settles steps under one set of fences.

    Args:
        fences: the fences in force.
        settle_m, settle_s: see ``EngineSettings``.
        guarded: the districts of which it matters where their border is crossed (``rules.gates``).
        missed: how certain it is that a step passed no checkpoint of a district, for a crossing of a moment.
    """

    def __init__(
        self,
        fences: FenceSet,
        settle_m: float,
        settle_s: float,
        guarded: Iterable[Fence],
        missed: Callable[[Step, Fence, int], Certainty],
    ) -> None:
        self._set = fences
        self._guarded = {fence.id: fence for fence in guarded}
        self._missed = missed
        self._order = {fence.id: i for i, fence in enumerate(fences.fences)}
        self._settle_m = settle_m
        self._settle_us = round(settle_s * 1e6)
        # A story told twice asks everything twice.
        self._near = lru_cache(maxsize=_ASKED)(self._look)

    def settle(self, step: Step, hits: Iterable[Fence]) -> Settled:
        """Put the settled fences into ``step.prev`` and ``step.fix``, and remember what wavers and leans."""
        if not self._settle_m:
            return Settled({}, {})
        wavering, leaning = step.states.pop(Wavering.name, None), step.states.pop(Leaning.name, None)
        before = wavering.borders if isinstance(wavering, Wavering) else ()
        known = {w.fence_id: w for w in before if w.fence_id in self._order}
        sure = dict(leaning.borders if isinstance(leaning, Leaning) else ())
        sure |= {fence_id: waver.sure for fence_id, waver in known.items()}
        found: dict[str, Certainty] = {}
        settled = self._settle(step, hits, known, sure, found)
        leans = []
        for fence in self._guarded.values():
            if fence.id in settled.wavering or not self.near(fence, step.fix):
                continue
            if fence.id not in found:
                found[fence.id] = self._before(step, fence, sure).and_(self._missed(step, fence, step.t1))
            leans.append((fence.id, str(found[fence.id])))
        if leans:
            step.states[Leaning.name] = Leaning(tuple(sorted(leans)))
        step.sure = found
        return settled

    def _settle(
        self,
        step: Step,
        hits: Iterable[Fence],
        known: Mapping[str, Waver],
        sure: Mapping[str, str],
        found: dict[str, Certainty],
    ) -> Settled:
        """The same for what wavers.

        Args:
            known: what did before, by fence id.
            sure: how certain it was before, near which borders, that no checkpoint was passed;
            found: how certain it is now, where one is crossed: written down here.
        """
        prev, fix = step.prev, step.fix
        if prev is None:
            return Settled({}, {})
        # By id: to hash a fence is to hash its geometry.
        raw, settled = {f.id: f for f in fix.fences}, {f.id: f for f in prev.fences}
        _put_right(settled, known, self._set)
        late: dict[str, Waver] = {}
        wavering: dict[str, Waver] = {}
        differing = [f for i, f in settled.items() if i not in raw]
        differing += [f for i, f in raw.items() if i not in settled]
        if not known and not differing:
            return Settled({}, {})
        touched = _touched((*prev.fences, *fix.fences, *hits))
        for fence in self._sorted(differing):
            if fence.thin or fence.timed or fence.id not in self._order:
                continue
            waver = known.get(fence.id)
            if waver is not None:
                waver = waver._replace(touched=tuple(sorted({*waver.touched, *touched})))
            else:
                waver = self._crossing(step, fence, fence.id in raw, touched)
            if fence.id in self._guarded:
                so_far = Certainty(waver.sure) if fence.id in known else self._before(step, fence, sure)
                waver = self._weakened(step, fence, waver, so_far)
                found[fence.id] = Certainty(waver.sure)
            if self._counts(waver, fence, fix):
                if fence.id in known:
                    late[fence.id] = waver
            else:
                wavering[fence.id] = waver
        if not known and not wavering:
            return Settled({}, {})
        _put_right(raw, wavering, self._set)
        step.prev = prev._replace(fences=self._sorted(settled.values()))
        step.fix = fix._replace(fences=self._sorted(raw.values()))
        if wavering:
            step.states[Wavering.name] = Wavering(tuple(wavering[i] for i in sorted(wavering)))
        return Settled(late, wavering)

    def deadline_us(self, states: Collection[Waver], judged_us: int) -> int | None:
        """The last moment up to which no crossing counts by its seconds alone; None when none will."""
        moments = [w.at_us + self._settle_us - 1 for w in states if w.fence_id in self._order]
        return min((moment for moment in moments if moment >= judged_us), default=None)

    def _counts(self, waver: Waver, fence: Fence, fix: Fix) -> bool:
        if fix.time_us - waver.at_us >= self._settle_us:
            return True
        return not fix.silent and not self.near(fence, fix)

    def near(self, fence: Fence, fix: Fix) -> bool:
        """Whether a fix lies nearer to a border than it may be wrong."""
        return self._near(self._order[fence.id], fix.lon, fix.lat, max(self._settle_m, fix.error_m))

    def _look(self, index: int, lon: float, lat: float, error_m: float) -> bool:
        return self._set.near_border_one(index, lon, lat, error_m)

    def _weakened(self, step: Step, fence: Fence, waver: Waver, before: Certainty) -> Waver:
        """How certain the crossing is, the step included: one that counts by its seconds is but probable."""
        sure = before.and_(self._missed(step, fence, waver.at_us))
        if step.fix.time_us - waver.at_us >= self._settle_us and (step.silent or self.near(fence, step.fix)):
            sure = sure.and_(Certainty.PROBABLE)
        return waver._replace(sure=str(sure))

    def _before(self, step: Step, fence: Fence, sure: Mapping[str, str]) -> Certainty:
        """How certain it is that no checkpoint was passed from the last fix surely on its side to ``prev``.

        Of a first fix that lies near a border nobody knows how it came there.
        """
        known = sure.get(fence.id)
        if known is not None:
            return Certainty(known)
        near = step.prev is None or self.near(fence, step.prev)
        return Certainty.PROBABLE if near else Certainty.CERTAIN

    def _crossing(self, step: Step, fence: Fence, enters: bool, touched: Collection[str]) -> Waver:
        """The crossing on this step's way."""
        prev, fix = step.prev, step.fix
        assert prev is not None
        found = pieces(fence, prev, fix, witnessed=step.witnessed)
        if enters:
            at_us, edge = (
                (found[-1].start_us, found[-1].begins) if found else (fix.time_us, Edge.FENCE_CHANGED)
            )
        else:
            at_us, edge = (found[0].end_us, found[0].ends) if found else (prev.time_us, Edge.FENCE_CHANGED)
        lon, lat = step.place(at_us)
        moments = at_us, prev.time_us, fix.time_us
        return Waver(fence.id, not enters, *moments, lon, lat, str(edge), tuple(sorted(touched)))

    def _sorted(self, fences: Iterable[Fence]) -> tuple[Fence, ...]:
        return tuple(sorted(fences, key=lambda f: self._order.get(f.id, -1)))


def _put_right(fences: dict[str, Fence], wavering: Mapping[str, Waver], every: FenceSet) -> None:
    """Where a vehicle wavers it counts as where it was."""
    for fence_id, waver in wavering.items():
        if waver.inside:
            fences[fence_id] = every[fence_id]
        else:
            fences.pop(fence_id, None)


def _touched(fences: Iterable[Fence]) -> set[str]:
    """The checkpoints among the fences."""
    return {fence.id for fence in fences if fence.kind is FenceKind.CHECKPOINT}
