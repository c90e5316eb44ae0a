"""The GPX reader against the gpxpy library, and against every way in which a file can be broken."""

from __future__ import annotations

import gzip
from pathlib import Path

import gpxpy
import numpy as np
import pytest

from hazfence import FixBatch
from hazfence_fences.datum import Datum, to_wgs84
from hazfence_replay.readers import GpxReader, Rejects, TrackError, open_track

DRIVE = Path(__file__).parent.parent / "data" / "car_track_visnjan.gpx"
HEAD = '<?xml version="1.0"?>\n<gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">\n'


def gpx(body: str, head: str = HEAD) -> bytes:
    return (head + body + "\n</gpx>\n").encode()


def track(*points: str, name: str = "T") -> str:
    label = f"<name>{name}</name>" if name else ""
    return f"<trk>{label}<trkseg>\n" + "\n".join(points) + "\n</trkseg></trk>"


def point(lat: float, lon: float, time: str | None, more: str = "") -> str:
    said = "" if time is None else f"<time>{time}</time>"
    return f'<trkpt lat="{lat}" lon="{lon}">{said}{more}</trkpt>'


def read(raw: bytes, **options: object) -> tuple[FixBatch, Rejects]:
    reader = GpxReader(raw, name="made.gpx", **options)  # type: ignore[arg-type]
    return FixBatch.concat(reader), reader.rejects


def test_a_real_drive_reads_as_gpxpy_reads_it() -> None:
    with DRIVE.open() as file:
        points = [p for t in gpxpy.parse(file).tracks for s in t.segments for p in s.points]
    batch = FixBatch.concat(open_track(DRIVE))
    assert len(batch) == len(points) == 104
    assert batch.lon.tolist() == [p.longitude for p in points]
    assert batch.lat.tolist() == [p.latitude for p in points]
    assert batch.time_us.tolist() == [round(p.time.timestamp() * 1e6) for p in points if p.time]
    assert batch.vehicles == ("2020-12-18 07:24:29",)
    assert np.isnan(batch.speed_kmh).all()
    assert batch.item.tolist() == list(range(1, 105))


def test_vehicle_comes_from_option_track_or_file() -> None:
    assert FixBatch.concat(GpxReader(DRIVE, vehicle="浙B1")).vehicles == ("浙B1",)
    assert FixBatch.concat(GpxReader(DRIVE, name_from="file")).vehicles == ("car_track_visnjan",)
    nameless, _ = read(gpx(track(point(1, 2, "2020-01-01T00:00:00Z"), name="")))
    assert nameless.names() == ["made"]
    late = "<trk><trkseg>" + point(1, 2, "2020-01-01T00:00:00Z") + "</trkseg><name>end</name></trk>"
    assert read(gpx(late))[0].names() == ["end"]


def test_two_tracks_come_out_in_time_order_with_their_own_names() -> None:
    newest = track(point(1, 2, "2020-01-02T00:00:00Z"), point(1, 2, "2020-01-02T00:00:01Z"), name="B")
    oldest = track(point(3, 4, "2020-01-01T00:00:00Z"), name="A")
    batch, _ = read(gpx(newest + oldest))
    assert batch.names() == ["A", "B", "B"]
    assert (np.diff(batch.time_us) > 0).all()


def test_batches_are_bounded_and_together_the_whole() -> None:
    parts = list(GpxReader(DRIVE, batch_fixes=25))
    assert [len(p) for p in parts] == [25, 25, 25, 25, 4]
    assert FixBatch.concat(parts) == FixBatch.concat(GpxReader(DRIVE))


def test_offsets_of_time_are_obeyed_and_none_means_utc() -> None:
    times = ["2020-01-01T08:00:00+08:00", "2020-01-01T00:00:00.5Z", "2020-01-01T00:00:01"]
    batch, _ = read(gpx(track(*(point(1, 2, t) for t in times))))
    assert (batch.time_us - 1_577_836_800_000_000).tolist() == [0, 500_000, 1_000_000]


def test_speed_and_course_from_gpx_10_and_from_extensions() -> None:
    old = point(1, 2, "2020-01-01T00:00:00Z", "<speed>10</speed><course>90</course>")
    extension = (
        '<extensions><a:TrackPointExtension xmlns:a="http://www.garmin.com/xmlschemas/TrackPointExtension/v2">'
        "<a:speed>5</a:speed><a:course>180</a:course></a:TrackPointExtension></extensions>"
    )
    new = point(1, 2, "2020-01-01T00:00:01Z", extension)
    odd = point(1, 2, "2020-01-01T00:00:02Z", "<speed>-1</speed><course>x</course>")
    batch, rejects = read(gpx(track(old, new, odd)))
    assert batch.speed_kmh[:2].tolist() == [36.0, 18.0]
    assert batch.heading_deg[:2].tolist() == [90.0, 180.0]
    assert np.isnan(batch.speed_kmh[2])
    assert np.isnan(batch.heading_deg[2])
    assert len(rejects) == 0


