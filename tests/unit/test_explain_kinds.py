"""Every kind of event is judged again from its evidence to the last bit, and told in two languages."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from hazfence import states
from hazfence.engine import Engine
from hazfence.events import Event, Kind, Phase, iso
from hazfence.fixes import FixBatch
from hazfence.reference import Filed, ReferenceData
from hazfence.rules.book import Rulebook
from hazfence.rules.capacity import CapacityWatch
from hazfence.rules.papers import paper_warnings
from hazfence.rules.plates import PlateRead, PlateWatch
from hazfence.settings import EngineSettings
from hazfence.states import State
from hazfence.vehicles import SpeedRun
from hazfence_fences import FenceKind, FenceSet, circle
from hazfence_replay.explain import Evidence, examine, tell
from hazfence_replay.explain.derive import Verdict
from hazfence_replay.explain.evidence import Revision
from hazfence_replay.explain.memory import TOLD, remembered
from hazfence_replay.explain.page import page
from hazfence_replay.explain.phrases import REASONS, STEPS, VERDICTS, WORDS
from hazfence_replay.explain.picture import draw
from hazfence_replay.simulator.cases import simulate_week, week_fences, week_rules
from hazfence_replay.week import found as found_in_week
from tests.unit import test_rules_separation as separation


def evidence_of(
    event: Event,
    fixes: FixBatch,
    fences: FenceSet,
    settings: EngineSettings | None = None,
    reference: ReferenceData | None = None,
) -> Evidence:
    times = fixes.time_us if len(fixes) else np.array([event.started_us])
    return Evidence(
        event=event,
        topic="t",
        partition=0,
        revisions=(Revision(event, event.started_us),),
        fences=fences,
        fences_now=fences,
        fixes=fixes,
        settings=settings or EngineSettings(),
        reference=reference,
        around=(),
        since_us=int(times.min()),
        until_us=(event.ended_us or event.started_us) + 3_600_000_000,
        oldest_us=int(times.min()),
    )


def test_every_kind_of_the_week_stands_and_is_told_whole() -> None:
    week = simulate_week(seed=2, vehicles=110, days=2)
    fences, settings = week_fences(), EngineSettings(rules=week_rules())
    last = {event.id: event for event in found_in_week(week)}
    by_kind: dict[str, list[Event]] = {}
    for event in last.values():
        # A crowd or a pair cannot be told from one vehicle's fixes; they have tests of their own below.
        if event.phase is not Phase.RETRACTED and event.kind not in (Kind.ZONE_CAPACITY, Kind.SEPARATION):
            by_kind.setdefault(
                f"{event.kind}{event.detail.get('part', '')}{event.detail.get('why', '')}", []
            ).append(event)
    assert len(by_kind) >= 20
    before = set()
    for events in by_kind.values():
        for event in events[:1]:
            code = week.fixes.vehicles.index(event.vehicle)
            until_us = (event.ended_us or event.started_us) + 3_600_000_000
            mine = week.fixes.take((week.fixes.vehicle == code) & (week.fixes.time_us < until_us))
            evidence = evidence_of(event, mine, fences, settings, week.reference)
            again = Evidence.of_parts(evidence.parts())
            assert again.fixes == evidence.fixes
            finding = examine(again)
            assert finding.verdict is Verdict.STANDS, (event, finding.differences, finding.reasons)
            for language in ("en", "zh"):
                told = tell(again, finding, language=language)  # type: ignore[arg-type]
                whole = json.dumps(told.to_json(), ensure_ascii=False)
                assert "?" not in " ".join(told.steps), told.steps
                before |= {name for name, _ in told.before}
                assert event.vehicle in whole
                assert len(told.steps) >= 2
                assert page(told, draw(again, finding)).startswith(b"<!doctype html>")
    memories = {"motion", "driving", "parking", "route", "section", "trust"}
    assert {f"remembered: {name}" for name in memories} <= before


def test_what_rests_on_plate_reads_is_judged_again_from_what_the_event_says_of_them() -> None:
    gate = circle("gate", FenceKind.CHECKPOINT, 121.6, 29.98, 100.0)
    fences = FenceSet([gate])
    settings = EngineSettings(rules=Rulebook({"plate_without_gps": True, "gps_without_plate": True}))
    day = 1_772_409_600_000_000
    times = np.arange(0, 600, 10) * 1_000_000 + day
    fixes = FixBatch.of(
        ["浙B·12345"] * 60, time_us=times, lon=121.59 + np.arange(60) * 0.0004, lat=[29.98] * 60
    )
    read = PlateRead("浙B12345", "gate", day + 240_000_000)

    def said(visits: bool, *reads: PlateRead) -> list[Event]:
        """By the fixes or without, the reads coming when all waiting is over."""
        watch = PlateWatch(fences, settings.rules)
        found = list(
            watch.take(Engine(fences, settings).process(fixes)) if visits else watch.take(reads=reads)
        )
        found += watch.advance(day + 3_600_000_000)
        return [*found, *watch.take(reads=reads)]

    def verdict(event: Event, by: FixBatch, **change: object) -> Verdict:
        return examine(dataclasses.replace(evidence_of(event, by, fences, settings), **change)).verdict  # type: ignore[arg-type]

    nothing = FixBatch.empty()
    [unread] = said(True)
    assert unread.kind is Kind.GPS_WITHOUT_PLATE
    assert verdict(unread, fixes) is Verdict.STANDS
    assert verdict(unread, fixes.take(slice(0, 20)), oldest_us=day) is Verdict.FALLS
    # A read that came late took it back, and is named; without it the event would come out.
    taken_back = said(True, read)[-1]
    assert (taken_back.phase, taken_back.detail["read_at"]) == (Phase.RETRACTED, iso(read.time_us))
    assert verdict(taken_back, fixes) is Verdict.RETRACTED
    forged = dataclasses.replace(taken_back, detail=unread.detail)
    assert verdict(forged, fixes) is Verdict.REVIVED
    # Releases before this one did not say what was read.
    older = dataclasses.replace(unread, detail={k: v for k, v in unread.detail.items() if k != "unread"})
    assert verdict(older, fixes) is Verdict.UNKNOWN

    [alone] = said(False, read)
    assert alone.kind is Kind.PLATE_WITHOUT_GPS
    assert verdict(alone, nothing, oldest_us=day) is Verdict.STANDS
    assert verdict(alone, nothing, oldest_us=None) is Verdict.UNKNOWN  # were there fixes, they are gone
    assert verdict(alone, nothing, oldest_us=read.time_us + 1) is Verdict.UNKNOWN
    # The terminal writes the plate in another way.
    assert verdict(alone, fixes, oldest_us=day) is Verdict.FALLS
    elsewhere = FenceSet([circle("gate-2", FenceKind.CHECKPOINT, 121.6, 29.98, 100.0)])
    assert examine(
        dataclasses.replace(evidence_of(unread, fixes, fences, settings), fences_now=elsewhere)
    ).now


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_retraction_names_the_read_that_came_first_however_reads_come_in_batches(
    order: tuple[int, int],
) -> None:
    fences = FenceSet([circle("gate", FenceKind.CHECKPOINT, 121.6, 29.98, 100.0)])
    day = 1_772_409_600_000_000
    fixes = FixBatch.of(
        ["A"] * 60, time_us=np.arange(0, 600, 10) * 1_000_000 + day, lon=121.59 + np.arange(60) * 0.0004,
        lat=[29.98] * 60,
    )  # fmt: skip
    reads = [PlateRead("A", "gate", day + (235 + 10 * i) * 1_000_000) for i in order]
    told = []
    for batches in ([reads], [reads[:1], reads[1:]]):
        watch = PlateWatch(fences, Rulebook({"gps_without_plate": True}))
        watch.take(Engine(fences).process(fixes))
        watch.advance(day + 3_600_000_000)
        told.append([event for batch in batches for event in watch.take(reads=batch)])
    assert told[0] == told[1]
    assert [event.detail["read_at"] for event in told[0]] == [iso(reads[0].time_us)]


def test_every_kind_has_its_sentences_in_both_languages() -> None:
    assert set(STEPS) == {str(kind) for kind in Kind}
    for steps in STEPS.values():
        for _, english, chinese in steps:
            assert english.isascii()
            assert not chinese.isascii()
    for table in (VERDICTS, REASONS, WORDS):
        for english, chinese in table.values():
            assert english.isascii()
            assert chinese


def test_a_crowd_is_judged_again_from_the_fixes_of_all_its_vehicles() -> None:
    fences = FenceSet(
        [
            circle(
                "yard",
                FenceKind.ZONE,
                121.6,
                29.98,
                100.0,
                properties={"rules": {"zone_capacity": {"most": 1}}},
            )
        ]
    )
    settings = EngineSettings(rules=Rulebook())
    # A from 0 to 300 s, B from 100 to 400 s; both come and go within ten seconds.
    rows = []
    for name, start, end in (("A", 0, 300), ("B", 100, 400)):
        rows += [(name, t * 1_000_000, 121.6 if start <= t < end else 121.7) for t in range(0, 500, 10)]
    rows.sort(key=lambda row: row[1])
    names, times, lon = zip(*rows, strict=True)
    day = 1_772_409_600_000_000
    fixes = FixBatch.of(names, time_us=np.array(times) + day, lon=lon, lat=[29.98] * len(rows))
    engine, watch = Engine(fences, settings), CapacityWatch(fences, settings.rules)
    crowds = watch.take(engine.process(fixes))
    [crowd] = {event.id: event for event in crowds if event.phase is not Phase.RETRACTED}.values()
    evidence = evidence_of(crowd, fixes, fences, settings)
    finding = examine(evidence)
    assert (finding.verdict, crowd.detail["peak"]) == (Verdict.STANDS, 2)
    shown = page(tell(evidence, finding), draw(evidence, finding)).decode()
    assert shown.count("<circle") == len(fixes) + 2  # every fix, and both marks
    one = fixes.take(fixes.vehicle == 0)
    assert examine(evidence_of(crowd, one, fences, settings)).verdict is Verdict.FALLS


def test_two_that_stood_too_near_are_judged_again_from_the_fixes_of_both() -> None:
    rows = separation.stand("A", 0, 40) + separation.stand("B", 5, 25, east_m=12.0)
    rows += separation.stand("B", 25.5, 40, east_m=500.0)
    fixes = separation.batch(sorted(rows, key=lambda row: row[1]))
    settings = EngineSettings(rules=separation.BOOK)
    [event] = separation.run(rows, 60)
    evidence = evidence_of(event, fixes, separation.FENCES, settings, separation.FILE)
    finding = examine(Evidence.of_parts(evidence.parts()))
    assert finding.verdict is Verdict.STANDS, finding.differences
    assert "A and B carried goods to be kept apart (classes 3, 5.2" in tell(evidence, finding).steps[1]
    assert examine(dataclasses.replace(evidence, reference=ReferenceData())).verdict is Verdict.FALLS


def test_a_paper_is_judged_again_from_the_file() -> None:
    data = ReferenceData([Filed("company", "c-1", "approved", 0, papers={"permit": 30 * 86_400_000_000 * 2})])
    [warning, *_] = paper_warnings(data, 0, 2**60)
    fences = FenceSet([circle("yard", FenceKind.ZONE, 121.6, 29.98, 100.0)])
    evidence = evidence_of(warning, FixBatch.empty(), fences, reference=data)
    finding = examine(evidence)
    assert finding.verdict is Verdict.STANDS
    assert "permit" in " ".join(tell(evidence, finding).steps)
    assert b"permit" in page(tell(evidence, finding), draw(evidence, finding))
    gone = dataclasses.replace(evidence, reference=ReferenceData())
    assert examine(gone).reasons == (("file_changed", {}),)


@pytest.mark.parametrize("speed", [70.0, 50.0])
def test_the_fix_that_tips_the_scales_and_the_state_before_it(speed: float) -> None:
    fences = FenceSet([circle("road", FenceKind.ZONE, 121.6, 29.98, 5000.0, speed_limit_kmh=60.0)])
    day = 1_772_409_600_000_000
    fixes = FixBatch.of(
        ["A"] * 6,
        time_us=day + np.arange(6) * 10_000_000,
        lon=121.6 + np.arange(6) * 0.002,
        lat=[29.98] * 6,
        speed_kmh=[50.0, 70.0, 70.0, 70.0, 70.0, speed],
    )
    [event] = [e for e in Engine(fences).process(fixes) if e.kind is Kind.OVERSPEED and e.revision == 1]
    last = [e for e in Engine(fences).process(fixes) if e.id == event.id][-1]
    finding = examine(evidence_of(last, fixes, fences))
    # Over the limit since 10 s; for longer than 20 s at the fix of 40 s.
    assert finding.derived.decisive == 4
    before = finding.derived.before
    assert before is not None
    assert before.inside == ("road",)
    assert before.last.time_us.tolist() == [day + 30_000_000]
    assert [e.kind for e in before.going_on] == [Kind.VISIT]
    [run] = [memory for memory in before.memory if isinstance(memory, SpeedRun)]
    assert (run.started_us, run.last_us, run.max_kmh) == (day + 10_000_000, day + 30_000_000, 70.0)
    for language, name, says in (
        ("en", "remembered: speed", "over 60 km/h in road since 2026-03-02 08:00:10"),
        ("zh", "规则记忆: 速度", "在 road 超过 60 km/h"),
    ):
        told = tell(evidence_of(last, fixes, fences), finding, language=language)  # type: ignore[arg-type]
        assert says in dict(told.before)[name]


def test_every_memory_has_its_sentence_in_both_languages() -> None:
    known = {getattr(states, name) for name in states.__all__}
    kinds = {
        kind for kind in known if isinstance(kind, type) and issubclass(kind, State) and kind is not State
    }
    assert set(TOLD) == {SpeedRun, *kinds}
    waver = states.Waver("gate", True, 1, 0, 2, 121.6, 29.9, "crossing", ())
    examples = [
        SpeedRun(1, 2, 121.6, 29.9, 121.6, 29.9, "road", 1, 60.0, 71.5),
        states.Motion(True, 1, 121.6, 29.9),
        states.Motion(False, 1, 121.6, 29.9),
        states.Parked(1, 121.6, 29.9, "road"),
        states.Drive(None, None),
        states.Drive(1, 2, ((3, 4),), (("day", 5),)),
        states.OffRoute(1, 121.6, 29.9, "road", said=True),
        states.Segment("gate", 1, 121.6, 29.9),
        states.Trust(None, (), 1, 2, "spoof"),
        states.Trust((7, 121.6, 29.9, 50.0, ()), (), 1, 2, "spoof"),
        states.Wavering((waver,)),
        states.Leaning((("district", "certain"), ("other", "possible"))),
        states.Unsure(("zone",)),
    ]
    assert {type(memory) for memory in examples} == set(TOLD)
    for memory in examples:
        (english, chinese), (told, chinese_told) = remembered(memory, "at {}".format, "fence {}".format)
        assert english.isascii()
        assert not chinese.isascii()
        assert not chinese_told.isascii()
        assert told != chinese_told
        assert "None" not in told + chinese_told
