"""Fences, tracks and breaches as a picture: one HTML file without internet, or a PNG.

You are at the door of the map room. :func:`write_html` makes a page that carries its data, its
script and its style with it, to be opened from a disk or sent by mail; :func:`write_png` draws the
same with matplotlib (extra ``demo``). Inside: ``layers`` (what is drawn, small enough to carry),
``page`` (the HTML around ``page.js`` and ``page.css``), ``png``.
"""

from __future__ import annotations

import os
from typing import Any

from hazfence_replay.map.layers import Layers, build_layers
from hazfence_replay.map.page import write_html

__all__ = ["Layers", "build_layers", "write_html", "write_png"]


def write_png(path: str | os.PathLike[str], *args: Any, **options: Any) -> None:
    """Draw a PNG; see :func:`hazfence_replay.map.png.write_png`, which is imported only when used."""
    from hazfence_replay.map.png import write_png as draw

    draw(path, *args, **options)
