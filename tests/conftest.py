"""Shared by all tests: how hard hypothesis looks.

``HYPOTHESIS_PROFILE=nightly`` looks long, the default looks for seconds. No example has a time
limit of its own: a busy machine must not fail a test.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=200, deadline=None)
settings.register_profile("quick", max_examples=50, deadline=None)
settings.register_profile(
    "nightly", max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
