"""Alembic's handle on `migrations/0008_milestones.sql`."""

from hazfence_sql.migrate import run_script

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the script."""
    run_script("0008_milestones.sql")
