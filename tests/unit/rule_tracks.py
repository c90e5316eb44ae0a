"""Hand-made tracks for the rules: a district of 8 by 8 steps of .002 degrees, fixes by seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from hazfence import Engine, EngineSettings, Event, FixBatch
from hazfence.rules import Rulebook

from ..property.world import START_US, box, disc, fence_set

SECOND = 1_000_000
MINUTE = 60
HOUR = 3600
DISTRICT = box("district", 2, 2, 10, 10, kind="district")
GATE = disc("gate", 2, 6, 150, kind="checkpoint")
LANE = box("lane", 2, 5.5, 10, 6.5, kind="corridor")
PARK = box("park", 7, 7, 9, 9, kind="parking")
PLATE = "浙B12345"

Row = tuple[float, ...]  # seconds, step east, step north, km/h, and perhaps alarm bits
Said = tuple[str, str, float, float | None]


def batch(rows: list[Row], vehicle: str = PLATE) -> FixBatch:
    """Fixes by seconds after midnight in Shanghai, steps and km/h."""
    return FixBatch.of(
        [vehicle] * len(rows),
        time_us=START_US + (np.array([r[0] for r in rows]) * SECOND).astype(np.int64),
        lon=121.5 + 0.002 * np.array([r[1] for r in rows], float),
        lat=29.9 + 0.002 * np.array([r[2] for r in rows], float),
        speed_kmh=np.array([r[3] for r in rows], float),
        alarm=np.array([int(r[4]) if len(r) > 4 else 0 for r in rows]),
    )


class Case:
    """An engine with some rules, to be driven by hand."""

    def __init__(
        self, rules: dict[str, Any], *fences: dict[str, Any], kind: str | None = None, **settings: Any
    ) -> None:
        self.kind = kind or next(iter(rules))
        self.engine = Engine(
            fence_set(*(fences or (DISTRICT,))), EngineSettings(rules=Rulebook(rules), **settings)
        )
        self.events: list[Event] = []

    def drive(self, *rows: Row) -> list[Said]:
        """What the fixes bring of the case's kind, as :func:`said`."""
        return self._new(list(self.engine.process(batch(list(rows)))))

    def wait(self, seconds: float) -> list[Said]:
        """What silence brings until then; the snapshot is taken and restored on the way."""
        self.engine = Engine.restore(self.engine.snapshot(), self.engine.fences, self.engine.settings)
        return self._new(list(self.engine.advance(START_US + round(seconds * SECOND))))

    @property
    def last(self) -> Event:
        """The last event of the case's kind."""
        return self.events[-1]

    def stands(self) -> list[Said]:
        """The last word on each fact of the case's kind, retracted or not, in order of their begin."""
        return last_words(self.events)

    def _new(self, events: list[Event]) -> list[Said]:
        news = [e for e in events if e.kind == self.kind]
        self.events += news
        return [said(e) for e in news]


def last_words(events: list[Event]) -> list[Said]:
    """The last word on each fact, in order of their begin."""
    return sorted(map(said, {event.id: event for event in events}.values()), key=lambda s: (s[2], s))


def said(event: Event) -> Said:
    """(part or kind, phase, start in seconds, end in seconds)."""

    def seconds(us: int | None) -> float | None:
        return None if us is None else round((us - START_US) / SECOND, 3)

    name = event.detail.get("part", str(event.kind))
    return name, str(event.phase), seconds(event.started_us) or 0.0, seconds(event.ended_us)
