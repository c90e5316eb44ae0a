"""``bench compare`` tells a slower release from noise and from a slower machine, as its module says."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from hazfence.cli import bench
from hazfence_benchmarks.compare import compare, main
from hazfence_benchmarks.form import OURS, Figure, Result

MACHINE = {"cpu": "c", "cores": 2}
STICK = {"copy_gb_per_s": 40.0, "least_mpoints_per_s": 400.0, "python_mcalls_per_s": 30.0}


def figure(values, way=OURS, name="locate", **more):
    more.setdefault("clock", "cpu")
    return Figure("match", "A", name, way, "points/s", tuple(float(v) for v in values), **more)


def result(*figures, stick=STICK, machine=MACHINE):
    return Result(tuple(figures), machine, stick)


def noisy(level, seed, n=9, noise=0.03):
    return level * (1 + np.random.default_rng(seed).normal(0, noise, n))


def verdict(before, after, **more):
    return [change.verdict for change in compare(before, after, **more)]


def test_noise_alone_is_the_same():
    """100 figures of equal level with 3 % noise, and 100 with 15 %: at most one in a hundred is called."""
    for noise in (0.03, 0.15):
        a = result(*(figure(noisy(100, n, noise=noise), name=str(n)) for n in range(100)))
        b = result(*(figure(noisy(100, 1000 + n, noise=noise), name=str(n)) for n in range(100)))
        called = [v for v in verdict(a, b) if v in ("better", "worse")]
        assert len(called) <= 1


@pytest.mark.parametrize(("level", "says"), [(85, "worse"), (100, "same"), (102, "same"), (120, "better")])
def test_a_real_change_is_seen(level, says):
    found = [verdict(result(figure(noisy(100, s))), result(figure(noisy(level, s + 50)))) for s in range(20)]
    assert found.count([says]) >= 19


def test_less_is_better_where_the_figure_says_so():
    a, b = (result(figure(noisy(level, level), better="less")) for level in (100, 130))
    assert verdict(a, b) == ["worse"]
    assert verdict(b, a) == ["better"]


def test_what_we_do_in_another_way_is_judged_and_no_peer():
    """It got twice as fast; the peer and what is beside it did not: nothing drifted."""
    way = f"{OURS}, borders settled"
    a = result(figure(noisy(100, 1)), figure(noisy(50, 2), way), figure(noisy(10, 3), "peer"))
    b = result(figure(noisy(100, 4)), figure(noisy(100, 5), way), figure(noisy(10, 6), "peer"))
    assert verdict(a, b) == ["same", "better"]


def test_a_slower_machine_is_no_slower_release():
    """All that no release changes is 30 % slower too: peers in the same rounds, or else the yardstick."""
    slow = {key: value * 0.7 for key, value in STICK.items()}
    a = result(figure(noisy(100, 1)))
    assert verdict(a, result(figure(noisy(70, 2)), stick=slow)) == ["same"]
    peers = [figure(noisy(10, 3), "peer"), figure(noisy(5, 4), "other")]
    slow_peers = [figure(noisy(7, 5), "peer"), figure(noisy(3.5, 6), "other")]
    assert verdict(result(*a.figures, *peers), result(figure(noisy(70, 7)), *slow_peers)) == ["same"]
    # ours slowed, the peers did not
    assert verdict(result(*a.figures, *peers), result(figure(noisy(70, 8)), *peers)) == ["worse"]


def test_a_disturbed_peer_is_no_better_release():
    a = result(figure(noisy(100, 1)), figure(noisy(10, 2), "peer"))
    b = result(figure(noisy(100, 3)), figure(noisy(6, 4), "peer"))
    assert verdict(a, b) == ["same"]


def test_few_repeats_are_not_enough_to_tell():
    assert verdict(result(figure([100, 101])), result(figure([50, 51]))) == ["unsure"]
    assert verdict(result(figure([100, 101])), result(figure([99, 102]))) == ["same"]


def test_bytes_need_no_test():
    a, b, c = (result(figure([size], clock="none", better="less")) for size in (100, 120, 103))
    assert (verdict(a, b), verdict(b, a), verdict(a, c)) == (["worse"], ["better"], ["same"])


def test_another_machine_counts_only_beyond_the_drift():
    other = {"cpu": "d", "cores": 8}
    twice = {key: value * 2 for key, value in STICK.items()}
    a = result(figure(noisy(100, 1)))
    assert verdict(a, result(figure(noisy(190, 2)), stick=twice, machine=other)) == ["same"]
    assert verdict(a, result(figure(noisy(100, 2)), stick=twice, machine=other)) == ["worse"]


def test_a_new_wrong_answer_is_the_worst():
    a, b = (result(figure(noisy(100, 1), checked=10, wrong=wrong)) for wrong in (0, 1))
    assert verdict(a, b) == ["wrong"]


def test_only_our_figures_that_both_have_are_judged():
    a = result(figure([1, 2]), figure([1, 2], "peer"), figure([1, 2], name="gone"))
    b = result(figure([1, 2]), figure([1, 2], "peer"), figure((), name="gone", skipped="no"))
    assert [change.name for change in compare(a, b)] == ["match / A / locate / hazfence"]


def test_the_command_tells_and_fails_only_when_asked(tmp_path, capsys):
    old, new = tmp_path / "a.json", tmp_path / "b.json"
    result(figure(noisy(100, 1)), figure(noisy(100, 2), name="other")).save(old)
    result(figure(noisy(50, 3)), figure(noisy(100, 4), name="other")).save(new)
    assert main([str(old), str(new)]) == 0
    text = capsys.readouterr().out
    assert "1 worse" in text
    assert "match / A / locate / hazfence" in text
    assert main([str(old), str(new), "--fail", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["worse"] == 1
    assert main([str(old), str(old), "--fail", "--all"]) == 0
    with pytest.raises(SystemExit):
        main([str(old), str(new), "--threshold", "0"])


def test_the_threshold_can_be_given():
    a, b = result(figure(noisy(100, 1))), result(figure(noisy(85, 2)))
    assert verdict(a, b, threshold=0.3) == ["same"]
    assert verdict(a, replace(b, yardstick={})) == ["worse"]


def test_without_scipy_the_mend_is_named(tmp_path, monkeypatch):
    path = str(tmp_path / "a.json")
    result(figure(noisy(100, 1)), figure(noisy(100, 2), "peer")).save(path)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    done = CliRunner().invoke(bench.app, ["compare", path, path])
    assert isinstance(done.exception, ValueError)
    assert str(done.exception) == "this needs scipy.stats: pip install 'hazfence[bench]'"
