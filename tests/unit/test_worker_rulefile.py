"""The rulebook file: what it may say, and what is said of one that cannot be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hazfence.rules import RULES
from hazfence.worker.rulefile import read_rule_file


def test_it_switches_rules_on_and_off_and_says_what_people_are_not_told(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(
        '{"all": true, "rules": {"overpark": {"max_min": 45}, "overdrive": false}, '
        '"desk": {"quiet_s": {"*": 60}}}'
    )
    found = read_rule_file(path)
    assert found.rules is not None
    assert found.rules.lookup("overpark", None) == {"max_min": 45.0, "allowed": None}
    assert found.rules.lookup("overdrive", None) is None
    assert {str(r.kind) for r in RULES if not found.rules.ever(str(r.kind))} == {"overdrive"}
    assert found.desk == {"quiet_s": {"*": 60}}


def test_the_word_all_is_every_rule_and_an_empty_file_leaves_the_rules_alone(tmp_path: Path) -> None:
    book = read_rule_file("all").rules
    assert book is not None
    assert all(book.ever(str(rule.kind)) for rule in RULES)
    path = tmp_path / "rules.json"
    path.write_text("{}")
    assert read_rule_file(path).rules is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1, column 1: no JSON"),
        ('{"rules": {"overpark": }}', "line 1, column 24: no JSON"),
        ("[]", "is no JSON object; write one with all, rules, desk"),
        (
            '{"overpark": true}',
            "has no key 'overpark'; it has all, rules, desk: write the rules under the key 'rules'",
        ),
        ('{"all": 1}', "'all': is 1; write true or false"),
        ('{"rules": {"overpark": true, "overpark": false}}', "key 'overpark' comes twice in one object"),
        ('{"rules": {"overparc": true}}', "there is no rule 'overparc'; known are"),
        ('{"rules": {"overpark": {"max_min": -1}}}', "'max_min': is -1; give min, at least 0.1"),
        (
            '{"rules": {"overspeed": {"general_kmh": 90, "motorway_kmh": 80}}}',
            "motorway_kmh 80 is below general_kmh 90",
        ),
        ('{"rules": 5}', "rules are 5; write an object of rule names"),
        ('{"desk": {"quiet_s": {"overspeeed": 5}}}', "there is no kind 'overspeeed'"),
        ('{"desk": 5}', "desk: is 5; write an object"),
    ],
)
def test_what_cannot_be_used_is_named_with_file_place_and_mend(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "rules.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{re.escape(told)}"):
        read_rule_file(path)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file or directory; name a rulebook file"):
        read_rule_file(tmp_path / "nothing.json")
    path = tmp_path / "rules.json"
    path.write_bytes(b'{"all": "\xff"}')
    with pytest.raises(ValueError, match="byte 9 is no UTF-8; save the file as UTF-8"):
        read_rule_file(path)
