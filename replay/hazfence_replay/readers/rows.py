"""Fixes collected one by one: for formats that are no tables, and for rows that a table's reader refused.

You are below the readers. :class:`Rows` checks each value, keeps what is a fix and sets aside what is none,
with line and reason.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hazfence.accuracy import accuracy_of
from hazfence.fixes import FixBatch
from hazfence_fences.datum import Datum, to_wgs84
from hazfence_replay.readers.rejects import Reject, Rejects
from hazfence_replay.readers.times import NoZone, TimeReader

__all__ = ["Rows", "told"]

_KMH_A_MPS = 3.6


class Rows:
    """Collects fixes until :meth:`batch` is called, over and over.

    Args:
        source: the file, for rejects.
        rejects: where broken rows go.
        times: reads the times.
        datum: of the coordinates.
    """

    def __init__(self, source: str, rejects: Rejects, times: TimeReader, datum: Datum) -> None:
        self._source, self._rejects, self._times, self._datum = source, rejects, times, datum
        self._clear()

    def _clear(self) -> None:
        self._names: dict[str, int] = {}
        self._codes, self._items = array("i"), array("i")
        self._time_us, self._lines = array("q"), array("q")
        self._lon, self._lat, self._speed, self._heading = (array("d") for _ in range(4))
        self._status, self._alarm = array("q"), array("q")
        self._accuracy = array("d")

    def __len__(self) -> int:
        return len(self._codes)

    def add(
        self, line: int, vehicle: str, cells: Mapping[str, Any], where: str | Callable[[], str], item: int = 0
    ) -> None:
        """Keep a fix, or set the row aside.

        Args:
            line: in the file, from 1.
            vehicle: its name; an empty one sets the row aside.
            cells: ``time``, ``lon``, ``lat`` and what else there is, as text or numbers, by the names of
                :data:`FIELDS`.
            where: what the row says, or where it is; for the reject, and asked for only then.
            item: place of the fix in what the line holds.

        Raises:
            NoZone: the first local time, and no zone was given: then no row of the file can be read.
        """
        try:
            lon, lat = _coordinate(cells.get("lon"), 180.0), _coordinate(cells.get("lat"), 90.0)
            if lon is None or lat is None:
                self.lose(line, "bad_coordinate", _NO_PLACE, where)
                return
            if not vehicle:
                self.lose(line, "no_vehicle", "the row names no vehicle", where)
                return
            time = cells.get("time")
            if time is None or time == "":
                self.lose(line, "no_time", "the row has no time", where)
                return
            try:
                time_us = self._times.read(time) if isinstance(time, str) else self._times.of_number(time)
                if not -(2**62) < time_us < 2**62:
                    raise ValueError(f"{time!r} is outside the calendar")
            except NoZone:
                raise
            except (ValueError, TypeError, OverflowError) as error:
                self.lose(line, "bad_time", str(error), where)
                return
            mps = _number(cells.get("speed_mps"))
            speed = _number(cells.get("speed_kmh")) if math.isnan(mps) else mps * _KMH_A_MPS
            heading = _number(cells.get("heading_deg"))
            accuracy = accuracy_of(*map(told, map(cells.get, ("accuracy_m", "hdop", "satellites"))))
            status, alarm = _bits(cells.get("status")), _bits(cells.get("alarm"))
        except _BadNumber as error:
            self.lose(line, "bad_number", str(error), where)
            return
        self._codes.append(self._names.setdefault(vehicle, len(self._names)))
        self._time_us.append(time_us)
        self._lon.append(lon)
        self._lat.append(lat)
        self._speed.append(speed)
        self._heading.append(heading)
        self._status.append(status)
        self._alarm.append(alarm)
        self._accuracy.append(accuracy)
        self._lines.append(line)
        self._items.append(item)

    def lose(self, line: int, reason: str, detail: str, where: str | Callable[[], str]) -> None:
        """Set a row aside."""
        said = where if isinstance(where, str) else where()
        shown = said if len(said) <= 200 else said[:199] + "…"
        self._rejects.add(Reject(self._source, line, reason, f"{detail}: {shown}" if shown else detail))

    def batch(self) -> FixBatch:
        """The fixes since the last call; ``offset`` is their line."""
        lon, lat = to_wgs84(np.array(self._lon), np.array(self._lat), self._datum)
        batch = FixBatch.of(
            np.array(self._codes, np.int32),
            vehicles=tuple(self._names),
            time_us=np.array(self._time_us),
            lon=lon,
            lat=lat,
            speed_kmh=np.array(self._speed),
            heading_deg=np.array(self._heading),
            status=np.array(self._status).astype(np.uint32),
            alarm=np.array(self._alarm).astype(np.uint32),
            offset=np.array(self._lines),
            item=np.array(self._items, np.int32),
            accuracy_m=None if np.isnan(self._accuracy).all() else np.array(self._accuracy),
        )
        self._clear()
        return batch


class _BadNumber(ValueError):
    pass


def told(cell: Any) -> float:
    """A number that no fix is lost for; NaN for a word that is none."""
    try:
        return _number(cell)
    except _BadNumber:
        return math.nan


_NO_PLACE = "lon must be in -180..180 and lat in -90..90 degrees"
_NOTHING = frozenset({"", "null", "none", "nan", "na", "n/a", "-", "\\n"})


def _coordinate(said: Any, bound: float) -> float | None:
    try:
        value = float(said)
    except (TypeError, ValueError):
        return None
    return value if -bound <= value <= bound else None


def _number(said: Any) -> float:
    """NaN where a device says nothing or what cannot be (a negative speed)."""
    if said is None or isinstance(said, bool) or (isinstance(said, str) and said.strip().lower() in _NOTHING):
        return math.nan
    try:
        value = float(said)
    except (TypeError, ValueError):
        raise _BadNumber(f"{said!r} is no number") from None
    return value if 0 <= value < 1e6 else math.nan


def _bits(said: Any) -> int:
    if said is None or (isinstance(said, str) and said.strip().lower() in _NOTHING):
        return 0
    try:
        # Some platforms show the 32 bits as a signed number, some as 0x...
        value = int(said, 0) if isinstance(said, str) and "x" in said.lower() else int(said)
    except (TypeError, ValueError, OverflowError):
        raise _BadNumber(f"{said!r} are no 32 bits") from None
    return value & 0xFFFFFFFF
