"""Incompatible goods too near for too long: ``separation``.

You are in ``hazfence.rules``. Two vehicles whose waybills name goods that must be kept apart
(``segregation.py``) may pass each other, but not stand or drive side by side. :class:`SeparationWatch` looks
at all vehicles together, every ``STEP_S`` of event time: where each was last heard of (not longer ago than
``max_gap_s``), which pairs are nearer than ``near_m`` (a grid in columns), and of these which carry what the
table keeps apart. Pairs are few, so what follows is plain Python: a pair that stays near for ``for_min``,
apart for at most ``apart_s`` in between, is an event.

What stands in the end is a function of the set of fixes: a late one has the moments it touches judged anew,
and what was said without it is amended or retracted. A place marked with ``"separation": false`` in its fence
(a park with walls between the bays) is left out.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.events import Event, Kind, Phase, event_id, iso
from hazfence.fixes import FixBatch
from hazfence.reference import ReferenceData
from hazfence.rules.book import Params, Rulebook
from hazfence.rules.catalogue import rule_of
from hazfence.rules.driving import apart2_m2
from hazfence.rules.joint import Ledger
from hazfence.rules.segregation import LEVELS, class_codes
from hazfence_fences import Fence, FenceKind, FenceSet

__all__ = ["STEP_S", "SeparationWatch", "near_pairs"]

#: Pairs are looked at this often, in seconds of event time; terminals report every 5 to 30.
STEP_S = 30.0
_STEP_US = round(STEP_S * 1e6)
_NO_GOODS = class_codes()[""]
_METRES_A_DEGREE = 110_574.0
_FOREVER_US = 2**62

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
#: Two vehicles by their codes, the lower name first.
_Pair = tuple[int, int]


class _Slot(NamedTuple):
    """The last fix of each vehicle within one step, by code."""

    code: npt.NDArray[np.int32]
    time_us: _Ints
    lon: _Floats
    lat: _Floats
    goods: npt.NDArray[np.int8]


class _Meeting(NamedTuple):
    """Two vehicles near each other at one moment."""

    lon: float
    lat: float
    metres: float
    goods: tuple[int, int]
    fence_id: str


def near_pairs(lon: _Floats, lat: _Floats, near_m: float) -> tuple[_Ints, _Ints]:
    """Every pair of places at most ``near_m`` apart.

    Args:
        lon, lat: degrees, shape (n,).
        near_m: metres; distances are good to .5 %.

    Returns:
        indexes i < j of the pairs, int64, in their order.

    Example:
        >>> i, j = near_pairs(np.array([121.6, 121.6001, 121.7]), np.full(3, 29.97), 30.0)
        >>> i.tolist(), j.tolist()
        ([0], [1])
    """
    if len(lon) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    # Cells a hair wider than near_m: whoever is that near lies in the same one or in a neighbour.
    cos = max(0.01, float(np.cos(np.radians(np.abs(lat).max()))))
    size = near_m * 1.01 / _METRES_A_DEGREE
    x = np.floor(lon / (size / cos)).astype(np.int64)
    y = np.floor(lat / size).astype(np.int64)
    width = np.int64(2**31)
    cell = x * width + y
    order = np.argsort(cell, kind="stable")
    sorted_cell = cell[order]
    found_i, found_j = [], []
    for dx, dy in ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1)):
        wanted = cell + dx * width + dy
        first = np.searchsorted(sorted_cell, wanted, "left")
        count = np.searchsorted(sorted_cell, wanted, "right") - first
        i = np.repeat(np.arange(len(cell)), count)
        step = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
        j = order[np.repeat(first, count) + step]
        keep = i < j if dx == dy == 0 else i != j
        keep &= apart2_m2(lon[i], lat[i], lon[j], lat[j]) <= near_m * near_m
        found_i.append(np.minimum(i[keep], j[keep]))
        found_j.append(np.maximum(i[keep], j[keep]))
    one, other = np.concatenate(found_i), np.concatenate(found_j)
    in_order = np.lexsort((other, one))
    return one[in_order].astype(np.int64), other[in_order].astype(np.int64)


class SeparationWatch:
    """Watches all vehicles for goods that must be kept apart.

    Args:
        fences: pairs are judged where both are in one district.
        rules: the general book; a fence can only switch the rule off.
        reference: waybills on file; what a vehicle carries is asked at the moment of each fix.
        max_gap_s: a vehicle is where it was last heard of for this long.
        keep_s: how late a fix may come and still be judged.

    Attributes:
        too_late: how many fixes came later than that, and were passed over.

    Example:
        >>> watch = SeparationWatch(fences, Rulebook.all_on(), data)
        >>> watch.take(batch)
        >>> events = watch.advance(now_us)
    """

    def __init__(
        self,
        fences: FenceSet,
        rules: Rulebook,
        reference: ReferenceData | None = None,
        *,
        max_gap_s: float = 300.0,
        keep_s: float = 1200.0,
    ) -> None:
        self._fences = fences
        self._book = rules.for_fences(fences.fences, {})
        self._hold_us = round(max_gap_s * 1e6)
        self._hold_steps = -(-self._hold_us // _STEP_US)
        self._keep_steps = round(keep_s * 1e6) // _STEP_US
        self._near_m = max(self._book.possible(Kind.SEPARATION, None, "near_m"), default=0.0)
        self._level = min(self._book.possible(Kind.SEPARATION, None, "level"), default=5.0)
        self._names: list[str] = []
        self._codes: dict[str, int] = {}
        self._enrolled: tuple[tuple[str, ...], npt.NDArray[np.int32]] = ((), np.zeros(0, np.int32))
        self._class_codes = class_codes()
        self._class_names = {code: name for name, code in reversed(self._class_codes.items())}
        self._slots: dict[int, _Slot] = {}
        self._dirty: set[int] = set()
        self._judged: int | None = None
        self._near: dict[_Pair, dict[int, _Meeting]] = {}
        self._at: dict[int, set[_Pair]] = {}
        self._ids: dict[_Pair, set[str]] = {}
        self._alive: set[_Pair] = set()
        self._ledger = Ledger()
        self.too_late = 0
        self.use_reference(reference)

    def use_reference(self, reference: ReferenceData | None) -> None:
        """Go on with another file; what was taken in before stands."""
        self._reference = reference or ReferenceData()
        # What each vehicle carries, and from when to when that is known.
        self._goods = np.full(len(self._names), _NO_GOODS, np.int8)
        self._from_us = np.zeros(len(self._names), np.int64)
        self._to_us = np.zeros(len(self._names), np.int64)
        self._matters = np.array([self._carries(name) for name in self._names], np.bool_)

    def take(self, batch: FixBatch) -> None:
        """Take in fixes, of any vehicles, in any order; vehicles that never carry such goods are dropped."""
        if not len(batch):
            return
        code = self._enroll(batch.vehicles)[batch.vehicle]
        matters = np.flatnonzero(self._matters[code])
        if len(matters) < len(code):
            batch, code = batch.take(matters), code[matters]
        goods = self._carried(code, batch.time_us)
        step = -(-batch.time_us // _STEP_US)
        rows = np.argsort(step, kind="stable")
        if self._judged is not None:
            late = step[rows] < self._judged - self._keep_steps
            self.too_late += int(late.sum())
            rows = rows[~late]
        for at in np.split(rows, np.flatnonzero(np.diff(step[rows])) + 1):
            if len(at):
                columns = code[at], batch.time_us[at], batch.lon[at], batch.lat[at], goods[at]
                self._put(int(step[at[0]]), _Slot(*columns))

    def advance(self, now_us: int) -> tuple[Event, ...]:
        """Judge every step that lies before ``now_us``, and those that late fixes touch again.

        Returns:
            new revisions, by time and id.
        """
        last = now_us // _STEP_US
        if self._judged is None:
            if not self._slots:
                return ()
            self._judged = min(min(self._slots) - 1, last)
        moved = last > self._judged
        news = {k for k in self._dirty if k <= last}
        if moved:
            reach = range(self._hold_steps + 1)
            news |= {k + r for k in self._slots for r in reach if self._judged < k + r <= last}
        touched: set[_Pair] = set()
        for k in sorted(news):
            touched |= self._judge(k)
        self._dirty -= news
        if moved:
            self._judged = last
            touched |= self._alive
        events = [event for pair in sorted(touched) for event in self._settle(pair)]
        if moved:
            self._forget(last)
        return tuple(sorted(events, key=lambda e: (e.started_us, e.id)))

    def snapshot(self) -> bytes:
        """Everything it knows, as bytes that :meth:`restore` takes."""
        slots = {k: self._slots[k] for k in sorted(self._slots)}
        data = {
            "names": self._names,
            "steps": {k: len(slot.code) for k, slot in slots.items()},
            "slots": [_packed([slot[i] for slot in slots.values()]) for i in range(len(_Slot._fields))],
            "dirty": sorted(self._dirty),
            "judged": self._judged,
            "near": [[*pair, list(found.items())] for pair, found in sorted(self._near.items())],
            "ids": [[*pair, sorted(ids)] for pair, ids in sorted(self._ids.items())],
            "alive": sorted(self._alive),
            "said": self._ledger.to_json(),
        }
        return json.dumps(data, separators=(",", ":")).encode()

    @classmethod
    def restore(
        cls,
        data: bytes,
        fences: FenceSet,
        rules: Rulebook,
        reference: ReferenceData | None = None,
        *,
        max_gap_s: float = 300.0,
        keep_s: float = 1200.0,
    ) -> SeparationWatch:
        """A watch that goes on where :meth:`snapshot` was taken."""
        watch = cls(fences, rules, reference, max_gap_s=max_gap_s, keep_s=keep_s)
        known = json.loads(data)
        watch._enroll(tuple(known["names"]))
        dtypes: tuple[npt.DTypeLike, ...] = (np.int32, np.int64, np.float64, np.float64, np.int8)
        columns = [_unpacked(text, dtype) for text, dtype in zip(known["slots"], dtypes, strict=True)]
        at = 0
        for k, n in known["steps"].items():
            watch._slots[int(k)] = _Slot(*(column[at : at + n] for column in columns))
            at += n
        watch._dirty = set(known["dirty"])
        watch._judged = known["judged"]
        for a, b, found in known["near"]:
            for k, (lon, lat, metres, goods, fence_id) in found:
                meeting = _Meeting(lon, lat, metres, (goods[0], goods[1]), fence_id)
                watch._near.setdefault((a, b), {})[k] = meeting
                watch._at.setdefault(k, set()).add((a, b))
        watch._ids = {(a, b): set(ids) for a, b, ids in known["ids"]}
        watch._alive = {(a, b) for a, b in known["alive"]}
        watch._ledger = Ledger.from_json(known["said"])
        return watch

    def _enroll(self, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
        """The codes of vehicles; a sender that keeps its dictionary from batch to batch pays for it once."""
        if names is self._enrolled[0]:
            return self._enrolled[1]
        codes = []
        for name in names:
            code = self._codes.setdefault(name, len(self._names))
            if code == len(self._names):
                self._names.append(name)
            codes.append(code)
        more = len(self._names) - len(self._goods)
        if more > 0:
            self._goods = np.append(self._goods, np.full(more, _NO_GOODS, np.int8))
            self._from_us = np.append(self._from_us, np.zeros(more, np.int64))
            self._to_us = np.append(self._to_us, np.zeros(more, np.int64))
            news = [self._carries(name) for name in self._names[-more:]]
            self._matters = np.append(self._matters, np.array(news, np.bool_))
        self._enrolled = names, np.array(codes, np.int32)
        return self._enrolled[1]

    def _carries(self, name: str) -> bool:
        """Whether a vehicle ever carries goods that must be kept apart from others."""
        codes = [self._class_codes[un_class] for un_class in self._reference.goods(name)]
        return bool((LEVELS[codes] >= self._level).any()) if codes else False

    def _carried(self, code: npt.NDArray[np.int32], time_us: _Ints) -> npt.NDArray[np.int8]:
        """What each fix's vehicle carried at its time: a code of ``class_codes``."""
        goods = np.full(len(code), _NO_GOODS, np.int8)
        unknown = np.ones(len(code), np.bool_)
        while True:
            known = unknown & (self._from_us[code] <= time_us) & (time_us < self._to_us[code])
            goods[known] = self._goods[code[known]]
            unknown &= ~known
            if not unknown.any():
                return goods
            # One question for each vehicle; a batch that crosses a change asks once more.
            at = np.flatnonzero(unknown)
            at = at[np.argsort(time_us[at], kind="stable")]
            for c, first in zip(*np.unique(code[at], return_index=True), strict=True):
                self._look_up(int(c), int(time_us[at[first]]))

    def _look_up(self, code: int, at_us: int) -> None:
        bill = self._reference.waybill(self._names[code], at_us)
        until_us = self._reference.next_change(self._names[code], at_us)
        self._goods[code] = _NO_GOODS if bill is None else self._class_codes[bill.un_class]
        self._from_us[code] = at_us
        self._to_us[code] = _FOREVER_US if until_us is None else until_us

    def _put(self, k: int, new: _Slot) -> None:
        """Join fixes of one step to what is known of it: each vehicle's last one stays."""
        old = self._slots.get(k)
        parts = [new] if old is None else [old, new]
        joined = _Slot(*(np.concatenate([part[i] for part in parts]) for i in range(len(_Slot._fields))))
        order = np.lexsort((joined.goods, joined.lat, joined.lon, joined.time_us, joined.code))
        codes = joined.code[order]
        last = order[np.append(codes[1:] != codes[:-1], True)]
        self._slots[k] = _Slot(*(column[last] for column in joined))
        if self._judged is not None and k <= self._judged:
            self._dirty.update(range(k, min(k + self._hold_steps, self._judged) + 1))

    def _judge(self, k: int) -> set[_Pair]:
        """Find the pairs that are near at a step; the pairs for which that is news."""
        found = self._meetings(k)
        before = self._at.get(k, set())
        touched = before | set(found)
        for pair in before - set(found):
            del self._near[pair][k]
        for pair, meeting in found.items():
            self._near.setdefault(pair, {})[k] = meeting
        self._at[k] = set(found)
        if not found:
            del self._at[k]
        return touched

    def _meetings(self, k: int) -> dict[_Pair, _Meeting]:
        at_us = k * _STEP_US
        slots = [slot for i in range(k - self._hold_steps, k + 1) if (slot := self._slots.get(i)) is not None]
        if not slots:
            return {}
        every = _Slot(*(np.concatenate([slot[i] for slot in slots]) for i in range(len(_Slot._fields))))
        order = np.argsort(every.code, kind="stable")  # within a vehicle still by step
        codes = every.code[order]
        last = order[np.append(codes[1:] != codes[:-1], True)]
        last = last[every.time_us[last] > at_us - self._hold_us]
        params = self._book.lookup(Kind.SEPARATION, None, at_us=at_us)
        if params is None:
            return {}
        lon, lat, goods = every.lon[last], every.lat[last], every.goods[last].astype(np.intp)
        i, j = near_pairs(lon, lat, params["near_m"])
        apart = LEVELS[goods[i], goods[j]] >= params["level"]
        i, j = i[apart], j[apart]
        if not len(i):
            return {}
        where = np.unique(np.concatenate([i, j]))
        located = self._fences.locate(lon[where], lat[where])
        inside = {int(w): located.member_indexes(n) for n, w in enumerate(where.tolist())}
        found = {}
        for a, b in zip(i.tolist(), j.tolist(), strict=True):
            fence = self._place(inside[a], inside[b], at_us)
            if fence is None:
                continue
            if self._names[every.code[last[b]]] < self._names[every.code[last[a]]]:
                a, b = b, a  # the lower name first, whatever the order of arrival
            metres = float(np.sqrt(apart2_m2(lon[a], lat[a], lon[b], lat[b])))
            middle = float(lon[a] + lon[b]) / 2, float(lat[a] + lat[b]) / 2
            carried = int(goods[a]), int(goods[b])
            pair = int(every.code[last[a]]), int(every.code[last[b]])
            found[pair] = _Meeting(*middle, metres, carried, fence.id)
        return found

    def _place(self, one: Iterable[int], other: Iterable[int], at_us: int) -> Fence | None:
        """The fence by which a place is told; None where nothing is judged."""
        shared = [self._fences[i] for i in sorted(set(one) & set(other))]
        districts = [f for f in shared if f.kind is FenceKind.DISTRICT]
        if not districts or any(self._book.lookup(Kind.SEPARATION, f, at_us=at_us) is None for f in shared):
            return None
        return next((f for f in shared if f.kind is not FenceKind.DISTRICT), districts[0])

    def _settle(self, pair: _Pair) -> list[Event]:
        """Compare what is known of one pair with what was said of it."""
        assert self._judged is not None
        found = self._near.get(pair, {})
        wanted: dict[str, Event] = {}
        self._alive.discard(pair)
        for run in self._runs(sorted(found)):
            params = self._book.lookup(Kind.SEPARATION, None, at_us=run[0] * _STEP_US)
            if params is None:
                continue
            apart_steps = round(params["apart_s"] * 1e6) // _STEP_US
            over = self._judged > run[-1] + apart_steps
            if not over:
                self._alive.add(pair)
            event = self._event(pair, [found[k] for k in run], run, params, over=over)
            if event is not None:
                wanted[event.id] = event
        among = self._ids.setdefault(pair, set())
        among |= set(wanted)
        if not among:
            del self._ids[pair]
        return self._ledger.settle(wanted, among)

    def _runs(self, steps: list[int]) -> list[list[int]]:
        """Steps at which the pair was near, in runs apart for no longer than allowed in between."""
        runs: list[list[int]] = []
        for k in steps:
            if runs:
                params = self._book.lookup(Kind.SEPARATION, None, at_us=runs[-1][0] * _STEP_US)
                allowed = 0 if params is None else round(params["apart_s"] * 1e6) // _STEP_US
                if k - runs[-1][-1] <= allowed + 1:
                    runs[-1].append(k)
                    continue
            runs.append([k])
        return runs

    def _event(
        self, pair: _Pair, meetings: list[_Meeting], run: list[int], params: Params, *, over: bool
    ) -> Event | None:
        since_us, until_us = run[0] * _STEP_US, run[-1] * _STEP_US
        deadline_us = since_us + round(params["for_min"] * 60e6)
        if until_us < deadline_us:
            return None
        rule = rule_of(Kind.SEPARATION)
        assert rule is not None
        vehicle, other = (self._names[code] for code in pair)
        first, last = meetings[0], meetings[-1]
        fence = self._fences[first.fence_id]
        goods = [self._class_names[code] for code in first.goods]
        detail = {
            "other": other,
            "goods": goods,
            "level": int(LEVELS[first.goods]),
            "near_since": iso(since_us),
            "nearest_m": round(min(meeting.metres for meeting in meetings), 1),
            "near_m": params["near_m"],
            "for_min": params["for_min"],
            "apart_s": params["apart_s"],
        }
        return Event(
            id=event_id(f"{Kind.SEPARATION}:{other}", vehicle, fence.id, deadline_us),
            kind=Kind.SEPARATION,
            vehicle=vehicle,
            fence_id=fence.id,
            fence_version=fence.version,
            revision=1,
            phase=Phase.CLOSED if over else Phase.OPENED,
            started_us=deadline_us,
            ended_us=until_us if over else None,
            lon=first.lon,
            lat=first.lat,
            end_lon=last.lon if over else None,
            end_lat=last.lat if over else None,
            severity=rule.severity,
            detail=detail,
        )

    def _forget(self, last: int) -> None:
        """Drop what no late fix may touch any more; what was said of it stands."""
        old = last - self._keep_steps - self._hold_steps
        for k in [k for k in self._slots if k < old]:
            del self._slots[k]
        for pair in [
            p for p, found in self._near.items() if p not in self._alive and (not found or max(found) < old)
        ]:
            for k in self._near.pop(pair):
                self._at[k].discard(pair)
                if not self._at[k]:
                    del self._at[k]
            self._ids.pop(pair, None)
        self._ledger.forget_before(old * _STEP_US)


def _packed(columns: list[npt.NDArray[Any]]) -> str:
    raw = b"".join(column.tobytes() for column in columns)
    return base64.b64encode(zlib.compress(raw, 1)).decode()


def _unpacked(text: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)
