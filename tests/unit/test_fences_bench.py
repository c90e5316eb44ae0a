"""The matching benchmark and the exactness command run and tell what they found, on a small scale."""

import json

import pytest

from hazfence_benchmarks import exactness, match


def test_match_measures_three_ways_that_agree():
    found = match.measure(["A"], batch=2000, rounds=2, by_hand_points=50, strtree_points=200)
    a = json.loads(json.dumps(found))["sets"]["A"]
    assert a["fences"] == 7
    assert a["hazfence"]["mpoints_per_s"] > 0
    assert a["times_by_hand"] > 1
    assert a["segments"]["thin_fences"] == 6


def test_match_refuses_unknown_sets(capsys):
    with pytest.raises(SystemExit):
        match.main(["Z"])
    assert "unknown set 'Z'; choose from A, B, C10k, C100k" in capsys.readouterr().err


def test_exactness_command_says_so_in_json(capsys):
    assert exactness.main(["A", "--random", "20000", "--adversarial", "20000", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["A"]["differences"] == 0


def test_exactness_notices_a_difference():
    """A check that cannot fail proves nothing: one wrong answer in the index must be found."""
    fences = exactness.SETS["A"]()
    coarse = fences.table.coarse
    whole = int((coarse > 0).argmax())
    coarse[whole] = 0  # a cell wholly inside the district, now said to be empty
    assert exactness.check_points(fences, 200_000, 0)["differences"] > 0
