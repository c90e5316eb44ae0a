"""What one would use instead, each checked for the same answers before it is timed.

``base.py`` says what a peer is; `POINT_PEERS` are those that locate points, `TELLERS` (in ``tellers.py``)
those that keep state and tell entries and exits. One that is not installed is skipped aloud.
"""

from hazfence_benchmarks.peers.approximate import H3
from hazfence_benchmarks.peers.base import F64, I64, Missing, PointPeer, check, keys_of, opened
from hazfence_benchmarks.peers.databases import DuckDb, PostGis
from hazfence_benchmarks.peers.in_process import ByHand, Geopandas, Meos, StrTree

__all__ = [
    "F64",
    "H3",
    "I64",
    "POINT_PEERS",
    "ByHand",
    "DuckDb",
    "Geopandas",
    "Meos",
    "Missing",
    "PointPeer",
    "PostGis",
    "StrTree",
    "check",
    "keys_of",
    "opened",
]

#: All of them, the commonest first.
POINT_PEERS: tuple[type[PointPeer], ...] = (ByHand, StrTree, Geopandas, DuckDb, PostGis, Meos, H3)
