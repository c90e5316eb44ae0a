"""Rules that look at more than one vehicle, or at more than fixes: what is wanted against what was said.

You are in ``hazfence.rules``. ``plates.py``, ``capacity.py`` and ``separation.py`` do not walk along a
track: each works out, from the set of all that is known, what should be said, and :class:`Ledger` turns the
difference to what was said before into revisions. So the outcome is a function of the set of what came in,
not of its order, and what turns out to be wrong is retracted, never deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from hazfence.events import Event, Phase

__all__ = ["Ledger"]


class Ledger:
    """What was said, by event id: the last revision of each."""

    def __init__(self) -> None:
        self._said: dict[str, Event] = {}

    def settle(
        self,
        wanted: Mapping[str, Event],
        among: Iterable[str],
        because: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> list[Event]:
        """The revisions that bring what was said in line with what is wanted.

        Args:
            wanted: what should stand, by id; revisions are counted here.
            among: ids that may stand; those of them not wanted are retracted.
            because: of those, what the retraction's detail says beside what the event's did.

        Returns:
            revisions by time and id.
        """
        news = []
        for event_id in {*wanted, *among}:
            before, now = self._said.get(event_id), wanted.get(event_id)
            if now is None:
                if before is None or before.phase is Phase.RETRACTED:
                    continue
                detail = {**before.detail, **because.get(event_id, {})}
                now = replace(before, phase=Phase.RETRACTED, detail=detail)
            revision = 1 if before is None else before.revision + 1
            if before is not None and before.phase is not Phase.RETRACTED and now.phase is Phase.OPENED:
                now = replace(now, phase=Phase.AMENDED)
            now = replace(now, revision=revision)
            if before is not None and _content(before) == _content(now):
                continue
            self._said[event_id] = now
            news.append(now)
        return sorted(news, key=lambda e: (e.started_us, e.id))

    def said_before(self, moment_us: int) -> set[str]:
        """Ids of what is over since before a moment."""
        return {i for i, e in self._said.items() if e.ended_us is not None and e.ended_us < moment_us}

    def forget_before(self, moment_us: int) -> None:
        """Drop what is over since before a moment: too old to be corrected."""
        for event_id in self.said_before(moment_us):
            del self._said[event_id]

    def to_json(self) -> list[dict[str, Any]]:
        """What was said, as JSON-able values."""
        return [self._said[i].to_json() for i in sorted(self._said)]

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]]) -> Ledger:
        """The ledger that :meth:`to_json` described."""
        ledger = cls()
        ledger._said = {event["id"]: Event.from_json(event) for event in data}
        return ledger


def _content(event: Event) -> Event:
    return replace(event, revision=0, phase=Phase.OPENED if event.phase is Phase.AMENDED else event.phase)
