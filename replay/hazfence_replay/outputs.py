"""What becomes of a replay's rows: a file in one of five forms, or a run of its own in PostGIS.

You are behind the journal. :func:`write_file` tells the form from the file's name; rows go through some
thousand at a time, as columns, into a file beside it that takes its name only when it is whole.
:func:`write_postgis` stores the run in one transaction, in tables of its own (``hazfence.replay_run``,
``hazfence.replay_event``). The map is in ``map/``, the way of fixes into a topic in ``feed.py``.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from hazfence import __version__
from hazfence.rows import Row, event_of, isos, text_of
from hazfence.settings import EngineSettings
from hazfence_fences import FenceSet
from hazfence_fences.geojson import to_feature

__all__ = ["COLUMNS", "RunRecord", "file_forms", "json_lines", "write_file", "write_postgis"]

#: Columns of a row in CSV and Parquet, in their order.
COLUMNS = (
    *("id", "kind", "vehicle", "fence_id", "fence_version", "revision", "phase", "started_at", "ended_at"),
    *("lon", "lat", "end_lon", "end_lat", "severity", "detail"),
)
_ROWS_AT_ONCE = 5_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def file_forms() -> tuple[str, ...]:
    """Suffixes that :func:`write_file` knows."""
    return tuple(_FORMS)


def write_file(path: str | os.PathLike[str], rows: Iterable[Row]) -> int:
    """Write rows to a file.

    Args:
        path: ``.jsonl`` (or ``.ndjson``), ``.csv``, ``.geojson`` or ``.parquet``; the first two also with
            ``.gz``. An existing file is replaced when the new one is whole.
        rows: as :meth:`Journal.rows` gives them.

    Returns:
        how many rows.

    Raises:
        ValueError: a form that is not known.

    Example:
        >>> write_file("breaches.parquet", journal.rows())  # doctest: +SKIP
        81
    """
    place = Path(path)
    write = _FORMS.get(form_of(place))
    if write is None:
        raise ValueError(f"{path}: rows can be written as {', '.join(_FORMS)}")
    part = place.with_name(f".{place.name}.part")
    try:
        count = write(part, place.suffix.lower() == ".gz", rows)
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
    return count


def form_of(path: Path) -> str:
    """The suffix that tells the form, in small letters."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    form = suffixes[-2] if packed and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    return form if not packed or form in (".jsonl", ".ndjson", ".csv") else ""


