"""Archives and summaries; and triggers that keep every number of a session hot or in exactly one archive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Those who were there before count as grown now, so that the sweep looks at them; a constant needs no rewrite.
NEW_COLUMNS = (
    sa.Column("archived_through", sa.BigInteger(), server_default="0", nullable=False),
    sa.Column("oldest_hot_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=True),
    sa.Column("grown_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=True),
    sa.Column("restored_until", sa.DateTime(timezone=True), nullable=True),
)
ONLY_FOR_OLD_ROWS = ("oldest_hot_at", "grown_at")

#: What is appended stands right after the newest message. What is restored fills the gap between the archives and the
#: oldest hot message, all of it: that gap is there only between an archive's end and its messages' return.
GAP_FREE = """
CREATE OR REPLACE FUNCTION messages_are_gap_free() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    runs int;
    fitting int;
    returned int;
BEGIN
    SELECT count(DISTINCT session_id) INTO runs FROM appended;
    UPDATE sessions AS s SET last_number = run.newest, last_active_at = now(),
        oldest_hot_at = coalesce(s.oldest_hot_at, now()), grown_at = coalesce(s.grown_at, now())
    FROM (SELECT session_id, min(number) AS oldest, max(number) AS newest, count(*) AS size
          FROM appended GROUP BY session_id) AS run
    WHERE s.id = run.session_id AND s.last_number = run.oldest - 1 AND run.size = run.newest - run.oldest + 1;
    GET DIAGNOSTICS fitting = ROW_COUNT;
    IF fitting < runs THEN
        UPDATE sessions AS s SET oldest_hot_at = run.since, grown_at = coalesce(s.grown_at, now())
        FROM (SELECT session_id, min(number) AS oldest, max(number) AS newest, count(*) AS size,
                  min(created_at) AS since FROM appended GROUP BY session_id) AS run
        WHERE s.id = run.session_id AND s.archived_through = run.oldest - 1
            AND run.size = run.newest - run.oldest + 1 AND run.oldest <= s.last_number
            AND EXISTS (SELECT FROM archives AS a WHERE a.session_id = s.id AND a.status = 'restored'
                        AND a.first_number = run.oldest)
            AND (run.newest = s.last_number
                OR EXISTS (SELECT FROM messages AS m WHERE m.session_id = s.id AND m.number = run.newest + 1));
        GET DIAGNOSTICS returned = ROW_COUNT;
        IF fitting + returned < runs THEN
            RAISE EXCEPTION 'messages must be numbered on from the newest one of their session, without a gap'
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'messages_are_gap_free';
        END IF;
    END IF;
    RETURN NULL;
END $$;
"""

#: An archive begins where the one before it ended, and `archived_through` moves with what is live.
IN_A_ROW = """
CREATE FUNCTION archives_stand_in_a_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    through bigint;
    newest bigint;
    allowed boolean;
BEGIN
    SELECT archived_through, last_number INTO through, newest FROM sessions WHERE id = NEW.session_id
    FOR NO KEY UPDATE;
    CASE
        WHEN TG_OP = 'INSERT' THEN
            allowed := NEW.status = 'pending' AND NEW.first_number = through + 1 AND NEW.last_number <= newest;
        WHEN OLD.status = NEW.status THEN
            allowed := true;
        WHEN OLD.status = 'pending' AND NEW.status = 'live' THEN
            allowed := NEW.first_number = through + 1;
            UPDATE sessions SET archived_through = NEW.last_number WHERE id = NEW.session_id;
        WHEN OLD.status = 'live' AND NEW.status = 'restored' THEN
            -- the newest one, and none while another is being written, for that one begins where this one ends
            allowed := NEW.last_number = through AND NOT EXISTS (
                SELECT FROM archives WHERE session_id = NEW.session_id AND status = 'pending');
            UPDATE sessions SET archived_through = NEW.first_number - 1 WHERE id = NEW.session_id;
        WHEN OLD.status = 'live' AND NEW.status = 'expired' THEN
            -- the oldest one
            allowed := NOT EXISTS (SELECT FROM archives WHERE session_id = NEW.session_id AND status = 'live'
                AND first_number < NEW.first_number);
        ELSE allowed := false;
    END CASE;
    IF NOT allowed THEN
        RAISE EXCEPTION 'archive % of session % breaks the row of archives: messages % to %, % where % are archived',
            NEW.id, NEW.session_id, NEW.first_number, NEW.last_number, NEW.status, through
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'archives_stand_in_a_row';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER archives_stand_in_a_row BEFORE INSERT OR UPDATE OF status ON archives
    FOR EACH ROW EXECUTE FUNCTION archives_stand_in_a_row();
