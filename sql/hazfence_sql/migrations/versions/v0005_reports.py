"""Alembic's handle on `migrations/0005_reports.sql`."""

from hazfence_sql.migrate import run_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the script."""
    run_script("0005_reports.sql")
