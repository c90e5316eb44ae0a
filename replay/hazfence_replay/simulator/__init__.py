"""Trucks on invented roads through a district, with planted breaches and the truth about them.

You are at the simulator's door: :func:`simulate` gives a :class:`SimulatedDay`. Inside, floor by
floor: ``plane`` (metres), ``country`` (what the fences allow), ``graph`` (roads), ``routes``
(smooth ways with limits along them), ``motion`` (speed and time), ``timeline`` (a trip), ``truth``
(what a trip does wrong), ``ways``, ``trips`` and ``intents`` (where trucks go and what is planted),
``plan`` (a truck's day), ``reports`` (what its terminal sends), ``day`` and ``write``.
"""

from hazfence_replay.simulator.country import SimulationError
from hazfence_replay.simulator.day import NearMiss, Planted, SimulatedDay, simulate
from hazfence_replay.simulator.plan import Plants
from hazfence_replay.simulator.write import json_lines, read_truth, write_jsonl, write_truth

__all__ = [
    "NearMiss",
    "Planted",
    "Plants",
    "SimulatedDay",
    "SimulationError",
    "json_lines",
    "read_truth",
    "simulate",
    "write_jsonl",
    "write_truth",
]
