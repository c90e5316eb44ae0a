"""One-fix JSON: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from hazfence.fixes import FixBatch
from hazfence.wire import Message, decode, encode_columns, encode_fix
from hazfence.wire.json_fix import fix_as_json
from hazfence_fences.datum import Datum, from_wgs84

GOOD = {
    "vehicle": "浙B12345",
    "time": "2026-03-02T08:00:00+08:00",
    "lon": 121.5,
    "lat": 29.9,
    "speed_kmh": 54.2,
    "heading_deg": 87,
    "status": 3,
    "alarm": 0,
    "datum": "WGS-84",
}


def one(value: bytes | str | dict[str, object]) -> FixBatch:
    if isinstance(value, dict):
        value = json.dumps(value)
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    batch, rejects = decode([Message(7, 8_000, raw)])
    assert rejects == []
    assert len(batch) == 1
    return batch


def refused(value: bytes | str | dict[str, object], **options: int) -> tuple[str, str]:
    if isinstance(value, dict):
        value = json.dumps(value)
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    batch, rejects = decode([Message(7, 8_000, raw)], **options)
    assert len(batch) == 0
    (reject,) = rejects
    assert (reject.offset, reject.item) == (7, -1)
    assert "\n" not in reject.detail
    return reject.reason, reject.detail


def test_the_documented_fix() -> None:
    expected = FixBatch.of(
        ["浙B12345"],
        time_us=1772409600_000_000,
        lon=[121.5],
        lat=[29.9],
        speed_kmh=[54.2],
        heading_deg=[87],
        status=[3],
        offset=[7],
        received_us=[8_000],
    )
    assert one(GOOD) == expected


@pytest.mark.parametrize("extra", [{}, {"speed_kmh": None, "datum": None, "time": None}, {"km": [1]}])
def test_only_four_keys_are_needed(extra: dict[str, object]) -> None:
    batch = one({"vehicle": "A", "time_ms": 1500, "lon": 121, "lat": 29, **extra})
    assert batch.time_us.tolist() == [1_500_000]
    assert math.isnan(batch.speed_kmh[0])
    assert batch.status.tolist() == [0]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_goes_on_to_clean(literal: str) -> None:
    batch = one('{"vehicle":"A","time_ms":0,"lat":1,"lon":' + literal + "}")
    assert not np.isfinite(batch.lon[0])


@pytest.mark.parametrize("lon", [500, 0, -181.5])
def test_what_is_no_place_goes_on_to_clean(lon: float) -> None:
    assert one({**GOOD, "lon": lon}).lon.tolist() == [lon]


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00Z", "2099-12-31T23:59:59+08:00", "0001-01-01T00:00+08"])
def test_what_is_no_plausible_time_goes_on_to_clean(time: str) -> None:
    one({**GOOD, "time": time})


def test_a_byte_order_mark_is_forgiven() -> None:
    one(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        ("{", "bad_json", "character 1"),
        ("hello", "bad_json", "send one JSON object a message"),
        (b'{"vehicle":"\xff"}', "bad_json", "byte 12: not UTF-8"),
        ("[" * 100_000, "bad_json", "send one JSON object"),
        ('{"vehicle":"A","time_ms":%s,"lon":1,"lat":1}' % ("9" * 5000), "bad_json", "digits"),
        ("[1,2]", "wrong_type", "the message is an array"),
        ("null", "wrong_type", "the message is null"),
        ("17", "wrong_type", "the message is a number"),
        (b"\x00\x01", "unknown_format", "byte 0 is 0x0"),
        (b"\x89PNG\r\n\x1a\n", "truncated", "header of 24 bytes"),
        (b"\x89PNG\r\n\x1a\n" * 10, "unknown_format", "89 50 4e 47"),
        (b"", "empty", "no value"),
    ],
)
def test_what_is_no_fix(value: bytes | str, reason: str, says: str) -> None:
    got, detail = refused(value)
    assert got == reason
    assert says in detail


@pytest.mark.parametrize("key", ["vehicle", "lon", "lat"])
def test_missing_keys_are_named(key: str) -> None:
    assert refused({k: v for k, v in GOOD.items() if k != key})[0] == "missing_key"
    assert f"'{key}'" in refused({k: v for k, v in GOOD.items() if k != key})[1]
    assert refused({**GOOD, key: None})[0] == "wrong_type"


def test_one_of_two_times_is_needed() -> None:
    reason, detail = refused({k: v for k, v in GOOD.items() if k != "time"})
    assert reason == "missing_key"
    assert "'time'" in detail
    assert "'time_ms'" in detail


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("vehicle", 5, "key 'vehicle' is a number; send text"),
        ("lon", "121.5", "key 'lon' is text; send a number"),
        ("lat", True, "key 'lat' is true or false; send a number"),
        ("time", 5, "key 'time' is a number"),
        ("time", "yesterday", "key 'time'"),
        ("time", "2026-03-02T08:00:00", "has no offset"),
        ("time_ms", 1.5, "key 'time_ms'"),
        ("speed_kmh", [], "key 'speed_kmh' is an array"),
        ("heading_deg", {}, "key 'heading_deg' is an object"),
        ("status", -1, "key 'status' is -1"),
        ("alarm", 2**32, "key 'alarm' is 4294967296"),
        ("datum", 4, "key 'datum' is a number"),
    ],
)
def test_wrong_types_are_named(key: str, value: object, says: str) -> None:
    reason, detail = refused({**GOOD, key: value})
    assert reason == "wrong_type"
    assert says in detail


@pytest.mark.parametrize("time_ms", [10**15, -(10**15), 10**30])
def test_no_calendar_has_that_time(time_ms: int) -> None:
    reason, detail = refused({**GOOD, "time": None, "time_ms": time_ms})
    assert reason == "wrong_type"
    assert "milliseconds since 1970" in detail


def test_unknown_datum_lists_the_known() -> None:
    reason, detail = refused({**GOOD, "datum": "NAD27"})
    assert reason == "unknown_datum"
    assert "GCJ-02" in detail


@pytest.mark.parametrize("vehicle", ["", "a\0b", "x" * 129, "\ud800"])
def test_vehicles_that_cannot_be_kept(vehicle: str) -> None:
    assert refused({**GOOD, "vehicle": vehicle})[0] == "bad_vehicle"


def test_too_large_is_refused_unread_and_kept_in_part() -> None:
    raw = json.dumps({**GOOD, "note": "x" * 5000}).encode()
    batch, (reject,) = decode([Message(7, 0, raw)], max_message_bytes=1000, max_kept_bytes=100)
    assert len(batch) == 0
    assert reject.reason == "too_large"
    assert reject.payload == raw[:100]
    assert "first 100 of" in reject.detail
    one(raw)


def test_a_tombstone_is_refused() -> None:
    batch, (reject,) = decode([Message(1, 0, None)])
    assert len(batch) == 0
    assert (reject.reason, reject.payload) == ("empty", b"")


@pytest.mark.parametrize("name", ["GCJ-02", "gcj02", "BD-09", "CGCS2000"])
def test_datum_is_turned_into_wgs84(name: str) -> None:
    lon, lat = from_wgs84(121.7, 29.95, Datum.parse(name))
    batch = one({**GOOD, "lon": float(lon), "lat": float(lat), "datum": name})
    assert batch.lon[0] == pytest.approx(121.7, abs=1e-9)
    assert batch.lat[0] == pytest.approx(29.95, abs=1e-9)


def test_both_kinds_share_a_topic_in_order() -> None:
    packed = encode_columns(FixBatch.of(["A", "B"], time_us=[1, 2], lon=1.0, lat=2.0))
    single = encode_fix("B", 3, 1.0, 2.0, status=3)
    batch, rejects = decode(
        [Message(0, 0, single), Message(1, 0, packed), Message(2, 0, b"?"), Message(3, 0, single)]
    )
    assert [r.offset for r in rejects] == [2]
    assert batch.offset.tolist() == [0, 1, 1, 3]
    assert batch.item.tolist() == [0, 0, 1, 0]
    assert batch.names() == ["B", "A", "B", "B"]


def test_nothing_is_a_batch_too() -> None:
    assert len(decode([]).batch) == 0


def test_a_kept_fix_says_what_it_was() -> None:
    batch = FixBatch.of(["A"], time_us=2**62, lon=[float("inf")], lat=[91.0], speed_kmh=[5.0], status=[1])
    assert json.loads(fix_as_json(batch, 0)) == {
        "vehicle": "A", "time_us": 2**62, "lon": "inf", "lat": 91.0, "speed_kmh": 5.0, "status": 1,
        "datum": "WGS-84",
    }  # fmt: skip
