"""What the candidates for the batch message cost: Arrow IPC, msgpack columns, raw columns.

Run ``python -m hazfence_benchmarks.wire`` (``--json`` for machines). The raw columns measured here
are the real ones of ``hazfence.wire``, checks included; the bare ones are the simplest code that
does the same without checks. Arrow is left out when pyarrow is not installed. ``docs/wire.md`` holds the
numbers by which the format was chosen.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from hazfence.fixes import COLUMNS, FixBatch
from hazfence.wire import Message, decode, encode_columns, encode_fix

__all__ = ["main", "measure"]

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


def _arrow() -> tuple[Callable[[FixBatch], bytes], Callable[[bytes], FixBatch]] | None:
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


def _best_us(call: Callable[[], Any]) -> float:
    """Microseconds of the best of seven runs of 50 ms."""
    best = float("inf")
    for _ in range(7):
        calls, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < 0.05:
            call()
            calls += 1
        best = min(best, spent / calls)
    return best * 1e6


def measure() -> list[dict[str, Any]]:
    """One row a format and size: microseconds to write and read a message, and its bytes."""
    rows: list[dict[str, Any]] = []
    for fixes, vehicles in ((250, 200), (5000, 600)):
        batch = _batch(fixes, vehicles)
        raw_decode: Callable[[bytes], FixBatch] = lambda value: decode([Message(0, 0, value)]).batch  # noqa: E731
        formats: dict[str, tuple[Callable[[FixBatch], bytes], Callable[[bytes], FixBatch]]] = {
            "raw columns": (encode_columns, raw_decode),
            "raw columns, bare": (_bare_encode, _bare_decode),
            "msgpack, bare": (_msgpack_encode, _msgpack_decode),
        }
        if arrow := _arrow():
            formats["arrow ipc, bare"] = arrow
        for name, (write, read) in formats.items():
            value = write(batch)
            back = read(value)
            if back.names() != batch.names() or not np.array_equal(back.lon, batch.lon):
                raise AssertionError(f"{name} does not give back what was written")
            rows.append(
                {
                    "format": name,
                    "fixes": fixes,
                    "write_us": round(_best_us(lambda w=write, b=batch: w(b)), 1),  # type: ignore[misc]
                    "read_us": round(_best_us(lambda r=read, v=value: r(v)), 1),  # type: ignore[misc]
                    "bytes_a_fix": round(len(value) / fixes, 1),
                    "zlib1_bytes_a_fix": round(len(zlib.compress(value, 1)) / fixes, 1),
                }
            )
        many = [Message(i, 0, encode_columns(batch)) for i in range(100)]
        together_us = round(_best_us(lambda m=many: decode(m)) / len(many), 1)  # type: ignore[misc]
        rows.append({"format": "raw columns, 100 messages at once", "fixes": fixes, "read_us": together_us})
    singles = [
        Message(i, 0, encode_fix(v, int(t), float(x), float(y), speed_kmh=54.2, heading_deg=87.0, status=3))
        for i, (v, t, x, y) in enumerate(zip(batch.names(), batch.time_us, batch.lon, batch.lat, strict=True))
    ]
    rows.append(
        {
            "format": "json, one fix a message",
            "fixes": 1,
            "read_us": round(_best_us(lambda: decode(singles)) / len(singles), 2),
            "bytes_a_fix": round(sum(len(m.value or b"") for m in singles) / len(singles), 1),
        }
    )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    as_json = parser.parse_args().json
    rows = measure()
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    heads = ("format", "fixes", "write_us", "read_us", "bytes_a_fix", "zlib1_bytes_a_fix")
    sys.stdout.write("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads) + "\n")
    for row in rows:
        sys.stdout.write("| " + " | ".join(str(row.get(head, "")) for head in heads) + " |\n")


if __name__ == "__main__":
    main()
