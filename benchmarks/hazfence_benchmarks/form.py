"""The one form of what was measured: a `Figure` a measured thing, a `Result` a run; both to and from JSON.

You are at the bottom of the benchmarks. Every suite gives figures (``plan.py`` helps to take them), the
table, the report, ``compare`` and ``size`` read nothing else. A figure keeps all its repeats, so that a
later reader can judge the noise; medians, quartiles and ratios are worked out from them and written into
the JSON beside them, for readers that do not want to.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from hazfence_benchmarks.machine import same_machine

__all__ = ["FORM", "OURS", "BadResult", "Figure", "Result"]

#: The way of this project; every other way is a peer, or a limit.
OURS = "hazfence"
#: Number of the JSON form; raised when a reader of the old form would go wrong.
FORM = 1


class BadResult(ValueError):
    """A file is not a saved result; the text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing: so much of it, each time it was repeated.

    Attributes:
        suite: which suite measured it, a name out of the register.
        workload: on what, such as ``C10k uniform``.
        what: the measured thing, such as ``locate``; with suite, workload, way and x it names the figure.
        way: who did it: ``hazfence``, or the name of a peer.
        unit: of the values, such as ``points/s``, ``ms`` or ``bytes``.
        values: one a repeat, in the order of the rounds; ways measured in the same rounds pair up.
        n: items a repeat, such as points a call; 0 where it has no meaning.
        better: whether ``more`` or ``less`` is better.
        clock: ``cpu`` (processor time of this process), ``wall``, or ``none`` where no time was taken.
        x, x_name: what grows along a curve, such as 10000 ``fences``; None where there is no curve.
        checked, wrong: answers compared with the exact ones before measuring, and how many differed.
        wall: the values by the wall clock, where ``clock`` is ``cpu``: for peers that have only that.
        skipped: why it was not measured; then there are no values.
        note: anything a reader must know, in a sentence.

    Example:
        >>> Figure("match", "A uniform", "locate", OURS, "points/s", (90.0, 110.0, 100.0)).median
        100.0
    """

    suite: str
    workload: str
    what: str
    way: str
    unit: str
    values: tuple[float, ...] = ()
    n: int = 0
    better: Literal["more", "less"] = "more"
    clock: Literal["cpu", "wall", "none"] = "none"
    x: float | None = None
    x_name: str | None = None
    checked: int = 0
    wrong: int = 0
    wall: tuple[float, ...] = ()
    skipped: str = ""
    note: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether this project did it: as always, or in a way told behind a comma (``hazfence, ...``)."""
        return self.way.partition(",")[0] == OURS

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.skipped):
            raise ValueError(f"{self.name}: a figure has values, or says why it was skipped")
        if not np.isfinite(self.values).all():
            raise ValueError(f"{self.name}: values must be finite numbers, not {self.values}")

    @property
    def name(self) -> str:
        """Suite, workload, what and way, and the place on the curve: the same in every run."""
        at = "" if self.x is None else f" @ {self.x:g} {self.x_name}"
        return f"{self.suite} / {self.workload} / {self.what}{at} / {self.way}"

    @property
    def subject(self) -> tuple[str, str, str, float | None]:
        """What ways have in common that can be set beside each other."""
        return (self.suite, self.workload, self.what, self.x)

    @property
    def median(self) -> float:
        """Of the values."""
        return float(np.median(self.values))

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and third of the values."""
        low, high = np.quantile(self.values, (0.25, 0.75))
        return float(low), float(high)

    @property
    def mad(self) -> float:
        """Median distance of the values from their median: a spread that one bad round does not move."""
        return float(np.median(np.abs(np.array(self.values) - self.median)))

    def times_better(self, other: Figure) -> float:
        """How many times better than ``other``, a figure of the same subject and unit.

        Where both were repeated as often, the rounds are paired, so that what slowed a round slows both
        sides of it: the median of the ratios; else the ratio of the medians. What is told by the wall clock
        is set beside our own wall clock: others on the machine slow both.
        """
        mine, theirs = np.array(self.values), np.array(other.values)
        if other.clock == "wall" and self.wall:
            mine = np.array(self.wall)
        if len(mine) != len(theirs):
            mine, theirs = np.median(mine, keepdims=True), np.median(theirs, keepdims=True)
        over, under = (mine, theirs) if self.better == "more" else (theirs, mine)
        return float(np.median(over / np.where(under == 0, np.nan, under)))

    def to_json(self) -> dict[str, Any]:
        """The fields, and what follows from them: median, quartiles, mad."""
        always = ("workload", "what", "unit")
        out = {k: v for k, v in asdict(self).items() if v not in (None, "", ()) or k in always}
        for name in ("values", "wall"):
            if name in out:
                out[name] = [_short(value) for value in out[name]]
        if self.values:
            q1, q3 = self.quartiles
            more = {"median": self.median, "q1": q1, "q3": q3, "mad": self.mad}
            out |= {name: _short(value) for name, value in more.items()}
        return out

    @classmethod
    def from_json(cls, obj: dict[str, Any]) -> Self:
        """The figure again; unknown keys are passed over.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        known = {f.name for f in fields(cls)}
        lists = {name: tuple(obj.get(name, ())) for name in ("values", "wall")}
        return cls(**{k: v for k, v in obj.items() if k in known} | lists)


def _short(value: float) -> float:
    """Six figures that count: more would only be noise in a file."""
    return float(f"{value:.6g}")