"""

KEEP_THEIR_RANGE = """
CREATE FUNCTION archives_keep_their_range() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'archive % of session % keeps its session, range and name', OLD.id, OLD.session_id
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'archives_keep_their_range';
END $$;
CREATE TRIGGER archives_keep_their_range BEFORE UPDATE OF session_id, first_number, last_number, name ON archives
    FOR EACH ROW WHEN ((OLD.session_id, OLD.first_number, OLD.last_number, OLD.name)
        IS DISTINCT FROM (NEW.session_id, NEW.first_number, NEW.last_number, NEW.name))
    EXECUTE FUNCTION archives_keep_their_range();
"""

TRIGGERS = {"archives_stand_in_a_row": IN_A_ROW, "archives_keep_their_range": KEEP_THEIR_RANGE}


def upgrade() -> None:
    for column in NEW_COLUMNS:
        op.add_column("sessions", column)
    for name in ONLY_FOR_OLD_ROWS:
        op.alter_column("sessions", name, server_default=None)
    op.create_check_constraint(
        op.f("ck_sessions_archived_through_known"), "sessions", "archived_through BETWEEN 0 AND last_number"
    )
    op.create_index("ix_sessions_grown_at", "sessions", ["grown_at"], postgresql_where=sa.text("grown_at IS NOT NULL"))
    op.create_index(
        "ix_sessions_oldest_hot_at",
        "sessions",
        ["oldest_hot_at"],
        postgresql_where=sa.text("oldest_hot_at IS NOT NULL"),
    )
    _create_archives()
    _create_summaries()
    for definition in (GAP_FREE, *TRIGGERS.values()):
        op.execute(definition)


def downgrade() -> None:
    op.execute("DROP TRIGGER messages_are_gap_free ON messages")
    op.execute("DROP FUNCTION messages_are_gap_free()")
    op.execute(context.script.get_revision("0002").module.GAP_FREE)
    op.drop_table("summaries")
    op.drop_table("archives")
    for name in TRIGGERS:
        op.execute(f"DROP FUNCTION {name}()")
    for column in reversed(NEW_COLUMNS):
        op.drop_column("sessions", column.name)


def _create_archives() -> None:
    op.create_table(
        "archives",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("first_number", sa.BigInteger(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("message_count", sa.BigInteger(), nullable=False),
        sa.Column("token_count", sa.BigInteger(), nullable=False),
        sa.Column("oldest_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("newest_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("live_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'live', 'restored', 'expired')", name=op.f("ck_archives_status_known")
        ),
        sa.CheckConstraint("first_number > 0", name=op.f("ck_archives_number_from_one")),
        sa.CheckConstraint(
            "message_count > 0 AND message_count = last_number - first_number + 1", name=op.f("ck_archives_counted")
        ),
        sa.CheckConstraint(
            "(status = 'pending') = (live_at IS NULL) AND (status = 'pending') = (sha256 IS NULL)"
            " AND (status = 'pending') = (bytes IS NULL)",
            name=op.f("ck_archives_live_means_written"),
        ),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_archives_session_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archives")),
        sa.UniqueConstraint("name", name=op.f("uq_archives_name")),
    )
    _index_archives()


def _index_archives() -> None:
    op.create_index(
        "uq_archives_pending", "archives", ["session_id"], unique=True, postgresql_where=sa.text("status = 'pending'")
    )
    op.create_index(
        "uq_archives_live",
        "archives",
        ["session_id", "last_number"],
        unique=True,
        postgresql_where=sa.text("status IN ('live', 'expired')"),
    )
    op.create_index("ix_archives_session_id", "archives", ["session_id", "first_number"])
    op.create_index(
        "ix_archives_next_try_at", "archives", ["next_try_at"], postgresql_where=sa.text("status = 'pending'")
    )


def _create_summaries() -> None:
    op.create_table(
        "summaries",
        sa.Column("session_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_number", sa.BigInteger(), nullable=False),
        sa.Column("through_number", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("0 < first_number AND first_number <= through_number", name=op.f("ck_summaries_range")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_summaries_session_id")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_summaries")),
    )
