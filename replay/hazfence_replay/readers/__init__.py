"""Recorded tracks, whatever their format, as batches of fixes in time order.

You are at the door through which history comes in. :func:`open_source` takes a path or a URL and
returns a :class:`TrackReader`; iterating it yields :class:`hazfence.fixes.FixBatch` objects of a
bounded size, of the wanted fixes only. What cannot be read is set aside in ``reader.rejects`` with
file, line and reason, and the rest goes on. :func:`open_track` is the same for files and folders.
A new format is one module with a class of this shape and one line in ``READERS``. Next rooms:
``delimited.py``, ``arrow.py``, ``geojson.py``, ``gpx.py`` and ``fix_table.py`` (the formats), ``merge.py``
and ``sorting.py`` (many files as one stream), then ``hazfence_replay.player``, which drives the engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from hazfence.fixes import FixBatch
from hazfence_replay.readers.files import Item, find
from hazfence_replay.readers.gpx import GpxReader
from hazfence_replay.readers.merge import in_time_order, sorted_by_time
from hazfence_replay.readers.options import ReadOptions
from hazfence_replay.readers.rejects import Reject, Rejects, TrackError, ZoneError
from hazfence_replay.readers.sorting import by_time
from hazfence_replay.readers.wanted import Wanted

__all__ = [
    "READERS",
    "FolderReader",
    "GpxReader",
    "ReadOptions",
    "Reject",
    "Rejects",
    "TrackError",
    "TrackReader",
    "Wanted",
    "ZoneError",
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


#: Files that are read side by side; each holds a batch and an open file.
_SIDE_BY_SIDE = 64

_Make = Callable[[Item, ReadOptions, Rejects, Wanted], TrackReader]


def _gpx(item: Item, options: ReadOptions, rejects: Rejects, _: Wanted) -> TrackReader:
    given: Any = item.path
    if item.path is None or item.packing not in ("", ".gz"):
        stream, _meter = item.open()
        with closing(stream):
            given = stream.read()
    return GpxReader(
        given,
        vehicle=options.vehicle,
        name_from=options.name_from,
        datum=options.datum,
        batch_fixes=options.batch_fixes,
        rejects=rejects,
        name=item.name,
    )


def _csv(item: Item, options: ReadOptions, rejects: Rejects, _: Wanted) -> TrackReader:
    from hazfence_replay.readers.delimited import DelimitedReader

    return DelimitedReader(item, options, rejects)


def _txt(item: Item, options: ReadOptions, rejects: Rejects, _: Wanted) -> TrackReader:
    from hazfence_replay.readers.delimited import text_reader

    return text_reader(item, options, rejects)


def _plt(item: Item, options: ReadOptions, rejects: Rejects, _: Wanted) -> TrackReader:
    from hazfence_replay.readers.delimited import GEOLIFE, DelimitedReader

    return DelimitedReader(item, options, rejects, layout=GEOLIFE)


def _arrow(item: Item, options: ReadOptions, rejects: Rejects, wanted: Wanted) -> TrackReader:
    from hazfence_replay.readers.arrow import ArrowReader

    return ArrowReader(item, options, rejects, wanted=wanted)


def _json(item: Item, options: ReadOptions, rejects: Rejects, _: Wanted) -> TrackReader:
    from hazfence_replay.readers.geojson import GeoJsonReader

    return GeoJsonReader(item, options, rejects)


#: Reader by the suffix of the file's name; that of a packing (``.gz``, ``.zst``...) is looked through.
READERS: Mapping[str, _Make] = {
    ".gpx": _gpx,
    ".csv": _csv,
    ".tsv": _csv,
    ".txt": _txt,
    ".plt": _plt,
    ".parquet": _arrow,
    ".feather": _arrow,
    ".arrow": _arrow,
    ".arrows": _arrow,
    ".geojson": _json,
    ".geojsons": _json,
    ".geojsonl": _json,
    ".geojsonseq": _json,
    ".mfjson": _json,
    ".json": _json,
    ".jsonl": _json,
    ".ndjson": _json,
}


class FolderReader:
    """All tracks of a folder or an archive, merged into one stream by time.

    Args:
        source: for messages.
        items: the files.
        options: for each file's reader.
        wanted: which fixes.

    A few files are read side by side, each in its own order. Many are sorted by time on disk first
    (``sorting.py``), since not all of them can be open at once. A file that cannot be read is set aside
    as a whole, and what was read of it before stays.

    Raises (while iterating):
        TrackError: none of the files could be read.
        ZoneError: times of a file need a zone.
    """

    def __init__(self, source: str, items: Sequence[Item], options: ReadOptions, wanted: Wanted) -> None:
        self.source = source
        self.rejects = Rejects()
        self._wanted = wanted
        # Each file's batches are smaller, so that together they hold no more than one file's.
        few = max(1_000, options.batch_fixes // max(1, min(len(items), _SIDE_BY_SIDE)))
        options = replace(options, batch_fixes=min(options.batch_fixes, few))
        self._readers = [READERS[item.suffix](item, options, self.rejects, wanted) for item in items]
        self._sizes = [item.size or 1 for item in items]

    @property
    def share(self) -> float | None:
        """Of the bytes of all files."""
        done = sum(
            (reader.share or 0.0) * size for reader, size in zip(self._readers, self._sizes, strict=True)
        )
        return done / sum(self._sizes)

    def __iter__(self) -> Iterator[FixBatch]:
        self._failed: list[TrackError] = []
        if len(self._readers) <= _SIDE_BY_SIDE:
            yield from in_time_order(self._cut(reader) for reader in self._readers)
        else:
            yield from by_time(batch for reader in self._readers for batch in self._cut(reader))
        if len(self._failed) == len(self._readers):
            raise self._failed[0]

    def _cut(self, reader: TrackReader) -> Iterator[FixBatch]:
        try:
            for batch in reader:
                if len(part := self._wanted.cut(batch)):
                    yield sorted_by_time(part)
        except ZoneError:
            raise
        except TrackError as error:
            self._failed.append(error)
            self.rejects.add(Reject(reader.source, 1, "unreadable_file", str(error)))


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
        source: a file, a folder, the URL of a database whose fix table is meant (``postgresql://...``), or
            of a topic (``kafka://HOST:PORT/TOPIC``).
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

        return FixTableReader(source, wanted=wanted, batch_fixes=ReadOptions(**options).batch_fixes)
    if isinstance(source, str) and source.startswith("kafka://"):
        from hazfence_replay.readers.topic import TopicReader

        return TopicReader(source, wanted=wanted, batch_fixes=ReadOptions(**options).batch_fixes)
    return open_track(source, wanted=wanted, **options)


def open_track(path: str | os.PathLike[str], *, wanted: Wanted | None = None, **options: Any) -> TrackReader:
    """The reader for a track file, or for a folder or zip archive of them.

    Args:
        path: a file whose suffix tells its format (``drive.gpx``, ``day.csv.zst``), a folder or a ``.zip``.
        wanted: which of its fixes; all by default.
        **options: fields of :class:`ReadOptions`, e.g. ``vehicle=``, ``datum=`` or ``tz=``.

    Raises:
        TrackError: the path does not exist, or its suffix is not known.
        ValueError: an option that cannot be.

    Example:
        >>> reader = open_track("tests/data/car_track_visnjan.gpx", vehicle="car")
        >>> sum(len(batch) for batch in reader)
        104
    """
    how, wanted = ReadOptions(**options), wanted or Wanted()
    items = find(path, READERS)
    if len(items) > 1 or Path(path).is_dir() or Path(path).suffix.lower() == ".zip":
        return FolderReader(str(path), items, how, wanted)
    reader = READERS[items[0].suffix](items[0], how, Rejects(), wanted)
    return reader if wanted == Wanted() else _Part(reader, wanted)
