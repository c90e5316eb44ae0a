"""Plates, fence ids and names of any characters go through SQL, board, log, metrics, letters and pages.

Each place has tests of its own; this one sends the same odd texts through all of them at once.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from hazfence import Engine, FixBatch
from hazfence.postgis import PostgisStore
from hazfence.redis_board import RedisBoard
from hazfence.wire import Message, encode_columns, encode_fix
from hazfence.worker.log import set_up
from hazfence.worker.metrics import WorkerMetrics
from hazfence.worker.processor import PartitionProcessor, ProcessorSettings
from hazfence.worker.showcase import Showcase
from hazfence_fences import FenceSet, parse_fences
from hazfence_replay.map import write_html

from ..accounting import account, assert_accounted

ODD = [
    "浙B12345", "'; DROP TABLE hazfence.fix; --", '"quoted"', "back\\slash", "%s %(name)s %%", "{0} {{}}",
    "<script>alert(1)</script>", "</script><!--", "&amp;&#39;", "line\nbreak\r\nlevel=error forged", "tab\t",
    "[red]markup[/red]", "\x1b[31mcolour\x07", "\u202egnirts", "e\u0301", "é", "🚛" * 8, " ", "null", "NaN",
    "0", "key:with:colons", "glob*[a-z]?", "`id` $(id)", "a\u2028b", "\ufeffbom", "hazfence:events", "-",
    "..", "/",
]  # fmt: skip
START_US = 1_772_409_600_000_000
TOPIC = "hazfence.test.odd"


def fences() -> FenceSet:
    """A square for each text, which is id and name of it."""
    features = []
    for place, text in enumerate(ODD):
        west = 121.0 + place * 0.02
        corners = [[west, 29.9], [west + 0.01, 29.9], [west + 0.01, 29.91], [west, 29.91], [west, 29.9]]
        features.append(
            {
                "type": "Feature",
                "properties": {"id": text, "name": text, "kind": "restricted"},
                "geometry": {"type": "Polygon", "coordinates": [corners]},
            }
        )
    return FenceSet(parse_fences({"type": "FeatureCollection", "features": features}, source="test"))


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = before
    structlog.reset_defaults()


@pytest.mark.parametrize("as_json", [True, False])
def test_through_everything(
    postgres_url: str, redis_url: str, redis_prefix: str, tmp_path: Path, log: io.StringIO, as_json: bool
) -> None:
    set_up(level="debug", as_json=as_json, stream=log)
    metrics = WorkerMetrics()
    places = range(len(ODD))
    inside = FixBatch.of(
        ODD, time_us=START_US, lon=[121.005 + p * 0.02 for p in places], lat=29.905, status=3, item=places
    )
    outside = FixBatch.of(
        ODD, time_us=START_US + 60_000_000, lon=[121.015 + p * 0.02 for p in places], lat=29.905, item=places
    )
    nowhere = [encode_fix(text, START_US + 90_000_000, 500.0, 0.0) for text in ODD]
    values = [encode_columns(inside), *nowhere, encode_columns(outside), *(text.encode() for text in ODD)]
    messages = [Message(offset, 0, value) for offset, value in enumerate(values)]

    async def go() -> None:
        store, board = PostgisStore(postgres_url), RedisBoard(redis_url, prefix=redis_prefix)
        await store.open()
        saved = (await store.save_fences(fences())).fences
        assert [f.id for f in await store.load_fences()] == ODD
        processor = PartitionProcessor(
            TOPIC, 0, fences=saved, store=store, metrics=metrics, settings=ProcessorSettings(lateness_s=0)
        )
        await processor.load()
        showcase = Showcase(processor, store=store, board=board, metrics=metrics)
        await processor.feed(messages[: 1 + len(ODD)])
        await showcase.update(at_once=True)
        assert sorted(one["vehicle"] for one in await board.vehicles()) == sorted(ODD)
        for text in ODD:
            assert await board.inside(text) == [text]
        assert sorted(one["vehicle"] for one in await board.breaches()) == sorted(ODD)
        await processor.feed(messages[1 + len(ODD) :])
        for text in ODD:
            structlog.get_logger("hazfence.test").warning("seen", vehicle=text, fence=text)
            logging.getLogger("some.library").warning("seen %s", text)
        await processor.checkpoint()
        await showcase.update(at_once=True)
        assert await board.breaches() == []
        await processor.close()
        await board.close()
        await store.close()

    asyncio.run(go())
    with psycopg.connect(postgres_url) as connection:
        for table in ("event", "visit"):
            rows = connection.execute(
                f"SELECT vehicle, fence_id FROM hazfence.{table} WHERE phase = 'closed'"
            ).fetchall()
            assert sorted(rows) == sorted((text, text) for text in ODD)
        letters = connection.execute(
            "SELECT detail, payload FROM hazfence.dead_letter WHERE item = 0"
        ).fetchall()
        assert sorted(json.loads(bytes(payload))["vehicle"] for _, payload in letters) == sorted(ODD)
        assert not any("\n" in detail for detail, _ in letters)
        names = connection.execute("SELECT fence_name FROM hazfence.breach_map").fetchall()
        assert sorted(name for (name,) in names) == sorted(ODD)
    found = asyncio.run(account(postgres_url, TOPIC, {0: messages}))
    assert_accounted(found)
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert families["hazfence_unaccounted"].samples[0].value == 0
    assert families["hazfence_fixes_accepted"].samples[0].value == 2 * len(ODD)

    lines = log.getvalue().splitlines() if not as_json else log.getvalue().split("\n")[:-1]
    said = [line for line in lines if "seen" in line]
    assert not any(line.startswith("level=error") for line in lines), "nobody forges a line"
    if as_json:
        rows = [json.loads(line) for line in said]
        assert [row["vehicle"] for row in rows if "vehicle" in row] == ODD
        assert [row["event"] for row in rows if "vehicle" not in row] == [f"seen {text}" for text in ODD]
    assert "\x1b" not in log.getvalue()

    page = tmp_path / "page.html"
    engine = Engine(fences())
    events = [*engine.process(inside), *engine.process(outside)]
    write_html(page, fences(), inside, events, title=ODD[6])
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == 2
    assert "alert(1)</script>" not in text
