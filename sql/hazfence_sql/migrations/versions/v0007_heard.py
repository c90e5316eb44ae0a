"""Alembic's handle on `migrations/0007_heard.sql`."""

from hazfence_sql.migrate import run_script

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the script."""
    run_script("0007_heard.sql")
