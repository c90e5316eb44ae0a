"""Batches, cleaning, order, snapshots: the frame around the judge."""

from __future__ import annotations

import math
import subprocess
import sys
import zlib

import numpy as np
import pytest

from hazfence import Engine, EngineSettings, Event, FixBatch, Phase, Reason, SnapshotError
from hazfence.clean import screen_values
from hazfence.columns import newest_before
from hazfence.events import Kind, event_id, from_iso, iso
from hazfence_fences import FenceSet

from ..property.world import START_US, WORLD, at

S = 1_000_000


def fixes(*rows: tuple[str, float, float, float], **columns: object) -> FixBatch:
    vehicle, seconds, lon, lat = zip(*rows, strict=True)
    time_us = [START_US + round(s * S) for s in seconds]
    return FixBatch.of(vehicle, time_us=time_us, lon=lon, lat=lat, **columns)


def test_a_batch_fills_in_what_the_sender_did_not_say() -> None:
    batch = fixes(("A", 0, 121.5, 29.9), ("B", 1, 121.6, 29.9), ("A", 2, 121.7, 29.9))
    assert batch.vehicles == ("A", "B")
    assert batch.vehicle.tolist() == [0, 1, 0]
    assert np.isnan(batch.speed_kmh).all()
    assert batch.status.tolist() == [0, 0, 0]
    assert repr(batch) == "FixBatch(3 fixes of 2 vehicles)"


