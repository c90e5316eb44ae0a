"""The readers of tables and features: one track in every format, and every way a file can be broken."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq
import pytest

from hazfence import FixBatch
from hazfence.events import from_iso, iso
from hazfence_fences.datum import Datum, from_wgs84
from hazfence_replay.readers import Rejects, TrackError, Wanted, open_source, open_track
from hazfence_replay.readers.sorting import by_time
from hazfence_replay.readers.times import guess

START_US = from_iso("2026-03-02T08:00:00+08:00")
PLATES = ("浙B00001", "浙B00002", "沪D12345")


def track(n: int = 300, seed: int = 1) -> FixBatch:
    rng = np.random.default_rng(seed)
    return FixBatch.of(
        rng.integers(0, 3, n).astype(np.int32),
        vehicles=PLATES,
        time_us=START_US + np.arange(n) * 7_000_000,
        lon=rng.uniform(121, 122, n).round(6),
        lat=rng.uniform(29, 30, n).round(6),
        speed_kmh=rng.integers(0, 80, n),
        heading_deg=rng.integers(0, 360, n),
    )


def china(time_us: int, form: str = "{} {}") -> str:
    text = iso(time_us + 8 * 3_600_000_000)
    return form.format(text[:10], text[11:19])


def rows(batch: FixBatch, form: str = "{} {}", delimiter: str = ",") -> list[str]:
    cells = zip(
        batch.names(),
        (china(t, form) for t in batch.time_us.tolist()),
        map(repr, batch.lon.tolist()),
        map(repr, batch.lat.tolist()),
        map(str, batch.speed_kmh.astype(int).tolist()),
        map(str, batch.heading_deg.astype(int).tolist()),
        strict=True,
    )
    return [delimiter.join(row) for row in cells]


CHINESE = "车牌号,定位时间,经度,纬度,速度(km/h),方向"


def read(path: Path, **options: Any) -> tuple[FixBatch, Rejects]:
    reader = open_track(path, **options)
    batch = FixBatch.concat(reader)
    assert reader.share == 1.0
    return batch, reader.rejects


def same(found: FixBatch, wanted: FixBatch) -> None:
    """The same fixes, wherever in their files they stood."""
    plain = {"offset": np.zeros(len(found), np.int64), "item": np.zeros(len(found), np.int32)}
    assert len(found) == len(wanted)
    assert found.names() == wanted.names()
    for name in ("time_us", "lon", "lat", "speed_kmh", "heading_deg", "status", "alarm"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name), equal_nan=True), name
    assert plain["offset"].shape == found.offset.shape


# -- tables of text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_with_chinese_headers_in_every_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    batch = track()
    path = tmp_path / "day.csv"
    path.write_bytes((end.join([CHINESE, *rows(batch)]) + end).encode(encoding))
    found, rejects = read(path, tz="Asia/Shanghai")
    same(found, batch)
    assert found.offset.tolist() == list(range(2, 302))
    assert len(rejects) == 0


@pytest.mark.parametrize(
    ("form", "tz"),
    [
        ("{} {}", "Asia/Shanghai"),
        ("{}T{}", "Asia/Shanghai"),
        ("{}T{}.000000000", "Asia/Shanghai"),
        ("{}T{}+08:00", None),
        ("{} {}+0800", None),
    ],
)
def test_csv_times_of_iso_8601(tmp_path: Path, form: str, tz: str | None) -> None:
    batch = track()
    path = tmp_path / "day.csv"
    path.write_text("\n".join([CHINESE, *rows(batch, form)]))
    same(read(path, tz=tz)[0], batch)


def test_csv_times_of_other_habits(tmp_path: Path) -> None:
    batch = track(20)
    local = [iso(t + 8 * 3_600_000_000) for t in batch.time_us.tolist()]
    forms = {
        "excel": [f"{int(t[:4])}/{int(t[5:7])}/{int(t[8:10])} {int(t[11:13])}:{t[14:19]}" for t in local],
        "compact": [t[:19].translate(str.maketrans("", "", "-T:")) for t in local],
        "words": [f"{t[:4]}年{t[5:7]}月{t[8:10]}日 {t[11:19]}" for t in local],
        "s": [str(t // 1_000_000) for t in batch.time_us.tolist()],
        "ms": [str(t // 1_000) for t in batch.time_us.tolist()],
        "us": [str(t) for t in batch.time_us.tolist()],
        "ns": [str(t * 1_000) for t in batch.time_us.tolist()],
        "float s": [f"{t / 1e6:.3f}" for t in batch.time_us.tolist()],
        "mixed": [str(t // 1000) if i % 2 else iso(t) for i, t in enumerate(batch.time_us.tolist())],
    }
    for name, times in forms.items():
        path = tmp_path / f"{name}.csv"
        cells = zip(batch.names(), times, batch.lon.tolist(), batch.lat.tolist(), strict=True)
        path.write_text("\n".join(["plate,time,lng,lat", *(",".join(map(str, c)) for c in cells)]))
        found, rejects = read(path, tz="Asia/Shanghai")
        assert found.time_us.tolist() == batch.time_us.tolist(), name
        assert len(rejects) == 0
    path.write_text("id,time,lon,lat\nA,02.03.2026 08h00,1,2\n")
    assert read(path, tz="Asia/Shanghai", time_format="%d.%m.%Y %Hh%M")[0].time_us.tolist() == [START_US]
    path.write_text("id,日期,时间,lon,lat\nA,2026-03-02,08:00:00,1,2\n")
    assert read(path, tz="Asia/Shanghai")[0].time_us.tolist() == [START_US]


def test_a_clock_change_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    times = ["2026-03-29 01:59:59", "2026-03-29 03:00:00", "2026-10-25 02:30:00", "2026-10-25 03:00:00"]
    path.write_text("id,time,lon,lat\n" + "".join(f"A,{t},1,2\n" for t in times))
    utc = ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"]
    assert read(path, tz="Europe/Berlin")[0].time_us.tolist() == [from_iso(t) for t in utc]


def test_columns_by_option_by_number_and_by_sign(tmp_path: Path) -> None:
    batch = track(30)
    path = tmp_path / "day.csv"
    path.write_text("\n".join(["a;b;c;d;e;f;g", *(f"{row};x" for row in rows(batch, delimiter=";"))]))
    told = {"vehicle": "a", "time": "b", "lon": "c", "lat": "4", "speed_kmh": "e", "heading_deg": "f"}
    same(read(path, tz="Asia/Shanghai", columns=told)[0], batch)
    path.write_text("\n".join(rows(batch, delimiter="\t")))
    numbers = {"vehicle": "1", "time": "2", "lon": "3", "lat": "4", "speed_kmh": "5", "heading_deg": "6"}
    found, _ = read(path, tz="Asia/Shanghai", columns=numbers)
    same(found, batch)
    assert found.offset[0] == 1
    with pytest.raises(TrackError, match="no column for time among .*--column time=NAME"):
        read(path, tz="Asia/Shanghai")
    with pytest.raises(TrackError, match="there is no column '7' for lon"):
        read(path, columns={"lon": "7"})
    with pytest.raises(ValueError, match="no field 'height'"):
        read(path, columns={"height": "7"})


def test_units_bits_quotes_and_rows_without_a_vehicle_column(tmp_path: Path) -> None:
    path = tmp_path / "truck-7.csv"
    path.write_text(
        "time,lon,lat,speed (m/s),alarm,状态,note\n"
        '2026-03-02T00:00:00Z,121.5,29.9,10,1,在线,"a, ""b"""\n'
        '2026-03-02T00:00:01Z, 121.5 ,29.9,-1,-1,离线,"two\nlines"\n'
        "\n"
        "2026-03-02T00:00:02Z,121.5,29.9,,,离线,\n"
    )
    found, rejects = read(path)
    assert found.vehicles == ("truck-7",)
    assert found.speed_kmh.tolist()[0] == 36.0
    assert np.isnan(found.speed_kmh[1:]).all()
    assert found.alarm.tolist() == [1, 2**32 - 1, 0]
    assert found.status.tolist() == [0, 0, 0]
    assert found.offset.tolist() == [2, 3, 6]
    assert len(rejects) == 0
    assert read(path, vehicle="浙B1")[0].vehicles == ("浙B1",)


