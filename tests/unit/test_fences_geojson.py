"""Reading fences: what is repaired, what is refused and with which words."""

import json
import math

import pytest
import shapely

from hazfence_fences import Datum, FenceError, FenceKind, load_fences, parse_fences, to_feature

SQUARE = [[[121.0, 29.0], [121.1, 29.0], [121.1, 29.1], [121.0, 29.1], [121.0, 29.0]]]


def feature(geometry=None, **properties):
    geometry = {"type": "Polygon", "coordinates": SQUARE} if geometry is None else geometry
    return {"type": "Feature", "geometry": geometry, "properties": {"id": "a", "kind": "zone", **properties}}


def polygon(*ring):
    return {"type": "Polygon", "coordinates": [list(ring)]}


def collection(*features, **more):
    return {"type": "FeatureCollection", "features": list(features), **more}


def parse(obj):
    return parse_fences(obj, source="f.geojson")


def test_id_and_kind_are_enough():
    (f,) = parse(collection(feature()))
    assert (f.id, f.kind, f.version, f.datum, f.notes) == ("a", FenceKind.ZONE, 1, Datum.WGS84, ())
    assert f.thin is False
    assert f.covers(121.0, 29.0)
    assert not f.covers(120.9999999, 29.0)


def test_every_property_is_read():
    obj = feature(
        name="Depot 油库",
        speed_limit_kmh=40,
        max_stay_min=30,
        version=3,
        thin=True,
        valid_from="2026-01-01T00:00:00+08:00",
        valid_to="2027-01-01T00:00:00Z",
        schedule={"tz": "Asia/Shanghai"},
        invented=True,
        owner={"x": 1},
    )
    (f,) = parse(obj)
    assert (f.name, f.speed_limit_kmh, f.max_stay_min, f.version, f.thin) == (
        "Depot 油库",
        40.0,
        30.0,
        3,
        True,
    )
    assert (f.valid_from_us, f.valid_to_us) == (1767196800_000000, 1798761600_000000)
    assert f.notes == ("invented",)
    assert f.properties == {"owner": {"x": 1}}
    assert f.timed


def test_feature_level_id_and_numbers_as_ids():
    obj = feature()
    del obj["properties"]["id"]
    obj["id"] = 17
    assert parse(obj)[0].id == "17"


def test_circle_and_corridor():
    c, k = parse(
        collection(
            feature({"type": "Point", "coordinates": [121.6, 29.9, 7.0]}, radius_m=150, kind="checkpoint"),
            feature(
                {"type": "LineString", "coordinates": [[121.6, 29.9], [121.7, 29.95]]},
                id="k",
                kind="corridor",
                width_m=100,
            ),
        )
    )
    assert (c.shape, c.centre, c.radius_m, c.thin) == ("circle", (121.6, 29.9), 150.0, True)
    assert (k.shape, k.width_m) == ("corridor", 100.0)
    area_m2 = k.geometry.area * 111_320 * math.cos(math.radians(29.925)) * 110_860
    length_m = math.hypot(0.1 * 96_480, 0.05 * 110_860)
    assert area_m2 == pytest.approx(length_m * 100 + math.pi * 50**2, rel=0.01)


@pytest.mark.parametrize("datum", ["GCJ-02", "BD-09"])
def test_map_datums_move_to_wgs84(datum):
    per_feature = parse(collection(feature(datum=datum)))[0]
    per_file = parse(collection(feature(), datum=datum))[0]
    assert per_feature.geometry.equals(per_file.geometry)
    assert per_feature.datum == datum
    shift_m = abs(per_feature.geometry.bounds[0] - 121.0) * 96_500
    assert 200 < shift_m < 1500


@pytest.mark.parametrize(
    ("name", "datum"),
    [("urn:ogc:def:crs:OGC:1.3:CRS84", Datum.WGS84), ("urn:ogc:def:crs:EPSG::4490", Datum.CGCS2000)],
)
def test_old_crs_members_are_obeyed(name, datum):
    obj = collection(feature(), crs={"type": "name", "properties": {"name": name}})
    assert parse(obj)[0].datum is datum


def test_bow_tie_is_repaired_and_noted():
    obj = feature(polygon([121.0, 29.0], [121.1, 29.1], [121.1, 29.0], [121.0, 29.1], [121.0, 29.0]))
    (f,) = parse(obj)
    assert shapely.is_valid(f.geometry)
    assert f.notes == ("repaired: self-intersection at (121.05, 29.05); kept 2 polygons of what it encloses",)


def test_spikes_open_rings_and_heights_are_repaired():
    obj = feature(
        polygon(
            [121.0, 29.0, 5],
            [121.1, 29.0, 5],
            [121.1, 29.1, 5],
            [121.1, 29.3, 5],
            [121.1, 29.1, 5],
            [121.0, 29.1, 5],
        )
    )
    (f,) = parse(obj)
    assert f.geometry.equals(shapely.box(121.0, 29.0, 121.1, 29.1))
    assert f.notes[0] == "repaired: a ring was not closed"
    assert f.notes[1].startswith("repaired: ")