def test_batches_join_with_their_dictionaries() -> None:
    a, b = fixes(("A", 0, 121.5, 29.9)), fixes(("B", 1, 121.5, 29.9), ("A", 2, 121.5, 29.9))
    both = FixBatch.concat([a, FixBatch.empty(), b])
    assert both.names() == ["A", "B", "A"]
    assert both == fixes(("A", 0, 121.5, 29.9), ("B", 1, 121.5, 29.9), ("A", 2, 121.5, 29.9))
    assert both.take(both.vehicle == 1).names() == ["B"]
    assert FixBatch.concat([]) == FixBatch.empty()


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"lon": [1.0], "lat": [1.0, 2.0], "time_us": [0, 1]}, "FixBatch.lon has shape"),
        ({"lon": [1.0, 2.0], "lat": [1.0, 2.0]}, "FixBatch needs the column 'time_us'"),
        (
            {"lon": [1.0, 2.0], "lat": [1.0, 2.0], "time_us": [0, 1], "sped": 1},
            "FixBatch has no column 'sped'",
        ),
    ],
)
def test_a_batch_that_is_none_is_refused_by_name(columns: dict[str, object], error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        FixBatch.of(["A", "B"], **columns)


def test_codes_outside_the_dictionary_are_refused() -> None:
    with pytest.raises(ValueError, match="codes 0..3, but vehicles has 2 names"):
        FixBatch.of(np.array([0, 3]), vehicles=("A", "B"), time_us=[0, 0], lon=[1, 1], lat=[1, 1])


def test_a_column_of_another_dtype_is_refused() -> None:
    good = fixes(("A", 0, 121.5, 29.9))
    columns = {name: getattr(good, name) for name in FixBatch.__slots__}
    with pytest.raises(TypeError, match="FixBatch.lon must be a numpy array of float64, not float32"):
        FixBatch(**(columns | {"lon": good.lon.astype(np.float32)}))


@pytest.mark.parametrize(
    ("lon", "lat", "time_us", "status", "received_us", "reason"),
    [
        (121.5, 29.9, START_US, 0, 0, Reason.OK),
        (121.5, 29.9, START_US, 3, 0, Reason.OK),
        (180.0, -90.0, START_US, 0, 0, Reason.OK),
        (float("nan"), 29.9, START_US, 0, 0, Reason.NOT_FINITE),
        (121.5, float("inf"), START_US, 0, 0, Reason.NOT_FINITE),
        (180.1, 29.9, START_US, 0, 0, Reason.OUT_OF_RANGE),
        (29.9, 121.5, START_US, 0, 0, Reason.OUT_OF_RANGE),
        (0.0, 0.0, START_US, 0, 0, Reason.NULL_ISLAND),
        (-0.0, 0.0, START_US, 0, 0, Reason.NULL_ISLAND),
        (0.0, 29.9, START_US, 0, 0, Reason.OK),
        (121.5, 29.9, 0, 0, 0, Reason.TIME_TOO_OLD),
        (121.5, 29.9, from_iso("2099-01-01T00:00:00Z"), 0, 0, Reason.TIME_FUTURE),
        (121.5, 29.9, START_US + 300 * S, 0, START_US, Reason.OK),
        (121.5, 29.9, START_US + 301 * S, 0, START_US, Reason.TIME_FUTURE),
        (121.5, 29.9, START_US, 1, 0, Reason.FIX_INVALID),
    ],
)
def test_cleaning(
    lon: float, lat: float, time_us: int, status: int, received_us: int, reason: Reason
) -> None:
    columns = {
        "time_us": [time_us],
        "lon": [lon],
        "lat": [lat],
        "status": [status],
        "received_us": [received_us],
    }
    assert screen_values(FixBatch.of(["A"], **columns), EngineSettings()).tolist() == [reason]


def test_a_fix_is_judged_by_its_own_values_whatever_is_beside_it() -> None:
    rng = np.random.default_rng(4)
    behind = EngineSettings(max_behind_h=1.0)
    values = {
        "time_us": [START_US, START_US, START_US + S, 0, from_iso("2099-01-01T00:00:00Z")],
        "lon": [121.5, 121.5, 121.5, 0.0, -0.0, 180.1, float("nan"), -float("inf")],
        "lat": [29.9, 29.9, 29.9, 0.0, -90.5, float("nan")],
        "status": [0, 3, 3, 2, 1],
        "received_us": [0, START_US, START_US, START_US - 301 * S, START_US + 4000 * S],
        "accuracy_m": [float("nan"), 100.0, 15.0, 100.1, float("inf")],
    }
    found = set()
    for _ in range(300):
        n, some = int(rng.integers(1, 6)), int(rng.integers(1, 9))
        columns = {name: np.array(rng.choice(each[:some], n)) for name, each in values.items()}
        batch = FixBatch.of(["A"] * n, **columns)
        reason = screen_values(batch, behind).tolist()
        assert reason == [screen_values(batch.take(slice(i, i + 1)), behind)[0] for i in range(n)]
        assert reason == [_reason(batch, i) for i in range(n)]
        found.update(reason)
    assert found == set(Reason) - {Reason.DUPLICATE, Reason.LATE, Reason.SAME_TIME}


def test_the_newest_moment_before_each_fix_is_that_of_all_before_it() -> None:
    rng = np.random.default_rng(8)
    for most in (1, 3, 9, 40):
        for _ in range(40):
            counts = rng.integers(1, most + 1, rng.integers(1, 7))
            ends = np.cumsum(counts)
            starts = ends - counts
            time_us = rng.integers(0, 50, int(ends[-1]))
            last_us = rng.integers(-5, 20, len(counts))
            last_us[rng.random(len(counts)) < 0.3] = np.iinfo(np.int64).min
            wanted = [
                max([int(last_us[g]), *time_us[lo : lo + i].tolist()])
                for g, (lo, n) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True))
                for i in range(n)
            ]
            found = newest_before(time_us, (starts, ends), last_us.copy())
            if found is None:
                assert (time_us > np.array(wanted)).all()
            else:
                assert found.tolist() == wanted


def _reason(batch: FixBatch, i: int) -> Reason:
    """The table of reasons, row by row, for one fix."""
    lon, lat, at_us = float(batch.lon[i]), float(batch.lat[i]), int(batch.time_us[i])
    status, received_us = int(batch.status[i]), int(batch.received_us[i])
    rows = (
        (not (math.isfinite(lon) and math.isfinite(lat)), Reason.NOT_FINITE),
        (abs(lon) > 180 or abs(lat) > 90, Reason.OUT_OF_RANGE),
        (lon == 0 and lat == 0, Reason.NULL_ISLAND),
        (at_us < EngineSettings().earliest_us, Reason.TIME_TOO_OLD),
        (at_us > EngineSettings().latest_us, Reason.TIME_FUTURE),
        (received_us > 0 and at_us - received_us > 300 * S, Reason.TIME_FUTURE),
        (received_us > 0 and received_us - at_us > 3600 * S, Reason.TIME_BEHIND),
        (status != 0 and not status & 2, Reason.FIX_INVALID),
        (float(batch.accuracy()[i]) > 100.0, Reason.INACCURATE),
    )
    return next((why for applies, why in rows if applies), Reason.OK)


def test_a_batch_given_to_an_engine_is_kept_not_copied() -> None:
    lon = np.array([121.5])
    batch = FixBatch.of(["A"], time_us=[START_US], lon=lon, lat=[29.9])
    Engine(WORLD).process(batch)
    with pytest.raises(ValueError, match="read-only"):
        lon[0] = 0.0


