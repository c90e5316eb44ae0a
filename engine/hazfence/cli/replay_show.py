"""How ``hazfence replay`` shows how far it is and what it found.

You are on the top floor, beside ``replay.py``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from hazfence.cli import show

if TYPE_CHECKING:
    from hazfence.events import Event
    from hazfence_replay.journal import Journal
    from hazfence_replay.readers import TrackReader
    from hazfence_replay.run import Progress, Summary

__all__ = ["Spill", "show_rows", "tell", "tell_rejects", "watching"]

_SHOWN_ROWS = 40


@contextmanager
def watching(reader: TrackReader, kept: Journal) -> Iterator[Callable[[Progress], None]]:
    """A progress bar, and what moves it."""
    from hazfence.events import iso

    before = kept.checkpoint.fixes if kept.checkpoint is not None else 0
    began_s = time.monotonic()
    with show.share_progress() as bars:
        task = bars.add_task(Path(reader.source).name or reader.source, total=None, fixes=0, rate=0.0, at="")

        def watch(progress: Progress) -> None:
            rate = (progress.fixes - before) / max(1e-3, time.monotonic() - began_s)
            at = "" if progress.at_us is None else iso(progress.at_us)[:16].replace("T", " ")
            total = None if progress.share is None else 1.0
            bars.update(
                task, completed=progress.share or 0.0, total=total, fixes=progress.fixes, rate=rate, at=at
            )

        yield watch


class Spill:
    """A file that comes into being with its first line."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._file: TextIO | None = None

    def write(self, text: str) -> int:
        """Write a line."""
        if self.path is None:
            return 0
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8")
        return self._file.write(text)

    @property
    def written(self) -> bool:
        """Whether anything was written."""
        return self._file is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def show_rows(kept: Journal) -> None:
    """The first visits and breaches, as tables."""
    from hazfence.events import Kind
    from hazfence.rows import event_of
    from hazfence_replay.ledger import breach_rows, visit_rows

    visits: list[Event] = []
    breaches: list[Event] = []
    count = Counter[bool]()
    for row in kept.rows():
        is_visit = row.kind == Kind.VISIT
        count[is_visit] += 1
        if count[is_visit] <= _SHOWN_ROWS:
            (visits if is_visit else breaches).append(event_of(row))
    show.table(
        "Visits", ("vehicle", "fence", "entered", "left", "stay"), (r.cells() for r in visit_rows(visits))
    )
    if breaches:
        show.table(
            "Breaches",
            ("kind", "vehicle", "fence", "from", "to"),
            (
                (b.kind, b.vehicle, b.fence_id, _time(b.started_us), _time(b.ended_us))
                for b in breach_rows(breaches)
            ),
        )
    if more := sum(max(0, n - _SHOWN_ROWS) for n in count.values()):
        show.talk.print(f"and {more} more: see them all with --json or --out FILE")


def tell(done: Summary, as_json: bool) -> None:
    """How many rows of each kind, how many fixes, how fast, and what was set aside."""
    kinds: Counter[str] = Counter()
    on: Counter[str] = Counter()
    for (kind, phase), number in done.events.items():
        if phase != "retracted":
            kinds[kind] += number
        if phase in ("opened", "amended"):
            on[kind] += number
    if kinds and not as_json:
        show.table(
            "Found", ("kind", "rows #", "going on #"), ((k, n, on[k] or "") for k, n in sorted(kinds.items()))
        )
    span = ""
    if done.oldest_us is not None:
        span = f" from {_time(done.oldest_us)} to {_time(done.newest_us)}"
    fresh = done.fixes - done.resumed_fixes
    rate = f"{fresh / max(done.took_s, 1e-3) / 1000:,.0f} k/s"
    show.talk.print(
        f"{done.fixes} fixes of {done.vehicles} vehicles{span}, {kinds.total()} rows, "
        f"in {done.took_s:.1f} s ({rate})",
        markup=False,
    )
    if done.set_aside:
        said = ", ".join(f"{number} {reason}" for reason, number in done.set_aside.most_common())
        show.talk.print(f"{done.set_aside.total()} fixes set aside by the engine: {said}", markup=False)
        if done.set_aside["late"]:
            show.talk.print(
                "late: older than their vehicle's last fix by more than recent_s; "
                "a source in no order is put in order with --sort"
            )


def tell_rejects(reader: TrackReader, spilled: Spill) -> None:
    """What could not be read."""
    show.talk.print(reader.rejects.summary())
    for reject in reader.rejects.kept[:5]:
        show.talk.print(f"  {reject}", markup=False)
    if spilled.written:
        show.talk.print(f"all of them: {spilled.path}", markup=False)


def _time(time_us: int | None) -> str:
    from hazfence.events import iso

    return "" if time_us is None else iso(time_us)[:19] + "Z"
