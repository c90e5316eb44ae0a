"""Questions of numbers that are in order: what is among them, which are distinct.

You are on the lowest floor of the core. ``np.isin``, ``np.unique`` and ``np.union1d`` build tables or sort
what is sorted already; a batch asks a dozen times of some hundred numbers, so this is much of its fixed cost.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["among", "distinct"]

_Ints = npt.NDArray[np.int64]


def among(values: _Ints, ordered: _Ints) -> npt.NDArray[np.bool_]:
    """Which values are among some numbers.

    Args:
        values: in any order.
        ordered: ascending; may hold a number more than once.

    Returns:
        bool, one a value.

    Example:
        >>> among(np.array([3, 1, 9]), np.array([1, 2, 2, 3]))
        array([ True,  True, False])
    """
    if not len(ordered):
        return np.zeros(len(values), np.bool_)
    return np.asarray(ordered.take(ordered.searchsorted(values), mode="clip") == values)


def distinct(*values: _Ints) -> _Ints:
    """The distinct ones of all values, ascending.

    Example:
        >>> distinct(np.array([3, 1]), np.array([2, 1]))
        array([1, 2, 3])
    """
    found = np.concatenate(values)
    found.sort()
    if len(found) < 2:
        return found
    new = np.empty(len(found), np.bool_)
    new[0] = True
    np.not_equal(found[1:], found[:-1], out=new[1:])
    return found[new]
