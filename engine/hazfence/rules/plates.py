"""Plate readers against GPS: ``plate_without_gps`` and ``gps_without_plate``.

You are in ``hazfence.rules``. Each checkpoint has a camera that reads plates (platform of Zhenhai
district). A read needs a passage of that checkpoint by GPS about then, and a passage needs a read; which
of the two is missing says who drives without a live terminal, or past a camera that saw nothing.
:class:`PlateWatch` joins both by event time: feed it the engine's events and the reads of the same
vehicles (a partition by plate is enough), and advance it like an engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hazfence.events import Event, Kind, Phase, event_id, iso
from hazfence.reference import normal_plate
from hazfence.rules.book import Params, Rulebook
from hazfence.rules.catalogue import rule_of
from hazfence.rules.joint import Ledger
from hazfence_fences import Fence, FenceKind, FenceSet

__all__ = ["PlateRead", "PlateWatch"]


class PlateRead(NamedTuple):
    """One plate, read by the camera of one checkpoint.

    Attributes:
        plate: as read.
        checkpoint: id of the checkpoint's fence.
        time_us: microseconds UTC.
    """

    plate: str
    checkpoint: str
    time_us: int


class _Passage(NamedTuple):
    """A visit to a checkpoint, as last said."""

    vehicle: str
    checkpoint: str
    start_us: int
    end_us: int | None
    lon: float
    lat: float


class PlateWatch:
    """Joins plate reads and passages, vehicle by vehicle.

    Args:
        fences: the checkpoints; reads of other places are refused.
        rules: for the two rules' parameters.
        keep_s: how long reads and passages are kept, so that late ones find each other.

    Attributes:
        too_late: how many reads and passages came later than that, and were passed over.

    Example:
        >>> watch = PlateWatch(fences, Rulebook.all_on())
        >>> events = watch.take(engine.process(batch), reads=[PlateRead("浙B12345", "cp-1", time_us)])
        >>> events += watch.advance(now_us)
    """

    def __init__(self, fences: FenceSet, rules: Rulebook, *, keep_s: float = 172_800.0) -> None:
        self._gates = {f.id: f for f in fences.fences if f.kind is FenceKind.CHECKPOINT}
        self._book = rules.for_fences(fences.fences, {})
        self._keep_us = round(keep_s * 1e6)
        self._reads: dict[str, set[PlateRead]] = {}
        self._passages: dict[str, dict[str, _Passage]] = {}
        self._ledger = Ledger()
        self._due_us: dict[str, int] = {}
        self._now_us = 0
        self.too_late = 0

    def take(self, events: Iterable[Event] = (), reads: Iterable[PlateRead] = ()) -> tuple[Event, ...]:
        """Take in events of the engine (others than visits to checkpoints are passed over) and reads.

        Returns:
            new revisions: what was said without what came now may have to be taken back.

        Raises:
            ValueError: a read names a checkpoint that there is not.
        """
        touched: dict[str, None] = {}
        old_us = self._now_us - self._keep_us
        news: list[Event] = []
        for event in events:
            if event.kind is Kind.VISIT and event.fence_id in self._gates:
                if event.ended_us is not None and event.ended_us < old_us:
                    self.too_late += 1
                    continue
                plate = normal_plate(event.vehicle)
                passages = self._passages.setdefault(plate, {})
                passages.pop(event.id, None)
                if event.phase is not Phase.RETRACTED:
                    span = (event.started_us, event.ended_us)
                    passages[event.id] = _Passage(event.vehicle, event.fence_id, *span, event.lon, event.lat)
                touched[plate] = None
        for read in reads:
            if read.checkpoint not in self._gates:
                known = ", ".join(sorted(self._gates)) or "none"
                raise ValueError(f"plate read at {read.checkpoint!r}: no such checkpoint; known are {known}")
            if read.time_us < old_us:
                self.too_late += 1
                continue
            plate = normal_plate(read.plate)
            self._reads.setdefault(plate, set()).add(read._replace(plate=plate))
            touched.pop(plate, None)
            # One by one: what is taken back names its read, the same however reads come in batches.
            news += self._settle(plate)
        return (*news, *(event for plate in touched for event in self._settle(plate)))

    def advance(self, now_us: int) -> tuple[Event, ...]:
        """Say what is still missing when its time is up, and forget what is too old to change."""
        self._now_us = max(self._now_us, now_us)
        due = sorted(plate for plate, due_us in self._due_us.items() if due_us < self._now_us)
        news = [event for plate in due for event in self._settle(plate)]
        self._forget()
        return tuple(news)

    def snapshot(self) -> bytes:
        """Everything it knows, as bytes that :meth:`restore` takes."""
        data = {
            "now_us": self._now_us,
            "reads": {plate: sorted(reads) for plate, reads in sorted(self._reads.items())},
            "passages": {p: dict(sorted(found.items())) for p, found in sorted(self._passages.items())},
            "said": self._ledger.to_json(),
        }
        return json.dumps(data, separators=(",", ":")).encode()

    @classmethod
    def restore(
        cls, data: bytes, fences: FenceSet, rules: Rulebook, *, keep_s: float = 172_800.0
    ) -> PlateWatch:
        """A watch that goes on where :meth:`snapshot` was taken."""
        watch, known = cls(fences, rules, keep_s=keep_s), json.loads(data)
        watch._now_us = known["now_us"]
        watch._reads = {plate: {PlateRead(*r) for r in reads} for plate, reads in known["reads"].items()}
        watch._passages = {
            plate: {i: _Passage(*p) for i, p in passages.items()}
            for plate, passages in known["passages"].items()
        }
        watch._ledger = Ledger.from_json(known["said"])
        watch._due_us = dict.fromkeys({*watch._reads, *watch._passages}, 0)
        return watch

    def _settle(self, plate: str) -> list[Event]:
        """Compare what is known of one plate with what was said of it."""
        reads = self._reads.get(plate, set())
        passages = self._passages.get(plate, {})
        wanted: dict[str, Event] = {}
        among: list[str] = []
        because: dict[str, dict[str, str]] = {}
        vehicle = next((p.vehicle for p in passages.values()), plate)
        due: list[int] = []
        for read in reads:
            gate = self._gates[read.checkpoint]
            params = self._book.lookup(Kind.PLATE_WITHOUT_GPS, gate, at_us=read.time_us)
            if params is not None and not self._settled(read.time_us, params):
                event = self._alone(read, vehicle, gate, params)
                among.append(event.id)
                seen = any(_near(p, read, params) for p in passages.values())
                until_us = read.time_us + round(params["wait_s"] * 1e6)
                if not seen and self._now_us > until_us:
                    wanted[event.id] = event
                elif not seen:
                    due.append(until_us)
        for passage in passages.values():
            gate = self._gates[passage.checkpoint]
            params = self._book.lookup(Kind.GPS_WITHOUT_PLATE, gate, at_us=passage.start_us)
            if passage.end_us is None or params is None:
                continue
            if not self._settled(passage.start_us, params):
                event = self._unread(passage, gate, params)
                among.append(event.id)
                read_us = min((r.time_us for r in reads if _near(passage, r, params)), default=None)
                was_read = read_us is not None
                if read_us is not None:
                    because[event.id] = {"read_at": iso(read_us)}
                until_us = passage.end_us + round(params["wait_s"] * 1e6)
                if not was_read and self._now_us > until_us:
                    wanted[event.id] = event
                elif not was_read:
                    due.append(until_us)
        self._due_us.pop(plate, None)
        if due:
            self._due_us[plate] = min(due)
        return self._ledger.settle(wanted, among, because)

    def _settled(self, time_us: int, params: Params) -> bool:
        """Whether it is so old that what belongs to it may be forgotten: then what was said stands."""
        slack_us: int = round(params["tolerance_s"] * 1e6)
        return time_us < self._now_us - self._keep_us + slack_us

    def _alone(self, read: PlateRead, vehicle: str, gate: Fence, params: Params) -> Event:
        lon, lat = gate.centre or gate.geometry.representative_point().coords[0]
        detail = {"read": read.plate, "tolerance_s": params["tolerance_s"], "wait_s": params["wait_s"]}
        return _said(Kind.PLATE_WITHOUT_GPS, vehicle, gate, (read.time_us, read.time_us), (lon, lat), detail)

    def _unread(self, passage: _Passage, gate: Fence, params: Params) -> Event:
        assert passage.end_us is not None
        slack_us = round(params["tolerance_s"] * 1e6)
        detail = {
            "tolerance_s": params["tolerance_s"],
            "wait_s": params["wait_s"],
            "passed_at": iso(passage.start_us),
            # Reads are not stored: that there was none in this stretch is said here.
            "unread": [iso(passage.start_us - slack_us), iso(passage.end_us + slack_us)],
        }
        span, place = (passage.start_us, passage.end_us), (passage.lon, passage.lat)
        return _said(Kind.GPS_WITHOUT_PLATE, passage.vehicle, gate, span, place, detail)

    def _forget(self) -> None:
        """Drop what is older than anything late may be; what was said of it stands."""
        old_us = self._now_us - self._keep_us
        for plate, reads in list(self._reads.items()):
            kept = {read for read in reads if read.time_us >= old_us}
            self._reads[plate] = kept
            if not kept:
                del self._reads[plate]
        for plate, passages in list(self._passages.items()):
            for i, passage in list(passages.items()):
                if passage.end_us is not None and passage.end_us < old_us:
                    del passages[i]
            if not passages:
                del self._passages[plate]
        self._ledger.forget_before(old_us)


def _near(passage: _Passage, read: PlateRead, params: Params) -> bool:
    """Whether a read belongs to a passage: the same checkpoint, not farther apart than the tolerance."""
    slack_us = round(params["tolerance_s"] * 1e6)
    after = passage.end_us is None or read.time_us <= passage.end_us + slack_us
    return passage.checkpoint == read.checkpoint and passage.start_us - slack_us <= read.time_us and after


def _said(
    kind: Kind,
    vehicle: str,
    gate: Fence,
    span: tuple[int, int],
    place: tuple[float, float],
    detail: Mapping[str, object],
) -> Event:
    rule = rule_of(kind)
    assert rule is not None
    return Event(
        id=event_id(kind, normal_plate(vehicle), gate.id, span[0]),
        kind=kind,
        vehicle=vehicle,
        fence_id=gate.id,
        fence_version=gate.version,
        revision=1,
        phase=Phase.CLOSED,
        started_us=span[0],
        ended_us=span[1],
        lon=place[0],
        lat=place[1],
        end_lon=place[0],
        end_lat=place[1],
        severity=rule.severity,
        detail=detail,
    )
