"""CSV and its kin, and the text layouts of GeoLife and T-Drive, as batches of fixes.

You are among the track readers. The file is cut into blocks at the ends of rows; each block goes through
Arrow's CSV parser as a whole (measured: five million rows a second and core, five times Python's ``csv``
module). A block that it refuses is halved until the broken rows stand alone, and these are read with
patience, so that each is named with its line while the others are used. Next room: ``table.py``.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from hazfence.fixes import FixBatch
from hazfence_replay.readers.files import BROKEN, Item, Meter
from hazfence_replay.readers.options import ReadOptions
from hazfence_replay.readers.rejects import Reject, Rejects, TrackError, ZoneError
from hazfence_replay.readers.rows import Rows
from hazfence_replay.readers.shape import Shape, shape_of
from hazfence_replay.readers.table import TableMaker
from hazfence_replay.readers.times import NoZone, TimeForm, TimeReader, guess

__all__ = ["GEOLIFE", "T_DRIVE", "DelimitedReader", "Layout", "text_reader"]

_BLOCK_BYTES = 4 << 20
#: A quoted cell longer than this is taken for a quotation mark that nobody closed.
_LONGEST_ROW = 1 << 20
_LONGEST_LINE = 64 << 20
_FEW_ROWS = 64
_LOOK_ROWS = 100
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NULLS = ["", "NULL", "null", "None", "NaN", "nan", "NA", "N/A", "-", "\\N"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout that is known and has no header.

    Attributes:
        skip_lines: before the first row.
        at: place of each field's column, from 0.
        columns: how many there are.
        tz: what its times are in.
        vehicle_from: ``column``, ``file`` or ``user`` (the folder above ``Trajectory``).
    """

    skip_lines: int
    at: dict[str, int]
    columns: int
    tz: str
    vehicle_from: str = "column"


#: GeoLife's ``.plt`` (user guide 1.3, Microsoft Research Asia 2012): six lines of preamble, then latitude,
#: longitude, 0, altitude in feet, days since 1899-12-30, date and time, all in GMT; a folder a user, in it
#: a folder ``Trajectory``.
GEOLIFE = Layout(6, {"lat": 0, "lon": 1, "date": 5, "time": 6}, 7, "UTC", "user")
#: T-Drive's ``.txt`` (user guide, Microsoft Research Asia 2011): taxi id, date and time, longitude,
#: latitude; a file a taxi, times of Beijing.
T_DRIVE = Layout(0, {"vehicle": 0, "time": 1, "lon": 2, "lat": 3}, 4, "Asia/Shanghai")
_T_DRIVE_ROW = re.compile(rb"\d+,\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,-?\d+(\.\d+)?,-?\d+(\.\d+)?\s*(\n|$)")


def text_reader(item: Item, options: ReadOptions, rejects: Rejects) -> DelimitedReader:
    """The reader for a ``.txt``: T-Drive's layout where its first row fits it, a table with header else."""
    try:
        stream, _ = item.open()
        with closing(stream):
            first = stream.read(200)
    except BROKEN as error:
        raise _cannot(item, error) from error
    layout = T_DRIVE if _T_DRIVE_ROW.match(first) and not options.columns else None
    return DelimitedReader(item, options, rejects, layout=layout)


