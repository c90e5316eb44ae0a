"""A picture of the place: fences as they were, the vehicle's fixes, and where the fact began and ended.

You are in the explain room. :func:`draw` works out shapes in pixels, which ``page.html.j2`` writes as SVG;
:func:`write_png` draws the same stretch with the map room's matplotlib (extra ``demo``). Next room:
``page.py``.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
import shapely

from hazfence.rules.catalogue import rule_of
from hazfence_fences import FenceKind
from hazfence_replay.explain.derive import Finding
from hazfence_replay.explain.evidence import Evidence

__all__ = ["Dot", "Picture", "Shape", "draw", "view_of", "write_png"]

_WIDTH = 900.0
_METRES_A_DEGREE = 111_320.0
#: At least so much is seen on each side of the place, metres.
_LEAST_M = 250.0
_NEAR = 6


@dataclass(frozen=True, slots=True)
class Shape:
    """A fence's outline as an SVG path, with its name and where that goes."""

    path: str
    kind: str
    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Dot:
    """A fix: where, what it says when pointed at, and whether it belongs to the fact."""

    x: float
    y: float
    says: str
    belongs: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything to draw; pixels, y downwards.

    Attributes:
        width, height: of the drawing.
        shapes: fences, largest first.
        line: the vehicle's way as points of an SVG polyline.
        dots: its fixes.
        marks: (x, y, text) of beginning and end.
        scale_px, scale_text: a bar of a round length.
    """

    width: float
    height: float
    shapes: tuple[Shape, ...]
    line: str
    dots: tuple[Dot, ...]
    marks: tuple[tuple[float, float, str], ...]
    scale_px: float
    scale_text: str


def view_of(evidence: Evidence) -> tuple[float, float, float, float]:
    """West, south, east, north of the place, degrees: the fact's ends and the fixes next to them."""
    event, fixes = evidence.event, evidence.fixes
    places = [(event.lon, event.lat)]
    if event.end_lon is not None and event.end_lat is not None:
        places.append((event.end_lon, event.end_lat))
    for moment in (event.started_us, event.ended_us):
        if moment is not None and len(fixes):
            at = int(np.searchsorted(fixes.time_us, moment))
            near = slice(max(0, at - _NEAR), at + _NEAR)
            places += list(zip(fixes.lon[near].tolist(), fixes.lat[near].tolist(), strict=True))
    lon, lat = np.array(places).T
    squeeze = math.cos(math.radians(event.lat))
    east = max(np.ptp(lon) * 0.15, _LEAST_M / _METRES_A_DEGREE / squeeze)
    north = max(np.ptp(lat) * 0.15, _LEAST_M / _METRES_A_DEGREE)
    return (
        float(lon.min() - east), float(lat.min() - north), float(lon.max() + east), float(lat.max() + north)
    )  # fmt: skip


def draw(evidence: Evidence, finding: Finding) -> Picture:
    """Work out the picture of a fact."""
    event, fixes = evidence.event, evidence.fixes
    west, south, east, north = view_of(evidence)
    squeeze = math.cos(math.radians((south + north) / 2))
    unit = _WIDTH / ((east - west) * squeeze)
    height = min(max((north - south) * unit, 300.0), 900.0)
    middle = (south + north) / 2

    def x(lon: float) -> float:
        return round((lon - west) * squeeze * unit, 1)

    def y(lat: float) -> float:
        return round(height / 2 - (lat - middle) * unit, 1)

    window = (west, middle - height / 2 / unit, east, middle + height / 2 / unit)
    shapes = []
    for fence in sorted(evidence.fences, key=lambda f: -f.geometry.area):
        seen = shapely.clip_by_rect(fence.geometry, *_wider(window))
        if seen.is_empty or seen.area == 0:
            continue
        path = "".join(
            "M" + "L".join(f"{x(lon)},{y(lat)}" for lon, lat in ring.coords) + "Z"
            for part in shapely.get_parts(seen)
            if part.geom_type == "Polygon"
            for ring in (part.exterior, *part.interiors)
        )
        inner = shapely.clip_by_rect(fence.geometry, *window)
        at = (inner if not inner.is_empty else seen).representative_point()
        name = "" if fence.kind is FenceKind.DISTRICT else fence.id
        shapes.append(Shape(path, str(fence.kind), name, x(at.x), y(at.y)))
    mine = [i for i in range(len(fixes)) if _within(window, fixes.lon[i], fixes.lat[i])]
    end_us = event.ended_us if event.ended_us is not None else 2**62
    dots = tuple(
        Dot(
            x(float(fixes.lon[i])),
            y(float(fixes.lat[i])),
            _says(fixes, i),
            event.started_us <= int(fixes.time_us[i]) <= end_us,
        )
        for i in mine
    )
    line = " ".join(f"{x(float(lon))},{y(float(lat))}" for lon, lat in zip(fixes.lon, fixes.lat, strict=True))
    marks = [(x(event.lon), y(event.lat), "A")]
    if event.end_lon is not None and event.end_lat is not None and event.ended_us != event.started_us:
        marks.append((x(event.end_lon), y(event.end_lat), "B"))
    metres = _round_metres((east - west) * squeeze * _METRES_A_DEGREE / 5)
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    single = len(fixes.vehicles) == 1
    scale_px = round(metres / _METRES_A_DEGREE * unit, 1)
    return Picture(
        _WIDTH, round(height, 1), tuple(shapes), line if single else "", dots, tuple(marks), scale_px, text
    )


def write_png(path: str | os.PathLike[str], evidence: Evidence) -> None:
    """Draw the place with matplotlib.

    Raises:
        ValueError: matplotlib is missing.
    """
    try:
        from hazfence_replay.map.png import write_png as draw_png
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"a PNG needs {missing.name}: pip install 'hazfence[demo]'; --html draws the place without it"
        ) from None
    event = evidence.event
    rule = rule_of(str(event.kind))
    chinese = "停留" if rule is None else rule.chinese
    title = " ".join(
        filter(None, (str(event.kind).replace("_", " "), chinese, event.vehicle, event.fence_id))
    )
    draw_png(path, evidence.fences, evidence.fixes, [event], title=title, view=view_of(evidence))


def _says(fixes: object, i: int) -> str:
    from hazfence.events import iso

    time_us, speed = int(fixes.time_us[i]), float(fixes.speed_kmh[i])  # type: ignore[attr-defined]
    return iso(time_us)[:19] + "Z" + ("" if math.isnan(speed) else f", {speed:.0f} km/h")


def _wider(window: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """So that the cut edges of large fences lie outside the picture."""
    west, south, east, north = window
    return west - (east - west), south - (north - south), east + (east - west), north + (north - south)


def _within(window: tuple[float, float, float, float], lon: float, lat: float) -> bool:
    west, south, east, north = window
    return west <= lon <= east and south <= lat <= north


def _round_metres(most: float) -> float:
    step = 10.0 ** math.floor(math.log10(most))
    return max(m for m in (step, 2 * step, 5 * step) if m <= most)
