"""The sentences of ``words.py``, each in English and Chinese.

You are in the explain room. ``STEPS`` has the steps of each kind in order: a condition (None: always), and
the sentence; names in braces are those of the event's detail, the rule's parameters, and of
``words._Teller.numbers``. A new kind of event needs an entry here, which a test sees to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hazfence.events import Event
    from hazfence_replay.explain.evidence import Evidence

__all__ = ["REASONS", "STEPS", "VERDICTS", "WORDS"]

Condition = Callable[["Event", "Evidence"], bool] | None
Step = tuple[Condition, str, str]


def _has(name: str) -> Condition:
    return lambda event, _: event.detail.get(name) is not None


def _is(name: str, value: str) -> Condition:
    return lambda event, _: event.detail.get(name) == value


def _part(part: str) -> Condition:
    return lambda event, _: event.detail.get("part", "") == part


def _over(event: Event, _: Evidence) -> bool:
    return event.ended_us is not None


def _goes_on(event: Event, _: Evidence) -> bool:
    return event.ended_us is None


_ENDED: Step = (
    _over,
    "It ended at {end}, after {lasted}: {exit_how}.",
    "于 {end} 结束，历时 {lasted}：{exit_how}。",
)
_GOES_ON: Step = (_goes_on, "It goes on.", "仍在持续。")
_AT_END: Step = (_over, "It ended at {end}, after {lasted}.", "于 {end} 结束，历时 {lasted}。")
_ALARM: tuple[Step, ...] = (
    (None, "The terminal's alarm bit was set in the fix of {start}; the terminal is believed.",
     "{start} 的定位点中终端报警位已置位；以终端报警为准。"),
    (_over, "The fix of {end} was the first without it.", "{end} 的定位点首次不再带该报警位。"),
    _GOES_ON,
)  # fmt: skip

STEPS: dict[str, tuple[Step, ...]] = {
    "visit": (
        (None, "Presence in {fence} began at {start}: {entry_how}.", "于 {start} 进入 {fence}：{entry_how}。"),
        (_has("entry_between"), "The crossing lies between the fixes of {entry_between}; its moment is where the straight way meets the border.",
         "越界发生在 {entry_between} 两个定位点之间；时刻取直线路径与边界的交点。"),
        (_is("witness", "segment"), "No fix lies inside: the way between two fixes passes through it.",
         "围栏内没有定位点：由两点之间的路径穿过围栏认定。"),
        (_has("certainty"), "How certain that is, by the time that a way around it would have taken: {certainty}.",
         "按绕行所需时间判定的确定程度：{certainty}。"),
        (_is("witness", "fix"), "At least one fix lies inside.", "至少一个定位点位于围栏内。"),
        _ENDED,
        _GOES_ON,
    ),
    "gate_bypass": (
        (None, "The border of {fence} was crossed ({direction}) at {start}, between the fixes of {between}.",
         "于 {start} 在 {between} 两个定位点之间越过 {fence} 边界（{direction}）。"),
        (_has("nearest_checkpoint"), "The nearest checkpoint is {nearest_checkpoint}, {nearest_checkpoint_m} m from the crossing; a crossing counts as made through a checkpoint up to {gate_tolerance_m} m from it, or when the way touches it.",
         "最近的登记点为 {nearest_checkpoint}，距越界点 {nearest_checkpoint_m} 米；距登记点不超过 {gate_tolerance_m} 米，或路径触及登记点，才算经由登记点。"),
        (None, "Between the two fixes there was no time to pass one, at up to {top_speed_kmh} km/h.",
         "两个定位点之间的时间，即使以 {top_speed_kmh} km/h 行驶也不足以经由任何登记点。"),
        (None, "So the border was crossed away from every checkpoint.", "因此该车未经任何登记点越过边界，认定为绕卡。"),
        (_has("entered_at"), "The stay that ended here had begun at {entered_at}.", "此次离开所结束的停留始于 {entered_at}。"),
    ),
    "possible_bypass": (
        (None, "The border of {fence} was crossed ({direction}) at {start}, between the fixes of {between}.",
         "于 {start} 在 {between} 两个定位点之间越过 {fence} 边界（{direction}）。"),
        (_has("nearest_checkpoint"), "The straight way leads past no checkpoint: the nearest is {nearest_checkpoint}, {nearest_checkpoint_m} m from the crossing.",
         "直线路径未经任何登记点：最近的为 {nearest_checkpoint}，距越界点 {nearest_checkpoint_m} 米。"),
        (_is("certainty", "probable"), "It is probable, not certain: to pass one, it had to drive faster between the fixes than it did at either of them, or its positions were wrong.",
         "仅为很可能：若经由登记点，其间车速须高于两端车速，或定位有误。"),
        (_is("certainty", "possible"), "It is only possible: between the fixes there was time to pass one, at up to {top_speed_kmh} km/h, or the fixes contradict one another.",
         "仅为可能：以不超过 {top_speed_kmh} km/h 行驶，其间有时间经由登记点；或两点相互矛盾。"),
        (_has("entered_at"), "The stay that ended here had begun at {entered_at}.", "此次离开所结束的停留始于 {entered_at}。"),
    ),
    "restricted_entry": (
        (None, "The vehicle came into {fence}, a restricted zone, at {start}: {entry_how}.",
         "车辆于 {start} 进入禁行区 {fence}：{entry_how}。"),
        (_has("entry_between"), "The crossing lies between the fixes of {entry_between}.", "越界发生在 {entry_between} 两个定位点之间。"),
        (None, "It is certain: a fix lies farther inside than it may be wrong, or there was no way around.",
         "可以确定：定位点位于区内且超出定位误差，或无路可绕行。"),
        _ENDED,
        _GOES_ON,
    ),
    "possible_entry": (
        (None, "The vehicle seems to have come into {fence}, a restricted zone, at {start}: {entry_how}.",
         "车辆似于 {start} 进入禁行区 {fence}：{entry_how}。"),
        (_has("entry_between"), "The crossing lies between the fixes of {entry_between}.", "越界发生在 {entry_between} 两个定位点之间。"),
        (_is("certainty", "probable"), "It is probable, not certain: its fixes lie no farther inside than they may be wrong, or a way around asks for more speed than it showed.",
         "仅为很可能：定位点在区内的距离未超出误差，或绕行所需车速高于其显示车速。"),
        (_is("certainty", "possible"), "It is only possible: it had time to take another way.", "仅为可能：其间有时间走其他路线。"),
        _ENDED,
        _GOES_ON,
    ),
    "curfew": (
        (None, "The vehicle was in {fence} (since {entered_at}) when that was closed; closed: {hours}.",
         "车辆在 {fence} 内（自 {entered_at}），而该时段禁行；禁行时段：{hours}。"),
        (None, "Stay and closed hours overlap from {start}.", "停留与禁行时段自 {start} 起重叠。"),
        _ENDED,
        _GOES_ON,
    ),
    "overspeed": (
        (None, "The lowest limit in force was {limit_kmh} km/h, set by {fence}; the tolerance on top is {margin_kmh} km/h.",
         "当时生效的最低限速为 {limit_kmh} km/h（{fence}），另加容差 {margin_kmh} km/h。"),
        (None, "Every fix from {start} on was over it (time, km/h): {over}.", "自 {start} 起每个定位点均超过限速（时间，km/h）：{over}。"),
        (None, "That lasted longer than {overspeed_for_s} s, which is when it becomes a breach; the fastest was {max_kmh} km/h.",
         "持续超过 {overspeed_for_s} 秒，即构成超速；最高 {max_kmh} km/h。"),
        (_over, "The last fix over the limit was that of {end}, after {lasted}.", "最后一个超速定位点为 {end}，历时 {lasted}。"),
        _GOES_ON,
    ),
    "corridor_departure": (
        (None, "The vehicle left the dedicated routes, parks and checkpoints at {left_at}, inside {fence}.",
         "车辆于 {left_at} 在 {fence} 内离开专线、停车场与登记点。"),
        (_has("away_m"), "The fix of {start} was {away_m} m from the nearest route, farther than {farther_m} m.",
         "{start} 的定位点距最近专线 {away_m} 米，超过 {farther_m} 米。"),
        (_has("last_fix"), "It was still off them after {for_s} s, at {start}.", "{for_s} 秒之后（{start}）仍未返回。"),
        (_has("back_at"), "It was back on a route, or out of the district, at {back_at}.", "于 {back_at} 返回专线或离开辖区。"),
        _GOES_ON,
    ),
    "unregistered": (
        (None, "On file at {start}: {audit}. Only approved vehicles may be in {fence}.", "{start} 的备案状态：{audit}。只有审核通过的车辆方可进入 {fence}。"),
        (None, "The vehicle was inside since {entered_at}.", "车辆自 {entered_at} 起在区内。"),
        _AT_END,
        _GOES_ON,
    ),
    "no_waybill": (
        (None, "The vehicle was in {fence} since {entered_at}, and no waybill was valid for it from {start} on.",
         "车辆自 {entered_at} 起在 {fence} 内，自 {start} 起没有有效运单。"),
        _AT_END,
        _GOES_ON,
    ),
    "cargo_forbidden": (
        (None, "By waybill {waybill} it carried UN {un_number}, class {un_class}; {fence} forbids: {un_classes}.",
         "运单 {waybill} 载明 UN {un_number}，类别 {un_class}；{fence} 禁止：{un_classes}。"),
        (None, "It was inside from {entered_at}, with these goods from {start}.", "车辆自 {entered_at} 起在内，自 {start} 起载有该货物。"),
        _AT_END,
        _GOES_ON,
    ),
    "paper_expiring": (
        (None, "The paper {paper} of {subject} {id} expires at {expires}; this is said {days_left} days before.",
         "{subject} {id} 的证照 {paper} 将于 {expires} 到期；提前 {days_left} 天提示。"),
    ),
    "overstay": (
        (_part(""), "The vehicle came into {fence} at {entered_at}; it may stay {max_stay_min} min.",
         "车辆于 {entered_at} 进入 {fence}；最长可停留 {max_stay_min} 分钟。"),
        (_part(""), "So it had to leave by {start}, and nothing shows that it had.", "因此须在 {start} 前离开，而没有任何定位点表明其已离开。"),
        (_part("waybill"), "The window of waybill {waybill} ended at {window_ended}; the vehicle was in {fence} since {entered_at} and stayed.",
         "运单 {waybill} 的有效期于 {window_ended} 届满；车辆自 {entered_at} 起在 {fence} 内且未离开。"),
        _ENDED,
        _GOES_ON,
    ),
    "overpark": (
        (None, "The vehicle stood since {stands_since}, outside every park; it may stand {max_min} min there.",
         "车辆自 {stands_since} 起停在停车场之外；最长可停 {max_min} 分钟。"),
        (None, "At {start} that time was over.", "{start} 时限已到。"),
        _AT_END,
        _GOES_ON,
    ),
    "overdrive": (
        (None, "Driving since {drives_since}, without a stop of {rest_min} min, which would be a rest.",
         "自 {drives_since} 起驾驶，期间没有达到 {rest_min} 分钟的休息。"),
        (_part("continuous"), "The limit of {continuous_h} h of continuous driving was reached at {start}.", "{start} 达到连续驾驶 {continuous_h} 小时上限。"),
        (_part("night"), "The limit of {night_h} h of driving by night was reached at {start}.", "{start} 达到夜间连续驾驶 {night_h} 小时上限。"),
        (_part("daily"), "The limit of {daily_h} h of driving in 24 h was reached at {start}.", "{start} 达到 24 小时内累计驾驶 {daily_h} 小时上限。"),
        (_over, "It rested from {end} on.", "自 {end} 起休息。"),
        _GOES_ON,
    ),
    "segment_overtime": (
        (None, "The vehicle left checkpoint {from} at {left_at}.", "车辆于 {left_at} 离开登记点 {from}。"),
        (_has("max_min"), "The way to the next one may take {max_min} min: until {start}.", "到下一登记点最长 {max_min} 分钟，即至 {start}。"),
        (_has("min_min"), "The way may not take less than {min_min} min.", "该路段用时不得少于 {min_min} 分钟。"),
        (_has("took_min"), "It reached {to} after {took_min} min.", "{took_min} 分钟后到达 {to}。"),
        _GOES_ON,
    ),
    "silent": (
        (None, "The last fix, of {last_fix}, was inside {fence}; none came for {max_min} min, until {start}.",
         "最后一个定位点（{last_fix}）在 {fence} 内；此后 {max_min} 分钟（至 {start}）没有定位。"),
        (_over, "The next fix was that of {end}.", "下一个定位点为 {end}。"),
        _GOES_ON,
    ),
    "coverage_gap": (
        (None, "Between the fixes of {start} and {end} lies more than {longer_s} s: where the vehicle was meanwhile is unknown; it had moved {moved_m} m.",
         "{start} 与 {end} 两个定位点相隔超过 {longer_s} 秒：其间位置未知；位移 {moved_m} 米。"),
    ),
    "gnss_suspect": (
        (_is("why", "teleport"), "From the last trusted fix, of {trusted_at}, to that of {start} is farther than any truck drives ({max_kmh} km/h).",
         "自最后可信定位点（{trusted_at}）至 {start} 的位移超过任何货车可达（{max_kmh} km/h）。"),
        (_is("why", "spoof"), "From the last trusted fix, of {trusted_at}, to that of {start} is farther than the speeds reported allow.",
         "自最后可信定位点（{trusted_at}）至 {start} 的位移与上报速度不符。"),
        (_is("why", "frozen"), "Since {trusted_at} the place was the same to the last digit, at driving speed.",
         "自 {trusted_at} 起位置一成不变，而上报速度为行驶速度。"),
        (_over, "The last suspect fix was that of {end}.", "最后一个可疑定位点为 {end}。"),
        _GOES_ON,
    ),
    "plate_without_gps": (
        (None, "The camera of {fence} read {read} at {start}; no passage by GPS was known within {tolerance_s} s of it, {wait_s} s later.",
         "{fence} 的摄像机于 {start} 识别到 {read}；前后 {tolerance_s} 秒内无定位通过记录（等候 {wait_s} 秒）。"),
    ),
    "gps_without_plate": (
        (None, "The vehicle passed {fence} at {passed_at}; its camera read no such plate within {tolerance_s} s of that, {wait_s} s later.",
         "车辆于 {passed_at} 通过 {fence}；前后 {tolerance_s} 秒内摄像机未识别到该车牌（等候 {wait_s} 秒）。"),
        (_has("unread"), "That no such plate was read from {unread} is as the event says; the passage was found again in the fixes.",
         "{unread} 期间未识别到该车牌，以事件记录为准；通过记录由定位点重新得出。"),
        (_has("read_at"), "It was read after all, at {read_at}.", "其后得知该车牌于 {read_at} 被识别。"),
    ),
    "zone_capacity": (
        (None, "{fence} holds {most}; from {start} on there were more, at the most {peak}.", "{fence} 容量为 {most}；自 {start} 起超量，最多 {peak} 辆。"),
        _AT_END,
        _GOES_ON,
    ),
    "separation": (
        (None, "{vehicle} and {other} carried goods to be kept apart (classes {goods}, number {level} of the table), nearer than {near_m} m since {near_since}.",
         "{vehicle} 与 {other} 所载货物须隔离（类别 {goods}，隔离等级 {level}），自 {near_since} 起相距不足 {near_m} 米。"),
        (None, "That lasted {for_min} min, until {start}, apart for no longer than {apart_s} s in between; the nearest was {nearest_m} m.",
         "至 {start} 已持续 {for_min} 分钟，其间分开不超过 {apart_s} 秒；最近 {nearest_m} 米。"),
        _AT_END,
        _GOES_ON,
    ),
    "emergency": _ALARM,
    "collision": _ALARM,
    "rollover": _ALARM,
}  # fmt: skip

VERDICTS: dict[str, tuple[str, str]] = {
    "stands": ("It stands: judged again from the stored fixes, it comes out the same.", "成立：依据存储的定位点重新判定，结果一致。"),
    "changed": ("It stands, but judged again, some of it comes out otherwise.", "成立，但重新判定的部分内容有所不同。"),
    "falls": ("It does not stand: judged again from the stored fixes, it does not come out.", "不成立：依据存储的定位点重新判定，不会得出该事件。"),
    "retracted": ("It was retracted, and rightly: judged again, it does not come out.", "已撤回，且撤回无误：重新判定不会得出该事件。"),
    "revived": ("It was retracted, but judged again from the stored fixes, it comes out.", "已撤回，但依据存储的定位点重新判定会得出该事件。"),
    "unknown": ("Whether it stands cannot be told.", "无法判断是否成立。"),
    "now same": ("The fences are the same today.", "今日围栏与当时相同。"),
    "now stands": ("Fences have changed since; by those of today it would be said just so.", "围栏此后有变更；按今日围栏仍会如此认定。"),
    "now changed": ("Fences have changed since; by those of today it would be said, but otherwise.", "围栏此后有变更；按今日围栏会认定，但内容不同。"),
    "now falls": ("Fences have changed since; by those of today it would not be said.", "围栏此后有变更；按今日围栏不会认定。"),
}  # fmt: skip

REASONS: dict[str, tuple[str, str]] = {
    "late_fixes": ("Fixes came late, fixes that follow them in time were there before: {count} ({times}). Without these it comes out as it was said.",
                   "有 {count} 个定位点迟到（{times}）；若不计这些点，则与当初认定一致。"),
    "parameter": ("The parameter {name} was {was} then, the settings given now say {now}.", "参数 {name} 当时为 {was}，现在给定的设置为 {now}。"),
    "rule_off": ("By the settings given now the rule is off there: give those that the workers ran with (HAZFENCE_ENGINE).",
                 "按现在给定的设置该规则未启用：请给出当时的设置（HAZFENCE_ENGINE）。"),
    "not_yet_stored": ("Fixes are stored only up to {last}: the last ones are stored with the next checkpoint.",
                       "定位点仅存储至 {last}：最近的点随下一个检查点存储。"),
    "no_fixes": ("The fixes that it rests on are not stored (any more); the oldest one of the vehicle is of: {oldest}.",
                 "其依据的定位点已不在库中；该车最早的定位点为：{oldest}。"),
    "short": ("The fixes of the vehicle reach back only to {oldest}; what was before that may explain it.",
              "该车的定位点仅可追溯至 {oldest}；此前的情况或可解释。"),
    "needs_reads": ("It rests on plate reads, and was said by a release that did not yet note in the event what was read.",
                    "其依据为车牌识别记录；当时的版本尚未在事件中记录识别情况。"),
    "file_changed": ("The file of papers says otherwise now.", "证照档案现已变更。"),
    "doubt": ("{text}.", "{text}。"),
    "fence_gone": ("Fence {fence} is not in force any more.", "围栏 {fence} 已停用。"),
    "fence_new": ("Fence {fence} is new (version {now}).", "围栏 {fence} 为新增（第 {now} 版）。"),
    "fence_changed": ("Fence {fence} had version {was} then, it has version {now} now.", "围栏 {fence} 当时为第 {was} 版，现为第 {now} 版。"),
    "unexplained": ("Neither late fixes nor the parameters explain it: were the workers' fences or settings others than those given, or fixes lost?",
                    "迟到定位点与参数均不能解释：当时的围栏或设置是否与给定的不同，或有定位点缺失？"),
}  # fmt: skip

WORDS: dict[str, tuple[str, str]] = {
    "event": ("event", "事件"), "vehicle": ("vehicle", "车辆"), "fence": ("fence", "围栏"), "severity": ("severity", "级别"),
    "phase": ("phase", "状态"), "from": ("from", "开始"), "to": ("to", "结束"), "place": ("place", "位置"), "lasted": ("lasted", "历时"),
    "goes on": ("goes on", "仍在持续"), "source": ("Source", "依据"), "version": ("version", "版本"), "kind": ("kind", "类型"),
    "shape": ("shape", "形状"), "radius": ("radius", "半径"), "width": ("width", "宽度"), "speed limit": ("speed limit", "限速"),
    "longest stay": ("longest stay", "最长停留"), "in force": ("in force", "生效时段"), "in force now": ("in force now", "现行"),
    "not in force now": ("not in force now", "已停用"), "now version": ("now it has version", "现行版本为"),
    "last fix": ("last fix", "上一定位点"), "inside": ("inside", "所在围栏"), "no fence": ("no fence", "无"), "none": ("none", "无"),
    "going on": ("going on", "进行中"), "remembered": ("remembered", "规则记忆"), "since": ("since", "自"), "begins": ("begins", "开始"), "ends": ("ends", "结束"),
    "begins before": ("began just before", "此前开始"), "ends before": ("ended just before", "此前结束"),
    "named": ("it rests on this", "所依据的点"),
    "decisive": ("tips the scales", "据此认定"), "came late": ("came late", "迟到"), "may be wrong by": ("may be wrong by", "误差可达"),
    "in": ("in", "进"), "out": ("out", "出"),
    "opened": ("opened", "已开始"), "amended": ("amended", "已修正"), "closed": ("closed", "已结束"), "retracted": ("retracted", "已撤回"),
    "state before": ("The state before", "此前状态"), "steps": ("Step by step", "判定过程"), "fixes": ("Fixes", "定位点"),
    "parameters": ("Parameters", "参数"), "revisions": ("Revisions", "版本记录"), "rule": ("The rule", "规则"),
    "does it stand": ("Does it stand?", "是否成立"), "the fence": ("The fence", "围栏"), "the place": ("The place", "位置图"),
    "time": ("time", "时间"), "longitude": ("longitude", "经度"), "latitude": ("latitude", "纬度"), "speed": ("speed", "速度"),
    "fences": ("inside", "所在围栏"), "note": ("note", "备注"), "known at": ("known at", "记录时间"), "value": ("value", "取值"),
    "unit": ("unit", "单位"), "meaning": ("meaning", "含义"), "name": ("name", "名称"), "revision": ("revision", "版"),
    "edge crossing": ("the way between two fixes crosses the border", "两点之间的路径越过边界"),
    "edge first_fix": ("the vehicle's first fix was inside already", "该车首个定位点已在围栏内"),
    "edge gap": ("between two fixes too far apart to tell how", "两个定位点相隔过久，经过不明"),
    "edge schedule": ("the fence's hours, with the vehicle inside", "围栏生效时段变化时车辆在内"),
    "edge fence_changed": ("the fence was drawn anew around it", "围栏被重新划定"),
    "edge fence_removed": ("the fence was removed", "围栏被撤销"),
    "edge reference": ("the file changed", "档案变更"),
}  # fmt: skip
