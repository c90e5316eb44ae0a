"""The store: every write one transaction, fenced by the owner's epoch, safe to repeat.

The way into the PostGIS adapter; the port it fills, and why things are stored in this order, is
`hazfence.ports`.

How a write comes to count once:

- A partition's row in ``hazfence.checkpoint`` carries the epoch of its owner. Every write locks that row,
  compares the epoch and commits only then, so an owner that was replaced while it slept writes nothing. The
  lock is taken late, after what a checkpoint has most of, its fixes and milestones, was sent: a worker that
  hangs in the middle of that must not keep the next owner waiting, and neither must the partition's own
  events, which are stored meanwhile.
- Events have ids and revisions; storing them again changes nothing, not even ``seq``.
- Fixes have neither, so they are matched by offset: those below the stored ``next_offset`` are in the table
  already. When a commit's answer is lost, the worker sends the same checkpoint again; if the first one had
  been committed, its fixes are recognised, and if it is being committed at this moment, the lock waits for
  it and the offset has moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import CheckViolation
from psycopg.rows import TupleRow

from hazfence.accuracy import of_stored
from hazfence.events import Event, Kind, Phase, Severity
from hazfence.fixes import FixBatch
from hazfence.history import History, Milestone, MilestoneNews, Missing, start_us
from hazfence.ports import Checkpoint, Claim, Progress, Published, Reject, StaleClaim, StoreAway
from hazfence.postgis.fences import SavedFences, load_fences, save_fences
from hazfence.postgis.link import Link
from hazfence.postgis.milestones import store_milestones
from hazfence.postgis.rows import BEGIN, END, copy_rows
from hazfence.postgis.storable import events_json, storable_name, storable_text
from hazfence_fences import FenceSet
from hazfence_sql import queries

__all__ = ["PostgisStore"]

#: Events a statement: a few megabytes of JSON.
_EVENTS_A_STATEMENT = 5_000
_REASON_LIMIT, _DETAIL_LIMIT = 100, 2_000
_DAY_US = 86_400_000_000
_EPOCH_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NEVER_US = -(2**63)
_FIRST_US = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
#: Vehicles remembered with their numbers; far above any fleet, and a bound when somebody invents names.
_KNOWN_LIMIT = 1_000_000


class PostgisStore:
    """Visits, breaches, fixes, dead letters, checkpoints and fences in PostGIS.

    Use it from one event loop. Transactions of different partitions run side by side, up to ``connections``.

    Args:
        url: libpq URL of a database migrated with `hazfence_sql.migrate`; the user needs role hazfence_write.
        connections: connections at most.
        keep_fixes: False leaves the table of fixes empty.
        index_at_once: False leaves the index by vehicle and time to `hazfence.postgis.upkeep`, which builds
            it when the day is over; writing is then faster, and recent fixes are not to be asked for.
        payload_limit_bytes: bytes kept of a dead letter's message; the size it had is kept too.

    Example:
        >>> store = PostgisStore(url)  # doctest: +SKIP
        >>> await store.open()
        >>> claim, checkpoint = await store.claim("hazfence.fixes", 0)
        >>> await store.write(claim, events, rejects)
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 4,
        keep_fixes: bool = True,
        index_at_once: bool = True,
        payload_limit_bytes: int = 1_048_576,
    ) -> None:
        self._link = Link(url, size=connections)
        self._keep_fixes = keep_fixes
        self._index_at_once = index_at_once
        self._payload_limit_bytes = payload_limit_bytes
        self._codes: dict[str, int] = {}
        self._days: set[int] = set()

    async def open(self) -> None:
        """Connect and check the schema; call it again after `StoreAway` if you like, it is not needed.

        Raises:
            StoreAway: the server cannot be reached.
            SchemaMismatch: the database is not migrated as far as this release needs.
        """
        await self.close()
        try:
            await self._link.check()
        except BaseException:
            await self._link.close()
            raise

    async def close(self) -> None:
        """Close the connections and forget what was learnt about the database."""
        # New ones, because a transaction of another partition may be in the middle of using the old.
        self._codes, self._days = {}, set()
        await self._link.close()

    # -- partitions --------------------------------------------------------------------------------

    async def claim(self, topic: str, partition: int) -> tuple[Claim, Checkpoint | None]:
        """Take a partition over: the former owner's writes fail from here on with `StaleClaim`."""
        where = {"topic": topic, "partition": partition}
        async with self._link.transaction() as connection:
            await connection.execute(queries.load("claim_stream"), where)
            row = await _row(connection, "claim_checkpoint", where)
            assert row is not None
        epoch, next_offset, snapshot = row
        checkpoint = None if next_offset is None else Checkpoint(next_offset, bytes(snapshot))
        return Claim(topic, partition, epoch), checkpoint

    async def write(self, claim: Claim, events: Sequence[Event], rejects: Sequence[Reject]) -> None:
        """Store events and rejects in one transaction; storing them again changes nothing."""
        if not events and not rejects:
            return
        async with self._link.connection() as connection, connection.pipeline(), connection.transaction():
            # All of it is sent in one go, and the owner looked at before it is committed.
            held = await self._send_hold(connection, claim)
            await self._store_events(connection, claim, events)
            await self._store_rejects(connection, claim, rejects)
            await _held(held, claim)

    async def checkpoint(
        self,
        claim: Claim,
        checkpoint: Checkpoint,
        fixes: FixBatch,
        events: Sequence[Event] = (),
        rejects: Sequence[Reject] = (),
        milestones: Sequence[MilestoneNews] = (),
    ) -> None:
        """Store fixes, events, rejects, milestones, snapshot and offset in one transaction, or none of them.

        Args:
            claim: the right to write.
            checkpoint: the state when all messages before ``next_offset`` had been processed.
            fixes: the accepted ones of the messages since the last checkpoint; those of a message below the
                stored
                ``next_offset`` are taken as stored before.
            events, rejects: as in `write`.
            milestones: what has changed of them; left alone when no fixes are kept.

        Raises:
            StaleClaim, StoreAway: nothing was written, or (StoreAway only) all of it was.
            ValueError: a fix comes from a message at or beyond ``next_offset``.
        """
        if len(fixes) and int(fixes.offset.max()) >= checkpoint.next_offset:
            raise ValueError(
                f"a fix of the message at offset {fixes.offset.max()} cannot be part of the checkpoint "
                f"before {checkpoint.next_offset}"
            )
        where = {"topic": claim.topic, "partition": claim.partition}
        codes = np.zeros(0, np.int32)
        if not self._keep_fixes:
            fixes = fixes.take(slice(0, 0))
            milestones = ()
        if len(fixes):
            await self._ensure_days(fixes)
            codes = await self._vehicle_codes(fixes.vehicles)
        walkers = await self._vehicle_codes([news.vehicle for news in milestones])
        async with self._link.transaction() as connection:
            row = await _row(connection, "read_claim", where)
            if row is None or row[0] != claim.epoch:
                raise _stale(claim, row)
            _, stored_offset, stream = row
            if stored_offset is not None and len(fixes) and int(fixes.offset.min()) < stored_offset:
                fixes = fixes.take(fixes.offset >= stored_offset)
            if len(fixes):
                await self._copy(connection, fixes, codes, stream)
            await store_milestones(connection, stream, walkers.tolist(), milestones)
            async with connection.pipeline():  # as in `write`: the partition is locked for a moment only
                held = await self._send_hold(connection, claim)
                await self._store_events(connection, claim, events)
                await self._store_rejects(connection, claim, rejects)
                await connection.execute(
                    queries.load("store_checkpoint"),
                    {
                        **where,
                        "next_offset": checkpoint.next_offset,
                        "snapshot": checkpoint.snapshot,
                        "heard_until": _maybe_moment(checkpoint.heard_us),
                    },
                )
                if await _held(held, claim) != stored_offset:
                    raise StoreAway("PostgreSQL: an earlier try at this checkpoint has just been committed")

    async def heard(self, claim: Claim, heard_us: int) -> None:
        """Note how far time has come on a partition on which nothing else happened."""
        async with self._link.transaction() as connection:
            await self._hold(connection, claim)
            await connection.execute(
                queries.load("store_heard"),
                {"topic": claim.topic, "partition": claim.partition, "heard_until": _maybe_moment(heard_us)},
            )

    # -- reading -----------------------------------------------------------------------------------

    async def recent_fixes(self, topic: str, partition: int, last: FixBatch, recent_s: float) -> FixBatch:
        """Stored fixes of the last ``recent_s`` before each vehicle's last one, and those before."""
        if not len(last):
            return FixBatch.empty()
        codes = await self._vehicle_codes(last.names())
        since = (last.time_us - round(recent_s * 1e6)).tolist()
        async with self._link.transaction() as connection:
            stream = await self._stream(connection, topic, partition)
            rows = await _fix_rows(connection, stream, codes, since, last.time_us.tolist())
        return _fixes(last.names(), rows)

    async def history(self, topic: str, partition: int, missing: Sequence[Missing]) -> History:
        """Milestones and stored fixes that `Engine.recall` wants back of some vehicles."""
        names = [one.vehicle for one in missing]
        codes = await self._vehicle_codes(names)
        async with self._link.transaction() as connection:
            stream = await self._stream(connection, topic, partition)
            parameters = {
                "stream": stream,
                "codes": codes.tolist(),
                "wanted_us": [one.time_us for one in missing],
                # Of those that need none, none is asked for.
                "valid_us": [_NEVER_US if one.settled else one.valid_us for one in missing],
            }
            rows = await (await connection.execute(queries.load("milestones"), parameters)).fetchall()
            stones: dict[str, list[Milestone]] = {}
            for place, time_us, since_us, state in rows:
                vehicle = names[place - 1]
                stones.setdefault(vehicle, []).append(Milestone(vehicle, time_us, since_us, bytes(state)))
            starts = [start_us(one, stones.get(one.vehicle, ())) for one in missing]
            since, until = [start - 1 for start in starts], [one.last_us for one in missing]
            found = await _fix_rows(connection, stream, codes, since, until)
        wanted = dict(zip(names, starts, strict=True))
        needed = [s for many in stones.values() for s in many if s.time_us >= wanted[s.vehicle]]
        return History(needed, _fixes(names, found))

    async def outbox(self, topic: str, partition: int, after_seq: int, limit: int) -> Sequence[Published]:
        """Revisions of the partition with ``seq`` above ``after_seq``, in order, at most ``limit``."""
        parameters = {"topic": topic, "partition": partition, "after_seq": after_seq, "limit": limit}
        rows = await self._rows("outbox", parameters)
        return [Published(row[0], event_of(row[1:])) for row in rows]

    async def outbox_tail(self, topic: str, partition: int, count: int) -> int:
        """The ``after_seq`` with which `outbox` gives the last ``count`` revisions; 0 if there are fewer."""
        rows = await self._rows("outbox_tail", {"topic": topic, "partition": partition, "count": count})
        return int(rows[0][0]) if rows else 0

    async def open_events(self, topic: str, partition: int) -> Sequence[Event]:
        """Every visit and breach of the partition that is not over, by start."""
        return [
            event_of(row) for row in await self._rows("open_events", {"topic": topic, "partition": partition})
        ]

    async def progress(self, topic: str) -> Mapping[int, Progress]:
        """How far each partition of a topic has come that was ever claimed."""
        rows = await self._rows("progress", {"topic": topic})
        return {
            partition: Progress(None if heard is None else _us(heard), next_offset)
            for partition, heard, next_offset in rows
        }

    async def outbox_start(self, topic: str, partition: int, age_s: float) -> int:
        """The ``after_seq`` with which `outbox` gives what was stored in the last ``age_s``."""
        rows = await self._rows("outbox_start", {"topic": topic, "partition": partition, "age_s": age_s})
        return int(rows[0][0])

    async def load_fences(self) -> FenceSet:
        """The fences in force, in the order they were first saved."""
        async with self._link.transaction() as connection:
            return await load_fences(connection)

    async def save_fences(self, fences: FenceSet, *, retire_others: bool = False) -> SavedFences:
        """Save fences; one that is not as it was gets a new version, the others keep theirs.

        Args:
            fences: what to save.
            retire_others: take every fence out of force that is not among them.

        Returns:
            The fences with the versions they have in the database, and the ids of those that changed.

        Raises:
            ValueError: a text cannot be kept; names fence and mend.
        """
        async with self._link.transaction() as connection:
            return await save_fences(connection, fences, retire_others=retire_others)

    # -- below -------------------------------------------------------------------------------------

    async def _rows(self, query: str, parameters: dict[str, Any]) -> list[TupleRow]:
        async with self._link.connection() as connection:
            return await (await connection.execute(queries.load(query), parameters)).fetchall()

    async def _stream(self, connection: AsyncConnection[TupleRow], topic: str, partition: int) -> int | None:
        """The number of a partition; None when it was never claimed."""
        row = await _row(connection, "read_claim", {"topic": topic, "partition": partition})
        stream: int | None = None if row is None else row[2]
        return stream

    async def _hold(self, connection: AsyncConnection[TupleRow], claim: Claim) -> int | None:
        """Lock the partition until the transaction ends; return its ``next_offset``."""
        return await _held(await self._send_hold(connection, claim), claim)

    async def _send_hold(self, connection: AsyncConnection[TupleRow], claim: Claim) -> AsyncCursor[TupleRow]:
        where = {"topic": claim.topic, "partition": claim.partition}
        return await connection.execute(queries.load("hold_claim"), where)

    async def _store_events(
        self, connection: AsyncConnection[TupleRow], claim: Claim, events: Sequence[Event]
    ) -> None:
        for start in range(0, len(events), _EVENTS_A_STATEMENT):
            said = events_json(events[start : start + _EVENTS_A_STATEMENT])
            await connection.execute(
                queries.load("store_events"),
                {"events": said, "topic": claim.topic, "partition": claim.partition},
            )

    async def _store_rejects(
        self, connection: AsyncConnection[TupleRow], claim: Claim, rejects: Sequence[Reject]
    ) -> None:
        if not rejects:
            return
        await connection.execute(
            queries.load("store_rejects"),
            {
                "topic": claim.topic,
                "partition": claim.partition,
                "offsets": [reject.offset for reject in rejects],
                "items": [reject.item for reject in rejects],
                "reasons": [storable_text(reject.reason, _REASON_LIMIT) for reject in rejects],
                "details": [storable_text(reject.detail, _DETAIL_LIMIT) for reject in rejects],
                "payloads": [reject.payload[: self._payload_limit_bytes] for reject in rejects],
                "sizes": [len(reject.payload) for reject in rejects],
            },
        )

    async def _copy(
        self,
        connection: AsyncConnection[TupleRow],
        fixes: FixBatch,
        codes: npt.NDArray[np.int32],
        stream: int,
    ) -> None:
        try:
            async with connection.cursor() as cursor, cursor.copy(queries.load("copy_fixes")) as copy:
                await copy.write(BEGIN)
                for piece in copy_rows(fixes, codes, stream):
                    await copy.write(piece)
                    await asyncio.sleep(0)  # a socket that takes everything lets nobody else have a turn
                await copy.write(END)
        except CheckViolation as error:  # no day for a fix: upkeep took an old one away that we thought there
            self._days = set()
            raise StoreAway("PostgreSQL: a day of fixes was taken away; it is made anew") from error

    async def _ensure_days(self, fixes: FixBatch) -> None:
        """Create the partitions of the days in ``fixes`` and of the days after, in a transaction of its own.

        Its own, because the others would wait for it; and a partition too many does no harm.
        """
        known = self._days
        days = {int(day) for day in np.unique(fixes.time_us // _DAY_US)}
        missing = (days | {day + 1 for day in days}) - known
        if missing:
            wanted = [_EPOCH_DAY + timedelta(days=day) for day in sorted(missing)]
            async with self._link.transaction() as connection:
                parameters = {"days": wanted, "index_now": self._index_at_once}
                await connection.execute(queries.load("ensure_fix_days"), parameters)
            known |= missing

    async def _vehicle_codes(self, vehicles: Sequence[str]) -> npt.NDArray[np.int32]:
        """The number of each vehicle; new ones get theirs committed before they are remembered."""
        known = self._codes
        if missing := [vehicle for vehicle in vehicles if vehicle not in known]:
            if len(known) + len(missing) > _KNOWN_LIMIT:
                known = self._codes = {}
                missing = list(vehicles)
            names = {vehicle: storable_name(vehicle) for vehicle in missing}
            wanted = {"vehicles": sorted(set(names.values()))}
            async with self._link.transaction() as connection:
                await connection.execute(queries.load("intern_vehicles"), wanted)
                found = await (await connection.execute(queries.load("vehicle_codes"), wanted)).fetchall()
            codes = dict(found)
            known.update({vehicle: codes[name] for vehicle, name in names.items()})
        return np.fromiter((known[vehicle] for vehicle in vehicles), np.int32, len(vehicles))


async def _held(held: AsyncCursor[TupleRow], claim: Claim) -> int | None:
    """What `PostgisStore._send_hold` has found, if it was the claim's."""
    row = await held.fetchone()
    if row is None or row[0] != claim.epoch:
        raise _stale(claim, row)
    offset: int | None = row[1]
    return offset


async def _row(
    connection: AsyncConnection[TupleRow], query: str, parameters: dict[str, Any]
) -> TupleRow | None:
    return await (await connection.execute(queries.load(query), parameters)).fetchone()


async def _fix_rows(
    connection: AsyncConnection[TupleRow],
    stream: int | None,
    codes: npt.NDArray[np.int32],
    since_us: Sequence[int],
    until_us: Sequence[int],
) -> list[TupleRow]:
    """Of each vehicle the fixes stored after a moment and until another, and of the last moment before."""
    parameters = {
        "stream": stream,
        "codes": codes.tolist(),
        "since": [_moment(us) for us in since_us],
        "until": [_moment(us) for us in until_us],
    }
    return await (await connection.execute(queries.load("recent_fixes"), parameters)).fetchall()


def _fixes(vehicles: Sequence[str], rows: Sequence[TupleRow]) -> FixBatch:
    """Fixes from the rows that ``recent_fixes.sql`` selects."""
    if not rows:
        return FixBatch.empty()
    place, time_us, lon, lat, speed_kmh, heading_deg, alarm, accuracy_m = zip(*rows, strict=True)
    return FixBatch.of(
        np.array(place, np.int32) - 1,
        vehicles=tuple(vehicles),
        time_us=np.array(time_us, np.int64),
        lon=np.array(lon, np.float64),
        lat=np.array(lat, np.float64),
        speed_kmh=np.array(speed_kmh, np.float32),
        heading_deg=np.array(heading_deg, np.float32),
        alarm=np.array(alarm, np.uint32),
        accuracy_m=of_stored(np.array(accuracy_m, np.float32)),
    )


def _stale(claim: Claim, row: Iterable[Any] | None) -> StaleClaim:
    now = "is unknown to the database" if row is None else f"belongs to epoch {next(iter(row))} now"
    return StaleClaim(f"{claim.topic}[{claim.partition}] {now}, this worker's is {claim.epoch}")


def _maybe_moment(time_us: int | None) -> datetime | None:
    return None if time_us is None else _moment(time_us)


def _moment(time_us: int) -> datetime:
    """Microseconds UTC as a moment; what lies before the year 1 is the beginning of it."""
    return _EPOCH + _MICROSECOND * max(time_us, _FIRST_US)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def event_of(row: Sequence[Any]) -> Event:
    """An event from the columns that ``outbox.sql`` and ``open_events.sql`` select."""
    event_id, kind, vehicle, fence_id, fence_version, revision, phase, started, ended = row[:9]
    lon, lat, end_lon, end_lat, severity, detail = row[9:]
    return Event(
        event_id.hex,
        Kind(kind),
        vehicle,
        fence_id,
        fence_version,
        revision,
        Phase(phase),
        _us(started),
        None if ended is None else _us(ended),
        lon,
        lat,
        end_lon,
        end_lat,
        Severity(severity),
        detail,
    )
