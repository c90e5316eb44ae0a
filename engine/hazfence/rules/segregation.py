"""Which goods must be kept apart from which: the segregation table of dangerous goods.

You are in ``hazfence.rules``, below ``separation.py``. The numbers are those of the general segregation
table of the IMDG Code (7.2.4): 1 away from, 2 separated from, 3 separated by a complete compartment, 4
separated longitudinally by one; 0 no general requirement. It is a rule for ships, taken over here for
vehicles that stand side by side: the road rules on mixed loading (混合装载; JT/T 617.6, ADR 7.5.2) speak of
one vehicle only. What class 1 asks within itself depends on compatibility groups, which no waybill names
here: 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LEVELS", "class_codes", "level"]

_ORDER = (
    "1.1",
    "1.3",
    "1.4",
    "2.1",
    "2.2",
    "2.3",
    "3",
    "4.1",
    "4.2",
    "4.3",
    "5.1",
    "5.2",
    "6.1",
    "6.2",
    "7",
    "8",
    "9",
)
#: Divisions that share a row with another one.
_SAME = {"1": "1.1", "1.2": "1.1", "1.5": "1.1", "1.6": "1.3"}
#: The table's rows right of the diagonal, the diagonal itself being without requirement.
_UPPER = """
1.1 0 0 4 2 2 4 4 4 4 4 4 2 4 2 4 0
1.3 0 4 2 2 4 3 3 4 4 4 2 4 2 2 0
1.4 2 1 1 2 2 2 2 2 2 0 4 2 2 0
2.1 0 0 2 1 2 0 2 2 0 4 2 1 0
2.2 0 1 0 1 0 0 1 0 2 1 0 0
2.3 2 0 2 0 0 2 0 2 1 0 0
3 0 2 1 2 2 0 3 2 0 0
4.1 1 0 1 2 0 3 2 1 0
4.2 1 2 2 1 3 2 1 0
4.3 2 2 0 2 2 1 0
5.1 2 1 3 1 2 0
5.2 1 3 2 2 0
6.1 1 0 0 0
6.2 3 3 0
7 2 0
8 0
9
"""


def _table() -> npt.NDArray[np.int8]:
    table = np.zeros((len(_ORDER) + 1, len(_ORDER) + 1), np.int8)
    for i, line in enumerate(_UPPER.split("\n")[1:-1]):
        for j, number in enumerate(line.split()[1:], i + 1):
            table[i, j] = table[j, i] = int(number)
    return table


#: int8, shape (18, 18): the number between two codes of :func:`class_codes`; "no goods" asks nothing.
LEVELS = _table()


def class_codes() -> dict[str, int]:
    """The table's row of every UN class and division, and of ``""``, no goods.

    Example:
        >>> codes = class_codes()
        >>> int(LEVELS[codes["3"], codes["5.1"]])
        2
    """
    codes = {name: i for i, name in enumerate(_ORDER)}
    return {**codes, **{name: codes[same] for name, same in _SAME.items()}, "": len(_ORDER)}


def level(one: str, other: str) -> int:
    """How far two classes must be kept apart, 0 to 4.

    Example:
        >>> level("2.1", "5.1"), level("3", "3")
        (2, 0)
    """
    codes = class_codes()
    return int(LEVELS[codes[one], codes[other]])
