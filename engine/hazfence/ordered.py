"""Questions of numbers that are in order: what is among them, which are distinct.

You are on the lowest floor of the core. ``np.isin``, ``np.unique`` and ``np.union1d`` build tables or sort
what is sorted already; a batch asks a dozen times of some hundred numbers, so this is much of its fixed cost.
What is sorted here are a few runs in order, one behind the other, as good as always: a stable sort, which
merges such runs, takes a tenth of the time of the default one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["among", "ascending", "begins", "distinct", "in_turn"]

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


def begins(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which values are not the same as the one before them; the first of all is not.

    Example:
        >>> begins(np.array([4, 4, 7]))
        array([ True, False,  True])
    """
    found = np.empty(len(values), np.bool_)
    found[:1] = True
    np.not_equal(values[1:], values[:-1], out=found[1:])
    return found


def ascending(*values: _Ints) -> _Ints:
    """All values in order: a few runs that are in order already, or almost.

    Example:
        >>> ascending(np.array([1, 3]), np.array([2, 3]))
        array([1, 2, 3, 3])
    """
    found = np.concatenate(values)
    found.sort(kind="stable")
    return found


def distinct(*values: _Ints) -> _Ints:
    """The distinct ones of all values, ascending.

    Example:
        >>> distinct(np.array([3, 1]), np.array([2, 1]))
        array([1, 2, 3])
    """
    found = ascending(*values)
    return found.compress(begins(found))


def in_turn(row: _Ints, at_us: _Ints, fence: _Ints) -> _Ints:
    """The order by row, then time, then fence; what is the same in all stays as it is.

    As ``np.lexsort((fence, at_us, row))``, which sorts three times; here row and time are one number, and
    only where both are the same the fences are looked at.

    Args:
        row: not negative.
        at_us: moments, microseconds.

    Example:
        >>> in_turn(np.array([1, 0, 1]), np.array([7, 9, 5]), np.array([0, 0, 0]))
        array([1, 2, 0])
    """
    if len(row) < 2:
        return np.arange(len(row))
    first_us = int(at_us.min())
    bits = (int(at_us.max()) - first_us).bit_length()
    if bits + int(row.max()).bit_length() > 63:
        return np.lexsort((fence, at_us, row))
    key = (row << bits) | (at_us - first_us)
    order = key.argsort(kind="stable")
    key = key.take(order)
    same = key[1:] == key[:-1]
    if same.any():
        tied = np.zeros(len(key), np.bool_)
        tied[1:] = same
        tied[:-1] |= same
        at = tied.nonzero()[0]
        these = order.take(at)
        order[at] = these.take(np.lexsort((fence.take(these), key.take(at))))
    return order
