"""An explanation as one HTML page with its picture, which loads nothing and runs no script.

You are in the explain room. Texts are escaped by Jinja2, as in ``hazfence_replay.report.page``, which
reads the template.
"""

from __future__ import annotations

from hazfence_replay.explain.phrases import WORDS
from hazfence_replay.explain.picture import Picture
from hazfence_replay.explain.words import Explanation
from hazfence_replay.report.page import template_of

__all__ = ["page"]


def page(explanation: Explanation, picture: Picture) -> bytes:
    """The page as UTF-8."""
    at = 0 if explanation.language == "en" else 1
    template, style = template_of("hazfence_replay.explain")
    text = template.render(e=explanation, p=picture, word=lambda name: WORDS[name][at], **style)
    return text.encode("utf-8", "replace")
