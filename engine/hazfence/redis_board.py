"""The live board on Redis: where every vehicle is, what goes on, and a stream of what happened.

You are at the ``Board`` port's real side (``memory.py`` has its twin); ``hazfence.worker.showcase``
writes through it, host backends read through it or with any Redis client. Everything under one
prefix (default ``hazfence:``); vehicle names and fence ids are UTF-8 and may hold any character:

    vehicle:<name>             hash: time, time_us, lon, lat, speed_kmh, heading_deg (empty when unknown),
                               status, alarm, fences (JSON list of ids), topic, partition
    positions                  GEO set of vehicle names (not beyond 85 degrees: Redis has no place there)
    fence:<id>                 set of the vehicles inside
    breaches                   hash: event id -> JSON of each breach that goes on
    visits                     hash: event id -> JSON of each visit that goes on
    events                     stream, about the last ``stream_length`` revisions: seq, topic, partition,
                               id, revision, kind, phase, vehicle, event (JSON)
    partition:<topic>/<n>      hash: seq, the last revision published for the partition
    partition:<topic>/<n>:vehicles, partition:<topic>/<n>:open    sets, to lay a partition anew

A revision and the ``seq`` that says it went out change in one script, so a revision goes out once.
All of it can be lost: the worker lays it anew from the store. On a Redis cluster give the prefix a
hash tag (``{hazfence}:``), because a script touches many keys.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from hazfence.events import Event
from hazfence.fixes import FixBatch
from hazfence.ports import BoardAway, BoardForgot, Published

__all__ = ["RedisBoard"]

_CHUNK = 500
#: Beyond this latitude Redis has no place in a GEO set.
_GEO_MAX_LAT = 85.05112878

_PUBLISH = """
local seq = redis.call('HGET', KEYS[1], 'seq')
if not seq then return -1 end
seq = tonumber(seq)
local new = 0
for i = 4, #ARGV, 9 do
  local id, revision, visit, over = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if tonumber(ARGV[i]) > seq then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'seq', ARGV[i], 'topic', ARGV[2],
      'partition', ARGV[3], 'id', id, 'revision', revision, 'kind', ARGV[i + 5],
      'phase', ARGV[i + 6], 'vehicle', ARGV[i + 7], 'event', ARGV[i + 8])
    local open = visit == '1' and KEYS[4] or KEYS[3]
    if over == '1' then
      redis.call('HDEL', open, id)
      redis.call('SREM', KEYS[5], id)
    else
      local shown = redis.call('HGET', open, id)
      if not shown or cjson.decode(shown).revision < tonumber(revision) then
        redis.call('HSET', open, id, ARGV[i + 8])
        redis.call('SADD', KEYS[5], id)
      end
    end
    seq = tonumber(ARGV[i])
    redis.call('HSET', KEYS[1], 'seq', ARGV[i])
    new = new + 1
  end
end
return new
"""

# ARGV: prefix, whether the partition is laid anew, topic, partition, vehicles as JSON. Numbers come as
# text, because Lua would write a double with 14 digits only.
_SHOW = """
if ARGV[2] == '0' and redis.call('HEXISTS', KEYS[1], 'seq') == 0 then return -1 end
local prefix = ARGV[1]
for _, v in ipairs(cjson.decode(ARGV[5])) do
  local name, time_us, time, lon, lat, geo, speed, heading, status, alarm, fences = unpack(v)
  local key = prefix .. 'vehicle:' .. name
  local shown = redis.call('HMGET', key, 'time_us', 'fences')
  if not shown[1] or tonumber(shown[1]) <= tonumber(time_us) then
    if shown[2] ~= fences then
      if shown[2] then
        for _, id in ipairs(cjson.decode(shown[2])) do redis.call('SREM', prefix .. 'fence:' .. id, name) end
      end
      for _, id in ipairs(cjson.decode(fences)) do redis.call('SADD', prefix .. 'fence:' .. id, name) end
    end
    redis.call('HSET', key, 'time_us', time_us, 'time', time, 'lon', lon, 'lat', lat, 'speed_kmh', speed,
      'heading_deg', heading, 'status', status, 'alarm', alarm, 'fences', fences, 'topic', ARGV[3],
      'partition', ARGV[4])
    if geo == '1' then
      redis.call('GEOADD', KEYS[2], lon, lat, name)
    else
      redis.call('ZREM', KEYS[2], name)
    end
    redis.call('SADD', KEYS[3], name)
  end
end
return 0
"""

_CLEAR = """
local prefix = ARGV[1]
for i = 2, #ARGV do
  local key = prefix .. 'vehicle:' .. ARGV[i]
  local fences = redis.call('HGET', key, 'fences')
  if fences then
    for _, id in ipairs(cjson.decode(fences)) do redis.call('SREM', prefix .. 'fence:' .. id, ARGV[i]) end
  end
  redis.call('DEL', key)
  redis.call('ZREM', KEYS[1], ARGV[i])
