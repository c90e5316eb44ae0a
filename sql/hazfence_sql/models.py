"""The tables of schema hazfence for backends that speak SQLAlchemy, with GeoAlchemy2 geometries.

The same tables as ``migrations/*.sql``, which make them (never ``create_all``); a test holds the two equal,
constraints and indexes included. Read as you like; leave the writing to the worker. `Fix` has no primary
key in the database; the mapper takes a fix's place on the log for one.

Example:
    >>> select(Breach).where(func.ST_Within(Breach.place, area)).order_by(Breach.started_at)  # doctest: +SKIP
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import Geometry, WKBElement
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "Base",
    "Breach",
    "Checkpoint",
    "Company",
    "DeadLetter",
    "EventRevision",
    "Fence",
    "Fix",
    "Milestone",
    "Person",
    "ReferenceChange",
    "ReplayEvent",
    "ReplayRun",
    "Stream",
    "Tank",
    "Vehicle",
    "VehicleCode",
    "Visit",
    "Waybill",
]

#: The severities of events, see ``hazfence.events.Severity``.
_SEVERITY = "severity IN ('info', 'warning', 'breach', 'emergency')"


class Base(DeclarativeBase):
    """The declarative base of all tables; its metadata is the schema."""

    metadata = MetaData(schema="hazfence")
    type_annotation_map = {  # noqa: RUF012 # SQLAlchemy reads it as a plain class attribute
        str: Text(),
        int: Integer(),
        float: Double(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        bytes: LargeBinary(),
    }


def _geometry(kind: str) -> Geometry:
    return Geometry(kind, srid=4326, spatial_index=False)


def _now() -> Mapped[datetime]:
    return mapped_column(server_default=func.now())


class Fence(Base):
    """One version of a fence; the one in force has ``retired_at`` None."""

    __tablename__ = "fence"
    __table_args__ = (
        PrimaryKeyConstraint("id", "version", name="fence_pkey"),
        UniqueConstraint("key", name="fence_key"),
        CheckConstraint("version >= 1", name="fence_version_from_1"),
        CheckConstraint("shape IN ('polygon', 'circle', 'corridor')", name="fence_shape_known"),
        Index("fence_in_force", "id", unique=True, postgresql_where=text("retired_at IS NULL")),
        Index("fence_geom", "geom", postgresql_using="gist"),
        {"comment": "Fences, one row a version; retired_at is null for the version in force"},
    )

    key: Mapped[int] = mapped_column(Integer, Identity(always=True))
    id: Mapped[str]
    version: Mapped[int]
    kind: Mapped[str]
    name: Mapped[str]
    shape: Mapped[str]
    geom: Mapped[WKBElement] = mapped_column(_geometry("MULTIPOLYGON"))
    centre: Mapped[WKBElement | None] = mapped_column(_geometry("POINT"))
    radius_m: Mapped[float | None]
    axis: Mapped[WKBElement | None] = mapped_column(_geometry("LINESTRING"))
    width_m: Mapped[float | None]
    speed_limit_kmh: Mapped[float | None]
    max_stay_min: Mapped[float | None]
    thin: Mapped[bool]
    schedule: Mapped[dict[str, Any] | None]
    valid_from: Mapped[datetime | None]
    valid_to: Mapped[datetime | None]
    definition: Mapped[dict[str, Any]]
    saved_at: Mapped[datetime] = _now()
    retired_at: Mapped[datetime | None]


class VehicleCode(Base):
    """The number of a vehicle in `Fix`."""

    __tablename__ = "vehicle_code"
    __table_args__ = (
        PrimaryKeyConstraint("code", name="vehicle_code_pkey"),
        UniqueConstraint("vehicle", name="vehicle_code_vehicle"),
        {"comment": "Number of each vehicle (plate) in hazfence.fix"},
    )

    code: Mapped[int] = mapped_column(Integer, Identity(always=True))
    vehicle: Mapped[str]


class Stream(Base):
    """The number of a topic's partition in `Fix`."""

    __tablename__ = "stream"
    __table_args__ = (
        PrimaryKeyConstraint("stream", name="stream_pkey"),
        UniqueConstraint("topic", "partition", name="stream_topic_partition"),
        {"comment": "Number of each partition of a topic in hazfence.fix"},
    )

    stream: Mapped[int] = mapped_column(Integer, Identity(always=True))
    topic: Mapped[str]
    partition: Mapped[int]