def test_how_good_a_position_is_comes_from_hdop_and_sat() -> None:
    said = [
        "<sat>9</sat><hdop>0.8</hdop>",
        "<hdop>4.2</hdop><fix>3d</fix>",
        "<sat>3</sat><hdop>1</hdop>",
        "<hdop>GPS?</hdop>",
        "",
    ]
    points = [point(1, 2, f"2020-01-01T00:00:0{i}Z", more) for i, more in enumerate(said)]
    batch, rejects = read(gpx(track(*points)))
    assert np.allclose(batch.accuracy(), [8.0, 42.0, np.inf, np.nan, np.nan], equal_nan=True)
    assert len(rejects) == 0
    # None at all where nobody says anything.
    assert read(gpx(track(point(1, 2, "2020-01-01T00:00:00Z"))))[0].accuracy_m is None


def test_broken_points_are_set_aside_with_line_and_place_and_the_rest_is_read() -> None:
    body = track(
        point(1, 2, "2020-01-01T00:00:00Z"),
        point(1, 2, None),
        point(1, 2, "yesterday"),
        '<trkpt lat="north" lon="2"><time>2020-01-01T00:00:00Z</time></trkpt>',
        '<trkpt lon="2"><time>2020-01-01T00:00:00Z</time></trkpt>',
        point(float("nan"), 2, "2020-01-01T00:00:00Z"),
        point(91, 2, "2020-01-01T00:00:00Z"),
        point(1, 2, "2020-01-01T00:00:09Z"),
    )
    batch, rejects = read(gpx(body))
    assert len(batch) == 2
    assert batch.item.tolist() == [1, 8]
    assert rejects.counts == {"no_time": 1, "bad_time": 1, "bad_coordinate": 4}
    assert [r.line for r in rejects.kept] == [5, 6, 7, 8, 9, 10]
    assert str(rejects.kept[0]) == (
        "made.gpx line 5: no_time: track 1 'T', segment 1, point 2: the point has no <time>"
    )
    assert "'yesterday'" in rejects.kept[1].detail
    assert 'lat="north"' in rejects.kept[2].detail
    assert rejects.summary() == "6 rows set aside: 4 bad_coordinate, 1 no_time, 1 bad_time"


def test_only_the_first_rejects_are_kept_but_all_are_counted() -> None:
    rejects = Rejects(keep=3)
    batch = FixBatch.concat(GpxReader(gpx(track(*[point(1, 2, None)] * 10)), rejects=rejects))
    assert len(batch) == 0
    assert len(rejects) == 10
    assert len(rejects.kept) == 3


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b"hello", "not well-formed XML at line 1, column 1"),
        (gpx(track(point(1, 2, "2020-01-01T00:00:00Z")))[:-30], "after 1 track points"),
        (b"<html><body/></html>", "root is <html>, not <gpx>"),
        (gpx("<wpt lat='1' lon='2'/>"), "no track point"),
        (b'<!DOCTYPE gpx [<!ENTITY a "b">]><gpx/>', "document type declaration"),
        (b"\xff\xfe\x00\x01garbage", "not well-formed"),
        (gzip.compress(gpx(track(point(1, 2, None))))[:40], "cannot read on"),
    ],
)
def test_what_is_no_gpx_is_refused_with_file_place_and_mend(raw: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / ("broken.gpx.gz" if raw[:2] == b"\x1f\x8b" else "broken.gpx")
    path.write_bytes(raw)
    with pytest.raises(TrackError, match="broken.gpx") as error:
        list(open_track(path))
    assert said in str(error.value)


def test_encodings_are_those_that_the_file_declares() -> None:
    body = track(point(1, 2, "2020-01-01T00:00:00Z"), name="Höhe")
    raw = (HEAD.replace('"1.0"?', '"1.0" encoding="ISO-8859-1"?', 1) + body + "</gpx>").encode("latin-1")
    assert read(raw)[0].names() == ["Höhe"]


def test_compressed_files_folders_and_other_datums(tmp_path: Path) -> None:
    raw = DRIVE.read_bytes()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.gpx").write_bytes(raw)
    (tmp_path / "two.GPX.gz").write_bytes(gzip.compress(raw))
    (tmp_path / "notes.txt").write_text("not a track")
    batch = FixBatch.concat(open_track(tmp_path, name_from="file"))
    assert len(batch) == 208
    assert set(batch.vehicles) == {"one", "two"}
    assert (np.diff(batch.time_us) >= 0).all()
    body = gpx(track(point(29.95, 121.7, "2020-01-01T00:00:00Z")))
    shifted, _ = read(body, datum=Datum.GCJ02)
    lon, lat = to_wgs84([121.7], [29.95], Datum.GCJ02)
    assert (shifted.lon[0], shifted.lat[0]) == (lon[0], lat[0])


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match="no such file"):
        open_track(tmp_path / "missing.gpx")
    (tmp_path / "t.kml").write_text("")
    with pytest.raises(TrackError, match=r"known: .*\.gpx, .*\.gz"):
        open_track(tmp_path / "t.kml")
    with pytest.raises(TrackError, match="no track file in this folder"):
        open_track(tmp_path)
    with pytest.raises(ValueError, match="batch_fixes"):
        GpxReader(b"", batch_fixes=0)
    with pytest.raises(ValueError, match="name_from"):
        GpxReader(b"", name_from="moon")  # type: ignore[arg-type]
