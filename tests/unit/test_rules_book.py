"""Configuration of rules: layers, exceptions, and clear errors for what cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from hazfence import Engine, EngineSettings
from hazfence.rules import Rulebook, RuleError

from ..property.world import box, fence_set
from .rule_tracks import DISTRICT

NIGHT = {"tz": "Asia/Shanghai", "windows": [{"days": "mon-sun", "from": "22:00", "to": "06:00"}]}
MIDNIGHT_US, NOON_US = 1_772_380_800_000_000, 1_772_424_000_000_000


def test_a_fence_wins_over_the_book_and_the_book_over_the_register() -> None:
    [district, yard] = fence_set(
        DISTRICT, box("yard", 4, 4, 5, 5, kind="zone", rules={"overpark": {"max_min": 5}})
    )
    book = Rulebook({"overpark": {"max_min": 45}}).for_fences([district, yard], {})
    assert (book.lookup("overpark", None) or {})["max_min"] == 45
    assert (book.lookup("overpark", district) or {})["max_min"] == 45
    assert (book.lookup("overpark", yard) or {})["max_min"] == 5
    assert (Rulebook({"overpark": True}).lookup("overpark", None) or {})["max_min"] == 30


def test_exceptions_hold_for_their_classes_and_hours_and_later_ones_win() -> None:
    book = Rulebook(
        {
            "overpark": {
                "max_min": 40,
                "when": [
                    {"classes": ["tank"], "set": {"max_min": 20}},
                    {"hours": NIGHT, "set": {"max_min": 90}},
                    {"classes": ["tank"], "hours": NIGHT, "set": False},
                ],
            }
        }
    )

    def limit(at_us: int, *classes: str) -> float | None:
        params = book.lookup("overpark", None, lambda: frozenset(classes), at_us)
        return None if params is None else params["max_min"]

    assert (limit(NOON_US), limit(NOON_US, "tank"), limit(MIDNIGHT_US)) == (40, 20, 90)
    assert limit(MIDNIGHT_US, "tank") is None


def test_the_settings_are_the_default_of_the_rules_they_name() -> None:
    settings = EngineSettings(gate_tolerance_m=70, overspeed_for_s=9)
    book = settings.rules.for_fences([], settings.rule_defaults())
    assert (book.lookup("gate_bypass", None) or {})["tolerance_m"] == 70
    assert (book.lookup("overspeed", None) or {})["for_s"] == 9


def test_a_book_goes_through_json() -> None:
    settings = EngineSettings(rules=Rulebook.all_on({"silent": False}))
    assert EngineSettings.from_json(settings.to_json()) == settings
    assert hash(settings) == hash(EngineSettings.from_json(settings.to_json()))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"overpak": True}, ["no rule 'overpak'", "overpark"]),
        ({"overpark": 3}, ["rule 'overpark'", "is 3", "true, false or an object"]),
        ({"overpark": {"max": 3}}, ["no parameter 'max'", "max_min"]),
        ({"overpark": {"max_min": -1}}, ["'max_min'", "is -1", "at least 0.1"]),
        ({"overpark": {"max_min": True}}, ["is True"]),
        ({"overpark": {"max_min": float("nan")}}, ["is nan"]),
        ({"overpark": {"allowed": True}}, ["'allowed' belongs to a fence"]),
        ({"overpark": {"when": {}}}, ["'when'", "list"]),
        ({"overpark": {"when": [{"set": {"max_min": 3}}]}}, ["when[0]", "'classes', 'hours' or both"]),
        ({"overpark": {"when": [{"classes": [], "set": True}]}}, ["when[0]", "classes are []"]),
        ({"overpark": {"when": [{"hours": {"windows": 3}, "set": True}]}}, ["when[0]"]),
        (
            {"overpark": {"when": [{"hours": NIGHT, "set": True}, {"hours": NIGHT, "set": False}]}},
            ["when[1]", "same classes and hours as when[0]"],
        ),
        ({"overspeed": {"general_kmh": 80, "motorway_kmh": 60}}, ["motorway_kmh 60 is below general_kmh 80"]),
        ({"overspeed": {"night_factor": 0.8}}, ["night_factor without night_hours"]),
        ({"overspeed": {"night_factor": 1.2}}, ["at most 1"]),
        ({"overdrive": {"night_h": 5, "night_hours": NIGHT}}, ["night_h 5 is above continuous_h"]),
        ({"overdrive": {"night_h": 2}}, ["night_h without night_hours"]),
        ([], ["object of rule names"]),
    ],
)
def test_what_cannot_be_meant_is_refused_with_place_and_mend(given: Any, words: list[str]) -> None:
    with pytest.raises(RuleError) as error:
        Rulebook(given)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"rules": {"curfew": {}}}, ["fence 'yard'", "'curfew'", "no 'hours'"]),
        (
            {"speed_limit_kmh": 60, "rules": {"overspeed": {"limit_kmh": 50}}},
            ["limit_kmh 50 contradicts the fence's speed_limit_kmh 60"],
        ),
        (
            {"max_stay_min": 60, "rules": {"overstay": {"max_min": 30}}},
            ["max_min 30 contradicts the fence's max_stay_min 60"],
        ),
        (
            {"rules": {"segment_overtime": {"to": {"b": {"min_min": 9, "max_min": 5}}}}},
            ["min_min 9 is not below"],
        ),
        (
            {"rules": {"segment_overtime": {"to": {"b": {"minutes": 5}}}}},
            ["to 'b'", "min_min, max_min or both"],
        ),
        ({"rules": {"segment_overtime": {"to": {"b": {"max_min": 0}}}}}, ["give minutes above 0"]),
        ({"rules": [1]}, ["fence 'yard'", "object of rule names"]),
    ],
)
def test_a_fence_that_contradicts_itself_is_refused(properties: dict[str, Any], words: list[str]) -> None:
    fences = fence_set(box("yard", 4, 4, 5, 5, kind="zone", **properties))
    with pytest.raises(RuleError) as error:
        Engine(fences)
    for word in words:
        assert word in str(error.value)
