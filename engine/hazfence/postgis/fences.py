"""Fences as versioned rows: a changed definition is a new version, the former one stays to be looked at.

You are in the PostGIS adapter, below `store.py`. The row's ``definition`` is the fence as a GeoJSON
feature, and what `load_fences` reads; the other columns are the same said for SQL and maps.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import shapely
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from shapely.geometry import Point

from hazfence.postgis.storable import NAME_LIMIT, is_storable
from hazfence_fences import Fence, FenceSet, parse_fences, to_feature
from hazfence_sql import queries

__all__ = ["SavedFences", "load_fences", "save_fences"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SavedFences:
    """What saving came to.

    Attributes:
        fences: the fences with the versions they have in the database; use these, so that events name them.
        changed: ids of those that are new or got a new version.
        retired: ids of those taken out of force.
    """

    fences: FenceSet
    changed: tuple[str, ...]
    retired: tuple[str, ...]


async def load_fences(connection: AsyncConnection[TupleRow]) -> FenceSet:
    """Read the fences in force, in the order they were first saved."""
    rows = await (await connection.execute(queries.load("fences_in_force"))).fetchall()
    collection = {"type": "FeatureCollection", "features": [definition for definition, _ in rows]}
    read = parse_fences(collection, source="table hazfence.fence")
    return FenceSet(
        dataclasses.replace(fence, version=version) for fence, (_, version) in zip(read, rows, strict=True)
    )


async def save_fences(
    connection: AsyncConnection[TupleRow], fences: FenceSet, *, retire_others: bool
) -> SavedFences:
    """Save ``fences``.

    A fence gets a new version when its definition is not the stored one, when it was out of force, or when
    its own version is above the stored one; the new version is the higher of its own and the stored one
    plus 1.
    """
    await connection.execute(queries.load("lock_fences"))
    rows = await (await connection.execute(queries.load("fence_versions"))).fetchall()
    stored = {fence_id: (version, definition, in_force) for fence_id, version, definition, in_force in rows}
    saved: list[Fence] = []
    changed: list[str] = []
    for fence in fences:
        definition = _definition(fence)
        version, known, in_force = stored.get(fence.id, (0, None, False))
        if in_force and known == definition and fence.version <= version:
            saved.append(dataclasses.replace(fence, version=version))
            continue
        fence = dataclasses.replace(fence, version=max(fence.version, version + 1))
        await connection.execute(queries.load("retire_fence"), {"id": fence.id})
        await connection.execute(queries.load("save_fence"), _columns(fence, definition))
        saved.append(fence)
        changed.append(fence.id)
    retired = sorted(i for i, (_, _, in_force) in stored.items() if in_force and i not in fences)
    if not retire_others:
        retired = []
    for fence_id in retired:
        await connection.execute(queries.load("retire_fence"), {"id": fence_id})
    return SavedFences(FenceSet(saved), tuple(changed), tuple(retired))


def _definition(fence: Fence) -> dict[str, Any]:
    """The fence as jsonb gives it back, without its version, which is the row's."""
    text = json.dumps(to_feature(fence), ensure_ascii=False)
    if not is_storable(text) or "\\u0000" in text or len(fence.id) > NAME_LIMIT:
        raise ValueError(
            f"fence {fence.id[:NAME_LIMIT]!r}: a text holds NUL or half a surrogate pair, or the id is "
            f"longer than {NAME_LIMIT} characters, which the database cannot keep; correct it"
        )
    definition: dict[str, Any] = json.loads(text)
    definition["properties"].pop("version", None)
    return definition


def _columns(fence: Fence, definition: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": fence.id,
        "version": fence.version,
        "kind": str(fence.kind),
        "name": fence.name,
        "shape": fence.shape,
        "geom": shapely.to_wkb(fence.geometry),
        "centre": None if fence.centre is None else shapely.to_wkb(Point(fence.centre)),
        "radius_m": fence.radius_m,
        "axis": None if fence.axis is None else shapely.to_wkb(fence.axis),
        "width_m": fence.width_m,
        "speed_limit_kmh": fence.speed_limit_kmh,
        "max_stay_min": fence.max_stay_min,
        "thin": fence.thin,
        "schedule": None if fence.schedule is None else json.dumps(fence.schedule.to_json()),
        "valid_from": _moment(fence.valid_from_us),
        "valid_to": _moment(fence.valid_to_us),
        "definition": json.dumps(definition, ensure_ascii=False),
    }


def _moment(time_us: int | None) -> datetime | None:
    return None if time_us is None else _EPOCH + timedelta(microseconds=time_us)
