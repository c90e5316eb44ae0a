"""The table of presence in ``docs/events.md``, row by row: what is said, and that nothing else is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hazfence import Engine, EngineSettings, Event, Kind, Phase, Presence
from hazfence_fences import FenceSet

from ..property.world import START_US, box, disc, fence_set
from .test_core_rules import SECOND, Row, batch

DOCS = Path(__file__).parents[2] / "docs" / "events.md"
PLATE = "浙B12345"
DISTRICT = box("district", 2, 2, 10, 10, kind="district")
GATE = disc("gate", 2, 6, 150, kind="checkpoint")
YARD = box("yard", 4, 4, 6, 6, kind="zone")
ELSEWHERE = box("yard", 8, 8, 9, 9, kind="zone")
LARGER = box("yard", 3.5, 3.5, 6, 6, kind="zone", version=2)
HOURS = {"tz": "Asia/Shanghai", "windows": [{"days": "mon", "from": "00:10", "to": "00:20"}]}
TIMED = box("yard", 4, 4, 6, 6, kind="zone", schedule=HOURS)

OUT, IN, YARD_IN, FAR = (0.5, 9.0), (3.0, 9.0), (5.0, 5.0), (12.0, 9.0)
#: Kind, fence, beginning and end in seconds (None: goes on), entry, exit.
Said = tuple[str, str, float, float | None, str | None, str | None]


def at(seconds: float, place: tuple[float, float]) -> Row:
    return (seconds, *place, 0.0)


class Story:
    """An engine, and all it said."""

    def __init__(self, *fences: dict[str, Any]) -> None:
        self.engine = Engine(self.set_of(*fences), EngineSettings())
        self.events: list[Event] = []

    @staticmethod
    def set_of(*fences: dict[str, Any]) -> FenceSet:
        return fence_set(*(fences or (DISTRICT, GATE)))

    def fixes(self, *rows: Row) -> Story:
        self.events += self.engine.process(batch(list(rows)))
        return self

    def under(self, *fences: dict[str, Any]) -> Story:
        self.engine.use_fences(self.set_of(*fences))
        return self

    def wait(self, seconds: float) -> Story:
        self.events += self.engine.advance(START_US + round(seconds * SECOND))
        return self

    def restart(self) -> Story:
        self.engine = Engine.restore(self.engine.snapshot(), self.engine.fences, self.engine.settings)
        return self

    def said(self) -> list[Said]:
        """What stands."""
        last = {event.id: event for event in self.events}
        found = [
            (
                str(e.kind),
                str(e.fence_id),
                round((e.started_us - START_US) / SECOND, 1),
                None if e.ended_us is None else round((e.ended_us - START_US) / SECOND, 1),
                e.detail.get("entry"),
                e.detail.get("exit"),
            )
            for e in last.values()
            if e.phase is not Phase.RETRACTED
        ]
        return sorted(found, key=lambda row: (row[2], row[0], row[1]))

    def presence(self, seconds: float, fence_id: str = "district") -> Presence:
        return self.engine.presence(PLATE, fence_id, START_US + round(seconds * SECOND))


def visit(begins: float, ends: float | None, entry: str, exit_: str | None, fence: str = "district") -> Said:
    return ("visit", fence, begins, ends, entry, exit_)


def gap(begins: float, ends: float) -> Said:
    return ("coverage_gap", "district", begins, ends, None, None)


def removed_and_back() -> Story:
    story = Story(YARD).fixes(at(0, YARD_IN), at(10, YARD_IN)).under(ELSEWHERE).fixes(at(20, YARD_IN))
    return story.under(YARD).fixes(at(30, YARD_IN))


#: By the words of the table: the story, what is said, and presence where it ends.
ROWS: dict[str, tuple[Callable[[], Story], list[Said]]] = {
    "first fix inside": (lambda: Story().fixes(at(0, IN)), [visit(0, None, "first_fix", None)]),
    "first fix outside": (lambda: Story().fixes(at(0, OUT)), []),
    # 1.5 of 2.5 steps lie outside.
    "outside, a gap, inside": (
        lambda: Story().fixes(at(0, OUT), at(1000, IN)),
        [gap(0, 1000), visit(600, None, "gap", None)],
    ),
    "inside, a gap, inside": (
        lambda: Story().fixes(at(0, IN), at(1000, IN)),
        [gap(0, 1000), visit(0, None, "first_fix", None)],
    ),
    "inside, a gap, outside": (
        lambda: Story().fixes(at(0, IN), at(1000, OUT)),
        [gap(0, 1000), visit(0, 400, "first_fix", "gap")],
    ),
    "outside, a gap, outside": (lambda: Story().fixes(at(0, OUT), at(1000, FAR)), []),
    "inside, and nothing heard any more": (
        lambda: Story().fixes(at(0, IN)).wait(5000),
        [visit(0, None, "first_fix", None)],
    ),
    "inside one fence, a gap, inside another": (
        lambda: Story(
            box("west", 0, 0, 4, 12, kind="district"), box("east", 6, 0, 12, 12, kind="zone")
        ).fixes(at(0, (2.0, 5.0)), at(1000, (7.0, 5.0))),
        [
            ("coverage_gap", "west", 0, 1000, None, None),
            visit(0, 400, "first_fix", "gap", "west"),
            visit(800, None, "gap", None, "east"),
        ],
    ),
    "fence created around a vehicle": (
        lambda: Story(ELSEWHERE).fixes(at(0, YARD_IN), at(10, YARD_IN)).under(YARD).fixes(at(20, YARD_IN)),
        [visit(20, None, "fence_changed", None, "yard")],
    ),
    "fence created where a vehicle is not": (
        lambda: Story(DISTRICT).fixes(at(0, OUT)).under(DISTRICT, YARD).fixes(at(20, OUT)),
        [],
    ),
    "fence edited, vehicle inside before and after": (
        lambda: Story(YARD).fixes(at(0, YARD_IN)).under(LARGER).fixes(at(20, YARD_IN)).wait(60),
        [visit(0, None, "first_fix", None, "yard")],
    ),
    "fence edited, vehicle outside now": (
        lambda: Story(YARD).fixes(at(0, YARD_IN), at(10, YARD_IN)).under(ELSEWHERE).fixes(at(20, YARD_IN)),
        [visit(0, 10, "first_fix", "fence_changed", "yard")],
    ),
    "fence removed around a vehicle": (
        lambda: Story(DISTRICT, YARD).fixes(at(0, YARD_IN), at(10, YARD_IN)).under(DISTRICT).wait(60),
        [
            visit(0, None, "first_fix", None),
            visit(0, 10, "first_fix", "fence_removed", "yard"),
        ],
    ),
    "fence removed and created again": (
        removed_and_back,
        [visit(0, 10, "first_fix", "fence_changed", "yard"), visit(30, None, "fence_changed", None, "yard")],
    ),
    "fence removed, a gap": (
        lambda: (
            Story(DISTRICT, YARD)
            .fixes(at(0, YARD_IN), at(10, YARD_IN))
            .under(DISTRICT)
            .fixes(at(1000, YARD_IN))
        ),
        [
            visit(0, None, "first_fix", None),
            visit(0, 10, "first_fix", "fence_removed", "yard"),
            gap(10, 1000),
        ],
    ),
    "schedule begins while inside": (
        lambda: Story(TIMED).fixes(at(500, YARD_IN), at(700, YARD_IN)),
        [visit(600, None, "schedule", None, "yard")],
    ),
    "schedule ends while inside": (
        lambda: Story(TIMED).fixes(at(700, YARD_IN)).wait(1500),
        [visit(700, 1200, "first_fix", "schedule", "yard")],
    ),
    "schedule begins and ends within a gap, inside before and after": (
        lambda: Story(TIMED).fixes(at(500, YARD_IN), at(1500, YARD_IN)),
        [visit(600, 1200, "schedule", "schedule", "yard")],
    ),
    "schedule begins within a gap, inside only before": (
        lambda: Story(DISTRICT, TIMED).fixes(at(0, YARD_IN), at(1500, (8.5, 5.0))),
        [gap(0, 1500), visit(0, None, "first_fix", None)],
    ),
    "restarted while inside": (
        lambda: Story().fixes(at(0, IN)).restart().fixes(at(30, IN)),
        [visit(0, None, "first_fix", None)],
    ),
}


def table() -> list[str]:
    text = DOCS.read_text(encoding="utf-8")
    part = text.split("| presence | rows |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| (.+?) \|", part, re.MULTILINE)[1:]


def test_every_row_of_the_table_has_a_story() -> None:
    assert table() == list(ROWS)


@pytest.mark.parametrize("situation", ROWS)
def test_what_is_said_is_what_the_table_says(situation: str) -> None:
    tell, wanted = ROWS[situation]
    story = tell()
    assert story.said() == wanted
    kinds = {e.kind for e in story.events}
    assert kinds <= {Kind.VISIT, Kind.COVERAGE_GAP}
    if situation == "fence removed and created again":
        # For real this time: gone, not moved.
        story = Story(DISTRICT, YARD).fixes(at(0, YARD_IN)).under(DISTRICT).fixes(at(20, YARD_IN))
        story = story.under(DISTRICT, YARD).fixes(at(30, YARD_IN))
        assert [row[2:] for row in story.said() if row[1] == "yard"] == [
            (0, 0, "first_fix", "fence_removed"),
            (30, None, "fence_changed", None),
        ]


def test_presence_is_inside_outside_or_unknown() -> None:
    story = Story()
    assert story.presence(0) is Presence.UNKNOWN
    story.fixes(at(0, IN))
    assert (story.presence(0), story.presence(300)) == (Presence.INSIDE, Presence.INSIDE)
    assert story.presence(300.000001) is Presence.UNKNOWN
    assert story.presence(0, "gate") is Presence.OUTSIDE
    story.fixes(at(1000, OUT))
    assert (story.presence(1010), story.presence(1400)) == (Presence.OUTSIDE, Presence.UNKNOWN)
    with pytest.raises(KeyError, match="nowhere"):
        story.presence(0, "nowhere")
