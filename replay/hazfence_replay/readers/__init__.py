"""Recorded tracks, whatever their format, as batches of fixes in time order.

You are at the door through which history comes in. :func:`open_source` takes a path or a URL and
returns a :class:`TrackReader`; iterating it yields :class:`hazfence.fixes.FixBatch` objects of a
bounded size, of the wanted fixes only. What cannot be read is set aside in ``reader.rejects`` with
file, line and reason, and the rest goes on. :func:`open_track` is the same for files and folders.
A new format is one module with a class of this shape and one line in ``READERS``. Next rooms:
``gpx.py`` (the first format), ``rejects.py`` (what was set aside), ``merge.py`` (many files as
one stream), then ``hazfence_replay.player``, which drives the engine with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from hazfence.fixes import FixBatch
from hazfence_replay.readers.gpx import GpxReader
from hazfence_replay.readers.merge import in_time_order
from hazfence_replay.readers.rejects import Reject, Rejects, TrackError
from hazfence_replay.readers.wanted import Wanted

__all__ = [
    "READERS",
    "FolderReader",
    "GpxReader",
    "Reject",
    "Rejects",
    "TrackError",
    "TrackReader",
    "Wanted",
    "in_time_order",
    "open_source",
    "open_track",
]


class TrackReader(Protocol):
    """What every reader offers, so that the player need not know the format."""

    @property
    def source(self) -> str:
        """The name that messages about this track use."""
        ...

    @property
    def rejects(self) -> Rejects:
        """What could not be read so far."""
        ...

    @property
    def share(self) -> float | None:
        """How much of the source has been given out, 0 to 1; None while that cannot be told."""
        ...

    def __iter__(self) -> Iterator[FixBatch]:
        """Batches of fixes, in the order of time where the source has one."""
        ...


#: Reader by the last suffix of the file's name (a trailing ``.gz`` is looked through).
READERS: Mapping[str, Callable[..., TrackReader]] = {".gpx": GpxReader}


class FolderReader:
    """All readable tracks of a folder (and its subfolders), merged into one stream by time.

    Args:
        folder: the folder; files of unknown suffix are passed over.
        **options: handed to each file's reader.

    Raises:
        TrackError: there is no readable file in the folder.
    """

    def __init__(self, folder: str | os.PathLike[str], **options: Any) -> None:
        self.source = str(folder)
        self.rejects = Rejects()
        paths = sorted(p for p in Path(folder).rglob("*") if p.is_file() and _suffix(p) in READERS)
        if not paths:
            raise TrackError(f"{folder}: no track file in this folder; known suffixes: {_known()}")
        self._readers = [READERS[_suffix(p)](p, rejects=self.rejects, **options) for p in paths]

    @property
    def share(self) -> float | None:
        """The mean of the files'; None while one cannot tell."""
        shares = [reader.share for reader in self._readers]
        known = [share for share in shares if share is not None]
        return sum(known) / len(known) if len(known) == len(shares) else None

    def __iter__(self) -> Iterator[FixBatch]:
        return in_time_order(self._readers)


class _Part:
    """The wanted fixes of a reader that reads everything."""

    def __init__(self, reader: TrackReader, wanted: Wanted) -> None:
        self._reader, self._wanted = reader, wanted
        self.source, self.rejects = reader.source, reader.rejects

    @property
    def share(self) -> float | None:
        return self._reader.share

    def __iter__(self) -> Iterator[FixBatch]:
        for batch in self._reader:
            if len(part := self._wanted.cut(batch)):
                yield part


def open_source(
    source: str | os.PathLike[str], *, wanted: Wanted | None = None, **options: Any
) -> TrackReader:
    """The reader for anything fixes can be read from.

    Args:
        source: a file, a folder, or the URL of a database whose fix table is meant
            (``postgresql://...``).
        wanted: which of its fixes; all by default.
        **options: of the reader, as for :func:`open_track`.

    Raises:
        TrackError: there is no such thing, or its format is not known.

    Example:
        >>> reader = open_source("tests/data/car_track_visnjan.gpx", wanted=Wanted(until_us=0))
        >>> sum(len(batch) for batch in reader)
        0
    """
    wanted = wanted or Wanted()
    if isinstance(source, str) and source.startswith(("postgresql://", "postgres://")):
        from hazfence_replay.readers.fix_table import FixTableReader

        return FixTableReader(source, wanted=wanted, **options)
    reader = open_track(source, **options)
    return reader if wanted == Wanted() else _Part(reader, wanted)


def open_track(path: str | os.PathLike[str], **options: Any) -> TrackReader:
    """The reader for a track file or a folder of them.

    Args:
        path: a file whose suffix tells its format (``drive.gpx``, ``drive.gpx.gz``) or a folder.
        **options: of the reader, e.g. ``vehicle=`` or ``datum=`` of :class:`GpxReader`.

    Raises:
        TrackError: the path does not exist, or its suffix is not known.

    Example:
        >>> reader = open_track("tests/data/car_track_visnjan.gpx", vehicle="car")
        >>> sum(len(batch) for batch in reader)
        104
    """
    place = Path(path)
    if place.is_dir():
        return FolderReader(place, **options)
    if not place.exists():
        raise TrackError(f"{path}: no such file or folder")
    suffix = _suffix(place)
    if suffix not in READERS:
        raise TrackError(f"{path}: cannot tell the format from {suffix or 'no suffix'!r}; known: {_known()}")
    return READERS[suffix](place, **options)


def _suffix(path: Path) -> str:
    parts = [s.lower() for s in path.suffixes]
    if parts and parts[-1] == ".gz":
        parts.pop()
    return parts[-1] if parts else ""


def _known() -> str:
    return ", ".join(f"{s} and {s}.gz" for s in READERS)
