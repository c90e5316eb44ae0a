"""The peers answer as they should, what they get wrong is counted, and a missing one is said aloud."""

import numpy as np
import pytest

from hazfence_benchmarks.exactness import reference_pairs
from hazfence_benchmarks.peers import (
    H3,
    POINT_PEERS,
    ByHand,
    DuckDb,
    Geopandas,
    Meos,
    Missing,
    StrTree,
    check,
    opened,
)
from hazfence_benchmarks.plan import Plan
from hazfence_benchmarks.points import POINTS
from hazfence_benchmarks.workloads import set_a, set_c
from hazfence_fences import FenceSet

IN_PROCESS = (ByHand, StrTree, Geopandas, DuckDb, Meos, H3)
FLAT = FenceSet(f for f in set_c(150, 3) if f.metric is None)


def built(kind, fences):
    try:
        return kind(fences)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("kind", IN_PROCESS, ids=lambda kind: kind.name)
def test_peers_find_the_covering_polygons(kind):
    peer = built(kind, FLAT)
    lon, lat = POINTS["trucks"](FLAT, 800, 1)
    point, _ = reference_pairs(FLAT, lon, lat)
    assert len(point) > 100
    wrong = check(FLAT, peer, lon, lat)
    if kind is H3:
        assert 0 < wrong < 400  # cells are not fences: some points are told wrong, and that is counted
    else:
        assert wrong == 0
    peer.close()


@pytest.mark.parametrize("kind", [ByHand, StrTree], ids=lambda kind: kind.name)
def test_these_are_exact_on_circles_and_on_the_worst_points(kind):
    fences = set_a()
    assert check(fences, built(kind, fences), *POINTS["worst"](fences, 1000, 2)) == 0


def test_wrong_answers_are_counted():
    class Blind:
        def pairs(self, lon, lat):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)

    lon, lat = POINTS["trucks"](FLAT, 500, 1)
    covered = len(np.unique(reference_pairs(FLAT, lon, lat)[0]))
    assert check(FLAT, Blind(), lon, lat) == covered > 0


def test_a_missing_peer_is_said_aloud_and_an_unwanted_one_is_not():
    class Gone(ByHand):
        name = "gone"

        def __init__(self, fences):
            raise Missing("pip install gone")

    with opened((ByHand, Gone), Plan(), FLAT) as (peers, skipped):
        assert [peer.name for peer in peers] == [ByHand.name]
        assert skipped == {"gone": "pip install gone"}
    with opened((*POINT_PEERS, Gone), Plan(peers=frozenset()), FLAT) as (peers, skipped):
        assert (peers, skipped) == ([], {})


def test_pymeos_is_not_asked_about_many_fences():
    with pytest.raises(Missing, match="64 fences"):
        Meos(set_c(65, 9))


@pytest.mark.parametrize("kind", POINTS)
def test_points_are_made_from_the_seed(kind):
    fences = set_a()
    lon, lat = POINTS[kind](fences, 1001, 4)
    again = POINTS[kind](fences, 1001, 4)
    assert lon.shape == lat.shape == (1001,)
    assert (lon == again[0]).all()
    assert (lat == again[1]).all()
    assert (lon != POINTS[kind](fences, 1001, 5)[0]).any()
    assert np.isfinite(lon).all()
    assert (np.abs(lat) <= 90).all()


def test_trucks_are_at_fences_more_often_than_chance():
    fences = set_c(300, 1)
    share = {
        kind: np.count_nonzero(fences.locate(*POINTS[kind](fences, 4000, 1)).keys) / 4000
        for kind in ("trucks", "uniform")
    }
    assert share["trucks"] > 2 * share["uniform"]
