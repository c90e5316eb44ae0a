"""A snapshot that an older release wrote is read by this one: one of each version is kept in ``tests/data``.

When the layout changes: raise ``VERSION`` in ``hazfence/snapshot.py``, keep reading the old one, and keep a
snapshot of the new one with ``python -m tests.property.test_snapshot_kept``. The kept files stay as they are.
"""

from __future__ import annotations

import base64
import json
import math
import random
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from hazfence import Engine, Event, SnapshotError
from hazfence.snapshot import READABLE, VERSION

from .rule_world import ON_FILE, RULE_WORLD, START_US, at, rule_batch, rule_settings

DATA = Path(__file__).parents[1] / "data"
HALF = 60


def walk() -> list[tuple[Any, ...]]:
    """Two vehicles about the grid for hours; always the same."""
    chance = random.Random(5)
    clock = {"A": START_US, "B": START_US + 7_000_000}
    place = {"A": (6, 6), "B": (1, 6)}
    track = []
    for _ in range(2 * HALF):
        vehicle = chance.choice("AB")
        clock[vehicle] += chance.choice([5, 10, 30, 30, 60, 120, 400]) * 1_000_000
        i, j = place[vehicle]
        place[vehicle] = ((i + chance.randint(-1, 1)) % 13, (j + chance.randint(-1, 1)) % 13)
        speed = chance.choice([0.0, 15.0, 60.0, 72.0, 95.0])
        track.append((vehicle, clock[vehicle], *at(*place[vehicle]), speed, chance.choice([0, 0, 1])))
    return track


def inexact_walk() -> list[tuple[Any, ...]]:
    """The same, every third fix of which says that it may be wrong by 60 m."""
    return [(*row, math.nan if i % 3 else 60.0) for i, row in enumerate(walk())]


def first_half(rows: list[tuple[Any, ...]] | None = None) -> Engine:
    engine = Engine(RULE_WORLD, rule_settings(), ON_FILE)
    engine.process(rule_batch((rows or walk())[:HALF]))
    return engine


def second_half(engine: Engine, rows: list[tuple[Any, ...]] | None = None) -> list[Event]:
    events = list(engine.process(rule_batch((rows or walk())[HALF:])))
    return [*events, *engine.advance(START_US + 24 * 3600 * 1_000_000)]


@pytest.mark.parametrize("version", READABLE)
def test_a_snapshot_of_every_readable_version_goes_on_as_if_never_stored(version: int) -> None:
    kept = json.loads((DATA / f"snapshot_v{version}.json").read_text())
    data = base64.b64decode(kept["snapshot"])
    assert data[4] == version
    expected = second_half(first_half())
    assert len({event.kind for event in expected}) > 3
    assert second_half(Engine.restore(data, RULE_WORLD, rule_settings(), ON_FILE)) == expected


def test_one_of_fixes_that_say_how_bad_they_are_does_too() -> None:
    data = base64.b64decode(json.loads((DATA / "inexact_v3.json").read_text())["snapshot"])
    rows = inexact_walk()
    expected = second_half(first_half(rows), rows)
    assert second_half(Engine.restore(data, RULE_WORLD, rule_settings(), ON_FILE), rows) == expected
    # A fix between two of the first half is judged by what the snapshot says of these.
    late = [(*rows[HALF - 9][:1], rows[HALF - 9][1] + 1, *at(5, 5), 60.0, 0, 60.0)]
    engines = first_half(rows), Engine.restore(data, RULE_WORLD, rule_settings(), ON_FILE)
    one, other = (list(engine.process(rule_batch(late))) for engine in engines)
    assert one == other
    assert one
    # Their bytes differ by what the release that wrote it did not keep: where it surely was last.
    assert engines[0].open_events() == engines[1].open_events()


def test_what_is_written_is_of_a_readable_version_and_kept() -> None:
    assert first_half().snapshot()[4] == VERSION
    assert VERSION in READABLE
    assert {f"snapshot_v{version}.json" for version in READABLE} == {p.name for p in DATA.glob("snapshot_v*")}


@pytest.mark.parametrize("version", [0, max(READABLE) + 1, 255])
def test_a_version_that_cannot_be_read_is_named_with_the_mend(version: int) -> None:
    data = bytearray(first_half().snapshot())
    struct.pack_into("B", data, 4, version)
    with pytest.raises(SnapshotError, match=f"snapshot version {version}, this release reads .*hazfence"):
        Engine.restore(bytes(data), RULE_WORLD, rule_settings(), ON_FILE)


if __name__ == "__main__":
    path = DATA / f"snapshot_v{VERSION}.json"
    if path.exists():
        sys.exit(f"{path.name} is there: raise VERSION first, kept snapshots stay as they are")
    about = "state of the engine after the first half of the walk in tests/property/test_snapshot_kept.py"
    text = base64.b64encode(first_half().snapshot()).decode()
    path.write_text(json.dumps({"about": about, "snapshot": text}) + "\n")
