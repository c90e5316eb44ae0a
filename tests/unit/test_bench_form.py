"""The form of what was measured: statistics, ratios, JSON there and back, rounds that take turns."""

import json

import numpy as np
import pytest

from hazfence_benchmarks.command import all_main
from hazfence_benchmarks.form import OURS, BadResult, Figure, Result
from hazfence_benchmarks.plan import BadOption, Plan, Took, interleave, rates
from hazfence_benchmarks.register import SUITES
from hazfence_benchmarks.table import number, row_of, times, took_line
from hazfence_benchmarks.yardstick import Least, limit_share, measure


def figure(way=OURS, values=(10.0, 12.0, 11.0), **more):
    return Figure("match", "A", "locate", way, more.pop("unit", "points/s"), tuple(values), **more)


def test_statistics_are_those_of_the_repeats():
    found = figure(values=(1.0, 2.0, 3.0, 4.0, 100.0))
    assert found.median == 3.0
    assert found.quartiles == (2.0, 4.0)
    assert found.mad == 1.0


def test_ratios_pair_the_rounds():
    """A round in which the machine was busy slows both ways, and leaves the ratio as it was."""
    ours, peer = figure(values=(100.0, 50.0, 10.0)), figure("peer", (10.0, 5.0, 1.0))
    assert ours.times_better(peer) == 10.0
    quick, slow = figure(better="less", values=(2.0,)), figure("peer", (6.0,), better="less")
    assert quick.times_better(slow) == 3.0
    assert ours.times_better(figure("peer", (25.0,))) == 2.0  # of the medians, where rounds do not pair


def test_a_wall_clock_is_set_beside_our_wall_clock():
    """On a machine half of which others use, a server's time doubles; so does ours by the same clock."""
    ours = figure(values=(100.0, 100.0), clock="cpu", wall=(50.0, 50.0))
    assert ours.times_better(figure("peer", (5.0, 5.0), clock="cpu")) == 20.0
    assert ours.times_better(figure("peer", (5.0, 5.0), clock="wall")) == 10.0
    assert Figure.from_json(ours.to_json()) == ours


def test_only_digits_that_count_are_saved():
    assert figure(values=(1.23456789,)).to_json()["values"] == [1.23457]


def test_a_figure_has_values_or_says_why_not():
    with pytest.raises(ValueError, match="has values, or says why"):
        figure(values=())
    with pytest.raises(ValueError, match="finite"):
        figure(values=(float("nan"),))
    assert figure(values=(), skipped="not installed").skipped


def test_json_there_and_back_carries_what_follows_from_the_repeats(tmp_path):
    figures = figure(x=7.0, x_name="fences"), figure("peer", (1.0, 1.2, 1.1), x=7.0)
    stick = {"least_mpoints_per_s": 110.0}
    result = Result(figures, {"cpu": "c"}, stick, "0.1", "2026-03-02T00:00:00+00:00", 3.0, "quick", 5)
    ours, peer = result.to_json()["figures"]
    assert (ours["median"], ours["q1"], ours["q3"], ours["mad"]) == (11.0, 10.5, 11.5, 1.0)
    assert peer["ours_times_better"] == pytest.approx(10.0)
    assert "ours_times_better" not in ours
    result.save(tmp_path / "r.json")
    assert Result.load(tmp_path / "r.json") == result
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("{}", "make one with: hazfence bench all"),
        ('{"form": 99, "figures": []}', "form 99"),
        ('{"form": 1, "machine": {}, "figures": [{"suite": "match"}]}', "damaged"),
    ],
)
def test_what_is_no_result_is_refused_by_name(tmp_path, text, says):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(BadResult, match=says) as caught:
        Result.load(path)
    assert "bad.json" in str(caught.value)
    with pytest.raises(BadResult, match="cannot be read"):
        Result.load(tmp_path / "none.json")


def test_rounds_take_turns_and_who_begins_changes():
    calls = []
    ways = {way: lambda n, way=way: calls.append((n, way)) for way in "abc"}
    took = interleave(ways, 3)
    assert {way: len(each) for way, each in took.items()} == {"a": 3, "b": 3, "c": 3}
    assert "".join(way for _, way in calls) == "abc" + "abc" + "bca" + "cab"
    assert rates(100, [Took(2.0, 1.0)]) == (100.0,)
    assert rates(100, [Took(2.0, 1.0)], "wall") == (50.0,)


