"""The set: bad input, empty input, odd arrays, identity, sharing and threads."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shapely

from hazfence_benchmarks.workloads import points_around, set_a, set_c, small_fence
from hazfence_fences import Fence, FenceError, FenceKind, FenceSet, circle
from hazfence_fences.index import lookup as lookup_module
from hazfence_fences.index import table as table_module


@pytest.fixture(scope="module")
def district():
    return set_a()


@pytest.mark.parametrize(
    ("lon", "lat", "message"),
    [
        (
            [121.0, np.nan],
            [30.0, 30.0],
            "row 1 is not finite: lon nan, lat 30.0; set such",
        ),
        ([121.0, 121.0, 121.0], [30.0, np.inf, np.nan], "row 1 is not finite: lon 121.0, lat inf"),
        ([121.0], [30.0, 31.0], r"longitudes of shape \(1,\) and latitudes of shape \(2,\)"),
        ([[121.0]], [[30.0]], r"shape \(1, 1\)"),
        (121.0, 30.0, r"shape \(\)"),
        (["x"], [30.0], "must be numbers"),
        ([None], [30.0], "row 0 is not finite|must be numbers"),
    ],
)
def test_what_is_no_column_of_points_is_refused(district, lon, lat, message):
    with pytest.raises(ValueError, match=message):
        district.locate(lon, lat)
    with pytest.raises(ValueError, match=message):
        district.segment_hits([0.0], [0.0], lon, lat)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("end", range(4))
def test_a_segment_with_an_end_that_is_nowhere_is_refused_by_its_row(district, end, bad):
    ends = np.tile([[121.6], [29.9], [121.601], [29.901]], (1, 200_000))
    ends[end, 150_000] = bad
    with pytest.raises(ValueError, match="row 150000 is not finite"):
        district.segment_hits(*ends)
    with pytest.raises(ValueError, match="row 150000 is not finite"):
        FenceSet([]).segment_hits(*ends)


def test_segments_of_unequal_number(district):
    with pytest.raises(ValueError, match="2 segment starts but 1 ends"):
        district.segment_hits([1.0, 2.0], [1.0, 2.0], [1.0], [1.0])


def test_empty_batches_and_empty_sets(district):
    nothing = district.locate([], [])
    assert len(nothing) == 0
    assert nothing.contains("zhenhai").tolist() == []
    assert [v.tolist() for v in nothing.pairs()] == [[], []]
    assert [v.tolist() for v in district.segment_hits([], [], [], [])] == [[], []]
    void = FenceSet()
    assert void.locate([121.0, 0.0, 1.5, 0.2], [30.0, 0.0, 1.5, 0.2]).keys.tolist() == [0, 0, 0, 0]
    assert void.locate_one(0.0, 0.0) == ()
    assert void.segment_hits([0.0], [0.0], [1.0], [1.0])[0].tolist() == []
    assert (len(void), list(void), void.timed, void.fingerprint) == (0, [], (), "0" * 32)


def test_numbers_of_any_kind_and_stride(district):
    x, y = points_around(district, 5000)
    want = district.locate(x, y).keys
    both = np.column_stack([x, y])
    assert (district.locate(both[:, 0], both[:, 1]).keys == want).all()
    assert (district.locate(x[::-1], y[::-1]).keys == want[::-1]).all()
    assert (district.locate(x.tolist(), y.tolist()).keys == want).all()
    assert (district.locate(x.astype(">f8"), y.astype(">f8")).keys == want).all()
    narrow = x.astype(np.float32), y.astype(np.float32)
    wide = narrow[0].astype(float), narrow[1].astype(float)
    assert (district.locate(*narrow).keys == district.locate(*wide).keys).all()
    assert district.locate(np.array([122, 121]), np.array([30, 29])).keys.tolist() == [0, 0]


@pytest.mark.filterwarnings("error")
def test_places_beyond_the_world_are_in_no_fence(district):
    far = [1e300, -1e300, 1e18, -200.0, 180.0, 1.7e308, 1.7e308]
    assert district.locate(far, [0.0, 1e300, -1e18, 95.0, 90.0, 1.7e308, 1.7e308]).keys.tolist() == [0] * 7
    assert district.locate_one(1e300, -1e300) == ()


def test_coordinates_overwritten_since_are_noticed(district):
    x, y = np.array([121.6, 100.0]), np.array([29.99, 0.0])
    located = district.locate(x, y)
    assert located.members(0) == ("zhenhai",)
    x[0] = 100.0
    with pytest.raises(RuntimeError, match="row 0 changed since locate"):
        located.members(0)


def test_keys_are_sums_of_the_members_keys(district):
    cp = district["cp-1"]
    located = district.locate([cp.centre[0]], [cp.centre[1]])
    assert located.members(0) == ("cp-1", "zhenhai")
    assert located.keys[0] == (cp.key + district["zhenhai"].key) % 2**64
    assert repr(located) == "<Located 1 points, 1 in a fence>"


def test_order_ids_and_indexes_through_edits():
    fences = set_c(50)
    fences.locate([121.6], [29.9])
    assert [fences.index_of(f.id) for f in fences] == list(range(50))
    more = fences.with_fence(circle("new", FenceKind.ZONE, 121.6, 29.9, 10.0))
    assert (len(more), more[50].id, more["new"].radius_m) == (51, "new", 10.0)
    assert "new" in more
    assert "new" not in fences
    fewer = more.without("c-3")
    assert [f.id for f in fewer] == [f.id for f in more if f.id != "c-3"]
    assert [fewer.index_of(f.id) for f in fewer] == list(range(50))
    assert fewer[-1].id == "new"
    with pytest.raises(KeyError):
        fewer.without("c-3")
    with pytest.raises(KeyError):
        fewer.index_of("c-3")
    back = fewer.with_fence(fences["c-3"])
    assert back.index_of("c-3") == 50
    newer = back.with_fence(circle("c-7", FenceKind.ZONE, 121.6, 29.9, 10.0, version=2))
    assert newer.index_of("c-7") == back.index_of("c-7")
    assert (newer["c-7"].version, back["c-7"].version) == (2, 1)
    assert newer.fingerprint == FenceSet(newer.fences).fingerprint != back.fingerprint


def test_timed_follows_edits():
    plain = circle("p", FenceKind.ZONE, 121.6, 29.9, 10.0)
    timed = circle("t", FenceKind.ZONE, 121.6, 29.9, 10.0, valid_to_us=5)
    fences = FenceSet([*set_c(40), plain]).with_fence(timed)
    assert fences.timed == (41,)
    assert fences.without("p").timed == (40,)
    assert fences.without("t").timed == ()


def test_ids_must_differ():
    with pytest.raises(FenceError, match="fence id 'c-0': id is used twice in one set"):
        FenceSet([*set_c(3), *set_c(2)])


def test_sets_pickle_and_print(district):
    again = pickle.loads(pickle.dumps(district))
    assert again.fences == district.fences
    assert repr(again) == "<FenceSet 7 fences: 6 checkpoint, 1 district>"
    assert "7 fences" in repr(district)
    assert "cells" in repr(district.table)


def test_near_lists_by_distance(district):
    found = district.near(121.537, 30.0605, 500.0)
    assert [district[i].id for i, _ in found] == ["cp-1", "zhenhai"]
    assert found[0][1] == pytest.approx(district["cp-1"].distance_m(121.537, 30.0605))
    assert district.near(0.0, 0.0, 1000.0) == []
    assert [away for _, away in district.near(121.6, 29.99, 1.0)] == [0.0]


def test_equal_and_nested_fences_are_told_apart():
    square = shapely.box(121.5, 29.9, 121.6, 30.0)
    fences = FenceSet(Fence(name, FenceKind.ZONE, square) for name in ("a", "b", "c"))
    assert fences.locate([121.55, 121.5, 121.6], [29.95, 29.9, 30.0]).members(1) == ("a", "b", "c")
    fewer = fences.without("b")
    assert fewer.locate([121.5], [29.9]).members(0) == ("a", "c")


def test_a_fence_of_a_million_edges():
    t = np.linspace(0, 2 * np.pi, 1_000_001)[:-1]
    r = 0.2 + 0.01 * np.sin(t * 5000)
    ring = np.column_stack([121.6 + r * np.cos(t), 30 + r * np.sin(t)])
    fence = Fence("million", FenceKind.ZONE, shapely.Polygon(ring))
    fences = FenceSet([fence])
    x, y = points_around(fences, 100_000)
    assert (fences.locate(x, y).contains("million") == shapely.intersects_xy(fence.geometry, x, y)).all()


def test_readers_and_a_writer_in_threads():
    """Readers of a set get its answers while successors are written over the same pools."""
    fences = set_c(300)
    x, y = points_around(fences, 30_000)
    want = fences.locate(x, y).keys.copy()

    def read(_):
        return (fences.locate(x, y).keys == want).all()

    def write(seed):
        rng, live = np.random.default_rng(seed), fences
        for n in range(60):
            live = live.with_fence(small_fence(rng, f"w{seed}-{n}"))
        return (live.locate(x, y).keys == FenceSet(live.fences).locate(x, y).keys).all()

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, seed) for seed in range(3)]
        readers = list(pool.map(read, range(60)))
    assert all(readers)
    assert all(w.result() for w in writers)


def test_keys_of_cells_follow_edits():
    rng, live = np.random.default_rng(3), set_c(300)
    x, y = points_around(live, 3000, 2)
    live.locate(x, y)  # from here on they are carried along
    for n in range(12):
        live = live.without(live[5].id) if n % 3 == 2 else live.with_fence(small_fence(rng, live[n].id))
        table, fresh = live.table, FenceSet(live)
        made_anew = type(table)(table.grid, table.coarse, table.pools)
        assert np.array_equal(table.cell_key, made_anew.cell_key)
        assert np.array_equal(live.locate(x, y).keys, fresh.locate(x, y).keys)


def test_a_set_may_have_the_key_that_stands_for_none(district, monkeypatch):
    """One set in 2**64 has; its places are not looked for in a block that is not there."""
    x, y = points_around(district, 20_000, 4)
    keys = district.locate(x, y).keys
    cells = district.table.cell_key
    whole = np.unique(cells[(district.table.coarse > 0)])
    assert len(whole)
    for module in (table_module, lookup_module):
        monkeypatch.setattr(module, "IN_BLOCK", whole[-1])
    again = set_a()
    assert np.array_equal(again.locate(x, y).keys, keys)
    assert (again.table.cell_key[again.table.coarse < 0] == whole[-1]).all()


def test_what_is_known_to_be_sound_is_answered_alike(district):
    rng = np.random.default_rng(6)
    x, y = points_around(district, 500, 8)
    fence = rng.integers(0, len(district), 500).astype(np.int32)
    ends = x, y, x + rng.normal(0, 0.003, 500), y + rng.normal(0, 0.003, 500)
    leaving = rng.random(500) < 0.5
    for asked in (
        lambda **how: district.near_border(fence, x, y, 400.0, **how),
        lambda **how: district.crossings(fence, leaving, *ends, **how),
        lambda **how: district.passages(fence, *ends, **how),
    ):
        assert np.array_equal(asked(), asked(sound=True), equal_nan=True)
    with pytest.raises(ValueError, match="row 1 is not finite"):
        district.near_border(fence[:2], [121.0, np.nan], [30.0, 30.0], 5.0)


@pytest.mark.parametrize("side", ["west", "south", "east", "north"])
@pytest.mark.parametrize("over", [-0.5, 0.0, 0.9, 1.0, 1.1, 30.5])
def test_known_bounds_are_answered_alike_wherever_they_end(district, side, over):
    """Up to a cell beyond the grid places need not be put into it, and beyond that they must be."""
    g = district.table.grid
    rng = np.random.default_rng(9)
    u, v = rng.uniform(0.0, g.nx - 1.0, 40_000), rng.uniform(0.0, g.ny - 1.0, 40_000)
    place, most = (u, g.nx - 1.0) if side in ("west", "east") else (v, g.ny - 1.0)
    some = rng.random(len(u)) < 0.3
    some[0] = True
    beyond = rng.uniform(min(over, 0.0), over, len(u))
    beyond[0] = over
    place[some] = (-beyond if side in ("west", "south") else most + beyond)[some]
    lon, lat = g.x0 + u / g.sx, g.y0 + v / g.sy
    bounds = lon.min(), lat.min(), lon.max(), lat.max()
    lines = np.concatenate([fence.edges() for fence in district if fence.metric is None])
    for around in (None, district.around(lines, 15.0)):
        plain = district.locate(lon, lat, around)
        known = district.locate(lon, lat, around, sound=True, bounds=bounds)
        assert np.array_equal(known.keys, plain.keys)
        assert around is None or np.array_equal(known.around, plain.around)
    # Of places that nobody vouches for, bounds say nothing.
    wrong = district.locate(lon, lat, bounds=(g.x0, g.y0, g.x0, g.y0))
    assert np.array_equal(wrong.keys, district.locate(lon, lat).keys)


def test_few_segments_touch_what_they_touch_among_many(district):
    """So few are held against every thin fence; many are looked up in a grid."""
    rng = np.random.default_rng(12)
    thin = [fence for fence in district if fence.thin]
    west, south, east, north = np.array([fence.bounds for fence in thin])[rng.integers(0, len(thin), 3000)].T
    lon0, lat0 = (
        west + rng.uniform(-2, 3, 3000) * (east - west),
        south + rng.uniform(-2, 3, 3000) * (north - south),
    )
    lon1, lat1 = (
        lon0 + rng.normal(0, 1, 3000) * (east - west),
        lat0 + rng.normal(0, 1, 3000) * (north - south),
    )
    lon1[::3], lat1[1::3] = west[::3], north[1::3]  # some end on the edge of a box
    ends = lon0, lat0, lon1, lat1
    row, fence = district.segment_hits(*ends)
    assert len(row) > 300
    for few in (1, 40, 3000 // 7):
        parts = [district.segment_hits(*(end[a : a + few] for end in ends)) for a in range(0, 3000, few)]
        again = np.concatenate([part[0] + few * i for i, part in enumerate(parts)])
        assert np.array_equal(again, row)
        assert np.array_equal(np.concatenate([part[1] for part in parts]), fence)
    with pytest.raises(ValueError, match="row 1 is not finite"):
        district.segment_hits([121.5, 121.5], [30.0, 30.0], [121.6, np.nan], [30.0, 30.0])
