"""The matching benchmark and the exactness command run and tell what they found, on a small scale."""

import json

import pytest

from hazfence_benchmarks import exactness, match
from hazfence_benchmarks.command import suite_main
from hazfence_benchmarks.form import OURS
from hazfence_benchmarks.peers import ByHand, StrTree
from hazfence_benchmarks.plan import Plan

PEERS = frozenset({ByHand.name, StrTree.name})


def test_match_measures_three_ways_that_agree():
    figures = {f.name: f for f in match.run(Plan("tiny", peers=PEERS), ["A"], batch=2000, points="uniform")}
    ways = {f.way: f for f in figures.values() if f.what == "locate"}
    assert {OURS, ByHand.name, StrTree.name} <= set(ways)
    for way in (OURS, ByHand.name, StrTree.name):
        assert ways[way].checked > 0
        assert ways[way].wrong == 0
        assert ways[way].median > 0
    assert ways[OURS].times_better(ways[ByHand.name]) > 1
    assert "match / A / segments / hazfence" in figures


def test_match_refuses_unknown_sets(capsys):
    with pytest.raises(SystemExit):
        suite_main("match", ["Z"])
    assert "unknown set 'Z'; choose from A, B, C10k, C100k" in capsys.readouterr().err


def test_exactness_command_says_so_in_json(capsys):
    command = ["A", "--random", "20000", "--adversarial", "20000", "--json"]
    assert suite_main("exactness", command) == 0
    random, adversarial = json.loads(capsys.readouterr().out)["figures"]
    assert (random["checked"], random["wrong"], random["values"]) == (20_000, 0, [0.0])
    assert adversarial["checked"] > 5_000


def test_exactness_notices_a_difference():
    """A check that cannot fail proves nothing: one wrong answer in the index must be found."""
    fences = exactness.SETS["A"]()
    coarse = fences.table.coarse
    whole = int((coarse > 0).argmax())
    coarse[whole] = 0  # a cell wholly inside the district, now said to be empty
    assert exactness.check_points(fences, 200_000, 0)["differences"] > 0


def test_a_wrong_answer_of_ours_fails_the_command(capsys, monkeypatch):
    monkeypatch.setattr(exactness, "check_points", lambda *_: {
        "random_points": 10, "random_differences": 1, "adversarial_points": 0, "adversarial_differences": 0,
    })  # fmt: skip
    assert suite_main("exactness", ["A"]) == 1
    assert "1 of 10" in capsys.readouterr().out
