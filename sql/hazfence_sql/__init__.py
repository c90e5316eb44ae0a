"""The database side of hazfence: schema, named queries and SQLAlchemy models.

``migrations/*.sql`` is the schema, ``queries/*.sql`` what the programs say to it, `models` the same tables
for backends that speak SQLAlchemy. Start with ``migrations/0001_base.sql``. Importing this package loads no
driver.
"""

from hazfence_sql.migrate import MigrationError, current, head, migrate, versions

__all__ = ["MigrationError", "current", "head", "migrate", "versions"]
