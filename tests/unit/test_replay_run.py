"""A whole replay: all cores give one core's rows, a stopped one goes on, and rows go into files."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazfence import Engine, EngineSettings, Event, FixBatch, ReferenceData
from hazfence.events import Kind, Phase, Severity, iso
from hazfence.reference import Filed
from hazfence.rows import Row, event_of, isos, row_of
from hazfence.rules import Rulebook
from hazfence_fences import FenceKind, FenceSet, circle, load_fences
from hazfence_replay import player
from hazfence_replay.dealing import shard_of
from hazfence_replay.journal import Checkpoint, Journal, JournalMismatch, as_rows
from hazfence_replay.ledger import latest
from hazfence_replay.outputs import COLUMNS, write_file
from hazfence_replay.player import paces, replay
from hazfence_replay.readers import Rejects, open_source
from hazfence_replay.run import Progress, Summary, run
from hazfence_replay.shards import Job, Shards
from hazfence_replay.simulator import SimulatedDay, simulate

from . import test_rules_separation as separation

ZHENHAI = Path(__file__).parents[2] / "fences" / "zhenhai"


class Source:
    """A reader over batches in memory."""

    def __init__(self, batches: list[FixBatch]) -> None:
        self.source, self.rejects = "memory", Rejects()
        self.share: float | None = None
        self._batches = batches

    def __iter__(self) -> Iterator[FixBatch]:
        return iter(self._batches)


@pytest.fixture(autouse=True)
def small_paces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many paces, of few fixes each; what stands for a whole module was made of large ones."""
    monkeypatch.setattr(player, "_LEAST_FIXES", 1_000)


@pytest.fixture(scope="module")
def fences() -> FenceSet:
    return load_fences(ZHENHAI)


@pytest.fixture(scope="module")
def day(fences: FenceSet) -> SimulatedDay:
    return simulate(fences, seed=3, trucks=24, hours=8)


@pytest.fixture(scope="module")
def batches(day: SimulatedDay) -> list[FixBatch]:
    """The day with some disorder: a hundredth comes a few minutes late, some fixes come twice."""
    rng = np.random.default_rng(8)
    late_us = np.where(rng.random(len(day)) < 0.01, rng.integers(1, 400_000_000, len(day)), 0)
    order = np.argsort(day.fixes.time_us + late_us, kind="stable")
    order = np.sort(np.concatenate([np.arange(len(order)), rng.integers(0, len(order), 200)]))
    shuffled = day.fixes.take(np.argsort(day.fixes.time_us + late_us, kind="stable")).take(order)
    return [shuffled.take(slice(i, i + 1_500)) for i in range(0, len(shuffled), 1_500)]


@pytest.fixture(scope="module")
def unbroken(day: SimulatedDay, batches: list[FixBatch], fences: FenceSet) -> tuple[Summary, list[Event]]:
    with Journal(None, {}) as journal:
        done = run(Source(batches), Job(fences, EngineSettings()), journal, until_us=day.end_us)
        return done, list(journal.events(retracted=True))


def test_a_run_equals_an_engine_of_ones_own(
    day: SimulatedDay, batches: list[FixBatch], fences: FenceSet, unbroken: tuple[Summary, list[Event]]
) -> None:
    done, rows = unbroken
    events = list(replay(batches, Engine(fences), until=day.end_us))
    standing = [row for row in rows if row.phase != "retracted"]
    assert standing == sorted(
        latest(events), key=lambda e: (e.started_us, e.vehicle, str(e.kind), e.fence_id or "", e.id)
    )
    assert len(standing) > 60
    assert done.fixes == len(day) + 200
    assert done.set_aside == {"duplicate": 200}
    assert done.accepted == len(day)
    assert done.vehicles == 24
    assert (done.oldest_us, done.newest_us) == (int(day.fixes.time_us[0]), int(day.fixes.time_us[-1]))
    assert sum(done.events.values()) == len(rows)


