"""A control room's backend with the worker beside it, in a process of its own.

Fixes come over Kafka and are matched by the worker; this backend keeps the worker running and
reads what it writes: the live board on Redis (where everybody is, what goes on), the stream of
events, and the history in PostGIS. It can be restarted at any moment, and so can the worker: all
that must last is in the database. With ``HAZFENCE_DATABASE_URL`` (migrated), ``HAZFENCE_KAFKA``,
``HAZFENCE_REDIS_URL`` and ``HAZFENCE_FENCES`` set, from the repository's folder::

    uvicorn examples.beside_worker:app

Run one process of it, or supervise the workers elsewhere (``hazfence serve``) and leave the
``Supervisor`` out: everything else here may run as often as you like.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from geoalchemy2.shape import to_shape
from shapely.geometry import mapping
from sqlalchemy import Identity, MetaData, UniqueConstraint, create_engine, func, make_url, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateSchema
from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent

from hazfence.ports import BoardAway
from hazfence.redis_board import RedisBoard
from hazfence.worker.config import SettingsError, WorkerSettings
from hazfence.worker.supervisor import Supervisor
from hazfence_sql.models import Breach

log = logging.getLogger("uvicorn.error")
ZONE = ZoneInfo("Asia/Shanghai")  # what "yesterday" means to the people here
ME = "control-room"  # the name under which this backend's place on the stream is kept


class Base(DeclarativeBase):
    """Tables of this backend's own, in a schema of their own: hazfence's belong to the worker."""

    metadata = MetaData(schema="control_room")
    type_annotation_map = {dict[str, Any]: JSONB()}  # noqa: RUF012 # SQLAlchemy's way


class Alarm(Base):
    """A revision of a breach that the dispatchers were told of, numbered as they were told."""

    __tablename__ = "alarm"
    __table_args__ = (UniqueConstraint("event_id", "revision"),)

    number: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    event_id: Mapped[UUID]
    revision: Mapped[int]
    event: Mapped[dict[str, Any]]


class Position(Base):
    """How far a follower has read the stream."""

    __tablename__ = "position"

    follower: Mapped[str] = mapped_column(primary_key=True)
    stream_id: Mapped[str]


class ControlRoom:
    """Worker, board, database and the place on the stream, for use as ``async with``."""

    def __init__(self, settings: WorkerSettings) -> None:
        if settings.redis_url is None:
            raise SettingsError("HAZFENCE_REDIS_URL: is not set; this backend reads the live board there")
        url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg")
        self.database = create_engine(url, pool_pre_ping=True)
        self.board = RedisBoard(settings.redis_url.get_secret_value(), prefix=settings.board_prefix)
        self.supervisor = Supervisor(settings)
        self.position = "0-0"  # on the stream: all before it is handled

    async def __aenter__(self) -> Self:
        self.working = asyncio.create_task(self.supervisor.run(), name="worker")
        self._following = asyncio.create_task(self._follow(), name="follow")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._following.cancel()
        self.supervisor.stop()  # the worker makes its last checkpoint now
        await asyncio.gather(self._following, self.working, return_exceptions=True)
        await self.board.close()
        self.database.dispose()

    async def _follow(self) -> None:
        """Handle every revision on the stream once, whatever is away for a while or restarted."""
        while True:
            try:
                self.position = await asyncio.to_thread(self._where_was_i)
                while True:
                    entries = await self.board.events(self.position, count=500, block_ms=1000)
                    if entries:
                        self.position = await asyncio.to_thread(self._handle, entries)
            except (BoardAway, SQLAlchemyError) as error:
                log.warning("cannot follow the stream, trying again: %s", error)
                await asyncio.sleep(1.0)

    def _where_was_i(self) -> str:
        with Session(self.database) as session, session.begin():
            # Good enough for an example; a real backend has migrations of its own for this.
            session.execute(CreateSchema("control_room", if_not_exists=True))
            Base.metadata.create_all(session.connection())
            place = session.get(Position, ME)
            return "0-0" if place is None else place.stream_id

    def _handle(self, entries: Sequence[tuple[str, dict[str, Any]]]) -> str:
        # What is done and how far we are: in one transaction, so that neither can be true alone. The
        # constraint is for the day Redis loses its data: then the worker repeats the last revisions.
        alarms = [
            {"event_id": UUID(event["id"]), "revision": event["revision"], "event": event}
            for _, event in entries
            if event["kind"] != "visit"
        ]
        stream_id = entries[-1][0]
        place = insert(Position).values(follower=ME, stream_id=stream_id)
        with Session(self.database) as session, session.begin():
            if alarms:
                session.execute(insert(Alarm).values(alarms).on_conflict_do_nothing())
            session.execute(
                place.on_conflict_do_update(index_elements=["follower"], set_={"stream_id": stream_id})
            )
        return stream_id


def _room(request: Request) -> ControlRoom:
    room: ControlRoom = request.app.state.room
    return room


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with ControlRoom(WorkerSettings.load()) as app.state.room:
        yield


app = FastAPI(title="Control room", lifespan=_lifespan)
Room = Annotated[ControlRoom, Depends(_room)]
Lon = Annotated[float, Query(ge=-180, le=180)]
Lat = Annotated[float, Query(ge=-90, le=90)]


@app.exception_handler(BoardAway)
@app.exception_handler(OperationalError)
async def _away(_: Request, error: Exception) -> JSONResponse:
    what = "Redis" if isinstance(error, BoardAway) else "the database"
    return JSONResponse({"detail": f"{what} is away, try again"}, 503, {"Retry-After": "2"})


@app.get("/readyz")
async def readyz(room: Room, response: Response) -> dict[str, str]:
    """Whether worker and board are there; more of the worker is on its ``HAZFENCE_WEB_PORT``."""
    worker = board = "up"
    if room.working.done():  # the supervisor restarts what dies, and gives up only on settings
        worker = "its settings cannot work, see the log"
    elif not room.supervisor.pids:
        worker = "starting"
    try:
        await room.board.open()
    except BoardAway:
        board = "away"
    if (worker, board) != ("up", "up"):
        response.status_code = 503
    return {"worker": worker, "board": board}


@app.get("/vehicles")
async def vehicles(room: Room) -> list[dict[str, Any]]:
    """Every vehicle: last fix, and the fences it is in."""
    return await room.board.vehicles()


@app.get("/vehicles/{plate}")
async def vehicle(room: Room, plate: str) -> dict[str, Any]:
    """One vehicle."""
    found = await room.board.vehicle(plate)
    if found is None:
        raise HTTPException(404, f"no fix of {plate!r} on the board")
    return found


@app.get("/fences/{fence_id}/vehicles")
async def inside(room: Room, fence_id: str) -> list[str]:
    """Who is inside a fence now."""
    return await room.board.inside(fence_id)


@app.get("/near")
async def near(
    room: Room, lon: Lon, lat: Lat, radius_m: Annotated[float, Query(gt=0, le=100_000)] = 2000
) -> list[dict[str, Any]]:
    """The trucks around a place, nearest first: whom to warn of an accident there."""
    found = await room.board.near(lon, lat, radius_m)
    return [{"vehicle": plate, "distance_m": distance_m} for plate, distance_m in found]


@app.get("/breaches")
async def breaches(room: Room) -> list[dict[str, Any]]:
    """Breaches that go on now."""
    return await room.board.breaches()


@app.get("/alarms")
def alarms(room: Room, after: int = 0) -> list[dict[str, Any]]:
    """What the dispatchers were told, in order, each revision once."""
    with Session(room.database) as session:
        rows = session.scalars(select(Alarm).where(Alarm.number > after).order_by(Alarm.number).limit(500))
        return [{"number": row.number, **row.event} for row in rows]


@app.get("/events")
async def events(
    room: Room, last_event_id: Annotated[str | None, Header(pattern=r"^\d+-\d+$")] = None
) -> EventSourceResponse:
    """Follow the stream. The browser keeps its own place on it and comes back with that."""

    async def stream(position: str) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(comment="following", id=position)
        while True:
            try:
                entries = await room.board.events(position, block_ms=1000)
            except BoardAway:  # the line to the browser need not suffer
                await asyncio.sleep(1.0)
                continue
            for position, event in entries:
                yield JSONServerSentEvent(event, event=event["kind"], id=position)

    return EventSourceResponse(stream(last_event_id or room.position))


@app.get("/history")
def history(
    room: Room, west: Lon, south: Lat, east: Lon, north: Lat, day: date | None = None
) -> dict[str, Any]:
    """The breaches that began within a box on a day (yesterday if none is given), as GeoJSON."""
    start = datetime.combine(day or datetime.now(ZONE).date() - timedelta(days=1), time(), ZONE)
    end = datetime.combine(start.date() + timedelta(days=1), time(), ZONE)
    query = (
        select(Breach)
        .where(Breach.place.ST_Intersects(func.ST_MakeEnvelope(west, south, east, north, 4326)))
        .where(Breach.started_at >= start, Breach.started_at < end)
        .where(Breach.phase != "retracted")  # kept in the table, but it never was
        .order_by(Breach.started_at, Breach.event_id)
        .limit(1000)
    )
    with Session(room.database) as session:
        return {"type": "FeatureCollection", "features": [_feature(row) for row in session.scalars(query)]}


def _feature(row: Breach) -> dict[str, Any]:
    names = ("event_id", "kind", "vehicle", "fence_id", "phase", "started_at", "ended_at", "detail")
    properties = {name: getattr(row, name) for name in names}
    return {"type": "Feature", "geometry": mapping(to_shape(row.place)), "properties": properties}