def test_broken_rows_are_named_with_line_and_reason_and_the_rest_is_used(tmp_path: Path) -> None:
    batch = track(2_000)
    lines = [CHINESE, *rows(batch)]
    dice = random.Random(3)
    broken = {
        "bad_time": "浙B1,yesterday,121.5,29.9,5,5",
        "no_time": "浙B1,,121.5,29.9,5,5",
        "bad_coordinate": "浙B1,2026-03-02 08:00:00,181,29.9,5,5",
        "no_vehicle": " ,2026-03-02 08:00:00,121.5,29.9,5,5",
        "bad_row": "浙B1,2026-03-02 08:00:00,121.5",
        "bad_number": "浙B1,2026-03-02 08:00:00,121.5,29.9,fast,5",
    }
    places = dict(zip(broken, sorted(dice.sample(range(100, 1900), len(broken)), reverse=True), strict=True))
    for reason, place in places.items():
        lines.insert(place, broken[reason])
    raw = ("\n".join(lines) + '\n浙B1,"2026-03-02 08:00:00,121.5,29.9,5,5\n').encode()
    raw += b"\xff\xfe\xfd,2026-03-02 08:00:00,121.5,29.9,5,5\n"
    path = tmp_path / "day.csv"
    path.write_bytes(raw)
    out = io.StringIO()
    reader = open_track(path, tz="Asia/Shanghai", encoding="utf-8")
    reader.rejects.file = out
    found = FixBatch.concat(reader)
    same(found, batch)
    rejects = reader.rejects
    assert rejects.counts == {**dict.fromkeys(broken, 1), "bad_row": 2, "bad_encoding": 1}
    kept = {r.reason: r for r in rejects.kept if r.line < 2_007}
    for reason, place in places.items():
        number = place + 1 + sum(1 for other in places.values() if other < place)
        assert (kept[reason].line, kept[reason].source) == (number, str(path)), reason
        assert broken[reason].strip() in kept[reason].detail
    written = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(written) == len(broken) + 2
    assert {r["line"] for r in written} == {r.line for r in rejects.kept}
    # Every fix knows its line, broken neighbours or not.
    text = path.read_bytes().split(b"\n")
    for row in dice.sample(range(len(found)), 50):
        assert repr(float(found.lon[row])).encode() in text[int(found.offset[row]) - 1]


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"id,time,lon,lat\nA,2026-03-02 08:00:00,1,2\n", "--tz Asia/Shanghai or --tz UTC"),
        ("a.csv", b"id,when,where\n", "no column for lon"),
        ("a.csv.gz", b"id,time", "cannot read on: Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"id,time,lon,lat\n" * 9999)[:90], "is the file whole?"),
        ("a.parquet", b"PAR1nothing", "cannot read on"),
        ("a.arrow", b"nothing at all", "cannot read on"),
        ("a.zip", b"PK", "no zip archive"),
        ("a.geojson", b'{"type": "FeatureCollection", "features": [', "breaks off at line 1"),
        ("a.geojson", b'{"type": "FeatureCollection", "features": [{]}', "line 1: not JSON"),
        ("a.geojson", b"", "no feature in this file"),
        ("a.doc", b"", "cannot tell the format from '.doc'"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path: Path, name: str, raw: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(TrackError) as caught:
        list(open_track(path))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,time,lon,lat\n")
    for options, says in [
        ({"tz": "Mars/Olympus"}, "unknown time zone 'Mars/Olympus'"),
        ({"encoding": "klingon"}, "unknown encoding 'klingon'"),
        ({"delimiter": "--"}, "one character"),
        ({"batch_fixes": 0}, "at least 1"),
    ]:
        with pytest.raises(ValueError, match=says):
            open_track(path, **options)
    assert list(open_track(path)) == []


# -- packed, in folders, of another datum -----------------------------------------------------------------


def zstd(raw: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as packed:
        packed.write(raw)
    return out.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)],
)
def test_packed_files_are_looked_through(tmp_path: Path, suffix: str, pack: Any) -> None:
    batch = track()
    plain = tmp_path / "x.csv"
    plain.write_text("\n".join([CHINESE, *rows(batch)]))
    table = pa_csv.read_csv(plain)
    pq.write_table(table, tmp_path / "x.parquet")
    for name in ("x.csv", "x.parquet"):
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(pack((tmp_path / name).read_bytes()))
        same(read(path, tz="Asia/Shanghai")[0], batch)


