"""Two results side by side: did this release get slower, or was the machine busy? ``hazfence bench compare``.

The test of a figure, A the older and B the newer result:

1. *Change*: how many times better B's median is than A's (below 1: worse).
2. *Drift*: how much the machine changed meanwhile, told by what no release changes: the median change of
   the in-process peers measured in the same rounds, or of the yardstick where there are none. Figures that
   no clock took (bytes, counts) have none.
3. *Effect*: the change, and the change divided by the drift; whichever is nearer to 1 counts, and if they
   point to different sides the effect is 1. So a slower machine alone is no slower release, and a peer that
   was disturbed alone is none either. On machines of different kinds only the divided one counts.
4. *Threshold*: 5 % (20 % on different machines), or three times the standard errors of both medians (from
   the median absolute deviation), whichever is more.
5. *Verdict*: ``same`` within the threshold; beyond it ``better`` or ``worse`` if an exact two-sided
   Mann-Whitney U test [1] of the repeats, B's scaled to the effect, says p < 0.01, else ``unsure``, as with
   fewer than five repeats: measure again with more. Figures without a clock need no test. More wrong
   answers are ``wrong``.

[1] H. B. Mann, D. R. Whitney, On a test of whether one of two random variables is stochastically larger
than the other, Annals of Mathematical Statistics 18 (1947); scipy's implementation is used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from hazfence_benchmarks.form import Figure, Result
from hazfence_benchmarks.machine import same_machine
from hazfence_benchmarks.table import machine_line, number

__all__ = ["Change", "Verdict", "compare", "main"]

Verdict = Literal["better", "same", "worse", "unsure", "wrong"]

_P = 0.01
_THRESHOLD, _OTHER_MACHINE = 0.05, 0.20
_ENOUGH = 5  # repeats on either side
_NORMAL = 1.4826  # median absolute deviation to standard deviation, for a normal distribution
_MEDIAN_ERROR = 1.2533  # standard error of a median to that of a mean, for a normal distribution
_STICKS = ("copy_gb_per_s", "least_mpoints_per_s", "python_mcalls_per_s")


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one figure.

    Attributes:
        name: of the figure.
        unit: of its medians.
        before, after: medians.
        change, drift, effect, threshold: see the module; times better, and a share.
        p: of the Mann-Whitney test; None where there was nothing to test.
        verdict: the end of it.
    """

    name: str
    unit: str
    before: float
    after: float
    change: float
    drift: float
    effect: float
    threshold: float
    p: float | None
    verdict: Verdict


def compare(before: Result, after: Result, *, threshold: float | None = None) -> list[Change]:
    """Judge our figures that both results have, in the order of the newer one.

    Args:
        before, after: the older and the newer result.
        threshold: share of change to let pass; 5 % without it, 20 % on different machines.
    """
    alike = same_machine(before.machine, after.machine)
    least = threshold if threshold is not None else _THRESHOLD if alike else _OTHER_MACHINE
    old = {figure.name: figure for figure in before.figures if figure.values}
    stick = _stick_drift(before.yardstick, after.yardstick)
    return [
        _judge(old[new.name], new, _drift(before, after, new, stick), least, alike)
        for new in after.figures
        if new.is_ours and new.values and new.name in old and old[new.name].unit == new.unit
    ]


def _judge(old: Figure, new: Figure, drift: float, least: float, alike: bool) -> Change:
    timed = new.clock != "none"
    change = _times_better(new, new.median, old.median)
    drift = drift if timed else 1.0
    effect = _effect(change, drift, alike)
    noise = 3 * float(np.hypot(_error(old), _error(new))) if timed else 0.0
    threshold = max(least, noise)
    p = None
    if timed and min(len(old.values), len(new.values)) >= _ENOUGH:
        scale = effect / change if new.better == "more" else change / effect
        p = _p(old.values, [value * scale for value in new.values])
    verdict: Verdict
    if new.wrong > old.wrong:
        verdict = "wrong"
    elif 1 / (1 + threshold) <= effect <= 1 + threshold:
        verdict = "same"
    elif timed and (p is None or p >= _P):
        verdict = "unsure"
    else:
        verdict = "better" if effect > 1 else "worse"
    return Change(new.name, new.unit, old.median, new.median, change, drift, effect, threshold, p, verdict)


def _times_better(figure: Figure, new: float, old: float) -> float:
    """How many times better the new value is; the same where both are 0."""
    over, under = (new, old) if figure.better == "more" else (old, new)
    return 1.0 if over == under else over / under if under else float("inf")


