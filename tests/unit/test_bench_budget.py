"""The budget of a batch: its steps are there, add up, and leave the core as it was."""

from __future__ import annotations

import pytest

from hazfence import Engine
from hazfence_benchmarks.budget import STEPS, run
from hazfence_benchmarks.plan import BadOption, Plan


def test_steps_add_up_and_the_core_is_left_as_it_was() -> None:
    process = Engine.process
    figures = list(run(Plan(size="tiny"), ["A"], vehicles=[500], steps=6))
    assert Engine.process is process
    by_step = {figure.what: figure for figure in figures}
    assert set(by_step) == {*STEPS, "all of it"}
    whole = by_step.pop("all of it")
    for i, value in enumerate(whole.values):
        assert sum(figure.values[i] for figure in by_step.values()) == pytest.approx(value)
    assert by_step["locate"].median > 0
    assert by_step["visits opened and closed"].median > 0


def test_without_thin_fences_no_segment_is_asked_for() -> None:
    figures = run(Plan(size="tiny"), ["A"], vehicles=[500], steps=4, no_thin=True)
    values = {figure.what: figure.median for figure in figures}
    assert values["segments beside thin fences"] == 0 < values["locate"]


def test_an_event_costs_what_its_fixes_cost() -> None:
    a_fix, an_event = (
        {
            figure.what: figure
            for figure in run(Plan(size="tiny"), ["C10k"], vehicles=[400], steps=5, an_event=by)
        }
        for by in (False, True)
    )
    whole = an_event["all of it"]
    assert (a_fix["all of it"].unit, whole.unit) == ("ns/fix", "ns/event")
    assert "events a fix" in whole.note
    for figures in (a_fix, an_event):
        assert figures["log of steps"].median > 0
        assert figures["visits opened and closed"].median > figures["events counted"].median > 0


@pytest.mark.parametrize("bad", [{"sets": ["Z"]}, {"vehicles": [0]}, {"steps": 2}])
def test_what_cannot_be_measured_is_refused(bad: dict[str, list[str]]) -> None:
    with pytest.raises(BadOption):
        list(run(Plan(size="tiny"), **bad))  # type: ignore[arg-type]
