"""Schedules: over midnight, over clock changes, dates and exceptions, against a minute-by-minute reading."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from hazfence_fences import FenceKind, Schedule, circle

SHANGHAI = "Asia/Shanghai"


def us(text, tz=SHANGHAI):
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(tz))
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def at(schedule, *texts):
    return schedule.in_force(np.array([us(t, schedule.tz) for t in texts])).tolist()


def test_weekly_window_is_closed_at_its_start_and_open_at_its_end():
    s = Schedule.parse({"tz": SHANGHAI, "windows": [{"days": "mon-fri", "from": "07:00", "to": "09:00"}]})
    assert at(s, "2026-03-02T06:59:59.999999", "2026-03-02T07:00", "2026-03-02T08:59:59.999999") == [
        False,
        True,
        True,
    ]
    assert at(s, "2026-03-02T09:00", "2026-03-07T08:00", "2026-03-08T08:00") == [False, False, False]


def test_a_night_belongs_to_the_day_it_starts_on():
    s = Schedule.parse(
        {
            "tz": SHANGHAI,
            "windows": [{"days": "sat", "from": "22:00", "to": "06:00"}],
            "except": ["2026-03-14"],
        }
    )
    assert at(s, "2026-03-07T21:59", "2026-03-07T22:00", "2026-03-08T05:59", "2026-03-08T06:00") == [
        False,
        True,
        True,
        False,
    ]
    assert at(s, "2026-03-14T23:00", "2026-03-15T03:00") == [False, False]  # excepted, with its morning
    assert at(s, "2026-03-21T23:00", "2026-03-22T03:00") == [True, True]


def test_dates_add_and_may_be_whole_days():
    s = Schedule.parse({"tz": SHANGHAI, "dates": [{"date": "2026-10-01", "from": "00:00", "to": "24:00"}]})
    assert at(s, "2026-09-30T23:59:59", "2026-10-01T00:00", "2026-10-01T23:59:59", "2026-10-02T00:00") == [
        False,
        True,
        True,
        False,
    ]


def test_only_exceptions_means_always_but_then():
    s = Schedule.parse({"tz": SHANGHAI, "except": ["2026-10-02"]})
    assert at(s, "2026-10-01T12:00", "2026-10-02T12:00", "2026-10-03T00:00") == [True, False, True]
    assert s.next_change(us("2026-01-01T00:00")) == us("2026-10-02T00:00")
    assert s.next_change(us("2026-10-02T00:00")) == us("2026-10-03T00:00")
    assert s.next_change(us("2026-10-03T00:00")) is None


def test_spring_and_autumn_in_berlin():
    s = Schedule.parse({"tz": "Europe/Berlin", "windows": [{"days": "sun", "from": "02:30", "to": "03:30"}]})
    # 2026-03-29: 02:00 becomes 03:00; 02:30 does not exist and is 03:30+02:00, so the window is empty
    assert at(s, "2026-03-29T01:59:59", "2026-03-29T03:00", "2026-03-29T03:29") == [False, False, False]
    # 2026-10-25: 03:00 becomes 02:00; from the first 02:30 to 03:30 is two hours
    first = us("2026-10-25T02:30+02:00")
    hours = np.array(
        [first - 1, first, first + 3600_000_000, first + 2 * 3600_000_000 - 1, first + 2 * 3600_000_000]
    )
    assert s.in_force(hours).tolist() == [False, True, True, True, False]


def test_window_whose_end_is_skipped_or_repeated_loses_nothing():
    s = Schedule.parse({"tz": "Europe/Berlin", "windows": [{"days": "sun", "from": "01:00", "to": "02:30"}]})
    assert at(s, "2026-03-29T01:30", "2026-03-29T03:29", "2026-03-29T03:30") == [True, True, False]
    assert at(s, "2026-10-25T02:29:59+01:00", "2026-10-25T02:30+01:00") == [True, False]


@pytest.mark.parametrize("tz", [SHANGHAI, "Europe/Berlin", "America/St_Johns", "Pacific/Chatham", "UTC"])
def test_equal_to_a_reading_of_the_wall_clock(tz):
    """Away from clock changes, in force is what the wall clock says, minute by minute over 80 days."""
    s = Schedule.parse(
        {
            "tz": tz,
            "windows": [
                {"days": "mon-fri", "from": "07:00", "to": "09:15"},
                {"days": "fri-sun", "from": "22:00", "to": "06:00"},
            ],
            "dates": [{"date": "2026-05-06", "from": "12:00", "to": "13:00"}],
            "except": ["2026-05-08"],
        }
    )
    zone, start = ZoneInfo(tz), us("2026-04-10T00:00+00:00")
    times = start + np.arange(0, 80 * 1440, 7, dtype=np.int64) * 60_000_000
    got = s.in_force(times)
    for time_us, held in zip(times.tolist(), got.tolist(), strict=True):
        wall = datetime.fromtimestamp(time_us / 1e6, zone)
        minute, day = wall.hour * 60 + wall.minute, wall.date()
        yesterday = day - timedelta(days=1)
        excepted = {datetime(2026, 5, 8).date()}
        want = day not in excepted and day.weekday() < 5 and 420 <= minute < 555
        want |= day not in excepted and day.weekday() >= 4 and minute >= 1320
        want |= yesterday not in excepted and yesterday.weekday() >= 4 and minute < 360
        want |= day == datetime(2026, 5, 6).date() and 720 <= minute < 780
        assert held == want, wall


def test_next_change_walks_exactly_along_the_flips():
    s = Schedule.parse(
        {
            "tz": SHANGHAI,
            "windows": [
                {"days": "mon-sun", "from": "22:00", "to": "24:00"},
                {"days": "tue", "from": "00:00", "to": "01:00"},
            ],
        }
    )
    now, flips = us("2026-03-01T00:00"), []
    for _ in range(100):
        now = s.next_change(now)
        flips.append(now)
        before, after = s.in_force(np.array([now - 1, now])).tolist()
        assert before != after  # Monday 24:00 runs on into Tuesday 00:00: no flip there
    inside = np.arange(flips[0], flips[-1], 60_000_000, dtype=np.int64)
    assert int(np.count_nonzero(np.diff(s.in_force(inside)))) == 98


def test_round_trip_and_batches_over_years():
    text = {
        "tz": SHANGHAI,
        "windows": [{"days": "fri-mon", "from": "22:30", "to": "06:00"}],
        "dates": [{"date": "2027-02-01", "from": "08:00", "to": "09:30"}],
        "except": ["2026-05-01"],
    }
    s = Schedule.parse(text)
    assert Schedule.parse(s.to_json()) == s
    times = np.random.default_rng(1).integers(us("2020-01-01T00:00"), us("2032-01-01T00:00"), 5000)
    one_by_one = [bool(s.in_force(times[i : i + 1])[0]) for i in range(len(times))]
    assert s.in_force(times).tolist() == one_by_one
    assert s.in_force(np.array([-(2**62), 2**62])).tolist() == [False, False]
    assert s.in_force(np.zeros(0, dtype=np.int64)).tolist() == []


BAD = [
    ([], "schedule is list"),
    ({"windows": []}, "needs 'tz'"),
    ({"tz": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
    ({"tz": SHANGHAI, "window": []}, "unknown key 'window'"),
    ({"tz": SHANGHAI, "windows": {}}, "'windows' is dict, not a list"),
    ({"tz": SHANGHAI, "windows": ["x"]}, r"windows\[0\] is 'x', not an object"),
    ({"tz": SHANGHAI, "windows": [{"days": "mo", "from": "07:00", "to": "08:00"}]}, "unclear at 'mo'"),
    (
        {"tz": SHANGHAI, "windows": [{"days": "mon", "from": "7:00", "to": "08:00"}]},
        "'7:00'; write a time of day",
    ),
    ({"tz": SHANGHAI, "windows": [{"days": "mon", "from": "07:00", "to": "24:01"}]}, "'24:01'"),
    ({"tz": SHANGHAI, "windows": [{"days": "mon", "from": "07:00", "to": "07:00"}]}, "starts when it ends"),
    ({"tz": SHANGHAI, "windows": [{"day": "mon", "from": "07:00", "to": "08:00"}]}, "unknown key 'day'"),
    ({"tz": SHANGHAI, "dates": [{"date": "2026-13-01"}]}, "'2026-13-01'; write a date"),
    ({"tz": SHANGHAI, "except": [5]}, r"except\[0\] is 5"),
]


@pytest.mark.parametrize(("obj", "message"), BAD)
def test_bad_schedules_say_what_and_how(obj, message):
    with pytest.raises(ValueError, match=message):
        Schedule.parse(obj)


def test_a_fence_joins_schedule_and_validity():
    s = Schedule.parse({"tz": SHANGHAI, "windows": [{"days": "mon-sun", "from": "08:00", "to": "10:00"}]})
    f = circle(
        "z",
        FenceKind.RESTRICTED,
        121.6,
        29.9,
        100.0,
        schedule=s,
        valid_from_us=us("2026-03-02T09:00"),
        valid_to_us=us("2026-03-04T09:00"),
    )
    moments = [
        "2026-03-02T08:30",
        "2026-03-02T09:00",
        "2026-03-03T08:00",
        "2026-03-04T09:00",
        "2026-03-05T08:30",
    ]
    assert f.timed
    assert f.in_force(np.array([us(m) for m in moments])).tolist() == [False, True, True, False, False]
    assert f.next_change(us("2026-03-02T08:30")) == us("2026-03-02T09:00")
    assert f.next_change(us("2026-03-04T08:30")) == us("2026-03-04T09:00")
    plain = circle("p", FenceKind.ZONE, 121.6, 29.9, 100.0)
    assert not plain.timed
    assert plain.in_force(np.array([0, 1])).tolist() == [True, True]
    assert plain.next_change(0) is None
