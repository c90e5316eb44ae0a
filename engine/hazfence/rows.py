"""Events as rows: plain values that tables, files and other processes take as they are.

You are in the core, beside ``events.py``. An :class:`~hazfence.events.Event` is what programs talk about; a
host that stores many of them wants their values, and details as the JSON text they are stored as.
:func:`row_of` and :func:`event_of` go from one to the other. Most events arise in columns, and
``steprows.py`` writes those as rows without making events of them: a fifth of the work.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.events import Event, Kind, Phase, Severity, iso

__all__ = ["Row", "event_of", "isos", "last_rows", "row_of", "text_of"]

#: JSON with names in their own letters, as everything that is stored or shown has them.
text_of = json.JSONEncoder(ensure_ascii=False).encode

_MINUTE_US = 60_000_000


class Row(NamedTuple):
    """One revision of one fact, as plain values.

    Attributes:
        id, revision, phase, kind, vehicle, fence_id, fence_version, started_us, ended_us, lon, lat, end_lon,
            end_lat, severity: as in :class:`hazfence.Event`; words instead of members of enums.
        detail: the event's detail as JSON, names in their own letters.
    """

    id: str
    revision: int
    phase: str
    kind: str
    vehicle: str
    fence_id: str | None
    fence_version: int | None
    started_us: int
    ended_us: int | None
    lon: float
    lat: float
    end_lon: float | None
    end_lat: float | None
    severity: str
    detail: str


def row_of(event: Event) -> Row:
    """An event as a row.

    Example:
        >>> from hazfence import Engine, FixBatch
        >>> from hazfence_fences import load_fences
        >>> batch = FixBatch.of(["浙B12345"], time_us=[1_767_225_600_000_000], lon=[121.61], lat=[29.98])
        >>> [event] = Engine(load_fences("fences/zhenhai")).process(batch)
        >>> row_of(event)[2:6]
        ('opened', 'visit', '浙B12345', 'zhenhai')
    """
    return Row(
        event.id,
        event.revision,
        event.phase._value_,
        event.kind._value_,
        event.vehicle,
        event.fence_id,
        event.fence_version,
        event.started_us,
        event.ended_us,
        event.lon,
        event.lat,
        event.end_lon,
        event.end_lat,
        event.severity._value_,
        text_of(dict(event.detail)),
    )


def event_of(row: Row) -> Event:
    """The event that a row is of; its detail is what JSON gives back.

    Raises:
        ValueError: a word that is no kind, phase or severity, or a detail that is no JSON.
    """
    return Event(
        id=row.id,
        kind=Kind(row.kind),
        vehicle=row.vehicle,
        fence_id=row.fence_id,
        fence_version=row.fence_version,
        revision=row.revision,
        phase=Phase(row.phase),
        started_us=row.started_us,
        ended_us=row.ended_us,
        lon=row.lon,
        lat=row.lat,
        end_lon=row.end_lon,
        end_lat=row.end_lat,
        severity=Severity(row.severity),
        detail=json.loads(row.detail),
    )


def last_rows(events: Iterable[Event]) -> list[Row]:
    """Of each fact among the events the last revision, as rows."""
    last: dict[str, Event] = {}
    for event in events:
        known = last.get(event.id)
        if known is None or event.revision > known.revision:
            last[event.id] = event
    return [row_of(event) for event in last.values()]


def isos(times_us: npt.NDArray[np.int64] | Sequence[int]) -> list[str]:
    """Many moments as :func:`hazfence.events.iso` says one.

    Args:
        times_us: int64, shape (n,), microseconds UTC.

    Example:
        >>> isos([0, 61_000_001])
        ['1970-01-01T00:00:00.000000Z', '1970-01-01T00:01:01.000001Z']
    """
    minute, rest_us = np.divmod(np.asarray(times_us, np.int64), _MINUTE_US)
    second, micro = np.divmod(rest_us, 1_000_000)
    known, which = np.unique(minute, return_inverse=True)
    begins = [iso(m * _MINUTE_US)[:17] for m in known.tolist()]
    return [
        f"{begins[i]}{s:02d}.{u:06d}Z"
        for i, s, u in zip(which.tolist(), second.tolist(), micro.tolist(), strict=True)
    ]
