"""What the engine says: events, frozen and with ids that every run computes alike.

You are on the lowest floor of the core, beside ``fixes.py``. An :class:`Event` is a fact about
one vehicle and (mostly) one fence that has a beginning, perhaps an end, and revisions in
between: a visit is one, a breach is one. The id depends on the fact alone (vehicle, kind,
fence, beginning), so a second run over the same fixes says the same thing under the same name,
and a sink that knows the id and the revision writes nothing twice. Who decides that an event
happened: ``judge.py`` and ``rules/``. Who stores it: the ``Store`` port in ``ports.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

__all__ = ["Event", "Kind", "Phase", "Severity", "event_id", "from_iso", "iso"]


class Kind(StrEnum):
    """What kind of fact an event is."""

    VISIT = "visit"  #: 停留: a stay inside a fence, or a passage through it
    GATE_BYPASS = "gate_bypass"  #: 绕卡: the district's border crossed away from every checkpoint
    POSSIBLE_BYPASS = "possible_bypass"  #: 疑似绕卡: the same, but a checkpoint may have been passed unseen
    RESTRICTED_ENTRY = "restricted_entry"  #: 闯禁: a restricted zone entered
    POSSIBLE_ENTRY = "possible_entry"  #: 疑似闯禁: the same, but it may have stayed outside
    OVERSPEED = "overspeed"  #: 超速: over the limit for longer than allowed
    CURFEW = "curfew"  #: 禁行时段: inside a fence in the hours in which it is closed
    CORRIDOR_DEPARTURE = "corridor_departure"  #: 偏离专线: off the dedicated routes
    UNREGISTERED = "unregistered"  #: 未备案: not on file, or its file not approved
    NO_WAYBILL = "no_waybill"  #: 无运单: no valid waybill
    CARGO_FORBIDDEN = "cargo_forbidden"  #: 禁运货物: goods that the fence forbids
    PAPER_EXPIRING = "paper_expiring"  #: 证照到期: a paper on file is about to expire
    OVERSTAY = "overstay"  #: 超时滞留: longer inside a fence than allowed
    OVERPARK = "overpark"  #: 违规停车: standing too long where there is no park
    OVERDRIVE = "overdrive"  #: 疲劳驾驶: driving too long without a rest, or in a day
    SEGMENT_OVERTIME = "segment_overtime"  #: 路段超时: too long or too short between two checkpoints
    SILENT = "silent"  #: 离线: no fix for too long while inside
    COVERAGE_GAP = "coverage_gap"  #: 轨迹中断: where it was between two fixes is unknown
    GNSS_SUSPECT = "gnss_suspect"  #: 定位异常: fixes that cannot be true
    PLATE_WITHOUT_GPS = "plate_without_gps"  #: 有牌无位: read by a checkpoint's camera, no GPS near
    GPS_WITHOUT_PLATE = "gps_without_plate"  #: 有位无牌: passed a checkpoint, no plate read
    ZONE_CAPACITY = "zone_capacity"  #: 超量停放: too many hazmat vehicles in a zone
    SEPARATION = "separation"  #: 混停: incompatible goods of two vehicles too near for too long
    EMERGENCY = "emergency"  #: 紧急报警: alarm bit 0 of the terminal
    COLLISION = "collision"  #: 碰撞预警: alarm bit 29
    ROLLOVER = "rollover"  #: 侧翻预警: alarm bit 30


class Phase(StrEnum):
    """Where in its life an event is."""

    OPENED = "opened"  #: it began and goes on
    AMENDED = "amended"  #: it goes on, but something said before was corrected
    CLOSED = "closed"  #: it is over; a breach without duration is closed as it opens
    RETRACTED = "retracted"  #: later knowledge shows that it never was; kept, never deleted


class Severity(StrEnum):
    """How much an event weighs."""

    INFO = "info"
    WARNING = "warning"
    BREACH = "breach"
    EMERGENCY = "emergency"  #: somebody may need help now


@dataclass(frozen=True, slots=True)
class Event:
    """One revision of one fact.

    Attributes:
        id: 32 hex digits, see :func:`event_id`.
        kind: a :class:`Kind`.
        vehicle: name of the vehicle (plate, 车牌).
        fence_id, fence_version: the fence it is about.
        revision: 1 for the first word on the fact, then counting up.
        phase: a :class:`Phase`.
        started_us, ended_us: microseconds UTC; ``ended_us`` is None while it goes on.
        lon, lat: degrees WGS-84, the place where it started.
        end_lon, end_lat: the place where it ended.
        severity: a :class:`Severity`.
        detail: JSON values: the parameters used and what the verdict rests on.
    """

    id: str
    kind: Kind
    vehicle: str
    fence_id: str | None
    fence_version: int | None
    revision: int
    phase: Phase
    started_us: int
    ended_us: int | None
    lon: float
    lat: float
    end_lon: float | None = None
    end_lat: float | None = None
    severity: Severity = Severity.INFO
    detail: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_visit(self) -> bool:
        """True when the event belongs into the table of visits, not of breaches."""
        return self.kind is Kind.VISIT

    @property
    def is_over(self) -> bool:
        """True when no later revision is expected unless something said has to be corrected."""
        return self.phase in (Phase.CLOSED, Phase.RETRACTED)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; times are ISO 8601 in UTC with microseconds."""
        return {
            "id": self.id,
            "kind": str(self.kind),
            "vehicle": self.vehicle,
            "fence_id": self.fence_id,
            "fence_version": self.fence_version,
            "revision": self.revision,
            "phase": str(self.phase),
            "started_at": iso(self.started_us),
            "ended_at": None if self.ended_us is None else iso(self.ended_us),
            "lon": self.lon,
            "lat": self.lat,
            "end_lon": self.end_lon,
            "end_lat": self.end_lat,
            "severity": str(self.severity),
            "detail": dict(self.detail),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Event:
        """The event that :meth:`to_json` described.

        Raises:
            KeyError, ValueError: a key is missing or a value is not what it should be.
        """
        ended = data["ended_at"]
        return cls(
            id=data["id"],
            kind=Kind(data["kind"]),
            vehicle=data["vehicle"],
            fence_id=data["fence_id"],
            fence_version=data["fence_version"],
            revision=data["revision"],
            phase=Phase(data["phase"]),
            started_us=from_iso(data["started_at"]),
            ended_us=None if ended is None else from_iso(ended),
            lon=data["lon"],
            lat=data["lat"],
            end_lon=data["end_lon"],
            end_lat=data["end_lat"],
            severity=Severity(data["severity"]),
            detail=dict(data["detail"]),
        )


def event_id(kind: str, vehicle: str, fence_id: str | None, started_us: int) -> str:
    """The name of a fact: 128 bits of BLAKE2b over what makes it this fact, as 32 hex digits.

    The parts are joined with their lengths, so no choice of plate or fence id can imitate another.

    Example:
        >>> event_id("visit", "浙B12345", "cp-1", 0)
        '3af946112d9869519baff1752fcce210'
    """
    fence = sized(fence_id if fence_id is not None else "\0none")
    return id_of_parts(sized(str(kind)), vehicle, fence, started_us)


def id_of_parts(kind: bytes, vehicle: str, fence: bytes, started_us: int) -> str:
    """The same for who names many facts of one kind and fence: these two as :func:`sized` gives them."""
    name, start = vehicle.encode("utf-8", "surrogatepass"), b"%d" % started_us
    said = b"%b%b%b%b%b%b" % (
        kind,
        len(name).to_bytes(4, "big"),
        name,
        fence,
        len(start).to_bytes(4, "big"),
        start,
    )
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def sized(part: str) -> bytes:
    """A part of what an id is made of, with its length before it."""
    raw = part.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(4, "big") + raw


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Without the zone: what is written has none to take off again.
_BARE_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


def iso(time_us: int) -> str:
    """Microseconds UTC as ISO 8601.

    Example:
        >>> iso(0)
        '1970-01-01T00:00:00.000000Z'
    """
    minute, rest_us = divmod(time_us, 60_000_000)
    return f"{_minute(minute)}:{rest_us // 1_000_000:02d}.{rest_us % 1_000_000:06d}Z"


@lru_cache(4096)
def _minute(minute: int) -> str:
    """The date, hour and minute: many moments that are told share them."""
    return (_BARE_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")


def from_iso(text: str) -> int:
    """ISO 8601 with an offset or ``Z`` as microseconds UTC.

    Raises:
        ValueError: the text is no ISO 8601 time, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time {text!r} has no offset: write e.g. {text}+08:00 or {text}Z")
    return (moment - _EPOCH) // _MICROSECOND
