"""``hazfence demo``: a simulated day through the whole system, and what it found.

You are on the top floor. The demo is the main job on real parts: fixes go through a Kafka-protocol
topic, a Faust worker matches them, visits and breaches land in PostGIS and on Redis. The simulator
knows what it planted, so the last table can say planted against found. Everything started is ended.
"""

from __future__ import annotations

import asyncio
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

__all__ = ["demo"]


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
    from hazfence_fences import load_fences
    from hazfence_replay.simulator import simulate, write_truth

    began_s = time.monotonic()
    fence_set = load_fences(fences)
    folder.mkdir(parents=True, exist_ok=True)
    # Its own topic and group, so that services given by the environment may be used for other things too.
    name = f"hazfence.demo.{int(time.time())}"
    with Pipeline(folder, fence_set, clock=Clock.EVENT, topic=name, group=name) as system:
        with show.talk.status("starting PostGIS, Redis and a broker"):
            system.start_services()
        with show.talk.status("migrating, saving fences"):
            system.prepare()
        with show.talk.status("starting the worker"):
            system.start_worker()
        with show.talk.status(f"inventing a day of {trucks} trucks"):
            day = simulate(fence_set, seed=seed, trucks=trucks)
            write_truth(day.truth, folder / "truth.jsonl")
        seconds = _feed(system, day)
        with show.talk.status("last checkpoint"):
            system.stop_worker()
        events, stored = asyncio.run(_found(system))
    perfect = _report(folder, fence_set, day, events, stored, seconds)
    show.talk.print(f"{time.monotonic() - began_s:.0f} s in all; everything that was started has been ended")
    if not perfect:
        raise typer.Exit(1)


def _feed(system: Pipeline, day: SimulatedDay) -> float:
    """Send the day as fast as it goes; returns the seconds from the first fix to the last one matched."""
    from hazfence.wire.producer import FixProducer

    async def send_and_watch() -> float:
        began_s = time.monotonic()
        with show.progress() as bars:
            sent = bars.add_task("fixes sent   ", total=len(day))
            matched = bars.add_task("fixes matched", total=len(day))

            async def watch() -> None:
                done = 0.0
                while done < len(day):
                    await asyncio.sleep(0.1)
                    done = await asyncio.to_thread(system.metric, "hazfence_fixes_total")
                    bars.update(matched, completed=done)

            watching = asyncio.create_task(watch())
            async with FixProducer(system.settings.kafka, system.settings.topic) as producer:
                for batch in day.batches(5000):
                    await producer.send_batch(batch)
                    bars.advance(sent, len(batch))
                    if watching.done():
                        break
            await watching
        return time.monotonic() - began_s

    return asyncio.run(send_and_watch())


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
        for partition in range(system.settings.topic_partitions):
            seq = 0
            while rows := await store.outbox(topic, partition, seq, 5000):
                events.update((row.event.id, row.event) for row in rows)
                seq = rows[-1].seq
    finally:
        await store.close()
    async with await psycopg.AsyncConnection.connect(system.database_url) as connection:
        cursor = await connection.execute(queries.load("count_fixes"), {"topic": topic})
        row = await cursor.fetchone()
    return list(events.values()), int(row[0]) if row else 0


def _report(
    folder: Path, fences: FenceSet, day: SimulatedDay, events: list[Event], stored: int, seconds: float
) -> bool:
    """Print the tables, draw the map; True when everything planted was found, and nothing else."""
    from hazfence.events import iso
    from hazfence_replay.compare import compare
    from hazfence_replay.ledger import breach_rows
    from hazfence_replay.map import write_html, write_png

    result = compare(day.truth, events, near_misses=day.near_misses)
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
        f"{len(day) / seconds:,.0f} fixes/s from topic to PostGIS"
    )
    html, png = folder / "map.html", folder / "map.png"
    write_html(html, fences, day.fixes, events, roads=day.roads, comparison=result, title="hazfence demo")
    write_png(png, fences, day.fixes, events, roads=day.roads, comparison=result, title="hazfence demo")
    show.out.print(f"map: {html} (opens without internet) and {png}", markup=False)
    if not result.perfect or stored != len(day):
        show.out.print("NOT as planted")
        return False
    show.out.print("all planted breaches found, nothing else")
    return True


def _lasted(start_us: int, end_us: int | None) -> str:
    if end_us is None:
        return "goes on"
    seconds = round((end_us - start_us) / 1e6)
    return "" if not seconds else f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