def test_a_buffer_may_be_filled_again_when_batches_are_views_of_it() -> None:
    lon, lat, time_us = np.zeros(10), np.zeros(10), np.zeros(10, np.int64)
    engines = Engine(WORLD), Engine(WORLD)
    for step in range(4):
        places = [at(5, 8 + step + i / 10) for i in range(3)]
        time_us[:3] = START_US + step * 10 * S
        lon[:3], lat[:3] = zip(*places, strict=True)
        columns = {"time_us": time_us[:3], "lon": lon[:3], "lat": lat[:3]}
        told = engines[0].process(FixBatch.of(["A", "B", "C"], **columns))
        fresh = {name: column.copy() for name, column in columns.items()}
        assert told.events == engines[1].process(FixBatch.of(["A", "B", "C"], **fresh)).events
    lon[:], lat[:], time_us[:] = 0.0, 0.0, 0
    assert engines[0].snapshot() == engines[1].snapshot()


def test_a_bad_fix_costs_no_other_fix() -> None:
    rows = [("A", 0, *at(5, 8)), ("A", 1, float("nan"), 29.9), ("A", 2, 0.0, 0.0), ("A", 3, *at(5, 9))]
    outcome = Engine(WORLD).process(fixes(*rows))
    assert outcome.accepted.tolist() == [True, False, False, True]
    assert outcome.counts() == {"not_finite": 1, "null_island": 1}
    assert [e.fence_id for e in outcome] == ["district"]
    assert repr(outcome) == "Outcome(1 events, 2 of 4 fixes accepted)"


def test_what_is_not_news_is_set_aside_with_its_reason() -> None:
    engine = Engine(WORLD)
    rows = [
        ("A", 10, *at(5, 8)),
        ("A", 10, *at(5, 8)),
        ("A", 10, *at(5, 9)),
        ("A", 5, *at(5, 9)),
        ("A", 11, *at(5, 8)),
    ]
    outcome = engine.process(fixes(*rows))
    assert outcome.reason.tolist() == [0, Reason.DUPLICATE, 0, 0, 0]
    again = engine.process(fixes(*rows))
    assert again.reason.tolist() == [Reason.SAME_TIME, Reason.SAME_TIME, *[Reason.DUPLICATE] * 3]
    assert not again


def test_one_late_vehicle_makes_no_other_late() -> None:
    engine = Engine(WORLD)
    engine.process(fixes(("fast clock", 3000, *at(5, 8))))
    assert engine.process(fixes(("B", 0, *at(5, 8)))).accepted.all()


def test_an_empty_batch_is_nothing() -> None:
    outcome = Engine(WORLD).process(FixBatch.empty())
    assert (len(outcome), len(outcome.reason)) == (0, 0)


def test_no_fences_is_no_events() -> None:
    engine = Engine(FenceSet([]))
    assert list(engine.process(fixes(("A", 0, *at(5, 8)), ("A", 1, *at(0, 0))))) == []
    assert engine.inside("A") == ()


def test_positions_and_presence() -> None:
    engine = Engine(WORLD)
    engine.process(fixes(("A", 0, *at(5, 8)), ("B", 1, *at(0, 0)), ("A", 5, *at(8, 8)), speed_kmh=[1, 2, 3]))
    last = engine.positions()
    assert last.names() == ["A", "B"]
    assert last.speed_kmh.tolist() == [3.0, 2.0]
    assert engine.inside("A") == ("district", "park")
    assert engine.inside("B") == engine.inside("nobody") == ()


def test_many_vehicles_grow_the_fleet() -> None:
    engine, n = Engine(WORLD), 1000
    names = [f"浙B{i:05d}" for i in range(n)]
    lon, lat = at(5, 8)
    outcome = engine.process(FixBatch.of(names, time_us=START_US, lon=lon, lat=lat))
    assert (len(outcome), len(engine.positions())) == (n, n)


# --- snapshots ------------------------------------------------------------------------------


def snapshot() -> bytes:
    engine = Engine(WORLD)
    engine.process(
        fixes(("A", 0, *at(5, 8)), ("B", 1, *at(8, 8)), ("A", 30, *at(5, 9)), speed_kmh=[90, 30, 90])
    )
    engine.advance(START_US + 400 * S)
    return engine.snapshot()


