"""How far a position may be wrong, in metres, from what a receiver tells of its satellites.

You are on the floor of the core, asked by the decoders (``hazfence.wire``) and the readers of tracks. What
is found is the column ``accuracy_m`` of a :class:`hazfence.fixes.FixBatch`; ``clean.py`` sets aside what is
too bad, and what is worse than ``EngineSettings.settle_m`` goes on as ``error_m`` of a
:class:`hazfence.track.Track` (:func:`beyond_m`).

* **HDOP** (horizontal dilution of precision): twice the distance root mean square error of a position, which
  holds in 95 to 98 cases of 100, is ``2 * HDOP * UERE`` (National Research Council, The Global Positioning
  System: A Shared National Asset, 1995, on measures of accuracy). UERE, the standard error of one range, is
  taken as 5 m: an assumption about single-frequency receivers in the open. So HDOP 1.5 means the 15 m of
  GB/T 35658.
* **Satellites** (JT/T 808 0x0200, additional item 0x31): a position needs four. From fewer it rests on an
  assumed height, or on none at all, and nobody can say how wrong it is: infinite. Four or more say nothing,
  as their places in the sky matter more than their number; nor does 0, which terminals send when they do not
  count.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["UERE_M", "accuracy_m", "accuracy_of", "beyond_m", "of_stored"]

#: Standard error of the range to one satellite, metres.
UERE_M = 5.0
_NEEDED = 4
#: Nothing is farther: all of the earth's girth, metres. So that whatever is remembered is a plain number.
_FARTHEST_M = np.float32(4.0e7)


def accuracy_of(
    accuracy_m: float | None = None, hdop: float | None = None, satellites: float | None = None
) -> float:
    """By how many metres a position may be wrong; NaN when nothing is said of it.

    Args:
        accuracy_m: as the receiver says it, metres; what is no number above 0 says nothing.
        hdop: counts where ``accuracy_m`` says nothing; the same goes for it.
        satellites: how many were used.

    Example:
        >>> [accuracy_of(hdop=0.9), accuracy_of(4.5, 0.9), accuracy_of(satellites=3), accuracy_of(hdop=0.0)]
        [9.0, 4.5, inf, nan]
    """
    if satellites is not None and 0 < satellites < _NEEDED:
        return math.inf
    if accuracy_m is not None and accuracy_m > 0.0:
        return accuracy_m
    return 2.0 * hdop * UERE_M if hdop is not None and hdop > 0.0 else math.nan


def accuracy_m(columns: dict[str, npt.NDArray[Any]], n: int) -> npt.NDArray[np.float32] | None:
    """:func:`accuracy_of` for columns of shape (n,), NaN for what is not said; None when there are none.

    Args:
        columns: ``accuracy_m``, ``hdop``, ``satellites``, as far as there are such.
        n: how many fixes.

    Example:
        >>> accuracy_m({"hdop": np.array([2.0, np.nan])}, 2).tolist()
        [20.0, nan]
    """
    if not columns:
        return None
    none = np.full(n, np.nan)
    said, hdop, satellites = (columns.get(name, none) for name in ("accuracy_m", "hdop", "satellites"))
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.where(said > 0.0, said, np.where(hdop > 0.0, 2.0 * hdop * UERE_M, np.nan))
        found[(satellites > 0) & (satellites < _NEEDED)] = np.inf
        return found.astype(np.float32)


def beyond_m(accuracy: npt.NDArray[np.float32] | None, settle_m: float) -> npt.NDArray[np.float32] | None:
    """By how much positions may be wrong, where that is more than what is taken of all of them.

    Nothing follows from an accuracy that is no worse than ``settle_m``, so nobody need remember it. And where
    ``settle_m`` is 0 every position is taken as it is.

    Args:
        accuracy: metres, NaN for what is not said; None when nothing is.
        settle_m: see ``EngineSettings``.

    Returns:
        metres, 0 where it is no more than that; None when it is of none.

    Example:
        >>> beyond_m(np.array([9.0, np.nan, 40.0], np.float32), 15.0).tolist()
        [0.0, 0.0, 40.0]
        >>> beyond_m(np.array([9.0, np.nan], np.float32), 15.0) is None
        True
    """
    if accuracy is None or not settle_m or not np.fmax.reduce(accuracy, initial=0.0) > settle_m:
        return None
    with np.errstate(invalid="ignore"):
        return np.where(accuracy > settle_m, np.minimum(accuracy, _FARTHEST_M), np.float32(0.0))


def of_stored(accuracy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
    """The column of a batch from that of the fix table, where 0 stands for what is not said.

    Example:
        >>> of_stored(np.array([0.0, 9.0], np.float32)).tolist(), of_stored(np.zeros(2, np.float32))
        ([nan, 9.0], None)
    """
    said = accuracy > 0.0
    return np.where(said, accuracy, np.float32(np.nan)).astype(np.float32) if said.any() else None
