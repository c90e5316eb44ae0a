"""The same map as a PNG, drawn with matplotlib (extra ``demo``), for reports and terminals.

You are in the map room, the last of it. Drawing needs no screen: the figure is rendered to the
file by the Agg backend without touching pyplot or anybody's global settings. Chinese names are
shown where the machine has a font for them; elsewhere ids stand in for them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import shapely
from matplotlib import font_manager, patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.path import Path as Outline

from hazfence_fences import Fence, FenceKind
from hazfence_replay.compare import Comparison
from hazfence_replay.map.layers import Layers, build_layers

__all__ = ["write_png"]

F64 = npt.NDArray[np.float64]

_DPI = 160
#: Height of the strip with the title, inches.
_HEAD = 0.72
#: Fonts with Chinese characters, as they are called on Linux, macOS and Windows.
_CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Heiti SC",
    "Microsoft YaHei",
    "SimHei",
    "Droid Sans Fallback",
)
_MARKS: dict[str, tuple[str, str, float]] = {
    "gate_bypass": ("^", "#d1334a", 74.0),
    "possible_bypass": ("v", "#e58a98", 60.0),
    "restricted_entry": ("D", "#7a3fd0", 50.0),
    "possible_entry": ("d", "#b79ae6", 50.0),
    "overspeed": ("o", "#e8830c", 58.0),
    "overstay": ("s", "#0b7f8e", 52.0),
}
_OTHER_MARK = ("h", "#3d6bb3", 66.0)
_LOOK: dict[FenceKind, dict[str, Any]] = {
    FenceKind.CORRIDOR: {"facecolor": "#3880c4", "edgecolor": "#2b6caa", "alpha": 0.3},
    FenceKind.RESTRICTED: {
        "facecolor": "#d1334a22",
        "edgecolor": "#be324b",
        "hatch": "////",
        "linestyle": "--",
    },
    FenceKind.PARKING: {"facecolor": "#36925c55", "edgecolor": "#2e8a57"},
    FenceKind.ZONE: {"facecolor": "#78828e22", "edgecolor": "#7d8896"},
}
_NAMES_OF_KINDS = {
    FenceKind.CORRIDOR: "corridor",
    FenceKind.RESTRICTED: "restricted zone",
    FenceKind.PARKING: "park",
    FenceKind.ZONE: "zone",
}


def write_png(
    path: str | os.PathLike[str],
    fences: Any,
    tracks: Any = (),
    events: Any = (),
    *,
    roads: Iterable[F64] = (),
    comparison: Comparison | None = None,
    title: str = "hazfence",
    timezone: str = "Asia/Shanghai",
    width_px: int = 1600,
    max_vertices: int = 180_000,
    view: tuple[float, float, float, float] | None = None,
) -> None:
    """Draw fences, tracks and breaches.

    Args:
        path: file to write.
        fences, tracks, events, roads, comparison, max_vertices, view: see
            :func:`hazfence_replay.map.layers.build_layers`.
        title: drawn above the map.
        timezone: IANA name of the zone in which the date is shown.
        width_px: width of the picture; the height follows from what is drawn.
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
    west, south, east, north = layers.bounds
    pad = max(east - west, north - south, 1e-4) * 0.045
    stretch = 1.0 / math.cos(math.radians((south + north) / 2))
    # Room below for the legend.
    wide, high = east - west + 2 * pad, (north - south + 3.5 * pad) * stretch
    width, map_height = width_px / _DPI, width_px / _DPI * min(max(high / wide, 0.45), 1.4)
    figure = Figure(figsize=(width, map_height + _HEAD), dpi=_DPI, facecolor="#ffffff")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, map_height / (map_height + _HEAD)))
    axes.set_axis_off()
    figure.add_artist(
        Rectangle(
            (0, 0),
            1,
            map_height / (map_height + _HEAD),
            color="#e9eef1",
            transform=figure.transFigure,
            zorder=-1,
        )
    )
    # Degrees an inch, so that a kilometre is as long north as it is east.
    unit = max(wide / width, high / map_height)
    middle, foot = (west + east) / 2, (south + north - 1.5 * pad) / 2
    axes.set_xlim(middle - unit * width / 2, middle + unit * width / 2)
    axes.set_ylim(foot - unit * map_height / stretch / 2, foot + unit * map_height / stretch / 2)
    axes.set_autoscale_on(False)
    fonts = _Fonts()
    _draw_fences(axes, layers, fonts)
    _draw_breaches(axes, layers)
    _draw_scale(axes, (west, south, east, north), pad)
    _write_title(figure, layers, title, timezone, fonts)
    figure.savefig(path, format="png")


