"""Why a visit or breach was said, from the evidence that is stored, and whether it still stands.

You are behind ``hazfence explain``. :func:`gather` (``evidence.py``) collects what the verdict rests on;
:func:`examine` (``derive.py``) judges it again through the same engine and compares; ``words.py`` tells the
rule's steps in English or Chinese; ``picture.py`` and ``page.py`` draw the place; ``bundle.py`` puts
everything into one file whose parts are chained by hashes, and finds what was altered.
"""

from hazfence_replay.explain.bundle import Bundle, read_bundle, write_bundle
from hazfence_replay.explain.derive import Finding, examine
from hazfence_replay.explain.evidence import Evidence, gather
from hazfence_replay.explain.words import Explanation, tell

__all__ = [
    "Bundle",
    "Evidence",
    "Explanation",
    "Finding",
    "examine",
    "gather",
    "read_bundle",
    "tell",
    "write_bundle",
]
