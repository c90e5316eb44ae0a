"""A private Apache Kafka: one node that is broker and controller, from jars that Maven fetched.

You are beside `broker.py`, whose embedded broker needs no Java but keeps everything in memory. What claims to
survive a broker's death is shown on this one. ``scripts/fetch-kafka.sh`` fetches the jars; `kafka_missing`
tells why there is no Kafka here, and `private_broker` takes the better of the two that can be had.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from hazfence.services.broker import PrivateBroker
from hazfence.services.process import PrivateService, ServiceError, free_port

__all__ = ["JARS_VARIABLE", "PrivateKafka", "kafka_missing", "private_broker"]

#: Folder with the jars; empty to do without Kafka although it is there.
JARS_VARIABLE = "HAZFENCE_KAFKA_JARS"
_FETCH = "run scripts/fetch-kafka.sh"
_JAVA = 17
_LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = stdout
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
appender.stdout.type = Console
appender.stdout.name = stdout
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d %p %c{1} %m%n
"""


def _folder(environ: Mapping[str, str]) -> Path | None:
    if JARS_VARIABLE in environ:
        given = environ[JARS_VARIABLE]
        return Path(given) if given else None
    cache = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or "/nonexistent") / ".cache"
    return Path(cache) / "hazfence" / "kafka"


def kafka_missing(environ: Mapping[str, str] | None = None) -> str | None:
    """Why Apache Kafka cannot be started here, with the mend; None when it can.

    Args:
        environ: where ``HAZFENCE_KAFKA_JARS`` is looked up; ``os.environ`` when None.
    """
    folder = _folder(os.environ if environ is None else environ)
    if folder is None:
        return f"{JARS_VARIABLE} is empty"
    if not any(folder.glob("kafka_*.jar")):
        return f"no Kafka jars in {folder}: {_FETCH}"
    java = shutil.which("java")
    if java is None:
        return "there is no java (Debian: apt-get install default-jre-headless)"
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < _JAVA:
        return f"Kafka needs Java {_JAVA} or newer, {java} is {version[1] if version else 'unknown'}"
    return None


def private_broker(folder: str | os.PathLike[str] | None = None) -> PrivateKafka | PrivateBroker:
    """An Apache Kafka where there is one, the embedded broker otherwise; not started yet."""
    return PrivateKafka(folder) if kafka_missing() is None else PrivateBroker(folder)


class PrivateKafka(PrivateService):
    """An Apache Kafka of our own on 127.0.0.1: a single KRaft node that keeps its topics over `kill`.

    Topics are not created by being asked for. A process that is killed loses nothing that it has
    acknowledged; what a power cut would take is not this service's matter.

    Args:
        folder: see `PrivateService`.
        port: see `PrivateService`; the controller takes another free one.
        ready_within_s: see `PrivateService`.
        settings: further lines of ``server.properties``, e.g. ``{"log.segment.bytes": "1048576"}``.
        heap_mb: memory of the Java heap.

    Example:
        >>> with PrivateKafka() as kafka:  # doctest: +SKIP
        ...     AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    """

    name: ClassVar[str] = "Kafka"

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        port: int | None = None,
        ready_within_s: float = 60.0,
        settings: dict[str, str] | None = None,
        heap_mb: int = 512,
    ) -> None:
        super().__init__(folder, port=port, ready_within_s=ready_within_s)
        self.settings = dict(settings or {})
        self.heap_mb = heap_mb
        self._ports = (0, 0)  # ours and the controller's

    @property
    def bootstrap(self) -> str:
        """``host:port`` as Kafka clients take it in ``bootstrap_servers``."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The same as `bootstrap`, the form HAZFENCE_KAFKA takes."""
        return self.bootstrap

    def _check(self) -> None:
        missing = kafka_missing()
        if missing is not None:
            raise ServiceError(f"Apache Kafka cannot be started: {missing}, or use the embedded broker")

    def _java(self, main: str, *arguments: str) -> list[str]:
        jars = _folder(os.environ)
        return [
            str(shutil.which("java")), f"-Xmx{self.heap_mb}m", "-Xms128m", "-XX:+UseSerialGC",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}", "-cp", f"{jars}/*",
            main, *arguments,
        ]  # fmt: skip

    def _properties(self, port: int, controller_port: int) -> str:
        """Write ``server.properties``; returns its path."""
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            # A killed broker may come back only when its former life counts as dead.
            "broker.session.timeout.ms": "1500",
            "broker.heartbeat.interval.ms": "300",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
        } | self.settings
        path = self.folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return str(path)

    def _prepare(self) -> None:
        (self.folder / "log4j2.properties").write_text(_LOG4J)
        if (self.folder / "data" / "meta.properties").exists():
            return
        # A leading minus, one in 64, would look like an option.
        cluster = "h" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        command = self._java(
            "kafka.tools.StorageTool", "format", "--cluster-id", cluster,
            "--config", self._properties(9092, 9093),  # ports do not matter here
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            lines = (done.stdout + done.stderr).strip().splitlines()
            said = [line for line in lines if not line.startswith("\tat ")]
            raise ServiceError(f"Kafka's storage could not be formatted: {' | '.join(said[-3:])}")

    def _command(self) -> list[str]:
        if self._ports[0] != self.port:  # first start, or another try because one of the two was taken
            self._ports = (self.port, free_port())
        return self._java("kafka.Kafka", self._properties(*self._ports))

    def _answers(self) -> bool:
        # Metadata (key 3), version 1, for no topic: lists the brokers that take part, ourselves when ready.
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(struct.pack(">ihhihi", 14, 3, 1, 1, -1, 0))
            heard = connection.recv(12, socket.MSG_WAITALL)
            return len(heard) == 12 and struct.unpack(">iii", heard)[2] > 0

    def _log_tail(self, lines: int = 5) -> str:
        tail = super()._log_tail(40)
        causes = [line for line in tail.split(" | ") if "Exception" in line or "ERROR" in line]
        return " | ".join(causes[-lines:]) or super()._log_tail(lines)
