"""``hazfence simulate``: invented tracks of trucks with planted breaches.

You are on the top floor; the work is done in ``hazfence_replay``. Recorded tracks are next door, in
``replay.py``.
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

__all__ = ["simulate"]


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
