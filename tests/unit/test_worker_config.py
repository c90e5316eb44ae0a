"""Settings: read from the environment, checked, and their secrets kept."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from hazfence.worker.config import SettingsError, WorkerSettings
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.processor import Clock

GOOD = {"database_url": "postgresql://u:geheim@db/x", "kafka": "a:9092, b:9093", "fences": "db"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("HAZFENCE_"):
            monkeypatch.delenv(name)


def refused(**given: object) -> str:
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.load(**{**GOOD, **given})
    return str(caught.value)


def test_environment_and_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        **GOOD,
        "clock": "event",
        "engine": '{"overspeed_for_s": 7}',
        "keep_fixes": "0",
    }.items():
        monkeypatch.setenv(f"HAZFENCE_{name.upper()}", value)
    settings = WorkerSettings.load()
    assert settings.kafka == "a:9092,b:9093"
    assert settings.clock is Clock.EVENT
    assert settings.engine_settings().overspeed_for_s == 7
    assert settings.processor().keep_fixes is False
    assert settings.redis_url is None
    assert (settings.topic, settings.dead_topic, settings.board_prefix) == (
        "hazfence.fixes", "hazfence.dead", "hazfence:",
    )  # fmt: skip


def test_missing_ones_are_all_named_with_their_mend() -> None:
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.load()
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "HAZFENCE_DATABASE_URL",
        "HAZFENCE_KAFKA",
        "HAZFENCE_FENCES",
    ]
    assert "is not set; set it to e.g. postgresql://" in lines[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"kafka": "localhost"},
            "HAZFENCE_KAFKA: 'localhost' is no host:port; set it to e.g.",
        ),
        ({"kafka": "http://a:1"}, "HAZFENCE_KAFKA"),
        ({"kafka": "a:99999"}, "HAZFENCE_KAFKA"),
        ({"fences": "/nowhere"}, "HAZFENCE_FENCES: '/nowhere' does not exist; set it to a folder"),
        ({"database_url": "geheim"}, "HAZFENCE_DATABASE_URL: no URL"),
        ({"topic": "a b"}, "HAZFENCE_TOPIC"),
        ({"clock": "sun"}, "HAZFENCE_CLOCK"),
        ({"lateness_s": -1}, "HAZFENCE_LATENESS_S"),
        ({"web_port": 70000}, "HAZFENCE_WEB_PORT"),
        ({"engine": {"speed": 1}}, "HAZFENCE_ENGINE: unknown engine setting 'speed'"),
        (
            {"kafka_security": "sasl_ssl"},
            "sasl_ssl needs HAZFENCE_KAFKA_USERNAME and HAZFENCE_KAFKA_PASSWORD",
        ),
        ({"kafka_username": "k"}, "would not use it: set it to sasl_ssl"),
        ({"kafka_ca_file": "/nowhere.pem"}, "HAZFENCE_KAFKA_CA_FILE: '/nowhere.pem' cannot be read"),
        ({"kafka_ca_file": __file__}, "would not use it: set it to ssl or sasl_ssl"),
        ({"kafka_security": "ssl", "kafka_cert_file": __file__}, "are set both or not at all"),
        (
            {"heartbeat_s": 20},
            "HAZFENCE_HEARTBEAT_S 20.0 must be at most a third",
        ),
    ],
)
def test_what_cannot_be_used(given: dict[str, object], says: str) -> None:
    message = refused(**given)
    assert says in message
    assert "geheim" not in message


def test_json_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAZFENCE_ENGINE", "{")
    with pytest.raises(SettingsError, match="HAZFENCE_ENGINE: no JSON; set it to JSON, e.g."):
        WorkerSettings.load(**GOOD)


def test_secrets_are_kept() -> None:
    settings = WorkerSettings.load(**GOOD, redis_url="redis://:geheim@r/0")
    assert "geheim" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_child_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = WorkerSettings.for_embedded_broker(
        **{**GOOD, "fences": str(tmp_path)},
        redis_url="redis://:geheim@r/0",
        engine={"max_gap_s": 60},
        clock="event",
    )
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    assert WorkerSettings.load() == settings
    assert settings.session_timeout_s == 6


def test_every_setting_and_metric_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "worker.md").read_text(encoding="utf-8")
    for name in WorkerSettings.model_fields:
        assert f"`HAZFENCE_{name.upper()}`" in text
    for family in WorkerMetrics().registry.collect():
        assert f"`{family.name}" in text
    rows = set(re.findall(r"(?m)^\| `HAZFENCE_(\w+)`", text))
    assert rows <= {n.upper() for n in WorkerSettings.model_fields}
