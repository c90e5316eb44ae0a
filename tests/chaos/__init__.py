"""Chaos: all the worker stands on is killed, frozen, cut off or filled up, and the rows must not show it.

``python -m tests.chaos --kills 500 --seed 7`` (or ``make chaos``) runs it and prints a table. Trucks are
fed to workers while ``harm.py`` does its worst; the same log is read once more by one worker in peace, into a
second database, and ``rows.py`` compares the two byte for byte. Read ``run.py`` first.
"""
