"""Alembic's handle on `migrations/0004_reference.sql`."""

from hazfence_sql.migrate import run_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the script."""
    run_script("0004_reference.sql")