class DelimitedReader:
    """One file of rows and columns.

    Args:
        item: the file.
        options: columns, encoding, zone, datum...; see :class:`ReadOptions`.
        rejects: where broken rows go.
        layout: of a file without header, when it is known.

    In the batches ``offset`` is the line of the file, from 1.

    Raises (while iterating):
        TrackError: the file is empty, a column cannot be found, times need a zone, or it cannot be read on.
    """

    def __init__(
        self, item: Item, options: ReadOptions, rejects: Rejects, *, layout: Layout | None = None
    ) -> None:
        self.source, self.rejects = item.name, rejects
        self._item, self._options, self._layout = item, options, layout
        self._meter: Meter | None = None

    @property
    def share(self) -> float | None:
        """How much of the file was read."""
        return 0.0 if self._meter is None else self._meter.share

    def __iter__(self) -> Iterator[FixBatch]:
        try:
            stream, self._meter = self._item.open()
            with closing(stream):
                yield from self._batches(stream)
        except NoZone as error:
            raise ZoneError(f"{self.source}: {error}") from None
        except _Endless as error:
            raise TrackError(f"{self.source}: {error}") from None
        except BROKEN as error:
            raise _cannot(self._item, error) from error

    def _batches(self, stream: BinaryIO) -> Iterator[FixBatch]:
        blocks = _Blocks(stream, self._options.encoding)
        if not blocks.head.strip():
            raise TrackError(f"{self.source} is empty")
        parser, skip = self._look(blocks.head)
        for block, line in blocks.after(skip):
            for batch in parser.parse(block, line):
                for start in range(0, len(batch), self._options.batch_fixes):
                    yield batch.take(slice(start, start + self._options.batch_fixes))

    def _look(self, head: bytes) -> tuple[_Parser, int]:
        """What the first rows tell: a parser for all, and the number of lines before the first row."""
        lines = head.split(b"\n")
        tz = self._options.tz
        if self._layout is not None:
            layout = self._layout
            shape = Shape(tuple(f"c{i}" for i in range(layout.columns)), layout.at, False)
            delimiter, skip = ",", layout.skip_lines
            tz = layout.tz if tz is None else tz
        else:
            skip = next(i for i, line in enumerate(lines) if line.strip())
            delimiter = self._options.delimiter or _delimiter(lines[skip])
            first = _cells(lines[skip].decode("utf-8", "replace"), delimiter)
            shape = shape_of([cell.strip() for cell in first], self._options.columns, self.source)
            skip += shape.header
        look = [line.decode("utf-8", "replace") for line in lines[skip : skip + _LOOK_ROWS + 1]]
        rows = [_cells(line, delimiter) for line in look if line.strip()]
        if rows and len(rows[0]) > len(shape.names) and self._layout is None:
            more = tuple(f"c{i}" for i in range(len(shape.names), len(rows[0])))
            shape = Shape((*shape.names, *more), shape.at, shape.header)
        # A column called "status" may hold words; bits it is only where numbers stand in it.
        for name in ("status", "alarm"):
            if name in shape.at and name not in self._options.columns:
                seen = [row[shape.at[name]] for row in rows if len(row) > shape.at[name]]
                if not all(re.fullmatch(r"\s*-?\d*\s*|0[xX][0-9a-fA-F]+", cell) for cell in seen):
                    shape = Shape(shape.names, {k: v for k, v in shape.at.items() if k != name}, shape.header)
        times = [row[shape.at["time"]].strip() for row in rows if len(row) > shape.at["time"]]
        sample = next((text for text in times if text), "")
        read = replace(self._options, tz=tz)
        form = guess(sample, read.time_format) if "date" not in shape.at else TimeForm("odd")
        return _Parser(self.source, shape, delimiter, form, sample, read, self.rejects, self._stem()), skip

    def _stem(self) -> str:
        layout, folders = self._layout, self._item.folders
        by_user = layout is not None and layout.vehicle_from == "user" and self._options.name_from == "track"
        if by_user and len(folders) > 1 and folders[0].lower() == "trajectory":
            return folders[1]
        return self._item.stem


class _Endless(ValueError):
    pass


