"""Measurements: what hazfence carries on this machine, beside what one would use instead.

One module a suite, each with a docstring that says what is measured and a ``main(argv)``; ``hazfence
bench SUITE`` runs them. ``workloads`` makes the fence sets, ``exactness`` proves that the index gives
the same answers as shapely before anybody speaks of its speed.
"""
