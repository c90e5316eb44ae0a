"""The map page in a real browser: it draws, lists, and keeps hostile names text."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from hazfence import Engine
from hazfence_fences import load_fences
from hazfence_replay.compare import compare
from hazfence_replay.map import write_html
from hazfence_replay.player import replay
from hazfence_replay.simulator import Plants, simulate

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")


def browse(page: Path, profile: Path, *more: str) -> str:
    quiet = "gpu quic background-networking component-update sync"
    command = [str(BROWSER), "--headless", "--no-sandbox", "--no-first-run", f"--user-data-dir={profile}"]
    command += [f"--disable-{what}" for what in quiet.split()]
    command += ["--window-size=1300,900", "--virtual-time-budget=4000", *more, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_a_day_is_drawn_and_listed(tmp_path: Path) -> None:
    fences = load_fences("fences/zhenhai")
    day = simulate(fences, seed=3, trucks=15, plants=Plants(2, 1, 1, 1, 0))
    events = list(replay(day.batches(), Engine(fences), until=day.end_us))
    hostile = "<img src=x onerror=\"document.title='broken'\">"
    page = tmp_path / "map.html"
    title = f"A day {hostile}"
    write_html(
        page, fences, day.fixes, events, roads=day.roads, comparison=compare(day.truth, events), title=title
    )
    dom = browse(page, tmp_path / "profile", "--dump-dom")
    assert 'data-ready="yes"' in dom
    listed = re.search(r'<ol id="list">(.*?)</ol>', dom, re.S)
    assert listed is not None
    assert listed[1].count("<li>") == len(day.truth) > 4
    assert "all found, none else" in dom
    assert "&lt;img src=x" in dom
    assert "<title>broken" not in dom
    picture = tmp_path / "map.png"
    browse(page, tmp_path / "profile", f"--screenshot={picture}")
    pixels = np.round(image.imread(picture)[..., :3] * 255).astype(int)
    land = (pixels == (0xFB, 0xFA, 0xF7)).all(axis=2)
    sea = (pixels == (0xE9, 0xEE, 0xF1)).all(axis=2)
    assert land[:, 360:].mean() > 0.1
    assert sea[:, 360:].mean() > 0.2
    bypass = (np.abs(pixels - (0xD1, 0x33, 0x4A)).max(axis=2) < 4)[:, 360:]
    assert bypass.sum() > 100
