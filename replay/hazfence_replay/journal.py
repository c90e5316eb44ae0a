"""What a replay has found and how far it is: one SQLite file, so that a stopped replay goes on.

You are between the engines and the outputs. Every fact an engine speaks of is kept once, by its last
revision as a row (``hazfence.rows``), however many there are, on disk and not in memory. One transaction
holds the rows since the last checkpoint, the engines' snapshots and the place in the source: whatever is
killed when, the file says one whole state, and the run that goes on from it ends with the same rows as one
that was never stopped.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from hazfence.events import Event, Phase
from hazfence.outcome import Outcome
from hazfence.rows import Row, event_of, last_rows

__all__ = ["Checkpoint", "Journal", "JournalMismatch", "as_rows"]

_SCHEMA = """
CREATE TABLE said (
    id TEXT PRIMARY KEY, revision INTEGER, phase TEXT, kind TEXT, vehicle BLOB, fence_id BLOB,
    fence_version INTEGER, started_us INTEGER, ended_us INTEGER, lon REAL, lat REAL, end_lon REAL,
    end_lat REAL, severity TEXT, detail BLOB
) WITHOUT ROWID;
CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
_SAY = """
INSERT INTO said VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    revision = excluded.revision, phase = excluded.phase, fence_version = excluded.fence_version,
    started_us = excluded.started_us, ended_us = excluded.ended_us, lon = excluded.lon, lat = excluded.lat,
    end_lon = excluded.end_lon, end_lat = excluded.end_lat, severity = excluded.severity,
    detail = excluded.detail
WHERE excluded.revision > said.revision
"""
_ROWS = """
SELECT * FROM said WHERE phase <> ? ORDER BY started_us, vehicle, kind, fence_id, id
"""
_VISITS = "SELECT * FROM said WHERE kind = 'visit' AND fence_id = ? ORDER BY started_us, id"
_FORMAT = 2


class JournalMismatch(ValueError):
    """The file belongs to another replay than the one that is asked for."""


class Checkpoint(NamedTuple):
    """Where a replay stood.

    Attributes:
        fixes: of the source that the engines had taken.
        newest_us: the newest believed time among them; None before the first.
        snapshots: of the engines.
        counts: what was counted so far, JSON-able.
    """

    fixes: int
    newest_us: int | None
    snapshots: tuple[bytes, ...]
    counts: dict[str, Any]


class Journal:
    """The state of one replay.

    Args:
        path: of the file, made if there is none; None keeps it in a temporary file that nobody sees.
        about: what is replayed with what, JSON-able; a file of another replay is refused.

    Raises:
        JournalMismatch: see there; the text says how to go on.
    """

    def __init__(self, path: str | os.PathLike[str] | None, about: dict[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        # An empty name is a private database on disk, which SQLite removes.
        self._db = sqlite3.connect("" if path is None else path, isolation_level=None)
        try:
            self._prepare(about)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise JournalMismatch(f"{path}: no journal of a replay ({error}); remove it") from None
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, about: dict[str, Any]) -> None:
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA cache_size = -65536")
        self._db.execute("BEGIN IMMEDIATE")
        told = json.dumps({"format": _FORMAT, **about}, sort_keys=True, ensure_ascii=False)
        if not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._put("about", told)
        elif (known := self._get("about")) != told:
            self._db.execute("ROLLBACK")
            raise JournalMismatch(self._difference(known, told))
        self._db.execute("COMMIT")

    def _difference(self, known: Any, told: str) -> str:
        try:
            before, now = json.loads(known), json.loads(told)
            names = sorted(n for n in {*before, *now} if before.get(n) != now.get(n))
        except (TypeError, ValueError):
            names = ["format"]
        return (
            f"{self.path} is of a replay that was stopped and is not this one (other {', '.join(names)}): "
            "finish that one with the options it had, or begin anew with --fresh"
        )

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Where the replay stood when it was stopped; None when it is new."""
        known = self._get("checkpoint")
        if known is None:
            return None
        place = json.loads(known)
        snapshots = tuple(self._get(f"snapshot {i}") for i in range(place["engines"]))
        return Checkpoint(place["fixes"], place["newest_us"], snapshots, place["counts"])

    def save(self, rows: Iterable[Row], checkpoint: Checkpoint | None) -> None:
        """Keep rows, and with a checkpoint that they belong to it: one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_SAY, map(_kept, rows))
            if checkpoint is not None:
                place = {
                    "fixes": checkpoint.fixes,
                    "newest_us": checkpoint.newest_us,
                    "engines": len(checkpoint.snapshots),
                    "counts": checkpoint.counts,
                }
                self._put("checkpoint", json.dumps(place))
                for i, snapshot in enumerate(checkpoint.snapshots):
                    self._put(f"snapshot {i}", snapshot)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def rows(self, *, retracted: bool = False) -> Iterator[Row]:
        """The last word on every fact, by beginning, vehicle, kind and fence.

        Args:
            retracted: those that turned out never to have been, too.
        """
        without = "" if retracted else str(Phase.RETRACTED)
        yield from map(_row, self._db.execute(_ROWS, (without,)))

    def events(self, *, retracted: bool = False) -> Iterator[Event]:
        """The rows as events."""
        return map(event_of, self.rows(retracted=retracted))

    def visits(self, fence_ids: Iterable[str]) -> Iterator[Event]:
        """The last word on every visit to some fences, retracted ones too, by beginning."""
        for fence_id in fence_ids:
            found = self._db.execute(_VISITS, (_bytes(fence_id),))
            yield from (event_of(_row(said)) for said in found)

    def count(self) -> dict[tuple[str, str], int]:
        """How many facts there are, by kind and phase."""
        found = self._db.execute("SELECT kind, phase, count(*) FROM said GROUP BY kind, phase").fetchall()
        return {(kind, phase): number for kind, phase, number in found}

    def close(self, *, done: bool = False) -> None:
        """Close the file.

        Args:
            done: the replay is over: remove it.
        """
        self._db.close()
        if done and self.path is not None:
            for name in (self.path, *(Path(f"{self.path}{more}") for more in ("-wal", "-shm"))):
                name.unlink(missing_ok=True)

    def _get(self, name: str) -> Any:
        row: Sequence[Any] | None = self._db.execute(
            "SELECT value FROM state WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else row[0]

    def _put(self, name: str, value: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def as_rows(events: Sequence[Event]) -> list[Row]:
    """Of each fact the last revision, as :meth:`Journal.save` takes it.

    Made where the events arise, on all cores; of what an engine found in columns no event is made.
    """
    return events.rows() if isinstance(events, Outcome) else last_rows(events)


def _bytes(text: str) -> bytes:
    # A name may hold what no text of SQLite can, and bytes sort like the names.
    return text.encode("utf-8", "surrogatepass")


def _kept(row: Row) -> tuple[Any, ...]:
    """A row as SQLite keeps it."""
    name, revision, phase, kind, vehicle, fence_id, *values, detail = row
    fence = None if fence_id is None else _bytes(fence_id)
    return (name, revision, phase, kind, _bytes(vehicle), fence, *values, _bytes(detail))


def _row(said: Sequence[Any]) -> Row:
    name, revision, phase, kind, vehicle, fence_id, *values, detail = said
    fence = None if fence_id is None else fence_id.decode("utf-8", "surrogatepass")
    whole = vehicle.decode("utf-8", "surrogatepass"), fence, *values, detail.decode("utf-8", "surrogatepass")
    return Row._make((name, revision, phase, kind, *whole))
