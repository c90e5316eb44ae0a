"""Judge the evidence again through the same engine, and compare with what was said.

You are in the explain room. :func:`derive` lets an :class:`~hazfence.engine.Engine` go through the stored
fixes, and looks for the one that tipped the scales and the state before it. :func:`examine` compares the
outcome with the stored fact; where they are not the same, it looks for the reason by trying: without the
fixes that came late, with the fences of today. Next room: ``words.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from hazfence.engine import Engine
from hazfence.events import Event, Kind, Phase
from hazfence.fixes import FixBatch
from hazfence.reference import ReferenceData
from hazfence.rules.papers import paper_warnings
from hazfence.states import State
from hazfence.vehicles import SpeedRun
from hazfence_fences import FenceSet
from hazfence_replay.explain.evidence import Evidence
from hazfence_replay.explain.reads import READ_KINDS, joined, reads_of
from hazfence_replay.facts import TOLD_AS, counterpart, differences
from hazfence_replay.joint import Joint

__all__ = ["Before", "Derived", "Finding", "Verdict", "derive", "examine", "parameters"]


class Verdict(StrEnum):
    """Whether a fact stands, by the evidence stored now."""

    STANDS = "stands"  #: judged again, it comes out the same
    CHANGED = "changed"  #: it stands, but some of it comes out otherwise
    FALLS = "falls"  #: judged again, it does not come out
    RETRACTED = "retracted"  #: it was taken back, and judged again it does not come out either
    REVIVED = "revived"  #: it was taken back, but judged again it comes out
    UNKNOWN = "unknown"  #: the evidence is gone, or was never stored


@dataclass(frozen=True, slots=True)
class Before:
    """What the engine knew of the vehicle just before the fix that tipped the scales.

    Attributes:
        last: its fix before; a batch of one, or of none.
        inside: ids of the fences that it was visiting.
        going_on: its visits and breaches that went on.
        memory: what rules with a memory kept of it; see ``memory.py``.
    """

    last: FixBatch
    inside: tuple[str, ...]
    going_on: tuple[Event, ...]
    memory: tuple[SpeedRun | State, ...]


@dataclass(frozen=True, slots=True)
class Derived:
    """What came of judging the evidence again.

    Attributes:
        said: the last revision of every event, by id.
        found: the fact itself, or what takes its place; None when neither came out.
        decisive: which fix (of the evidence) first made it said; None: silence did, or it did not come out.
        before: the state before that fix.
        late: bool, a fix: it came after one that is later in time.
    """

    said: Mapping[str, Event]
    found: Event | None
    decisive: int | None
    before: Before | None
    late: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a fact when it was judged again.

    Attributes:
        verdict: in a word.
        derived: what came out.
        differences: (field, as stored, as it comes out now).
        reasons: (why, details), each ``why`` a key of ``words.REASONS``.
        now: the same question under the fences in force now; None when they are the same.
        now_reasons: why it would not be said now.
    """

    verdict: Verdict
    derived: Derived
    differences: tuple[tuple[str, Any, Any], ...]
    reasons: tuple[tuple[str, Mapping[str, Any]], ...]
    now: Verdict | None
    now_reasons: tuple[tuple[str, Mapping[str, Any]], ...]


def derive(evidence: Evidence, fences: FenceSet, *, which: npt.NDArray[np.bool_] | None = None) -> Derived:
    """Judge the evidence again.

    Args:
        fences: to judge by.
        which: bool, a fix: those to judge by; None for all.
    """
    event, fixes = evidence.event, evidence.fixes
    late = _late(fixes)
    if event.kind is Kind.PAPER_EXPIRING:
        said = paper_warnings(evidence.reference or ReferenceData(), event.started_us, event.started_us + 1)
        return _derived(event, said, None, None, late)
    at = np.arange(len(fixes)) if which is None else np.flatnonzero(which)
    engine = Engine(fences, evidence.settings, evidence.reference)
    if event.kind in READ_KINDS:
        passages = [*engine.process(fixes.take(at)), *engine.advance(evidence.until_us)]
        told = joined(event, passages, fences, evidence.settings, evidence.until_us)
        return _derived(event, [*passages, *told], None, None, late)
    if not len(at):
        return Derived({}, None, None, None, late)
    # What is over may have ended in silence that lasted; of what goes on nobody knows how long it will.
    until_us = max(int(fixes.time_us[at].max()), event.started_us + 1_000_000)
    if event.ended_us is not None:
        until_us = max(until_us, evidence.until_us)
    if event.kind in (Kind.ZONE_CAPACITY, Kind.SEPARATION):
        found = [*engine.process(fixes.take(at)), *engine.advance(until_us)]
        joint = Joint(fences, evidence.settings, evidence.reference)
        among = [*joint.take(fixes.take(at), found), *joint.advance(until_us)]
        return _derived(event, [*found, *among], None, None, late)
    heard = engine.process(fixes.take(at))
    in_fixes = {one.id for one in heard}
    derived = _derived(event, [*heard, *engine.advance(until_us)], None, None, late)
    if derived.found is None or derived.found.id not in in_fixes:
        return derived
    tipped, before = _decisive(evidence, fences, at, derived.found.id)
    return Derived(derived.said, derived.found, tipped, before, late)


