"""Erasures, and the objects in cold storage that are to go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

#: What a receipt tells the number of.
COUNTED = (
    "session_count",
    "message_count",
    "archived_count",
    "archive_count",
    "summary_count",
    "request_count",
    "cancelled_count",
    "attempt_count",
    "call_count",
)


def upgrade() -> None:
    _create_erasures()
    _create_condemned_objects()
    # the table came a few revisions ago and is nearly empty: nobody waits for the index
    op.create_index("ix_archives_archived_at", "archives", ["archived_at"], postgresql_where=sa.text("status = 'live'"))


def downgrade() -> None:
    op.drop_index("ix_archives_archived_at", "archives")
    op.drop_table("condemned_objects")
    op.drop_table("erasures")


def _create_erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("user_hash", sa.LargeBinary(), nullable=False),
        sa.Column("conversation_hash", sa.LargeBinary(), nullable=True),
        sa.Column("sessions", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("streams", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("stage", sa.Text(), server_default="rows", nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in COUNTED),
        sa.CheckConstraint("scope IN ('session', 'user')", name=op.f("ck_erasures_scope_known")),
        sa.CheckConstraint("stage IN ('rows', 'traces', 'done')", name=op.f("ck_erasures_stage_known")),
        sa.CheckConstraint(
            "(scope = 'session') = (conversation_hash IS NOT NULL)", name=op.f("ck_erasures_hashed_by_scope")
        ),
        sa.CheckConstraint(
            "(stage = 'done') = (finished_at IS NOT NULL)", name=op.f("ck_erasures_done_means_finished")
        ),
        sa.CheckConstraint("stage = 'rows' OR sessions = '{}'", name=op.f("ck_erasures_rows_first")),
        sa.CheckConstraint("stage <> 'done' OR streams = '{}'", name=op.f("ck_erasures_streams_before_done")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index(
        "ix_erasures_next_try_at", "erasures", ["next_try_at"], postgresql_where=sa.text("finished_at IS NULL")
    )


def _create_condemned_objects() -> None:
    op.create_table(
        "condemned_objects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("erasure_id", sa.Uuid(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("written_until", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["erasure_id"], ["erasures.id"], name=op.f("fk_condemned_objects_erasure_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_condemned_objects")),
    )
    op.create_index("ix_condemned_objects_due_at", "condemned_objects", ["due_at"])
    op.create_index("ix_condemned_objects_erasure_id", "condemned_objects", ["erasure_id"])