def test_a_folder_or_archive_of_many_formats_is_one_stream_by_time(tmp_path: Path) -> None:
    batch = track(3_000)
    folder = tmp_path / "tracks"
    (folder / "more").mkdir(parents=True)
    parts = [batch.take(np.arange(i, 3_000, 3)) for i in range(3)]
    (folder / "a.csv").write_text("\n".join([CHINESE, *rows(parts[0])]))
    (folder / "more" / "b.csv.gz").write_bytes(gzip.compress("\n".join([CHINESE, *rows(parts[1])]).encode()))
    (folder / "README").write_text("not a track")
    with zipfile.ZipFile(folder / "c.zip", "w") as archive:
        archive.writestr("deep/c.csv", "\n".join([CHINESE, *rows(parts[2])]))
        archive.writestr("notes.md", "not a track")
    same(read(folder, tz="Asia/Shanghai", batch_fixes=3_000)[0], batch)
    same(read(folder / "c.zip", tz="Asia/Shanghai")[0], parts[2])


def test_many_files_are_sorted_on_disk(tmp_path: Path) -> None:
    batch = track(700)
    for i in range(70):
        part = batch.take(np.arange(i, 700, 70)[::-1])
        (tmp_path / f"{i:02d}.csv").write_text("\n".join([CHINESE, *rows(part)]))
    same(read(tmp_path, tz="Asia/Shanghai")[0], batch)