def test_a_snapshot_restored_is_the_same_engine() -> None:
    data = snapshot()
    engine = Engine.restore(data, WORLD)
    assert engine.snapshot() == data == snapshot()
    assert {str(e.kind) for e in engine.open_events()} == {"visit", "overspeed", "overstay"}


def test_another_file_leaves_what_is_remembered_readable() -> None:
    # A set of fences that no vehicle is in at the moment: marks and recent fixes still name it.
    track = [("A", t, *place) for t, place in ((0, at(4, 4)), (30, at(5, 8)), (60, at(0, 0)), (90, at(0, 0)))]
    engine, other = Engine(WORLD), Engine(WORLD)
    for one in (engine, other):
        one.process(fixes(*track))
    engine.use_reference(None)
    assert engine.snapshot() == Engine.restore(engine.snapshot(), WORLD).snapshot()
    late = fixes(("A", 45, *at(5, 8)))
    assert list(engine.process(late)) == list(other.process(late))


@pytest.mark.parametrize("damage", ["empty", "magic", "version", "cut", "flipped"])
def test_a_damaged_snapshot_is_refused(damage: str) -> None:
    data = snapshot()
    broken = {
        "empty": b"",
        "magic": b"????" + data[4:],
        "version": data[:4] + b"\xff" + data[5:],
        "cut": data[:-1],
        "flipped": data[:40] + bytes([data[40] ^ 1]) + data[41:],
    }[damage]
    with pytest.raises(SnapshotError):
        Engine.restore(broken, WORLD)


def test_a_snapshot_is_compressed() -> None:
    assert snapshot()[9:11] == zlib.compress(b"", 1)[:2]


# --- events, settings, imports --------------------------------------------------------------


def test_an_event_survives_json() -> None:
    for event in Engine.restore(snapshot(), WORLD).open_events():
        assert Event.from_json(event.to_json()) == event


def test_ids_tell_facts_apart_however_their_parts_are_cut() -> None:
    ids = {
        event_id("visit", "A", "bc", 1),
        event_id("visit", "Ab", "c", 1),
        event_id("visit", "A", None, 1),
        event_id("visit", "A", "bc", 2),
        event_id("overstay", "A", "bc", 1),
        event_id("visit", "A\ud800", "bc", 1),
    }
    assert len(ids) == 6
    assert all(len(i) == 32 for i in ids)


def test_times_as_text() -> None:
    assert iso(START_US) == "2026-03-01T16:00:00.000000Z"
    assert from_iso("2026-03-02T00:00:00+08:00") == START_US
    with pytest.raises(ValueError, match="has no offset"):
        from_iso("2026-03-02T00:00:00")


def test_an_open_event_is_not_over() -> None:
    event = Event("0" * 32, Kind.VISIT, "A", "f", 1, 1, Phase.OPENED, 0, None, 0.0, 0.0)
    assert event.is_visit
    assert not event.is_over


@pytest.mark.parametrize(
    "bad", [{"max_gap_s": -1.0}, {"overspeed_for_s": float("nan")}, {"earliest_us": 2**62}]
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="EngineSettings"):
        EngineSettings(**bad)  # type: ignore[arg-type]


def test_settings_survive_json() -> None:
    settings = EngineSettings(max_gap_s=10.0)
    assert EngineSettings.from_json(settings.to_json()) == settings
    with pytest.raises(ValueError, match="unknown engine setting 'max_gap'"):
        EngineSettings.from_json({"max_gap": 1})


def test_the_core_loads_no_service_client() -> None:
    code = (
        "import sys, hazfence, hazfence_fences;"
        "heavy = ('faust', 'psycopg', 'sqlalchemy', 'redis', 'aiokafka', 'typer');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_vehicle_can_be_asked_for() -> None:
    engine = Engine(WORLD)
    engine.process(fixes(("A", 0, *at(5, 8)), ("B", 1, *at(8, 8)), ("A", 5, *at(5, 9))))
    assert engine.last_fix("A").time_us.tolist() == [START_US + 5 * S]
    assert len(engine.last_fix("nobody")) == 0
    assert [e.fence_id for e in engine.open_events("B")] == ["district", "park"]
    assert engine.open_events("nobody") == ()


def test_names_from_an_array_are_plain_strings() -> None:
    batch = FixBatch.of(np.array(["A", "B"]), time_us=[0, 0], lon=[1, 1], lat=[1, 1])  # type: ignore[arg-type]
    assert [type(name) for name in batch.vehicles] == [str, str]
