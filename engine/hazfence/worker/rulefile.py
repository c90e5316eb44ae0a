"""The rulebook file: which rules a worker keeps, with which numbers, and what people are not told.

You are beside ``config.py``, which reads the file named by ``HAZFENCE_RULES`` once. It is JSON::

    {"all": true,
     "rules": {"overpark": {"max_min": 45}, "overdrive": false},
     "desk": {"quiet_s": {"*": 60}, "shelves": [{"kinds": ["silent"], "vehicles": ["浙B12345"]}]}}

``all`` switches every rule on first, with the law's numbers (``Rulebook.all_on``); ``rules`` is a book as in
``hazfence.rules.book`` and changes what it names; ``desk`` is that of ``hazfence.desk``. All three may be
left out. Fences add what only they can say in their own property ``rules``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hazfence.desk import Desk, DeskError
from hazfence.rules import Rulebook, RuleError

__all__ = ["RuleFile", "read_rule_file"]

_KEYS = ("all", "rules", "desk")


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What a rulebook file says.

    Attributes:
        rules: None when the file leaves the rules alone.
        desk: configuration of the desk, checked; see ``hazfence.desk``.
    """

    rules: Rulebook | None = None
    desk: Mapping[str, Any] = field(default_factory=dict)


def read_rule_file(path: str | Path) -> RuleFile:
    """Read and check a rulebook file; the word ``all`` stands for ``{"all": true}``.

    Raises:
        ValueError: it cannot be used; the message names the file, the place in it and the mend.

    Example:
        >>> read_rule_file("all").rules.lookup("overpark", None)["max_min"]
        30.0
    """
    if str(path) == "all":
        return RuleFile(Rulebook.all_on())
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; name a rulebook file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8") from None
    try:
        given = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}, column {error.colno}: no JSON: {error.msg}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path}: is no JSON object; write one with {', '.join(_KEYS)}")
    if unknown := sorted(set(given) - set(_KEYS)):
        mend = "write the rules under the key 'rules'" if unknown[0] not in _KEYS else ""
        raise ValueError(f"{path}: has no key {unknown[0]!r}; it has {', '.join(_KEYS)}: {mend}")
    every = given.get("all", False)
    if not isinstance(every, bool):
        raise ValueError(f"{path}, 'all': is {every!r}; write true or false")
    try:
        book = given.get("rules", {})
        Rulebook(book)
        rules = Rulebook.all_on(book) if every else Rulebook(book) if "rules" in given else None
        desk = given.get("desk", {})
        if not isinstance(desk, Mapping):
            raise DeskError(f"desk: is {desk!r}; write an object with quiet_s, shelves")
        Desk(desk)
    except (RuleError, DeskError) as error:
        raise ValueError(f"{path}: {error}") from None
    return RuleFile(rules, desk)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys come once: of two entries for a rule, one would be lost in silence."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} comes twice in one object; join the two")
        found[key] = value
    return found
