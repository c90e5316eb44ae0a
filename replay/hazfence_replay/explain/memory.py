"""What the rules remembered of a vehicle before the decisive fix, in words, English and Chinese.

You are in the explain room, below ``words.py``. A rule with a memory (``hazfence.states``) judges a fix by
what it kept of those before; :func:`remembered` says that in a line a rule, so that a reader can follow the
step without reading the code. A state that has no sentence here is told by its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from hazfence.states import Drive, Leaning, Motion, OffRoute, Parked, Segment, State, Trust, Unsure, Wavering
from hazfence.vehicles import SpeedRun

__all__ = ["TOLD", "remembered"]

_Time = Callable[[int], str]
_Name = Callable[[str], str]
_Both = tuple[str, str]


def remembered(memory: SpeedRun | State, time: _Time, fence: _Name) -> tuple[_Both, _Both]:
    """What a rule remembers, as (its name, a sentence), each in English and in Chinese.

    Args:
        memory: of one rule, out of ``Engine.memory``.
        time: a moment, microseconds UTC, in words.
        fence: a fence by its id, in words.

    Example:
        >>> memory = Motion(moving=False, since_us=0, lon=121.6, lat=29.9)
        >>> remembered(memory, str, str)[1][0]
        'stands since 0, at 121.600000, 29.900000'
    """
    told = TOLD.get(type(memory))
    if told is None:
        name = getattr(memory, "name", type(memory).__name__)
        fields = ", ".join(f"{field} {value}" for field, value in asdict(memory).items())
        return (name, name), (fields, fields)
    name, sentence = told
    return name, sentence(memory, time, fence)


def _at(memory: Any) -> str:
    return f"{memory.lon:.6f}, {memory.lat:.6f}"


def _speed_run(run: SpeedRun, time: _Time, fence: _Name) -> _Both:
    where, since, last = fence(run.fence_id), time(run.started_us), time(run.last_us)
    return (
        f"over {run.limit_kmh:g} km/h in {where} since {since}, up to {last}; at most {run.max_kmh:g} km/h",
        f"自 {since} 至 {last} 在 {where} 超过 {run.limit_kmh:g} km/h，最高 {run.max_kmh:g} km/h",
    )


def _motion(motion: Motion, time: _Time, fence: _Name) -> _Both:
    since = time(motion.since_us)
    if motion.moving:
        return f"moves since {since}", f"自 {since} 起行驶"
    return f"stands since {since}, at {_at(motion)}", f"自 {since} 起停于 {_at(motion)}"


def _parked(parked: Parked, time: _Time, fence: _Name) -> _Both:
    since, where = time(parked.since_us), fence(parked.fence_id) or "–"
    return f"stands in {where} since {since}, at {_at(parked)}", f"自 {since} 起停于 {where}（{_at(parked)}）"


def _drive(drive: Drive, time: _Time, fence: _Name) -> _Both:
    if drive.since_us is None:
        english, chinese = "nothing known of driving", "无驾驶记录"
    else:
        since = time(drive.since_us)
        english, chinese = f"drives since {since} without a rest", f"自 {since} 起连续驾驶，未休息"
    if drive.rest_us is not None:
        english += f"; does not drive since {time(drive.rest_us)}"
        chinese += f"；自 {time(drive.rest_us)} 起未行驶"
    if drive.past:
        spans = ", ".join(f"{time(a)} – {time(b)}" for a, b in drive.past)
        english += f"; drove before: {spans}"
        chinese += f"；此前驾驶：{spans}"
    for part, moment in drive.limits:
        english += f"; limit {part} reached at {time(moment)}"
        chinese += f"；{time(moment)} 达到限值（{part}）"
    return english, chinese


def _off_route(off: OffRoute, time: _Time, fence: _Name) -> _Both:
    since, where = time(off.since_us), fence(off.fence_id)
    last = (", already said", "，已认定") if off.said else ("", "")
    return (
        f"off the routes in {where} since {since}{last[0]}",
        f"自 {since} 起在 {where} 偏离专用线路{last[1]}",
    )


def _segment(segment: Segment, time: _Time, fence: _Name) -> _Both:
    left, where = time(segment.left_us), fence(segment.fence_id)
    return f"left {where} at {left}, on the way to the next", f"{left} 离开 {where}，驶往下一处"


def _trust(trust: Trust, time: _Time, fence: _Name) -> _Both:
    since = time(trust.since_us)
    if trust.hold is None:
        return f"fixes were in doubt since {since}; that is over", f"自 {since} 起定位点存疑，现已解除"
    held = time(int(trust.hold[0]))
    return (
        f"in doubt ({trust.why}) since {since}, {trust.count} fixes that agree; last trusted: {held}",
        f"自 {since} 起定位点存疑（{trust.why}），相互吻合者 {trust.count} 个；最后可信定位点为 {held}",
    )


def _wavering(wavering: Wavering, time: _Time, fence: _Name) -> _Both:
    english, chinese = [], []
    for border in wavering.borders:
        where, when = fence(border.fence_id), time(border.at_us)
        counts = ("inside", "在内") if border.inside else ("outside", "在外")
        english.append(f"the border of {where} crossed at {when}, not far enough yet: still {counts[0]}")
        chinese.append(f"{when} 越过 {where} 边界但尚未足够深入，仍视为{counts[1]}")
    return "; ".join(english), "；".join(chinese)


def _leaning(leaning: Leaning, _time: _Time, fence: _Name) -> _Both:
    english, chinese = [], []
    words = {
        "certain": ("certainly", "肯定"),
        "probable": ("probably", "很可能"),
        "possible": ("possibly", "可能"),
    }
    for fence_id, sure in leaning.borders:
        where, (how, so) = fence(fence_id), words[sure]
        english.append(
            f"beside the border of {where}, on which side is not sure; {how} no checkpoint passed unseen"
        )
        chinese.append(f"紧邻 {where} 边界，内外未定；{so}未经卡口")
    return "; ".join(english), "；".join(chinese)


def _unsure(unsure: Unsure, time: _Time, fence: _Name) -> _Both:
    where = ", ".join(map(fence, unsure.fences))
    return f"not certain yet that it was in {where}", f"尚不能确定曾进入 {where}"


#: (name of the rule's memory, its sentence), by type.
TOLD: dict[type, tuple[_Both, Callable[[Any, _Time, _Name], _Both]]] = {
    SpeedRun: (("speed", "速度"), _speed_run),
    Motion: (("motion", "动静"), _motion),
    Parked: (("parking", "停车"), _parked),
    Drive: (("driving", "驾驶"), _drive),
    OffRoute: (("route", "线路"), _off_route),
    Segment: (("section", "区间"), _segment),
    Trust: (("trust", "可信度"), _trust),
    Wavering: (("borders", "边界"), _wavering),
    Leaning: (("side", "内外"), _leaning),
    Unsure: (("certainty", "确定性"), _unsure),
}
