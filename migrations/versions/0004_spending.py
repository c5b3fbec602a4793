"""What was spent on providers, by UTC day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: What was spent before there was this table: today's budgets go on from there.
SO_FAR = """
INSERT INTO spending (day, provider, shard, cost)
SELECT (finished_at AT TIME ZONE 'UTC')::date, provider, 0, sum(cost) FROM calls WHERE cost > 0 GROUP BY 1, 2
"""


def upgrade() -> None:
    op.create_table(
        "spending",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("day", "provider", "shard", name=op.f("pk_spending")),
        postgresql_with={"fillfactor": "50"},
    )
    op.execute(SO_FAR)


def downgrade() -> None:
    op.drop_table("spending")
