"""What is on file against what drives: unregistered, no_waybill, cargo_forbidden, paper_expiring.

You are in ``hazfence.rules``. The first three look at a stay (in the district, or in a fence that
forbids some cargo) beside the file of ``hazfence.reference``, as it was at each moment of the stay; the
stay past the end of the waybill's window is an ``overstay``. :func:`paper_warnings` looks at the file
alone. Source: platform of Zhenhai district (电子档案, 电子运单); 危险货物道路运输安全管理办法 Art. 24.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hazfence.events import Event, Kind, Phase, Severity, event_id, iso
from hazfence.reference import ReferenceData
from hazfence.rules.step import Span, Step
from hazfence_fences import Fence

__all__ = ["WARN_DAYS", "during", "outside", "paper_warnings", "papers", "past_waybill"]

#: A paper is warned of this many days before it expires, and when it does.
WARN_DAYS = (30, 7, 0)
_DAY_US = 86_400_000_000
#: The part of an overstay that is about the waybill's window.
WAYBILL = "waybill"


def during(spans: Sequence[Span], start_us: int, end_us: int) -> list[tuple[Span, bool]]:
    """Where ``spans`` ([from, to), disjoint) and a stay overlap, and whether the span ended there."""
    found = []
    for start, end in spans:
        if start <= end_us and end > start_us:
            found.append(((max(start, start_us), min(end, end_us)), end <= end_us))
    return found


def outside(spans: Sequence[Span], start_us: int, end_us: int) -> list[tuple[Span, bool]]:
    """The parts of a stay in none of ``spans``, and whether a span's beginning ended it."""
    found, at_us = [], start_us
    for start, end in spans:
        if end <= at_us:
            continue
        if start > end_us:
            break
        if start > at_us:
            found.append(((at_us, start), True))
        at_us = end
    if at_us <= end_us:
        found.append(((at_us, end_us), False))
    return found


def papers(
    step: Step, fence: Fence, stay: Span, goes_on: bool, visit: Event, data: ReferenceData, district: bool
) -> None:
    """Say what the file has against a piece of a stay.

    Args:
        stay: from when to when the vehicle was in the fence, within the step.
        goes_on: whether it still is where the step ends.
        visit: the stay as a whole.
        data: the file.
        district: whether the fence is a district, where vehicles have to be on file and under way.
    """
    plate = step.vehicle
    if district and step.ask(Kind.UNREGISTERED, fence, visit.started_us) is not None:
        bad = outside(data.approved(plate), *stay)
        _say(step, Kind.UNREGISTERED, fence, stay, goes_on, visit, bad, data)
    if district and step.ask(Kind.NO_WAYBILL, fence, visit.started_us) is not None:
        bad = outside(data.covered(plate), *stay)
        past = [(span, over) for span, over in bad if past_waybill(span[0], visit, data, plate)]
        bare = [entry for entry in bad if entry not in past]
        _say(step, Kind.NO_WAYBILL, fence, stay, goes_on, visit, bare, data)
        _say(step, Kind.OVERSTAY, fence, stay, goes_on, visit, past, data, WAYBILL)
    params = step.ask(Kind.CARGO_FORBIDDEN, fence, visit.started_us)
    if params is not None and params["un_classes"]:
        bad = during(data.carrying(plate, params["un_classes"]), *stay)
        of = params["un_classes"]
        _say(step, Kind.CARGO_FORBIDDEN, fence, stay, goes_on, visit, bad, data, un_classes=of)


def past_waybill(at_us: int, visit: Event, data: ReferenceData, plate: str) -> bool:
    """Whether a moment without waybill follows, within the stay, one with."""
    return any(start < at_us and end > visit.started_us for start, end in data.covered(plate))


def _say(
    step: Step,
    kind: Kind,
    fence: Fence,
    stay: Span,
    goes_on: bool,
    visit: Event,
    bad: Sequence[tuple[Span, bool]],
    data: ReferenceData,
    part: str = "",
    un_classes: Sequence[str] | None = None,
) -> None:
    key = part or fence.id
    if step.is_open(kind, key) and (not bad or bad[0][0][0] > stay[0]):
        # The file changed under it: what is known now says it is over.
        step.close(kind, key, stay[0], step.last_known(stay[0]), {"exit": "reference"})
    for (start_us, end_us), over in bad:
        if not step.is_open(kind, key):
            if start_us == end_us and not goes_on:
                continue
            entered = start_us == visit.started_us
            place = (visit.lon, visit.lat) if entered else step.last_known(start_us)
            detail = _detail(kind, step.vehicle, start_us, visit, data, un_classes)
            step.open(kind, fence, start_us, place, detail, part)
        if over:
            step.close(kind, key, end_us, step.last_known(end_us), {"exit": "reference"})


def _detail(
    kind: Kind,
    plate: str,
    at_us: int,
    visit: Event,
    data: ReferenceData,
    un_classes: Sequence[str] | None,
) -> dict[str, Any]:
    detail: dict[str, Any] = {"entered_at": iso(visit.started_us)}
    if kind is Kind.UNREGISTERED:
        detail["audit"] = data.audit(plate, at_us) or "not on file"
    bill = data.waybill(plate, at_us if kind is Kind.CARGO_FORBIDDEN else at_us - 1, un_classes)
    if bill is not None and kind is not Kind.UNREGISTERED:
        detail |= {"waybill": bill.number, "un_number": bill.un_number, "un_class": bill.un_class}
        if kind is Kind.OVERSTAY:
            detail["window_ended"] = iso(at_us)
    return detail


def paper_warnings(data: ReferenceData, from_us: int, to_us: int) -> tuple[Event, ...]:
    """证照到期: papers on file that are about to expire, each warned of 30 and 7 days before and on the day.

    A function of the file alone, to be asked once for each stretch of time (say, every hour for the last
    one); asked again, it says the same under the same ids.

    Args:
        from_us, to_us: warnings that fall into [from, to), microseconds UTC.

    Returns:
        events of kind ``paper_expiring`` without place (0, 0) and, but for vehicles' papers, without
        vehicle; ``detail`` names the subject and the paper.
    """
    found = []
    for row in data.filed:
        for paper, expires_us in sorted(row.papers.items()):
            for days in WARN_DAYS:
                at_us = expires_us - days * _DAY_US
                if not from_us <= at_us < to_us or not row.from_us <= at_us < (row.to_us or at_us + 1):
                    continue
                subject = f"{row.kind}:{row.id}:{paper}:{days}"
                found.append(
                    _warning(
                        row.id if row.kind == "vehicle" else "",
                        subject,
                        at_us,
                        {
                            "subject": row.kind,
                            "id": row.id,
                            "paper": paper,
                            "days_left": days,
                            "expires": iso(expires_us),
                        },
                    )
                )
    return tuple(sorted(found, key=lambda e: (e.started_us, e.id)))


def _warning(vehicle: str, subject: str, at_us: int, detail: dict[str, Any]) -> Event:
    severity = Severity.BREACH if detail["days_left"] == 0 else Severity.WARNING
    return Event(
        id=event_id(f"{Kind.PAPER_EXPIRING}:{subject}", vehicle, None, at_us),
        kind=Kind.PAPER_EXPIRING,
        vehicle=vehicle,
        fence_id=None,
        fence_version=None,
        revision=1,
        phase=Phase.CLOSED,
        started_us=at_us,
        ended_us=at_us,
        lon=0.0,
        lat=0.0,
        severity=severity,
        detail=detail,
    )
