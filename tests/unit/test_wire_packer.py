"""The packer: Kafka's own partitions, order kept, nothing waits longer than promised."""

from __future__ import annotations

import numpy as np
import pytest

from hazfence.fixes import FixBatch
from hazfence.wire import Message, decode
from hazfence.wire.packer import Packed, Packer, partition_of

#: From Kafka's own UtilsTest.testMurmur2.
VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "hashed"), VECTORS.items())
def test_partition_is_kafkas(key: str, hashed: int) -> None:
    for partitions in (1, 7, 12):
        assert partition_of(key, partitions) == (hashed & 0x7FFFFFFF) % partitions


def fixes(messages: list[Packed], partition: int) -> FixBatch:
    mine = [Message(i, 0, m.value) for i, m in enumerate(m for m in messages if m.partition == partition)]
    batch, rejects = decode(mine)
    assert rejects == []
    return batch


def test_rows_and_batches_keep_each_vehicles_order() -> None:
    rng = np.random.default_rng(3)
    packer = Packer(4, max_fixes=7, max_delay_s=10)
    out: list[Packed] = []
    sent: list[tuple[str, int]] = []
    for t in range(0, 300, 3):
        names = [f"V{i}" for i in rng.integers(0, 9, 2)]
        out += packer.add_batch(FixBatch.of(names, time_us=[t, t + 1], lon=1.0, lat=2.0), now_s=0.0)
        out += packer.add("V3", t + 2, 1.0, 2.0, now_s=0.0)
        sent += [(names[0], t), (names[1], t + 1), ("V3", t + 2)]
    out += packer.flush()
    assert packer.due_s is None
    assert all(m.fixes <= 7 for m in out)
    assert sum(m.fixes for m in out) == len(sent)
    for partition in range(4):
        batch = fixes(out, partition)
        got = list(zip(batch.names(), batch.time_us.tolist(), strict=True))
        assert got == [s for s in sent if partition_of(s[0], 4) == partition]


def test_nothing_waits_longer_than_promised() -> None:
    packer = Packer(1, max_delay_s=0.05)
    assert packer.due_s is None
    packer.add("A", 0, 1.0, 2.0, now_s=100.0)
    packer.add("A", 1, 1.0, 2.0, now_s=100.04)
    assert packer.due_s == pytest.approx(100.05)
    assert packer.flush_due(100.049) == []
    (message,) = packer.flush_due(100.05)
    assert message.fixes == 2
    assert packer.flush_due(200.0) == []


def test_a_big_batch_is_cut() -> None:
    packer = Packer(1, max_fixes=100)
    out = packer.add_batch(FixBatch.of(["A"] * 250, time_us=range(250), lon=1.0, lat=2.0), now_s=0.0)
    assert [m.fixes for m in out] == [100, 100]
    assert [m.fixes for m in packer.flush()] == [50]


@pytest.mark.parametrize(("partitions", "max_fixes"), [(0, 1), (1, 0)])
def test_senseless_settings_are_refused(partitions: int, max_fixes: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Packer(partitions, max_fixes=max_fixes)


def test_a_name_that_cannot_be_sent_is_refused_at_once() -> None:
    packer = Packer(1)
    with pytest.raises(ValueError, match="vehicle is empty"):
        packer.add("", 0, 1.0, 2.0, now_s=0.0)
    assert packer.flush() == []
