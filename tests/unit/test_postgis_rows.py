"""Binary COPY rows, read back by a slow reader of the format, hold exactly the batch."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from hazfence.fixes import FixBatch
from hazfence.postgis import rows

EPOCH_US = 946_684_800_000_000


def read(data: bytes) -> list[tuple]:
    """Every row as a tuple, read as the manual describes it."""
    found, at = [], 0
    kinds = ["q", "d", "d", "q", "q", "q", "i", "i", "i", "f", "f", "f"]
    while at < len(data):
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        assert count == len(kinds)
        row = []
        for kind in kinds:
            (length,) = struct.unpack_from(">i", data, at)
            at += 4
            if length == -1:
                row.append(None)
                continue
            assert length == struct.calcsize(kind)
            row.append(struct.unpack_from(">" + kind, data, at)[0])
            at += length
        found.append(tuple(row))
    return found


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("n", [0, 1, 7, rows._PIECE + 3])
def test_rows_hold_the_batch(n, said):
    rng = np.random.default_rng(n)
    nan = np.float32("nan")
    batch = FixBatch.of(
        rng.integers(0, 3, n).astype(np.int32),
        vehicles=["a", "b", "c"],
        time_us=rng.integers(-(10**15), 4 * 10**15, n),
        lon=rng.uniform(-180, 180, n),
        lat=rng.uniform(-90, 90, n),
        speed_kmh=np.where(rng.random(n) < 0.3, nan, rng.random(n, np.float32)),
        heading_deg=np.where(rng.random(n) < 0.3, nan, rng.random(n, np.float32)),
        status=rng.integers(0, 2**32, n),
        alarm=rng.integers(0, 2**32, n),
        offset=rng.integers(0, 2**40, n),
        item=rng.integers(0, 1000, n),
        accuracy_m=rng.choice([nan, 4.5, np.inf], n) if said else None,
    )
    codes = np.array([70, 5, 2**31 - 1], np.int32)
    found = read(b"".join(rows.copy_rows(batch, codes, 9)))
    expected = [
        (
            int(batch.time_us[i]) - EPOCH_US, float(batch.lon[i]), float(batch.lat[i]), int(batch.offset[i]),
            int(batch.status[i]), int(batch.alarm[i]), int(codes[batch.vehicle[i]]), 9, int(batch.item[i]),
            0.0 if np.isnan(batch.accuracy()[i]) else float(batch.accuracy()[i]),
            None if np.isnan(batch.speed_kmh[i]) else float(batch.speed_kmh[i]),
            None if np.isnan(batch.heading_deg[i]) else float(batch.heading_deg[i]),
        )
        for i in range(n)
    ]  # fmt: skip
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_rows_of_a_kind_are_in_the_order_of_vehicle_and_time():
    batch = FixBatch.of(["b", "a", "b", "a"], time_us=[4, 3, 2, 1], lon=0.0, lat=0.0)
    found = read(b"".join(rows.copy_rows(batch, np.array([1, 2], np.int32), 1)))
    assert [(row[6], row[0] + EPOCH_US) for row in found] == [(1, 2), (1, 4), (2, 1), (2, 3)]
