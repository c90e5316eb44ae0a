"""The map's files: what stands in the page, that nothing gets out of it, and that the PNG is one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from shapely.geometry import LineString, Point, box

from hazfence import FixBatch
from hazfence_fences import Fence, FenceKind, FenceSet, circle, corridor, load_fences
from hazfence_replay.compare import compare
from hazfence_replay.ledger import BreachRow
from hazfence_replay.map import write_html, write_png
from hazfence_replay.simulator import Planted, Plants, simulate

START_US = 1_772_400_000_000_000
NASTY = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]><img src=x onerror=alert(1)>",
    "%DATA%%SCRIPT%",
    "浙B12345\u2028\u2029\x00",
    "\"'&amp;\\",
    "\U0001f69a\ud800",
]


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.inside:
            self._open = tag
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open][-1] += data


def nasty_parts() -> tuple[FenceSet, FixBatch, list[BreachRow]]:
    fences = FenceSet(
        [
            Fence(NASTY[0], FenceKind.DISTRICT, box(121.4, 29.8, 121.7, 30.1), name=NASTY[1]),
            circle(NASTY[3], FenceKind.CHECKPOINT, 121.4, 29.9, 150.0, name="$x_1^2$ \U0001f6a7 登记点"),
            corridor("c", FenceKind.CORRIDOR, LineString([(121.45, 29.85), (121.6, 30.0)]), 100.0),
            Fence(
                "hole",
                FenceKind.RESTRICTED,
                Point(121.6, 29.9).buffer(0.02) - Point(121.6, 29.9).buffer(0.01),
            ),
        ]
    )
    n = 40
    fixes = FixBatch.concat(
        FixBatch.of(
            [name] * n,
            time_us=START_US + np.arange(n) * 10_000_000,
            lon=121.41 + np.arange(n) * 0.004,
            lat=29.85 + np.arange(n) * 0.002 * (1 + k / 9),
            speed_kmh=50.0,
        )
        for k, name in enumerate(NASTY)
    )
    rows = [
        BreachRow(
            f"{k}",
            NASTY[0] if k == 0 else "overspeed",
            name,
            NASTY[k % 4],
            START_US + k,
            None,
            121.5 + 0.02 * k,
            29.9,
            {"limit_kmh": 60.0, "direction": name},
        )
        for k, name in enumerate([*NASTY, "not in the tracks"])
    ]
    return fences, fixes, rows


def read(path: Path) -> tuple[Page, dict[str, Any]]:
    page = Page(path.read_text(encoding="utf-8"))
    return page, json.loads(page.inside["script"][0])


def test_no_text_from_outside_becomes_markup(tmp_path: Path) -> None:
    fences, fixes, rows = nasty_parts()
    path = tmp_path / "map.html"
    size = write_html(path, fences, fixes, rows, title=NASTY[0] + "%STYLE%", subtitle=NASTY[2])
    assert size == path.stat().st_size
    page, data = read(path)
    clean = tmp_path / "clean.html"
    write_html(clean, FenceSet(), (), ())
    # The same elements whatever the texts.
    assert [t for t, _ in page.tags] == [t for t, _ in read(clean)[0].tags]
    assert [t for t, _ in page.tags].count("script") == 2
    raw = path.read_text(encoding="utf-8")
    block = raw[raw.index('id="data">') : raw.index("</script>", raw.index('id="data">'))]
    assert "<" not in block
    assert "&" not in block
    assert block.isascii()
    # And the texts arrive as they were.
    assert data["vehicles"] == [*NASTY, "not in the tracks"]
    assert data["title"] == NASTY[0] + "%STYLE%"
    assert {f["id"] for f in data["fences"]} >= {NASTY[0], NASTY[3]}
    assert NASTY[0] in [k["id"] for k in data["kinds"]]
    assert page.inside["title"] == [NASTY[0] + "%STYLE%"]


def test_the_page_loads_nothing_and_its_policy_allows_its_own_script_alone(tmp_path: Path) -> None:
    fences, fixes, rows = nasty_parts()
    path = tmp_path / "map.html"
    write_html(path, fences, fixes, rows)
    page, _ = read(path)
    policy = next(str(a["content"]) for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for kind, text in (("script-src", page.inside["script"][1]), ("style-src", page.inside["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert str(value).startswith("data:")
    script, style = page.inside["script"][1], page.inside["style"][0]
    assert "innerHTML" not in script
    assert "eval(" not in script
    assert "fetch(" not in script
    assert not re.search(r"url\(|@import", style)


def unpack(flat: list[int], width: int) -> np.ndarray:
    return np.cumsum(np.array(flat).reshape(-1, width), axis=0)


def test_coordinates_and_times_survive_packing(tmp_path: Path) -> None:
    fences, fixes, rows = nasty_parts()
    path = tmp_path / "map.html"
    write_html(path, fences, fixes, rows, roads=[np.array([[121.5, 29.9], [121.6, 30.0]])])
    _, data = read(path)
    assert unpack(data["roads"][0], 2).tolist() == [[12150000, 2990000], [12160000, 3000000]]
    assert len(data["tracks"]) == len(NASTY)
    for vehicle, flat in data["tracks"]:
        own = fixes.take(fixes.vehicle == vehicle)
        x, y, t = unpack(flat, 3).T
        assert (x[0] / 1e5, y[0] / 1e5) == pytest.approx((own.lon[0], own.lat[0]), abs=6e-6)
        assert (x[-1] / 1e5, y[-1] / 1e5) == pytest.approx((own.lon[-1], own.lat[-1]), abs=6e-6)
        assert data["t0"] + t[-1] == own.time_us[-1] / 1e6
    rings = next(f for f in data["fences"] if f["id"] == "hole")["rings"]
    assert len(rings) == 2
    assert data["offset"] == 8 * 3600
    assert data["bounds"][:2] == pytest.approx([121.398, 29.8], abs=1e-3)


def test_planted_found_and_missed_are_told_apart(tmp_path: Path) -> None:
    row = BreachRow("a", "overspeed", "A", "z", START_US, None, 121.5, 29.9)
    extra = BreachRow("b", "overspeed", "B", "z", START_US, None, 121.5, 29.9)
    truth = [
        Planted("overspeed", "A", "z", START_US, None, 121.5, 29.9, "far too fast"),
        Planted("overstay", "C", "z", START_US, None, 121.5, 29.9, "far too long"),
    ]
    path = tmp_path / "map.html"
    write_html(path, FenceSet(), (), [row, extra], comparison=compare(truth, [row, extra]))
    _, data = read(path)
    said = {data["vehicles"][b["v"]]: b for b in data["breaches"]}
    assert said["A"]["planted"] is True
    assert said["A"]["note"] == "far too fast"
    assert said["B"]["planted"] is False
    assert said["C"]["missed"] is True
    assert data["table"][0] == ["breach", "planted", "found", "missed", "false", "doubled"]
    assert data["table"][-1] == ["total", "2", "1", "1", "1", "0"]


def test_a_whole_day_fits_into_few_megabytes(tmp_path: Path) -> None:
    fences = load_fences("fences/zhenhai")
    day = simulate(fences, seed=2, trucks=60, plants=Plants(0, 0, 0, 0, 0))
    size = write_html(tmp_path / "map.html", fences, day.batches(), (), roads=day.roads)
    assert 150_000 < size < 1_200_000


def test_the_png_has_its_size_and_colours(tmp_path: Path) -> None:
    fences, fixes, rows = nasty_parts()
    path = tmp_path / "map.png"
    write_png(path, fences, fixes, rows, title=f"$E=mc^2$ {NASTY[0]} {NASTY[4]} \U0001f69a", width_px=800)
    picture = image.imread(path)
    assert picture.shape[1] == 800
    assert 500 < picture.shape[0] < 1400
    colours = {tuple(c) for c in np.round(picture[..., :3].reshape(-1, 3) * 255).astype(int).tolist()}
    assert (0xE9, 0xEE, 0xF1) in colours  # background
    assert (0xFB, 0xFA, 0xF7) in colours  # district
    assert (0xE8, 0x83, 0x0C) in colours  # overspeed
    write_png(tmp_path / "empty.png", FenceSet(), (), (), width_px=400)
    assert image.imread(tmp_path / "empty.png").shape[1] == 400
