"""Decisions from bytes: odd values, and documents that are nearly right.

A case is a string of bytes. Each decision takes some of them, and when they are used up every decision is
the first choice: shorter cases are simpler, and a fuzzer that changes one byte changes one decision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["Draw"]

_T = TypeVar("_T")
NUMBERS: Sequence[Any] = (
    0, 1, -1, 0.5, 180, -180, 180.0000001, 90, -90, 91, 359.99, 1e-320, 1e15, 1e300, -1e300, 2**31, 2**32,
    2**53, 2**63, 2**64, 10**400, float("nan"), float("inf"), float("-inf"), -0.0, True, False,
)  # fmt: skip
TEXTS: Sequence[str] = (
    "", " ", "0", "-1", "1e9", "NaN", "nan", "Infinity", "null", "true", "off", "db", "a", "浙B12345",
    "a\0b", "\ud800", "\u202e", "🚛" * 50, "x" * 5000, "'; DROP TABLE x; --", "<script>", "{", "[]",
    "{}", "\n", "../..", "/", ".", "2026-03-02T08:00:00+08:00", "2026-03-02", "0000-00-00", "24:00",
    "25:61", "00:10", "mon-sun", "Asia/Shanghai", "GCJ-02", "BD-09", "WGS-84", "EPSG:4326", "Feature",
    "Polygon", "Point", "localhost:9092", "a:1,b:2", "a:0", "postgresql://u:p@h/d", "redis://:p@h/0",
    "http://[::1", "://", "%", "%zz", "postgresql://u:%zz@h:x/d?a",
)  # fmt: skip


class Draw:
    """Takes decisions off a string of bytes.

    Args:
        data: the case.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """The next byte; 0 when there is none."""
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def number(self, below: int) -> int:
        """An integer from 0 to ``below`` - 1."""
        if below <= 256:
            return self.byte() % below
        return (self.byte() << 16 | self.byte() << 8 | self.byte()) % below

    def one(self, choices: Sequence[_T]) -> _T:
        """One of the choices."""
        return choices[self.number(len(choices))]

    def rest(self, limit: int = 1 << 20) -> bytes:
        """All bytes that are left."""
        found = self._data[self._at : self._at + limit]
        self._at = len(self._data)
        return found

    def text(self) -> str:
        """An odd text: one of ours, or made of the next bytes."""
        if self.number(4):
            return self.one(TEXTS)
        return bytes(self.byte() for _ in range(self.number(12))).decode("utf-8", "replace")

    def value(self, depth: int = 0) -> Any:
        """An odd value such as JSON can hold, and some that it cannot."""
        kind = self.number(8 if depth < 3 else 5)
        if kind == 0:
            return None
        if kind in (1, 2):
            return self.one(NUMBERS)
        if kind in (3, 4):
            return self.text()
        if kind == 5:
            return {self.text(): self.value(depth + 1) for _ in range(self.number(4))}
        return [self.value(depth + 1) for _ in range(self.number(5))]

    def damaged(self, document: Any, *, names: Sequence[str] = ()) -> Any:
        """A copy of a document with some places changed; it may also be something else altogether.

        Args:
            document: of dicts, lists and plain values.
            names: keys that may be put in anywhere.
        """
        document = copy.deepcopy(document)
        for _ in range(self.number(5)):
            document = self._change(document, names)
        return document

    def _change(self, document: Any, names: Sequence[str]) -> Any:
        """Change one place: walk down until the bytes say here."""
        holder: Any = None
        key: Any = None
        inner = document
        while isinstance(inner, dict | list) and inner and self.number(5):
            holder = inner
            key = self.one(sorted(inner, key=repr)) if isinstance(inner, dict) else self.number(len(inner))
            inner = inner[key]
        changes: list[Callable[[], Any]] = [
            self.value,
            lambda: [inner],
            lambda: inner[: len(inner) // 2] if isinstance(inner, list | str) else self.one(NUMBERS),
            lambda: inner + copy.deepcopy(inner) if isinstance(inner, list | str) else str(inner),
            lambda: -inner if isinstance(inner, int | float) else self.text(),
            lambda: inner[::-1] if isinstance(inner, list | str) else {},
        ]
        if isinstance(inner, dict):
            name = self.one(names) if names and self.number(2) else self.text()
            changes.append(lambda: {**inner, name: self.value()})
        changed = self.one(changes)()
        if holder is None:
            return changed
        if self.number(8) == 7:
            del holder[key]
        else:
            holder[key] = changed
        return document
