"""Every threshold of the core, in one frozen object with units in the names.

You are on the lowest floor of the core. The core reads no environment: a program builds an
:class:`EngineSettings` (the worker from ``HAZFENCE_*`` variables, a test by hand) and passes it
in. Limits that belong to a place (speed, stay) are properties of the fences, not settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hazfence.rules.book import Rulebook

__all__ = ["EngineSettings"]

_YEAR_2010_US = 1_262_304_000_000_000
_YEAR_2090_US = 3_786_912_000_000_000


#: Of seconds, metres, km/h: thirty years, and far from where a sum of microseconds would overflow.
_LARGEST, _LARGEST_US = 1e9, 2**62


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Thresholds of cleaning and of the rules.

    Attributes:
        earliest_us: a fix before this moment has a broken clock (microseconds UTC).
        latest_us: a fix after this moment has a broken clock (microseconds UTC).
        max_ahead_s: how far a fix may be ahead of the moment its message was put on the topic.
        max_behind_h: how far a fix may be behind that moment, hours; 0 for any. A terminal whose clock was
            reset sends fixes of years ago. More than any store-and-forward takes (720 is a month), and 0
            where old tracks are sent to the topic on purpose.
        max_accuracy_m: a fix that may be wrong by more than this, as its receiver says (``accuracy_m``, HDOP,
            satellites), is set aside; 0 for none. A passage through a checkpoint, 150 m wide, cannot be told
            by one that is wrong by as much; 100 is an HDOP of 10.
        max_gap_s: two fixes farther apart than this do not witness what happened between them:
            no passage and no gate bypass is concluded from such a segment, an overspeed ends.
        gate_tolerance_m: a district border crossing this near to a checkpoint counts as made
            through it. Covers GPS error (at most 15 m) and the cut corner of a curved road
            between two fixes 30 s apart (about 110 m at 80 km/h on a radius of 500 m).
        top_speed_kmh: no vehicle drives faster between two fixes; see ``hazfence.rules.prism``. A truck
            with hazardous goods may drive 80 (2019 No. 29, Art. 46); half as much again is out of reach.
        recent_s: how long before its vehicle's last fix a late one may be and still be judged, from
            memory (about 50 bytes a fix of that time); what is later is set aside. 0 sets every late
            fix aside.
        recall_h: how long before its vehicle's last fix one may be that comes too late for the memory and
            still be judged, from the history that the host keeps (see ``Engine.recall``); 0 for a host
            that keeps none. The worker sets 24.
        settle_m: a border counts as crossed once a fix lies farther from it than this, or than the fix itself
            says that it may be wrong, if that is more. Positions are wrong by at most 15 m (GB/T 35658).
            0 counts every crossing at once, and takes every position as it is.
        settle_s: or once the vehicle has been on the other side for this long, however near.
        overspeed_for_s: speed must stay over the limit for longer than this.
        overspeed_margin_kmh: measuring tolerance on top of the limit (terminals: 2 m/s at most).
        rules: which rules are on, and their parameters; see ``hazfence.rules.book``. What the book
            does not say of ``gate_bypass``, ``restricted_entry`` and ``overspeed`` is taken from the
            fields above.

    Raises:
        ValueError: a value that makes no sense, named.
    """

    earliest_us: int = _YEAR_2010_US
    latest_us: int = _YEAR_2090_US
    max_ahead_s: float = 300.0
    max_behind_h: float = 0.0
    max_accuracy_m: float = 100.0
    max_gap_s: float = 300.0
    gate_tolerance_m: float = 200.0
    top_speed_kmh: float = 120.0
    recent_s: float = 600.0
    settle_m: float = 15.0
    settle_s: float = 600.0
    recall_h: float = 0.0
    overspeed_for_s: float = 20.0
    overspeed_margin_kmh: float = 0.0
    rules: Rulebook = field(default_factory=Rulebook)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "rules":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"EngineSettings.{one.name} must be a number >= 0, not {value!r:.40}")
            largest = _LARGEST_US if one.name.endswith("_us") else _LARGEST
            if value > largest:
                raise ValueError(f"EngineSettings.{one.name} must be at most {largest:g}, not {value!r:.40}")
        if self.earliest_us >= self.latest_us:
            raise ValueError("EngineSettings.earliest_us must be before latest_us")

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON-able dict."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**plain, "rules": self.rules.to_json()}

    def rule_defaults(self) -> dict[str, dict[str, Any]]:
        """What the fields say about rules, by rule and parameter, below what ``rules`` says."""
        return {
            "gate_bypass": {"tolerance_m": self.gate_tolerance_m, "top_speed_kmh": self.top_speed_kmh},
            "restricted_entry": {"top_speed_kmh": self.top_speed_kmh},
            "overspeed": {"for_s": self.overspeed_for_s, "margin_kmh": self.overspeed_margin_kmh},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EngineSettings:
        """Settings from a dict such as :meth:`to_json` gives; missing keys keep their defaults.

        Raises:
            ValueError: an unknown key, or a value out of its range.
        """
        if not isinstance(data, Mapping):
            raise ValueError(
                f"engine settings are {type(data).__name__}; write an object of names and values"
            )
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"unknown engine setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
        if "rules" in data:
            data = {**data, "rules": Rulebook(data["rules"])}
        return cls(**data)
