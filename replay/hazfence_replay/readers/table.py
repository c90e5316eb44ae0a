"""Columns of Arrow as a batch of fixes: the common end of CSV, Parquet and Arrow files.

You are below the readers of tables. :class:`TableMaker` takes a table whose columns are numbers, texts or
timestamps and returns the fixes in it, all at once; rows that lack something or lie outside the globe are
handed back by their place, with the reason. Next room: ``delimited.py`` and ``arrow.py``, which call it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hazfence.accuracy import accuracy_m
from hazfence.fixes import FixBatch
from hazfence_fences.datum import to_wgs84
from hazfence_replay.readers.options import ReadOptions
from hazfence_replay.readers.rows import told
from hazfence_replay.readers.shape import Shape
from hazfence_replay.readers.times import TimeReader, scale_us

__all__ = ["Broken", "Made", "TableMaker"]

_KMH_A_MPS = 3.6
_US = {"s": 1_000_000, "ms": 1_000, "us": 1}


@dataclass(frozen=True, slots=True)
class Broken:
    """Rows of one table that cannot be used, for one reason.

    Attributes:
        rows: int64, their places in the table.
        reason: the word it is counted under.
        detail: what should have been there.
    """

    rows: npt.NDArray[np.int64]
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a table.

    Attributes:
        batch: the fixes; ``offset`` is their row in the table, from 0.
        broken: rows that are no fixes.
    """

    batch: FixBatch
    broken: tuple[Broken, ...]


