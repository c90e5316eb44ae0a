"""The rulebook: which rules hold where, for whom and when, and with which parameters.

You are in ``hazfence.rules``, between the register (``catalogue.py``) and the rules themselves.
Configuration is plain JSON, for all fences in ``EngineSettings.rules`` and for one in its GeoJSON
property ``rules``::

    {"overspeed": {"general_kmh": 60,
                   "when": [{"classes": ["tank"], "hours": {...a schedule...}, "set": {"general_kmh": 50}}]},
     "overpark": true, "silent": false}

A rule is on or off (true, false), or an object: on, with these parameters. ``when`` lists
exceptions by vehicle class, by hours or both; a later one wins, a fence wins over the general
book. Parameters are looked up at the moment the fact begins (the entry of a stay, the fix of a
speed). :class:`Rulebook` checks all of it once; :meth:`Rulebook.lookup` answers the rules.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hazfence.reference import UN_CLASSES
from hazfence.rules.catalogue import RULES, Parameter, Rule, rule_of
from hazfence_fences import Fence, Schedule

__all__ = ["Params", "RuleError", "Rulebook"]

#: What a list of UN classes may hold: a class may stand for its divisions.
_CLASSES = UN_CLASSES | {c.split(".")[0] for c in UN_CLASSES}

_LARGEST = sys.float_info.max

#: The parameters in force; None where the rule is off.
Params = Mapping[str, Any]


#: (next checkpoint or "*", least minutes, most minutes) of the ways on from a checkpoint.
Segments = tuple[tuple[str, float | None, float | None], ...]


class RuleError(ValueError):
    """Configuration of a rule that cannot be used; names the place and the mend."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """Parameters that hold for some classes and hours (None: for all)."""

    on: bool | None
    values: Mapping[str, Any]
    classes: frozenset[str] | None = None
    hours: Schedule | None = None

    def holds(self, classes: frozenset[str], at_us: int) -> bool:
        """Whether it holds for a vehicle of these classes at that moment."""
        if self.classes is not None and not self.classes & classes:
            return False
        return self.hours is None or bool(self.hours.in_force(np.array([at_us], np.int64))[0])


@dataclass(frozen=True)
class Rulebook:
    """General rules, as given, checked.

    Args:
        given: JSON as in the module's text; rules left out are on when ``catalogue`` says so.

    Raises:
        RuleError: an unknown rule or parameter, a value out of its range, contradictions.

    Example:
        >>> Rulebook({"overpark": {"max_min": 45}}).lookup("overpark", None)["max_min"]
        45.0
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    _layers: dict[tuple[str, str | None], tuple[_Layer, ...]] = field(init=False, repr=False, compare=False)
    _plain: dict[tuple[str, str | None], Params | None] = field(init=False, repr=False, compare=False)
    _for_class: dict[tuple[str, str | None, frozenset[str]], Params | None] = field(
        init=False, repr=False, compare=False
    )
    _hash: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_layers", {})
        object.__setattr__(self, "_plain", {})
        object.__setattr__(self, "_for_class", {})
        object.__setattr__(self, "_hash", repr(self.given))
        read = _read(self.given, "rules", fence=None)
        for rule in RULES:
            defaults = _Layer(rule.on, {p.name: p.default for p in rule.parameters})
            self._layers[str(rule.kind), None] = (defaults, *read.get(str(rule.kind), ()))

    def __hash__(self) -> int:
        return hash(self._hash)

    @classmethod
    def all_on(cls, changes: Mapping[str, Any] | None = None) -> Rulebook:
        """Every rule on, with the numbers of the law where the register has none by default.

        Args:
            changes: a book as in the module's text; it replaces the entries of the rules it names.
        """
        night = {"tz": "Asia/Shanghai", "windows": [{"days": "mon-sun", "from": "22:00", "to": "06:00"}]}
        book: dict[str, Any] = {str(rule.kind): True for rule in RULES}
        book["overspeed"] = {"general_kmh": 60.0, "motorway_kmh": 80.0}
        book["overdrive"] = {"night_h": 2.0, "night_hours": night}
        return cls({**book, **(changes or {})})

    def for_fences(self, fences: Iterable[Fence], base: Mapping[str, Mapping[str, Any]]) -> Rulebook:
        """The same book with what the fences say.

        Args:
            fences: their property ``rules`` is read.
            base: defaults in place of the register's, by rule and parameter.

        Raises:
            RuleError: names the fence.
        """
        book = Rulebook(self.given)
        for rule in RULES:
            name = str(rule.kind)
            defaults, *general = book._layers[name, None]
            values = {**defaults.values, **base.get(name, {})}
            book._layers[name, None] = (_Layer(defaults.on, values), *general)
        for fence in fences:
            read = _read(fence.properties.get("rules") or {}, f"fence {fence.id!r}", fence=fence)
            for rule in RULES:
                name = str(rule.kind)
                own = _own(rule, fence)
                layers = (*book._layers[name, None], *own, *read.get(name, ()))
                if len(layers) > len(book._layers[name, None]):
                    book._layers[name, fence.id] = layers
        return book

    def lookup(
        self,
        rule: str,
        fence: Fence | None,
        classes: Callable[[], frozenset[str]] = frozenset,
        at_us: int = 0,
    ) -> Params | None:
        """The rule's parameters in a fence, for a vehicle of some classes, at a moment; None: off.

        Args:
            classes: gives the vehicle's classes; asked only when some rule differs by class.
        """
        key = (rule, None if fence is None else fence.id)
        if key in self._plain:
            return self._plain[key]
        layers = self._layers.get(key) or self._layers[rule, None]
        if self.constant(rule, fence):
            self._plain[key] = _merged(layers)
            return self._plain[key]
        if all(layer.hours is None for layer in layers):
            # By class alone: there are few classes, so every answer is worked out once.
            by_class = (*key, classes())
            if by_class not in self._for_class:
                self._for_class[by_class] = _merged(layer for layer in layers if layer.holds(by_class[2], 0))
            return self._for_class[by_class]
        return _merged(layer for layer in layers if layer.holds(classes(), at_us))

    def possible(self, rule: str, fence: Fence | None, parameter: str) -> set[Any]:
        """Every value the parameter may have there, whoever and whenever; empty when the rule is off."""
        key = (rule, None if fence is None else fence.id)
        layers = self._layers.get(key) or self._layers[rule, None]
        if not any(layer.on for layer in layers):
            return set()
        return {layer.values[parameter] for layer in layers if parameter in layer.values}

    def constant(self, rule: str, fence: Fence | None) -> bool:
        """Whether the rule says the same there for every vehicle at any hour."""
        key = (rule, None if fence is None else fence.id)
        layers = self._layers.get(key) or self._layers[rule, None]
        return all(layer.classes is None and layer.hours is None for layer in layers)

    def ever(self, rule: str) -> bool:
        """Whether the rule can be on anywhere."""
        return any(layer.on for (name, _), layers in self._layers.items() if name == rule for layer in layers)

    @property
    def by_class(self) -> bool:
        """Whether any rule differs by vehicle class, which only the file knows."""
        return any(layer.classes is not None for layers in self._layers.values() for layer in layers)

    @property
    def asks_file(self) -> bool:
        """Whether any rule asks the file of vehicles, waybills and papers."""
        return self.by_class or any(self.ever(str(rule.kind)) for rule in RULES if rule.asks_file)

    @property
    def joint(self) -> frozenset[str]:
        """The rules that are on and that no partition can judge alone."""
        return frozenset(str(rule.kind) for rule in RULES if rule.joint and self.ever(str(rule.kind)))

    def to_json(self) -> dict[str, Any]:
        """The book as given."""
        return dict(self.given)


