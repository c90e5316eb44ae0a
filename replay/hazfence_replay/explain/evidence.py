"""What a verdict rests on: fixes, fences as they were, settings, the file, and what else was said about then.

You are in the explain room, at its beginning. :func:`gather` reads it all from the database;
:class:`Evidence` also goes to JSON and back without losing a bit, so that a file of evidence can be judged
again years later, on a machine without the database. Next room: ``derive.py``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hazfence.events import Event, Kind, from_iso, iso
from hazfence.fixes import COLUMNS, OPTIONAL, FixBatch
from hazfence.reference import Filed, ReferenceData, Waybill, normal_plate
from hazfence.settings import EngineSettings
from hazfence_fences import Fence, FenceSet, parse_fences, to_feature
from hazfence_replay.explain.reads import READ_KINDS

if TYPE_CHECKING:
    from hazfence.postgis.fence_history import FenceHistory
    from hazfence.postgis.history import History, Stored

__all__ = ["BEFORE_S", "Evidence", "Revision", "gather"]

#: Fixes are read from this long before anything that belongs to the fact; of a driver's day, longer.
BEFORE_S = 3600
_BEFORE_BY_KIND_S = {Kind.OVERDRIVE: 26 * 3600}
#: And until this long after it: a rest is known to be one when it has lasted long enough.
_AFTER_S = 3600
#: The longest stretch that is looked into, so that a visit that never ended does not read a year.
_LONGEST_S = 14 * 86_400
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision, and when it became known (microseconds UTC)."""

    event: Event
    known_us: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything needed to judge one fact again.

    Attributes:
        event: the fact, latest revision as stored.
        topic, partition: where its fixes came from.
        revisions: all that was said of it, in order.
        fences: as they were when it was first said, with the very version that it names.
        fences_now: those in force now.
        fixes: of the vehicle (of a crowd: of all its vehicles), by time.
        settings: of the engine.
        reference: what is on file of the vehicle; None when no rule asks it.
        around: what else was said of the vehicle about then, latest revision each.
        since_us, until_us: the stretch of time that the fixes are from.
        oldest_us: the vehicle's oldest stored fix; None when there is none.
        doubts: what could not be found, in words.
    """

    event: Event
    topic: str
    partition: int
    revisions: tuple[Revision, ...]
    fences: FenceSet
    fences_now: FenceSet
    fixes: FixBatch
    settings: EngineSettings
    reference: ReferenceData | None
    around: tuple[Event, ...]
    since_us: int
    until_us: int
    oldest_us: int | None
    doubts: tuple[str, ...] = ()

    @property
    def fence(self) -> Fence | None:
        """The fence that the fact is about, as it was."""
        fence_id = self.event.fence_id
        return self.fences[fence_id] if fence_id is not None and fence_id in self.fences else None

    def parts(self) -> dict[str, bytes]:
        """The evidence as files of JSON; :meth:`of_parts` is the way back."""
        values: dict[str, Any] = {
            "event.json": {
                "event": self.event.to_json(),
                "topic": self.topic,
                "partition": self.partition,
                "since": iso(self.since_us),
                "until": iso(self.until_us),
                "oldest_fix": None if self.oldest_us is None else iso(self.oldest_us),
                "doubts": list(self.doubts),
            },
            "revisions.json": [{"known_at": iso(r.known_us), **r.event.to_json()} for r in self.revisions],
            "fixes.json": _fixes_to_json(self.fixes),
            "fences.geojson": _fences_to_json(self.fences),
            "fences_now.geojson": _fences_to_json(self.fences_now),
            "settings.json": self.settings.to_json(),
            "reference.json": None if self.reference is None else _reference_to_json(self.reference),
            "around.json": [event.to_json() for event in self.around],
        }
        return {
            name: (json.dumps(v, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode("utf-8")
            for name, v in values.items()
        }

    @classmethod
    def of_parts(cls, parts: Mapping[str, bytes]) -> Evidence:
        """The evidence that :meth:`parts` wrote.

        Raises:
            KeyError, ValueError: a part is missing or is not what it should be.
        """
        v = {name: json.loads(parts[name]) for name in _PARTS}
        head = v["event.json"]
        reference = v["reference.json"]
        return cls(
            event=Event.from_json(head["event"]),
            topic=head["topic"],
            partition=head["partition"],
            revisions=tuple(
                Revision(Event.from_json(r), from_iso(r["known_at"])) for r in v["revisions.json"]
            ),
            fences=FenceSet(parse_fences(v["fences.geojson"], source="fences.geojson")),
            fences_now=FenceSet(parse_fences(v["fences_now.geojson"], source="fences_now.geojson")),
            fixes=_fixes_of_json(v["fixes.json"]),
            settings=EngineSettings.from_json(v["settings.json"]),
            reference=None if reference is None else _reference_of_json(reference),
            around=tuple(Event.from_json(e) for e in v["around.json"]),
            since_us=from_iso(head["since"]),
            until_us=from_iso(head["until"]),
            oldest_us=None if head["oldest_fix"] is None else from_iso(head["oldest_fix"]),
            doubts=tuple(head["doubts"]),
        )


_PARTS = (
    "event.json",
    "revisions.json",
    "fixes.json",
    "fences.geojson",
    "fences_now.geojson",
    "settings.json",
    "reference.json",
    "around.json",
)


def gather(
    history: History,
    event_id: str,
    *,
    settings: EngineSettings | None = None,
    fences: FenceSet | None = None,
) -> Evidence:
    """Collect the evidence of one fact.

    Args:
        settings: the thresholds that the workers run with.
        fences: those that the workers run with, where they are not the ones saved in the database.

    Raises:
        NotInHistory: there is no such event.
    """
    stored = history.stored(event_id)
    event = stored.event
    versions = history.fences()
    used, doubts = _as_judged(stored, versions, fences)
    since_us, until_us = _stretch(history, event)
    vehicles = [event.vehicle]
    if event.kind is Kind.ZONE_CAPACITY and event.fence_id is not None:
        visits = history.overlapping(since_us, until_us, fences=[event.fence_id])
        vehicles = sorted({e.vehicle for e in visits if e.is_visit})
    if event.kind is Kind.SEPARATION and isinstance(event.detail.get("other"), str):
        vehicles.append(event.detail["other"])
    if event.kind in READ_KINDS:
        # A terminal may write the plate in another way than the camera.
        plate = normal_plate(event.vehicle)
        known = (name for _, name in history.ask("vehicle_names", {"vehicles": None}))
        vehicles += sorted(name for name in known if name != event.vehicle and normal_plate(name) == plate)
    around = history.overlapping(since_us, until_us, vehicles=vehicles)
    return Evidence(
        event=event,
        topic=stored.topic,
        partition=stored.partition,
        revisions=tuple(Revision(said, _us(known)) for said, known in stored.revisions),
        fences=used,
        fences_now=versions.now() if fences is None else fences,
        fixes=_read_fixes(history.url, vehicles, since_us, until_us),
        settings=settings or EngineSettings(),
        reference=_on_file(history, settings or EngineSettings(), used, vehicles, event),
        around=tuple(e for e in around if e.id != event.id),
        since_us=since_us,
        until_us=until_us,
        oldest_us=_oldest_us(history, event, vehicles),
        doubts=tuple(doubts),
    )


def _oldest_us(history: History, event: Event, vehicles: list[str]) -> int | None:
    """The oldest stored fix of the vehicle; where its absence is what was said, of any."""
    if event.kind is Kind.PLATE_WITHOUT_GPS:
        days = history.fix_days()
        return from_iso(f"{days[0].isoformat()}T00:00:00Z") if days else None
    oldest = history.fix_span(vehicles[0]) if vehicles and vehicles[0] else None
    return None if oldest is None else _us(oldest[0])


def _as_judged(stored: Stored, versions: FenceHistory, given: FenceSet | None) -> tuple[FenceSet, list[str]]:
    """The fences when the fact was first said, with the version it names; and what is missing of them."""
    event = stored.event
    if given is not None:
        fence = given[event.fence_id] if event.fence_id is not None and event.fence_id in given else None
        if event.fence_id is not None and (fence is None or fence.version != event.fence_version):
            has = "no such fence" if fence is None else f"version {fence.version}"
            return given, [
                f"the event names fence {event.fence_id} version {event.fence_version}; "
                f"the fences given have {has}"
            ]
        return given, []
    if event.fence_id is None or event.fence_version is None:
        return versions.at(_us(stored.known_at)), []
    if versions.version(event.fence_id, event.fence_version) is None:
        return versions.at(_us(stored.known_at)), [
            f"fence {event.fence_id} version {event.fence_version} was never saved in the database: give the "
            "fences that the workers ran with (--fences)"
        ]
    return versions.at(_us(stored.known_at), {event.fence_id: event.fence_version}), []


def _stretch(history: History, event: Event) -> tuple[int, int]:
    """From when to when fixes matter: all moments that the fact speaks of, and stays that were going on."""
    moments = [event.started_us, *_moments_in(event.detail)]
    end_us = event.ended_us if event.ended_us is not None else max(moments) + 86_400_000_000
    if event.vehicle:
        stays = history.overlapping(event.started_us, event.started_us + 1, vehicles=[event.vehicle])
        moments += [e.started_us for e in stays]
    before_s = _BEFORE_BY_KIND_S.get(event.kind, BEFORE_S)
    since_us = max(min(moments) - before_s * 1_000_000, event.started_us - _LONGEST_S * 1_000_000)
    return since_us, min(end_us + _AFTER_S * 1_000_000, event.started_us + _LONGEST_S * 1_000_000)


def _moments_in(value: Any) -> list[int]:
    """Every moment written anywhere in a detail, but for expiries and windows that lie far off."""
    if isinstance(value, str):
        return [from_iso(value)] if _MOMENT.fullmatch(value) else []
    if isinstance(value, Mapping):
        return [m for k, v in value.items() if k != "expires" for m in _moments_in(v)]
    if isinstance(value, list | tuple):
        return [m for v in value for m in _moments_in(v)]
    return []


def _read_fixes(url: str, vehicles: list[str], since_us: int, until_us: int) -> FixBatch:
    from hazfence_replay.readers import Wanted
    from hazfence_replay.readers.fix_table import FixTableReader

    if not any(vehicles):
        return FixBatch.empty()
    wanted = Wanted(since_us, until_us, frozenset(vehicles))
    return FixBatch.concat(FixTableReader(url, wanted=wanted))


def _on_file(
    history: History, settings: EngineSettings, fences: FenceSet, vehicles: list[str], event: Event
) -> ReferenceData | None:
    """What is on file of the vehicles (of a paper: of whom it belongs to); None when no rule asks it."""
    if not settings.rules.for_fences(fences.fences, {}).asks_file and event.kind is not Kind.PAPER_EXPIRING:
        return None
    data = history.reference()
    plates = {normal_plate(v) for v in vehicles}
    subject = (event.detail.get("subject"), event.detail.get("id"))
    return ReferenceData(
        [
            row
            for row in data.filed
            if (row.kind == "vehicle" and normal_plate(row.id) in plates) or (row.kind, row.id) == subject
        ],
        [bill for bill in data.waybills if normal_plate(bill.plate) in plates],
    )


def _fixes_to_json(fixes: FixBatch) -> dict[str, Any]:
    columns = {name: getattr(fixes, name).tolist() for name in COLUMNS}
    if fixes.accuracy_m is not None:
        # None for what nobody said, as there; JSON has no infinity.
        columns["accuracy_m"] = np.minimum(fixes.accuracy_m, np.finfo(np.float32).max).tolist()
    for name in ("speed_kmh", "heading_deg", "accuracy_m"):
        if name in columns:
            columns[name] = [None if math.isnan(x) else x for x in columns[name]]
    return {"vehicles": list(fixes.vehicles), **columns}


def _fixes_of_json(data: dict[str, Any]) -> FixBatch:
    columns = {name: data[name] for name in (*COLUMNS, *OPTIONAL) if name != "vehicle" and name in data}
    for name in ("speed_kmh", "heading_deg", "accuracy_m"):
        if name in columns:
            columns[name] = [math.nan if x is None else x for x in columns[name]]
    return FixBatch.of(np.array(data["vehicle"], np.int32), vehicles=tuple(data["vehicles"]), **columns)


def _fences_to_json(fences: FenceSet) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": [to_feature(fence) for fence in fences]}


def _reference_to_json(data: ReferenceData) -> dict[str, Any]:
    return {
        "filed": [dataclasses.asdict(row) for row in data.filed],
        "waybills": [dataclasses.asdict(bill) for bill in data.waybills],
    }


def _reference_of_json(data: dict[str, Any]) -> ReferenceData:
    return ReferenceData(
        (Filed(**row) for row in data["filed"]), (Waybill(**bill) for bill in data["waybills"])
    )


def _us(moment: Any) -> int:
    from hazfence.postgis.moments import us_of

    return us_of(moment)
