"""How fast history is replayed: from a file through reader, engine and journal, visits and every rule.

The trucks of ``core`` (half drive through the district and its checkpoints, half stand; set A) are written
to Parquet and CSV files and replayed by ``hazfence_replay.run``, as ``hazfence replay`` does it; every rule
is measured on set A too. Processor time counts, of all threads of one process that reads, judges and writes
its rows into the journal; in one figure also the file of rows (``-o rows.parquet``) behind it. One process
and a process a core, and the memory that a longer file takes, are measured in processes of their own, one and
many in turns and by the clock on the wall, which only a quiet machine tells truly; beside it stands what
processor time says is the best that can come of it, and what ``hazfence replay`` would take by itself. Of
the longer file (``long``), in which limits of driving and standing are reached, it is told too what a process
takes with visits and with every rule. From it a year of a district is worked out:
``hazfence bench replay --quick --long 100000000`` does so from a hundred million fixes (2 GB in the temporary
folder). Next room: ``core.py``, the engine alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from hazfence import EngineSettings
from hazfence.rules import RULES, Rulebook
from hazfence_benchmarks.core import truck_steps
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.memory import peak_bytes
from hazfence_benchmarks.plan import BadOption, Plan, timed
from hazfence_benchmarks.workloads import SETS
from hazfence_replay.journal import Journal
from hazfence_replay.outputs import write_file
from hazfence_replay.processes import cores, load_of, processes_for
from hazfence_replay.readers import READERS, open_source
from hazfence_replay.readers.files import find
from hazfence_replay.run import run as replay
from hazfence_replay.shards import Job

__all__ = ["options", "run"]

#: A district's vehicles: 3,000, which report every 30 s: so many fixes a year.
_VEHICLES = 3_000
_YEAR_FIXES = _VEHICLES * 2 * 60 * 24 * 365
#: Reports of a truck: every ten seconds.
_AN_HOUR = 360
#: Rows of a row group, as writers of Parquet have it.
_ROW_GROUP = 250_000
#: Of a longer file one process and many are not compared.
_SHARED_UP_TO = 20_000_000
_BOOKS: dict[str, Callable[[], EngineSettings]] = {
    "visits": lambda: EngineSettings(rules=Rulebook({str(rule.kind): False for rule in RULES})),
    "every rule": lambda: EngineSettings(rules=Rulebook.all_on({"overspeed": {"general_kmh": 60.0}})),
}


def options(parser: argparse.ArgumentParser) -> None:
    """Fixes, vehicles, and how many times more for the memory."""
    parser.add_argument("--fixes", type=int, help="of the files")
    parser.add_argument("--vehicles", type=int, default=_VEHICLES)
    parser.add_argument(
        "--long", type=int, help="fixes of the file that memory and many processes are measured on"
    )


def run(
    plan: Plan, *, fixes: int | None = None, vehicles: int = _VEHICLES, long: int | None = None
) -> Iterator[Figure]:
    """Rates of the readers and of whole replays, the memory they take, and hours for a year.

    Args:
        plan: its size says how much, where it is not given.
        fixes: of the files.
        vehicles: in them.
        long: fixes of the longer file.

    Raises:
        BadOption: numbers out of range.
    """
    fixes = plan.pick(20_000, 300_000, 3_000_000) if fixes is None else fixes
    long = plan.pick(40_000, 1_000_000, 10_000_000) if long is None else long
    if fixes < vehicles or vehicles < 1 or long < fixes:
        raise BadOption("--fixes must be at least --vehicles, and --long at least --fixes")
    rounds = plan.rounds(1, 5, 5)
    with tempfile.TemporaryDirectory(prefix="hazfence-bench-") as place:
        folder = Path(place)
        count = _write(folder / "a.parquet", fixes, vehicles, plan.seed)
        pa_csv.write_csv(pq.read_table(folder / "a.parquet"), folder / "a.csv")
        about: dict[str, Any] = {
            "suite": "replay", "workload": f"A, {vehicles} vehicles", "way": OURS, "n": count,
        }  # fmt: skip
        for form in ("parquet", "csv"):
            took = [timed(lambda form=form: _read(folder / f"a.{form}")).cpu_s for _ in range(rounds + 1)][1:]  # type: ignore[misc]
            yield Figure(**about, what=f"read {form}", unit="fixes/s", clock="cpu",
                         values=tuple(count / max(t, 1e-9) for t in took))  # fmt: skip
        for form, book in (("parquet", "visits"), ("parquet", "every rule"), ("csv", "visits")):
            rates, rows = [], 0
            for _ in range(rounds):
                before = time.process_time()
                rows = _replay(folder / f"a.{form}", book, 1)
                rates.append(count / max(time.process_time() - before, 1e-9))
            yield Figure(**about, what=f"{form}, {book}", unit="fixes/s", clock="cpu", values=tuple(rates),
                         note=f"{form}, {book}: {rows / count:.4f} rows a fix")  # fmt: skip
        rates = []
        for _ in range(rounds):
            before = time.process_time()
            _replay(folder / "a.parquet", "every rule", 1, into=folder / "rows.parquet")
            rates.append(count / max(time.process_time() - before, 1e-9))
        yield Figure(**about, what="parquet, every rule, rows to parquet", unit="fixes/s", clock="cpu",
                     values=tuple(rates))  # fmt: skip
        yield from _long(folder, about | {"n": long}, count, long, vehicles, plan)


def _long(
    folder: Path, about: dict[str, Any], count: int, fixes: int, vehicles: int, plan: Plan
) -> Iterator[Figure]:
    """Memory over two lengths, one process and many, and a year."""
    path = folder / "long.parquet"
    long = _write(path, fixes, vehicles, plan.seed)
    peaks = [(count, _apart(folder / "a.parquet", "visits", 1)), (long, _apart(path, "visits", 1))]
    for n, found in peaks:
        yield Figure(**about | {"n": n}, what="peak memory", unit="bytes", better="less",
                     values=(found["peak_bytes"],), x=float(n), x_name="fixes")  # fmt: skip
    whole = peaks[-1][1]
    # Limits of driving and standing are reached after hours: what every rule costs, only these tell.
    ruled = [_apart(path, "every rule", 1) for _ in range(plan.rounds(1, 1, 5))]
    for book, runs in (("visits", [whole]), ("every rule", ruled)):
        yield Figure(**about, what=f"parquet, {book}, long", unit="fixes/s", clock="cpu",
                     values=tuple(long / one["cpu_s"] for one in runs),
                     note=f"long: {long / vehicles / _AN_HOUR:.1f} hours of each vehicle")  # fmt: skip
    if cores() > 1 and long <= _SHARED_UP_TO:
        pa_csv.write_csv(pq.read_table(path), folder / "long.csv")
        for form in ("parquet", "csv"):
            for book in _BOOKS:
                yield from _side_by_side(folder / f"long.{form}", book, about | {"n": long}, plan)
    hours = whole["cpu_s"] / long * _YEAR_FIXES / 3600
    yield Figure(**about, what="a year of a district, one core", unit="hours", clock="cpu", better="less",
                 values=(hours,), note=f"a year: {_YEAR_FIXES / 1e9:.2f} G fixes, from {long}")  # fmt: skip


def _side_by_side(path: Path, book: str, about: dict[str, Any], plan: Plan) -> Iterator[Figure]:
    """One process and a process a core, in turns, by the clock on the wall; and how they compare."""
    rounds = plan.rounds(1, 1, 5)
    took: dict[int, list[float]] = {1: [], cores(): []}
    least: dict[int, list[float]] = {1: [], cores(): []}
    peak_bytes = 0.0
    for turn in range(rounds):
        for count in sorted(took, reverse=bool(turn % 2)):
            found = _apart(path, book, count)
            took[count].append(found["wall_s"])
            least[count].append(_least_s(found, count))
            peak_bytes = max(peak_bytes, found["peak_bytes"])
    what, fixes = f"{path.suffix[1:]}, {book}", about["n"]
    for count, walls in took.items():
        yield Figure(**about, what=f"{what}, {count} process{'es' * (count > 1)}", unit="fixes/s",
                     clock="wall", values=tuple(fixes / s for s in walls))  # fmt: skip
    picked = processes_for(load_of(find(path, READERS)), _BOOKS[book]())
    against = f"{what}, {cores()} processes against one"
    yield Figure(**about, what=against, unit="times", clock="wall", values=_ratios(took),
                 note=f"{what}, {fixes} fixes: hazfence replay takes {picked} by itself; "
                 f"at most {peak_bytes / 1e6:.0f} MB in the process that reads")  # fmt: skip
    yield Figure(**about, what=f"{against}, at best", unit="times", clock="cpu", values=_ratios(least))


def _ratios(took: dict[int, list[float]]) -> tuple[float, ...]:
    return tuple(one / many for one, many in zip(*took.values(), strict=True))


def _least_s(found: dict[str, float], count: int) -> float:
    """What a replay must take on cores that nobody else uses, told by processor time.

    As long as the process that reads, as each that judges, and as all of it shared out among the cores.
    """
    reads_s, judge_s = found["cpu_s"], found["others_cpu_s"]
    return max(reads_s, judge_s / count, (reads_s + judge_s) / cores()) if count > 1 else reads_s


def _write(path: Path, fixes: int, vehicles: int, seed: int) -> int:
    """Write trucks into a Parquet file, by time."""
    steps = -(-fixes // vehicles)
    schema = pa.schema(
        [
            ("plate", pa.dictionary(pa.int32(), pa.string())), ("time", pa.timestamp("us", "UTC")),
            ("lon", pa.float64()), ("lat", pa.float64()), ("speed_kmh", pa.float32()),
        ]
    )  # fmt: skip
    held: list[pa.RecordBatch] = []
    with pq.ParquetWriter(path, schema) as writer:
        for step, batch in enumerate(truck_steps(SETS["A"](), vehicles=vehicles, steps=steps, seed=seed), 1):
            plates = pa.DictionaryArray.from_arrays(pa.array(batch.vehicle), pa.array(batch.vehicles))
            columns = [plates, pa.array(batch.time_us, pa.timestamp("us", "UTC"))]
            columns += [pa.array(column) for column in (batch.lon, batch.lat, batch.speed_kmh)]
            held.append(pa.RecordBatch.from_arrays(columns, schema=schema))
            if sum(map(len, held)) >= _ROW_GROUP or step == steps:
                writer.write_table(pa.Table.from_batches(held))
                held = []
    return steps * vehicles


def _read(path: Path) -> int:
    return sum(len(batch) for batch in open_source(path))


def _replay(path: Path, book: str, processes: int, *, into: Path | None = None) -> int:
    """Replay a file into a journal that nobody keeps, and perhaps from there into a file; how many rows."""
    with Journal(None, {}) as journal:
        done = replay(open_source(path), Job(SETS["A"](), _BOOKS[book]()), journal, processes=processes)
        if into is not None:
            write_file(into, journal.rows())
    return sum(done.events.values())


def _apart(path: Path, book: str, processes: int) -> dict[str, float]:
    """Replay a file in a process of its own and measure that."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, path, book, processes))
    child.start()
    theirs.close()
    try:
        found: dict[str, float] = ours.recv()
    finally:
        child.join()
        ours.close()
    return found


def _child(end: Connection, path: Path, book: str, processes: int) -> None:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    _replay(path, book, processes)
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    end.send(
        {
            "wall_s": time.perf_counter() - began_s,
            "cpu_s": time.process_time() - cpu_s,
            "others_cpu_s": others.ru_utime + others.ru_stime,
            "peak_bytes": float(peak_bytes()),
        }
    )
