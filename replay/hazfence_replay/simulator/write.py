"""Write a simulated day down, and read its truth back.

You are beside ``day.py``. Fixes go out as one JSON object a line, in the one-fix form that the
worker reads from its topic; the truth as one JSON object a line too, with ISO 8601 times in UTC.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from hazfence.events import from_iso, iso
from hazfence.fixes import FixBatch
from hazfence_replay.simulator.day import Planted, SimulatedDay

__all__ = ["json_lines", "read_truth", "write_jsonl", "write_truth"]

_CHINA = timezone(timedelta(hours=8))


def json_lines(fixes: FixBatch) -> Iterator[str]:
    """Each fix as one line of JSON, without the line's end; times with the offset +08:00."""
    quoted = [json.dumps(name, ensure_ascii=False) for name in fixes.vehicles]
    times, which = np.unique(fixes.time_us, return_inverse=True)
    said = [_local(t) for t in times.tolist()]
    rows = zip(
        fixes.vehicle.tolist(),
        which.tolist(),
        fixes.lon.tolist(),
        fixes.lat.tolist(),
        fixes.speed_kmh.tolist(),
        fixes.heading_deg.tolist(),
        fixes.status.tolist(),
        fixes.alarm.tolist(),
        strict=True,
    )
    for vehicle, time, lon, lat, speed, heading, status, alarm in rows:
        yield (
            f'{{"vehicle":{quoted[vehicle]},"time":"{said[time]}","lon":{lon!r},"lat":{lat!r},'
            f'"speed_kmh":{_number(speed)},"heading_deg":{_number(heading)},"status":{status},"alarm":{alarm}}}'
        )


def write_jsonl(day: SimulatedDay, path: str | os.PathLike[str]) -> int:
    """Write every fix as a line of JSON (UTF-8).

    Returns:
        the number of lines.
    """
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for line in json_lines(day.fixes):
            file.write(line)
            file.write("\n")
    return len(day.fixes)


def write_truth(truth: Iterable[Planted], path: str | os.PathLike[str]) -> None:
    """Write planted breaches as lines of JSON (UTF-8)."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for planted in truth:
            file.write(json.dumps(_to_json(planted), ensure_ascii=False) + "\n")


def read_truth(path: str | os.PathLike[str]) -> tuple[Planted, ...]:
    """Read what :func:`write_truth` wrote.

    Raises:
        ValueError: a line that is not such a row; file and line are named.
    """
    found = []
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                until = row["until"]
                found.append(
                    Planted(
                        kind=row["kind"],
                        vehicle=row["vehicle"],
                        fence_id=row["fence_id"],
                        at_us=from_iso(row["at"]),
                        until_us=None if until is None else from_iso(until),
                        lon=float(row["lon"]),
                        lat=float(row["lat"]),
                        note=row["note"],
                    )
                )
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} line {number}: no row of planted truth: {error!r}") from error
    return tuple(found)


def _to_json(planted: Planted) -> dict[str, Any]:
    return {
        "kind": planted.kind,
        "vehicle": planted.vehicle,
        "fence_id": planted.fence_id,
        "at": iso(planted.at_us),
        "until": None if planted.until_us is None else iso(planted.until_us),
        "lon": planted.lon,
        "lat": planted.lat,
        "note": planted.note,
    }


def _local(time_us: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return moment.astimezone(_CHINA).isoformat()


def _number(value: float) -> str:
    # NaN is no JSON; float32 columns hold one decimal, which must not grow a tail of sixteen.
    return "null" if value != value else repr(round(value, 2))
