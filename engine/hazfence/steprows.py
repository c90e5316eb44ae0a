"""Steps of ``stays.py`` as rows: visits and gate bypasses written down without an event made of each.

You are in the core, beside ``news.py``, which tells the same steps as events; what is written here is to the
last byte what those are as rows (``rows.py``), which a property test holds. The texts of details have few
shapes (which fence, how it began and ended, by which gate), so their constant parts are made once a shape,
and only moments are filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hazfence.events import Kind, Phase, Severity, id_of_parts, sized
from hazfence.plain import Plain
from hazfence.rows import Row, isos, text_of
from hazfence.rules.prism import Certainty
from hazfence.stays import EDGES, NO_DISTRICT
from hazfence.visits import BORDER

__all__ = ["StepRows"]

_Bools = npt.NDArray[np.bool_]
_Rows = npt.NDArray[np.void]

_ON_BORDER = np.array([edge in BORDER for edge in EDGES])
_VISIT = Kind.VISIT.value
#: By whether it is certain.
_BYPASS = Kind.POSSIBLE_BYPASS.value, Kind.GATE_BYPASS.value
_OPENED, _CLOSED = Phase.OPENED.value, Phase.CLOSED.value
_INFO, _GRAVE = Severity.INFO.value, (Severity.WARNING.value, Severity.BREACH.value)
#: Shapes that are remembered; with more of them, they are made anew now and then.
_MOST_SHAPES = 1 << 16

# A named tuple's own constructor takes three times as long.
_row: Any = partial(tuple.__new__, Row)


class _Shape(NamedTuple):
    """What the rows of one shape share.

    Attributes:
        fence_id, fence_version: of the fence.
        named: the fence's part of what an id is a digest of.
        parts: the detail's text, to be filled with moments between them.
    """

    fence_id: str
    fence_version: int
    named: bytes
    parts: tuple[str, ...]


class StepRows:
    """Writes steps as rows, under one set of fences.

    Args:
        plain: knows the fences and their parameters.
        names: vehicle names by code; may grow.
    """

    def __init__(self, plain: Plain, names: Sequence[str]) -> None:
        self._plain, self._names = plain, names
        self._shapes: dict[tuple[int, ...], _Shape] = {}

    def visits(self, steps: _Rows) -> list[Row]:
        """The visits that steps open or close, in the order of the steps."""
        stay, opens = steps["stay"], steps["opens"]
        came = _between(_ON_BORDER[stay["begins"]], stay["prev_us"], stay["fix_us"])
        went = _between(_ON_BORDER[steps["how"]] & ~opens, steps["from_us"], steps["to_us"])
        # A visit that opens has no end whose shape could matter.
        end = np.where(opens, -1, steps["how"].astype(np.int64)), np.where(opens, 0, steps["gate"])
        begin = (stay[name].tolist() for name in ("fence", "begins", "seen", "gate"))
        shapes = zip(*begin, *(column.tolist() for column in end), strict=True)
        fields = (stay[name].tolist() for name in ("code", "start_us", "lon", "lat"))
        ends = (steps[name].tolist() for name in ("at_us", "lon", "lat"))
        names, known, rows = self._names, self._shapes, list[Row]()
        for key, first, last, code, began_us, lon, lat, at_us, end_lon, end_lat in zip(
            shapes, came, went, *fields, *ends, strict=True
        ):
            shape = known.get(key)
            if shape is None:
                shape = self._keep(key, self._visit_shape(*key))
            vehicle, parts = names[code], shape.parts
            name = id_of_parts(_VISIT_NAMED, vehicle, shape.named, began_us)
            about = _VISIT, vehicle, shape.fence_id, shape.fence_version, began_us
            if len(parts) == 2:
                detail = f"{parts[0]}{first}{parts[1]}"
                values = name, 1, _OPENED, *about, None, lon, lat, None, None, _INFO, detail
            else:
                detail = f"{parts[0]}{first}{parts[1]}{last}{parts[2]}"
                values = name, 2, _CLOSED, *about, at_us, lon, lat, end_lon, end_lat, _INFO, detail
            rows.append(_row(values))
        return rows

    def bypasses(self, steps: _Rows) -> list[Row]:
        """The gate bypasses, certain or not, that steps are; each of them is one."""
        stay, opens = steps["stay"], steps["opens"].tolist()
        around = isos(steps["from_us"]), isos(steps["to_us"])
        entered = isos(np.where(steps["opens"], 0, stay["start_us"]))
        near_m = np.where(steps["near"] >= 0, steps["near_m"], -1.0).tolist()
        gates = np.where(steps["opens"], NO_DISTRICT, stay["gate"]).tolist()
        begin = stay["fence"].tolist(), opens, gates, steps["near"].tolist()
        keys = zip(*begin, (steps["bypass"] - 1).tolist(), strict=True)
        fields = (steps[name].tolist() for name in ("at_us", "lon", "lat"))
        names, known, rows = self._names, self._shapes, list[Row]()
        for key, prev, fix, since, away_m, code, at_us, lon, lat in zip(
            keys, *around, entered, near_m, stay["code"].tolist(), *fields, strict=True
        ):
            shape = known.get(key)
            if shape is None:
                shape = self._keep(key, self._bypass_shape(*key))
            vehicle, goes_in, certain = names[code], key[1], key[4] == 0
            name = id_of_parts(_BYPASS_NAMED[certain][goes_in], vehicle, shape.named, at_us)
            about = _BYPASS[certain], vehicle, shape.fence_id, shape.fence_version, at_us, at_us
            both = f'["{prev}", "{fix}"]'
            # Rounded as Python rounds, which numpy does not always.
            metres = "null" if away_m < 0 else repr(round(away_m, 1))
            a, b, c, d, *stayed = shape.parts
            detail = f"{a}{both}{b}{both}{c}{metres}{d}"
            if stayed:
                detail = f"{detail}{since}{stayed[0]}"
            rows.append(_row((name, 1, _CLOSED, *about, lon, lat, lon, lat, _GRAVE[certain], detail)))
        return rows

    def _keep(self, key: tuple[int, ...], shape: _Shape) -> _Shape:
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        self._shapes[key] = shape
        return shape

    def _visit_shape(self, at: int, begins: int, seen: int, gate: int, how: int, exit_gate: int) -> _Shape:
        fence = self._plain.fences[at]
        first = f'{{"fence_kind": "{fence.kind}", "entry": "{EDGES[begins]}", "entry_between": '
        then = ', "witness": "fix"'
        if seen:
            then = f', "witness": "segment", "certainty": "{tuple(Certainty)[seen - 1]}"'
        if gate != NO_DISTRICT:
            then += f', "entry_gate": {self._gate(gate)}'
        if how < 0:
            return self._shape(at, first, then + "}")
        then += f', "exit": "{EDGES[how]}", "exit_between": '
        return self._shape(
            at, first, then, "}" if exit_gate == NO_DISTRICT else f', "exit_gate": {self._gate(exit_gate)}}}'
        )

    def _bypass_shape(self, at: int, goes_in: bool, gate: int, near: int, level: int) -> _Shape:
        params = float(self._plain.tolerance_m[at]), float(self._plain.bypasses.top_kmh[at])
        last = (
            f', "gate_tolerance_m": {text_of(params[0])}, "certainty": "{tuple(Certainty)[level]}"'
            f', "top_speed_kmh": {text_of(params[1])}'
        )
        said = (
            f'{{"direction": "{"in" if goes_in else "out"}", "between": ',
            ', "fixes": ',
            f', "nearest_checkpoint": {self._gate(near)}, "nearest_checkpoint_m": ',
        )
        if goes_in:
            return self._shape(at, *said, last + "}")
        return self._shape(at, *said, f'{last}, "entered_at": "', f'", "entry_gate": {self._gate(gate)}}}')

    def _shape(self, at: int, *parts: str) -> _Shape:
        fence = self._plain.fences[at]
        return _Shape(fence.id, fence.version, sized(fence.id), parts)

    def _gate(self, gate: int) -> str:
        return "null" if gate < 0 else text_of(self._plain.gates[gate].id)


_VISIT_NAMED = sized(_VISIT)
_BYPASS_NAMED = tuple(tuple(sized(f"{kind}:{way}") for way in ("out", "in")) for kind in _BYPASS)


def _between(where: _Bools, from_us: npt.NDArray[np.int64], to_us: npt.NDArray[np.int64]) -> list[str]:
    """Pairs of moments as JSON; ``null`` where there are none."""
    first, last = isos(np.where(where, from_us, 0)), isos(np.where(where, to_us, 0))
    if where.all():
        return [f'["{a}", "{b}"]' for a, b in zip(first, last, strict=True)]
    pairs = zip(where.tolist(), first, last, strict=True)
    return [f'["{a}", "{b}"]' if given else "null" for given, a, b in pairs]