class _Blocks:
    """The file in UTF-8, cut into blocks of whole rows."""

    def __init__(self, stream: BinaryIO, encoding: str | None) -> None:
        first = stream.read(1 << 16)
        encoding = encoding or _encoding(first)
        self._stream = stream
        self._decoder: codecs.IncrementalDecoder | None = None
        if encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "ascii"):
            self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self.head = self._recode(first)
        self._ended = False

    def after(self, skip: int) -> Iterator[tuple[bytes, int]]:
        """Blocks behind so many lines, each with the number of its first line."""
        held, line = self.head, 1
        for _ in range(skip):
            _, _, held = held.partition(b"\n")
            line += 1
        while True:
            held += self._read()
            if self._ended:
                if held:
                    yield held, line
                return
            while cut := _last_row_end(held):
                block, held = held[:cut], held[cut:]
                yield block, line
                line += _newlines(block)
                if len(held) < _LONGEST_ROW:
                    break
            if len(held) > _LONGEST_LINE:
                raise _Endless(f"line {line} goes on for more than {_LONGEST_LINE >> 20} MB: is this text?")

    def _read(self) -> bytes:
        pieces = []
        size = 0
        while size < _BLOCK_BYTES:
            piece = self._stream.read(_BLOCK_BYTES - size)
            if not piece:
                self._ended = True
                pieces.append(self._recode(b"", final=True))
                break
            pieces.append(self._recode(piece))
            size += len(piece)
        return b"".join(pieces)

    def _recode(self, piece: bytes, final: bool = False) -> bytes:
        if self._decoder is None:
            return piece
        # What cannot be decoded stays visible as what UTF-8 cannot hold, and is set aside row by row.
        return self._decoder.decode(piece, final).encode("utf-8", "surrogatepass")


def _newlines(block: bytes) -> int:
    # Three times as fast as bytes.count where every sixtieth byte is one.
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == 10))


def _last_row_end(block: bytes) -> int:
    """Behind the last newline that stands outside quotation marks; 0: not in this block."""
    cut = block.rfind(b"\n")
    if cut < 0 or b'"' not in block:
        return cut + 1
    odd = block.count(b'"', 0, cut) % 2
    while odd:
        before = block.rfind(b"\n", 0, cut)
        if before < 0:
            # Nothing but an open quotation: wait for its end, but not for ever.
            return 0 if len(block) < _LONGEST_ROW else block.find(b"\n") + 1
        odd ^= block.count(b'"', before, cut) % 2
        cut = before
    return cut + 1


