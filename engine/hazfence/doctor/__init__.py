"""Is everything there that a worker needs, and as it should be? ``hazfence doctor`` asks this.

You are above the worker, whose settings are examined; nothing is changed anywhere. Each room looks at
one part: ``database.py``, ``broker.py``, ``board.py``; ``report.py`` holds what they say, and `examine`
there puts it together. ``docs/operating.md`` tells an operator what to do with it.
"""

from hazfence.doctor.report import Finding, Status, examine

__all__ = ["Finding", "Status", "examine"]
