"""The ledger and the history: users, sessions, requests, attempts, calls, messages, workers.

House rule: a migration runs while workers run. Add columns with defaults that need no rewrite, build indexes
CONCURRENTLY in a migration of their own, and drop a column only one release after the code has forgotten it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: In the order of their foreign keys.
TABLES = ("users", "workers", "sessions", "messages", "requests", "attempts", "calls")


def upgrade() -> None:
    _create_users()
    _create_workers()
    _create_sessions()
    _create_messages()
    _create_requests()
    _create_attempts()
    _create_calls()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
    )


def _create_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_through", sa.ARRAY(sa.DateTime(timezone=True)), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
        postgresql_with={"fillfactor": "50"},
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_active_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_sessions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("user_id", "conversation_id", name=op.f("uq_sessions_user_id_conversation_id")),
        postgresql_with={"fillfactor": "80"},
    )


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("tool_calls", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("tool_call_id", sa.Text(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('system', 'user', 'assistant', 'tool')", name=op.f("ck_messages_role_known")),
        sa.CheckConstraint("number > 0", name=op.f("ck_messages_number_from_one")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_messages_session_id")),
        sa.PrimaryKeyConstraint("session_id", "number", name=op.f("pk_messages")),
        sa.UniqueConstraint("request_id", "part", name=op.f("uq_messages_request_id_part")),
    )


def _create_requests() -> None:
    op.create_table(
        "requests",
        *_what_was_asked(),
        *_how_it_stands(),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (status IN ('cancelled', 'expired', 'failed', 'succeeded'))",
            name=op.f("ck_requests_final_means_finished"),
        ),
        sa.CheckConstraint(
            "status <> 'running' OR (head AND worker_id IS NOT NULL)",
            name=op.f("ck_requests_only_a_head_runs"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'retrying', 'succeeded', 'failed', 'cancelled', 'expired')",
            name=op.f("ck_requests_status_known"),
        ),
        sa.CheckConstraint("NOT (head AND finished_at IS NOT NULL)", name=op.f("ck_requests_head_is_unfinished")),
        sa.CheckConstraint("attempts <= max_attempts", name=op.f("ck_requests_attempts_bounded")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_requests_session_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
        sa.UniqueConstraint("session_id", "position", name=op.f("uq_requests_session_id_position")),
        postgresql_with={"fillfactor": "70"},
    )
    _index_requests()


def _what_was_asked() -> list[sa.Column]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("aged", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("stream_key", sa.LargeBinary(), nullable=False),
        sa.Column("retry_of", sa.Uuid(), nullable=True),
    ]


def _how_it_stands() -> list[sa.Column]:
    return [
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("head", sa.Boolean(), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("timeout", sa.Double(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queue", sa.SmallInteger(), nullable=True),
        sa.Column("publications", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
    ]


def _index_requests() -> None:
    op.create_index(
        "ix_requests_unfinished",
        "requests",
        ["session_id", "position"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "ix_requests_deadline",
        "requests",
        ["deadline"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "ix_requests_published",
        "requests",
        ["user_id"],
        unique=False,
        postgresql_where=sa.text("head AND published_at IS NOT NULL"),
    )
    op.create_index(
        "ix_requests_waiting",
        "requests",
        ["user_id", "rank", "accepted_at"],
        unique=False,
        postgresql_where=sa.text("head AND published_at IS NULL"),
    )
    _unique_requests()


def _unique_requests() -> None:
    op.create_index("uq_requests_head", "requests", ["session_id"], unique=True, postgresql_where=sa.text("head"))
    op.create_index(
        "uq_requests_idempotency_key",
        "requests",
        ["user_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "uq_requests_live_replay",
        "requests",
        ["retry_of"],
        unique=True,
        postgresql_where=sa.text("retry_of IS NOT NULL AND finished_at IS NULL"),
    )


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("delay", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_attempts_request_id")),
        sa.PrimaryKeyConstraint("request_id", "number", name=op.f("pk_attempts")),
    )


def _create_calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_token_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_calls_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calls")),
    )
    op.create_index(op.f("ix_calls_request_id"), "calls", ["request_id"], unique=False)
