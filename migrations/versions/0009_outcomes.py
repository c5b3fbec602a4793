"""The outcomes that are counted stand in a column of their own.

Indexed, `status` kept each claim from being a heap-only update: it wrote an entry anew in every index of the row. The
column is kept by Postgres from the other two, whichever release writes them. Adding it rewrites the table, which nobody
reads or writes meanwhile: some ten seconds for a million requests.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    outcome = sa.Computed("CASE WHEN finished_at IS NOT NULL THEN status END", persisted=True)
    op.add_column("requests", sa.Column("outcome", sa.Text(), outcome))
    op.drop_index("ix_requests_ended", table_name="requests")
    op.create_index("ix_requests_outcome", "requests", ["outcome"], postgresql_where=sa.text("outcome IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("ix_requests_outcome", table_name="requests")
    op.create_index("ix_requests_ended", "requests", ["status"], postgresql_where=sa.text("finished_at IS NOT NULL"))
    op.drop_column("requests", "outcome")
