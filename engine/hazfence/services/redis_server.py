"""A private Redis: its own port, password and append-only file.

One of the three services of this package; `process.py` holds what they share.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from typing import ClassVar

from hazfence.services.process import PrivateService, ServiceError

__all__ = ["PrivateRedis"]


class PrivateRedis(PrivateService):
    """A Redis server of our own on 127.0.0.1; its append-only file keeps the data over `kill` and `restart`.

    Args:
        folder: see `PrivateService`.
        persist: False keeps data in memory only: `restart` then finds it empty.
        port: see `PrivateService`.
        ready_within_s: see `PrivateService`.
        settings: further lines of the configuration, e.g. ``{"maxmemory": "50mb"}``.
    """

    name: ClassVar[str] = "Redis"
    orphan_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        persist: bool = True,
        port: int | None = None,
        ready_within_s: float = 30.0,
        settings: dict[str, str] | None = None,
    ) -> None:
        super().__init__(folder, port=port, ready_within_s=ready_within_s)
        self.persist = persist
        self.settings = dict(settings or {})

    @property
    def url(self) -> str:
        """E.g. ``redis://:...@127.0.0.1:21346/0``."""
        return f"redis://:{self._secret()}@127.0.0.1:{self.port}/0"

    def _check(self) -> None:
        if shutil.which("redis-server") is None:
            raise ServiceError(
                "redis-server is not installed: run scripts/install-system-packages.sh "
                "(Debian: apt-get install redis-server), or set HAZFENCE_REDIS_URL"
            )

    def _command(self) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self._secret(),
            "dir": f'"{self.folder}"',
            "appendonly": "yes" if self.persist else "no",
            "appendfsync": "everysec",
            "save": '""',
            "daemonize": "no",
            "logfile": '""',
        } | self.settings
        path = self.folder / "redis.conf"  # a file, because arguments are seen by every user of the machine
        path.touch(mode=0o600)
        path.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        return [str(shutil.which("redis-server")), str(path)]

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(b"AUTH %s\r\nPING\r\n" % self._secret().encode())
            heard = b""
            while heard.count(b"\r\n") < 2:
                part = connection.recv(256)
                if not part:
                    return False
                heard += part
        return heard == b"+OK\r\n+PONG\r\n"
