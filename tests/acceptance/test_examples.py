"""The examples as a person runs them: under uvicorn, over HTTP, stopped and killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from zoneinfo import ZoneInfo

import httpx
import pytest
import redis

from hazfence import FixBatch
from hazfence.services import free_port
from hazfence.wire.producer import FixProducer
from hazfence.worker.config import WorkerSettings

ROOT = Path(__file__).parents[2]
PLATE = "浙B12345"
ROAD = (121.6000, 29.9800)  # in the district, in no other fence
ZONE = (121.6600, 29.9500)  # within restricted-1
T = TypeVar("T")


class Backend:
    """An example under uvicorn, with warnings as errors; ends with the ``with`` block."""

    def __init__(self, name: str, folder: Path, **env: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HAZFENCE_")}
        self.log_path = folder / f"{name}.log"
        port = free_port()
        command = [
            sys.executable, "-W", "error", "-m", "uvicorn", f"examples.{name}:app", "--port", str(port),
        ]  # fmt: skip
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**clean, **env}, stdout=log, stderr=subprocess.STDOUT
            )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15)

    def __enter__(self) -> Self:
        until(lambda: self._up(), 20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()
        self.http.close()
        log = self.log_path.read_text()
        if error is not None:
            error.add_note(log)
        else:
            assert "Traceback" not in log
            assert "Exception ignored" not in log

    def _up(self) -> bool:
        assert self.process.poll() is None, self.log_path.read_text()
        try:
            return self.http.get("/openapi.json").is_success
        except httpx.TransportError:
            return False

    def get(self, path: str, **query: Any) -> Any:
        return self.http.get(path, params=query).raise_for_status().json()

    def post(self, *fixes: Any) -> list[str]:
        body = json.dumps(list(fixes), ensure_ascii=False).encode()
        answer = self.http.post("/fixes", content=body, headers={"Content-Type": "application/json"})
        said = answer.raise_for_status().json()
        assert said["accepted"] == said["items"].count("ok")
        items: list[str] = said["items"]
        return items

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def until(ask: Callable[[], T], within_s: float = 15.0) -> T:
    """The first answer that is not empty."""
    give_up_s = time.monotonic() + within_s
    while not (answer := ask()):
        assert time.monotonic() < give_up_s, f"nothing after {within_s} s"
        time.sleep(0.1)
    return answer


def frames(response: httpx.Response) -> Iterator[dict[str, str]]:
    """Server-sent events as a browser takes them apart."""
    frame: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            key, _, value = line.partition(": ")
            frame[key] = value
        elif frame:
            yield frame
            frame = {}


def fix(at: datetime, place: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {"vehicle": PLATE, "time": at.isoformat(), "lon": place[0], "lat": place[1], **more}


def kinds(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["kind"], event["fence_id"]) for event in events]


# The engine inside -------------------------------------------------------------------------------


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


def embedded(folder: Path, **env: str) -> Backend:
    state = {"HAZFENCE_STATE": str(folder / "room.state"), "HAZFENCE_LATENESS_S": "0"}
    return Backend("embedded_backend", folder, **state, **env)


def test_embedded_answers_for_every_fix_and_finds_the_breach(tmp_path: Path, now: datetime) -> None:
    def ago(seconds: float) -> datetime:
        return now - timedelta(seconds=seconds)

    good = fix(ago(60), ROAD, speed_kmh=54, heading_deg=None, status=3, alarm=0, datum="WGS-84")
    with embedded(tmp_path) as backend:
        assert backend.post(
            good,
            fix(ago(30), (float("nan"), 29.95)),
            fix(ago(30), (0, 0)),
            fix(ago(30), (121.6, 91)),
            fix(datetime(1970, 1, 2, tzinfo=UTC), ROAD),
            fix(datetime(2099, 1, 1, tzinfo=UTC), ROAD),
            fix(now + timedelta(hours=1), ROAD),
            fix(ago(30), ROAD, status=1),
            good,
            fix(ago(30), ZONE),
        ) == [
            "ok",
            "not_finite",
            "null_island",
            "out_of_range",
            "time_too_old",
            "time_future",
            "time_future",
            "fix_invalid",
            "duplicate",
            "ok",
        ]
        strange = backend.post(
            "hello",
            None,
            {"vehicle": PLATE},
            {**good, "lon": "121.6"},
            {**good, "lon": True},
            {**good, "lat": 10**400},
            {**good, "time": ago(20).replace(tzinfo=None).isoformat()},
            {**good, "time": 1_772_409_600},
            {**good, "vehicle": ""},
            {**good, "speed_kmh": 1e300},
            {**good, "datum": "GCJ-02"},
            {**good, "Datum": "GCJ-02"},
            fix(ago(20), ZONE),
        )
        assert strange.pop() == "ok"
        assert all(word.startswith("invalid: ") for word in strange)
        named = ["time", "lon", "lon", "lat", "time", "time", "vehicle", "speed_kmh", "datum", "Datum"]
        assert [word.split(": ")[1] for word in strange[2:]] == named
        assert "has no offset" in strange[6]
        # A single fix without a list, no fix at all, no JSON, and more than is taken at once.
        assert backend.http.post("/fixes", json=fix(ago(10), ZONE)).json() == {"accepted": 1, "items": ["ok"]}
        assert backend.post() == []
        for body in (b"hello", b"5", b'{"vehicle": '):
            answer = backend.http.post("/fixes", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422
        assert backend.http.post("/fixes", json=[0] * 10_001).status_code == 413

        truck = backend.get(f"/vehicles/{PLATE}")
        assert (truck["lon"], truck["lat"]) == ZONE
        assert truck["inside"] == ["zhenhai", "restricted-1"]
        assert kinds(truck["open"]) == [
            ("visit", "zhenhai"),
            ("visit", "restricted-1"),
            ("restricted_entry", "restricted-1"),
        ]
        assert backend.http.get("/vehicles/unknown").status_code == 404
        room = backend.get("/breaches")
        assert kinds(room["open"]) == [("restricted_entry", "restricted-1")]
        assert room["closed"] == []
        backend.post(fix(now, ROAD))
        room = backend.get("/breaches")
        assert room["open"] == []
        assert kinds(room["closed"]) == [("restricted_entry", "restricted-1")]


def test_embedded_goes_on_after_a_kill(tmp_path: Path, now: datetime) -> None:
    with embedded(tmp_path, HAZFENCE_SAVE_EVERY_S="0.1") as backend:
        backend.post(fix(now - timedelta(seconds=60), ROAD), fix(now - timedelta(seconds=50), ZONE))
        before = backend.get(f"/vehicles/{PLATE}")
        [breach] = backend.get("/breaches")["open"]
        state, asked_ns = tmp_path / "room.state", time.time_ns()
        until(lambda: state.exists() and state.stat().st_mtime_ns > asked_ns)
        backend.kill()
    with embedded(tmp_path) as backend:
        assert backend.get(f"/vehicles/{PLATE}") == before
        assert backend.get("/breaches")["open"] == [breach]
        backend.post(fix(now - timedelta(seconds=30), ROAD))
        [closed] = backend.get("/breaches")["closed"]
        # The same breach, begun in the life before on the way between the first two fixes.
        assert (closed["id"], closed["started_at"]) == (breach["id"], breach["started_at"])
        assert (closed["revision"], closed["phase"]) == (2, "closed")
    state.write_bytes(b"HZFS" + bytes(40))
    backend = embedded(tmp_path)
    assert backend.process.wait(20) == 3
    assert "room.state: move it away to begin anew" in backend.log_path.read_text()


def test_embedded_events_are_followed_and_caught_up_on(tmp_path: Path, now: datetime) -> None:
    park = json.loads((ROOT / "fences/zhenhai/parking.geojson").read_text())
    park["features"][0]["properties"]["max_stay_min"] = 1
    (tmp_path / "park.geojson").write_text(json.dumps(park))
    with embedded(tmp_path, HAZFENCE_FENCES=str(tmp_path / "park.geojson")) as backend:
        with backend.http.stream("GET", "/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            heard = frames(response)
            begin = next(heard)["id"]
            entered = now - timedelta(seconds=59)
            backend.post(fix(entered, (121.649, 30.03)))
            visit = next(heard)
            assert visit["event"] == "visit"
            # Nobody sends any more: the clock alone finds that it stays too long.
            overstay = next(heard)
            event = json.loads(overstay["data"])
            assert (event["kind"], event["fence_id"], event["vehicle"]) == ("overstay", "park-1", PLATE)
            assert datetime.fromisoformat(event["started_at"]) == entered + timedelta(minutes=1)
        for after, expected in ((begin, [visit, overstay]), (visit["id"], [overstay])):
            with backend.http.stream("GET", "/events", headers={"Last-Event-ID": after}) as response:
                heard = frames(response)
                assert next(heard)["id"] == after
                assert [next(heard) for _ in expected] == expected
        assert backend.http.get("/events", headers={"Last-Event-ID": "x"}).status_code == 422
        with backend.http.stream("GET", "/events"):
            backend.stop()  # somebody who listens does not hold it up
    with embedded(tmp_path, HAZFENCE_FENCES=str(tmp_path / "park.geojson")) as backend:
        with backend.http.stream("GET", "/events") as response:
            assert int(next(frames(response))["id"]) > int(overstay["id"])
        # The stop saved it all: what was open still is.
        assert backend.get("/breaches")["open"] == [event]
        assert kinds(backend.get(f"/vehicles/{PLATE}")["open"]) == [
            ("visit", "park-1"),
            ("overstay", "park-1"),
        ]


# The worker beside -------------------------------------------------------------------------------


@pytest.fixture
def settings(postgres_url: str, broker: str, redis_url: str, redis_prefix: str, topic: str) -> WorkerSettings:
    return WorkerSettings.for_embedded_broker(
        database_url=postgres_url,
        kafka=broker,
        redis_url=redis_url,
        board_prefix=redis_prefix,
        topic=topic,
        dead_topic=f"{topic}.dead",
        group=topic,
        topic_partitions=2,
        fences=str(ROOT / "fences/zhenhai"),
        board_every_s=0.2,
        lateness_s=7 * 86400,  # yesterday's fixes are sent today: no silence is to be concluded from that
        web_port=free_port(),
    )


def send(settings: WorkerSettings, *fixes: tuple[str, datetime, tuple[float, float]]) -> None:
    batch = FixBatch.of(
        [vehicle for vehicle, _, _ in fixes],
        time_us=[int(at.timestamp() * 1e6) for _, at, _ in fixes],
        lon=[lon for _, _, (lon, _) in fixes],
        lat=[lat for _, _, (_, lat) in fixes],
    )

    async def run() -> None:
        async with FixProducer(settings.kafka, settings.topic) as producer:
            await producer.send_batch(batch)

    asyncio.run(run())


@pytest.mark.slow
def test_beside_the_worker_everything_is_read_and_handled_once(
    tmp_path: Path, settings: WorkerSettings
) -> None:
    zone = ZoneInfo("Asia/Shanghai")
    noon = datetime.now(zone).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    other, env = "浙B99999", settings.to_env()

    def at(seconds: float) -> datetime:
        return noon + timedelta(seconds=seconds)

    with Backend("beside_worker", tmp_path, **env) as backend:
        assert until(lambda: backend.http.get("/readyz").json()) == {"worker": "up", "board": "up"}
        worker = f"http://127.0.0.1:{settings.web_port}/readyz"

        def ready() -> bool:
            try:
                return httpx.get(worker).is_success
            except httpx.TransportError:
                return False

        until(ready, 30)
        send(settings, (PLATE, at(0), ROAD), (PLATE, at(30), ZONE), (other, at(30), ROAD))
        [alarm] = until(lambda: backend.get("/alarms"))
        assert (alarm["kind"], alarm["vehicle"], alarm["phase"]) == ("restricted_entry", PLATE, "opened")
        # The board follows within its own rhythm.
        trucks = until(lambda: len(found := backend.get("/vehicles")) == 2 and found)
        assert {truck["vehicle"]: truck["fences"] for truck in trucks} == {
            PLATE: ["zhenhai", "restricted-1"],
            other: ["zhenhai"],
        }
        assert backend.get(f"/vehicles/{PLATE}")["lon"] == pytest.approx(ZONE[0])
        assert backend.http.get("/vehicles/unknown").status_code == 404
        assert backend.get("/fences/restricted-1/vehicles") == [PLATE]
        assert backend.get("/fences/zhenhai/vehicles") == sorted([PLATE, other])
        [near] = backend.get("/near", lon=ZONE[0], lat=ZONE[1], radius_m=500)
        assert (near["vehicle"], near["distance_m"] < 1) == (PLATE, True)
        assert [n["vehicle"] for n in backend.get("/near", lon=ZONE[0], lat=ZONE[1], radius_m=9000)] == [
            PLATE,
            other,
        ]
        assert kinds(backend.get("/breaches")) == [("restricted_entry", "restricted-1")]
        with backend.http.stream("GET", "/events", headers={"Last-Event-ID": "0-0"}) as response:
            heard = frames(response)
            assert next(heard)["id"] == "0-0"
            first = [next(heard) for _ in range(4)]
        assert sorted(f["event"] for f in first) == ["restricted_entry", "visit", "visit", "visit"]
        backend.kill()

    # Its worker notices that nobody watches over it and ends; meanwhile the truck leaves the zone.
    until(lambda: not ready())
    send(settings, (PLATE, at(60), ZONE), (PLATE, at(90), ROAD))

    with Backend("beside_worker", tmp_path, **env) as backend:
        alarms = until(lambda: len(found := backend.get("/alarms")) == 2 and found, 30)
        assert alarms[0] == alarm
        assert [(a["id"], a["revision"], a["phase"]) for a in alarms[1:]] == [(alarm["id"], 2, "closed")]
        assert alarms[1]["number"] > alarms[0]["number"]
        assert backend.get("/alarms", after=alarms[0]["number"]) == alarms[1:]
        last = first[-1]["id"]
        with backend.http.stream("GET", "/events", headers={"Last-Event-ID": last}) as response:
            heard = frames(response)
            assert next(heard)["id"] == last
            rest = [next(heard) for _ in range(2)]
        said = [(json.loads(f["data"])["id"], json.loads(f["data"])["revision"]) for f in first + rest]
        assert len(set(said)) == len(said) == 6
        assert backend.get("/breaches") == []

        box = {"west": 121.64, "south": 29.93, "east": 121.68, "north": 29.97}
        [feature] = backend.get("/history", **box)["features"]
        assert feature["properties"]["vehicle"] == PLATE
        assert feature["properties"]["phase"] == "closed"
        assert feature["geometry"] == {"type": "Point", "coordinates": [alarm["lon"], alarm["lat"]]}
        assert backend.get("/history", **box, day=str(noon.date()))["features"] == [feature]
        assert backend.get("/history", **box, day=str(datetime.now(zone).date()))["features"] == []
        assert backend.get("/history", **{**box, "east": 121.65})["features"] == []
        assert backend.http.get("/history", params={**box, "west": "nan"}).status_code == 422

        # Redis loses everything: the worker lays the board anew and says all it said before once more.
        url = settings.redis_url.get_secret_value() if settings.redis_url else ""
        with redis.Redis.from_url(url) as client:
            client.delete(*client.scan_iter(match=settings.board_prefix + "*"))
            until(lambda: client.xlen(settings.board_prefix + "events") == 6, 20)
        until(lambda: len(backend.get("/vehicles")) == 2)
        send(settings, (other, at(60), ZONE))
        alarms_then = until(lambda: len(found := backend.get("/alarms")) > 2 and found)
        assert alarms_then[:2] == alarms
        assert [a["vehicle"] for a in alarms_then[2:]] == [other]

        with backend.http.stream("GET", "/events"):
            backend.stop()
        assert not ready()


def test_beside_the_worker_what_is_away_is_said(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    env = {
        "HAZFENCE_DATABASE_URL": f"postgresql://me:secret@{nobody}/nothing",
        "HAZFENCE_KAFKA": nobody,
        "HAZFENCE_FENCES": str(ROOT / "fences/zhenhai"),
        "HAZFENCE_WEB_PORT": "0",
    }
    with Backend("beside_worker", tmp_path, **env, HAZFENCE_REDIS_URL=f"redis://{nobody}") as backend:
        assert backend.http.get("/readyz").json()["board"] == "away"
        for path in ("/vehicles", "/breaches", "/alarms", "/history?west=121&south=29&east=122&north=31"):
            answer = backend.http.get(path)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert backend.http.get("/vehicles").json() == {"detail": "Redis is away, try again"}
        assert backend.http.get("/alarms").json() == {"detail": "the database is away, try again"}
        until(lambda: "store away: waiting for it" in (log := backend.log_path.read_text()) and log)
        assert "cannot follow the stream" in backend.log_path.read_text()
        assert "secret" not in backend.log_path.read_text()
    backend = Backend("beside_worker", tmp_path, **env)
    assert backend.process.wait(20) == 3
    assert "HAZFENCE_REDIS_URL: is not set" in backend.log_path.read_text()
