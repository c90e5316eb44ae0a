"""What a batch gave, in order: events of the judge, and plain steps told as events when asked for.

You are in the core, between ``plain.py``, whose steps are columns, and the hosts, who want
:class:`~hazfence.events.Event` objects. Making an event costs more than finding it, so it is made when
somebody looks: a host that only counts, or only follows positions, never pays for it. :class:`Telling`
also gives a vehicle's plain visits as the record and the marks that the judge works with, and takes such
a record back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.doubts import in_doubt
from hazfence.events import Event, Kind, from_iso, iso
from hazfence.judge import in_time_order
from hazfence.judged import Said
from hazfence.leans import leaning
from hazfence.notes import Held, Notes, Past, blank
from hazfence.plain import Plain
from hazfence.presence import Edge, Fix
from hazfence.rows import Row, last_rows, row_of
from hazfence.rules.gates import Crossing, Gate, bypass
from hazfence.rules.prism import Certainty
from hazfence.rules.zones import entry
from hazfence.sets import Sets
from hazfence.states import Leaning, State, Unsure, Waver, Wavering
from hazfence.stays import (
    CLEARED,
    CONFIRMED,
    CROSSED,
    EDGE_BITS,
    EDGES,
    IN_DOUBT,
    JUDGED,
    LEANS,
    NO_DISTRICT,
    NO_GATE,
    STAY,
    SURE,
    SURE_AT,
    WAVER,
    WAVERED,
    Stays,
    joined,
)
from hazfence.steprows import StepRows
from hazfence.story import Mark
from hazfence.vehicles import FOREVER_US, NEVER_US, Record, open_key
from hazfence.visits import BORDER, closed, entered_by, exit_detail, opened

__all__ = ["Batch", "News", "Telling"]

_Ints = npt.NDArray[np.int64]
_Rows = npt.NDArray[np.void]
#: What a record remembers beside what rules do.
_OF_VISITS = (Wavering.name, Leaning.name, Unsure.name)
_ENTRIES = (Kind.RESTRICTED_ENTRY, Kind.POSSIBLE_ENTRY)


class Telling:
    """Tells rows of ``stays.py`` as events, under one set of fences.

    Args:
        plain: knows the fences and their parameters.
        sets: what set keys stand for.
        names: vehicle names by code; may grow.
    """

    def __init__(self, plain: Plain, sets: Sets, names: Sequence[str]) -> None:
        self._plain = plain
        self._sets = sets
        self._names = names
        self._rows = StepRows(plain, names)

    def written(self, steps: _Rows) -> list[Row]:
        """The events of the steps as rows; of a fact opened and closed by them both revisions."""
        crossed = steps["what"] == CROSSED
        rows = self._rows.visits(steps if crossed.all() else steps[crossed])
        if (at := np.flatnonzero(steps["bypass"])).size:
            rows += self._rows.bypasses(steps[at])
        entries = self._plain.entry[steps["stay"]["fence"]]
        for step in steps[entries] if entries.any() else ():
            rows += [row_of(event) for event in self.events(step) if event.kind in _ENTRIES]
        return rows

    def count(self, steps: _Rows) -> int:
        """How many events the steps are."""
        plain, stay = self._plain, steps["stay"]
        # A visit to a restricted zone is told with its entry, unless that is in doubt, and no doubt is told.
        at = plain.entry[stay["fence"]].nonzero()[0]  # few, and fields of rows lie far apart
        entries = 0
        if len(at):
            told = (steps["what"][at] == CROSSED) & (stay["seen"][at] == 0)
            told &= (stay["sure_us"][at] != IN_DOUBT) | plain.possible[stay["fence"][at]]
            entries = int(np.count_nonzero(told))
        return len(steps) + entries + int(np.count_nonzero(steps["bypass"]))

    def events(self, step: Any) -> list[Event]:
        """The events of one step, in the order in which the judge would say them."""
        stay = step["stay"]
        if step["what"] in (CONFIRMED, CLEARED):
            return [self._settled(step)]
        going_on = self._open(stay)
        gate, how = self._gate(step["gate"]), EDGES[step["how"]]
        breach = self._bypass(step, going_on[0]) if step["bypass"] else None
        if step["opens"]:
            visit, *entered = going_on
            return [visit, *([] if breach is None else [breach]), *entered]
        fixes_us = (int(step["from_us"]), int(step["to_us"])) if how in BORDER else None
        more = {} if step["gate"] == NO_DISTRICT else {"exit_gate": gate}
        at_us, place = int(step["at_us"]), (float(step["lon"]), float(step["lat"]))
        over = [
            closed(event, at_us, place, exit_detail(event, how, fixes_us, more))
            for event in reversed(going_on)
        ]
        return over if breach is None else [*over, breach]

    def _settled(self, step: Any) -> Event:
        """What a doubt that is over is told by: the entry, or the end of what was but possible."""
        stay = step["stay"].copy()
        if step["what"] == CONFIRMED:
            stay["sure_us"] = step["fix_us"]
            return self._open(stay)[1]
        possible = self._open(stay)[1]
        place = float(step["lon"]), float(step["lat"])
        return closed(possible, int(step["at_us"]), place, {**possible.detail, "exit": "confirmed"})

    def record(
        self, stays: _Rows, wavers: _Rows, note: np.void | None = None, past: Past = (), held: Held = ()
    ) -> Record:
        """What goes on, wavers and is remembered, as the judge knows it."""
        found = [event for stay in stays for event in self._open(stay)]
        found.sort(key=lambda e: (e.started_us, e.fence_id, e.kind is not Kind.VISIT))
        going_on = {(event.kind, str(event.fence_id)): event for event in found}
        going_on.update((open_key(event), event) for event in held)
        noting = self._plain.noting
        states = {} if note is None or noting is None else noting.states(note, past)
        if len(wavers):
            leans = leaning(wavers)
            borders = sorted((self._waver(waver) for waver in wavers[~leans]), key=lambda w: w.fence_id)
            if borders:
                states[Wavering.name] = Wavering(tuple(borders))
            sides = [(self._plain.fences[int(w["fence"])].id, self._sure(w)) for w in wavers[leans]]
            if sides:
                states[Leaning.name] = Leaning(tuple(sorted(sides)))
        doubted = [self._plain.fences[int(stay["fence"])].id for stay in stays if in_doubt(stay)]
        if doubted:
            states[Unsure.name] = Unsure(tuple(sorted(doubted)))
        return Record(going_on, None, states)

    def marks(self, code: int, stays: Stays, notes: Notes, after_us: int) -> list[Mark]:
        """The states before each fix of a vehicle that was judged in columns, by time.

        Args:
            code: the vehicle.
            stays, notes: what goes on, and what is remembered of the steps and the fixes before.
            after_us: only of fixes after this moment.
        """
        going_on = {int(stay["fence"]): stay for stay in stays.visits.of(code)}
        if self._plain.noting is None:
            return self._marks_of(going_on, stays.log.of(code, after_us))
        entries = notes.log.of(code, after_us)
        steps = stays.log.of(code, after_us, every=False)
        marks: list[Mark] = []
        at = len(steps)
        for noted in reversed(list(entries)):
            begins = at - int(noted["steps"])
            together = steps[max(begins, 0) : at]
            if len(together) != noted["steps"] or (together["fix_us"] != noted["fix_us"]).any():
                break  # the steps were given up: so far back nobody asks
            wavers = self._undo(going_on, reversed(together))
            at, past = begins, notes.past_before(code, int(noted["fix_us"]))
            held = notes.held_after(code, int(noted["prev_us"]))
            record = partial(self.record, _together(going_on.values()), wavers, noted["note"], past, held)
            marks.append(Mark(self._prev(noted), record, int(noted["since_us"])))
        marks.reverse()
        return marks

    @staticmethod
    def _undo(going_on: dict[int, Any], steps: Iterable[Any]) -> _Rows:
        """Go back before the steps of one fix, the last one first; what wavered then."""
        wavers = []
        for step in steps:
            stay = step["stay"]
            if step["what"] == WAVERED:
                wavers.append(stay)
            elif step["what"] == CROSSED and step["opens"]:
                del going_on[int(stay["fence"])]
            elif step["what"] != JUDGED:
                going_on[int(stay["fence"])] = stay
        return _together(wavers).view(WAVER)

    def _marks_of(self, going_on: dict[int, Any], steps: _Rows) -> list[Mark]:
        """The same where no rule remembers anything: what happened is all in the steps."""
        marks = []
        for _, together in groupby(reversed(list(steps)), key=lambda step: int(step["fix_us"])):
            last, *others = together
            since_us, prev = int(last["since_us"]), self._prev(last)
            wavers = self._undo(going_on, (last, *others))
            marks.append(Mark(prev, partial(self.record, _together(going_on.values()), wavers), since_us))
        marks.reverse()
        return marks

    def rows(self, code: int, record: Record, members: Sequence[int]) -> tuple[_Rows, _Rows] | None:
        """A record's visits and wavers as rows; None when there is more to it than plain visits.

        Args:
            code: of the vehicle.
            record: its state.
            members: the fences (indexes) that cover its last fix.
        """
        if record.run is not None:
            return None
        plain, fences = self._plain, self._plain.fences
        wavers = self._waver_rows(code, record.states)
        if wavers is None:
            return None
        settled = set(members)
        crossed = wavers[~leaning(wavers)]
        for i, inside in zip(crossed["fence"].tolist(), crossed["inside"].tolist(), strict=True):
            if inside:
                settled.add(i)
            else:
                settled.discard(i)
        members = sorted(settled)
        if not len(members) <= len(record.open) <= 2 * len(members) or not all(
            plain.fine[i] for i in members
        ):
            return None
        rows, held = np.zeros(len(members), STAY), 0
        for row, i in zip(rows, members, strict=True):
            fence = fences[i]
            visit = record.open.get((Kind.VISIT, fence.id))
            if visit is None or visit.fence_version != fence.version:
                return None
            detail = visit.detail
            around = detail["entry_between"] or (None, None)
            prev_us, fix_us = (NEVER_US if t is None else from_iso(t) for t in around)
            gate = NO_DISTRICT
            if "entry_gate" in detail:
                name = detail["entry_gate"]
                known = NO_GATE if name is None else plain.gate_number.get(name)
                if known is None:
                    return None
                gate = known
            edge = EDGES.index(Edge(detail["entry"]))
            row["start_us"], row["lon"], row["lat"] = visit.started_us, visit.lon, visit.lat
            row["prev_us"], row["fix_us"], row["begins"], row["gate"] = prev_us, fix_us, edge, gate
            row["code"], row["fence"], row["next"] = code, i, -1
            if detail["witness"] != "fix":
                row["seen"] = 1 + tuple(Certainty).index(Certainty(detail.get("certainty", "possible")))
            row["sure_us"] = self._sure_us(record, visit)
            told = self._open(row)
            if any(record.open.get((e.kind, fence.id)) != e for e in told):
                return None  # it says something that a row cannot hold
            held += len(told)
        if held != len(record.open) or len(record.doubted) != int(in_doubt(rows).sum()):
            return None
        return rows, wavers

    @staticmethod
    def _sure_us(record: Record, visit: Event) -> int:
        """The fix that made a visit certain, as a row has it."""
        fence_id = str(visit.fence_id)
        if fence_id in record.doubted:
            return IN_DOUBT
        entered = record.open.get((Kind.RESTRICTED_ENTRY, fence_id))
        fixes = [] if entered is None else entered.detail["fixes"]
        return from_iso(fixes[-1]) if len(fixes) > len(entered_by(visit)) else SURE

    def _waver_rows(self, code: int, states: Mapping[str, State]) -> _Rows | None:
        """Borders near which a vehicle wavers or leans as rows; None when rows cannot hold them."""
        plain, fences = self._plain, self._plain.fences
        wavering, leans = states.get(Wavering.name), states.get(Leaning.name)
        borders = wavering.borders if isinstance(wavering, Wavering) else ()
        sides = leans.borders if isinstance(leans, Leaning) else ()
        rows = np.zeros(len(borders) + len(sides), WAVER)
        for row, (fence_id, said) in zip(rows[len(borders) :], sides, strict=True):
            if fence_id not in fences or not plain.fine[fences.index_of(fence_id)]:
                return None
            row["at_us"], row["code"], row["next"] = FOREVER_US, code, -1
            row["fence"] = fences.index_of(fence_id)
            row["edge"] = LEANS | tuple(Certainty).index(Certainty(said)) << SURE_AT
        for row, waver in zip(rows[: len(borders)], borders, strict=True):
            gates = [plain.gate_number.get(gate) for gate in waver.touched]
            known = tuple(gate for gate in gates if gate is not None)
            number = plain.wavers.number(known)
            if waver.fence_id not in fences or len(known) < len(gates) or number is None:
                return None
            i = fences.index_of(waver.fence_id)
            if not plain.fine[i]:
                return None
            row["at_us"], row["prev_us"], row["fix_us"] = waver.at_us, waver.prev_us, waver.fix_us
            row["lon"], row["lat"], row["inside"] = waver.lon, waver.lat, waver.inside
            row["code"], row["fence"], row["next"], row["touched"] = code, i, -1, number
            sure = tuple(Certainty).index(Certainty(waver.sure))
            row["edge"] = EDGES.index(Edge(waver.edge)) | sure << SURE_AT
        return rows

    def _waver(self, row: Any) -> Waver:
        """A row as the judge knows it."""
        plain = self._plain
        touched = tuple(plain.gates[i].id for i in plain.wavers.sets[int(row["touched"])])
        moments = int(row["at_us"]), int(row["prev_us"]), int(row["fix_us"])
        place = float(row["lon"]), float(row["lat"])
        fence_id = plain.fences[int(row["fence"])].id
        edge = EDGES[row["edge"] & EDGE_BITS]
        return Waver(fence_id, bool(row["inside"]), *moments, *place, str(edge), touched, self._sure(row))

    @staticmethod
    def _sure(row: Any) -> str:
        """How certain a row says it is."""
        return str(tuple(Certainty)[row["edge"] >> SURE_AT])

    def held(self, record: Record) -> tuple[Event, ...]:
        """The events beside visits that a vehicle kept in columns may have."""
        noting = self._plain.noting
        return () if noting is None else noting.held(record)

    def note(self, record: Record) -> tuple[_Rows, Past] | None:
        """What a record remembers as a note of one; None when that is more than a note can hold."""
        noting = self._plain.noting
        states = {name: state for name, state in record.states.items() if name not in _OF_VISITS}
        if noting is None:
            return None if states else (blank(1), ())
        return noting.note(states, record.open)

    def _open(self, stay: Any) -> list[Event]:
        """A visit that goes on, and the restricted entry that it is."""
        fence = self._plain.fences[int(stay["fence"])]
        begins = EDGES[stay["begins"]]
        visit = opened(
            self._names[stay["code"]],
            fence,
            int(stay["start_us"]),
            (float(stay["lon"]), float(stay["lat"])),
            begins,
            (int(stay["prev_us"]), int(stay["fix_us"])) if begins in BORDER else None,
            sure=None if stay["seen"] == 0 else tuple(Certainty)[stay["seen"] - 1],
            more={} if stay["gate"] == NO_DISTRICT else {"entry_gate": self._gate(stay["gate"])},
        )
        if not self._plain.entry[stay["fence"]]:
            return [visit]
        if in_doubt(stay):
            possible = self._plain.possible[stay["fence"]]
            return [visit, entry(visit, fence, Certainty.PROBABLE)] if possible else [visit]
        seen = [] if stay["sure_us"] == SURE else [iso(int(stay["sure_us"]))]
        return [visit, entry(visit, fence, seen=seen)]

    def _prev(self, step: Any) -> Fix | None:
        """The fix before the one that made a step."""
        if step["prev_us"] == NEVER_US:
            return None
        place = float(step["prev_lon"]), float(step["prev_lat"]), float(step["prev_kmh"])
        fences = self._sets.fences_of(int(step["prev_key"]))
        error_m = float(step["prev_error_m"])
        return Fix(int(step["prev_us"]), *place, fences, int(step["prev_alarm"]), error_m=error_m)

    def _gate(self, gate: int) -> str | None:
        return None if gate < 0 else self._plain.gates[gate].id

    def _bypass(self, step: Any, visit: Event) -> Event:
        """The border crossed away from every checkpoint, into a visit or out of it."""
        fence = self._plain.fences[int(step["stay"]["fence"])]
        ends = int(step["from_us"]), int(step["to_us"])
        direction = "in" if step["opens"] else "out"
        crossing = Crossing(int(step["at_us"]), float(step["lon"]), float(step["lat"]), direction, *ends)
        gate = Gate(None, self._gate(step["near"]), float(step["near_m"]) if step["near"] >= 0 else math.inf)
        stay = {}
        if not step["opens"]:
            stay = {"entered_at": iso(visit.started_us), "entry_gate": visit.detail["entry_gate"]}
        at = int(step["stay"]["fence"])
        params = {
            "tolerance_m": float(self._plain.tolerance_m[at]),
            "top_speed_kmh": float(self._plain.bypasses.top_kmh[at]),
        }
        sure = tuple(Certainty)[step["bypass"] - 1]
        return bypass(visit.vehicle, fence, crossing, gate, params, stay, sure)


def _together(stays: Iterable[Any]) -> _Rows:
    """Visits as rows, by their bytes: numpy would put few together field by field."""
    return np.frombuffer(bytearray().join([stay.tobytes() for stay in stays]), STAY)


class Batch(NamedTuple):
    """What one look at some vehicles gave, by group of vehicle.

    Attributes:
        judged: of each group that was left to the judge, its events.
        steps: the plain steps of the others, in parts of (group of each step, steps).
        said: what rules with a memory say of those.
        telling: tells steps as events.
    """

    judged: list[tuple[int, list[Event]]]
    steps: list[tuple[_Ints, _Rows]]
    said: list[Said]
    telling: Telling

    def __len__(self) -> int:
        told = sum(len(events) for _, events in self.judged) + sum(len(events) for *_, events in self.said)
        return told + sum(self.telling.count(steps) for _, steps in self.steps)

    def events(self) -> Iterator[Event]:
        """All of it as events, vehicle by vehicle."""
        judged, said = dict(self.judged), dict[int, list[Said]]()
        for one in self.said:
            said.setdefault(one[0], []).append(one)
        beside, place = sorted({*judged, *said}), 0
        steps: list[Any] = []

        def told(group: int) -> Iterator[Event]:
            """Of a group of which there is more than steps."""
            yield from judged[group] if group in judged else self._together(steps, said[group])
            steps.clear()

        for group, step in self._by_group():
            while place < len(beside) and beside[place] < group:
                yield from told(beside[place])
                place += 1
            if place < len(beside) and beside[place] == group:
                steps.append(step)
            else:
                yield from self.telling.events(step)
        for group in beside[place:]:
            yield from told(group)

    def _together(self, steps: Iterable[Any], said: Iterable[Said]) -> Iterator[Event]:
        """What is told of one vehicle's fixes, fix by fix in the order of the judge."""
        of_fix: dict[int, list[Event]] = {}
        for step in steps:
            of_fix.setdefault(int(step["fix_us"]), []).extend(self.telling.events(step))
        for _, fix_us, events in said:
            of_fix.setdefault(fix_us, []).extend(events)
        for fix_us in sorted(of_fix):
            yield from in_time_order(of_fix[fix_us])

    def _by_group(self) -> Iterator[tuple[int, Any]]:
        """The steps with their groups, which may lie in parts that overlap."""
        groups = [group for group, _ in self.steps]
        if all(a[-1] < b[0] for a, b in pairwise(filter(len, groups))):
            for group, steps in self.steps:
                yield from zip(group.tolist(), steps, strict=True)
            return
        group, rows = np.concatenate(groups), joined([steps for _, steps in self.steps])
        order = group.argsort(kind="stable")
        yield from zip(group[order].tolist(), rows.take(order), strict=True)

    def rows(self) -> list[Row]:
        """All of it as rows, of each fact the last revision at least."""
        told = (*(events for _, events in self.judged), *(events for *_, events in self.said))
        rows = last_rows(event for events in told for event in events)
        for _, steps in self.steps:
            rows += self.telling.written(steps)
        return rows


class News:
    """Everything that was found, in order."""

    def __init__(self) -> None:
        self._parts: list[Batch | list[Event]] = []
        self._count = 0

    def add(self, part: Batch | list[Event]) -> None:
        """Put something at the end."""
        count = len(part)
        if count:
            self._parts.append(part)
            self._count += count

    def __len__(self) -> int:
        return self._count

    def events(self) -> tuple[Event, ...]:
        """All of it as events."""
        return tuple(
            event for part in self._parts for event in (part.events() if isinstance(part, Batch) else part)
        )

    def rows(self) -> list[Row]:
        """Of each fact in it the last revision, as rows; no event is made of what arose in columns."""
        last: dict[str, Row] = {}
        for part in self._parts:
            for row in part.rows() if isinstance(part, Batch) else last_rows(part):
                known = last.get(row[0])
                if known is None or row[1] > known[1]:
                    last[row[0]] = row
        return list(last.values())
