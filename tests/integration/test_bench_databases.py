"""The peers that are servers: PostGIS by join and by trigger, and Tile38: a stand-in where none is given."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis

from hazfence.services import free_port
from hazfence_benchmarks.core import truck_traffic
from hazfence_benchmarks.peers import PostGis, check
from hazfence_benchmarks.peers.base import Missing
from hazfence_benchmarks.peers.tellers import TELLERS, Tile38
from hazfence_benchmarks.plan import Plan
from hazfence_benchmarks.points import POINTS
from hazfence_benchmarks.stage import shared
from hazfence_benchmarks.vehicles import differ, where_exactly
from hazfence_benchmarks.workloads import set_a, set_c
from hazfence_fences import FenceSet

FLAT = FenceSet(f for f in set_c(80, 3) if f.metric is None)
_STAND_IN = Path(__file__).with_name("tile38_stand_in.py")
_NOBODY = (f"127.0.0.1:{free_port()}", "no Tile38 answers at 127.0.0.1")
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


@pytest.fixture
def tile38(tmp_path):
    """The server that the environment gives, else the stand-in, as a program."""
    stand_in = tmp_path / "tile38-server"
    stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{_STAND_IN}" "$@"\n')
    stand_in.chmod(0o755)
    return os.environ.get("HAZFENCE_TILE38_SERVER", str(stand_in))


@pytest.mark.parametrize("kind", TELLERS, ids=lambda kind: kind.name)
def test_tellers_know_where_every_vehicle_is(kind, tile38):
    try:
        peer = kind(TOWN, Plan(tile38=tile38))
    except Missing as missing:
        pytest.skip(str(missing))
    _watch(peer)


def test_a_running_tile38_is_left_as_it_was(tmp_path):
    port = free_port()
    options = ("-h", "127.0.0.1", "-p", str(port), "-d", str(tmp_path))
    with subprocess.Popen([sys.executable, _STAND_IN, *options]) as server:
        try:
            theirs = _tile38_client(port)
            theirs.execute_command("SET", "theirs", "car", "POINT", 1, 2)
            for _ in range(2):  # what a first use left behind would disturb the second
                _watch(Tile38(TOWN, Plan(tile38=f"127.0.0.1:{port}")))
            assert theirs.execute_command("KEYS", "*") == [b"theirs"]
            assert theirs.execute_command("CHANS", "*") == []
            theirs.close()
        finally:
            server.kill()


def _tile38_client(port):
    client = redis.Redis(port=port, protocol=2)
    until_s = time.monotonic() + 30
    while True:
        try:
            client.execute_command("PING")
            return client
        except redis.ConnectionError:
            assert time.monotonic() < until_s
            time.sleep(0.05)


def _watch(peer):
    """Let vehicles drive; the peer must know in the end where each of them is."""
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
    for path, says in ((None, "--tile38 FILE"), ("/no/such/tile38-server", "is not a program"), _NOBODY):
        with pytest.raises(Missing, match=says):
            Tile38(FLAT, Plan(tile38=path))


def test_a_stage_hands_out_fresh_migrated_databases(postgres_server):
    with shared() as stage, shared() as same:
        assert stage is same
        with stage.database() as one, stage.database() as other:
            assert one != other
            for url in (one, other):
                with psycopg.connect(url) as connection:
                    assert connection.execute("SELECT count(*) FROM hazfence.event").fetchone() == (0,)
                    connection.execute("CREATE TABLE mine (i integer)")
        with stage.database() as again, psycopg.connect(again) as connection:
            assert connection.execute("SELECT to_regclass('mine')").fetchone() == (None,)
    with shared() as later:
        assert later is not stage
    with psycopg.connect(postgres_server) as connection:
        left = connection.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'hazfence_bench%'")
        assert left.fetchone() == (0,)
