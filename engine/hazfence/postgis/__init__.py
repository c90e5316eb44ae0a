"""PostGIS as the engine's store: the adapter behind `hazfence.ports.Store`.

`PostgisStore` (`store.py`) is the way in. Below it: `link.py` (connections, and which errors mean "away"),
`rows.py` (fixes as binary COPY rows), `storable.py` (what PostgreSQL cannot keep, and what is kept
instead), `fences.py` (fences as versioned rows). `PostgisReference` (`reference.py`) reads what is on file
of vehicles and waybills, behind the port ``Reference``. ``upkeep.py`` keeps the history in shape, once a day
and from outside. The statements are in ``hazfence_sql/queries``.
"""

from hazfence.postgis.link import SchemaMismatch
from hazfence.postgis.reference import PostgisReference
from hazfence.postgis.store import PostgisStore

__all__ = ["PostgisReference", "PostgisStore", "SchemaMismatch"]
