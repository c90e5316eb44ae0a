"""Alembic's handle on `migrations/0010_report_speed.sql`."""

from hazfence_sql.migrate import run_script

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Run the script."""
    run_script("0010_report_speed.sql")
