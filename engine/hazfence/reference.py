"""What is on file: vehicles, companies, people, tanks, waybills; as it was at any moment.

You are on the lowest floor of the core, beside ``fixes.py``. :class:`ReferenceData` is immutable and
made of dated rows, so a judgement about last week finds last week's file, whenever it is made: an
audit holds from the moment it was decided, a waybill from the moment it was approved (or its window
begins) until its window ends (or it was withdrawn). New data is a new object, given to
``Engine.use_reference``; where it is read from is the ``Reference`` port's business. The rules that
ask it are in ``hazfence.rules.papers``.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Literal

__all__ = ["UN_CLASSES", "Filed", "ReferenceData", "ReferenceFault", "Waybill", "normal_plate"]

_FOREVER_US = 2**62
Span = tuple[int, int]

#: Classes and divisions of dangerous goods (UN Model Regulations 2.0.1.1).
UN_CLASSES = frozenset(
    "1 1.1 1.2 1.3 1.4 1.5 1.6 2.1 2.2 2.3 3 4.1 4.2 4.3 5.1 5.2 6.1 6.2 7 8 9".split()  # noqa: SIM905
)
#: UN numbers are given out from 0004 on; the list grows by a few each edition.
_UN_NUMBERS = range(4, 3600)
#: Letters of other alphabets that look like the Latin ones of a plate.
_LOOKALIKES = str.maketrans("АВЕКМНОРСТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTYXABEZHIKMNOPTYX")
_DROPPED = frozenset(" \u00b7\u2022\u30fb\uff65.\u3002-_\u2010\u2011\u2012\u2013\u2014")


class ReferenceFault(ValueError):
    """A row on file that cannot be used; names the row and the mend."""


@lru_cache(maxsize=100_000)
def normal_plate(plate: str) -> str:
    """A plate as it is compared: half-width capitals without spaces, dots and dashes.

    Letters of other alphabets that look like Latin ones are taken for these.

    Example:
        >>> normal_plate("浙Ｂ·1 2345") == normal_plate("浙b12345")
        True
    """
    wide = unicodedata.normalize("NFKC", plate).upper().translate(_LOOKALIKES)
    return "".join(c for c in wide if c not in _DROPPED and not c.isspace())


@dataclass(frozen=True, slots=True)
class Filed:
    """A row of the file (电子档案): how a vehicle, company, person or tank stood from one moment to another.

    Attributes:
        kind: of what.
        id: plate, or the company's, person's, tank's number.
        audit: ``approved``, ``pending`` or ``rejected``.
        from_us, to_us: microseconds UTC; when this state held; ``to_us`` None while it does.
        name: for people.
        category: class of a vehicle (``tank``, ``van``), for rules that differ by class.
        papers: expiry by the paper's name, microseconds UTC.
    """

    kind: Literal["vehicle", "company", "person", "tank"]
    id: str
    audit: Literal["approved", "pending", "rejected"]
    from_us: int
    to_us: int | None = None
    name: str = ""
    category: str = ""
    papers: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        where = f"{self.kind} {self.id!r}"
        if self.kind not in ("vehicle", "company", "person", "tank") or not self.id:
            raise ReferenceFault(f"{where}: has no kind or no id; give both")
        if self.audit not in ("approved", "pending", "rejected"):
            raise ReferenceFault(f"{where}: audit is {self.audit!r}; write approved, pending or rejected")
        if self.to_us is not None and self.to_us <= self.from_us:
            raise ReferenceFault(f"{where}: holds to a moment not after it holds from; swap or correct them")


@dataclass(frozen=True, slots=True)
class Waybill:
    """An electronic waybill (电子运单).

    Attributes:
        number: of the waybill.
        plate: of the vehicle.
        un_number: of the goods, 4..3599.
        un_class: class or division of the goods, one of :data:`UN_CLASSES`.
        from_us, to_us: the window of the trip, microseconds UTC.
        approved_us: when it was approved; None while it is not.
        withdrawn_us: when it was withdrawn; None when it was not.
        goods, tank, driver, escort: for people.
        quantity_t: planned, tonnes.
    """

    number: str
    plate: str
    un_number: int
    un_class: str
    from_us: int
    to_us: int
    approved_us: int | None = None
    withdrawn_us: int | None = None
    goods: str = ""
    tank: str = ""
    driver: str = ""
    escort: str = ""
    quantity_t: float | None = None

    def __post_init__(self) -> None:
        where = f"waybill {self.number!r} of {self.plate!r}"
        if not self.number or not normal_plate(self.plate):
            raise ReferenceFault(f"{where}: has no number or no plate; give both")
        if isinstance(self.un_number, bool) or self.un_number not in _UN_NUMBERS:
            raise ReferenceFault(
                f"{where}: there is no UN number {self.un_number!r}; give one from 4 to 3599"
            )
        if self.un_class not in UN_CLASSES:
            known = ", ".join(sorted(UN_CLASSES))
            raise ReferenceFault(f"{where}: there is no UN class {self.un_class!r}; known are {known}")
        if self.to_us <= self.from_us:
            raise ReferenceFault(f"{where}: its window ends before it begins; swap or correct the two")

    @property
    def valid(self) -> Span | None:
        """From when to when it covers a trip; None when it never does."""
        if self.approved_us is None:
            return None
        start = max(self.from_us, self.approved_us)
        end = self.to_us if self.withdrawn_us is None else min(self.to_us, self.withdrawn_us)
        return (start, end) if start < end else None


class ReferenceData:
    """Everything on file; immutable.

    Args:
        filed: rows of vehicles, companies, people and tanks; rows of one id may not overlap in time.
        waybills: in any order. Waybills of one vehicle may overlap: a trip is covered while any is valid.

    Raises:
        ReferenceFault: rows of one id overlap, or a waybill's number is used twice.

    Example:
        >>> data = ReferenceData([Filed("vehicle", "浙B12345", "approved", 0)])
        >>> data.audit("浙B 12345", 5)
        'approved'
    """

    def __init__(self, filed: Iterable[Filed] = (), waybills: Iterable[Waybill] = ()) -> None:
        self._rows: dict[tuple[str, str], list[Filed]] = {}
        for row in filed:
            key = row.kind, normal_plate(row.id) if row.kind == "vehicle" else row.id
            self._rows.setdefault(key, []).append(row)
        for (kind, name), rows in self._rows.items():
            rows.sort(key=lambda row: row.from_us)
            for a, b in pairwise(rows):
                if a.to_us is None or a.to_us > b.from_us:
                    raise ReferenceFault(
                        f"{kind} {name!r}: two rows hold at the same time; end the older one"
                    )
        self._waybills: dict[str, list[Waybill]] = {}
        numbers: set[str] = set()
        for bill in sorted(waybills, key=lambda bill: (bill.from_us, bill.number)):
            if bill.number in numbers:
                raise ReferenceFault(f"waybill {bill.number!r}: the number is used twice; give each its own")
            numbers.add(bill.number)
            self._waybills.setdefault(normal_plate(bill.plate), []).append(bill)
        self._approved: dict[str, list[Span]] = {}
        self._covered: dict[str, list[Span]] = {}
        self._changes: dict[str, list[int]] = {}

    @classmethod
    def of_usable(
        cls, filed: Iterable[Filed], waybills: Iterable[Waybill]
    ) -> tuple[ReferenceData, tuple[str, ...]]:
        """The same without rows that contradict others, and what is wrong with those, a line each.

        Of two rows of one id that overlap the one that began earlier stands, of two waybills of one
        number the one whose window begins earlier.
        """
        faults: list[str] = []
        rows: list[Filed] = []
        ends: dict[tuple[str, str], int] = {}
        for row in sorted(filed, key=lambda row: row.from_us):
            key = row.kind, normal_plate(row.id) if row.kind == "vehicle" else row.id
            if ends.get(key, row.from_us) > row.from_us:
                faults.append(f"{row.kind} {row.id!r}: two rows hold at the same time; end the older one")
                continue
            ends[key] = _FOREVER_US if row.to_us is None else row.to_us
            rows.append(row)
        bills: dict[str, Waybill] = {}
        for bill in sorted(waybills, key=lambda bill: (bill.from_us, bill.plate)):
            if bill.number in bills:
                faults.append(f"waybill {bill.number!r}: the number is used twice; give each its own")
            bills.setdefault(bill.number, bill)
        return cls(rows, bills.values()), tuple(faults)

    @property
    def filed(self) -> tuple[Filed, ...]:
        """Every row, by kind, id and time."""
        return tuple(row for key in sorted(self._rows) for row in self._rows[key])

    @property
    def waybills(self) -> tuple[Waybill, ...]:
        """Every waybill, by plate and window."""
        return tuple(bill for plate in sorted(self._waybills) for bill in self._waybills[plate])

    def row(self, kind: str, name: str, at_us: int) -> Filed | None:
        """How something stood at a moment; None when it was not on file."""
        rows = self._rows.get((kind, normal_plate(name) if kind == "vehicle" else name), [])
        at = bisect_right(rows, at_us, key=lambda row: row.from_us) - 1
        if at < 0 or at_us >= (rows[at].to_us or _FOREVER_US):
            return None
        return rows[at]

    def audit(self, plate: str, at_us: int) -> str | None:
        """The audit state of a vehicle at a moment; None when it was not on file."""
        row = self.row("vehicle", plate, at_us)
        return None if row is None else row.audit

    def classes(self, plate: str, at_us: int) -> frozenset[str]:
        """The classes of a vehicle at a moment, for rules that differ by class."""
        row = self.row("vehicle", plate, at_us)
        return frozenset([row.category]) if row is not None and row.category else frozenset()

    def waybill(self, plate: str, at_us: int, un_classes: Iterable[str] | None = None) -> Waybill | None:
        """The waybill that covers a vehicle at a moment, the one that lasts longest; None for none.

        Args:
            un_classes: asks only for those of goods of these classes, see :meth:`carrying`.
        """
        asked = None if un_classes is None else set(un_classes)
        found = [
            b
            for b in self._waybills.get(normal_plate(plate), [])
            if b.valid and b.valid[0] <= at_us < b.valid[1] and (asked is None or _is_of(b, asked))
        ]
        return max(found, key=lambda b: (b.to_us, b.number), default=None)

    def goods(self, plate: str) -> frozenset[str]:
        """The UN classes that any waybill of a vehicle names, whenever it is valid."""
        return frozenset(bill.un_class for bill in self._waybills.get(normal_plate(plate), []))

    def approved(self, plate: str) -> list[Span]:
        """When a vehicle was on file and approved: sorted, disjoint [from, to)."""
        plate = normal_plate(plate)
        if plate not in self._approved:
            rows = self._rows.get(("vehicle", plate), [])
            spans = [(r.from_us, r.to_us or _FOREVER_US) for r in rows if r.audit == "approved"]
            self._approved[plate] = _joined(spans)
        return self._approved[plate]

    def covered(self, plate: str) -> list[Span]:
        """When a vehicle was covered by a waybill: sorted, disjoint [from, to)."""
        plate = normal_plate(plate)
        if plate not in self._covered:
            bills = self._waybills.get(plate, [])
            self._covered[plate] = _joined(b.valid for b in bills if b.valid is not None)
        return self._covered[plate]

    def carrying(self, plate: str, un_classes: Iterable[str]) -> list[Span]:
        """When a valid waybill of the vehicle named goods of any of these classes.

        A class stands for its divisions: ``1`` for ``1.1`` to ``1.6``.
        """
        asked = set(un_classes)
        bills = self._waybills.get(normal_plate(plate), [])
        return _joined(b.valid for b in bills if b.valid is not None and _is_of(b, asked))

    def next_change(self, plate: str, at_us: int) -> int | None:
        """The next moment after ``at_us`` at which anything about the vehicle may differ."""
        plate = normal_plate(plate)
        if plate not in self._changes:
            bills = [b.valid for b in self._waybills.get(plate, []) if b.valid is not None]
            rows = [(r.from_us, r.to_us or _FOREVER_US) for r in self._rows.get(("vehicle", plate), [])]
            self._changes[plate] = sorted({t for span in (*bills, *rows) for t in span} - {_FOREVER_US})
        changes = self._changes[plate]
        at = bisect_right(changes, at_us)
        return changes[at] if at < len(changes) else None

    def __repr__(self) -> str:
        bills = sum(map(len, self._waybills.values()))
        return f"ReferenceData({len(self._rows)} on file, {bills} waybills)"


def _is_of(bill: Waybill, asked: Collection[str]) -> bool:
    """Whether its goods are of one of the classes, or of a division of one."""
    return bill.un_class in asked or bill.un_class.split(".")[0] in asked


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined
