"""The columnar batch message: exact both ways, and no lie in a header is believed."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from hazfence.fixes import FixBatch
from hazfence.wire import Message, Refusal, Refused, decode, encode_columns
from hazfence.wire.columns import ColumnReader
from hazfence_fences.datum import Datum, from_wgs84

ROOT = Path(__file__).parents[2]


def batch() -> FixBatch:
    return FixBatch.of(
        ["浙B12345", "A", "浙B12345"],
        time_us=[1, 2, 3],
        lon=[121.5, 121.6, 121.7],
        lat=[29.9, 29.8, 29.7],
        speed_kmh=[10.5, float("nan"), 30.0],
        status=[3, 0, 2**32 - 1],
        offset=9,
        item=[0, 1, 2],
        received_us=5,
    )


def read(value: bytes) -> FixBatch:
    reader = ColumnReader()
    reader.add(9, 5, value)
    return reader.batch()


def refusal(value: bytes) -> Refused:
    reader = ColumnReader()
    with pytest.raises(Refused) as caught:
        reader.add(0, 0, value)
    assert len(reader) == 0
    assert reader.batch() == FixBatch.empty()
    return caught.value


def test_round_trip_is_exact() -> None:
    assert read(encode_columns(batch())) == batch()


def test_documented_bytes() -> None:
    """The example of docs/wire.md, byte for byte, so that the document cannot go stale."""
    one = FixBatch.of(
        ["浙B1"], time_us=1772409600000000, lon=[121.5], lat=[29.9], speed_kmh=[54.0], status=[3]
    )
    value = encode_columns(one, Datum.GCJ02)
    assert value.hex(" ", -4) == (
        "89485a46 01020500 01000000 01000000 05000000 00000000 00c09a44 ff4b0600 "
        "00000000 00605e40 66666666 66e63d40 00000000 00005842 03000000 e6b59942 31"
    )
    text = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    for part in ("89 48 5A 46", "00 C0 9A 44 FF 4B 06 00", "E6 B5 99 42 31"):
        assert part in text


def test_columns_of_defaults_are_not_sent() -> None:
    plain = FixBatch.of(["A"] * 100, time_us=0, lon=1.0, lat=2.0)
    assert len(encode_columns(plain)) == 24 + 28 * 100 + 1
    assert read(encode_columns(plain)).speed_kmh.dtype == np.float32


def test_only_used_names_are_sent() -> None:
    part = batch().take(np.array([1]))
    assert read(encode_columns(part)).vehicles == ("A",)


def test_no_fixes_is_a_message_too() -> None:
    assert len(read(encode_columns(FixBatch.empty()))) == 0


def test_many_messages_become_one_batch_in_order() -> None:
    reader = ColumnReader()
    parts = []
    for offset in (3, 4, 5):
        part = FixBatch.of(
            [f"V{offset}", "A"],
            time_us=offset,
            lon=1.0,
            lat=2.0,
            offset=offset,
            item=[0, 1],
            received_us=offset,
        )
        parts.append(part)
        reader.add(offset, offset, encode_columns(part))
    assert reader.batch() == FixBatch.concat(parts)


@pytest.mark.parametrize("datum", [Datum.GCJ02, Datum.BD09])
def test_datum_is_turned_into_wgs84(datum: Datum) -> None:
    lon, lat = from_wgs84([121.7, 121.6], [29.95, 29.9], datum)
    got = read(encode_columns(FixBatch.of(["A", "B"], time_us=0, lon=lon, lat=lat), datum))
    assert np.allclose(got.lon, [121.7, 121.6], atol=1e-9)
    assert np.allclose(got.lat, [29.95, 29.9], atol=1e-9)


def test_datum_of_one_message_does_not_touch_the_next() -> None:
    reader = ColumnReader()
    plain = FixBatch.of(["A"], time_us=0, lon=[121.7], lat=[29.95])
    reader.add(0, 0, encode_columns(plain))
    reader.add(1, 0, encode_columns(plain, Datum.GCJ02))
    reader.add(2, 0, encode_columns(plain))
    lon = reader.batch().lon
    assert lon[0] == lon[2] == 121.7
    assert lon[1] != 121.7


def test_values_that_are_no_place_stay_for_clean_to_name() -> None:
    lon, lat = [0.0, float("nan"), 500.0, 1.0], [0.0, 1.0, 1.0, float("inf")]
    got = read(encode_columns(FixBatch.of(["A"] * 4, time_us=0, lon=lon, lat=lat), Datum.GCJ02))
    assert np.array_equal(got.lon, lon, equal_nan=True)
    assert np.array_equal(got.lat, lat)


def test_every_truncation_is_refused() -> None:
    value = encode_columns(batch())
    for length in range(len(value)):
        assert refusal(value[:length]).reason == Refusal.TRUNCATED, length


def test_bytes_behind_the_end_are_refused() -> None:
    refused = refusal(encode_columns(batch()) + b"x")
    assert refused.reason == Refusal.BAD_BATCH
    assert "send nothing behind the names" in refused.detail


@pytest.mark.parametrize(
    ("at", "put", "reason", "says"),
    [
        (0, b"\x88", Refusal.UNKNOWN_FORMAT, "88 48 5a 46 01"),
        (4, b"\x02", Refusal.UNKNOWN_FORMAT, "version 1"),
        (5, b"\x04", Refusal.UNKNOWN_DATUM, "datum 4; known are 0 WGS-84"),
        (6, b"\xff\xff", Refusal.BAD_BATCH, "column bits"),
        (8, b"\xff\xff\xff\xff", Refusal.TRUNCATED, "the end is missing"),
        (12, b"\xff\xff\xff\xff", Refusal.BAD_BATCH, "4294967295 vehicles"),
        (12, b"\x01", Refusal.BAD_BATCH, "separate names by one zero byte"),
        (16, b"\xff\xff\xff\xff", Refusal.TRUNCATED, "the end is missing"),
        (20, b"\x01", Refusal.BAD_BATCH, "zero in 20-23"),
        (24 + 3 * 24, b"\x09", Refusal.BAD_BATCH, "fix 0 is of vehicle 9, but there are 2 names"),
    ],
)
def test_lies_are_refused(at: int, put: bytes, reason: Refusal, says: str) -> None:
    value = encode_columns(batch())
    refused = refusal(value[:at] + put + value[at + len(put) :])
    assert refused.reason == reason
    assert says in refused.detail


def test_a_lying_header_allocates_nothing() -> None:
    value = struct.pack("<4sBBHIIII", b"\x89HZF", 1, 0, 15, 2**32 - 1, 2**32 - 1, 2**32 - 1, 0)
    tracemalloc.start()
    try:
        refusal(value)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (b"A\0", "name 1 is empty"),
        (b"A\0" + b"x" * 129, "name 1"),
        (b"A\0\xff", "not UTF-8"),
        (b"A\0\xed\xa0\x80", "not UTF-8"),
    ],
)
def test_names_that_cannot_be_kept_are_refused(names: bytes, says: str) -> None:
    head = struct.pack("<4sBBHIIII", b"\x89HZF", 1, 0, 0, 1, 2, len(names), 0)
    refused = refusal(head + struct.pack("<qddI", 0, 1.0, 2.0, 0) + names)
    assert refused.reason == Refusal.BAD_VEHICLE
    assert says in refused.detail


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 129, "\ud800"])
def test_the_writer_refuses_them_too(name: str) -> None:
    with pytest.raises(ValueError, match="vehicle"):
        encode_columns(FixBatch.of([name], time_us=0, lon=1.0, lat=2.0))


def test_a_refused_message_among_others_costs_only_itself() -> None:
    good = encode_columns(FixBatch.of(["A"], time_us=0, lon=1.0, lat=2.0))
    decoded = decode([Message(1, 0, good), Message(2, 0, good[:-2]), Message(3, 0, good)])
    assert decoded.batch.offset.tolist() == [1, 3]
    assert [(r.offset, r.item, r.reason, r.payload) for r in decoded.rejects] == [
        (2, -1, "truncated", good[:-2])
    ]
