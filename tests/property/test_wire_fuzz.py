"""Whatever the bytes are: a batch, or a reject with a reason and a payload; nothing else is lost."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hazfence.fixes import COLUMNS, FixBatch
from hazfence.wire import Message, Refusal, decode, encode_columns, encode_fix
from hazfence.wire.json_fix import _fast, _slow
from hazfence_fences.datum import Datum

PLATES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
INT64 = st.integers(-(2**63), 2**63 - 1)
UINT32 = st.integers(0, 2**32 - 1)


@st.composite
def batches(draw: st.DrawFn) -> FixBatch:
    n = draw(st.integers(0, 8))

    def column(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(values, min_size=n, max_size=n))

    return FixBatch.of(
        column(PLATES),  # type: ignore[arg-type]
        time_us=column(INT64),
        lon=column(ANY_FLOAT),
        lat=column(ANY_FLOAT),
        speed_kmh=column(st.floats(width=32)),
        heading_deg=column(st.floats(width=32)),
        status=column(UINT32),
        alarm=column(UINT32),
        item=range(n),
    )


GOOD = encode_fix("good", 5, 1.0, 2.0)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_FLOAT | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(
    st.sampled_from(
        [
            "vehicle",
            "time",
            "time_ms",
            "lon",
            "lat",
            "speed_kmh",
            "heading_deg",
            "status",
            "alarm",
            "datum",
            "x",
        ]
    ),
    JSON_VALUES | st.sampled_from(["2026-03-02T08:00:00Z", "GCJ-02"]),
).map(lambda d: json.dumps({"vehicle": "A", "time_ms": 1, "lon": 1.0, "lat": 2.0} | d).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good message cut short, lengthened, or with some bits flipped."""
    value = bytearray(draw(batches().map(encode_columns) | OBJECTS))
    for _ in range(draw(st.integers(0, 3))):
        value[draw(st.integers(0, len(value) - 1))] ^= 1 << draw(st.integers(0, 7))
    cut = draw(st.integers(0, len(value)))
    return bytes(value[:cut]) if draw(st.booleans()) else bytes(value) + draw(st.binary(max_size=3))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.binary(max_size=60) | OBJECTS | damaged(), max_size=6))
@example([b"\x89HZF\x01", b"{", b"\xef\xbb\xbf", b"[" * 5000])
def test_whatever_the_bytes_are(values: list[bytes]) -> None:
    """Good messages around the bad ones all arrive; each bad one is accounted for."""
    log = [m for value in values for m in (GOOD, value)] + [GOOD]
    batch, rejects = decode([Message(offset, 0, value) for offset, value in enumerate(log)])
    good = batch.offset % 2 == 0
    assert batch.offset[good].tolist() == list(range(0, len(log), 2))
    assert (np.diff(batch.offset) >= 0).all()
    for offset, value in enumerate(log):
        mine = [r for r in rejects if r.offset == offset]
        if mine:
            (reject,) = mine
            assert reject.payload == value
            assert reject.item == -1
            assert reject.reason in list(Refusal)
            assert reject.detail
            assert "\n" not in reject.detail
            assert not (batch.offset == offset).any()
        else:
            items = batch.item[batch.offset == offset].tolist()
            assert items == list(range(len(items)))
            assert items or value[:1] == b"\x89"  # a batch message of no fixes is none to refuse


@settings(max_examples=200, deadline=None)
@given(batches())
def test_columns_round_trip(batch: FixBatch) -> None:
    decoded = decode([Message(0, 0, encode_columns(batch))])
    assert decoded.rejects == []
    assert decoded.batch == batch


@settings(max_examples=200, deadline=None)
@given(st.lists(batches(), max_size=4), st.sampled_from(list(Datum)))
def test_one_message_or_many_is_the_same(parts: list[FixBatch], datum: Datum) -> None:
    messages = [Message(i, i, encode_columns(part, datum)) for i, part in enumerate(parts)]
    together = decode(messages).batch
    assert together == FixBatch.concat([decode([m]).batch for m in messages])
    assert {n: getattr(together, n).dtype for n in COLUMNS} == dict(COLUMNS)


@settings(max_examples=300, deadline=None)
@given(OBJECTS)
def test_the_slow_way_agrees_with_the_fast(value: bytes) -> None:
    """Whatever the typed decoder takes, the patient one reads alike."""
    try:
        fast = _fast(value)
    except ValueError:
        return
    assert _slow(value) == fast
