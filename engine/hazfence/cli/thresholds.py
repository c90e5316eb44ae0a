"""The workers' thresholds and rules, as their environment says them, for commands that judge again.

You are on the top floor, used by ``explain.py`` and ``rehearse.py``. ``HAZFENCE_ENGINE`` and
``HAZFENCE_RULES`` mean here what they mean to a worker (``hazfence.worker.config``).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hazfence.reference import ReferenceData
    from hazfence.settings import EngineSettings
    from hazfence_fences import FenceSet

__all__ = ["file_asked", "object_of", "thresholds"]


def thresholds(engine: str, rules: str) -> EngineSettings:
    """The settings of an engine.

    Args:
        engine: JSON of ``EngineSettings``, empty for none.
        rules: a rulebook file, or the word all; empty for none.

    Raises:
        ValueError: one of them cannot be used; names it.
    """
    from hazfence.settings import EngineSettings
    from hazfence.worker.rulefile import read_rule_file

    settings = EngineSettings.from_json(object_of(engine, "--engine"))
    book = read_rule_file(rules).rules if rules else None
    return settings if book is None else replace(settings, rules=book)


def object_of(text: str, option: str) -> dict[str, Any]:
    """An option's JSON object; an empty one for an empty text.

    Raises:
        ValueError: it is none.
    """
    mend = 'write an object of settings, e.g. {"overspeed_for_s": 30}'
    if not text:
        return {}
    try:
        given = json.loads(text)
    except ValueError:
        raise ValueError(f"{option} {text[:40]!r} is no JSON: {mend}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{option}: {mend}")
    return given


def file_asked(settings: EngineSettings, fences: FenceSet, data: ReferenceData) -> ReferenceData | None:
    """What is on file, when a rule asks it; else None, as a worker has it."""
    return data if settings.rules.for_fences(fences.fences, {}).asks_file else None
