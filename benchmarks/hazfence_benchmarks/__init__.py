"""Measurements: what hazfence carries on this machine, beside what one would use instead.

Start in ``register.py``: one line a suite, and how to add one. A suite gives figures (``form.py``) by a plan
(``plan.py``); ``peers`` are the other ways, checked for the same answers before anybody speaks of speed;
``yardstick.py`` and ``machine.py`` say what was measured on. ``command.py`` runs suites, ``table.py``,
``report.py``, ``compare.py`` and ``size.py`` read what they leave. ``workloads.py`` makes the fence sets,
``points.py`` the points, and ``exactness.py`` proves the index against shapely.
"""
