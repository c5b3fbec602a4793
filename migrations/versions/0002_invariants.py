"""Triggers that keep what constraints cannot: numbers without gaps, outcomes that are final."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: Messages are appended right after the newest one, and move the session's counter with them: for each statement
#: one look and one update a session. The counter's row is what two writers of one session meet at.
GAP_FREE = """
CREATE FUNCTION messages_are_gap_free() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    runs int;
    fitting int;
BEGIN
    SELECT count(DISTINCT session_id) INTO runs FROM appended;
    UPDATE sessions AS s SET last_number = run.newest, last_active_at = now()
    FROM (SELECT session_id, min(number) AS oldest, max(number) AS newest, count(*) AS size
          FROM appended GROUP BY session_id) AS run
    WHERE s.id = run.session_id AND s.last_number = run.oldest - 1 AND run.size = run.newest - run.oldest + 1;
    GET DIAGNOSTICS fitting = ROW_COUNT;
    IF fitting < runs THEN
        RAISE EXCEPTION 'messages must be numbered on from the newest one of their session, without a gap'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'messages_are_gap_free';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER messages_are_gap_free AFTER INSERT ON messages
    REFERENCING NEW TABLE AS appended FOR EACH STATEMENT EXECUTE FUNCTION messages_are_gap_free();
"""

KEEP_THEIR_NUMBER = """
CREATE FUNCTION messages_keep_their_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'message % of session % keeps its session, number, request and part', OLD.number, OLD.session_id
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'messages_keep_their_number';
END $$;
CREATE TRIGGER messages_keep_their_number BEFORE UPDATE OF session_id, number, request_id, part ON messages
    FOR EACH ROW WHEN ((OLD.session_id, OLD.number, OLD.request_id, OLD.part)
        IS DISTINCT FROM (NEW.session_id, NEW.number, NEW.request_id, NEW.part))
    EXECUTE FUNCTION messages_keep_their_number();
"""

#: What leaves the history leaves it from its oldest end, so that what stays is one run.
OLDEST_FIRST = """
CREATE FUNCTION messages_go_oldest_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT session_id, max(number) AS newest FROM gone GROUP BY session_id) AS run
               JOIN messages AS m ON m.session_id = run.session_id AND m.number < run.newest) THEN
        RAISE EXCEPTION 'messages leave a session from its oldest one on, without a gap'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'messages_go_oldest_first';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER messages_go_oldest_first AFTER DELETE ON messages
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION messages_go_oldest_first();
"""

OUTCOMES_ARE_FINAL = """
CREATE FUNCTION outcomes_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'request % has ended as %: its outcome is final', OLD.id, OLD.status
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'outcomes_are_final';
END $$;
CREATE TRIGGER outcomes_are_final BEFORE UPDATE ON requests
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL AND (OLD.status, OLD.fence, OLD.attempts, OLD.finished_at)
        IS DISTINCT FROM (NEW.status, NEW.fence, NEW.attempts, NEW.finished_at))
    EXECUTE FUNCTION outcomes_are_final();
"""

TRIGGERS = {
    "messages_are_gap_free": ("messages", GAP_FREE),
    "messages_keep_their_number": ("messages", KEEP_THEIR_NUMBER),
    "messages_go_oldest_first": ("messages", OLDEST_FIRST),
    "outcomes_are_final": ("requests", OUTCOMES_ARE_FINAL),
}


def upgrade() -> None:
    for _, definition in TRIGGERS.values():
        op.execute(definition)


def downgrade() -> None:
    for name, (table, _) in TRIGGERS.items():
        op.execute(f"DROP TRIGGER {name} ON {table}")
        op.execute(f"DROP FUNCTION {name}()")
