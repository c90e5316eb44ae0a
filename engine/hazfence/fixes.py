"""Batches of GPS fixes as columns: the one form in which positions travel through the engine.

You are on the lowest floor of the core. Decoders (``hazfence.wire``) and track readers build
a :class:`FixBatch`; ``hazfence.engine`` consumes it; nothing here knows where a fix came from.
A batch is a set of equally long numpy arrays, never a Python object a fix. Vehicles are codes
into a dictionary that belongs to the batch, so that a sender's plates are strings once a batch
and integers everywhere else. Next room: ``clean.py``, which says which fixes may be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FixBatch"]

#: The dtype of every column, in the order of the fields of :class:`FixBatch`.
COLUMNS: dict[str, np.dtype[Any]] = {
    "vehicle": np.dtype(np.int32),
    "time_us": np.dtype(np.int64),
    "lon": np.dtype(np.float64),
    "lat": np.dtype(np.float64),
    "speed_kmh": np.dtype(np.float32),
    "heading_deg": np.dtype(np.float32),
    "status": np.dtype(np.uint32),
    "alarm": np.dtype(np.uint32),
    "offset": np.dtype(np.int64),
    "item": np.dtype(np.int32),
    "received_us": np.dtype(np.int64),
}

#: Columns that a batch may be without.
OPTIONAL: dict[str, np.dtype[Any]] = {"accuracy_m": np.dtype(np.float32)}

#: What a column holds when its sender said nothing.
DEFAULTS: dict[str, float] = {
    "speed_kmh": float("nan"),
    "heading_deg": float("nan"),
    "status": 0,
    "alarm": 0,
    "offset": 0,
    "item": 0,
    "received_us": 0,
}


@dataclass(frozen=True, slots=True)
class FixBatch:
    """Fixes as columns, each of shape ``(n,)``.

    Attributes:
        vehicles: names (plates, 车牌) that the codes in ``vehicle`` point into.
        vehicle: int32, codes in ``range(len(vehicles))``.
        time_us: int64, microseconds UTC since 1970.
        lon, lat: float64, degrees WGS-84.
        speed_kmh: float32, km/h; NaN when the sender gave none.
        heading_deg: float32, degrees clockwise from north; NaN when unknown.
        status: uint32, status bits of JT/T 808 (bit 0 ACC, bit 1 fix valid); 0 when none sent.
        alarm: uint32, alarm bits of JT/T 808.
        offset: int64, offset of the source message (or line of the source file).
        item: int32, place of the fix within its message.
        received_us: int64, when the message was put on the topic, microseconds UTC; 0 when
            unknown. It comes with the message, so "in the future" means the same on every run.
        accuracy_m: float32, by how much each position may be wrong, metres (``accuracy.py``), NaN where that
            is not known; None when it is known of none, and then costs nothing.

    Example:
        >>> FixBatch.of(["A", "A", "B"], time_us=[0, 5_000_000, 0], lon=[121.5] * 3, lat=[29.9] * 3)
        FixBatch(3 fixes of 2 vehicles)
    """

    vehicles: tuple[str, ...]
    vehicle: npt.NDArray[np.int32]
    time_us: npt.NDArray[np.int64]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    speed_kmh: npt.NDArray[np.float32]
    heading_deg: npt.NDArray[np.float32]
    status: npt.NDArray[np.uint32]
    alarm: npt.NDArray[np.uint32]
    offset: npt.NDArray[np.int64]
    item: npt.NDArray[np.int32]
    received_us: npt.NDArray[np.int64]
    accuracy_m: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        n = len(self.vehicle)
        optional = {} if self.accuracy_m is None else OPTIONAL
        for name, dtype in (COLUMNS | optional).items():
            column = getattr(self, name)
            if not isinstance(column, np.ndarray) or column.dtype != dtype:
                got = getattr(column, "dtype", type(column).__name__)
                raise TypeError(f"FixBatch.{name} must be a numpy array of {dtype}, not {got}")
            if column.shape != (n,):
                raise ValueError(f"FixBatch.{name} has shape {column.shape}, FixBatch.vehicle has ({n},)")
        if n and not 0 <= int(self.vehicle.min()) <= int(self.vehicle.max()) < len(self.vehicles):
            raise ValueError(
                f"FixBatch.vehicle holds codes {self.vehicle.min()}..{self.vehicle.max()}, "
                f"but vehicles has {len(self.vehicles)} names"
            )

    @classmethod
    def of(cls, vehicle: Sequence[str] | npt.NDArray[np.int32], **columns: Any) -> FixBatch:
        """Build a batch from any array-likes; missing columns get their defaults.

        Args:
            vehicle: a name a fix, or int32 codes when ``vehicles=`` is given.
            **columns: ``time_us``, ``lon``, ``lat`` (required) and any other column, array-like
                of the same length or a scalar; ``vehicles`` when ``vehicle`` holds codes.

        Raises:
            TypeError, ValueError: a column is missing, unknown, or of another length.
        """
        names, optional = columns.pop("vehicles", None), {}
        if names is None:
            table: dict[str, int] = {}
            codes = np.fromiter(
                # str(): an array of names would leave numpy's strings in the dictionary.
                (table.setdefault(str(v), len(table)) for v in vehicle),
                dtype=np.int32,
                count=len(vehicle),
            )
            names = tuple(table)
        else:
            codes = np.asarray(vehicle, dtype=np.int32)
        n = len(codes)
        for name in OPTIONAL:
            if (given := columns.pop(name, None)) is not None:
                optional[name] = np.ascontiguousarray(np.broadcast_to(np.asarray(given, OPTIONAL[name]), n))
        if unknown := columns.keys() - COLUMNS.keys():
            raise TypeError(f"FixBatch has no column {sorted(unknown)[0]!r}; it has {', '.join(COLUMNS)}")
        filled: dict[str, Any] = {"vehicle": codes}
        for name, dtype in COLUMNS.items():
            if name == "vehicle":
                continue
            if name not in columns and name not in DEFAULTS:
                raise TypeError(f"FixBatch needs the column {name!r}")
            value = np.asarray(columns.get(name, DEFAULTS.get(name)), dtype=dtype)
            filled[name] = np.full(n, value, dtype) if value.ndim == 0 else np.ascontiguousarray(value)
        return cls(vehicles=tuple(names), **filled, **optional)

    @classmethod
    def empty(cls) -> FixBatch:
        """A batch of no fixes."""
        return cls.of([], time_us=[], lon=[], lat=[])

    @classmethod
    def concat(cls, batches: Iterable[FixBatch]) -> FixBatch:
        """Join batches in order, merging their vehicle dictionaries."""
        parts = [b for b in batches if len(b)]
        if not parts:
            return cls.empty()
        if len(parts) == 1:
            return parts[0]
        columns = {n: np.concatenate([getattr(p, n) for p in parts]) for n in COLUMNS if n != "vehicle"}
        if any(part.accuracy_m is not None for part in parts):
            columns["accuracy_m"] = np.concatenate([part.accuracy() for part in parts])
        if all(part.vehicles is parts[0].vehicles for part in parts):
            whole = np.concatenate([part.vehicle for part in parts])
            return cls(vehicles=parts[0].vehicles, vehicle=whole, **columns)
        table: dict[str, int] = {}
        codes = []
        for part in parts:
            local = np.fromiter(
                (table.setdefault(v, len(table)) for v in part.vehicles), np.int32, len(part.vehicles)
            )
            codes.append(local[part.vehicle])
        return cls(vehicles=tuple(table), vehicle=np.concatenate(codes), **columns)

    def take(self, index: npt.NDArray[Any] | slice) -> FixBatch:
        """The fixes at ``index`` (integers, a bool mask or a slice), with the same dictionary."""
        columns = {name: getattr(self, name)[index] for name in COLUMNS}
        if self.accuracy_m is not None:
            columns["accuracy_m"] = self.accuracy_m[index]
        return replace(self, **columns)

    def accuracy(self) -> npt.NDArray[np.float32]:
        """The column ``accuracy_m``, NaN for each fix where there is none."""
        return np.full(len(self), np.nan, np.float32) if self.accuracy_m is None else self.accuracy_m

    def names(self) -> list[str]:
        """The vehicle's name of every fix: for edges of the system and tests, not for hot paths."""
        return [self.vehicles[c] for c in self.vehicle.tolist()]

    def __len__(self) -> int:
        return len(self.vehicle)

    def __repr__(self) -> str:
        return f"FixBatch({len(self)} fixes of {len(self.vehicles)} vehicles)"

    def __eq__(self, other: object) -> bool:
        """Equal when every fix is the same, whatever the order of the dictionaries; NaN equals NaN."""
        if not isinstance(other, FixBatch):
            return NotImplemented
        return (
            len(self) == len(other)
            and self.names() == other.names()
            and (
                self.accuracy_m is other.accuracy_m is None
                or np.array_equal(self.accuracy(), other.accuracy(), equal_nan=True)
            )
            and all(
                np.array_equal(getattr(self, n), getattr(other, n), equal_nan=dt.kind == "f")
                for n, dt in COLUMNS.items()
                if n != "vehicle"
            )
        )

    __hash__ = None  # type: ignore[assignment]


assert [f.name for f in fields(FixBatch)][1:] == [*COLUMNS, *OPTIONAL], "columns and fields must agree"