def test_holes_stay_holes():
    hole = [[121.02, 29.02], [121.02, 29.08], [121.08, 29.08], [121.08, 29.02], [121.02, 29.02]]
    (f,) = parse(feature({"type": "Polygon", "coordinates": [*SQUARE, hole]}))
    assert not f.covers(121.05, 29.05)
    assert f.covers(121.02, 29.05)  # the hole's rim is boundary, and boundary belongs to the fence


def test_both_sides_of_the_antimeridian_as_rfc_7946_wants():
    west = [[[179.0, -17.0], [180.0, -17.0], [180.0, -16.0], [179.0, -16.0], [179.0, -17.0]]]
    east = [[[-180.0, -17.0], [-179.0, -17.0], [-179.0, -16.0], [-180.0, -16.0], [-180.0, -17.0]]]
    (f,) = parse(feature({"type": "MultiPolygon", "coordinates": [west, east]}))
    assert [f.covers(x, -16.5) for x in (179.5, 180.0, -180.0, -179.5, 0.0)] == [
        True,
        True,
        True,
        True,
        False,
    ]


def test_a_million_points_are_read():
    ring = [
        [121 + math.cos(t * math.tau / 1_000_000), 29 + math.sin(t * math.tau / 1_000_000)]
        for t in range(1_000_000)
    ]
    (f,) = parse(feature(polygon(*ring)))
    assert shapely.get_num_coordinates(f.geometry) == 1_000_001


def test_features_are_written_so_that_they_read_back_equal():
    fences = parse(
        collection(
            feature(name="x", schedule={"tz": "Asia/Shanghai"}, invented=True, datum="GCJ-02", owner="y"),
            feature(
                {"type": "Point", "coordinates": [121.6, 29.9]},
                id="c",
                radius_m=150,
                max_stay_min=5,
                datum="BD-09",
            ),
            feature(
                {"type": "LineString", "coordinates": [[121.6, 29.9], [121.7, 29.95]]},
                id="k",
                width_m=100,
                valid_to="2030-01-01T00:00:00Z",
            ),
        )
    )
    again = parse(json.loads(json.dumps(collection(*map(to_feature, fences)))))
    assert again == fences