class Fix(Base):
    """An accepted GPS fix."""

    __tablename__ = "fix"
    __table_args__ = (
        # No index here: each day has its own, made with the day or when it is closed.
        {
            "comment": "Accepted GPS fixes, one partition a UTC day (hazfence.ensure_fix_day)",
            "postgresql_partition_by": "RANGE (time)",
        },
    )

    time: Mapped[datetime]
    lon: Mapped[float]
    lat: Mapped[float]
    offset: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[int] = mapped_column(BigInteger)
    alarm: Mapped[int] = mapped_column(BigInteger)
    vehicle_code: Mapped[int]
    stream: Mapped[int] = mapped_column()
    item: Mapped[int] = mapped_column()
    speed_kmh: Mapped[float | None] = mapped_column(REAL)
    heading_deg: Mapped[float | None] = mapped_column(REAL)
    accuracy_m: Mapped[float] = mapped_column(
        REAL,
        server_default=text("0"),
        comment="By how much the position may be wrong, metres; 0: nobody said",
    )

    __mapper_args__ = {"primary_key": [stream, offset, item]}  # noqa: RUF012


def _facts(name: str) -> tuple[Any, ...]:
    """Constraints and indexes that visits and breaches have in common."""
    return (
        PrimaryKeyConstraint("event_id", name=f"{name}_pkey"),
        UniqueConstraint("key", name=f"{name}_key"),
        CheckConstraint("phase IN ('opened', 'amended', 'closed', 'retracted')", name=f"{name}_phase_known"),
        CheckConstraint(
            "severity IN ('info', 'warning', 'breach', 'emergency')", name=f"{name}_severity_known"
        ),
        Index(f"{name}_vehicle_started", "vehicle", "started_at"),
        Index(f"{name}_fence_started", "fence_id", "started_at"),
        Index(f"{name}_started", "started_at"),
        Index(
            f"{name}_open",
            "topic",
            "partition",
            postgresql_where=text("phase IN ('opened', 'amended')"),
        ),
        Index(f"{name}_place", "place", postgresql_using="gist"),
    )


class Visit(Base):
    """The latest revision of a stay in a fence, or of a passage through it."""

    __tablename__ = "visit"
    __table_args__ = (
        *_facts("visit"),
        {"comment": "Stays of vehicles in fences and passages through them, latest revision each"},
    )

    key: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    event_id: Mapped[UUID]
    vehicle: Mapped[str]
    fence_id: Mapped[str | None]
    fence_version: Mapped[int | None]
    revision: Mapped[int]
    phase: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    place: Mapped[WKBElement] = mapped_column(_geometry("POINT"))
    end_place: Mapped[WKBElement | None] = mapped_column(_geometry("POINT"))
    severity: Mapped[str]
    detail: Mapped[dict[str, Any]]
    topic: Mapped[str]
    partition: Mapped[int]
    known_at: Mapped[datetime] = _now()
    revised_at: Mapped[datetime] = _now()


class Breach(Base):
    """The latest revision of a breach (table ``event``)."""

    __tablename__ = "event"
    __table_args__ = (
        *_facts("event"),
        {"comment": "Breaches, latest revision each"},
    )

    key: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    event_id: Mapped[UUID]
    kind: Mapped[str]
    vehicle: Mapped[str]
    fence_id: Mapped[str | None]
    fence_version: Mapped[int | None]
    revision: Mapped[int]
    phase: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    place: Mapped[WKBElement] = mapped_column(_geometry("POINT"))
    end_place: Mapped[WKBElement | None] = mapped_column(_geometry("POINT"))
    severity: Mapped[str]
    detail: Mapped[dict[str, Any]]
    topic: Mapped[str]
    partition: Mapped[int]
    known_at: Mapped[datetime] = _now()
    revised_at: Mapped[datetime] = _now()


class EventRevision(Base):
    """Every revision of every visit and breach, in the order it was stored; never changed."""

    __tablename__ = "event_revision"
    __table_args__ = (
        PrimaryKeyConstraint("seq", name="event_revision_pkey"),
        UniqueConstraint("event_id", "revision", name="event_revision_once"),
        Index("event_revision_outbox", "topic", "partition", "seq"),
        {"comment": "Every revision of every visit and breach, in the order it was stored"},
    )

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    event_id: Mapped[UUID]
    kind: Mapped[str]
    vehicle: Mapped[str]
    fence_id: Mapped[str | None]
    fence_version: Mapped[int | None]
    revision: Mapped[int]
    phase: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    place: Mapped[WKBElement] = mapped_column(_geometry("POINT"))
    end_place: Mapped[WKBElement | None] = mapped_column(_geometry("POINT"))
    severity: Mapped[str]
    detail: Mapped[dict[str, Any]]
    topic: Mapped[str]
    partition: Mapped[int]
    known_at: Mapped[datetime] = _now()


