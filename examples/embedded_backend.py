"""A control room's backend with the engine inside: one process, no broker, no database.

Whoever has fixes posts them and is told what became of each; the map page asks for vehicles and
breaches and follows ``/events``. All that the engine knows is in one file, so a restart goes on
with what was open. From the repository's folder::

    uvicorn examples.embedded_backend:app

One process only: the engine is the state, and two would know half of it each. When that is too
small, see ``beside_worker.py``; ``docs/embedding.md`` says how to choose.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi import Body, Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent

from hazfence import Engine, EngineSettings, Event, FixBatch, Reason, SnapshotError
from hazfence.events import from_iso, iso
from hazfence_fences import load_fences

log = logging.getLogger("uvicorn.error")
T = TypeVar("T")
MAX_FIXES = 10_000  # in one request
KEPT = 1_000  # revisions that a browser can catch up on, and breaches that are over


class Settings(BaseSettings):
    """Each field is a variable: ``state`` is ``HAZFENCE_STATE``."""

    model_config = SettingsConfigDict(env_prefix="HAZFENCE_")

    fences: Path = Path("fences/zhenhai")
    state: Path = Path("control-room.state")
    engine: dict[str, Any] = {}  # EngineSettings, as JSON
    lateness_s: float = 60.0  # fixes may be under way this long before silence is believed
    save_every_s: float = 5.0


def _microseconds(value: object) -> int:
    # Not pydantic's datetime: it takes numbers too, and guesses whether seconds or milliseconds are meant.
    if not isinstance(value, str):
        raise ValueError("send ISO 8601 text with offset, e.g. 2026-03-02T08:00:00+08:00")
    return from_iso(value)


class FixIn(BaseModel):
    """One fix as posted: types are checked here, values (NaN, (0, 0), a clock in 1970) by the engine."""

    # An unknown key is refused: "Datum": "GCJ-02", ignored, would put the truck 500 m away.
    model_config = ConfigDict(extra="forbid", strict=True)

    vehicle: str = Field(min_length=1, max_length=128)
    time_us: Annotated[int, BeforeValidator(_microseconds)] = Field(validation_alias="time")
    lon: float
    lat: float
    speed_kmh: float | None = Field(default=None, ge=0, le=1000)
    heading_deg: float | None = Field(default=None, ge=0, le=360)
    status: int = Field(default=0, ge=0, lt=2**32)
    alarm: int = Field(default=0, ge=0, lt=2**32)
    datum: Literal["WGS-84", "CGCS2000"] = "WGS-84"


class ControlRoom:
    """The engine, and what the pages show of it.

    One thread owns the engine: every call goes through ``_run``, one after the other, so there is
    no lock, and a big batch does not hold up the event loop. What the pages show belongs to the event
    loop; the engine's thread hands it over.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = restore(settings)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._saved_s = 0.0
        self.open = {event.id: event for event in self._engine.open_events() if not event.is_visit}
        self.closed: dict[str, Event] = {}  # since the start; a history belongs into a database
        self.number = time.time_ns()  # of the last revision; from the clock, to grow over a restart
        self._recent: deque[tuple[int, Event]] = deque(maxlen=KEPT)
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._clock = asyncio.create_task(self._keep_time())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._clock.cancel()
        await asyncio.gather(self._clock, return_exceptions=True)
        await self._run(self._save)
        self._thread.shutdown()

    async def take(self, batch: FixBatch) -> list[Reason]:
        """What became of each fix of a batch."""
        return await self._run(lambda: self._process(batch))

    async def vehicle(self, plate: str) -> dict[str, Any] | None:
        """The last fix of a vehicle, the fences it is in, its visits and breaches that go on."""
        return await self._run(lambda: self._look_up(plate))

    async def follow(self, after: int) -> AsyncIterator[tuple[int, Event]]:
        """Every kept revision above a number, then every new one as it comes."""
        while True:
            news = self._news  # before looking: nothing may slip in between looking and waiting
            for number, event in [entry for entry in self._recent if entry[0] > after]:
                yield number, event
                after = number
            await news.wait()

    async def _run(self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._thread, call)

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                await self._run(self._tick)
            except Exception:  # e.g. a full disk: overstays must be noticed all the same
                log.exception("tick failed, trying again in a second")

    def _process(self, batch: FixBatch) -> list[Reason]:  # on the engine's thread, as all down to _save
        outcome = self._engine.process(batch)
        self._hand_over(outcome.events)
        return [Reason(code) for code in outcome.reason.tolist()]

    def _look_up(self, plate: str) -> dict[str, Any] | None:
        fixes = self._engine.positions()
        if plate not in fixes.vehicles:
            return None
        row = fixes.vehicles.index(plate)
        return {
            "vehicle": plate,
            "time": iso(int(fixes.time_us[row])),
            "lon": float(fixes.lon[row]),
            "lat": float(fixes.lat[row]),
            "inside": self._engine.inside(plate),
            "open": [event.to_json() for event in self._engine.open_events() if event.vehicle == plate],
        }

    def _tick(self) -> None:
        self._hand_over(self._engine.advance(time.time_ns() // 1000 - int(self._settings.lateness_s * 1e6)))
        if time.monotonic() - self._saved_s >= self._settings.save_every_s:
            self._save()

    def _save(self) -> None:
        # Beside it, then renamed: a power cut leaves the old state or the new one, never half of one.
        beside = self._settings.state.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(self._engine.snapshot())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._settings.state)
        self._saved_s = time.monotonic()

    def _hand_over(self, events: Sequence[Event]) -> None:
        # From this thread, not from the request: that may be cancelled while the engine works.
        self._loop.call_soon_threadsafe(self._show, events)

    def _show(self, events: Sequence[Event]) -> None:
        for event in events:
            self.number += 1
            self._recent.append((self.number, event))
            if not event.is_visit:
                self.open.pop(event.id, None)
                self.closed.pop(event.id, None)  # a late fix may open again what was over
                (self.closed if event.is_over else self.open)[event.id] = event
        while len(self.closed) > KEPT:
            del self.closed[next(iter(self.closed))]
        if events:
            self._news.set()
            self._news = asyncio.Event()


def restore(settings: Settings) -> Engine:
    """The engine as it was saved, a new one when there is no state yet."""
    fences, thresholds = load_fences(settings.fences), EngineSettings.from_json(settings.engine)
    if not settings.state.exists():
        return Engine(fences, thresholds)
    try:
        return Engine.restore(settings.state.read_bytes(), fences, thresholds)
    except SnapshotError as error:
        # Beginning anew would forget every open breach: that is for a person to decide.
        error.add_note(f"it is in {settings.state}: move it away to begin anew")
        raise


def batch_of(fixes: Sequence[FixIn]) -> FixBatch:
    """Fixes as columns; ``received_us`` lets the engine refuse a clock that is ahead of ours."""
    names = ("time_us", "lon", "lat", "speed_kmh", "heading_deg", "status", "alarm")
    columns = {name: [getattr(fix, name) for fix in fixes] for name in names}
    return FixBatch.of([fix.vehicle for fix in fixes], **columns, received_us=time.time_ns() // 1000)


def _room(request: Request) -> ControlRoom:
    room: ControlRoom = request.app.state.room
    return room


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with ControlRoom(Settings()) as app.state.room:
        yield


app = FastAPI(title="Control room", lifespan=_lifespan)
Room = Annotated[ControlRoom, Depends(_room)]


@app.post("/fixes")
async def post_fixes(room: Room, body: Annotated[list[Any] | dict[str, Any], Body()]) -> dict[str, Any]:
    """Take in a fix or a list of them, in the order they were made; a bad one costs only itself.

    The answer has a word an item: ``ok``, or the reason why it was not used.
    """
    items = body if isinstance(body, list) else [body]
    if len(items) > MAX_FIXES:
        raise HTTPException(413, f"{len(items)} fixes in one request: send at most {MAX_FIXES}")
    good: list[FixIn] = []
    verdicts: list[str | None] = []  # None: for the engine to say
    for item in items:
        try:
            good.append(FixIn.model_validate(item))
            verdicts.append(None)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            what = first["msg"].removeprefix("Value error, ")
            verdicts.append(": ".join(["invalid", *map(str, first["loc"]), what]))
    reasons = iter(await room.take(batch_of(good)))
    said = [verdict or next(reasons).label for verdict in verdicts]
    return {"accepted": said.count("ok"), "items": said}


@app.get("/vehicles/{plate}")
async def get_vehicle(room: Room, plate: str) -> dict[str, Any]:
    """The last fix of a vehicle, the fences it is in, and what goes on."""
    found = await room.vehicle(plate)
    if found is None:
        raise HTTPException(404, f"no fix of {plate!r} so far")
    return found


@app.get("/breaches")
async def get_breaches(room: Room) -> dict[str, list[dict[str, Any]]]:
    """Breaches that go on, and the last that are over, latest first."""
    return {
        "open": [event.to_json() for event in room.open.values()],
        "closed": [event.to_json() for event in reversed(room.closed.values())],
    }


@app.get("/events")
async def get_events(
    room: Room, last_event_id: Annotated[int | None, Header()] = None
) -> EventSourceResponse:
    """Follow every revision. Ask for ``/breaches`` after opening this, so that nothing is missed."""
    after = room.number if last_event_id is None else last_event_id

    async def stream() -> AsyncIterator[ServerSentEvent]:
        # At once, so that a browser that is cut off before the first event comes back with this number.
        yield ServerSentEvent(comment="following", id=str(after))
        async for number, event in room.follow(after):
            yield JSONServerSentEvent(event.to_json(), event=str(event.kind), id=str(number))

    return EventSourceResponse(stream())
