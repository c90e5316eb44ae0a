"""A recorded drive through fences drawn round parts of it, against times worked out by hand.

Each time is linear interpolation between the two recorded points about the fence's edge, done
with pencil and calculator from the file's own numbers (times are 2020-12-18, UTC).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from shapely.geometry import box

from hazfence import Engine, Event, Kind
from hazfence_fences import Fence, FenceKind, FenceSet, circle
from hazfence_replay.ledger import VisitRow, breach_rows, latest, visit_rows
from hazfence_replay.player import replay
from hazfence_replay.readers import open_track

DRIVE = Path(__file__).parent.parent / "data" / "car_track_visnjan.gpx"

VILLAGE = Fence("village", FenceKind.ZONE, box(13.7190, 45.2755, 13.7230, 45.2815))
HOME = Fence("home", FenceKind.PARKING, box(13.7138, 45.2732, 13.7144, 45.2736), max_stay_min=1)
# Half way between two points 208.082 m and 8 s apart, neither of which is in it.
BEND = circle("bend", FenceKind.CHECKPOINT, 13.71689300985, 45.27908363845, 50.0)


def at(clock: str) -> float:
    return datetime.fromisoformat(f"2020-12-18T{clock}").replace(tzinfo=UTC).timestamp()


def drive(batch_fixes: int, *fences: Fence) -> list[Event]:
    return list(replay(open_track(DRIVE, vehicle="car", batch_fixes=batch_fixes), Engine(FenceSet(fences))))


def times(row: VisitRow) -> tuple[float, float | None]:
    return row.entered_us / 1e6, None if row.left_us is None else row.left_us / 1e6


@pytest.mark.parametrize("batch_fixes", [1, 7, 1000])
def test_one_pass_through_a_village(batch_fixes: int) -> None:
    (row,) = visit_rows(drive(batch_fixes, VILLAGE))
    # In between points 33 (13.7177372351 E, 06:18:07) and 34 (13.7190883141 E, 06:18:14):
    # (13.7190 - 13.7177372351) / 0.001351079 = .934634 of 7 s.
    # Out between points 84 (45.2756342757 N, 06:21:49) and 85 (45.2753456030 N, 06:21:53):
    # (45.2756342757 - 45.2755) / 0.0002886727 = .465149 of 4 s.
    assert times(row) == pytest.approx((at("06:18:13.542438"), at("06:21:50.860596")), abs=0.002)
    assert row.stay_s == pytest.approx(217.318, abs=0.004)


@pytest.mark.parametrize("batch_fixes", [1, 7, 1000])
def test_away_from_home_and_back_with_two_stays_too_long(batch_fixes: int) -> None:
    events = drive(batch_fixes, HOME)
    first, second = visit_rows(events)
    # Out between points 11 (13.7138032727 E, 06:16:53) and 12 (13.7135986704 E, 06:16:55):
    # .0000032727 / .0002046023 = .015995 of 2 s. The track begins inside, at 06:15:50.
    assert times(first) == pytest.approx((at("06:15:50"), at("06:16:53.031991")), abs=0.002)
    # Home between points 93 (45.2738915943 N, 06:22:27) and 94 (45.2734488621 N, 06:22:36): the
    # northern edge comes last, .0002915943 / .0004427322 = .658625 of 9 s. It never leaves again.
    entered, left = times(second)
    assert entered == pytest.approx(at("06:22:32.927624"), abs=0.002)
    assert left is None
    # A minute is allowed: 06:16:50, just before it leaves, and 06:23:32.928.
    overstays = breach_rows(events)
    assert [str(b.kind) for b in overstays] == ["overstay", "overstay"]
    assert overstays[0].started_us / 1e6 == pytest.approx(at("06:16:50"), abs=0.001)
    assert overstays[1].started_us / 1e6 == pytest.approx(at("06:23:32.927624"), abs=0.002)
    assert overstays[1].ended_us is None


def test_a_checkpoint_passed_between_two_points_is_seen() -> None:
    (passage,) = [e for e in latest(drive(1000, BEND)) if e.kind is Kind.VISIT]
    # 100 m of 208.082 m in 8 s, about the middle: 3.8446 s about 06:18:03.
    assert passage.detail["witness"] == "segment"
    assert passage.ended_us is not None
    assert passage.started_us / 1e6 == pytest.approx(at("06:18:01.0777"), abs=0.01)
    assert passage.ended_us / 1e6 == pytest.approx(at("06:18:04.9223"), abs=0.01)
