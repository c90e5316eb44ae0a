"""What PostgreSQL cannot keep, and what is kept instead, so that one odd value never blocks a partition.

You are in the PostGIS adapter, below `store.py`. Plates, fence names and details come from outside and can
hold what a ``text`` or ``jsonb`` cannot: NUL, half of a surrogate pair, NaN, or more than an index takes.
Refusing them would stop everything behind them on the partition; so they are changed here, visibly, and
names stay distinct: a changed name ends in ``~`` and 16 hex digits of a digest of the name as it came. The
id of an event is computed before, from what came, so storing the same thing again still changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from typing import Any

from hazfence.events import Event

__all__ = ["NAME_LIMIT", "events_json", "is_storable", "storable_name", "storable_text"]

#: Characters of a vehicle's, fence's or topic's name; longer ones would not fit into an index (2,704 bytes).
NAME_LIMIT = 200

_CANNOT = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL can keep ``text``: no NUL, no half surrogate pair."""
    return _CANNOT.search(text) is None


def storable_text(text: str, limit: int | None = None) -> str:
    """Return ``text`` with U+2400 for NUL and U+FFFD for half surrogate pairs, cut to ``limit`` characters.

    Example:
        >>> storable_text("a\\0b")
        'a␀b'
    """
    if not is_storable(text):
        text = _CANNOT.sub(lambda found: "\u2400" if found[0] == "\0" else "\ufffd", text)
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


def storable_name(name: str) -> str:
    """Return the name as it is, or, when it cannot be kept so, one that no other name is changed into.

    Example:
        >>> storable_name("浙B12345")
        '浙B12345'
        >>> storable_name("a\\0b")
        'a␀b~b7a8371f8d5de8e1'
    """
    if len(name) <= NAME_LIMIT and is_storable(name):
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{storable_text(name)[: NAME_LIMIT - 17]}~{digest}"


def events_json(events: Iterable[Event]) -> str:
    """Return ``events`` as a JSON array of their ``to_json()``, with every value one that jsonb can keep.

    NaN and infinities in a detail become null.
    """
    said = [event.to_json() for event in events]
    for one in said:
        one["vehicle"] = storable_name(one["vehicle"])
        if one["fence_id"] is not None:
            one["fence_id"] = storable_name(one["fence_id"])
    try:
        text = json.dumps(said, ensure_ascii=False, allow_nan=False)
        if "\\u0000" not in text and is_storable(text):
            return text
    except ValueError:
        pass  # NaN or infinity
    return json.dumps(_storable(said), ensure_ascii=False, allow_nan=False)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable_text(str(key)): _storable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(inner) for inner in value]
    return value