@dataclass(frozen=True, slots=True)
class Result:
    """A run of one or more suites on one machine.

    Attributes:
        figures: in the order of measuring.
        machine: what it was measured on, see ``machine.describe``.
        yardstick: what the machine itself can do, see ``yardstick.measure``.
        version: of hazfence.
        began: ISO time, UTC.
        took_s: seconds of the whole run.
        size: ``tiny``, ``quick`` or ``full``.
        seed: of everything random.
        command: what was typed.
        suites_s: seconds each suite took, servers it was the first to need included.
    """

    figures: tuple[Figure, ...]
    machine: dict[str, Any]
    yardstick: dict[str, float] = field(default_factory=dict)
    version: str = ""
    began: str = ""
    took_s: float = 0.0
    size: str = "full"
    seed: int = 1
    command: str = ""
    suites_s: dict[str, float] = field(default_factory=dict)

    def ours_for(self, figure: Figure) -> Figure | None:
        """Our figure of the same subject, if it was measured."""
        same = (f for f in self.figures if f.subject == figure.subject and f.way == OURS and f.values)
        return next(same, None)

    def ratio(self, figure: Figure) -> float | None:
        """How many times better we are than this peer; None for our own figures and skipped ones."""
        ours = self.ours_for(figure)
        if ours is None or figure.way == OURS or not figure.values or ours.unit != figure.unit:
            return None
        return ours.times_better(figure)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; each peer's figure carries ``ours_times_better``."""
        rows = []
        for figure in self.figures:
            row, ratio = figure.to_json(), self.ratio(figure)
            if ratio is not None:
                row["ours_times_better"] = _short(ratio)
            rows.append(row)
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "figures"}
        return {"form": FORM, **rest, "figures": rows}

    @classmethod
    def from_json(cls, obj: Any, source: str = "the result") -> Self:
        """The result again.

        Raises:
            BadResult: it is none, or of a later form.
        """
        if not isinstance(obj, dict) or "figures" not in obj or "form" not in obj:
            raise BadResult(f"{source} is not a result of hazfence bench; make one with: "
                            "hazfence bench all --quick --save RESULT.json")  # fmt: skip
        if obj["form"] != FORM:
            raise BadResult(f"{source} has form {obj['form']}, this release reads {FORM}; measure again")
        try:
            figures = tuple(Figure.from_json(row) for row in obj["figures"])
            known = {f.name for f in fields(cls)} - {"figures"}
            return cls(figures, **{k: v for k, v in obj.items() if k in known})
        except (KeyError, TypeError, ValueError) as error:
            raise BadResult(f"{source} is damaged ({error}); measure again") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a saved result.

        Raises:
            BadResult: it cannot be read, or is none.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")), str(path))
        except OSError as error:
            raise BadResult(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            if isinstance(error, BadResult):
                raise
            raise BadResult(f"{path} is not JSON ({error})") from error

    def save(self, path: str | Path) -> None:
        """Write it, so that `load` reads it: a line a figure, for those who compare versions of a file."""
        found = self.to_json()
        figures = ",\n".join(json.dumps(row, ensure_ascii=False) for row in found.pop("figures"))
        head = json.dumps(found, ensure_ascii=False)[:-1]
        Path(path).write_text(f'{head}, "figures": [\n{figures}\n]}}\n', encoding="utf-8")

    def joined(self, other: Self) -> Self:
        """This result and a later one of the same kind of machine as one; what both measured is the later's.

        Raises:
            BadResult: they are of different machines.
        """
        if not same_machine(self.machine, other.machine):
            raise BadResult("results of different machines cannot be joined: report each by itself")
        newer = {figure.name for figure in other.figures}
        kept = [figure for figure in self.figures if figure.name not in newer]
        busy = ("others_busy", "others_busy_after")
        most = {key: max(self.machine.get(key, 0.0), other.machine.get(key, 0.0)) for key in busy}
        suites = list(dict.fromkeys(f.suite for f in (*self.figures, *other.figures)))
        return replace(
            other,
            figures=tuple(sorted([*kept, *other.figures], key=lambda f: suites.index(f.suite))),
            machine=other.machine | most,
            took_s=round(self.took_s + other.took_s, 1),
            suites_s={s: self.suites_s.get(s, 0.0) + other.suites_s.get(s, 0.0) for s in suites},
            command=f"{self.told_command}\n{other.told_command}",
            size=self.size if self.size == other.size else f"{self.size}, {other.size}",
        )

    @property
    def told_command(self) -> str:
        """What was typed and how long it took, for a shell; of a joined result a line a run."""
        return self.command if "\n" in self.command else f"{self.command}  # {self.took_s:.0f} s"

    def of_suite(self, suite: str) -> tuple[Figure, ...]:
        """The figures of one suite."""
        return tuple(f for f in self.figures if f.suite == suite)

    def find(self, suite: str, what: str, way: str = OURS, **fits: Any) -> Figure | None:
        """The last measured figure that fits, None without one; ``fits`` are more fields and values."""
        found = [
            f
            for f in self.figures
            if (f.suite, f.what, f.way) == (suite, what, way)
            and f.values
            and all(getattr(f, k) == v for k, v in fits.items())
        ]
        return found[-1] if found else None

    def suites(self) -> list[str]:
        """Names of the suites, in the order of measuring."""
        return list(dict.fromkeys(f.suite for f in self.figures))
