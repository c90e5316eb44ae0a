"""Alembic's handle on `migrations/0001_base.sql`."""

from hazfence_sql.migrate import run_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the script."""
    run_script("0001_base.sql")