def test_all_cores_say_what_one_says_revision_by_revision(
    day: SimulatedDay, batches: list[FixBatch], fences: FenceSet, unbroken: tuple[Summary, list[Event]]
) -> None:
    job = Job(fences, EngineSettings())
    stream = list(paces(batches, until=day.end_us))
    assert len(stream) > 10
    with Shards(job, 1) as one:
        alone = [event for said in one.run(stream) for event in said.events]
    with Shards(job, 2) as two:
        together = [event for said in two.run(stream) for event in said.events]
    assert together == alone
    assert {shard_of(v, 2) for v in day.fixes.vehicles} == {0, 1}
    with Journal(None, {}) as journal:
        done = run(Source(batches), job, journal, until_us=day.end_us, processes=2)
        assert list(journal.events(retracted=True)) == unbroken[1]
    assert (done.set_aside, done.events) == (unbroken[0].set_aside, unbroken[0].events)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_broken_rows_are_counted_and_fixes_seen_once_however_many_processes(
    tmp_path: Path, batches: list[FixBatch], fences: FenceSet, processes: int
) -> None:
    given = FixBatch.concat(batches[:6])
    whole = FixBatch.of(
        given.vehicle, vehicles=given.vehicles, time_us=given.time_us, lon=given.lon, lat=given.lat
    )
    columns = zip(whole.names(), map(iso, whole.time_us.tolist()), whole.lon, whole.lat, strict=True)
    lines = ["plate,time,lon,lat", *(f"{name},{time},{lon},{lat}" for name, time, lon, lat in columns)]
    broken = {20: "A,yesterday,121.5,29.9", 4_000: "A,2026-03-02T00:00:00Z,221.5,29.9", 8_000: "half a row"}
    for at, line in broken.items():
        lines.insert(at, line)
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines), "utf-8")
    reader = open_source(path, batch_fixes=700)
    seen, looked = list[Progress](), 0

    def look(batch: FixBatch) -> None:
        nonlocal looked
        looked += len(batch)

    with Journal(None, {}) as journal:
        done = run(reader, Job(fences, EngineSettings()), journal, processes=processes,
                   watch=seen.append, look=look)  # fmt: skip
        rows = list(journal.rows())
    assert [(reject.line, reject.reason) for reject in reader.rejects.kept] == [
        (21, "bad_time"),
        (4_001, "bad_coordinate"),
        (8_001, "bad_row"),
    ]
    assert done.fixes == looked == len(whole)
    fixes = [progress.fixes for progress in seen]
    assert fixes == sorted(fixes)
    assert len(fixes) > 3
    assert fixes[-1] == len(whole)
    assert seen[-1].share == 1.0
    with Journal(None, {}) as journal:
        run(Source([whole]), Job(fences, EngineSettings()), journal)
        assert rows == list(journal.rows())


class Stopped(Exception):
    pass


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stopped_run_goes_on_and_ends_with_the_same_rows(
    tmp_path: Path,
    day: SimulatedDay,
    batches: list[FixBatch],
    fences: FenceSet,
    unbroken: tuple[Summary, list[Event]],
    processes: int,
) -> None:
    path = tmp_path / "run.replay"
    job = Job(fences, EngineSettings())
    marks: list[int] = []
    # Some way in, before the first checkpoint and after it; then to the end.
    for stop in [3_000, 8_000, 16_000, 10**9]:

        def watch(progress: Progress, stop: int = stop) -> None:
            if progress.fixes >= stop:
                raise Stopped

        with Journal(path, {"x": 1}) as journal:
            known = journal.checkpoint
            marks.append(known.fixes if known else 0)
            try:
                done = run(
                    Source(batches), job, journal, until_us=day.end_us, processes=processes,
                    checkpoint_s=0.0 if stop > 3_000 else 99.0, watch=watch,
                )  # fmt: skip
            except Stopped:
                continue
            assert list(journal.events(retracted=True)) == unbroken[1]
    assert marks[:2] == [0, 0]
    assert 0 < marks[2] < marks[3] < done.fixes
    assert done.resumed_fixes == marks[3]
    assert (done.fixes, done.set_aside, done.events) == (
        unbroken[0].fixes,
        unbroken[0].set_aside,
        unbroken[0].events,
    )
    assert (done.oldest_us, done.vehicles) == (unbroken[0].oldest_us, unbroken[0].vehicles)


