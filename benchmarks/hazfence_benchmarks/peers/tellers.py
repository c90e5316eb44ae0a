"""Peers that keep state and tell entries and exits: by hand, a PostGIS trigger a row, Tile38's fences.

Each takes batches of fixes through `Teller.tell`, in the order of time, and knows in the end which fences
every vehicle is in, which is what is compared. None judges late fixes, crossings between fixes or rules.
Next room: ``vehicles.py``, which sets them beside the whole core.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import rtree
import shapely
from shapely.prepared import prep

from hazfence import FixBatch
from hazfence.services import PrivateService, ServiceError
from hazfence_benchmarks.peers.base import Missing, areas
from hazfence_benchmarks.peers.databases import private_database
from hazfence_benchmarks.plan import Plan
from hazfence_fences import FenceSet

__all__ = ["TELLERS", "PostGisTrigger", "Teller", "TellerByHand", "Tile38"]


_SILENCE_S = 30.0  # without a notification: the server does not work


class Teller(Protocol):
    """Another way to tell entries and exits; built from a fence set, closed at the end.

    Attributes:
        name: as in the table.
        clock: ``cpu`` where all is done in this process, else ``wall``.
    """

    name: ClassVar[str]
    clock: ClassVar[Literal["cpu", "wall"]]

    def __init__(self, fences: FenceSet, plan: Plan) -> None: ...

    def tell(self, batch: FixBatch) -> int:
        """Take in a batch; how many entries and exits came of it."""
        ...

    def inside(self) -> Mapping[str, set[str]]:
        """Ids of the fences that each vehicle is in; vehicles in none may be left out."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class TellerByHand:
    """The way one writes first: an R-tree, prepared shapely geometries, a dict of where each vehicle was."""

    name: ClassVar[str] = "by hand"
    clock: ClassVar[Literal["cpu", "wall"]] = "cpu"

    def __init__(self, fences: FenceSet, plan: Plan) -> None:
        self._inside: dict[str, set[str]] = {}
        self._fences = fences.fences
        self._tests = [prep(f.geometry).covers if f.metric is None else None for f in fences]
        self._tree = rtree.index.Index((i, f.bounds, None) for i, f in enumerate(fences))

    def tell(self, batch: FixBatch) -> int:
        """A fix at a time."""
        told = []
        for name, x, y in zip(batch.names(), batch.lon.tolist(), batch.lat.tolist(), strict=True):
            point, now = shapely.Point(x, y), set()
            for i in self._tree.intersection((x, y, x, y)):
                test, fence = self._tests[i], self._fences[i]
                if fence.covers(x, y) if test is None else test(point):
                    now.add(fence.id)
            before = self._inside.get(name, set())
            told += [(name, "enter", f) for f in now - before] + [(name, "exit", f) for f in before - now]
            self._inside[name] = now
        return len(told)

    def inside(self) -> Mapping[str, set[str]]:
        """Where each vehicle is."""
        return self._inside

    def close(self) -> None:
        """Nothing to give back."""


class PostGisTrigger:
    """One INSERT a fix, pipelined, and a trigger a row that joins the fences and writes entries and exits."""

    name: ClassVar[str] = "PostGIS trigger a row"
    clock: ClassVar[Literal["cpu", "wall"]] = "wall"

    def __init__(self, fences: FenceSet, plan: Plan) -> None:
        with contextlib.ExitStack() as stack:
            self._db = private_database(stack)
            self._db.execute(Path(__file__).with_name("trigger.sql").read_text())
            with self._db.cursor().copy("COPY fence FROM STDIN") as copy:
                for fence, wkb in zip(fences, shapely.to_wkb(areas(fences), hex=True), strict=True):
                    copy.write_row((fence.id, wkb))
            self._db.execute("ANALYZE fence")
            self._db.commit()
            self._stack = stack.pop_all()

    def tell(self, batch: FixBatch) -> int:
        """A row a fix, a transaction a batch."""
        before = self._told()
        rows = zip(batch.names(), batch.time_us.tolist(), batch.lon.tolist(), batch.lat.tolist(), strict=True)
        with self._db.cursor() as cursor:
            cursor.executemany("INSERT INTO fix VALUES (%s, %s, %s, %s)", rows)
        self._db.commit()
        return self._told() - before

    def inside(self) -> Mapping[str, set[str]]:
        """Where each vehicle is."""
        rows = self._db.execute("SELECT vehicle, fences FROM presence").fetchall()
        return {vehicle: set(held) for vehicle, held in rows}

    def close(self) -> None:
        """End the private server."""
        self._stack.close()

    def _told(self) -> int:
        row = self._db.execute("SELECT count(*) FROM told").fetchone()
        assert row is not None
        return int(row[0])


class _Tile38Server(PrivateService):
    """A tile38-server of our own, without its append-only file."""

    name: ClassVar[str] = "Tile38"

    def __init__(self, binary: str) -> None:
        super().__init__()
        self._binary = binary

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def _check(self) -> None:
        if shutil.which(self._binary) is None:
            raise ServiceError(f"{self._binary} is not a program: give --tile38 the path of a tile38-server")

    def _command(self) -> list[str]:
        return [self._binary, "-h", "127.0.0.1", "-p", str(self.port), "-d", str(self.folder / "data"),
                "--appendonly", "no"]  # fmt: skip

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
            link.sendall(b"*1\r\n$4\r\nPING\r\n")
            return link.recv(64).startswith(b"+PONG")