BAD = [
    ([], "f.geojson: is no GeoJSON FeatureCollection or Feature; wrap the geometry in a Feature"),
    ({"type": "Polygon", "coordinates": SQUARE}, "is no GeoJSON FeatureCollection"),
    (collection(5), "feature 0: is not a GeoJSON Feature"),
    (feature(id=None), "feature 0: has no id; give it a property 'id'"),
    (feature(id=""), "has no id"),
    (
        feature(kind=None),
        "f.geojson: feature 0 (id 'a'): has no kind; set 'kind' to one of district, checkpoint,",
    ),
    (feature(kind="checkpiont"), "kind is 'checkpiont'"),
    (feature(datum="ED50"), "unknown datum 'ED50'"),
    (feature(datum=7), "f.geojson: feature 0 (id 'a'):"),
    (collection(feature(), crs={"properties": {"name": "EPSG:3857"}}), "has crs 'EPSG:3857'; reproject"),
    (feature({"type": "Polygon"}), "polygon has no ring"),
    (feature({"type": "Polygon", "coordinates": []}), "polygon has no ring; give it at least one ring"),
    (feature({"type": "Polygon", "coordinates": [[]]}), "ring has 0 points; a ring needs at least 4"),
    (
        feature(polygon([121.0, 29.0], [121.1, 29.0])),
        "ring has 2 points at (121, 29); a ring needs at least 4",
    ),
    (
        feature(polygon([121.0, 29.0], [121.1, 29.0], [121.2, 29.0], [121.0, 29.0])),
        "nothing of it can be kept at",
    ),
    (
        feature(polygon([121.0, 29.0], [121.1, "x"], [121.2, 29.0])),
        'position 1 is [121.1, "x"] (after the place named) at (121, 29)',
    ),
    (feature(polygon([121.0, 29.0], [121.1], [121.2, 29.0])), "position 1 is [121.1]"),
    (
        feature(polygon([121.0, 29.0], [121.1, math.nan], [121.2, 29.0])),
        "position 1 is out of range at (121.1, nan); give two finite",
    ),
    (
        feature(polygon([29.0, 121.0], [29.1, 121.0], [29.1, 121.1])),
        "position 0 is out of range at (29, 121); longitude comes first",
    ),
    (
        feature(polygon([179.0, 0.0], [181.0, 0.0], [181.0, 1.0])),
        "position 1 is out of range at (181, 0); use degrees, longitude first; an area over the antimeridian",
    ),
    (
        feature(polygon([179.0, 0.0], [-179.0, 0.0], [-179.0, 1.0], [179.0, 1.0])),
        "spans the antimeridian at (179, 0); cut it at 180 degrees",
    ),
    (
        feature({"type": "Point", "coordinates": [121.0, 29.0]}),
        "Point without radius_m; a circle is a Point with radius_m in metres",
    ),
    (
        feature({"type": "Point", "coordinates": [121.0, 29.0]}, radius_m=-5),
        "radius_m is -5; give a number above 0",
    ),
    (
        feature({"type": "Point", "coordinates": [121.0, 29.0]}, radius_m=90_000),
        "radius_m is 90000.0 at (121, 29); give metres",
    ),
    (
        feature({"type": "Point", "coordinates": [179.9999, 29.0]}, radius_m=500),
        "circle spans the antimeridian at (179.9999, 29)",
    ),
    (
        feature({"type": "Point", "coordinates": [10.0, 89.0]}, radius_m=500),
        "circle's centre is out of range",
    ),
    (feature(radius_m=5), "Polygon with radius_m"),
    (
        feature({"type": "LineString", "coordinates": [[121.0, 29.0], [121.1, 29.0]]}),
        "LineString without width_m",
    ),
    (
        feature({"type": "LineString", "coordinates": [[121.0, 29.0], [121.0, 29.0]]}, width_m=5),
        "line has no length",
    ),
    (
        feature({"type": "LineString", "coordinates": [[179.0, 29.0], [-179.0, 29.0]]}, width_m=5),
        "spans the antimeridian",
    ),
    (
        feature({"type": "MultiLineString", "coordinates": []}),
        "geometry is a MultiLineString; a fence is a Polygon",
    ),
    ({"type": "Feature", "geometry": None, "properties": {"id": "a", "kind": "zone"}}, "has no geometry"),
    ({"type": "Feature", "geometry": {}, "properties": [1]}, "properties are list"),
    (feature(speed_limit_kmh="80"), "speed_limit_kmh is '80'; give a number above 0"),
    (feature(max_stay_min=True), "max_stay_min is True"),
    (feature(version=0), "version is 0; count versions from 1"),
    (feature(thin="yes"), "thin is 'yes'; write true or false"),
    (feature(valid_from="2026-01-01"), "valid_from is '2026-01-01'; write date, time and zone"),
    (
        feature(valid_from="2026-01-02T00:00Z", valid_to="2026-01-01T00:00Z"),
        "valid_from is not before valid_to",
    ),
    (feature(schedule={"tz": "Nowhere"}), "schedule tz 'Nowhere' is no time zone"),
    (
        collection(feature(), feature()),
        "feature 1 (id 'a'): id is used by feature 0 already; give every fence its own id",
    ),
]


@pytest.mark.parametrize(("obj", "message"), BAD)
def test_bad_features_are_refused_with_place_and_mend(obj, message):
    with pytest.raises(FenceError) as caught:
        parse(obj)
    assert message in str(caught.value)
    assert str(caught.value).startswith("f.geojson: ")


def test_error_carries_its_parts():
    with pytest.raises(FenceError) as caught:
        parse(collection(feature(), feature(polygon([121.0, 29.0], [121.1, 29.0]), id="b")))
    e = caught.value
    assert (e.source, e.feature, e.fence_id, e.place) == ("f.geojson", 1, "b", (121.0, 29.0))


def test_folders_and_files(tmp_path):
    (tmp_path / "b.geojson").write_text(json.dumps(collection(feature(id="b"))), encoding="utf-8")
    (tmp_path / "a.geojson").write_text(
        "\ufeff" + json.dumps(collection(feature(name="区"))), encoding="utf-8"
    )
    (tmp_path / "notes.txt").write_text("not a fence")
    assert [f.id for f in load_fences(tmp_path)] == ["a", "b"]
    assert [f.id for f in load_fences(tmp_path / "b.geojson")] == ["b"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no .geojson file in this folder"),
        (
            {"a.geojson": b"{"},
            "a.geojson: is not JSON: Expecting property name enclosed in double quotes at line 1, column 2",
        ),
        ({"a.geojson": b"\xff\xfe{"}, "a.geojson: is not UTF-8 (byte 0)"),
        ({"a.geojson": b'{"type": "FeatureCollection", "features": []}'}, "has no feature"),
        ({n: json.dumps(feature()).encode() for n in ("a.geojson", "b.geojson")}, "id is used in"),
    ],
)
def test_bad_folders(tmp_path, files, message):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(FenceError) as caught:
        load_fences(tmp_path)
    assert message in str(caught.value)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_fences(tmp_path / "none.geojson")
