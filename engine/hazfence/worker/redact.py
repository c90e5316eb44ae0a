"""Secrets taken out of texts that others wrote: error messages of drivers, log lines of libraries.

You are beside the worker's way; ``log.py``, the doctor and the command line pass through here what they
did not write themselves. Our own code never writes a secret; a driver may quote the URL it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

__all__ = ["Redactor", "passwords_of"]

#: user:password@ in whatever looks like a URL, also one that is cut off or of a foreign scheme.
_IN_URL = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@]*(?=@)", re.IGNORECASE)
#: password=... as libpq's connection strings and the queries of URLs have it.
_AS_WORD = re.compile(
    r"(?P<before>\b(?:\w*password|\w*passwd|secret)\s*=\s*)('[^']*'|[^\s&'\",]+)", re.IGNORECASE
)
#: Shorter secrets are taken out only where the place shows what they are: "a" is in every word.
_SHORTEST = 4
_HIDDEN = "***"


def passwords_of(url: str) -> set[str]:
    """The password in a URL, as written there and as meant.

    Example:
        >>> sorted(passwords_of("redis://me:a%40b@host/0"))
        ['a%40b', 'a@b']
    """
    try:
        password = urlsplit(url).password
    except ValueError:  # no URL: nothing known of its parts
        password = None
    found = _IN_URL.search(url)
    written = {password} if password else set()
    if found:
        written.add(found[0][len(found["before"]) :])
    return {text for one in written for text in (one, unquote(one)) if text}


class Redactor:
    """Takes known secrets, and what looks like a password in a URL, out of texts.

    Args:
        secrets: what must not be seen; short ones are only taken out of URLs.

    Example:
        >>> Redactor(["geheim"])("no geheim, no postgresql://me:1@host/db password=2")
        'no ***, no postgresql://me:***@host/db password=***'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({one for one in secrets if len(one) >= _SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(_HIDDEN, text)
        if "://" in text:
            text = _IN_URL.sub(rf"\g<before>{_HIDDEN}", text)
        return _AS_WORD.sub(rf"\g<before>{_HIDDEN}", text) if "=" in text else text
