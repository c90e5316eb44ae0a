"""Use what the environment names, start the rest: the three services as one bundle for the demo and tests.

HAZFENCE_DATABASE_URL, HAZFENCE_KAFKA and HAZFENCE_REDIS_URL, when set, are used as they are; each one not
set is replaced by a private service. Read `process.py` for how a private service lives and dies.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from hazfence.services.broker import PrivateBroker
from hazfence.services.kafka import PrivateKafka, private_broker
from hazfence.services.postgres import PrivatePostgres
from hazfence.services.redis_server import PrivateRedis

__all__ = ["Services"]

DATABASE_VARIABLE = "HAZFENCE_DATABASE_URL"
KAFKA_VARIABLE = "HAZFENCE_KAFKA"
REDIS_VARIABLE = "HAZFENCE_REDIS_URL"


class Services:
    """Database, broker and Redis: given ones where the environment names them, private ones otherwise.

    Args:
        folder: where the private ones keep their data; temporary when None.
        durable: as for `PrivatePostgres`.
        prefer_kafka: a private broker is Apache Kafka where its jars are, the embedded one otherwise.
        environ: ``os.environ`` when None.

    Attributes:
        database_url: libpq URL.
        kafka: ``host:port[,host:port...]``.
        redis_url: Redis URL.
        postgres, broker, redis: the private service, None where a given one is used.

    Example:
        >>> with Services() as services:  # doctest: +SKIP
        ...     print(services.database_url, services.kafka, services.redis_url)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        durable: bool = True,
        prefer_kafka: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = Path(folder) if folder is not None else None
        self._durable = durable
        self._prefer_kafka = prefer_kafka
        self._environ = os.environ if environ is None else environ
        self._open = contextlib.ExitStack()
        self.postgres: PrivatePostgres | None = None
        self.broker: PrivateBroker | PrivateKafka | None = None
        self.redis: PrivateRedis | None = None
        self.database_url = self._environ.get(DATABASE_VARIABLE, "")
        self.kafka = self._environ.get(KAFKA_VARIABLE, "")
        self.redis_url = self._environ.get(REDIS_VARIABLE, "")

    def _place(self, name: str) -> Path | None:
        return self._folder / name if self._folder is not None else None

    def start(self) -> Self:
        """Start the private ones.

        Raises:
            ServiceError: one cannot be started; those started before it are closed again.
        """
        try:
            if not self.database_url:
                postgres = PrivatePostgres(self._place("postgres"), durable=self._durable)
                self.postgres = self._open.enter_context(postgres)
                self.database_url = self.postgres.url
            if not self.redis_url:
                self.redis = self._open.enter_context(PrivateRedis(self._place("redis")))
                self.redis_url = self.redis.url
            if not self.kafka:
                place = self._place("broker")
                self.broker = private_broker(place) if self._prefer_kafka else PrivateBroker(place)
                self._open.enter_context(self.broker)
                self.kafka = self.broker.bootstrap
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End what `start` started; given services are left alone."""
        self._open.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
