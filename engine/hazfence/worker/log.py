"""Log lines of the worker: one line a fact, for people or as JSON, those of the libraries alike.

You are beside the worker's way; ``main.py`` calls :func:`set_up` once, before anything else. Rooms
that log take ``structlog.get_logger`` and name what they say in keys, so nothing set up here
changes what is said, only how it looks.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, TextIO

import structlog

from hazfence.worker.redact import Redactor

__all__ = ["set_up"]

#: Libraries that tell more than an operator wants to read.
_QUIET = {"aiokafka": "warning", "faust": "warning", "mode": "warning", "aiohttp.access": "warning"}


def _one_line(_: Any, __: str, said: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what is not printable, so that no plate or message forges a line or colours the terminal."""
    for key, value in said.items():
        if isinstance(value, str) and not value.isprintable() and key != "exception":
            said[key] = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return said


def set_up(
    *,
    level: str = "info",
    as_json: bool = False,
    stream: TextIO | None = None,
    secrets: Iterable[str] = (),
) -> None:
    """Send structlog and the standard library's logging to one place, in one form.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        as_json: JSON lines instead of lines for people.
        stream: where to; standard error when None.
        secrets: what must not be in any line, whoever wrote it; see `hazfence.worker.redact`.
    """
    redact = Redactor(secrets)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    out = stream or sys.stderr
    if as_json:
        last: list[Any] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        last = [_one_line, structlog.dev.ConsoleRenderer(colors=out.isatty())]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)

    def finish(_: Any, __: str, line: Any) -> str:
        return redact(str(line))

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, finish],
    )
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quiet in _QUIET.items():
        if level != "debug":
            logging.getLogger(name).setLevel(quiet.upper())
