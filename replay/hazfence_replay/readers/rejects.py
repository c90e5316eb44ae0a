"""What a reader could not read: counted by reason, the first ones kept word for word.

You are beside the readers. A broken row must neither stop a replay nor vanish, so every reader
puts it here with its file, its line and a reason; ``hazfence replay`` prints the summary. An
unbounded list would let one broken file eat the memory, so only the first ones are kept in it; all
of them go to a file when one is given.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Protocol

__all__ = ["Reject", "Rejects", "TrackError", "ZoneError"]


class TrackError(ValueError):
    """A track that cannot be read at all; the message names the file, the place and a mend."""


class ZoneError(TrackError):
    """Times without an offset from UTC, and nobody said what they are in."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One row of a track that was set aside.

    Attributes:
        source: the file.
        line: its line, counted from 1.
        reason: a short fixed word: ``no_time``, ``bad_time``, ``bad_coordinate``, ``no_vehicle``,
            ``bad_number``, ``bad_row``, ``bad_encoding``, ``bad_json``, ``no_feature``, ``no_track``,
            ``other_datum``; ``unreadable_file`` for a file of a
            folder, as a whole.
        detail: the place in the file's own terms, and what stood there.
    """

    source: str
    line: int
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.source} line {self.line}: {self.reason}: {self.detail}"


class Writable(Protocol):
    """What :class:`Rejects` writes lines to."""

    def write(self, text: str, /) -> object:
        """Write a text."""
        ...


@dataclass(slots=True)
class Rejects:
    """Rows set aside, over one reader or many.

    Attributes:
        keep: how many are kept whole; all are counted.
        counts: number of rows by reason.
        kept: the first ``keep`` rows.
        file: where every row goes too, as a line of JSON.
    """

    keep: int = 1000
    counts: Counter[str] = field(default_factory=Counter)
    kept: list[Reject] = field(default_factory=list)
    file: Writable | None = None

    def add(self, reject: Reject) -> None:
        """Count a row, and keep it while there is room."""
        self.counts[reject.reason] += 1
        if len(self.kept) < self.keep:
            self.kept.append(reject)
        if self.file is not None:
            self.file.write(json.dumps(asdict(reject), ensure_ascii=False) + "\n")

    def __len__(self) -> int:
        return self.counts.total()

    def summary(self) -> str:
        """One line for people: ``3 rows set aside: 2 no_time, 1 bad_coordinate``."""
        if not self.counts:
            return "no row set aside"
        n = len(self)
        parts = ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common())
        return f"{n} row{'s' if n > 1 else ''} set aside: {parts}"