def _merged(layers: Iterable[_Layer]) -> Params | None:
    on: bool | None = None
    values: dict[str, Any] = {}
    for layer in layers:
        on = layer.on if layer.on is not None else on
        values.update(layer.values)
    return values if on else None


def _own(rule: Rule, fence: Fence) -> list[_Layer]:
    """What a fence says by its own properties, before its ``rules``."""
    if rule.parameter("limit_kmh") is not None and fence.speed_limit_kmh is not None:
        return [_Layer(None, {"limit_kmh": fence.speed_limit_kmh})]
    if str(rule.kind) == "overstay" and fence.max_stay_min is not None:
        return [_Layer(None, {"max_min": fence.max_stay_min})]
    return []


def _read(given: Any, where: str, fence: Fence | None) -> dict[str, tuple[_Layer, ...]]:
    """The layers of each rule that ``given`` names."""
    if not isinstance(given, Mapping):
        raise RuleError(
            f'{where}: rules are {_told(given)}; write an object of rule names, such as {{"overpark": true}}'
        )
    found = {}
    for name, entry in given.items():
        rule = rule_of(name)
        if rule is None:
            raise RuleError(
                f"{where}: there is no rule {name!r}; known are {', '.join(str(r.kind) for r in RULES)}"
            )
        found[name] = _entry(rule, entry, f"{where}, rule {name!r}", fence)
    return found


