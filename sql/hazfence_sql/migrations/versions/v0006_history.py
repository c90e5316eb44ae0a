"""Alembic's handle on `migrations/0006_history.sql`."""

from hazfence_sql.migrate import run_script

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the script."""
    run_script("0006_history.sql")
