"""Alembic's handle on `migrations/0003_roles.sql`."""

from hazfence_sql.migrate import run_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the script."""
    run_script("0003_roles.sql")