def _entry(rule: Rule, entry: Any, where: str, fence: Fence | None) -> tuple[_Layer, ...]:
    if isinstance(entry, bool):
        return (_Layer(entry, {}),)
    if not isinstance(entry, Mapping):
        raise RuleError(f"{where}: is {_told(entry)}; write true, false or an object of parameters")
    plain = {k: v for k, v in entry.items() if k != "when"}
    values = _values(rule, plain, where, fence)
    layers = [_Layer(True, values)]
    exceptions = entry.get("when", [])
    if not isinstance(exceptions, list):
        raise RuleError(f"{where}: 'when' is {_told(exceptions)}; write a list of exceptions")
    for i, exception in enumerate(exceptions):
        layers.append(_exception(rule, exception, f"{where}, when[{i}]", fence))
    defaults = {p.name: p.default for p in rule.parameters}
    if fence is not None:
        _agree_with_fence(rule, values, where, fence)
    for layer in layers:
        _agree(rule, {**defaults, **values, **layer.values}, where, fence)
    seen: dict[tuple[frozenset[str] | None, str], int] = {}
    for i, layer in enumerate(layers[1:]):
        key = (layer.classes, repr(layer.hours))
        if key in seen:
            raise RuleError(
                f"{where}: when[{i}] has the same classes and hours as when[{seen[key]}]; join them"
            )
        seen[key] = i
    return tuple(layers)


def _exception(rule: Rule, given: Any, where: str, fence: Fence | None) -> _Layer:
    if not isinstance(given, Mapping) or not {"classes", "hours"} & set(given) or "set" not in given:
        raise RuleError(f"{where}: write an object with 'classes', 'hours' or both, and 'set'")
    if unknown := sorted(set(given) - {"classes", "hours", "set"}):
        raise RuleError(f"{where}: has no key {unknown[0]!r}; it has classes, hours, set")
    classes = None
    if "classes" in given:
        named = given["classes"]
        if not isinstance(named, list) or not named or not all(isinstance(c, str) and c for c in named):
            raise RuleError(f"{where}: classes are {_told(named)}; write a list of vehicle classes")
        classes = frozenset(named)
    hours = _hours(given["hours"], where) if "hours" in given else None
    if isinstance(given["set"], bool):
        return _Layer(given["set"], {}, classes, hours)
    if not isinstance(given["set"], Mapping) or not given["set"]:
        raise RuleError(
            f"{where}: 'set' is {_told(given['set'])}; write true, false or an object of parameters"
        )
    values = _values(rule, given["set"], where, fence)
    for name in values:
        parameter = rule.parameter(name)
        if parameter is not None and parameter.fixed:
            raise RuleError(
                f"{where}: {name!r} holds for every vehicle at any hour; write it beside 'when', or "
                "switch the rule on and off in 'set'"
            )
    return _Layer(True, values, classes, hours)


def _values(rule: Rule, given: Mapping[str, Any], where: str, fence: Fence | None) -> dict[str, Any]:
    values = {}
    for name, value in given.items():
        parameter = rule.parameter(name)
        if parameter is None:
            known = ", ".join(p.name for p in rule.parameters) or "none"
            raise RuleError(f"{where}: there is no parameter {name!r}; known are {known}")
        if parameter.only_fence and fence is None:
            raise RuleError(f"{where}: {name!r} belongs to a fence; write it in the fence's property 'rules'")
        if parameter.only_general and fence is not None:
            raise RuleError(f"{where}: {name!r} is said for all fences; write it in the general book")
        values[name] = _value(parameter, value, f"{where}, {name!r}")
    return values