def test_sorting_on_disk_gives_every_fix_once_in_order() -> None:
    batch = track(20_000)
    shuffled = batch.take(np.random.default_rng(5).permutation(len(batch)))
    parts = [shuffled.take(slice(i, i + 999)) for i in range(0, len(batch), 999)]
    same(FixBatch.concat(by_time(parts, run_fixes=3_000)), batch)
    assert list(by_time([])) == []


@pytest.mark.parametrize("datum", [Datum.GCJ02, Datum.BD09])
def test_other_datums_become_wgs_84(tmp_path: Path, datum: Datum) -> None:
    batch = track(50)
    lon, lat = from_wgs84(batch.lon, batch.lat, datum)
    path = tmp_path / "a.csv"
    cells = zip(batch.names(), map(iso, batch.time_us.tolist()), lon.tolist(), lat.tolist(), strict=True)
    path.write_text("id,time,lon,lat\n" + "".join(",".join(map(str, c)) + "\n" for c in cells))
    found, _ = read(path, datum=datum)
    assert np.abs(found.lon - batch.lon).max() < 1e-9
    assert np.abs(found.lat - batch.lat).max() < 1e-9


# -- columns ----------------------------------------------------------------------------------------------


def table_of(batch: FixBatch) -> pa.Table:
    return pa.table(
        {
            "plate": pa.array(batch.names()).dictionary_encode(),
            "time": pa.array(batch.time_us, pa.timestamp("us", "UTC")),
            "lon": batch.lon,
            "lat": batch.lat,
            "speed_kmh": batch.speed_kmh,
            "heading": batch.heading_deg,
            "other": np.zeros(len(batch)),
        }
    )


def test_parquet_feather_and_arrow(tmp_path: Path) -> None:
    batch = track(500)
    table = table_of(batch)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=120)
    pa_feather.write_feather(table, tmp_path / "a.feather")
    for name, new in (("a.arrow", pa.ipc.new_file), ("a.arrows", pa.ipc.new_stream)):
        with new(tmp_path / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    for name in ("a.parquet", "a.feather", "a.arrow", "a.arrows"):
        found, _ = read(tmp_path / name, batch_fixes=77)
        same(found, batch)
        assert found.offset.tolist() == list(range(1, 501))


def test_parquet_times_of_every_type_and_rows_that_lack_something(tmp_path: Path) -> None:
    batch = track(40)
    path = tmp_path / "a.parquet"
    times: dict[str, pa.Array] = {
        "local ms": pa.array((batch.time_us + 8 * 3_600_000_000) // 1000, pa.timestamp("ms")),
        "ns": pa.array(batch.time_us * 1000, pa.timestamp("ns", "Asia/Shanghai")),
        "epoch s": pa.array(batch.time_us // 1_000_000),
        "float ms": pa.array(batch.time_us / 1000),
        "text": pa.array([iso(t) for t in batch.time_us.tolist()]),
    }
    for name, column in times.items():
        table = table_of(batch)
        pq.write_table(table.set_column(1, "time", column), path)
        same(read(path, tz="Asia/Shanghai")[0], batch)
        if name == "local ms":
            with pytest.raises(TrackError, match="has no offset from UTC"):
                read(path)
    lacking = table_of(batch).to_pylist()[:5]
    lacking[1]["time"] = None
    lacking[2]["lon"] = None
    lacking[3]["plate"] = None
    lacking[4]["lat"] = 91.0
    pq.write_table(pa.Table.from_pylist(lacking, table_of(batch).schema), path)
    found, rejects = read(path)
    assert len(found) == 1
    assert sorted((r.line, r.reason) for r in rejects.kept) == [
        (2, "no_time"),
        (3, "bad_coordinate"),
        (4, "no_vehicle"),
        (5, "bad_coordinate"),
    ]


def test_row_groups_outside_the_wanted_span_are_left_unread(tmp_path: Path) -> None:
    day_us = 86_400_000_000
    parts = []
    for day in range(6):
        part = track(100, seed=day)
        np.add(part.time_us, day * 3 * day_us, out=part.time_us)
        parts.append(part)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.concat_tables([table_of(p) for p in parts]), path, row_group_size=100)
    wanted = Wanted(START_US + 6 * day_us, START_US + 9 * day_us)
    reader = open_source(path, wanted=wanted)
    assert FixBatch.concat(reader).offset.tolist() == list(range(201, 301))


# -- features ---------------------------------------------------------------------------------------------


def points(batch: FixBatch) -> list[dict[str, Any]]:
    return [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [batch.lon[i], batch.lat[i], 5.0]},
            "properties": {
                "车牌号": name,
                "time": iso(int(batch.time_us[i])),
                "speed": float(batch.speed_kmh[i]),
                "course": float(batch.heading_deg[i]),
                "status": "在线",
            },
        }
        for i, name in enumerate(batch.names())
    ]


