"""A stored fact is explained from what is stored, and what has changed since is named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from hazfence.events import Kind
from hazfence.fixes import FixBatch
from hazfence.postgis.history import History, NotInHistory
from hazfence.services import fresh_database
from hazfence.settings import EngineSettings
from hazfence_fences import Fence, FenceKind, FenceSet, circle
from hazfence_replay.explain import Evidence, Finding, examine, gather, tell
from hazfence_replay.explain.derive import Verdict
from tests.integration.live_day import live, publish

DAY_US = 1_772_409_600_000_000  # 2026-03-02T00:00:00Z
V = "浙B00001"


def park(radius_m: float = 200.0, **more: object) -> Fence:
    return circle(
        "park", FenceKind.PARKING, 121.6, 29.98, radius_m, name="The park", max_stay_min=30.0, **more
    )


ROAD = circle("road", FenceKind.ZONE, 121.6, 29.98, 20_000.0, speed_limit_kmh=60.0)


def drive(start_s: int = 0) -> FixBatch:
    """Comes at 90 km/h, stands in the park for 40 minutes, leaves; a fix each 10 s."""
    rows = []
    for t in range(0, 3600, 10):
        if t < 300:
            place, speed = 121.6 - (300 - t) * 25 / 96_500, 90.0
        elif t < 2700:
            place, speed = 121.6, 0.0
        else:
            place, speed = 121.6 + (t - 2700) * 10 / 96_500, 36.0
        rows.append((start_s + t, place, speed))
    t, lon, speed = np.array(rows).T
    n = len(rows)
    return FixBatch.of(
        [V] * n, time_us=DAY_US + t.astype(np.int64) * 1_000_000, lon=lon, lat=[29.98] * n, speed_kmh=speed
    )


def cut(batch: FixBatch, at: int = 40) -> list[FixBatch]:
    return [batch.take(slice(i, i + at)) for i in range(0, len(batch), at)]


@pytest.fixture
def url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    with fresh_database(postgres_server, template=migrated_template) as found:
        publish(found, FenceSet([park(), ROAD]))
        yield found


def ids(url: str, kind: Kind, phase: str = "closed") -> list[str]:
    with psycopg.connect(url) as connection:
        query = "SELECT event_id FROM hazfence.fact WHERE kind = %s AND phase = %s"
        rows = connection.execute(query, [str(kind), phase]).fetchall()
    return [row[0].hex for row in rows]


def explained(url: str, event_id: str, **more: object) -> tuple[Evidence, Finding]:
    with History(url) as history:
        evidence = gather(history, event_id, **more)  # type: ignore[arg-type]
    return evidence, examine(evidence)


def why(finding: Finding) -> list[str]:
    return [reason for reason, _ in finding.reasons]


def test_what_was_said_live_stands_and_its_numbers_are_in_the_words(url: str) -> None:
    live(url, cut(drive()))
    for kind in (Kind.VISIT, Kind.OVERSTAY, Kind.OVERSPEED):
        for event_id in ids(url, kind):
            _, finding = explained(url, event_id)
            assert finding.verdict is Verdict.STANDS, (finding.differences, finding.reasons)
            assert finding.now is None
    evidence, finding = explained(url, *ids(url, Kind.OVERSTAY))
    told = tell(evidence, finding)
    # By hand: 200 m of 25 m/s before the middle at 300 s is 292 s; half an hour later it had to leave.
    assert "it may stay 30 min" in told.steps[1]
    assert "leave by 2026-03-02 08:34:52" in told.steps[2]
    assert ("version", "1 (in force now)") in told.fence
    assert ("max_min", "30", "min", "the fence's max_stay_min") in told.parameters
    assert dict(told.before)["inside"] == "road, park"
    assert [r[0] for r in told.revisions] == ["1", "2"]
    assert any("tips the scales" in line.note for line in told.fixes)
    assert any("it rests on this" in line.note for line in told.fixes)


def test_a_fix_that_came_late_takes_it_back_and_is_named(url: str) -> None:
    whole = drive()
    # While it stands, a fix from far off is kept back, and comes five minutes late.
    away = 1900 // 10
    lon = whole.lon.copy()
    lon[away] = 121.7
    whole = dataclasses.replace(whole, lon=lon)
    early = whole.take(np.arange(len(whole)) != away)
    batches = cut(early, 20)
    behind = next(i for i, b in enumerate(batches) if int(b.time_us[0]) > DAY_US + 2_200_000_000)
    live(url, [*batches[:behind], whole.take(slice(away, away + 1)), *batches[behind:]])
    retracted = ids(url, Kind.OVERSTAY, "retracted")
    assert len(retracted) == 1
    evidence, finding = explained(url, retracted[0])
    assert finding.verdict is Verdict.RETRACTED
    [(reason, details)] = finding.reasons
    assert (reason, details["count"]) == ("late_fixes", 1)
    assert details["times"] == [DAY_US + 1_900_000_000]
    assert (
        "fixes that follow them in time were there before: 1 (2026-03-02 08:31:40)"
        in tell(evidence, finding).reasons[0]
    )
    assert "came late" in json.dumps(tell(evidence, finding).to_json())


def test_how_good_its_fixes_are_is_judged_again_and_said(url: str) -> None:
    whole = drive()
    said_m = np.where(np.arange(len(whole)) % 2, 60.0, 8.0).astype(np.float32)
    live(url, cut(dataclasses.replace(whole, accuracy_m=said_m)))
    evidence, finding = explained(url, *ids(url, Kind.OVERSTAY))
    assert finding.verdict is Verdict.STANDS
    assert set(evidence.fixes.accuracy().tolist()) == {8.0, 60.0}
    notes = [line.note for line in tell(evidence, finding).fixes]
    assert any(note.endswith("may be wrong by 60 m") for note in notes)
    assert not any("8 m" in note for note in notes)
    again = Evidence.of_parts(evidence.parts())
    assert again.fixes == evidence.fixes
    assert examine(again).verdict is Verdict.STANDS


def test_a_fence_that_changed_since_is_named(url: str) -> None:
    live(url, cut(drive()))
    publish(url, FenceSet([dataclasses.replace(park(), max_stay_min=60.0)]))
    evidence, finding = explained(url, *ids(url, Kind.OVERSTAY))
    assert evidence.fence is not None
    assert (evidence.fence.version, evidence.fence.max_stay_min) == (1, 30.0)
    assert (finding.verdict, finding.now) == (Verdict.STANDS, Verdict.FALLS)
    assert finding.now_reasons == (("fence_changed", {"fence": "park", "was": 1, "now": 2}),)
    # The visit is the same under both.
    visits = [explained(url, i)[1] for i in ids(url, Kind.VISIT)]
    assert Verdict.STANDS in [f.now for f in visits]


def test_other_settings_than_the_workers_are_named(url: str) -> None:
    live(url, cut(drive()))
    _, finding = explained(url, *ids(url, Kind.OVERSPEED), settings=EngineSettings(overspeed_for_s=900.0))
    assert finding.verdict is Verdict.FALLS
    assert finding.reasons == (("parameter", {"name": "for_s", "was": 20.0, "now": 900.0}),)
    off = EngineSettings.from_json({"rules": {"overspeed": False}})
    _, finding = explained(url, *ids(url, Kind.OVERSPEED), settings=off)
    assert "rule_off" in why(finding)


def test_fixes_that_were_cleaned_away(url: str) -> None:
    live(url, cut(drive()))
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM hazfence.fix WHERE time < '2026-03-02T00:20:00Z'")
    # The overstay stands half an hour after an entry that nobody can see any more.
    _, finding = explained(url, *ids(url, Kind.OVERSTAY))
    assert (finding.verdict, why(finding)) == (Verdict.FALLS, ["short"])
    _, finding = explained(url, *ids(url, Kind.OVERSPEED))
    assert (finding.verdict, why(finding)) == (Verdict.UNKNOWN, ["no_fixes"])
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE hazfence.fix")
    evidence, finding = explained(url, *ids(url, Kind.OVERSTAY))
    assert (finding.verdict, why(finding)) == (Verdict.UNKNOWN, ["no_fixes"])
    assert "oldest one of the vehicle is of: none" in tell(evidence, finding).reasons[0]
    assert tell(evidence, finding, language="zh").said == "无法判断是否成立。"


def test_fences_that_were_never_saved_have_to_be_given(url: str) -> None:
    live(url, cut(drive()))
    [event_id] = ids(url, Kind.OVERSTAY)
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM hazfence.fence WHERE id = 'park'")
    evidence, finding = explained(url, event_id)
    assert finding.verdict is Verdict.FALLS
    assert "give the fences that the workers ran with" in tell(evidence, finding).reasons[0]
    _, finding = explained(
        url, event_id, fences=FenceSet([park(version=1), dataclasses.replace(ROAD, version=1)])
    )
    assert finding.verdict is Verdict.STANDS


def test_what_is_no_event_is_said_so(url: str) -> None:
    with History(url) as history:
        with pytest.raises(NotInHistory, match="is no event id"):
            gather(history, "x")
        with pytest.raises(NotInHistory, match="there is no event 0{32} in this database"):
            gather(history, "0" * 32)