def _value(parameter: Parameter, value: Any, where: str) -> Any:
    if value is None:
        return None
    match parameter.form:
        case "number":
            good = isinstance(value, int | float) and not isinstance(value, bool)
            good = good and abs(value) <= _LARGEST  # JSON knows integers that no float can hold
            if not good or not parameter.low <= value <= parameter.high:
                upper = "" if math.isinf(parameter.high) else f" and at most {parameter.high:g}"
                raise RuleError(
                    f"{where}: is {_told(value)}; give {parameter.unit or 'a number'}, at least "
                    f"{parameter.low:g}{upper}"
                )
            return float(value)
        case "flag":
            if not isinstance(value, bool):
                raise RuleError(f"{where}: is {_told(value)}; write true or false")
            return value
        case "hours":
            return _hours(value, where)
        case "texts":
            if not isinstance(value, list) or not all(isinstance(v, str) and v in _CLASSES for v in value):
                known = ", ".join(sorted(_CLASSES))
                raise RuleError(f"{where}: is {_told(value)}; write a list of UN classes, of {known}")
            return tuple(value)
        case "segments":
            return _segments(value, where)


def _hours(value: Any, where: str) -> Schedule:
    try:
        return Schedule.parse(value)
    except ValueError as error:
        raise RuleError(f"{where}: {error}") from None


def _segments(value: Any, where: str) -> Segments:
    if not isinstance(value, Mapping) or not value:
        raise RuleError(f'{where}: is {_told(value)}; write {{"cp-2": {{"min_min": 5, "max_min": 40}}}}')
    rows = []
    for to, limits in sorted(value.items()):
        if not isinstance(limits, Mapping) or not limits or set(limits) - {"min_min", "max_min"}:
            raise RuleError(f"{where}, to {to!r}: is {_told(limits)}; write min_min, max_min or both")
        for name, limit in limits.items():
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf:
                raise RuleError(f"{where}, to {to!r}: {name} is {_told(limit)}; give minutes above 0")
        low, high = limits.get("min_min"), limits.get("max_min")
        if low is not None and high is not None and low >= high:
            raise RuleError(
                f"{where}, to {to!r}: min_min {low:g} is not below max_min {high:g}; swap or correct them"
            )
        rows.append((to, low, high))
    return tuple(rows)


def _agree(rule: Rule, values: Mapping[str, Any], where: str, fence: Fence | None) -> None:
    """Refuse parameters that contradict one another."""
    general, motorway = values.get("general_kmh"), values.get("motorway_kmh")
    if general is not None and motorway is not None and motorway < general:
        raise RuleError(
            f"{where}: motorway_kmh {motorway:g} is below general_kmh {general:g}; swap or correct them"
        )
    if values.get("night_factor", 1.0) != 1.0 and values.get("night_hours") is None:
        raise RuleError(f"{where}: night_factor without night_hours; say when night is")
    if values.get("night_h") is not None and values.get("night_hours") is None:
        raise RuleError(f"{where}: night_h without night_hours; say when night is")
    continuous, night = values.get("continuous_h"), values.get("night_h")
    if continuous is not None and night is not None and night > continuous:
        raise RuleError(
            f"{where}: night_h {night:g} is above continuous_h {continuous:g}; swap or correct them"
        )
    if str(rule.kind) == "curfew" and fence is not None and values.get("hours") is None:
        raise RuleError(f"{where}: has no 'hours'; say when the fence is closed")


def _agree_with_fence(rule: Rule, values: Mapping[str, Any], where: str, fence: Fence) -> None:
    """Refuse a limit that the fence's own property states differently (an exception may)."""
    own, theirs = {
        "overspeed": ("speed_limit_kmh", "limit_kmh"),
        "overstay": ("max_stay_min", "max_min"),
    }.get(str(rule.kind), ("", ""))
    mine, told = getattr(fence, own, None), values.get(theirs)
    if mine is not None and told is not None and told != mine:
        raise RuleError(
            f"{where}: {theirs} {told:g} contradicts the fence's {own} {mine:g}; keep one of them"
        )


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
