"""Reports: numbers counted by hand, numbers counted slowly, and the forms they are written in."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import openpyxl
import psycopg
import pytest

from hazfence.engine import Engine
from hazfence.events import Event, Kind, Phase, Severity, event_id, from_iso
from hazfence.postgis import PostgisStore
from hazfence.postgis.history import DIMENSIONS, History, Only, ReportRow
from hazfence.reference import normal_plate
from hazfence_fences import FenceKind, FenceSet, circle, load_fences
from hazfence_replay.ledger import latest
from hazfence_replay.player import replay
from hazfence_replay.report import collect, write_csv, write_html, write_xlsx
from hazfence_replay.report.columns import cells, columns
from hazfence_replay.simulator import simulate
from hazfence_sql import queries

SHANGHAI = ZoneInfo("Asia/Shanghai")
HOSTILE = "=HYPERLINK(1)<b>&"

FILE = """
INSERT INTO hazfence.company (id, name, audit, valid_from) VALUES
    ('c-1', 'First Haulage', 'approved', '2026-01-01T00:00:00Z'),
    ('c-2', 'Second Haulage', 'approved', '2026-01-01T00:00:00Z');
INSERT INTO hazfence.vehicle (plate, company_id, audit, valid_from, valid_to) VALUES
    ('浙B·00001', 'c-1', 'approved', '2026-01-01T00:00:00Z', '2026-03-02T04:00:00Z'),
    ('浙B·00001', 'c-2', 'approved', '2026-03-02T04:00:00Z', NULL),
    ('浙B00001', 'c-2', 'approved', '2026-03-03T00:00:00Z', NULL),
    ('浙B00002', 'c-2', 'approved', '2026-01-01T00:00:00Z', NULL);