def _effect(change: float, drift: float, alike: bool) -> float:
    cleaned = change / drift
    if not alike:
        return cleaned
    if (change - 1) * (cleaned - 1) <= 0:
        return 1.0
    return min(change, cleaned, key=lambda ratio: abs(np.log(max(ratio, 1e-12))))


def _error(figure: Figure) -> float:
    """Standard error of the median, as a share of it."""
    if len(figure.values) < 2 or figure.median == 0:
        return 0.0
    return _MEDIAN_ERROR * _NORMAL * figure.mad / abs(figure.median) / float(np.sqrt(len(figure.values)))


def _p(old: Sequence[float], new: Sequence[float]) -> float:
    from scipy.stats import mannwhitneyu

    method = "exact" if len({*old, *new}) == len(old) + len(new) else "asymptotic"
    return float(mannwhitneyu(old, new, alternative="two-sided", method=method).pvalue)


def _drift(before: Result, after: Result, figure: Figure, stick: float) -> float:
    """How many times better the machine did what no release changes."""
    old = {peer.name: peer for peer in before.figures if peer.values}
    changes = [
        _times_better(peer, peer.median, old[peer.name].median)
        for peer in after.figures
        if peer.subject == figure.subject
        and not peer.is_ours
        and peer.values
        and peer.clock == "cpu"
        and peer.name in old
    ]
    return float(np.median(changes)) if changes else stick


def _stick_drift(before: dict[str, float], after: dict[str, float]) -> float:
    ratios = [after[key] / before[key] for key in _STICKS if before.get(key) and after.get(key)]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """``hazfence bench compare A.json B.json``; exit code 0 unless ``--fail`` asks for more."""
    parser = argparse.ArgumentParser(
        prog="hazfence bench compare",
        description=(__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", metavar="A.json", help="the older result")
    parser.add_argument("after", metavar="B.json", help="the newer result")
    parser.add_argument("--threshold", type=float, metavar="PERCENT", help="change to let pass")
    parser.add_argument("--all", action="store_true", help="also what stayed the same")
    parser.add_argument("--fail", action="store_true", help="exit code 1 where something is worse or wrong")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(argv)
    if given.threshold is not None and given.threshold <= 0:
        parser.error("--threshold must be above 0")
    before, after = Result.load(given.before), Result.load(given.after)
    share = None if given.threshold is None else given.threshold / 100
    changes = compare(before, after, threshold=share)
    counts = {verdict: sum(c.verdict == verdict for c in changes) for verdict in _WORDS}
    if given.json:
        found = {"counts": counts, "changes": [asdict(change) for change in changes]}
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        _show(before, after, changes, counts, everything=given.all)
    return int(given.fail and counts["worse"] + counts["wrong"] > 0)


_WORDS: dict[str, str] = {
    "wrong": "bold red",
    "worse": "red",
    "unsure": "yellow",
    "better": "green",
    "same": "",
}


def _show(
    before: Result, after: Result, changes: list[Change], counts: dict[str, int], *, everything: bool
) -> None:
    console = Console(width=None if Console().is_terminal else 150, highlight=False)
    for name, result in (("before", before), ("after", after)):
        console.print(
            f"{name}: {result.version}, {result.began}, {machine_line(result.machine)}", markup=False
        )
    if not same_machine(before.machine, after.machine):
        console.print("different machines: only what is left after the drift counts")
    table = Table(box=None, pad_edge=False)
    for head in ("figure", "before", "after", "change", "drift", "effect", "needs", "p", "verdict"):
        table.add_column(head, justify="left" if head == "figure" else "right")
    shown = [c for c in changes if everything or c.verdict != "same"]
    for c in sorted(shown, key=lambda c: list(_WORDS).index(c.verdict)):
        p = "" if c.p is None else f"{c.p:.3f}"
        row: tuple[Any, ...] = (
            c.name, f"{number(c.before)} {c.unit}", f"{number(c.after)} {c.unit}", _percent(c.change),
            _percent(c.drift), _percent(c.effect), f"±{c.threshold:.0%}", p, c.verdict,
        )  # fmt: skip
        table.add_row(*row, style=_WORDS[c.verdict])
    if shown:
        console.print(table)
    console.print(", ".join(f"{count} {word}" for word, count in counts.items()) + f", of {len(changes)}")


def _percent(ratio: float) -> str:
    """Times better as per cent: +10 % is better by a tenth."""
    return f"{ratio - 1:+.1%}"
