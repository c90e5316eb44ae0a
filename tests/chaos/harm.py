"""What can happen to the parts, and its mending: each harm is done for a while, and undone.

:class:`Harm` deals them from a seeded deck: every kind once, then at random by weight. Some go on in the
background, so that the next comes on top.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import redis

from hazfence.services import PrivateKafka, PrivatePostgres, PrivateRedis, PrivateService

from .crew import Crew
from .proxy import Proxy

_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'hazfence' AND datname = %s ORDER BY random() LIMIT 1
"""


#: A worker that was told to die somewhere gets there within this time, or not at all.
_DOOM_S = 15.0


class Harm:
    """Does harm to the parts of a running system.

    Args:
        seed: the harms, their order and length follow from it; what they meet depends on the machine.
        crew, postgres, broker, redis: the parts.
        ways: proxies by what they lead to.
        disk: makes the disk full (True) and frees it (False).
        database: name of the database that the workers write to.
        say: hears what is done.
        pace: below 1, harms and pauses are shorter.

    Attributes:
        done: how often each harm was done.
    """

    def __init__(
        self,
        seed: int,
        *,
        crew: Crew,
        postgres: PrivatePostgres,
        broker: PrivateService,
        redis: PrivateRedis,
        ways: dict[str, Proxy],
        disk: Callable[[bool], None],
        database: str,
        say: Callable[[str], None],
        pace: float = 1.0,
    ) -> None:
        self._pace = pace
        self._rng = random.Random(seed)
        self._crew, self._postgres, self._broker, self._redis = crew, postgres, broker, redis
        self._ways, self._disk, self._database, self._say = ways, disk, database, say
        self._locks = {name: threading.Lock() for name in ("postgres", "broker", "redis", "disk", *ways)}
        self._background: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self.done: Counter[str] = Counter()
        self.killed_services = 0
        self._harms: dict[str, tuple[int, Callable[[random.Random], None]]] = {
            "worker killed": (30, self._kill_worker),
            "worker killed at a commit point": (30, self._doom),
            "worker frozen": (8, self._freeze_worker),
            "worker joins": (3, self._join),
            "worker leaves": (3, self._leave),
            "PostgreSQL killed": (3, lambda rng: self._kill(rng, "postgres", self._postgres)),
            "PostgreSQL frozen": (3, lambda rng: self._freeze(rng, "postgres", self._postgres)),
            "connection to PostgreSQL ended": (3, self._terminate),
            "Redis killed": (3, lambda rng: self._kill(rng, "redis", self._redis)),
            "Redis frozen": (2, lambda rng: self._freeze(rng, "redis", self._redis)),
            "Redis emptied": (1, self._flush),
            "disk full": (2, self._fill),
            "broker frozen": (3, lambda rng: self._freeze(rng, "broker", self._broker)),
        }
        if isinstance(broker, PrivateKafka):  # the embedded one forgets everything when it dies
            self._harms["broker killed"] = (3, lambda rng: self._kill(rng, "broker", self._broker))
        for name in ways:
            self._harms[f"network to {name} cut"] = (2, lambda rng, name=name: self._cut(rng, name))  # type: ignore[misc]
        self._deck = list(self._harms)
        self._rng.shuffle(self._deck)

    @property
    def kills(self) -> int:
        """Processes that got SIGKILL so far, from outside or at a point in themselves."""
        return self._crew.killed + self.killed_services + sum(self._crew.died_at.values())

    def one(self) -> None:
        """Do one, and perhaps do not wait for its end."""
        name = self._deck.pop() if self._deck else self._any()
        self.done[name] += 1
        self._say(name)
        rng = random.Random(self._rng.getrandbits(32))
        thread = threading.Thread(target=self._watched, args=(self._harms[name][1], rng), name=name)
        thread.start()
        self._background = [one for one in self._background if one.is_alive()]
        if len(self._background) < 2 and self._rng.random() < 0.5:
            self._background.append(thread)
        else:
            thread.join()
        if self._failures:
            raise self._failures[0]
        time.sleep(self._rng.uniform(0, 1.0) * self._pace)

    def over(self) -> None:
        """Wait until everything that was harmed is mended."""
        for thread in self._background:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _watched(self, harm: Callable[[random.Random], None], rng: random.Random) -> None:
        try:
            harm(rng)
        except BaseException as error:
            self._failures.append(error)

    def _any(self) -> str:
        names = sorted(self._harms)
        return self._rng.choices(names, [self._harms[name][0] for name in names])[0]

    def _while(self, rng: random.Random, longest_s: float) -> None:
        time.sleep(rng.uniform(0.1, longest_s) * self._pace)

    # -- the harms ---------------------------------------------------------------------------------

    def _kill_worker(self, rng: random.Random) -> None:
        self._crew.kill(rng.uniform(0.2, 2.5))

    def _doom(self, rng: random.Random) -> None:
        died = sum(self._crew.died_at.values())
        point = self._crew.doom()
        if point.startswith("board anew"):
            self._flush(rng)
        patience_s = max(6.0, _DOOM_S * self._pace)
        give_up_s = time.monotonic() + patience_s
        while sum(self._crew.died_at.values()) == died and time.monotonic() < give_up_s:
            time.sleep(0.05)
            if point.startswith("revocation") and time.monotonic() > give_up_s - patience_s / 2:
                point = ""
                self._leave(rng) if len(self._crew) > 2 else self._crew.join()

    def _freeze_worker(self, rng: random.Random) -> None:
        slot = self._crew.freeze()
        self._while(rng, 6.0)  # at times longer than the session: then it wakes up as a former owner
        slot.thaw()

    def _join(self, rng: random.Random) -> None:
        if len(self._crew) < 3:
            self._crew.join()

    def _leave(self, rng: random.Random) -> None:
        if len(self._crew) > 1:
            self._crew.leave()

    def _kill(self, rng: random.Random, name: str, service: PrivateService) -> None:
        with self._locks[name]:
            service.kill()
            self.killed_services += 1
            self._while(rng, 2.0)
            service.restart()

    def _freeze(self, rng: random.Random, name: str, service: PrivateService) -> None:
        with self._locks[name]:
            service.pause()
            self._while(rng, 4.0)
            service.resume()

    def _cut(self, rng: random.Random, name: str) -> None:
        with self._locks[name]:
            way = self._ways[name]
            way.swallow() if rng.random() < 0.5 else way.refuse()
            self._while(rng, 4.0)
            way.restore()

    def _terminate(self, rng: random.Random) -> None:
        with self._locks["postgres"], psycopg.connect(self._postgres.url, connect_timeout=5) as connection:
            connection.execute(_TERMINATE, (self._database,))

    def _flush(self, rng: random.Random) -> None:
        with self._locks["redis"], redis.Redis.from_url(self._redis.url) as client:
            client.flushall()

    def _fill(self, rng: random.Random) -> None:
        with self._locks["disk"]:
            self._disk(True)
            self._while(rng, 3.0)
            self._disk(False)


class SmallDisk:
    """A small file system for the fixes, which can be made full; needs root and ``unshare --mount``."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._ballast = folder / "ballast"

    def mount(self, owner: tuple[int, int]) -> bool:
        """Mount it for a user; False when that is not allowed here."""
        self.folder.mkdir()
        options = f"size={self._megabytes}m,uid={owner[0]},gid={owner[1]},mode=0700"
        done = os.spawnlp(
            os.P_WAIT, "mount", "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)
        )
        return done == 0

    def fill(self, full: bool) -> None:
        """Leave no byte, or give them back."""
        if not full:
            self._ballast.unlink(missing_ok=True)
            return
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
