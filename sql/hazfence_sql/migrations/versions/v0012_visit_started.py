"""Alembic's handle on `migrations/0012_visit_started.sql`."""

from hazfence_sql.migrate import run_script

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Run the script."""
    run_script("0012_visit_started.sql")