class TableMaker:
    """Makes batches of the tables of one file.

    Args:
        shape: which column is what.
        options: datum, zone, the vehicle's name.
        stem: name of a vehicle that the table does not name.
    """

    def __init__(self, shape: Shape, options: ReadOptions, stem: str) -> None:
        self._shape, self._options = shape, options
        self._name = options.vehicle if options.vehicle is not None else stem
        self._by_column = options.vehicle is None and "vehicle" in shape.at
        self._times = TimeReader(options.tz, options.time_format)
        self._table: dict[str, int] = {}
        self._names: tuple[str, ...] = () if self._by_column else (self._name,)
        self._known: pa.Array | None = None
        self._again = np.zeros(0, np.int32)

    def make(self, table: pa.Table) -> Made:
        """The fixes of a table with the columns of the shape, in their order.

        Raises:
            NoZone: local times, and no zone was given.
            pa.ArrowInvalid, ValueError: a value that is no number or time; the rows must be looked at singly.
        """
        n = len(table)
        broken: list[Broken] = []
        fine = np.ones(n, np.bool_)

        def lose(which: npt.NDArray[np.bool_], reason: str, detail: str) -> None:
            lost = which & fine
            if lost.any():
                broken.append(Broken(np.flatnonzero(lost), reason, detail))
                fine[lost] = False

        columns: dict[str, Any] = {}
        names, codes = self._vehicles(table, n)
        lose(codes < 0, "no_vehicle", "the row names no vehicle")
        time_us, known = self._time_us(table)
        lose(~known, "no_time", "the row has no time")
        lon, lat = (self._floats(table, name) for name in ("lon", "lat"))
        lose(np.isnan(lon) | np.isnan(lat), "bad_coordinate", "lon or lat is missing")
        beyond = (np.abs(lon) > 180) | (np.abs(lat) > 90)
        lose(beyond, "bad_coordinate", "lon must be in -180..180 and lat in -90..90 degrees")
        if "speed_kmh" in self._shape.at or "speed_mps" in self._shape.at:
            metric = "speed_mps" in self._shape.at
            speed = self._floats(table, "speed_mps" if metric else "speed_kmh")
            columns["speed_kmh"] = _sane(speed * _KMH_A_MPS if metric else speed)
        if "heading_deg" in self._shape.at:
            columns["heading_deg"] = _sane(self._floats(table, "heading_deg"))
        for name in ("status", "alarm"):
            if name in self._shape.at:
                columns[name] = self._bits(table, name)
        columns["offset"] = np.arange(n)
        said = [f for f in ("accuracy_m", "hdop", "satellites") if f in self._shape.at]
        accuracy = accuracy_m({f: _sane(self._told(table, f)) for f in said}, n)
        if accuracy is not None:
            columns["accuracy_m"] = accuracy
        if not fine.all():
            rows = np.flatnonzero(fine)
            codes, time_us, lon, lat = codes[rows], time_us[rows], lon[rows], lat[rows]
            columns = {name: column[rows] for name, column in columns.items()}
        lon, lat = to_wgs84(lon, lat, self._options.datum)
        batch = FixBatch.of(codes, vehicles=names, time_us=time_us, lon=lon, lat=lat, **columns)
        return Made(batch, tuple(broken))

    def _column(self, table: pa.Table, field: str) -> pa.Array:
        column = table.column(self._shape.at[field])
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array

    def _vehicles(self, table: pa.Table, n: int) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
        if not self._by_column:
            return self._names, np.zeros(n, np.int32)
        column = self._column(table, "vehicle")
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0)
        dictionary = column.dictionary
        if self._known is None or not dictionary.equals(self._known):
            self._known, self._again = dictionary, self._learn(dictionary)
        codes = pc.fill_null(column.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False)
        # -1 picks the last of the codes, which stands for none.
        return self._names, self._again[codes]

    def _learn(self, dictionary: pa.Array) -> npt.NDArray[np.int32]:
        """Our codes of a dictionary's names; names that differ only in blanks at their ends are one."""
        table, before = self._table, len(self._table)
        # By way of numpy: three times as fast as a scalar of Arrow each.
        names = map(_text, dictionary.to_numpy(zero_copy_only=False).tolist())
        codes = [table.setdefault(name, len(table)) if name else -1 for name in names]
        if len(table) > before:
            # The very same tuple from batch to batch saves everybody behind this the looking up.
            self._names = tuple(table)
        return np.array([*codes, -1], np.int32)

    def _floats(self, table: pa.Table, field: str) -> npt.NDArray[np.float64]:
        column = self._column(table, field)
        if not pa.types.is_float64(column.type):
            column = column.cast(pa.float64())
        return np.asarray(pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False))

    def _told(self, table: pa.Table, field: str) -> npt.NDArray[np.float64]:
        """Numbers that no fix is lost for; NaN where it is no number."""
        try:
            return self._floats(table, field)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return np.array([told(cell) for cell in self._column(table, field).to_pylist()])

    def _bits(self, table: pa.Table, field: str) -> npt.NDArray[np.uint32]:
        column = self._column(table, field)
        if not pa.types.is_integer(column.type):
            column = column.cast(pa.int64())
        bits = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
        # Some platforms show the 32 bits as a signed number.
        return np.asarray(bits.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32)

    def _time_us(self, table: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        column = self._column(table, "time")
        if "date" in self._shape.at:
            return self._date_and_time(self._column(table, "date"), column)
        kind = column.type
        known = ~np.asarray(column.is_null().to_numpy(zero_copy_only=False))
        if pa.types.is_timestamp(kind):
            whole = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
            time_us = whole // 1000 if kind.unit == "ns" else whole * _US[kind.unit]
            if kind.tz is None:
                time_us = self._times.local(time_us, str(column[0]))
            return time_us, known
        if pa.types.is_date(kind):
            raise ValueError("the time is a date without the time of day")
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            numbers = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
            known &= np.isfinite(numbers) if numbers.dtype.kind == "f" else True
            return _epoch_us(np.where(known, numbers, 0)), known
        if not len(column):
            return np.zeros(0, np.int64), known
        return self._texts(column.to_pylist())

    def _date_and_time(
        self, dates: pa.Array, times: pa.Array
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        pairs = zip(dates.to_pylist(), times.to_pylist(), strict=True)
        return self._texts(
            [f"{_text(d)} {_text(t)}".strip() if d and t is not None else "" for d, t in pairs]
        )

    def _texts(self, said: list[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Times one by one; many rows of a file share their second."""
        found = {text: self._times.read(str(text)) for text in set(said) if text}
        time_us = np.fromiter((found.get(text, 0) for text in said), np.int64, len(said))
        return time_us, np.fromiter((bool(text) for text in said), np.bool_, len(said))


def _epoch_us(numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Microseconds of epoch times; each is told by its own size, as its reader would one by one."""
    size = np.abs(numbers.astype(np.float64))
    if size.size and not float(size.max()) < 9e18:
        raise ValueError("a number that is no time")
    if size.size and scale_us(float(size.min())) == scale_us(float(size.max())):
        scales: Any = scale_us(float(size.max()))
    else:
        scales = np.select([size < 1e11, size < 1e14, size < 1e17], [1e6, 1e3, 1.0], 1e-3)
    if numbers.dtype.kind in "iu" and np.all(np.asarray(scales) >= 1):
        return np.asarray(numbers.astype(np.int64) * np.asarray(scales, np.int64))
    return np.asarray(np.rint(numbers * scales)).astype(np.int64)


def _sane(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """A device's "no value" (negative, absurd) must not pass for a speed or a course."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((values >= 0) & (values < 1e6), values, np.nan).astype(np.float32)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return str(value).strip()


def rows_of(broken: Broken) -> Iterator[int]:
    """The places of the rows, one by one."""
    yield from broken.rows.tolist()
