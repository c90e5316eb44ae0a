"""Peers that are databases: DuckDB with its spatial extension, and PostGIS with COPY and a join.

DuckDB runs in this process on one thread. PostGIS is a private server, or the one that HAZFENCE_DATABASE_URL
names, in a database of its own, and its commits do not wait for the disk; its time is that of the clock and
includes sending the points and fetching the pairs. Next room: ``tellers.py``, peers that keep state.
"""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import psycopg
import shapely

from hazfence.services import ServiceError
from hazfence_benchmarks.peers.base import F64, I64, Missing, areas
from hazfence_benchmarks.stage import shared
from hazfence_fences import FenceSet

__all__ = ["DuckDb", "PostGis", "private_database"]


class DuckDb:
    """DuckDB's spatial join of an array of points with a table of fences; circles as polygons."""

    name: ClassVar[str] = "DuckDB spatial"
    clock: ClassVar[Literal["cpu", "wall"]] = "cpu"
    points: ClassVar[int] = 10_000

    def __init__(self, fences: FenceSet) -> None:
        try:
            import duckdb
        except ModuleNotFoundError as missing:
            raise Missing("pip install duckdb") from missing
        self._db: Any = duckdb.connect(config={"threads": 1})
        self._load(duckdb)
        frame = {"i": np.arange(len(fences)), "wkb": shapely.to_wkb(areas(fences))}
        self._db.execute("CREATE TABLE fence (i BIGINT, geom GEOMETRY)")
        rows = [(int(i), bytes(wkb)) for i, wkb in zip(frame["i"], frame["wkb"], strict=True)]
        for start in range(0, len(rows), 1000):
            part = rows[start : start + 1000]
            marks = ", ".join(["(?, ST_GeomFromWKB(?::BLOB))"] * len(part))
            self._db.execute(f"INSERT INTO fence VALUES {marks}", [value for row in part for value in row])

    def _load(self, duckdb: Any) -> None:
        """Load the extension: the installed one, that of a Python package, or by download."""
        package = importlib.util.find_spec("duckdb_extension_spatial")
        shipped = [] if package is None or package.origin is None else sorted(
            Path(package.origin).parent.rglob(f"v{duckdb.__version__}/spatial.duckdb_extension")
        )  # fmt: skip
        for attempt in ("LOAD spatial", *(f"LOAD '{path}'" for path in shipped), "INSTALL spatial"):
            try:
                self._db.execute(attempt)
                if attempt.startswith("INSTALL"):
                    self._db.execute("LOAD spatial")
                return
            except duckdb.Error:
                continue
        self._db.close()
        raise Missing(
            f"DuckDB {duckdb.__version__} could not load or download its extension 'spatial'; without "
            "internet a package of the same version helps: pip install duckdb-extension-spatial"
        )

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """``ST_Intersects`` of a point and a polygon is ``covers``, and the join that DuckDB makes quick."""
        self._db.register("point", {"i": np.arange(len(lon)), "lon": lon, "lat": lat})
        found = self._db.execute(
            "SELECT p.i AS point, f.i AS fence FROM (SELECT i, ST_Point(lon, lat) AS geom FROM point) p "
            "JOIN fence f ON ST_Intersects(f.geom, p.geom)"
        ).fetchnumpy()
        return np.asarray(found["point"], np.int64), np.asarray(found["fence"], np.int64)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def private_database(stack: contextlib.ExitStack) -> psycopg.Connection[Any]:
    """A connection to a fresh database with PostGIS, both for as long as the stack is open.

    Raises:
        Missing: PostgreSQL cannot be started here.
    """
    try:
        stage = stack.enter_context(shared())
        connection = psycopg.connect(stack.enter_context(stage.database()))
    except (ServiceError, psycopg.OperationalError) as error:
        raise Missing(" ".join(str(error).split())) from error
    stack.enter_context(connection)
    connection.execute("SET synchronous_commit = off")
    return connection


class PostGis:
    """COPY of the points into a table without log, then a join on a GiST index; circles as polygons."""

    name: ClassVar[str] = "PostGIS COPY + join"
    clock: ClassVar[Literal["cpu", "wall"]] = "wall"
    points: ClassVar[int] = 3_000

    def __init__(self, fences: FenceSet) -> None:
        with contextlib.ExitStack() as stack:
            self._db = private_database(stack)
            self._db.execute("CREATE TABLE fence (i integer, geom geometry)")
            with self._db.cursor().copy("COPY fence FROM STDIN") as copy:
                for i, wkb in enumerate(shapely.to_wkb(areas(fences), hex=True)):
                    copy.write_row((i, wkb))
            self._db.execute("CREATE INDEX ON fence USING gist (geom)")
            self._db.execute("CREATE UNLOGGED TABLE point (i integer, lon float8, lat float8)")
            self._db.execute("ANALYZE fence")
            self._db.commit()
            self._stack = stack.pop_all()

    def pairs(self, lon: F64, lat: F64) -> tuple[I64, I64]:
        """Send, join, fetch."""
        self._db.execute("TRUNCATE point")
        with self._db.cursor().copy("COPY point FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "float8", "float8"])
            for row in zip(range(len(lon)), lon.tolist(), lat.tolist(), strict=True):
                copy.write_row(row)
        found = self._db.cursor(binary=True).execute(
            "SELECT p.i, f.i FROM point p JOIN fence f ON ST_Covers(f.geom, ST_Point(p.lon, p.lat))"
        )
        pairs = np.array(found.fetchall(), dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def close(self) -> None:
        """End the private server."""
        self._stack.close()
