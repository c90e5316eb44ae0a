"""The peers that are servers: PostGIS by join and by trigger, and Tile38: a stand-in where none is given."""

import os
import sys
from pathlib import Path

import pytest

from hazfence_benchmarks.core import truck_traffic
from hazfence_benchmarks.peers import PostGis, check
from hazfence_benchmarks.peers.base import Missing
from hazfence_benchmarks.peers.tellers import TELLERS, Tile38
from hazfence_benchmarks.plan import Plan
from hazfence_benchmarks.points import POINTS
from hazfence_benchmarks.vehicles import differ, where_exactly
from hazfence_benchmarks.workloads import set_a, set_c
from hazfence_fences import FenceSet

FLAT = FenceSet(f for f in set_c(80, 3) if f.metric is None)
TOWN = FenceSet([*FLAT, *(f for f in set_a() if f.metric is None)])


@pytest.fixture(autouse=True)
def server(postgres_server, monkeypatch):
    """The server of the other tests: each peer makes a database of its own in it."""
    monkeypatch.setenv("HAZFENCE_DATABASE_URL", postgres_server)


def test_postgis_joins_exactly():
    peer = PostGis(FLAT)
    try:
        assert check(FLAT, peer, *POINTS["trucks"](FLAT, 1500, 1)) == 0
        assert check(FLAT, peer, *POINTS["trucks"](FLAT, 200, 2)) == 0  # asked again, nothing is left over
    finally:
        peer.close()


@pytest.mark.parametrize("kind", TELLERS, ids=lambda kind: kind.name)
def test_tellers_know_where_every_vehicle_is(kind, tmp_path):
    stand_in = tmp_path / "tile38-server"
    script = Path(__file__).with_name("tile38_stand_in.py")
    stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    stand_in.chmod(0o755)
    try:
        peer = kind(TOWN, Plan(tile38=os.environ.get("HAZFENCE_TILE38_SERVER", str(stand_in))))
    except Missing as missing:
        pytest.skip(str(missing))
    try:
        batches = truck_traffic(TOWN, vehicles=300, steps=6, seed=3)
        told = [peer.tell(batch) for batch in batches]
        assert sum(told[1:]) > 0
        assert any(where_exactly(TOWN, batches[-1:]).values())
        assert differ(peer.inside(), where_exactly(TOWN, batches[-1:])) == 0
        assert differ(peer.inside(), where_exactly(TOWN, batches[:1])) > 0  # the check can fail
    finally:
        peer.close()


def test_tile38_without_a_server_is_missing():
    for path, says in ((None, "--tile38 FILE"), ("/no/such/tile38-server", "is not a program")):
        with pytest.raises(Missing, match=says):
            Tile38(FLAT, Plan(tile38=path))