"""


def fact(
    kind: Kind,
    vehicle: str,
    fence: str | None,
    start: str,
    minutes: float | None,
    *,
    phase: Phase = Phase.CLOSED,
    severity: Severity = Severity.BREACH,
    **detail: object,
) -> Event:
    start_us = from_iso(start)
    return Event(
        id=event_id(kind, vehicle, fence, start_us),
        kind=kind,
        vehicle=vehicle,
        fence_id=fence,
        fence_version=1 if fence else None,
        revision=1,
        phase=phase,
        started_us=start_us,
        ended_us=None if minutes is None else start_us + round(minutes * 60e6),
        lon=121.6,
        lat=29.98,
        severity=Severity.INFO if kind is Kind.VISIT else severity,
        detail=detail,
    )


V1, V2 = "浙B00001", "浙B00002"
BY_HAND = (
    # 1 March in Shanghai, one second before midnight; the next one is midnight.
    fact(Kind.VISIT, V1, "park", "2026-03-01T15:59:59Z", 60),
    fact(Kind.VISIT, V1, "park", "2026-03-01T16:00:00Z", 30),
    # At noon the truck is the second company's.
    fact(Kind.VISIT, V1, "gate", "2026-03-02T04:00:00Z", 1),
    fact(Kind.VISIT, V2, "park", "2026-03-02T05:00:00Z", None, phase=Phase.OPENED),
    fact(Kind.VISIT, V2, "park", "2026-03-02T06:00:00Z", 9, phase=Phase.RETRACTED),
    fact(Kind.OVERSPEED, V1, "park", "2026-03-02T03:59:59Z", 2),
    fact(Kind.GATE_BYPASS, V2, "district", "2026-03-02T05:00:00Z", 0, nearest_checkpoint="gate"),
    fact(
        Kind.GATE_BYPASS,
        V2,
        "district",
        "2026-03-02T07:00:00Z",
        0,
        phase=Phase.RETRACTED,
        nearest_checkpoint="gate",
    ),
    fact(Kind.OVERDRIVE, V1, None, "2026-03-31T16:00:00Z", None, phase=Phase.AMENDED),
    fact(Kind.SILENT, V2, "district", "2026-12-31T16:00:00Z", 5, severity=Severity.WARNING),
    fact(Kind.COVERAGE_GAP, "not on file", "district", "2027-01-01T00:00:00Z", 5, severity=Severity.INFO),
)


def store(url: str, events: list[Event], fences: FenceSet | None = None) -> None:
    async def write() -> None:
        there = PostgisStore(url)
        await there.open()
        try:
            if fences is not None:
                await there.save_fences(fences)
            claim, _ = await there.claim("t", 0)
            await there.write(claim, events, [])
        finally:
            await there.close()

    asyncio.run(write())


@pytest.fixture(scope="module")
def url(module_postgres_url: str) -> str:
    fences = FenceSet(
        [
            circle("park", FenceKind.PARKING, 121.6, 29.98, 100.0, name="The park"),
            circle("gate", FenceKind.CHECKPOINT, 121.7, 29.98, 100.0, name="The gate"),
            circle("district", FenceKind.DISTRICT, 121.6, 29.98, 20_000.0),
        ]
    )
    with psycopg.connect(module_postgres_url) as connection:
        connection.execute(FILE)
    store(module_postgres_url, list(BY_HAND), fences)
    return module_postgres_url


def counted(rows: list[ReportRow]) -> dict[str, tuple[int, ...]]:
    """visits, breaches, warnings, notes, going on, retracted, by key."""
    return {
        " ".join(filter(None, (r.key, r.key_2))): (
            r.visits, r.breaches, r.warnings, r.notes, r.going_on, r.retracted
        )
        for r in rows
    }  # fmt: skip


def test_numbers_counted_by_hand(url: str) -> None:
    with History(url) as history:
        assert counted(history.report("all")) == {"all": (4, 3, 1, 1, 2, 2)}
        assert counted(history.report("day")) == {
            "2026-03-01": (1, 0, 0, 0, 0, 0),
            "2026-03-02": (3, 2, 0, 0, 1, 2),
            "2026-04-01": (0, 1, 0, 0, 1, 0),
            "2027-01-01": (0, 0, 1, 1, 0, 0),
        }
        assert counted(history.report("month"))["2026-03"] == (4, 2, 0, 0, 1, 2)
        assert counted(history.report("year")) == {"2026": (4, 3, 0, 0, 2, 2), "2027": (0, 0, 1, 1, 0, 0)}
        assert counted(history.report("company")) == {
            "": (0, 0, 0, 1, 0, 0),
            "c-1": (2, 1, 0, 0, 0, 0),
            "c-2": (2, 2, 1, 0, 2, 2),
        }
        assert {r.key: r.label for r in history.report("company")}["c-2"] == "Second Haulage"
        assert counted(history.report("fence"))[""] == (0, 1, 0, 0, 1, 0)
        park = {r.key: r for r in history.report("fence")}["park"]
        assert (park.label, park.visits, park.inside_s, park.mean_stay_s) == ("The park", 3, 5400.0, 2700.0)
        assert park.vehicles == 2
        assert park.last_at == datetime(2026, 3, 2, 5, tzinfo=UTC)
        # The passage through the gate, the bypass nearest to it, and the bypass that was none.
        assert counted(history.report("checkpoint")) == {"gate": (1, 1, 0, 0, 0, 1)}
        assert counted(history.report("kind", "vehicle"))[f"visit {V1}"] == (3, 0, 0, 0, 0, 0)


def test_what_is_left_out_by_time_vehicle_company_fence_and_kind(url: str) -> None:
    midnight, noon = from_iso("2026-03-01T16:00:00Z"), from_iso("2026-03-02T04:00:00Z")
    with History(url) as history:

        def number(**only: object) -> int:
            return sum(
                r.visits + r.breaches + r.warnings + r.notes for r in history.report("all", only=Only(**only))
            )

        assert number(since_us=midnight, until_us=noon) == 2
        assert number(since_us=noon) == 6
        assert number(until_us=midnight) == 1
        assert number(vehicles=(V1,)) == 5
        assert number(companies=("c-1",)) == 3
        assert number(fences=("park", "gate")) == 5
        assert number(kinds=("overspeed", "silent")) == 2
        assert number(vehicles=(V1,), fences=("park",), kinds=("visit",)) == 2
        assert number(vehicles=("' OR true --",)) == 0
        with pytest.raises(ValueError, match="no report by 'moon': by kind, vehicle"):
            history.report("moon")


def test_days_are_those_of_the_zone_asked_for(url: str) -> None:
    with History(url, time_zone="UTC") as history:
        assert counted(history.report("day"))["2026-03-01"][0] == 2
        assert history.local(from_iso("2026-03-01T15:59:59Z")) == "2026-03-01 15:59:59"
    with psycopg.connect(url) as connection:
        [(plain,)] = connection.execute(
            "SELECT count(*) FROM hazfence.report_by_day WHERE day = '2026-04-01'"
        )
        connection.execute("SET hazfence.time_zone = 'America/New_York'")
        [(there,)] = connection.execute(
            "SELECT count(*) FROM hazfence.report_by_day WHERE day = '2026-03-31'"
        )
    assert (plain, there) == (1, 1)
    with pytest.raises(ValueError, match="no time zone 'Mars/Base'"):
        History(url, time_zone="Mars/Base")


def test_the_views_hold_what_the_function_counts(url: str) -> None:
    with History(url) as history, psycopg.connect(url) as connection:
        for by in DIMENSIONS[1:]:
            if by == "hour":
                continue
            query = (
                f"SELECT visits, breaches, warnings, notes, going_on, retracted FROM hazfence.report_by_{by}"
            )
            assert sorted(connection.execute(query)) == sorted(counted(history.report(by)).values())
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="no report by moon"):
            connection.execute("SELECT * FROM hazfence.report('moon')")


def test_a_plate_is_compared_in_sql_as_in_python(url: str) -> None:
    plates = [
        "浙Ｂ·1 2345",
        "浙b12345",
        "浙B・1-2345",
        "浙В12345",
        "ΧАВ。1",
        "浙B‐1—2_3.4",
        "浙B\u00a01\u30002",
        "挂①",
        "",
        "ｱ･ｲ",
    ]
    with psycopg.connect(url) as connection:
        for plate in plates:
            [(found,)] = connection.execute("SELECT hazfence.normal_plate(%s)", [plate])
            assert found == normal_plate(plate)


def test_reading_history_cannot_write(url: str) -> None:
    with History(url) as history:
        assert history._connection is not None
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            history._connection.execute("DELETE FROM hazfence.event")


def test_a_simulated_day_counted_slowly(postgres_url: str) -> None:
    fences = load_fences("fences/zhenhai")
    day = simulate(fences, seed=5, trucks=40)
    events = list(replay(day.batches(), Engine(fences), until=day.end_us))
    retract = [e.id for e in latest(events)][::17]
    events += [
        dataclasses.replace(e, revision=e.revision + 1, phase=Phase.RETRACTED)
        for e in latest(events)
        if e.id in retract
    ]
    store(postgres_url, events, fences)
    standing = latest(events)
    assert len(standing) > 200
    kind_of = {f.id: f.kind for f in fences}

    def key(event: Event, by: str) -> str | None:
        moment = datetime.fromtimestamp(event.started_us / 1e6, SHANGHAI)
        near = event.detail.get("nearest_checkpoint")
        return {
            "kind": str(event.kind),
            "vehicle": event.vehicle,
            "company": "",
            "fence": event.fence_id or "",
            "checkpoint": event.fence_id if kind_of.get(event.fence_id) is FenceKind.CHECKPOINT else near,
            "hour": f"{moment:%Y-%m-%d %H}",
            "day": f"{moment:%Y-%m-%d}",
            "month": f"{moment:%Y-%m}",
            "year": f"{moment:%Y}",
            "all": "all",
        }[by]

    with History(postgres_url) as history:
        for by in DIMENSIONS:
            visits: Counter[str] = Counter()
            breaches: Counter[str] = Counter()
            inside: defaultdict[str, float] = defaultdict(float)
            vehicles: defaultdict[str, set[str]] = defaultdict(set)
            for event in standing:
                if (k := key(event, by)) is None:
                    continue
                vehicles[k].add(event.vehicle)
                if event.is_visit:
                    visits[k] += 1
                    inside[k] += 0 if event.ended_us is None else (event.ended_us - event.started_us) / 1e6
                else:
                    breaches[k] += 1
            rows = {r.key: r for r in history.report(by) if r.visits + r.breaches}
            assert set(rows) == set(visits) | set(breaches)
            for k, row in rows.items():
                assert (row.visits, row.breaches, row.vehicles) == (visits[k], breaches[k], len(vehicles[k]))
                assert row.inside_s == pytest.approx(inside[k])
        [whole] = history.report("all")
        assert whole.retracted == len(retract) > 10
        gone = sum(r.retracted for r in history.report("vehicle"))
        assert gone == len(retract)


def test_the_forms(postgres_url: str, tmp_path: Path) -> None:
    fences = FenceSet([circle("park", FenceKind.PARKING, 121.6, 29.98, 100.0, name=HOSTILE)])
    start = "2026-03-01T16:00:00Z"
    store(
        postgres_url,
        [fact(Kind.VISIT, HOSTILE, "park", start, 30), fact(Kind.OVERSTAY, HOSTILE, "park", start, 10)],
        fences,
    )
    with History(postgres_url) as history:
        rows = [cells(row, history.zone, "fence") for row in history.report("fence")]
        report = collect(history, Only(), max_facts=10)
    stream = io.StringIO()
    write_csv(stream, columns("fence"), rows)
    [head, line] = csv.reader(stream.getvalue().splitlines())
    assert head[:3] == ["fence", "name", "visits"]
    assert line[:5] == ["park", "'" + HOSTILE, "1", "0.5", "30.0"]
    assert line[-1] == "2026-03-02 00:00:00"
    write_csv(tmp_path / "report.csv", columns("fence"), rows)
    assert (tmp_path / "report.csv").read_bytes().startswith(b"\xef\xbb\xbffence,")

    write_xlsx(tmp_path / "report.xlsx", report)
    book = openpyxl.load_workbook(tmp_path / "report.xlsx")
    try:
        assert book.sheetnames[:3] == ["About", "By kind", "By company"]
        sheet = book["By vehicle"]
        assert [c.value for c in sheet[1]][:2] == ["vehicle", "visits"]
        assert (sheet["A2"].value, sheet["A2"].data_type) == (HOSTILE, "s")
        assert (sheet["B2"].value, sheet["F2"].value) == (1, 1)
        [visit] = [r for r in book["Visits and breaches"].iter_rows(values_only=True) if r[1] == "visit"]
        assert visit[10:] == (datetime(2026, 3, 2), datetime(2026, 3, 2, 0, 30), 1800)
    finally:
        book.close()

    write_html(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "=HYPERLINK(1)&lt;b&gt;&amp;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert "2026-03-02 00: 1 overstay 超时滞留" in page


def test_every_query_of_the_reports_is_a_parameterised_one() -> None:
    for name in ("report", "report_facts"):
        assert "%(kinds)s" in queries.load(name)


def test_a_day_out_of_years_is_found_by_its_beginning(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            """
            INSERT INTO hazfence.visit (event_id, vehicle, fence_id, revision, phase, started_at, place,
                                        severity, detail, topic, partition)
            SELECT gen_random_uuid(), 'v' || n % 300, 'park', 1, 'closed',
                   timestamptz '2026-01-01Z' + n * interval '1 h',
                   ST_SetSRID(ST_Point(121.6, 29.9), 4326), 'info', '{}', 't', 0
            FROM generate_series(1, 20000) AS n
            """
        )
        connection.execute("ANALYZE hazfence.visit")
        rows = connection.execute(
            "EXPLAIN SELECT * FROM hazfence.fact "
            "WHERE started_at >= '2027-01-01Z' AND started_at < '2027-01-02Z'"
        ).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "Index Cond" in plan
    assert "visit_started" in plan
    assert "Seq Scan on visit" not in plan
