"""One fix as one JSON message: for senders that cannot batch.

You are on the floor of the wire formats; ``docs/wire.md`` describes the message for senders in
other languages. The fast way is a typed msgspec decoder (0.4 us a fix; orjson 0.55 us, and no
types checked). Only what it will not take goes the slow way, through the standard library, which
either still makes sense of it (the literal ``NaN``, which Python senders write, becomes a NaN for
``hazfence.clean`` to name) or says in words what is wrong. Next door: ``columns.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import numpy as np

from hazfence.events import from_iso, iso
from hazfence.fixes import FixBatch
from hazfence.wire.refusals import Refusal, Refused, check_vehicle
from hazfence_fences.datum import Datum

__all__ = ["JsonFix", "encode_fix", "fix_as_json", "read_fix"]

_UINT32_MAX = 2**32 - 1
_Bits = Annotated[int, msgspec.Meta(ge=0, le=_UINT32_MAX)]
#: Milliseconds of the years 1 to 9999, beyond which no calendar of ours goes.
_MIN_MS, _MAX_MS = -62_135_596_800_000, 253_402_300_799_999
_NAN = float("nan")


class JsonFix(msgspec.Struct, gc=False):
    """One fix as sent; unknown keys are ignored, null is the same as leaving a key out.

    Attributes:
        vehicle: name of the vehicle.
        lon, lat: degrees in ``datum``.
        time: ISO 8601 with offset; or ``time_ms``: milliseconds since 1970 UTC.
        speed_kmh, heading_deg: None when unknown.
        status, alarm: bits of JT/T 808.
        accuracy_m, hdop, satellites: how good the position is, see ``hazfence.accuracy``.
        datum: WGS-84, CGCS2000, GCJ-02 or BD-09.
    """

    vehicle: str
    lon: float
    lat: float
    time: str | None = None
    time_ms: int | None = None
    speed_kmh: float | None = None
    heading_deg: float | None = None
    status: _Bits | None = None
    alarm: _Bits | None = None
    datum: str | None = None
    accuracy_m: float | None = None
    hdop: float | None = None
    satellites: float | None = None

    def time_us(self) -> int:
        """Microseconds UTC since 1970.

        Raises:
            Refused: neither ``time`` nor ``time_ms``, or no time.
        """
        if self.time is not None:
            try:
                return from_iso(self.time)
            except (ValueError, OverflowError) as error:
                raise Refused(
                    Refusal.WRONG_TYPE,
                    f"key 'time': {error}; send ISO 8601 with offset, e.g. 2026-03-02T08:00:00+08:00",
                ) from None
        if self.time_ms is None:
            raise Refused(
                Refusal.MISSING_KEY, "key 'time' (ISO 8601 with offset) or 'time_ms' (epoch ms) is missing"
            )
        if not _MIN_MS <= self.time_ms <= _MAX_MS:
            raise Refused(
                Refusal.WRONG_TYPE,
                f"key 'time_ms': {self.time_ms} ms is outside the years 1 to 9999; "
                "send milliseconds since 1970",
            )
        return self.time_ms * 1000

    def datum_or_default(self) -> Datum:
        """The declared datum, WGS-84 when none is.

        Raises:
            Refused: ``unknown_datum``.
        """
        if self.datum is None or self.datum == "WGS-84":
            return Datum.WGS84
        try:
            return Datum.parse(self.datum)
        except ValueError as error:
            raise Refused(Refusal.UNKNOWN_DATUM, f"key 'datum': {error}") from None


_fast: Callable[[bytes], JsonFix] = msgspec.json.Decoder(JsonFix).decode


def read_fix(value: bytes) -> JsonFix:
    """Read one message.

    Raises:
        Refused: it is not JSON, not an object, lacks a key, or holds a value of a wrong type.

    Example:
        >>> read_fix(b'{"vehicle":"A","time_ms":0,"lon":121.5,"lat":29.9}').lon
        121.5
    """
    try:
        fix = _fast(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fix = _slow(value)
    check_vehicle(fix.vehicle, "key 'vehicle'")
    return fix


def _slow(value: bytes) -> JsonFix:
    """Read it with patience, and say what is wrong in the words of ``docs/wire.md``."""
    try:
        data = json.loads(value.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Refused(Refusal.BAD_JSON, f"byte {error.start}: not UTF-8; send JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise Refused(
            Refusal.BAD_JSON, f"character {error.pos}: {error.msg}; send one JSON object a message"
        ) from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, nesting without end
        raise Refused(Refusal.BAD_JSON, f"{error}; send one JSON object a message") from None
    if not isinstance(data, dict):
        raise Refused(Refusal.WRONG_TYPE, f"the message is {_word(data)}; send one JSON object a message")
    return JsonFix(
        vehicle=_get(data, "vehicle", str, "text", required=True),
        lon=_number(data, "lon", required=True),
        lat=_number(data, "lat", required=True),
        time=_get(data, "time", str, "ISO 8601 text"),
        time_ms=_get(data, "time_ms", int, "a whole number of milliseconds"),
        speed_kmh=_number(data, "speed_kmh"),
        heading_deg=_number(data, "heading_deg"),
        status=_bits(data, "status"),
        alarm=_bits(data, "alarm"),
        datum=_get(data, "datum", str, "text"),
        accuracy_m=_number(data, "accuracy_m"),
        hdop=_number(data, "hdop"),
        satellites=_number(data, "satellites"),
    )


def _word(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _get(data: dict[str, Any], key: str, kind: type, wanted: str, *, required: bool = False) -> Any:
    value = data.get(key)
    if value is None:
        if not required:
            return None
        if key in data:
            raise Refused(Refusal.WRONG_TYPE, f"key '{key}' is null; send {wanted}")
        raise Refused(Refusal.MISSING_KEY, f"key '{key}' is missing; send {wanted}")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused(Refusal.WRONG_TYPE, f"key '{key}' is {_word(value)}; send {wanted}")
    return value


def _number(data: dict[str, Any], key: str, *, required: bool = False) -> Any:
    value = _get(data, key, int | float, "a number", required=required)  # type: ignore[arg-type]
    try:
        return None if value is None else float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _bits(data: dict[str, Any], key: str) -> Any:
    value = _get(data, key, int, "a whole number of 32 bits")
    if value is not None and not 0 <= value <= _UINT32_MAX:
        raise Refused(Refusal.WRONG_TYPE, f"key '{key}' is {value}; send a whole number of 32 bits")
    return value


def encode_fix(
    vehicle: str,
    time_us: int,
    lon: float,
    lat: float,
    *,
    speed_kmh: float | None = None,
    heading_deg: float | None = None,
    status: int | None = None,
    alarm: int | None = None,
    accuracy_m: float | None = None,
    datum: Datum = Datum.WGS84,
) -> bytes:
    """Write one fix as a message; what is None is left out.

    Example:
        >>> encode_fix("A", 0, 121.5, 29.9)
        b'{"vehicle":"A","time":"1970-01-01T00:00:00.000000Z","lon":121.5,"lat":29.9,"datum":"WGS-84"}'
    """
    data: dict[str, Any] = {"vehicle": vehicle, "time": iso(time_us), "lon": lon, "lat": lat}
    optional = {"speed_kmh": speed_kmh, "heading_deg": heading_deg, "status": status, "alarm": alarm}
    optional["accuracy_m"] = accuracy_m
    data |= {key: value for key, value in optional.items() if value is not None}
    data["datum"] = str(datum)
    return msgspec.json.encode(data)


def fix_as_json(batch: FixBatch, row: int) -> bytes:
    """One fix of a batch as JSON for a dead letter; a NaN or infinity is written as text.

    Example:
        >>> fix_as_json(FixBatch.of(["A"], time_us=0, lon=[float("nan")], lat=[0.0]), 0)
        b'{"vehicle":"A","time":"1970-01-01T00:00:00.000000Z","lon":"nan","lat":0.0,"datum":"WGS-84"}'
    """
    time_us = int(batch.time_us[row])
    data: dict[str, Any] = {"vehicle": batch.vehicles[batch.vehicle[row]]}
    try:
        data["time"] = iso(time_us)
    except OverflowError:
        data["time_us"] = time_us
    for key in ("lon", "lat", "speed_kmh", "heading_deg"):
        number = float(getattr(batch, key)[row])
        if np.isfinite(number):
            data[key] = number
        elif key in ("lon", "lat"):
            data[key] = str(number)
    for key in ("status", "alarm"):
        if bits := int(getattr(batch, key)[row]):
            data[key] = bits
    if batch.accuracy_m is not None and not np.isnan(batch.accuracy_m[row]):
        # There is no infinity in JSON.
        data["accuracy_m"] = min(float(batch.accuracy_m[row]), float(np.finfo(np.float32).max))
    data["datum"] = str(Datum.WGS84)
    return msgspec.json.encode(data)