def json_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Each row as what :meth:`hazfence.Event.to_json` gives, as JSON without the end of the line."""
    for part in _batched(rows):
        for row, (started, ended) in zip(part, _times(part), strict=True):
            yield (
                f'{{"id": "{row.id}", {_about(row, started, ended)}, "lon": {_number(row.lon)},'
                f' "lat": {_number(row.lat)}, {_rest(row)}}}'
            )


def _about(row: Row, started: str, ended: str | None) -> str:
    """The JSON of a row before its place."""
    version = "null" if row.fence_version is None else row.fence_version
    fence = "null" if row.fence_id is None else text_of(row.fence_id)
    over = "null" if ended is None else f'"{ended}"'
    return (
        f'"kind": "{row.kind}", "vehicle": {text_of(row.vehicle)}, "fence_id": {fence},'
        f' "fence_version": {version}, "revision": {row.revision}, "phase": "{row.phase}",'
        f' "started_at": "{started}", "ended_at": {over}'
    )


def _rest(row: Row) -> str:
    """The JSON of a row behind its place."""
    return (
        f'"end_lon": {_number(row.end_lon)}, "end_lat": {_number(row.end_lat)},'
        f' "severity": "{row.severity}", "detail": {row.detail}'
    )


def _number(value: float | None) -> str:
    return "null" if value is None else repr(value)


def _times(rows: list[Row]) -> Iterator[tuple[str, str | None]]:
    """Beginning and end of each row as ISO 8601."""
    started = isos([row.started_us for row in rows])
    ended = isos([row.ended_us or 0 for row in rows])
    for row, begin, end in zip(rows, started, ended, strict=True):
        yield begin, None if row.ended_us is None else end


def _open(path: Path, packed: bool, encoding: str = "utf-8") -> TextIO:
    # Half of a surrogate pair in a name is written as \\udc80: in JSON that is the very same name.
    if packed:
        return gzip.open(path, "wt", encoding=encoding, errors="backslashreplace", newline="")
    return path.open("w", encoding=encoding, errors="backslashreplace", newline="")


def _json_lines(path: Path, packed: bool, rows: Iterable[Row]) -> int:
    count = 0
    with _open(path, packed) as file:
        for count, line in enumerate(json_lines(rows), 1):  # noqa: B007
            file.write(f"{line}\n")
    return count


def _csv(path: Path, packed: bool, rows: Iterable[Row]) -> int:
    count = 0
    # With a mark at the beginning, or spreadsheets take plates for Latin letters.
    with _open(path, packed, "utf-8-sig") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for part in _batched(rows):
            writer.writerows(
                (
                    *(
                        row.id,
                        row.kind,
                        row.vehicle,
                        row.fence_id,
                        row.fence_version,
                        row.revision,
                        row.phase,
                    ),
                    *(started, ended, row.lon, row.lat, row.end_lon, row.end_lat, row.severity, row.detail),
                )
                for row, (started, ended) in zip(part, _times(part), strict=True)
            )
            count += len(part)
    return count


def _geojson(path: Path, packed: bool, rows: Iterable[Row]) -> int:
    count = 0
    with _open(path, packed) as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for part in _batched(rows):
            for row, (started, ended) in zip(part, _times(part), strict=True):
                file.write(
                    f'{"," if count else ""}\n{{"type": "Feature", "id": "{row.id}", "geometry":'
                    f' {{"type": "Point", "coordinates": [{_number(row.lon)}, {_number(row.lat)}]}},'
                    f' "properties": {{{_about(row, started, ended)}, {_rest(row)}}}}}'
                )
                count += 1
        file.write("\n]}\n")
    return count


def _parquet(path: Path, packed: bool, rows: Iterable[Row]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    moment, place = pa.timestamp("us", "UTC"), pa.float64()
    kinds = {
        "fence_version": pa.int32(), "revision": pa.int32(), "started_at": moment, "ended_at": moment,
        "lon": place, "lat": place, "end_lon": place, "end_lat": place,
    }  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    at = [Row._fields.index({"started_at": "started_us", "ended_at": "ended_us"}.get(n, n)) for n in COLUMNS]

    def column(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
        try:
            return pa.array(values, kind)
        except UnicodeEncodeError:
            whole = (v if v is None else v.encode("utf-8", "backslashreplace").decode() for v in values)
            return pa.array(list(whole), kind)

    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in _batched(rows):
            values = list(zip(*part, strict=True))
            columns = [column(values[i], field.type) for i, field in zip(at, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            count += len(part)
    return count


_FORMS: Mapping[str, Callable[[Path, bool, Iterable[Row]], int]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".geojson": _geojson,
    ".parquet": _parquet,
}


def _batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while part := list(islice(left, _ROWS_AT_ONCE)):
        yield part


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is kept about a run beside its rows.

    Attributes:
        name: of the run, unique in its database.
        source: what was replayed.
        since_us, until_us, vehicles: which part of it; None for no bound.
        settings, fences: what it was judged with.
        fixes: how many there were.
        set_aside: how many could not be used, by reason.
    """

    name: str
    source: str
    since_us: int | None
    until_us: int | None
    vehicles: tuple[str, ...] | None
    settings: EngineSettings
    fences: FenceSet
    fixes: int
    set_aside: Mapping[str, int]


def write_postgis(url: str, run: RunRecord, rows: Iterable[Row], *, replace: bool = False) -> int:
    """Store a run, whole or not at all; no live row is touched.

    Args:
        url: libpq URL of a migrated database; the user needs role hazfence_write.
        run: what is kept about it.
        rows: all of them, retracted ones too.
        replace: remove a run of that name first.

    Returns:
        how many rows.

    Raises:
        ValueError: there is a run of that name.
        psycopg.Error: the server cannot be reached, or refuses.
    """
    import psycopg
    from psycopg.types.json import Jsonb

    from hazfence.postgis.storable import events_json
    from hazfence_sql import queries

    def moment(time_us: int | None) -> datetime | None:
        return None if time_us is None else _EPOCH + timedelta(microseconds=time_us)

    count = 0
    with psycopg.connect(url, application_name="hazfence replay") as connection:
        if replace:
            connection.execute(queries.load("remove_replay_run"), {"name": run.name})
        row = connection.execute(
            queries.load("store_replay_run"),
            {
                "name": run.name,
                "source": run.source,
                "since": moment(run.since_us),
                "until": moment(run.until_us),
                "vehicles": None if run.vehicles is None else Jsonb(list(run.vehicles)),
                "settings": Jsonb(run.settings.to_json()),
                "fences": Jsonb([to_feature(fence) for fence in run.fences]),
                "fixes": run.fixes,
                "set_aside": Jsonb(dict(run.set_aside)),
                "release": __version__,
            },
        ).fetchone()
        if row is None:
            raise ValueError(
                f"the database has a run {run.name!r} already: give another --run, or --fresh to replace it"
            )
        for part in _batched(rows):
            said = {"run": row[0], "events": events_json(map(event_of, part))}
            connection.execute(queries.load("store_replay_events"), said)
            count += len(part)
    return count
