"""What becomes of a replay's rows: a file in one of five forms, or a run of its own in PostGIS.

You are behind the journal. :func:`write_file` tells the form from the file's name; rows go through one at
a time, into a file beside it that takes its name only when it is whole. :func:`write_postgis` stores the
run in one transaction, in tables of its own (``hazfence.replay_run``, ``hazfence.replay_event``). The map
is in ``map/``, the way of fixes into a topic in ``feed.py``.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from hazfence import __version__
from hazfence.events import Event
from hazfence.settings import EngineSettings
from hazfence_fences import FenceSet
from hazfence_fences.geojson import to_feature

__all__ = ["COLUMNS", "RunRecord", "file_forms", "write_file", "write_postgis"]

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


def write_file(path: str | os.PathLike[str], events: Iterable[Event]) -> int:
    """Write rows to a file.

    Args:
        path: ``.jsonl`` (or ``.ndjson``), ``.csv``, ``.geojson`` or ``.parquet``; the first two also with
            ``.gz``. An existing file is replaced when the new one is whole.
        events: the rows, as :meth:`Journal.rows` gives them.

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
        count = write(part, place.suffix.lower() == ".gz", events)
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


def _open(path: Path, packed: bool, encoding: str = "utf-8") -> TextIO:
    if packed:
        return gzip.open(path, "wt", encoding=encoding, newline="")
    return path.open("w", encoding=encoding, newline="")


def _json_lines(path: Path, packed: bool, events: Iterable[Event]) -> int:
    count = 0
    with _open(path, packed) as file:
        for event in events:
            file.write(json.dumps(event.to_json(), ensure_ascii=False) + "\n")
            count += 1
    return count


def _csv(path: Path, packed: bool, events: Iterable[Event]) -> int:
    count = 0
    # With a mark at the beginning, or spreadsheets take plates for Latin letters.
    with _open(path, packed, "utf-8-sig") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for event in events:
            row = event.to_json()
            row["detail"] = json.dumps(row["detail"], ensure_ascii=False)
            writer.writerow("" if row[name] is None else row[name] for name in COLUMNS)
            count += 1
    return count


def _geojson(path: Path, packed: bool, events: Iterable[Event]) -> int:
    count = 0
    with _open(path, packed) as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for count, event in enumerate(events, 1):
            row = event.to_json()
            geometry = {"type": "Point", "coordinates": [row.pop("lon"), row.pop("lat")]}
            feature = {"type": "Feature", "id": row.pop("id"), "geometry": geometry, "properties": row}
            file.write(",\n" if count > 1 else "\n")
            file.write(json.dumps(feature, ensure_ascii=False))
        file.write("\n]}\n")
    return count


def _parquet(path: Path, packed: bool, events: Iterable[Event]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    moment, place = pa.timestamp("us", "UTC"), pa.float64()
    kinds = {
        "fence_version": pa.int32(), "revision": pa.int32(), "started_at": moment, "ended_at": moment,
        "lon": place, "lat": place, "end_lon": place, "end_lat": place,
    }  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in _batched(events):
            rows = []
            for event in part:
                row = event.to_json()
                row["started_at"], row["ended_at"] = event.started_us, event.ended_us
                row["detail"] = json.dumps(row["detail"], ensure_ascii=False)
                rows.append(row)
            columns = [
                pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in COLUMNS
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            count += len(rows)
    return count


_FORMS: Mapping[str, Callable[[Path, bool, Iterable[Event]], int]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".geojson": _geojson,
    ".parquet": _parquet,
}


def _batched(events: Iterable[Event]) -> Iterable[list[Event]]:
    part: list[Event] = []
    for event in events:
        part.append(event)
        if len(part) == _ROWS_AT_ONCE:
            yield part
            part = []
    if part:
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


def write_postgis(url: str, run: RunRecord, events: Iterable[Event], *, replace: bool = False) -> int:
    """Store a run, whole or not at all; no live row is touched.

    Args:
        url: libpq URL of a migrated database; the user needs role hazfence_write.
        run: what is kept about it.
        events: the rows, retracted ones too.
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
        for part in _batched(events):
            said = {"run": row[0], "events": events_json(part)}
            connection.execute(queries.load("store_replay_events"), said)
            count += len(part)
    return count
