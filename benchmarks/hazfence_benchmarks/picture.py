"""Pictures of a result: growth curves on log-log axes, and how many times better we are than each peer.

`growth` and `ratios` give PNG bytes for the page and the docs; `curves` and `bars` what they show. Next
room: ``report.py``, which puts them on a page.
"""

from __future__ import annotations

import io
from collections import defaultdict
from typing import Any

import numpy as np

from hazfence_benchmarks.form import OURS, Figure, Result
from hazfence_benchmarks.table import number, times

__all__ = ["bars", "curves", "growth", "ratios"]

#: Apart from the red of our own line.
_PEER_COLOURS = ("C0", "C1", "C2", "C4", "C5", "C6", "C8", "C9")
#: suite, workload, what, unit, name of x
CurveKey = tuple[str, str, str, str, str]


def curves(result: Result) -> dict[CurveKey, dict[str, list[Figure]]]:
    """What was measured at two sizes or more by us: the figures of each way, by growing size."""
    found: dict[CurveKey, dict[str, list[Figure]]] = defaultdict(lambda: defaultdict(list))
    for figure in result.figures:
        if figure.x is not None and figure.values:
            key = (figure.suite, figure.workload, figure.what, figure.unit, figure.x_name or "")
            found[key][figure.way].append(figure)
    for ways in found.values():
        for figures in ways.values():
            figures.sort(key=lambda figure: figure.x or 0)
    return {key: dict(ways) for key, ways in found.items() if len(ways.get(OURS, ())) > 1}


def bars(result: Result) -> dict[str, dict[str, list[float]]]:
    """By suite and peer: how many times better we are, a number a workload. Limits are not peers."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for figure in result.figures:
        ratio = result.ratio(figure)
        if ratio is None or not np.isfinite(ratio) or ratio <= 0:
            continue
        if "limit" not in figure.way and not figure.is_ours:
            found[figure.suite][figure.way].append(ratio)
    return {suite: dict(ways) for suite, ways in found.items()}


def growth(result: Result) -> bytes | None:
    """The curves of speed and time as PNG; None where there are none."""
    # A size in memory hardly grows with the number of things: the table says it better.
    found = {key: ways for key, ways in curves(result).items() if key[3] not in ("MB", "bytes")}
    if not found:
        return None
    plt = _pyplot()
    # Those beside peers first.
    keys = sorted(found, key=lambda key: -len(found[key]))[:6]
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    drawing, axes = plt.subplots(rows, columns, figsize=(5.2 * columns, 5.2 * rows), squeeze=False)
    ways = list(dict.fromkeys(way for key in keys for way in found[key]))
    colours = {way: _colour(i, way) for i, way in enumerate(ways)}
    for place, key in zip(axes.flat, keys, strict=False):
        suite, workload, what, unit, x_name = key
        for way, figures in found[key].items():
            x, y = [f.x for f in figures], [f.median for f in figures]
            low, high = zip(*(f.quartiles for f in figures), strict=True)
            look: dict[str, Any] = (
                {"linewidth": 2.4, "zorder": 3} if way == OURS else {"linewidth": 1.2, "zorder": 2}
            )
            look |= {"linestyle": ":" if "limit" in way else "-", "color": colours[way]}
            place.plot(x, y, marker="o", markersize=4, label=way, **look)
            place.fill_between(x, low, high, color=colours[way], alpha=0.15)
        place.set(xscale="log", yscale="log", xlabel=x_name, ylabel=unit)
        place.set_title(f"{suite}: {what} ({workload})", fontsize=10)
        place.grid(visible=True, which="major", alpha=0.3)
        place.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    for place in list(axes.flat)[len(keys) :]:
        place.set_visible(False)
    return _png(plt, drawing)


def ratios(result: Result) -> bytes | None:
    """How many times better than each peer, one dot a workload, as PNG; None without peers."""
    found = bars(result)
    rows = [(f"{suite}: {way}", each) for suite, ways in found.items() for way, each in ways.items()]
    if not rows:
        return None
    plt = _pyplot()
    drawing, place = plt.subplots(figsize=(9, 0.32 * len(rows) + 1.2))
    for i, (_, each) in enumerate(rows):
        middle = float(np.median(each))
        place.barh(i, middle - 1, left=1, color="#9bbbd9" if middle >= 1 else "#e0a9a0", height=0.7)
        place.plot(each, [i] * len(each), ".", color="#1f4e79", markersize=5)
        place.text(max(each) * 1.15, i, times(middle), va="center", fontsize=8)
    place.set(xscale="log", xlabel="times better than the peer (bar: median; dot: a workload)")
    place.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    place.axvline(1, color="black", linewidth=1)
    place.invert_yaxis()
    low, high = place.get_xlim()
    place.set_xlim(min(low, 0.5), high * 2)
    place.xaxis.set_major_formatter(lambda value, _: number(value))
    return _png(plt, drawing)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _colour(i: int, way: str) -> str:
    if way == OURS:
        return "#c0392b"
    return "#555555" if "limit" in way else _PEER_COLOURS[i % len(_PEER_COLOURS)]


def _png(plt: Any, drawing: Any) -> bytes:
    out = io.BytesIO()
    drawing.tight_layout()
    # No date in the file: the same result gives the same picture.
    drawing.savefig(out, format="png", dpi=110, metadata={"Software": None})
    plt.close(drawing)
    return out.getvalue()
