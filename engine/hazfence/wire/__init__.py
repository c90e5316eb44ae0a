"""How fixes travel: what senders write and the worker reads.

One fix as JSON (``json_fix.py``) or many as columns (``columns.py``), told apart by their first
byte and read together by ``decode.py``. Senders in Python use ``packer.py`` (no IO) or
``producer.py`` (aiokafka); senders in other languages find both formats in ``docs/wire.md``.
"""

from hazfence.wire.columns import encode_columns
from hazfence.wire.decode import Decoded, Message, decode
from hazfence.wire.json_fix import encode_fix
from hazfence.wire.refusals import Refusal, Refused

__all__ = ["Decoded", "Message", "Refusal", "Refused", "decode", "encode_columns", "encode_fix"]
