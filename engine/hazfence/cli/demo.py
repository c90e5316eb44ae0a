"""``hazfence demo``: a simulated day through the whole system, and what it found.

You are on the top floor. The demo is the main job on real parts: fixes go through a Kafka-protocol topic, a
Faust worker matches them, visits and breaches land in PostGIS and on Redis. The trucks of the district
break the four rules that are on by default; beside them a *ground* invented out at sea has every rule on
and every rule broken (``hazfence_replay.simulator.cases``), with plate reads and a file of its own. The
simulator knows what it planted, so the last table can say planted against found. Everything started is
ended.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hazfence.cli import show

if TYPE_CHECKING:
    from hazfence.cli.pipeline import Pipeline
    from hazfence.events import Event
    from hazfence_fences import FenceSet
    from hazfence_replay.simulator import SimulatedDay
    from hazfence_replay.simulator.cases import SimulatedWeek

__all__ = ["demo"]

#: The ground's day: trucks, seed, and what their plates begin with. Every rule is broken on it at least once.
_GROUND_TRUCKS, _GROUND_SEED, _GROUND_PLATES = 96, 12, "浙L"


def demo(
    folder: Annotated[Path, typer.Option(help="Where everything of the demo goes.")] = Path(".demo"),
    fences: Annotated[
        Path, typer.Option("--fences", help="GeoJSON file or folder of fences.", envvar="HAZFENCE_FENCES")
    ] = Path("fences/zhenhai"),
    trucks: Annotated[int, typer.Option(min=1, help="How many trucks.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the simulated day.")] = 1,
) -> None:
    """Run a simulated day of trucks through the whole system and show what it found."""
    from hazfence.cli.pipeline import Pipeline
    from hazfence.worker.processor import Clock
    from hazfence_fences import FenceSet, load_fences, parse_fences
    from hazfence_replay.simulator import simulate, write_truth
    from hazfence_replay.simulator.cases import GROUND_RULES, ground_geojson, simulate_week

    began_s = time.monotonic()
    fence_set = load_fences(fences)
    folder.mkdir(parents=True, exist_ok=True)
    both = FenceSet([*fence_set.fences, *parse_fences(ground_geojson(), source="ground")])
    rules = folder / "rules.json"
    rules.write_text(json.dumps({"rules": GROUND_RULES}, indent=1) + "\n")
    # Its own topic and group, so that services given by the environment may be used for other things too.
    name = f"hazfence.demo.{int(time.time())}"
    # The same day tells the same events, by the same ids: those of a demo before would be taken for them.
    shutil.rmtree(folder / "services", ignore_errors=True)
    with Pipeline(folder, both, clock=Clock.EVENT, topic=name, group=name, rules=rules) as system:
        with show.talk.status("starting PostGIS, Redis and a broker"):
            system.start_services()
        with show.talk.status("migrating, saving fences"):
            system.prepare()
        with show.talk.status(
            f"inventing a day of {trucks} trucks, and {_GROUND_TRUCKS} that break every rule"
        ):
            day = simulate(fence_set, seed=seed, trucks=trucks)
            ground = simulate_week(seed=_GROUND_SEED, vehicles=_GROUND_TRUCKS, days=1, plates=_GROUND_PLATES)
            write_truth([*day.truth, *ground.truth], folder / "truth.jsonl")
            system.put_on_file(ground.reference)
        with show.talk.status("starting the worker"):
            system.start_worker()
        seconds = _feed(system, day, ground)
        with show.talk.status("the last word of the rules about several vehicles, last checkpoint"):
            _wait_for_joint(system, day, ground)
            system.stop_worker()
        events, stored = asyncio.run(_found(system))
    perfect = _report(folder, fence_set, day, ground, events, stored, seconds)
    show.talk.print(f"{time.monotonic() - began_s:.0f} s in all; everything that was started has been ended")
    if not perfect:
        raise typer.Exit(1)


def _feed(system: Pipeline, day: SimulatedDay, ground: SimulatedWeek) -> float:
    """Send the day as fast as it goes; returns the seconds from the first fix to the last one matched."""
    import numpy as np
    from aiokafka import AIOKafkaProducer

    from hazfence.fixes import FixBatch
    from hazfence.wire.plates import encode_read
    from hazfence.wire.producer import FixProducer

    fixes = FixBatch.concat([day.fixes, ground.fixes])
    fixes = fixes.take(np.argsort(fixes.time_us, kind="stable"))

    async def send_and_watch() -> float:
        async with AIOKafkaProducer(bootstrap_servers=system.settings.kafka) as cameras:
            topic = system.settings.plate_topic
            await asyncio.gather(
                *[await cameras.send(topic, encode_read(read), partition=0) for read in ground.reads]
            )
        began_s = time.monotonic()
        with show.progress() as bars:
            sent = bars.add_task("fixes sent   ", total=len(fixes))
            matched = bars.add_task("fixes matched", total=len(fixes))

            async def watch() -> None:
                done = 0.0
                while done < len(fixes):
                    await asyncio.sleep(0.1)
                    done = await asyncio.to_thread(system.metric, "hazfence_fixes_total")
                    bars.update(matched, completed=done)

            watching = asyncio.create_task(watch())
            async with FixProducer(system.settings.kafka, system.settings.topic) as producer:
                for batch in (fixes.take(slice(i, i + 5000)) for i in range(0, len(fixes), 5000)):
                    await producer.send_batch(batch)
                    bars.advance(sent, len(batch))
                    if watching.done():
                        break
            await watching
        return time.monotonic() - began_s

    return asyncio.run(send_and_watch())


def _wait_for_joint(system: Pipeline, day: SimulatedDay, ground: SimulatedWeek) -> None:
    """Wait until it is known what is missing: at the end of the day, as far as the event clock goes."""
    how = system.settings
    late_s = how.lateness_s + 2 * how.event_step_s
    until_s = max(int(f.time_us.max()) for f in (day.fixes, ground.fixes)) / 1e6 - late_s
    give_up_s = time.monotonic() + 60.0
    while system.metric("hazfence_joint_until_seconds") < until_s and time.monotonic() < give_up_s:
        time.sleep(0.1)


async def _found(system: Pipeline) -> tuple[list[Event], int]:
    """The events that the database holds, each in its last revision, and how many fixes were stored."""
    import psycopg

    from hazfence.postgis import PostgisStore
    from hazfence_sql import queries

    topic = system.settings.topic
    events: dict[str, Event] = {}
    store = PostgisStore(system.database_url)
    await store.open()
    try:
        places = [(topic, partition) for partition in range(system.settings.topic_partitions)]
        for place in [*places, (system.settings.plate_topic, 0)]:
            seq = 0
            while rows := await store.outbox(*place, seq, 5000):
                events.update((row.event.id, row.event) for row in rows)
                seq = rows[-1].seq
    finally:
        await store.close()
    async with await psycopg.AsyncConnection.connect(system.database_url) as connection:
        cursor = await connection.execute(queries.load("count_fixes"), {"topic": topic})
        row = await cursor.fetchone()
    return list(events.values()), int(row[0]) if row else 0


def _report(
    folder: Path,
    fences: FenceSet,
    day: SimulatedDay,
    ground: SimulatedWeek,
    events: list[Event],
    stored: int,
    seconds: float,
) -> bool:
    """Print the tables, draw the map; True when everything planted was found, and nothing else."""
    from hazfence.events import iso
    from hazfence_replay.compare import compare
    from hazfence_replay.ledger import breach_rows
    from hazfence_replay.map import write_html, write_png

    trucks = set(day.fixes.vehicles)
    here = [event for event in events if event.vehicle in trucks]
    result = compare([*day.truth, *ground.truth], events, near_misses=day.near_misses)
    rows = breach_rows(events)
    show.table(
        "Last ten breaches",
        ("from", "kind", "vehicle", "fence", "lasted"),
        (
            (iso(b.started_us)[:19] + "Z", b.kind, b.vehicle, b.fence_id, _lasted(b.started_us, b.ended_us))
            for b in rows[-10:]
        ),
    )
    show.table("Breaches planted and found", result.HEADER, (row.cells() for row in result.rows()))
    for line in result.explain():
        show.out.print(line, markup=False)
    visits = sum(event.is_visit for event in events)
    show.out.print(
        f"{stored:,} fixes stored, {visits:,} visits, {len(rows)} breaches; "
        f"{stored / seconds:,.0f} fixes/s from topic to PostGIS"
    )
    html, png = folder / "map.html", folder / "map.png"
    shown = compare(day.truth, here, near_misses=day.near_misses)
    write_html(html, fences, day.fixes, here, roads=day.roads, comparison=shown, title="hazfence demo")
    write_png(png, fences, day.fixes, here, roads=day.roads, comparison=shown, title="hazfence demo")
    show.out.print(f"map: {html} (opens without internet) and {png}", markup=False)
    if not result.perfect or stored != len(day) + len(ground.fixes):
        show.out.print("NOT as planted")
        return False
    show.out.print("all planted breaches found, nothing else")
    return True


def _lasted(start_us: int, end_us: int | None) -> str:
    if end_us is None:
        return "goes on"
    seconds = round((end_us - start_us) / 1e6)
    return "" if not seconds else f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
