"""The statements the programs use, one ``.sql`` file each, with psycopg's named parameters (``%(name)s``).

Example:
    >>> "hazfence.event_revision" in load("store_events")
    True
"""

from __future__ import annotations

import functools
from importlib import resources

__all__ = ["load", "names"]


def names() -> tuple[str, ...]:
    """Every query there is, sorted."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".sql") for name in files if name.endswith(".sql")))


@functools.cache
def load(name: str) -> str:
    """Return the text of ``queries/<name>.sql``.

    Raises:
        KeyError: there is none of that name.
    """
    if name not in names():
        raise KeyError(f"no query {name!r}; there are {', '.join(names())}")
    return resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
