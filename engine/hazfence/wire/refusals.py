"""Why a message could not be read: the words that are counted, and the exception that carries them.

You are on the floor of the wire formats. ``json_fix.py`` and ``columns.py`` raise :class:`Refused`;
``decode.py`` turns it into a ``Reject`` that keeps the message. Values that can be read but not
believed (a longitude of 500, the year 2099) are not refused here: ``hazfence.clean`` judges those.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["MAX_VEHICLE_BYTES", "Refusal", "Refused", "check_vehicle"]

#: Longest name of a vehicle, in bytes of UTF-8. A plate has 9 to 12; the rest is for other ids.
MAX_VEHICLE_BYTES = 128


class Refusal(StrEnum):
    """The reason as it is counted and stored."""

    EMPTY = "empty"  #: no value at all, e.g. a tombstone
    TOO_LARGE = "too_large"  #: longer than the setting allows
    UNKNOWN_FORMAT = "unknown_format"  #: neither JSON nor a batch message of a version known here
    BAD_JSON = "bad_json"  #: not JSON
    WRONG_TYPE = "wrong_type"  #: JSON, but a value is not what it should be
    MISSING_KEY = "missing_key"  #: JSON, but a required key is not there
    BAD_VEHICLE = "bad_vehicle"  #: the vehicle's name is empty, too long, or cannot be stored
    UNKNOWN_DATUM = "unknown_datum"  #: the declared datum is none of those known
    UNKNOWN_CHECKPOINT = "unknown_checkpoint"  #: a plate read of a place that is no checkpoint
    BAD_TIME = "bad_time"  #: a plate read of a moment that cannot be
    TRUNCATED = "truncated"  #: a batch message shorter than its header says
    BAD_BATCH = "bad_batch"  #: a batch message that contradicts itself


class Refused(ValueError):
    """A message that cannot be read.

    Attributes:
        reason: a :class:`Refusal`.
        detail: one line for a person: the place in the message, and the mend.
    """

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def check_vehicle(name: str, place: str) -> None:
    """Refuse a name that no sink could keep.

    PostgreSQL stores no NUL and nothing stores half a surrogate pair; a name without end would be
    a way to fill every table.

    Raises:
        Refused: ``bad_vehicle``, naming ``place``.
    """
    if not name:
        raise Refused(Refusal.BAD_VEHICLE, f"{place} is empty: send the plate or another id")
    if "\0" in name:
        raise Refused(Refusal.BAD_VEHICLE, f"{place} {name!r:.80} holds a NUL: send text without it")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise Refused(
            Refusal.BAD_VEHICLE, f"{place} {name!r:.80} holds half a surrogate pair: send whole characters"
        ) from None
    if size > MAX_VEHICLE_BYTES:
        raise Refused(
            Refusal.BAD_VEHICLE,
            f"{place} {name!r:.40} has {size} bytes of UTF-8: send at most {MAX_VEHICLE_BYTES}",
        )
