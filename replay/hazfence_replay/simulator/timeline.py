"""A trip as one line in time: drives and stands joined, still without noise.

You are in the simulator, above ``motion.py``. A :class:`Trip` starts and ends outside the
district (or begins inside it, for a truck that slept there), so what happens in it can be judged
by looking at it alone; ``truth.py`` does that, ``reports.py`` samples it as a terminal would.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from hazfence_replay.simulator.motion import Motion

__all__ = ["Part", "Report", "Stand", "Trip"]

F64 = npt.NDArray[np.float64]
BOOL = npt.NDArray[np.bool_]


class Report(StrEnum):
    """How often a terminal reports during a stand."""

    DRIVING = "driving"  #: as on the road
    IDLE = "idle"  #: every 30 s: engine on, being loaded
    ASLEEP = "asleep"  #: every 60 s: engine off
    SILENT = "silent"  #: not at all


@dataclass(frozen=True, slots=True)
class Stand:
    """Stand where the drive before ended (or the next one starts).

    Attributes:
        for_s: how long, seconds.
        report: how often the terminal reports meanwhile.
    """

    for_s: float
    report: Report


Part = Motion | Stand


class Trip:
    """Drives and stands, one after the other.

    Args:
        parts: in order; at least one drive.
        start_s: whole seconds since the simulation's start.

    Attributes:
        t_s: float64[n], seconds since the simulation's start, never going back.
        lonlat: float64[n, 2] degrees.
        speed_mps, heading_deg: float64[n].
        member: bool[n, fences], as in ``Route``.
        windows: (from, to, how it reports) in seconds, covering the trip.
    """

    def __init__(self, parts: list[Part], start_s: int) -> None:
        t: list[F64] = []
        lonlat: list[F64] = []
        speed: list[F64] = []
        heading: list[F64] = []
        member: list[BOOL] = []
        self.windows: list[tuple[float, float, Report]] = []
        now = float(start_s)
        first = next(p for p in parts if isinstance(p, Motion))
        at = first.route, 0
        for part in parts:
            if isinstance(part, Motion):
                t.append(now + part.t_s)
                lonlat.append(part.route.lonlat[part.index])
                speed.append(part.speed_mps)
                heading.append(part.route.heading_deg[part.index])
                member.append(part.route.member[part.index])
                end = now + float(part.t_s[-1])
                self.windows.append((now, end, Report.DRIVING))
                at = part.route, -1
            else:
                route, i = at
                end = now + part.for_s
                t.append(np.array([now, end]))
                lonlat.append(np.repeat(route.lonlat[[i]], 2, axis=0))
                speed.append(np.zeros(2))
                heading.append(np.repeat(route.heading_deg[[i]], 2))
                member.append(np.repeat(route.member[[i]], 2, axis=0))
                self.windows.append((now, end, part.report))
            now = end
        self.t_s = np.concatenate(t)
        self.lonlat = np.concatenate(lonlat)
        self.speed_mps = np.concatenate(speed)
        self.heading_deg = np.concatenate(heading)
        self.member = np.concatenate(member)

    @property
    def start_s(self) -> float:
        """Seconds since the simulation's start."""
        return float(self.t_s[0])

    @property
    def end_s(self) -> float:
        """Seconds since the simulation's start."""
        return float(self.t_s[-1])
