"""``hazfence replay`` and ``hazfence simulate``: recorded tracks in, invented tracks out.

You are on the top floor; the work is done in ``hazfence_replay``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hazfence.cli import show

if TYPE_CHECKING:
    from hazfence_replay.simulator import SimulatedDay

__all__ = ["replay", "simulate"]


def replay(
    track: Annotated[Path, typer.Argument(help="A GPX file (.gpx, .gpx.gz) or a folder of them.")],
    fences: Annotated[
        Path, typer.Option("--fences", help="GeoJSON file or folder of fences.", envvar="HAZFENCE_FENCES")
    ],
    vehicle: Annotated[
        str | None, typer.Option(help="Name of the vehicle; by default the track's own name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as lines of JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a map as one HTML file.")] = None,
) -> None:
    """Replay recorded tracks through the engine and print visits and breaches."""
    from hazfence import Engine, FixBatch
    from hazfence_fences import load_fences
    from hazfence_replay.ledger import breach_rows, latest, visit_rows
    from hazfence_replay.player import replay as play
    from hazfence_replay.readers import open_track

    fence_set = load_fences(fences)
    reader = open_track(track, vehicle=vehicle)
    batches = list(reader)
    events = list(play(batches, Engine(fence_set)))
    standing = latest(events)
    if as_json:
        show.json_lines(event.to_json() for event in standing)
    else:
        show.table(
            "Visits", ("vehicle", "fence", "entered", "left", "stay"), (r.cells() for r in visit_rows(events))
        )
        breaches = breach_rows(events)
        if breaches:
            show.table(
                "Breaches",
                ("kind", "vehicle", "fence", "from", "to"),
                ((b.kind, b.vehicle, b.fence_id, _time(b.started_us), _time(b.ended_us)) for b in breaches),
            )
    fixes = sum(len(b) for b in batches)
    show.talk.print(f"{fixes} fixes, {len(standing)} events; {reader.rejects.summary()}")
    for reject in reader.rejects.kept[:5]:
        show.talk.print(f"  {reject}", markup=False)
    if html is not None:
        from hazfence_replay.map import write_html

        write_html(html, fence_set, FixBatch.concat(batches), standing)
        show.talk.print(f"map: {html}", markup=False)


def simulate(
    fences: Annotated[
        Path, typer.Option("--fences", help="GeoJSON file or folder of fences.", envvar="HAZFENCE_FENCES")
    ] = Path("fences/zhenhai"),
    to: Annotated[Path, typer.Option("--to", help="Folder for fixes.jsonl and truth.jsonl.")] = Path("."),
    trucks: Annotated[int, typer.Option(min=1, help="How many trucks.")] = 300,
    hours: Annotated[float, typer.Option(min=0.1, help="How long.")] = 24.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    date: Annotated[str, typer.Option(help="The day (Shanghai time).")] = "2026-03-02",
    send: Annotated[
        bool, typer.Option("--send", help="Send the fixes to HAZFENCE_KAFKA instead of writing them.")
    ] = False,
    kafka: Annotated[str, typer.Option(help="host:port of the broker.", envvar="HAZFENCE_KAFKA")] = "",
    topic: Annotated[str, typer.Option(help="Topic for --send.", envvar="HAZFENCE_TOPIC")] = "hazfence.fixes",
) -> None:
    """Invent a day of trucks with planted breaches: fixes.jsonl and truth.jsonl."""
    from hazfence_fences import load_fences
    from hazfence_replay.simulator import simulate as invent
    from hazfence_replay.simulator import write_jsonl, write_truth

    try:
        day_of = dt.date.fromisoformat(date)
    except ValueError:
        raise ValueError(f"--date {date!r} is no date: write e.g. 2026-03-02") from None
    if send and not kafka:
        raise ValueError("--send needs a broker: set HAZFENCE_KAFKA or --kafka host:port")
    day = invent(load_fences(fences), seed=seed, trucks=trucks, date=day_of, hours=hours)
    to.mkdir(parents=True, exist_ok=True)
    if send:
        asyncio.run(_send(day, kafka, topic))
        where = f"topic {topic}"
    else:
        write_jsonl(day, to / "fixes.jsonl")
        where = str(to / "fixes.jsonl")
    write_truth(day.truth, to / "truth.jsonl")
    show.talk.print(
        f"{len(day)} fixes of {trucks} trucks in {where}, "
        f"{len(day.truth)} planted breaches in {to / 'truth.jsonl'}",
        markup=False,
    )


async def _send(day: SimulatedDay, kafka: str, topic: str) -> None:
    from hazfence.wire.producer import FixProducer

    with show.progress() as bars:
        sent = bars.add_task("fixes sent", total=len(day))
        async with FixProducer(kafka, topic) as producer:
            for batch in day.batches(5000):
                await producer.send_batch(batch)
                bars.advance(sent, len(batch))


def _time(time_us: int | None) -> str:
    from hazfence.events import iso

    return "" if time_us is None else iso(time_us)[:19] + "Z"
