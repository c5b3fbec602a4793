"""What the tables of erasing refuse, whoever writes to them."""

from __future__ import annotations

import psycopg
import pytest

from tests.store.desk import Sql

BEGUN = """
INSERT INTO erasures (id, scope, salt, user_hash, sessions, streams)
VALUES ('11111111-1111-1111-1111-111111111111', 'user', 's', 'h', '{1}', ARRAY[gen_random_uuid()])
"""

#: By constraint.
REFUSED = {
    "ck_erasures_scope_known": "UPDATE erasures SET scope = 'all'",
    "ck_erasures_stage_known": "UPDATE erasures SET stage = 'begun', sessions = '{}'",
    "ck_erasures_hashed_by_scope": "UPDATE erasures SET scope = 'session'",
    "ck_erasures_done_means_finished": "UPDATE erasures SET finished_at = now()",
    "ck_erasures_rows_first": "UPDATE erasures SET stage = 'traces'",
    "ck_erasures_streams_before_done": "UPDATE erasures SET sessions = '{}', stage = 'done', finished_at = now()",
    "fk_condemned_objects_erasure_id": "INSERT INTO condemned_objects VALUES ('x', gen_random_uuid())",
    "pk_condemned_objects": "INSERT INTO condemned_objects (name) VALUES ('x'), ('x')",
}


@pytest.mark.parametrize("constraint", REFUSED)
def test_what_cannot_be_is_refused(sql: Sql, constraint: str) -> None:
    sql.execute(BEGUN)
    with pytest.raises(psycopg.IntegrityError) as refused:
        sql.execute(REFUSED[constraint].encode())
    assert refused.value.diag.constraint_name == constraint


def test_an_erasure_whose_objects_are_not_gone_stays(sql: Sql) -> None:
    sql.execute(BEGUN)
    sql.execute("INSERT INTO condemned_objects (name, erasure_id) SELECT 'x', id FROM erasures")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        sql.execute("DELETE FROM erasures")