class DeadLetter(Base):
    """A message, or one fix of it (``item`` -1: the whole), that was not used."""

    __tablename__ = "dead_letter"
    __table_args__ = (
        PrimaryKeyConstraint("topic", "partition", "offset", "item", name="dead_letter_pkey"),
        Index("dead_letter_kept", "kept_at", postgresql_using="brin"),
        {"comment": "Messages and fixes that were not used, with the reason"},
    )

    topic: Mapped[str]
    partition: Mapped[int]
    offset: Mapped[int] = mapped_column(BigInteger)
    item: Mapped[int]
    reason: Mapped[str]
    detail: Mapped[str]
    payload: Mapped[bytes]
    payload_bytes: Mapped[int]
    kept_at: Mapped[datetime] = _now()


class Checkpoint(Base):
    """How far a partition was processed, and the engine's state there."""

    __tablename__ = "checkpoint"
    __table_args__ = (
        PrimaryKeyConstraint("topic", "partition", name="checkpoint_pkey"),
        ForeignKeyConstraint(
            ["topic", "partition"],
            ["hazfence.stream.topic", "hazfence.stream.partition"],
            name="checkpoint_stream",
        ),
        CheckConstraint("(next_offset IS NULL) = (snapshot IS NULL)", name="checkpoint_whole"),
        {"comment": "State of each partition: owner, next offset, snapshot of the engine"},
    )

    topic: Mapped[str]
    partition: Mapped[int]
    epoch: Mapped[int]
    next_offset: Mapped[int | None] = mapped_column(BigInteger)
    snapshot: Mapped[bytes | None]
    claimed_at: Mapped[datetime] = _now()
    written_at: Mapped[datetime | None]
    heard_until: Mapped[datetime | None] = mapped_column(
        comment="All that can be said of the vehicles up to this moment is stored"
    )


def _filed(name: str, key: str) -> tuple[Any, ...]:
    """Constraints and indexes that the tables of the file have in common."""
    return (
        PrimaryKeyConstraint(key, "valid_from", name=f"{name}_pkey"),
        UniqueConstraint("key", name=f"{name}_key"),
        CheckConstraint("audit IN ('approved', 'pending', 'rejected')", name=f"{name}_audit_known"),
        CheckConstraint("valid_to > valid_from", name=f"{name}_in_order"),
        CheckConstraint("jsonb_typeof(papers) = 'object'", name=f"{name}_papers_object"),
        Index(f"{name}_holds", key, unique=True, postgresql_where=text("valid_to IS NULL")),
    )


class Milestone(Base):
    """A state from which a vehicle's story can be told again; times are microseconds UTC."""

    __tablename__ = "milestone"
    __table_args__ = (
        PrimaryKeyConstraint("vehicle_code", "stream", "time_us", name="milestone_pkey"),
        ForeignKeyConstraint(["stream"], ["hazfence.stream.stream"], name="milestone_stream"),
        ForeignKeyConstraint(["vehicle_code"], ["hazfence.vehicle_code.code"], name="milestone_vehicle"),
        {"comment": "States from which a vehicle's story can be told again, one an hour or so"},
    )

    stream: Mapped[int]
    vehicle_code: Mapped[int]
    time_us: Mapped[int] = mapped_column(BigInteger)
    since_us: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[bytes]


class Company(Base):
    """How a company on file stood from one moment to another."""

    __tablename__ = "company"
    __table_args__ = (
        *_filed("company", "id"),
        {"comment": "Companies on file, one row a state; valid_to is null for the state that holds"},
    )

    key: Mapped[int] = mapped_column(Integer, Identity(always=True))
    id: Mapped[str]
    name: Mapped[str] = mapped_column(server_default=text("''"))
    audit: Mapped[str]
    papers: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    valid_from: Mapped[datetime] = _now()
    valid_to: Mapped[datetime | None]


class Person(Base):
    """How a driver, an escort or another person on file stood from one moment to another."""

    __tablename__ = "person"
    __table_args__ = (
        *_filed("person", "id"),
        {
            "comment": "Drivers, escorts and other staff on file, one row a state; "
            "valid_to is null for the state that holds"
        },
    )

    key: Mapped[int] = mapped_column(Integer, Identity(always=True))
    id: Mapped[str]
    name: Mapped[str] = mapped_column(server_default=text("''"))
    company_id: Mapped[str | None]
    role: Mapped[str] = mapped_column(server_default=text("''"))
    audit: Mapped[str]
    papers: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    valid_from: Mapped[datetime] = _now()
    valid_to: Mapped[datetime | None]


class Tank(Base):
    """How a tank on file stood from one moment to another."""

    __tablename__ = "tank"
    __table_args__ = (
        *_filed("tank", "id"),
        {"comment": "Tanks on file, one row a state; valid_to is null for the state that holds"},
    )

    key: Mapped[int] = mapped_column(Integer, Identity(always=True))
    id: Mapped[str]
    name: Mapped[str] = mapped_column(server_default=text("''"))
    company_id: Mapped[str | None]
    audit: Mapped[str]
    papers: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    valid_from: Mapped[datetime] = _now()
    valid_to: Mapped[datetime | None]


