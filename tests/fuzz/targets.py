"""What is thrown at what, and what must hold.

A target takes a case (bytes) and says whether the thing under test took it; it raises when something is not
as it must be. An error that the thing under test is allowed to raise is one with a text for a person.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hazfence import Engine, EngineSettings, FixBatch
from hazfence.rules import Rulebook
from hazfence.rules.catalogue import RULES
from hazfence.wire import Message, Refusal, decode, encode_columns, encode_fix
from hazfence.worker.config import PREFIX, SettingsError, WorkerSettings
from hazfence_fences import FenceError, FenceSet, parse_fences
from hazfence_fences.geojson import to_feature

from .draw import Draw

__all__ = ["TARGETS", "Target"]

PLATES = ["浙B12345", "A", "🚛"]
GOOD = encode_fix("good", 5, 1.0, 2.0)
BATCH = encode_columns(
    FixBatch.of(PLATES * 2, time_us=range(6), lon=121.5, lat=29.9, speed_kmh=50.0, alarm=1, item=range(6))
)
FIX = {
    "vehicle": "浙B12345", "time": "2026-03-02T08:00:00+08:00", "lon": 121.5, "lat": 29.9, "speed_kmh": 50.0,
    "heading_deg": 90, "status": 3, "alarm": 0, "datum": "GCJ-02",
}  # fmt: skip
RING = [[121.5, 29.9], [121.6, 29.9], [121.6, 30.0], [121.5, 30.0], [121.5, 29.9]]
HOURS = {"tz": "Asia/Shanghai", "windows": [{"days": "mon-sun", "from": "22:00", "to": "05:00"}]}
COLLECTION: dict[str, Any] = {
    "type": "FeatureCollection",
    "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
    "features": [
        {
            "type": "Feature",
            "id": "z",
            "properties": {
                "id": "z", "name": "区", "kind": "restricted", "datum": "WGS-84", "version": 2, "thin": False,
                "speed_limit_kmh": 60, "max_stay_min": 30, "schedule": HOURS,
                "valid_from": "2026-01-01T00:00:00Z",
                "valid_to": "2027-01-01T00:00:00Z", "rules": {"overpark": {"max_min": 9}},
            },
            "geometry": {"type": "Polygon", "coordinates": [RING]},
        },
        {
            "type": "Feature",
            "properties": {"id": "m", "kind": "district", "datum": "GCJ-02"},
            "geometry": {"type": "MultiPolygon", "coordinates": [[RING], [[[1, 1], [2, 1], [2, 2], [1, 1]]]]},
        },
        {
            "type": "Feature",
            "properties": {"id": "c", "kind": "checkpoint", "radius_m": 150},
            "geometry": {"type": "Point", "coordinates": [121.5, 29.9]},
        },
        {
            "type": "Feature",
            "properties": {"id": "l", "kind": "corridor", "width_m": 100},
            "geometry": {"type": "LineString", "coordinates": RING[:3]},
        },
    ],
}  # fmt: skip
NAMES = sorted({*COLLECTION["features"][0]["properties"], "radius_m", "width_m", "coordinates"})
BOOK: dict[str, Any] = {
    "overspeed": {
        "general_kmh": 60, "when": [{"classes": ["tank"], "hours": HOURS, "set": {"general_kmh": 50}}],
    },
    "overpark": {"max_min": 30}, "silent": True, "gnss_suspect": False,
}  # fmt: skip
PARAMETERS = sorted({str(rule.kind) for rule in RULES} | {p.name for rule in RULES for p in rule.parameters})
ENGINE = {"max_gap_s": 60, "recent_s": 600.0, "gate_tolerance_m": 100, "rules": BOOK}
NO_FENCES = FenceSet()
ONE_FIX = FixBatch.of(["A"], time_us=1_772_409_600_000_000, lon=1.0, lat=2.0)
SECRET = "s3cr3t-of-the-fuzz"
WORKER = {
    "database_url": f"postgresql://u:{SECRET}@db/x", "kafka": "a:9092", "fences": "db",
    "redis_url": f"redis://:{SECRET}@r/0", "engine": json.dumps(ENGINE), "clock": "event", "lateness_s": "60",
    "keep_fixes": "true", "web_port": "9108", "kafka_security": "sasl_plaintext", "kafka_username": "u",
    "kafka_password": SECRET, "log_level": "info", "topic": "t", "session_timeout_s": "30",
    "heartbeat_s": "3",
}  # fmt: skip
FIELDS = sorted(WorkerSettings.model_fields)


class Target(NamedTuple):
    """Something that takes what comes from outside.

    Attributes:
        throw: a case at it; True when it was taken, False when it was refused.
        share: part of all cases.
    """

    throw: Callable[[bytes], bool]
    share: float


def _text_of_error(error: BaseException) -> str:
    text = str(error)
    assert text.strip(), f"{type(error).__name__} without a text"
    return text


def _refused(error: BaseException) -> bool:
    """False, for a refusal that is as it should be."""
    assert SECRET not in _text_of_error(error)
    return False


def check_decoded(values: list[bytes]) -> bool:
    """Good messages around each value all arrive; each value is fixes, or one reject that keeps it."""
    log = [m for value in values for m in (GOOD, value)] + [GOOD]
    batch, rejects = decode([Message(offset, 0, value) for offset, value in enumerate(log)])
    assert batch.offset[batch.offset % 2 == 0].tolist() == list(range(0, len(log), 2))
    assert (np.diff(batch.offset) >= 0).all()
    by_offset = {reject.offset: reject for reject in rejects}
    assert len(by_offset) == len(rejects), "one reject a message"
    for offset in range(1, len(log), 2):
        items = batch.item[batch.offset == offset].tolist()
        assert items == list(range(len(items)))
        if (reject := by_offset.get(offset)) is not None:
            assert not items
            assert reject.payload == log[offset]
            assert reject.item == -1
            assert reject.reason in list(Refusal)
            assert reject.detail
            assert "\n" not in reject.detail
        else:
            assert items or log[offset][:1] == b"\x89"
    return not rejects


def wire(data: bytes) -> bool:
    """Any bytes at all, and good messages with bytes changed, cut, repeated."""
    draw = Draw(data)
    values = []
    for _ in range(1 + draw.number(3)):
        how = draw.number(4)
        if how == 0:
            values.append(draw.rest(1 + draw.number(64)))
            continue
        value = bytearray(BATCH if how < 3 else GOOD)
        for _ in range(draw.number(6)):
            if not value:
                break
            at = draw.number(min(len(value), 200))
            match draw.number(5):
                case 0:
                    value[at] = draw.byte()
                case 1:
                    value[at] ^= 1 << draw.number(8)
                case 2:
                    del value[at:]
                case 3:
                    value[at:at] = value[at : at + draw.number(32)]
                case _:
                    value[at : at + 4] = struct.pack("<I", draw.one([0, 1, 6, 2**31, 2**32 - 1]))
        values.append(bytes(value))
    return check_decoded(values)


def json_fix(data: bytes) -> bool:
    """A fix as JSON with keys and values changed."""
    draw = Draw(data)
    document = draw.damaged(FIX, names=list(FIX))
    text = json.dumps(document, ensure_ascii=bool(draw.number(2)), default=str)
    return check_decoded([text.encode("utf-8", draw.one(["surrogatepass", "replace"]))])


def geojson(data: bytes) -> bool:
    """Fences as GeoJSON; what is taken is the same when written and read again."""
    draw = Draw(data)
    document = draw.damaged(COLLECTION, names=NAMES)
    try:
        fences = parse_fences(document, source="fuzz")
        index = FenceSet(fences) if draw.number(4) == 0 else None
    except FenceError as error:
        return _refused(error)
    written = json.loads(
        json.dumps({"type": "FeatureCollection", "features": [to_feature(f) for f in fences]})
    )
    again = parse_fences(written, source="again")
    for one, other in zip(fences, again, strict=True):
        assert to_feature(other) == to_feature(one)
        assert other.geometry.is_valid
    if index is not None and len(index):
        index.locate(np.array([121.55, 0.0]), np.array([29.95, 1.0]))
    return True


def geojson_text(data: bytes) -> bool:
    """Any text that is JSON, however wild, as fences."""
    draw = Draw(data)
    text = json.dumps(COLLECTION["features"][draw.number(4)])
    characters = list(text)
    for _ in range(draw.number(6)):
        at = draw.number(len(characters))
        characters[at] = draw.one([*'{}[]",:0123456789.-e\\ntf', "null", "1e999", "NaN", "\ud800"])
    try:
        document = json.loads("".join(characters))
    except ValueError:
        return False
    try:
        parse_fences(document, source="fuzz")
    except FenceError as error:
        return _refused(error)
    return True


def rulebook(data: bytes) -> bool:
    """A rulebook; what is taken is the same when written and read again."""
    draw = Draw(data)
    try:
        book = Rulebook(draw.damaged(BOOK, names=PARAMETERS))
    except ValueError as error:
        return _refused(error)
    assert Rulebook(json.loads(json.dumps(book.to_json()))) == book
    return True


def engine_settings(data: bytes) -> bool:
    """Thresholds of the core."""
    draw = Draw(data)
    document = draw.damaged(ENGINE, names=list(EngineSettings().to_json()))
    try:
        settings = EngineSettings.from_json(document)
    except ValueError as error:
        return _refused(error)
    assert EngineSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    Engine(NO_FENCES, settings).process(ONE_FIX)
    return True


def worker_settings(data: bytes) -> bool:
    """Variables of the environment; no error repeats a secret."""
    draw = Draw(data)
    given = dict(WORKER)
    for _ in range(draw.number(5)):
        name = draw.one(FIELDS)
        value = draw.value() if draw.number(2) else draw.text()
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if name == "fences" and text not in ("db", ".", "/"):
            text = "/nonexistent/" + text[:20]
        given[name] = text
    before = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    try:
        for name in before:
            del os.environ[name]
        for name, text in given.items():
            # What no environment can hold is not what this is about.
            os.environ[PREFIX + name.upper()] = text.replace("\0", "").encode("utf-8", "ignore").decode()
        try:
            settings = WorkerSettings.load()
        except SettingsError as error:
            return _refused(error)
        assert SECRET not in repr(settings)
        env = settings.to_env()
        for name in FIELDS:
            os.environ.pop(PREFIX + name.upper(), None)
        os.environ.update(env)
        assert WorkerSettings.load() == settings
        settings.engine_settings()
        settings.processor()
        settings.secrets()
    finally:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            del os.environ[name]
        os.environ.update(before)
    return True


TARGETS = {
    "wire": Target(wire, 0.4),
    "json_fix": Target(json_fix, 0.25),
    "rulebook": Target(rulebook, 0.12),
    "engine_settings": Target(engine_settings, 0.06),
    "worker_settings": Target(worker_settings, 0.05),
    "geojson": Target(geojson, 0.06),
    "geojson_text": Target(geojson_text, 0.06),
}
#: Where found cases lie, to be tried first by every run.
FOUND = Path(__file__).parent / "found.json"