def _decisive(
    evidence: Evidence, fences: FenceSet, at: npt.NDArray[np.intp], event_id: str
) -> tuple[int, Before]:
    """The fix that first made it said, and the state before; by halving, for what was said was said."""

    def engine_after(count: int) -> tuple[Engine, bool]:
        engine = Engine(fences, evidence.settings, evidence.reference)
        said = engine.process(evidence.fixes.take(at[:count]))
        return engine, any(one.id == event_id for one in said)

    low, high = 0, len(at)  # not yet said after low fixes, said after high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if engine_after(middle)[1] else (middle, high)
    engine, vehicle = engine_after(low)[0], evidence.event.vehicle
    before = Before(
        engine.last_fix(vehicle), engine.inside(vehicle), engine.open_events(vehicle), engine.memory(vehicle)
    )
    return int(at[low]), before


def examine(evidence: Evidence) -> Finding:
    """Judge the evidence again, compare, and look for the reason where it comes out otherwise."""
    event = evidence.event
    if event.kind in READ_KINDS and reads_of(event) is None:
        return _unknown(evidence, "needs_reads", {})
    if not len(evidence.fixes) and not _rests_on_none(evidence):
        return _unknown(evidence, "no_fixes", {"oldest": evidence.oldest_us})
    derived = derive(evidence, evidence.fences)
    found = derived.found
    retracted = event.phase is Phase.RETRACTED
    if retracted:
        verdict = Verdict.RETRACTED if found is None or found.id != event.id else Verdict.REVIVED
        reasons = [] if verdict is Verdict.REVIVED else _reasons(evidence, derived)
        return Finding(verdict, derived, (), tuple(reasons), *_now(evidence, found))
    if found is None:
        gone = _first_needed(evidence) if event.kind is not Kind.PAPER_EXPIRING else None
        if gone is not None:
            return _unknown(evidence, "no_fixes", {"oldest": gone})
        return Finding(Verdict.FALLS, derived, (), tuple(_reasons(evidence, derived)), *_now(evidence, found))
    different = tuple(differences(event, found))
    verdict = Verdict.CHANGED if different else Verdict.STANDS
    reasons = _reasons(evidence, derived) if different else []
    return Finding(verdict, derived, different, tuple(reasons), *_now(evidence, found))


def parameters(evidence: Evidence) -> dict[str, Any]:
    """The parameters of the fact's rule in its fence, for its vehicle, when it began; empty: off."""
    event = evidence.event
    settings, reference = evidence.settings, evidence.reference
    book = settings.rules.for_fences(evidence.fences.fences, settings.rule_defaults())

    def classes() -> frozenset[str]:
        return frozenset() if reference is None else reference.classes(event.vehicle, event.started_us)

    if event.kind is Kind.VISIT:
        return {}
    return dict(book.lookup(event.kind, evidence.fence, classes, event.started_us) or {})


def _derived(
    event: Event,
    told: Iterable[Event],
    decisive: int | None,
    before: Before | None,
    late: npt.NDArray[np.bool_],
) -> Derived:
    said: dict[str, Event] = {}
    for one in told:
        said[one.id] = one
    return Derived(said, counterpart(event, said.values()), decisive, before, late)


