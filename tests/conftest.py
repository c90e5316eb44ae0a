"""Shared by all tests: how hard hypothesis looks.

``HYPOTHESIS_PROFILE=nightly`` looks long, the default looks for seconds. No example has a time
limit of its own: a busy machine must not fail a test. The last lines say which broker the tests ran on.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=200, deadline=None)
settings.register_profile("quick", max_examples=50, deadline=None)
settings.register_profile(
    "nightly", max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


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
