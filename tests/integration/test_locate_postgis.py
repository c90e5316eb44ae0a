"""`locate` against PostGIS: ST_Covers says the same, on random points and on fences' own vertices."""

import numpy as np
import psycopg
import pytest
import shapely

from hazfence_benchmarks.workloads import ZHENHAI, points_around, set_a, torture
from hazfence_fences import FenceSet, load_fences


def _covered(url, fences, x, y):
    """All (point, fence) pairs by ST_Covers."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE area (i int PRIMARY KEY, geom geometry)")
        cursor.execute("CREATE TEMP TABLE point (n int PRIMARY KEY, geom geometry)")
        with cursor.copy("COPY area FROM STDIN") as copy:
            for i, fence in enumerate(fences):
                copy.write_row((i, shapely.to_wkb(fence.geometry, hex=True)))
        with cursor.copy("COPY point FROM STDIN") as copy:
            for n, hexed in enumerate(shapely.to_wkb(shapely.points(x, y), hex=True)):
                copy.write_row((n, hexed))
        cursor.execute("SELECT n, i FROM point JOIN area ON ST_Covers(area.geom, point.geom) ORDER BY n, i")
        return cursor.fetchall()


def _polygons(fences):
    return FenceSet(f for f in fences if f.metric is None)


@pytest.mark.parametrize(
    "fences", [set_a, lambda: load_fences(ZHENHAI), torture], ids=["A", "zhenhai", "torture"]
)
def test_the_same_as_st_covers(fences, empty_postgres_url):
    areas = _polygons(fences())
    x, y = points_around(areas, 20_000)
    edges = np.concatenate([f.edges() for f in areas])
    rng = np.random.default_rng(1)
    vertices = edges[rng.integers(0, len(edges), 2000), :2]
    x, y = np.concatenate([x, vertices[:, 0]]), np.concatenate([y, vertices[:, 1]])
    rows, held = areas.locate(x, y).pairs()
    assert _covered(empty_postgres_url, areas, x, y) == list(zip(rows.tolist(), held.tolist(), strict=True))
