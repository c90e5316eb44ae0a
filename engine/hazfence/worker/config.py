"""The worker's settings: one table, filled from ``HAZFENCE_*`` variables or from keywords.

You are beside the worker's way; ``main.py`` reads a :class:`WorkerSettings` once and hands it on.
Every field below is a variable: ``topic`` is ``HAZFENCE_TOPIC``. Thresholds of the core go as JSON in
one variable, ``HAZFENCE_ENGINE='{"overspeed_for_s": 30}'``; their names are those of
``hazfence.EngineSettings``. URLs may hold passwords: they are secrets here and appear in no log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as _EnvError

from hazfence.settings import EngineSettings
from hazfence.worker.processor import Clock, ProcessorSettings
from hazfence.worker.redact import passwords_of
from hazfence.worker.rulefile import RuleFile, read_rule_file

__all__ = ["PREFIX", "SettingsError", "WorkerSettings"]

PREFIX = "HAZFENCE_"

#: Fixes are judged that are as late as this, from the table of fixes, unless HAZFENCE_ENGINE says otherwise.
_RECALL_H = 24.0

_MEND = {
    "database_url": "e.g. postgresql://hazfence@localhost/hazfence",
    "kafka": "e.g. localhost:9092",
    "redis_url": "e.g. redis://localhost:6379/0",
    "fences": "a folder or .geojson file, or the word db for the fences saved in the database",
    "engine": 'JSON, e.g. {"overspeed_for_s": 30}',
    "rules": "a rulebook file (docs/rules.md), or the word all",
}


class SettingsError(ValueError):
    """Settings that cannot be used; the message names each variable and the mend."""


class WorkerSettings(BaseSettings):
    """Settings of a worker.

    Example:
        >>> s = WorkerSettings.load(database_url="postgresql:///x", kafka="localhost:9092", fences="db")
        >>> s.topic, s.clock
        ('hazfence.fixes', <Clock.WALL: 'wall'>)
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", allow_inf_nan=False)

    database_url: SecretStr = Field(description="PostgreSQL with PostGIS, migrated")
    kafka: str = Field(description="host:port[,host:port] of the broker")
    kafka_security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_username: str | None = Field(None, description="for SASL")
    kafka_password: SecretStr | None = Field(None, description="for SASL")
    kafka_ca_file: str | None = Field(None, description="PEM; the system's authorities when unset")
    kafka_cert_file: str | None = Field(None, description="PEM, when the broker asks clients for one")
    kafka_key_file: str | None = Field(None, description="PEM, of that certificate, without a passphrase")
    redis_url: SecretStr | None = Field(None, description="Redis for the live board; no board when unset")
    fences: str = Field(description="folder or file of GeoJSON fences, or db")

    topic: str = Field("hazfence.fixes", min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")
    dead_topic: str = Field("hazfence.dead", max_length=249, pattern=r"^[A-Za-z0-9._-]*$")
    group: str = Field(
        "hazfence", min_length=1, description="consumer group; workers of one group share the work"
    )
    create_topics: bool = Field(True, description="create the topics when they are missing")
    topic_partitions: int = Field(8, ge=1, description="partitions of a topic created here")
    topic_replication: int = Field(1, ge=1, description="copies of a topic created here; 3 on a real cluster")

    clock: Clock = Clock.WALL
    lateness_s: float = Field(60.0, ge=0, description="silence is believed this long after the moment")
    event_step_s: float = Field(
        600.0, gt=0, description="with the event clock: how often silence is looked for"
    )
    checkpoint_every_s: float = Field(5.0, gt=0)
    tick_every_s: float = Field(1.0, gt=0, le=60)
    max_buffered_fixes: int = Field(200_000, ge=1)
    keep_fixes: bool = True
    fix_index: Literal["at_once", "when_closed"] = Field(
        "at_once", description="when the fixes of a day get their index by vehicle and time"
    )
    max_message_bytes: int = Field(4 * 1024 * 1024, ge=1)
    max_kept_bytes: int = Field(1024 * 1024, ge=1, description="bytes kept of a message that cannot be read")
    engine: dict[str, Any] = Field(default_factory=dict, description="thresholds of the core, as JSON")

    rules: str | None = Field(None, description="rulebook file, or all; four rules are on when unset")
    plate_topic: str = Field("hazfence.plates", max_length=249, pattern=r"^[A-Za-z0-9._-]+$")
    joint_every_s: float = Field(
        5.0, gt=0, description="between checkpoints of the rules about more than one vehicle"
    )

    linger_s: float = Field(
        0.02, ge=0, le=0.05, description="from one portion of messages to the next, so that they find company"
    )
    inbox_bytes: int = Field(32 * 1024 * 1024, ge=1, description="messages that may wait to be processed")
    fetch_max_wait_ms: int = Field(100, ge=1)
    fetch_max_bytes: int = Field(
        2 * 1024 * 1024, ge=1, description="a partition and fetch; four such wait inside Faust on top"
    )
    session_timeout_s: float = Field(30.0, gt=0)
    heartbeat_s: float = Field(3.0, gt=0)
    rebalance_timeout_s: float = Field(60.0, gt=0)
    flush_timeout_s: float = Field(
        10.0, gt=0, description="for the last checkpoint of a partition that leaves"
    )

    database_connections: int = Field(4, ge=1)
    board_prefix: str = Field("hazfence:", min_length=1)
    board_every_s: float = Field(1.0, gt=0)
    board_tail: int = Field(10_000, ge=0)
    board_stream_length: int = Field(100_000, ge=1)

    web_host: str = "127.0.0.1"
    web_port: int = Field(9108, ge=0, le=65535, description="for /metrics, /healthz, /readyz; 0 for none")
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("kafka")
    @classmethod
    def _servers(cls, value: str) -> str:
        servers = [one.strip() for one in value.split(",")]
        for server in servers:
            host, colon, port = server.rpartition(":")
            if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536 or "/" in server:
                raise ValueError(f"{server!r} is no host:port")
        return ",".join(servers)

    @field_validator("kafka_ca_file", "kafka_cert_file", "kafka_key_file")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                with Path(value).open("rb"):
                    pass
            except OSError as error:
                raise ValueError(f"{value!r} cannot be read: {error.strerror}") from None
        return value

    @field_validator("fences")
    @classmethod
    def _place_of_fences(cls, value: str) -> str:
        if value != "db" and not Path(value).exists():
            raise ValueError(f"{value!r} does not exist")
        return value

    @field_validator("rules")
    @classmethod
    def _rule_file(cls, value: str | None) -> str | None:
        if value is not None:
            read_rule_file(value)
        return value

    @field_validator("database_url", "redis_url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and "://" not in value.get_secret_value():
            raise ValueError("no URL: scheme:// is missing")
        return value

    @field_validator("engine")
    @classmethod
    def _thresholds(cls, value: dict[str, Any]) -> dict[str, Any]:
        EngineSettings.from_json(value)
        return value

    @model_validator(mode="after")
    def _rhythm(self) -> Self:
        if self.heartbeat_s * 3 > self.session_timeout_s:
            raise ValueError(
                f"{PREFIX}HEARTBEAT_S {self.heartbeat_s} must be at most a third of "
                f"{PREFIX}SESSION_TIMEOUT_S {self.session_timeout_s}"
            )
        if "rules" in self.engine and self.rules is not None:
            raise ValueError(f"{PREFIX}ENGINE and {PREFIX}RULES both have rules; keep those of the file")
        return self

    @model_validator(mode="after")
    def _kafka_security(self) -> Self:
        sasl, tls = "sasl" in self.kafka_security, "ssl" in self.kafka_security
        if sasl and (not self.kafka_username or self.kafka_password is None):
            raise ValueError(
                f"{PREFIX}KAFKA_SECURITY {self.kafka_security} needs {PREFIX}KAFKA_USERNAME and "
                f"{PREFIX}KAFKA_PASSWORD"
            )
        if not sasl and (self.kafka_username or self.kafka_password):
            raise ValueError(
                f"{PREFIX}KAFKA_USERNAME or _PASSWORD is set, but {PREFIX}KAFKA_SECURITY "
                f"{self.kafka_security} would not use it: set it to sasl_ssl"
            )
        if not tls and (self.kafka_ca_file or self.kafka_cert_file):
            raise ValueError(
                f"{PREFIX}KAFKA_CA_FILE or _CERT_FILE is set, but {PREFIX}KAFKA_SECURITY "
                f"{self.kafka_security} would not use it: set it to ssl or sasl_ssl"
            )
        if (self.kafka_cert_file is None) != (self.kafka_key_file is None):
            raise ValueError(f"{PREFIX}KAFKA_CERT_FILE and {PREFIX}KAFKA_KEY_FILE are set both or not at all")
        return self

    @classmethod
    def load(cls, **given: Any) -> WorkerSettings:
        """Read the environment; keywords win over variables.

        Raises:
            SettingsError: one line a variable, with what is wrong and the mend; values are not repeated.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            lines = []
            for found in error.errors(include_input=False, include_url=False, include_context=False):
                name = str(found["loc"][0]) if found["loc"] else ""
                missing = "is not set" if found["type"] == "missing" else found["msg"]
                said = missing.removeprefix("Value error, ")
                mend = f"; set it to {_MEND[name]}" if name in _MEND else ""
                lines.append(f"{PREFIX + name.upper()}: {said}{mend}" if name else said)
            raise SettingsError("\n".join(lines)) from None
        except _EnvError as error:  # a variable that should be JSON and is not
            name = next((n for n in cls.model_fields if f'"{n}"' in str(error)), "engine")
            raise SettingsError(
                f"{PREFIX}{name.upper()}: no JSON; set it to {_MEND.get(name, 'JSON')}"
            ) from None

    @classmethod
    def for_embedded_broker(cls, **given: Any) -> WorkerSettings:
        """As :meth:`load`, with the group's rhythm for the embedded broker, which joins slowly."""
        return cls.load(
            **{"session_timeout_s": 6.0, "heartbeat_s": 1.0, "rebalance_timeout_s": 12.0, **given}
        )

    def to_env(self) -> dict[str, str]:
        """The settings as variables for a child process; they hold the secrets."""
        env = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            if value is not None:
                env[PREFIX + name.upper()] = json.dumps(value) if isinstance(value, dict) else str(value)
        return env

    def secrets(self) -> set[str]:
        """What must be seen nowhere: passwords, as written in URLs and as meant."""
        urls = [one.get_secret_value() for one in (self.database_url, self.redis_url) if one is not None]
        found = {password for url in urls for password in passwords_of(url)}
        if self.kafka_password is not None:
            found.add(self.kafka_password.get_secret_value())
        return found

    def processor(self) -> ProcessorSettings:
        """The part that a partition's processor needs."""
        return ProcessorSettings(
            clock=self.clock,
            lateness_s=self.lateness_s,
            event_step_s=self.event_step_s,
            checkpoint_every_s=self.checkpoint_every_s,
            max_buffered_fixes=self.max_buffered_fixes,
            keep_fixes=self.keep_fixes,
            fixes_indexed=self.fix_index == "at_once",
            max_message_bytes=self.max_message_bytes,
            max_kept_bytes=self.max_kept_bytes,
        )

    def engine_settings(self) -> EngineSettings:
        """The thresholds of the core, with the rules of the rulebook file."""
        settings = EngineSettings.from_json({"recall_h": _RECALL_H, **self.engine})
        rules = self._rule_file_read().rules
        return settings if rules is None else replace(settings, rules=rules)

    def desk(self) -> Mapping[str, Any]:
        """The desk's configuration of the rulebook file."""
        return self._rule_file_read().desk

    def _rule_file_read(self) -> RuleFile:
        return RuleFile() if self.rules is None else read_rule_file(self.rules)
