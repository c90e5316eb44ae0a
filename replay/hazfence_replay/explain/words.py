"""The explanation in words, English or Chinese: what happened, what the rule asks, its steps, the verdict.

You are in the explain room. :func:`tell` turns evidence and finding into an :class:`Explanation`, plain texts
that the terminal, the page and the file of evidence show alike. The sentences of each rule are in
``phrases.py``. Next rooms: ``picture.py``, ``page.py``, ``bundle.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np

from hazfence.events import Event, Kind, from_iso
from hazfence.rules.catalogue import rule_of
from hazfence_fences import Schedule
from hazfence_replay.explain.derive import Finding, Verdict, parameters
from hazfence_replay.explain.evidence import Evidence
from hazfence_replay.explain.memory import remembered
from hazfence_replay.explain.phrases import REASONS, STEPS, VERDICTS, WORDS

__all__ = ["Explanation", "FixLine", "Language", "tell"]

Language = Literal["en", "zh"]
#: So many fixes are shown around each moment that matters.
_NEAR = 4


@dataclass(frozen=True, slots=True)
class FixLine:
    """One fix for people.

    Attributes:
        time: local.
        lon, lat: degrees WGS-84.
        speed_kmh: empty when unknown.
        fences: those that it lies in, by id.
        note: what is special about it.
    """

    time: str
    lon: float
    lat: float
    speed_kmh: str
    fences: str
    note: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A fact explained; every attribute is text for people, or pairs and rows of it.

    Attributes:
        language: ``en`` or ``zh``.
        title: kind, vehicle and place in a line.
        verdict: a word of `Verdict`.
        said: the verdict in a sentence.
        reasons: why, where it does not come out as said.
        facts: (name, value).
        rule: what the rule asks, and where that comes from.
        parameters: (name, value, unit, meaning).
        fence: (name, value), of the version that was used.
        before: the state before, (name, value).
        steps: the rule's, in order.
        fixes: those around the moments that matter.
        revisions: (number, phase, when known, from, to).
        doubts: what could not be found.
    """

    language: Language
    title: str
    verdict: str
    said: str
    reasons: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    rule: tuple[str, ...]
    parameters: tuple[tuple[str, str, str, str], ...]
    fence: tuple[tuple[str, str], ...]
    before: tuple[tuple[str, str], ...]
    steps: tuple[str, ...]
    fixes: tuple[FixLine, ...]
    revisions: tuple[tuple[str, str, str, str, str], ...]
    doubts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dict."""
        return asdict(self)


def tell(
    evidence: Evidence, finding: Finding, *, language: Language = "en", time_zone: str = "Asia/Shanghai"
) -> Explanation:
    """Put evidence and finding into words.

    Args:
        time_zone: IANA name, for all times.
    """
    return _Teller(evidence, finding, language, ZoneInfo(time_zone)).tell()


class _Teller:
    def __init__(self, evidence: Evidence, finding: Finding, language: Language, zone: ZoneInfo) -> None:
        self.e, self.f, self.language, self.zone = evidence, finding, language, zone
        self.at = 0 if language == "en" else 1
        self.event = evidence.event

    def tell(self) -> Explanation:
        event, rule = self.event, rule_of(str(self.event.kind))
        chinese = "停留" if rule is None else rule.chinese
        name = str(event.kind).replace("_", " ")
        kind = f"{name} {chinese}" if self.language == "en" else f"{chinese} ({event.kind})"
        where = self.fence_name(event.fence_id)
        title = " · ".join(filter(None, (kind, event.vehicle, where)))
        asks = () if rule is None else (rule.english, f"{self.w('source')}: {rule.source}")
        return Explanation(
            language=self.language,
            title=title,
            verdict=str(self.f.verdict),
            said=VERDICTS[self.f.verdict][self.at],
            reasons=tuple(self.reasons()),
            facts=tuple(self.facts()),
            rule=asks,
            parameters=tuple(self.parameters()),
            fence=tuple(self.fence()),
            before=tuple(self.before()),
            steps=tuple(self.steps()),
            fixes=tuple(self.fixes()),
            revisions=tuple(
                (
                    str(r.event.revision),
                    self.w(str(r.event.phase)),
                    self.time(r.known_us),
                    self.time(r.event.started_us),
                    self.time(r.event.ended_us),
                )
                for r in self.e.revisions
            ),
            doubts=self.e.doubts,
        )

    def w(self, word: str) -> str:
        """A word in the language asked for."""
        return WORDS[word][self.at]

    def time(self, moment: int | str | None) -> str:
        """Local time, to the second, with tenths where there are any."""
        if moment is None:
            return ""
        us = from_iso(moment) if isinstance(moment, str) else moment
        when = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(microseconds=us)
        local = when.astimezone(self.zone)
        tenths = local.microsecond // 100_000
        return f"{local:%Y-%m-%d %H:%M:%S}" + (f".{tenths}" if tenths else "")

    def fence_name(self, fence_id: str | None) -> str:
        if fence_id is None:
            return ""
        known = fence_id in self.e.fences and self.e.fences[fence_id].name
        return f"{fence_id} ({known})" if known else fence_id

    def facts(self) -> list[tuple[str, str]]:
        event = self.event
        found = [
            (self.w("event"), event.id),
            (self.w("vehicle"), event.vehicle),
            (self.w("fence"), self.fence_name(event.fence_id)),
            (self.w("severity"), str(event.severity)),
            (self.w("phase"), self.w(str(event.phase))),
            (self.w("from"), self.time(event.started_us)),
            (self.w("to"), self.time(event.ended_us) if event.ended_us is not None else self.w("goes on")),
            (self.w("place"), f"{event.lon:.6f}, {event.lat:.6f}"),
        ]
        if event.ended_us is not None and event.ended_us > event.started_us:
            found.insert(7, (self.w("lasted"), self.lasted(event)))
        return [pair for pair in found if pair[1]]

    def lasted(self, event: Event) -> str:
        if event.ended_us is None:
            return self.w("goes on")
        seconds = round((event.ended_us - event.started_us) / 1e6)
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def parameters(self) -> list[tuple[str, str, str, str]]:
        rule, values = rule_of(str(self.event.kind)), parameters(self.e)
        if rule is None:
            return []
        return [
            (p.name, self.value(values[p.name]), p.unit, p.meaning)
            for p in rule.parameters
            if p.name in values and values[p.name] is not None
        ]

    def value(self, value: Any) -> str:
        if isinstance(value, Schedule):
            return str(value.to_json())
        if isinstance(value, float):
            return f"{value:g}"
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def fence(self) -> list[tuple[str, str]]:
        fence = self.e.fence
        if fence is None:
            return []
        now = next((f for f in self.e.fences_now if f.id == fence.id), None)
        state = self.w("in force now") if now is not None and now.version == fence.version else (
            self.w("not in force now") if now is None else f"{self.w('now version')} {now.version}"
        )  # fmt: skip
        found = [
            (self.w("fence"), self.fence_name(fence.id)),
            (self.w("version"), f"{fence.version} ({state})"),
            (self.w("kind"), str(fence.kind)),
            (self.w("shape"), fence.shape),
        ]
        if fence.radius_m is not None:
            found.append((self.w("radius"), f"{fence.radius_m:g} m"))
        if fence.width_m is not None:
            found.append((self.w("width"), f"{fence.width_m:g} m"))
        if fence.speed_limit_kmh is not None:
            found.append((self.w("speed limit"), f"{fence.speed_limit_kmh:g} km/h"))
        if fence.max_stay_min is not None:
            found.append((self.w("longest stay"), f"{fence.max_stay_min:g} min"))
        if fence.schedule is not None:
            found.append((self.w("in force"), str(fence.schedule.to_json())))
        return found

    def before(self) -> list[tuple[str, str]]:
        before = self.f.derived.before
        if before is None:
            return []
        found = []
        if len(before.last):
            row = self.fix_line(before.last, 0, "")
            found.append(
                (self.w("last fix"), f"{row.time}  {row.lon:.6f}, {row.lat:.6f}  {row.speed_kmh}".rstrip())
            )
        else:
            found.append((self.w("last fix"), self.w("none")))
        found.append((self.w("inside"), ", ".join(before.inside) or self.w("no fence")))
        for event in before.going_on:
            since = f"{self.fence_name(event.fence_id)} {self.w('since')} {self.time(event.started_us)}"
            found.append((self.w("going on"), f"{event.kind} {since}"))
        for memory in before.memory:
            name, told = remembered(memory, self.time, self.fence_name)
            found.append((f"{self.w('remembered')}: {name[self.at]}", told[self.at]))
        return found

    def steps(self) -> list[str]:
        """What was read, the rule's own sentences, and how it was said."""
        event = self.event
        known = _Known(self.numbers())
        n = len(self.e.fixes)
        earlier = int((self.e.fixes.time_us < event.started_us).sum())
        span = f"{self.time(self.e.since_us)} – {self.time(self.e.until_us)}"
        read = (
            f"{n} fixes of {span} were read, {earlier} of them from before it began.",
            f"读取了 {span} 的 {n} 个定位点，其中 {earlier} 个早于事件开始。",
        )
        found = [read[self.at]] if n else []
        for condition, *sentence in STEPS[str(event.kind)]:
            if condition is None or condition(event, self.e):
                found.append(sentence[self.at].format_map(known))
        decisive = self.f.derived.decisive
        if decisive is not None:
            row = self.fix_line(self.e.fixes, decisive, "")
            rule = rule_of(str(event.kind))
            silence = rule is not None and rule.silence
            said = (
                f"The fix of {row.time} tipped the scales"
                + ("; without it, passing time alone would have." if silence else "."),
                f"据 {row.time} 的定位点认定" + ("；若无该点，时间届满亦会认定。" if silence else "。"),
            )
            found.append(said[self.at])
        if self.e.revisions:
            first, last = self.e.revisions[0], self.e.revisions[-1]
            known_at = (
                f"It became known at {self.time(first.known_us)} (revision {first.event.revision})"
                + (
                    f"; the latest of {len(self.e.revisions)} revisions at {self.time(last.known_us)}."
                    if len(self.e.revisions) > 1
                    else "."
                ),
                f"首次记录于 {self.time(first.known_us)}（第 {first.event.revision} 版）"
                + (
                    f"，共 {len(self.e.revisions)} 版，最新于 {self.time(last.known_us)}。"
                    if len(self.e.revisions) > 1
                    else "。"
                ),
            )
            found.append(known_at[self.at])
        return found

    def numbers(self) -> dict[str, Any]:
        """What the sentences of ``phrases.py`` may name."""
        event, detail = self.event, dict(self.event.detail)
        values = {**parameters(self.e), **{k: v for k, v in detail.items() if v is not None}}
        found: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, str):
                try:
                    found[name] = self.time(value) if "T" in value and value.endswith("Z") else value
                except ValueError:
                    found[name] = value
            elif isinstance(value, list) and value and all(isinstance(v, str) for v in value):
                times = all(v.endswith("Z") for v in value)
                found[name] = " – ".join(map(self.time, value)) if times else ", ".join(value)
            else:
                found[name] = self.value(value)
        direction = detail.get("direction")
        fence_of = {"nearest_checkpoint", "from", "to", "entry_gate"}
        found |= {k: self.fence_name(detail[k]) for k in fence_of if isinstance(detail.get(k), str)}
        return {
            **found,
            "vehicle": event.vehicle,
            "fence": self.fence_name(event.fence_id) or self.w("no fence"),
            "start": self.time(event.started_us),
            "end": self.time(event.ended_us) if event.ended_us is not None else self.w("goes on"),
            "lasted": self.lasted(event),
            "direction": self.w(direction) if direction in ("in", "out") else "",
            "entry_how": self.edge("entry"),
            "exit_how": self.edge("exit"),
            "over": ", ".join(self.over()),
        }

    def edge(self, name: str) -> str:
        how = self.event.detail.get(name)
        return self.w(f"edge {how}") if isinstance(how, str) and f"edge {how}" in WORDS else str(how or "?")

    def over(self) -> list[str]:
        """The fixes over a speed limit within the fact: time and km/h, ten at most."""
        fixes, event = self.e.fixes, self.event
        end_us = event.ended_us if event.ended_us is not None else 2**62
        rows = np.flatnonzero((fixes.time_us >= event.started_us) & (fixes.time_us <= end_us)).tolist()
        told = [f"{self.time(int(fixes.time_us[i]))[11:]} {float(fixes.speed_kmh[i]):.0f}" for i in rows]
        return told if len(told) <= 10 else [*told[:9], f"… ({len(told)})"]

    def fixes(self) -> list[FixLine]:
        """The fixes around beginning and end, those it rests on, and the one that tipped the scales."""
        fixes, event = self.e.fixes, self.event
        if not len(fixes):
            return []
        notes: dict[int, list[str]] = {}
        wanted: set[int] = set()
        for moment, word in ((event.started_us, "begins"), (event.ended_us, "ends")):
            if moment is None or (word == "ends" and moment == event.started_us):
                continue
            at = int(np.searchsorted(fixes.time_us, moment))
            wanted |= set(range(max(0, at - _NEAR), min(len(fixes), at + _NEAR)))
            if at < len(fixes):
                same = int(fixes.time_us[at]) == moment
                notes.setdefault(at, []).append(self.w(word if same else f"{word} before"))
        named = np.array([from_iso(at) for at in event.detail.get("fixes") or ()], np.int64)
        for i in np.flatnonzero(np.isin(fixes.time_us, named)).tolist():
            wanted.add(i)
            notes.setdefault(i, []).append(self.w("named"))
        if self.f.derived.decisive is not None:
            wanted.add(self.f.derived.decisive)
            notes.setdefault(self.f.derived.decisive, []).append(self.w("decisive"))
        late = self.f.derived.late
        return [
            self.fix_line(
                fixes, i, ", ".join([*notes.get(i, ()), *([self.w("came late")] if late[i] else [])])
            )
            for i in sorted(wanted)
        ]

    def fix_line(self, fixes: Any, i: int, note: str) -> FixLine:
        lon, lat, speed = float(fixes.lon[i]), float(fixes.lat[i]), float(fixes.speed_kmh[i])
        # Said only where something may follow from it.
        wrong_m = math.nan if fixes.accuracy_m is None else float(fixes.accuracy_m[i])
        if wrong_m > self.e.settings.settle_m:
            note = ", ".join(filter(None, (note, f"{self.w('may be wrong by')} {wrong_m:.0f} m")))
        inside = [f.id for f in self.e.fences if f.covers(lon, lat)]
        return FixLine(
            self.time(int(fixes.time_us[i])),
            lon,
            lat,
            "" if math.isnan(speed) else f"{speed:.0f} km/h",
            ", ".join(inside),
            note,
        )

    def reasons(self) -> list[str]:
        told = []
        for why, details in self.f.reasons:
            told.append(self.reason(why, details))
        for name, was, now in self.f.differences:
            told.append(
                (
                    f"{name}: stored {_short(was)}, now {_short(now)}",
                    f"{name}：存储为 {_short(was)}，重算为 {_short(now)}",
                )[self.at]
            )
        if self.f.now is not None:
            told.append(VERDICTS[f"now {self.f.now}"][self.at])
            told += [self.reason(why, details) for why, details in self.f.now_reasons]
        elif self.f.verdict is not Verdict.UNKNOWN and self.event.kind is not Kind.PAPER_EXPIRING:
            told.append(VERDICTS["now same"][self.at])
        return told

    def reason(self, why: str, details: Mapping[str, Any]) -> str:
        values = dict(details)
        for name in ("oldest", "last"):
            if name in values:
                values[name] = self.time(values[name]) or self.w("none")
        if "times" in values:
            values["times"] = ", ".join(self.time(t) for t in values["times"])
        if "fence" in values:
            values["fence"] = self.fence_name(values["fence"])
        return REASONS[why][self.at].format_map(_Known(values))


class _Known(dict[str, Any]):
    """What a sentence may name; what is not known is told so, instead of failing."""

    def __missing__(self, key: str) -> str:
        return "?"


def _short(value: Any) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
