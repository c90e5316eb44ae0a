"""Crossings as steps: which of them count, the visits that they open, and those that they close.

You are in the core, below ``plain.py``, which fills the rest of each step: checkpoints, breaches, doubts.
A step is a row of ``stays.STEP``. One that closes a visit carries that visit, whether it was open before or
is opened by an earlier step of the same batch; :func:`pair` finds it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hazfence.chains import lump
from hazfence.crossed import Changes, Due, Raw
from hazfence.ordered import begins
from hazfence.stays import EDGE_BITS, STAY, STEP, SURE
from hazfence.wavers import Settling

__all__ = ["counting", "open_visits", "pair", "steps_of"]

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Rows = npt.NDArray[np.void]


def counting(raw: Raw, settling: Settling | None, due: Due) -> Changes:
    """The crossings that count."""
    places = raw.at_us, raw.lon, raw.lat, raw.prev_us, raw.fix_us, raw.edge
    n = len(raw.row)
    none = np.zeros(n, np.uint8), np.zeros(n, np.int64)
    found = Changes(raw.row, raw.fence, raw.opens, *places, *none, raw.far())
    if settling is None:
        return found
    late, some = settling.late, len(settling.late)
    where = (
        late["at_us"],
        late["lon"],
        late["lat"],
        late["prev_us"],
        late["fix_us"],
        (late["edge"] & EDGE_BITS).astype(np.uint8),
    )
    return found.take(settling.counts).add(
        Changes(
            due.at.searchsorted(settling.late_row),
            late["fence"].astype(np.int64),
            ~late["inside"],
            *where,
            np.zeros(some, np.uint8),
            late["touched"].astype(np.int64),
            np.zeros(some, np.bool_),
        )
    )


def steps_of(changes: Changes) -> _Rows:
    """What opens and closes, as rows."""
    steps = np.zeros(len(changes.row), STEP)
    for name in ("at_us", "lon", "lat", "from_us", "to_us", "how", "opens"):
        steps[name] = getattr(changes, name)
    return steps


def open_visits(
    steps: _Rows, codes: npt.NDArray[np.int32], fence: _Ints, seen: npt.NDArray[np.uint8]
) -> _Bools:
    """Write down the visits that open; which steps they are: bool, a step each."""
    opens = steps["opens"].copy()
    stay = np.zeros(len(steps), STAY)
    stay["code"], stay["fence"] = codes, fence
    stay["start_us"], stay["lon"], stay["lat"] = steps["at_us"], steps["lon"], steps["lat"]
    stay["prev_us"], stay["fix_us"] = steps["from_us"], steps["to_us"]
    stay["gate"], stay["begins"], stay["next"] = steps["gate"], steps["how"], -1
    stay["seen"], stay["sure_us"] = seen, SURE
    lump(steps["stay"])[:] = lump(stay)
    return opens


def pair(
    steps: _Rows,
    opening: _Bools,
    open_rows: _Rows,
    owners: tuple[npt.NDArray[np.int32], _Ints],
    fence: _Ints,
    failed: _Bools,
) -> _Ints:
    """Give every step that closes a visit the visit it closes.

    Args:
        opening: cleared for steps whose visit is closed again among the steps.
        open_rows: what was open before.
        owners: code and group of each step's vehicle.
        fence: of each step.
        failed: set for groups of which some visit is not open.

    Returns:
        for each step the place in ``open_rows`` of the visit it closes, -1 for none.
    """
    codes, group = owners
    name = (codes.astype(np.int64) << 32) | fence
    order = name.argsort(kind="stable")  # the steps of one vehicle and fence in the order of time
    same = ~begins(name.take(order))
    closes = (~steps["opens"][order]).nonzero()[0]
    within = closes[same[closes]]
    opener, closer = order[within - 1], order[within]
    stay = lump(steps["stay"])
    stay[closer] = stay[opener]
    opening[opener] = False
    place = np.full(len(steps), -1, np.int64)
    rest = order[closes[~same[closes]]]
    if len(rest):
        known = (open_rows["code"].astype(np.int64) << 32) | open_rows["fence"]
        sorted_ = known.argsort(kind="stable")  # by vehicle already
        at = known.searchsorted(name[rest], sorter=sorted_)
        missing = np.ones(len(rest), np.bool_)
        inside = at < len(known)
        missing[inside] = known[sorted_[at[inside]]] != name[rest[inside]]
        failed[group[rest[missing]]] = True
        found, rest = sorted_[at[~missing]], rest[~missing]
        place[rest] = found
        stay[rest] = lump(open_rows.take(found))
    return place
