"""The list of rules: what each is called, what it asks, its parameters with units and defaults, its source.

You are in ``hazfence.rules``, at its register. ``book.py`` reads configuration by this list and
refuses what is not in it; ``docs/rules.md`` is printed from it (``table.py``), so neither can say
anything else than the code. What a rule does is in the module named in ``module``. To add a rule:
an entry here, a :class:`~hazfence.events.Kind`, a function in a module of this package, its call
in ``hazfence.judge`` and its five hand-made tracks in ``tests/unit/test_rules_complete.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hazfence.events import Kind, Severity

__all__ = ["RULES", "Parameter", "Rule", "rule_of"]

Form = Literal["number", "hours", "texts", "flag", "segments"]

_ORDER_29 = "危险货物道路运输安全管理办法 (2019 No. 29)"
_PLATFORM = "platform of Zhenhai district"
_REST = "渝交规〔2023〕5号, questions and answers (a weak source); GB/T 19056 counts alike"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number, list or schedule that a rule asks for.

    Attributes:
        name: as written in configuration.
        unit: of its value, for people.
        default: None where there is none: the rule, or that part of it, then does nothing.
        meaning: one line.
        form: what kind of value it takes.
        low, high: bounds of a number, both allowed.
        only_fence: True when only a fence can say it.
        only_general: True when no fence can.
        fixed: True when it cannot differ by vehicle class or hours.
    """

    name: str
    unit: str
    default: Any
    meaning: str
    form: Form = "number"
    low: float = 0.0
    high: float = float("inf")
    only_fence: bool = False
    only_general: bool = False
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as people and configuration know it.

    Attributes:
        kind: of the events it says; also its name in configuration.
        chinese, english: what it is called and what it means.
        severity: of its events.
        begins, ends: which moments its events begin and end at.
        silence: True when it can fire while the vehicle sends nothing.
        source: where it comes from.
        module: of this package, where it is written.
        example: a timeline in words.
        on: whether it is on without being asked for.
        parameters: what it asks for.
    """

    kind: Kind
    chinese: str
    english: str
    severity: Severity
    begins: str
    ends: str
    silence: bool
    source: str
    module: str
    example: str
    on: bool = False
    parameters: tuple[Parameter, ...] = ()

    @property
    def asks_file(self) -> bool:
        """Whether it asks the file of vehicles, waybills and papers."""
        return self.kind in _ASK_FILE

    @property
    def joint(self) -> bool:
        """Whether it looks at more than one vehicle, or at more than fixes, so no partition can judge it."""
        return self.kind in _JOINT

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of that name."""
        return next((p for p in self.parameters if p.name == name), None)


_ASK_FILE = (
    Kind.UNREGISTERED,
    Kind.NO_WAYBILL,
    Kind.CARGO_FORBIDDEN,
    Kind.PAPER_EXPIRING,
    Kind.SEPARATION,
)
_JOINT = (
    Kind.PLATE_WITHOUT_GPS,
    Kind.GPS_WITHOUT_PLATE,
    Kind.ZONE_CAPACITY,
    Kind.PAPER_EXPIRING,
    Kind.SEPARATION,
)
_SCOPE = "in the district"

_JOIN = (
    Parameter("tolerance_s", "s", 120.0, "how far apart read and passage may be"),
    Parameter("wait_s", "s", 300.0, "how long to wait for the other"),
)

_TOP_SPEED = Parameter(
    "top_speed_kmh", "km/h", 120.0, "no vehicle drives faster between two fixes", low=1.0, high=1000.0
)
_PRISM = "space-time prism: Hägerstrand 1970, Miller 1991, Pfoser & Jensen 1999"

