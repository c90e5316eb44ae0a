"""The files in ``deploy/`` fit the program: every metric, setting, command and path they name exists."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from hazfence.cli.app import app
from hazfence.worker.config import WorkerSettings
from hazfence.worker.metrics import WorkerMetrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "hazfence.json"
RULES = DEPLOY / "prometheus" / "alerts.yml"


def samples() -> dict[str, set[str]]:
    """Every sample name that a worker shows, with its labels."""
    found: dict[str, set[str]] = {}
    for family in WorkerMetrics().registry.collect():
        names = {
            "counter": [f"{family.name}_total"],
            "gauge": [family.name],
            "histogram": [f"{family.name}_bucket", f"{family.name}_sum", f"{family.name}_count"],
        }[family.type]
        for name in names:
            found[name] = {"le"} if name.endswith("_bucket") else set()
    metrics = WorkerMetrics()
    for value in vars(metrics).values():
        for name in found:
            base = getattr(value, "_name", None)
            if base is not None and name.removesuffix("_total").removesuffix("_bucket") == base:
                found[name] |= set(value._labelnames)
    return found


def expressions() -> list[tuple[str, str]]:
    """(place, PromQL) of every panel and every alert."""
    found = []
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        found += [(rule["alert"], rule["expr"]) for rule in group["rules"]]
    return found


@pytest.mark.parametrize(("place", "expression"), expressions())
def test_every_metric_and_label_that_is_asked_for_is_shown(place: str, expression: str) -> None:
    known = samples()
    asked = set(re.findall(r"\bhazfence_\w+", expression))
    assert asked or expression in ('sum(up{job="hazfence"})', 'up{job="hazfence"} == 0')
    assert asked <= set(known), place
    labels = {"job", "instance"}.union(*(known[name] for name in asked))
    used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    for by in re.findall(r"\bby \(([^)]*)\)", expression):
        used |= {label.strip() for label in by.split(",")}
    assert used <= labels, place
    assert expression.count("(") == expression.count(")")


def test_the_dashboard_shows_what_matters_and_says_what_it_is() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    shown = " ".join(expression for _, expression in expressions())
    for name in (
        "hazfence_lag_messages", "hazfence_watermark_age_seconds", "hazfence_unaccounted",
        "hazfence_store_up",
        "hazfence_buffered_fixes", "hazfence_store_retries_total", "hazfence_messages_unreadable_total",
    ):  # fmt: skip
        assert name in shown
    boxes = [panel["gridPos"] for panel in dashboard["panels"]]
    taken = [
        (x, y) for b in boxes for x in range(b["x"], b["x"] + b["w"]) for y in range(b["y"], b["y"] + b["h"])
    ]
    assert len(set(taken)) == len(taken), "no panel lies on another"
    assert max(x for x, _ in taken) < 24


def test_every_alert_says_what_to_do() -> None:
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        names = [rule["alert"] for rule in group["rules"]]
        assert len(set(names)) == len(names)
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "mend"}
            assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_alert_is_tried_firing_and_silent() -> None:
    alerts = {
        rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    }
    well, wrong = yaml.safe_load((RULES.parent / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    assert {one["alertname"] for one in well["alert_rule_test"]} == alerts
    fired = [sample["labels"] for sample in wrong["promql_expr_test"][0]["exp_samples"]]
    assert {re.search(r'alertname="(\w+)"', labels)[1] for labels in fired} == alerts  # type: ignore[index]


def test_prometheus_itself_takes_rules_and_settings() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: Prometheus' own check of the rules is left out")
    for command in (
        ["check", "rules", str(RULES)],
        ["check", "config", str(RULES.parent / "prometheus.yml")],
        ["test", "rules", str(RULES.parent / "alerts_test.yml")],
    ):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def settings_known() -> set[str]:
    """Variables of the workers and of ``hazfence maintain``."""
    names = {f"HAZFENCE_{name.upper()}" for name in WorkerSettings.model_fields}
    for command in get_command(app).commands.values():  # type: ignore[attr-defined]
        for parameter in command.params:
            given = getattr(parameter, "envvar", None) or []
            names |= {given} if isinstance(given, str) else set(given)
    return names


def test_every_variable_that_is_set_exists() -> None:
    lines = (DEPLOY / "hazfence.env").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    loaded = WorkerSettings.load(**{name.removeprefix("HAZFENCE_").lower(): v for name, v in given.items()})
    assert loaded.topic_replication == 3
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    named = set(given) | set(compose["x-hazfence"]["environment"])
    named |= set(re.findall(r"\b(HAZFENCE_[A-Z_]+)=", (DEPLOY / "Dockerfile").read_text(encoding="utf-8")))
    assert named <= settings_known()


@pytest.mark.parametrize("unit", sorted(path.name for path in (DEPLOY / "systemd").iterdir()))
def test_systemd_units(unit: str, tmp_path: Path) -> None:
    path = DEPLOY / "systemd" / unit
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read(path)
    if unit.endswith(".service"):
        words = parsed["Service"]["ExecStart"].split()
        assert words[0] == "/opt/hazfence/bin/hazfence"
        assert words[1] in get_command(app).commands  # type: ignore[attr-defined]
        assert parsed["Service"]["User"] == "hazfence"
    if unit == "hazfence.service":
        assert parsed["Service"]["RestartPreventExitStatus"] == "78"
        assert int(parsed["Service"]["TimeoutStopSec"]) > 40, (
            "longer than a worker's last checkpoint may take"
        )
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: systemd's own check of the unit is left out")
    # The program and its user are not installed here: stand-ins, so that all the rest is checked.
    copy = tmp_path / unit
    text = path.read_text(encoding="utf-8").replace("/opt/hazfence/bin/hazfence", "/bin/true")
    copy.write_text(re.sub(r"(?m)^(User=hazfence|EnvironmentFile=.*)\n", "", text))
    if unit.endswith(".timer"):
        (tmp_path / "hazfence-maintain.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert unit not in done.stderr, done.stderr


def test_the_image_is_built_from_what_is_there_and_runs_as_nobody_special() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), line
    ignored = [
        line for line in (ROOT / ".dockerignore").read_text().split() if not line.startswith(("!", "."))
    ]
    copied = {source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]}
    assert not copied & set(ignored)
    stages = [at for at, line in enumerate(lines) if line.startswith("FROM ")]
    assert any(line.startswith("USER hazfence") for line in lines[stages[-1] :])
    (command,) = [line for line in lines if line.startswith("CMD ")]
    assert json.loads(command.removeprefix("CMD ")) == ["serve"]
    packages = re.findall(
        r'"(\w+)/', (ROOT / "pyproject.toml").read_text().split("packages = [")[1].split("]")[0]
    )
    assert set(packages) <= copied


def test_compose(tmp_path: Path) -> None:
    path = DEPLOY / "compose.yaml"
    compose: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    services = compose["services"]
    assert {"postgis", "redis", "kafka", "prepare", "worker"} <= set(services)
    for name, service in services.items():
        assert ":" in service["image"], "images are pinned"
        for other in service.get("depends_on", {}):
            assert other in services
            if service["depends_on"][other]["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is not open to everybody"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists()
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert services["worker"]["command"][0] in commands
    for said in re.findall(r"hazfence (\w+)", services["prepare"]["entrypoint"][2]):
        assert said in commands
    there = shutil.which("docker") and subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode == 0  # fmt: skip
    if not there:
        pytest.skip("no docker compose here: its own check of compose.yaml is left out")
    passwords = {"HAZFENCE_DATABASE_PASSWORD": "x", "HAZFENCE_REDIS_PASSWORD": "y"}
    done = subprocess.run(
        ["docker", "compose", "-f", str(path), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **passwords},
    )
    assert done.returncode == 0, done.stderr
