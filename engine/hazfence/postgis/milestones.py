"""Milestones on their way into the database: old ones away, new ones in, what no fix can need any more away.

You are in the PostGIS adapter, below `store.py`, which does this in a checkpoint's transaction before locking
the partition: at a partition's start every vehicle has one, and what is found meanwhile must not wait for
that. What a milestone is for, says `hazfence.history`.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from hazfence.history import MilestoneNews
from hazfence_sql import queries

__all__ = ["store_milestones"]

#: Vehicles a statement: a few milliseconds of the event loop.
_VEHICLES_A_STATEMENT = 250


async def store_milestones(
    connection: AsyncConnection[TupleRow],
    stream: int,
    codes: Sequence[int],
    milestones: Sequence[MilestoneNews],
) -> None:
    """Store what has changed of some vehicles' milestones; storing it again changes nothing.

    Args:
        connection: in the transaction of the checkpoint that they belong to.
        stream: number of the partition in the database.
        codes: number of the vehicle of each.
        milestones: what has changed.
    """
    for start in range(0, len(milestones), _VEHICLES_A_STATEMENT):
        some = slice(start, start + _VEHICLES_A_STATEMENT)
        async with connection.pipeline():  # sent in one go
            await _store(connection, stream, codes[some], milestones[some])


async def _store(
    connection: AsyncConnection[TupleRow],
    stream: int,
    codes: Sequence[int],
    milestones: Sequence[MilestoneNews],
) -> None:
    where = {"stream": stream, "codes": codes}
    from_us = [news.from_us for news in milestones]
    await connection.execute(queries.load("drop_milestones"), {**where, "from_us": from_us})
    stones = [(code, stone) for code, news in zip(codes, milestones, strict=True) for stone in news.stones]
    given = {
        "stream": stream,
        "codes": [code for code, _ in stones],
        "time_us": [stone.time_us for _, stone in stones],
        "since_us": [stone.since_us for _, stone in stones],
        "states": [stone.state for _, stone in stones],
    }
    await connection.execute(queries.load("store_milestones"), given)
    needed_us = [news.needed_us for news in milestones]
    await connection.execute(queries.load("prune_milestones"), {**where, "needed_us": needed_us})