def test_a_plan_picks_by_size():
    assert Plan("tiny").pick(1, 2, 3) == 1
    assert Plan("quick").rounds() == 5
    assert Plan("quick", repeats=9).rounds() == 9
    assert not Plan(peers=frozenset()).wants("any")
    assert issubclass(BadOption, ValueError)


def test_numbers_are_short():
    assert [number(v) for v in (0, 1, 999.6, 1234, 1.5e6, 2e9, 0.01234)] == [
        "0", "1", "1 k", "1.23 k", "1.5 M", "2 G", "0.0123",
    ]  # fmt: skip
    assert times(12.34) == "12.3 x"


def test_a_row_tells_ratio_limit_and_wrong_answers():
    peer = figure("peer", (5e6,), checked=1000, wrong=3)
    result = Result((figure(values=(50e6,)), peer), {}, {"least_mpoints_per_s": 100.0})
    assert row_of(result, peer) == (
        "A",
        "locate",
        "peer",
        "5 M points/s",
        "",
        "5.0%",
        "10 x",
        "3 of 1,000 (0.3%)",
    )
    assert row_of(result, figure("gone", (), skipped="not installed"))[3] == "skipped: not installed"


def test_the_yardstick_is_measured():
    found = measure(0.05)
    assert all(value > 0 for value in found.values())
    assert limit_share("points/s", found["least_mpoints_per_s"] * 5e5, found) == pytest.approx(0.5)
    assert limit_share("ms", 1.0, found) is None


def test_the_least_loop_looks_cells_up():
    least = Least(4, side=10)
    x, y = np.array([0.0, 0.0, 9.0, 9.0]), np.array([0.0, 9.0, 0.0, 9.0])
    assert least(x, y).tolist() == [0, 90, 9, 99]


def test_every_suite_of_the_register_can_be_run():
    for suite in SUITES.values():
        assert callable(suite.run())
        assert suite.describe()


def test_a_suite_that_breaks_loses_nothing_and_fails_the_run(monkeypatch, tmp_path, capsys):
    def broken(plan):
        yield figure(values=(1.0,))
        raise RuntimeError("half way")

    monkeypatch.setattr("hazfence_benchmarks.wire.run", broken)
    saved = tmp_path / "r.json"
    assert all_main(["wire", "exactness", "--tiny", "--save", str(saved)]) == 1
    found = Result.load(saved)
    assert [f.skipped for f in found.of_suite("wire")] == ["broke: RuntimeError: half way"]
    assert len(found.of_suite("match")) == 1
    assert len(found.of_suite("exactness")) == 4
    assert "half way" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        all_main(["nonsense"])


def test_results_of_one_machine_are_joined_and_the_later_counts():
    machine = {"cpu": "c", "cores": 2, "others_busy": 0.5}
    first = Result(
        (figure(values=(1.0,)), figure("peer", (2.0,))),
        machine,
        command="a",
        took_s=1.0,
        suites_s={"match": 1.0},
    )
    again = Result((figure(values=(3.0,)), figure(values=(4.0,), x=9.0)), machine | {"others_busy": 0.0},
                   command="b", took_s=2.0, suites_s={"match": 1.5})  # fmt: skip
    both = first.joined(again)
    assert [(f.way, f.x, f.values) for f in both.figures] == [
        ("peer", None, (2.0,)), (OURS, None, (3.0,)), (OURS, 9.0, (4.0,)),
    ]  # fmt: skip
    assert (both.command, both.took_s, both.machine["others_busy"]) == ("a  # 1 s\nb  # 2 s", 3.0, 0.5)
    assert took_line(both) == "took 3 s: match 2"
    assert both.joined(first).command == "a  # 1 s\nb  # 2 s\na  # 1 s"
    with pytest.raises(BadResult, match="different machines"):
        first.joined(Result((), {"cpu": "d"}))
