"""The doctor's look at Redis, the live board. Everything on it can be lost and is laid anew.

You are behind `report.py`. Redis 6.2 is needed for ``GEOSEARCH``; a memory limit with eviction would take
single keys out of the board, which nobody would notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError

from hazfence.doctor.report import Say, skew
from hazfence.worker.config import WorkerSettings

__all__ = ["look"]

_TIMEOUT_S = 5.0
_VERSION = (6, 2)
_LOCAL = ("localhost", "127.0.0.1", "::1", "", None)
_MEMORY_WARN_PART = 0.8


def look(settings: WorkerSettings, say: Say, clock_s: Callable[[], float]) -> None:
    """Examine Redis; ``say`` collects what is found."""
    if settings.redis_url is None:
        say.ok("reachable", "no board: HAZFENCE_REDIS_URL is not set")
        return
    url = settings.redis_url.get_secret_value()
    try:
        client = redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            decode_responses=True,
        )
        with client:
            client.ping()
            _examine(client, urlsplit(url), say, clock_s)
    except (AuthenticationError, AuthorizationError) as error:
        say.fail(
            "reachable",
            str(error),
            "put user and password into HAZFENCE_REDIS_URL: redis://USER:PASSWORD@HOST/0",
        )
    except (RedisError, OSError, ValueError) as error:
        text = str(error) or type(error).__name__
        if "auth" in text.lower() or "WRONGPASS" in text:
            mend = "put user and password into HAZFENCE_REDIS_URL: redis://USER:PASSWORD@HOST/0"
        elif "certificate" in text.lower():
            mend = "add ?ssl_ca_certs=FILE to HAZFENCE_REDIS_URL"
        else:
            mend = "start Redis, or mend HAZFENCE_REDIS_URL; workers go on without the board meanwhile"
        say.fail("reachable", text, mend)


def _examine(client: Any, url: Any, say: Say, clock_s: Callable[[], float]) -> None:
    say.ok("reachable", f"{url.hostname}:{url.port or 6379}")
    if url.scheme == "rediss":
        say.ok("encryption", "TLS")
    elif url.hostname in _LOCAL:
        say.ok("encryption", "none, and none is needed on the same machine")
    else:
        say.warn(
            "encryption",
            "the connection is not encrypted",
            "use rediss:// in HAZFENCE_REDIS_URL, and tls-port in redis.conf",
        )
    info = _asked(lambda: client.info())
    if info is None:
        say.warn("version", "the user may not ask (INFO)", "allow it: ACL SETUSER USER +info")
    else:
        _of_info(info, say)
    try:
        client.eval("return 1", 0)
    except RedisError as error:
        say.fail(
            "scripts",
            str(error),
            "allow the worker's user scripts and its keys: "
            "ACL SETUSER USER +@all -@dangerous +info ~hazfence:*",
        )
    else:
        say.ok("scripts", "may be run")
    before_s = clock_s()
    told = _asked(client.time)
    after_s = clock_s()
    if told is not None:
        skew(say, "Redis", told[0] + told[1] / 1e6, before_s, after_s)


def _asked(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ResponseError:
        return None


def _of_info(info: dict[str, Any], say: Say) -> None:
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < _VERSION:
        say.fail("version", f"Redis {version}", f"upgrade to Redis {'.'.join(map(str, _VERSION))} or newer")
    else:
        say.ok("version", f"Redis {version}")
    if info.get("role", "master") != "master":
        say.fail("writable", "the server is a replica", "point HAZFENCE_REDIS_URL at the primary")
    if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") == "ok":
        say.ok("persistence", "append-only file")
    elif info.get("aof_enabled"):
        say.fail("persistence", "the append-only file cannot be written", "make room on the disk of Redis")
    elif info.get("rdb_last_bgsave_status", "ok") != "ok":
        say.warn("persistence", "the last snapshot of Redis failed", "make room on the disk of Redis")
    else:
        say.ok("persistence", "no append-only file: after a restart of Redis the board is laid anew")
    limit, used = int(info.get("maxmemory", 0)), int(info["used_memory"])
    policy = info.get("maxmemory_policy", "noeviction")
    said = f"{used / (1 << 20):,.0f} MB used" + (f" of {limit / (1 << 20):,.0f} MB" if limit else "")
    if limit and policy != "noeviction":
        say.fail(
            "memory",
            f"{said}, policy {policy}",
            "set maxmemory-policy noeviction: else keys vanish from the board",
        )
    elif limit and used > limit * _MEMORY_WARN_PART:
        say.warn("memory", said, "raise maxmemory of Redis")
    else:
        say.ok("memory", said)
