"""The page about the rules says what the code says; every rule that can be said is on it."""

from __future__ import annotations

from pathlib import Path

from hazfence import Kind
from hazfence.rules import RULES
from hazfence.rules.table import page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_printed_from_the_register() -> None:
    assert (DOCS / "rules.md").read_text(encoding="utf-8") == page()


def test_every_kind_of_event_but_the_visit_is_a_rule() -> None:
    assert {rule.kind for rule in RULES} == set(Kind) - {Kind.VISIT}


def test_every_rule_names_its_source_and_its_module() -> None:
    package = Path(__file__).parents[2] / "engine" / "hazfence" / "rules"
    for rule in RULES:
        assert rule.source
        assert rule.chinese
        assert (package / f"{rule.module}.py").is_file(), rule.kind