def test_geojson_collections_and_sequences_of_points(tmp_path: Path) -> None:
    batch = track(4_000)  # more than a window on the file holds
    features = points(batch)
    collection = {"name": "导出", "type": "FeatureCollection", "crs": {"a": [1]}, "features": features}
    texts = {
        "a.geojson": json.dumps(collection, ensure_ascii=False),
        "b.geojson": json.dumps(collection, indent=1),
        "c.geojsonl": "\n".join(json.dumps(f, ensure_ascii=False) for f in features),
        "d.geojsons": "".join(f"\x1e{json.dumps(f, indent=2)}\n" for f in features),
        "e.json": json.dumps(features),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        found, rejects = read(tmp_path / name, batch_fixes=500)
        same(found, batch)
        assert len(rejects) == 0
    found, _ = read(tmp_path / "c.geojsonl")
    assert found.offset.tolist() == list(range(1, 4_001))


def test_lines_with_times_and_mf_json(tmp_path: Path) -> None:
    batch = track(30)
    one = batch.take(batch.vehicle == 0)
    times = [iso(t) for t in one.time_us.tolist()]
    places = np.column_stack([one.lon, one.lat]).tolist()
    line = {"type": "LineString", "coordinates": places}
    speeds = one.speed_kmh.tolist()
    ms = [t // 1000 for t in one.time_us.tolist()]
    moving = {"type": "MovingPoint", "datetimes": ms, "coordinates": places, "interpolation": "Linear"}
    half = len(ms) // 2
    halves = [
        {"type": "MovingPoint", "datetimes": ms[a:b], "coordinates": places[a:b]}
        for a, b in ((0, half), (half, len(ms)))
    ]
    features: dict[str, dict[str, Any]] = {
        "togeojson": {"geometry": line, "properties": {"name": PLATES[0], "coordTimes": times}},
        "togeojson 5": {
            "geometry": line,
            "properties": {"name": PLATES[0], "coordinateProperties": {"times": times, "speeds": speeds}},
        },
        "trajectory": {"geometry": line, "id": PLATES[0], "properties": {"datetimes": times}},
        "prism": {
            "temporalGeometry": moving,
            "properties": {"name": PLATES[0]},
            "temporalProperties": [
                {"datetimes": ms, "speed": {"form": "MTS", "values": [v / 3.6 for v in speeds]}}
            ],
        },
        "prisms": {
            "temporalGeometry": {"type": "MovingGeometryCollection", "prisms": halves},
            "properties": {"name": PLATES[0]},
        },
    }
    for name, feature in features.items():
        path = tmp_path / "a.mfjson"
        path.write_text(
            json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature"} | feature]})
        )
        found, rejects = read(path)
        assert len(rejects) == 0, name
        assert found.names() == one.names(), name
        assert found.time_us.tolist() == one.time_us.tolist(), name
        assert found.lon.tolist() == one.lon.tolist(), name
        if name in ("togeojson 5", "prism"):
            assert found.speed_kmh.tolist() == pytest.approx(speeds), name
        else:
            assert np.isnan(found.speed_kmh).all()


def test_features_that_are_no_tracks_are_set_aside(tmp_path: Path) -> None:
    good = json.dumps(points(track(1))[0])
    point = {"type": "Point", "coordinates": [1, 2]}
    line = {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}
    bad: list[tuple[str, Any]] = [
        ("no_track", {"type": "Feature", "geometry": None, "properties": {}}),
        (
            "no_track",
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": []}, "properties": {}},
        ),
        ("no_time", {"type": "Feature", "geometry": point, "properties": {"id": "A"}}),
        ("bad_time", {"type": "Feature", "geometry": point, "properties": {"id": "A", "time": "soon"}}),
        ("no_time", {"type": "Feature", "geometry": line, "properties": {"coordTimes": [1]}}),
        ("no_track", {"type": "Feature", "temporalGeometry": {"type": "MovingPolygon"}, "properties": {}}),
        ("no_feature", 5),
        ("other_datum", {"vehicle": "A", "time_ms": 5, "lon": 1, "lat": 2, "datum": "GCJ-02"}),
    ]
    path = tmp_path / "a.geojsonl"
    lines = [good, *(json.dumps(b) for _, b in bad), '{"type": "Feature", broken', good]
    path.write_text("\n".join(lines) + "\n")
    found, rejects = read(path)
    assert found.offset.tolist() == [1, len(lines)]
    assert [(r.line, r.reason) for r in rejects.kept] == [
        *((i, reason) for i, (reason, _) in enumerate(bad, 2)),
        (len(lines) - 1, "bad_json"),
    ]


def test_the_workers_own_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "fixes.jsonl"
    path.write_text(
        '{"vehicle":"浙B1","time":"2026-03-02T08:00:00+08:00","lon":121.5,"lat":29.9,"speed_kmh":54.5,'
        '"heading_deg":null,"status":3,"alarm":1}\n'
        '{"vehicle":"浙B1","time_ms":1772409601000,"lon":121.6,"lat":29.9,"datum":"WGS-84"}\n'
    )
    found, rejects = read(path)
    assert found.time_us.tolist() == [START_US, START_US + 1_000_000]
    assert (found.status.tolist(), found.alarm.tolist()) == ([3, 0], [1, 0])
    assert found.speed_kmh[0] == 54.5
    assert len(rejects) == 0


# -- known layouts, in files made up here -----------------------------------------------------------------


def test_geolife(tmp_path: Path) -> None:
    folder = tmp_path / "Data" / "007" / "Trajectory"
    folder.mkdir(parents=True)
    head = "Geolife trajectory\nWGS 84\nAltitude is in Feet\nReserved 3\n0,2,255,My Track,0,0,2,8421376\n0\n"
    rows = "39.906631,116.385564,0,492,40097.5864583333,2009-10-11,14:04:30\r\n" * 2
    (folder / "20091011140430.plt").write_text(
        head.replace("\n", "\r\n") + rows + "x,1,0,0,0,2009-10-11,14:04:31\r\n"
    )
    found, rejects = read(tmp_path)
    assert found.names() == ["007", "007"]
    assert found.time_us.tolist() == [from_iso("2009-10-11T14:04:30Z")] * 2
    assert (found.lon[0], found.lat[0]) == (116.385564, 39.906631)
    assert [(r.line, r.reason) for r in rejects.kept] == [(9, "bad_coordinate")]
    assert read(tmp_path, name_from="file")[0].vehicles == ("20091011140430",)


def test_t_drive(tmp_path: Path) -> None:
    path = tmp_path / "1131.txt"
    path.write_text(
        "1131,2008-02-02 13:33:52,116.37481,39.88782\n1131,2008-02-02 13:37:16,116.37677,39.88791\n"
    )
    found, _ = read(path)
    assert found.names() == ["1131", "1131"]
    assert found.time_us[0] == from_iso("2008-02-02T13:33:52+08:00")
    assert (found.lon[0], found.lat[0]) == (116.37481, 39.88782)
    path.write_text("id|time|lon|lat\nA|2026-03-02T00:00:00Z|1|2\n")
    assert read(path)[0].names() == ["A"]


def test_the_form_of_a_time() -> None:
    assert guess("2026-03-02").kind == "local"
    assert guess("2026-03-02T08:00Z").kind == "offset"
    assert guess("20260302080000").pattern == "%Y%m%d%H%M%S"
    assert guess("1772409600000").kind == "epoch"
    assert guess("03/02/2026 08:00").kind == "odd"
