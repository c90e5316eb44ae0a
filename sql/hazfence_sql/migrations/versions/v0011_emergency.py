"""Alembic's handle on `migrations/0011_emergency.sql`."""

from hazfence_sql.migrate import run_script

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Run the script."""
    run_script("0011_emergency.sql")
