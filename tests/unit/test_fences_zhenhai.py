"""The district that comes with the project: real boundary, repaired; everything else labelled invented."""

from pathlib import Path

import numpy as np
import pytest
import shapely

from hazfence_fences import Datum, FenceKind, load_fences

FOLDER = Path(__file__).parents[2] / "fences" / "zhenhai"


@pytest.fixture(scope="module")
def zhenhai():
    return load_fences(FOLDER)


def test_what_is_there(zhenhai):
    kinds = [f.kind for f in zhenhai]
    counts = {kind: kinds.count(kind) for kind in FenceKind}
    assert counts == {"district": 1, "checkpoint": 6, "restricted": 2, "corridor": 2, "parking": 1, "zone": 0}


def test_the_boundary_is_real_and_says_that_it_was_repaired(zhenhai):
    district = zhenhai["zhenhai"]
    assert district.datum is Datum.GCJ02
    assert len(district.notes) == 1
    assert district.notes[0].startswith("repaired: ring self-intersection at (121.76")
    assert shapely.is_valid(district.geometry)
    assert 500 < shapely.get_num_coordinates(district.geometry) < 530
    m = 111_320 * np.cos(np.radians(29.98)) * 110_860 / 1e6
    assert 230 < district.geometry.area * m < 290  # km2; a generalised outline of the district has 245


def test_all_else_is_labelled_invented(zhenhai):
    for fence in zhenhai:
        if fence.id != "zhenhai":
            assert "invented" in fence.notes
            assert "(invented)" in fence.name


def test_a_road_across_the_boundary_at_a_checkpoint_passes_through_it(zhenhai):
    district = zhenhai["zhenhai"]
    for fence in zhenhai:
        if fence.kind is FenceKind.CHECKPOINT:
            lon, lat = fence.centre
            assert district.boundary_distance_m(lon, lat) < 20
            rim = shapely.intersection(fence.geometry, district.geometry.boundary)
            assert rim.geom_type == "LineString"  # the boundary passes once, through the middle
            assert (
                0.4 < shapely.intersection(fence.geometry, district.geometry).area / fence.geometry.area < 0.6
            )


def test_zones_corridors_and_the_park_lie_in_the_district(zhenhai):
    district = zhenhai["zhenhai"].geometry
    for fence in zhenhai:
        if fence.kind in (FenceKind.RESTRICTED, FenceKind.PARKING):
            assert district.contains(fence.geometry)
        if fence.kind is FenceKind.CORRIDOR:
            assert fence.geometry.intersection(district).area > 0.98 * fence.geometry.area
            assert fence.speed_limit_kmh == 60
