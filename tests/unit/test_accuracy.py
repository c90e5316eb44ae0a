"""How good positions are: from what is sent or read to the fix that is set aside."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hazfence import Engine, EngineSettings, FixBatch, Reason
from hazfence.accuracy import accuracy_m, accuracy_of
from hazfence.wire import Message, decode, encode_columns
from hazfence.wire.json_fix import fix_as_json
from hazfence.wire.packer import Packer
from hazfence_replay.readers import open_track
from hazfence_replay.readers.sorting import by_time

from ..property.world import START_US, WORLD, at

LON, LAT = at(5, 5)
SAID = [
    ({}, math.nan),
    ({"accuracy_m": 7.5}, 7.5),
    ({"hdop": 1.5}, 15.0),
    ({"hdop": 12.0, "satellites": 5}, 120.0),
    ({"accuracy_m": 7.5, "hdop": 12.0}, 7.5),
    ({"satellites": 3, "hdop": 1.0}, math.inf),
    ({"satellites": 9}, math.nan),
    ({"satellites": 0, "hdop": 0}, math.nan),
    ({"accuracy_m": -1, "hdop": 2}, 20.0),
]
WANTED = [metres for _, metres in SAID]


def same(found: object) -> bool:
    return np.array_equal(np.asarray(found, np.float32), np.array(WANTED, np.float32), equal_nan=True)


def rows() -> list[dict[str, object]]:
    fix = {"vehicle": "A", "lon": LON, "lat": LAT}
    return [{**fix, "time_ms": START_US // 1000 + i * 30_000, **said} for i, (said, _) in enumerate(SAID)]


def test_numbers_and_columns_say_the_same() -> None:
    assert same([accuracy_of(**said) for said, _ in SAID])
    columns = {
        name: np.array([said.get(name, math.nan) for said, _ in SAID])
        for name in ("accuracy_m", "hdop", "satellites")
    }
    assert same(accuracy_m(columns, len(SAID)))
    assert accuracy_m({}, 3) is None


def test_what_is_sent_as_json_arrives_and_what_is_too_bad_is_set_aside_by_name() -> None:
    batch, rejects = decode(Message(i, 0, json.dumps(row).encode()) for i, row in enumerate(rows()))
    assert not rejects
    assert batch.accuracy_m is not None
    assert same(batch.accuracy_m)
    bad = [i for i, metres in enumerate(WANTED) if metres > 100.0]
    outcome = Engine(WORLD).process(batch)
    assert np.flatnonzero(outcome.reason == Reason.INACCURATE).tolist() == bad == [3, 5]
    assert outcome.counts() == {"inaccurate": 2}
    letters = [json.loads(fix_as_json(batch, i)) for i in bad]
    again, _ = decode(Message(i, 0, json.dumps(letter).encode()) for i, letter in enumerate(letters))
    assert Engine(WORLD).process(again).counts() == {"inaccurate": 2}  # a letter keeps why
    anything = EngineSettings(max_accuracy_m=0.0)
    assert Engine(WORLD, anything).process(batch).accepted.all()


def test_where_nobody_says_anything_there_is_no_column() -> None:
    batch, _ = decode([Message(0, 0, json.dumps(rows()[0]).encode())])
    assert batch.accuracy_m is None
    plain = FixBatch.of(["A"], time_us=[0], lon=[LON], lat=[LAT])
    assert decode([Message(0, 0, encode_columns(plain))]).batch.accuracy_m is None
    assert plain.take(slice(0, 1)).accuracy_m is FixBatch.concat([plain, plain]).accuracy_m is None


def test_messages_of_columns_with_and_without_it_are_one_batch() -> None:
    plain = FixBatch.of(["A", "B"], time_us=[0, 1], lon=LON, lat=LAT)
    said = FixBatch.of(["C"], time_us=[2], lon=LON, lat=LAT, accuracy_m=[30.0])
    empty = FixBatch.empty()
    batch = decode(Message(i, 0, encode_columns(b)) for i, b in enumerate((plain, said, empty, plain))).batch
    joined = FixBatch.concat([plain, said, plain])
    for found in (batch, joined):
        assert found.names() == ["A", "B", "C", "A", "B"]
        wanted = [math.nan, math.nan, 30.0, math.nan, math.nan]
        assert np.array_equal(found.accuracy(), wanted, equal_nan=True)
    packer = Packer(1, max_fixes=10)
    packer.add("A", 0, LON, LAT, now_s=0.0)
    packer.add("A", 1, LON, LAT, now_s=0.0, accuracy_m=30.0)
    [packed] = packer.flush()
    assert np.array_equal(
        decode([Message(0, 0, packed.value)]).batch.accuracy(), [math.nan, 30.0], equal_nan=True
    )


def test_a_column_of_another_length_or_kind_is_refused() -> None:
    plain = FixBatch.of(["A", "B"], time_us=[0, 1], lon=LON, lat=LAT)
    with pytest.raises(ValueError, match="accuracy_m"):
        FixBatch(
            **{n: getattr(plain, n) for n in FixBatch.__slots__} | {"accuracy_m": np.zeros(1, np.float32)}
        )
    with pytest.raises(TypeError, match="accuracy_m"):
        FixBatch(**{n: getattr(plain, n) for n in FixBatch.__slots__} | {"accuracy_m": np.zeros(2)})


@pytest.mark.parametrize("form", ["csv", "odd.csv", "parquet", "jsonl"])
def test_tables_are_read_alike(form: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / f"day.{form}"
    names = ["vehicle", "time_ms", "lon", "lat", "accuracy_m", "hdop", "satellites"]
    table = rows()
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist([{n: row.get(n) for n in names} for row in table]), path)
    elif form == "jsonl":
        path.write_text("\n".join(map(json.dumps, table)))
    else:
        out = io.StringIO()
        out.write(",".join(names).replace("time_ms", "time") + "\n")
        for row in table:
            out.write(
                ",".join(str(row.get(n, "GPS?" if form == "odd.csv" and n == "hdop" else "")) for n in names)
                + "\n"
            )
        path.write_text(out.getvalue())
    columns = {"time": "time_ms"} if form == "parquet" else {}
    assert same(FixBatch.concat(open_track(path, columns=columns)).accuracy())


def test_what_is_sorted_on_disk_keeps_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    plain = FixBatch.of(["A", "B"], time_us=[9, 1], lon=LON, lat=LAT)
    said = FixBatch.of(["C"], time_us=[2], lon=LON, lat=LAT, accuracy_m=[30.0])
    found = FixBatch.concat(by_time([plain, said], folder=tmp_path, run_fixes=1))
    assert found.time_us.tolist() == [1, 2, 9]
    assert np.array_equal(found.accuracy(), [math.nan, 30.0, math.nan], equal_nan=True)
