"""Parquet, Feather and Arrow IPC files as batches of fixes.

You are among the track readers. Only the columns that are needed are read, a few ten thousand rows at a
time; row groups whose statistics lie outside the wanted span of time are left unread. Which column is what
is told by its name (``shape.py``) or by option. Next room: ``table.py``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hazfence.fixes import FixBatch
from hazfence_replay.readers.files import BROKEN, Item
from hazfence_replay.readers.options import ReadOptions
from hazfence_replay.readers.rejects import Reject, Rejects, TrackError, ZoneError
from hazfence_replay.readers.rows import Rows
from hazfence_replay.readers.shape import Shape, shape_of
from hazfence_replay.readers.table import TableMaker
from hazfence_replay.readers.times import NoZone, TimeReader
from hazfence_replay.readers.wanted import Wanted

__all__ = ["ArrowReader"]


class ArrowReader:
    """One Parquet (``.parquet``), Feather (``.feather``) or Arrow (``.arrow``, ``.arrows``) file.

    Args:
        item: the file.
        options: columns, zone, datum...; see :class:`ReadOptions`.
        rejects: where broken rows go.
        wanted: row groups of a Parquet file that hold none of it are left unread.

    In the batches ``offset`` is the row of the file, from 1.

    Raises (while iterating):
        TrackError: no such file, a column cannot be found, times need a zone, or it cannot be read on.
    """

    def __init__(
        self, item: Item, options: ReadOptions, rejects: Rejects, *, wanted: Wanted | None = None
    ) -> None:
        self.source, self.rejects = item.name, rejects
        self.share: float | None = 0.0
        self._item, self._options, self._wanted = item, options, wanted or Wanted()

    def __iter__(self) -> Iterator[FixBatch]:
        try:
            with closing(self._open()) as file:
                if self._item.suffix == ".parquet":
                    # Without looking ahead: that would keep what was read until the end.
                    yield from self._parquet(pq.ParquetFile(file, pre_buffer=False))
                else:
                    yield from self._ipc(file)
            self.share = 1.0
        except NoZone as error:
            raise ZoneError(f"{self.source}: {error}") from None
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, *BROKEN) as error:
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise TrackError(f"{self.source}: cannot read on: {said}; is the file whole?") from error

    def _open(self) -> Any:
        if self._item.bare:
            # Not mapped: pages of a long file would count as memory in use.
            return pa.OSFile(self._item.name)
        # Both formats are read from the end: one that is packed must be unpacked first.
        stream, _ = self._item.open()
        with closing(stream):
            return io.BytesIO(stream.read())

    def _parquet(self, file: pq.ParquetFile) -> Iterator[FixBatch]:
        schema = file.schema_arrow
        shape, used = self._shape(schema)
        maker = self._maker(shape, used)
        time_column = schema.names[shape.at["time"]]
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        groups = [i for i in range(len(sizes)) if self._may_hold(file, i, time_column)]
        if not groups:
            return
        # Where in the file each row that is read stands, since row groups are left out.
        begins = np.concatenate([[0], np.cumsum(sizes)])[groups]
        read = np.concatenate([[0], np.cumsum([sizes[i] for i in groups])])
        done = 0
        for batch in file.iter_batches(
            self._options.batch_fixes, row_groups=groups, columns=used, use_threads=False
        ):
            whole = pa.Table.from_batches([batch]).select(used)
            while len(whole):
                group = int(np.searchsorted(read, done, side="right")) - 1
                part = whole.slice(0, int(read[-1]) - done)
                if len(groups) < len(sizes):
                    part = whole.slice(0, int(read[group + 1]) - done)
                yield from self._make(maker, part, int(begins[group]) + done - int(read[group]))
                done += len(part)
                whole = whole.slice(len(part))
            self.share = done / max(1, int(read[-1]))

    def _may_hold(self, file: pq.ParquetFile, group: int, time_column: str) -> bool:
        """False when the statistics say that no time of the row group is wanted."""
        meta = file.metadata.row_group(group)
        column = next(
            (c for i in range(meta.num_columns) if (c := meta.column(i)).path_in_schema == time_column), None
        )
        stats = None if column is None else column.statistics
        if stats is None or not stats.has_min_max:
            return True
        times = TimeReader(self._options.tz)
        bounds = []
        for value in (stats.min, stats.max):
            if isinstance(value, datetime):
                # Up to a day off for a local time: good enough to leave out what is certainly not wanted.
                text = value.isoformat() if value.tzinfo else f"{value.isoformat()}+00:00"
                bounds.append(times.read(text))
            elif isinstance(value, int):
                bounds.append(times.of_number(value))
            else:
                return True
        day_us = 86_400_000_000
        low, high = bounds[0] - day_us, bounds[1] + day_us
        wanted = self._wanted
        return not (
            (wanted.until_us is not None and low >= wanted.until_us)
            or (wanted.since_us is not None and high < wanted.since_us)
        )

    def _ipc(self, file: Any) -> Iterator[FixBatch]:
        magic = file.read(6)
        file.seek(0)
        if magic == b"ARROW1":
            reader = pa.ipc.open_file(file)
            batches: Iterator[pa.RecordBatch] = (
                reader.get_batch(i) for i in range(reader.num_record_batches)
            )
            count = reader.num_record_batches or 1
        else:
            reader = pa.ipc.open_stream(file)
            batches, count = iter(reader), 0
        shape, used = self._shape(reader.schema)
        maker = self._maker(shape, used)
        done = 0
        for number, batch in enumerate(batches, 1):
            for start in range(0, len(batch), self._options.batch_fixes):
                part = batch.slice(start, self._options.batch_fixes)
                yield from self._make(maker, pa.Table.from_batches([part]).select(used), done + start)
            done += len(batch)
            self.share = number / count if count else None

    def _shape(self, schema: pa.Schema) -> tuple[Shape, list[str]]:
        shape = shape_of(schema.names, self._options.columns, self.source)
        at = dict(shape.at)
        for name in ("status", "alarm"):
            if name in at and not pa.types.is_integer(schema.field(at[name]).type):
                at.pop(name)
        used = sorted(set(at.values()))
        return Shape(shape.names, at), [schema.names[i] for i in used]

    def _maker(self, shape: Shape, used: list[str]) -> _Maker:
        place = {name: i for i, name in enumerate(used)}
        packed = Shape(tuple(used), {field: place[shape.names[at]] for field, at in shape.at.items()})
        return _Maker(packed, self._options, self._item.stem, self.source, self.rejects)

    def _make(self, maker: _Maker, table: pa.Table, done: int) -> Iterator[FixBatch]:
        batch = maker.batch(table, done)
        if len(batch):
            yield batch


class _Maker:
    """A table's fixes; what is broken set aside by row."""

    def __init__(self, shape: Shape, options: ReadOptions, stem: str, source: str, rejects: Rejects) -> None:
        self._shape, self._options, self._source, self._rejects = shape, options, source, rejects
        self._stem = options.vehicle if options.vehicle is not None else stem
        self._maker = TableMaker(shape, options, stem)

    def batch(self, table: pa.Table, done: int) -> FixBatch:
        try:
            made = self._maker.make(table)
        except NoZone:
            raise
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, OverflowError):
            return self._one_by_one(table, done)
        for broken in made.broken:
            for row in broken.rows.tolist():
                shown = str(self._cells(table, row))
                self._rejects.add(
                    Reject(self._source, done + row + 1, broken.reason, f"{broken.detail}: {shown}")
                )
        np.add(made.batch.offset, done + 1, out=made.batch.offset)
        return made.batch

    def _cells(self, table: pa.Table, row: int) -> dict[str, Any]:
        return {field: table.column(at)[row].as_py() for field, at in self._shape.at.items()}

    def _one_by_one(self, table: pa.Table, done: int) -> FixBatch:
        times = TimeReader(self._options.tz, self._options.time_format)
        rows = Rows(self._source, self._rejects, times, self._options.datum)
        for row in range(len(table)):
            cells = self._cells(table, row)
            if isinstance(cells["time"], datetime):
                cells["time"] = cells["time"].isoformat()
            named = "vehicle" in cells and self._options.vehicle is None
            vehicle = self._stem if not named else "" if cells["vehicle"] is None else str(cells["vehicle"])
            rows.add(done + row + 1, vehicle, cells, str(cells))
        return rows.batch()
