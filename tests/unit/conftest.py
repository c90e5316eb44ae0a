"""Fixtures of the unit tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hazfence.columns import Columns
from hazfence.screen import Screen


@pytest.fixture(params=[False, True], ids=["screened", "every-fix"])
def judged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test twice: as it is, and with every fix let through to the judge, none to the columns.

    So a verdict at the exact limit is asked of the rule itself, not only of what spares it the question.
    """
    if not request.param:
        return
    look = Screen.look

    def sleepless(self: Screen, *args: Any, **kwargs: Any) -> Columns:
        columns = look(self, *args, **kwargs)
        groups = np.arange(len(columns.starts), dtype=np.int64)
        none = np.zeros_like(columns.plain)
        return columns._replace(due=np.ones_like(columns.due), active=groups, plain=none)

    monkeypatch.setattr(Screen, "look", sleepless)
