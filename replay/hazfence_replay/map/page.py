"""One HTML file with map, list and clock in it, that works without internet.

You are in the map room. The page is ``page.html`` with ``page.css``, ``page.js`` and the data put
into it. Names come from outside (a plate may carry any characters), so the data travel as JSON
whose ``<``, ``>`` and ``&`` are escaped, the script puts every text in by ``textContent``, and a
content security policy lets the browser run this script alone and load nothing. Next room:
``png.py``.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import shapely

from hazfence.events import Kind
from hazfence_fences import Fence
from hazfence_replay.compare import Comparison
from hazfence_replay.ledger import BreachRow
from hazfence_replay.map.layers import Layers, Track, build_layers

__all__ = ["KIND_NAMES", "page_data", "write_html"]

F64 = npt.NDArray[np.float64]

#: What people call the kinds of breach; a kind that is not here is shown by its own name.
KIND_NAMES: Mapping[str, str] = {
    Kind.GATE_BYPASS: "Gate bypass 绕卡",
    Kind.POSSIBLE_BYPASS: "Possible bypass 疑似绕卡",
    Kind.RESTRICTED_ENTRY: "Restricted entry 闯禁",
    Kind.POSSIBLE_ENTRY: "Possible entry 疑似闯禁",
    Kind.OVERSPEED: "Overspeed 超速",
    Kind.OVERSTAY: "Overstay 超时滞留",
}
_UNITS = 1e5
_DETAIL_NAMES: Mapping[str, str] = {
    "limit_kmh": "limit, km/h",
    "max_kmh": "fastest, km/h",
    "max_stay_min": "allowed, min",
    "entered_at": "entered",
    "direction": "direction",
    "nearest_checkpoint": "nearest gate",
    "nearest_checkpoint_m": "away from it, m",
    "certainty": "how certain",
}


def write_html(
    path: str | os.PathLike[str],
    fences: Any,
    tracks: Any = (),
    events: Any = (),
    *,
    roads: Iterable[F64] = (),
    comparison: Comparison | None = None,
    title: str = "hazfence",
    subtitle: str | None = None,
    timezone: str = "Asia/Shanghai",
    max_vertices: int = 180_000,
    view: tuple[float, float, float, float] | None = None,
) -> int:
    """Write a map page.

    Args:
        path: file to write; an existing one is replaced.
        fences, tracks, events, roads, comparison, max_vertices, view: see
            :func:`hazfence_replay.map.layers.build_layers`.
        title, subtitle: shown at the top; the subtitle says date and time zone by default.
        timezone: IANA name of the zone in which times are shown (with the offset it has at the
            start of the data).

    Returns:
        the file's size in bytes.

    Example:
        >>> write_html("map.html", fences, day.fixes, events, roads=day.roads, comparison=result)
        2134567
    """
    layers = build_layers(
        fences,
        tracks,
        events,
        roads=roads,
        comparison=comparison,
        max_vertices=max_vertices,
        view=view,
    )
    parts = resources.files("hazfence_replay.map")
    style = parts.joinpath("page.css").read_text(encoding="utf-8")
    script = parts.joinpath("page.js").read_text(encoding="utf-8")
    fill = {
        "TITLE": html.escape(title),
        "STYLE": style,
        "SCRIPT": script,
        "STYLE_HASH": _csp_hash(style),
        "SCRIPT_HASH": _csp_hash(script),
        "DATA": _inline_json(page_data(layers, title=title, subtitle=subtitle, timezone=timezone)),
    }
    template = parts.joinpath("page.html").read_text(encoding="utf-8")
    # One pass: a title that spells a placeholder is only a title.
    page = re.sub(r"%([A-Z_]+)%", lambda found: fill[found[1]], template)
    raw = page.encode("utf-8")
    Path(path).write_bytes(raw)
    return len(raw)


def page_data(layers: Layers, *, title: str, subtitle: str | None, timezone: str) -> dict[str, Any]:
    """What ``page.js`` reads: plain JSON values, coordinates as integers of 1e-5 degree."""
    zone = ZoneInfo(timezone)
    start = datetime.fromtimestamp(layers.start_s, zone)
    offset = start.utcoffset()
    assert offset is not None
    if subtitle is None:
        has_time = bool(layers.tracks or layers.breaches)
        subtitle = f"{start:%Y-%m-%d}, {timezone}" if has_time else ""
    missed = layers.comparison.missed if layers.comparison is not None else ()
    kinds = sorted({b.kind for b in layers.breaches} | {p.kind for p in missed}, key=_kind_order)
    vehicles = {name: i for i, name in enumerate(layers.vehicles)}
    rows = [_breach(b, kinds, vehicles, layers.comparison, zone) for b in layers.breaches]
    rows += [
        _breach(
            BreachRow("", p.kind, p.vehicle, p.fence_id, p.at_us, p.until_us, p.lon, p.lat, {}),
            kinds,
            vehicles,
            None,
            zone,
        )
        | {"missed": True, "note": p.note}
        for p in missed
    ]
    # A breach may name a vehicle that has no track here; it was added to the dictionary above.
    rows.sort(key=lambda row: (row["s"], row["k"], row["v"]))
    table: list[list[str]] = []
    if layers.comparison is not None:
        table = [list(layers.comparison.HEADER[:6])]
        table += [[r.kind.replace("_", " "), *r.cells()[1:6]] for r in layers.comparison.rows()]
    return {
        "title": title,
        "subtitle": subtitle,
        "facts": _facts(layers),
        "offset": int(offset.total_seconds()),
        "t0": int(layers.start_s),
        "t1": int(np.ceil(layers.end_s)),
        "bounds": [round(v, 6) for v in layers.bounds],
        "kinds": [{"id": kind, "name": KIND_NAMES.get(kind, kind)} for kind in kinds],
        "fences": [_fence(f, layers.visits.get(f.id)) for f in layers.fences],
        "roads": [_deltas(np.asarray(line)) for line in layers.roads],
        "vehicles": list(vehicles),
        "tracks": [[t.vehicle, _track(t, int(layers.start_s))] for t in layers.tracks],
        "breaches": rows,
        "table": table,
    }


def _facts(layers: Layers) -> list[list[str]]:
    facts = []
    if layers.fixes:
        driven = len({t.vehicle for t in layers.tracks})
        facts += [["vehicle" if driven == 1 else "vehicles", f"{driven:,}"], ["fixes", f"{layers.fixes:,}"]]
    if layers.visits:
        facts.append(["visits", f"{sum(layers.visits.values()):,}"])
    facts.append(["breaches", f"{len(layers.breaches):,}"])
    return facts


def _fence(fence: Fence, visits: int | None) -> dict[str, Any]:
    facts = [f"{fence.kind} {fence.id}" if fence.name else str(fence.kind)]
    if fence.speed_limit_kmh is not None:
        facts.append(f"at most {fence.speed_limit_kmh:g} km/h")
    if fence.max_stay_min is not None:
        facts.append(f"stay at most {fence.max_stay_min:g} min")
    if fence.schedule is not None:
        facts.append("in force at certain hours only")
    if visits is not None:
        facts.append(f"{visits:,} visit{'s' if visits != 1 else ''}")
    rings = [
        _deltas(shapely.get_coordinates(ring)[:-1])
        for polygon in shapely.get_parts(fence.geometry)
        for ring in (polygon.exterior, *polygon.interiors)
    ]
    return {
        "id": fence.id,
        "name": fence.name,
        "kind": str(fence.kind),
        "facts": facts,
        "rings": rings,
        "at": [round(v, 6) for v in _label_place(fence)],
    }


def _label_place(fence: Fence) -> tuple[float, float]:
    """Where a fence's name goes: on a corridor's axis, else within the area."""
    if fence.axis is not None:
        place = fence.axis.interpolate(0.45, normalized=True)
    else:
        place = fence.geometry.centroid
        if not fence.geometry.covers(place):
            place = fence.geometry.representative_point()
    return place.x, place.y


def _breach(
    row: BreachRow,
    kinds: list[str],
    vehicles: dict[str, int],
    comparison: Comparison | None,
    zone: ZoneInfo,
) -> dict[str, Any]:
    said: dict[str, Any] = {
        "k": kinds.index(row.kind),
        "v": vehicles.setdefault(row.vehicle, len(vehicles)),
        "f": row.fence_id,
        "s": row.started_us / 1e6,
        "e": None if row.ended_us is None else row.ended_us / 1e6,
        "lon": round(row.lon, 6),
        "lat": round(row.lat, 6),
        "d": [[_DETAIL_NAMES[k], _text(k, v, zone)] for k, v in row.detail.items() if k in _DETAIL_NAMES],
    }
    if comparison is not None:
        planted = next((p for p, b in comparison.pairs if b.id == row.id), None)
        said["planted"] = planted is not None
        if planted is not None:
            said["note"] = planted.note
    return said


def _text(key: str, value: Any, zone: ZoneInfo) -> str:
    if key.endswith("_at"):
        return f"{datetime.fromisoformat(value).astimezone(zone):%Y-%m-%d %H:%M:%S}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _deltas(lonlat: F64) -> list[int]:
    return _flat(np.round(lonlat * _UNITS).astype(np.int64))


def _track(track: Track, start_s: int) -> list[int]:
    whole = np.round(np.column_stack([track.lon * _UNITS, track.lat * _UNITS, track.time_s - start_s]))
    return _flat(whole.astype(np.int64))


def _flat(rows: npt.NDArray[np.int64]) -> list[int]:
    """Each row as its difference to the one before, all in one list: small numbers are short."""
    deltas = rows.copy()
    deltas[1:] -= rows[:-1]
    flat: list[int] = deltas.ravel().tolist()
    return flat


def _kind_order(kind: str) -> tuple[int, str]:
    known = list(KIND_NAMES)
    return (known.index(Kind(kind)) if kind in known else len(known)), kind


def _inline_json(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