class _Parser:
    """Parses blocks of rows of one shape."""

    def __init__(
        self,
        source: str,
        shape: Shape,
        delimiter: str,
        form: TimeForm,
        sample: str,
        options: ReadOptions,
        rejects: Rejects,
        stem: str,
    ) -> None:
        self._source, self._shape, self._delimiter = source, shape, delimiter
        self._rejects, self._options = rejects, options
        self._name = options.vehicle if options.vehicle is not None else stem
        used = sorted(set(shape.at.values()))
        place = {f"c{column}": i for i, column in enumerate(used)}
        packed = {field: place[f"c{column}"] for field, column in shape.at.items()}
        self._maker = TableMaker(Shape(tuple(place), packed), options, stem)
        times = TimeReader(options.tz, options.time_format)
        self._rows = Rows(source, rejects, times, options.datum)
        if form.kind in ("local", "pattern"):
            times.local(np.zeros(1, np.int64), sample)  # says at once that a zone is missing
        self._names = [f"c{i}" for i in range(len(shape.names))]
        self._convert = pa_csv.ConvertOptions(
            column_types=self._types(form, sample),
            include_columns=list(place),
            null_values=_NULLS,
            timestamp_parsers=[form.pattern if form.kind == "pattern" else pa_csv.ISO8601],
        )

    def _types(self, form: TimeForm, sample: str) -> dict[str, pa.DataType]:
        text = pa.string()
        kinds: dict[str, pa.DataType] = {
            "vehicle": pa.dictionary(pa.int32(), text),
            "date": text,
            "status": pa.int64(),
            "alarm": pa.int64(),
        }
        fine = "ns" if re.search(r"\.\d{7,}", sample) else "us"
        kinds["time"] = {
            "epoch": pa.float64() if re.search(r"[.eE]", sample) else pa.int64(),
            "offset": pa.timestamp(fine, "UTC"),
            "local": pa.timestamp(fine),
            "pattern": pa.timestamp("us"),
            "odd": text,
        }[form.kind]
        return {f"c{column}": kinds.get(field, pa.float64()) for field, column in self._shape.at.items()}

    def parse(self, block: bytes, line: int) -> Iterator[FixBatch]:
        quoted = b'"' in block
        read = pa_csv.ReadOptions(use_threads=False, column_names=self._names, block_size=len(block) + 1)
        parse = pa_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=quoted)
        try:
            table = pa_csv.read_csv(
                pa.py_buffer(block), read_options=read, parse_options=parse, convert_options=self._convert
            )
            rows = _newlines(block) + (not block.endswith(b"\n"))
            if len(table) != rows:
                # Rows over several lines, or empty lines: only one by one do they keep their numbers.
                raise ValueError("rows are no lines")
            made = self._maker.make(table)
        except NoZone:
            raise
        except (pa.ArrowInvalid, ValueError, OverflowError):
            yield from self._halve(block, line)
            return
        if made.broken:
            lines = block.split(b"\n")
            for broken in made.broken:
                for row in broken.rows.tolist():
                    shown = lines[row].decode("utf-8", "replace").strip()[:200]
                    detail = f"{broken.detail}: {shown}"
                    self._rejects.add(Reject(self._source, line + row, broken.reason, detail))
        batch = made.batch
        np.add(batch.offset, line, out=batch.offset)
        if len(batch):
            yield batch

    def _halve(self, block: bytes, line: int) -> Iterator[FixBatch]:
        rows = block.count(b"\n")
        middle = block.find(b"\n", len(block) // 2) + 1
        if rows <= _FEW_ROWS or b'"' in block or not 0 < middle < len(block):
            self._one_by_one(block, line)
            if len(self._rows):
                yield self._rows.batch()
            return
        yield from self.parse(block[:middle], line)
        yield from self.parse(block[middle:], line + block.count(b"\n", 0, middle))

    def _one_by_one(self, block: bytes, line: int) -> None:
        lines = block.split(b"\n")
        at = 0
        while at < len(lines):
            row, first = lines[at], at
            at += 1
            if row.count(b'"') % 2:
                # A quoted cell over several lines; one that never ends is a broken row of one line.
                end = next((i for i in range(at, len(lines)) if lines[i].count(b'"') % 2), None)
                if end is not None:
                    row, at = b"\n".join(lines[first : end + 1]), end + 1
            if row.strip():
                self._one(row, line + first)

    def _one(self, row: bytes, line: int) -> None:
        try:
            text = row.decode("utf-8")
        except UnicodeDecodeError:
            shown = row.decode("utf-8", "replace").strip()
            self._rows.lose(line, "bad_encoding", "bytes that are no text; say --encoding", shown)
            return
        shown = text.strip()
        try:
            cells = _cells(text, self._delimiter, strict=True)
        except csv.Error as error:
            self._rows.lose(line, "bad_row", str(error), shown)
            return
        if len(cells) != len(self._shape.names):
            wanted = f"{len(cells)} columns, not {len(self._shape.names)}"
            self._rows.lose(line, "bad_row", wanted, shown)
            return
        said: dict[str, str] = {field: cells[at].strip() for field, at in self._shape.at.items()}
        if "date" in said:
            said["time"] = f"{said['date']} {said['time']}".strip() if said["time"] else ""
        vehicle = said["vehicle"] if "vehicle" in said and self._options.vehicle is None else self._name
        self._rows.add(line, vehicle, said, shown)


def _encoding(head: bytes) -> str:
    """UTF-8 where it is that; otherwise GB18030, which Chinese platforms and Excel write."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "gb18030"
    return "utf-8"


def _delimiter(header: bytes) -> str:
    counts = {sign: header.count(sign.encode()) for sign in (",", "\t", ";", "|")}
    return max(counts, key=lambda sign: counts[sign])


def _cells(line: str, delimiter: str, *, strict: bool = False) -> list[str]:
    # One row, which may hold newlines within quotation marks.
    rows = list(csv.reader(io.StringIO(line.rstrip("\r\n"), newline=""), delimiter=delimiter, strict=strict))
    if strict and len(rows) != 1:
        raise csv.Error("a quotation that does not end")
    return rows[0] if rows else []


def _cannot(item: Item, error: BaseException) -> TrackError:
    said = str(error) or type(error).__name__
    return TrackError(f"{item.name}: cannot read on: {said}; is the file whole?")
