"""What PostgreSQL cannot keep is changed, visibly and without two names becoming one; nothing else is."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hazfence.events import Event, Kind, Phase, event_id
from hazfence.postgis.storable import NAME_LIMIT, events_json, is_storable, storable_name, storable_text

ANY = st.text(alphabet=st.characters(exclude_categories=[]), max_size=300)


def event(vehicle: str, detail: dict) -> Event:
    name = event_id("overspeed", vehicle, "z", 0)
    return Event(name, Kind.OVERSPEED, vehicle, "z", 1, 1, Phase.OPENED, 0, None, 1.0, 2.0, detail=detail)


def test_ordinary_names_are_kept():
    for name in ("浙B12345", "a'b\"c\\d;--", "🚚", "", "x" * NAME_LIMIT, "\u2400~"):
        assert storable_name(name) == name


def test_names_that_differ_stay_different():
    names = ["a\0", "a\u2400", "a\ud800", "a\udfff", "a\ufffd", "x" * 201, "x" * 202, "x" * 5000, "a\0\0"]
    kept = [storable_name(name) for name in names]
    assert len(set(kept)) == len(names)
    assert all(len(name) <= NAME_LIMIT and is_storable(name) for name in kept)


@given(ANY)
def test_any_name_and_text_becomes_storable_and_then_stays(name):
    kept = storable_name(name)
    assert is_storable(kept)
    assert len(kept.encode()) <= 4 * NAME_LIMIT
    assert storable_name(kept) == kept
    assert is_storable(storable_text(name))
    assert len(storable_text(name, 10)) <= 10


def test_text_is_cut_where_a_limit_is_given():
    assert storable_text("abcdef", 6) == "abcdef"
    assert storable_text("abcdefg", 6) == "abcde…"


def test_details_keep_every_value_that_json_can_hold():
    detail = {"a": [1, 2.5, -0.1, 1e300, None, True, "浙"], "b": {"c": "\\u0000 is only text"}}
    assert json.loads(events_json([event("V", detail)]))[0]["detail"] == detail


def test_details_lose_only_what_jsonb_refuses():
    detail = {
        "nul\0": "a\0b",
        "half": ["\ud800"],
        "nan": float("nan"),
        "inf": [float("-inf"), 1.5],
        "ok": "浙",
    }
    said = events_json([event("V", detail)])
    assert is_storable(said)
    assert "\\u0000" not in said
    assert json.loads(said)[0]["detail"] == {
        "nul␀": "a␀b", "half": ["\ufffd"], "nan": None, "inf": [None, 1.5], "ok": "浙",
    }  # fmt: skip
