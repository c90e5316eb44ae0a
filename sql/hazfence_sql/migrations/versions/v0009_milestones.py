"""Alembic's handle on `migrations/0009_milestones.sql`."""

from hazfence_sql.migrate import run_script

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Run the script."""
    run_script("0009_milestones.sql")