def test_a_journal_is_of_one_replay(tmp_path: Path, batches: list[FixBatch], fences: FenceSet) -> None:
    path = tmp_path / "run.replay"
    with Journal(path, {"source": "a", "fences": "f"}) as journal:
        run(Source(batches[:2]), Job(fences, EngineSettings()), journal)
        assert journal.checkpoint is not None
    with pytest.raises(JournalMismatch, match=r"not this one \(other source\).*--fresh"):
        Journal(path, {"source": "b", "fences": "f"})
    with (
        Journal(path, {"source": "a", "fences": "f"}) as journal,
        pytest.raises(JournalMismatch, match="the source has 1500 fixes, of which 3000 were done before"),
    ):
        run(Source(batches[:1]), Job(fences, EngineSettings()), journal)
    other = tmp_path / "no.replay"
    other.write_text("this is no database at all, but it is long enough to be taken for one " * 20)
    with pytest.raises(JournalMismatch, match="no journal of a replay"):
        Journal(other, {})
    journal = Journal(path, {"source": "a", "fences": "f"})
    journal.close(done=True)
    assert list(tmp_path.iterdir()) == [other]


def test_events_and_checkpoint_are_kept_together_or_not_at_all(
    tmp_path: Path, unbroken: tuple[Summary, list[Event]]
) -> None:
    said = as_rows(unbroken[1][:10])
    with Journal(tmp_path / "j", {}) as journal:
        with pytest.raises(sqlite3.Error):
            journal.save([*said, said[0]._replace(lon=object())], Checkpoint(5, 5, (b"x",), {}))
        assert journal.checkpoint is None
        assert list(journal.events(retracted=True)) == []
        journal.save(said, Checkpoint(5, None, (b"x", b"y"), {"a": 1}))
        journal.save(said, None)
        assert journal.checkpoint == Checkpoint(5, None, (b"x", b"y"), {"a": 1})
        assert len(list(journal.events(retracted=True))) == 10


def test_a_process_that_fails_says_why(day: SimulatedDay, fences: FenceSet) -> None:
    with Shards(Job(fences, EngineSettings()), 2) as shards:
        first = next(paces(day.batches()))
        shards.give(first)
        with pytest.raises(RuntimeError, match="1 paces are under way"):
            shards.snapshots()
        while not shards.full:
            shards.give(first)
        with pytest.raises(RuntimeError, match="take an answer first"):
            shards.give(first)
        shards._shards[1]._process.kill()  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="ended with code -9"):
            list(shards.run(paces(day.batches())))
    with pytest.raises(ValueError, match="at least one process"):
        Shards(Job(fences, EngineSettings()), 0)
    with Shards(Job(fences, EngineSettings(), render=fails), 2) as shards, pytest.raises(ZeroDivisionError):
        list(shards.run(paces(day.batches())))


def fails(events: Iterable[Event]) -> Any:
    return 1 / 0


def test_rows_in_every_form_of_file(tmp_path: Path, unbroken: tuple[Summary, list[Event]]) -> None:
    rows = unbroken[1]
    said = [row.to_json() for row in rows]
    for name in ("a.jsonl", "a.ndjson.gz"):
        assert write_file(tmp_path / name, map(row_of, rows)) == len(rows)
        raw = (tmp_path / name).read_bytes()
        text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
        assert [Event.from_json(json.loads(line)) for line in text.splitlines()] == rows
    write_file(tmp_path / "a.csv", map(row_of, rows))
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["vehicle"] for row in table] == [row["vehicle"] for row in said]
    assert [json.loads(row["detail"]) for row in table] == [row["detail"] for row in said]
    assert tuple(table[0]) == COLUMNS
    write_file(tmp_path / "a.geojson", map(row_of, rows))
    features = json.loads((tmp_path / "a.geojson").read_text("utf-8"))["features"]
    assert [f["id"] for f in features] == [row["id"] for row in said]
    assert features[0]["geometry"]["coordinates"] == [said[0]["lon"], said[0]["lat"]]
    write_file(tmp_path / "a.parquet", map(row_of, rows))
    columns = pq.read_table(tmp_path / "a.parquet").to_pydict()
    assert columns["id"] == [row["id"] for row in said]
    assert [round(t.timestamp() * 1e6) for t in columns["started_at"]] == [row.started_us for row in rows]
    assert [t is None for t in columns["ended_at"]] == [row.ended_us is None for row in rows]
    for empty in ("b.jsonl", "b.csv", "b.geojson", "b.parquet"):
        assert write_file(tmp_path / empty, []) == 0
    assert json.loads((tmp_path / "b.geojson").read_text())["features"] == []
    with pytest.raises(ValueError, match="rows can be written as"):
        write_file(tmp_path / "a.xls", map(row_of, rows))


