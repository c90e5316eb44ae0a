"""Every row of two databases, side by side, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

#: What must be the same: all but the order of writing (keys, codes, seq), its moment, and how often a
#: partition changed hands (epoch).
_EVENT = """event_id, {kind} vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, place,
end_place, severity, detail, topic, partition"""
_ROWS = {
    "fix": """SELECT s.topic, s.partition, f."offset", f.item, v.vehicle, f.time, f.lon, f.lat, f.status,
        f.alarm, f.speed_kmh, f.heading_deg
        FROM hazfence.fix f JOIN hazfence.vehicle_code v ON v.code = f.vehicle_code
        JOIN hazfence.stream s USING (stream) ORDER BY 2, 3, 4, 5""",
    "visit": f"SELECT {_EVENT.format(kind='')} FROM hazfence.visit ORDER BY event_id",
    "event": f"SELECT {_EVENT.format(kind='kind,')} FROM hazfence.event ORDER BY event_id",
    "event_revision": f"""SELECT {_EVENT.format(kind="kind,")} FROM hazfence.event_revision
        ORDER BY event_id, revision""",
    "dead_letter": """SELECT topic, partition, "offset", item, reason, detail, payload, payload_bytes
        FROM hazfence.dead_letter ORDER BY partition, "offset", item""",
    "checkpoint": "SELECT topic, partition, next_offset FROM hazfence.checkpoint ORDER BY partition",
    "vehicle_code": "SELECT vehicle FROM hazfence.vehicle_code ORDER BY vehicle",
}
_DISORDER = """
SELECT count(*) FROM (
    SELECT revision, lag(revision) OVER (PARTITION BY event_id ORDER BY seq) AS before
    FROM hazfence.event_revision
) r WHERE revision <= before
"""


@dataclass(frozen=True)
class Compared:
    """A table of both databases."""

    table: str
    rows: int
    differences: int
    example: str = ""


def dump(url: str) -> dict[str, list[bytes]]:
    """The rows of every table, as PostgreSQL writes them."""
    with psycopg.connect(url) as connection:
        connection.execute("SET timezone = 'UTC'; SET extra_float_digits = 3")
        found = {}
        for table, query in _ROWS.items():
            with connection.cursor().copy(f"COPY ({query}) TO STDOUT") as copy:
                found[table] = b"".join(bytes(block) for block in copy).splitlines()
        return found


def compare(disturbed: dict[str, list[bytes]], quiet: dict[str, list[bytes]]) -> list[Compared]:
    """Table by table; a row that is there twice differs from one that is there once."""
    compared = []
    for table in _ROWS:
        ours, theirs = disturbed[table], quiet[table]
        differences, example = 0, ""
        if ours != theirs:
            only = sorted(set(ours) ^ set(theirs))
            differences = max(len(only), abs(len(ours) - len(theirs)), 1)
            if only:
                who = "disturbed" if only[0] in set(ours) else "quiet"
                example = f"only in the {who} run: {only[0].decode(errors='replace')[:200]}"
        compared.append(Compared(table, len(theirs), differences, example))
    return compared


def out_of_order(url: str) -> int:
    """Revisions that were stored after a later one of the same event."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_DISORDER).fetchone()
    return int(row[0]) if row else 0


def offsets(url: str, topic: str) -> dict[int, int]:
    """How far each partition's checkpoint is; empty partitions left out."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        rows = connection.execute(
            "SELECT partition, next_offset FROM hazfence.checkpoint WHERE topic = %s AND next_offset > 0",
            (topic,),
        ).fetchall()
    return dict(rows)
