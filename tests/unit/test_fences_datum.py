"""Datums: the published forward formula, and inverses that come back to a hair."""

import numpy as np
import pytest

from hazfence_fences import Datum, from_wgs84, to_wgs84

# Pairs published with the eviltransform implementations (WGS-84 -> GCJ-02): lon, lat -> lon, lat.
PUBLISHED = [
    (121.5272106, 31.1774276, 121.531541859215, 31.17530398364597),
    (113.912316, 22.543847, 113.9171764808363, 22.540796131694766),
    (116.377817, 39.911954, 116.38404722455657, 39.91334545536069),
]


@pytest.mark.parametrize(("lon", "lat", "gcj_lon", "gcj_lat"), PUBLISHED)
def test_forward_is_the_published_formula(lon, lat, gcj_lon, gcj_lat):
    x, y = from_wgs84([lon], [lat], Datum.GCJ02)
    assert abs(x[0] - gcj_lon) < 1e-12
    assert abs(y[0] - gcj_lat) < 1e-12


def test_gcj02_is_hundreds_of_metres_off_at_zhenhai():
    x, y = to_wgs84([121.7], [29.95], Datum.GCJ02)
    east_m, north_m = (121.7 - x[0]) * 96_500, (29.95 - y[0]) * 110_850
    assert 450 < np.hypot(east_m, north_m) < 530


@pytest.mark.parametrize("datum", list(Datum))
def test_inverse_comes_back_within_a_tenth_of_a_micrometre(datum):
    rng = np.random.default_rng(7)
    lon, lat = rng.uniform(73, 137, 200_000), rng.uniform(1.5, 55, 200_000)
    x, y = to_wgs84(*from_wgs84(lon, lat, datum), datum)
    assert np.abs(x - lon).max() < 1e-12
    assert np.abs(y - lat).max() < 1e-12


def test_outside_china_gcj02_is_wgs84():
    assert from_wgs84([2.35], [48.85], Datum.GCJ02)[0][0] == 2.35
    assert to_wgs84([2.35], [48.85], Datum.GCJ02)[1][0] == 48.85


@pytest.mark.parametrize("name", ["wgs84", "WGS 84", "gcj02", "GCJ-02", "bd_09", "cgcs2000"])
def test_names_are_read_kindly(name):
    assert Datum.parse(name) in Datum


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown datum 'ED50'; use one of WGS-84, CGCS2000, GCJ-02, BD-09"):
        Datum.parse("ED50")
