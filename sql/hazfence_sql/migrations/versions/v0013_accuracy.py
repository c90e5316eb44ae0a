"""Alembic's handle on `migrations/0013_accuracy.sql`."""

from hazfence_sql.migrate import run_script

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Run the script."""
    run_script("0013_accuracy.sql")
