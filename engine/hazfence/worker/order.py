"""The order of the log: which messages are next, which are known, and when to read again.

You are beside ``processor.py``, which asks :class:`LogOrder` about every message. The offset that
counts is the checkpoint's, and the consumer may stand elsewhere: behind it (messages are skipped)
or beyond it (the log has to be read again from there). After a seek the consumer still hands out
what it had already fetched; those offsets go on rising. An offset that does not rise shows that
the log was read again, and what is missing then the log no longer has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hazfence.wire import Message

__all__ = ["Admitted", "LogOrder"]

#: A seek that brought nothing in this time was lost, and is asked for again.
ASK_AGAIN_S = 10.0


class Admitted(NamedTuple):
    """What :meth:`LogOrder.admit` decided.

    Attributes:
        messages: to be processed, in order.
        seek_to: where the log has to be read from again, or None.
        skipped: how many were known already.
        missing: how many offsets the log no longer has.
    """

    messages: list[Message]
    seek_to: int | None
    skipped: int
    missing: int


class LogOrder:
    """Follows the offsets of one partition.

    Attributes:
        next_offset: the message wanted next.

    Example:
        >>> order = LogOrder(5)
        >>> admitted = order.admit([Message(4, 0, b""), Message(5, 0, b""), Message(8, 0, b"")])
        >>> [m.offset for m in admitted.messages], admitted.skipped, admitted.seek_to
        ([5], 1, 6)
        >>> order.admit([Message(8, 0, b"")]).missing  # read again, and 6 and 7 are really gone
        2
    """

    def __init__(self, next_offset: int, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.next_offset = next_offset
        self._monotonic_s = monotonic_s
        # Highest offset seen beyond the hole since the seek was asked for; None when there is no hole.
        self._beyond: int | None = None
        self._asked_s = 0.0

    def admit(self, messages: Sequence[Message]) -> Admitted:
        """Sort out messages that come in the order of their offsets; the admitted count as taken."""
        admitted: list[Message] = []
        seek_to, skipped, missing = None, 0, 0
        for message in messages:
            if message.offset < self.next_offset:
                skipped += 1
                continue
            if message.offset > self.next_offset:
                if self._beyond is None or message.offset > self._beyond:
                    if self._beyond is None:
                        seek_to = self._ask()
                    self._beyond = message.offset
                    continue
                missing += message.offset - self.next_offset
            self._beyond, seek_to = None, None
            admitted.append(message)
            self.next_offset = message.offset + 1
        return Admitted(admitted, seek_to, skipped, missing)

    def ask_again(self) -> int | None:
        """Where to read again from, when that was asked for long ago and did not happen."""
        if self._beyond is None or self._monotonic_s() - self._asked_s < ASK_AGAIN_S:
            return None
        return self._ask()

    def _ask(self) -> int:
        self._asked_s = self._monotonic_s()
        return self.next_offset
