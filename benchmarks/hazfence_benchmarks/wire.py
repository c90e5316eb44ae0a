"""What the candidates for the batch message cost: Arrow IPC, msgpack columns, raw columns.

``hazfence bench wire``. The raw columns measured here are the real ones of ``hazfence.wire``, checks
included; those marked "no checks" are the simplest code that does the same without. Arrow is left out, and
said to be, when pyarrow is not installed. ``docs/wire.md`` holds the numbers by which the format was chosen.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import numpy as np

from hazfence.fixes import COLUMNS, FixBatch
from hazfence.wire import Message, decode, encode_columns, encode_fix
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.plan import Plan, interleave

__all__ = ["run"]

_Write = Callable[[FixBatch], bytes]
_Read = Callable[[bytes], FixBatch]
_ARROW = "arrow ipc, no checks"

_HEAD = struct.Struct("<4sBBHIIII")
_SENT = ("vehicle", "time_us", "lon", "lat", "speed_kmh", "heading_deg", "status", "alarm")


def _batch(fixes: int, vehicles: int) -> FixBatch:
    rng = np.random.default_rng(1)
    return FixBatch.of(
        rng.integers(0, vehicles, fixes).astype(np.int32),
        vehicles=[f"浙B{i:05d}" for i in range(vehicles)],
        time_us=1_772_409_600_000_000 + np.sort(rng.integers(0, 10**8, fixes)),
        lon=rng.uniform(121.4, 121.8, fixes),
        lat=rng.uniform(29.8, 30.1, fixes),
        speed_kmh=rng.uniform(0, 90, fixes),
        heading_deg=rng.uniform(0, 360, fixes),
        status=3,
        alarm=1,
    )


def _bare_encode(batch: FixBatch) -> bytes:
    names = "\0".join(batch.vehicles).encode()
    head = _HEAD.pack(b"\x89HZF", 1, 0, 15, len(batch), len(batch.vehicles), len(names), 0)
    return b"".join([head, *(getattr(batch, name).tobytes() for name in _SENT), names])


def _bare_decode(value: bytes) -> FixBatch:
    *_, n, _vehicles, names_bytes, _zero = _HEAD.unpack_from(value)
    columns, position = {}, _HEAD.size
    for name in _SENT:
        columns[name] = np.frombuffer(value, COLUMNS[name], n, position)
        position += columns[name].nbytes
    names = str(value[position : position + names_bytes], "utf-8").split("\0")
    return FixBatch.of(columns.pop("vehicle"), vehicles=names, **columns)


def _msgpack_encode(batch: FixBatch) -> bytes:
    data: dict[str, Any] = {name: getattr(batch, name).tobytes() for name in _SENT}
    return msgspec.msgpack.encode({"datum": "WGS-84", "vehicles": batch.vehicles} | data)


def _msgpack_decode(value: bytes) -> FixBatch:
    data = msgspec.msgpack.decode(value)
    columns = {name: np.frombuffer(data[name], COLUMNS[name]) for name in _SENT}
    return FixBatch.of(columns.pop("vehicle"), vehicles=data["vehicles"], **columns)


def _arrow() -> tuple[_Write, _Read] | None:
    try:
        import pyarrow as pa  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return None

    def encode(batch: FixBatch) -> bytes:
        vehicle = pa.DictionaryArray.from_arrays(pa.array(batch.vehicle), pa.array(batch.vehicles))
        arrays = [vehicle] + [pa.array(getattr(batch, name)) for name in _SENT[1:]]
        table, sink = pa.record_batch(arrays, names=_SENT), io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_batch(table)
        return sink.getvalue()

    def decode(value: bytes) -> FixBatch:
        table = pa.ipc.open_stream(value).read_next_batch()
        vehicle = table.column(0)
        columns = {name: table.column(i).to_numpy() for i, name in enumerate(_SENT) if i}
        return FixBatch.of(vehicle.indices.to_numpy(), vehicles=vehicle.dictionary.to_pylist(), **columns)

    return encode, decode


def run(plan: Plan) -> Iterator[Figure]:
    """Microseconds to write and read a message, and its bytes, for two sizes of message."""
    for fixes, vehicles in ((250, 200), (5000, 600)):
        yield from _sizes(plan, _batch(fixes, vehicles), f"message of {fixes} fixes")
    yield from _singles(plan, _batch(1000, 600))


def _sizes(plan: Plan, batch: FixBatch, workload: str) -> Iterator[Figure]:
    formats: dict[str, tuple[_Write, _Read]] = {
        OURS: (encode_columns, lambda value: decode([Message(0, 0, value)]).batch),
        "raw columns, no checks": (_bare_encode, _bare_decode),
        "msgpack, no checks": (_msgpack_encode, _msgpack_decode),
    }
    about: dict[str, Any] = {"suite": "wire", "workload": workload, "n": len(batch), "better": "less"}
    arrow = _arrow() if plan.wants(_ARROW) else None
    if arrow:
        formats[_ARROW] = arrow
    elif plan.wants(_ARROW):
        yield Figure(**about, what="read", way=_ARROW, unit="us", skipped="pip install pyarrow")
    values = {name: write(batch) for name, (write, _) in formats.items()}
    wrong = dict.fromkeys(formats, 0)
    for name, (_, read) in formats.items():
        back = read(values[name])
        wrong[name] = int(back.names() != batch.names()) + int((back.lon != batch.lon).sum())
    calls = plan.pick(2, 200, 1000) * 250 // len(batch) or 1
    for what in ("write", "read"):
        ways = {
            name: _repeated(partial(write, batch) if what == "write" else partial(read, values[name]), calls)
            for name, (write, read) in formats.items()
        }
        for name, took in interleave(ways, plan.rounds()).items():
            yield Figure(**about, what=what, way=name, unit="us", clock="cpu",
                         values=tuple(t.cpu_s / calls * 1e6 for t in took),
                         checked=len(batch) if what == "read" else 0,
                         wrong=wrong[name] if what == "read" else 0)  # fmt: skip
    for name, value in values.items():
        sizes = {"bytes a fix": len(value), "bytes a fix, zlib 1": len(zlib.compress(value, 1))}
        for what, size in sizes.items():
            yield Figure(**about, what=what, way=name, unit="bytes", values=(size / len(batch),))


def _repeated(work: Callable[[], Any], calls: int) -> Callable[[int], Any]:
    return lambda _: [work() for _ in range(calls)]


def _singles(plan: Plan, batch: FixBatch) -> Iterator[Figure]:
    """One fix a message, as JSON."""
    singles = [
        Message(i, 0, encode_fix(v, int(t), float(x), float(y), speed_kmh=54.2, heading_deg=87.0, status=3))
        for i, (v, t, x, y) in enumerate(zip(batch.names(), batch.time_us, batch.lon, batch.lat, strict=True))
    ]
    took = interleave({OURS: lambda _: decode(singles)}, plan.rounds())[OURS]
    about: dict[str, Any] = {
        "suite": "wire",
        "workload": "one JSON fix a message",
        "way": OURS,
        "better": "less",
    }
    yield Figure(**about, what="read", unit="us", clock="cpu", n=len(singles),
                 values=tuple(t.cpu_s / len(singles) * 1e6 for t in took))  # fmt: skip
    size = sum(len(m.value or b"") for m in singles) / len(singles)
    yield Figure(**about, what="bytes a fix", unit="bytes", values=(size,), n=len(singles))
