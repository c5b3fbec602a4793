"""The trace that a request belongs to, and by which settings each worker runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("traceparent", sa.Text()))
    op.add_column("workers", sa.Column("settings", postgresql.JSONB()))


def downgrade() -> None:
    op.drop_column("workers", "settings")
    op.drop_column("requests", "traceparent")
