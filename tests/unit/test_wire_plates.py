"""Plate reads as messages: what is read, what is refused, and that nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazfence import EngineSettings
from hazfence.rules.plates import PlateRead
from hazfence.wire import Message
from hazfence.wire.plates import decode_reads, encode_read

NOW_US = 1_772_409_600_000_000
GATES = {"cp-1", "cp-2"}


def decode(*values: bytes | None) -> tuple[list[PlateRead], list[tuple[int, str, str]]]:
    messages = [Message(i, NOW_US, value) for i, value in enumerate(values)]
    reads, rejects = decode_reads(
        messages, GATES, EngineSettings(), max_message_bytes=1000, max_kept_bytes=10
    )
    return reads, [(reject.offset, reject.reason, reject.detail) for reject in rejects]


def test_what_is_written_is_read() -> None:
    read = PlateRead("浙B·12345", "cp-1", NOW_US)
    assert decode(encode_read(read)) == ([read], [])
    given_ms = b'{"plate": "A", "checkpoint": "cp-2", "time_ms": 1772409600000, "lane": 3}'
    assert decode(given_ms) == ([PlateRead("A", "cp-2", NOW_US)], [])


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (None, "empty", "send a plate read"),
        (b"x" * 1001, "too_large", "1001 bytes; at most 1000 are read"),
        (b"{", "bad_json", "send one JSON object"),
        (b"\xff", "bad_json", "send one JSON object"),
        (b"[]", "wrong_type", "send plate, checkpoint and time"),
        (b'{"checkpoint":"cp-1","time_ms":1}', "missing_key", "plate"),
        (b'{"plate":"A","checkpoint":"cp-1"}', "missing_key", "key 'time'"),
        (b'{"plate":"A","checkpoint":"cp-1","time":"08:00"}', "wrong_type", "key 'time'"),
        (b'{"plate":"A","checkpoint":"cp-1","time":"2026-03-02T08:00:00"}', "wrong_type", "offset"),
        (b'{"plate":"","checkpoint":"cp-1","time_ms":1}', "bad_vehicle", "empty"),
        (b'{"plate":" - ","checkpoint":"cp-1","time_ms":1}', "bad_vehicle", "no letter or digit"),
        (b'{"plate":"a\\u0000","checkpoint":"cp-1","time_ms":1}', "bad_vehicle", "NUL"),
        (b'{"plate":"A","checkpoint":"cp-3","time_ms":1}', "unknown_checkpoint", "known are cp-1, cp-2"),
        (b'{"plate":"A","checkpoint":"cp-1","time_ms":1}', "bad_time", "too old: set the camera's clock"),
        (b'{"plate":"A","checkpoint":"cp-1","time_ms":1772409960000}', "bad_time", "lies in the future"),
        (b'{"plate":"A","checkpoint":"cp-1","time_ms":9e18}', "wrong_type", "time_ms"),
        (b'{"plate":"A","checkpoint":"cp-1","time_ms":999999999999999999}', "bad_time", "future"),
    ],
)
def test_what_cannot_be_used_is_refused_and_the_others_are_read(value: bytes, reason: str, told: str) -> None:
    good = encode_read(PlateRead("A", "cp-1", NOW_US))
    reads, refused = decode(value, good)
    assert reads == [PlateRead("A", "cp-1", NOW_US)]
    ((offset, why, detail),) = refused
    assert (offset, why) == (0, reason)
    assert told in detail


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_raise(value: bytes) -> None:
    reads, refused = decode(value)
    assert len(reads) + len(refused) == 1
