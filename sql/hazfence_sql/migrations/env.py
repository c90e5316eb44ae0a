"""Alembic's entry: run the migrations on the connection `hazfence_sql.migrate` hands over.

The version table lives in schema hazfence, so dropping the schema drops every trace.
"""

from alembic import context

from hazfence_sql.migrate import SCHEMA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema=SCHEMA,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
