"""Shared by all tests: how hard hypothesis looks, and that each test answers for what it leaves open.

``HYPOTHESIS_PROFILE=nightly`` looks long, the default looks for seconds. No example has a time
limit of its own: a busy machine must not fail a test. The last lines say which broker the tests ran on.

A connection that is left open is a warning, and an error, only when its memory is collected, perhaps in
another test. So event loops are looked at when they are closed, and a test that closed one ends with a
collection; what was there before the first test is exempt from it, which makes that quick.
"""

from __future__ import annotations

import gc
import os
import sys
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=200, deadline=None)
settings.register_profile("quick", max_examples=50, deadline=None)
settings.register_profile(
    "nightly", max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_left_open: list[str] = []
_closed = [0]
_close_loop = BaseSelectorEventLoop.close


def _close_and_look(loop: BaseSelectorEventLoop) -> None:
    if not loop.is_closed():
        _closed[0] += 1
        transports = list(loop._transports.values())  # type: ignore[attr-defined]
        _left_open.extend(repr(one) for one in transports if one._sock is not None)
    _close_loop(loop)


BaseSelectorEventLoop.close = _close_and_look  # type: ignore[method-assign]


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """A test that closed an event loop closed everything in it first."""
    closed = _closed[0]
    yield
    left, _left_open[:] = list(_left_open), []
    if _closed[0] != closed:
        gc.collect()
    assert not left, f"left open when its event loop was closed: {left}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if "hazfence.services.kafka" not in sys.modules:
        return  # no test that would need a broker
    from hazfence.services import kafka_missing

    given, missing = os.environ.get("HAZFENCE_KAFKA"), kafka_missing()
    if given:
        said = f"the one at HAZFENCE_KAFKA={given}"
    elif missing is None:
        said = "Apache Kafka, and the embedded one where a test or the demo starts its own"
    else:
        said = f"the embedded one; NOTHING was tested on Apache Kafka: {missing}"
    terminalreporter.write_line(f"broker of these tests: {said}")
