"""A rehearsal on the map: the draft's fences, and examples of what is gained, lost and changed.

You are in the rehearsal's room, at its end. The page is that of ``hazfence_replay.map``: gained, lost and
changed are listed and shown like kinds of breach, each example with its vehicle's way about then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hazfence.fixes import FixBatch
from hazfence_fences import FenceSet
from hazfence_replay.ledger import BreachRow
from hazfence_replay.map import write_html
from hazfence_replay.readers import Wanted
from hazfence_replay.readers.fix_table import FixTableReader
from hazfence_replay.rehearse.compare import Change

__all__ = ["ways_of", "write_map"]

#: A vehicle's way is shown from this long before an example until this long after its beginning.
_AROUND_US = 600_000_000


def ways_of(url: str, examples: Sequence[Change]) -> FixBatch:
    """The fixes of the vehicles of some examples about then."""
    parts = []
    seen: set[tuple[str, int]] = set()
    for change in examples:
        event = change.event
        key = (event.vehicle, event.started_us // _AROUND_US)
        if not event.vehicle or key in seen:
            continue
        seen.add(key)
        span = (event.started_us - _AROUND_US, event.started_us + _AROUND_US)
        parts += list(FixTableReader(url, wanted=Wanted(*span, frozenset([event.vehicle]))))
    return FixBatch.concat(parts)


def write_map(
    path: str | os.PathLike[str],
    draft: FenceSet,
    examples: Sequence[Change],
    ways: FixBatch,
    *,
    title: str,
    subtitle: str,
    time_zone: str,
) -> None:
    """Write the page."""
    rows = [
        BreachRow(
            id=change.event.id,
            kind=f"{change.what}: {change.event.kind}",
            vehicle=change.event.vehicle,
            fence_id=change.event.fence_id or "",
            started_us=change.event.started_us,
            ended_us=change.event.ended_us,
            lon=change.event.lon,
            lat=change.event.lat,
            detail=change.event.detail,
        )
        for change in examples
    ]
    write_html(path, draft, ways, rows, title=title, subtitle=subtitle, timezone=time_zone)
