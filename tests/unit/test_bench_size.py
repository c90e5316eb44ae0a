"""``bench size`` plans by arithmetic that can be checked by hand."""

import json

import pytest

from hazfence_benchmarks.form import OURS, BadResult, Figure, Result
from hazfence_benchmarks.plan import BadOption
from hazfence_benchmarks.size import Load, main, plan_for


def one(suite, what, value, workload="", **more):
    return Figure(suite, workload, what, OURS, more.pop("unit", ""), (float(value),), **more)


MEASURED = Result(
    (
        one("stream", "worker's processor time a fix, fixes stored", 20, "250 fixes a message"),
        one("stream", "worker's processor time a fix, no history", 8, "250 fixes a message"),
        one("stream", "worker's processor time a fix, fixes stored", 100, "one JSON fix a message"),
        one("stream", "end to end, fixes stored", 40_000, "250 fixes a message"),
        one("stream", "end to end, no history", 80_000, "250 fixes a message"),
        one("stream", "end to end, fixes stored", 8_000, "one JSON fix a message"),
        one("stream", "events a fix", 0.001, "250 fixes a message"),
        one("fences", "locate", 1e8, "small", x=10.0, x_name="fences"),
        one("fences", "locate", 1e6, "small", x=1000.0, x_name="fences"),
        one("memory", "process without vehicles", 100, "vehicles"),
        one("memory", "a vehicle, one fix", 400, "vehicles"),
        one("memory", "a remembered fix", 50, "vehicles"),
        one("memory", "a fence, all", 10_000, "fences"),
        one("store", "an event with its history", 1000, "durable"),
        one("store", "new events", 5000, "durable"),
        one("store", "a fix with its indexes", 100, "durable"),
        one("store", "fixes in a checkpoint", 100_000, "durable"),
        one("wire", "bytes a fix", 50, "message of 250 fixes"),
        one("wire", "bytes a fix", 200, "one JSON fix a message"),
    ),
    {"cpu": "c"},
)


def plan(**load):
    load = {"vehicles": 50_000, "interval_s": 10, "fences": 1000} | load
    return {line.what: line for line in plan_for(Load(**load), MEASURED)}


def test_the_arithmetic():
    got = {what: line.value for what, line in plan().items()}
    dozen_us = 0.01 * (12 / 10)  # log-log between 10 ns at 10 fences and 1000 ns at 1000: one to one
    assert got["fixes"] == 5000
    assert got["more fences"] == pytest.approx(1 - dozen_us)
    fix_us = 20 + 1 - dozen_us
    assert got["a fix with these fences"] == pytest.approx(fix_us)
    assert got["processor time"] == pytest.approx(5000 * fix_us / 1e6)
    assert got["workers"] == 1
    assert got["partitions"] == 24
    carries = 1 / (1 / 40_000 + (1 - dozen_us) / 1e6)
    assert got["a worker carries"] == pytest.approx(carries)
    assert got["catching up an hour"] == pytest.approx(5000 * 60 / (carries - 5000))
    assert got["memory a worker"] == pytest.approx(100 + 50_000 * (400 + 60 * 50) / 1e6 + 10)
    assert got["events"] == pytest.approx(5)
    assert got["database"] == pytest.approx(5000 / 100_000 + 5 / 5000)
    assert got["database disk"] == pytest.approx((5000 * 100 + 5 * 1000) * 86_400 * 180 / 1e9)
    assert got["topic disk"] == pytest.approx(5000 * 50 * 86_400 * 7 * 3 / 1e9)


def test_a_larger_load_takes_more():
    got = plan(vehicles=2_000_000)
    assert got["processor time"].value == pytest.approx(200_000 * 20.988e-6)
    assert got["workers"].value == 11  # 200,000 fixes/s, each worker by half of 38,480
    assert got["partitions"].value == 44
    assert plan(vehicles=2_000_000, use=1.0)["workers"].value == 6


def test_options_change_what_they_name():
    assert plan(keep_fixes=False)["a fix in a worker"].value == 8
    assert plan(keep_fixes=False)["database"].value == pytest.approx(5 / 5000)
    assert plan(keep_fixes=False)["a worker carries"].value > 70_000
    assert plan(packed=False)["a fix in a worker"].value == 100
    assert plan(packed=False)["topic disk"].value == 4 * plan()["topic disk"].value
    assert plan(days=1)["database disk"].value == pytest.approx(plan()["database disk"].value / 180)
    assert "beyond what was measured" in plan(fences=5000)["more fences"].how


@pytest.mark.parametrize("wrong", [{"vehicles": 0}, {"interval_s": -1}, {"use": 1.5}, {"fences": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(BadOption, match="--"):
        plan(**wrong)


def test_a_missing_figure_names_its_suite():
    less = Result(tuple(f for f in MEASURED.figures if f.suite != "memory"), {})
    with pytest.raises(BadResult, match="of suite memory: measure with hazfence bench all"):
        plan_for(Load(1000, 10, 10), less)


def test_the_command_shows_each_step(tmp_path, capsys):
    MEASURED.save(tmp_path / "r.json")
    asked = [
        "--vehicles",
        "50000",
        "--interval-s",
        "10",
        "--fences",
        "1000",
        "--from",
        str(tmp_path / "r.json"),
    ]
    assert main(asked) == 0
    text = capsys.readouterr().out
    assert "5,000 fixes/s" in text
    assert "= 50,000 vehicles / 10 s" in text
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["load"]["vehicles"] == 50_000
    assert found["plan"][0]["value"] == 5000
    with pytest.raises(SystemExit):
        main(["--vehicles", "0", *asked[2:]])