def test_names_that_hold_anything_come_out_of_journal_and_files(tmp_path: Path) -> None:
    names = ['浙B "1",\n2', "\0\t\\", "half \ud800", "<b>&'"]
    events = [
        Event(f"{i:032x}", Kind.OVERSPEED, name, name, 3, 1, Phase.CLOSED, i, i, 121.0, 29.0, 121.5, 29.5,
              Severity.BREACH, {"said": name, "of": [1, 2.5, None, {"x": True}]})
        for i, name in enumerate(names)
    ]  # fmt: skip
    events.append(Event("f" * 32, Kind.PAPER_EXPIRING, "A", None, None, 1, Phase.OPENED, -1, None, 0.0, 0.0))
    with Journal(None, {}) as journal:
        journal.save(as_rows(events), None)
        assert sorted(journal.events(), key=lambda e: e.id) == events
        rows = list(journal.rows())
        assert list(map(event_of, rows)) == list(journal.events())
        for name in ("a.jsonl", "a.csv", "a.geojson", "a.parquet"):
            assert write_file(tmp_path / name, journal.rows()) == len(events)
    lines = (tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    assert [Event.from_json(json.loads(line)) for line in lines] == list(map(event_of, rows))
    written = [row._replace(vehicle=row.vehicle.replace("\ud800", "\\ud800")) for row in rows]
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["vehicle"] for row in table] == [row.vehicle for row in written]
    assert [json.loads(row["detail"]) for row in table] == [json.loads(row.detail) for row in rows]
    features = json.loads((tmp_path / "a.geojson").read_text("utf-8"))["features"]
    assert [f["properties"]["detail"] for f in features] == [json.loads(row.detail) for row in rows]
    assert [f["properties"]["ended_at"] is None for f in features] == [row.ended_us is None for row in rows]
    assert pq.read_table(tmp_path / "a.parquet")["vehicle"].to_pylist() == [row.vehicle for row in written]


@given(st.lists(st.integers(-(10**15), 4 * 10**15), max_size=30))
def test_many_moments_are_told_like_one(times_us: list[int]) -> None:
    assert isos(times_us) == list(map(iso, times_us))


def test_a_file_appears_when_it_is_whole(tmp_path: Path, unbroken: tuple[Summary, list[Event]]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("before")

    def broken() -> Iterator[Row]:
        yield row_of(unbroken[1][0])
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        write_file(path, broken())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_rules_over_all_vehicles_are_part_of_a_run_and_of_one_that_goes_on(tmp_path: Path) -> None:
    rows = separation.stand("A", 0, 40) + separation.stand("B", 5, 40, east_m=12.0)
    whole = separation.batch(sorted(rows, key=lambda row: row[1]))
    source = Source([whole.take(slice(i, i + 20)) for i in range(0, len(whole), 20)])
    since_us = separation.START_US
    papers = Filed("vehicle", "A", "approved", 0, papers={"permit": since_us + 60_000_000})
    yard = replace(
        circle("yard", FenceKind.ZONE, 121.6, float(whole.lat[0]), 500.0),
        properties={"rules": {"zone_capacity": {"most": 1}}},
    )
    job = Job(
        FenceSet([*separation.FENCES, yard]),
        EngineSettings(rules=Rulebook({"separation": True, "paper_expiring": True})),
        ReferenceData([papers], separation.FILE.waybills),
    )

    def replayed(path: Path | None, processes: int, stop: int = 10**9) -> list[Event]:
        def watch(progress: Progress) -> None:
            if progress.fixes >= stop:
                raise Stopped

        with Journal(path, {}) as journal:
            run(source, job, journal, processes=processes, checkpoint_s=0.0, watch=watch)
            return list(journal.events())

    unbroken = replayed(None, 1)
    kinds = Counter(str(row.kind) for row in unbroken)
    assert {kind: kinds[kind] for kind in ("separation", "zone_capacity", "paper_expiring")} == {
        "separation": 1,
        "zone_capacity": 1,
        "paper_expiring": 1,
    }
    assert replayed(None, 2) == unbroken
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(player, "_LEAST_FIXES", 50)
        small = replayed(None, 1)
        with pytest.raises(Stopped):
            replayed(tmp_path / "j", 1, stop=300)
        with Journal(tmp_path / "j", {}) as journal:
            assert journal.checkpoint is not None
            assert 0 < journal.checkpoint.fixes < len(whole)
        assert replayed(tmp_path / "j", 1) == small
    assert small == unbroken
