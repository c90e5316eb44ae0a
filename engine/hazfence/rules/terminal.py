"""What the terminal itself cries: alarm bits as events ``emergency``, ``collision``, ``rollover``.

You are in ``hazfence.rules``. JT/T 808 0x0200, alarm DWORD: bit 0 emergency, 29 collision, 30
rollover. An alarm lasts from the first fix with the bit to the first one without it. The terminal is
believed here even when its position is not.
"""

from __future__ import annotations

from hazfence.events import Kind, iso
from hazfence.rules.step import Step

__all__ = ["BITS", "alarms"]

BITS: dict[Kind, int] = {Kind.EMERGENCY: 1 << 0, Kind.COLLISION: 1 << 29, Kind.ROLLOVER: 1 << 30}


def alarms(step: Step) -> None:
    """紧急报警, 碰撞预警, 侧翻预警: opened and closed by fixes alone, at the place they sent."""
    if step.silent:
        return
    lon, lat = step.fix.lon, step.fix.lat
    for kind, bit in BITS.items():
        cried = bool(step.fix.alarm & bit) and step.ask(kind, None, step.t1) is not None
        if cried and not step.is_open(kind, ""):
            step.open(kind, None, step.t1, (lon, lat), {"speed_kmh": _known(step.fix.speed_kmh)})
        elif not cried and step.is_open(kind, ""):
            step.close(kind, "", step.t1, (lon, lat), {"cleared_at": iso(step.t1)})


def _known(speed_kmh: float) -> float | None:
    return None if speed_kmh != speed_kmh else round(speed_kmh, 1)
