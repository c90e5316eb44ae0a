"""Fuzz: whatever comes in from outside gives an answer or an error with a mend, and nothing else.

`targets.py` holds what is thrown at what and what must hold; `draw.py` makes odd documents of bytes, so that
a coverage-guided fuzzer, hypothesis and plain chance can all steer them. ``python -m tests.fuzz`` runs long
(``make fuzz``: a million cases), ``tests/property/test_fuzz.py`` a little of it in every test run.
"""