end
return 0
"""


class RedisBoard:
    """The ``Board`` port on Redis, and a reader for host backends.

    Args:
        url: ``redis://[:password@]host:port/db`` or ``rediss://`` for TLS.
        prefix: what every key starts with.
        stream_length: about how many revisions the stream keeps.
        timeout_s: for connecting and for each answer; a board that hangs counts as away.

    Example::

        board = RedisBoard("redis://localhost")
        await board.open()
        print(await board.breaches())
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "hazfence:",
        stream_length: int = 100_000,
        timeout_s: float = 3.0,
    ) -> None:
        self._prefix = prefix
        self._stream_length = stream_length
        self._redis: Any = redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # the showcase tries again, and says so
        )
        self._publish = self._redis.register_script(_PUBLISH)
        self._show = self._redis.register_script(_SHOW)
        self._clear = self._redis.register_script(_CLEAR)

    # The port -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """See the port."""
        async with _reaching():
            await self._redis.ping()

    async def close(self) -> None:
        """See the port."""
        await self._redis.aclose()

    async def last_seq(self, topic: str, partition: int) -> int | None:
        """See the port."""
        async with _reaching():
            seq = await self._redis.hget(self._partition(topic, partition), "seq")
        return None if seq is None else int(seq)

    async def publish(self, topic: str, partition: int, entries: Sequence[Published]) -> int:
        """See the port."""
        keys = [
            self._partition(topic, partition),
            self._key("events"),
            self._key("breaches"),
            self._key("visits"),
            self._partition(topic, partition) + ":open",
        ]
        new = 0
        for start in range(0, len(entries), _CHUNK):
            args: list[Any] = [self._stream_length, topic, partition]
            for entry in entries[start : start + _CHUNK]:
                event = entry.event
                args += [
                    entry.seq,
                    event.id,
                    event.revision,
                    int(event.is_visit),
                    int(event.is_over),
                    str(event.kind),
                    str(event.phase),
                    event.vehicle,
                    _json(event),
                ]
            async with _reaching():
                done = int(await self._publish(keys=keys, args=args))
            if done < 0:
                raise BoardForgot(f"Redis holds no seq for {topic}/{partition}")
            new += done
        return new

    async def show_positions(
        self, topic: str, partition: int, fixes: FixBatch, inside: Sequence[tuple[str, ...]]
    ) -> None:
        """See the port."""
        await self._lay(topic, partition, fixes, inside, anew=False)

    async def rebuild(
        self,
        topic: str,
        partition: int,
        fixes: FixBatch,
        inside: Sequence[tuple[str, ...]],
        open_events: Sequence[Event],
        after_seq: int,
    ) -> None:
        """See the port. The ``seq`` is set last: what breaks off midway is laid anew once more."""
        place = self._partition(topic, partition)
        async with _reaching():
            await self._redis.delete(place)
            names = sorted(await self._redis.smembers(place + ":vehicles"))
            for start in range(0, len(names), _CHUNK):
                args = [self._prefix, *names[start : start + _CHUNK]]
                await self._clear(keys=[self._key("positions")], args=args)
            ids = list(await self._redis.smembers(place + ":open"))
            async with self._redis.pipeline(transaction=True) as pipe:
                if ids:
                    pipe.hdel(self._key("breaches"), *ids)
                    pipe.hdel(self._key("visits"), *ids)
                pipe.delete(place + ":vehicles", place + ":open")
                for event in open_events:
                    pipe.hset(self._key("visits" if event.is_visit else "breaches"), event.id, _json(event))
                    pipe.sadd(place + ":open", event.id)
                await pipe.execute()
        await self._lay(topic, partition, fixes, inside, anew=True)
        async with _reaching():
            await self._redis.hset(place, "seq", after_seq)

    # For readers --------------------------------------------------------------------------------

    async def vehicle(self, name: str) -> dict[str, Any] | None:
        """What is known of a vehicle now, or None; ``fences`` is a list of fence ids.

        Example::

            {"vehicle": "浙B12345", "time": "2026-03-02T00:00:00.000000Z", "lon": 121.5, "lat": 29.9,
             "speed_kmh": 54.2, "heading_deg": None, "status": 3, "alarm": 0, "fences": ["district"]}
        """
        async with _reaching():
            fields = await self._redis.hgetall(self._key("vehicle:" + name))
        return _vehicle(name, fields) if fields else None

    async def vehicles(self) -> list[dict[str, Any]]:
        """What is known of every vehicle on the GEO set, as :meth:`vehicle` says it, by name."""
        async with _reaching():
            names = sorted(n.decode() for n in await self._redis.zrange(self._key("positions"), 0, -1))
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hgetall(self._key("vehicle:" + name))
                found = await pipe.execute()
        return [_vehicle(name, fields) for name, fields in zip(names, found, strict=True) if fields]

    async def inside(self, fence_id: str) -> list[str]:
        """The vehicles inside a fence, by name."""
        async with _reaching():
            return sorted(n.decode() for n in await self._redis.smembers(self._key("fence:" + fence_id)))

    async def near(self, lon: float, lat: float, radius_m: float) -> list[tuple[str, float]]:
        """Vehicles within ``radius_m`` of a place, with their distance in metres, nearest first."""
        async with _reaching():
            found = await self._redis.geosearch(
                self._key("positions"), longitude=lon, latitude=lat, radius=radius_m, unit="m",
                sort="ASC", withdist=True,
            )  # fmt: skip
        return [(name.decode(), float(distance)) for name, distance in found]

    async def breaches(self) -> list[dict[str, Any]]:
        """Every breach that goes on, as ``Event.to_json``, by its start."""
        return await self._open("breaches")

    async def visits(self) -> list[dict[str, Any]]:
        """Every visit that goes on, as ``Event.to_json``, by its start."""
        return await self._open("visits")

    async def events(
        self, after: str = "0", *, count: int = 100, block_ms: int | None = None
    ) -> list[tuple[str, dict[str, Any]]]:
        """Revisions on the stream after a stream id, in order: (stream id, ``Event.to_json`` and ``seq``).

        Args:
            after: the last id seen; ``$`` for what comes from now on, ``0`` for all that is kept.
            count: at most this many.
            block_ms: wait this long for the first one; keep it below ``timeout_s``.
        """
        async with _reaching():
            answer = await self._redis.xread({self._key("events"): after}, count=count, block=block_ms)
        ((_, entries),) = answer or ((b"", ()),)
        return [
            (entry_id.decode(), {**json.loads(fields[b"event"]), "seq": int(fields[b"seq"])})
            for entry_id, fields in entries
        ]

    # ---------------------------------------------------------------------------------------------

    async def _open(self, which: str) -> list[dict[str, Any]]:
        async with _reaching():
            found = await self._redis.hvals(self._key(which))
        return sorted((json.loads(event) for event in found), key=lambda e: (e["started_at"], e["id"]))

    async def _lay(
        self,
        topic: str,
        partition: int,
        fixes: FixBatch,
        inside: Sequence[tuple[str, ...]],
        *,
        anew: bool,
    ) -> None:
        place = self._partition(topic, partition)
        keys = [place, self._key("positions"), place + ":vehicles"]
        for start in range(0, max(len(fixes), 1), _CHUNK):
            rows = slice(start, start + _CHUNK)
            vehicles = _vehicles_json(fixes.take(rows), inside[rows])
            args: list[Any] = [self._prefix, int(anew), topic, partition, vehicles]
            async with _reaching():
                done = int(await self._show(keys=keys, args=args))
            if done < 0:
                raise BoardForgot(f"Redis holds no seq for {topic}/{partition}")

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _partition(self, topic: str, partition: int) -> str:
        return self._key(f"partition:{topic}/{partition}")


