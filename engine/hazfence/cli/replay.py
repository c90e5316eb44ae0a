"""``hazfence replay``: history through the engine, or into a topic.

You are on the top floor. What is read is for ``hazfence_replay.readers`` to say, what happens for ``run.py``
and ``feed.py``, what is written for ``outputs.py``; here options become their arguments, and what they come
to is shown.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from hazfence.cli import show
from hazfence.cli.replay_show import Spill, show_rows, tell, tell_rejects, watching

if TYPE_CHECKING:
    from hazfence.fixes import FixBatch
    from hazfence.reference import ReferenceData
    from hazfence.settings import EngineSettings
    from hazfence_fences import FenceSet
    from hazfence_replay.journal import Journal
    from hazfence_replay.readers import TrackReader, Wanted
    from hazfence_replay.run import Summary

__all__ = ["replay"]

#: The most fixes that a map is drawn from, and rows that its page holds.
_MAP_FIXES = 2_000_000
_MAP_ROWS = 200_000


def replay(
    source: Annotated[
        str,
        typer.Argument(
            help="A file, a folder, a .zip, postgresql://... or db (the fix table), kafka://HOST:PORT/TOPIC."
        ),
    ],
    fences: Annotated[
        str,
        typer.Option("--fences", help="GeoJSON file or folder of fences, or db.", envvar="HAZFENCE_FENCES"),
    ] = "",
    since: Annotated[str | None, typer.Option("--from", help="Date or moment; fixes from then on.")] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Date (that day included) or moment (not included).")
    ] = None,
    vehicle: Annotated[list[str] | None, typer.Option(help="Only this vehicle; may be given again.")] = None,
    out: Annotated[
        list[str] | None,
        typer.Option(
            "--out",
            "-o",
            help="Where rows go: FILE.jsonl .csv .geojson .parquet .html (a map), postgresql://... or db; "
            "kafka://HOST:PORT/TOPIC sends the fixes there instead. May be given again.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as lines of JSON.")] = False,
    settings: Annotated[
        str | None, typer.Option(help="Thresholds: JSON, or a file of it.", envvar="HAZFENCE_ENGINE")
    ] = None,
    rules: Annotated[
        str, typer.Option("--rules", help="A rulebook file, or all.", envvar="HAZFENCE_RULES")
    ] = "",
    reference: Annotated[
        str | None, typer.Option(help="Vehicles, papers and waybills on file: postgresql://... or db.")
    ] = None,
    run_name: Annotated[str | None, typer.Option("--run", help="Name of the run in the database.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes; as many as pay, all cores at the most.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew where a stopped run would go on; replace --run.")
    ] = False,
    name: Annotated[str | None, typer.Option("--as", help="Name of the one vehicle of the track.")] = None,
    datum: Annotated[str, typer.Option(help="Of the coordinates: WGS-84, GCJ-02, BD-09.")] = "WGS-84",
    tz: Annotated[
        str | None, typer.Option(help="Zone of times without offset, e.g. Asia/Shanghai or UTC.")
    ] = None,
    time_format: Annotated[str | None, typer.Option(help="strptime pattern of odd times.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="FIELD=NAME or FIELD=NUMBER, e.g. vehicle=plate.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text; found out by default.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between columns; found out by default.")] = None,
    sort: Annotated[
        bool, typer.Option("--sort", help="Sort by time on disk first; for a source in no order.")
    ] = False,
    rejects: Annotated[Path | None, typer.Option(help="File for every row that cannot be read.")] = None,
    journal: Annotated[
        Path | None, typer.Option(help="File to go on from; by default beside the first output.")
    ] = None,
    checkpoint_s: Annotated[
        float, typer.Option("--checkpoint", min=0.0, help="Seconds between two places to go on from.")
    ] = 10.0,
    speed: Annotated[str, typer.Option(help="Into a topic: 1 (as it was), 10, ... or max.")] = "max",
    as_now: Annotated[
        bool, typer.Option("--as-now", help="Into a topic: move times so that it begins now.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a map as one HTML file.")] = None,
) -> None:
    """Replay recorded tracks: what would have been found, or the same fixes into a topic."""
    from hazfence_replay.readers import open_source

    wanted = _wanted(since, until, vehicle, tz)
    outputs = Outputs.of(out or [], html)
    options = {
        "vehicle": name,
        "datum": _datum(datum),
        "tz": tz,
        "time_format": time_format,
        "columns": _columns(column or []),
        "encoding": encoding,
        "delimiter": delimiter,
    }
    given = _address(source)
    reader = open_source(given, wanted=wanted, **options)
    if sort:
        reader = _Sorted(reader)
    about = {
        "source": [reader.source, _size(given)],
        "options": {**options, "datum": str(options["datum"]), "sort": sort},
        "wanted": [wanted.since_us, wanted.until_us, sorted(wanted.vehicles) if wanted.vehicles else None],
    }
    place = journal or outputs.journal(run_name)
    spill = rejects or outputs.rejects
    with Spill(spill) as spilled:
        reader.rejects.file = None if spill is None else spilled
        if outputs.topic is not None:
            _feed(
                reader, outputs, {**about, "to": outputs.topic, "as_now": as_now}, place, fresh,
                checkpoint_s, speed, as_now,
            )  # fmt: skip
        else:
            how = _Judging.of(fences, settings, rules, reference)
            _judge(
                reader, how, wanted, outputs, {**about, **how.about()}, place, fresh, run_name,
                workers or _processes(given, how.settings, wanted, name), checkpoint_s, as_json,
            )  # fmt: skip
    tell_rejects(reader, spilled)


@dataclass(slots=True)
class Outputs:
    """Where the rows go."""

    files: list[Path] = field(default_factory=list)
    maps: list[Path] = field(default_factory=list)
    databases: list[str] = field(default_factory=list)
    topic: str | None = None

    @classmethod
    def of(cls, said: list[str], html: Path | None) -> Outputs:
        from hazfence_replay.outputs import file_forms, form_of

        found = cls(maps=[html] if html is not None else [])
        for one in said:
            if one.startswith("kafka://"):
                found.topic = one
            elif one == "db" or one.startswith(("postgresql://", "postgres://")):
                found.databases.append(_address(one))
            elif one.lower().endswith(".html"):
                found.maps.append(Path(one))
            elif form_of(Path(one)) in file_forms():
                found.files.append(Path(one))
            else:
                raise ValueError(
                    f"--out {one}: rows go to a file ({', '.join(file_forms())}, .html), to postgresql://... "
                    "or db; fixes to kafka://HOST:PORT/TOPIC"
                )
        for path in (*found.files, *found.maps):
            if not path.absolute().parent.is_dir():
                raise ValueError(f"--out {path}: there is no folder {path.absolute().parent}")
        if found.topic is not None and len(said) + len(found.maps) > 1:
            raise ValueError("--out kafka://... sends fixes and judges nothing: give it alone")
        return found

    def journal(self, run: str | None) -> Path | None:
        """The file a stopped run goes on from."""
        first = next(iter(self.files), None)
        if first is not None:
            return first.with_name(f"{first.name}.replay")
        if self.databases and run is not None:
            return Path(f"{run.replace(os.sep, '_')}.replay")
        return None

    @property
    def rejects(self) -> Path | None:
        """The file for what cannot be read."""
        first = next(iter(self.files), None)
        return None if first is None else first.with_name(f"{first.name}.rejects.jsonl")


@dataclass(frozen=True, slots=True)
class _Judging:
    """What the engines work with."""

    fences: FenceSet
    settings: EngineSettings
    reference: ReferenceData | None

    @classmethod
    def of(cls, fences: str, settings: str | None, rules: str, reference: str | None) -> _Judging:
        from hazfence.cli.thresholds import thresholds

        if not fences:
            raise ValueError(
                "a replay needs fences: give --fences (a file, a folder or db), or HAZFENCE_FENCES"
            )
        given = settings or ""
        if given and not given.lstrip().startswith("{"):
            given = Path(given).read_text("utf-8")
        on_file = None if reference is None else asyncio.run(_reference(_address(reference)))
        return cls(_fences(fences), thresholds(given, rules), on_file)

    def about(self) -> dict[str, Any]:
        """For the journal: a run that goes on must be judged by the same."""
        from hazfence import __version__
        from hazfence_fences.geojson import to_feature

        digest = hashlib.blake2b(digest_size=16)
        for fence in self.fences:
            digest.update(json.dumps(to_feature(fence), sort_keys=True, default=str).encode())
        on_file = 0 if self.reference is None else len(self.reference.filed) + len(self.reference.waybills)
        return {
            "fences": digest.hexdigest(),
            "settings": self.settings.to_json(),
            "reference": on_file,
            "release": __version__,
        }


def _judge(
    reader: TrackReader,
    how: _Judging,
    wanted: Wanted,
    outputs: Outputs,
    about: dict[str, Any],
    place: Path | None,
    fresh: bool,
    run_name: str | None,
    processes: int,
    checkpoint_s: float,
    as_json: bool,
) -> None:
    from hazfence_replay.outputs import RunRecord, json_lines, write_file, write_postgis
    from hazfence_replay.run import run
    from hazfence_replay.shards import Job

    tracks = _Tracks() if outputs.maps else None
    job = Job(how.fences, how.settings, how.reference)
    with _journal(place, about, fresh) as kept:
        with watching(reader, kept) as watch:
            done = run(
                reader, job, kept, until_us=wanted.until_us, processes=processes,
                checkpoint_s=checkpoint_s, watch=watch, look=tracks.add if tracks else None,
            )  # fmt: skip
        for path in outputs.files:
            show.talk.print(f"{write_file(path, kept.rows())} rows: {path}", markup=False)
        for url in outputs.databases:
            name = run_name or time.strftime("replay %Y-%m-%dT%H:%M:%SZ", time.gmtime())
            vehicles = None if wanted.vehicles is None else tuple(sorted(wanted.vehicles))
            record = RunRecord(
                name, reader.source, wanted.since_us, wanted.until_us, vehicles, how.settings, how.fences,
                done.fixes, done.set_aside,
            )  # fmt: skip
            count = write_postgis(url, record, kept.rows(retracted=True), replace=fresh)
            show.talk.print(f"{count} rows: run {name!r} in hazfence.replay_event", markup=False)
        for path in outputs.maps:
            _write_map(path, how.fences, tracks, kept, done)
        if as_json:
            show.lines(json_lines(kept.rows()))
        elif not outputs.files and not outputs.databases:
            show_rows(kept)
        tell(done, as_json)
        kept.close(done=True)


def _feed(
    reader: TrackReader,
    outputs: Outputs,
    about: dict[str, Any],
    place: Path | None,
    fresh: bool,
    checkpoint_s: float,
    speed: str,
    as_now: bool,
) -> None:
    from hazfence_replay.feed import feed
    from hazfence_replay.kafka import topic_url

    assert outputs.topic is not None
    try:
        factor = None if speed == "max" else float(speed.removesuffix("x"))
    except ValueError:
        raise ValueError(f"--speed {speed!r}: write 1, 10 or max") from None
    began_s = time.monotonic()
    with _journal(place, about, fresh) as kept, watching(reader, kept) as watch:
        count = feed(
            reader, topic_url(outputs.topic), kept, speed=factor, as_now=as_now, checkpoint_s=checkpoint_s,
            watch=watch,
        )  # fmt: skip
        kept.close(done=True)
    took_s = time.monotonic() - began_s
    show.talk.print(
        f"{count} fixes in {outputs.topic} in {took_s:.1f} s ({count / took_s / 1000:,.0f} k/s)", markup=False
    )


@contextmanager
def _journal(place: Path | None, about: dict[str, Any], fresh: bool) -> Iterator[Journal]:
    from hazfence_replay.journal import Journal

    if fresh and place is not None:
        for more in ("", "-wal", "-shm"):
            Path(f"{place}{more}").unlink(missing_ok=True)
    with Journal(place, about) as kept:
        if (known := kept.checkpoint) is not None:
            show.talk.print(f"going on behind {known.fixes} fixes: {place}", markup=False)
        try:
            yield kept
        except KeyboardInterrupt:
            mend = "" if place is None else "; the same command goes on from here"
            show.talk.print(f"stopped{mend}")
            raise typer.Exit(130) from None


class _Sorted:
    """A reader whose fixes are sorted by time on disk."""

    def __init__(self, reader: TrackReader) -> None:
        self._reader = reader
        self.source, self.rejects = reader.source, reader.rejects

    @property
    def share(self) -> float | None:
        return self._reader.share

    def __iter__(self) -> Iterator[FixBatch]:
        from hazfence_replay.readers.sorting import by_time

        return by_time(self._reader)


class _Tracks:
    """The fixes for a map, up to a number."""

    def __init__(self) -> None:
        self.batches: list[FixBatch] = []
        self.count = 0

    def add(self, batch: FixBatch) -> None:
        self.count += len(batch)
        if self.count <= _MAP_FIXES:
            self.batches.append(batch)
        else:
            self.batches.clear()


def _write_map(path: Path, fences: FenceSet, tracks: _Tracks | None, kept: Journal, done: Summary) -> None:
    from hazfence_replay.map import write_html

    assert tracks is not None
    many = sum(done.events.values()) > _MAP_ROWS
    rows = [event for event in kept.events() if not many or not event.is_visit][:_MAP_ROWS]
    write_html(path, fences, tracks.batches, rows)
    left = []
    if tracks.count > _MAP_FIXES:
        left.append(
            f"tracks (of more than {_MAP_FIXES // 10**6} M fixes; ask for fewer with --from, --to, --vehicle)"
        )
    if many:
        left.append("visits")
    show.talk.print(f"map: {path}" + (f", without {' and '.join(left)}" if left else ""), markup=False)


def _wanted(since: str | None, until: str | None, vehicle: list[str] | None, tz: str | None) -> Wanted:
    from hazfence_replay.readers import Wanted

    since_us = until_us = None
    if since is not None or until is not None:
        from hazfence.cli.moments import span

        since_us, until_us = span(since, until, ZoneInfo(tz or "Asia/Shanghai"))
    return Wanted(since_us, until_us, frozenset(vehicle) if vehicle else None)


def _datum(said: str) -> Any:
    from hazfence_fences.datum import Datum

    return Datum.parse(said)


def _columns(said: list[str]) -> dict[str, str]:
    found = {}
    for one in said:
        name, sign, value = one.partition("=")
        if not sign or not value:
            raise ValueError(f"--column {one!r}: write FIELD=NAME, e.g. vehicle=plate or lon=3")
        found[name.strip()] = value.strip()
    return found


def _address(said: str) -> str:
    """The database of the environment where ``db`` is said."""
    if said != "db":
        return said
    url = os.environ.get("HAZFENCE_DATABASE_URL", "")
    if not url:
        raise ValueError("db means the database of HAZFENCE_DATABASE_URL, which is not set")
    return url


def _fences(said: str) -> FenceSet:
    if said == "db" or said.startswith(("postgresql://", "postgres://")):
        return asyncio.run(_stored_fences(_address(said)))
    from hazfence_fences import load_fences

    return load_fences(said)


async def _stored_fences(url: str) -> FenceSet:
    from hazfence.postgis import PostgisStore

    store = PostgisStore(url)
    await store.open()
    try:
        return await store.load_fences()
    finally:
        await store.close()


async def _reference(url: str) -> ReferenceData:
    from hazfence.postgis.reference import PostgisReference

    file = PostgisReference(url)
    await file.open()
    try:
        return (await file.load())[1]
    finally:
        await file.close()


def _size(source: str) -> int:
    """Bytes of the files of a source; 0 for one that is no file."""
    path = Path(source)
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    return path.stat().st_size if path.is_file() else 0


def _processes(source: str, settings: EngineSettings, wanted: Wanted, name: str | None) -> int:
    """As many as pay."""
    from hazfence_replay.processes import load_of, processes_for
    from hazfence_replay.readers import READERS
    from hazfence_replay.readers.files import find

    items = None if "://" in source else find(source, READERS)
    vehicles = 1 if name is not None else None if wanted.vehicles is None else len(wanted.vehicles)
    return processes_for(load_of(items, vehicles), settings)
