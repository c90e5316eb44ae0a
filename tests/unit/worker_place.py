"""One partition with a store, a board and a clock in our hands: what the tests of a worker's inside share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hazfence.memory import MemoryBoard, MemoryStore
from hazfence.wire import Message, encode_fix
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.processor import PartitionProcessor, ProcessorSettings
from hazfence.worker.showcase import Showcase
from hazfence_fences import FenceSet, parse_fences

MINUTE_US = 60_000_000
START_US = 1_772_380_800_000_000
CORNERS = [[121.49, 29.89], [121.51, 29.89], [121.51, 29.91], [121.49, 29.91], [121.49, 29.89]]
PARK = FenceSet(
    parse_fences(
        {
            "type": "Feature",
            "properties": {"id": "park", "kind": "parking", "max_stay_min": 5},
            "geometry": {"type": "Polygon", "coordinates": [CORNERS]},
        },
        source="test",
    )
)
IN, OUT = (121.5, 29.9), (121.6, 29.9)


def fix(minute: float, place: tuple[float, float] = IN, vehicle: str = "A") -> bytes:
    return encode_fix(vehicle, START_US + int(minute * MINUTE_US), *place)


def log(*values: bytes, start: int = 0) -> list[Message]:
    return [Message(start + i, START_US + 30 * MINUTE_US, value) for i, value in enumerate(values)]


class Place:
    """A store, a clock in our hands, and the processors of one partition."""

    def __init__(self, **settings: Any) -> None:
        self.store = MemoryStore()
        self.board = MemoryBoard()
        self.metrics = WorkerMetrics()
        self.now_s = 0.0
        self.naps: list[float] = []
        self.settings = ProcessorSettings(**{"lateness_s": 0.0, "checkpoint_every_s": 5.0, **settings})

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    async def processor(self) -> PartitionProcessor:
        processor = PartitionProcessor(
            "t", 0, fences=PARK, store=self.store, settings=self.settings, metrics=self.metrics,
            monotonic_s=lambda: self.now_s, sleep=self.sleep,
        )  # fmt: skip
        await processor.load()
        return processor

    def showcase(self, processor: PartitionProcessor, **options: Any) -> Showcase:
        return Showcase(
            processor, store=self.store, board=self.board, metrics=self.metrics,
            monotonic_s=lambda: self.now_s, **options,
        )  # fmt: skip

    def kinds(self) -> list[str]:
        return sorted(event.kind for event in self.store.events.values())

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"hazfence_{name}", labels) or 0.0


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)
