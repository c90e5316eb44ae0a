"""Draw the picture of docs/index.md: the cells of the district's index, in three steps of nearness.

python scripts/index_picture.py [docs/index_cells.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from hazfence_benchmarks.workloads import set_a
from hazfence_fences import FenceSet
from hazfence_fences.index.shapes import PSEUDO_SPAN_DEG
from hazfence_fences.index.table import CellTable

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.collections import PolyCollection

NOTHING, SURE, BLOCK, TOUCHED = "#ffffff", "#cfe5cf", "#f3dfa2", "#e59866"
PLACE = "cp-4"


def boxes(ax, left, bottom, width, height, colour, line=0.3):
    """Draw many cells at once."""
    corners = np.stack([left, bottom, left + width, bottom + height], axis=1)
    shapes = [[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in corners.tolist()]
    ax.add_collection(PolyCollection(shapes, facecolors=colour, edgecolors="#999999", linewidths=line))


def coarse_colours(t: CellTable) -> np.ndarray:
    """A colour for each coarse cell."""
    return np.where(t.coarse < 0, BLOCK, np.where(t.coarse == 0, NOTHING, SURE))


def draw_fences(ax, fences: FenceSet, width: float):
    """The true boundaries."""
    for fence in fences:
        for part in getattr(fence.geometry, "geoms", [fence.geometry]):
            ax.plot(*part.exterior.xy, color="#1f3a5f", linewidth=width)


def main(target: Path) -> None:
    """Draw the three panels into one file."""
    fences = set_a()
    t, place = fences.table, fences[PLACE].centre
    assert place is not None
    g = t.grid
    col, row = np.arange(g.nx * g.ny) % g.nx, np.arange(g.nx * g.ny) // g.nx
    west, south = g.x0 + col * g.cell_w, g.y0 + row * g.cell_h
    fig, (whole, near, cell) = plt.subplots(1, 3, figsize=(16, 5.6), layout="constrained")

    boxes(whole, west, south, g.cell_w, g.cell_h, coarse_colours(t), 0.05)
    draw_fences(whole, fences, 0.6)
    whole.set_title(f"Coarse cells, {g.nx} x {g.ny}: empty, inside, or a block", fontsize=10)

    half = 2.6 * np.array([g.cell_w, g.cell_h])
    away = np.abs(np.stack([west + g.cell_w / 2 - place[0], south + g.cell_h / 2 - place[1]], axis=1))
    for code in np.flatnonzero((away < 2 * half).all(axis=1)).tolist():
        draw_block(near, t, code, west[code], south[code], coarse_colours(t)[code])
    draw_fences(near, fences, 1.2)
    near.set(xlim=(place[0] - half[0], place[0] + half[0]), ylim=(place[1] - half[1], place[1] + half[1]))
    near.set_title("Blocks of k x k fine cells: the dark ones are touched", fontsize=10)

    draw_record(cell, t)
    for ax in (whole, near):
        ax.ticklabel_format(useOffset=False)
        ax.tick_params(labelsize=6)
        ax.set_aspect(1 / np.cos(np.radians(place[1])))
        ax.autoscale_view()
    fig.savefig(target, dpi=100)


def draw_block(ax, t: CellTable, code: int, west: float, south: float, colour: str) -> None:
    """One coarse cell, with its fine cells if it has a block."""
    g, number = t.grid, -int(t.coarse[code])
    if number <= 0:
        boxes(ax, np.array([west]), np.array([south]), g.cell_w, g.cell_h, [colour], 1.0)
        return
    k, start, whole = int(t.block["k"][number]), int(t.block["start"][number]), int(t.block_set[number])
    held = t.fine[start : start + k * k]
    colours = np.where(held < 0, TOUCHED, np.where((held == 0) & (whole == 0), NOTHING, SURE))
    n = np.arange(k * k)
    boxes(ax, west + n % k * g.cell_w / k, south + n // k * g.cell_h / k, g.cell_w / k, g.cell_h / k, colours)
    boxes(ax, np.array([west]), np.array([south]), g.cell_w, g.cell_h, ["none"], 1.0)


def draw_record(ax, t: CellTable) -> None:
    """One touched fine cell with all it remembers: near edges, whole, and a stand-in."""
    stand_in = t.rows["bx"] - t.rows["ax"] == PSEUDO_SPAN_DEG
    record, code, place = next(find_record(t, stand_in))
    g = t.grid
    k = int(t.block["k"][-t.coarse[code]])
    west = g.x0 + (code % g.nx + place % k / k) * g.cell_w
    south = g.y0 + (code // g.nx + place // k / k) * g.cell_h
    width, height = g.cell_w / k, g.cell_h / k
    boxes(ax, np.array([west]), np.array([south]), width, height, [TOUCHED], 1.5)
    r = t.record[record]
    for row in t.entries[r["start"] : r["start"] + r["edges"]].tolist():
        edge = t.rows[row]
        if stand_in[row]:
            ax.annotate(
                "", xy=(west + 2.3 * width, edge["ay"]), xytext=(edge["ax"], edge["ay"]),
                arrowprops={"arrowstyle": "->", "linestyle": "--", "color": "#a93226"},
            )  # fmt: skip
            ax.text(west + 1.25 * width, edge["ay"], "stand-in", color="#a93226", va="bottom")
        else:
            ax.plot([edge["ax"], edge["bx"]], [edge["ay"], edge["by"]], color="#1f3a5f", marker="o")
            label = f"near edge, sign {int(t.row_sign[row]):+d}  "
            ax.text(edge["bx"], edge["by"], label, color="#1f3a5f", ha="right", va="bottom")
    x, y = west + 0.3 * width, south + 0.25 * height
    ax.plot([x], [y], "k.", markersize=10)
    ax.annotate(
        "", xy=(x, south + 2.6 * height), xytext=(x, y), arrowprops={"arrowstyle": "->", "linestyle": ":"}
    )
    ax.text(x, south + 2.65 * height, "north of the point: add up the signs", ha="left", fontsize=8)
    ax.set(xlim=(west - 1.2 * width, west + 2.5 * width), ylim=(south - 0.8 * height, south + 2.9 * height))
    ax.set_title("A touched cell keeps the whole edges that touch it", fontsize=10)
    ax.ticklabel_format(useOffset=False)
    ax.tick_params(labelsize=6)


def find_record(t: CellTable, stand_in: np.ndarray):
    """Touched fine cells with a slanted edge and a stand-in not far above: (record, coarse cell, place)."""
    for code in np.flatnonzero(t.coarse < 0).tolist():
        block = t.block[-t.coarse[code]]
        held = t.fine[block["start"] : block["start"] + block["k"] ** 2]
        for place in np.flatnonzero(held < 0).tolist():
            r = t.record[-held[place]]
            rows = t.entries[r["start"] : r["start"] + r["edges"]]
            if r["edges"] == 2 and r["discs"] == 0 and stand_in[rows].sum() == 1:
                top = t.grid.y0 + (code // t.grid.nx + (place // block["k"] + 1) / block["k"]) * t.grid.cell_h
                above = (t.rows["ay"][rows[stand_in[rows]]][0] - top) * t.grid.sy * block["k"]
                slant = np.abs(t.rows["bx"] - t.rows["ax"])[rows[~stand_in[rows]]][0] * t.grid.sx * block["k"]
                if 0.3 < above < 1.3 and 0.8 < slant < 4:
                    yield -int(held[place]), code, place


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "index_cells.png"))
