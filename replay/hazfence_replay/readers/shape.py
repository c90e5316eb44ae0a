"""Which column of a table is what: by its name in English, Chinese or pinyin, or as told.

You are beside the readers of tables (``delimited.py``, ``arrow.py``) and of features (``geojson.py``).
Platforms export plates as 车牌号, devices as ``device_id``, taxis as ``CLBH``; a name that is known is
taken, what is not known is told with ``--column vehicle=...``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hazfence_replay.readers.options import FIELDS
from hazfence_replay.readers.rejects import TrackError

__all__ = ["KNOWN", "Shape", "shape_of"]

#: Names of columns by field, without case, blanks, ``_`` and ``-``; the first that is there is taken.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "vehicle": (
        *("vehicle", "vehicleid", "vehicleno", "plate", "plateno", "platenumber", "licenseplate", "carno"),
        *("carid", "busid", "taxiid", "truckid", "deviceid", "device", "terminalid", "terminal", "simno"),
        *("imei", "mmsi", "trackid", "trajectoryid", "trajid", "tid", "uid", "userid", "id", "name"),
        *("车牌号", "车牌号码", "车牌", "号牌号码", "车号", "车辆编号", "车辆号", "车辆", "终端号", "终端id"),
        *("终端手机号", "设备号", "设备编号", "设备id", "clbh", "cph", "cphm", "hphm"),
    ),
    "time": (
        *("time", "timestamp", "datetime", "gpstime", "gpsdatetime", "fixtime", "devicetime", "recordedat"),
        *("recordtime", "positiontime", "loctime", "uploadtime", "reporttime", "utc", "utctime", "timeutc"),
        *("timems", "timeus", "times", "epoch", "epochms", "unixtime", "ts", "t", "when"),
        *(
            "定位时间",
            "gps时间",
            "卫星时间",
            "上报时间",
            "采集时间",
            "记录时间",
            "时间",
            "日期时间",
            "时间戳",
            "dwsj",
        ),
    ),
    "date": ("date", "gpsdate", "日期"),
    "lon": ("lon", "lng", "long", "longitude", "lonwgs84", "gpslon", "gpslng", "x", "经度", "jd"),
    "lat": ("lat", "latitude", "latwgs84", "gpslat", "y", "纬度", "wd"),
    "speed_kmh": (
        *("speedkmh", "speedkph", "kmh", "speed(km/h)", "speed(kmh)", "velocity(km/h)", "speed", "velocity"),
        *(
            "gpsspeed",
            "速度(km/h)",
            "速度(公里/小时)",
            "gps速度",
            "卫星速度",
            "速度",
            "车速",
            "行驶速度",
            "sudu",
        ),
    ),
    "speed_mps": ("speedmps", "speedms", "speed(m/s)", "velocity(m/s)", "速度(m/s)", "速度(米/秒)"),
    "heading_deg": (
        *("headingdeg", "heading", "course", "direction", "bearing", "azimuth", "angle", "head", "cog"),
        *("方向", "方向角", "航向", "航向角", "方位角", "方位"),
    ),
    "status": ("status", "statusbits", "状态位", "状态"),
    "alarm": ("alarm", "alarmbits", "报警位", "报警标志", "报警"),
    "accuracy_m": ("accuracym", "accuracy", "hacc", "horizontalaccuracy", "精度", "定位精度"),
    "hdop": ("hdop", "水平精度因子"),
    "satellites": ("satellites", "satellite", "sats", "sat", "nsat", "satnum", "卫星数", "定位卫星数"),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Which column of a table is what.

    Attributes:
        names: of the columns.
        at: place of each field's column, from 0; fields without a column are missing.
        header: whether the first row holds names.
    """

    names: tuple[str, ...]
    at: Mapping[str, int]
    header: bool = True


def shape_of(
    names: Sequence[str],
    told: Mapping[str, str],
    source: str,
    *,
    needs: Sequence[str] = ("time", "lon", "lat"),
) -> Shape:
    """The shape of a table with these names in its first row.

    Args:
        names: cells of the first row, or names of the columns.
        told: fields to names or to numbers from 1, as in :class:`ReadOptions`.
        source: for messages.
        needs: fields that must have a column.

    Raises:
        TrackError: a column that was told of is not there, or one that is needed cannot be found.

    Example:
        >>> shape_of(["车牌号", "定位时间", "经度", "纬度"], {}, "day.csv").at
        {'vehicle': 0, 'time': 1, 'lon': 2, 'lat': 3}
    """
    squeezed = [_squeeze(name) for name in names]
    at: dict[str, int] = {}
    numbered = False
    for field in FIELDS:
        if field in told:
            at[field], by_number = _told(field, told[field], names, squeezed, source)
            numbered |= by_number
        else:
            place = next((squeezed.index(name) for name in KNOWN[field] if name in squeezed), None)
            if place is not None:
                at[field] = place
    if missing := [field for field in needs if field not in at]:
        seen = ", ".join(repr(name) for name in names[:20])
        raise TrackError(
            f"{source}: no column for {missing[0]} among {seen}: name it, e.g. --column {missing[0]}=NAME "
            "(or its number from 1)"
        )
    if "speed_mps" in at and "speed_kmh" in at:
        # A name with its unit is surer than a bare one.
        bare = squeezed[at["speed_kmh"]] in ("speed", "velocity", "速度", "车速") and "speed_kmh" not in told
        at.pop("speed_kmh" if bare else "speed_mps")
    at.pop("date" if at.get("date") == at.get("time") else "", None)
    header = not numbered or any(s in KNOWN[f] for f in KNOWN for s in squeezed)
    return Shape(tuple(names), at, header)


def _told(
    field: str, said: str, names: Sequence[str], squeezed: Sequence[str], source: str
) -> tuple[int, bool]:
    if said in names:
        return list(names).index(said), False
    if said.isdigit() and 1 <= int(said) <= len(names):
        return int(said) - 1, True
    if (name := _squeeze(said)) in squeezed:
        return squeezed.index(name), False
    seen = ", ".join(repr(name) for name in names[:20])
    raise TrackError(f"{source}: there is no column {said!r} for {field}; there are {seen}")


def _squeeze(name: str) -> str:
    return re.sub(r"[\s_\-]", "", name).lower().replace("（", "(").replace("）", ")")