def _draw_fences(axes: Any, layers: Layers, fonts: _Fonts) -> None:
    def put(fence: Fence, zorder: float, **look: Any) -> None:
        axes.add_collection(PathCollection([_outline(fence)], zorder=zorder, **look))

    for fence in layers.fences:
        if fence.kind is FenceKind.DISTRICT:
            put(fence, 1.0, facecolor="#fbfaf7", edgecolor="none")
            put(fence, 4.0, facecolor="none", edgecolor="#7d8896", linewidth=1.5)
        elif fence.kind in _LOOK:
            put(fence, 2.0, linewidth=1.0, **_LOOK[fence.kind])
    if layers.roads:
        axes.add_collection(LineCollection(list(layers.roads), colors="#d3dae0", linewidths=1.6, zorder=1.5))
    lines = [np.column_stack([t.lon, t.lat]) for t in layers.tracks]
    alpha = min(0.7, 14.0 / max(len(lines), 1) + 0.03)
    axes.add_collection(LineCollection(lines, colors="#3a70b2", linewidths=0.9, alpha=alpha, zorder=3))
    halo = [patheffects.withStroke(linewidth=2.6, foreground="white")]
    for fence in layers.fences:
        place = fence.geometry.centroid
        if fence.kind is FenceKind.CHECKPOINT:
            axes.plot(place.x, place.y, "o", ms=7, mfc="white", mec="#1d2733", mew=1.6, zorder=5)
            axes.annotate(
                fonts.drawable(fence.id),
                (place.x, place.y),
                (0, 7),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8.5,
                fontweight="bold",
                color="#1d2733",
                fontfamily=fonts.family,
                path_effects=halo,
                zorder=9,
            )
        elif fence.kind in (FenceKind.RESTRICTED, FenceKind.PARKING, FenceKind.ZONE):
            low = fence.bounds[1]
            axes.annotate(
                fonts.drawable(fence.id),
                (place.x, low),
                (0, -4),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=7.5,
                color=_LOOK[fence.kind]["edgecolor"],
                fontfamily=fonts.family,
                path_effects=halo,
                zorder=9,
            )
        elif fence.kind is FenceKind.DISTRICT:
            axes.text(
                place.x,
                place.y,
                fonts.name(fence),
                ha="center",
                va="center",
                fontsize=11,
                color="#5c6a79",
                fontfamily=fonts.family,
                path_effects=halo,
                zorder=4.5,
            )


def _draw_breaches(axes: Any, layers: Layers) -> None:
    kinds = sorted({b.kind for b in layers.breaches}, key=lambda k: ([*_MARKS, k]).index(k))
    handles: list[Any] = []
    for kind in kinds:
        mark, colour, size = _MARKS.get(kind, _OTHER_MARK)
        places = [(b.lon, b.lat) for b in layers.breaches if b.kind == kind]
        axes.scatter(
            *zip(*places, strict=True), s=size, marker=mark, c=colour, edgecolors="white", lw=0.9, zorder=7
        )
        label = f"{kind.replace('_', ' ')} ({len(places)})"
        handles.append(Line2D([], [], ls="", marker=mark, ms=8, mfc=colour, mec="white", label=label))
    if layers.comparison is not None and layers.comparison.missed:
        places = [(p.lon, p.lat) for p in layers.comparison.missed]
        axes.scatter(
            *zip(*places, strict=True), s=80, marker="X", c="none", edgecolors="black", lw=1.3, zorder=8
        )
        handles.append(
            Line2D([], [], ls="", marker="X", ms=8, mfc="none", mec="black", label=f"missed ({len(places)})")
        )
    present = {f.kind for f in layers.fences}
    if FenceKind.CHECKPOINT in present:
        handles.append(
            Line2D([], [], ls="", marker="o", ms=7, mfc="white", mec="#1d2733", mew=1.5, label="checkpoint")
        )
    handles += [Patch(label=_NAMES_OF_KINDS[k], lw=1, **look) for k, look in _LOOK.items() if k in present]
    if layers.tracks:
        handles.append(Line2D([], [], color="#3a70b2", label="tracks"))
    if handles:
        axes.legend(
            handles=handles,
            loc="lower center",
            ncols=min(len(handles), 5),
            fontsize=8,
            framealpha=0.95,
            edgecolor="#dfe4e9",
            borderpad=0.7,
            columnspacing=1.6,
        ).set_zorder(10)


