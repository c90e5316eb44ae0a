"""What a check found, and all checks in a row.

You are in the doctor's front room. A `Finding` is one line for a person: what was looked at, how it is,
and, unless all is well, the mend. The rooms behind it take a `Say`, which collects; a part that cannot be
reached ends with that one finding, because everything else about it would only repeat it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hazfence.worker.redact import Redactor

if TYPE_CHECKING:
    from hazfence.worker.config import WorkerSettings

__all__ = ["Finding", "Say", "Status", "examine", "skew"]

#: Clocks farther apart than this are worth a look; farther than the second value, silence is judged wrongly.
_SKEW_WARN_S, _SKEW_FAIL_S = 1.0, 30.0


class Status(StrEnum):
    """How a checked thing is."""

    OK = "ok"
    WARN = "warn"  #: works, but not as it should in production, or cannot be known
    FAIL = "fail"  #: a worker cannot work, or would work wrongly


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        part: ``database``, ``broker``, ``board`` or ``fences``.
        check: what was looked at, e.g. ``schema``.
        status: see `Status`.
        said: how it is, with figures; no secrets.
        mend: what to do about it; empty when all is well.
    """

    part: str
    check: str
    status: Status
    said: str
    mend: str = ""

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON-able dict."""
        return asdict(self)


class Say:
    """Collects the findings of one part, without secrets.

    Args:
        part: see `Finding`.
        redact: takes secrets out of texts that come from elsewhere.

    Attributes:
        findings: what was said so far.
    """

    def __init__(self, part: str, redact: Redactor) -> None:
        self.findings: list[Finding] = []
        self._part = part
        self._redact = redact

    def ok(self, check: str, said: str) -> None:
        """All is well."""
        self._add(check, Status.OK, said, "")

    def warn(self, check: str, said: str, mend: str) -> None:
        """It works, but not as it should."""
        self._add(check, Status.WARN, said, mend)

    def fail(self, check: str, said: str, mend: str) -> None:
        """It does not work."""
        self._add(check, Status.FAIL, said, mend)

    def _add(self, check: str, status: Status, said: str, mend: str) -> None:
        one_line = " ".join(self._redact(said).split())
        self.findings.append(Finding(self._part, check, status, one_line, self._redact(mend)))


def skew(say: Say, what: str, there_s: float, before_s: float, after_s: float) -> None:
    """Compare a server's clock with ours.

    Args:
        say: collects the finding, as check ``clock``.
        what: whose clock, e.g. ``PostgreSQL``.
        there_s: its time, seconds since 1970.
        before_s, after_s: ours, before and after it was asked; the answer is known only that exactly.
    """
    ahead_s = there_s - (before_s + after_s) / 2
    doubt_s = (after_s - before_s) / 2
    off_s = max(0.0, abs(ahead_s) - doubt_s)
    said = f"{what} is {abs(ahead_s):.3f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine"
    mend = "let both machines follow a time server (Debian: chrony): silence is judged by the clock"
    if off_s > _SKEW_FAIL_S:
        say.fail("clock", said, mend)
    elif off_s > _SKEW_WARN_S:
        say.warn("clock", said, mend)
    else:
        say.ok("clock", said)


def examine(settings: WorkerSettings, *, clock_s: Callable[[], float] = time.time) -> list[Finding]:
    """Look at everything a worker with these settings would use; change nothing.

    Args:
        settings: of the worker.
        clock_s: this machine's clock, seconds since 1970.

    Returns:
        every finding, part by part. Nothing raises: what goes wrong is a finding.

    Example::

        bad = [f for f in examine(WorkerSettings.load()) if f.status is Status.FAIL]
    """
    from hazfence.doctor import board, broker, database

    redact = Redactor(settings.secrets())
    findings: list[Finding] = []
    says = {part: Say(part, redact) for part in ("database", "fences", "broker", "board")}
    checkpoints = database.look(settings, says["database"], says["fences"], clock_s)
    broker.look(settings, says["broker"], checkpoints)
    board.look(settings, says["board"], clock_s)
    for say in says.values():
        findings += say.findings
    return findings
