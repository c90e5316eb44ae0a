"""Geofences for hazardous-goods roads: what a fence is, reading and repairing it, and the index over many.

The reader's way in: `model` (one fence), `geojson` (from files), `fenceset` (many fences). Knows nothing
above it.
"""

from hazfence_fences.datum import Datum, from_wgs84, to_wgs84
from hazfence_fences.errors import FenceError
from hazfence_fences.fenceset import FenceSet
from hazfence_fences.geojson import load_fences, parse_fences, to_feature
from hazfence_fences.located import Located
from hazfence_fences.metric import Metric
from hazfence_fences.model import Fence, FenceKind, circle, corridor, fence_key
from hazfence_fences.schedule import Schedule

__all__ = [
    "Datum",
    "Fence",
    "FenceError",
    "FenceKind",
    "FenceSet",
    "Located",
    "Metric",
    "Schedule",
    "circle",
    "corridor",
    "fence_key",
    "from_wgs84",
    "load_fences",
    "parse_fences",
    "to_feature",
    "to_wgs84",
]