@asynccontextmanager
async def _reaching() -> AsyncIterator[None]:
    """Every trouble with Redis is the board being away: it must never stop a partition."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise BoardAway(f"Redis: {error or type(error).__name__}") from error


def _json(event: Event) -> bytes:
    return msgspec.json.encode(event.to_json())


def _vehicles_json(fixes: FixBatch, inside: Sequence[tuple[str, ...]]) -> bytes:
    """Vehicles as the show script reads them, column by column and not a dict a vehicle."""
    time = np.datetime_as_string(fixes.time_us.astype("M8[us]"), unit="us").tolist()
    geo = np.where(np.abs(fixes.lat) <= _GEO_MAX_LAT, "1", "0").tolist()
    json_of = {fences: msgspec.json.encode(fences).decode() for fences in set(inside)}
    columns = [
        fixes.names(),
        _texts(fixes.time_us),
        [moment + "Z" for moment in time],
        _texts(fixes.lon),
        _texts(fixes.lat),
        geo,
        _texts(fixes.speed_kmh),
        _texts(fixes.heading_deg),
        _texts(fixes.status),
        _texts(fixes.alarm),
        [json_of[fences] for fences in inside],
    ]
    return msgspec.json.encode(list(zip(*columns, strict=True)))


def _texts(column: npt.NDArray[Any]) -> list[str]:
    """Numbers as text that gives them back; empty for NaN and infinity."""
    if column.dtype.kind != "f":
        return list(map(str, column.tolist()))
    finite = np.isfinite(column)
    texts = list(map(repr, column.astype(np.float64).tolist()))
    return texts if finite.all() else [t if ok else "" for t, ok in zip(texts, finite.tolist(), strict=True)]


def _vehicle(name: str, fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    said = {key.decode(): value.decode() for key, value in fields.items()}
    number = {k: float(said[k]) if said[k] else None for k in ("lon", "lat", "speed_kmh", "heading_deg")}
    whole = {k: int(said[k]) for k in ("status", "alarm")}
    return {"vehicle": name, "time": said["time"], **number, **whole, "fences": json.loads(said["fences"])}
