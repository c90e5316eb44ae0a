"""Real services for the integration tests: those the environment names, private ones otherwise.

A service somebody lent us is treated as theirs: databases are created under a random name and dropped,
Redis keys carry a random prefix and are deleted, topics have random names. Tests that kill a service start
their own.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from hazfence.services import Services, fresh_database
from hazfence_sql import migrate


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    with Services(durable=False, prefer_kafka=True) as running:
        yield running


@pytest.fixture(scope="session")
def postgres_server(services: Services) -> str:
    """URL of a database in the server; for making other databases, never for tables."""
    return services.database_url


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a fresh database that holds nothing but the postgis extension."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(services: Services) -> Iterator[str]:
    """Name of a migrated database to copy; with roles, which all databases see, only in our own server."""
    with fresh_database(services.database_url) as url:
        migrate(url, roles=services.postgres is not None)
        yield url.rsplit("/", 1)[1].split("?")[0]


@pytest.fixture
def postgres_url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """URL of a fresh database with the schema migrated to head."""
    with fresh_database(postgres_server, template=migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_postgres_url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """As `postgres_url`, one for all tests of a module."""
    with fresh_database(postgres_server, template=migrated_template) as url:
        yield url


@pytest.fixture
def redis_prefix() -> str:
    """Key prefix of this test; `redis_url` deletes what is under it afterwards."""
    return f"hazfence_test_{secrets.token_hex(6)}:"


@pytest.fixture
def redis_url(services: Services, redis_prefix: str) -> Iterator[str]:
    """URL of Redis; the keys of the test must start with `redis_prefix`."""
    import redis

    yield services.redis_url
    with redis.Redis.from_url(services.redis_url) as client:
        for key in client.scan_iter(match=redis_prefix + "*", count=1000):
            client.delete(key)


@pytest.fixture(scope="session")
def broker(services: Services) -> str:
    """``host:port`` of the broker."""
    return services.kafka


@pytest.fixture
def topic() -> str:
    """A topic name nobody else uses."""
    return f"hazfence.test.{secrets.token_hex(6)}"
