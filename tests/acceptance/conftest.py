"""The private services of the integration tests, for acceptance tests that need them."""

from __future__ import annotations

from tests.integration.conftest import (  # noqa: F401
    broker,
    migrated_template,
    postgres_server,
    postgres_url,
    redis_prefix,
    redis_url,
    services,
    topic,
)