RULES: tuple[Rule, ...] = (
    Rule(
        Kind.GATE_BYPASS,
        "绕卡",
        "The district's border crossed, in or out, away from every checkpoint, and with no time to pass one",
        Severity.BREACH,
        "crossing of the border",
        "at once",
        False,
        f"{_PLATFORM}: six checkpoints are the only legal ways in and out",
        "gates",
        "08:00:00 outside, 08:00:30 inside, no checkpoint within 200 m of the crossing: 08:00:15 gate_bypass",
        True,
        (
            Parameter("tolerance_m", "m", 200.0, "a crossing this near to a checkpoint was made through it"),
            _TOP_SPEED,
        ),
    ),
    Rule(
        Kind.POSSIBLE_BYPASS,
        "疑似绕卡",
        "As gate_bypass, but between the two fixes the vehicle had time to pass a checkpoint; judged with "
        "the parameters of gate_bypass, where that is on",
        Severity.WARNING,
        "crossing of the border",
        "at once",
        False,
        f"{_PRISM}",
        "gates",
        "08:00:00 outside, 08:01:00 inside, a checkpoint 400 m from the crossing: 08:00:30 possible_bypass",
        True,
    ),
    Rule(
        Kind.RESTRICTED_ENTRY,
        "闯禁",
        "Inside a restricted zone for certain: a fix lies farther inside than it may be wrong, or there "
        "was no way around",
        Severity.BREACH,
        "as the visit",
        "as the visit",
        False,
        "GB/T 35658 6.1.2: the platform raises area alarms",
        "zones",
        "inside from 08:00:15 to 08:20:40: restricted_entry for just that time",
        True,
        (_TOP_SPEED,),
    ),
    Rule(
        Kind.POSSIBLE_ENTRY,
        "疑似闯禁",
        "As restricted_entry, but the vehicle may have stayed outside: no fix lies farther inside than it "
        "may be wrong; judged with the parameters of restricted_entry, where that is on",
        Severity.WARNING,
        "as the visit",
        "as the visit, or the fix that makes it certain",
        False,
        f"{_PRISM}",
        "zones",
        "the first fix of the day lies 5 m inside, the next outside: possible_entry until the crossing",
        True,
    ),
    Rule(
        Kind.CURFEW,
        "禁行时段",
        "Inside a fence in the hours in which it is closed",
        Severity.BREACH,
        "entry, or the hour at which it closes",
        "exit, or the hour at which it opens",
        True,
        "GB/T 35658 6.1.2: the platform raises time-ban alarms; motorway bans lie within 00:00-06:00 (weak)",
        "zones",
        "closed 00:00-06:00, inside 23:50-00:20: curfew 00:00-00:20",
        False,
        (Parameter("hours", "schedule", None, "when the fence is closed", "hours", only_fence=True),),
    ),
    Rule(
        Kind.OVERSPEED,
        "超速",
        "Every fix over the lowest limit in force, for longer than for_s",
        Severity.BREACH,
        "first fix over the limit",
        "last fix over the limit",
        False,
        f"{_ORDER_29} Art. 46: 80 km/h on motorways, 60 elsewhere, a lower sign wins; night factor: {_REST}",
        "speed",
        "limit 60: 59, 66, 71, 68 km/h at 08:00:00, :10, :20, :31, then 58: overspeed 08:00:10-08:00:31",
        True,
        (
            Parameter("for_s", "s", 20.0, "for longer than this"),
            Parameter("margin_kmh", "km/h", 0.0, "measuring tolerance on top of the limit"),
            Parameter("limit_kmh", "km/h", None, "the fence's speed_limit_kmh", low=1.0, only_fence=True),
            Parameter(
                "general_kmh", "km/h", None, f"limit {_SCOPE} where no lower one holds (law: 60)", low=1.0
            ),
            Parameter("motorway_kmh", "km/h", 80.0, "general limit within a fence marked motorway", low=1.0),
            Parameter("motorway", "yes/no", False, "the fence is a motorway", "flag", only_fence=True),
            Parameter(
                "night_factor", "", 1.0, "limits are multiplied by this in night_hours", low=0.1, high=1.0
            ),
            Parameter("night_hours", "schedule", None, "when night_factor holds", "hours"),
        ),
    ),
    Rule(
        Kind.CORRIDOR_DEPARTURE,
        "偏离专线",
        "In the district, but neither on a dedicated route (the union of all corridors) nor in a park, a "
        "checkpoint or a fence marked on_route, for longer than for_s or farther than farther_m",
        Severity.BREACH,
        "leaving the route + for_s, or the first fix that far away",
        "back on a route, or out of the district",
        True,
        f"{_PLATFORM}: dedicated routes (专线); GB/T 35658 6.1.2: route alarms",
        "routes",
        "leaves the corridor at 08:00:10 and comes back at 08:05:00: corridor_departure 08:03:10-08:05:00",
        False,
        (
            Parameter("for_s", "s", 180.0, "off the routes for longer than this"),
            Parameter("farther_m", "m", 1000.0, "or farther from all of them than this"),
            Parameter(
                "on_route",
                "yes/no",
                None,
                "the fence counts as route, for every vehicle at any hour (default: by kind)",
                "flag",
                only_fence=True,
                fixed=True,
            ),
        ),
    ),
    Rule(
        Kind.UNREGISTERED,
        "未备案",
        "In the district, but not on file, or the file not approved at that time",
        Severity.BREACH,
        "entry, or the end of the approval",
        "exit, or the approval",
        True,
        f"{_PLATFORM}: companies, people, vehicles and tanks are filed and audited (电子档案)",
        "papers",
        "inside 08:00-09:00, approved at 08:20: unregistered 08:00-08:20",
    ),
    Rule(
        Kind.NO_WAYBILL,
        "无运单",
        "In the district without a waybill valid at that time; past the end of its window it is an overstay",
        Severity.BREACH,
        "entry",
        "exit, or a waybill becomes valid",
        True,
        f"{_PLATFORM}: every trip needs an approved waybill (电子运单); {_ORDER_29}",
        "papers",
        "enters 08:00, waybill approved 08:30 for 08:00-12:00: no_waybill 08:00-08:30; overstay from 12:00",
    ),
    Rule(
        Kind.CARGO_FORBIDDEN,
        "禁运货物",
        "Inside a fence with goods, by the valid waybill, of a UN class that the fence forbids",
        Severity.BREACH,
        "entry, or the beginning of the waybill",
        "exit, or the end of the waybill",
        True,
        f"{_PLATFORM}; UN Model Regulations 2.0.1.1 for the classes",
        "papers",
        "forbidden: 1 and 2.3; inside 08:00-08:10 with chlorine (UN 1017, 2.3): cargo_forbidden 08:00-08:10",
        False,
        (
            Parameter(
                "un_classes",
                "UN classes",
                None,
                "forbidden; 1 stands for 1.1 to 1.6",
                "texts",
                only_fence=True,
            ),
        ),
    ),
    Rule(
        Kind.PAPER_EXPIRING,
        "证照到期",
        "A paper of a vehicle, company, person or tank on file expires in 30 days, in 7, or now",
        Severity.WARNING,
        "30 days before, 7 days before, expiry",
        "at once",
        True,
        f"{_PLATFORM}: 1,875 of 14,187 warnings were of expiring papers",
        "papers",
        "permit expires 1 May: warnings of 1 April and 24 April, a breach of 1 May",
    ),
    Rule(
        Kind.OVERSTAY,
        "超时滞留",
        "Longer inside a fence than its limit, or in the district past the window of the waybill",
        Severity.BREACH,
        "entry + limit; end of the window",
        "as the visit",
        True,
        "超时 in the sense of 长时间滞留; hazmat park: 6 h (weak)",
        "stays",
        "entered 08:00, limit 360 min, left 14:25: overstay 14:00-14:25",
        True,
        (Parameter("max_min", "min", None, "the fence's max_stay_min", low=0.1, only_fence=True),),
    ),
    Rule(
        Kind.OVERPARK,
        "违规停车",
        f"Standing too long {_SCOPE} outside every hazmat park and every fence marked allowed",
        Severity.WARNING,
        "first standing fix + max_min",
        "moves again, or found elsewhere",
        True,
        "超时 in the sense of parking too long; JT/T 808 alarm bit 19",
        "driving",
        "stands at the roadside from 08:00, drives on at 08:47: overpark 08:30-08:47",
        False,
        (
            Parameter("max_min", "min", 30.0, "standing for longer than this", low=0.1),
            Parameter(
                "allowed",
                "yes/no",
                None,
                "standing is allowed in the fence (default: parks)",
                "flag",
                only_fence=True,
            ),
        ),
    ),
    Rule(
        Kind.OVERDRIVE,
        "疲劳驾驶",
        "Driving on too long without a rest (continuous, by night), or too long in 24 h (daily)",
        Severity.BREACH,
        "end of the last rest + limit, while driving",
        "beginning of the next rest",
        True,
        _REST,
        "driving",
        "drives from 08:00 with a stop of 15 min at 10:00: overdrive from 12:00 until it rests at 12:40",
        False,
        (
            Parameter(
                "continuous_h", "h", 4.0, "continuous driving; stops shorter than rest_min included", low=0.1
            ),
            Parameter("rest_min", "min", 20.0, "a stop this long is a rest", low=1.0),
            Parameter("daily_h", "h", 8.0, "driving in any 24 h; rests not counted", low=0.1, high=24.0),
            Parameter(
                "night_h", "h", None, "continuous driving within night_hours (where ruled: 2)", low=0.1
            ),
            Parameter("night_hours", "schedule", None, "when night_h counts", "hours"),
        ),
    ),
    Rule(
        Kind.SEGMENT_OVERTIME,
        "路段超时",
        "Too long or too short on the way between two checkpoints",
        Severity.WARNING,
        "leaving the first + longest time; too short: reaching the second",
        "reaching the second, or leaving the district",
        True,
        "超时 in the sense of segment time; JT/T 808 alarm bit 22",
        "segments",
        "leaves cp-1 at 08:00, at most 40 min to cp-2, reaches it at 08:52: segment_overtime 08:40-08:52",
        False,
        (
            Parameter(
                "to",
                "min",
                None,
                "by next checkpoint's id or *: {min_min, max_min}, on the first checkpoint's fence",
                "segments",
                only_fence=True,
            ),
        ),
    ),
    Rule(
        Kind.SILENT,
        "离线",
        f"No fix for longer than the limit while {_SCOPE}",
        Severity.WARNING,
        "last fix + max_min",
        "next fix",
        True,
        "upload at least every 60 s, a link is dead after 3 min (weak); JT/T 809",
        "health",
        "last fix 08:00:00, next 08:07:30: silent 08:05:00-08:07:30",
        False,
        (Parameter("max_min", "min", 5.0, "silent for longer than this", low=0.1),),
    ),
    Rule(
        Kind.COVERAGE_GAP,
        "轨迹中断",
        f"Two fixes too far apart in time, one of them {_SCOPE}: presence between them is unknown",
        Severity.INFO,
        "fix before",
        "fix after",
        False,
        "design of this engine: presence is inside, outside or unknown",
        "health",
        "fixes at 08:00:00 and 08:07:30: coverage_gap for just that time",
        True,
        (Parameter("longer_s", "s", 300.0, "farther apart than this", low=1.0),),
    ),
    Rule(
        Kind.GNSS_SUSPECT,
        "定位异常",
        "A fix that cannot be true: too far for any truck (teleport), too far for the speeds reported "
        "(spoof), the same place to the last digit while driving (frozen). It makes no other verdict",
        Severity.WARNING,
        "first suspect fix",
        "last suspect fix",
        False,
        "faults of terminals met in practice; at most 15 m and 2 m/s off",
        "trust",
        "08:00:00 here, 08:00:10 4 km away, 08:00:20 here again: gnss_suspect at 08:00:10, teleport",
        False,
        (
            Parameter("max_kmh", "km/h", 200.0, "no truck is faster", low=1.0),
            Parameter("slack_m", "m", 150.0, "error of two fixes together"),
            Parameter(
                "over_kmh", "km/h", 40.0, "farther than 1.5 times the reported speed and this allow: spoof"
            ),
            Parameter("frozen_kmh", "km/h", 10.0, "the same place at more than this is frozen", low=1.0),
            Parameter("frozen_s", "s", 60.0, "frozen for longer than this is said"),
            Parameter("confirm", "fixes", 3.0, "this many agreeing suspect fixes are believed", low=2.0),
        ),
    ),
    Rule(
        Kind.PLATE_WITHOUT_GPS,
        "有牌无位",
        "Read by a checkpoint's camera, but no passage of it by GPS about then",
        Severity.WARNING,
        "the read",
        "at once; retracted when a late passage turns up",
        True,
        f"{_PLATFORM}: automatic plate recognition at each checkpoint",
        "plates",
        "read at cp-1 at 08:00:00, no passage 07:58-08:02 known by 08:05: plate_without_gps 08:00:00",
        False,
        _JOIN,
    ),
    Rule(
        Kind.GPS_WITHOUT_PLATE,
        "有位无牌",
        "Passed a checkpoint by GPS, but its camera read no such plate about then",
        Severity.WARNING,
        "entry into the checkpoint",
        "exit from it; retracted when a late read turns up",
        True,
        f"{_PLATFORM}: automatic plate recognition at each checkpoint",
        "plates",
        "passes cp-1 08:00:00-08:00:20, no read 07:58:00-08:02:20 known by 08:05:20: gps_without_plate",
        False,
        _JOIN,
    ),
    Rule(
        Kind.ZONE_CAPACITY,
        "超量停放",
        "More hazmat vehicles in a zone at once than it holds; an event of the fence, without vehicle",
        Severity.WARNING,
        "entry of the first too many",
        "exit that makes it hold again",
        False,
        f"{_PLATFORM}; the number is the zone's own",
        "capacity",
        "holds 2; a third comes at 08:00 and one leaves at 08:20: zone_capacity 08:00-08:20",
        False,
        (Parameter("most", "vehicles", None, "as many are allowed", low=1.0, only_fence=True),),
    ),
    Rule(
        Kind.SEPARATION,
        "混停",
        "Two vehicles in the district whose waybills name goods that must be kept apart, at most near_m from "
        "each other for for_min; one event a pair, under the lower name, the other in its detail. "
        "A fence that says false is left out",
        Severity.BREACH,
        "first near + for_min",
        "last moment near",
        True,
        "IMDG Code 7.2.4, general segregation table, taken over from ships to vehicles side by side; the "
        "road rules (JT/T 617.6, ADR 7.5.2) are about mixed loading of one vehicle and name no distance",
        "separation",
        "petrol (3) parks 12 m from peroxide (5.2) 08:00-08:25: separation 08:10-08:25",
        False,
        (
            Parameter("near_m", "m", 30.0, "nearer than this", low=1.0, high=2000.0, only_general=True),
            Parameter("for_min", "min", 10.0, "for at least this long", low=0.5, only_general=True),
            Parameter("apart_s", "s", 120.0, "apart for no longer than this in between", only_general=True),
            Parameter(
                "level",
                "",
                2.0,
                "least number of the table: 1 away from, 2 separated from, 3, 4",
                low=1.0,
                high=4.0,
                only_general=True,
            ),
        ),
    ),
    Rule(
        Kind.EMERGENCY,
        "紧急报警",
        "Alarm bit 0 of the terminal: the driver pressed the button",
        Severity.EMERGENCY,
        "first fix with the bit",
        "first fix without it",
        False,
        "JT/T 808 0x0200, alarm bit 0",
        "terminal",
        "bit set in the fixes of 08:00:00 to 08:01:00, not in that of 08:01:10: emergency 08:00:00-08:01:10",
    ),
    Rule(
        Kind.COLLISION,
        "碰撞预警",
        "Alarm bit 29 of the terminal",
        Severity.EMERGENCY,
        "first fix with the bit",
        "first fix without it",
        False,
        "JT/T 808 0x0200, alarm bit 29",
        "terminal",
        "as emergency",
    ),
    Rule(
        Kind.ROLLOVER,
        "侧翻预警",
        "Alarm bit 30 of the terminal",
        Severity.EMERGENCY,
        "first fix with the bit",
        "first fix without it",
        False,
        "JT/T 808 0x0200, alarm bit 30",
        "terminal",
        "as emergency",
    ),
)

_BY_NAME = {str(rule.kind): rule for rule in RULES}


def rule_of(name: str) -> Rule | None:
    """The rule of that name; None when there is none."""
    return _BY_NAME.get(name)
