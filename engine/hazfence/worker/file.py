"""The file of vehicles, waybills and papers as the worker holds it: loaded once, kept fresh.

You are beside ``processor.py`` and ``joint.py``, which ask for :attr:`CurrentFile.data` before they judge and
hand a newer one to their engine. What is on file comes through the port ``hazfence.ports.Reference``. A file
that is away is done without changes: judged on by what was read last. A row that cannot be used is left out,
said in the log and counted; the others count.
"""

from __future__ import annotations

import asyncio

import structlog

from hazfence.ports import Reference, StoreAway
from hazfence.reference import ReferenceData
from hazfence.worker.metrics import WorkerMetrics

__all__ = ["CurrentFile"]

_log = structlog.get_logger(__name__)
_PAUSE_S = 5.0
_LISTEN_S = 600.0


class CurrentFile:
    """Holds the newest :class:`~hazfence.reference.ReferenceData`.

    Args:
        reference: where it is read from; open, and the caller's to close.
        metrics: what is counted.

    Attributes:
        data: what is on file as last read; None before the first :meth:`load`.
    """

    def __init__(self, reference: Reference, metrics: WorkerMetrics) -> None:
        self._reference = reference
        self._metrics = metrics
        self._seq = 0
        self._said: frozenset[str] = frozenset()
        self._lock = asyncio.Lock()
        self.data: ReferenceData | None = None

    async def load(self) -> ReferenceData:
        """The file, read when it was not yet.

        Raises:
            StoreAway: it cannot be read now.
        """
        async with self._lock:
            if self.data is None:
                await self._read()
        assert self.data is not None
        return self.data

    async def keep_fresh(self) -> None:
        """Read the file again whenever it changed; runs until cancelled."""
        while True:
            try:
                await self.load()
                if await self._reference.changed(self._seq, _LISTEN_S):
                    async with self._lock:
                        await self._read()
            except StoreAway as error:
                _log.warning("file away: judging by what was read last", error=str(error))
                await asyncio.sleep(_PAUSE_S)

    async def _read(self) -> None:
        state = await self._reference.load()
        self._seq, self.data = state.seq, state.data
        self._metrics.reference_loads.inc()
        self._metrics.reference_faults.set(len(state.faults))
        for fault in sorted(set(state.faults) - self._said):
            _log.error("a row on file cannot be used and is left out", fault=fault)
        self._said = frozenset(state.faults)
        _log.info("file read", seq=state.seq, what=repr(state.data), faults=len(state.faults))
