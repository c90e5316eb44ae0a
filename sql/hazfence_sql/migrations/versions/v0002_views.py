"""Alembic's handle on `migrations/0002_views.sql`."""

from hazfence_sql.migrate import run_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the script."""
    run_script("0002_views.sql")