def _tile38_at(given: str, stack: contextlib.ExitStack) -> tuple[str, int]:
    """Where the server is: the given one, or a private one for as long as the stack is open."""
    host, _, port = given.rpartition(":")
    if host and port.isdecimal():
        return host, int(port)
    server = _Tile38Server(given)
    try:
        stack.enter_context(server)
    except ServiceError as error:
        raise Missing(" ".join(str(error).split())) from error
    return "127.0.0.1", server.port


class Tile38:
    """SET a fix, pipelined, against a channel a fence that tells ``enter`` and ``exit``; circles as polygons.

    The time ends when the notification of a last marker arrives: what was told before it has arrived too. The
    server is a program, started privately, or ``HOST:PORT`` of a running one, of which only keys and channels
    under a random name are used, and taken away at the end.
    """

    name: ClassVar[str] = "Tile38 FENCE channels"
    clock: ClassVar[Literal["cpu", "wall"]] = "wall"

    def __init__(self, fences: FenceSet, plan: Plan) -> None:
        if not plan.tile38:
            raise Missing("give a tile38-server: --tile38 FILE or HOST:PORT, or HAZFENCE_TILE38_SERVER")
        try:
            import redis
        except ModuleNotFoundError as missing:
            raise Missing("pip install redis") from missing
        self._inside: dict[str, set[str]] = defaultdict(set)
        self._ids = [fence.id for fence in fences]
        self._marks = 0
        own = f"hazfence-bench-{secrets.token_hex(4)}"
        self._fleet, self._marker, self._channel = f"{own}:fleet", f"{own}:marker", f"{own}:fence:"
        self._mark = f"{own}:mark"
        with contextlib.ExitStack() as stack:
            host, port = _tile38_at(plan.tile38, stack)
            connect: Any = redis.Redis
            self._client: Any = connect(host, port, protocol=2, socket_timeout=_SILENCE_S)
            stack.callback(self._client.close)
            try:
                self._client.execute_command("PING")
            except redis.RedisError as error:
                raise Missing(f"no Tile38 answers at {host}:{port}: {error}") from error
            stack.callback(self._clear, own)
            pipe = self._client.pipeline(transaction=False)
            for i, area in enumerate(areas(fences)):
                fence = ("INTERSECTS", self._fleet, "FENCE", "DETECT", "enter,exit", "OBJECT")
                pipe.execute_command("SETCHAN", f"{self._channel}{i}", *fence, shapely.to_geojson(area))
            mark = ("INTERSECTS", self._marker, "FENCE", "DETECT", "inside", "BOUNDS", -1, -1, 1, 1)
            pipe.execute_command("SETCHAN", self._mark, *mark)
            pipe.execute()
            self._heard: Any = self._client.pubsub(ignore_subscribe_messages=True)
            stack.callback(self._heard.close)
            self._heard.psubscribe(f"{own}:*")
            self._listen_until_marked()
            self._stack = stack.pop_all()

    def tell(self, batch: FixBatch) -> int:
        """A SET a fix, 250 in a pipeline."""
        told, pipe = 0, self._client.pipeline(transaction=False)
        rows = zip(batch.names(), batch.lon.tolist(), batch.lat.tolist(), strict=True)
        for n, (name, x, y) in enumerate(rows, start=1):
            pipe.execute_command("SET", self._fleet, name, "POINT", repr(y), repr(x))
            if n % 250 == 0:
                pipe.execute()
        pipe.execute()
        told += self._listen_until_marked()
        return told

    def inside(self) -> Mapping[str, set[str]]:
        """Where each vehicle is, by what was told."""
        return self._inside

    def close(self) -> None:
        """Take away what it set, and end the server if it is our own."""
        self._stack.close()

    def _clear(self, own: str) -> None:
        self._client.execute_command("PDELCHAN", f"{own}:*")
        for key in (self._fleet, self._marker):
            self._client.execute_command("DROP", key)

    def _listen_until_marked(self) -> int:
        """Send a marker, take in notifications until its own comes; how many of fences there were."""
        self._marks += 1
        self._client.execute_command("SET", self._marker, f"m{self._marks}", "POINT", 0, 0)
        told, until_s = 0, time.monotonic() + _SILENCE_S
        while True:
            message = self._heard.get_message(timeout=1)
            if message is None:  # also what a confirmation of the subscription reads as
                if time.monotonic() > until_s:
                    raise Missing(f"tile38-server told nothing for {_SILENCE_S:g} s")
                continue
            until_s = time.monotonic() + _SILENCE_S
            said = json.loads(message["data"])
            if said.get("hook") == self._mark:
                if said.get("id") == f"m{self._marks}":
                    return told
                continue
            held, fence = self._inside[said["id"]], self._ids[int(said["hook"].removeprefix(self._channel))]
            if said["detect"] == "enter":
                held.add(fence)
                told += 1
            elif said["detect"] == "exit":
                held.discard(fence)
                told += 1


#: All of them, the commonest first.
TELLERS: tuple[type[Teller], ...] = (TellerByHand, PostGisTrigger, Tile38)
