"""Sort a stream of fixes by time in bounded memory, with runs on disk.

You are between the readers and the player. Late fixes are no matter as long as they are late by minutes;
a source in no order at all, or ten thousand files of one vehicle each, must be sorted first. Runs of some
million fixes are sorted in memory and written as plain columns to a temporary folder; then they are read
side by side, like files that are each in order (``merge.py``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from hazfence.fixes import COLUMNS, OPTIONAL, FixBatch
from hazfence_replay.readers.merge import in_time_order, sorted_by_time

__all__ = ["by_time"]

#: Fixes a run: about 70 bytes each, three times over while it is sorted.
_RUN_FIXES = 2_000_000
_BATCH_FIXES = 65_536


def by_time(
    batches: Iterable[FixBatch], *, run_fixes: int = _RUN_FIXES, folder: str | Path | None = None
) -> Iterator[FixBatch]:
    """The same fixes, times never going back; those of one moment keep their order.

    Args:
        batches: in any order.
        run_fixes: sorted in memory at a time.
        folder: where the runs go (about 70 bytes a fix); a temporary folder by default.
    """
    with tempfile.TemporaryDirectory(prefix="hazfence-sort-", dir=folder) as place:
        names: dict[str, int] = {}
        runs: list[tuple[Path, int]] = []
        held: list[FixBatch] = []
        count = 0
        for batch in batches:
            held.append(batch)
            count += len(batch)
            if count >= run_fixes:
                runs.append(_write(Path(place) / str(len(runs)), FixBatch.concat(held), names))
                held, count = [], 0
        last = sorted_by_time(FixBatch.concat(held))
        held = []
        known = tuple(names)
        size = max(1_000, _BATCH_FIXES // (len(runs) + 1))
        yield from in_time_order(
            [*(_read(path, n, known, size) for path, n in runs), _cut(last, size)],
        )


def _write(folder: Path, batch: FixBatch, names: dict[str, int]) -> tuple[Path, int]:
    batch = sorted_by_time(batch)
    folder.mkdir()
    codes = np.fromiter(
        (names.setdefault(v, len(names)) for v in batch.vehicles), np.int32, len(batch.vehicles)
    )
    for name in COLUMNS:
        column = codes[batch.vehicle] if name == "vehicle" else getattr(batch, name)
        np.save(folder / f"{name}.npy", column)
    for name in OPTIONAL:
        if (column := getattr(batch, name)) is not None:
            np.save(folder / f"{name}.npy", column)
    return folder, len(batch)


def _read(folder: Path, count: int, names: tuple[str, ...], size: int) -> Iterator[FixBatch]:
    there = [name for name in (*COLUMNS, *OPTIONAL) if (folder / f"{name}.npy").exists()]
    columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in there}
    for start in range(0, count, size):
        cut = {name: np.array(column[start : start + size]) for name, column in columns.items()}
        # Only the names of this batch: a dictionary of all is looked through for every batch.
        codes, which = np.unique(cut.pop("vehicle"), return_inverse=True)
        used = tuple(names[code] for code in codes.tolist())
        yield FixBatch(vehicles=used, vehicle=which.astype(np.int32), **cut)


def _cut(batch: FixBatch, size: int) -> Iterator[FixBatch]:
    for start in range(0, len(batch), size):
        yield batch.take(slice(start, start + size))
