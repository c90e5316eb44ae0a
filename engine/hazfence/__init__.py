"""hazfence: a streaming GPS geofence engine for hazardous-goods roads.

This is the front door of the core. A host needs four names: build a :class:`FixBatch`, give it
to :meth:`Engine.process`, call :meth:`Engine.advance` as time goes by, store or show the
:class:`Event` objects that come back. Fences are read by ``hazfence_fences.load_fences``.
Importing this package loads no service client: the worker lives in ``hazfence.worker``, the
PostGIS store in ``hazfence.postgis``, the Redis board in ``hazfence.redis_board``.
"""

from hazfence.clean import Reason
from hazfence.engine import Engine
from hazfence.events import Event, Kind, Phase, Severity
from hazfence.fixes import FixBatch
from hazfence.history import History, NeedsHistory
from hazfence.outcome import Outcome
from hazfence.presence import Presence
from hazfence.reference import Filed, ReferenceData, ReferenceFault, Waybill
from hazfence.settings import EngineSettings
from hazfence.snapshot import SnapshotError

__version__ = "0.1.0"

__all__ = [
    "Engine",
    "EngineSettings",
    "Event",
    "Filed",
    "FixBatch",
    "History",
    "Kind",
    "NeedsHistory",
    "Outcome",
    "Phase",
    "Presence",
    "Reason",
    "ReferenceData",
    "ReferenceFault",
    "Severity",
    "SnapshotError",
    "Waybill",
]