class Vehicle(Base):
    """How a vehicle on file stood from one moment to another."""

    __tablename__ = "vehicle"
    __table_args__ = (
        *_filed("vehicle", "plate"),
        {"comment": "Vehicles on file, one row a state; valid_to is null for the state that holds"},
    )

    key: Mapped[int] = mapped_column(Integer, Identity(always=True))
    plate: Mapped[str]
    name: Mapped[str] = mapped_column(server_default=text("''"))
    category: Mapped[str] = mapped_column(server_default=text("''"))
    company_id: Mapped[str | None]
    audit: Mapped[str]
    papers: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    valid_from: Mapped[datetime] = _now()
    valid_to: Mapped[datetime | None]


class Waybill(Base):
    """An electronic waybill."""

    __tablename__ = "waybill"
    __table_args__ = (
        PrimaryKeyConstraint("number", name="waybill_pkey"),
        UniqueConstraint("key", name="waybill_key"),
        CheckConstraint("window_to > window_from", name="waybill_window_in_order"),
        CheckConstraint("un_number BETWEEN 4 AND 3599", name="waybill_un_number_known"),
        CheckConstraint("quantity_t > 0", name="waybill_quantity_positive"),
        Index("waybill_plate_window", "plate", "window_from"),
        Index("waybill_window_to", "window_to"),
        {"comment": "Electronic waybills; valid from approval (at the earliest window_from) to window_to"},
    )

    key: Mapped[int] = mapped_column(Integer, Identity(always=True))
    number: Mapped[str]
    plate: Mapped[str]
    un_number: Mapped[int]
    un_class: Mapped[str]
    goods: Mapped[str] = mapped_column(server_default=text("''"))
    tank_id: Mapped[str | None]
    driver_id: Mapped[str | None]
    escort_id: Mapped[str | None]
    quantity_t: Mapped[float | None]
    window_from: Mapped[datetime]
    window_to: Mapped[datetime]
    approved_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]


class ReferenceChange(Base):
    """Counts the changes of the file; one row."""

    __tablename__ = "reference_change"
    __table_args__ = (
        PrimaryKeyConstraint("one", name="reference_change_pkey"),
        CheckConstraint("one", name="reference_change_one"),
        {"comment": "Counts the changes of the file and of the waybills"},
    )

    one: Mapped[bool] = mapped_column(server_default=text("true"))
    seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class ReplayRun(Base):
    """A replay of history: what was replayed with what."""

    __tablename__ = "replay_run"
    __table_args__ = (
        PrimaryKeyConstraint("run", name="replay_run_pkey"),
        UniqueConstraint("name", name="replay_run_name"),
        {"comment": "Replays of history: what was replayed with what"},
    )

    run: Mapped[int] = mapped_column(Integer, Identity(always=True))
    name: Mapped[str]
    source: Mapped[str]
    since: Mapped[datetime | None]
    until: Mapped[datetime | None]
    vehicles: Mapped[dict[str, Any] | None]
    settings: Mapped[dict[str, Any]]
    fences: Mapped[dict[str, Any]]
    fixes: Mapped[int] = mapped_column(BigInteger)
    set_aside: Mapped[dict[str, Any]]
    release: Mapped[str]
    stored_at: Mapped[datetime] = _now()


class ReplayEvent(Base):
    """A visit or breach that a replay found, by its latest revision."""

    __tablename__ = "replay_event"
    __table_args__ = (
        PrimaryKeyConstraint("run", "event_id", name="replay_event_pkey"),
        UniqueConstraint("key", name="replay_event_key"),
        ForeignKeyConstraint(
            ["run"], ["hazfence.replay_run.run"], name="replay_event_run", ondelete="CASCADE"
        ),
        CheckConstraint(
            "phase IN ('opened', 'amended', 'closed', 'retracted')", name="replay_event_phase_known"
        ),
        CheckConstraint(
            "severity IN ('info', 'warning', 'breach', 'emergency')", name="replay_event_severity_known"
        ),
        Index("replay_event_started", "run", "started_at"),
        Index("replay_event_place", "place", postgresql_using="gist"),
        {"comment": "Visits and breaches that a replay found, latest revision each"},
    )

    key: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    run: Mapped[int]
    event_id: Mapped[UUID]
    kind: Mapped[str]
    vehicle: Mapped[str]
    fence_id: Mapped[str | None]
    fence_version: Mapped[int | None]
    revision: Mapped[int]
    phase: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    place: Mapped[WKBElement] = mapped_column(_geometry("POINT"))
    end_place: Mapped[WKBElement | None] = mapped_column(_geometry("POINT"))
    severity: Mapped[str]
    detail: Mapped[dict[str, Any]]
