"""What came of a batch, for the host that gave it.

You are in the core, above ``news.py``. Events are made when somebody looks at them; that a fix was set aside,
and why, is told for every fix of the batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from hazfence.clean import Reason
from hazfence.events import Event
from hazfence.news import News
from hazfence.rows import Row

__all__ = ["Outcome"]


class Outcome(Sequence[Event]):
    """What came of a batch: a sequence of events, and what became of each fix.

    Attributes:
        reason: uint8, shape (n,), a :class:`~hazfence.clean.Reason` for every fix of the batch.
    """

    __slots__ = ("_events", "_news", "reason")

    def __init__(self, news: News, reason: npt.NDArray[np.uint8]) -> None:
        self._news = news
        self._events: tuple[Event, ...] | None = None
        self.reason = reason

    @property
    def events(self) -> tuple[Event, ...]:
        """The new revisions; in time order a vehicle. Made at the first look."""
        if self._events is None:
            self._events = self._news.events()
        return self._events

    def rows(self) -> list[Row]:
        """Of each fact among the events the last revision, as :class:`~hazfence.rows.Row`, in no set order.

        For a host that stores many: no event is made of what arose in columns.
        """
        return self._news.rows()

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """bool, shape (n,): the fixes that were used."""
        return np.equal(self.reason, 0)

    def counts(self) -> Counter[str]:
        """How many fixes were set aside, by reason."""
        codes, numbers = np.unique(self.reason[self.reason != 0], return_counts=True)
        return Counter({Reason(c).label: n for c, n in zip(codes.tolist(), numbers.tolist(), strict=True)})

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Event, ...]: ...
    def __getitem__(self, index: int | slice) -> Event | tuple[Event, ...]:
        return self.events[index]

    def __len__(self) -> int:
        return len(self._news) if self._events is None else len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __repr__(self) -> str:
        return f"Outcome({len(self)} events, {int(self.accepted.sum())} of {len(self.reason)} fixes accepted)"