def _draw_scale(axes: Any, bounds: tuple[float, float, float, float], pad: float) -> None:
    west, south, east, north = bounds
    degree_m = 111_320.0 * math.cos(math.radians((south + north) / 2))
    want = (east - west) * degree_m / 6
    if want <= 0:
        return
    step = 10.0 ** math.floor(math.log10(want))
    metres = max(m for m in (step, 2 * step, 5 * step) if m <= want)
    x1, y = east + pad * 0.5, north + pad * 0.25
    x0 = x1 - metres / degree_m
    axes.plot([x0, x0, x1, x1], [y + pad / 8, y, y, y + pad / 8], color="#5c6a79", lw=1.2, zorder=8)
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    axes.text(
        (x0 + x1) / 2, y + pad / 8, text, ha="center", va="bottom", fontsize=8, color="#5c6a79", zorder=8
    )


def _write_title(figure: Figure, layers: Layers, title: str, timezone: str, fonts: _Fonts) -> None:
    height = figure.get_figheight()
    top = 1.0 - 0.13 / height
    figure.text(
        0.016,
        top,
        fonts.drawable(title),
        fontsize=15,
        fontweight="bold",
        color="#1d2733",
        va="top",
        fontfamily=fonts.family,
    )
    said = []
    if layers.tracks or layers.breaches:
        said.append(f"{datetime.fromtimestamp(layers.start_s, ZoneInfo(timezone)):%Y-%m-%d}")
    if layers.fixes:
        said.append(
            _many(len({t.vehicle for t in layers.tracks}), "vehicle") + ", " + _many(layers.fixes, "fix")
        )
    said.append(_many(len(layers.breaches), "breach"))
    if layers.comparison is not None:
        total = layers.comparison.rows()[-1]
        said.append(
            f"{total.planted} planted, {total.found} found, {total.missed} missed, {total.false} false"
        )
    figure.text(0.016, top - 0.31 / height, "  ·  ".join(said), fontsize=9.5, color="#5c6a79", va="top")


def _outline(fence: Fence) -> Outline:
    points: list[F64] = []
    codes: list[npt.NDArray[np.uint8]] = []
    for polygon in shapely.get_parts(fence.geometry):
        for ring in (polygon.exterior, *polygon.interiors):
            xy = shapely.get_coordinates(ring)
            code = np.full(len(xy), Outline.LINETO, dtype=np.uint8)
            code[0], code[-1] = Outline.MOVETO, Outline.CLOSEPOLY
            points.append(xy)
            codes.append(code)
    return Outline(np.concatenate(points), np.concatenate(codes))


def _many(count: int, what: str) -> str:
    ending = "" if count == 1 else "es" if what.endswith(("x", "ch")) else "s"
    return f"{count:,} {what}{ending}"


class _Fonts:
    """The fonts at hand, and text cut down to what they can draw.

    matplotlib warns, and draws a box, for a character that no font has; a fence's name may hold any.
    """

    def __init__(self) -> None:
        have = {entry.name for entry in font_manager.fontManager.ttflist}
        chinese = next((name for name in _CJK_FONTS if name in have), None)
        self.family = ["DejaVu Sans"] if chinese is None else ["DejaVu Sans", chinese]
        self._fonts = [font_manager.get_font(font_manager.findfont(name)) for name in self.family]

    def drawable(self, text: str) -> str:
        """The text without characters that cannot be drawn, its dollar signs kept from being mathematics."""
        known = (c for c in text if c.isspace() or any(f.get_char_index(ord(c)) for f in self._fonts))
        return " ".join("".join(known).split()).replace("$", r"\$")

    def name(self, fence: Fence) -> str:
        """A fence's name where it can be drawn whole, else its id."""
        whole = fence.name and self.drawable(fence.name) == " ".join(fence.name.split())
        return self.drawable(fence.name if whole else fence.id)