def _late(fixes: FixBatch) -> npt.NDArray[np.bool_]:
    """Which fixes came, by their place in the log, after one of their vehicle that is later in time."""
    late = np.zeros(len(fixes), np.bool_)
    for code in range(len(fixes.vehicles)):
        mine = np.flatnonzero(fixes.vehicle == code)
        came = mine[np.lexsort((fixes.item[mine], fixes.offset[mine]))]
        newest = np.maximum.accumulate(fixes.time_us[came]) if len(came) else came
        late[came] = fixes.time_us[came] < newest
    return late


def _reasons(evidence: Evidence, derived: Derived) -> list[tuple[str, Mapping[str, Any]]]:
    """Why the fact does not come out, or comes out otherwise, by trying."""
    event, fixes = evidence.event, evidence.fixes
    found: list[tuple[str, Mapping[str, Any]]] = [("doubt", {"text": text}) for text in evidence.doubts]
    if event.kind is Kind.PAPER_EXPIRING:
        return [("file_changed", {})]
    if derived.late.any() and event.kind not in (Kind.ZONE_CAPACITY, Kind.SEPARATION):
        without = derive(evidence, evidence.fences, which=~derived.late).found
        as_said = next((r.event for r in evidence.revisions if r.event.phase is not Phase.RETRACTED), event)
        if without is not None and without.id == as_said.id:
            near = fixes.time_us[derived.late]
            found.append(("late_fixes", {"count": int(derived.late.sum()), "times": near.tolist()[:5]}))
    now = parameters(evidence)
    if not now and event.kind is not Kind.VISIT:
        found.append(("rule_off", {}))
    for name, used in event.detail.items():
        parameter = TOLD_AS.get(name, name)
        if parameter in now and isinstance(used, int | float) and now[parameter] != used:
            found.append(("parameter", {"name": parameter, "was": used, "now": now[parameter]}))
    if event.ended_us is not None and len(fixes) and event.ended_us > int(fixes.time_us.max()):
        found.append(("not_yet_stored", {"last": int(fixes.time_us.max())}))
    if not found and evidence.oldest_us is not None and evidence.oldest_us > evidence.since_us:
        found.append(("short", {"oldest": evidence.oldest_us}))
    return found or [("unexplained", {})]


def _now(
    evidence: Evidence, as_judged: Event | None
) -> tuple[Verdict | None, tuple[tuple[str, Mapping[str, Any]], ...]]:
    """Whether the fact would be said under the fences in force now."""
    was = {f.id: f for f in evidence.fences}
    now = {f.id: f for f in evidence.fences_now}
    changed = [
        i for i in was.keys() | now.keys() if i not in was or i not in now or was[i].digest != now[i].digest
    ]
    if not changed or as_judged is None or evidence.event.kind is Kind.PAPER_EXPIRING:
        return None, ()
    found = derive(evidence, evidence.fences_now).found
    if found is not None and not list(differences(as_judged, found, but=("fence_version",))):
        return Verdict.STANDS, ()
    reasons: list[tuple[str, Mapping[str, Any]]] = []
    fence_id = evidence.event.fence_id
    for i in sorted(changed, key=lambda i: (i != fence_id, i)):
        if i not in now:
            reasons.append(("fence_gone", {"fence": i}))
        elif i not in was:
            reasons.append(("fence_new", {"fence": i, "now": now[i].version}))
        else:
            reasons.append(("fence_changed", {"fence": i, "was": was[i].version, "now": now[i].version}))
    return Verdict.FALLS if found is None else Verdict.CHANGED, tuple(reasons)


def _rests_on_none(evidence: Evidence) -> bool:
    """Whether it is no wonder that there are no fixes: it is about a paper, or about their absence."""
    kind, oldest = evidence.event.kind, evidence.oldest_us
    if kind is Kind.PLATE_WITHOUT_GPS:
        # Then fixes of that time must be stored, of others.
        return oldest is not None and oldest <= evidence.event.started_us
    return kind is Kind.PAPER_EXPIRING


def _first_needed(evidence: Evidence) -> int | None:
    """The oldest stored fix, when it lies after what the fact needs: then the evidence was cleaned away."""
    oldest = evidence.oldest_us
    return oldest if oldest is not None and oldest > evidence.event.started_us else None


def _unknown(evidence: Evidence, why: str, details: Mapping[str, Any]) -> Finding:
    nothing = Derived({}, None, None, None, np.zeros(len(evidence.fixes), np.bool_))
    return Finding(Verdict.UNKNOWN, nothing, (), ((why, details),), None, ())
